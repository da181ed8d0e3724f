package simulation

import (
	"strconv"
	"time"

	"github.com/leader-elector/leader-elector/lease/internal/election"
)

// appFault does one of the things that happen to apps, to pods that are deleted, and to
// the annotations of the Lease.
func (s *simulation) appFault(i int) {
	p := s.w.processes[i]
	n := s.random.IntN(8)
	if n < 5 && !p.app.follows {
		n += 3
	}
	switch n {
	case 0, 1:
		s.w.say("%s: its app crashes", p.incarnation)
		q := s.w.own(i)
		q.app.shows, q.working = false, false
		s.after(s.below(p.config.LeaseDuration), func() { s.appBack(p.incarnation) })
	case 2:
		s.w.say("%s: its app hangs", p.incarnation)
		q := s.w.own(i)
		q.app.shows, q.app.hangs = false, true
		s.after(s.below(2*p.config.LeaseDuration), func() { s.appBack(p.incarnation) })
	case 3:
		s.w.say("%s: its app flaps", p.incarnation)
		for n := range time.Duration(20) {
			s.after(n*100*time.Millisecond, func() { s.show(p.incarnation, n%2 == 1) })
		}
	case 4, 5:
		s.retire(p.incarnation)
	default:
		s.annotate()
	}
}

// show changes what a look at an app says. Its process is told, or will be.
func (s *simulation) show(incarnation string, lives bool) {
	if i := s.w.find(incarnation); i >= 0 && s.w.processes[i].running && !s.w.processes[i].app.retired {
		s.w.own(i).app.shows = lives
	}
}

// appBlinks lets an app be gone for a while, before long.
func (s *simulation) appBlinks(incarnation string) {
	s.after(s.below(s.typical()/5), func() { s.show(incarnation, false) })
	s.after(s.typical(), func() { s.show(incarnation, true) })
}

func (s *simulation) appBack(incarnation string) {
	s.show(incarnation, true)
	if i := s.w.find(incarnation); i >= 0 {
		s.w.own(i).app.hangs = false
	}
}

// liven lets the app beside a process that has started come to life. Some never do.
func (s *simulation) liven(p *process) {
	if p.app.follows && !s.chance(10) {
		s.after(s.below(p.config.LeaseDuration), func() { s.show(p.incarnation, true) })
	}
}

// retire deletes a pod as the kubelet does: its process is told, its app ends, and then
// its process is told to stop.
func (s *simulation) retire(incarnation string) {
	p := s.w.processes[s.w.find(incarnation)]
	if p.app.retired {
		return
	}
	s.w.say("the pod of %s is being deleted", incarnation)
	s.insist(incarnation, s.w.retire)
	ends := s.below(p.config.LeaseDuration)
	s.after(ends, func() { s.insist(incarnation, s.appEnds) })
	s.after(ends+s.below(p.config.LeaseDuration), func() { s.insist(incarnation, s.stopRetired) })
}

// insist does something to a process once that does not stand still.
func (s *simulation) insist(incarnation string, do func(int)) {
	switch i := s.w.find(incarnation); {
	case i < 0 || !s.w.processes[i].running:
	case s.w.processes[i].paused:
		s.after(time.Second, func() { s.insist(incarnation, do) })
	default:
		do(i)
		s.drain(incarnation)
	}
}

// appEnds is what the process of a pod that is being deleted does when its app has ended.
func (s *simulation) appEnds(i int) {
	s.w.say("%s: its app has ended", s.w.processes[i].incarnation)
	p := s.w.own(i)
	p.working, p.app.shows = false, false
	if !p.app.follows && p.state.ValidUntil != 0 {
		s.w.step(i, election.Event{Kind: election.StepDownAsked, Reason: "its app has stopped"})
	}
}

func (s *simulation) stopRetired(i int) {
	p := s.w.own(i)
	if p.app.stopped {
		return
	}
	s.w.say("%s is told to stop", p.incarnation)
	p.app.stopped = true
	s.w.step(i, election.Event{Kind: election.StopAsked})
	s.after(s.below(2*p.config.LeaseDuration), func() { s.replaceEnded(p.identity) })
}

