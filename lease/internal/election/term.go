package election

import (
	"math"
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
)

// MaxLeaseDuration bounds what a follower waits for one record.
const MaxLeaseDuration = time.Hour

// Term is what this replica knows of the tenure of the Lease's holder. Only
// observe changes it. It never uses what renewTime says, only that it changed.
type Term struct {
	holder      string // empty when the Lease was released, or never held
	process     string // the incarnation behind holder, where it says so
	previous    string // the holder before this one
	held        Record // the holder's newest record, kept when the Lease is deleted
	transitions int32  // highest leaseTransitions seen, under whatever uid
	counted     bool   // transitions was seen, not assumed
	others      int32  // the highest before the present process's term
	lower       int32  // what the process's last write said, where that was less (doubted)
	doubted     bool
	dead        bool // the process behind holder is known to have ended (S5)

	// What the holder may rely on: the durations of its newest write and of those
	// before that. A record that looks like a new write may be an edit of a write
	// that we missed; then a write before it tells the duration (S2).
	written, before time.Duration
	floor           boottime.Moment // until then its writes and lost records may count
	current         boottime.Moment // and the stored record, as it is, until then
}

// end is the moment from which anyone may take the Lease.
func (t *Term) end() boottime.Moment { return max(t.floor, t.current) }

// wait is the longest duration that the holder may rely on.
func (t *Term) wait(unset time.Duration) time.Duration {
	if w := max(t.written, t.before); w > 0 {
		return w
	}
	return durationOf(t.held, unset)
}

// news is what a record tells beside its content.
type news int

const (
	nothing     news = iota
	changed          // the holder has changed
	renewedLive      // the same process of the same holder has written again
	wasDeleted       // the Lease of a holder is gone
	wasReplaced      // the Lease is another object
	wasErased        // its holder was erased
	wasReverted      // its resourceVersion went back
	wasEdited        // its holder was changed without a write of the new one
)

// observe notes a Record (zero: there is no Lease) received at the moment at. Old
// is the one before. Reverted says that its version went back (S10).
func (t *Term) observe(cfg *Config, old, r Record, reverted bool, at boottime.Moment) news {
	if !r.Exists() {
		if !old.Exists() {
			return nothing
		}
		t.outlast(cfg, at)
		return t.ifHeld(wasDeleted)
	}
	if !reverted && r.says(old) {
		return nothing
	}
	before, holder, process := t.transitions, t.holder, t.process
	if r.Counted {
		t.transitions, t.counted = max(t.transitions, r.Transitions), true
	}
	switch {
	case reverted && r.Holder == "":
		t.outlast(cfg, at)
		return t.ifHeld(wasReverted)
	case r.isRelease(t.held) && (!t.isBefore(r) || t.repeats(r)):
		t.correct(r)
		t.previous = firstOf(t.holder, t.previous)
		t.holder, t.process, t.dead, t.floor, t.current = "", "", false, at, at
		t.held = Record{}
		return changed
	case r.Holder == "" && t.holder == "" && r.Renewed != 0: // erased before we came
		t.floor = max(t.floor, at.Add(durationOf(r, cfg.LeaseDuration)))
		return wasErased
	case r.Holder == "":
		t.before = max(t.before, durationOf(r, 0)) // the holder may have written it, unseen by us
		t.outlast(cfg, at)
		return t.ifHeld(wasErased)
	}
	n := t.heldBy(cfg, old, r, reverted, at)
	if reverted || t.holder != holder || t.process != process {
		t.others = before
	} else if n == renewedLive {
		t.correct(r)
	}
	return n
}

// correct forgets a token that was mistyped: the process goes on with a lower one. That
// is believed when it was written twice, since an edit looks like a write where a write
// before it was missed. The last token that there is, which no term has reached in earnest,
// is not believed against the process at all.
func (t *Term) correct(r Record) {
	lower := r.Counted && r.Transitions < t.transitions
	if lower && (t.transitions == math.MaxInt32 || t.repeats(r)) {
		t.transitions = max(t.others, r.Transitions)
	}
	t.lower, t.doubted = r.Transitions, lower
}

