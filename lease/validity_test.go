package lease_test

import (
	"math/rand/v2"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// atMost is an admission policy that caps leaseDurationSeconds.
func atMost(seconds int32) func(string, *coordinationv1.Lease) {
	return func(_ string, l *coordinationv1.Lease) {
		if d := l.Spec.LeaseDurationSeconds; d != nil && *d > seconds {
			l.Spec.LeaseDurationSeconds = &seconds
		}
	}
}

// wholeSeconds is an admission policy that truncates renewTime.
func wholeSeconds(_ string, l *coordinationv1.Lease) {
	if r := l.Spec.RenewTime; r != nil {
		r.Time = r.Truncate(time.Second)
	}
}

func TestS1_AShorterStoredDurationEndsLeadershipSooner(t *testing.T) {
	for _, seconds := range []int32{5, 2, 1} {
		inFakeTime(t, func(w *world) {
			w.OnAdmit(atMost(seconds))
			a, b := w.start("a"), w.start("b")
			// under the cap the leader leads on
			w.keepsLeading(a, 50*time.Second)
			w.leads(false, b)
			// when it is cut off, it has stopped before the other one begins
			w.cut(0, "a")
			w.neverTwo(time.Minute, a, b)
			w.leads(true, b)
			equal(w, "told why", a.logged("An admission policy seems to shorten it"), 1)
		})
	}
}

// Followers wait from the record's last change on. A renewal that a policy turns
// into the record that was there before tells them nothing.
func TestS1_ARenewalThatChangesNothingProlongsNothing(t *testing.T) {
	t.Run("renewTime in whole seconds", func(t *testing.T) {
		for phase := range 20 {
			inFakeTime(t, func(w *world) {
				w.OnAdmit(wholeSeconds)
				short := func(c *lease.Config) { c.LeaseDuration = time.Second }
				a, b := w.start("a", short), w.start("b", short)
				w.neverTwo(5*time.Second+time.Duration(phase)*50*time.Millisecond, a, b)
				w.cut(0, "a")
				w.neverTwo(5*time.Second, a, b)
			})
		}
	})
	t.Run("two renewals in one second", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			w.OnAdmit(wholeSeconds)
			short := func(c *lease.Config) { c.LeaseDuration = 2 * time.Second }
			a, b := w.start("a", short), w.start("b", short)
			w.keepsLeading(a, 30*time.Second)
			w.cut(0, "a")
			w.neverTwo(5*time.Second, a, b)
			w.leads(true, b)
		})
	})
	t.Run("renewTime that stays", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a := w.start("a")
			b := w.start("b")
			first := w.lease().Spec.RenewTime.DeepCopy()
			w.OnAdmit(func(client string, l *coordinationv1.Lease) {
				if client == "a" {
					l.Spec.RenewTime = first.DeepCopy()
				}
			})
			w.neverTwo(renewDeadline+4*time.Second, a, b)
			w.cut(0, "a")
			w.neverTwo(time.Minute, a, b)
			w.leads(true, b)
		})
	})
}

func TestS1_TheAppIsNotToldOfATermThatIsNearlyOver(t *testing.T) {
	// told watches r for d, and returns how often the app was told that it leads.
	told := func(w *world, r *replica, d time.Duration) (times int) {
		w.Helper()
		leading := false
		for end := time.Now().Add(d); time.Now().Before(end); sleep(5 * time.Millisecond) {
			s, now := r.State(), r.clock.Now()
			if leads := s.LeadsAt(now); leads != leading {
				leading = leads
				if !leads {
					continue
				}
				times++
				if left := s.ValidUntil.Sub(now); left < renewDeadline/2-10*time.Millisecond {
					w.Fatalf("told with %v left\n%s", left, r.log)
				}
			}
		}
		return times
	}
	t.Run("answer that takes 9 s", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			w.OnRequest(func(r leasetest.Request) leasetest.Fault {
				return leasetest.Fault{AnswerDelay: 9 * time.Second * b2d(r.Verb == "create")}
			})
			a := w.start("a")
			equal(w, "told", told(w, a, time.Minute), 1)
			w.leads(true, a)
		})
	})
	t.Run("claim found by a late read", func(t *testing.T) {
		// given a claim that lands while every answer is lost for a while
		for lost := 2 * time.Second; lost < renewDeadline; lost += time.Second / 2 {
			inFakeTime(t, func(w *world) {
				start := time.Now()
				w.OnRequest(func(r leasetest.Request) leasetest.Fault {
					return leasetest.Fault{DropAnswer: r.N > 1 && time.Since(start) < lost, Stale: true}
				})
				a := w.start("a")
				equal(w, "told", told(w, a, time.Minute), 1)
				w.leads(true, a)
			})
		}
	})
	t.Run("40 % of all packets lost", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			random := rand.New(rand.NewPCG(40, 40))
			w.OnRequest(func(leasetest.Request) leasetest.Fault {
				return leasetest.Fault{DropRequest: random.Float64() < 0.4, DropAnswer: random.Float64() < 0.4}
			})
			a := w.start("a")
			if n := told(w, a, 30*time.Minute); n < 2 {
				t.Fatalf("told %d times only: nothing was tried", n)
			}
			w.OnRequest(nil)
			w.takesOver(a, 2*leaseDuration)
		})
	})
}

// An edit that lengthens a capped duration lets the leader lead for no longer: once
// the edit is undone, others wait for no more than the cap. Found by the soak.
func TestS1_AnEditThatLengthensProlongsNothing(t *testing.T) {
	inFakeTime(t, func(w *world) {
		w.OnAdmit(atMost(5))
		a, b := w.start("a"), w.start("b")
		w.keepsLeading(a, 20*time.Second)
		long, short := int32(3600), int32(1)
		w.edit(func(s *coordinationv1.LeaseSpec) { s.LeaseDurationSeconds = &long })
		w.cut(0, "a")
		w.edit(func(s *coordinationv1.LeaseSpec) { s.LeaseDurationSeconds = &short })
		w.neverTwo(30*time.Second, a, b)
		w.leads(true, b)
	})
}