// annotate is a person who asks for a step-down, rightly or not.
func (s *simulation) annotate() {
	if !s.w.api.stored.Exists() {
		return
	}
	token := int(s.w.api.stored.Transitions)
	text := strconv.Itoa(token)
	if s.chance(40) {
		text = []string{strconv.Itoa(token - 1), strconv.Itoa(token + 1), "yes", ""}[s.random.IntN(4)]
	}
	successor := ""
	switch s.random.IntN(6) {
	case 0, 1:
		successor = s.w.processes[s.random.IntN(len(s.w.processes))].identity
	case 2:
		successor = s.w.api.stored.Holder
	case 3:
		successor = "nobody's name"
	}
	s.w.say("the Lease is annotated: step down %q, successor %q", text, successor)
	s.w.annotate(text, successor)
}

// calmApps ends what could keep apps from standing, and pods from ending.
func (s *simulation) calmApps() {
	for i := range s.w.processes {
		p := s.w.processes[i]
		if !p.running {
			continue
		}
		s.w.own(i).app.hangs = false
		if p.draining {
			s.after(s.below(20*time.Second), func() { s.drained(p.incarnation) })
		}
		if p.app.retired {
			s.insist(p.incarnation, s.appEnds)
			s.insist(p.incarnation, s.stopRetired)
		}
	}
}

// someApp lets one app live at least, in most of the schedules. Where none does no replica
// leads.
func (s *simulation) someApp() {
	var down []string
	for _, p := range s.w.processes {
		switch {
		case !p.running || p.app.retired:
		case !p.app.follows || p.app.shows:
			return
		default:
			down = append(down, p.incarnation)
		}
	}
	if len(down) > 0 && s.chance(80) {
		s.show(down[s.random.IntN(len(down))], true)
	}
}

// patience is how long after the last fault a replica leads, by clocks that may be slow.
func (s *simulation) patience() time.Duration {
	delay := time.Duration(0)
	for _, p := range s.w.processes {
		delay = max(delay, p.delay)
	}
	return 2*s.longest + 30*time.Second + delay/2 // of the two, its delay may be one
}

// couldLead says whether a process has been able to lead for long.
func (s *simulation) couldLead(p *process) bool {
	return p.running && p.stands() && (!p.app.follows || s.w.now-p.stoodSince >= s.patience())
}

// someoneCouldLead says whether a process other than that has been able to, and delays
// its claims by no more than that.
func (s *simulation) someoneCouldLead(but string, delay time.Duration) bool {
	for _, p := range s.w.processes {
		if p.incarnation != but && s.couldLead(p) && p.truly(p.delay) <= delay {
			return true
		}
	}
	return false
}

// afterwards ends the leadership that peace has brought, in one of the ways in which
// others are not to wait for its expiry.
func (s *simulation) afterwards() {
	i := s.leader()
	if i < 0 {
		return
	}
	p := *s.w.processes[i]
	switch {
	case p.app.follows && s.chance(60):
		s.w.say("%s: its app is gone", p.incarnation)
		q := s.w.own(i)
		q.app.shows, q.owes = false, true
		s.succeeded(p, "", time.Hour)
		s.show(p.incarnation, true)
		s.pass(s.patience())
		if s.leader() < 0 {
			s.w.oracle.fail("no replica leads, though the app of %s is back", p.incarnation)
		}
	case s.chance(60):
		successor := ""
		for _, q := range s.w.processes {
			if q.incarnation != p.incarnation && s.couldLead(q) && q.stream.id != 0 && s.chance(40) {
				successor = q.identity
			}
		}
		s.w.say("%s is asked to step down for %q", p.incarnation, successor)
		s.w.annotate(strconv.Itoa(int(s.w.api.stored.Transitions)), successor)
		s.succeeded(p, successor, p.truly(p.config.LeaseDuration)/2) // then it may claim again itself
	}
}

// succeeded waits until another process leads than p, where one can: the successor if
// there is one. An app takes up to 20 s to stop.
func (s *simulation) succeeded(p process, successor string, delay time.Duration) {
	others := s.someoneCouldLead(p.incarnation, delay)
	for end := s.w.now + s.patience(); s.w.now < end && s.w.oracle.violation == ""; {
		s.pass(time.Second)
		i := s.leader()
		if i < 0 || s.w.processes[i].incarnation == p.incarnation {
			continue
		}
		if q := s.w.processes[i]; successor != "" && q.identity != successor {
			s.w.oracle.fail("%s leads, and %s was to be the successor of %s", q.incarnation, successor, p.incarnation)
		}
		return
	}
	if others {
		s.w.oracle.fail("no other replica leads after %s", p.incarnation)
	}
}
