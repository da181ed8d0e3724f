package lease

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const never = time.Duration(math.MaxInt64)

// campaign is what Run's loop knows. Only that goroutine touches it, and
// nothing in it waits. All moments are boot times.
//
// From its fields follow the roles, read from top to bottom in next:
// reading (the stored record is not known), resigning, leading, following.
type campaign struct {
	*Elector
	requests context.Context // of all requests; ends with Run

	term    term
	version string // resourceVersion of the newest record known, a deleted one's included
	synced  bool   // the Lease was read once
	fresh   bool   // term.lease is the stored one, as far as known: a write may be decided on it
	unknown bool   // a write of ours may or may not have landed: only a read settles it

	validUntil time.Duration // end of our leadership, 0 without one
	renewAt    time.Duration // when the next renewal is due
	token      int32         // leaseTransitions of our term
	acquired   metav1.MicroTime
	served     bool    // this term's leadership was published, so that an app may be at work
	writes     []write // ours that the stored record may come from, oldest first

	pending   kind               // the request under way
	abandon   context.CancelFunc // ends it without an answer
	answers   chan answer
	notBefore time.Duration // no request before
	pollAt    time.Duration // next read of a follower that has no watch
	restoreAt time.Duration // when a deleted Lease is put back, unless its holder does so before
	failures  int           // consecutive, for the back-off
	conflicts int           // writes of a leader refused in a row because the Lease had changed
	slow      int           // doublings of the attempt's timeout
	problem   string
	denied    bool

	watch watcher
	crowd crowd

	stopping     bool          // Run's context has ended
	resigning    bool          // leadership is being given up
	resumeAt     time.Duration // no claim before
	drained      chan error    // BeforeRelease's answer; nil before it was asked
	cancelDrain  context.CancelFunc
	releaseBy    time.Duration // 0 until the app has stopped; then when to give up releasing
	keepTillOver bool          // BeforeRelease said ErrKeepLease
}

// write is one of ours that landed, or may have. Its renewTime names it.
type write struct {
	renewTime metav1.MicroTime
	sent      time.Duration
	base      string // the resourceVersion it replaces: it can't land on another
	restores  bool   // it put a deleted Lease back, which any number may have had meanwhile
}

// wake is the first thing that runs after every wait, which may have been a
// pause of any length: a leadership that ended meanwhile ends here (S8).
func (c *campaign) wake() (now time.Duration) {
	now = c.cfg.Clock.Now()
	if c.validUntil != 0 && now >= c.validUntil {
		c.demote("not renewed within the renew deadline")
	}
	c.publishNow()
	return now
}

// publishNow tells the world what the campaign has come to believe.
func (c *campaign) publishNow() {
	s := State{
		Identity: c.cfg.Identity, Leader: c.term.holder, Previous: c.term.previous, Transitions: c.term.transitions,
		Synced: c.synced, Problem: c.problem, Denied: c.denied,
	}
	if c.term.lease != nil {
		s.LeaseUID = c.term.lease.UID
	}
	if c.validUntil != 0 {
		s.Transitions = c.token
		if !c.resigning {
			s.ValidUntil, c.served = c.validUntil, true
		}
	}
	c.publish(s)
}

func (c *campaign) demote(why string) {
	c.validUntil = 0
	c.log.Warn("no longer leading", "reason", why, "transitions", c.token)
}

// act starts what is due, and returns when to look again at the latest.
func (c *campaign) act(now time.Duration) time.Duration {
	wakeAt := c.startWatch(now)
	if c.validUntil != 0 {
		wakeAt = min(wakeAt, c.validUntil)
	}
	if c.releaseBy != 0 {
		wakeAt = min(wakeAt, c.releaseBy)
	}
	if c.pending != none {
		return wakeAt
	}
	request, at := c.next()
	if request == none || at > now {
		return min(wakeAt, at)
	}
	c.send(request, now)
	return wakeAt
}

// next is the state machine: the one request to make, and when.
func (c *campaign) next() (request kind, at time.Duration) {
	switch {
	case !c.fresh:
		return read, c.notBefore
	case c.validUntil != 0 && c.lost() && c.releaseBy == 0:
		return renew, c.notBefore
	case c.resigning && c.releaseBy == 0 && c.mine(): // the app is still stopping
		return renew, max(c.renewAt, c.notBefore)
	case c.resigning && c.mine() && !c.keepTillOver:
		return release, c.notBefore
	case c.resigning:
		return none, never
	case c.mine():
		return renew, max(c.renewAt, c.notBefore)
	case c.term.lease == nil && c.term.held != nil:
		// Whether it was absent all the time since we learnt of it can't be
		// known. A record that is there again can be waited out (S2, S3).
		return restore, max(c.restoreAt, c.notBefore)
	}
	free := max(c.term.end+c.crowd.wait, c.notBefore, c.resumeAt)
	if !c.watch.up {
		if poll := max(c.pollAt, c.notBefore); poll < free {
			return read, poll
		}
	}
	return claim, free
}

// lost says that our term's record was taken away under it: deleted, wiped, or
// put back by a follower (S10). The term goes on.
func (c *campaign) lost() bool {
	l := c.term.lease
	return l == nil || holderOf(l) == "" && !isRelease(l) ||
		c.validUntil != 0 && holderOf(l) == c.cfg.Identity && incarnationOf(l) == putBackFor+c.incarnation
}

