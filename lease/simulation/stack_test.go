package simulation

import (
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/leader-elector/leader-elector/lease/leasetest"
)

var (
	stackSeed  = flag.Uint64("stack-seed", 0, "run the faults of this one seed against the stack")
	stackFirst = flag.Uint64("stack-first", 1, "the first seed of the stack's simulation")
	stackSteps = flag.Int("stack-steps", 10_000, "how many moments the stack's simulation judges, at least")
)

const (
	namespace = "default"
	name      = "app"

	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// TestStack runs what TestSimulation leaves out: goroutines, the API client with
// its connections and watches, status files on real disks, and client-go's
// LeaderElector beside ours. It judges every moment at which a replica may begin
// to lead.
//
// A seed repeats the faults. It does not repeat the order of goroutines, nor the
// jitter of the replicas, so a failure prints its story.
func TestStack(t *testing.T) {
	if *stackSeed != 0 {
		runSound(t, *stackSeed)
		return
	}
	// The seeds are shared out among the processors.
	workers, start := uint64(runtime.GOMAXPROCS(0)), time.Now()
	goesOn := func(r *stackResult) bool {
		if *soak > 0 {
			return time.Since(start) < *soak
		}
		return r.steps < *stackSteps/int(workers)
	}
	results := make(chan *stackResult, workers)
	t.Run("seeds", func(t *testing.T) {
		for worker := range workers {
			t.Run(fmt.Sprint(worker), func(t *testing.T) {
				t.Parallel()
				total := &stackResult{}
				for n := *stackFirst + worker; goesOn(total); n += workers {
					total.add(runSound(t, n))
				}
				results <- total
			})
		}
	})
	close(results)
	total := &stackResult{}
	for r := range results {
		total.add(r)
	}
	t.Logf("seeds from %d: %v, %v; 0 overlaps of ours", *stackFirst, total, time.Since(start).Round(time.Second))
}

// runSound runs a schedule and fails the test if a rule was broken.
func runSound(t *testing.T, n uint64) *stackResult {
	t.Helper()
	r := runOne(t, n, stackMutation{})
	if len(r.violations) > 0 {
		t.Fatalf("seed %d: %s\nthe same faults again: go test ./lease/simulation -run 'TestStack$' -stack-seed %d\n%s", n, r.violations[0], n, r.story)
	}
	return r
}

// result is what came of one schedule, or of many.
type stackResult struct {
	schedules, steps, terms, overstays int
	violations                         []string
	story                              string
}

func (r *stackResult) add(o *stackResult) {
	r.schedules += o.schedules
	r.steps += o.steps
	r.terms += o.terms
	r.overstays += o.overstays
}

func (r *stackResult) String() string {
	return fmt.Sprintf("%d schedules, %d moments judged, %d terms of ours, %d overstays of client-go's", r.schedules, r.steps, r.terms, r.overstays)
}

// simulate runs the schedule of one seed.
func runOne(t *testing.T, seed uint64, m stackMutation) *stackResult {
	t.Helper()
	r := &stackResult{schedules: 1}
	inStack(t, seed, m, func(s *stack) {
		s.run()
		s.mu.Lock()
		defer s.mu.Unlock()
		r.steps, r.terms, r.overstays, r.violations = s.steps, s.terms, s.overstays, s.violations
		if len(r.violations) > 0 {
			r.story = s.story()
		}
	})
	return r
}

// run makes the world of one seed, in fake time.
func inStack(t *testing.T, seed uint64, m stackMutation, play func(*stack)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stack{
			T: t, random: rand.New(rand.NewPCG(seed, seed)), mutation: m, cut: map[string]bool{},
			stackOracle: stackOracle{grants: map[*player]landedWrite{}, landed: map[*player]time.Time{}, tokens: map[string]int32{}, holders: map[string]*player{}},
		}
		var err error
		if s.dir, err = os.MkdirTemp("", "stack"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(s.dir) })
		play(s)
	})
}

