package election

import (
	"log/slog"
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
)

// Campaign is one replica's part in the election. It is a value: a copy goes its
// own way. All moments are boot times.
//
// An API answer runs through this file from top to bottom: Step, answered, learn,
// which asks term.go and tenure.go what it means. Then acting.go asks what is due.
type Campaign struct {
	cfg *Config

	term     Term     // of the Lease's holder, as observed
	tenure   Tenure   // our own
	handover Handover // the giving up of it
	flight   Flight   // the request under way
	standing Standing // whether this replica may claim
	backoff  Backoff
	watch    Watching
	trouble  Trouble

	stored    Record          // newest one received; zero where there is no Lease
	version   string          // newest resourceVersion known, a deleted Lease's included
	synced    bool            // the Lease was read once
	fresh     bool            // stored is what is stored, as far as known: a write may be decided on it
	unknown   bool            // a write of ours may or may not have landed: only a read settles it (S4)
	restoreAt boottime.Moment // when a deleted Lease is put back, unless its holder does so before
	ids       int             // of requests and watches so far
	said      said
}

// said are the things that are said once, or not too often.
type said struct {
	accidents [wasEdited + 1]boottime.Moment // each kind of accident to the Lease
	duplicate bool                           // another process uses our identity
	changed   boottime.Moment                // a policy changes what is written
	short     boottime.Moment                // the stored duration is shorter than ours
	long      bool                           // the stored duration is longer than is waited for
	exhausted boottime.Moment                // there is no token left
}

// New returns a Campaign that has not begun: its first Step asks for a read.
func New(cfg *Config) Campaign {
	return Campaign{cfg: cfg, standing: Standing{down: cfg.AwaitStand}}
}

// Role is what a replica does at a moment.
type Role int

// The roles.
const (
	Reading     Role = iota // finding out what is stored
	Following               // waiting for the Lease to become free
	Leading                 // renewing
	HandingOver             // giving up leadership in order
)

// Role is the replica's at this moment.
func (c *Campaign) Role() Role {
	switch {
	case !c.fresh:
		return Reading
	case c.handover.stage != Holding:
		return HandingOver
	case c.tenure.until != 0 || c.mine():
		return Leading
	}
	return Following
}

// Step is the election: it notes what has happened, and says what to do.
func (c *Campaign) Step(now boottime.Moment, wall time.Time, ev Event) Todo {
	var t Todo
	c.expire(now, &t)
	switch ev.Kind {
	case Answered:
		c.answered(ev, now, &t)
	case WatchUp:
		if ev.ID == c.watch.id {
			c.watch.up, c.watch.denied, c.watch.fromNow = true, false, false
		}
	case WatchSaw, WatchDeleted:
		if ev.ID == c.watch.id {
			c.watchSaw(ev, now, &t)
		}
	case WatchEnded:
		if ev.ID == c.watch.id {
			c.watchEnded(ev.Failure, now, &t)
		}
	case Drained:
		c.drained(ev.Failure, now, &t)
	case StopAsked:
		c.handover.stopping = true
		c.giveUp(Stopping, now, &t)
	case StepDownAsked:
		t.say(slog.LevelInfo, "Stepping down", "reason", ev.Reason)
		c.handover.rest(false)
		c.giveUp(SteppingDown, now, &t)
	case StandAsked:
		c.stand(ev.Stands, now, &t)
	case RetireAsked:
		c.retire(&t)
	}
	c.obey(now, &t)
	c.withdraw(now, &t)
	t.WakeAt = c.act(now, wall, &t)
	t.State = c.state()
	return t
}

// expire ends a leadership whose time is over. It is the first thing that runs
// after every wait, which may have been a pause of any length (S1, S8).
func (c *Campaign) expire(now boottime.Moment, t *Todo) {
	if c.tenure.until != 0 && now >= c.tenure.until {
		c.demote("not renewed within the renew deadline", t)
		c.fresh = false // others may have led in the meantime
	}
}

