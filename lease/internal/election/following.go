package election

import (
	"log/slog"
	"strconv"

	"github.com/leader-elector/leader-elector/lease/boottime"
)

// Standing is whether this replica stands for election.
type Standing struct {
	down    bool            // its app does not live (A1)
	retired bool            // its pod is being deleted (A7)
	free    bool            // no replica holds the Lease
	since   boottime.Moment // as far as this replica knows
}

// may says whether this replica may claim.
func (s *Standing) may() bool { return !s.down && !s.retired }

// stand notes whether the app lives. A leader whose app is lost hands over (A2).
func (c *Campaign) stand(stands bool, now boottime.Moment, t *Todo) {
	switch {
	case c.standing.down == !stands:
		return
	case stands && c.standing.retired:
	case stands:
		t.say(slog.LevelInfo, "The app is alive: this replica may lead")
	case c.tenure.told && c.handover.stage == Holding:
		t.say(slog.LevelWarn, "The app is gone: this replica hands the Lease over", "transitions", c.tenure.token)
	default:
		t.say(slog.LevelInfo, "The app is gone: this replica makes no claim until it is back")
	}
	if c.standing.down = !stands; !stands && c.tenure.told {
		c.giveUp(AppLost, now, t)
	}
}

// retire notes that the pod is being deleted. A leader leads on until its app has
// stopped, which StandAsked or StepDownAsked says, or the process is to end.
func (c *Campaign) retire(t *Todo) {
	if !c.standing.retired {
		t.say(slog.LevelInfo, "This pod is being deleted: this replica makes no claim any more")
	}
	c.standing.retired = true
}

// withdraw gives up a Lease that the app was not told of, where this replica may not
// lead: a claim was under way, or a record of ours outlived our validity. A claim that is
// under way is not sent once more.
func (c *Campaign) withdraw(now boottime.Moment, t *Todo) {
	if c.standing.may() {
		return
	}
	if c.flight.request.Kind == Claim {
		c.flight.doubleAt = boottime.Never
	}
	claims := c.flight.copies > 0 && c.flight.request.Kind.ofOurTerm()
	if !c.tenure.told && c.handover.stage == Holding && (claims || c.mine()) {
		c.giveUp(AppLost, now, t)
	}
}

// obey hands over where the Lease asks the leader of this very term to.
func (c *Campaign) obey(now boottime.Moment, t *Todo) {
	ordered := c.stored.StepDown != "" && c.stored.StepDown == strconv.Itoa(int(c.tenure.token))
	if !ordered || c.tenure.until == 0 || c.handover.stage != Holding || !c.mine() {
		return
	}
	t.say(slog.LevelInfo, "Stepping down, as an annotation of the Lease asks", "transitions", c.tenure.token, "successor", c.stored.Successor)
	c.handover.rest(true)
	c.giveUp(SteppingDown, now, t)
}

// seenFree notes since when no replica holds the Lease, and that another leads after a
// step-down.
func (c *Campaign) seenFree(now boottime.Moment) {
	free := c.term.released()
	if free && !c.standing.free {
		c.standing.since = now
	}
	c.standing.free = free
	if c.handover.yields && c.stored.Holder != "" && c.stored.Holder != c.cfg.Identity {
		c.handover.resumeAt, c.handover.yields = 0, false
	}
}

// nextFollowing is the request of a follower.
func (c *Campaign) nextFollowing(now boottime.Moment, t *Todo) (Kind, boottime.Moment) {
	if !c.stored.Exists() && c.term.holder != "" {
		// Others may have held the Lease in between: it may have been created and
		// deleted again. A record that is there again can expire (S2, S3).
		return Restore, max(c.restoreAt, c.backoff.notBefore)
	}
	kind, at := None, boottime.Never
	if c.standing.may() {
		kind, at = Claim, max(c.claimAt(), c.backoff.notBefore)
		if _, ok := c.term.nextToken(c.termGoesOn(), !c.stored.Exists()); !ok {
			kind = Read // a token that was mistyped may be put right until then
			if at <= now {
				at = max(c.sayExhausted(now, t), c.backoff.notBefore)
			}
		}
	}
	if poll := max(c.backoff.pollAt, c.backoff.notBefore); !c.watch.up && poll < at {
		return Read, poll
	}
	return kind, at
}

// claimAt is when a follower claims the Lease, as far as the election goes.
func (c *Campaign) claimAt() boottime.Moment {
	free, delay, place := c.term.end(), c.cfg.ClaimDelay, c.backoff.place
	if c.standing.free {
		free = max(free, c.standing.since)
	}
	switch {
	case c.standing.free && c.stored.Successor == c.cfg.Identity:
		delay, place = 0, 0 // others let it go first, for no longer than their RetryPeriod
	case c.termGoesOn() && c.term.held.Transitions == c.term.transitions: // under the same token
		delay = 0
	case c.standing.free && c.stored.Successor != "":
		delay = max(delay, c.cfg.RetryPeriod)
	}
	return max(free.Add(delay+place), c.handover.resumeAt)
}

// termGoesOn says that a claim would continue the term that is stored: of this process,
// or of an earlier one that is proven dead (S5).
func (c *Campaign) termGoesOn() bool {
	ours := c.term.holder == c.cfg.Identity && c.term.process == c.cfg.Incarnation
	return c.term.dead || ours && c.tenure.acquired != 0 && c.term.held.Transitions == c.tenure.token
}
