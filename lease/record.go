package lease

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/leader-elector/leader-elector/lease/internal/election"
)

// IncarnationAnnotation names, on the Lease, the process that wrote it last.
// It tells two processes apart that use one holderIdentity.
const IncarnationAnnotation = "leader-elector/incarnation"

const (
	// StepDownAnnotation asks the leader of one term to hand over. Its value is the
	// leaseTransitions of that term. The release removes it, as does the next claim.
	StepDownAnnotation = "leader-elector/step-down"
	// SuccessorAnnotation names, beside StepDownAnnotation, the identity that is to
	// lead next. Others claim the released Lease RETRY_PERIOD later.
	SuccessorAnnotation = "leader-elector/successor"
)

// recordOf is what the election reads of a Lease (nil: there is none).
func recordOf(l *coordinationv1.Lease) election.Record {
	if l == nil {
		return election.Record{}
	}
	r := election.Record{
		UID: string(l.UID), Version: l.ResourceVersion, Mark: l.Annotations[IncarnationAnnotation],
		Acquired: stampOf(l.Spec.AcquireTime), Renewed: stampOf(l.Spec.RenewTime), Object: l,
		StepDown: l.Annotations[StepDownAnnotation], Successor: l.Annotations[SuccessorAnnotation],
	}
	if l.Spec.HolderIdentity != nil {
		r.Holder = *l.Spec.HolderIdentity
	}
	if l.Spec.LeaseDurationSeconds != nil {
		r.Seconds = *l.Spec.LeaseDurationSeconds
	}
	if l.Spec.LeaseTransitions != nil {
		r.Transitions, r.Counted = *l.Spec.LeaseTransitions, true
	}
	return r
}

// leaseOf is the Lease to write: what is stored, with our fields changed and
// everything that others put there kept (S13).
func leaseOf(namespace, name string, r election.Record) *coordinationv1.Lease {
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	switch {
	case r.Object == nil:
	case r.Version == "": // a deleted Lease is put back as a new object
		old := r.Object.DeepCopy()
		l.Labels, l.Annotations, l.Spec = old.Labels, old.Annotations, old.Spec
	default:
		l = r.Object.DeepCopy()
	}
	l.UID, l.ResourceVersion = types.UID(r.UID), r.Version
	if l.Annotations == nil {
		l.Annotations = map[string]string{}
	}
	l.Annotations[IncarnationAnnotation] = r.Mark
	for name, value := range map[string]string{StepDownAnnotation: r.StepDown, SuccessorAnnotation: r.Successor} {
		if delete(l.Annotations, name); value != "" {
			l.Annotations[name] = value
		}
	}
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds = &r.Holder, &r.Seconds
	l.Spec.LeaseTransitions, l.Spec.AcquireTime, l.Spec.RenewTime = nil, timeOf(r.Acquired), timeOf(r.Renewed)
	if r.Counted {
		l.Spec.LeaseTransitions = &r.Transitions
	}
	return l
}

func stampOf(t *metav1.MicroTime) election.Stamp {
	if t == nil {
		return 0
	}
	return election.Stamp(t.UnixMicro())
}

func timeOf(s election.Stamp) *metav1.MicroTime {
	if s == 0 {
		return nil
	}
	return &metav1.MicroTime{Time: time.UnixMicro(int64(s)).UTC()}
}
