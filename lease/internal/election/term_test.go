package election

import (
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
)

// seen is a record, and when it was seen.
type seen struct {
	at       time.Duration
	r        Record
	reverted bool
}

// held is a record that holder renewed.
func held(version string, holder string, seconds int32, renewed Stamp) Record {
	return Record{Version: version, UID: "uid-1", Holder: holder, Mark: holder + "#1", Seconds: seconds, Counted: true, Renewed: renewed*second + 1}
}

// claim is the first record of a holder's term.
func claim(version string, holder string, seconds int32, renewed Stamp) Record {
	r := held(version, holder, seconds, renewed)
	r.Acquired = r.Renewed
	return r
}

func TestS2_HowLongAFollowerWaits(t *testing.T) {
	given := func(r Record, version, holder string) Record {
		r.Version, r.Holder = version, holder
		return r
	}
	unmarked := func(r Record) Record { r.Mark = ""; return r }
	released := Record{Version: "1", UID: "uid-1", Mark: "released-by:x#1", Seconds: 1, Counted: true, Renewed: 1*second + 1, Acquired: 1*second + 1}
	for name, c := range map[string]struct {
		seen []seen
		want time.Duration // from the start
	}{
		// The holder before may not know that it was replaced.
		"a longer duration of the holder before": {[]seen{{0, held("1", "x", 60, 1), false}, {time.Second, held("2", "x", 15, 2), false}, {2 * time.Second, held("3", "y", 15, 3), false}}, 61 * time.Second},
		// It wrote others before, which a policy that shortens them may have let through.
		"a newcomer that sees a short renewal": {[]seen{{0, held("1", "x", 5, 1), false}}, 15 * time.Second},
		"one that sees two of them":            {[]seen{{0, held("1", "x", 5, 1), false}, {time.Second, held("2", "x", 5, 2), false}}, 6 * time.Second},
		"one that sees a short claim":          {[]seen{{0, claim("1", "x", 5, 1), false}}, 5 * time.Second},
		"one that sees a long renewal":         {[]seen{{0, held("1", "x", 60, 1), false}}, time.Minute},
		// An edit can look like a write. What its holder wrote before it counts until the change is confirmed.
		"two changes in a row": {[]seen{{0, held("1", "x", 60, 1), false}, {time.Second, held("2", "x", 5, 2), false}, {2 * time.Second, held("3", "x", 15, 3), false}}, 62 * time.Second},
		"a change that is written twice": {[]seen{{0, held("1", "x", 60, 1), false}, {time.Second, held("2", "x", 5, 2), false}, {2 * time.Second, held("3", "x", 15, 3), false},
			{50 * time.Second, held("4", "x", 15, 4), false}, {55 * time.Second, held("5", "x", 15, 5), false}}, 70 * time.Second},
		// Process a#1 is proven dead. Where the API server went back, another may have led since.
		"a dead process of ours":                        {[]seen{{0, held("1", "a", 15, 1), false}}, 0},
		"a dead process of ours, in a record of before": {[]seen{{0, held("5", "x", 15, 2), false}, {time.Second, held("1", "a", 15, 1), true}}, 16 * time.Second},
		"a release":                          {[]seen{{0, held("1", "x", 15, 1), false}, {time.Second, given(released, "2", ""), false}}, time.Second},
		"a released Lease, edited and wiped": {[]seen{{0, released, false}, {time.Second, given(released, "2", "x"), false}, {2 * time.Second, given(released, "3", ""), false}}, 3 * time.Second},
		// What is left of its record tells how long the holder's last write was, which was not seen.
		"an erased holder": {[]seen{{0, claim("1", "x", 1, 1), false}, {time.Second, given(held("3", "x", 20, 2), "3", ""), false}}, 21 * time.Second},
		// Policies that keep renewTime and drop the annotation make a claim look like an edit.
		"a claim that looks like an edit, deleted": {[]seen{{0, unmarked(claim("1", "x", 1, 1)), false}, {time.Second, unmarked(given(claim("2", "y", 15, 1), "2", "y")), false},
			{2 * time.Second, Record{}, false}, {3 * time.Second, unmarked(held("4", "y", 1, 1)), false}}, 18 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := &Config{Identity: "a", Incarnation: "a#2", LeaseDuration: 15 * time.Second, ProvenDead: func(process string) bool { return process == "a#1" }}
			var term Term
			var old Record
			start := boottime.Moment(time.Hour)
			for _, s := range c.seen {
				term.observe(cfg, old, s.r, s.reverted, start.Add(s.at))
				old = s.r
			}
			if got := term.end().Sub(start); got != c.want {
				t.Errorf("until %v, want %v", got, c.want)
			}
		})
	}
}

