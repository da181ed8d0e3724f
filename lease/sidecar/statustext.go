package sidecar

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// printStanding prints the body of /status for people.
func printStanding(w io.Writer, body []byte) error {
	var is standing
	if err := json.Unmarshal(body, &is); err != nil {
		return err
	}
	if is.Role == "" {
		return fmt.Errorf("it has no role: %.100s", body)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(table, "%s:\t%s\n", name, fmt.Sprintf(format, args...))
	}
	switch {
	case !is.Synced:
		row("Lease", "%s, which was not read yet", is.Lease)
	case is.LeaseUID == "":
		row("Lease", "%s, which does not exist", is.Lease)
	default:
		row("Lease", "%s (uid %s)", is.Lease, is.LeaseUID)
	}
	switch {
	case !is.Synced: // who leads is not known
	case is.Leader == "":
		row("Leader", "none")
	case is.Since == nil:
		row("Leader", "%s", is.Leader)
	default:
		row("Leader", "%s, since %s", is.Leader, is.Since.Format(time.RFC3339))
	}
	if is.Synced {
		row("Fencing token", "%d", is.LeaseTransitions)
	}
	row("This replica", "%s, %s", is.Identity, is.Role)
	for _, why := range is.Why {
		row("", "%s", why)
	}
	if is.IsLeader {
		row("Valid for", "%s", seconds(is.ValidFor))
	}
	if is.ClaimsIn != nil {
		row("Claims in", "%s, unless the Lease is renewed", seconds(*is.ClaimsIn))
	}
	if is.AppAlive != nil {
		row("App alive", "%v", *is.AppAlive)
	}
	if is.Problem != "" {
		row("Problem", "%s", is.Problem)
	}
	return table.Flush()
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond)
}
