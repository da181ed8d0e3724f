package lease_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// The app of a term that has lapsed may still be at work: the release waits for it.
func TestS6_ALapsedLeaderWaitsForItsApp(t *testing.T) {
	inFakeTime(t, func(w *world) {
		asked := 0
		a := w.start("a", func(c *lease.Config) {
			c.BeforeRelease = func(ctx context.Context, _ lease.Cause) error {
				asked++
				select {
				case <-time.After(8 * time.Second):
				case <-ctx.Done():
				}
				return nil
			}
		})
		sleep(time.Second)
		w.leads(true, a)
		w.OnRequest(func(leasetest.Request) leasetest.Fault { return leasetest.Fault{DropRequest: true} })
		sleep(12 * time.Second)
		w.leads(false, a)
		a.stop()
		sleep(100 * time.Millisecond)
		w.OnRequest(nil)
		sleep(3 * time.Second)
		if asked != 1 || w.holder() != "a" {
			t.Errorf("the app was asked %d times, and the Lease's holder is %q", asked, w.holder())
		}
	})
}

// A duration that a person shortens counts at once, as one that a policy shortens does.
func TestS1_AnEditShortensTheTerm(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a := w.start("a")
		sleep(time.Second)
		w.leads(true, a)
		until := a.State().ValidUntil
		w.OnRequest(func(r leasetest.Request) leasetest.Fault { return leasetest.Fault{DropRequest: r.Verb != "watch"} })
		n := int32(3)
		w.edit(func(s *coordinationv1.LeaseSpec) { s.LeaseDurationSeconds = &n })
		sleep(time.Millisecond)
		if a.State().ValidUntil >= until {
			t.Errorf("valid until %v, before the edit %v", a.State().ValidUntil, until)
		}
	})
}

// A token that is mistyped as the last one there is, and put right by the leader, keeps no
// replica from leading, however soon the leader ends. No replica asks an operator to delete
// the Lease in between.
func TestS12_ALastTokenThatWasMistyped(t *testing.T) {
	for _, ends := range []string{"cleanly", "killed"} {
		t.Run(ends, func(t *testing.T) {
			inFakeTime(t, func(w *world) {
				a, b := w.start("a"), w.start("b")
				sleep(7 * time.Second)
				typo := int32(math.MaxInt32)
				w.edit(func(s *coordinationv1.LeaseSpec) { s.LeaseTransitions = &typo })
				sleep(2 * time.Second)
				within := time.Second
				if ends == "killed" {
					w.kill(a)
					w.CutWatches()
					within = 16 * time.Second
				} else {
					a.stop()
				}
				sleep(within)
				w.leads(true, b)
				if token := *w.lease().Spec.LeaseTransitions; token != 1 {
					t.Errorf("b leads with token %d", token)
				}
				if log := b.log.String(); strings.Contains(log, "no fencing token is left") {
					t.Error(log)
				}
			})
		})
	}
}

// A token that was mistyped and put right once does not hide that its leader released the
// Lease.
func TestS12_AMistypedTokenThenARelease(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a, b := w.start("a"), w.start("b")
		sleep(7 * time.Second)
		typo := int32(1000)
		w.edit(func(s *coordinationv1.LeaseSpec) { s.LeaseTransitions = &typo })
		sleep(2 * time.Second)
		a.stop()
		sleep(time.Second)
		w.leads(true, b)
	})
}

// A policy that keeps renewTime as it was costs leadership, and the log says so.
func TestS4_APolicyThatPinsRenewTimeIsNamed(t *testing.T) {
	inFakeTime(t, func(w *world) {
		var pinned map[string]*coordinationv1.LeaseSpec
		w.OnAdmit(func(_ string, l *coordinationv1.Lease) {
			if before := pinned[*l.Spec.HolderIdentity]; before != nil {
				l.Spec.RenewTime = before.RenewTime
				return
			}
			pinned = map[string]*coordinationv1.LeaseSpec{*l.Spec.HolderIdentity: l.Spec.DeepCopy()}
		})
		a := w.start("a")
		sleep(30 * time.Second)
		if log := a.log.String(); !strings.Contains(log, "changed what this replica wrote: renewTime") {
			t.Error(log)
		}
	})
}

// A renewTime that is edited by hand is no sign of another process of this identity alone.
func TestS9_ARenewTimeEditedByHandIsNamed(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a := w.start("a")
		sleep(7 * time.Second)
		w.edit(func(s *coordinationv1.LeaseSpec) { s.RenewTime.Time = s.RenewTime.Add(time.Microsecond) })
		sleep(time.Second)
		if log := a.log.String(); strings.Contains(log, "Another live process") || !strings.Contains(log, "by hand") {
			t.Error(log)
		}
	})
}

// A claim that failed says nothing any more once another replica renews the Lease: this one
// asks nothing of the API server that could end its problem.
func TestL4_AProblemEndsWhenAnotherReplicaLeads(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a := w.start("a")
		sleep(time.Second)
		b := w.start("b")
		sleep(time.Second)
		w.kill(a)
		w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
			f.DropRequest = r.Client == "a"
			if r.Verb == "update" && r.Client == "b" {
				f.Status = 403
			}
			return f
		})
		sleep(20 * time.Second)
		if s := b.State(); !s.Denied || s.Problem == "" {
			t.Fatalf("no problem to begin with: %+v", s)
		}
		c := w.start("c")
		sleep(60 * time.Second)
		w.leads(true, c)
		if s := b.State(); s.Denied || s.Problem != "" {
			t.Errorf("c leads, and b still says %q", s.Problem)
		}
	})
}
