package simulation

import (
	"fmt"
	"slices"

	"github.com/leader-elector/leader-elector/lease/internal/election"
)

// choice is one thing that may happen next in a world.
type choice struct {
	kind choiceKind
	who  int // process or message; of restoreEtcd: which past
}

type choiceKind uint8

const (
	serve         choiceKind = iota // a request arrives and is answered
	vanish                          // an abandoned request never arrives
	deliver                         // an answer arrives
	wake                            // a process's alarm rings
	deliverEvent                    // a watch tells of a change
	evict                           // the wait for the app ends, since the Lease is lost
	appStops                        // the app has stopped
	resume                          // a paused process goes on
	restart                         // a process of that identity starts, without proof that the one before is dead
	restartProven                   // with proof, and its file removed
	appUp                           // an app comes to life
	appEnds                         // the app of a pod that is being deleted ends
	stopRetired                     // and then its process is told to stop
	timePasses

	faulty // from here on each is a fault
	loseRequest
	loseAnswer
	delayRequest
	delayAnswer
	refuseLanded // it lands, and is answered with 409, as after a proxy's retry
	fail         // it does not land, and the connection breaks
	failLate     // the connection breaks, and it lands later
	dropEvent
	delayEvents
	endWatch
	pause
	crash
	stop
	stepDown
	stickFile // the status file can't be removed
	deleteLease
	eraseHolder
	shorten
	lengthen
	restoreEtcd

	ofApps // from here on each is about an app, or an order to the leader
	appDies
	appSilent // it seems to be gone, and may be at work
	retire
	order // to step down
	orderSuccessor
	orderNobody // with a successor that there is not
	orderStale  // of another term
)

var choiceNames = map[choiceKind]string{
	serve: "%s: its request is served", vanish: "%s: its abandoned request never arrives", deliver: "%s: the answer arrives",
	wake: "%s wakes", deliverEvent: "%s: its watch tells of a change", evict: "%s: the wait for its app ends", appStops: "%s: its app has stopped",
	resume: "%s goes on", restart: "%s is replaced by a new process of the same name", restartProven: "%s is restarted in its container", timePasses: "time passes",
	loseRequest: "FAULT %s: its request is lost", loseAnswer: "FAULT %s: its request is served, the answer is lost",
	delayRequest: "FAULT %s: its request is late", delayAnswer: "FAULT %s: its request is served, the answer is late",
	refuseLanded: "FAULT %s: its request is served and answered with 409", fail: "FAULT %s: the connection breaks before its request is served", failLate: "FAULT %s: the connection breaks, its request may be served later",
	dropEvent: "FAULT %s: its watch misses a change", delayEvents: "FAULT %s: its watch is late from now on", endWatch: "FAULT %s: its watch ends",
	pause: "FAULT %s stands still", crash: "FAULT %s is killed", stop: "FAULT %s is told to stop", stepDown: "FAULT %s is told to step down",
	stickFile: "FAULT %s: its status file can't be removed", deleteLease: "FAULT the Lease is deleted", eraseHolder: "FAULT the holder is erased",
	appUp: "%s: its app comes to life", appEnds: "%s: its app ends, as its pod is being deleted", stopRetired: "%s is told to stop, as its pod is being deleted",
	appDies: "FAULT %s: its app dies", appSilent: "FAULT %s: its app does not answer, and may be at work", retire: "FAULT %s: its pod is being deleted",
	order: "FAULT the leader is asked to step down", orderSuccessor: "FAULT the leader is asked to step down for the other replica",
	orderNobody: "FAULT the leader is asked to step down for nobody", orderStale: "FAULT the leader of another term is asked to step down",
	shorten: "FAULT leaseDurationSeconds is edited to 1", lengthen: "FAULT leaseDurationSeconds is edited to 30", restoreEtcd: "FAULT etcd is restored to an earlier state",
}

func (k choiceKind) cost() int {
	if k > faulty {
		return 1
	}
	return 0
}

// String tells the choice, for a story.
func (c choice) String(w *world) string {
	name := choiceNames[c.kind]
	switch {
	case c.kind == restoreEtcd:
		return fmt.Sprintf("%s: %d changes ago", name, len(w.api.past)-c.who)
	case c.kind == timePasses || c.kind >= deleteLease && c.kind < ofApps || c.kind >= order:
		return name
	case c.kind <= deliver && c.kind != wake || c.kind > faulty && c.kind <= failLate:
		m := w.messages[c.who]
		return fmt.Sprintf(name, m.process+" ("+m.request.Kind.String()+")")
	}
	return fmt.Sprintf(name, w.processes[c.who].incarnation)
}

