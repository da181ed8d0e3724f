package sidecar

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
)

// StatusFile keeps the status file true to the election: it exists exactly
// while this pod leads. What it says is in statusimage.go.
//
// All file I/O is done by one goroutine at a time, an attempt, which may hang.
// Run and everyone else only wait for it, with a bound (S11).
type StatusFile struct {
	Path string // of the status file
	// Failed is told why the file of a leader can't be kept up to date, so that it
	// steps down. It must not block. Nil: the term goes on.
	Failed func(reason string)
	// Keep runs in an attempt before the file of a leader is looked at, to restore what else
	// belongs into its directory. Nil: nothing.
	Keep func()
	// Touch runs each change of the files; nil: change(). Tests are slow in it, or fail.
	Touch func(change func() error) error

	election Election
	log      *slog.Logger
	image    image // only an attempt touches it

	mu      sync.Mutex      // guards the fields below; no I/O is done under it
	exists  bool            // the status file may exist
	failure error           // of the last attempt
	owed    boottime.Moment // the oldest change that no attempt has begun to show; 0: none
	begun   boottime.Moment // the oldest change that an attempt has begun to show, and has not shown; 0: none
	moved   chan struct{}   // closed when an attempt has got further
}

// NewStatusFile returns the status file at path. Run works on it.
func NewStatusFile(path string, election Election, log *slog.Logger) *StatusFile {
	return &StatusFile{
		Path: path, election: election, log: log, moved: make(chan struct{}), image: image{path: path},
	}
}

const (
	patience    = 2 * time.Second        // how long the file system may take to show a change
	lookEvery   = time.Second            // how often a leader looks whether its file is as it should be
	retryFileIn = 200 * time.Millisecond // from an attempt that failed to the next
)

// Run follows the election until ctx is done, on an alarm of its own, so that
// nothing that the elector waits for can keep the file (S1).
func (f *StatusFile) Run(ctx context.Context, alarm boottime.Alarm) {
	trouble := problem{
		log: f.log, level: slog.LevelError, over: "the status file is as it should be again",
		says: fmt.Sprintf("the status file is out of date; retrying. Check that %s has free space, answers, and can be written to by uid %d", filepath.Dir(f.Path), os.Getuid()),
	}
	changes, done := f.election.Changes(), make(chan struct{}, 1)
	busy, due := false, boottime.Never
	for {
		now := f.election.Clock().Now()
		if !busy && now >= due {
			busy, due = true, boottime.Never
			f.begin(now)
			go func() { f.attempt(); done <- struct{}{} }()
		}
		wake := due
		if busy {
			wake = f.inspect(now, &trouble)
		}
		alarm.Set(wake)
		select {
		case <-changes:
			f.owe(f.election.Clock().Now())
			due = 0
		case <-done:
			busy = false
			due = min(due, f.next())
			trouble.report(f.problem())
		case <-alarm.C():
		case <-ctx.Done():
			return
		}
	}
}

// lapsed says that the file of a term that is over may be there.
func (f *StatusFile) lapsed(now boottime.Moment) bool {
	return f.mayExist() && !f.election.State().LeadsAt(now)
}

// next is when to make the next attempt where nothing changes: at the end of the
// term, or soon where the last one failed.
func (f *StatusFile) next() boottime.Moment {
	now, until := f.election.Clock().Now(), f.election.State().ValidUntil
	switch {
	case f.problem() != nil:
		return now.Add(retryFileIn)
	case f.mayExist() || now < until:
		return min(max(until, now), now.Add(lookEvery))
	}
	return boottime.Never
}

// inspect looks at an attempt under way, and returns when to look again. The
// term of a leader whose file is overdue is given up (S11).
func (f *StatusFile) inspect(now boottime.Moment, trouble *problem) boottime.Moment {
	late := f.late(now)
	if late <= patience {
		return now.Add(patience - late + 1)
	}
	err := f.hangs(late)
	trouble.report(err)
	if f.election.State().LeadsAt(now) {
		f.fail(err)
	}
	return now.Add(lookEvery)
}

func (f *StatusFile) fail(err error) {
	if f.Failed != nil {
		f.Failed("the status file can't be kept up to date: " + err.Error())
	}
}

func (f *StatusFile) hangs(late time.Duration) error {
	return fmt.Errorf("the file system of %s has not answered for %v", f.Path, late.Truncate(time.Millisecond))
}

// owe notes that the State has changed.
func (f *StatusFile) owe(now boottime.Moment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.owed == 0 {
		f.owed = now
	}
}

// begin notes that an attempt shows what has changed until now.
func (f *StatusFile) begin(now boottime.Moment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.begun == 0 {
		f.begun = now
		if f.owed != 0 {
			f.begun = f.owed
		}
	}
	f.owed = 0
}

// late is how long the oldest change that is not shown has been waiting.
func (f *StatusFile) late(now boottime.Moment) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.begun != 0:
		return now.Sub(f.begun)
	case f.owed != 0:
		return now.Sub(f.owed)
	}
	return 0
}

// attempt makes the files match the State of this moment. It may hang.
func (f *StatusFile) attempt() {
	leads, err := f.match()
	for err == nil && f.lapsed(f.election.Clock().Now()) { // it took longer than the term
		leads, err = f.match()
	}
	now := f.election.Clock().Now()
	f.mu.Lock()
	f.failure = err
	if err == nil {
		f.begun = 0
		if f.owed != 0 && now.Sub(f.owed) > patience { // it has been reported; the file system answers again
			f.owed = now
		}
	}
	f.progress()
	f.mu.Unlock()
	if err != nil && leads {
		f.fail(err)
	}
}

// setExists notes whether the status file may be there. Attempts note it before
// they put it there, and after they have removed it.
func (f *StatusFile) setExists(exists bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.exists = exists
	f.progress()
}

// progress wakes those who wait in Gone. f.mu is held.
func (f *StatusFile) progress() {
	close(f.moved)
	f.moved = make(chan struct{})
}

func (f *StatusFile) mayExist() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.exists
}

func (f *StatusFile) problem() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failure
}

// stuck is why the status file can't be trusted to become what it should be: it
// should be gone and can't be removed, or the file system hangs.
func (f *StatusFile) stuck() error {
	now := f.election.Clock().Now()
	leads, late := f.election.State().LeadsAt(now), f.late(now)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.exists && !leads && f.failure != nil:
		return f.failure
	case late > patience:
		return f.hangs(late)
	}
	return nil
}

// Gone returns once the status file of a replica that no longer leads is
// removed, or when ctx is done, then with the reason. Run must be running.
func (f *StatusFile) Gone(ctx context.Context) error {
	for {
		f.mu.Lock()
		exists, moved := f.exists, f.moved
		f.mu.Unlock()
		if !exists {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return f.keptBy(ctx.Err())
		}
	}
}

// keptBy explains why the status file is still there.
func (f *StatusFile) keptBy(err error) error {
	reason := f.stuck()
	if reason == nil {
		reason = fmt.Errorf("its file system has not answered for %v", f.late(f.election.Clock().Now()).Truncate(time.Millisecond))
	}
	return fmt.Errorf("%w: the status file %s is not removed: %w", err, f.Path, reason)
}
