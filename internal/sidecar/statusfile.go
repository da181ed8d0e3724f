package sidecar

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/leader-elector/leader-elector/lease"
)

// statusFile keeps the status file true to the election: it exists exactly
// while this pod leads, holds the identity, and its mtime is the wall-clock
// time at which the term lapses unless renewed.
type statusFile struct {
	path    string
	elector *lease.Elector
	log     *slog.Logger

	mu      sync.Mutex // guards the fields below and the file
	exists  bool       // the file may exist
	shown   time.Duration
	problem error // the last attempt's failure
}

// run follows the election until ctx is done, on an alarm of its own, so that
// nothing that the elector waits for can keep the file (S1).
func (f *statusFile) run(ctx context.Context, alarm lease.Alarm) {
	states := f.elector.States()
	for {
		f.sync()
		alarm.Set(f.wakeAt())
		select {
		case <-states:
		case <-alarm.C():
		case <-ctx.Done():
			return
		}
	}
}

// wakeAt is the end of the term, or soon where the file could not be handled.
func (f *statusFile) wakeAt() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.elector.Clock().Now()
	if f.problem != nil {
		return now + 200*time.Millisecond
	}
	if until := f.elector.State().ValidUntil; until > now {
		return min(until, now+time.Second) // and look every second whether somebody deleted it
	}
	return now + time.Hour
}

// sync makes the file match the State of this moment.
func (f *statusFile) sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	state, now := f.elector.State(), f.elector.Clock().Now()
	err := f.match(state, now)
	switch {
	case err != nil && f.problem == nil:
		f.log.Error("the status file does not show the truth; trying on", "err", err)
	case err == nil && f.problem != nil:
		f.log.Info("the status file shows the truth again")
	}
	f.problem = err
	if err != nil && state.LeadsAt(now) {
		f.elector.StepDown("the status file can't be written: " + err.Error()) // S11
	}
	return err
}

func (f *statusFile) match(state lease.State, now time.Duration) error {
	if !state.LeadsAt(now) {
		if !f.exists {
			return nil
		}
		if err := remove(f.path); err != nil {
			return fmt.Errorf("removing the status file: %w", err)
		}
		f.exists, f.shown = false, 0
		return nil
	}
	expiry := time.Now().Add(state.ValidUntil - now)
	if f.exists && f.problem == nil {
		if _, err := os.Lstat(f.path); err == nil && f.shown == state.ValidUntil {
			return nil
		}
		if f.shown != 0 {
			if err := os.Chtimes(f.path, expiry, expiry); err == nil {
				f.shown = state.ValidUntil
				return nil
			}
		}
	}
	if err := f.write(state.Identity, expiry); err != nil {
		return fmt.Errorf("writing the status file: %w", err)
	}
	f.shown = state.ValidUntil
	if !state.LeadsAt(f.elector.Clock().Now()) { // it took too long
		return f.match(state, f.elector.Clock().Now())
	}
	return nil
}

// write puts the whole file in place at once.
func (f *statusFile) write(identity string, expiry time.Time) error {
	temporary := f.path + ".tmp"
	err := os.WriteFile(temporary, []byte(identity), 0o644)
	if err == nil {
		err = os.Chmod(temporary, 0o644) // whatever the umask
	}
	if err == nil {
		err = os.Chtimes(temporary, expiry, expiry)
	}
	if err == nil {
		f.exists = true
		err = os.Rename(temporary, f.path)
	}
	if err != nil {
		_ = os.Remove(temporary)
	}
	return err
}

// stuck is the reason why a file that should be gone is not, if so.
func (f *statusFile) stuck() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.exists && !f.elector.IsLeader() {
		return f.problem
	}
	return nil
}

// gone returns when the file is removed, however often that takes.
func (f *statusFile) gone(ctx context.Context) error {
	for {
		f.sync()
		f.mu.Lock()
		exists := f.exists
		f.mu.Unlock()
		if !exists {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
