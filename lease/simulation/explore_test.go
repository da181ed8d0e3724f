package simulation

import (
	"flag"
	"fmt"
	"hash/maphash"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leader-elector/leader-elector/lease/internal/election"
)

var (
	exploreFaults   = flag.Int("faults", 2, "how many faults a schedule may hold")
	exploreReplicas = flag.Int("replicas", 2, "how many replicas are explored")
	exploreStates   = flag.Int("states", 100_000, "how many distinct states to visit at most")
	exploreLease    = flag.Duration("lease", 15*time.Second, "LEASE_DURATION of the replicas")
	exploreApps     = flag.Bool("apps", false, "explore replicas whose leadership follows an app")
	exploreFor      = flag.Duration("for", time.Hour, "how long to explore at most")
)

// TestExplore tries every order of events, within bounds, in order of length.
func TestExplore(t *testing.T) {
	e := newExplorer(mutation{apps: *exploreApps}, *exploreReplicas, *exploreFaults, *exploreStates, *exploreLease)
	start := time.Now()
	e.until = start.Add(*exploreFor)
	e.run()
	took := time.Since(start)
	t.Logf("%d replicas, apps: %v, at most %d faults: %d distinct states (%s), %d steps, faults up to depth %d, peace tried %d times, %v",
		*exploreReplicas, *exploreApps, *exploreFaults, e.states(), e.end, e.steps(), e.depth, e.peaces(), took.Round(time.Second/10))
	if e.found != nil {
		t.Fatalf("%s\nby this schedule:\n%s", e.found.violation, e.story(e.found))
	}
}

// TestExploreAShortLease tries the same with the shortest lease, in which a release
// and a renewal say the same leaseDurationSeconds.
func TestExploreAShortLease(t *testing.T) {
	e := newExplorer(mutation{}, 2, 1, 10_000_000, time.Second)
	if e.run(); e.found != nil {
		t.Fatalf("%s\nby this schedule:\n%s", e.found.violation, e.story(e.found))
	}
	t.Logf("lease of 1 s, 1 fault: %d distinct states (%s)", e.states(), e.end)
}

// TestExploreApps tries the same with replicas whose leadership follows an app.
func TestExploreApps(t *testing.T) {
	e := newExplorer(mutation{apps: true}, 2, 1, 1_000_000, 15*time.Second)
	roleChanges.forget()
	if e.run(); e.found != nil {
		t.Fatalf("%s\nby this schedule:\n%s", e.found.violation, e.story(e.found))
	}
	roleChanges.areThoseOf(t, "../../docs/how-it-works.md")
	t.Logf("with apps, 1 fault: %d distinct states (%s)", e.states(), e.end)
}

// explorer visits the states of a world breadth first.
type explorer struct {
	broken   mutation
	apps     bool // leadership follows apps, and one replica is to wait with its claims
	lease    time.Duration
	faults   int
	replicas int
	most     int
	until    time.Time
	seed     maphash.Seed
	workers  []*worker
	shards   [64]shard
	root     world
	depth    int
	end      string
	found    *finding
	thorough bool // peace is tried too, and what is left when no fault is is followed at once: schedules may not be the shortest
}

// shard is a part of the states seen.
type shard struct {
	mu   sync.Mutex
	seen map[uint64]struct{}
	n    atomic.Int64
}

// worker explores a share of each depth's states.
type worker struct {
	id     int
	trail  []link
	next   []node
	print  election.Fingerprint
	steps  int
	peaces int
	found  *finding
}

// node is a state to go on from.
type node struct {
	world  world
	faults int // that are left
	at     place
}

// place is a link of the trail of one worker.
type place struct {
	worker, index int32
}

// link says how a state was reached: from where, by which of its choices.
type link struct {
	from   place
	choice choice
}

type finding struct {
	violation string
	at        place
	last      choice // that showed it; timePasses where peace did
	inPeace   bool
}