func (c *Campaign) demote(why string, t *Todo) {
	if c.tenure.told {
		t.say(slog.LevelWarn, "No longer leading", "reason", why, "transitions", c.tenure.token)
	}
	c.tenure.until, c.tenure.told = 0, false
}

// state is what the world is told.
func (c *Campaign) state() State {
	s := State{
		Leader: c.term.holder, Previous: c.term.previous, Transitions: c.term.transitions, UID: c.stored.UID,
		Synced: c.synced, Problem: c.trouble.text, Denied: c.trouble.denied,
	}
	if c.tenure.until != 0 {
		s.Transitions = c.tenure.token
	}
	switch {
	case c.handover.stage == Holding && c.tenure.told:
		s.ValidUntil, s.HeldUntil = c.tenure.until, c.tenure.until
	case c.handover.stage == Draining && c.tenure.served:
		s.HeldUntil = c.tenure.until
	}
	s.Role, s.Down, s.Retired, s.Acquired, s.ClaimAt = c.Role(), c.standing.down, c.standing.retired, c.stored.Acquired, boottime.Never
	s.Draining = c.handover.stage == Draining
	if s.Role == Following && c.term.holder != "" {
		s.LapsesAt = c.term.end()
	}
	if s.Role == Following && c.standing.may() {
		s.ClaimAt = c.claimAt()
		s.Rests = c.handover.resumeAt != 0 && s.ClaimAt == c.handover.resumeAt
	}
	return s
}

// answered notes the answer to the request under way.
func (c *Campaign) answered(ev Event, now boottime.Moment, t *Todo) {
	f := c.flight
	if f.copies == 0 || ev.ID != f.request.ID {
		return // its request was given up
	}
	c.flight.copies--
	if ev.Failure.failed() {
		refused := isRefusal(ev.Failure)
		c.flight.broken = c.flight.broken || !refused
		if !refused && c.flight.copies > 0 {
			return // the other copy is still under way
		}
		certain := c.flight.copies == 0 && !c.flight.broken
		c.land(t)
		c.failed(f, ev.Failure, certain, now, t)
		return
	}
	c.land(t)
	write := f.request.Kind != Read
	c.backoff.succeeded()
	c.trouble.succeeded(write, t)
	if write {
		c.wrote(f, ev.Record, now, t)
	} else {
		c.readBack(f, ev.Record, now, t)
	}
}

// land ends the request under way. The copy that was not answered is of no use.
func (c *Campaign) land(t *Todo) {
	t.Abandon = c.flight.copies > 0
	c.flight = Flight{}
}

// wrote notes a write that succeeded. What is stored of it is ours by its
// resourceVersion, whatever a policy changed in it (S4).
func (c *Campaign) wrote(f Flight, r Record, now boottime.Moment, t *Todo) {
	if f.request.Kind.ofOurTerm() {
		landed := c.tenure.landed(f.write, r)
		c.unknown, c.backoff.conflicts = false, 0
		c.sayChanged(f, landed, r, now, t)
	}
	switch f.request.Kind {
	case Claim:
		c.backoff.wonClaim()
	case Restore:
		t.say(slog.LevelWarn, "The Lease was deleted. This replica put it back for its holder", "leader", c.term.holder)
	case Release:
		t.say(slog.LevelInfo, "Released the Lease", "transitions", c.tenure.token)
		c.tenure.end()
	}
	if c.version == f.known || newer(r.Version, c.version) {
		c.fresh, c.unknown = true, false
		c.learn(r, false, now, t)
		return
	}
	// The watch was faster. What it told of is ours if it comes from this write.
	c.fresh = true
	if w, ok := c.tenure.wrote(c.cfg, c.stored); ok {
		c.lead(w, now, t)
	}
}

