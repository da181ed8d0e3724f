package lease_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/client-go/rest"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/boottime"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

func TestL1_FollowersOnlyWatch(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a := w.start("a")
		w.start("b")
		w.start("c")
		sleep(time.Second)
		before := w.Requests()
		sleep(5 * time.Minute)
		after := w.Requests()
		equal(w, "gets", after["get"]-before["get"], 0)
		equal(w, "watches", after["watch"]-before["watch"], 0)
		equal(w, "updates", after["update"]-before["update"], 60)
		w.leads(true, a)
	})
}

func TestL1_AReleasedLeaseIsTakenInTwoRoundTrips(t *testing.T) {
	inFakeTime(t, func(w *world) {
		const oneWay = 3 * time.Millisecond
		w.OnRequest(func(r leasetest.Request) leasetest.Fault {
			if r.Verb == "watch" {
				return leasetest.Fault{EventDelay: oneWay}
			}
			return leasetest.Fault{Delay: oneWay, AnswerDelay: oneWay}
		})
		a := w.start("a")
		sleep(time.Second)
		b := w.start("b")
		sleep(time.Second)
		w.leads(true, a)
		a.stop()
		if took := w.takesOver(b, time.Minute); took > 4*oneWay+time.Millisecond {
			t.Fatalf("took %v", took)
		}
	})
}

func TestL1_AnExpiredLeaseIsTakenToTheMillisecond(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a, b, c := w.start("a"), w.start("b"), w.start("c")
		sleep(7 * time.Second) // the last renewal was 2 s ago
		w.leads(true, a)
		tries := 0
		w.OnRequest(func(r leasetest.Request) leasetest.Fault {
			if r.Verb == "update" && r.Client != "a" {
				tries++
			}
			return leasetest.Fault{DropRequest: r.Client == "a"}
		})
		sleep(leaseDuration - 2*time.Second - time.Millisecond)
		w.leads(false, b, c)
		sleep(time.Millisecond)
		if b.IsLeader() == c.IsLeader() {
			t.Fatalf("b leads %v, c leads %v", b.IsLeader(), c.IsLeader())
		}
		sleep(renewInterval - time.Millisecond)
		if tries < 1 || tries > 2 { // each once at most; the loser learns of it from its watch
			t.Fatalf("%d tries", tries)
		}
	})
}

func TestL1_ACrowdLearnsNotToClaimAtOnce(t *testing.T) {
	inFakeTime(t, func(w *world) {
		const followers, oneWay = 100, 3 * time.Millisecond
		replicas := []*replica{w.start("first")}
		sleep(time.Second)
		for i := range followers {
			replicas = append(replicas, w.start(fmt.Sprintf("follower-%d", i)))
		}
		w.OnRequest(func(r leasetest.Request) leasetest.Fault {
			return leasetest.Fault{Delay: oneWay, AnswerDelay: oneWay}
		})
		w.CutWatches() // so that the new ones are as slow
		sleep(2 * renewInterval)
		claims := func() int {
			leader := slices.IndexFunc(replicas, func(r *replica) bool { return r.IsLeader() })
			before := w.Requests()["update"]
			replicas[leader].stop()
			sleep(renewInterval - time.Second)
			return w.Requests()["update"] - before - 1 // the release
		}
		equal(w, "claims, the first time", claims(), followers)
		if n := claims(); n < 1 || n > followers/5 {
			w.Errorf("%d claims of %d followers that have met before", n, followers-1)
		}
	})
}

func TestL1_AClaimThatIsTooLateIsSettledByTheWatch(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a := w.start("a")
		sleep(time.Second)
		b, c := w.start("b"), w.start("c")
		sleep(time.Second)
		w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
			if r.Verb == "update" && r.Client == "c" { // an API server that many claim from at once
				f.Delay = time.Minute
			}
			return f
		})
		before := w.Requests()
		a.stop()
		w.takesOver(b, time.Second)
		sleep(leaseDuration)
		after := w.Requests()
		equal(w, "reads", after["get"]-before["get"], 0)
		equal(w, "watches", after["watch"]-before["watch"], 0)
		equal(w, "warnings", c.logged("level=WARN"), 0)
	})
}

