package simulation

import (
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/leader-elector/leader-elector/lease"
)

// stand tells an Elector whether its app lives.
func (p *player) stand(lives bool) {
	if p.down.Store(!lives); lives || !p.deaf {
		p.elector.Stand(lives)
	}
}

// actOnApps does one of the things that happen to apps, to pods that are deleted, and to
// the annotations of the Lease.
func (s *stack) actOnApps(p *player) {
	d := time.Duration(s.random.Int64N(int64(leaseDuration)))
	switch s.random.IntN(4) {
	case 0:
		s.note("%s: its app is gone for %v", p.process, d)
		p.stand(false)
		if s.pass(time.Millisecond); !p.clock.Paused() && p.elector.State().LeadsAt(p.clock.Read()) {
			s.fail("%s leads, and was told that its app is gone", p.process)
		}
		time.AfterFunc(d, func() { p.stand(true) })
	case 1:
		s.note("%s: its app flaps", p.process)
		for i := range 10 {
			p.stand(i%2 == 1)
			s.pass(100 * time.Millisecond)
		}
	case 2:
		s.note("the pod of %s is being deleted", p.process)
		p.elector.Retire()
		s.pass(d)
		p.stand(false)
		s.pass(d)
		p.stop()
		s.restartWhenEnded(p)
	case 3:
		s.annotate()
	}
}

// annotate asks for a step-down, rightly or not.
func (s *stack) annotate() {
	l := s.lease()
	if l == nil || l.Spec.LeaseTransitions == nil {
		return
	}
	token := strconv.Itoa(int(*l.Spec.LeaseTransitions) + []int{0, 0, 0, -1, 1}[s.random.IntN(5)])
	successor := s.players[s.random.IntN(len(s.players))].identity
	if s.random.IntN(2) == 0 {
		successor = ""
	}
	s.note("the Lease is annotated: step down %q, successor %q", token, successor)
	s.Put(namespace, name, func(l *coordinationv1.Lease) {
		if l.Annotations == nil {
			l.Annotations = map[string]string{}
		}
		l.Annotations[lease.StepDownAnnotation] = token
		if delete(l.Annotations, lease.SuccessorAnnotation); successor != "" {
			l.Annotations[lease.SuccessorAnnotation] = successor
		}
	})
}

// judgeStanding: none leads that knows that its app is gone, and none begins to that knew
// at the look before that its pod is being deleted: both may happen between two looks.
func (s *stack) judgeStanding(leading, began []*player) {
	for _, p := range leading {
		if p.elector == nil {
			continue
		}
		switch state := p.elector.State(); {
		case !state.LeadsAt(p.clock.Read()):
		case state.Down:
			s.violation("%s leads, and knows that its app is gone", p.process)
		case p.retired && contains(began, p):
			s.violation("%s begins to lead, and its pod is being deleted", p.process)
		}
	}
	for _, p := range s.players {
		p.retired = p.elector != nil && p.elector.State().Retired
	}
}
