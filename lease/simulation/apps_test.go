package simulation

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
	"github.com/leader-elector/leader-elector/lease/internal/election"
)

// app is what a process leads for, and what is to become of its pod.
type app struct {
	follows bool // leadership follows its life: AwaitStand
	shows   bool // a look at it says that it lives
	known   bool // and so its process was told
	lost    bool // it was lost once (for mutations alone)
	forgot  bool // that it was asked to step down (a mutation)
	hangs   bool // it takes long to stop
	retired bool // its pod is being deleted, and its process was told
	stopped bool // which was told to stop, too
}

// stands says whether a process may claim, as far as it was told.
func (p *process) stands() bool { return (!p.app.follows || p.app.known) && !p.app.retired }

// order tells a process something that is not from the API server.
func (w *world) order(i int, ev election.Event) {
	if w.broken.deaf != nil && w.broken.deaf(w, w.processes[i], ev) {
		ev = election.Event{}
	}
	w.step(i, ev)
}

// tellStand tells a process whether its app lives.
func (w *world) tellStand(i int) {
	p := w.own(i)
	if p.app.known = p.app.shows; p.app.known {
		p.stoodSince = w.now
	}
	w.say("%s is told that its app is alive: %v", p.incarnation, p.app.shows)
	w.order(i, election.Event{Kind: election.StandAsked, Stands: p.app.shows})
	if w.broken.deaf != nil && !p.app.shows {
		w.own(i).app.lost = true
	}
}

// appUp lets an app come to life.
func (w *world) appUp(i int) {
	w.own(i).app.shows = true
	w.tellStand(i)
}

// appDown lets an app end. Where that is proven, it does not work any more.
func (w *world) appDown(i int, proven bool) {
	p := w.own(i)
	if p.app.shows = false; proven {
		p.working = false
	}
	w.tellStand(i)
}

// retire tells a process that its pod is being deleted.
func (w *world) retire(i int) {
	w.own(i).app.retired = true
	w.order(i, election.Event{Kind: election.RetireAsked})
}

// annotate asks the leader of a term to step down, as kubectl annotate does.
func (w *world) annotate(token, successor string) {
	r := w.api.stored
	r.StepDown, r.Successor = token, successor
	w.orders = append(slices.Clip(w.orders), token)
	w.api.put(r)
	w.broadcast()
}

// another is the identity of a process that runs and does not hold the Lease.
func (w *world) another() string {
	for _, p := range w.processes {
		if p.running && p.identity != w.api.stored.Holder {
			return p.identity
		}
	}
	return "nobody's name"
}

// somebodyStands says whether a process that runs may claim.
func (w *world) somebodyStands() bool {
	return slices.ContainsFunc(w.processes, func(p *process) bool { return p.running && p.stands() })
}

// leadsOn says whether a process leads, and nothing asks it to end that.
func (w *world) leadsOn(p *process) bool {
	asked := w.api.stored.StepDown != "" && w.api.stored.StepDown == strconv.Itoa(int(p.state.Transitions))
	return p.running && p.state.ValidUntil > p.clock(w.now) && !asked && !p.app.retired
}

// freed is when the Lease became free, by a release.
type freed struct {
	version   string
	at        time.Duration
	successor string
}

// stepped judges what a Step made of an event: only the leader of the term that an
// annotation names steps down for it. Token is its own.
func (w *world) stepped(p *process, ev election.Event, t *election.Todo, token int32) {
	if ev.Kind == election.StepDownAsked {
		p.barred, p.yields, p.resting = p.clock(w.now).Add(p.config.LeaseDuration), false, true
	}
	if role := p.campaign.Role(); role == election.Following || role == election.Leading {
		p.resting = false
	}
	if !t.Drain || t.DrainCause != election.SteppingDown || ev.Kind == election.StepDownAsked {
		return
	}
	if !slices.Contains(w.orders, strconv.Itoa(int(token))) {
		w.oracle.fail("%s, whose token is %d, steps down; the Lease asked those of %q to", p.incarnation, token, w.orders)
	}
	if w.api.stored.Holder == p.identity {
		p.barred, p.yields, p.resting = p.clock(w.now).Add(p.config.LeaseDuration), true, true
	}
}

