package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/leader-elector/leader-elector/e2e/harness"
)

const (
	oursName   = "leader-elector"
	beforeName = "leader-elector before"
	peerName   = "client-go"
)

// Report is everything that one run measured.
type Report struct {
	Date     time.Time        `json:"date"`
	Machine  string           `json:"machine"`
	Command  string           `json:"command"` // the flags it was run with
	Sizes    map[string]int64 `json:"sizes"`   // bytes
	Failover []Samples        `json:"failover"`
	Steady   []Steady         `json:"steady"`
	Scale    []Point          `json:"scale"`
}

// machine names what the run was made on.
func machine() string {
	model := "unknown processor"
	cpuinfo, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(cpuinfo)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%d cores of %s, Linux %s, %s", runtime.NumCPU(), model, strings.TrimSpace(string(kernel)), runtime.Version())
}

// rewrite makes text and plots of what was measured before.
func rewrite(from, dir string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	r := &Report{}
	if err := json.Unmarshal(content, r); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return r.write(dir, os.Stdout)
}

// write puts the report into dir, and its text on the screen too.
func (r *Report) write(dir string, screen io.Writer) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "report.json"), append(content, '\n'), 0o644); err != nil {
		return err
	}
	text, err := os.Create(filepath.Join(dir, "report.txt"))
	if err != nil {
		return err
	}
	if err := r.text(io.MultiWriter(text, screen)); err != nil {
		return err
	}
	if err := text.Close(); err != nil {
		return err
	}
	return r.plots(dir)
}

// text prints the tables.
func (r *Report) text(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 3, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(w, strings.Join(cells, "\t")) }
	fmt.Fprintf(w, "%s\n%s\n\n", r.Date.Format(time.RFC3339), r.Machine)

	row("milliseconds, median (max) of n", oursName, peerName, "ratio of medians")
	for _, s := range r.Failover {
		if s.System == oursName {
			peer := r.samples(s.Scenario, s.Lease, peerName)
			row(fmt.Sprintf("%s, lease of %v", s.Scenario, s.Lease), s.String(), peer.String(), ratio(s.median(), peer.median()))
		}
	}
	for _, s := range r.Failover {
		if strings.HasPrefix(s.System, peerName+" ") {
			row(fmt.Sprintf("%s, lease of %v", s.Scenario, s.Lease), "", s.String()+" "+strings.TrimPrefix(s.System, peerName+" "))
		}
	}

	if len(r.Steady) > 0 {
		r.steadyText(w, row)
	}
	for _, size := range []string{"binary", "image"} {
		o, p := float64(r.Sizes[size+" of "+oursName])/1e6, float64(r.Sizes[size+" of "+peerName])/1e6
		row(size+", MB", number("%.2f", o), number("%.2f", p), ratio(o, p))
	}

	if r.Sizes["binary of "+beforeName] > 0 {
		r.beforeText(w, row)
	}

	fmt.Fprintln(w)
	row("load at scale", "", "requests/s", "watch events/s", "etcd puts/s", "API server cores", "etcd cores", "API server's growth, MB")
	for _, p := range r.Scale {
		row(p.name(), p.System, fmt.Sprintf("%.2f", p.Load.AllRequests), fmt.Sprintf("%.1f", p.Load.WatchEvents), fmt.Sprintf("%.2f", p.Load.EtcdPuts),
			fmt.Sprintf("%.3f", p.Load.APIServerCPU), fmt.Sprintf("%.3f", p.Load.EtcdCPU), fmt.Sprintf("%.0f", (p.Load.APIServerRSS-p.Idle)/1e6))
	}
	fmt.Fprintln(w)
	row("failover at scale", "", "handover ms, median (max)", "writes refused in each", "leader dead: ms past expiry", "writes refused", "reads")
	for _, p := range r.Scale {
		cells := []string{p.name(), p.System, Samples{Millis: p.Handover}.String(), fmt.Sprint(p.Refused)}
		if t := p.Takeover; t != nil {
			cells = append(cells, fmt.Sprintf("%.0f", t.Overshoot), fmt.Sprintf("%.0f", t.refused()), fmt.Sprintf("%.0f", t.Requests["GET"]))
		}
		row(cells...)
	}
	return w.Flush()
}

func (r *Report) steadyText(w io.Writer, row func(...string)) {
	fmt.Fprintln(w)
	row("three replicas in the steady state", oursName, peerName, "ratio", "no replica")
	ours, peer, none := r.steady(oursName), r.steady(peerName), r.steady("")
	line := func(what, format string, scale float64, of func(Steady) float64) {
		o, p, n := of(ours)*scale, of(peer)*scale, of(none)*scale
		row(what, fmt.Sprintf(format, o-n), fmt.Sprintf(format, p-n), ratio(o-n, p-n), fmt.Sprintf(format, n))
	}
	line("API requests for Leases/s", "%.3f", 1, func(s Steady) float64 { return s.Load.AllRequests })
	for _, verb := range verbs(ours.Load, peer.Load) {
		line("  "+verb, "%.3f", 1, func(s Steady) float64 { return s.Load.Requests[verb] })
	}
	line("bodies of writes, B/s", "%.0f", 1, func(s Steady) float64 { return s.Load.RequestBytes })
	line("bodies of answers to reads, B/s", "%.0f", 1, func(s Steady) float64 { return s.Load.AnswerBytes })
	line("watch events/s", "%.3f", 1, func(s Steady) float64 { return s.Load.WatchEvents })
	line("bodies of watch events, B/s", "%.0f", 1, func(s Steady) float64 { return s.Load.WatchBytes })
	line("all bytes on the wire, B/s", "%.0f", 1, func(s Steady) float64 { return s.Wire })
	line("etcd puts/s", "%.3f", 1, func(s Steady) float64 { return s.Load.EtcdPuts })
	line("API server CPU, millicores", "%.1f", 1000, func(s Steady) float64 { return s.Load.APIServerCPU })
	line("etcd CPU, millicores", "%.1f", 1000, func(s Steady) float64 { return s.Load.EtcdCPU })
	line("leader: resident, MB", "%.1f", 1e-6, func(s Steady) float64 { return float64(s.Leader.Resident) })
	line("leader: of it not backed by a file, MB", "%.1f", 1e-6, func(s Steady) float64 { return float64(s.Leader.Heap) })
	line("follower: resident, MB", "%.1f", 1e-6, func(s Steady) float64 { return float64(s.Follower.Resident) })
	line("follower: of it not backed by a file, MB", "%.1f", 1e-6, func(s Steady) float64 { return float64(s.Follower.Heap) })
	line("leader: CPU, microseconds per s", "%.0f", 1e6, func(s Steady) float64 { return s.Leader.CPU.Seconds() / s.Over.Seconds() })
	line("follower: CPU, microseconds per s", "%.0f", 1e6, func(s Steady) float64 { return s.Follower.CPU.Seconds() / s.Over.Seconds() })
}

