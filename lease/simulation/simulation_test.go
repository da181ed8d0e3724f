package simulation

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leader-elector/leader-elector/lease/internal/election"
)

var (
	seed  = flag.Uint64("seed", 0, "replay this one schedule of the simulation")
	first = flag.Uint64("first", 1, "the first seed of the simulation")
	steps = flag.Int("steps", 100_000, "how many moments the simulation judges, at least")
	soak  = flag.Duration("soak", 0, "how long the simulation runs, whatever -steps says")
)

// TestSimulation runs elections under random faults, each from one seed, and
// judges every moment.
func TestSimulation(t *testing.T) {
	if *seed != 0 {
		simulateSound(t, *seed)
		return
	}
	// The seeds are shared out among the processors.
	workers, start := uint64(runtime.GOMAXPROCS(0)), time.Now()
	goesOn := func(r *result) bool {
		if *soak > 0 {
			return time.Since(start) < *soak
		}
		return r.moments < *steps/int(workers)
	}
	results := make(chan *result, workers)
	t.Run("seeds", func(t *testing.T) {
		for worker := range workers {
			t.Run(fmt.Sprint(worker), func(t *testing.T) {
				t.Parallel()
				total := &result{}
				for n := *first + worker; goesOn(total); n += workers {
					total.add(simulateSound(t, n))
				}
				results <- total
			})
		}
	})
	close(results)
	total := &result{}
	for r := range results {
		total.add(r)
	}
	t.Logf("seeds from %d: %d schedules, %d moments judged, %d terms, %v; 0 overlaps", *first, total.schedules, total.moments, total.terms, time.Since(start).Round(time.Second))
}

// TestOneSeedOneStory compares seeds with themselves, byte for byte.
func TestOneSeedOneStory(t *testing.T) {
	for n := range uint64(10) {
		if a, b := simulate(n, mutation{}, true), simulate(n, mutation{}, true); a.story != b.story || len(a.story) < 1000 {
			t.Fatalf("seed %d has two stories:\n%s\n---\n%s", n, a.story, b.story)
		}
	}
}

// TestSimulationFindsEveryMutation is the proof of the oracle: whichever rule is
// broken, some schedule shows it.
func TestSimulationFindsEveryMutation(t *testing.T) {
	const most = 2_000
	for _, m := range slices.Concat(mutations, appMutations) {
		t.Run(m.rule, func(t *testing.T) {
			t.Parallel()
			for n := range uint64(most) {
				if r := simulate(n+1, m, false); r.violation != "" {
					t.Logf("%s: found by seed %d: %s", m.how, n+1, r.violation)
					return
				}
			}
			t.Errorf("%s: not found in %d schedules", m.how, most)
		})
	}
}

func simulateSound(t *testing.T, n uint64) *result {
	t.Helper()
	r := simulate(n, mutation{}, false)
	if r.violation != "" {
		t.Fatalf("seed %d: %s\nreplay it with: go test ./lease/simulation -run 'TestSimulation$' -seed %d\n%s", n, r.violation, n, simulate(n, mutation{}, true).story)
	}
	return r
}

// result is what came of one schedule, or of many.
type result struct {
	schedules, moments, terms int
	violation, story          string
}

func (r *result) add(o *result) {
	r.schedules += o.schedules
	r.moments += o.moments
	r.terms += o.terms
}

// simulate runs the schedule of one seed.
func simulate(seed uint64, m mutation, tell bool) *result {
	s := &simulation{random: rand.New(rand.NewPCG(seed, 1)), moments: 0}
	s.w.broken = &m
	var story strings.Builder
	if tell {
		s.w.tell = func(line string) { story.WriteString(line + "\n") }
	}
	s.run()
	return &result{1, s.judged, s.w.oracle.terms, s.w.oracle.violation, story.String()}
}

// simulation is one schedule: a world in which everything takes some time.
type simulation struct {
	w                  world
	random             *rand.Rand
	moments            int
	badness            int // percent of requests that meet a fault
	outage             bool
	nets               map[string]*network // by process
	tasks              []task              // in no order
	longest            time.Duration       // duration of any record so far
	started            int
	edits              int32
	follows            bool // leadership follows the apps of some
	capped, shortening bool // a policy shortens durations; perhaps without the leader's knowledge
	judged             int  // moments before the peace at the end
	busy               int  // things that happened at this moment
}

// network is what a process sees of the API server.
type network struct {
	cut     bool
	latency time.Duration // of every round trip
	lag     time.Duration // of its watch's events
	silent  bool          // its watch tells nothing
}

// fate is what becomes of a message.
type fate struct {
	known    bool
	takes    time.Duration // until it is served
	answers  time.Duration // after that
	lost     bool          // the answer never comes
	failure  election.Failure
	lands    bool // where it fails: it is served before
	believed bool // it never arrives, and is taken for a success: a mutation
	stale    bool // a read: the version before is told
}

