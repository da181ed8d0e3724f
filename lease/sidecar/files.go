package sidecar

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The app may put anything in the place of our files: a FIFO, whose opening
// blocks, a link to another file, a directory. What follows never waits for such
// a thing, never follows it, and replaces it.

// errNotRegular says that something else than a file is in a file's place.
var errNotRegular = errors.New("not a regular file")

// openRegular opens a regular file, and nothing else.
func openRegular(path string, flags int, mode uint32) (*os.File, error) {
	var fd int
	err := error(unix.EINTR)
	for errors.Is(err, unix.EINTR) {
		fd, err = unix.Open(path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, mode)
	}
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENXIO):
		return nil, fmt.Errorf("%s is %w", path, errNotRegular)
	case err != nil:
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = f.Close()
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = f.Close()
		return nil, fmt.Errorf("%s is %w", path, errNotRegular)
	}
	return f, nil
}

// makeRoom makes sure that there is nothing at path. A directory that has something
// in it is the app's: it is renamed to <path>.foreign- and eight characters.
func makeRoom(path string) error {
	err := os.Remove(path)
	if err == nil || errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) { // its directory is a file
		return nil
	}
	if info, statErr := os.Lstat(path); statErr != nil || !info.IsDir() {
		return err
	}
	if os.Rename(path, path+".foreign-"+rand.Text()[:8]) == nil {
		return nil
	}
	return err
}

// evict makes room at path unless a regular file is there.
func evict(path string) error {
	if info, err := os.Lstat(path); err != nil || info.Mode().IsRegular() {
		return nil
	}
	return makeRoom(path)
}

// replace puts a file of mode 0644 in place at once: it is complete when it can
// be seen. Its mtime is set where one is given. Just before it can be seen,
// ready is asked whether it still should be; nil: yes.
func replace(path, content string, mtime time.Time, ready func() error) error {
	temporary := path + ".tmp"
	err := create(temporary, content)
	if err == nil && !mtime.IsZero() {
		err = setTime(temporary, mtime)
	}
	if err == nil && ready != nil {
		err = ready()
	}
	if err == nil {
		if err = os.Rename(temporary, path); err != nil && evict(path) == nil {
			err = os.Rename(temporary, path) // it was a directory
		}
	}
	if err != nil {
		_ = os.Remove(temporary)
	}
	return err
}

// create makes a new file of mode 0644, whatever the umask and whatever is there.
func create(path, content string) error {
	if err := makeRoom(path); err != nil {
		return err
	}
	f, err := openRegular(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Chmod(0o644), f.Close())
}

// setTime sets the mtime of what is at path, and not of what it links to.
func setTime(path string, t time.Time) error {
	ts := unix.NsecToTimespec(t.UnixNano())
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: path, Err: err}
	}
	return nil
}

// isFull says whether an error is about space, which others take and free.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
