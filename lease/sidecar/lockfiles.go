package sidecar

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// lockFiles are the files that were seen in the work lock's place. An app that
// has a lock on an earlier one works, although another is there now: after
// someone has made the file again, or a handover has replaced it.
type lockFiles struct {
	path     string
	known    []*lockFile // newest last
	overflow bool        // one that was held had to be forgotten
}

const (
	maxKnown    = 16 // lock files watched
	maxDraining = 8  // of which the sidecar itself has put so many aside
)

// aside is the n-th name under which a replaced lock file is kept, so that a
// sidecar that is restarted in the middle of a handover finds it.
func (l *lockFiles) aside(n int) string { return fmt.Sprintf("%s.%d", l.path, n) }

// open makes the lock file where there is none, and finds those put aside.
func (l *lockFiles) open() error {
	for n := range maxDraining {
		if f, err := openLock(l.aside(n + 1)); err == nil {
			f.aside = l.aside(n + 1)
			l.known = append(l.known, f)
		}
	}
	if err := evict(l.path); err != nil {
		return err
	}
	if err := makeLock(l.path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	err := l.see()
	l.tidy()
	return err
}

// makeLock makes a lock's file, which every user may open. One that is there is an error.
func makeLock(path string) error {
	f, err := openRegular(path, unix.O_RDONLY|unix.O_CREAT|unix.O_EXCL, 0o644)
	if err == nil {
		err = errors.Join(f.Chmod(0o644), f.Close())
	}
	return err
}

// see looks which file is there, and keeps it open. A missing one is no error:
// no app can come to have a lock on it.
func (l *lockFiles) see() error {
	there, err := os.Lstat(l.path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) { // its directory is a file
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range l.known {
		if os.SameFile(f.info, there) {
			return nil
		}
	}
	f, err := openLock(l.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	l.makeSpace()
	l.known = append(l.known, f)
	return nil
}

// errOverflow says that a lock file on which an app held a lock had to be
// forgotten. Its lock can't be looked at any more.
var errOverflow = fmt.Errorf("more than %d files were in its place, each with a lock held on it", maxKnown)

// held returns the files that an app has a lock on. An error says that there may
// be others: whatever is in the lock's place, the known files are asked.
func (l *lockFiles) held() (held []*lockFile, err error) {
	err = l.see()
	for _, f := range l.known {
		taken, lookErr := f.held()
		if taken {
			held = append(held, f)
		}
		err = errors.Join(err, lookErr)
	}
	if l.overflow {
		err = errors.Join(err, errOverflow)
	}
	return held, err
}

// replace returns what held does. Where the present file is among those held, it
// is put aside, and a new one takes its place; where that fails, it is waited for
// where it is.
func (l *lockFiles) replace() ([]*lockFile, error) {
	draining, err := l.held()
	there, statErr := os.Lstat(l.path)
	for _, f := range draining {
		if statErr == nil && f.aside == "" && os.SameFile(f.info, there) {
			l.putAside(f)
		}
	}
	if err == nil {
		err = l.see()
	}
	return draining, err
}

func (l *lockFiles) putAside(f *lockFile) {
	for n := range maxDraining {
		name := l.aside(n + 1)
		if os.Link(l.path, name) != nil {
			continue // one that still drains, or a file system without links
		}
		linked, err := os.Lstat(name)
		if err == nil && os.SameFile(f.info, linked) && replace(l.path, "", time.Time{}, nil) == nil {
			f.aside = name
			return
		}
		_ = os.Remove(name)
		return
	}
}

// tidy forgets files that can't be locked any more: not in place, and open
// nowhere else.
func (l *lockFiles) tidy() {
	there, _ := os.Lstat(l.path)
	kept := l.known[:0]
	for _, f := range l.known {
		if there != nil && os.SameFile(f.info, there) || !f.unreachable() {
			kept = append(kept, f)
			continue
		}
		f.forget()
	}
	l.known = kept
}

// makeSpace forgets the oldest file that is free where there are too many.
func (l *lockFiles) makeSpace() {
	if len(l.known) < maxKnown {
		return
	}
	if l.tidy(); len(l.known) < maxKnown {
		return
	}
	oldest := 0
	for i, f := range l.known {
		if held, err := f.held(); err == nil && !held {
			oldest = i
			break
		}
		if i == len(l.known)-1 {
			l.overflow = true
		}
	}
	l.known[oldest].forget()
	l.known = append(l.known[:oldest], l.known[oldest+1:]...)
}

func (l *lockFiles) close() {
	for _, f := range l.known {
		f.forgetOpen()
	}
	l.known = nil
}

// lockFile is one file that is or was in the work lock's place.
type lockFile struct {
	file  *os.File
	info  os.FileInfo
	aside string // the name it was put aside under; empty: it was not

	mu      sync.Mutex
	waiting *waiting
}

// waiting is one blocking wait for a lock file to be free. It can't be
// cancelled: later handovers share it.
type waiting struct {
	done chan struct{}
	err  error
}

func openLock(path string) (*lockFile, error) {
	// NFS wants a file open for writing for an exclusive lock. Any other file
	// system takes the lock of a reader.
	f, err := openRegular(path, unix.O_RDWR, 0)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) {
		f, err = openRegular(path, unix.O_RDONLY, 0)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &lockFile{file: f, info: info}, nil
}

// held says whether someone has a lock on the file now.
func (f *lockFile) held() (bool, error) {
	err := flock(f.file, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("locking %s: %w", f.file.Name(), err)
	}
	return false, flock(f.file, unix.LOCK_UN)
}

// free returns a wait that is over once the file has been free for a moment.
func (f *lockFile) free() *waiting {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting == nil {
		w := &waiting{done: make(chan struct{})}
		f.waiting = w
		go func() {
			if w.err = flock(f.file, unix.LOCK_EX); w.err == nil {
				w.err = flock(f.file, unix.LOCK_UN)
			}
			f.mu.Lock()
			f.waiting = nil
			f.mu.Unlock()
			close(w.done)
		}()
	}
	return f.waiting
}

// unreachable says whether nothing but this process has the file open, so that,
// having no name that apps know, it can't be locked any more. A write lease
// (fcntl F_SETLEASE) is granted only then.
func (f *lockFile) unreachable() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting != nil || setLease(f.file, unix.F_WRLCK) != nil {
		return false
	}
	_ = setLease(f.file, unix.F_UNLCK)
	return true
}

func (f *lockFile) forget() {
	if f.aside != "" {
		_ = os.Remove(f.aside)
	}
	f.forgetOpen()
}

func (f *lockFile) forgetOpen() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting == nil { // else its descriptor is in use
		_ = f.file.Close()
	}
}

func flock(f *os.File, how int) error {
	err := error(unix.EINTR)
	for errors.Is(err, unix.EINTR) {
		err = unix.Flock(int(f.Fd()), how)
	}
	return err
}
