package election

import (
	"slices"
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
)

// Tenure is our own term: the writes that make it, its token, its validity.
type Tenure struct {
	writes   []write         // that the stored record may come from, oldest first; never changed in place
	until    boottime.Moment // end of our leadership; 0 without one
	renewAt  boottime.Moment // when the next renewal is due
	last     Stamp           // renewTime of our newest write
	since    boottime.Moment // when its second began
	token    int32           // leaseTransitions
	acquired Stamp           // acquireTime
	told     bool            // the app is told that it leads
	served   bool            // it was told so in this term, and may be at work
	owned    string          // resourceVersion of a record that is ours without our knowing which write it was
}

// write is one of ours that landed, or may have.
type write struct {
	renewed  Stamp           // renewTime as we wrote it: it names the write
	sent     boottime.Moment // before it was sent
	replaced Record          // the record it replaces: it can't land on another. Its Object is left out
	restores bool            // it put a deleted Lease back; others may have held the Lease in between

	// What was stored, once that is known: a policy may change what we write (S4).
	version string
	stored  Stamp
	mark    string
	lasts   time.Duration // leaseDurationSeconds as stored
	repeats bool          // others can't tell it from the write before
	token   int32         // leaseTransitions as we wrote it
	voided  bool          // nothing may follow from it: its token was not stored, or it changed nothing
	claims  bool          // it begins a term
}

// maxWrites bounds how many writes of unknown outcome are remembered.
const maxWrites = 16

// sending notes a write before it is sent.
func (t *Tenure) sending(w write) {
	keep := t.writes
	if len(keep) == maxWrites { // an API server that loses every answer
		keep = keep[1:]
	}
	t.writes = append(slices.Clip(keep), w)
}

// refused forgets a write that is known not to have landed.
func (t *Tenure) refused(w write) {
	t.keep(func(o write) bool { return o.renewed != w.renewed })
}

// keep forgets the writes for which wanted is false.
func (t *Tenure) keep(wanted func(write) bool) {
	var kept []write
	for _, w := range t.writes {
		if wanted(w) {
			kept = append(kept, w)
		}
	}
	t.writes = kept
}

// wrote returns the write of ours that r comes from. A record with our identity
// alone may be another process's of the same name (S9).
func (t *Tenure) wrote(cfg *Config, r Record) (write, bool) {
	if r.Holder != cfg.Identity {
		return write{}, false
	}
	if r.Mark != cfg.Incarnation && r.Counted && r.Transitions > t.token {
		return write{}, false // a policy takes the marks away, and this is of a later term
	}
	for _, w := range t.writes {
		if w.restores && t.until == 0 {
			continue // it may have landed after our term, and on another's that was deleted too
		}
		if w.version != "" && w.stored == r.Renewed && w.mark == r.Mark {
			return w, true
		}
		if w.renewed == r.Renewed && (r.Mark == "" || r.Mark == cfg.Incarnation || t.storedAs(r.Mark)) || w.truncatedTo(r.Renewed) && r.Mark == cfg.Incarnation {
			return w, true
		}
	}
	return write{}, false
}

// owns says whether r is what a policy made of a write of ours whose answer has not
// arrived. Old is the record before. It prolongs nothing, since which write it was can't
// be known; but it is of our term, and ours to renew.
func (t *Tenure) owns(cfg *Config, old, r Record) bool {
	if r.Holder != cfg.Identity || r.Mark != cfg.Incarnation || !r.Counted || r.Transitions != t.token {
		return false
	}
	if r.Version != t.owned && !slices.ContainsFunc(t.writes, func(w write) bool {
		return w.version == "" && w.replaced.Version == old.Version && !(w.restores && t.until == 0) // as in wrote
	}) {
		return false // a program that keeps our mark wrote it in our name (S9)
	}
	t.owned = r.Version
	return true
}

// storedAs says whether a policy turned the mark of an earlier write of ours into
// this one.
func (t *Tenure) storedAs(mark string) bool {
	return slices.ContainsFunc(t.writes, func(w write) bool { return w.version != "" && w.mark == mark })
}

// truncatedTo says whether stamp is our renewTime in whole seconds, as some
// policies store it. The oldest such write is then assumed.
func (w write) truncatedTo(stamp Stamp) bool { return w.version == "" && w.madeIn(stamp) }

// madeIn says whether w was made in the second that begins with stamp.
func (w write) madeIn(stamp Stamp) bool { return w.renewed-w.renewed%second == stamp }

// landed notes what was stored of w. Writes that were decided on an older version
// can't land any more.
func (t *Tenure) landed(w write, r Record) write {
	seen := !w.replaced.Exists() || !r.looksLike(w.replaced) // by followers
	for _, o := range t.writes {
		// Others wait from the record's last change on. A renewal that a policy turns
		// into the record that was there before prolongs nothing (S1). Where both were
		// made in the very second that is stored, others wait two seconds longer.
		if o.renewed != w.renewed && r.Renewed != w.renewed && o.version != "" && o.stored == r.Renewed {
			seen = true
			if !w.madeIn(r.Renewed) || !o.madeIn(r.Renewed) || o.repeats {
				w.sent, w.repeats, w.voided = min(w.sent, o.sent), true, w.voided || o.voided
			}
		}
	}
	if w.version == "" {
		w.stored, w.mark, w.lasts = r.Renewed, r.Mark, time.Duration(r.Seconds)*time.Second
		w.voided = w.voided || !seen || !r.Counted || r.Transitions < w.token
	}
	w.version = r.Version
	kept := []write{w}
	for _, o := range t.writes { // of unknown outcome, decided on this very version
		if o.version == "" && o.replaced.Version == r.Version && o.renewed != w.renewed {
			kept = append(kept, o)
		}
	}
	t.writes = kept
	return w
}

// stamp is the wall-clock time, moved on where needed. It names one write. It is no
// whole second, which is the mark of a policy that truncates it. Each second, it
// shows another one, even where the wall clock was set back.
func (t *Tenure) stamp(wall time.Time, now boottime.Moment) Stamp {
	stamp := max(Stamp(wall.UnixMicro()), t.last+1)
	if stamp.seconds() <= t.last.seconds() && now.Sub(t.since) >= time.Second {
		stamp = t.last + second
	}
	if stamp.whole() {
		stamp++
	}
	if stamp.seconds() != t.last.seconds() {
		t.since = now
	}
	t.last = stamp
	return stamp
}

// end forgets the term.
func (t *Tenure) end() {
	t.until, t.told, t.served, t.owned = 0, false, false, ""
}

// newWrite is the write of r in the place of stored, before it is sent.
func newWrite(r, stored Record, sent boottime.Moment, kind Kind) write {
	stored.Object = nil
	return write{
		renewed: r.Renewed, sent: sent, replaced: stored, restores: kind == Renew && !stored.Exists(), token: r.Transitions,
		claims: kind == Claim,
	}
}
