package lease_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/leader-elector/leader-elector/lease"
)

// A request that was answered keeps nothing: its context has ended when the next
// one is sent. Contexts that stay would add up for the life of the process.
func TestAnsweredRequestsKeepNothing(t *testing.T) {
	inFakeTime(t, func(w *world) {
		var requests []*http.Request
		w.start("a", func(c *lease.Config) {
			next := c.REST.Transport
			c.REST.Transport = transportFunc(func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodPut {
					requests = append(requests, r)
				}
				return next.RoundTrip(r)
			})
		})
		sleep(time.Minute)
		if len(requests) < 10 {
			t.Fatalf("%d renewals", len(requests))
		}
		for i, r := range requests[:len(requests)-1] {
			if r.Context().Err() == nil {
				t.Fatalf("the context of renewal %d of %d goes on", i+1, len(requests))
			}
		}
	})
}

// transportFunc is a transport made of a function.
type transportFunc func(*http.Request) (*http.Response, error)

// RoundTrip calls f.
func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