// repeats says whether r, of the present process, has the lower token of its write before.
func (t *Term) repeats(r Record) bool {
	return t.doubted && r.Counted && r.Transitions == t.lower && r.process() == t.process
}

// heldBy notes a Record with a holder.
func (t *Term) heldBy(cfg *Config, old, r Record, reverted bool, at boottime.Moment) news {
	duration, others := durationOf(r, cfg.LeaseDuration), t.floor
	if r.Renewed != 0 && r.Renewed.whole() {
		// It seems to be truncated. Renewals within one second look alike, and that
		// second may be longer by our clock.
		duration += 2 * time.Second
	}
	sameHolder := r.Holder == t.holder
	same := sameHolder && r.process() == t.process
	another := r.Mark != "" && r.process() != t.process // process, which signs what it writes
	wrote := !reverted && !r.isPutBack() && (r.Renewed != t.held.Renewed || another || !t.held.Exists())
	if !wrote && !sameHolder { // policies may hide that this is the new holder's own write
		t.before = max(t.before, duration)
	}
	if !wrote && t.holder != "" {
		t.outlast(cfg, at)
	}
	if wrote && !same && r.Renewed != r.Acquired {
		// It is no claim, so the holder wrote others that we did not see. A policy may
		// shorten them since, unknown to the holder. They were as long as ours would be.
		t.before = max(t.before, cfg.LeaseDuration)
	}
	if wrote {
		if duration != t.written { // a change is believed when it is written twice
			t.before = max(t.before, t.written)
		} else {
			t.before = duration
		}
		t.written = duration
		floor := at.Add(max(t.before, t.written))
		if !same {
			floor = max(floor, t.floor)
		}
		t.floor = floor
	}
	t.current = at.Add(duration)
	if !sameHolder {
		t.previous = firstOf(t.holder, t.previous)
	}
	t.holder, t.process, t.held = r.Holder, r.process(), r
	t.dead = t.holder == cfg.Identity && t.process != "" && cfg.ProvenDead != nil && cfg.ProvenDead(t.process)
	if t.dead && !reverted { // S5. What others held has to expire all the same
		t.floor, t.current = others, at
	}
	switch {
	case reverted:
		return wasReverted
	case old.Exists() && old.UID != r.UID:
		return wasReplaced
	case !sameHolder && !wrote:
		return wasEdited
	case !sameHolder:
		return changed
	case same && wrote:
		return renewedLive
	}
	return nothing
}

// outlast waits for a holder whose record was taken away or changed under it. It
// works on until it notices, and may have renewed just before, unseen by us (S10).
func (t *Term) outlast(cfg *Config, at boottime.Moment) {
	if t.holder != "" {
		t.floor = max(t.floor, at.Add(t.wait(cfg.LeaseDuration)))
	}
}

// isBefore says whether r is of an earlier term than one that is known. A backup of
// the Lease that was put back is no release by its holder.
func (t *Term) isBefore(r Record) bool {
	return t.counted && r.Counted && r.Transitions < t.transitions
}

func (t *Term) ifHeld(n news) news {
	if t.holder == "" {
		return nothing
	}
	return n
}

// nextToken is the fencing token of a term of ours that begins now, and whether
// there is one left (S12). GoesOn says that it continues the term that is stored,
// absent that there is no Lease.
func (t *Term) nextToken(goesOn, absent bool) (token int32, ok bool) {
	switch {
	case absent && !t.counted && t.holder == "":
		return 0, true // the first term of a new Lease
	case goesOn && t.held.Transitions == t.transitions:
		return t.transitions, true // the same term goes on
	case t.transitions == math.MaxInt32:
		return 0, false
	}
	return t.transitions + 1, true
}

// durationOf is what r asks others to wait for, within bounds. Unset is assumed
// where the record says nothing.
func durationOf(r Record, unset time.Duration) time.Duration {
	if r.Seconds <= 0 {
		return unset
	}
	return min(time.Duration(r.Seconds)*time.Second, MaxLeaseDuration)
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// released says that the Lease has no holder because the holder gave it up, or
// never had one.
func (t *Term) released() bool { return t.holder == "" }