// stack is one schedule: an API server and the processes beside it, in fake time.
type stack struct {
	*testing.T
	leasetest.Server
	random   *rand.Rand // of the schedule's own goroutine
	mutation stackMutation
	dir      string
	started  int
	edits    int32         // that shortened the record
	longest  time.Duration // of any record so far

	mu sync.Mutex // guards the oracle and what follows
	stackOracle
	cut     map[string]bool // processes cut off from the API server
	badness int             // percent of requests that meet a fault
	outage  bool

	tracing sync.Mutex // guards trace
	trace   []string
}

// sleep lets fake time pass and everything due in it happen.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *stack) lease() *coordinationv1.Lease { return s.Get(namespace, name) }

func (s *stack) edit(f func(*coordinationv1.LeaseSpec)) {
	s.Put(namespace, name, func(l *coordinationv1.Lease) { f(&l.Spec) })
	synctest.Wait()
}

func (s *stack) holder() string {
	if l := s.lease(); l != nil && l.Spec.HolderIdentity != nil {
		return *l.Spec.HolderIdentity
	}
	return ""
}

func (s *stack) processName(identity string) string {
	return fmt.Sprintf("%s#%d", identity, s.started)
}

// newClock is up to 19 % slow or fast: two of them differ by less than the
// ratio of LEASE_DURATION to RENEW_DEADLINE, as the README asks for.
func (s *stack) newClock() *leasetest.Clock {
	return leasetest.NewClock(1 + (s.random.Float64()-0.5)*0.38)
}

func (s *stack) cutOff(p *player, cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut[p.process] = cut
}

func (s *stack) set(badness int, outage bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.badness, s.outage = badness, outage
}

// faults decides what happens to each request: by the seed, by whose it is and
// by how many it has made before.
func (s *stack) faults() func(leasetest.Request) leasetest.Fault {
	stream, streams := s.random.Uint64(), map[string]*rand.Rand{}
	return func(r leasetest.Request) leasetest.Fault {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.steps++
		key := r.Client
		if r.Verb == "watch" {
			key += r.Verb
		}
		random := streams[key]
		if random == nil {
			hash := fnv.New64()
			_, _ = hash.Write([]byte(key))
			random = rand.New(rand.NewPCG(stream, hash.Sum64()))
			streams[key] = random
		}
		switch {
		case s.cut[r.Client]:
			return leasetest.Fault{DropRequest: true}
		case s.outage:
			return leasetest.Fault{DropRequest: true, Reset: true}
		case random.IntN(100) >= s.badness:
			return leasetest.Fault{AnswerDelay: time.Duration(random.Int64N(int64(20 * time.Millisecond)))}
		}
		late := time.Duration(random.Int64N(int64(6 * time.Second)))
		return []leasetest.Fault{
			{Delay: late}, {AnswerDelay: late}, {Delay: late / 2, AnswerDelay: late / 2}, {DropRequest: true}, {DropAnswer: true},
			{DropRequest: true, Reset: true}, {DropAnswer: true, Reset: true}, {Status: 409}, {Status: 429, RetryAfter: 3}, {Status: 500},
			{Status: 403}, {Body: "garbage"}, {Repeat: true}, leasetest.Latency(late * 2 / 3), {Behind: 1},
			{Stale: true}, {Replay: 10}, {EndAfter: late}, {EventDelay: late},
		}[random.IntN(19)]
	}
}

// run is the schedule: some processes, random actions, and then peace.
func (s *stack) run() {
	s.OnRequest(s.faults())
	s.OnStore(s.stored)
	s.longest = leaseDuration
	players := 2 + s.random.IntN(6)
	peers := max(0, s.random.IntN(2*players)-players) // half of the schedules have none
	for i := range players {
		time.Sleep(time.Duration(s.random.Int64N(int64(time.Second))))
		if i < peers {
			s.startPeer(fmt.Sprintf("peer-%d", i), false)
		} else {
			s.startOurs(fmt.Sprintf("ours-%d", i), nil)
		}
	}
	for range 60 {
		s.act(peers > 0)
		s.pass(time.Duration(s.random.Int64N(int64(10 * time.Second))))
		if s.broken() {
			return
		}
	}
	s.calm()
	for slices.ContainsFunc(s.alive(false), func(p *player) bool { return p.clock.Paused() }) {
		s.pass(time.Second) // one that stands still can't be woken
	}
	// Once all faults have ceased, a replica leads within two lease durations. An
	// app that was told to stop takes up to 20 s more (L6).
	s.pass(2*s.longest + 20*time.Second)
	for range 20 {
		s.pass(time.Second)
		switch p := s.leader(); {
		case p == nil:
			s.fail("no replica leads two lease durations after all faults have ceased: %+v", s.lease())
			return
		case p.down.Load():
			s.fail("%s leads, and its app is gone", p.process)
		}
	}
}

