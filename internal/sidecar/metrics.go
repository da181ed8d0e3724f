package sidecar

import (
	"fmt"
	"maps"
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

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (s *server) writeMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	state, leads := s.elector.State(), 0
	validFor := max(0, state.ValidUntil-s.elector.Clock().Now())
	if validFor > 0 {
		leads = 1
	}
	series := func(name, kind, help string) {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	}
	series("leader_election_master_status", "gauge", "1 while this pod leads, 0 otherwise.")
	fmt.Fprintf(w, "leader_election_master_status{name=%q} %d\n", s.metrics.leaseName, leads)
	series("leader_election_valid_seconds", "gauge", "How long leadership lasts unless it is renewed.")
	fmt.Fprintf(w, "leader_election_valid_seconds{name=%q} %g\n", s.metrics.leaseName, validFor.Seconds())
	series("leader_election_lease_transitions", "gauge", "leaseTransitions of the Lease: the fencing token.")
	fmt.Fprintf(w, "leader_election_lease_transitions{name=%q} %d\n", s.metrics.leaseName, state.Transitions)
	series("leader_election_api_requests_total", "counter", "Requests to the API server by method and status.")
	s.metrics.mu.Lock()
	requests := maps.Clone(s.metrics.requests)
	s.metrics.mu.Unlock()
	for _, key := range slices.SortedFunc(maps.Keys(requests), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		fmt.Fprintf(w, "leader_election_api_requests_total{method=%q,code=%q} %d\n", key[0], key[1], requests[key])
	}
	series("leader_election_log_lines_dropped_total", "counter", "Log lines dropped because nobody read them.")
	fmt.Fprintf(w, "leader_election_log_lines_dropped_total %d\n", s.metrics.dropped())
}