// readBack notes what a read found.
func (c *Campaign) readBack(f Flight, r Record, now boottime.Moment, t *Todo) {
	c.backoff.pollAt = now.Add(c.cfg.jitter(c.cfg.RetryPeriod))
	overtaken := c.version != f.known
	if overtaken && !(r.Exists() && newer(r.Version, c.version)) {
		return // The watch has told of something later. If that did not settle it, read again.
	}
	if !overtaken && c.watch.up && r.Exists() && c.version != "" && newer(r.Version, c.version) {
		c.endWatch(now, "it missed a change", t)
	}
	c.fresh, c.unknown = true, false
	reverted := older(r.Version, c.version) || r.Version == c.version && c.stored.Exists() && !r.says(c.stored)
	c.learn(r, !overtaken && r.Exists() && c.version != "" && reverted, now, t)
}

// learn notes what is stored, and draws every conclusion from it. Reverted says
// that its resourceVersion went back: the API server has forgotten something.
func (c *Campaign) learn(r Record, reverted bool, now boottime.Moment, t *Todo) {
	old, end := c.stored, c.term.end()
	n := c.term.observe(c.cfg, old, r, reverted, now)
	if c.term.end() != end {
		c.backoff.draw(c.cfg)
	}
	c.stored, c.synced = r, true
	c.seenFree(now)
	if r.Exists() {
		c.version, c.restoreAt = r.Version, 0
	} else if c.restoreAt == 0 {
		c.restoreAt = now.Add(c.cfg.jitter(c.cfg.RetryPeriod))
	}
	if w, ok := c.tenure.wrote(c.cfg, r); ok {
		c.lead(w, now, t)
		return
	}
	if !reverted && c.tenure.owns(c.cfg, old, r) {
		c.tenure.renewAt = now // the write that it comes from is not known: the next one's answer says how long we lead
		return
	}
	c.report(n, r, now, t)
	if (n == renewedLive || n == changed) && r.Holder != "" && r.process() != c.cfg.Incarnation {
		c.trouble.outlived()
	}
	if c.tenure.until != 0 && c.takenAway(reverted) {
		c.tenure.renewAt = now
		return // our term goes on, and is put back at once (S10)
	}
	if !r.Exists() || r.Holder == "" && !c.term.released() {
		return // no other process holds it
	}
	c.lose(r, t)
}

// takenAway says that our term's record was deleted, erased, put back by a
// follower, or replaced by an earlier one. Another's record is a loss.
func (c *Campaign) takenAway(reverted bool) bool {
	r := c.stored
	switch {
	case !r.Exists():
		return true
	case r.Holder == "":
		return reverted || !c.term.released()
	}
	return r.Holder == c.cfg.Identity && r.process() == c.cfg.Incarnation && (reverted || r.isPutBack())
}

// lose ends our term, if there is one, since r is another's.
func (c *Campaign) lose(r Record, t *Todo) {
	if r.Mark != releasedBy+c.cfg.Incarnation {
		c.demote("the Lease is held by another process, or was released by hand", t)
	}
	c.tenure.end()
	c.tenure.keep(func(w write) bool { return w.replaced.Version == r.Version }) // those that may still land
	t.CancelDrain = c.handover.stage == Draining
}

