package sidecar

import (
	"context"
	"log/slog"
	"time"

	"github.com/leader-elector/leader-elector/lease"
)

// handover gives leadership up in order (S6): the status file is removed, the
// label says follower, the app has stopped. Then the Lease may be released.
type handover struct {
	file  *StatusFile
	label *podLabel // nil: the pod has none
	lock  *workLock
	log   *slog.Logger

	command *execution // of exec; nil: none

	stopping      context.Context   // ends when the process has to
	labelLimit    time.Duration     // how long the label is waited for
	fileLimit     time.Duration     // how long a process that has to end tries to remove the file
	delay         time.Duration     // for an app that never took the work lock, when the process ends
	stepDownDelay time.Duration     // the same when it goes on
	retired       func() bool       // whether the pod is being deleted: its SIGTERM comes after the app's end
	begins        func(lease.Cause) // is told that leadership is being given up
	// appEnded looks whether the app has ended by now. It proves that only once the status
	// file is gone: an app that begins later does no work.
	appEnded func(context.Context) bool
}

// removalLimit bounds how long the end of the process is held up by a status
// file that can't be removed.
const removalLimit = 10 * time.Second

func newHandover(cfg *Config, election *lease.Config, stopping context.Context) *handover {
	h := &handover{
		stopping: stopping, labelLimit: election.RetryPeriod, fileLimit: min(election.RenewDeadline, removalLimit),
		delay: cfg.releaseDelay, stepDownDelay: cfg.releaseDelay,
		appEnded: func(context.Context) bool { return false }, retired: func() bool { return false },
		begins: func(lease.Cause) {},
	}
	if h.delay == 0 { // it says that the app is stopped before the sidecar is: not so for a step-down
		h.stepDownDelay = cfg.defaultReleaseDelay
	}
	return h
}

// run is lease.Config.BeforeRelease.
func (h *handover) run(ctx context.Context, cause lease.Cause) error {
	h.begins(cause)
	if h.command != nil { // first, so that nothing that goes wrong with the rest ends the renewals before
		if err := h.command.gone(ctx); err != nil {
			return err
		}
	}
	if err := h.fileGone(ctx); err != nil {
		return err
	}
	ended := h.appEnded(ctx) // now that the file is gone
	// Nothing is sent to an app that has ended, and a pod that is being deleted leaves its Services in any case.
	if h.label != nil && !ended && !h.retired() {
		if err := h.label.settled(ctx, h.labelLimit); err != nil {
			h.log.Warn("the pod could not be labelled role=follower in time; the next leader or the next attempt will", "err", err)
		}
	}
	return h.lock.appStopped(ctx, h.stopping, func(ctx context.Context) error {
		if ended {
			return nil
		}
		return h.wait(ctx, cause)
	})
}

// fileGone waits until the status file is removed. While it is there, the Lease
// is kept: for as long as that takes, or until it expires where the process
// has to end.
func (h *handover) fileGone(ctx context.Context) error {
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(h.stopping, func() { time.AfterFunc(h.fileLimit, cancel) })
	defer stop()
	err := h.file.Gone(limited)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	h.log.Error("the status file can't be removed, so the app may still be at work; the Lease expires instead of being released", "err", err)
	return lease.ErrKeepLease
}

// wait gives an app that never took the work lock the time to stop: until it is proven
// to have ended, or is seen to have the lock after all. An app whose pod is being deleted
// has that time until the SIGTERM, which comes after its end.
func (h *handover) wait(ctx context.Context, cause lease.Cause) error {
	delay, stopping := h.delay, (<-chan struct{})(nil)
	if cause != lease.Stopping {
		delay, stopping = h.stepDownDelay, h.stopping.Done()
	}
	if delay == neverRelease {
		h.log.Info("the app never took the work lock and RELEASE_DELAY=never; the Lease expires instead of being released")
		return lease.ErrKeepLease
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	looks := time.NewTicker(lookForAppEvery)
	defer looks.Stop()
	for passed := false; ; {
		if used, _ := h.lock.look(ctx); used || h.appEnded(ctx) {
			return ctx.Err()
		}
		select {
		case <-timer.C:
			if passed = true; stopping == nil || !h.retired() {
				return nil
			}
		case <-looks.C:
		case <-stopping:
			if stopping = nil; passed {
				return nil
			}
			if h.delay < delay {
				timer.Reset(h.delay)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