// A policy that stores renewTime in whole seconds takes nothing of the validity of
// a renewal that follows within the same second: others wait two seconds longer.
func TestS1_ARenewalThatIsTruncatedCounts(t *testing.T) {
	s := newSchedule("a", time.Second)
	truncated := func(r Request, version string) Record {
		w := stored(r, version)
		w.Renewed -= w.Renewed % second
		return w
	}
	todo := s.at(0, Event{})
	todo = s.at(ms, answered(todo.Send, Record{}))
	s.at(2*ms, answered(todo.Send, truncated(todo.Send, "1")))
	renewal := s.at(340*ms, Event{})
	if renewal.Send.Kind != Renew {
		t.Fatalf("%v, not a renewal", renewal.Send.Kind)
	}
	todo = s.at(341*ms, answered(renewal.Send, truncated(renewal.Send, "2")))
	if want := boottime.Moment(time.Hour + 340*ms).Add(time.Second * 2 / 3); todo.State.ValidUntil != want {
		t.Errorf("leads until %v, want %v", todo.State.ValidUntil, want)
	}
}

// The refusal of one copy of a request says nothing of the other one.
func TestS4_ARefusedCopyMayHaveLandedAsTheOther(t *testing.T) {
	s, claimed, watch := leading(t)
	renewal := s.at(5020*ms, Event{})
	if todo := s.at(7020*ms, Event{}); !todo.Double {
		t.Fatalf("not doubled: %+v", todo)
	}
	s.at(7030*ms, Event{Kind: Answered, ID: renewal.Send.ID, Failure: Failure{Code: 403, Text: "forbidden"}})
	// then the other copy lands
	claimed.Renewed = renewal.Send.Write.Renewed
	claimed.Version = "2"
	todo := s.at(7040*ms, Event{Kind: WatchSaw, ID: watch, Record: claimed})
	if want := boottime.Moment(time.Hour + 5020*ms + 10*time.Second); todo.State.ValidUntil != want {
		t.Errorf("leads until %v, want %v", todo.State.ValidUntil, want)
	}
}

// A write that puts our deleted Lease back, and lands after our term, may replace
// the deleted Lease of another leader.
func TestS10_AWriteThatPutsBackBeginsNoTermOnceOursIsOver(t *testing.T) {
	s, claimed, watch := leading(t)
	todo := s.at(time.Second, Event{Kind: WatchDeleted, ID: watch, Record: Record{Version: "2"}})
	if todo.Send.Kind == None {
		todo = s.at(todo.WakeAt.Sub(boottime.Moment(time.Hour)), Event{})
	}
	if todo.Send.Kind != Renew || todo.Send.Write.Version != "" {
		t.Fatalf("%v, not a write that creates the Lease", todo.Send.Kind)
	}
	again := stored(todo.Send, "9")
	again.UID = "uid-2"
	s.at(9*time.Second, Event{Kind: Answered, ID: todo.Send.ID, Failure: Failure{Text: "connection lost"}})
	todo = s.at(12*time.Second, Event{})
	for todo.Send.Kind != Read {
		at := todo.WakeAt.Sub(boottime.Moment(time.Hour))
		if at > 30*time.Second {
			t.Fatal("no read")
		}
		todo = s.at(at, Event{})
	}
	at := 30 * time.Second
	if todo = s.at(at, answered(todo.Send, again)); todo.State.ValidUntil != 0 || todo.Send.Kind >= Restore {
		t.Errorf("leads until %v, sends %v, by %+v", todo.State.ValidUntil, todo.Send.Kind, claimed)
	}
}

// A copy of a request whose connection broke may have landed, whatever is answered to
// the other one.
func TestS4_ABrokenCopyMayHaveLanded(t *testing.T) {
	s, _, _ := leading(t)
	renewal := s.at(5020*ms, Event{})
	s.at(7020*ms, Event{}) // doubled
	s.at(7030*ms, Event{Kind: Answered, ID: renewal.Send.ID, Failure: Failure{Text: "connection reset"}})
	todo := s.at(7040*ms, Event{Kind: Answered, ID: renewal.Send.ID, Failure: Failure{Code: 403, Text: "forbidden"}})
	for todo.Send.Kind != Read {
		at := todo.WakeAt.Sub(boottime.Moment(time.Hour))
		if at > 10*time.Second {
			t.Fatal("not read back")
		}
		todo = s.at(at, Event{})
	}
	todo = s.at(9*time.Second, answered(todo.Send, stored(renewal.Send, "2")))
	if want := boottime.Moment(time.Hour + 5020*ms + 10*time.Second); todo.State.ValidUntil != want {
		t.Errorf("leads until %v, want %v", todo.State.ValidUntil, want)
	}
}