func newExplorer(m mutation, replicas, faults, most int, duration time.Duration) *explorer {
	e := &explorer{broken: m, apps: m.apps, lease: duration, faults: faults, replicas: replicas, most: most, until: time.Now().Add(time.Hour), seed: maphash.MakeSeed(), thorough: true}
	for i := range e.shards {
		e.shards[i].seen = map[uint64]struct{}{}
	}
	for i := range runtime.GOMAXPROCS(0) {
		e.workers = append(e.workers, &worker{id: i})
	}
	e.root.broken = &m
	for i := range replicas {
		e.root.start(e.config(string(rune('a'+i)), 1, nil), 1)
	}
	return e
}

// config is that of the n-th process of an identity. Timings have the proportions
// of the defaults.
func (e *explorer) config(identity string, n int, dead func(string) bool) *election.Config {
	if e.broken.proof {
		dead = func(i string) bool { return i != incarnation(identity, n) }
	}
	c := &election.Config{
		Namespace: "default", Name: "app", Identity: identity, Incarnation: incarnation(identity, n), ProvenDead: dead,
		LeaseDuration: e.lease, RenewDeadline: e.lease * 2 / 3, RetryPeriod: e.lease * 2 / 15, RenewInterval: e.lease / 3,
		AwaitStand: e.apps, Drains: true, Random: func() float64 { return 0 },
	}
	if e.apps && identity == "b" {
		c.ClaimDelay = 2 * c.RetryPeriod
	}
	return c
}

func incarnation(identity string, n int) string { return fmt.Sprintf("%s#%d", identity, n) }

func (e *explorer) states() (n int) {
	for i := range e.shards {
		n += int(e.shards[i].n.Load())
	}
	return n
}

func (e *explorer) steps() (n int) {
	for _, w := range e.workers {
		n += w.steps
	}
	return n
}

func (e *explorer) peaces() (n int) {
	for _, w := range e.workers {
		n += w.peaces
	}
	return n
}

// isNew says whether a state was not seen before.
func (e *explorer) isNew(hash uint64) bool {
	s := &e.shards[hash>>58]
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, seen := s.seen[hash]; seen {
		return false
	}
	s.seen[hash] = struct{}{}
	s.n.Add(1)
	return true
}

func (e *explorer) run() {
	level := e.faultless()
	if e.found = e.workers[0].found; e.found != nil {
		e.end = "stopped"
		return
	}
	for e.depth = 0; len(level) > 0; e.depth++ {
		var running sync.WaitGroup
		share := (len(level) + len(e.workers) - 1) / len(e.workers)
		for i, w := range e.workers {
			part := level[min(len(level), i*share):min(len(level), (i+1)*share)]
			running.Go(func() { e.expand(w, part) })
		}
		running.Wait()
		level = nil
		for _, w := range e.workers {
			if w.found != nil {
				e.found, e.end = w.found, "stopped"
				return
			}
			level = append(level, w.next...)
			w.next = nil
		}
		if e.states() >= e.most || time.Now().After(e.until) {
			e.end = "more were left"
			return
		}
	}
	e.end = "all there are"
}

// faultless are all states that are reached without a fault. Each is the beginning
// of schedules with faults, whose length counts from there.
func (e *explorer) faultless() []node {
	w := e.workers[0]
	all := []node{{world: e.root, faults: 0, at: place{-1, -1}}}
	faults := e.faults
	e.faults = 0
	for i := 0; i < len(all) && w.found == nil; i++ {
		e.follow(w, all[i], nil)
		all, w.next = append(all, w.next...), nil
	}
	e.faults = faults
	for i := range all {
		all[i].faults = e.faults
	}
	if e.faults == 0 {
		return nil
	}
	return all
}

// expand visits what follows from each of these states. Where no fault is left, it
// follows up at once, to the end: the next depth keeps what may still go wrong.
func (e *explorer) expand(w *worker, level []node) {
	var stack []node
	for i := range level {
		stack = append(stack, level[i])
		level[i].world = world{} // it is of no more use
		for n := 0; len(stack) > 0; n++ {
			if w.found != nil || n%64 == 0 && (e.states() >= e.most || time.Now().After(e.until)) {
				return
			}
			last := stack[len(stack)-1]
			stack = e.follow(w, last, stack[:len(stack)-1])
		}
	}
}

