package election

import (
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
)

// settled says that what was held is given up, or can't be.
func (c *Campaign) settled(now boottime.Moment) bool {
	switch {
	case c.handover.stage != Releasing:
		return false
	case c.handover.keep || now >= c.handover.by:
		return true
	case c.flight.copies > 0 && c.flight.request.Kind.ofOurTerm():
		return false
	case len(c.tenure.writes) == 0:
		return true
	}
	return c.flight.copies == 0 && c.fresh && !c.mine()
}

// act starts what is due, and returns when to look again at the latest.
func (c *Campaign) act(now boottime.Moment, wall time.Time, t *Todo) boottime.Moment {
	if c.flight.copies > 0 && now >= c.flight.giveUpAt {
		f := c.flight
		c.land(t)
		c.failed(f, Failure{Text: "no answer within " + now.Sub(f.sent).Round(time.Millisecond).String(), Timeout: true}, false, now, t)
	}
	if c.settled(now) {
		if c.handover.stopping {
			t.Done = true
			return boottime.Never
		}
		if c.flight.request.Kind.ofOurTerm() {
			c.land(t) // its answer begins no term any more
		}
		c.handover.finish(c.cfg, now) // stepped down: a follower again. What was kept has to expire like any other record
		c.tenure.end()
		c.tenure.writes = nil
	}
	wakeAt := c.startWatch(now, t)
	if c.tenure.until != 0 {
		wakeAt = min(wakeAt, c.tenure.until)
	}
	if c.handover.stage == Releasing {
		wakeAt = min(wakeAt, c.handover.by)
	}
	if c.flight.copies > 0 {
		if now >= c.flight.doubleAt {
			c.flight.doubleAt = boottime.Never
			c.flight.copies++
			c.backoff.spend(c.cfg, now)
			t.Double = true
		}
		return min(wakeAt, c.flight.wakeAt())
	}
	kind, at := c.next(now, t)
	if kind == None {
		return wakeAt
	}
	if at = max(at, c.backoff.allowed(c.cfg)); at > now {
		return min(wakeAt, at)
	}
	c.send(kind, now, wall, t)
	return min(wakeAt, c.flight.wakeAt())
}

// next is the one request to make, and when.
func (c *Campaign) next(now boottime.Moment, t *Todo) (Kind, boottime.Moment) {
	switch c.Role() {
	case Reading:
		return Read, c.backoff.notBefore
	case HandingOver:
		return c.nextHandingOver()
	case Leading:
		return Renew, max(c.tenure.renewAt, c.backoff.notBefore)
	}
	return c.nextFollowing(now, t)
}

func (c *Campaign) nextHandingOver() (Kind, boottime.Moment) {
	mine := c.mine()
	switch {
	case c.handover.stage == Draining && (mine || c.tenure.until != 0):
		return Renew, max(c.tenure.renewAt, c.backoff.notBefore)
	case c.handover.stage == Releasing && mine && !c.handover.keep:
		return Release, c.backoff.notBefore
	}
	return None, boottime.Never
}

// mine says that the stored record was written by this very process.
func (c *Campaign) mine() bool {
	_, ok := c.tenure.wrote(c.cfg, c.stored)
	return ok || c.stored.Exists() && c.stored.Version == c.tenure.owned
}

// send starts a request.
func (c *Campaign) send(kind Kind, now boottime.Moment, wall time.Time, t *Todo) {
	c.backoff.spend(c.cfg, now)
	c.flight = Flight{known: c.version, request: Request{ID: c.nextID(), Kind: kind}}
	if kind != Read {
		c.flight.request.Write = c.desired(kind, wall, now)
	}
	if write := c.flight.request.Write; kind.ofOurTerm() {
		c.flight.write = newWrite(write, c.stored, now, kind)
		c.tenure.sending(c.flight.write)
	}
	left := time.Duration(0)
	if c.tenure.until != 0 {
		left = c.tenure.until.Sub(now)
	}
	c.flight.aloft(c.cfg, now, left)
	t.Send = c.flight.request
}

// desired is the record to write. Every write is of the version that it was
// decided on (S3).
func (c *Campaign) desired(kind Kind, wall time.Time, at boottime.Moment) Record {
	now := c.tenure.stamp(wall, at)
	switch kind {
	case Restore:
		r := c.term.held
		return r.putBack(c.term.wait(c.cfg.LeaseDuration), now)
	case Release:
		return c.stored.released(c.cfg, c.tenure.token, now)
	case Claim:
		token, _ := c.term.nextToken(c.termGoesOn(), !c.stored.Exists())
		acquired := now
		if c.stored.Holder == c.cfg.Identity && token == c.term.transitions && c.stored.Acquired != 0 {
			acquired = c.stored.Acquired // the term of an earlier process goes on (S5)
		}
		c.tenure.token, c.tenure.acquired = token, acquired
		if c.term.dead && token == c.stored.Transitions {
			return c.stored.claimed(c.cfg, token, acquired, now) // what was asked of that term holds on
		}
		return c.stored.withoutOrders().claimed(c.cfg, token, acquired, now)
	}
	return c.stored.claimed(c.cfg, c.tenure.token, c.tenure.acquired, now)
}

func (c *Campaign) nextID() int {
	c.ids++
	return c.ids
}
