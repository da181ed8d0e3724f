package sidecar

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// follow runs an elector against the in-memory API, and a status file on it.
func follow(t *testing.T, api *leasetest.Server) *StatusFile {
	t.Helper()
	return followOver(t, api.Config("me"))
}

func followOver(t *testing.T, config *rest.Config) *StatusFile {
	t.Helper()
	elector, err := lease.New(lease.Config{
		REST: config, Namespace: "default", Name: "app", Identity: "me",
		Clock: leasetest.NewClock(1), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	f := NewStatusFile(filepath.Join(t.TempDir(), "leader_status"), elector, slog.New(slog.DiscardHandler))
	alarm, err := elector.Clock().NewAlarm()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	go func() { f.Run(ctx, alarm); alarm.Close(); done <- struct{}{} }()
	go func() { _ = elector.Run(ctx); done <- struct{}{} }()
	t.Cleanup(func() { cancel(); <-done; <-done })
	synctest.Wait()
	return f
}

// isGoneAfter checks that the file is there until d has passed, and not then.
func (f *StatusFile) isGoneAfter(t *testing.T, d time.Duration) {
	t.Helper()
	time.Sleep(d - time.Millisecond)
	synctest.Wait()
	if !exists(f.Path) {
		t.Fatal("gone too early")
	}
	time.Sleep(time.Millisecond)
	synctest.Wait()
	if exists(f.Path) {
		t.Fatal("still there at the deadline")
	}
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func TestS1_TheFileIsGoneAtTheRenewDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var api leasetest.Server
		f := follow(t, &api)
		info, err := os.Stat(f.Path)
		if err != nil || info.Mode().Perm() != 0o644 {
			t.Fatalf("%v %v", info, err)
		}
		if content, _ := os.ReadFile(f.Path); string(content) != "me" {
			t.Fatalf("content %q", content)
		}
		// its mtime is when the term lapses, and each renewal moves it on
		if left := time.Until(info.ModTime()); left != 10*time.Second {
			t.Fatalf("mtime in %v", left)
		}
		time.Sleep(5*time.Second + time.Millisecond)
		synctest.Wait()
		if info, err = os.Stat(f.Path); err != nil || time.Until(info.ModTime()) != 10*time.Second-time.Millisecond {
			t.Fatalf("mtime in %v after a renewal, %v", time.Until(info.ModTime()), err)
		}
		api.OnRequest(func(leasetest.Request) leasetest.Fault { return leasetest.Fault{DropRequest: true} })
		f.isGoneAfter(t, 10*time.Second-time.Millisecond)
	})
}

func TestS1_ALabelPatchThatHangsKeepsNoFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var api leasetest.Server
		config := api.Config("me")
		hanging := 0
		config.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			if strings.Contains(r.URL.Path, "/pods/") {
				hanging++
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return api.RoundTrip(r)
		})
		f := followOver(t, config)
		label := &podLabel{elector: f.Elector, namespace: "default", name: "me", retryPeriod: time.Hour, log: f.Logger}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { defer close(ended); label.run(ctx) }()
		defer func() { cancel(); <-ended }()
		synctest.Wait()
		if hanging != 1 || !exists(f.Path) {
			t.Fatalf("%d patches hang, the file exists: %v", hanging, exists(f.Path))
		}
		api.OnRequest(func(leasetest.Request) leasetest.Fault { return leasetest.Fault{DropRequest: true} })
		f.isGoneAfter(t, 10*time.Second)
	})
}

func TestS11_AFileThatCantBeRemovedFailsHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var api leasetest.Server
		f := follow(t, &api)
		// given a file that can't be removed: a directory with something in it
		inside := filepath.Join(f.Path, "x")
		if err := os.Remove(f.Path); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(inside, 0o755); err != nil {
			t.Fatal(err)
		}
		api.OnRequest(func(leasetest.Request) leasetest.Fault { return leasetest.Fault{DropRequest: true} })
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if f.stuck() == nil {
			t.Fatal("health does not fail")
		}
		// when it can be again, it is, and health is back
		if err := os.Remove(inside); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if err := f.stuck(); err != nil || exists(f.Path) {
			t.Fatalf("exists %v, stuck: %v", exists(f.Path), err)
		}
	})
}

