package sidecar

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// lockRig is a work lock that a sidecar has begun to watch.
type lockRig struct {
	*workLock
	log leasetest.Buffer
}

func newLockRig(t *testing.T) *lockRig {
	t.Helper()
	r := &lockRig{}
	r.workLock = openedLock(t, filepath.Join(t.TempDir(), "leader_status.lock"))
	r.workLock.log = logTo(&r.log)
	return r
}

// restarted is the lock as the next process finds it.
func (r *lockRig) restarted(t *testing.T) *lockRig {
	t.Helper()
	return &lockRig{workLock: openedLock(t, r.path)}
}

func openedLock(t *testing.T, path string) *workLock {
	t.Helper()
	l := newWorkLock(path)
	check(t, l.files.open())
	t.Cleanup(l.close)
	return l
}

// stopped is the answer of appStopped, for an app that is given no delay.
func (r *lockRig) stopped(ctx context.Context) <-chan error {
	answer := make(chan error, 1)
	go func() { answer <- r.appStopped(ctx, ended, func(context.Context) error { return nil }) }()
	return answer
}

// ended is the context of a process that has to end.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// app takes a lock on the file that is at path now.
func app(t *testing.T, path string, how int) *os.File {
	t.Helper()
	f, err := os.Open(path)
	check(t, err)
	t.Cleanup(func() { _ = f.Close() })
	check(t, unix.Flock(int(f.Fd()), how))
	return f
}

// awaited is the answer of appStopped once that has said that it waits.
func (r *lockRig) awaited(t *testing.T, ctx context.Context) <-chan error {
	t.Helper()
	said := func() int { return strings.Count(r.log.String(), "waiting for the app") }
	before := said()
	answer := r.stopped(ctx)
	for said() == before {
		select {
		case err := <-answer:
			t.Fatalf("the app is taken for stopped: %v", err)
		default:
			time.Sleep(time.Millisecond) // until it has said so
		}
	}
	return answer
}

// isWaiting checks that no answer comes while ctx is alive, and that its end ends the wait.
func isWaiting(t *testing.T, r *lockRig) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	answer := r.awaited(t, ctx)
	cancel()
	if err := <-answer; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestS6_TheLeaseIsKeptWhileTheAppHoldsTheWorkLock(t *testing.T) {
	r := newLockRig(t)
	a := app(t, r.path, unix.LOCK_SH)
	isWaiting(t, r)
	answer := r.stopped(t.Context())
	check(t, a.Close())
	check(t, <-answer)
	if r.used.Load() {
		t.Error("the next leader's app is taken for the same")
	}
}

// A lock file that someone has made again says nothing about the first one.
func TestS6_ALockFileMadeAgainHidesNoHolder(t *testing.T) {
	r := newLockRig(t)
	app(t, r.path, unix.LOCK_EX)
	check(t, os.Remove(r.path))
	r.keep()
	if !exists(r.path) {
		t.Fatal("the lock file is not made again")
	}
	isWaiting(t, r)
	check(t, os.Remove(r.path)) // nor does a missing one
	isWaiting(t, r)
}

// What can't be looked at counts as held: the Lease is kept.
func TestS6_AWorkLockThatCantBeReadKeepsTheLease(t *testing.T) {
	for kind, put := range foreign {
		t.Run(kind, func(t *testing.T) {
			r := newLockRig(t)
			check(t, os.Remove(r.path))
			put(t, r.path)
			if err := <-r.stopped(t.Context()); !errors.Is(err, lease.ErrKeepLease) {
				t.Fatal(err)
			}
			if log := r.log.String(); !strings.Contains(log, "can't be read") || !strings.Contains(log, "Make sure that "+r.path) {
				t.Errorf("not said: %s", log)
			}
		})
	}
}

// Something else in the lock's place hides no holder of the file that was there:
// the sidecar waits for it, and then lets the Lease expire.
func TestS6_SomethingElseInTheLocksPlaceHidesNoHolder(t *testing.T) {
	for kind, put := range foreign {
		t.Run(kind, func(t *testing.T) {
			r := newLockRig(t)
			a := app(t, r.path, unix.LOCK_EX)
			check(t, os.Remove(r.path))
			put(t, r.path)
			if held, err := r.look(t.Context()); !held || err == nil {
				t.Errorf("held: %v, %v", held, err)
			}
			isWaiting(t, r)
			answer := r.awaited(t, t.Context())
			check(t, a.Close())
			if err := <-answer; !errors.Is(err, lease.ErrKeepLease) {
				t.Fatal(err)
			}
		})
	}
}