// pass lets time pass, and everything due in it happen.
func (s *stack) pass(d time.Duration) {
	sleep(d)
	s.check()
}

// act does one of the things that go wrong in clusters.
func (s *stack) act(mixed bool) {
	alive := s.alive(false)
	ours := s.alive(true)
	p := ours[s.random.IntN(len(ours))]
	d := time.Duration(s.random.Int64N(int64(40 * time.Second)))
	switch s.random.IntN(21) {
	case 0, 1:
		n := s.random.IntN(101)
		s.note("%d%% of requests fail", n)
		s.set(n, false)
	case 2, 3:
		s.note("calm")
		s.set(0, false)
	case 4:
		s.note("the API server is down")
		s.set(0, true)
	case 5:
		s.note("%s stands still for %v", p.process, d) // as a whole: whatever it does next begins with a look at the time
		p.clock.Pause(d)
	case 6:
		n := 1 + s.random.IntN(12)
		s.note("%s stands still for %v after its next look %d at a clock", p.process, d, n)
		p.clock.Stall(n, d)
	case 7:
		s.note("watches cut")
		s.CutWatches()
	case 8:
		s.note("%s steps down", p.process)
		p.elector.StepDown("as told")
	case 9:
		q := alive[s.random.IntN(len(alive))]
		cut := s.random.IntN(3) > 0
		s.note("%s cut off: %v", q.process, cut)
		s.cutOff(q, cut)
	case 10:
		disk := s.random.Int32N(4)
		s.note("the disk of %s: %d", p.process, disk)
		p.disk.Store(disk)
	case 11:
		// The file is put right within a second. A process that stands still, or
		// whose disk fails, in that very second can't do that: the documented limit.
		if p.disk.Load() == diskWorks && p.touching.Load() == 0 && !p.clock.Paused() {
			s.note("the wall clock of %s is set by %v", p.process, d-20*time.Second)
			p.clock.SetWall(100 * (d - 20*time.Second))
			s.pass(2 * time.Second)
		}
	case 12, 13:
		s.crash(p)
	case 14:
		s.note("%s stops cleanly (work lock: %v)", p.process, p.lockUsed)
		p.stop()
		s.pass(time.Duration(s.random.Int64N(int64(30 * time.Second))))
		s.restartWhenEnded(p)
	case 15:
		if len(alive) < 9 {
			s.note("another process is called %s", p.identity)
			s.startOurs(p.identity, nil)
		}
	case 16:
		s.foreignEdit(mixed)
	case 17:
		// A replica that never saw the Lease takes an absent one for free: the
		// documented limit. So all have seen it, and none is new until it is back.
		if s.allKnowTheHolder() {
			s.note("the Lease is deleted")
			s.Delete(namespace, name)
			if s.mutation.forget {
				for _, q := range ours {
					if !q.view() {
						s.kill(q)
						s.startOurs(q.identity, nil)
					}
				}
			}
			s.until(func() bool { return s.lease() != nil })
		}
	default:
		s.actOnApps(p)
	}
}

