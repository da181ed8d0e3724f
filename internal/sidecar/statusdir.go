package sidecar

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// statusDir is this process's claim to the place of its status file. One
// process at a time has it: the kernel holds the claim and drops it with the
// process, which makes it proof that the one before is dead.
type statusDir struct {
	path     string // of the status file
	claim    *os.File
	previous string // incarnation of the process that had it before
}

// claimStatusDir makes the directory, claims it, and removes the status file
// that a process before may have left (S5).
func claimStatusDir(path string) (*statusDir, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("the status directory %s can't be made: %w; set STATUS_DIR to a directory that this user (uid %d) may write to", dir, err, os.Getuid())
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, fmt.Errorf("the status file's place %s is a directory: set STATUS_DIR to another one", path)
	}
	f, err := os.OpenFile(path+".incarnation", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, fmt.Errorf("the status directory %s can't be used: %w; set STATUS_DIR to a directory that this user (uid %d) may write to", dir, err, os.Getuid())
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another sidecar uses the status directory %s: give each its own STATUS_DIR", dir)
		}
		return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	content, err := os.ReadFile(f.Name())
	if err == nil {
		err = remove(path)
	}
	if err == nil {
		err = remove(path + ".tmp")
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("what an earlier sidecar left in %s can't be removed: %w; it would tell the app that it leads", dir, err)
	}
	return &statusDir{path: path, claim: f, previous: strings.TrimSpace(string(content))}, nil
}

// sign leaves our incarnation for the process after us.
func (d *statusDir) sign(incarnation string) error {
	if err := d.claim.Truncate(0); err != nil {
		return fmt.Errorf("signing %s: %w", d.claim.Name(), err)
	}
	if _, err := d.claim.WriteAt([]byte(incarnation), 0); err != nil {
		return fmt.Errorf("signing %s: %w", d.claim.Name(), err)
	}
	return nil
}

func (d *statusDir) close() { _ = d.claim.Close() }

// remove makes sure that there is no such file.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
