package sidecar

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// handoverRig is a handover of an app that never took the work lock.
type handoverRig struct {
	*handover
	retire atomic.Bool
	stop   context.CancelFunc
	log    leasetest.Buffer
}

func newHandoverRig(t *testing.T, environ ...string) *handoverRig {
	t.Helper()
	cfg, err := LoadConfig(append(required, environ...))
	check(t, err)
	election := cfg.Election()
	election.Complete()
	stopping, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	r := &handoverRig{handover: newHandover(cfg, &election, stopping), stop: stop}
	r.handover.log = logTo(&r.log)
	r.lock = openedLock(t, filepath.Join(t.TempDir(), "leader_status.lock"))
	r.retired = r.retire.Load
	return r
}

// An app whose probe fails may still be shutting down. Where its pod is being deleted,
// the SIGTERM after its end tells when it has stopped.
func TestA7_AProbeThatFailsIsNoProofForAPodThatIsBeingDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name    string
			retired bool
			stop    time.Duration // SIGTERM
			want    time.Duration
		}{
			{"a pod that stays", false, time.Hour, 5 * time.Second},
			{"a pod that is being deleted", true, 20 * time.Second, 20 * time.Second},
			{"one whose SIGTERM comes soon", true, time.Second, time.Second},
		} {
			r := newHandoverRig(t, "RELEASE_DELAY=0")
			r.retire.Store(c.retired)
			start, sigterm := time.Now(), time.AfterFunc(c.stop, r.stop)
			err := r.wait(context.Background(), lease.AppLost)
			if after := time.Since(start); err != nil || after != c.want {
				t.Errorf("%s: released after %v, want %v, %v", c.name, after, c.want, err)
			}
			sigterm.Stop()
		}
	})
}

// An app that was restarted before the status file was gone may be at work: the end of
// the one before proves nothing about it.
func TestA2_TheEndOfTheAppBeforeProvesNothing(t *testing.T) {
	r := newHandoverRig(t)
	alive := newAppLock(filepath.Join(t.TempDir(), "leader_status"), r.handover.log, func(bool) {})
	_, err := alive.openHeld()
	check(t, err)
	first := app(t, alive.path, unix.LOCK_SH)
	if alive.free(t.Context()) {
		t.Error("an app that has the lock is taken for ended")
	}
	second := app(t, alive.path, unix.LOCK_SH)
	check(t, first.Close())
	if alive.free(t.Context()) {
		t.Error("an app that was restarted is taken for ended")
	}
	check(t, second.Close())
	if !alive.free(t.Context()) {
		t.Error("the end of the app is not seen")
	}
}

// The proof counts though the app is back before the Lease is released: what began after
// the status file was gone does no work.
func TestA2_AnAppThatIsBackAfterTheFileWasGoneIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		r := newHandoverRig(t, "RELEASE_DELAY=never")
		r.file = f.StatusFile
		f.loseLeadership()
		looks := 0
		r.appEnded = func(context.Context) bool { looks++; return looks == 1 }
		start := time.Now()
		if err := r.run(context.Background(), lease.AppLost); err != nil || time.Since(start) > time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// Nothing is sent to an app that has ended, and a pod that is being deleted leaves its
// Services in any case: their label is not waited for.
func TestS6_TheLabelThatIsNotWaitedFor(t *testing.T) {
	for _, c := range []struct{ retired, ended, waits bool }{{waits: true}, {retired: true}, {ended: true}} {
		synctest.Test(t, func(t *testing.T) {
			f := follow(t)
			r := newHandoverRig(t, "RELEASE_DELAY=0")
			r.file = f.StatusFile
			f.loseLeadership()
			r.label = &podLabel{questions: make(chan chan struct{})} // it answers no one
			r.label.mayShow.Store(true)
			r.retire.Store(c.retired)
			r.appEnded = func(context.Context) bool { return c.ended }
			start := time.Now()
			check(t, r.run(t.Context(), lease.Stopping))
			if took := time.Since(start); (took >= r.labelLimit) != c.waits {
				t.Errorf("%+v: waited for %v", c, took)
			}
		})
	}
}