// claims judges a claim that is being sent, for the first time or again.
func (w *world) claims(p *process, again bool) {
	switch {
	case p.app.follows && !p.app.known:
		w.oracle.fail("%s claims the Lease, and does not know its app to be alive", p.incarnation)
	case p.app.retired:
		w.oracle.fail("%s claims the Lease, and its pod is being deleted", p.incarnation)
	case p.clock(w.now) < p.barred && !again:
		w.oracle.fail("%s claims the Lease too soon after it was asked to step down", p.incarnation)
	}
	wait, f := p.delay, w.freed
	switch {
	case p.campaign.UnderWay().Write.Version != f.version || f.version == "":
		return
	case f.successor == p.identity:
		return
	case f.successor != "":
		wait = max(wait, p.config.RetryPeriod)
	}
	if early := f.at + p.truly(wait) - w.now; early > tolerance {
		w.oracle.fail("%s claims the Lease %v too soon after its release (successor %q, its own delay %v)", p.incarnation, early, f.successor, p.delay)
	}
}

// truly is how long a process's clock takes to count d.
func (p *process) truly(d time.Duration) time.Duration { return time.Duration(float64(d) / p.rate) }

// changedHands judges a write that begins or ends a term. Before is what it replaced.
func (w *world) changedHands(m message, before election.Record) {
	if i := w.find(m.process); i >= 0 && m.request.Kind != election.Restore {
		p := w.own(i)
		p.renewed = p.clock(w.now)
	}
	switch m.request.Kind {
	case election.Release:
		if w.freed = (freed{}); strings.HasPrefix(w.api.stored.Mark, "released-by:") { // else a policy hides that it is one
			w.freed = freed{w.api.stored.Version, w.now, w.api.stored.Successor}
		}
	case election.Claim:
		for i, p := range w.processes {
			if p.owes && p.running && before.Holder == p.identity && p.incarnation != m.process {
				w.oracle.fail("%s had to wait until the term of %s expired, whose app is gone", m.process, p.incarnation)
			}
			if p.barred != 0 && p.yields && p.identity != w.api.stored.Holder {
				w.own(i).barred = 0
			}
		}
	default:
		return
	}
	i := w.find(m.process)
	if i < 0 {
		return
	}
	p := w.own(i)
	if p.owes = false; p.resting && m.request.Kind == election.Release && !m.abandoned {
		p.barred = p.clock(w.now).Add(p.config.LeaseDuration)
	}
}

// standing judges what a process shows to its app.
func (w *world) standing(p *process) {
	if p.running && p.app.follows && !p.app.known && p.state.ValidUntil > p.clock(w.now) {
		w.oracle.fail("%s leads, and does not know its app to be alive", p.incarnation)
	}
}

// print writes what decides the future of apps, delays and orders.
func (w *world) print(f *election.Fingerprint) {
	for _, p := range w.processes {
		f.Now = p.clock(w.now)
		for _, b := range []bool{p.app.follows, p.app.shows, p.app.known, p.app.lost, p.app.retired, p.app.stopped} {
			f.Bool(b)
		}
		f.Due(p.barred)
		f.Bool(p.yields)
		f.Bool(p.resting)
	}
	if w.freed.version == w.api.stored.Version {
		f.Int(int64(max(w.freed.at-w.now, -time.Minute)))
	}
	for _, token := range w.orders {
		n, _ := strconv.Atoi(token)
		f.Int(int64(n))
	}
}

// owe notes who has to release the Lease before it expires: a leader whose app is gone,
// and which has the time to. One whose record was changed by hand leaves it to expire.
func (w *world) owe() {
	if w.anomaly {
		return
	}
	for i, p := range w.processes {
		lost := p.running && p.app.follows && !p.app.known && w.api.stored.Holder == p.identity && w.api.stored.Mark == p.incarnation
		now := p.clock(w.now)
		recent := func(m boottime.Moment) bool { return m != 0 && now.Sub(m) < p.config.RenewDeadline/2 }
		if lost && recent(p.renewed) && (p.draining || recent(p.drained)) {
			w.own(i).owes = true
		}
	}
}

// repent lets a process begin again that has stepped down, as if it had not been asked to.
func (w *world) repent(i int) {
	p := w.own(i)
	p.app.forgot, p.campaign, p.state, p.stream = true, election.New(p.config), election.State{}, stream{}
	w.abandon(p)
	w.step(i, election.Event{Kind: election.StandAsked, Stands: p.app.known})
}
