package lease_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

var (
	seed      = flag.Uint64("seed", 0, "replay this one schedule of the simulation")
	schedules = flag.Uint64("schedules", 150, "how many schedules the simulation runs")
)

// TestSimulation runs elections under random faults, each from one seed, and
// looks every 50 ms (and at each fault) whether two replicas lead.
func TestSimulation(t *testing.T) {
	first, last := uint64(1), *schedules
	if *seed != 0 {
		first, last = *seed, *seed
	}
	var looks, terms int
	for n := first; n <= last; n++ {
		inFakeTime(t, func(w *world) {
			s := &simulation{world: w, random: rand.New(rand.NewPCG(n, n))}
			s.run()
			looks, terms = looks+s.looks, terms+s.terms
			if t.Failed() {
				t.Fatalf("replay with -run TestSimulation -seed %d\n%s", n, strings.Join(s.trace, "\n"))
			}
		})
	}
	t.Logf("%d schedules, %d looks, %d terms, no overlap", last-first+1, looks, terms)
}

type simulation struct {
	*world
	random   *rand.Rand
	replicas []*replica
	trace    []string
	looks    int
	terms    int
	leader   *replica
	token    int32
	uid      string
}

func (s *simulation) note(format string, args ...any) {
	s.trace = append(s.trace, time.Now().Format("04:05.000 ")+fmt.Sprintf(format, args...))
}

func (s *simulation) run() {
	var badness atomic.Int32 // percent of requests that meet a fault
	faults := rand.New(rand.NewPCG(s.random.Uint64(), 1))
	var turn = make(chan struct{}, 1) // rand.Rand is not for several goroutines
	turn <- struct{}{}
	s.OnRequest(func(r leasetest.Request) leasetest.Fault {
		<-turn
		defer func() { turn <- struct{}{} }()
		if faults.Int32N(100) >= badness.Load() {
			return leasetest.Fault{AnswerDelay: time.Duration(faults.Int64N(int64(20 * time.Millisecond)))}
		}
		late := time.Duration(faults.Int64N(int64(6 * time.Second)))
		return []leasetest.Fault{
			{Delay: late}, {AnswerDelay: late}, {Delay: late / 2, AnswerDelay: late / 2}, {DropRequest: true}, {DropAnswer: true},
			{DropRequest: true, Reset: true}, {DropAnswer: true, Reset: true}, {Status: 409}, {Status: 429, RetryAfter: 3}, {Status: 500},
			{Status: 403}, {Body: "garbage"}, {Stale: true}, {Replay: 10}, {EndAfter: late}, {EventDelay: late},
		}[faults.IntN(16)]
	})
	for i := range 2 + s.random.IntN(4) {
		rate := 1 + (s.random.Float64()-0.5)/5 // up to 10 % slow or fast
		s.replicas = append(s.replicas, s.start(fmt.Sprintf("r%d", i), func(c *lease.Config) {
			c.Clock.(*leasetest.Clock).Rate = rate
		}))
	}
	for range 60 {
		switch s.random.IntN(9) {
		case 0:
			badness.Store(s.random.Int32N(101))
			s.note("%d%% of requests fail", badness.Load())
		case 1:
			badness.Store(0)
			s.note("calm")
		case 2:
			r, d := s.any(), time.Duration(s.random.Int64N(int64(30*time.Second)))
			r.clock.Pause(d)
			s.note("%s stands still for %v", r.State().Identity, d)
		case 3:
			s.note("watches cut")
			s.CutWatches()
		case 4:
			r := s.any()
			s.note("%s steps down", r.State().Identity)
			r.StepDown("the simulation says so")
		case 5:
			// Shortened, or of no length at all. A replica that saw no other
			// duration has to believe it, so that all have.
			if s.allKnowTheHolder() {
				seconds := s.random.Int32N(20) - 2
				s.note("leaseDurationSeconds edited to %d", seconds)
				s.edit(func(l *coordinationv1.LeaseSpec) { l.LeaseDurationSeconds = &seconds })
				for s.holder() != "" && *s.lease().Spec.LeaseDurationSeconds < 15 && !s.Failed() {
					s.look(50 * time.Millisecond)
				}
			}
		case 6:
			i := s.random.IntN(len(s.replicas))
			old := s.replicas[i]
			s.note("%s stops cleanly and starts again", old.State().Identity)
			old.stop()
			for range 200 { // with all of its replicas still watched
				s.look(50 * time.Millisecond)
			}
			<-old.ended
			s.replicas[i] = s.start(old.State().Identity)
		case 7:
			// A replica that never saw the Lease takes an absent one for free:
			// the documented limit. So all have seen it, and nobody is new
			// until it is back.
			if s.allKnowTheHolder() {
				s.note("the Lease is deleted")
				s.Delete(namespace, name)
				for s.lease() == nil && !s.Failed() {
					s.look(50 * time.Millisecond)
				}
			}
		}
		for range s.random.IntN(200) {
			if s.look(50 * time.Millisecond); s.Failed() {
				return
			}
		}
	}
	// when all faults cease, somebody leads within a bound
	badness.Store(0)
	s.CutWatches()
	for range 1200 {
		s.look(50 * time.Millisecond)
	}
	if s.leader == nil || !s.leader.leads() {
		s.Errorf("nobody leads a minute after all faults have ceased: %+v", s.lease())
	}
}

func (s *simulation) allKnowTheHolder() bool {
	holder := s.holder()
	return holder != "" && !slices.ContainsFunc(s.replicas, func(r *replica) bool { return r.State().Leader != holder })
}

// leads is the outside view: what the status file's mtime says, whether or not
// the process runs.
func (r *replica) leads() bool { return r.State().LeadsAt(r.clock.Read()) }

func (s *simulation) any() *replica { return s.replicas[s.random.IntN(len(s.replicas))] }

func (s *simulation) look(after time.Duration) {
	time.Sleep(after)
	synctest.Wait()
	s.looks++
	var leaders []*replica
	for _, r := range s.replicas {
		if r.leads() {
			leaders = append(leaders, r)
		}
	}
	if len(leaders) > 1 {
		s.Errorf("at %s: %s and %s lead", time.Now().Format("04:05.000"), leaders[0].State().Identity, leaders[1].State().Identity)
		for _, r := range leaders {
			s.note("log of %s, clock rate %v:\n%s", r.State().Identity, r.clock.Rate, r.log)
		}
	}
	if len(leaders) == 1 && leaders[0] != s.leader {
		state := leaders[0].State()
		s.note("%s leads, token %d", state.Identity, state.Transitions)
		if s.leader != nil && s.leader.State().Identity != state.Identity && state.Transitions <= s.token && string(state.LeaseUID) == s.uid {
			s.Errorf("%s leads with token %d after %d", state.Identity, state.Transitions, s.token)
		}
		s.leader, s.token, s.uid, s.terms = leaders[0], state.Transitions, string(state.LeaseUID), s.terms+1
	}
}