func TestL2_WithoutAWatchTheLeaseIsPolled(t *testing.T) {
	t.Run("forbidden", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			forbid := func(r leasetest.Request) (f leasetest.Fault) {
				if r.Verb == "watch" {
					f.Status = 403
				}
				return f
			}
			w.OnRequest(forbid)
			a, b := w.start("a"), w.start("b")
			before := w.Requests()["get"]
			sleep(2 * time.Minute)
			w.leads(true, a)
			if polls := w.Requests()["get"] - before; polls < 60 || polls > 80 { // every 1.5 s to 2 s
				t.Fatalf("%d reads in two minutes", polls)
			}
			equal(w, "warnings", b.logged("level=WARN"), 1)
			equal(w, "ready all the same", b.State().Denied, false)
			a.stop()
			<-a.ended
			if took := w.takesOver(b, time.Minute); took > retryPeriod {
				t.Fatalf("took %v", took)
			}
			// and once it is allowed, it is used again
			w.OnRequest(nil)
			c := w.start("c")
			sleep(5 * leaseDuration)
			w.leads(true, b)
			before = w.Requests()["get"]
			sleep(time.Minute)
			equal(w, "reads", w.Requests()["get"]-before, 0)
			w.leads(false, c)
		})
	})
	for name, fault := range map[string]leasetest.Fault{
		"cut":             {EndAfter: time.Minute},
		"cut at once":     {EndAfter: time.Millisecond},
		"broken":          {Status: 500},
		"garbled":         {Reset: true, DropRequest: true},
		"open and silent": {Stale: true},
		"replaying":       {Replay: 5, EndAfter: 20 * time.Second},
		"never answered":  {DropRequest: true},
	} {
		t.Run(name, func(t *testing.T) {
			inFakeTime(t, func(w *world) {
				w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
					if r.Verb == "watch" {
						f = fault
					}
					return f
				})
				a, b := w.start("a"), w.start("b")
				for range 3000 {
					sleep(100 * time.Millisecond)
					w.leads(true, a)
					w.leads(false, b)
				}
				before := w.Requests()
				sleep(time.Minute)
				after := w.Requests()
				if n := after["get"] + after["watch"] + after["update"] - before["get"] - before["watch"] - before["update"]; n > 200 {
					t.Fatalf("%d requests in a minute", n)
				}
				w.kill(a)
				w.takesOver(b, 2*leaseDuration+retryPeriod) // a silent watch hides the last renewals
			})
		})
	}
	t.Run("history compacted", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a, b := w.start("a"), w.start("b")
			sleep(2 * retryPeriod)
			w.Compact()
			w.CutWatches()
			sleep(retryPeriod)
			a.stop()
			<-a.ended
			synctest.Wait()
			w.leads(true, b)
		})
	})
}

