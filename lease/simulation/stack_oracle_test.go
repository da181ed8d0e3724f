package simulation

import (
	"fmt"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/leader-elector/leader-elector/lease"
)

// landedWrite is one that protects its holder: no other process may lead until the
// record's own duration has passed, by the clock of the process that waits.
type landedWrite struct {
	landed   time.Time
	duration time.Duration
}

// stackOracle judges what the processes show to the world, by what the API server
// has truly stored. It sees every moment at which a process may begin to lead.
type stackOracle struct {
	players    []*player
	grants     map[*player]landedWrite // of the processes whose last write landed, until one takes over
	landed     map[*player]time.Time
	tokens     map[string]int32   // highest leaseTransitions by uid of the Lease
	holders    map[string]*player // whose term it is, by uid of the Lease; nil after a release
	violations []string
	overstays  int // overlaps in which our side kept the rules: client-go's
	steps      int // moments judged

	appOverlaps int           // how often a process began to lead beside an app at work
	appOverlap  time.Duration // for how long, at most
	overlapped  time.Time     // since when, if so
	terms       int           // beginnings of ours
}

func (s *stack) join(p *player) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.players = append(s.players, p)
}

func (s *stack) violation(format string, args ...any) {
	s.violations = append(s.violations, time.Now().Format("04:05.000 ")+fmt.Sprintf(format, args...))
	s.note("%s", s.violations[len(s.violations)-1])
}

// fail is violation for the schedule itself, and broken asks whether there is one.
func (s *stack) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.violation(format, args...)
}

func (s *stack) broken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.violations) > 0
}

// check looks at all processes. Leadership begins only at moments at which it
// is called: when an Elector publishes, a peer calls back, or a file is changed.
func (s *stack) check() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps++
	now := time.Now()
	var leading, began []*player
	for _, p := range s.players {
		view := p.view()
		if view && !p.viewed {
			began = append(began, p)
		}
		p.viewed = view
		if view {
			leading = append(leading, p)
		}
	}
	for _, p := range began {
		s.note("%s leads", p.process)
		if p.elector != nil {
			s.terms++
		}
	}
	s.judgeApps(leading, began, now)
	s.judgeStanding(leading, began)
	for i, p := range leading {
		if p.elector != nil {
			s.mayStay(p, now)
		}
		for _, q := range leading[:i] {
			if !contains(began, p) && !contains(began, q) {
				continue // judged when it began
			}
			if p.elector != nil && q.elector != nil {
				s.violation("two leaders: %s and %s", q.process, p.process)
			} else {
				s.overstays++
				s.note("%s and %s lead, one of them client-go's", q.process, p.process)
			}
		}
	}
}

// judgeApps looks for an app that works beside another's leadership.
func (s *stack) judgeApps(leading, began []*player, now time.Time) {
	beside := false
	for _, p := range leading {
		for _, q := range s.players {
			if q != p && q.working.Load() && !q.dead.Load() && !q.viewed {
				beside = true
				if contains(began, p) {
					s.appOverlaps++
				}
			}
		}
	}
	if !s.overlapped.IsZero() {
		s.appOverlap = max(s.appOverlap, now.Sub(s.overlapped))
	}
	switch {
	case !beside:
		s.overlapped = time.Time{}
	case s.overlapped.IsZero():
		s.overlapped = now
	}
}

// takesOver judges a write: the terms of others are over. They end with it.
func (s *stack) takesOver(p *player, now time.Time) {
	for q, g := range s.grants {
		if q == p {
			continue
		}
		delete(s.grants, q)
		wait := time.Duration(float64(g.duration) / p.clock.Rate)
		if early := g.landed.Add(wait).Sub(now); early > tolerance && p.elector != nil {
			s.violation("%s took over %v before the term of %s was over", p.process, early, q.process)
		}
	}
}

// mayStay: the last write that landed is not older than the renew deadline.
func (s *stack) mayStay(p *player, now time.Time) {
	deadline := time.Duration(float64(renewDeadline) / p.clock.Rate)
	landed, any := s.landed[p]
	if late := now.Sub(landed.Add(deadline)); !any || late > tolerance {
		s.violation("%s leads %v after its renew deadline (a write landed: %v)", p.process, late, any)
	}
}

// stored judges a version of the Lease that a process has written.
func (s *stack) stored(process string, l *coordinationv1.Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps++
	p := s.named(process)
	holder, uid, token := "", string(l.UID), int32(0)
	if l.Spec.HolderIdentity != nil {
		holder = *l.Spec.HolderIdentity
	}
	if l.Spec.LeaseTransitions != nil {
		token = *l.Spec.LeaseTransitions
	}
	if holder == "" {
		s.note("%s releases", process)
		delete(s.grants, p)
		s.holders[uid] = nil
		if p.elector != nil && p.view() {
			s.violation("%s released while it leads", process)
		}
		if p.elector != nil && p.working.Load() {
			s.violation("%s released while its app, told to stop, still works", process)
		}
		return
	}
	if strings.HasPrefix(l.Annotations[lease.IncarnationAnnotation], "put-back-for:") {
		s.note("%s puts the Lease of %s back", process, holder)
		s.holders[uid], s.tokens[uid] = s.named(strings.TrimPrefix(l.Annotations[lease.IncarnationAnnotation], "put-back-for:")), token
		return
	}
	s.takesOver(p, time.Now())
	s.landed[p] = time.Now()
	if !p.buried { // else it was under way when the process died
		s.grants[p] = landedWrite{time.Now(), time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second}
	}
	before, highest := s.holders[uid], s.tokens[uid]
	if before != p {
		s.note("%s holds, token %d", process, token)
		if _, known := s.tokens[uid]; known && p.elector != nil && (token < highest || token == highest && !(before != nil && p.succeeds(before.process))) {
			s.violation("%s took over with token %d after %d", process, token, highest)
		}
	}
	s.tokens[uid], s.holders[uid] = max(token, highest), p
}

// named is the process of that name; nil: none.
func (s *stack) named(process string) *player {
	for _, p := range s.players {
		if p.process == process {
			return p
		}
	}
	return nil
}

// forget is for a process whose death its successor has proof of.
func (s *stack) forget(p *player) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.grants, p)
	p.leftover, p.buried = time.Time{}, true
}

func (s *stack) note(format string, args ...any) {
	s.tracing.Lock()
	defer s.tracing.Unlock()
	s.trace = append(s.trace, time.Now().Format("04:05.000 ")+fmt.Sprintf(format, args...))
}

func (s *stack) story() string {
	lines := append([]string{}, s.trace...)
	for _, p := range s.players {
		lines = append(lines, fmt.Sprintf("--- log of %s, clock rate %.3f\n%s", p.process, p.clock.Rate, p.log))
	}
	return strings.Join(lines, "\n")
}

func contains(players []*player, p *player) bool {
	for _, q := range players {
		if q == p {
			return true
		}
	}
	return false
}
