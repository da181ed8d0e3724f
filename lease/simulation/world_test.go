// Package simulation tries the election's rules against everything that can go
// wrong around it. SAFETY.md says what, and what was found.
package simulation

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
	"github.com/leader-elector/leader-elector/lease/internal/election"
)

// world is an API server with one Lease, processes, and what is under way
// between them. It is a value but for its slices, which are never changed in
// place: a shallow copy goes its own way. Nothing in it is left to chance.
type world struct {
	now       time.Duration // true time
	api       server
	processes []*process
	messages  []message
	oracle    oracle
	anomaly   bool // the Lease was changed by hand and is not yet what a replica wrote
	shortened bool // its duration was shortened once
	freed     freed
	orders    []string // the tokens that annotations asked to step down
	starts    int
	broken    *mutation
	tell      func(string) // hears the story; nil: it is not told
}

// process is one sidecar: its part in the election, its app, its watch.
type process struct {
	identity, incarnation string
	config                *election.Config
	campaign              election.Campaign
	rate                  float64       // of its clock
	wall                  time.Duration // how far its wall clock was set off
	running, paused       bool
	pausedAt, lost        time.Duration // since when it stands still, and what its clock did not count (never, but for a mutation)

	wakeAt   boottime.Moment
	state    election.State
	file     boottime.Moment // until when its status file says that it leads; 0: there is none
	stuck    bool            // the file can't be removed or written
	working  bool            // its app was told that it leads, and was not seen to stop
	draining bool            // its app was asked to stop
	evicted  bool            // the wait for the app was ended: that has to be told
	stream   stream

	app        app
	delay      time.Duration   // that its claims wait for, by its Config
	stoodSince time.Duration   // since when it may claim
	barred     boottime.Moment // it was asked to step down: no claim before
	yields     bool            // or before another has led
	resting    bool            // that has begun, and the Lease is not released yet
	owes       bool            // it has to release the Lease before that expires
	renewed    boottime.Moment // its last write landed
	drained    boottime.Moment // its app was seen to have stopped
}

// stream is a process's watch.
type stream struct {
	id     int
	events []election.Event // not delivered yet
	late   bool             // they may be delivered at any time
	silent bool             // nothing new comes
	timed  bool             // due is when the first of them arrives, where that is not a choice
	due    time.Duration
}

// message is one copy of a request, or its answer.
type message struct {
	process   string // incarnation
	request   election.Request
	applied   bool // the API server has dealt with it; answer is on its way
	answer    election.Event
	late      bool          // it may arrive at any time
	abandoned bool          // no answer is waited for: it may land, and that is all
	due       time.Duration // when it arrives, where that is not a choice
	fate      fate
}

// clock is the process's boot time.
func (p *process) clock(now time.Duration) boottime.Moment {
	return boottime.Moment(time.Hour + time.Duration(float64(now-p.lost)*p.rate))
}

// at is the true time of a moment of the process's clock.
func (p *process) at(m boottime.Moment) time.Duration {
	if m == boottime.Never {
		return math.MaxInt64
	}
	at := time.Duration(math.Ceil(float64(m-boottime.Moment(time.Hour))/p.rate)) + p.lost
	if p.clock(at) < m {
		at++ // rounding
	}
	return at
}

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func (w *world) say(format string, args ...any) {
	if w.tell != nil {
		w.tell(fmt.Sprintf("%8.3fs  ", w.now.Seconds()) + fmt.Sprintf(format, args...))
	}
}

// own makes a process this world's own, before it is changed.
func (w *world) own(i int) *process {
	p := *w.processes[i]
	w.processes = slices.Clone(w.processes)
	w.processes[i] = &p
	return &p
}

// start adds a process. Its first Step is due at once.
func (w *world) start(config *election.Config, rate float64) {
	w.processes = append(slices.Clip(w.processes), w.newProcess(config, rate))
}

func (w *world) newProcess(config *election.Config, rate float64) *process {
	p := &process{
		identity: config.Identity, incarnation: config.Incarnation, rate: rate, running: true,
		app: app{follows: config.AwaitStand}, delay: config.ClaimDelay, stoodSince: w.now,
	}
	if w.broken.config != nil {
		w.broken.config(config)
	}
	p.config, p.campaign = config, election.New(config)
	return p
}