// task is something that happens at a time.
type task struct {
	at time.Duration
	do func()
}

func (s *simulation) after(d time.Duration, do func()) {
	s.tasks = append(s.tasks, task{s.w.now + d, do})
}

func (s *simulation) below(d time.Duration) time.Duration {
	return time.Duration(s.random.Int64N(int64(d)))
}

// chance is true n times of a hundred.
func (s *simulation) chance(n int) bool { return s.random.IntN(100) < n }

// run is the schedule: some processes, random faults, and then peace.
func (s *simulation) run() {
	s.nets, s.w.oracle.grants, s.w.oracle.buried = map[string]*network{}, map[string]grant{}, map[string]bool{}
	replicas := 2 + s.random.IntN(5)
	mixed := s.chance(20)
	s.follows = s.chance(50)
	standard := []time.Duration{15, 15, 15, 15, 3, 60, 1}[s.random.IntN(7)] * time.Second
	for i := range replicas {
		duration := standard
		if mixed {
			duration = []time.Duration{1, 3, 15, 30}[s.random.IntN(4)] * time.Second
		}
		s.startProcess(fmt.Sprintf("r%d", i), duration, nil)
		s.pass(s.below(time.Second))
	}
	for range 60 {
		s.fault()
		s.pass(s.below(s.typical() * 2 / 3))
		if s.w.oracle.violation != "" {
			return
		}
	}
	s.judged = s.moments
	s.peace()
}

// typical is the duration of some record.
func (s *simulation) typical() time.Duration {
	return s.w.processes[s.random.IntN(len(s.w.processes))].config.LeaseDuration
}

// startProcess starts a process of an identity. A process before it has run in the
// same container, and is proven dead.
func (s *simulation) startProcess(identity string, duration time.Duration, before *process) {
	s.started++
	random := rand.New(rand.NewPCG(s.random.Uint64(), 2))
	config := &election.Config{
		Namespace: "default", Name: "app", Identity: identity, Incarnation: fmt.Sprintf("%s#%d", identity, s.started),
		LeaseDuration: duration, RenewDeadline: duration * 2 / 3, RetryPeriod: duration * 2 / 15, RenewInterval: duration / 3,
		Drains: true, Random: random.Float64,
	}
	rate := 1 + (s.random.Float64()-0.5)*0.38
	if before != nil {
		earlier, old := before.config.ProvenDead, before.incarnation
		config.ProvenDead = func(i string) bool { return i == old || earlier != nil && earlier(i) }
		rate = before.rate
		s.w.oracle.forget(old)
		delete(s.w.oracle.grants, old)
		s.w.oracle.buried[old] = true
	}
	if s.w.broken.proof {
		config.ProvenDead = func(i string) bool { return i != config.Incarnation }
	}
	config.AwaitStand = s.follows && s.chance(70)
	if s.chance(30) {
		config.ClaimDelay = s.below(duration)
	}
	s.w.say("%s starts, lease duration %v, claim delay %v, clock rate %.2f, follows an app: %v", config.Incarnation, duration, config.ClaimDelay, rate, config.AwaitStand)
	s.nets[config.Incarnation] = &network{}
	s.longest = max(s.longest, duration)
	s.w.start(config, rate)
	s.liven(s.w.processes[len(s.w.processes)-1])
}

// pass lets time pass, and everything due in it happen, in the order of time.
func (s *simulation) pass(d time.Duration) {
	end := s.w.now + d
	for s.w.oracle.violation == "" {
		at, do := s.next()
		if do == nil || at > end {
			break
		}
		if s.moments++; at > s.w.now {
			s.busy = 0
		} else if s.busy++; s.busy > 1000 {
			s.w.oracle.fail("a hot loop: 1,000 things happened at one moment")
		}
		s.w.pass(max(0, at-s.w.now))
		do()
		s.w.judge()
	}
	s.w.pass(max(0, end-s.w.now))
	s.w.judge()
}

// next is the first thing to happen.
func (s *simulation) next() (at time.Duration, do func()) {
	at = 1 << 62
	due := func(when time.Duration, what func()) {
		if when < at {
			at, do = when, what
		}
	}
	for i, t := range s.tasks {
		due(t.at, func() { s.tasks = slices.Delete(s.tasks, i, i+1); t.do() })
	}
	s.w.messages = slices.DeleteFunc(slices.Clone(s.w.messages), func(m message) bool { return m.abandoned && m.due > 1<<59 })
	for i := range s.w.messages {
		m := s.w.messages[i]
		if !m.fate.known {
			m.fate = s.fateOf(m)
			m.due = s.w.now + m.fate.takes
			s.w.replace(i, m)
		}
		if p := s.w.find(m.process); m.applied && p >= 0 && s.w.processes[p].paused {
			continue
		}
		due(m.due, func() { s.arrive(i) })
	}
	for i := range s.w.processes {
		p := s.w.processes[i]
		switch {
		case !p.running || p.paused:
		case p.app.follows && p.app.shows != p.app.known:
			due(s.w.now, func() { s.w.tellStand(i); s.drain(p.incarnation) })
		case p.evicted:
			due(s.w.now, func() { s.w.evict(i) })
		default:
			due(max(s.w.now, p.at(p.wakeAt)), func() { s.w.step(i, election.Event{}); s.drain(s.w.processes[i].incarnation) })
			if len(p.stream.events) > 0 {
				if !p.stream.timed {
					q := s.w.own(i)
					q.stream.timed, q.stream.due = true, s.w.now+s.lagOf(q)
					p = q
				}
				due(p.stream.due, func() { s.w.deliverEvent(i) })
			}
		}
	}
	return at, do
}

