package lease

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/client-go/rest"
)

const record = `{"metadata":{"name":"app","namespace":"default","uid":"u","resourceVersion":"7"},"spec":{"holderIdentity":"other","leaseDurationSeconds":15,"leaseTransitions":3,"renewTime":"2026-01-01T00:00:00.000000Z"}}`

// canned answers every request with the same bytes.
type canned struct {
	status int
	kind   string
	body   []byte
}

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: c.status, Header: http.Header{"Content-Type": {c.kind}, "Retry-After": {"1"}},
		Body: io.NopCloser(bytes.NewReader(c.body)), Request: r,
	}, nil
}

// newCampaign is the state machine of a follower called me, without its loop.
func newCampaign(tb testing.TB, transport http.RoundTripper) *campaign {
	e, err := New(Config{
		REST: &rest.Config{Host: "http://api", Transport: transport}, Namespace: "default", Name: "app", Identity: "me",
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return &campaign{Elector: e, requests: context.Background(), answers: make(chan answer, 1)}
}

// leavesTermsAlone fails unless the campaign, having just received l, waits for
// as long as any other holder of it may lead.
func leavesTermsAlone(t *testing.T, c *campaign, l *coordinationv1.Lease, now time.Duration) {
	t.Helper()
	c.fresh = true
	request, at := c.next()
	if l == nil || holderOf(l) == "" {
		return
	}
	if c.validUntil != 0 {
		t.Errorf("leads by the record of %q", holderOf(l))
	}
	if wait := durationOf(l, DefaultLeaseDuration); request.isWrite() && at < now+wait {
		t.Errorf("%v after %v beside %q, whose record says %v", request, at-now, holderOf(l), wait)
	}
}

// A Lease, and then another: whatever they say, a foreign term is waited out.
func FuzzLeaseToDecision(f *testing.F) {
	f.Add([]byte(record), []byte(record))
	f.Add([]byte(`{}`), []byte(`{"spec":{"holderIdentity":"me","leaseDurationSeconds":-1}}`))
	f.Add([]byte(record), []byte(`{"metadata":{"annotations":{"leader-elector/incarnation":"put-back-for:x"}},"spec":{"holderIdentity":"","leaseDurationSeconds":1}}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		c := newCampaign(t, canned{})
		now := time.Hour
		for _, raw := range [][]byte{first, second} {
			l := &coordinationv1.Lease{}
			if json.Unmarshal(raw, l) != nil {
				l = nil
			}
			c.observe(l, now)
			leavesTermsAlone(t, c, l, now)
			if c.term.lease != nil {
				_ = c.desired(claim)
			}
			if c.term.held != nil {
				_ = c.putBack()
			}
			now += time.Second
		}
	})
}

// An answer of the API server, or of what stands between: an error, or the
// Lease that was asked for.
func FuzzAnswerToClient(f *testing.F) {
	f.Add(100, "application/json", []byte(record))
	f.Add(100, "text/html", []byte(`<html>login</html>`))
	f.Add(309, "application/json", []byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Conflict","code":409}`))
	f.Add(329, "application/json", []byte(`{"kind":"Status","details":{"retryAfterSeconds":-5}}`))
	f.Add(100, "application/vnd.kubernetes.protobuf", []byte("k8s\x00\n\x00"))
	f.Fuzz(func(t *testing.T, status int, kind string, body []byte) {
		status = 100 + int(uint(status)%500) // no HTTP client lets another one through
		c := newCampaign(t, canned{status, kind, body})
		now := time.Hour
		got, err := c.client.get(t.Context())
		c.pending = read
		c.answered(answer{request: read, verb: "get", lease: got, err: err, sent: now}, now)
		if err == nil && got != nil {
			if got.Name != "app" || got.ResourceVersion == "" {
				t.Errorf("not the Lease that was asked for: %+v", got)
			}
			leavesTermsAlone(t, c, got, now)
		}
		if c.notBefore < 0 {
			t.Errorf("waits until %v", c.notBefore)
		}
	})
}

// A watch's bytes: events of the Lease, and then an end.
func FuzzWatchToClient(f *testing.F) {
	f.Add([]byte(`{"type":"ADDED","object":` + record + `}` + "\n" + `{"type":"DELETED","object":` + record + `}`))
	f.Add([]byte(`{"type":"ERROR","object":{"kind":"Status","code":410}}`))
	f.Add([]byte(`{"type":"BOOKMARK","object":{}}{"type":"MODIFIED","object":{"kind":"Pod","apiVersion":"v1"}}`))
	f.Add([]byte("\x00\x00\x00\x04half"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		kind := "application/json"
		if len(stream) > 0 && stream[0] == 0 { // as the length of a first frame begins
			kind = "application/vnd.kubernetes.protobuf;stream=watch"
		}
		c := newCampaign(t, canned{200, kind, stream})
		events := make(chan watchEvent)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go c.client.follow(ctx, "1", time.Minute, events)
		c.watch.events, c.watch.cancel = events, cancel
		for {
			select {
			case ev := <-events:
				if ev.lease != nil && (ev.lease.Name != "app" || ev.lease.ResourceVersion == "") {
					t.Errorf("not the Lease that is watched: %+v", ev.lease)
				}
				c.watched(ev, time.Hour)
				if ev.ended {
					return
				}
				if l := c.term.lease; l != nil {
					leavesTermsAlone(t, c, l, time.Hour)
				}
			case <-ctx.Done():
				t.Fatal("the watch does not end with its bytes")
			}
		}
	})
}
