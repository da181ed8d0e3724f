package sidecar

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// An app that takes the work lock while it is given its delay is waited for.
func TestS6_AnAppThatTakesTheLockDuringItsDelay(t *testing.T) {
	r := newLockRig(t)
	answer, taken := make(chan error, 1), make(chan *os.File, 1)
	go func() {
		answer <- r.appStopped(t.Context(), ended, func(context.Context) error { taken <- app(t, r.path, unix.LOCK_SH); return nil })
	}()
	lock := <-taken
	select {
	case err := <-answer:
		t.Fatalf("released while the app holds the lock: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	check(t, lock.Close())
	check(t, <-answer)
}

// An alive lock that is made again while the app holds the first one proves nothing.
func TestA2_AnAliveLockMadeAgainIsNoProof(t *testing.T) {
	r := newHandoverRig(t)
	changes := make(chan bool, 4)
	alive := newAppLock(filepath.Join(t.TempDir(), "leader_status"), r.handover.log, func(a bool) { changes <- a })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go alive.watch(ctx)
	for !exists(alive.path) {
		time.Sleep(time.Millisecond)
	}
	lock := app(t, alive.path, unix.LOCK_SH)
	<-changes
	check(t, os.Remove(alive.path))
	if alive.free(t.Context()) {
		t.Error("an app that has the lock is taken for ended")
	}
	check(t, lock.Close())
	if <-changes || !alive.free(t.Context()) {
		t.Error("an app that has ended is taken for alive")
	}
}

// Whether the app has ended is asked only when the status file is gone.
func TestA2_TheAppsEndIsAskedAfterTheFileIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		var asked atomic.Bool
		h := newHandoverRig(t).handover
		h.file, h.appEnded = f.StatusFile, func(context.Context) bool { asked.Store(true); return true }
		answer := f.hangs()
		f.elector.StepDown("test")
		done := make(chan error, 1)
		go func() { done <- h.run(t.Context(), lease.SteppingDown) }()
		synctest.Wait()
		if asked.Load() {
			t.Error("asked while the file is there")
		}
		answer()
		if err := <-done; err != nil || !asked.Load() {
			t.Errorf("asked: %v, %v", asked.Load(), err)
		}
	})
}

// What can't be used is named.
func TestAKubeconfigThatIsMissingIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if _, err := (&Config{Kubeconfig: path}).connect(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
}

// After a 101 a connection has no time limit any more. A probe ends all the same, and it
// is no success.
func TestAProbeEndsThatAnswers101(t *testing.T) {
	var log leasetest.Buffer
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
		}
	}()
	p := newAppProbe("http://me:secret@"+l.Addr().String(), logTo(&log), func(bool) {})
	answered := make(chan error, 1)
	go func() { answered <- p.ask(t.Context()) }()
	select {
	case err := <-answered:
		if err == nil || !strings.Contains(err.Error(), "101") || strings.Contains(p.shown+err.Error(), "secret") {
			t.Errorf("%v; %s", err, p.shown)
		}
	case <-time.After(time.Minute):
		t.Fatal("the probe does not end")
	}
}

// A6: where no app is alive, status says that the term is over and no replica leads.
func TestStatusSaysThatATermIsOver(t *testing.T) {
	r := newStreamRig(t, time.Hour)
	says := func() string { return strings.Join(r.server.standing().Why, "; ") }
	now := r.election.Clock().Now()
	r.election.is(func(s *lease.State) {
		*s = lease.State{Identity: "me", Leader: "other", Synced: true, Role: lease.Following, Down: true, LapsesAt: now.Add(time.Hour)}
	})
	if why := says(); !strings.Contains(why, "other holds the Lease") {
		t.Error(why)
	}
	r.election.is(func(s *lease.State) { s.LapsesAt = now })
	if why := says(); !strings.Contains(why, "the term of other is over: no replica leads") {
		t.Error(why)
	}
}
