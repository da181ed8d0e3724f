package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"github.com/leader-elector/leader-elector/lease"
)

// workLock is the file that an app may flock while it does leader work. The
// kernel drops such a lock with the last process that has it, so that waiting
// for it is waiting until the app has stopped, however it did.
type workLock struct {
	path string
	log  *slog.Logger
	used atomic.Bool // the app was seen to have it
	held atomic.Bool // a handover waits for it
	odd  atomic.Bool // a handover waits until it can be read
	lane lane        // every look at the files is in it

	files lockFiles // only functions in the lane touch it
}

func newWorkLock(path string) *workLock {
	return &workLock{path: path, log: slog.Default(), lane: newLane(), files: lockFiles{path: path}}
}

func (l *workLock) close() {
	_, _ = within(context.Background(), l.lane, closeLimit, func() error { l.files.close(); return nil })
}

// lookLimit is how long the file system may take for one look at the lock.
const lookLimit = 2 * time.Second

// look says whether an app has the lock. An error says that an app may have it
// in a way that can't be seen.
func (l *workLock) look(ctx context.Context) (bool, error) {
	held, err := l.ask(ctx, l.files.held)
	return len(held) > 0, err
}

// ask returns the files that an app has a lock on, of held or replace. An error
// says that there may be others.
func (l *workLock) ask(ctx context.Context, which func() ([]*lockFile, error)) ([]*lockFile, error) {
	type result struct {
		held []*lockFile
		err  error
	}
	r, err := within(ctx, l.lane, lookLimit, func() (r result) {
		r.held, r.err = which()
		return r
	})
	if len(r.held) > 0 {
		l.used.Store(true)
	}
	return r.held, errors.Join(err, r.err)
}

// watch looks about once a second while this pod leads: at the lock until it has
// seen it used, and at which file it is. An app that has it for a part of the
// time only is seen sooner or later: the moments are random, so that they can't
// keep in step with its own.
func (l *workLock) watch(ctx context.Context, election Election) {
	unreadable := problem{
		log: l.log, level: slog.LevelWarn, over: "the work lock can be read again",
		says: "the work lock can't be read; a clean stop will let the Lease expire. " + l.remedy(),
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second/2 + rand.N(time.Second)):
		}
		if !leadsNow(election) {
			continue
		}
		var err error
		if l.used.Load() {
			var seen error
			if seen, err = within(ctx, l.lane, lookLimit, func() error { return l.files.see() }); err == nil {
				err = seen
			}
		} else {
			_, err = l.look(ctx)
		}
		if ctx.Err() == nil {
			unreadable.report(err)
		}
	}
}

func (l *workLock) remedy() string {
	return fmt.Sprintf("Make sure that %s is a regular file that uid %d may read, on a file system with flock", l.path, os.Geteuid())
}

// appStopped returns when the app has stopped its leader work: at once when the
// lock that it uses is free, after delay when it never used one. The status file
// must be gone, so that an app that takes the lock from now on does no work.
//
// A lock that is seen to be held is waited for, whatever else can't be read. What
// can't be read is tried again until stopping is done: then, or where trying again
// can't help, appStopped returns lease.ErrKeepLease.
func (l *workLock) appStopped(ctx, stopping context.Context, delay func(context.Context) error) error {
	unreadable := problem{
		log: l.log, level: slog.LevelWarn, over: "the work lock can be read again",
		says: "the work lock can't be read, so the app may still be at work; the Lease is kept until the lock can be read. " + l.remedy(),
	}
	defer l.odd.Store(false)
	delayed, said := false, false
	for {
		held, err := l.ask(ctx, l.files.held)
		if err == nil && !l.used.Load() && !delayed {
			if err := delay(ctx); err != nil {
				return err
			}
			delayed = true
			held, err = l.ask(ctx, l.files.held)
		}
		if len(held) > 0 {
			if !said {
				l.log.Info("waiting for the app to release the work lock", "lock", l.path)
				said = true
			}
			l.held.Store(true)
			err = l.drain(ctx, held)
			l.held.Store(false)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			unreadable.report(nil)
			l.used.Store(false) // another program may lead next time
			return nil
		case stopping.Err() != nil, errors.Is(err, errOverflow), errors.Is(err, errors.ErrUnsupported):
			l.log.Error("the work lock can't be read, so the app may still be at work; the Lease expires instead of being released. "+l.remedy(), "err", err)
			return lease.ErrKeepLease
		}
		unreadable.report(err)
		l.odd.Store(true)
		select {
		case <-time.After(time.Second):
		case <-stopping.Done():
		case <-ctx.Done():
		}
	}
}

// drain waits until the lock is free. It puts a new file in the lock's place, so
// that only those are waited for who have the lock already. Where that fails, it
// waits for the files that were held before.
func (l *workLock) drain(ctx context.Context, held []*lockFile) error {
	draining, err := l.ask(ctx, l.files.replace)
	if errors.Is(err, errHangs) {
		draining = held
	}
	for _, f := range draining {
		wait := f.free()
		select {
		case <-wait.done:
			err = errors.Join(err, wait.err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	_, tidyErr := within(ctx, l.lane, lookLimit, func() error { l.files.tidy(); return nil })
	return errors.Join(err, tidyErr)
}

// keep makes the lock's file again where it is gone.
func (l *workLock) keep() {
	_ = makeLock(l.path)
}