// Where a policy makes renewTime coarse, a claim may leave the record as it was.
// Followers saw no write then.
func TestS1_AClaimThatChangesNothingBeginsNoTerm(t *testing.T) {
	s := newSchedule("a", 15*time.Second)
	s.c.cfg.Incarnation = "a#2"
	s.c.cfg.ProvenDead = func(process string) bool { return process == "a#1" }
	before := held("7", "a", 15, 9)
	todo := s.at(0, Event{})
	todo = s.at(5*ms, answered(todo.Send, before))
	if todo.Send.Kind != Claim {
		t.Fatalf("%v, not a claim", todo.Send.Kind)
	}
	for range 3 { // nor do renewals of it
		todo = s.at(10*ms, answered(todo.Send, before))
		if todo.State.ValidUntil != 0 {
			t.Fatalf("leads until %v", todo.State.ValidUntil)
		}
		for todo.Send.Kind < Claim {
			at := todo.WakeAt.Sub(boottime.Moment(time.Hour))
			if todo = s.at(at, Event{}); at > time.Minute {
				t.Fatal("gives up")
			} else if todo.Send.Kind == Read {
				todo = s.at(at, answered(todo.Send, before))
			}
		}
	}
}

// A policy keeps the annotation of before. Another process of our name took the Lease.
func TestS12_AMarkThatAPolicyKeepsBringsNoTokenBack(t *testing.T) {
	s, claimed, _ := leading(t)
	other := claimed
	other.Version, other.Transitions = "2", 1
	other.Renewed += 30 * second
	other.Acquired += 30 * second
	todo := s.at(40*time.Second, Event{})
	for at := 40 * time.Second; at < 100*time.Second; todo = s.at(at, Event{}) {
		if todo.Send.Kind == Read {
			todo = s.at(at, answered(todo.Send, other))
		}
		if todo.Send.Kind >= Claim {
			if todo.Send.Kind != Claim || todo.Send.Write.Transitions != 2 {
				t.Errorf("%v with token %d", todo.Send.Kind, todo.Send.Write.Transitions)
			}
			return
		}
		at = todo.WakeAt.Sub(boottime.Moment(time.Hour))
	}
	t.Error("no claim")
}

// etcd is restored to a free Lease, which then gets a new version: someone labels it.
func TestS10_ABackupOfAReleaseFreesNothing(t *testing.T) {
	newest := held("70", "x", 15, 9)
	newest.Transitions = 7
	s, watch := following(t, newest)
	backup := Record{Version: "90", UID: "uid-1", Mark: "released-by:y#1", Seconds: 1, Renewed: second + 1, Acquired: second + 1, Counted: true, Transitions: 3}
	todo := s.at(time.Second, Event{Kind: WatchSaw, ID: watch, Record: backup})
	if todo.Send.Kind == Claim {
		t.Fatal("claims at once")
	}
	todo = s.at(16*time.Second, Event{})
	if todo.Send.Kind != Claim || todo.Send.Write.Transitions != 8 {
		t.Errorf("%v with token %d", todo.Send.Kind, todo.Send.Write.Transitions)
	}
}

