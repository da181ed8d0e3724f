package lease_test

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// Restored etcd: the record goes back to an earlier one, and so does its
// resourceVersion, while the leader can't put its term back.
func TestS10_AResourceVersionThatGoesBackFreesNothing(t *testing.T) {
	backups := map[string]func(w *world) leasetest.Snapshot{
		"before the Lease existed": func(w *world) leasetest.Snapshot { return w.Snapshot() },
		"released": func(w *world) leasetest.Snapshot {
			first := w.start("first")
			first.stop()
			<-first.ended
			return w.Snapshot()
		},
		"held by another one for a second": func(w *world) leasetest.Snapshot {
			w.heldBy("first", 1)
			return w.Snapshot()
		},
		"erased": func(w *world) leasetest.Snapshot {
			w.heldBy("", 15)
			return w.Snapshot()
		},
	}
	for state, backup := range backups {
		for watching, forbid := range map[string]int{"watched": 0, "polled": 403} {
			t.Run(state+", "+watching, func(t *testing.T) {
				inFakeTime(t, func(w *world) {
					w.cut(forbid)
					b := backup(w)
					leader := w.start("a")
					w.takesOver(leader, 2*leaseDuration)
					follower := w.start("b")
					sleep(4 * renewInterval)
					// given a follower that missed the last renewal of a leader that is then cut off
					w.cut(forbid, "b")
					sleep(renewInterval)
					w.cut(forbid, "a")
					w.Restore(b)
					w.neverTwo(time.Minute, leader, follower)
					w.leads(true, follower)
				})
			})
		}
	}
	t.Run("to an earlier record of the same leader, which leads on", func(t *testing.T) {
		for _, forbid := range []int{0, 403} {
			inFakeTime(t, func(w *world) {
				w.cut(forbid)
				leader, follower := w.start("a"), w.start("b")
				sleep(renewInterval)
				b := w.Snapshot()
				sleep(3*renewInterval + time.Second)
				w.Restore(b)
				w.keepsLeading(leader, time.Minute)
				w.leads(false, follower)
				equal(w, "transitions", *w.lease().Spec.LeaseTransitions, 0)
				for _, r := range []*replica{leader, follower} {
					if n := r.logged("level=ERROR"); n != 0 {
						w.Fatalf("%d errors\n%s", n, r.log)
					}
				}
				equal(w, "said by the leader", leader.logged("as after a restore of etcd"), 1)
			})
		}
	})
	t.Run("a live leader puts its term back", func(t *testing.T) {
		for state, backup := range backups {
			t.Run(state, func(t *testing.T) {
				inFakeTime(t, func(w *world) {
					b := backup(w)
					leader := w.start("a")
					w.takesOver(leader, 2*leaseDuration)
					follower := w.start("b")
					sleep(4*renewInterval + time.Second)
					token := leader.State().Transitions
					w.Restore(b)
					w.neverTwo(time.Minute, leader, follower)
					if !leader.IsLeader() && !follower.IsLeader() {
						w.Fatalf("none leads; Lease: %+v\n%s\n%s", w.lease(), leader.log, follower.log)
					}
					if now := *w.lease().Spec.LeaseTransitions; now < token || follower.IsLeader() && now == token {
						w.Fatalf("token %d after %d", now, token)
					}
				})
			})
		}
	})
}

// A read that is older than what is known is not acted on.
func TestS3_AStaleReadIsNotBelieved(t *testing.T) {
	inFakeTime(t, func(w *world) {
		w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
			if r.Verb == "watch" {
				f.Status = 403
			}
			if r.Verb == "get" && r.N > 20 {
				f.Behind = r.N % 2 // one of two API servers lags
			}
			return f
		})
		first := w.start("first")
		first.stop()
		<-first.ended
		a, b, c := w.start("a"), w.start("b"), w.start("c")
		w.neverTwo(3*time.Minute, a, b, c)
		w.leads(true, a)
		equal(w, "transitions", *w.lease().Spec.LeaseTransitions, 1)
	})
}

