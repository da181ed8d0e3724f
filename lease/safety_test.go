package lease_test

import (
	"context"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// blockingLog is a slog handler whose output is never read.
type blockingLog struct {
	slog.Handler
	blocked chan struct{}
}

func (b blockingLog) Enabled(context.Context, slog.Level) bool { return true }
func (b blockingLog) WithAttrs([]slog.Attr) slog.Handler       { return b }
func (b blockingLog) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "leading" {
		<-b.blocked
	}
	return nil
}

func TestS1_ValidityEndsTheRenewDeadlineAfterTheLastWriteWasSent(t *testing.T) {
	t.Run("slow answer", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			// given a claim whose answer takes 1.5 s, and renewals that vanish
			w.OnRequest(func(r leasetest.Request) leasetest.Fault {
				return leasetest.Fault{AnswerDelay: 1500 * time.Millisecond * b2d(r.Verb == "create"), DropRequest: r.Verb == "update" || r.Verb == "get" && r.N > 1}
			})
			a := w.start("a")
			// then leadership ends 10 s after the claim was sent, not after it was answered
			sleep(renewDeadline - time.Millisecond)
			w.leads(true, a)
			sleep(time.Millisecond)
			w.leads(false, a)
			equal(w, "published", a.State().ValidUntil, 0)
		})
	})
	t.Run("log that blocks", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			block := blockingLog{blocked: make(chan struct{})}
			a := w.start("a", func(c *lease.Config) { c.Logger = slog.New(block) })
			w.leads(true, a)
			w.kill(a)
			sleep(renewDeadline - time.Millisecond)
			w.leads(true, a)
			sleep(time.Millisecond)
			w.leads(false, a)
			close(block.blocked)
		})
	})
}

func b2d(b bool) time.Duration {
	if b {
		return 1
	}
	return 0
}

func TestS2_AHeldLeaseIsTakenOnlyAfterItsOwnDurationUnchanged(t *testing.T) {
	t.Run("held", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			// given a record of 30 s whose renewTime is a year old
			w.heldBy("other", 30)
			w.edit(func(s *coordinationv1.LeaseSpec) {
				s.RenewTime = fraction(time.Now().AddDate(-1, 0, 0))
			})
			a := w.start("a")
			sleep(20 * time.Second)
			w.leads(false, a)
			// when it changes (to another time in the past) the wait begins again
			w.edit(func(s *coordinationv1.LeaseSpec) {
				s.RenewTime = fraction(time.Now().AddDate(-2, 0, 0))
			})
			sleep(30*time.Second - time.Millisecond)
			w.leads(false, a)
			sleep(time.Millisecond)
			w.leads(true, a)
		})
	})
	t.Run("metadata is not the record", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			w.heldBy("other", 15)
			a := w.start("a")
			for range 5 {
				sleep(3 * time.Second)
				w.Put(namespace, name, func(l *coordinationv1.Lease) { l.Labels = map[string]string{"touched": time.Now().String()} })
			}
			sleep(0)
			w.leads(true, a)
		})
	})
	t.Run("shortened by hand", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			w.heldBy("other", 15)
			a := w.start("a")
			w.heldBy("other", 1)
			sleep(leaseDuration - time.Millisecond)
			w.leads(false, a)
		})
	})
	t.Run("shortened by hand, unseen before", func(t *testing.T) { // found by TestSimulation, seed 426
		inFakeTime(t, func(w *world) {
			w.heldBy("other", 15)
			a := w.start("a")
			sleep(14 * time.Second)
			w.OnRequest(func(leasetest.Request) leasetest.Fault { return leasetest.Fault{DropRequest: true} })
			w.CutWatches()
			w.edit(func(s *coordinationv1.LeaseSpec) { s.RenewTime = &metav1.MicroTime{Time: time.Now()} })
			w.heldBy("other", 1)
			w.OnRequest(nil)
			sleep(leaseDuration - time.Millisecond)
			w.leads(false, a)
		})
	})
	t.Run("a live leader sets a shortened duration right", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a := w.start("a")
			sleep(retryPeriod)
			w.heldBy("a", 1)
			equal(w, "duration", *w.lease().Spec.LeaseDurationSeconds, 15)
			w.leads(true, a)
		})
	})
	for name, release := range map[string]*string{"empty": new(string), "nil": nil} {
		t.Run("released, holder "+name, func(t *testing.T) {
			inFakeTime(t, func(w *world) {
				w.heldBy("other", 15)
				a := w.start("a")
				w.edit(func(s *coordinationv1.LeaseSpec) { // as client-go releases
					one, now := int32(1), metav1.NowMicro()
					s.HolderIdentity, s.LeaseDurationSeconds, s.AcquireTime, s.RenewTime = release, &one, &now, &now
				})
				w.leads(true, a)
			})
		})
	}
	t.Run("absent", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a := w.start("a")
			w.leads(true, a)
			equal(w, "transitions", *w.lease().Spec.LeaseTransitions, 0)
		})
	})
}

