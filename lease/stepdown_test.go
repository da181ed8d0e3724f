package lease_test

import (
	"context"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// led stores a term of a holder, as replicas do.
func (w *world) led(holder string, token int32) {
	w.Put(namespace, name, func(l *coordinationv1.Lease) {
		l.Spec.HolderIdentity, l.Spec.LeaseTransitions = &holder, &token
		if l.Annotations == nil {
			l.Annotations = map[string]string{}
		}
	})
}

// ask runs what the command step-down does, for ten seconds at most.
func (w *world) ask(successor string) (leader string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	leader, _, err = lease.AskToStepDown(ctx, lease.Config{REST: w.Config("command"), Namespace: namespace, Name: name}, successor)
	return leader, err
}

// A leader that hands over while the command writes is done with. Its successor is not
// asked.
func TestStepDown_TheCommandAsksTheLeaderThatItSaw(t *testing.T) {
	inFakeTime(t, func(w *world) {
		w.led("a", 1)
		once := true
		w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
			if r.Verb == "update" && once {
				once = false
				w.led("b", 2)
			}
			return f
		})
		leader, err := w.ask("")
		if asked := w.lease().Annotations[lease.StepDownAnnotation]; leader != "b" || err != nil || asked != "" {
			t.Errorf("leader %q, %v; asked of term %q", leader, err, asked)
		}
	})
}

// A leader that takes its Lease back is no success: no other replica could lead.
func TestStepDown_TheSameLeaderAgainIsNoSuccess(t *testing.T) {
	inFakeTime(t, func(w *world) {
		w.led("a", 1)
		time.AfterFunc(time.Second, func() { w.led("a", 2) })
		if leader, err := w.ask(""); err == nil || !strings.Contains(err.Error(), "leads again") {
			t.Errorf("%q, %v", leader, err)
		}
	})
}
