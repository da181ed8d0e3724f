package sidecar

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// dirs are the directories in which this process has put its files, kept open. One
// may be moved away while an app still reads it: through a mount of it, or as its
// working directory.
type dirs []*os.File

// maxDirs bounds how many are kept open.
const maxDirs = 8

// note keeps the directory at path open. Where that is refused, it is not moved away
// as far as this process can tell.
func (d *dirs) note(path string) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	for _, known := range *d {
		if is, err := known.Stat(); err == nil && os.SameFile(is, info) {
			return
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return
	}
	if len(*d) == maxDirs {
		_ = (*d)[0].Close()
		*d = (*d)[1:]
	}
	*d = append(*d, f)
}

// clear removes the files of these names from each, and forgets them.
func (d *dirs) clear(names ...string) error {
	var errs []error
	for _, dir := range *d {
		for _, name := range names {
			err := unix.Unlinkat(int(dir.Fd()), name, 0)
			if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EISDIR) {
				errs = append(errs, &os.PathError{Op: "unlinkat", Path: name, Err: err})
			}
		}
	}
	if errs == nil {
		for _, dir := range *d {
			_ = dir.Close()
		}
		*d = nil
	}
	return errors.Join(errs...)
}