// crash kills a process. It comes back in its container, or as another pod of
// the same name (a StatefulSet's), or not at all.
func (s *stack) crash(p *player) {
	s.note("%s is killed", p.process)
	s.kill(p)
	back := s.random.IntN(3)
	if len(s.alive(true)) == 0 {
		back = 1
	}
	s.pass(time.Duration(s.random.Int64N(int64(20 * time.Second))))
	switch back {
	case 0:
		s.note("%s is restarted in its container", p.identity)
		s.forget(p)
		s.startOurs(p.identity, p)
	case 1:
		s.note("%s is replaced by a pod of the same name", p.identity)
		s.startOurs(p.identity, nil)
	}
}

func (s *stack) restartWhenEnded(p *player) {
	if s.random.IntN(2) == 0 {
		s.calm() // so that it can end
	}
	s.until(p.hasEnded)
	s.startOurs(p.identity, nil)
}

// foreignEdit is a person with kubectl.
func (s *stack) foreignEdit(mixed bool) {
	if !s.allKnowTheHolder() {
		return
	}
	switch s.random.IntN(4) {
	case 0: // A replica that saw no other duration has to believe it. Each edit is another: the documented limit.
		s.edits++
		seconds := min(s.edits-3, 14)
		s.note("leaseDurationSeconds edited to %v", seconds)
		s.edit(func(l *coordinationv1.LeaseSpec) {
			if l.LeaseDurationSeconds = &seconds; seconds == -2 {
				l.LeaseDurationSeconds = nil
			}
		})
		s.until(func() bool {
			l := s.lease()
			return l == nil || l.Spec.LeaseDurationSeconds != nil && *l.Spec.LeaseDurationSeconds >= 15 || s.holder() == ""
		})
	case 1:
		s.note("the holder is erased")
		s.edit(func(l *coordinationv1.LeaseSpec) { l.HolderIdentity = nil })
		s.until(func() bool { return s.holder() != "" })
	case 2:
		seconds := int32(30)
		s.note("leaseDurationSeconds edited to %v", seconds)
		s.longest = 30 * time.Second
		s.edit(func(l *coordinationv1.LeaseSpec) { l.LeaseDurationSeconds = &seconds })
	case 3: // client-go would count on from there
		if before := *s.lease().Spec.LeaseTransitions; !mixed && before > 0 {
			s.note("leaseTransitions reset")
			s.edit(func(l *coordinationv1.LeaseSpec) { l.LeaseTransitions = new(int32) })
			s.until(func() bool { return *s.lease().Spec.LeaseTransitions >= before })
		}
	}
}

// until lets time pass until something holds, with faults going on, and then
// without, since some can keep it from ever holding.
func (s *stack) until(holds func() bool) {
	for i := 0; !holds() && !s.broken(); i++ {
		if i == 300 {
			s.calm()
		}
		if i == 3000 {
			s.fail("five minutes, most of them without faults, are not enough")
		}
		s.pass(100 * time.Millisecond)
	}
}

// calm ends every fault that an action can begin.
func (s *stack) calm() {
	s.note("all faults cease")
	s.set(0, false)
	for _, p := range s.alive(false) {
		s.cutOff(p, false)
		p.disk.Store(diskWorks)
		p.clock.Stall(0, 0)
		if p.elector != nil {
			p.stand(true)
		}
	}
	s.CutWatches()
}

// alive are the processes that campaign.
func (s *stack) alive(ours bool) []*player {
	return slices.DeleteFunc(slices.Clone(s.players), func(p *player) bool {
		return p.hasEnded() || p.dead.Load() || ours && p.elector == nil
	})
}

func (s *stack) leader() *player {
	for _, p := range s.alive(false) {
		if p.view() {
			return p
		}
	}
	return nil
}

// allKnowTheHolder says that every replica has seen the term that is stored. One
// that has not may take a Lease that was changed by hand: the documented limit.
func (s *stack) allKnowTheHolder() bool {
	l := s.lease()
	if s.holder() == "" || l.Spec.LeaseTransitions == nil || l.Spec.LeaseDurationSeconds == nil {
		return false
	}
	return !slices.ContainsFunc(s.alive(true), func(p *player) bool {
		state := p.elector.State()
		return state.Leader != *l.Spec.HolderIdentity || state.Transitions != *l.Spec.LeaseTransitions || state.LeaseUID != l.UID
	})
}
