package lease_test

import (
	"context"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/boottime"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

func awaitsStand(c *lease.Config) { c.AwaitStand = true }

func claimDelay(d time.Duration) func(*lease.Config) {
	return func(c *lease.Config) { c.ClaimDelay = d }
}

// asked annotates the Lease as kubectl does.
func (w *world) asked(stepDown, successor string) {
	w.Put(namespace, name, func(l *coordinationv1.Lease) {
		l.Annotations[lease.StepDownAnnotation] = stepDown
		if successor != "" {
			l.Annotations[lease.SuccessorAnnotation] = successor
		}
	})
	sleep(0)
}

func TestA1_NoClaimBeforeTheAppIsAlive(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a := w.start("a", awaitsStand)
		sleep(time.Minute)
		w.leads(false, a)
		equal(w, "stored Leases", w.lease() == nil, true)
		equal(w, "Down", a.State().Down, true)
		a.Stand(true)
		sleep(0)
		w.leads(true, a)
	})
}

func TestA2_ALostAppHandsOverAtOnce(t *testing.T) {
	inFakeTime(t, func(w *world) {
		stopped := make(chan struct{})
		a := w.start("a", awaitsStand, func(c *lease.Config) {
			c.BeforeRelease = func(_ context.Context, cause lease.Cause) error {
				equal(w, "cause", cause, lease.AppLost)
				<-stopped
				return nil
			}
		})
		a.Stand(true)
		sleep(time.Second)
		b := w.start("b")
		a.Stand(false)
		sleep(time.Minute)
		w.leads(false, a, b) // an app that hangs with the work lock in hand keeps the Lease
		equal(w, "holder", w.holder(), "a")
		close(stopped)
		if took := w.takesOver(b, time.Second); took > 10*time.Millisecond {
			t.Errorf("taken over after %v", took)
		}
	})
}

// An app may end while a claim is under way. It is told of no term.
func TestA1_AClaimThatLandsAfterTheAppIsLostIsReleased(t *testing.T) {
	inFakeTime(t, func(w *world) {
		w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
			if r.Verb == "create" {
				f.AnswerDelay = time.Second
			}
			f.EventDelay = time.Second
			return f
		})
		a := w.start("a", awaitsStand)
		a.Stand(true)
		sleep(500 * time.Millisecond)
		a.Stand(false)
		w.neverLeads(a, 3*time.Second)
		equal(w, "holder", w.holder(), "")
	})
}

func (w *world) neverLeads(r *replica, d time.Duration) {
	w.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); sleep(10 * time.Millisecond) {
		w.leads(false, r)
	}
}

func TestA4_AnAppThatIsBackLeadsAgain(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a := w.start("a", awaitsStand)
		for range 3 {
			a.Stand(true)
			sleep(0)
			w.leads(true, a)
			a.Stand(false)
			sleep(0)
			w.leads(false, a)
			equal(w, "holder", w.holder(), "")
			sleep(time.Second)
		}
	})
}

func TestA5_ARestartedProcessTakesItsLeaseBackForALivingAppAlone(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a := w.start("a", func(c *lease.Config) { c.Incarnation = "one" })
		w.kill(a)
		w.OnRequest(nil)
		a.stop()
		w.heldByProcess("a", "one")
		again := w.start("a", awaitsStand, func(c *lease.Config) {
			c.Incarnation, c.ProvenDead = "two", func(i string) bool { return i == "one" }
		})
		w.neverLeads(again, 2*time.Second)
		again.Stand(true)
		sleep(0)
		w.leads(true, again)
	})
}

// heldByProcess stores a record as a process of an identity would that has died.
func (w *world) heldByProcess(holder, incarnation string) {
	w.heldBy(holder, 15)
	w.Put(namespace, name, func(l *coordinationv1.Lease) {
		l.Annotations = map[string]string{lease.IncarnationAnnotation: incarnation}
		l.Spec.RenewTime = fraction(time.Now())
	})
}

func TestA7_ARetiredReplicaMakesNoClaim(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a, b := w.start("a"), w.start("b")
		sleep(time.Second)
		b.Retire()
		a.stop()
		sleep(time.Minute)
		w.leads(false, a, b)
		equal(w, "holder", w.holder(), "")
		equal(w, "Retired", b.State().Retired, true)
	})
}

