package sidecar

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// statusDir is this process's claim to the place of its status file. One
// process at a time has it: the kernel holds the claim and drops it with the
// process, which makes a claim that succeeds proof that the ones before are dead.
//
// The claim is a record lock on one byte of <status file>.incarnation, far
// behind its end. The file lists the processes that had the claim, newest last.
// A process that has no claim signs nothing, so that nothing can be concluded
// from the claim's being free.
type statusDir struct {
	path string   // of the status file
	own  string   // this process's incarnation
	dead []string // incarnations of processes that had the claim before
	odd  []string // what was found in our files' places, to be logged

	mu       sync.Mutex // guards claims
	claims   []*os.File // newest last. None is given up: a file that was moved away may come back
	unsigned bool       // the newest claim is ours, and its disk was full
	lost     problem
}

const (
	claimByte   = 0x6c656164 // offset of the byte that is locked
	maxDead     = 16         // incarnations listed
	maxClaims   = 8          // files claimed by one process
	maxListSize = 8 << 10
)

var (
	errAnotherSidecar = errors.New("another sidecar has claimed it")
	errForeignLock    = errors.New("something that is not a sidecar holds a lock on it")
)

// claimStatusDir makes the directory, claims it, removes the status file that a
// process before may have left (S5), and signs as the process named own.
func claimStatusDir(path, own string) (*statusDir, error) {
	dir := filepath.Dir(path)
	d := &statusDir{path: path, own: own}
	unusable := func(err error) error {
		d.close()
		return fmt.Errorf("the status directory %s can't be used: %w; set STATUS_DIR to a directory that this user (uid %d) may write to", dir, err, os.Getuid())
	}
	if err := os.MkdirAll(dir, 0o755); err != nil && !isFull(err) {
		return nil, unusable(err)
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, unusable(err)
	}
	list, err := d.acquire()
	if errors.Is(err, errAnotherSidecar) {
		return nil, fmt.Errorf("another sidecar uses the status directory %s: give each its own STATUS_DIR", dir)
	}
	for _, name := range []string{path, path + ".until", path + ".tmp", path + ".until.tmp"} {
		if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() {
			d.odd = append(d.odd, fmt.Sprintf("%s was not a regular file (%v) and was moved out of the way: only the sidecar may write there", name, info.Mode().Type()))
		}
		if err := makeRoom(name); err != nil {
			d.close()
			return nil, fmt.Errorf("%s can't be removed: %w; an app that reads it would take this pod for the leader. Remove it, or set STATUS_DIR to another directory", name, err)
		}
	}
	if err == nil {
		d.dead = list
		err = d.sign()
	}
	if err != nil {
		d.odd = append(d.odd, fmt.Sprintf("%s.incarnation can't be used (%v): after a restart of this container, the next sidecar has to wait for its own Lease to expire", path, err))
	}
	return d, nil
}

// acquire opens and claims the file, and returns the processes that it lists.
func (d *statusDir) acquire() ([]string, error) {
	name := d.path + ".incarnation"
	f, err := openRegular(name, unix.O_RDWR|unix.O_CREAT, 0o600)
	if errors.Is(err, errNotRegular) {
		if err = makeRoom(name); err == nil {
			f, err = openRegular(name, unix.O_RDWR|unix.O_CREAT, 0o600)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := lockClaim(f); err != nil {
		_ = f.Close()
		return nil, err
	}
	d.claims = append(d.claims, f)
	// Versions before this one had a flock, and no other lock, for the claim.
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errForeignLock
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return nil, fmt.Errorf("uid %d may write to it (mode %o)", st.Uid, st.Mode&0o777)
	}
	if err := f.Chmod(0o600); err != nil { // so that no app of another user can lock it
		return nil, err
	}
	content, err := io.ReadAll(io.NewSectionReader(f, 0, maxListSize))
	if err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(strings.Fields(string(content)), func(s string) bool { return !isIncarnation(s) })
	return list[max(0, len(list)-maxDead):], nil
}

var isIncarnation = regexp.MustCompile(`^[0-9A-Za-z.-]{1,128}$`).MatchString

// sign leaves our incarnation for the process after us.
func (d *statusDir) sign() error {
	list := append(slices.Clone(d.dead[max(0, len(d.dead)-maxDead+1):]), d.own)
	content := strings.Join(list, "\n") + "\n"
	f := d.claims[len(d.claims)-1]
	d.unsigned = true
	if _, err := f.WriteAt([]byte(content), 0); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(content))); err != nil {
		return err
	}
	d.unsigned = false
	return nil
}

// keep claims the directory again where the claim's file is gone, as after
// someone has removed the directory, and signs where the disk was full before.
func (d *statusDir) keep(log *slog.Logger) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := d.path + ".incarnation"
	if d.unsigned && d.claimed(name) {
		_ = d.sign()
	}
	if len(d.claims) == 0 || len(d.claims) == maxClaims || d.claimed(name) {
		return
	}
	if d.lost.log == nil {
		d.lost = problem{
			log: log, level: slog.LevelWarn, over: "the status directory is locked again",
			says: "the sidecar's lock on the status directory is lost; retrying. Let nothing but the sidecar write " + name,
		}
	}
	_, err := d.acquire()
	if err == nil {
		err = d.sign()
	}
	d.lost.report(err)
}

// claimed says whether the file at name is one that this process has claimed.
func (d *statusDir) claimed(name string) bool {
	there, err := os.Lstat(name)
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	return slices.ContainsFunc(d.claims, func(f *os.File) bool {
		ours, err := f.Stat()
		return err == nil && os.SameFile(there, ours)
	})
}

func (d *statusDir) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.claims {
		_ = f.Close()
	}
	d.claims = nil
}
