package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// appLock follows whether the app lives (LEAD_WHILE=lock): it does while any process
// has a flock on <status file>.alive. The kernel drops such a lock with the last process
// that has it, however that ends.
type appLock struct {
	path  string
	log   *slog.Logger
	tell  func(alive bool) // is called at each change
	alive atomic.Bool      // as it was told
	lane  lane             // every look at the file is in it
}

func newAppLock(statusFile string, log *slog.Logger, tell func(alive bool)) *appLock {
	return &appLock{path: statusFile + ".alive", log: log, tell: tell, lane: newLane()}
}

// lookForAppEvery is how soon a lock is seen that the app takes. While the app has it,
// nothing looks: the kernel tells of its end.
const lookForAppEvery = 100 * time.Millisecond

// watch follows the lock until ctx is done.
func (a *appLock) watch(ctx context.Context) {
	unreadable := problem{
		log: a.log, level: slog.LevelWarn, over: "the alive lock can be read again",
		says: fmt.Sprintf("the alive lock can't be read, so the app counts as ended and this replica does not lead. Make sure that %s is a regular file that uid %d may read, on a file system with flock", a.path, os.Geteuid()),
	}
	for ctx.Err() == nil {
		f, err := a.heldFile(ctx)
		if ctx.Err() != nil {
			return
		}
		unreadable.report(err)
		if f == nil {
			select {
			case <-time.After(lookForAppEvery):
			case <-ctx.Done():
			}
			continue
		}
		a.told(true)
		wait := f.free()
		select {
		case <-wait.done:
		case <-ctx.Done():
			return // the wait has the file
		}
		f.forgetOpen()
		unreadable.report(wait.err)
		a.told(false)
	}
}

func (a *appLock) told(alive bool) {
	a.alive.Store(alive)
	a.tell(alive)
}

// free says whether no app has the lock at this moment. What can't be looked at counts as
// held. The file in place may be another one than the app has its lock on.
func (a *appLock) free(ctx context.Context) bool {
	if a.alive.Load() {
		return false
	}
	f, err := a.heldFile(ctx)
	if f != nil {
		f.forgetOpen()
	}
	return f == nil && err == nil
}

// heldFile is the file in place, open, where an app has a lock on it.
func (a *appLock) heldFile(ctx context.Context) (*lockFile, error) {
	type result struct {
		file *lockFile
		err  error
	}
	r, err := within(ctx, a.lane, lookLimit, func() (r result) {
		r.file, r.err = a.openHeld()
		return r
	})
	return r.file, errors.Join(err, r.err)
}

// openHeld makes the file where there is none.
func (a *appLock) openHeld() (*lockFile, error) {
	if err := evict(a.path); err != nil {
		return nil, err
	}
	_ = makeLock(a.path) // where it fails, opening says why
	f, err := openLock(a.path)
	if err != nil {
		return nil, err
	}
	held, err := f.held()
	if !held {
		f.forgetOpen()
		return nil, err
	}
	return f, nil
}
