package simulation

import (
	"fmt"
	"slices"
	"time"

	"github.com/leader-elector/leader-elector/lease/internal/election"
)

// fault does one of the things that go wrong in clusters.
func (s *simulation) fault() {
	running := s.running()
	if len(running) == 0 {
		if !s.mayStart() { // what was changed stays, and those that start know no better
			s.pass(2 * s.longest)
			s.w.anomaly, s.shortening, s.w.oracle.reset = false, false, true
		}
		s.startProcess(fmt.Sprintf("r%d", s.random.IntN(3)), 15*time.Second, nil)
		return
	}
	i := running[s.random.IntN(len(running))]
	if leader := s.leader(); leader >= 0 && s.chance(50) {
		i = leader // most is to be learnt from breaking the leader
	}
	p := s.w.processes[i]
	n := s.nets[p.incarnation]
	if s.chance(25) {
		s.appFault(i)
		return
	}
	switch s.random.IntN(24) {
	case 0, 1:
		s.badness, s.outage = s.random.IntN(101), false
		s.w.say("%d%% of requests fail", s.badness)
	case 2, 3:
		s.badness, s.outage = 0, false
		s.w.say("calm")
	case 4:
		s.outage = true
		s.w.say("the API server is down")
	case 5, 6:
		s.standStill(p.incarnation, s.below(3*p.config.LeaseDuration))
	case 7:
		s.w.say("%s: its watch ends", p.incarnation)
		if p.stream.id != 0 && !p.paused {
			s.w.endWatch(i, election.Failure{Code: []int{0, 410, 500}[s.random.IntN(3)], Text: "the watch has ended"})
		}
	case 8:
		n.lag, n.silent = []time.Duration{0, time.Second, 2 * time.Minute}[s.random.IntN(3)], s.chance(20)
		s.w.say("%s: its watch is late by about %v, silent: %v", p.incarnation, n.lag, n.silent)
	case 9:
		n.latency = s.below(p.config.RenewDeadline / 2)
		s.w.say("%s: every round trip takes %v", p.incarnation, n.latency)
	case 10, 11:
		s.cut(p.incarnation, s.chance(70))
	case 12:
		s.w.say("%s is told to step down", p.incarnation)
		s.ask(i, election.Event{Kind: election.StepDownAsked, Reason: "as told"})
	case 13, 14:
		s.kill(i)
	case 15:
		s.w.say("%s is told to stop", p.incarnation)
		s.ask(i, election.Event{Kind: election.StopAsked})
		s.after(s.below(2*p.config.LeaseDuration), func() { s.replaceEnded(p.identity) })
	case 16:
		if len(running) < 8 && s.mayStart() {
			s.w.say("another process is called %s", p.identity)
			s.startProcess(p.identity, p.config.LeaseDuration, nil)
		}
	case 17:
		s.w.own(i).wall = s.below(200*time.Second) - 100*time.Second
		s.w.say("the wall clock of %s is set", p.incarnation)
	case 18:
		s.policy()
	case 19:
		if p.state.ValidUntil != 0 && s.w.api.admit == nil { // see policy
			s.w.say("the file system of %s hangs", p.incarnation)
			s.w.own(i).stuck = true
			s.after(2*time.Second, func() { s.stepDownFor(p.incarnation) }) // what the sidecar does then (S11)
			s.after(2*time.Second+s.below(time.Minute), func() { s.unstick(p.incarnation) })
		}
	default:
		s.editByHand()
	}
}

// running are the processes that campaign.
func (s *simulation) running() (all []int) {
	for i := range s.w.processes {
		if s.w.processes[i].running {
			all = append(all, i)
		}
	}
	return all
}

func (s *simulation) leader() int {
	return slices.IndexFunc(s.w.processes, func(p *process) bool { return s.w.leads(p) })
}

// ask tells a process something. One that stands still hears it later.
func (s *simulation) ask(i int, ev election.Event) {
	if p := s.w.processes[i]; p.running && !p.paused {
		s.w.step(i, ev)
		s.drain(p.incarnation)
	}
}

// drain lets the app of a process stop, some time after it was asked to.
func (s *simulation) drain(incarnation string) {
	i := s.w.find(incarnation)
	if i < 0 || !s.w.processes[i].draining {
		return
	}
	patience := 20 * time.Second
	if s.w.processes[i].app.hangs {
		patience = time.Minute
	}
	s.after(s.below(patience), func() { s.drained(incarnation) })
}

func (s *simulation) drained(incarnation string) {
	i := s.w.find(incarnation)
	if i < 0 {
		return
	}
	p := s.w.processes[i]
	switch {
	case !p.running || !p.draining:
	case p.paused || p.stuck && p.file > p.clock(s.w.now) && !s.w.broken.ignores:
		s.after(time.Second, func() { s.drained(incarnation) })
	default:
		s.w.appStops(i)
	}
}