// choices are all that may happen next. Time passes only when nothing is due.
func (e *explorer) choices(w *world, faults int) (all []choice) {
	due := false
	add := func(kind choiceKind, who int) { all = append(all, choice{kind, who}) }
	for i := range w.messages {
		due = w.messageChoices(i, faults, add) || due
	}
	for i := range w.processes {
		p := w.processes[i]
		switch {
		case p.running && p.paused:
			add(resume, i)
			due = due || len(p.stream.events) > 4 // it goes on before long
		case p.running:
			due = w.processChoices(i, faults, add) || due
			if e.apps {
				w.appChoices(i, faults, add)
			}
		case !w.anomaly:
			add(restart, i)
			add(restartProven, i)
		}
	}
	if faults > 0 && w.allKnowTheHolder() {
		add(deleteLease, 0)
		add(eraseHolder, 0)
		if !w.shortened {
			add(shorten, 0)
		}
		add(lengthen, 0)
		if w.allHaveSeenTheNewest() {
			for i := range w.api.past {
				add(restoreEtcd, i)
			}
		}
	}
	if faults > 0 && e.apps {
		w.orderChoices(add)
	}
	if !due {
		add(timePasses, 0)
	}
	return all
}

func (w *world) messageChoices(i, faults int, add func(choiceKind, int)) (due bool) {
	m := w.messages[i]
	p := w.find(m.process)
	gone := p < 0 || !w.processes[p].running
	if m.applied {
		if gone || w.processes[p].paused {
			return false
		}
		add(deliver, i)
		return !m.late
	}
	add(serve, i)
	if m.abandoned || gone {
		add(vanish, i)
		return !m.late
	}
	if m.late {
		return false
	}
	if faults > 0 {
		add(loseRequest, i)
		add(delayRequest, i)
		add(fail, i)
		if m.request.Kind != election.Read {
			add(loseAnswer, i)
			add(refuseLanded, i)
			add(failLate, i)
		}
		add(delayAnswer, i)
	}
	return true
}

func (w *world) processChoices(i, faults int, add func(choiceKind, int)) (due bool) {
	p := w.processes[i]
	if p.wakeAt <= p.clock(w.now) {
		add(wake, i)
		due = true
	}
	if len(p.stream.events) > 0 {
		add(deliverEvent, i)
		due = due || !p.stream.late || len(p.stream.events) > 2
		if faults > 0 && p.stream.events[0].Kind != election.WatchUp && p.stream.events[0].Kind != election.WatchEnded {
			add(dropEvent, i)
			if !p.stream.late {
				add(delayEvents, i)
			}
		}
	}
	if p.evicted {
		add(evict, i)
		due = true
	}
	if p.draining && (!p.stuck || p.file <= p.clock(w.now) || w.broken.ignores) {
		add(appStops, i)
	}
	if faults == 0 {
		return due
	}
	if p.stream.id != 0 {
		add(endWatch, i)
	}
	add(pause, i)
	add(crash, i)
	add(stop, i)
	if p.state.ValidUntil != 0 {
		add(stepDown, i)
		if !p.stuck {
			add(stickFile, i)
		}
	}
	return due
}

// allKnowTheHolder says that every process that runs has seen the term as it
// is. One that has not may take a Lease that was changed by hand: a known limit.
func (w *world) allKnowTheHolder() bool {
	holder := w.api.stored.Holder
	return !w.anomaly && holder != "" && !slices.ContainsFunc(w.processes, func(p *process) bool {
		return !p.running || !p.state.Synced || p.state.Leader != holder || p.state.Transitions != w.api.stored.Transitions
	})
}

// allHaveSeenTheNewest says that every process has seen what is stored. A restore
// of etcd that loses a write which only its writer knows of is a known limit.
func (w *world) allHaveSeenTheNewest() bool {
	return !slices.ContainsFunc(w.processes, func(p *process) bool { return p.running && p.campaign.Version() != w.api.stored.Version })
}

// take lets a choice happen.
func (e *explorer) take(w *world, c choice) {
	switch c.kind {
	case serve:
		w.serve(c.who)
	case vanish:
		w.remove(c.who)
	case loseRequest:
		w.loseRequest(c.who)
	case deliver:
		w.deliver(c.who)
	case wake:
		w.step(c.who, election.Event{})
	case deliverEvent:
		w.deliverEvent(c.who)
	case evict:
		w.evict(c.who)
	case appStops:
		w.appStops(c.who)
	case resume:
		w.resume(w.processes[c.who].incarnation)
	case restart, restartProven:
		w.restartProcess(e, c.who, c.kind == restartProven)
	case appUp, appEnds, stopRetired:
		w.liveOn(c)
	case timePasses:
		w.pass(w.quiet())
	case loseAnswer:
		w.loseAnswer(c.who)
	case delayRequest, delayAnswer:
		if c.kind == delayAnswer {
			w.land(c.who)
		}
		m := w.messages[c.who]
		m.late = true
		w.replace(c.who, m)
	case refuseLanded:
		w.land(c.who)
		w.answerWith(c.who, election.Failure{Code: 409, Text: "the object has been modified"})
	case failLate:
		m := w.messages[c.who]
		w.answerWith(c.who, election.Failure{Text: "connection reset"})
		m.late, m.abandoned = true, true
		w.messages = append(slices.Clip(w.messages), m)
	case fail:
		w.answerWith(c.who, election.Failure{Text: "connection reset"})
	default:
		w.befall(c)
	}
}

