package election

import (
	"math"
	"testing"
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
)

// schedule drives one replica by hand.
type schedule struct {
	c Campaign
}

func newSchedule(identity string, duration time.Duration) *schedule {
	return &schedule{New(&Config{
		Namespace: "default", Name: "app", Identity: identity, Incarnation: identity + "#1",
		LeaseDuration: duration, RenewDeadline: duration * 2 / 3, RetryPeriod: duration * 2 / 15, RenewInterval: duration / 3,
		Random: func() float64 { return 0 },
	})}
}

// at lets the replica take an event, so long after the start.
func (s *schedule) at(d time.Duration, ev Event) Todo {
	return s.c.Step(boottime.Moment(time.Hour+d), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).Add(d), ev)
}

func answered(r Request, stored Record) Event {
	return Event{Kind: Answered, ID: r.ID, Record: stored}
}

func stored(r Request, version string) Record {
	w := r.Write
	w.Version, w.UID = version, "uid-1"
	return w
}

const ms = time.Millisecond

// A write whose outcome is unknown, and that the read after it does not show, may
// land even later. It is the leader's all the same.
func TestS4_AWriteThatLandsAfterItsReadBackIsOurs(t *testing.T) {
	s := newSchedule("a", 15*time.Second)
	absent := s.at(0, Event{})
	todo := s.at(10*ms, answered(absent.Send, Record{}))
	claimed := stored(todo.Send, "1")
	watch := todo.Watch
	if todo = s.at(20*ms, answered(todo.Send, claimed)); watch == 0 {
		watch = todo.Watch
	}
	renewal := s.at(5020*ms, Event{})
	if renewal.Send.Kind != Renew {
		t.Fatalf("%v, not a renewal", renewal.Send.Kind)
	}
	// when it is answered with 504, and a read still finds the claim
	todo = s.at(5030*ms, Event{Kind: Answered, ID: renewal.Send.ID, Failure: Failure{Code: 504, Text: "timeout"}})
	at := todo.WakeAt.Sub(boottime.Moment(time.Hour))
	if todo = s.at(at, Event{}); todo.Send.Kind != Read {
		t.Fatalf("%v, not a read", todo.Send.Kind)
	}
	s.at(at+10*ms, answered(todo.Send, claimed))
	// and the renewal lands after that
	todo = s.at(at+12*ms, Event{Kind: WatchSaw, ID: watch, Record: stored(renewal.Send, "2")})
	if want := boottime.Moment(time.Hour + 5020*ms + 10*time.Second); todo.State.ValidUntil != want {
		t.Errorf("leads until %v, want %v", todo.State.ValidUntil, want)
	}
}