func TestS3_EveryWriteCarriesTheVersionItWasDecidedOn(t *testing.T) {
	inFakeTime(t, func(w *world) {
		var unconditional, written atomic.Int32
		var afterConflict atomic.Value
		conflicted := false
		w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
			if conflicted && r.Verb != "watch" {
				afterConflict.CompareAndSwap(nil, r.Verb)
			}
			if r.Verb == "update" {
				if r.Lease.ResourceVersion == "" {
					unconditional.Add(1)
				}
				if written.Add(1) == 2 {
					conflicted = true
					f.Status = 409
				}
			}
			return f
		})
		a := w.start("a")
		sleep(time.Minute)
		w.leads(true, a)
		equal(w, "writes without resourceVersion", unconditional.Load(), 0)
		equal(w, "request after the 409", afterConflict.Load(), any("get"))
		if written.Load() < 5 {
			t.Fatalf("only %d updates in a minute", written.Load())
		}
	})
}

func TestS4_AWriteWithoutAnswerIsReadBack(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault leasetest.Fault
		until time.Duration // from the first renewal's sending
	}{
		{"landed, hangs", leasetest.Fault{DropAnswer: true}, renewDeadline},
		{"landed, reset", leasetest.Fault{DropAnswer: true, Reset: true}, renewDeadline},
		{"landed, garbage for an answer", leasetest.Fault{Body: "<html>"}, renewDeadline},
		{"not landed, hangs", leasetest.Fault{DropRequest: true}, renewDeadline - renewInterval},
		{"500", leasetest.Fault{Status: 500}, renewDeadline - renewInterval},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(w *world) {
				a := w.start("a")
				claimed := a.State().ValidUntil
				equal(w, "claimed until", claimed.Sub(a.clock.Now()), renewDeadline)
				// when the first renewal's answer is lost, and no other one gets through
				var updates atomic.Int32
				w.OnRequest(func(r leasetest.Request) leasetest.Fault {
					if r.Verb == "update" {
						if updates.Add(1) == 1 {
							return c.fault
						}
						return leasetest.Fault{DropRequest: true}
					}
					return leasetest.Fault{}
				})
				sleep(renewInterval)
				sent := a.clock.Now()
				// then the validity is that of the write which landed last
				sleep(4900 * time.Millisecond)
				equal(w, "valid until", a.State().ValidUntil.Sub(sent), c.until)
			})
		})
	}
	t.Run("a claim that lands after its timeout", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			w.heldBy("other", 15)
			var n atomic.Int32
			w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
				f.Stale = true // else the watch would tell
				f.DropAnswer = r.Verb == "update" && n.Add(1) == 1
				return f
			})
			a := w.start("a")
			sleep(leaseDuration)
			w.leads(false, a) // sent and applied, not answered
			equal(w, "holder", w.holder(), "a")
			sleep(retryPeriod)
			w.leads(true, a)
			equal(w, "transitions", *w.lease().Spec.LeaseTransitions, 1)
		})
	})
}

