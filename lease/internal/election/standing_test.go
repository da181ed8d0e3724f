package election

import (
	"strconv"
	"testing"
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
)

const start = boottime.Moment(time.Hour)

// claiming drives a replica to where its claim of a Lease that does not exist is under
// way.
func claiming(s *schedule) Request {
	todo := s.at(0, Event{})
	todo = s.at(10*ms, answered(todo.Send, Record{}))
	return todo.Send
}

// A claim whose answer was lost is no longer under way when the app is lost. It may
// have landed all the same, and the read that finds it begins no term.
func TestA1_AClaimOfUnknownOutcomeBeginsNoTermOnceTheAppIsLost(t *testing.T) {
	for name, event := range map[string]Event{"the app is lost": {Kind: StandAsked}, "the pod is being deleted": {Kind: RetireAsked}} {
		t.Run(name, func(t *testing.T) {
			s := newSchedule("a", 15*time.Second)
			claim := claiming(s)
			if claim.Kind != Claim {
				t.Fatalf("%v, not a claim", claim.Kind)
			}
			todo := s.at(20*ms, Event{Kind: Answered, ID: claim.ID, Failure: Failure{Text: "connection reset"}})
			at := todo.WakeAt.Sub(start)
			s.at(30*ms, event)
			if todo = s.at(at, Event{}); todo.Send.Kind != Read {
				t.Fatalf("%v, not a read", todo.Send.Kind)
			}
			todo = s.at(at+10*ms, answered(todo.Send, stored(claim, "1")))
			if todo.State.ValidUntil != 0 {
				t.Error("leads")
			}
			if todo.Send.Kind != Release {
				t.Errorf("%v, not a release", todo.Send.Kind)
			}
		})
	}
}

// A claim that is under way when the app is lost is not sent once more.
func TestA1_AClaimIsNotDoubledOnceTheAppIsLost(t *testing.T) {
	s := newSchedule("a", 15*time.Second)
	claim := claiming(s)
	todo := s.at(20*ms, Event{Kind: StandAsked})
	for at := todo.WakeAt.Sub(start); at < 10*time.Second; at = todo.WakeAt.Sub(start) {
		if todo = s.at(at, Event{}); todo.Double && s.c.UnderWay().Kind == Claim {
			t.Fatalf("the claim %d is sent once more after %v", claim.ID, at)
		}
		if todo.Send.Kind == Claim {
			t.Fatalf("claims after %v", at)
		}
	}
}

// A term that an annotation asks to end goes on in a process that takes it back (S5). It
// ends there.
func TestStepDown_AnOrderHoldsForTheProcessThatTakesTheTermBack(t *testing.T) {
	s := newSchedule("a", 15*time.Second)
	s.c.cfg.Incarnation, s.c.cfg.Drains = "a#2", true
	s.c.cfg.ProvenDead = func(i string) bool { return i == "a#1" }
	todo := s.at(0, Event{})
	ordered := Record{Version: "7", UID: "uid-1", Holder: "a", Mark: "a#1", Seconds: 15, Transitions: 3, Counted: true, Acquired: 1, Renewed: 2, StepDown: "3", Successor: "b"}
	if todo = s.at(10*ms, answered(todo.Send, ordered)); todo.Send.Kind != Claim {
		t.Fatalf("%v, not a claim", todo.Send.Kind)
	}
	todo = s.at(20*ms, answered(todo.Send, stored(todo.Send, "8")))
	if todo.State.ValidUntil != 0 || !todo.Drain {
		t.Errorf("leads: %v, asks the app to stop: %v", todo.State.ValidUntil != 0, todo.Drain)
	}
}

// An app that takes longer than a LeaseDuration to stop does not make a step-down one
// without effect: others come first from the release on.
func TestStepDown_OthersComeFirstAfterALongDrain(t *testing.T) {
	for name, asked := range map[string]func(s *schedule, claimed Record, watch int) Todo{
		"by the annotation": func(s *schedule, claimed Record, watch int) Todo {
			claimed.Version, claimed.StepDown = "20", "0"
			return s.at(5500*ms, Event{Kind: WatchSaw, ID: watch, Record: claimed})
		},
		"by the program": func(s *schedule, _ Record, _ int) Todo {
			return s.at(5500*ms, Event{Kind: StepDownAsked, Reason: "as told"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, claimed, watch := leading(t)
			s.c.cfg.Drains = true
			todo := asked(s, claimed, watch)
			if !todo.Drain {
				t.Fatal("does not ask the app to stop")
			}
			version := 30
			answer := func(at time.Duration) {
				for ; todo.Send.Kind != None; version++ {
					todo = s.at(at, answered(todo.Send, stored(todo.Send, strconv.Itoa(version))))
				}
			}
			at := 5510 * ms
			for answer(at); at < 30*time.Second; answer(at) {
				at = todo.WakeAt.Sub(start)
				todo = s.at(at, Event{})
			}
			todo = s.at(at+10*ms, Event{Kind: Drained})
			if todo.Send.Kind != Release {
				t.Fatalf("%v, not a release", todo.Send.Kind)
			}
			released := at + 20*ms
			todo = s.at(released, answered(todo.Send, stored(todo.Send, "99")))
			for at = released; todo.Send.Kind != Claim; at = todo.WakeAt.Sub(start) {
				todo = s.at(at, Event{})
			}
			if at < released+15*time.Second {
				t.Errorf("claims %v after its release", at-released)
			}
		})
	}
}

// A named successor does not wait: neither for its ClaimDelay, nor for its place among
// many claims, which it has since one of its claims came too late.
func TestStepDown_TheSuccessorDoesNotWait(t *testing.T) {
	for successor, want := range map[string]Kind{"b": Claim, "": None, "c": None} {
		s, watch := following(t, held("7", "a", 15, 1))
		s.c.cfg.ClaimDelay, s.c.backoff.spread = time.Second, time.Second
		s.c.cfg.Random = func() float64 { return 1 }
		r := held("8", "", 1, 2)
		r.Mark, r.Acquired, r.Successor = releasedBy+r.Mark, r.Renewed, successor
		if todo := s.at(10*ms, Event{Kind: WatchSaw, ID: watch, Record: r}); todo.Send.Kind != want {
			t.Errorf("successor %q: %v, want %v", successor, todo.Send.Kind, want)
		}
	}
}

// After a restore of etcd, an earlier term of this process is stored again. Others have
// led since, so a claim begins a term with a token of its own: it is delayed.
func TestClaimDelay_ATermOfBeforeARestoreDoesNotGoOn(t *testing.T) {
	for name, c := range map[string]struct {
		highest int32
		delay   time.Duration
	}{"it goes on": {0, 0}, "another has led since": {1, 5 * time.Second}} {
		s := newSchedule("a", 15*time.Second)
		s.c.cfg.ClaimDelay = 5 * time.Second
		s.c.tenure.acquired, s.c.tenure.token = 1, 0
		s.c.term = Term{holder: "a", process: "a#1", transitions: c.highest, counted: true, held: Record{Version: "1", Holder: "a", Mark: "a#1"}, floor: start}
		if got := s.c.claimAt().Sub(start); got != c.delay {
			t.Errorf("%s: claims after %v, want %v", name, got, c.delay)
		}
	}
}
