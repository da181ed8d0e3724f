package lease_test

import (
	"context"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// coarse is an admission policy that truncates renewTime.
func coarse(to time.Duration) func(string, *coordinationv1.Lease) {
	return func(_ string, l *coordinationv1.Lease) {
		if l.Spec.RenewTime != nil {
			l.Spec.RenewTime = &metav1.MicroTime{Time: l.Spec.RenewTime.Truncate(to)}
		}
	}
}

// Renewals within five minutes look alike, and one answer is lost. A leader that does
// not know its own renewal again waits for itself, and claims what it has.
func TestS1_AClaimOfACoarseRecordBeginsNoTermUnseen(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a := w.start("a")
		sleep(100 * time.Millisecond)
		w.leads(true, a)
		b := w.start("b")
		sleep(time.Second)
		w.OnAdmit(coarse(5 * time.Minute))
		lost := false
		w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
			if r.Client == "a" && r.Verb == "update" && !lost {
				lost, f.DropAnswer = true, true
			}
			if r.Client == "b" && r.Verb == "update" {
				f.Delay = 30 * time.Millisecond // the claim of a comes first
			}
			return f
		})
		w.neverTwo(21*time.Second, a, b)
		w.cut(0, "a")
		w.neverTwo(20*time.Second, a, b)
	})
}

// Each renewal is told by the watch before its answer comes, in milliseconds.
func TestS4_ARenewalInMillisecondsIsOurs(t *testing.T) {
	for name, fault := range map[string]leasetest.Fault{"answer after the watch": {AnswerDelay: 5 * time.Millisecond}, "answer lost": {DropAnswer: true}} {
		t.Run(name, func(t *testing.T) {
			inFakeTime(t, func(w *world) {
				sleep(123456789 * time.Nanosecond)
				w.OnAdmit(coarse(time.Millisecond))
				a := w.start("a")
				sleep(100 * time.Millisecond)
				w.leads(true, a)
				n := 0
				w.OnRequest(func(r leasetest.Request) leasetest.Fault {
					if r.Verb == "update" {
						n++
					}
					if r.Verb == "update" && n%3 == 0 { // and so not for the copy that follows
						return fault
					}
					return leasetest.Fault{}
				})
				for range 60_000 {
					sleep(time.Millisecond)
					w.leads(true, a)
				}
				if bad := a.lines(0, "ERROR"); len(bad) > 0 {
					w.Fatalf("%s", strings.Join(bad, "\n"))
				}
			})
		})
	}
}

// The same while the app takes 40 s to stop: no other replica leads before it has.
func TestS6_AHandoverInMillisecondsWaitsForTheApp(t *testing.T) {
	inFakeTime(t, func(w *world) {
		sleep(123456789 * time.Nanosecond)
		w.OnAdmit(coarse(time.Millisecond))
		working := true
		a := w.start("a", func(c *lease.Config) {
			c.BeforeRelease = func(ctx context.Context, _ lease.Cause) error {
				select {
				case <-time.After(40 * time.Second):
					working = false
					return nil
				case <-ctx.Done():
					t.Error("the wait for the app was given up")
					return ctx.Err()
				}
			}
		})
		sleep(100 * time.Millisecond)
		w.leads(true, a)
		b := w.start("b")
		sleep(time.Second)
		w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
			if r.Verb == "update" {
				f.AnswerDelay = 5 * time.Millisecond
			}
			return f
		})
		a.stop()
		for range 6000 {
			if sleep(10 * time.Millisecond); b.IsLeader() {
				break
			}
		}
		if working || !b.IsLeader() {
			t.Errorf("b leads: %v, the app of a works: %v", b.IsLeader(), working)
		}
	})
}

// A backup of the Lease, in which it was free, is put back (kubectl replace, Velero).
func TestS10_ABackupOfAnEarlierReleaseFreesNothing(t *testing.T) {
	inFakeTime(t, func(w *world) {
		x := w.start("x")
		sleep(time.Second)
		x.stop()
		sleep(time.Second)
		backup := w.lease()
		a := w.start("a")
		sleep(100 * time.Millisecond)
		w.leads(true, a)
		b := w.start("b")
		sleep(8 * time.Second)
		w.cut(0, "a")
		w.Put(namespace, name, func(l *coordinationv1.Lease) { l.Spec, l.Annotations = backup.Spec, backup.Annotations })
		w.neverTwo(20*time.Second, a, b)
	})
}

// leaseTransitions is mistyped; the leader puts it right, and dies later.
func TestL6_AMistypedTokenIsForgotten(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a := w.start("a")
		sleep(100 * time.Millisecond)
		b := w.start("b")
		sleep(8 * time.Second)
		w.edit(func(s *coordinationv1.LeaseSpec) { n := int32(1<<31 - 1); s.LeaseTransitions = &n })
		sleep(2 * renewInterval) // a change is believed when it is written twice
		equal(w, "token", *w.lease().Spec.LeaseTransitions, 0)
		equal(w, "said", a.logged("leaseTransitions was changed by something that is not a replica"), 1)
		w.kill(a)
		sleep(leaseDuration + time.Second)
		w.leads(true, b)
		equal(w, "token", *w.lease().Spec.LeaseTransitions, 1)
	})
}