// mine says that the stored record was written by this very process.
func (c *campaign) mine() bool { return c.landed() != nil }

// landed returns the write of ours that the stored record comes from. A record
// with our identity alone may be another process's that has the same name (S9).
func (c *campaign) landed() *write {
	l := c.term.lease
	if holderOf(l) != c.cfg.Identity || l.Spec.RenewTime == nil || incarnationOf(l) != "" && incarnationOf(l) != c.incarnation {
		return nil
	}
	for i := range c.writes {
		w := &c.writes[i]
		if w.restores && c.validUntil == 0 {
			continue // it may have landed after our term, and on another's that was deleted too
		}
		if w.renewTime.Time.Equal(l.Spec.RenewTime.Time) {
			return w
		}
	}
	return nil
}

// observe takes in a record received at now, and draws every conclusion from it.
func (c *campaign) observe(l *coordinationv1.Lease, now time.Duration) {
	holder, end, first := c.term.holder, c.term.end, !c.synced
	c.term.observe(l, now, c.cfg.LeaseDuration)
	if c.term.end != end {
		c.crowd.draw(c.random())
	}
	c.synced = true
	if l != nil {
		c.version, c.restoreAt = l.ResourceVersion, 0
	} else if c.restoreAt == 0 {
		c.restoreAt = now + c.jitter(c.cfg.RetryPeriod)
	}
	own := holderOf(l) == c.cfg.Identity
	if first && own && incarnationOf(l) != "" && incarnationOf(l) == c.cfg.PreviousIncarnation {
		c.term.end = now // S5: that process is dead
	}
	if w := c.landed(); w != nil {
		c.lead(w)
		return
	}
	if c.term.holder != holder {
		c.log.Info("leader changed", "leader", c.term.holder, "transitions", c.term.transitions)
	}
	if c.lost() {
		return
	}
	if own && c.term.end > now && (c.validUntil != 0 || first) {
		c.log.Error("another process holds the Lease under this identity: identities must be unique among the replicas (set IDENTITY; pods with hostNetwork share their node's hostname). It is waited out",
			"incarnation", incarnationOf(l))
	}
	if c.validUntil != 0 && !c.resigning {
		c.demote("the Lease is not ours any more")
	}
	c.validUntil, c.served = 0, false
	c.writes = slices.DeleteFunc(c.writes, func(w write) bool { return w.base != l.ResourceVersion })
	if c.cancelDrain != nil {
		c.cancelDrain()
	}
}

// lead believes a write that landed: it holds from when it was sent (S1, S4).
func (c *campaign) lead(w *write) {
	c.renewAt = w.sent + c.cfg.RenewInterval
	if durationOf(c.term.lease, 0) < c.cfg.LeaseDuration {
		// Somebody shortened it: set that right before a newcomer believes it,
		// but not in a hot loop where something does so to every write.
		c.renewAt = min(c.renewAt, w.sent+c.cfg.RetryPeriod)
	}
	until := w.sent + c.cfg.RenewDeadline
	if until <= c.cfg.Clock.Now() {
		return // too late to lead by it; the record is ours to renew all the same
	}
	if c.validUntil == 0 && !c.resigning {
		c.log.Info("leading", "transitions", c.token, "previous", c.term.previous)
	}
	c.validUntil = max(c.validUntil, until)
}

// resign stops our leadership in order (S6). When it is called the State that
// ends it has been published; the app is waited for, and next releases.
func (c *campaign) resign(now time.Duration) {
	if c.drained == nil {
		c.drained = make(chan error, 1)
		if c.served && c.cfg.BeforeRelease != nil {
			c.log.Info("giving up the Lease once the app has stopped")
			var ctx context.Context
			ctx, c.cancelDrain = context.WithCancel(c.requests)
			answer := c.drained
			go func() { answer <- c.cfg.BeforeRelease(ctx) }()
		} else {
			c.drained <- nil
		}
	}
	if c.settled(now) && !c.stopping { // stepped down: a follower again
		c.resigning, c.drained, c.releaseBy, c.keepTillOver = false, nil, 0, false
		c.validUntil, c.served, c.writes = 0, false, nil // what was kept is waited out like anyone's
	}
}

func (c *campaign) appStopped(err error, now time.Duration) {
	if c.cancelDrain != nil {
		c.cancelDrain()
	}
	c.releaseBy = now + c.cfg.RenewDeadline
	switch {
	case errors.Is(err, ErrKeepLease):
		c.keepTillOver = true
		c.log.Info("the Lease is left to expire")
	case err != nil:
		c.keepTillOver = true
		c.log.Warn("the Lease is left to expire: the app may still be at work", "err", err)
	}
}

// settled says that what was held is given up, or can't be.
func (c *campaign) settled(now time.Duration) bool {
	switch {
	case c.releaseBy == 0:
		return false
	case c.keepTillOver || now >= c.releaseBy || len(c.writes) == 0 && !c.pending.isWrite():
		return true
	}
	return c.pending == none && c.fresh && !c.mine()
}

func (c *campaign) over(now time.Duration) bool { return c.stopping && c.settled(now) }
