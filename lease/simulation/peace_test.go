package simulation

import (
	"fmt"
	"slices"
	"time"
)

// peace lets nothing go wrong any more. A replica leads before long (L6).
func (e *explorer) peace(x world) (violation string) {
	longest := e.lease
	if d := time.Duration(x.api.stored.Seconds) * time.Second; d > longest {
		longest = d
	}
	for _, p := range x.processes {
		for _, past := range x.api.past {
			longest = max(longest, time.Duration(past.stored.Seconds)*time.Second)
		}
		if p.paused {
			x.resume(p.incarnation)
		}
	}
	x.owe()
	end := x.now + 2*min(longest, time.Hour) + 10*time.Second // the delay of a claim is part of that
	for range 2000 {
		if slices.ContainsFunc(x.processes, x.leadsOn) {
			return ""
		}
		if x.now > end {
			return fmt.Sprintf("%v after the last fault no replica leads", x.now-(end-2*min(longest, time.Hour)-10*time.Second))
		}
		e.proceed(&x)
		if x.oracle.violation != "" {
			return x.oracle.violation
		}
	}
	return "2,000 events after the last fault no replica leads"
}

// proceed takes the first thing that has to happen, or lets time pass.
func (e *explorer) proceed(x *world) {
	if !slices.ContainsFunc(x.processes, func(p *process) bool { return p.running }) {
		if x.anomaly && len(x.oracle.leftovers) > 0 { // one that never saw the Lease may take it: a known limit
			x.pass(x.tick())
			return
		}
		e.take(x, choice{kind: restart, who: 0})
		return
	}
	choices := e.choices(x, 0)
	best := choices[len(choices)-1]
	for _, c := range choices {
		switch c.kind {
		case serve, deliver, deliverEvent, wake, evict, appStops, resume:
			best = c
			if c.kind != appStops {
				e.take(x, best)
				x.judge()
				return
			}
		case appEnds, stopRetired:
			best = c
		case appUp: // one that lives is enough
			if !x.somebodyStands() {
				best = c
			}
		}
	}
	if best.kind == vanish || best.kind == restart || best.kind == restartProven {
		best = choice{kind: timePasses}
	}
	e.take(x, best)
	x.judge()
}

// tick is how far time passes at most while something may happen at any time.
func (w *world) tick() time.Duration { return w.processes[0].config.RetryPeriod }

// quiet is how long nothing happens by itself.
func (w *world) quiet() time.Duration {
	next := w.now + w.tick()
	waiting := len(w.messages) > 0
	at := time.Duration(1<<62 - 1)
	for i := range w.processes {
		p := w.processes[i]
		waiting = waiting || p.paused || !p.running || p.draining || p.stuck || len(p.stream.events) > 0
		if p.running && !p.paused {
			at = min(at, p.at(p.wakeAt))
		}
	}
	if waiting || at > w.now+time.Minute {
		at = min(at, next)
	}
	return max(at-w.now, 0)
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	w.now += d
	w.oracle.leftovers = slices.DeleteFunc(slices.Clone(w.oracle.leftovers), func(l leftover) bool { return l.until <= w.now })
}