// beforeText compares this version with an earlier one.
func (r *Report) beforeText(w io.Writer, row func(...string)) {
	fmt.Fprintln(w)
	row("this version and the one before it", "this", "before", "ratio")
	for _, s := range r.Failover {
		if s.System == oursName {
			before := r.samples(s.Scenario, s.Lease, beforeName)
			row(fmt.Sprintf("%s, lease of %v, ms", s.Scenario, s.Lease), s.String(), before.String(), ratio(s.median(), before.median()))
		}
	}
	ours, before, none := r.steady(oursName), r.steady(beforeName), r.steady("")
	line := func(what, format string, this, before float64) {
		row(what, fmt.Sprintf(format, this), fmt.Sprintf(format, before), ratio(this, before))
	}
	if len(r.Steady) > 0 {
		line("API requests for Leases/s", "%.3f", ours.Load.AllRequests-none.Load.AllRequests, before.Load.AllRequests-none.Load.AllRequests)
		line("all bytes on the wire, B/s", "%.0f", ours.Wire, before.Wire)
		line("leader: resident, MB", "%.1f", float64(ours.Leader.Resident)/1e6, float64(before.Leader.Resident)/1e6)
		line("follower: resident, MB", "%.1f", float64(ours.Follower.Resident)/1e6, float64(before.Follower.Resident)/1e6)
		line("leader: CPU, microseconds per s", "%.0f", 1e6*ours.Leader.CPU.Seconds()/ours.Over.Seconds(), 1e6*before.Leader.CPU.Seconds()/before.Over.Seconds())
		line("follower: CPU, microseconds per s", "%.0f", 1e6*ours.Follower.CPU.Seconds()/ours.Over.Seconds(), 1e6*before.Follower.CPU.Seconds()/before.Over.Seconds())
	}
	line("binary, MB", "%.2f", float64(r.Sizes["binary of "+oursName])/1e6, float64(r.Sizes["binary of "+beforeName])/1e6)
}

func (r *Report) samples(scenario string, lease time.Duration, system string) Samples {
	for _, s := range r.Failover {
		if s.Scenario == scenario && s.Lease == lease && s.System == system {
			return s
		}
	}
	return Samples{}
}

// steady joins the halves in which a system was measured: rates are their mean,
// memory is that of the worse one.
func (r *Report) steady(system string) (joined Steady) {
	n := 0.0
	joined.Load.Requests = map[string]float64{}
	for _, s := range r.Steady {
		if s.System != system {
			continue
		}
		n++
		joined.System = system
		joined.Over += s.Over
		joined.Wire += s.Wire
		for verb, rate := range s.Load.Requests {
			joined.Load.Requests[verb] += rate
		}
		from := s.Load.rates()
		for i, rate := range joined.Load.rates() {
			*rate += *from[i]
		}
		for _, p := range []struct{ to, from *harness.Process }{{&joined.Leader, &s.Leader}, {&joined.Follower, &s.Follower}} {
			p.to.CPU += p.from.CPU
			p.to.Resident, p.to.Heap, p.to.Peak = max(p.to.Resident, p.from.Resident), max(p.to.Heap, p.from.Heap), max(p.to.Peak, p.from.Peak)
		}
	}
	if n == 0 {
		return joined
	}
	joined.Wire /= n
	for verb := range joined.Load.Requests {
		joined.Load.Requests[verb] /= n
	}
	for _, rate := range joined.Load.rates() {
		*rate /= n
	}
	return joined
}

func verbs(loads ...Load) (all []string) {
	for _, l := range loads {
		for verb := range l.Requests {
			if !slices.Contains(all, verb) {
				all = append(all, verb)
			}
		}
	}
	slices.Sort(all)
	return all
}

// String is the median, the maximum, and how many there were.
func (s Samples) String() string {
	switch {
	case s.Never:
		return "never"
	case len(s.Millis) == 0:
		return ""
	}
	return fmt.Sprintf("%.1f (%.1f) of %d", s.median(), slices.Max(s.Millis), len(s.Millis))
}

func (s Samples) median() float64 {
	if len(s.Millis) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s.Millis))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// ratio of ours to the peer's, as a fraction.
func ratio(ours, peer float64) string {
	if r := ours / peer; r > 0 && !math.IsInf(r, 0) {
		return fmt.Sprintf("%.3g", r)
	}
	return "-"
}

func number(format string, v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf(format, v)
}
