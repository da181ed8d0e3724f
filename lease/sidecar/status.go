package sidecar

import (
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/boottime"
)

// standing is the body of /status: what an operator asks first.
type standing struct {
	leadership
	Lease    string     `json:"lease"`              // namespace/name
	Synced   bool       `json:"synced"`             // it has been read, so that the rest is known
	Since    *time.Time `json:"since,omitempty"`    // when the leader's term began, by its clock
	Role     lease.Role `json:"role"`               // of this replica
	Why      []string   `json:"why"`                // it has that role
	ClaimsIn *float64   `json:"claimsIn,omitempty"` // seconds until this follower claims the Lease unless it is renewed
	AppAlive *bool      `json:"appAlive,omitempty"` // with LEAD_WHILE
	Retired  bool       `json:"retired,omitempty"`  // the pod is being deleted
	Problem  string     `json:"problem,omitempty"`  // the last API error, while it lasts
}

// status answers this machine alone: an API error may tell more than others need to know.
func (s *server) status(w http.ResponseWriter, r *http.Request) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !from.Addr().Unmap().IsLoopback() {
		http.Error(w, "/status answers on the loopback address alone: use kubectl exec POD -c leader-elector -- /leader-election-sidecar status", http.StatusForbidden)
		return
	}
	writeJSON(w, http.StatusOK, s.standing())
}

func (s *server) standing() standing {
	state, now := s.election.State(), s.election.Clock().Now()
	is := standing{leadership: s.leadership(), Lease: s.lease, Synced: state.Synced, Role: state.Role, Problem: state.Problem, Retired: state.Retired}
	if !state.Acquired.IsZero() && state.Leader != "" {
		is.Since = &state.Acquired
	}
	if state.ClaimAt != boottime.Never && state.Role == lease.Following {
		in := max(0, state.ClaimAt.Sub(now)).Seconds()
		is.ClaimsIn = &in
	}
	alive, known := s.appAlive()
	if known {
		is.AppAlive = &alive
	}
	is.Why = s.why(state, now, alive)
	return is
}

// why says in words what this replica does and what it waits for.
func (s *server) why(state lease.State, now boottime.Moment, alive bool) (why []string) {
	say := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	switch {
	case state.LeadsAt(now):
		say("the Lease was renewed in time")
	case state.Draining && s.handover.command != nil && s.handover.command.runs():
		say("giving the Lease up: waiting for the command to end")
	case state.Draining:
		say("giving the Lease up: waiting for the app to stop")
		if holders := s.handover.lock.holders(); holders != "" {
			say("the work lock is held by %s", holders)
		} else if s.handover.lock.held.Load() {
			say("the work lock is held; /proc does not show by whom: look in the app's container")
		} else if s.handover.lock.odd.Load() {
			say("the work lock can't be read, so the app may still be at work: see the log")
		}
	case state.Role == lease.HandingOver:
		say("giving the Lease up: the app has stopped")
	case state.Role == lease.Leading:
		say("the Lease is this replica's; it renews it before it tells the app")
	case !state.Synced:
		say("the Lease has not been read yet")
	case state.Role == lease.Reading:
		say("the state of the Lease is not known: reading it")
	case state.Leader == "":
		say("no replica holds the Lease")
	case state.LapsesAt != 0 && state.LapsesAt <= now:
		say("the term of %s is over: no replica leads", state.Leader)
	default:
		say("%s holds the Lease", state.Leader)
	}
	if state.Role == lease.Following && state.Transitions == math.MaxInt32 {
		say("no fencing token is left, so no replica claims the Lease: stop the replicas and delete it")
	}
	if !alive {
		say("the app is not alive (LEAD_WHILE), so this replica makes no claim")
	}
	if state.Rests {
		say("this replica has stepped down, and makes no claim until another has led, or the time of \"Claims in\" has passed")
	}
	if state.Retired {
		say("this pod is being deleted, so this replica makes no claim")
	}
	if err := s.file.stuck(); err != nil {
		say("%v", err)
	}
	if label := s.handover.label; label != nil && label.failing() != "" {
		say("the pod's role label can't be set: %s", label.failing())
	}
	return why
}

// Status prints what the sidecar of this container says of itself, as text, or as JSON
// where the argument is --json. It returns the exit code.
func Status(cfg *Config, args []string, stdout, stderr io.Writer) int {
	if len(args) > 1 || len(args) == 1 && args[0] != "--json" {
		fmt.Fprintln(stderr, "usage: leader-election-sidecar status [--json]")
		return 2
	}
	if cfg.HealthPort == 0 {
		fmt.Fprintln(stderr, "HEALTH_PORT=0: the port of the running sidecar is not known; set HEALTH_PORT to the one that it logs")
		return 2
	}
	body, err := ask(cfg.HealthPort)
	if err != nil {
		fmt.Fprintf(stderr, "the sidecar does not answer: %v; is it running in this container, with this HEALTH_PORT?\n", err)
		return 1
	}
	text := strings.Builder{}
	err = printStanding(&text, body)
	if err == nil && len(args) == 1 {
		text.Reset()
		text.Write(body)
	}
	fmt.Fprint(stdout, text.String())
	if err != nil {
		fmt.Fprintf(stderr, "the answer of port %d is not a sidecar's: %v\n", cfg.HealthPort, err)
		return 1
	}
	return 0
}

func ask(port int) ([]byte, error) {
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get("http://" + net.JoinHostPort("127.0.0.1", fmt.Sprint(port)) + "/status")
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return body, err
}