func TestS5_TheLeaseOfADeadPreviousIncarnationIsTakenBackAtOnce(t *testing.T) {
	held := func(w *world) *replica {
		old := w.start("a")
		w.leads(true, old)
		w.kill(old)
		sleep(time.Second)
		w.OnRequest(nil)
		return old
	}
	t.Run("known to be dead", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			old := held(w)
			w.kill(old) // requests of user agent "a"
			acquired := w.lease().Spec.AcquireTime.String()
			b := w.start("a", func(c *lease.Config) {
				c.ProvenDead, c.REST = func(i string) bool { return i == old.Incarnation() }, w.Config("reborn")
			})
			w.leads(true, b)
			equal(w, "transitions", *w.lease().Spec.LeaseTransitions, 0)
			equal(w, "acquireTime", w.lease().Spec.AcquireTime.String(), acquired)
			equal(w, "said", b.logged("an earlier process of this replica, which has ended. Taking it back"), 1)
			equal(w, "said", b.logged("another process wrote it"), 0)
		})
	})
	t.Run("not known", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			old := held(w)
			w.kill(old)
			b := w.start("a", func(c *lease.Config) { c.REST = w.Config("reborn") })
			sleep(leaseDuration - time.Millisecond)
			w.leads(false, b)
			sleep(time.Millisecond)
			w.leads(true, b)
		})
	})
}

func TestS6_ACleanStopWaitsForTheAppAndThenReleases(t *testing.T) {
	t.Run("order", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			var a *replica
			appStopped := make(chan struct{})
			a = w.start("a", func(c *lease.Config) {
				c.BeforeRelease = func(ctx context.Context, _ lease.Cause) error {
					w.leads(false, a) // published before the app is waited for
					<-appStopped
					return ctx.Err()
				}
			})
			b := w.start("b")
			a.stop()
			// while the app works on, the Lease is renewed for as long as it takes
			sleep(2 * time.Minute)
			equal(w, "holder", w.holder(), "a")
			w.leads(false, a, b)
			close(appStopped)
			synctest.Wait()
			w.leads(true, b)
			select {
			case <-a.ended:
			default:
				t.Fatal("Run has not returned")
			}
			equal(w, "transitions", *w.lease().Spec.LeaseTransitions, 1)
		})
	})
	t.Run("record of a release", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a := w.start("a")
			a.stop()
			<-a.ended
			equal(w, "holder", *w.lease().Spec.HolderIdentity, "")
			equal(w, "duration", *w.lease().Spec.LeaseDurationSeconds, 1)
		})
	})
	t.Run("kept", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a := w.start("a", func(c *lease.Config) {
				c.BeforeRelease = func(context.Context, lease.Cause) error { return lease.ErrKeepLease }
			})
			b := w.start("b")
			sleep(time.Second)
			a.stop()
			<-a.ended
			equal(w, "b takes over after", w.takesOver(b, time.Minute).Round(time.Millisecond), leaseDuration-time.Second)
		})
	})
	t.Run("release whose answer is lost", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a := w.start("a")
			w.OnRequest(func(r leasetest.Request) leasetest.Fault {
				return leasetest.Fault{DropAnswer: r.Verb == "update", Reset: true}
			})
			a.stop()
			<-a.ended
			equal(w, "holder", w.holder(), "")
			equal(w, "updates", w.Requests()["update"], 1)
		})
	})
	t.Run("a claim under way is not left behind", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			w.OnRequest(func(r leasetest.Request) leasetest.Fault {
				return leasetest.Fault{AnswerDelay: time.Second * b2d(r.Verb == "create")}
			})
			a := w.start("a")
			a.stop()
			<-a.ended
			equal(w, "holder", w.holder(), "")
		})
	})
	t.Run("API server out of reach", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a := w.start("a")
			w.kill(a)
			start := time.Now()
			a.stop()
			<-a.ended
			equal(w, "gave up after", time.Since(start), renewDeadline)
		})
	})
	t.Run("stop while following", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			w.heldBy("other", 15)
			a := w.start("a")
			a.stop()
			start := time.Now()
			<-a.ended
			equal(w, "took", time.Since(start), 0)
		})
	})
}

