package lease_test

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
	seed  = flag.Uint64("seed", 0, "replay this one schedule of the simulation")
	first = flag.Uint64("first", 1, "the first seed of the simulation")
	steps = flag.Int("steps", 50_000, "how many moments the simulation judges, at least")
)

// regressions are the seeds that once found a bug. What it was is in SAFETY.md.
var regressions = []uint64{190}

// TestSimulation runs elections under random faults, each from one seed, and
// judges every moment at which somebody may begin to lead.
func TestSimulation(t *testing.T) {
	if *seed != 0 {
		simulateSound(t, *seed)
		return
	}
	for _, n := range regressions {
		simulateSound(t, n)
	}
	// The seeds are shared out among the processors.
	workers, results := uint64(runtime.GOMAXPROCS(0)), make(chan *result, runtime.GOMAXPROCS(0))
	t.Run("seeds", func(t *testing.T) {
		for worker := range workers {
			t.Run(fmt.Sprint(worker), func(t *testing.T) {
				t.Parallel()
				total := &result{}
				for n := *first + worker; total.steps < *steps/int(workers); n += workers {
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
	t.Logf("seeds from %d: %v; no overlap of ours", *first, total)
}

// simulateSound runs a schedule and fails the test if a rule was broken.
func simulateSound(t *testing.T, n uint64) *result {
	t.Helper()
	r := simulate(t, n, mutation{})
	if len(r.violations) > 0 {
		t.Fatalf("seed %d: %s\nreplay it with: go test ./lease -run 'TestSimulation$' -seed %d\n%s", n, r.violations[0], n, r.story)
	}
	return r
}

// result is what came of one schedule, or of many.
type result struct {
	schedules, steps, terms, overstays int
	violations                         []string
	story                              string
}

func (r *result) add(o *result) {
	r.schedules += o.schedules
	r.steps += o.steps
	r.terms += o.terms
	r.overstays += o.overstays
}

func (r *result) String() string {
	return fmt.Sprintf("%d schedules, %d moments judged, %d terms of ours, %d overstays of client-go's", r.schedules, r.steps, r.terms, r.overstays)
}

// simulate runs the schedule of one seed.
func simulate(t *testing.T, seed uint64, m mutation) *result {
	t.Helper()
	r := &result{schedules: 1}
	run(t, seed, m, func(s *simulation) {
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
func run(t *testing.T, seed uint64, m mutation, play func(*simulation)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &simulation{
			world: &world{T: t}, random: rand.New(rand.NewPCG(seed, seed)), mutation: m, cut: map[string]bool{},
			oracle: oracle{grants: map[*player]grant{}, landed: map[*player]time.Time{}, tokens: map[string]int32{}, holders: map[string]string{}},
		}
		var err error
		if s.dir, err = os.MkdirTemp("", "simulation"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(s.dir) })
		play(s)
	})
}

// simulation is one schedule.
type simulation struct {
	*world
	random   *rand.Rand // of the schedule's own goroutine
	mutation mutation
	dir      string
	started  int

	mu sync.Mutex // guards the oracle and what follows
	oracle
	cut     map[string]bool // processes cut off from the API server
	badness int             // percent of requests that meet a fault
	outage  bool

	tracing sync.Mutex // guards trace
	trace   []string
}

func (s *simulation) processName(identity string) string {
	return fmt.Sprintf("%s#%d", identity, s.started)
}

// newClock is up to 19 % slow or fast: two of them differ by less than the
// ratio of LEASE_DURATION to RENEW_DEADLINE, as the README asks for.
func (s *simulation) newClock() *leasetest.Clock {
	return leasetest.NewClock(1 + (s.random.Float64()-0.5)*0.38)
}

func (s *simulation) cutOff(p *player, cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut[p.process] = cut
}

func (s *simulation) set(badness int, outage bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.badness, s.outage = badness, outage
}

// faults decides what happens to each request: by the seed, by whose it is and
// by how many it has made before, so that a seed says the same each time.
func (s *simulation) faults() func(leasetest.Request) leasetest.Fault {
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
			{Status: 403}, {Body: "garbage"}, {Stale: true}, {Replay: 10}, {EndAfter: late}, {EventDelay: late},
		}[random.IntN(16)]
	}
}

// run is the schedule: some processes, random actions, and then peace.
func (s *simulation) run() {
	s.OnRequest(s.faults())
	s.OnStore(s.stored)
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
	// Once all faults have ceased, somebody leads within two lease durations: a
	// holder that was told to wait, or that died a moment ago, is waited out.
	s.pass(2 * leaseDuration)
	for range 20 {
		s.pass(time.Second)
		if s.leader() == nil {
			s.fail("nobody leads two lease durations after all faults have ceased: %+v", s.lease())
			return
		}
	}
}

// pass lets time pass, and everything due in it happen.
func (s *simulation) pass(d time.Duration) {
	sleep(d)
	s.check()
}

// act does one of the things that go wrong in clusters.
func (s *simulation) act(mixed bool) {
	alive := s.alive(false)
	ours := s.alive(true)
	p := ours[s.random.IntN(len(ours))]
	d := time.Duration(s.random.Int64N(int64(40 * time.Second)))
	switch s.random.IntN(18) {
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
		s.note("%s stands still for %v", p.process, d)
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
		p.elector.StepDown("the simulation says so")
	case 9:
		q := alive[s.random.IntN(len(alive))]
		cut := s.random.IntN(3) > 0
		s.note("%s cut off: %v", q.process, cut)
		s.cutOff(q, cut)
	case 10:
		disk := s.random.Int32N(3)
		s.note("the disk of %s: %d", p.process, disk)
		p.disk.Store(disk)
	case 11:
		// The file is put right within a second. Who stands still or whose disk
		// fails in that very second can't: the documented limit.
		if p.disk.Load() == diskWorks && !p.clock.Paused() {
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
		// documented limit. So all have seen it, and nobody is new until it is back.
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
	}
}

// crash kills a process. It comes back in its container, or as another pod of
// the same name (a StatefulSet's), or not at all.
func (s *simulation) crash(p *player) {
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

func (s *simulation) restartWhenEnded(p *player) {
	if s.random.IntN(2) == 0 {
		s.calm() // so that it can end
	}
	s.until(p.hasEnded)
	s.startOurs(p.identity, nil)
}

// foreignEdit is somebody with kubectl.
func (s *simulation) foreignEdit(mixed bool) {
	if !s.allKnowTheHolder() {
		return
	}
	switch s.random.IntN(3) {
	case 0: // Shortened, or of no length at all. A replica that saw no other duration has to believe it.
		seconds := s.random.Int32N(20) - 2
		value := &seconds
		if s.random.IntN(4) == 0 {
			value = nil
		}
		s.note("leaseDurationSeconds edited to %v", seconds)
		s.edit(func(l *coordinationv1.LeaseSpec) { l.LeaseDurationSeconds = value })
		s.until(func() bool {
			l := s.lease()
			return l == nil || l.Spec.LeaseDurationSeconds != nil && *l.Spec.LeaseDurationSeconds >= 15 || s.holder() == ""
		})
	case 1:
		s.note("the holder is erased")
		s.edit(func(l *coordinationv1.LeaseSpec) { l.HolderIdentity = nil })
		s.until(func() bool { return s.holder() != "" })
	case 2: // client-go would count on from there
		if before := *s.lease().Spec.LeaseTransitions; !mixed && before > 0 {
			s.note("leaseTransitions reset")
			s.edit(func(l *coordinationv1.LeaseSpec) { l.LeaseTransitions = new(int32) })
			s.until(func() bool { return *s.lease().Spec.LeaseTransitions >= before })
		}
	}
}

// until lets time pass until something holds, with faults going on, and then
// without, since some can keep it from ever holding.
func (s *simulation) until(holds func() bool) {
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

// calm ends every fault that an action can begin, save those that end by themselves.
func (s *simulation) calm() {
	s.note("all faults cease")
	s.set(0, false)
	for _, p := range s.alive(false) {
		s.cutOff(p, false)
		p.disk.Store(diskWorks)
		p.clock.Stall(0, 0)
		p.clock.Pause(0)
	}
	s.CutWatches()
}

// alive are the processes that campaign.
func (s *simulation) alive(ours bool) []*player {
	return slices.DeleteFunc(slices.Clone(s.players), func(p *player) bool {
		return p.hasEnded() || p.dead.Load() || ours && p.elector == nil
	})
}

func (s *simulation) leader() *player {
	for _, p := range s.alive(false) {
		if p.view() {
			return p
		}
	}
	return nil
}

func (s *simulation) allKnowTheHolder() bool {
	holder := s.holder()
	return holder != "" && !slices.ContainsFunc(s.alive(true), func(p *player) bool { return p.elector.State().Leader != holder })
}