// step lets a process take one event, and carries out what it asks for.
func (w *world) step(i int, ev election.Event) {
	p := w.own(i)
	now := p.clock(w.now)
	told, led, before := p.state.ValidUntil != 0, p.state.ValidUntil > now, p.file
	from := p.campaign.Role()
	t := p.campaign.Step(now, epoch.Add(w.now+p.wall), ev)
	roleChanges.note(from, p.campaign.Role(), t.Done)
	w.stepped(p, ev, &t, t.State.Transitions)
	if w.broken.todo != nil {
		w.broken.todo(p, &t)
	}
	if w.tell != nil {
		for _, line := range t.Lines {
			if line.Level >= 0 {
				w.say("    %s: %s %v", p.incarnation, line.Text, strings.TrimSpace(fmt.Sprintln(line.Args...)))
			}
		}
	}
	p.state = t.State
	if p.file = max(p.state.ValidUntil, 0); p.stuck {
		p.file = before
	}
	if p.state.ValidUntil > now {
		p.working = true
		if !led {
			w.began(p)
		}
	}
	if told && p.state.ValidUntil == 0 && !t.Drain {
		p.working = false // the app is told that the term is over, and has time to stop until another may lead
	}
	if t.Abandon {
		w.abandon(p)
	}
	if t.Send.Kind != election.None {
		w.send(p, t.Send, false)
	}
	if t.Double {
		w.send(p, p.campaign.UnderWay(), true)
	}
	if t.EndWatch {
		p.stream = stream{}
	}
	if t.Watch != 0 {
		w.startWatch(p, t.Watch, t.WatchFrom)
	}
	if t.Drain {
		p.draining = true
	}
	if t.CancelDrain && p.draining {
		p.draining, p.evicted = false, true
	}
	p.wakeAt = t.WakeAt
	if w.broken.impenitent && p.barred != 0 && !p.app.forgot && p.campaign.Role() == election.Following {
		w.repent(i)
	}
	if t.Done {
		w.say("%s has ended", p.incarnation)
		w.oracle.leave(p, w.now)
		p.running, p.working, p.stuck = false, false, false
		p.state.ValidUntil, p.file = 0, 0
		p.stream = stream{}
	}
}

func (w *world) send(p *process, r election.Request, again bool) {
	if r.Kind == election.Claim {
		w.claims(p, again)
	}
	w.messages = append(slices.Clip(w.messages), message{process: p.incarnation, request: r})
}

// abandon ends p's requests. What has not arrived may arrive all the same.
func (w *world) abandon(p *process) {
	var kept []message
	for _, m := range w.messages {
		if m.process == p.incarnation {
			if m.applied || m.request.Kind == election.Read {
				continue
			}
			m.abandoned = true
		}
		kept = append(kept, m)
	}
	w.messages = kept
}

func (w *world) remove(i int) { w.messages = slices.Delete(slices.Clone(w.messages), i, i+1) }

func (w *world) replace(i int, m message) {
	w.messages = slices.Clone(w.messages)
	w.messages[i] = m
}

// startWatch opens a stream. The API server sends what is newer than from.
func (w *world) startWatch(p *process, id int, from string) {
	p.stream = stream{id: id, events: []election.Event{{Kind: election.WatchUp, ID: id}}}
	if from == "" {
		if w.api.stored.Exists() {
			p.stream.events = append(p.stream.events, election.Event{Kind: election.WatchSaw, ID: id, Record: w.api.stored})
		}
		return
	}
	version, _ := strconv.Atoi(from)
	if len(w.api.history) > 0 {
		if oldest, _ := strconv.Atoi(w.api.history[0].Record.Version); version < oldest-1 {
			p.stream.events = []election.Event{{Kind: election.WatchUp, ID: id}, {Kind: election.WatchEnded, ID: id, Failure: election.Failure{Code: 410, Text: "too old"}}}
			return
		}
	}
	for _, ev := range w.api.history {
		if v, _ := strconv.Atoi(ev.Record.Version); v > version {
			ev.ID = id
			p.stream.events = append(p.stream.events, ev)
		}
	}
}

// broadcast sends the newest change to every stream.
func (w *world) broadcast() {
	newest := w.api.history[len(w.api.history)-1]
	for i := range w.processes {
		if p := w.processes[i]; p.stream.id == 0 || p.stream.silent {
			continue
		}
		p := w.own(i)
		newest.ID = p.stream.id
		p.stream.events = append(slices.Clip(p.stream.events), newest)
	}
}