func TestS7_ALostTermMakesAFollowerThatCampaignsAgain(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a := w.start("a")
		w.kill(a)
		sleep(time.Minute)
		w.leads(false, a)
		w.OnRequest(nil)
		sleep(5 * time.Second)
		w.leads(true, a)
		w.heldBy("other", 15)
		w.leads(false, a)
		sleep(leaseDuration)
		w.leads(true, a)
		equal(w, "transitions", *w.lease().Spec.LeaseTransitions, 1) // the other one never counted itself
	})
}

func TestS8_AfterAPauseTheValidityIsCheckedFirst(t *testing.T) {
	inFakeTime(t, func(w *world) {
		w.OnRequest(func(leasetest.Request) leasetest.Fault { return leasetest.Fault{Stale: true} })
		a := w.start("a")
		changes := a.Changes()
		<-changes
		// given a renewal that was applied but whose answer is on its way
		w.OnRequest(func(r leasetest.Request) leasetest.Fault {
			return leasetest.Fault{AnswerDelay: time.Second * b2d(r.Verb == "update")}
		})
		sleep(renewInterval)
		// when the process stands still for 20 s and wakes to that answer
		a.clock.Skip(20 * time.Second)
		w.leads(false, a)
		now := a.clock.Now()
		sleep(time.Second)
		// then no State that it publishes before the next write says that it leads
		select {
		case <-changes:
			if s := a.State(); s.LeadsAt(now) {
				t.Fatalf("published after the pause: %+v", s)
			}
		default:
			t.Fatal("the end of leadership was not published")
		}
	})
}

func TestS9_ADuplicateIdentityStepsDownAndIsNamed(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a := w.start("a")
		b := w.start("a", func(c *lease.Config) { c.REST = w.Config("second") })
		for range 300 {
			sleep(100 * time.Millisecond)
			if a.IsLeader() && b.IsLeader() {
				t.Fatal("two leaders of one identity")
			}
		}
		w.leads(true, a)
		equal(w, "warnings of b", b.logged("Identities must be unique"), 1)
		sleep(time.Second)
		// when another process writes under our identity, as client-go would: our annotation survives
		w.edit(func(s *coordinationv1.LeaseSpec) { s.RenewTime = &metav1.MicroTime{Time: time.Now()} })
		w.leads(false, a)
		equal(w, "warnings of a", a.logged("Identities must be unique"), 1)
		if !strings.Contains(a.log.String(), "identity=a") {
			t.Fatal("the identity is not named")
		}
	})
}

