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

	turn chan struct{} // holds a token while the file is worked on

	mu      sync.Mutex    // guards the fields below; no I/O is done under it
	exists  bool          // the file may exist
	problem error         // the last attempt's failure
	since   time.Duration // when the attempt under way began; 0: there is none
}

// NewStatusFile returns the status file at path. Run and Gone work on it.
func NewStatusFile(path string, elector *lease.Elector, log *slog.Logger) *StatusFile {
	return &StatusFile{Path: path, Elector: elector, Logger: log, turn: make(chan struct{}, 1)}
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
	now, exists, problem := f.Elector.Clock().Now(), false, error(nil)
	f.mu.Lock()
	exists, problem = f.exists, f.problem
	f.mu.Unlock()
	switch {
	case problem != nil:
		return now + 200*time.Millisecond
	case exists:
		return min(f.Elector.State().ValidUntil, now+time.Second) // and look every second whether it is as it should be
	}
	return now + time.Hour
}

// sync makes the file match the State of this moment.
func (f *StatusFile) sync() {
	f.turn <- struct{}{}
	defer func() { <-f.turn }()
	began := f.Elector.Clock().Now()
	f.set(func() { f.since = began })
	leads, err := f.match()
	for err == nil && f.mayExist() && !f.Elector.IsLeader() { // it took longer than the term
		leads, err = f.match()
	}
	var before error
	f.set(func() { before, f.problem, f.since = f.problem, err, 0 })
	switch {
	case err != nil && before == nil:
		f.Logger.Error("the status file does not show the truth; trying on", "err", err)
	case err == nil && before != nil:
		f.Logger.Info("the status file shows the truth again")
	}
	if err != nil && leads {
		f.Elector.StepDown("the status file can't be written: " + err.Error()) // S11
	}
}

// match makes the file say once what the State says, which it returns.
func (f *StatusFile) match() (leads bool, err error) {
	state := f.Elector.State()
	// The wall clock first: a pause between the two makes the file lapse too
	// early, and never too late (S8).
	wall := f.Elector.Clock().Wall()
	now := f.Elector.Clock().Now()
	if !state.LeadsAt(now) {
		if !f.mayExist() {
			return false, nil
		}
		if err := f.change(func() error { return remove(f.Path) }); err != nil {
			return false, fmt.Errorf("removing the status file: %w", err)
		}
		f.set(func() { f.exists = false })
		return false, nil
	}
	expiry := wall.Add(state.ValidUntil - now)
	if info, err := os.Lstat(f.Path); f.mayExist() && err == nil && info.Mode().IsRegular() {
		if info.ModTime().Sub(expiry).Abs() < tolerance {
			return true, nil
		}
		if f.change(func() error { return os.Chtimes(f.Path, expiry, expiry) }) == nil { // renewed, or the wall clock was set
			return true, nil
		}
	}
	if err := f.change(func() error { return f.write(state.Identity, expiry) }); err != nil {
		return true, fmt.Errorf("writing the status file: %w", err)
	}
	return true, nil
}

// tolerance is how far the file's mtime may be off before it is set anew: what
// reading two clocks one after the other costs on a busy machine.
const tolerance = 10 * time.Millisecond

func (f *StatusFile) change(do func() error) error {
	if f.Touch != nil {
		return f.Touch(do)
	}
	return do()
}

func (f *StatusFile) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *StatusFile) mayExist() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.exists
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
		f.set(func() { f.exists = true })
		err = os.Rename(temporary, f.Path)
	}
	if err != nil {
		_ = os.Remove(temporary)
	}
	return err
}

// stuck is the reason why a file that should be gone is not, if so.
func (f *StatusFile) stuck() error {
	now := f.Elector.Clock().Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !f.exists || f.Elector.IsLeader():
		return nil
	case f.problem == nil && f.since != 0 && now-f.since > patience:
		return fmt.Errorf("the file system of %s has not answered for %v", f.Path, now-f.since)
	}
	return f.problem
}

// patience is how long the file system may take to remove a file.
const patience = 2 * time.Second

// Gone returns when the file is removed, however often that takes.
func (f *StatusFile) Gone(ctx context.Context) error {
	for {
		f.sync()
		if !f.mayExist() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