// A step-down keeps the Lease for as long as the work lock can't be read. A
// process that has to end does not wait for that.
func TestS6_AStepDownWaitsUntilTheWorkLockCanBeRead(t *testing.T) {
	for name, readable := range map[string]bool{"readable again": true, "stop": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, stop := newTestHandover(t)
				var log leasetest.Buffer
				h.lock.log = logTo(&log)
				check(t, os.Remove(h.lock.path))
				foreign["FIFO"](t, h.lock.path)
				answer := make(chan error, 1)
				go func() { answer <- h.run(context.Background(), lease.SteppingDown) }()
				passes(10*time.Minute - time.Second/2)
				if len(answer) != 0 {
					t.Fatalf("the Lease is not kept: %v", <-answer)
				}
				if n := strings.Count(log.String(), "can't be read"); n != 10 {
					t.Errorf("said %d times in 10 minutes", n)
				}
				if !readable {
					stop()
					if err := <-answer; !errors.Is(err, lease.ErrKeepLease) {
						t.Fatal(err)
					}
					return
				}
				check(t, os.Remove(h.lock.path))
				h.lock.keep()
				check(t, <-answer)
				if !strings.Contains(log.String(), "can be read again") {
					t.Errorf("not said: %s", log.String())
				}
			})
		})
	}
}

// A step-down does not wait where waiting can't help: a holder was forgotten.
func TestS6_AStepDownWithAForgottenHolderLetsTheLeaseExpire(t *testing.T) {
	h, _ := newTestHandover(t)
	h.lock.files.overflow = true
	if err := h.run(t.Context(), lease.SteppingDown); !errors.Is(err, lease.ErrKeepLease) {
		t.Fatal(err)
	}
}

// Holders of a shared lock that take turns without a gap don't keep the sidecar
// waiting: it does not wait for those who come after the status file is gone.
func TestS6_OverlappingHoldersDrain(t *testing.T) {
	r := newLockRig(t)
	first := app(t, r.path, unix.LOCK_SH)
	answer := r.stopped(t.Context())
	before, err := first.Stat()
	check(t, err)
	for { // until the new file is in place
		now, err := os.Stat(r.path)
		check(t, err)
		if !os.SameFile(before, now) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	app(t, r.path, unix.LOCK_SH) // held to the end of the test
	select {
	case err := <-answer:
		t.Fatalf("the first holder is not waited for: %v", err)
	default:
	}
	check(t, first.Close())
	check(t, <-answer)
}

// A restart in the middle of a handover forgets no holder.
func TestS6_ARestartWhileTheLockDrainsForgetsNoHolder(t *testing.T) {
	r := newLockRig(t)
	a := app(t, r.path, unix.LOCK_EX)
	isWaiting(t, r)
	next := r.restarted(t)
	if held, err := next.look(t.Context()); !held || err != nil {
		t.Fatalf("held: %v, %v", held, err)
	}
	check(t, a.Close())
	if held, err := r.restarted(t).look(t.Context()); held || err != nil {
		t.Fatalf("held: %v, %v", held, err)
	}
}

// An app that keeps the lock file open and locks it for each piece of work is
// seen after handovers that replaced the file, too.
func TestS6_AnAppThatKeepsTheFileOpenIsSeenAfterItWasReplaced(t *testing.T) {
	r := newLockRig(t)
	a := app(t, r.path, unix.LOCK_SH)
	for range 3 * maxKnown { // contested handovers
		other := app(t, r.path, unix.LOCK_SH)
		answer := r.awaited(t, t.Context())
		check(t, other.Close())
		check(t, unix.Flock(int(a.Fd()), unix.LOCK_UN))
		check(t, <-answer)
		check(t, unix.Flock(int(a.Fd()), unix.LOCK_SH))
	}
	if held, err := r.restarted(t).look(t.Context()); !held || err != nil {
		t.Fatalf("held: %v, %v", held, err)
	}
	if held, err := r.look(t.Context()); !held || err != nil {
		t.Fatalf("held: %v, %v", held, err)
	}
}

// The files of earlier handovers go as soon as no process has them open.
func TestS6_ReplacedLockFilesGo(t *testing.T) {
	r := newLockRig(t)
	for range 3 * maxKnown {
		a := app(t, r.path, unix.LOCK_EX)
		answer := r.awaited(t, t.Context())
		check(t, a.Close())
		check(t, <-answer)
	}
	if n := len(r.files.known); n > 2 {
		t.Errorf("%d files are kept open", n)
	}
	left, err := filepath.Glob(r.path + ".*")
	check(t, err)
	if len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

// RELEASE_DELAY=0 says that the app was stopped first. That is so when the
// process is asked to end, and never at a step-down.
func TestS6_ReleaseDelay0HoldsForAStopAlone(t *testing.T) {
	for cause, want := range map[lease.Cause]time.Duration{lease.Stopping: 0, lease.SteppingDown: 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			h, stop := newTestHandover(t, "RELEASE_DELAY=0")
			if cause == lease.Stopping {
				stop()
			}
			start := time.Now()
			check(t, h.run(t.Context(), cause))
			if took := time.Since(start); took != want {
				t.Errorf("cause %v: after %v, want %v", cause, took, want)
			}
		})
	}
}