func (s *simulation) stepDownFor(incarnation string) {
	if i := s.w.find(incarnation); i >= 0 && s.w.processes[i].stuck && s.w.processes[i].state.ValidUntil != 0 {
		s.ask(i, election.Event{Kind: election.StepDownAsked, Reason: "its status file can't be written"})
	}
}

func (s *simulation) unstick(incarnation string) {
	if i := s.w.find(incarnation); i >= 0 && s.w.processes[i].stuck {
		p := s.w.own(i)
		p.stuck, p.file = false, p.state.ValidUntil
	}
}

// standStill stops a process as a whole, as SIGSTOP or a frozen machine does.
func (s *simulation) standStill(incarnation string, d time.Duration) {
	s.w.say("%s stands still for %v", incarnation, d.Round(time.Millisecond))
	p := s.w.own(s.w.find(incarnation))
	if p.paused {
		return
	}
	p.paused, p.pausedAt = true, s.w.now
	if s.chance(20) {
		p.wall -= s.below(100 * time.Second) // and its wall clock is set while it does
	}
	s.after(d, func() {
		if i := s.w.find(incarnation); i >= 0 && s.w.processes[i].paused {
			s.w.resume(incarnation)
		}
	})
}

func (s *simulation) cut(incarnation string, cut bool) {
	s.w.say("%s is cut off: %v", incarnation, cut)
	n := s.nets[incarnation]
	if n.cut = cut; cut {
		return
	}
	if i := s.w.find(incarnation); s.w.processes[i].stream.id != 0 && !s.w.processes[i].paused {
		s.w.endWatch(i, election.Failure{Text: "connection reset"})
	}
}

// kill ends a process. It comes back in its container, or as another pod of the
// same name, or not at all.
func (s *simulation) kill(i int) {
	p := *s.w.processes[i]
	s.w.say("%s is killed", p.incarnation)
	s.w.crash(i)
	back := s.random.IntN(3)
	if len(s.running()) == 0 {
		back = 1
	}
	s.after(s.below(p.config.LeaseDuration*4/3), func() { s.comeBack(p, back) })
}

func (s *simulation) comeBack(p process, back int) {
	switch {
	case !s.mayStart():
		s.after(time.Second, func() { s.comeBack(p, back) })
	case back == 0:
		s.w.say("%s is restarted in its container", p.identity)
		s.startProcess(p.identity, p.config.LeaseDuration, &p)
	case back == 1:
		s.w.say("%s is replaced by a pod of the same name", p.identity)
		s.startProcess(p.identity, p.config.LeaseDuration, nil)
	}
}

func (s *simulation) replaceEnded(identity string) {
	if slices.ContainsFunc(s.w.processes, func(p *process) bool { return p.identity == identity && p.running }) || !s.mayStart() {
		if s.w.now < time.Hour {
			s.after(time.Second, func() { s.replaceEnded(identity) })
		}
		return
	}
	s.startProcess(identity, s.typical(), nil)
}

// mayStart says whether a process may start now. One that never saw the Lease as a
// replica wrote it may take it: a known limit. So may one whose first sight of it is a
// renewal that a policy has shortened before its leader knows.
func (s *simulation) mayStart() bool {
	if s.shortening && len(s.running()) > 0 && s.w.allHaveSeenTheNewest() && (s.w.api.stored.Seconds <= 5 || !s.capped) {
		s.shortening = false
	}
	return !s.w.anomaly && !s.shortening
}

// policies are what admission policies may make of a write. Old is what is stored.
var policies = []struct {
	name string
	edit func(old election.Record, r *election.Record)
}{
	{"shorter durations", func(_ election.Record, r *election.Record) { r.Seconds = min(r.Seconds, 5) }},
	{"longer durations", func(_ election.Record, r *election.Record) { r.Seconds = max(r.Seconds, 20) }},
	{"whole seconds", truncated(time.Second)},
	{"milliseconds", truncated(time.Millisecond)},
	{"ten seconds", truncated(10 * time.Second)},
	{"minutes", truncated(time.Minute)},
	{"rounded seconds", func(_ election.Record, r *election.Record) {
		const second = election.Stamp(time.Second / time.Microsecond)
		r.Renewed = (r.Renewed + second/2) / second * second
	}},
	{"renewTime stays", func(old election.Record, r *election.Record) {
		if old.Renewed != 0 {
			r.Renewed = old.Renewed
		}
	}},
	{"acquireTime stays", func(old election.Record, r *election.Record) {
		if old.Acquired != 0 {
			r.Acquired = old.Acquired
		}
	}},
	{"no annotation", func(_ election.Record, r *election.Record) { r.Mark = "" }},
	{"another annotation", func(_ election.Record, r *election.Record) { r.Mark = "a policy's" }},
}