// lagOf is how long an event of the watch takes.
func (s *simulation) lagOf(p *process) time.Duration {
	n := s.nets[p.incarnation]
	switch {
	case n.cut || n.silent:
		return 1 << 60
	case n.lag > 0:
		return s.below(2 * n.lag)
	}
	return n.latency/2 + s.below(10*time.Millisecond)
}

// arrive lets a message reach the API server, or its answer the process.
func (s *simulation) arrive(i int) {
	m := s.w.messages[i]
	switch {
	case m.applied:
		s.w.deliver(i)
		return
	case m.fate.failure.Text != "" && !m.fate.lands:
		m.applied, m.answer = true, election.Event{Kind: election.Answered, ID: m.request.ID, Failure: m.fate.failure}
		m.due = s.w.now + m.fate.answers
		s.w.replace(i, m)
		return
	}
	if m.fate.believed {
		m.applied, m.answer = true, election.Event{Kind: election.Answered, ID: m.request.ID, Record: m.request.Write}
		s.w.replace(i, m)
		return
	}
	before := s.w.api.stored
	s.w.land(i)
	s.longest = max(s.longest, min(time.Duration(s.w.api.stored.Seconds)*time.Second, time.Hour))
	if m.abandoned {
		return
	}
	m = s.w.messages[i]
	switch {
	case m.fate.lost:
		s.w.remove(i)
		return
	case m.fate.failure.Text != "":
		m.answer = election.Event{Kind: election.Answered, ID: m.request.ID, Failure: m.fate.failure}
	case m.fate.stale && len(s.w.api.past) > 0 && before.Exists():
		m.answer.Record = s.w.api.past[len(s.w.api.past)-1].stored
	}
	m.due = s.w.now + m.fate.answers
	s.w.replace(i, m)
}

// fateOf draws what becomes of a message.
func (s *simulation) fateOf(m message) fate {
	n, f := s.nets[m.process], fate{known: true}
	f.answers = n.latency/2 + s.below(10*time.Millisecond)
	f.takes = n.latency/2 + s.below(10*time.Millisecond)
	if n.cut {
		f.takes = 1 << 60
		return f
	}
	if s.outage {
		f.failure = election.Failure{Text: "connection refused"}
		return f
	}
	if !s.chance(s.badness) {
		return f
	}
	if m.request.Kind == election.Claim && s.chance(30) {
		s.appBlinks(m.process) // while no process knows what became of the claim
	}
	late := s.below(s.typical() * 2 / 5)
	refuse := func(code int, text string, after time.Duration) {
		f.failure = election.Failure{Code: code, Text: text, RetryAfter: after}
	}
	switch s.random.IntN(18) {
	case 0:
		f.takes += late
	case 1:
		f.answers += late
	case 2:
		f.takes, f.answers = f.takes+late/2, f.answers+late/2
	case 3:
		if f.takes = 1 << 60; s.w.broken.believes && m.request.Write.Version != "" {
			f.takes, f.believed = time.Second, true
		}
	case 4:
		f.lost = true
	case 5:
		f.failure = election.Failure{Text: "connection reset"}
	case 6:
		f.failure, f.lands = election.Failure{Text: "connection reset"}, true
	case 7:
		refuse(409, "conflict", 0)
	case 8:
		refuse(409, "conflict", 0)
		f.lands = true // a proxy has sent it twice
	case 9:
		refuse(429, "too many requests", []time.Duration{1, 3, 300, 7200}[s.random.IntN(4)]*time.Second)
	case 10:
		refuse(500, "internal error", 0)
	case 11:
		refuse(500, "internal error", 0)
		f.lands = true
	case 12:
		refuse(503, "unavailable", 300*time.Second)
	case 13:
		refuse(403, "forbidden", 0)
	case 14:
		refuse(401, "unauthorized", 0)
	case 15:
		f.failure, f.lands = election.Failure{Text: "garbage"}, true
	case 16:
		f.stale = m.request.Kind == election.Read
	case 17:
		refuse(422, "denied by admission", 0)
	}
	return f
}