// A leader leads on: its app may be at work until the end of the pod.
func TestA7_ARetiredLeaderLeadsOnUntilItsAppHasStopped(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a := w.start("a")
		sleep(time.Second)
		a.Retire()
		w.keepsLeading(a, time.Minute)
		a.StepDown("the app has stopped")
		sleep(time.Minute)
		w.leads(false, a)
		equal(w, "holder", w.holder(), "")
	})
}

func TestStepDown_TheLeaderOfThatTermHandsOver(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a, b := w.start("a"), w.start("b")
		sleep(time.Second)
		w.asked("7", "") // of another term
		w.asked("nonsense", "")
		w.keepsLeading(a, 20*time.Second)
		w.asked("0", "")
		w.leads(false, a)
		sleep(10 * time.Millisecond)
		w.leads(true, b)
		if left := w.lease().Annotations[lease.StepDownAnnotation]; left != "" {
			t.Errorf("the annotation is left: %q", left)
		}
		b.stop()
		if took := w.takesOver(a, time.Second); took > 10*time.Millisecond { // another has led
			t.Errorf("a leads again after %v", took)
		}
	})
}

func TestStepDown_AloneItLeadsAgainAfterALease(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a := w.start("a")
		sleep(time.Second)
		w.asked("0", "")
		w.neverLeads(a, leaseDuration-10*time.Millisecond)
		w.takesOver(a, time.Second)
		equal(w, "token", a.State().Transitions, 1)
	})
}

func TestStepDown_TheSuccessorGoesFirst(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a, b := w.start("a"), w.start("b")
		c := w.start("c", claimDelay(5*time.Second)) // which the successor does not wait for
		sleep(time.Second)
		w.asked("0", "c")
		sleep(100 * time.Millisecond)
		w.leads(true, c)
		w.leads(false, a, b)
		equal(w, "successor", w.lease().Annotations[lease.SuccessorAnnotation], "")
	})
}

func TestStepDown_OthersDoNotWaitLongForASuccessorThatIsGone(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a, b := w.start("a"), w.start("b")
		sleep(time.Second)
		w.asked("0", "gone")
		w.neverLeads(b, retryPeriod-20*time.Millisecond)
		w.takesOver(b, time.Second)
		w.leads(false, a)
	})
}

func TestClaimDelay(t *testing.T) {
	inFakeTime(t, func(w *world) {
		late := w.start("late", claimDelay(3*time.Second)) // alone: it waits for a Lease that never was
		w.neverLeads(late, 3*time.Second-20*time.Millisecond)
		w.takesOver(late, time.Second)
		first := w.start("first")
		sleep(time.Second)
		late.StepDown("a test")
		w.takesOver(first, 100*time.Millisecond)
		sleep(time.Minute)
		w.kill(first) // it expires
		took := w.takesOver(late, time.Minute)
		if took < leaseDuration+3*time.Second-renewInterval || took > leaseDuration+3*time.Second+time.Millisecond {
			t.Errorf("taken over after %v", took)
		}
	})
}

// A program that leads for something else says whether that is alive.
func ExampleElector_Stand() {
	var elector *lease.Elector // made by lease.New, with AwaitStand: true

	var changes chan bool // whether what is led for is alive
	for alive := range changes {
		elector.Stand(alive)
	}
}

// A follower's State moves on with each renewal. That wakes nothing.
func TestARenewalWakesNoReaderOfAFollowersState(t *testing.T) {
	inFakeTime(t, func(w *world) {
		w.start("a")
		b := w.start("b")
		sleep(time.Second)
		changes, before := b.Changes(), b.State().ClaimAt
		<-changes // the first
		sleep(time.Minute)
		select {
		case <-changes:
			t.Error("woken")
		default:
		}
		if after := b.State().ClaimAt; after <= before {
			t.Errorf("ClaimAt %v after %v", after, before)
		}
		if s := b.State(); s.LapsesAt != s.ClaimAt {
			t.Errorf("LapsesAt %v, ClaimAt %v", s.LapsesAt, s.ClaimAt)
		}
		b.Stand(false) // it claims no more, and tells when the term is over
		sleep(time.Second)
		if s := b.State(); s.LapsesAt == 0 || s.ClaimAt != boottime.Never {
			t.Errorf("LapsesAt %v, ClaimAt %v", s.LapsesAt, s.ClaimAt)
		}
	})
}
