package sidecar

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// appRig is an app's life as the sidecar is told of it.
type appRig struct {
	changes chan bool
	log     leasetest.Buffer
}

func (r *appRig) is(t *testing.T, want bool) {
	t.Helper()
	select {
	case got := <-r.changes:
		if got != want {
			t.Fatalf("the app lives: %v, want %v\n%s", got, want, r.log.String())
		}
	case <-time.After(time.Minute):
		t.Fatalf("nothing was told\n%s", r.log.String())
	}
}

// watched runs watch, which tells of changes, until the test ends.
func (r *appRig) watched(t *testing.T, watch func(context.Context)) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); watch(ctx) }()
	t.Cleanup(func() { stop(); <-done })
}

func followLock(t *testing.T) (r *appRig, path string) {
	r, path = &appRig{changes: make(chan bool, 16)}, filepath.Join(t.TempDir(), "leader_status")
	lock := newAppLock(path, logTo(&r.log), func(alive bool) { r.changes <- alive })
	r.watched(t, lock.watch)
	return r, lock.path
}

// taken takes a lock as an app does, on the file at path once that is there.
func taken(t *testing.T, path string, how int) *os.File {
	t.Helper()
	for start := time.Now(); !exists(path); time.Sleep(time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatalf("%s is not there", path)
		}
	}
	return app(t, path, how)
}

func TestA1_TheAppLivesWhileItHasTheLock(t *testing.T) {
	for name, how := range map[string]int{"exclusive": unix.LOCK_EX, "shared": unix.LOCK_SH} {
		t.Run(name, func(t *testing.T) {
			r, path := followLock(t)
			for range 3 {
				f := taken(t, path, how)
				r.is(t, true)
				check(t, f.Close()) // as the kernel does when the process ends
				r.is(t, false)
			}
		})
	}
}

// While two processes of the app have the lock, the end of one is not the app's.
func TestA2_TheLastHolderCounts(t *testing.T) {
	r, path := followLock(t)
	one, two := taken(t, path, unix.LOCK_SH), taken(t, path, unix.LOCK_SH)
	r.is(t, true)
	check(t, one.Close())
	select {
	case <-r.changes:
		t.Fatal("the app is taken for ended while a process of it has the lock")
	case <-time.After(3 * lookForAppEvery):
	}
	check(t, two.Close())
	r.is(t, false)
}

// Whatever is put in the file's place, and when it is removed under the app.
func TestA2_AHostileVolume(t *testing.T) {
	r, path := followLock(t)
	f := taken(t, path, unix.LOCK_EX)
	r.is(t, true)
	check(t, os.Remove(path))
	check(t, unix.Mkfifo(path, 0o644))
	check(t, f.Close())
	r.is(t, false)
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
			break
		}
		if time.Since(start) > time.Minute {
			t.Fatal("the FIFO was not replaced")
		}
	}
	taken(t, path, unix.LOCK_EX)
	r.is(t, true)
}

// A probe that fails now and then is no loss, and one success is no life.
func TestA4_TheProbeTellsAfterThreeEqualAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var status atomic.Int32
		status.Store(http.StatusInternalServerError)
		r := &appRig{changes: make(chan bool, 16)}
		p := newAppProbe("http://app/healthz", logTo(&r.log), func(alive bool) { r.changes <- alive })
		p.client.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			w.WriteHeader(int(status.Load()))
			return w.Result(), nil
		})
		r.watched(t, p.watch)
		for _, step := range []struct {
			status int32
			lasts  time.Duration
			want   string
		}{
			{500, 5 * time.Second, ""}, {204, 2 * time.Second, ""}, {302, 2 * time.Second, ""}, {200, 3 * time.Second, "alive"},
			{503, 2 * time.Second, ""}, {200, 1 * time.Second, ""}, {500, 3 * time.Second, "gone"}, {200, 3 * time.Second, "alive"},
		} {
			status.Store(step.status)
			passes(step.lasts)
			got := ""
			select {
			case alive := <-r.changes:
				got = map[bool]string{true: "alive", false: "gone"}[alive]
			default:
			}
			if got != step.want {
				t.Fatalf("after %d for %v: %q, want %q", step.status, step.lasts, got, step.want)
			}
		}
	})
}
