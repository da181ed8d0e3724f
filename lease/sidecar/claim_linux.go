package sidecar

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// lockClaim takes the record lock. It belongs to the open file: no other open
// or close of the same path, by this process or another, drops it.
func lockClaim(f *os.File) error {
	claim := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: claimByte, Len: 1}
	for {
		lock, holder := claim, claim
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			return err
		}
		if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &holder); err != nil {
			return err
		}
		switch {
		case holder.Type == unix.F_UNLCK: // dropped between the two calls
		case holder.Type == unix.F_WRLCK && holder.Start == claimByte && holder.Len == 1:
			return errAnotherSidecar
		default:
			return errForeignLock
		}
	}
}