func TestS10_ALeaseDeletedUnderALiveTermIsNotFree(t *testing.T) {
	t.Run("leader puts it back", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			w.heldBy("other", 1)
			a := w.start("a")
			sleep(time.Second)
			b := w.start("b")
			before := w.lease()
			sleep(time.Second)
			w.Delete(namespace, name)
			synctest.Wait()
			w.leads(true, a)
			w.leads(false, b)
			after := w.lease()
			equal(w, "holder", w.holder(), "a")
			equal(w, "transitions", *after.Spec.LeaseTransitions, *before.Spec.LeaseTransitions)
			equal(w, "acquireTime", after.Spec.AcquireTime.String(), before.Spec.AcquireTime.String())
			if after.UID == before.UID {
				t.Fatal("not a new object")
			}
			equal(w, "published uid", a.State().LeaseUID, after.UID)
		})
	})
	t.Run("a leader that can't put it back still says under which uid it leads", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a := w.start("a")
			sleep(time.Second)
			uid := w.lease().UID
			w.OnRequest(func(r leasetest.Request) leasetest.Fault {
				return leasetest.Fault{DropRequest: r.Verb == "create"}
			})
			w.Delete(namespace, name)
			sleep(time.Second)
			w.leads(true, a)
			equal(w, "uid", a.State().LeaseUID, uid)
		})
	})
	t.Run("holder wiped", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a, b := w.start("a"), w.start("b")
			w.edit(func(s *coordinationv1.LeaseSpec) { s.HolderIdentity = nil })
			w.leads(true, a)
			w.leads(false, b)
			equal(w, "holder", w.holder(), "a")
		})
	})
	t.Run("follower waits it out", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			w.heldBy("other", 15)
			w.edit(func(s *coordinationv1.LeaseSpec) { n := int32(7); s.LeaseTransitions = &n })
			a := w.start("a")
			w.Delete(namespace, name)
			sleep(leaseDuration - time.Millisecond)
			w.leads(false, a)
			w.takesOver(a, retryPeriod+time.Millisecond)
			equal(w, "transitions carried on", *w.lease().Spec.LeaseTransitions, 8)
		})
	})
	t.Run("a follower puts it back for a holder that is cut off", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a, b := w.start("a"), w.start("b")
			w.kill(a) // from now on it can't put its Lease back
			w.Delete(namespace, name)
			sleep(retryPeriod)
			equal(w, "holder", w.holder(), "a")
			// its term goes on when it is reached again
			w.OnRequest(nil)
			sleep(leaseDuration)
			w.leads(true, a)
			w.leads(false, b)
			equal(w, "incarnation", w.lease().Annotations[lease.IncarnationAnnotation], a.Incarnation())
			equal(w, "transitions", *w.lease().Spec.LeaseTransitions, 0)
		})
	})
	t.Run("a follower that learnt late of an earlier deletion", func(t *testing.T) { // found by TestSimulation
		inFakeTime(t, func(w *world) {
			a := w.start("a")
			var late atomic.Int64
			w.OnRequest(func(r leasetest.Request) leasetest.Fault {
				if r.Client == "b" && r.Verb == "watch" {
					return leasetest.Fault{EventDelay: time.Duration(late.Load())}
				}
				if r.Client == "a" && late.Load() > 0 {
					return leasetest.Fault{DropRequest: true}
				}
				return leasetest.Fault{}
			})
			b := w.start("b")
			// given a Lease that is deleted, at once put back by its leader, and deleted
			// again much later, while b hangs behind after the first time
			w.Delete(namespace, name)
			b.clock.Stall(1, 17*time.Second)
			sleep(16 * time.Second)
			w.leads(true, a)
			late.Store(1)
			w.Delete(namespace, name)
			// when b wakes up, it does not take the absent Lease of a live term
			for range 100 {
				sleep(100 * time.Millisecond)
				if a.IsLeader() && b.IsLeader() {
					t.Fatalf("two leaders\n%s", b.log)
				}
			}
			w.takesOver(b, leaseDuration)
		})
	})
	t.Run("a follower that missed the last renewals waits too", func(t *testing.T) { // found by TestSimulation, seed 25
		inFakeTime(t, func(w *world) {
			w.heldBy("other", 15)
			a := w.start("a")
			w.OnRequest(func(r leasetest.Request) leasetest.Fault { return leasetest.Fault{DropRequest: true} })
			w.CutWatches()
			sleep(time.Minute) // in which the other one renewed
			w.Delete(namespace, name)
			w.OnRequest(nil)
			sleep(8 * time.Second)
			w.leads(false, a)
			w.takesOver(a, leaseDuration)
		})
	})
}