func TestL3_OneDeadConnectionCostsNoLeadership(t *testing.T) {
	t.Run("one attempt", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a := w.start("a")
			for _, verb := range []string{"update", "get"} {
				done := false
				w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
					if r.Verb == verb && !done || verb == "get" && r.Verb == "update" && !done {
						done = r.Verb == verb
						f.DropRequest = true
					}
					return f
				})
				for range 30 {
					sleep(time.Second)
					w.leads(true, a)
				}
				equal(w, verb+" was dropped", done, true)
			}
		})
	})
	t.Run("a failed read blanks nothing", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			w.heldBy("other", 15)
			a := w.start("a")
			w.OnRequest(func(r leasetest.Request) leasetest.Fault { return leasetest.Fault{Status: 500} })
			w.CutWatches()
			sleep(5 * time.Second)
			equal(w, "leader", a.State().Leader, "other")
			equal(w, "synced", a.State().Synced, true)
			w.OnRequest(nil)
			w.takesOver(a, leaseDuration)
		})
	})
	// HTTP/2 over TLS multiplexes everything on one connection, and by itself
	// notices only after 45 s that it is dead.
	t.Run("real connection", func(t *testing.T) {
		api := httptest.NewUnstartedServer(&leasetest.Server{})
		api.EnableHTTP2 = true
		api.StartTLS()
		t.Cleanup(api.Close)
		proxy := newFreezer(t, api.Listener.Addr().String())
		elector, err := lease.New(lease.Config{
			REST:      &rest.Config{Host: "https://" + proxy.addr, TLSClientConfig: rest.TLSClientConfig{Insecure: true}},
			Namespace: namespace, Name: name, Identity: "a", LeaseDuration: 6 * time.Second, RenewInterval: 500 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		changes, ended := elector.Changes(), make(chan error, 1)
		go func() { ended <- elector.Run(ctx) }()
		renewed := func(after boottime.Moment) boottime.Moment {
			limit := time.After(time.Minute)
			for {
				select {
				case <-changes:
					s := elector.State()
					if s.ValidUntil > after {
						return s.ValidUntil
					}
					if after > 0 && s.ValidUntil == 0 {
						t.Fatal("leadership was lost")
					}
				case <-limit:
					t.Fatal("no renewal for a minute")
				}
			}
		}
		at := renewed(renewed(0))
		before := proxy.accepted.Load()
		proxy.freeze() // every connection that is open now goes silent
		renewed(renewed(at))
		if proxy.accepted.Load() == before {
			t.Fatal("no new connection was dialled")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	})
}

func TestL4_RefusalsAreWaitedOut(t *testing.T) {
	t.Run("Retry-After is honoured", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			w.heldBy("other", 15)
			var refused atomic.Int32
			a := w.start("a")
			var at []time.Time
			w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
				if r.Verb == "update" {
					at = append(at, time.Now())
					if refused.Add(1) == 1 {
						f.Status, f.RetryAfter = 429, 7
					}
				}
				return f
			})
			sleep(30 * time.Second)
			w.leads(true, a)
			equal(w, "waited", at[1].Sub(at[0]), 7*time.Second)
		})
	})
	t.Run("but not past the deadline", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a := w.start("a")
			w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
				if r.Verb == "update" {
					f.Status, f.RetryAfter = 429, 60
				}
				return f
			})
			sleep(renewDeadline - time.Second)
			w.leads(true, a)
			w.OnRequest(nil)
			for range 30 {
				sleep(time.Second / 10)
				w.leads(true, a)
			}
		})
	})
	t.Run("any error that lasts demotes", func(t *testing.T) {
		for _, status := range []int{400, 401, 403, 404, 409, 422, 429, 500, 503} {
			inFakeTime(t, func(w *world) {
				a := w.start("a")
				w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
					if r.Verb == "update" || r.Verb == "create" {
						f.Status = status
					}
					return f
				})
				before := w.Requests()
				sleep(renewDeadline)
				w.leads(false, a)
				after := w.Requests()
				if n := after["update"] + after["get"] - before["update"] - before["get"]; n > 250 {
					t.Fatalf("status %d: %d requests in %v", status, n, renewDeadline)
				}
			})
		}
	})
	t.Run("missing rights are named", func(t *testing.T) {
		for _, c := range []struct {
			verb string
			n    int
			want string
		}{
			{"get", 403, `allow "get" on resource leases, apiGroup coordination.k8s.io, name app, in namespace default`},
			{"create", 403, `allow "create"`},
			{"get", 401, "credentials"},
			{"create", 404, `does namespace "default" exist`},
		} {
			inFakeTime(t, func(w *world) {
				w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
					if r.Verb == c.verb {
						f.Status = c.n
					}
					return f
				})
				a := w.start("a")
				sleep(time.Minute)
				equal(w, "denied", a.State().Denied, c.n != 404)
				equal(w, fmt.Sprintf("%s %d in the log", c.verb, c.n), a.logged("API request failed"), 1)
				if got := a.State().Problem; !strings.Contains(got, c.want) {
					t.Fatalf("problem %q does not say %q", got, c.want)
				}
				w.OnRequest(nil)
				sleep(retryPeriod)
				w.leads(true, a)
				equal(w, "problem after", a.State().Problem, "")
			})
		}
	})
	t.Run("a foreign holder demotes at once", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a := w.start("a")
			w.heldBy("other", 15)
			w.leads(false, a)
		})
	})
}

