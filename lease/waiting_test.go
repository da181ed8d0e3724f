package lease_test

import (
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"

	"github.com/leader-elector/leader-elector/lease"
)

func TestS2_AnErasedHolderIsNoRelease(t *testing.T) {
	oneSecond := func(c *lease.Config) { c.LeaseDuration = time.Second }
	t.Run("erased under a leader that is cut off", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a, b := w.start("a", oneSecond), w.start("b", oneSecond)
			sleep(3 * time.Second)
			w.leads(true, a)
			w.cut(0, "a")
			w.edit(func(s *coordinationv1.LeaseSpec) { s.HolderIdentity = nil })
			w.leads(false, b)
			w.neverTwo(5*time.Second, a, b)
			w.leads(true, b)
		})
	})
	t.Run("erased under a live leader", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a, b := w.start("a", oneSecond), w.start("b", oneSecond)
			for range 5 {
				w.edit(func(s *coordinationv1.LeaseSpec) { s.HolderIdentity = nil })
				w.keepsLeading(a, time.Second)
				equal(w, "holder", w.holder(), "a")
				w.leads(false, b)
			}
		})
	})
	t.Run("erased before the follower came", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a := w.start("a")
			sleep(renewInterval)
			w.cut(0, "a")
			w.edit(func(s *coordinationv1.LeaseSpec) { s.HolderIdentity = nil })
			b := w.start("b")
			w.neverTwo(leaseDuration-10*time.Millisecond, a, b)
			w.leads(false, b)
			w.takesOver(b, 20*time.Millisecond)
		})
	})
	t.Run("our release is", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a, b := w.start("a", oneSecond), w.start("b", oneSecond)
			sleep(3 * time.Second)
			a.stop()
			<-a.ended
			synctest.Wait()
			w.leads(true, b)
		})
	})
	t.Run("client-go's release is", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			leads, stop := w.startPeer("theirs", true, func(c *leaderelection.LeaderElectionConfig) {
				c.LeaseDuration, c.RenewDeadline, c.RetryPeriod = time.Second, 600*time.Millisecond, 200*time.Millisecond
			})
			sleep(time.Second)
			b := w.start("b", oneSecond)
			sleep(3100 * time.Millisecond) // not at the moment of a renewal
			equal(w, "theirs", leads.Load(), true)
			stop()
			synctest.Wait()
			w.leads(true, b)
		})
	})
}

func TestS2_AMistypedDurationIsForgotten(t *testing.T) {
	const mistyped = 300000000
	t.Run("at its holder's next renewal", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a, b := w.start("a"), w.start("b")
			sleep(renewInterval + time.Second)
			w.heldBy("a", mistyped)
			sleep(renewInterval)
			equal(w, "set right", *w.lease().Spec.LeaseDurationSeconds, 15)
			w.leads(true, a)
			w.cut(0, "a")
			w.takesOver(b, leaseDuration)
			// and at a change of holder
			c := w.start("c")
			sleep(renewInterval)
			w.cut(0, "a", "b")
			w.takesOver(c, leaseDuration)
		})
	})
	t.Run("when its holder is succeeded", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a, b, c := w.start("a"), w.start("b"), w.start("c")
			sleep(renewInterval + time.Second)
			w.heldBy("a", mistyped)
			a.stop()
			<-a.ended
			synctest.Wait()
			if c.IsLeader() {
				b, c = c, b
			}
			w.leads(true, b)
			w.kill(b)
			w.takesOver(c, leaseDuration)
		})
	})
	t.Run("corrected by hand", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a, b := w.start("a"), w.start("b")
			sleep(renewInterval + time.Second)
			w.cut(0, "a")
			w.heldBy("a", mistyped)
			sleep(time.Minute)
			w.leads(false, a, b)
			w.heldBy("a", 15)
			equal(w, "taken over after", w.takesOver(b, time.Minute), leaseDuration)
		})
	})
	t.Run("one that stays is waited for, for an hour", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			w.heldBy("other", mistyped)
			a := w.start("a")
			for range 3 {
				sleep(10 * time.Minute)
				w.edit(func(s *coordinationv1.LeaseSpec) { s.RenewTime = fraction(time.Now()) })
			}
			sleep(lease.MaxLeaseDuration - time.Millisecond)
			w.leads(false, a)
			sleep(time.Millisecond)
			w.leads(true, a)
			equal(w, "said", a.logged("more than an hour"), 1)
		})
	})
}

// The Lease of a dead earlier process of ours is free. A term that another replica
// began since is not, though a restored etcd names the dead process again.
func TestS5_ADeadProcessFreesItsOwnTermAlone(t *testing.T) {
	for watching, forbid := range map[string]int{"watching": 0, "polling": 403} {
		t.Run(watching, func(t *testing.T) {
			inFakeTime(t, func(w *world) {
				dead := w.start("a", func(c *lease.Config) { c.REST = w.Config("dead") })
				w.leads(true, dead)
				held := w.Snapshot()
				w.cut(forbid, "dead")
				b := w.start("b")
				w.takesOver(b, 2*leaseDuration)
				reborn := w.start("a", func(c *lease.Config) {
					c.ProvenDead = func(incarnation string) bool { return incarnation == dead.Incarnation() }
				})
				sleep(2 * renewInterval)
				w.leads(true, b)
				// when etcd is restored, and b can't put its term back
				w.cut(forbid, "dead", "b")
				w.Restore(held)
				w.neverTwo(time.Minute, b, reborn)
				w.leads(true, reborn)
			})
		})
	}
}