// lead believes a write that landed: it holds from when it was sent (S1, S4), and
// no longer than what is stored lets others wait.
func (c *Campaign) lead(w write, now boottime.Moment, t *Todo) {
	lasts := time.Duration(c.stored.Seconds) * time.Second
	retoken := c.tokenEdited(w, now, t)
	edited := w.version != "" && w.version != c.stored.Version && lasts < w.lasts
	if !edited {
		w = c.tenure.landed(w, c.stored)
		lasts = w.lasts // one that was edited to be longer prolongs nothing
	}
	c.tenure.until = w.sent.Add(c.cfg.share(c.cfg.RenewDeadline, lasts))
	c.tenure.renewAt = w.sent.Add(c.cfg.share(c.cfg.RenewInterval, lasts))
	if w.repeats {
		c.tenure.renewAt = max(c.tenure.renewAt, now.Add(c.cfg.RetryPeriod))
	}
	if lasts < c.cfg.LeaseDuration {
		c.sayShort(lasts, edited, now, t)
	}
	left := c.tenure.until.Sub(now)
	if (edited || retoken) && left > 0 { // put it right before a newcomer believes it
		c.tenure.renewAt = now
	}
	switch {
	case left <= 0: // too late to lead by it; the record is ours to renew all the same
		c.demote("the term that is stored is over", t)
		if !w.repeats {
			c.tenure.renewAt = now
		}
	case edited:
	case w.voided || c.cfg.tooShort(lasts):
		c.demote("an admission policy leaves no token, or no time that requests can keep up with", t)
	case !c.tenure.told && left < c.cfg.share(c.cfg.RenewDeadline, lasts)/2:
		c.tenure.renewAt = now // a term that is nearly over is not worth telling the app of: renew first
	case !c.standing.may(): // one that leads does so on; a claim that landed is given up
	case !c.tenure.told && c.handover.stage == Holding:
		c.tenure.told, c.tenure.served = true, true
		t.say(slog.LevelInfo, "Leading", "transitions", c.tenure.token, "previous", c.term.previous)
	}
}

// failed notes a request that failed: what may still be believed, and how long
// to wait. Certain says that no copy of it is under way any more, or may have landed.
func (c *Campaign) failed(f Flight, why Failure, certain bool, now boottime.Moment, t *Todo) {
	ours := f.request.Kind.ofOurTerm()
	refused := isRefusal(why) && why.Code != 409 && certain
	// A write replaces one version. When the watch has told of a later one, it
	// has landed before that or never will.
	overtaken := ours && f.write.replaced.Exists() && c.version != f.known
	switch {
	case !ours:
	case refused: // known not to have landed
		c.tenure.refused(f.write)
	case !overtaken: // read back before believing either (S3, S4)
		c.fresh, c.unknown = false, true
	}
	leading := c.tenure.until != 0
	switch {
	case why.Code == 409 || overtaken && why.Code == 0:
		c.conflict(f, now, leading)
		return
	case why.Code == 404 && f.request.Verb() == "update": // deleted
		c.fresh, c.backoff.notBefore = false, now.Add(c.backoff.soon(c.cfg))
		return
	}
	delay := c.backoff.failed(c.cfg, why, leading, c.tenure.until.Sub(now))
	c.backoff.notBefore = now.Add(delay)
	c.trouble.failed(c.cfg, f.request, why, now, t)
}

// conflict notes that the Lease has changed under a write.
func (c *Campaign) conflict(f Flight, now boottime.Moment, leading bool) {
	if f.doubleAt != boottime.Never { // else it may be our other copy that changed it
		c.tenure.owned = ""
	}
	switch {
	case leading || c.handover.stage != Holding:
		c.fresh = c.version != f.known && !c.unknown // the watch may have told what came between
		c.backoff.notBefore = now.Add(c.backoff.soon(c.cfg))
	case f.request.Kind == Claim:
		c.tooLate(f, now)
	default:
		c.fresh = false
		c.backoff.notBefore = now.Add(c.cfg.jitter(c.cfg.RetryPeriod))
	}
}

// tooLate notes a claim that another replica was faster than. The watch of a
// follower tells it who won before the wait is over.
func (c *Campaign) tooLate(f Flight, now boottime.Moment) {
	c.fresh = c.version != f.known && !c.unknown
	c.backoff.notBefore = now.Add(c.cfg.jitter(c.cfg.RetryPeriod))
	if f.doubleAt == boottime.Never {
		c.backoff.notBefore = now // it was doubled: the winner may be our other copy
	}
	c.backoff.lostClaim(c.cfg, now.Sub(f.sent))
}