func TestS11_SteppingDownReleasesAndBacksOff(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a := w.start("a")
		w.leads(true, a)
		a.StepDown("the status file can't be written")
		synctest.Wait()
		w.leads(false, a)
		equal(w, "holder", w.holder(), "")
		sleep(leaseDuration - time.Millisecond)
		w.leads(false, a)
		sleep(time.Millisecond)
		w.leads(true, a)
	})
}

func TestS12_TransitionsCountHoldersAndAcquireTimeStays(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a := w.start("a")
		acquired := w.lease().Spec.AcquireTime
		sleep(time.Minute)
		equal(w, "acquireTime", w.lease().Spec.AcquireTime.String(), acquired.String())
		equal(w, "transitions", *w.lease().Spec.LeaseTransitions, 0)
		b := w.start("b")
		a.stop()
		<-a.ended
		synctest.Wait()
		w.leads(true, b)
		equal(w, "transitions", *w.lease().Spec.LeaseTransitions, 1)
		equal(w, "token published", b.State().Transitions, 1)
		if !acquired.Before(w.lease().Spec.AcquireTime) {
			t.Fatal("acquireTime is not the new holder's")
		}
		// a reset by hand does not turn the token back
		c := w.start("c")
		w.heldBy("other", 15)
		w.leads(false, b, c)
		w.edit(func(s *coordinationv1.LeaseSpec) { *s.LeaseTransitions = 0 })
		b.stop()
		<-b.ended
		sleep(leaseDuration)
		w.leads(true, c)
		equal(w, "token after the reset", c.State().Transitions, 2)
	})
}

func TestS12_TheLastTokenIsNotRepeated(t *testing.T) {
	inFakeTime(t, func(w *world) {
		w.heldBy("other", 15)
		w.edit(func(s *coordinationv1.LeaseSpec) { *s.LeaseTransitions = math.MaxInt32 })
		a := w.start("a")
		sleep(2 * leaseDuration)
		w.leads(false, a)
		equal(w, "told why", a.logged("no fencing token is left"), 1)
		equal(w, "holder", w.holder(), "other")
		// when the Lease is deleted and the replicas have forgotten it, it counts from 0
		w.edit(func(s *coordinationv1.LeaseSpec) { *s.LeaseTransitions = 5 })
		b := w.start("b")
		w.takesOver(b, 2*leaseDuration)
		equal(w, "token", b.State().Transitions, 6)
	})
}

// A pod that was replaced by one of the same name is another process.
func TestS12_AReplacedPodOfTheSameNameGetsAnotherToken(t *testing.T) {
	inFakeTime(t, func(w *world) {
		old := w.start("a")
		w.leads(true, old)
		w.kill(old)
		b := w.start("a", func(c *lease.Config) { c.REST = w.Config("replacement") })
		w.takesOver(b, 2*leaseDuration)
		equal(w, "token", b.State().Transitions, 1)
		equal(w, "errors", b.logged("level=ERROR"), 0) // an ordinary replacement is no second process (S9)
	})
}

func TestS13_WhatOthersPutOnTheLeaseSurvives(t *testing.T) {
	inFakeTime(t, func(w *world) {
		preferred, strategy := "x", coordinationv1.OldestEmulationVersion
		w.Put(namespace, name, func(l *coordinationv1.Lease) {
			l.Labels, l.Annotations = map[string]string{"team": "a"}, map[string]string{"note": "b"}
			l.Finalizers = []string{"example.com/f"}
			l.Spec.PreferredHolder, l.Spec.Strategy = &preferred, &strategy
		})
		a := w.start("a")
		w.leads(true, a)
		sleep(time.Minute)
		a.stop()
		<-a.ended
		l := w.lease()
		equal(w, "label", l.Labels["team"], "a")
		equal(w, "annotation", l.Annotations["note"], "b")
		equal(w, "finalizers", len(l.Finalizers), 1)
		equal(w, "preferredHolder", *l.Spec.PreferredHolder, preferred)
		equal(w, "strategy", *l.Spec.Strategy, strategy)
	})
}