// A token that is mistyped is forgotten when its leader renews over it. One that others
// have led with is not.
func TestS12_AMistypedTokenIsForgotten(t *testing.T) {
	renewed := func(version string, renewed Stamp, transitions int32) Record {
		r := held(version, "x", 15, renewed)
		r.Transitions = transitions
		return r
	}
	cfg := &Config{Identity: "a", LeaseDuration: 15 * time.Second}
	edited, other := renewed("2", 1, math.MaxInt32), renewed("2", 2, 9)
	other.Holder, other.Mark = "y", "y#1"
	for name, c := range map[string]struct {
		seen []seen
		want int32
	}{
		"edited":                               {[]seen{{0, renewed("1", 1, 7), false}, {0, edited, false}, {0, renewed("3", 3, 7), false}, {0, renewed("4", 4, 7), false}}, 7},
		"edited before we came":                {[]seen{{0, edited, false}, {0, renewed("3", 3, 7), false}, {0, renewed("4", 4, 7), false}}, 7},
		"edited twice":                         {[]seen{{0, renewed("1", 1, 7), false}, {0, edited, false}, {0, renewed("3", 1, 100), false}, {0, renewed("4", 3, 7), false}, {0, renewed("5", 4, 7), false}}, 7},
		"lowered after a write that we missed": {[]seen{{0, renewed("1", 1, 7), false}, {0, renewed("3", 2, 0), false}}, 7},
		"another led":                          {[]seen{{0, renewed("1", 1, 7), false}, {0, other, false}, {0, renewed("3", 3, 7), false}, {0, renewed("4", 4, 7), false}, {0, renewed("5", 5, 7), false}}, 9},
		"another led, and a restore":           {[]seen{{0, renewed("1", 1, 7), false}, {0, other, false}, {0, renewed("1", 1, 7), true}, {0, renewed("4", 4, 7), false}, {0, renewed("5", 5, 7), false}}, 9},
	} {
		var term Term
		var old Record
		for _, s := range c.seen {
			term.observe(cfg, old, s.r, s.reverted, boottime.Moment(time.Hour))
			old = s.r
		}
		if term.transitions != c.want {
			t.Errorf("%s: %d, want %d", name, term.transitions, c.want)
		}
	}
}

// Draining is a leader whose app has been asked to stop.
func draining(t *testing.T) (s *schedule, claimed Record, watch int) {
	t.Helper()
	s, claimed, watch = leading(t)
	s.c.cfg.Drains = true
	if todo := s.at(time.Second, Event{Kind: StepDownAsked, Reason: "as told"}); !todo.Drain {
		t.Fatalf("%+v", todo)
	}
	return s, claimed, watch
}

// A Lease that is lost while the app is being waited for is not waited for any more.
func TestS6_ALostLeaseEndsTheWaitForTheApp(t *testing.T) {
	s, _, watch := draining(t)
	todo := s.at(2*time.Second, Event{Kind: WatchSaw, ID: watch, Record: claim("2", "b", 15, 2)})
	if !todo.CancelDrain || todo.State.ValidUntil != 0 {
		t.Fatalf("%+v", todo)
	}
	if todo = s.at(3*time.Second, Event{Kind: Drained, Failure: Failure{Text: "context canceled"}}); todo.Send.Kind >= Claim {
		t.Errorf("%v of another's Lease", todo.Send.Kind)
	}
}

// While the app is being stopped, the State says until when it has: that goes on with
// each renewal, and ends with the last one.
func TestS6_TheStateSaysByWhenTheAppMustHaveStopped(t *testing.T) {
	hour := boottime.Moment(time.Hour)
	s, _, _ := leading(t)
	until := s.at(500*ms, Event{}).State
	if until.HeldUntil != until.ValidUntil || until.HeldUntil == 0 {
		t.Fatalf("%+v", until)
	}
	s, _, _ = draining(t)
	renewal := s.at(6*time.Second, Event{})
	if state := renewal.State; state.ValidUntil != 0 || state.HeldUntil != until.HeldUntil {
		t.Errorf("%+v, want %v", state, until.HeldUntil)
	}
	todo := s.at(6100*ms, answered(renewal.Send, stored(renewal.Send, "2")))
	if state, want := todo.State, hour.Add(16*time.Second); state.ValidUntil != 0 || state.HeldUntil != want {
		t.Errorf("%+v, want %v", state, want)
	}
	lost := *s // a copy goes its own way
	if state := lost.at(16*time.Second, Event{}).State; state.HeldUntil != 0 {
		t.Errorf("%+v after the last renewal's time", state)
	}
	if state := s.at(7*time.Second, Event{Kind: Drained}).State; state.HeldUntil != 0 {
		t.Errorf("%+v after the app has stopped", state)
	}
}

// A renewal that is under way when the app has stopped may land. The handover waits, so
// that it can be released.
func TestS6_ARenewalUnderWayIsReleasedToo(t *testing.T) {
	s, _, _ := draining(t)
	renewal := s.at(6*time.Second, Event{})
	if renewal.Send.Kind != Renew {
		t.Fatalf("%v, not a renewal", renewal.Send.Kind)
	}
	if todo := s.at(6100*ms, Event{Kind: Drained}); todo.Send.Kind != None {
		t.Fatalf("%v beside a renewal", todo.Send.Kind)
	}
	todo := s.at(6200*ms, answered(renewal.Send, stored(renewal.Send, "2")))
	if todo.Send.Kind != Release || todo.Send.Write.Version != "2" {
		t.Errorf("%v of version %q, not a release of what landed", todo.Send.Kind, todo.Send.Write.Version)
	}
}