// A process that is stopped between its looks at the two clocks and goes on past
// the term writes no mtime that lies in the future.
func TestS8_AStallBetweenTheClocksProlongsNothing(t *testing.T) {
	for readings := range 8 {
		synctest.Test(t, func(t *testing.T) {
			var api leasetest.Server
			f := follow(t, &api)
			clock := f.Elector.Clock().(*leasetest.Clock)
			api.OnRequest(func(leasetest.Request) leasetest.Fault { return leasetest.Fault{DropRequest: true} })
			touched := func(do func() error) error {
				err := do()
				if info, statErr := os.Stat(f.Path); statErr == nil && info.ModTime().After(time.Now()) && !f.Elector.State().LeadsAt(clock.Read()) {
					t.Errorf("after the term, the file is valid for another %v", time.Until(info.ModTime()))
				}
				return err
			}
			// given a file that has to be written again
			f.turn <- struct{}{}
			f.Touch = touched
			<-f.turn
			_ = os.Remove(f.Path)
			// when the process stands still after one of its next looks at a clock
			clock.Stall(readings+1, 20*time.Second)
			time.Sleep(40 * time.Second)
			synctest.Wait()
			if exists(f.Path) {
				t.Error("the file is still there")
			}
		})
	}
}

// A wall clock that is set leaves the file true within a second.
func TestTheFileFollowsTheWallClock(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			var api leasetest.Server
			f := follow(t, &api)
			clock := f.Elector.Clock().(*leasetest.Clock)
			clock.SetWall(jump)
			time.Sleep(1500 * time.Millisecond)
			synctest.Wait()
			info, err := os.Stat(f.Path)
			if err != nil {
				t.Fatal(err)
			}
			validFor := f.Elector.State().ValidUntil - clock.Read()
			if off := info.ModTime().Sub(clock.ReadWall()) - validFor; off.Abs() > time.Second {
				t.Fatalf("the wall clock set by %v: the mtime is off by %v", jump, off)
			}
		})
	}
}

func TestADeletedStatusFileIsPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var api leasetest.Server
		f := follow(t, &api)
		if err := os.Remove(f.Path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second + time.Millisecond)
		synctest.Wait()
		if !exists(f.Path) {
			t.Fatal("not put back within a second")
		}
	})
}

// A disk that is full, read-only or gone: who can't write the file does not
// lead, who can't remove it keeps the Lease.
func TestS11_DisksThatFail(t *testing.T) {
	for _, failure := range []error{syscall.ENOSPC, syscall.EROFS, syscall.EIO, syscall.ESTALE} {
		t.Run(failure.Error()+", writing", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var api leasetest.Server
				f := follow(t, &api)
				f.failsWith(failure)
				time.Sleep(6 * time.Second) // past the next renewal
				synctest.Wait()
				if l := api.Get("default", "app"); *l.Spec.HolderIdentity != "" && f.Elector.IsLeader() {
					t.Errorf("leads on: %+v", l.Spec)
				}
				if info, err := os.Stat(f.Path); err == nil && info.ModTime().After(time.Now().Add(10*time.Second)) {
					t.Errorf("the file is valid until %v", info.ModTime())
				}
				f.failsWith(nil)
				time.Sleep(40 * time.Second)
				synctest.Wait()
				if !f.Elector.IsLeader() || !exists(f.Path) || f.stuck() != nil {
					t.Errorf("leads %v, file %v, %v", f.Elector.IsLeader(), exists(f.Path), f.stuck())
				}
			})
		})
		t.Run(failure.Error()+", removing", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var api leasetest.Server
				f := follow(t, &api)
				f.failsWith(failure)
				gone := make(chan error, 1)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				f.Elector.StepDown("the test says so")
				synctest.Wait()
				go func() { gone <- f.Gone(ctx) }()
				time.Sleep(30 * time.Second)
				synctest.Wait()
				select {
				case err := <-gone:
					t.Fatalf("taken for removed: %v", err)
				default:
				}
				if f.stuck() == nil {
					t.Error("health does not fail")
				}
				f.failsWith(nil)
				if err := <-gone; err != nil || exists(f.Path) && !f.Elector.IsLeader() {
					t.Errorf("%v, file %v", err, exists(f.Path))
				}
			})
		})
	}
}

// failsWith makes every change of the file fail; nil ends that.
func (f *StatusFile) failsWith(failure error) {
	f.turn <- struct{}{}
	defer func() { <-f.turn }()
	f.Touch = func(change func() error) error {
		if failure != nil {
			return failure
		}
		return change()
	}
}

func TestS11_AFileThatCantBeWrittenStepsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var api leasetest.Server
		f := follow(t, &api)
		if err := os.RemoveAll(filepath.Dir(f.Path)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if l := api.Get("default", "app"); *l.Spec.HolderIdentity != "" || f.Elector.IsLeader() {
			t.Fatalf("holder %q", *l.Spec.HolderIdentity)
		}
		if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if !f.Elector.IsLeader() || !exists(f.Path) {
			t.Fatal("it does not lead again after a lease duration")
		}
	})
}