// follow visits what follows from one state.
func (e *explorer) follow(w *worker, n node, stack []node) []node {
	for _, c := range e.choices(&n.world, n.faults) {
		next := n.world
		e.take(&next, c)
		next.judge()
		w.steps++
		if next.oracle.violation != "" {
			w.found = &finding{next.oracle.violation, n.at, c, false}
			return stack
		}
		faults := n.faults - c.kind.cost()
		hash := e.hash(w, &next, faults)
		if !e.isNew(hash) {
			continue
		}
		w.trail = append(w.trail, link{n.at, c})
		at := place{int32(w.id), int32(len(w.trail) - 1)}
		if e.thorough && hash%32 == 0 || e.broken.peace {
			w.peaces++
			if v := e.peace(next); v != "" {
				w.found = &finding{v, at, choice{}, true}
				return stack
			}
		}
		if after := (node{next, faults, at}); faults == 0 && e.thorough && e.faults > 0 {
			stack = append(stack, after)
		} else {
			w.next = append(w.next, after)
		}
	}
	return stack
}

// hash is of everything that decides what may still happen.
func (e *explorer) hash(w *worker, x *world, faults int) uint64 {
	f := &w.print
	f.Reset()
	f.Newest = x.api.version
	f.Int(int64(faults))
	f.Bool(x.anomaly)
	f.Bool(x.shortened)
	f.Record(x.api.stored)
	for i := range x.processes {
		p := x.processes[i]
		f.Now = p.clock(x.now)
		f.Int(-3)
		f.Name(p.identity)
		f.Name(p.incarnation)
		f.Bool(p.running)
		f.Bool(p.config.ProvenDead != nil)
		if !p.running {
			continue
		}
		f.Bool(p.paused)
		f.Bool(p.working)
		f.Bool(p.draining)
		f.Bool(p.evicted)
		f.Bool(p.stuck)
		f.Due(p.file)
		f.Due(p.wakeAt)
		f.Due(p.state.ValidUntil)
		f.Campaign(&p.campaign)
		f.Bool(p.stream.late)
		for _, ev := range p.stream.events {
			f.Int(int64(ev.Kind))
			f.Record(ev.Record)
		}
		for _, m := range x.messages {
			if m.process == p.incarnation {
				f.Bool(m.applied)
				f.Bool(m.late)
				f.Bool(m.abandoned)
				f.Request(m.request)
				f.Record(m.answer.Record)
				f.Int(int64(m.answer.Failure.Code))
				f.Bool(m.answer.Failure.Text != "")
			}
		}
	}
	for _, m := range x.messages { // those of processes that are gone
		if i := x.find(m.process); i < 0 || !x.processes[i].running {
			f.Name(m.process)
			f.Bool(m.late)
			f.Request(m.request)
		}
	}
	for _, l := range x.oracle.leftovers {
		f.Name(l.process)
		f.Int(int64(max(0, l.until-x.now)))
	}
	if e.apps {
		x.print(f)
	}
	f.Name(x.oracle.leader)
	f.Name(x.oracle.uid)
	f.Int(int64(x.oracle.token))
	f.Bool(x.oracle.reset)
	for _, past := range x.api.past {
		f.Record(past.stored)
	}
	for _, ev := range x.api.history { // what a watch that starts would tell
		f.Int(int64(ev.Kind))
		f.Record(ev.Record)
	}
	return maphash.Bytes(e.seed, f.Bytes)
}

// story plays the schedule that led to a finding, and tells it.
func (e *explorer) story(found *finding) string {
	var path []choice
	if !found.inPeace {
		path = append(path, found.last)
	}
	for at := found.at; at.index >= 0; {
		l := e.workers[at.worker].trail[at.index]
		path = append(path, l.choice)
		at = l.from
	}
	slices.Reverse(path)
	var lines []string
	x := e.root
	x.tell = func(line string) { lines = append(lines, line) }
	for _, c := range path {
		x.say("%s", c.String(&x))
		e.take(&x, c)
		x.judge()
	}
	if found.inPeace {
		x.say("from here on nothing goes wrong")
		e.peace(x)
	}
	return strings.Join(append(lines, found.violation), "\n")
}