func TestL5_InteroperatesWithClientGo(t *testing.T) {
	inFakeTime(t, func(w *world) {
		ours := w.start("ours")
		leads, stop := w.startPeer("theirs", true)
		sleep(time.Minute)
		w.leads(true, ours)
		equal(w, "theirs", leads.Load(), false)
		// ours releases, theirs takes at its next poll
		ours.stop()
		<-ours.ended
		sleep(2 * retryPeriod * 2)
		equal(w, "theirs", leads.Load(), true)
		equal(w, "transitions", *w.lease().Spec.LeaseTransitions, 1)
		// theirs renews, ours waits; theirs releases, ours takes at once
		ours = w.start("ours")
		sleep(time.Minute)
		w.leads(false, ours)
		stop()
		synctest.Wait()
		w.leads(true, ours)
		equal(w, "transitions", *w.lease().Spec.LeaseTransitions, 2)
		// theirs dies and ours waits its record out; ours dies and theirs does
		leads, stop = w.startPeer("theirs", false)
		w.kill(ours)
		sleep(leaseDuration + 3*retryPeriod)
		equal(w, "theirs after ours died", leads.Load(), true)
		w.leads(false, ours)
		w.OnRequest(func(r leasetest.Request) leasetest.Fault {
			return leasetest.Fault{DropRequest: r.Client == "theirs"}
		})
		w.takesOver(ours, leaseDuration+renewDeadline)
		equal(w, "theirs after it died", leads.Load(), false)
		w.OnRequest(nil)
		stop()
	})
}

// client-go's ReleaseOnCancel tries to release after failed renewals too, for
// another RenewDeadline, and says only then that leadership is over. Ours, in
// the same place, has long stopped.
func TestS6_ClientGoOverlapsWithItsReleaseAndOursDoesNot(t *testing.T) {
	cutOff := func(w *world, leads func() bool) (overlap time.Duration) {
		next := w.start("next")
		sleep(7 * time.Second)
		w.OnRequest(func(r leasetest.Request) leasetest.Fault {
			return leasetest.Fault{DropRequest: r.Client == "first"}
		})
		for range 10000 {
			sleep(10 * time.Millisecond)
			if leads() && next.IsLeader() {
				overlap += 10 * time.Millisecond
			}
		}
		w.OnRequest(nil)
		return overlap
	}
	inFakeTime(t, func(w *world) {
		leads, _ := w.startPeer("first", true)
		sleep(time.Second)
		equal(w, "client-go leads", leads.Load(), true)
		if overlap := cutOff(w, leads.Load); overlap == 0 {
			t.Error("client-go did not overlap: has it been repaired?")
		}
	})
	inFakeTime(t, func(w *world) {
		equal(w, "overlap of ours", cutOff(w, w.start("first").IsLeader), 0)
	})
}

// What a proxy, a person or another program may leave in the Lease keeps
// no replica from taking over in the end, and never makes one panic.
func TestOddRecords(t *testing.T) {
	negative, zero := int32(-5), int32(0)
	holder := "other"
	for name, spec := range map[string]coordinationv1.LeaseSpec{
		"empty":                {},
		"no duration":          {HolderIdentity: &holder},
		"negative duration":    {HolderIdentity: &holder, LeaseDurationSeconds: &negative},
		"zero duration":        {HolderIdentity: &holder, LeaseDurationSeconds: &zero},
		"negative transitions": {HolderIdentity: &holder, LeaseTransitions: &negative},
	} {
		t.Run(name, func(t *testing.T) {
			inFakeTime(t, func(w *world) {
				w.edit(func(s *coordinationv1.LeaseSpec) { *s = spec })
				a := w.start("a")
				if spec.HolderIdentity != nil {
					sleep(leaseDuration - time.Millisecond)
					w.leads(false, a)
					sleep(time.Millisecond)
				}
				w.leads(true, a)
				if n := *w.lease().Spec.LeaseTransitions; n < 0 {
					t.Fatalf("transitions %d", n)
				}
			})
		})
	}
}
