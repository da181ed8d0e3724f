package sidecar

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/leader-elector/leader-elector/lease"
)

// image is what an attempt knows to be on disk: the status file, which holds the
// identity and has the wall-clock time at which the term lapses for its mtime,
// and the until file beside it, <status file>.until, which holds the same moment
// in whole seconds of /proc/uptime, rounded down.
//
// The until file is in place before the status file is, and is removed after it.
type image struct {
	path       string
	until      int64 // what the until file says; 0: not known
	untilThere bool  // the until file may exist
	dirs       dirs  // where the files were put
}

// tolerance is how far the file's mtime may be off before it is set again: what
// reading two clocks one after the other costs on a busy machine.
const tolerance = 10 * time.Millisecond

// errLapsed stops a write that would come too late.
var errLapsed = errors.New("the term has ended")

// match makes the files say once what the State says, and says whether that is
// that this replica leads.
func (f *StatusFile) match() (leads bool, err error) {
	// The wall clock first: a pause between the two makes the file lapse too
	// early, and never too late (S8).
	wall := f.election.Clock().Wall()
	state := f.election.State()
	now := f.election.Clock().Now()
	if !state.LeadsAt(now) {
		return false, f.remove()
	}
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return true, fmt.Errorf("making the status directory again: %w", err)
	}
	if f.Keep != nil {
		f.Keep()
	}
	err = f.show(state, wall.Add(state.ValidUntil.Sub(now)))
	if errors.Is(err, errLapsed) {
		return false, f.remove()
	}
	return true, err
}

// remove removes the status file, and then the until file.
func (f *StatusFile) remove() error {
	if f.mayExist() {
		if err := f.change(func() error { return makeRoom(f.Path) }); err != nil {
			return fmt.Errorf("removing the status file: %w", err)
		}
		if err := f.change(func() error { return f.image.dirs.clear(filepath.Base(f.Path), filepath.Base(f.image.untilPath())) }); err != nil {
			return fmt.Errorf("removing the status file from a directory that was moved away: %w", err)
		}
		f.setExists(false)
	}
	if f.image.untilThere {
		if err := f.change(func() error { return makeRoom(f.image.untilPath()) }); err != nil {
			return fmt.Errorf("removing the until file: %w", err)
		}
		f.image.until, f.image.untilThere = 0, false
	}
	return nil
}

// show brings the files of a leader up to date.
func (f *StatusFile) show(state lease.State, expiry time.Time) error {
	until := state.ValidUntil.Seconds()
	current, mtime := f.image.look(state.Identity, until)
	if current && f.mayExist() && mtime.Sub(expiry).Abs() < tolerance {
		return nil
	}
	return f.change(func() error {
		if !f.image.untilIs(until) {
			if err := f.writeUntil(until); err != nil {
				return fmt.Errorf("writing the until file: %w", err)
			}
		}
		if !mtime.IsZero() && f.mayExist() && setTime(f.Path, expiry) == nil { // renewed, or the wall clock was set
			return nil
		}
		err := replace(f.Path, state.Identity, expiry, func() error {
			f.setExists(true)
			return f.stillLeads()
		})
		if err != nil {
			return fmt.Errorf("writing the status file: %w", err)
		}
		f.image.dirs.note(filepath.Dir(f.Path))
		return nil
	})
}

func (f *StatusFile) writeUntil(until int64) error {
	f.image.until, f.image.untilThere = 0, true
	if err := replace(f.image.untilPath(), strconv.FormatInt(until, 10)+"\n", time.Time{}, f.stillLeads); err != nil {
		return err
	}
	f.image.until = until
	return nil
}

// stillLeads is asked between a file's being written and its being put in place.
func (f *StatusFile) stillLeads() error {
	if !leadsNow(f.election) {
		return errLapsed
	}
	return nil
}

func (f *StatusFile) change(do func() error) error {
	if f.Touch != nil {
		return f.Touch(do)
	}
	return do()
}

func (i *image) untilPath() string { return i.path + ".until" }

// look says whether both files are there and as they should be but for the
// status file's mtime, which it returns; zero where that file is not ours.
func (i *image) look(identity string, until int64) (current bool, mtime time.Time) {
	info, err := os.Lstat(i.path)
	if err != nil || !info.Mode().IsRegular() || info.Size() != int64(len(identity)) || info.Mode().Perm() != 0o644 {
		return false, time.Time{}
	}
	return i.untilIs(until), info.ModTime()
}

// untilIs says whether the until file is there and says this moment.
func (i *image) untilIs(until int64) bool {
	info, err := os.Lstat(i.untilPath())
	return err == nil && i.until == until && info.Mode().IsRegular() && info.Size() == int64(len(strconv.FormatInt(until, 10))+1)
}
