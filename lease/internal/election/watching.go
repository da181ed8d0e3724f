package election

import (
	"log/slog"

	"github.com/leader-elector/leader-elector/lease/boottime"
)

// Watching is what is known of the watch. It spares polling; nothing that is safe
// depends on it.
type Watching struct {
	id      int             // of the watch that runs; 0: none
	up      bool            // the API server has answered: changes arrive by themselves
	since   boottime.Moment // when it was started
	retryAt boottime.Moment // not before this
	denied  bool            // the missing right was said
	fromNow bool            // start from what is stored: the API server forgot what was before
}

// startWatch starts a watch where there should be one, and returns when to look
// again.
func (c *Campaign) startWatch(now boottime.Moment, t *Todo) boottime.Moment {
	if c.watch.id != 0 || !c.fresh || c.handover.stopping {
		return boottime.Never
	}
	if at := max(c.watch.retryAt, c.backoff.allowed(c.cfg)); now < at {
		return at
	}
	c.backoff.spend(c.cfg, now)
	t.Watch, t.WatchFrom = c.nextID(), ""
	if c.stored.Exists() && !c.watch.fromNow {
		t.WatchFrom = c.stored.Version
	}
	c.watch.id, c.watch.since = t.Watch, now
	return boottime.Never
}

// endWatch forgets the watch. startWatch begins another one at once unless
// retryAt says otherwise.
func (c *Campaign) endWatch(now boottime.Moment, why string, t *Todo) {
	t.say(slog.LevelDebug, "the watch has ended", "reason", why)
	t.EndWatch = true
	c.watch.id, c.watch.up, c.watch.retryAt = 0, false, now
}

// watchEnded notes why the watch ended, and when to start another one.
func (c *Campaign) watchEnded(f Failure, now boottime.Moment, t *Todo) {
	if c.tenure.until == 0 {
		// The API server may have been restarted on an earlier state, in which the
		// versions to come are those that were seen before. Look (S10).
		c.fresh = false
	}
	switch {
	case f.Code == 410 && !c.watch.fromNow:
		c.fresh = false
		c.endWatch(now, "the API server no longer knows our resourceVersion", t)
		c.watch.fromNow = true
	case f.Code == 403 || f.Code == 401:
		if !c.watch.denied {
			t.say(slog.LevelWarn, "The Lease can't be watched and is polled instead: takeovers are slower by up to the retry period. "+
				"The Role of this pod's service account should allow \"watch\" on resource leases, apiGroup coordination.k8s.io", "err", f.Text)
		}
		c.endWatch(now, "forbidden", t)
		c.watch.denied, c.watch.retryAt = true, now.Add(4*c.cfg.LeaseDuration)
	case !f.failed() && c.watch.up && now.Sub(c.watch.since) >= c.cfg.RetryPeriod:
		c.endWatch(now, "closed by the API server", t)
	default:
		c.endWatch(now, firstOf(f.Text, "closed at once"), t)
		c.watch.retryAt = now.Add(c.cfg.jitter(max(c.cfg.RetryPeriod, min(f.RetryAfter, 4*c.cfg.RetryPeriod))))
	}
	c.backoff.pollAt = now.Add(c.cfg.jitter(c.cfg.RetryPeriod))
}

// watchSaw notes a version of the Lease that the watch tells of. A version that is
// not newer is known already, or late.
func (c *Campaign) watchSaw(ev Event, now boottime.Moment, t *Todo) {
	if !newer(ev.Record.Version, c.version) {
		return
	}
	seen := ev.Record
	if ev.Kind == WatchDeleted {
		seen = Record{}
	}
	c.version, c.fresh = ev.Record.Version, !c.unknown
	c.learn(seen, false, now, t)
	if c.flight.request.Kind == Claim && seen.Exists() && !c.mine() && seen.Holder != c.cfg.Identity {
		// Another replica won. Cancel, so that the API server can drop the queued
		// write. One that creates the Lease may land all the same, should the Lease
		// be deleted. Then followers wait for it as for any other record.
		f := c.flight
		c.land(t)
		c.tooLate(f, now)
	}
}
