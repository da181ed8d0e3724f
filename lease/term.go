package lease

import (
	"math"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// IncarnationAnnotation names, on the Lease, the process that wrote it last.
// It tells two processes apart that use one holderIdentity.
const IncarnationAnnotation = "leader-elector/incarnation"

// putBackFor stands before the holder's incarnation in the record of a deleted
// Lease that a follower has put back.
const putBackFor = "put-back-for:"

// term is what this replica knows of the tenure of whoever holds the Lease.
// Only observe changes it; nothing here reads a clock or renewTime's value.
type term struct {
	lease       *coordinationv1.Lease // newest version received; nil while there is none
	holder      string                // holderIdentity of the tenure; empty when it was released
	held        *coordinationv1.Lease // holder's newest record, kept when the Lease is deleted
	incarnation string                // the process behind holder, where it says so
	previous    string                // the holder before this one
	end         time.Duration         // boot time from which anyone may take the Lease
	duration    time.Duration         // longest leaseDurationSeconds seen in the tenure
	transitions int32                 // highest leaseTransitions seen, under whatever uid
	counted     bool                  // transitions was seen, not assumed
}

// observe takes in a version of the Lease (nil: there is none) received at the
// boot time at. unset is the duration assumed where the record has none.
func (t *term) observe(l *coordinationv1.Lease, at, unset time.Duration) {
	old := t.lease
	t.lease = l
	if l == nil {
		if old != nil {
			t.outlive(at)
		}
		return
	}
	if old != nil && old.UID == l.UID && equality.Semantic.DeepEqual(old.Spec, l.Spec) && incarnationOf(old) == incarnationOf(l) {
		return // the same record, whatever happened to its metadata
	}
	if l.Spec.LeaseTransitions != nil {
		t.transitions, t.counted = max(t.transitions, *l.Spec.LeaseTransitions), true
	}
	holder := holderOf(l)
	switch {
	case isRelease(l):
		t.previous, t.holder, t.held, t.end = firstOf(t.holder, t.previous), "", nil, at
	case holder == "":
		t.outlive(at) // never held, or wiped by hand
	default:
		if holder != t.holder {
			t.previous = firstOf(t.holder, t.previous)
		}
		if holder != t.holder || incarnationOf(l) != t.incarnation {
			t.duration = 0
		}
		t.duration = max(t.duration, durationOf(l, unset))
		t.holder, t.held, t.incarnation = holder, l, incarnationOf(l)
		// The longest duration that this holder was seen with: one that was
		// edited to be shorter doesn't tell it so.
		t.end = max(t.end, at+t.duration)
	}
}

// outlive waits for a holder whose record was taken away under it. It works on
// until it notices, and may have renewed just before, unseen by us (S10).
func (t *term) outlive(at time.Duration) {
	if t.holder != "" {
		t.end = max(t.end, at+t.duration)
	}
}

// isRelease tells a holder that gave the Lease up, which leaves a duration of
// one second as client-go does, from a holderIdentity that someone erased.
func isRelease(l *coordinationv1.Lease) bool {
	return holderOf(l) == "" && l.Spec.LeaseDurationSeconds != nil && *l.Spec.LeaseDurationSeconds <= 1
}

// nextTransitions is the fencing token of a tenure that identity begins now.
func (t *term) nextTransitions(identity string) int32 {
	switch {
	case t.lease == nil && !t.counted && t.holder == "":
		return 0 // the first tenure of a new Lease
	case t.holder == identity || t.transitions == math.MaxInt32:
		return t.transitions
	default:
		return t.transitions + 1
	}
}

func holderOf(l *coordinationv1.Lease) string {
	if l == nil || l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

func incarnationOf(l *coordinationv1.Lease) string { return l.Annotations[IncarnationAnnotation] }

func durationOf(l *coordinationv1.Lease, unset time.Duration) time.Duration {
	if d := l.Spec.LeaseDurationSeconds; d != nil && *d > 0 {
		return time.Duration(*d) * time.Second
	}
	return unset
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