// befall lets a fault of a process or of the Lease happen.
func (w *world) befall(c choice) {
	switch c.kind {
	case dropEvent:
		p := w.own(c.who)
		p.stream.events = p.stream.events[1:]
	case delayEvents:
		w.own(c.who).stream.late = true
	case endWatch:
		w.endWatch(c.who, election.Failure{Text: "connection reset"})
	case pause:
		p := w.own(c.who)
		p.paused, p.pausedAt = true, w.now
	case crash:
		w.crash(c.who)
	case stop:
		w.step(c.who, election.Event{Kind: election.StopAsked})
	case stepDown:
		w.step(c.who, election.Event{Kind: election.StepDownAsked, Reason: "as told"})
	case stickFile:
		w.own(c.who).stuck = true
	case deleteLease:
		w.anomaly = true
		w.api.delete()
		w.broadcast()
		if w.broken.forgets {
			w.forget()
		}
	case restoreEtcd:
		w.anomaly = true
		w.restore(w.api.past[c.who])
	case appDies, appSilent, retire, order, orderSuccessor, orderNobody, orderStale:
		w.liveOn(c)
	default:
		r := w.api.stored
		switch c.kind {
		case eraseHolder:
			w.anomaly = true
			r.Holder = ""
		case shorten:
			w.anomaly, w.shortened = true, true
			r.Seconds = 1
		case lengthen:
			r.Seconds = 30
		}
		w.api.put(r)
		w.broadcast()
	}
}

// serve lets a request arrive and its answer, if its process can take it.
func (w *world) serve(i int) {
	m := w.messages[i]
	w.land(i)
	if p := w.find(m.process); !m.abandoned && p >= 0 && w.processes[p].running && !w.processes[p].paused {
		w.deliver(i)
	}
}

func (w *world) loseAnswer(i int) {
	m := w.messages[i]
	w.land(i)
	if j := slices.IndexFunc(w.messages, func(o message) bool { return o.process == m.process && o.applied && o.request.ID == m.request.ID }); j >= 0 {
		w.remove(j)
	}
}

// answerWith lets a failure arrive in place of the true answer.
func (w *world) answerWith(i int, f election.Failure) {
	m := w.messages[i]
	m.applied, m.answer = true, election.Event{Kind: election.Answered, ID: m.request.ID, Failure: f}
	w.replace(i, m)
	if !w.processes[w.find(m.process)].paused {
		w.deliver(i)
	}
}

func (w *world) resume(incarnation string) {
	p := w.own(w.find(incarnation))
	if p.paused = false; w.broken.stops {
		p.lost += w.now - p.pausedAt
	}
}

func (w *world) loseRequest(i int) {
	m := w.messages[i]
	if w.broken.believes && m.request.Write.Version != "" && !w.processes[w.find(m.process)].paused {
		m.applied, m.answer = true, election.Event{Kind: election.Answered, ID: m.request.ID, Record: m.request.Write}
		w.replace(i, m)
		w.deliver(i)
		return
	}
	w.remove(i)
}

// restartProcess starts a process in the place of one that has ended.
func (w *world) restartProcess(e *explorer, i int, proven bool) {
	old := *w.processes[i]
	w.starts++
	var dead func(string) bool
	if proven {
		before := old
		dead = func(s string) bool {
			return s == before.incarnation || before.config.ProvenDead != nil && before.config.ProvenDead(s)
		}
		w.oracle.forget(old.incarnation)
	}
	*w.own(i) = *w.newProcess(e.config(old.identity, w.starts+1, dead), old.rate)
}

// forget makes followers forget what they know.
func (w *world) forget() {
	for i := range w.processes {
		if p := w.own(i); p.running && !w.leads(p) {
			p.campaign, p.state, p.stream, p.wakeAt = election.New(p.config), election.State{}, stream{}, 0
			p.app.known, p.app.retired, p.barred = false, false, 0
			w.abandon(p)
		}
	}
}
