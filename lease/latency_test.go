package lease_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

func TestL3_ASlowConnectionCostsNoLeadership(t *testing.T) {
	const slow = renewDeadline * 4 / 10
	t.Run("constant", func(t *testing.T) {
		for _, forbid := range []int{0, 403} {
			inFakeTime(t, func(w *world) {
				w.OnRequest(func(r leasetest.Request) leasetest.Fault {
					f := leasetest.Latency(slow)
					if r.Verb == "watch" {
						f.Status = forbid
					}
					return f
				})
				a := w.start("a")
				w.takesOver(a, 3*slow)
				b := w.start("b")
				w.keepsLeading(a, 5*time.Minute)
				// a clean stop releases all the same
				a.stop()
				<-a.ended
				equal(w, "released", w.holder() != "a", true)
				w.takesOver(b, 6*slow)
				w.keepsLeading(b, time.Minute)
			})
		}
	})
	t.Run("rising", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			start := time.Now()
			w.OnRequest(func(leasetest.Request) leasetest.Fault {
				return leasetest.Latency(min(slow, time.Since(start)/30)) // 4 s after two minutes
			})
			a := w.start("a")
			w.keepsLeading(a, 7*time.Minute)
		})
	})
	t.Run("at once", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a, b := w.start("a"), w.start("b")
			sleep(2*renewInterval + time.Second)
			w.OnRequest(func(leasetest.Request) leasetest.Fault { return leasetest.Latency(slow) })
			w.keepsLeading(a, 5*time.Minute)
			w.leads(false, b)
		})
	})
	t.Run("one lost request of each kind", func(t *testing.T) {
		for _, lost := range []string{"update", "get"} {
			for _, fault := range []leasetest.Fault{{DropRequest: true}, {DropAnswer: true}, {DropRequest: true, Reset: true}, {DropAnswer: true, Reset: true}} {
				inFakeTime(t, func(w *world) {
					a := w.start("a")
					var refused, done atomic.Bool
					w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
						switch {
						case lost == "get" && r.Verb == "update" && !refused.Swap(true):
							f.Status = 409 // so that the leader reads
						case r.Verb == lost && !done.Swap(true):
							f = fault
						}
						return f
					})
					w.keepsLeading(a, time.Minute)
					equal(w, lost+" was lost", done.Load(), true)
				})
			}
		}
	})
}

// stuck is a transport that hangs without regard to the request's context, as
// client-go's does while it runs a credential plugin.
type stuck struct {
	http.RoundTripper
	mu      sync.Mutex
	hangs   chan struct{} // closed to end the hanging; nil: none
	calls   int
	hanging int
}

func (s *stuck) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	hangs := s.hangs
	if s.calls++; hangs != nil {
		s.hanging++
	}
	s.mu.Unlock()
	if hangs != nil {
		<-hangs
		s.mu.Lock()
		s.hanging--
		s.mu.Unlock()
	}
	return s.RoundTripper.RoundTrip(r)
}

func (s *stuck) hang() (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hangs := make(chan struct{})
	s.hangs = hangs
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.hangs = nil
		close(hangs)
	}
}

func TestL3_ACredentialPluginThatHangs(t *testing.T) {
	inFakeTime(t, func(w *world) {
		transport := &stuck{RoundTripper: &w.Server}
		a := w.start("a", func(c *lease.Config) { c.REST.Transport = transport })
		w.leads(true, a)
		end := transport.hang()
		sleep(renewDeadline)
		w.leads(false, a) // in time
		for range 10 {
			sleep(time.Minute)
			if transport.hanging > 10 {
				end()
				w.Fatalf("%d calls hang", transport.hanging)
			}
		}
		problem := a.State().Problem
		lines := a.logged("\n")
		end()
		if !contains(problem, "credential plugin") {
			w.Fatalf("problem %q", problem)
		}
		if lines > 25 {
			w.Fatalf("%d lines in 10 minutes\n%s", lines, a.log)
		}
		w.takesOver(a, 2*leaseDuration)
		equal(w, "problem after", a.State().Problem, "")
	})
	t.Run("a stop does not wait for it", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			transport := &stuck{RoundTripper: &w.Server}
			a := w.start("a", func(c *lease.Config) { c.REST.Transport = transport })
			end := transport.hang()
			sleep(renewDeadline)
			start := time.Now()
			a.stop()
			<-a.ended
			took := time.Since(start)
			end()
			if took > renewDeadline {
				w.Fatalf("took %v", took)
			}
		})
	})
}

// A service account's token that is revoked, and replaced in its file, is read
// again at the 401 that tells of it.
func TestL4_AReplacedTokenFileIsUsedAtOnce(t *testing.T) {
	var valid atomic.Value
	var refused atomic.Int32
	valid.Store("Bearer first")
	server := &leasetest.Server{}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != valid.Load() {
			refused.Add(1)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "Unauthorized", "reason": "Unauthorized", "code": 401})
			return
		}
		server.ServeHTTP(w, r)
	}))
	t.Cleanup(api.Close)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("first"), 0o600); err != nil {
		t.Fatal(err)
	}
	elector, err := lease.New(lease.Config{
		REST: &rest.Config{Host: api.URL, BearerTokenFile: file}, Namespace: namespace, Name: name, Identity: "a",
		LeaseDuration: 6 * time.Second, RenewInterval: 200 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	changes, ended := elector.Changes(), make(chan error, 1)
	go func() { ended <- elector.Run(ctx) }()
	renewals := func(n int) {
		limit := time.After(time.Minute)
		last, led := elector.State().ValidUntil, elector.IsLeader()
		for n > 0 {
			select {
			case <-changes:
				s := elector.State()
				if led && !s.LeadsAt(elector.Clock().Now()) {
					t.Fatal("leadership was lost")
				}
				if s.ValidUntil > last {
					last, led = s.ValidUntil, true
					n--
				}
			case <-limit:
				t.Fatalf("no renewal for a minute: %s", elector.State().Problem)
			}
		}
	}
	renewals(3)
	if err := os.WriteFile(file, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	valid.Store("Bearer second")
	renewals(3)
	if refused.Load() == 0 {
		t.Fatal("the first token was never refused")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
