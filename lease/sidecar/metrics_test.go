package sidecar

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/leader-elector/leader-elector/lease"
)

// What passes through the transport is counted as the election means it: a PUT of the
// Lease by a leader is a renewal, a GET a renewal that has to look first.
func TestMetricsCountRenewals(t *testing.T) {
	r := newStreamRig(t, time.Hour)
	m := r.server.metrics
	m.election = r.election
	answer := func(code int, err error) http.RoundTripper {
		return m.wrap(roundTripper(func(*http.Request) (*http.Response, error) {
			if err != nil {
				return nil, err
			}
			return &http.Response{StatusCode: code, Body: http.NoBody}, nil
		}))
	}
	send := func(method, path string, code int, err error) {
		req, _ := http.NewRequestWithContext(t.Context(), method, "https://api:443"+path, http.NoBody)
		_, _ = answer(code, err).RoundTrip(req)
	}
	const path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/app"
	send("PUT", path, 200, nil) // a claim: it does not lead yet
	r.election.leads(time.Hour)
	send("PUT", path, 200, nil)
	send("PUT", path, 409, nil)
	send("PUT", path, 403, nil)
	send("PUT", path, 429, nil)
	send("PUT", path, 503, nil)
	send("PUT", path, 422, nil)
	send("PUT", path, 0, context.Canceled)
	send("PUT", path, 0, errors.New("reset"))
	send("GET", path, 200, nil)
	send("PATCH", "/api/v1/namespaces/default/pods/app", 200, nil)

	page := r.page(t, "")
	for _, want := range []string{
		`leader_election_renewal_duration_seconds_count{name="app"} 1`, `leader_election_renewal_duration_seconds_bucket{name="app",le="2.5"} 1`,
		`leader_election_renewal_failures_total{name="app",reason="timeout"} 1`, `leader_election_renewal_failures_total{name="app",reason="connection"} 1`,
		`leader_election_renewal_failures_total{name="app",reason="conflict"} 1`, `leader_election_renewal_failures_total{name="app",reason="denied"} 1`,
		`leader_election_renewal_failures_total{name="app",reason="throttled"} 1`, `leader_election_renewal_failures_total{name="app",reason="server"} 1`,
		`leader_election_renewal_failures_total{name="app",reason="refused"} 1`, `leader_election_slowpath_total{name="app"} 1`,
		`rest_client_requests_total{code="200",method="PUT",host="api:443"} 2`, `rest_client_requests_total{code="<error>",method="PUT",host="api:443"} 2`,
		`rest_client_requests_total{code="200",method="PATCH",host="api:443"} 1`, `leader_election_renew_deadline_seconds{name="app"} 10`,
	} {
		if !strings.Contains(page, want+"\n") {
			t.Errorf("no %s in\n%s", want, page)
		}
	}
}

func (r *streamRig) page(t *testing.T, accept string) string {
	t.Helper()
	req, answer := httptest.NewRequest("GET", "/metrics", nil), httptest.NewRecorder()
	req.Header.Set("Accept", accept)
	r.server.writeMetrics(answer, req)
	return answer.Body.String()
}

// A term ends in one way, however late it is noticed.
func TestMetricsCountTerms(t *testing.T) {
	m := newMetrics("app", time.Second, nil)
	is := func(role lease.Role, token int32, valid bool) lease.State {
		s := lease.State{Synced: true, Leader: "x", Role: role, Transitions: token, Draining: role == lease.HandingOver}
		if valid {
			s.ValidUntil = 1
		}
		return s
	}
	before := lease.State{}
	becomes := func(s lease.State) { m.changed(before, s); before = s }
	becomes(is(lease.Following, 1, false)) // what was there before is not seen to begin
	becomes(is(lease.Leading, 2, false))
	becomes(is(lease.Leading, 2, true))
	becomes(is(lease.Following, 2, false)) // lost
	becomes(is(lease.Leading, 3, true))
	becomes(is(lease.HandingOver, 3, false))
	if m.draining.IsZero() {
		t.Error("draining, and not said")
	}
	m.handsOver(lease.SteppingDown)
	becomes(is(lease.Following, 4, false))
	becomes(is(lease.Leading, 5, true))
	m.handsOver(lease.AppLost) // and over before it is noticed
	becomes(is(lease.Following, 6, false))
	deleted := is(lease.Following, 6, false)
	deleted.LeaseUID = "another" // the Lease was deleted and put back: no term began
	becomes(deleted)
	if m.terms != 5 || m.ended["lost"] != 1 || m.ended["step_down"] != 1 || m.ended["app_lost"] != 1 || !m.draining.IsZero() {
		t.Errorf("%d terms, ended %v, draining %v", m.terms, m.ended, m.draining)
	}
}

// Prometheus asks for OpenMetrics first.
func TestMetricsAsOpenMetrics(t *testing.T) {
	r := newStreamRig(t, time.Hour)
	page := r.page(t, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
	if !strings.HasSuffix(page, "\n# EOF\n") || !strings.Contains(page, "# TYPE rest_client_requests counter\n") {
		t.Error(page)
	}
}

// blocked is a client that reads no further than to what is counted.
type blocked struct{ reached, goes chan struct{} }

func (b *blocked) Header() http.Header { return http.Header{} }
func (b *blocked) WriteHeader(int)     {}
func (b *blocked) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "transitions_seen") {
		select {
		case b.reached <- struct{}{}:
		default:
		}
		<-b.goes
	}
	return len(p), nil
}

// A client that does not read its answer holds up no request of the election.
func TestS1_AReaderOfMetricsThatStandsStillHoldsUpNothing(t *testing.T) {
	r := newStreamRig(t, time.Hour)
	m := r.server.metrics
	client := &blocked{make(chan struct{}, 1), make(chan struct{})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		r.server.writeMetrics(client, httptest.NewRequest("GET", "/metrics", nil))
	}()
	<-client.reached
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		next := roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") })
		_, _ = m.wrap(next).RoundTrip(httptest.NewRequest("PUT", "http://api/leases/app", nil))
	}()
	select {
	case <-sent:
	case <-time.After(10 * time.Second):
		t.Error("a request of the election waits for a reader of /metrics")
	}
	close(client.goes)
	<-served
	<-sent
}
