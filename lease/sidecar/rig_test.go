package sidecar

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/boottime"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// rig is a status file that follows an elector at the in-memory API, in fake time.
type rig struct {
	*StatusFile
	api     *leasetest.Server
	elector *lease.Elector
	clock   *leasetest.Clock
	log     leasetest.Buffer
	touch   atomic.Pointer[func(change func() error) error] // StatusFile.Touch
}

func follow(t *testing.T) *rig {
	t.Helper()
	api := &leasetest.Server{}
	return followOver(t, api, api.Config("me"))
}

func followOver(t *testing.T, api *leasetest.Server, config *rest.Config) *rig {
	t.Helper()
	r := &rig{api: api, clock: leasetest.NewClock(1)}
	log := logTo(&r.log)
	var err error
	r.elector, err = lease.New(lease.Config{
		REST: config, Namespace: "default", Name: "app", Identity: "me", Clock: r.clock, Logger: log,
		BeforeRelease: func(ctx context.Context, _ lease.Cause) error { return r.Gone(ctx) },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.StatusFile = NewStatusFile(filepath.Join(t.TempDir(), "leader_status"), r.elector, log)
	r.Failed = r.elector.StepDown
	r.Touch = func(change func() error) error {
		if touch := r.touch.Load(); touch != nil {
			return (*touch)(change)
		}
		return change()
	}
	alarm, err := r.clock.NewAlarm()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	life, end := context.WithCancel(context.Background())
	var campaign, sink sync.WaitGroup
	sink.Go(func() { r.StatusFile.Run(life, alarm); alarm.Close() })
	campaign.Go(func() { _ = r.elector.Run(ctx) })
	t.Cleanup(func() { r.touches(nil); stop(); campaign.Wait(); end(); sink.Wait() })
	synctest.Wait()
	return r
}

// touches replaces what happens at each change of the files; nil: the change.
func (r *rig) touches(touch func(change func() error) error) {
	if touch == nil {
		r.touch.Store(nil)
		return
	}
	r.touch.Store(&touch)
}

// hangs makes each change of the files hang until the function that it returns
// is called.
func (r *rig) hangs() (answer func()) {
	answered := make(chan struct{})
	r.touches(func(change func() error) error { <-answered; return change() })
	return sync.OnceFunc(func() { r.touches(nil); close(answered) })
}

// failsWith makes every change of the files fail; nil ends that.
func (r *rig) failsWith(failure error) {
	r.touches(func(change func() error) error {
		if failure != nil {
			return failure
		}
		return change()
	})
}

// loseAPI makes no request arrive from now on.
func (r *rig) loseAPI() {
	r.api.OnRequest(func(leasetest.Request) leasetest.Fault { return leasetest.Fault{DropRequest: true} })
}

// passes lets d of fake time pass.
func passes(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// isGoneAfter checks that the file is there until d has passed, and not then.
func (r *rig) isGoneAfter(t *testing.T, d time.Duration) {
	t.Helper()
	passes(d - time.Millisecond)
	if !exists(r.Path) {
		t.Fatal("gone too early")
	}
	passes(time.Millisecond)
	if exists(r.Path) {
		t.Fatal("still there at the deadline")
	}
}

func logTo(b *leasetest.Buffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

var discard = slog.New(slog.DiscardHandler)

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(path string) string {
	content, _ := os.ReadFile(path)
	return strings.TrimSpace(string(content))
}

// holder is who the stored Lease says holds it.
func (r *rig) holder() string {
	if l := r.api.Get("default", "app"); l != nil && l.Spec.HolderIdentity != nil {
		return *l.Spec.HolderIdentity
	}
	return ""
}

// told is an Election that a test decides.
type told struct {
	clock *leasetest.Clock
	mu    sync.Mutex
	state lease.State
	wakes []chan struct{}
}

func newTold() *told {
	return &told{clock: leasetest.NewClock(1), state: lease.State{Identity: "me", Synced: true}}
}

func (e *told) State() lease.State    { e.mu.Lock(); defer e.mu.Unlock(); return e.state }
func (e *told) Clock() boottime.Clock { return e.clock }
func (e *told) Changes() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := make(chan struct{}, 1)
	c <- struct{}{}
	e.wakes = append(e.wakes, c)
	return c
}

// leads makes this replica lead for d; 0: no longer.
func (e *told) leads(d time.Duration) {
	e.is(func(s *lease.State) {
		s.ValidUntil = 0
		if d > 0 {
			s.ValidUntil = e.clock.Read().Add(d)
		}
		s.HeldUntil = s.ValidUntil
	})
}

func (e *told) is(change func(*lease.State)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&e.state)
	for _, c := range e.wakes {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// loseLeadership makes the elector hand over.
func (r *rig) loseLeadership() {
	r.elector.StepDown("the test says so")
	synctest.Wait()
}
