package simulation

import (
	"slices"
	"strconv"

	"github.com/leader-elector/leader-elector/lease/internal/election"
)

// appChoices are what may happen to an app, and to a pod that is being deleted. None of
// it is due: an app may stay away.
func (w *world) appChoices(i, faults int, add func(choiceKind, int)) {
	p := w.processes[i]
	switch {
	case !p.app.shows && !p.app.retired:
		add(appUp, i)
	case p.app.shows && p.app.retired:
		add(appEnds, i)
	}
	if p.app.retired && !p.app.stopped {
		add(stopRetired, i)
	}
	if faults == 0 || p.app.retired {
		return
	}
	if p.app.shows {
		add(appDies, i)
		if p.working {
			add(appSilent, i)
		}
	}
	add(retire, i)
}

// orderChoices are what the leader may be asked to do.
func (w *world) orderChoices(add func(choiceKind, int)) {
	if r := w.api.stored; !w.anomaly && r.Holder != "" && r.StepDown == "" {
		for _, kind := range []choiceKind{order, orderSuccessor, orderNobody, orderStale} {
			add(kind, 0)
		}
	}
}

// liveOn lets a choice about an app, or an order to the leader, happen.
func (w *world) liveOn(c choice) {
	token := int(w.api.stored.Transitions)
	switch c.kind {
	case appUp:
		w.appUp(c.who)
	case appDies, appEnds:
		w.appDown(c.who, true)
	case appSilent:
		w.appDown(c.who, false)
	case retire:
		w.retire(c.who)
	case stopRetired:
		w.own(c.who).app.stopped = true
		w.step(c.who, election.Event{Kind: election.StopAsked})
	case order:
		w.annotate(strconv.Itoa(token), "")
	case orderSuccessor:
		w.annotate(strconv.Itoa(token), w.another())
	case orderNobody:
		w.annotate(strconv.Itoa(token), "nobody's name")
	case orderStale:
		w.annotate(strconv.Itoa(token+7), "")
	}
}

// appMutations break the rules about apps, orders and delays.
var appMutations = []mutation{
	{rule: "A1", how: "a replica that does not lead is not told that its app is gone", apps: true, faults: 1,
		deaf: func(_ *world, p *process, ev election.Event) bool {
			return ev.Kind == election.StandAsked && !ev.Stands && p.state.ValidUntil == 0
		}},
	{rule: "A2", how: "a leader is not told that its app is gone", apps: true, faults: 1,
		deaf: func(_ *world, p *process, ev election.Event) bool {
			return ev.Kind == election.StandAsked && !ev.Stands && p.state.ValidUntil != 0
		}},
	{rule: "A2, release", how: "a leader whose app is gone leaves the Lease to expire", apps: true, faults: 1, peace: true,
		leaves: func(p *process) bool { return p.app.follows && !p.app.known }},
	{rule: "A4", how: "a replica whose app was lost is never told that it is back", apps: true, faults: 1, peace: true,
		deaf: func(_ *world, p *process, ev election.Event) bool { return ev.Stands && p.app.lost }},
	{rule: "A5", how: "a process that takes its Lease back does not wait for its app", apps: true, faults: 1,
		config: func(c *election.Config) { c.AwaitStand = c.AwaitStand && c.ProvenDead == nil }},
	{rule: "A6", how: "the last replica whose app was alive goes on", apps: true, faults: 1,
		deaf: func(w *world, p *process, ev election.Event) bool {
			return ev.Kind == election.StandAsked && !ev.Stands &&
				!slices.ContainsFunc(w.processes, func(q *process) bool { return q.running && q.incarnation != p.incarnation && q.stands() })
		}},
	{rule: "A7", how: "a replica is not told that its pod is being deleted", apps: true, faults: 1,
		deaf: func(_ *world, _ *process, ev election.Event) bool { return ev.Kind == election.RetireAsked }},
	{rule: "step-down", how: "the leader of any term obeys", apps: true, faults: 1,
		event: func(_ *process, ev *election.Event) {
			if ev.Record.StepDown != "" {
				ev.Record.StepDown = strconv.Itoa(int(ev.Record.Transitions))
			}
		}},
	{rule: "step-down, again", how: "a leader that was asked to step down claims the Lease again at once", apps: true, faults: 1, impenitent: true},
	{rule: "successor", how: "the others do not let the successor go first", apps: true, faults: 1,
		event: func(_ *process, ev *election.Event) {
			if ev.Record.Holder == "" {
				ev.Record.Successor = ""
			}
		}},
	{rule: "claim delay", how: "a claim is not delayed", apps: true, faults: 1,
		config: func(c *election.Config) { c.ClaimDelay = 0 }},
}