// Another's record is a loss, also where it has our identity (S9). A write of ours that
// was decided on it may land all the same, and is ours.
func TestS9_ARecordOfAnotherProcessOfOurNameIsALoss(t *testing.T) {
	s, claimed, watch := leading(t)
	other := claimed
	other.Version, other.Mark = "2", "a#2"
	other.Renewed += second
	if todo := s.at(time.Second, Event{Kind: WatchSaw, ID: watch, Record: other}); todo.State.ValidUntil != 0 {
		t.Errorf("leads until %v", todo.State.ValidUntil)
	}
}

// Under a policy that pins renewTime a term ends in time, and is no hot loop.
func TestL6_ARecordThatAPolicyPinsIsNoHotLoop(t *testing.T) {
	s, claimed, _ := leading(t)
	pinned := func(version int) Record {
		r := claimed
		r.Version = strconv.Itoa(version)
		return r
	}
	requests := 0
	todo := s.at(5*time.Second, Event{})
	for at := 5 * time.Second; at < 65*time.Second; {
		if todo.Send.Kind != None {
			if requests++; todo.Send.Kind >= Claim {
				todo = s.at(at, answered(todo.Send, pinned(requests+1)))
			} else {
				todo = s.at(at, answered(todo.Send, pinned(requests)))
			}
			continue
		}
		at = max(at+ms, todo.WakeAt.Sub(boottime.Moment(time.Hour)))
		todo = s.at(at, Event{})
	}
	if todo.State.ValidUntil > boottime.Moment(time.Hour+10*time.Second) {
		t.Errorf("leads until %v", todo.State.ValidUntil)
	}
	if most := 60/2 + 12; requests > most {
		t.Errorf("%d requests in a minute, at most %d are wanted", requests, most)
	}
}

// A policy keeps a renewTime of whole seconds. A renewal that happens to be made in that
// very second prolongs nothing all the same: others have seen it before.
func TestS1_APinnedSecondIsNotTakenForATruncatedOne(t *testing.T) {
	s := newSchedule("a", 15*time.Second)
	pinned := func(r Request, version string) Record {
		w := stored(r, version)
		w.Renewed = Stamp(time.Date(2030, 1, 1, 0, 0, 5, 0, time.UTC).UnixMicro())
		return w
	}
	todo := s.at(0, Event{})
	todo = s.at(10*ms, answered(todo.Send, Record{}))
	todo = s.at(20*ms, answered(todo.Send, pinned(todo.Send, "1")))
	until := todo.State.ValidUntil
	for at := 5020 * ms; todo.Send.Kind != Renew; todo = s.at(at, Event{}) {
		at = max(at, todo.WakeAt.Sub(boottime.Moment(time.Hour)))
	}
	todo = s.at(5500*ms, answered(todo.Send, pinned(todo.Send, "2")))
	if todo.State.ValidUntil != until {
		t.Errorf("leads until %v, want %v", todo.State.ValidUntil, until)
	}
}

// An earlier record that is put back as a new version (a backup, an etcd restored with
// new revisions) may name a process that is proven dead. What the present holder relies on
// is waited for all the same.
func TestS5_ABackupOfADeadProcessFreesItsOwnTermAlone(t *testing.T) {
	s := newSchedule("a", 15*time.Second)
	s.c.cfg.Incarnation = "a#2"
	s.c.cfg.ProvenDead = func(i string) bool { return i == "a#1" }
	todo := s.at(0, Event{})
	of := Record{Version: "7", UID: "uid-1", Holder: "x", Mark: "x#1", Seconds: 15, Renewed: 9_000_001, Acquired: 9_000_001, Counted: true, Transitions: 6}
	todo = s.at(0, answered(todo.Send, of))
	watch := todo.Watch
	s.at(0, Event{Kind: WatchUp, ID: watch})
	backup := Record{Version: "8", UID: "uid-1", Holder: "a", Mark: "a#1", Seconds: 15, Renewed: 1_000_001, Acquired: 1_000_001, Counted: true, Transitions: 5}
	if todo = s.at(time.Second, Event{Kind: WatchSaw, ID: watch, Record: backup}); todo.Send.Kind == Claim {
		t.Error("claims at once what was put back")
	}
	if todo = s.at(14900*time.Millisecond, Event{}); todo.Send.Kind == Claim {
		t.Error("claims before the term of x is over")
	}
}
