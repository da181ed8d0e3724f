package sidecar

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// exposition writes metrics as Prometheus reads them.
type exposition struct {
	w    io.Writer
	open bool // as OpenMetrics, else in Prometheus' own text format
}

const (
	textFormat = "text/plain; version=0.0.4; charset=utf-8"
	openFormat = "application/openmetrics-text; version=1.0.0; charset=utf-8"
)

// family begins a metric.
func (e exposition) family(name, kind, help string) {
	if e.open {
		name = strings.TrimSuffix(name, "_total")
	}
	fmt.Fprintf(e.w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// sample writes a value under its labels.
func (e exposition) sample(name, labels string, value any) {
	if labels != "" {
		labels = "{" + labels + "}"
	}
	fmt.Fprintf(e.w, "%s%s %v\n", name, labels, value)
}

// labels are given as pairs of name and value.
func labels(pairs ...string) string {
	var all []string
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, fmt.Sprintf("%s=%q", pairs[i], pairs[i+1]))
	}
	return strings.Join(all, ",")
}

func (e exposition) end() {
	if e.open {
		fmt.Fprint(e.w, "# EOF\n")
	}
}

func number(truth bool) int {
	if truth {
		return 1
	}
	return 0
}

func (s *server) writeMetrics(w http.ResponseWriter, r *http.Request) {
	var page strings.Builder // whole, before a client that may not read: requests of the election wait for the counts' lock
	e := exposition{&page, strings.Contains(r.Header.Get("Accept"), "application/openmetrics-text")}
	w.Header().Set("Content-Type", textFormat)
	if e.open {
		w.Header().Set("Content-Type", openFormat)
	}
	s.writeState(e)
	s.metrics.write(e)
	e.end()
	_, _ = io.WriteString(w, page.String())
}

// writeState writes what the election's State says.
func (s *server) writeState(e exposition) {
	state, name := s.election.State(), labels("name", s.metrics.leaseName)
	validFor := max(0, state.ValidUntil.Sub(s.election.Clock().Now()))
	gauge := func(metric, help string, value any) {
		e.family(metric, "gauge", help)
		e.sample(metric, name, value)
	}
	gauge("leader_election_master_status", "1 while this pod leads, 0 otherwise.", number(validFor > 0))
	gauge("leader_election_valid_seconds", "How long this pod leads unless it renews the Lease.", validFor.Seconds())
	gauge("leader_election_renew_deadline_seconds", "RENEW_DEADLINE: how long a renewal lets this pod lead.", s.metrics.deadline.Seconds())
	if state.Synced { // 0 is a token
		gauge("leader_election_lease_transitions", "leaseTransitions of the Lease: the fencing token.", state.Transitions)
	}
	if alive, known := s.appAlive(); known {
		gauge("leader_election_app_alive", "1 while the app of LEAD_WHILE is alive, 0 otherwise.", number(alive))
	}
}

// write writes what was counted.
func (m *metrics) write(e exposition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := labels("name", m.leaseName)
	const since = "leader_election_draining_since_timestamp_seconds"
	e.family(since, "gauge", "Unix time since which the Lease is kept until the app has stopped; 0 if it is not.")
	at := 0.0
	if !m.draining.IsZero() {
		at = float64(m.draining.UnixMilli()) / float64(time.Second/time.Millisecond)
	}
	e.sample(since, name, at)

	counter := func(metric, help string, value int64) {
		e.family(metric, "counter", help)
		e.sample(metric, name, value)
	}
	counter("leader_election_transitions_seen_total", "Terms of any pod that this pod has seen begin.", m.terms)
	counter("leader_election_slowpath_total", "Reads of the Lease while this pod leads: a renewal has failed, or its outcome is unknown.", m.reads)
	m.byReason(e, "leader_election_terms_ended_total", "Terms of this pod that have ended.", m.ended, "stopping", "step_down", "app_lost", "lost")
	m.byReason(e, "leader_election_renewal_failures_total", "Renewals that have failed.", m.failures, "timeout", "connection", "conflict", "denied", "throttled", "server", "refused")

	const renewal = "leader_election_renewal_duration_seconds"
	e.family(renewal, "histogram", "How long successful renewals took.")
	for i, bound := range bounds {
		e.sample(renewal+"_bucket", labels("name", m.leaseName, "le", fmt.Sprint(bound)), m.renewals.counts[i])
	}
	e.sample(renewal+"_bucket", labels("name", m.leaseName, "le", "+Inf"), m.renewals.count)
	e.sample(renewal+"_sum", name, m.renewals.sum)
	e.sample(renewal+"_count", name, m.renewals.count)

	e.family("rest_client_requests_total", "counter", "Requests to the API server, by status code, method and host.")
	for _, of := range slices.Sorted(maps.Keys(m.requests)) {
		e.sample("rest_client_requests_total", of, m.requests[of])
	}
	e.family("leader_election_log_lines_dropped_total", "counter", "Log lines dropped because stderr was read too slowly.")
	e.sample("leader_election_log_lines_dropped_total", "", m.dropped())
}

// byReason writes a counter of each reason, those that have not happened too: a rate from
// 0 is seen only where the 0 was.
func (m *metrics) byReason(e exposition, metric, help string, counts map[string]int64, reasons ...string) {
	e.family(metric, "counter", help)
	for _, reason := range reasons {
		e.sample(metric, labels("name", m.leaseName, "reason", reason), counts[reason])
	}
}