// Where leaseDurationSeconds is 1 anyway, a renewal whose holder was erased is told
// from a release by its times and its mark.
func TestS2_ARenewalErasedByHandIsNoReleaseAtALeaseOf1s(t *testing.T) {
	held := Record{Version: "1", UID: "uid-1", Holder: "a", Mark: "a#1", Seconds: 1, Acquired: 1_000_001, Renewed: 1_000_001}
	erased := func(r Record) Record { r.Holder = ""; return r }
	for name, c := range map[string]struct {
		r    Record
		held Record
		want bool
	}{
		"erased as it was seen":       {erased(held), held, false},
		"erased after a renewal":      {Record{Version: "3", Mark: "a#1", Seconds: 1, Acquired: 1_000_001, Renewed: 1_333_001}, held, false},
		"erased after another claims": {Record{Version: "3", Mark: "b#1", Seconds: 1, Acquired: 2_000_001, Renewed: 2_000_001}, held, false},
		"released by a replica":       {Record{Version: "3", Mark: "released-by:a#1", Seconds: 1, Acquired: 2_000_001, Renewed: 2_000_001}, held, true},
		"released by client-go":       {Record{Version: "3", Mark: "a#1", Seconds: 1, Acquired: 2_000_001, Renewed: 2_000_001}, held, true},
		"released before it was seen": {Record{Version: "3", Mark: "a#1", Seconds: 1, Acquired: 2_000_001, Renewed: 2_000_001}, Record{}, true},
	} {
		if got := c.r.isRelease(c.held); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A policy that does not let leaseTransitions through leaves no fencing token. Two
// terms would have the same one.
func TestS12_AWriteWhoseTokenIsNotStoredLeadsNowhere(t *testing.T) {
	s := newSchedule("a", 15*time.Second)
	todo := s.at(0, Event{})
	todo = s.at(10*ms, answered(todo.Send, Record{}))
	without := stored(todo.Send, "1")
	without.Transitions, without.Counted = 0, false
	todo = s.at(20*ms, answered(todo.Send, without))
	if todo.State.ValidUntil != 0 {
		t.Error("leads")
	}
	said := false
	for _, line := range todo.Lines {
		said = said || line.Level >= 8
	}
	if !said {
		t.Error("does not say why")
	}
}

func TestS12_TheLastTokenIsRefused(t *testing.T) {
	term := Term{holder: "b", process: "b#1", transitions: math.MaxInt32, counted: true}
	if token, ok := term.nextToken(false, false); ok {
		t.Errorf("token %d", token)
	}
}

// leading is a replica that has led for five seconds, and its claim as stored.
func leading(t *testing.T) (s *schedule, claimed Record, watch int) {
	t.Helper()
	s = newSchedule("a", 15*time.Second)
	todo := s.at(0, Event{})
	todo = s.at(10*ms, answered(todo.Send, Record{}))
	claimed, watch = stored(todo.Send, "1"), todo.Watch
	if todo = s.at(20*ms, answered(todo.Send, claimed)); watch == 0 {
		watch = todo.Watch
	}
	if todo.State.ValidUntil == 0 || watch == 0 {
		t.Fatalf("%+v", todo)
	}
	return s, claimed, watch
}

// following is a replica that has seen r, and its watch.
func following(t *testing.T, r Record) (s *schedule, watch int) {
	t.Helper()
	s = newSchedule("b", 15*time.Second)
	todo := s.at(0, Event{})
	todo = s.at(0, answered(todo.Send, r))
	if todo.Watch == 0 || todo.Send.Kind != None {
		t.Fatalf("%+v", todo)
	}
	s.at(0, Event{Kind: WatchUp, ID: todo.Watch})
	return s, todo.Watch
}

func TestS4_WhatTheWatchTellsDoesNotSettleAnUnknownWrite(t *testing.T) {
	s, claimed, watch := leading(t)
	renewal := s.at(5020*ms, Event{})
	s.at(5030*ms, Event{Kind: Answered, ID: renewal.Send.ID, Failure: Failure{Code: 500, Text: "error"}})
	// given a version that is newer, and not that write: a label, say
	claimed.Version = "2"
	todo := s.at(5040*ms, Event{Kind: WatchSaw, ID: watch, Record: claimed})
	if todo.Send.Kind == None {
		todo = s.at(todo.WakeAt.Sub(boottime.Moment(time.Hour)), Event{})
	}
	if todo.Send.Kind != Read {
		t.Errorf("%v, not a read", todo.Send.Kind)
	}
}

func TestS8_AfterAnExpiredTermTheLeaseIsReadBeforeItIsWritten(t *testing.T) {
	s, _, _ := leading(t)
	todo := s.at(40*time.Second, Event{}) // it stood still
	if todo.State.ValidUntil != 0 || todo.Send.Kind != Read {
		t.Errorf("leads until %v, %v", todo.State.ValidUntil, todo.Send.Kind)
	}
}

func TestS10_AFollowerReadsAfterItsWatchHasEnded(t *testing.T) {
	held := Record{Version: "7", UID: "uid-1", Holder: "x", Mark: "x#1", Seconds: 15, Renewed: 1_000_001, Counted: true}
	s, watch := following(t, held)
	todo := s.at(time.Second, Event{Kind: WatchEnded, ID: watch})
	if todo.Send.Kind != Read {
		t.Fatalf("%v, not a read", todo.Send.Kind)
	}
	// and what has the same version and says something else, was restored
	other := held
	other.Holder, other.Mark, other.Seconds, other.Renewed, other.Acquired = "", "released-by:y#1", 1, 5, 5
	todo = s.at(time.Second, answered(todo.Send, other))
	if todo.Send.Kind == Claim {
		t.Fatal("claims at once what was restored")
	}
	for at := time.Second; todo.Send.Kind != Claim; {
		if at > 20*time.Second {
			t.Fatal("no claim")
		}
		if todo.Send.Kind == Read {
			todo = s.at(at, answered(todo.Send, other))
			continue
		}
		at = todo.WakeAt.Sub(boottime.Moment(time.Hour))
		if todo = s.at(at, Event{}); todo.Send.Kind == Claim && at < 16*time.Second {
			t.Errorf("claims at %v, before the holder that it knew was waited for", at)
		}
	}
}

func TestS2_ATruncatedRenewTimeIsWaitedForTwoSecondsLonger(t *testing.T) {
	for renewed, want := range map[Stamp]time.Duration{3*second + 1: 15 * time.Second, 3 * second: 17 * time.Second} {
		s, _ := following(t, Record{Version: "7", UID: "uid-1", Holder: "x", Mark: "x#1", Seconds: 15, Renewed: renewed, Counted: true})
		if todo := s.at(want-ms, Event{}); todo.Send.Kind != None {
			t.Errorf("renewTime %d: %v after %v", renewed, todo.Send.Kind, want-ms)
		}
		if todo := s.at(want, Event{}); todo.Send.Kind != Claim {
			t.Errorf("renewTime %d: %v after %v", renewed, todo.Send.Kind, want)
		}
	}
}

// Where etcd forgot the newest term, the term of a dead process of ours is not the
// newest, and its token was used since.
func TestS12_ARevertedRecordBringsNoTokenBack(t *testing.T) {
	term := Term{holder: "a", process: "a#1", dead: true, transitions: 5, counted: true, held: Record{Transitions: 3}}
	if token, ok := term.nextToken(true, false); token != 6 || !ok {
		t.Errorf("token %d, %v", token, ok)
	}
	term.held.Transitions = 5
	if token, ok := term.nextToken(true, false); token != 5 || !ok {
		t.Errorf("token %d, %v", token, ok)
	}
}

// A replica that stepped down and left the Lease to expire lets others come first. A
// renewal that was under way begins no term any more.
func TestS11_AfterALeaseThatWasKeptOthersComeFirst(t *testing.T) {
	s, claimed, watch := leading(t)
	s.c.cfg.Drains = true
	renewal := s.at(5020*ms, Event{})
	s.at(5100*ms, Event{Kind: StepDownAsked, Reason: "the status file can't be written"})
	s.at(5200*ms, Event{Kind: Drained, Failure: Failure{Text: "kept", Keep: true}})
	late := stored(renewal.Send, "2")
	for _, ev := range []Event{{Kind: WatchSaw, ID: watch, Record: late}, answered(renewal.Send, late)} {
		if todo := s.at(5300*ms, ev); todo.State.ValidUntil != 0 {
			t.Fatalf("leads until %v by %v", todo.State.ValidUntil, claimed)
		}
	}
	for at := 5300 * ms; at < 60*time.Second; {
		todo := s.at(at, Event{})
		if todo.Send.Kind == Read {
			todo = s.at(at, answered(todo.Send, late))
		}
		if todo.Send.Kind == Claim {
			if at < 35*time.Second {
				t.Errorf("claims at %v", at)
			}
			return
		}
		at = max(at+ms, min(todo.WakeAt.Sub(boottime.Moment(time.Hour)), 70*time.Second))
	}
	t.Error("no claim within a minute")
}
