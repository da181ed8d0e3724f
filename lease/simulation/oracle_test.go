package simulation

import (
	"fmt"
	"time"

	"github.com/leader-elector/leader-elector/lease/internal/election"
)

// oracle judges what the processes show to the world. It knows what they can't:
// the true time, and what is stored.
type oracle struct {
	violation string
	leftovers []leftover // of processes that were killed
	leader    string     // incarnation that led last
	identity  string     // and its identity
	uid       string     // of the Lease, then
	token     int32      // and its token
	reset     bool       // tokens were set back from outside: they are not compared
	terms     int
	buried    map[string]bool  // processes whose successor has proof that they are dead
	grants    map[string]grant // by process: its last write that landed, until another takes over
}

// leftover is a status file that a killed process left behind.
type leftover struct {
	process string
	until   time.Duration // true time
}

// grant is a write that landed: no other process may lead until its duration has
// passed, by the clock of the process that waits.
type grant struct {
	landed  time.Duration
	written election.Record
	seconds int32 // what its process relies on
}

// tolerance is what rounding costs.
const tolerance = time.Millisecond

func (o *oracle) fail(format string, args ...any) {
	if o.violation == "" {
		o.violation = fmt.Sprintf(format, args...)
	}
}

// leave notes the status file of a process that is killed.
func (o *oracle) leave(p *process, now time.Duration) {
	if until := p.at(p.file); p.file != 0 && until > now {
		o.leftovers = append(o.leftovers[:len(o.leftovers):len(o.leftovers)], leftover{p.incarnation, until})
	}
}

// forget is for a process whose successor removes its file before all else.
func (o *oracle) forget(process string) {
	var kept []leftover
	for _, l := range o.leftovers {
		if l.process != process {
			kept = append(kept, l)
		}
	}
	o.leftovers = kept
}

// judge looks at all processes at this moment.
func (w *world) judge() {
	leading := ""
	lead := func(who string) {
		if leading != "" {
			w.oracle.fail("two leaders: %s and %s", leading, who)
		}
		leading = who
	}
	for i := range w.processes {
		w.standing(w.processes[i])
		if w.leads(w.processes[i]) {
			lead(w.processes[i].incarnation)
		}
	}
	for _, l := range w.oracle.leftovers {
		if l.until > w.now {
			lead("the file that " + l.process + " left")
		}
	}
}

// began judges the token of a process that begins to lead (S12).
func (w *world) began(p *process) {
	o := &w.oracle
	o.terms++
	token, uid := p.state.Transitions, p.state.UID
	w.say("%s leads, token %d", p.incarnation, token)
	if p.app.retired {
		o.fail("%s begins to lead, and its pod is being deleted", p.incarnation)
	}
	same := o.leader == p.incarnation || o.identity == p.identity && p.config.ProvenDead != nil && p.config.ProvenDead(o.leader)
	switch {
	case o.leader == "" || o.reset || o.uid != uid && !same:
	case !same && token <= o.token:
		o.fail("%s leads with token %d after %s led with %d", p.incarnation, token, o.leader, o.token)
	case same && token < o.token:
		o.fail("%s leads with token %d, and has led with %d", p.incarnation, token, o.token)
	}
	o.leader, o.identity, o.uid, o.token = p.incarnation, p.identity, uid, token
}

// stored judges a write that has landed.
func (w *world) stored(m message) {
	r, process := w.api.stored, m.process
	w.say("  stored by %s, %s: version %s, holder %q, %d s, token %d", process, m.request.Kind, r.Version, r.Holder, r.Seconds, r.Transitions)
	if m.request.Kind != election.Release {
		w.anomaly = w.anomaly && m.abandoned
		if m.request.Kind != election.Restore {
			w.granted(process, m.request)
		}
		return
	}
	delete(w.oracle.grants, process)
	if i := w.find(process); i >= 0 {
		if p := w.processes[i]; w.leads(p) {
			w.oracle.fail("%s released the Lease while it leads", process)
		} else if p.working && p.running {
			w.oracle.fail("%s released the Lease while its app, told to stop, still works", process)
		}
	}
}

// granted notes a write that begins or prolongs a term, and judges whether it may
// do so: the terms of others are over (S2). The exploration does not ask for it.
func (w *world) granted(process string, request election.Request) {
	o, r := &w.oracle, w.api.stored
	if o.grants == nil || o.buried[process] {
		return
	}
	// A write that shows others no renewal prolongs nothing: one that a policy turns into the
	// one before, or into what it replaces, which may be an earlier record after a restore.
	// Its process relies on what it wrote, and on no more than is stored: a policy may change
	// either way, and an edit may take back what a policy added.
	seconds := min(r.Seconds, request.Write.Seconds)
	before := o.grants[process]
	for _, g := range []election.Record{before.written, w.api.past[len(w.api.past)-1].stored} {
		if !g.Exists() || r.Holder != g.Holder || r.Mark != g.Mark || r.Renewed != g.Renewed {
			continue
		}
		if before.written.Exists() && seconds < before.seconds {
			o.grants[process] = grant{before.landed, r, seconds}
		}
		return
	}
	i := w.find(process)
	for other, g := range o.grants {
		if other == process {
			continue
		}
		delete(o.grants, other)
		wait := time.Duration(g.seconds) * time.Second
		if i >= 0 && request.Kind == election.Claim {
			wait += w.processes[i].delay
		}
		if i >= 0 {
			wait = w.processes[i].truly(wait)
		}
		if early := g.landed + wait - w.now; early > tolerance {
			o.fail("%s took over %v before the term of %s was over", process, early, other)
		}
	}
	o.grants[process] = grant{w.now, r, seconds}
}
