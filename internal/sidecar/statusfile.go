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

// StatusFile keeps the status file true to the election: it exists exactly
// while this pod leads, holds the identity, and its mtime is the wall-clock
// time at which the term lapses unless renewed.
type StatusFile struct {
	Path    string
	Elector *lease.Elector
	Logger  *slog.Logger
	Touch   func(change func() error) error // runs each change of the file; nil: change(). Tests are slow in it, or fail

	mu      sync.Mutex // guards the fields below and the file
	exists  bool       // the file may exist
	problem error      // the last attempt's failure
}

// Run follows the election until ctx is done, on an alarm of its own, so that
// nothing that the elector waits for can keep the file (S1).
func (f *StatusFile) Run(ctx context.Context, alarm lease.Alarm) {
	states := f.Elector.States()
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
func (f *StatusFile) wakeAt() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.Elector.Clock().Now()
	switch {
	case f.problem != nil:
		return now + 200*time.Millisecond
	case f.exists:
		return min(f.Elector.State().ValidUntil, now+time.Second) // and look every second whether it is as it should be
	}
	return now + time.Hour
}

// sync makes the file match the State of this moment.
func (f *StatusFile) sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	state, now := f.Elector.State(), f.Elector.Clock().Now()
	err := f.match(state)
	switch {
	case err != nil && f.problem == nil:
		f.Logger.Error("the status file does not show the truth; trying on", "err", err)
	case err == nil && f.problem != nil:
		f.Logger.Info("the status file shows the truth again")
	}
	f.problem = err
	if err != nil && state.LeadsAt(now) {
		f.Elector.StepDown("the status file can't be written: " + err.Error()) // S11
	}
	return err
}

func (f *StatusFile) match(state lease.State) error {
	// The wall clock first: a pause between the two makes the file lapse too
	// early, and never too late (S8).
	wall := f.Elector.Clock().Wall()
	now := f.Elector.Clock().Now()
	if !state.LeadsAt(now) {
		if !f.exists {
			return nil
		}
		if err := f.change(func() error { return remove(f.Path) }); err != nil {
			return fmt.Errorf("removing the status file: %w", err)
		}
		f.exists = false
		return nil
	}
	expiry := wall.Add(state.ValidUntil - now)
	if info, err := os.Lstat(f.Path); f.exists && f.problem == nil && err == nil && info.Mode().IsRegular() {
		if off := info.ModTime().Sub(expiry).Abs(); off < tolerance {
			return nil
		}
		if f.change(func() error { return os.Chtimes(f.Path, expiry, expiry) }) == nil { // renewed, or the wall clock was set
			return f.stillTrue(state)
		}
	}
	if err := f.change(func() error { return f.write(state.Identity, expiry) }); err != nil {
		return fmt.Errorf("writing the status file: %w", err)
	}
	return f.stillTrue(state)
}

// tolerance is how far the file's mtime may be off before it is set anew: what
// reading two clocks one after the other costs on a busy machine.
const tolerance = 10 * time.Millisecond

// stillTrue looks again after a change that may have taken long.
func (f *StatusFile) stillTrue(state lease.State) error {
	if !state.LeadsAt(f.Elector.Clock().Now()) {
		return f.match(state)
	}
	return nil
}

func (f *StatusFile) change(do func() error) error {
	if f.Touch != nil {
		return f.Touch(do)
	}
	return do()
}

// write puts the whole file in place at once.
func (f *StatusFile) write(identity string, expiry time.Time) error {
	temporary := f.Path + ".tmp"
	err := os.WriteFile(temporary, []byte(identity), 0o644)
	if err == nil {
		err = os.Chmod(temporary, 0o644) // whatever the umask
	}
	if err == nil {
		err = os.Chtimes(temporary, expiry, expiry)
	}
	if err == nil {
		f.exists = true
		err = os.Rename(temporary, f.Path)
	}
	if err != nil {
		_ = os.Remove(temporary)
	}
	return err
}

// stuck is the reason why a file that should be gone is not, if so.
func (f *StatusFile) stuck() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.exists && !f.Elector.IsLeader() {
		return f.problem
	}
	return nil
}

// Gone returns when the file is removed, however often that takes.
func (f *StatusFile) Gone(ctx context.Context) error {
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
