//go:build !linux

package sidecar

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockClaim takes the flock, which an app may hold too: only Linux has record
// locks that belong to an open file.
func lockClaim(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errAnotherSidecar
	}
	return err
}