// A process that has to end during a step-down does not wait longer than for a stop.
func TestS6_AStopDuringAStepDownEndsItsDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := newTestHandover(t, "RELEASE_DELAY=0")
		start := time.Now()
		time.AfterFunc(2*time.Second, stop)
		check(t, h.run(t.Context(), lease.SteppingDown))
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("after %v", took)
		}
	})
}

// newTestHandover is a handover of a replica that has no status file.
func newTestHandover(t *testing.T, environ ...string) (*handover, context.CancelFunc) {
	t.Helper()
	cfg, err := LoadConfig(append(required, environ...))
	check(t, err)
	election := cfg.Election()
	election.Complete()
	stopping, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	h := newHandover(cfg, &election, stopping)
	h.log, h.lock = discard, newLockRig(t).workLock
	h.file = NewStatusFile(filepath.Join(t.TempDir(), "leader_status"), newTold(), discard)
	return h, stop
}

// A process that has to end gives up on a file system that hangs, and keeps the
// Lease; one that steps down tries on.
func TestS11_TheEndOfTheProcessIsNotHeldUpByAHungFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := newTestHandover(t)
		h.file.setExists(true) // and nothing removes it
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		answer := make(chan error, 1)
		go func() { answer <- h.run(ctx, lease.SteppingDown) }()
		passes(time.Hour)
		if len(answer) != 0 {
			t.Fatalf("a step-down does not keep the Lease: %v", <-answer)
		}
		start := time.Now()
		stop()
		if err := <-answer; !errors.Is(err, lease.ErrKeepLease) || time.Since(start) != 10*time.Second {
			t.Fatalf("after %v: %v", time.Since(start), err)
		}
		go func() { answer <- h.run(ctx, lease.Stopping) }()
		synctest.Wait()
		cancel()
		if err := <-answer; !errors.Is(err, context.Canceled) {
			t.Fatalf("its context ends: %v", err)
		}
		time.Sleep(time.Minute)
	})
}

// A lock file whose directory has become a file is missing: it hides no holder,
// and does not keep a step-down waiting.
func TestS6_ALockWhoseDirectoryIsAFileIsMissing(t *testing.T) {
	r := newLockRig(t)
	a := app(t, r.path, unix.LOCK_EX)
	dir := filepath.Dir(r.path)
	check(t, os.RemoveAll(dir))
	write(t, dir, "not a directory")
	isWaiting(t, r)
	check(t, a.Close())
	check(t, <-r.stopped(t.Context()))
}

// lockedBy starts a process that takes a lock on the file at path, and returns its number.
func lockedBy(t *testing.T, path string) string {
	t.Helper()
	cmd := exec.Command("flock", "--no-fork", path, "sh", "-c", "echo locked; exec sleep 60")
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	_, err = out.Read(make([]byte, 1))
	check(t, err)
	return fmt.Sprintf("process %d (", cmd.Process.Pid)
}
