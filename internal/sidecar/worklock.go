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

	"golang.org/x/sys/unix"

	"github.com/leader-elector/leader-elector/lease"
)

// workLock is the file that an app may flock while it does leader work. The
// kernel drops such a lock with the last process that has it, so that waiting
// for it is waiting until the app has stopped, however it did.
type workLock struct {
	path string
	used atomic.Bool // the app was seen to have it
	log  *slog.Logger
}

// create makes the file; locks on it, and other users' right to take them, stay.
func (l *workLock) create() error {
	f, err := os.OpenFile(l.path, os.O_RDONLY|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("the work lock %s can't be made: %w", l.path, err)
	}
	return f.Close()
}

// probe looks once whether the app has the lock.
func (l *workLock) probe() {
	f, err := os.Open(l.path)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	if errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK) {
		l.used.Store(true)
	}
}

// watch probes about once a second while this pod leads, until it has seen the
// lock used. An app that has it for a part of the time only is seen sooner or
// later: the moments are random, so that they can't keep in step with its own.
func (l *workLock) watch(ctx context.Context, elector *lease.Elector) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second/2 + rand.N(time.Second)):
			if elector.IsLeader() && !l.used.Load() {
				l.probe()
			}
		}
	}
}

// appStopped returns when the app has stopped its leader work: at once when the
// lock that it uses is free, after the delay when it never used one. It returns
// lease.ErrKeepLease where that can't be known.
func (l *workLock) appStopped(ctx context.Context, delay time.Duration) error {
	l.probe()
	if !l.used.Load() {
		if delay == neverRelease {
			return lease.ErrKeepLease
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
		if l.probe(); !l.used.Load() {
			return nil
		}
	}
	free := make(chan error, 1)
	go func() {
		f, err := os.Open(l.path)
		if err == nil {
			defer func() { _ = f.Close() }()
			for err = unix.EINTR; errors.Is(err, unix.EINTR); {
				err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
			}
		}
		free <- err
	}()
	select {
	case err := <-free:
		if err != nil {
			l.log.Error("the work lock can't be read: the app may still be at work", "err", err)
			return lease.ErrKeepLease
		}
		l.used.Store(false) // whoever leads next time may be another program
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
