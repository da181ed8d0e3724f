package lease

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/leader-elector/leader-elector/lease/internal/election"
)

// follow relays the changes of the Lease after version, or what is stored and
// then its changes where that is empty, until the watch or ctx ends. It gives up
// when the API server has not begun to answer within the timeout.
func (c *client) follow(ctx context.Context, id int, version string, timeout time.Duration, tell func(election.Event) bool) {
	ended := func(err error) { tell(election.Event{Kind: election.WatchEnded, ID: id, Failure: failureOf(err)}) }
	stream, err := c.watch(ctx, version, timeout)
	if err != nil {
		ended(fmt.Errorf("watching Lease %s/%s: %w", c.namespace, c.name, err))
		return
	}
	defer stream.Stop()
	if !tell(election.Event{Kind: election.WatchUp, ID: id}) {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case ev, open := <-stream.ResultChan():
			if !open {
				ended(nil)
				return
			}
			if ev.Type == watch.Error {
				ended(apierrors.FromObject(ev.Object))
				return
			}
			l, ok := ev.Object.(*coordinationv1.Lease)
			if !ok || ev.Type == watch.Bookmark {
				continue
			}
			if err := c.check(l); err != nil {
				ended(err)
				return
			}
			kind := election.WatchSaw
			if ev.Type == watch.Deleted {
				kind = election.WatchDeleted
			}
			if !tell(election.Event{Kind: kind, ID: id, Record: recordOf(l)}) {
				return
			}
		}
	}
}

func (c *client) watch(ctx context.Context, version string, timeout time.Duration) (watch.Interface, error) {
	ctx, cancel := context.WithCancel(ctx)
	limit := time.AfterFunc(timeout, cancel)
	req := c.current().rest.Get().Namespace(c.namespace).Resource("leases").
		Param("watch", "true").Param("fieldSelector", "metadata.name="+c.name)
	if version != "" {
		req = req.Param("resourceVersion", version)
	}
	stream, err := req.MaxRetries(0).Watch(ctx)
	if !limit.Stop() && err == nil {
		stream.Stop()
		err = context.DeadlineExceeded
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return &cancelOnStop{stream, cancel}, nil
}

// cancelOnStop ends the request together with its stream.
type cancelOnStop struct {
	watch.Interface
	cancel context.CancelFunc
}

// Stop ends the request and the stream.
func (w *cancelOnStop) Stop() { w.cancel(); w.Interface.Stop() }
