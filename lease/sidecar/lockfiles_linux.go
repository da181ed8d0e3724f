package sidecar

import (
	"os"

	"golang.org/x/sys/unix"
)

func setLease(f *os.File, kind int) error {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, kind)
	return err
}
