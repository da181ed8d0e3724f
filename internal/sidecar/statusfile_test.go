package sidecar

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// follow runs an elector against the in-memory API, and a status file on it.
func follow(t *testing.T, api *leasetest.Server) *statusFile {
	t.Helper()
	return followOver(t, api.Config("me"))
}

func followOver(t *testing.T, config *rest.Config) *statusFile {
	t.Helper()
	elector, err := lease.New(lease.Config{
		REST: config, Namespace: "default", Name: "app", Identity: "me",
		Clock: leasetest.NewClock(1), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	f := &statusFile{path: filepath.Join(t.TempDir(), "leader_status"), elector: elector, log: slog.New(slog.DiscardHandler)}
	alarm, err := elector.Clock().NewAlarm()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	go func() { f.run(ctx, alarm); alarm.Close(); done <- struct{}{} }()
	go func() { _ = elector.Run(ctx); done <- struct{}{} }()
	t.Cleanup(func() { cancel(); <-done; <-done })
	synctest.Wait()
	return f
}

// isGoneAfter checks that the file is there until d has passed, and not then.
func (f *statusFile) isGoneAfter(t *testing.T, d time.Duration) {
	t.Helper()
	time.Sleep(d - time.Millisecond)
	synctest.Wait()
	if !exists(f.path) {
		t.Fatal("gone too early")
	}
	time.Sleep(time.Millisecond)
	synctest.Wait()
	if exists(f.path) {
		t.Fatal("still there at the deadline")
	}
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func TestS1_TheFileIsGoneAtTheRenewDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var api leasetest.Server
		f := follow(t, &api)
		info, err := os.Stat(f.path)
		if err != nil || info.Mode().Perm() != 0o644 {
			t.Fatalf("%v %v", info, err)
		}
		if content, _ := os.ReadFile(f.path); string(content) != "me" {
			t.Fatalf("content %q", content)
		}
		// its mtime is when the term lapses, and each renewal moves it on
		if left := time.Until(info.ModTime()); left != 10*time.Second {
			t.Fatalf("mtime in %v", left)
		}
		time.Sleep(5*time.Second + time.Millisecond)
		synctest.Wait()
		if info, err = os.Stat(f.path); err != nil || time.Until(info.ModTime()) != 10*time.Second-time.Millisecond {
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
		label := &podLabel{elector: f.elector, namespace: "default", name: "me", retryPeriod: time.Hour, log: f.log}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { defer close(ended); label.run(ctx) }()
		defer func() { cancel(); <-ended }()
		synctest.Wait()
		if hanging != 1 || !exists(f.path) {
			t.Fatalf("%d patches hang, the file exists: %v", hanging, exists(f.path))
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
		inside := filepath.Join(f.path, "x")
		if err := os.Remove(f.path); err != nil {
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
		if err := f.stuck(); err != nil || exists(f.path) {
			t.Fatalf("exists %v, stuck: %v", exists(f.path), err)
		}
	})
}

func TestADeletedStatusFileIsPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var api leasetest.Server
		f := follow(t, &api)
		if err := os.Remove(f.path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second + time.Millisecond)
		synctest.Wait()
		if !exists(f.path) {
			t.Fatal("not put back within a second")
		}
	})
}

func TestS11_AFileThatCantBeWrittenStepsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var api leasetest.Server
		f := follow(t, &api)
		if err := os.RemoveAll(filepath.Dir(f.path)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if l := api.Get("default", "app"); *l.Spec.HolderIdentity != "" || f.elector.IsLeader() {
			t.Fatalf("holder %q", *l.Spec.HolderIdentity)
		}
		if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if !f.elector.IsLeader() || !exists(f.path) {
			t.Fatal("it does not lead again after a lease duration")
		}
	})
}
