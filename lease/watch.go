package lease

import (
	"context"
	"errors"
	"net/http"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
)

// watcher is the campaign's end of a watch, which runs in its own goroutine.
// Watching spares polling; nothing that is safe depends on it.
type watcher struct {
	events  chan watchEvent // nil while none runs
	cancel  context.CancelFunc
	up      bool          // the server has answered: changes arrive by themselves
	since   time.Duration // when it was started
	retryAt time.Duration // not before this
	denied  bool          // the missing right was reported
	afresh  bool          // start from what is stored: the server forgot what was before
}

// watchEvent is one message of the watch's goroutine. The zero lease without
// more means that the watch is up.
type watchEvent struct {
	lease   *coordinationv1.Lease
	deleted bool  // lease is the last version of what was deleted
	ended   bool  // the last message
	err     error // why it ended; nil where the server closed it as it may
}

// startWatch starts a watch where there should be one, and returns when to try
// next.
func (c *campaign) startWatch(now time.Duration) time.Duration {
	if c.watch.events != nil || !c.fresh || c.stopping {
		return never
	}
	if now < c.watch.retryAt {
		return c.watch.retryAt
	}
	ctx, cancel := context.WithCancel(c.requests)
	version := ""
	if c.term.lease != nil && !c.watch.afresh {
		version = c.term.lease.ResourceVersion
	}
	events := make(chan watchEvent)
	c.watch.events, c.watch.cancel, c.watch.since = events, cancel, now
	go c.client.follow(ctx, version, c.cfg.RenewDeadline/2, events)
	return never
}

// follow relays a watch as events until it ends or ctx does.
func (c *client) follow(ctx context.Context, version string, timeout time.Duration, events chan<- watchEvent) {
	tell := func(ev watchEvent) bool {
		select {
		case events <- ev:
			return true
		case <-ctx.Done():
			return false
		}
	}
	stream, err := c.watch(ctx, version, timeout)
	if err != nil {
		tell(watchEvent{ended: true, err: err})
		return
	}
	defer stream.Stop()
	if !tell(watchEvent{}) {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case ev, open := <-stream.ResultChan():
			if !open {
				tell(watchEvent{ended: true})
				return
			}
			if ev.Type == watch.Error {
				tell(watchEvent{ended: true, err: apierrors.FromObject(ev.Object)})
				return
			}
			l, ok := ev.Object.(*coordinationv1.Lease)
			if !ok || ev.Type == watch.Bookmark {
				continue
			}
			if err := c.check(l); err != nil {
				tell(watchEvent{ended: true, err: err})
				return
			}
			if !tell(watchEvent{lease: l, deleted: ev.Type == watch.Deleted}) {
				return
			}
		}
	}
}

// watched takes in one message of the watch.
func (c *campaign) watched(ev watchEvent, now time.Duration) {
	switch {
	case ev.ended:
		c.watchEnded(ev.err, now)
	case ev.lease == nil:
		c.watch.up, c.watch.denied, c.watch.afresh = true, false, false
	case !newer(ev.lease, c.version): // known, or late
	default:
		l := ev.lease
		c.version = l.ResourceVersion
		if ev.deleted {
			l = nil
		}
		update := c.term.lease != nil && l != nil
		c.fresh = !c.unknown
		c.observe(l, now)
		if c.pending == claim && update && !c.mine() {
			c.abandon() // it is too late, and who queues it has enough to do
		}
	}
}

func (c *campaign) watchEnded(err error, now time.Duration) {
	code := statusCode(err)
	switch {
	case code == http.StatusGone && !c.watch.afresh:
		c.fresh = false
		c.endWatch(now, "the API server no longer knows our resourceVersion")
		c.watch.afresh = true
	case code == http.StatusForbidden || code == http.StatusUnauthorized:
		if !c.watch.denied {
			c.log.Warn("the Lease can't be watched and is polled instead: takeovers are slower by up to RETRY_PERIOD. The Role of this pod's service account should allow \"watch\" on resource leases, apiGroup coordination.k8s.io", "err", err)
		}
		c.endWatch(now, "forbidden")
		c.watch.denied, c.watch.retryAt = true, now+4*c.cfg.LeaseDuration
	case err == nil && c.watch.up && now-c.watch.since >= c.cfg.RetryPeriod:
		c.endWatch(now, "closed by the API server")
	default:
		if err == nil {
			err = errors.New("closed at once")
		}
		c.endWatch(now, err.Error())
		c.watch.retryAt = now + c.jitter(c.cfg.RetryPeriod)
	}
	c.pollAt = now + c.jitter(c.cfg.RetryPeriod)
}

// endWatch forgets the watch; startWatch begins another at once unless told
// otherwise.
func (c *campaign) endWatch(now time.Duration, why string) {
	c.log.Debug("the watch has ended", "reason", why)
	c.watch.cancel()
	c.watch.events, c.watch.up, c.watch.retryAt = nil, false, now
}