func TestS10_EventsThatAreMinutesLateFreeNothing(t *testing.T) {
	inFakeTime(t, func(w *world) {
		w.OnRequest(func(r leasetest.Request) leasetest.Fault { return leasetest.Fault{EventDelay: 3 * time.Minute} })
		first := w.start("first")
		first.stop()
		<-first.ended
		a, b := w.start("a"), w.start("b")
		w.neverTwo(10*time.Minute, a, b)
		w.keepsLeading(a, time.Minute)
		a.stop()
		<-a.ended
		w.takesOver(b, 2*leaseDuration)
	})
}

// A write that landed may be answered with a 409, when a proxy retries it.
func TestS3_A409ForAWriteThatLandedCostsNothing(t *testing.T) {
	for watching, forbid := range map[string]int{"watching": 0, "polling": 403} {
		t.Run(watching, func(t *testing.T) {
			inFakeTime(t, func(w *world) {
				w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
					f.Repeat = r.Verb == "create" || r.Verb == "update"
					if r.Verb == "watch" {
						f.Status = forbid
					}
					return f
				})
				a := w.start("a")
				w.takesOver(a, retryPeriod)
				b, c := w.start("b"), w.start("c")
				// every renewal
				w.keepsLeading(a, time.Minute)
				equal(w, "transitions", *w.lease().Spec.LeaseTransitions, 0)
				// the release
				a.stop()
				<-a.ended
				// the claim of a Lease that exists
				for start := time.Now(); !b.IsLeader() && !c.IsLeader(); sleep(10 * time.Millisecond) {
					if time.Since(start) > 2*retryPeriod {
						w.Fatalf("none leads\n%s\n%s", b.log, c.log)
					}
				}
				if c.IsLeader() {
					b, c = c, b
				}
				w.keepsLeading(b, time.Minute)
				w.leads(false, c)
				equal(w, "transitions", *w.lease().Spec.LeaseTransitions, 1)
				for _, r := range []*replica{a, b, c} {
					if r.logged("level=ERROR")+r.logged("No longer leading") > 0 {
						w.Fatalf("%s", r.log)
					}
				}
			})
		})
	}
}

// Policies change what we write, and the elections work as usual.
func TestS4_WhatIsStoredOfAWriteIsOurs(t *testing.T) {
	policies := map[string]func(string, *coordinationv1.Lease){
		"renewTime in whole seconds": wholeSeconds,
		"all times in whole seconds": func(client string, l *coordinationv1.Lease) {
			wholeSeconds(client, l)
			l.Spec.AcquireTime.Time = l.Spec.AcquireTime.Truncate(time.Second)
		},
		"annotations dropped": func(_ string, l *coordinationv1.Lease) { l.Annotations = nil },
		"annotation added": func(_ string, l *coordinationv1.Lease) {
			l.Annotations["policy.example.com/checked"] = "true"
		},
		"incarnation replaced": func(_ string, l *coordinationv1.Lease) {
			l.Annotations[lease.IncarnationAnnotation] = "redacted"
		},
		"longer duration": func(_ string, l *coordinationv1.Lease) {
			if *l.Spec.LeaseDurationSeconds == 15 {
				seconds := int32(30)
				l.Spec.LeaseDurationSeconds = &seconds
			}
		},
	}
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			inFakeTime(t, func(w *world) {
				w.OnAdmit(policy)
				a := w.start("a")
				sleep(300 * time.Millisecond) // so that the times are not whole seconds by chance
				b := w.start("b")
				w.keepsLeading(a, time.Minute)
				w.leads(false, b)
				// a handover
				a.stop()
				<-a.ended
				w.takesOver(b, 2*retryPeriod)
				equal(w, "transitions", *w.lease().Spec.LeaseTransitions, 1)
				// a takeover
				c := w.start("c")
				w.keepsLeading(b, time.Minute)
				w.cut(0, "b")
				w.neverTwo(30*time.Second, b, c)
				w.leads(true, c)
				equal(w, "transitions", *w.lease().Spec.LeaseTransitions, 2)
				for _, r := range []*replica{a, b, c} {
					if n := r.logged("level=ERROR"); n > 0 {
						w.Fatalf("%s", r.log)
					}
				}
			})
		})
	}
}
