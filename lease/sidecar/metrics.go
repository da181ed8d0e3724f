package sidecar

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/leader-elector/leader-elector/lease"
)

// metrics counts what /metrics shows beside the State. Prometheus' own library would add
// 2.6 MB to the binary.
type metrics struct {
	leaseName string
	deadline  time.Duration // RENEW_DEADLINE
	dropped   func() int64  // log lines
	election  Election      // set before the first request

	mu       sync.Mutex
	requests map[string]int64 // by labels
	renewals histogram        // that succeeded
	failures map[string]int64 // of renewals, by reason
	reads    int64            // of the Lease while this pod leads
	ended    map[string]int64 // terms of this pod, by reason
	terms    int64            // seen to begin, of any pod
	draining time.Time        // since when; zero: not

	handed bool // the end of the term is counted already, by the handover
}

func newMetrics(leaseName string, deadline time.Duration, dropped func() int64) *metrics {
	return &metrics{
		leaseName: leaseName, deadline: deadline, dropped: dropped,
		requests: map[string]int64{}, failures: map[string]int64{}, ended: map[string]int64{},
	}
}

// wrap counts what passes through a transport.
func (m *metrics) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		leads, start := m.election != nil && leadsNow(m.election), time.Now()
		resp, err := next.RoundTrip(r)
		code := "<error>" // as client-go has it
		if err == nil {
			code = strconv.Itoa(resp.StatusCode)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.requests[labels("code", code, "method", r.Method, "host", r.URL.Host)]++
		if !leads || !strings.HasSuffix(r.URL.Path, "/leases/"+m.leaseName) {
			return resp, err
		}
		switch reason := failureReason(resp, err); {
		case r.Method == http.MethodGet:
			m.reads++
		case r.Method == http.MethodPut && reason == "":
			m.renewals.observe(time.Since(start))
		case r.Method == http.MethodPut:
			m.failures[reason]++
		}
		return resp, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// failureReason is "" for a success.
func failureReason(resp *http.Response, err error) string {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout" // or given up, since the time to renew is over
	case err != nil:
		return "connection"
	case resp.StatusCode < 300:
		return ""
	case resp.StatusCode == http.StatusConflict:
		return "conflict"
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return "denied"
	case resp.StatusCode == http.StatusTooManyRequests:
		return "throttled"
	case resp.StatusCode >= 500:
		return "server"
	}
	return "refused"
}

// watch counts terms until ctx is done.
func (m *metrics) watch(ctx context.Context) {
	changes := m.election.Changes()
	var before lease.State
	for {
		select {
		case <-changes:
		case <-ctx.Done():
			return
		}
		now := m.election.State()
		m.changed(before, now)
		before = now
	}
}

// changed counts what has changed from one State to the next.
func (m *metrics) changed(before, now lease.State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if before.Synced && now.Leader != "" && before.Transitions != now.Transitions {
		m.terms++
	}
	switch led, leads := before.ValidUntil != 0, now.ValidUntil != 0; {
	case leads && !led:
		m.handed = false
	case led && !leads && now.Role != lease.HandingOver && !m.handed:
		m.ended["lost"]++
	}
	switch {
	case !now.Draining:
		m.draining = time.Time{}
	case m.draining.IsZero():
		m.draining = time.Now()
	}
}

// handsOver counts a term that this pod gives up.
func (m *metrics) handsOver(cause lease.Cause) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.handed = true
	m.ended[map[lease.Cause]string{lease.Stopping: "stopping", lease.SteppingDown: "step_down", lease.AppLost: "app_lost"}[cause]]++
}

// histogram counts durations by their bounds.
type histogram struct {
	counts [len(bounds)]int64 // at most as long; cumulative
	count  int64
	sum    float64 // in seconds
}

// bounds of the durations of renewals, in seconds.
var bounds = [...]float64{0.005, 0.025, 0.1, 0.5, 2.5}

func (h *histogram) observe(d time.Duration) {
	h.count++
	h.sum += d.Seconds()
	for i, bound := range bounds {
		if d.Seconds() <= bound {
			h.counts[i]++
		}
	}
}
