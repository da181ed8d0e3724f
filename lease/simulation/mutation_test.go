package simulation

import (
	"cmp"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
	"github.com/leader-elector/leader-elector/lease/internal/election"
)

// mutation breaks one rule at a seam between the processes and the world.
type mutation struct {
	rule, how  string
	request    func(w *world, r *election.Request)        // as it arrives
	event      func(p *process, ev *election.Event)       // as it is told
	todo       func(p *process, t *election.Todo)         // what a Step asks for
	leads      func(p *process, now boottime.Moment) bool // as the world sees it
	config     func(c *election.Config)
	deaf       func(w *world, p *process, ev election.Event) bool // what it is told about its app it does not hear
	leaves     func(p *process) bool                              // the Lease is left to expire, once the app has stopped
	impenitent bool                                               // a process that was asked to step down forgets that afterwards
	faults     int                                                // that show it; 0: two
	apps       bool                                               // it takes replicas whose leadership follows an app
	peace      bool                                               // only peace shows it
	proof      bool                                               // every other process of an identity is taken for dead
	impatient  bool                                               // the app is told to stop, and not waited for
	believes   bool                                               // a request that is lost is taken for one that landed
	forgets    bool                                               // followers forget a Lease that is deleted
	ignores    bool                                               // a file that can't be removed does not keep the Lease
	stops      bool                                               // the clock stands still with its process
}

// mutations are what SAFETY.md's table is about.
var mutations = []mutation{
	{rule: "S1", how: "the term ends when the next record is seen, not at the renew deadline",
		todo: func(p *process, t *election.Todo) {
			if p.state.ValidUntil != 0 && t.State.ValidUntil == 0 && t.State.Leader == p.identity {
				t.State.ValidUntil = math.MaxInt64
			}
		},
		leads: func(p *process, _ boottime.Moment) bool { return p.state.ValidUntil != 0 }},
	{rule: "S2", how: "half of the record's leaseDurationSeconds is waited for",
		event: func(p *process, ev *election.Event) {
			if ev.Record.Holder != p.identity {
				ev.Record.Seconds /= 2
			}
		}},
	{rule: "S3", how: "updates carry no resourceVersion",
		request: func(w *world, r *election.Request) {
			if r.Write.Version != "" {
				r.Write.Version = w.api.stored.Version
			}
		}},
	{rule: "S4", how: "a write that was lost is taken for one that landed", believes: true},
	{rule: "S5, S9", how: "another process of our identity is taken for dead without proof", proof: true},
	{rule: "S6", how: "the Lease is released while the app is still stopping", impatient: true},
	{rule: "S8", how: "the clock does not count the time for which the process stood still", stops: true},
	{rule: "S10", how: "a deleted Lease is forgotten, and so free", forgets: true},
	{rule: "S11", how: "a status file that can't be removed does not keep the Lease", ignores: true},
	{rule: "S12", how: "the token does not grow",
		todo: func(_ *process, t *election.Todo) { t.State.Transitions = 0 }},
}

// TestExploreFindsEveryMutation is the proof of the exploration: whichever rule is
// broken, it finds the shortest schedule that shows it.
func TestExploreFindsEveryMutation(t *testing.T) {
	for _, m := range slices.Concat(mutations, appMutations) {
		t.Run(m.rule, func(t *testing.T) {
			for _, most := range []int{50_000, 3_000_000} { // so many states; most are found early
				e := newExplorer(m, 2, cmp.Or(m.faults, 2), most, 15*time.Second)
				e.thorough = false
				if e.run(); e.found != nil {
					t.Logf("%s: found in %d states:\n%s", m.how, e.states(), e.story(e.found))
					return
				}
			}
			t.Errorf("%s: not found", m.how)
		})
	}
}