func truncated(to time.Duration) func(election.Record, *election.Record) {
	unit := election.Stamp(to / time.Microsecond)
	return func(_ election.Record, r *election.Record) { r.Renewed -= r.Renewed % unit }
}

// policy lets admission policies, two at most, change what is written from now on.
func (s *simulation) policy() {
	s.w.api.admit, s.capped = nil, false
	if slices.ContainsFunc(s.w.processes, func(p *process) bool { return p.stuck }) {
		s.w.say("no admission policies") // a file that can't be changed shows the duration of before: a known limit
		return
	}
	var chosen []int
	for range s.random.IntN(3) {
		n := s.random.IntN(len(policies))
		if n == 0 {
			if !s.w.allKnowTheHolder() {
				continue // as mayStart says
			}
			s.capped, s.shortening = true, true
		}
		chosen = append(chosen, n)
		s.w.say("admission policy: %s", policies[n].name)
	}
	if len(chosen) == 0 {
		s.w.say("no admission policies")
		return
	}
	s.w.api.admit = func(r *election.Record) {
		for _, n := range chosen {
			policies[n].edit(s.w.api.stored, r)
		}
	}
}

// editByHand is a person with kubectl, or with a backup of etcd. Replicas that do
// not know the term that is cut short can't know that it goes on: a known limit.
func (s *simulation) editByHand() {
	if !s.w.allKnowTheHolder() {
		return
	}
	r := s.w.api.stored
	switch s.random.IntN(6) {
	case 0:
		s.w.say("the Lease is deleted")
		s.w.anomaly = true
		s.w.api.delete()
		if s.w.broadcast(); s.w.broken.forgets {
			s.w.forget()
		}
		return
	case 1:
		if s.w.allHaveSeenTheNewest() && len(s.w.api.past) > 0 {
			s.w.say("etcd is restored")
			s.w.anomaly = true
			s.w.restore(s.w.api.past[s.random.IntN(len(s.w.api.past))])
			for _, n := range s.nets { // no connection outlives that
				n.silent, n.lag = false, 0
			}
		}
		return
	case 2:
		s.w.say("the holder is erased")
		s.w.anomaly, r.Holder = true, ""
	case 3:
		s.w.anomaly, r.Seconds = true, s.shorter(r.Seconds)
		s.w.say("leaseDurationSeconds is edited to %d", r.Seconds)
	case 4:
		r.Seconds = []int32{60, 3600, 300_000_000}[s.random.IntN(3)]
		s.longest = max(s.longest, min(time.Duration(r.Seconds)*time.Second, time.Hour))
		s.w.say("leaseDurationSeconds is edited to %d", r.Seconds)
	case 5:
		s.w.say("leaseTransitions is reset")
		s.w.anomaly, r.Transitions = true, 0
	}
	s.w.api.put(r)
	s.w.broadcast()
}

// shorter is another edited duration each time.
func (s *simulation) shorter(than int32) int32 {
	s.edits++
	return max(1, min(than-1, s.edits))
}

// calm ends every fault but those that end by themselves.
func (s *simulation) calm() {
	s.w.say("all faults cease")
	s.badness, s.outage, s.w.api.admit, s.capped = 0, false, nil, false
	for i := range s.w.processes {
		p := s.w.processes[i]
		*s.nets[p.incarnation] = network{}
		if p.paused {
			s.w.resume(p.incarnation)
		}
		s.unstick(p.incarnation)
		if p = s.w.processes[i]; p.running && p.stream.id != 0 {
			s.w.endWatch(i, election.Failure{Text: "the watch has ended"})
		}
	}
	s.calmApps()
}

// peace ends all faults. Within two durations of the longest record, a replica
// leads, and goes on to (L6).
func (s *simulation) peace() {
	s.calm()
	if len(s.running()) == 0 && s.shortening {
		s.pass(2 * s.longest)
		s.shortening = false
	}
	if len(s.running()) == 0 && !s.w.anomaly {
		s.startProcess("last", 15*time.Second, nil)
	}
	s.someApp()
	s.pass(s.patience())
	for range 20 {
		s.pass(time.Second)
		if s.w.oracle.violation != "" {
			return
		}
		if s.leader() < 0 && s.someoneCouldLead("", time.Hour) {
			s.w.oracle.fail("no replica leads two lease durations (of %v) after all faults have ceased: %+v", s.longest, s.w.api.stored)
			return
		}
	}
	s.afterwards()
}
