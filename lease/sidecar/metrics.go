package sidecar

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
)

// metrics counts the requests to the API server. Prometheus' own library would
// add megabytes to a binary that shows five series.
type metrics struct {
	leaseName string
	dropped   func() int64
	mu        sync.Mutex
	requests  map[[2]string]int64 // by method and status
}

// wrap counts what passes through a transport.
func (m *metrics) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		code := "error"
		if err == nil {
			code = strconv.Itoa(resp.StatusCode)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.requests[[2]string{r.Method, code}]++
		return resp, err
	})
}

// lines returns a sample a line, sorted.
func (m *metrics) lines() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var lines []string
	for key, count := range m.requests {
		lines = append(lines, fmt.Sprintf("leader_election_api_requests_total{method=%q,code=%q} %d\n", key[0], key[1], count))
	}
	slices.Sort(lines)
	return lines
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func number(truth bool) int {
	if truth {
		return 1
	}
	return 0
}

func (s *server) writeMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	state := s.election.State()
	validFor := max(0, state.ValidUntil.Sub(s.election.Clock().Now()))
	series := func(name, kind, help string) {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	}
	series("leader_election_master_status", "gauge", "1 while this pod leads, 0 otherwise.")
	fmt.Fprintf(w, "leader_election_master_status{name=%q} %d\n", s.metrics.leaseName, number(validFor > 0))
	series("leader_election_valid_seconds", "gauge", "How long leadership lasts unless it is renewed.")
	fmt.Fprintf(w, "leader_election_valid_seconds{name=%q} %g\n", s.metrics.leaseName, validFor.Seconds())
	series("leader_election_lease_transitions", "gauge", "leaseTransitions of the Lease: the fencing token.")
	fmt.Fprintf(w, "leader_election_lease_transitions{name=%q} %d\n", s.metrics.leaseName, state.Transitions)
	if alive, known := s.appAlive(); known {
		series("leader_election_app_alive", "gauge", "1 while the app of LEAD_WHILE lives, 0 otherwise.")
		fmt.Fprintf(w, "leader_election_app_alive{name=%q} %d\n", s.metrics.leaseName, number(alive))
	}
	series("leader_election_draining", "gauge", "1 while the Lease is kept until the app has stopped, 0 otherwise.")
	fmt.Fprintf(w, "leader_election_draining{name=%q} %d\n", s.metrics.leaseName, number(state.Draining))
	series("leader_election_api_requests_total", "counter", "Requests to the API server by method and status.")
	for _, line := range s.metrics.lines() {
		io.WriteString(w, line)
	}
	series("leader_election_log_lines_dropped_total", "counter", "Log lines dropped because the reader of stderr was too slow.")
	fmt.Fprintf(w, "leader_election_log_lines_dropped_total %d\n", s.metrics.dropped())
}