// land lets a message reach the API server. The answer is on its way then.
func (w *world) land(i int) {
	m := w.messages[i]
	before, held := w.api.version, w.api.stored
	if w.broken.request != nil {
		w.broken.request(w, &m.request)
	}
	r, f := w.api.apply(m.request)
	if w.api.version != before {
		w.stored(m)
		w.changedHands(m, held)
		w.broadcast()
	}
	m.applied, m.answer = true, election.Event{Kind: election.Answered, ID: m.request.ID, Record: r, Failure: f}
	if m.abandoned {
		w.remove(i)
		return
	}
	w.replace(i, m)
}

// deliver hands the answer of a message to its process.
func (w *world) deliver(i int) {
	m := w.messages[i]
	w.remove(i)
	if p := w.find(m.process); p >= 0 && w.processes[p].running {
		w.hear(p, m.answer)
	}
}

// deliverEvent hands the next event of its watch to a process.
func (w *world) deliverEvent(i int) {
	p := w.own(i)
	ev := p.stream.events[0]
	p.stream.events, p.stream.timed = p.stream.events[1:], false
	if ev.Kind == election.WatchEnded {
		p.stream = stream{}
	}
	w.hear(i, ev)
}

// hear lets a process take what comes from the API server.
func (w *world) hear(i int, ev election.Event) {
	if w.broken.event != nil {
		w.broken.event(w.processes[i], &ev)
	}
	w.step(i, ev)
}

func (w *world) endWatch(i int, f election.Failure) {
	p := w.own(i)
	id := p.stream.id
	p.stream = stream{}
	w.step(i, election.Event{Kind: election.WatchEnded, ID: id, Failure: f})
}

// appStops tells a process that its app has stopped.
func (w *world) appStops(i int) {
	p := w.own(i)
	p.draining, p.working, p.drained = false, w.broken.impatient, p.clock(w.now)
	ev := election.Event{Kind: election.Drained}
	if w.broken.leaves != nil && w.broken.leaves(p) {
		ev.Failure = election.Failure{Text: "a mutation", Keep: true}
	}
	w.step(i, ev)
}

// evict tells a process that its wait for the app is over, the Lease being lost.
func (w *world) evict(i int) {
	p := w.own(i)
	p.evicted, p.working = false, false
	w.step(i, election.Event{Kind: election.Drained, Failure: election.Failure{Text: "context canceled"}})
}

// crash ends a process as SIGKILL does. What it told its app stays until that
// lapses, and what it sent may land.
func (w *world) crash(i int) {
	p := w.own(i)
	w.oracle.leave(p, w.now)
	p.running, p.paused, p.working, p.draining, p.evicted, p.stuck = false, false, false, false, false, false
	p.state.ValidUntil, p.file = 0, 0
	p.stream = stream{}
	w.abandon(p)
}

// restore sets etcd back to an earlier state, with new revisions to come, as
// etcdutl's --bump-revision does. No connection outlives that.
func (w *world) restore(to server) {
	w.api.stored, w.api.history, w.api.past = to.stored, nil, nil
	w.messages, w.freed = nil, freed{}
	for i := range w.processes {
		p := w.own(i)
		p.barred, p.owes = 0, false
		if r := p.campaign.UnderWay(); p.running && r.Kind != election.None {
			reset := election.Event{Kind: election.Answered, ID: r.ID, Failure: election.Failure{Text: "connection reset"}}
			w.messages = append(w.messages, message{process: p.incarnation, request: r, applied: true, answer: reset, due: w.now})
		}
		if p.stream.id != 0 {
			p.stream.events = []election.Event{{Kind: election.WatchEnded, ID: p.stream.id, Failure: election.Failure{Text: "connection reset"}}}
		}
	}
}

func (w *world) find(incarnation string) int {
	return slices.IndexFunc(w.processes, func(p *process) bool { return p.incarnation == incarnation })
}

// leads is what the world sees of a process: /leader and the status file.
func (w *world) leads(p *process) bool {
	now := p.clock(w.now)
	if w.broken.leads != nil {
		return p.running && w.broken.leads(p, now)
	}
	return p.running && (p.state.ValidUntil > now || p.file > now)
}
