package lease_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/leasetest"
	"github.com/leader-elector/leader-elector/lease/leasetest/peer"
)

const (
	namespace = "default"
	name      = "app"

	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
	renewInterval = 5 * time.Second
)

// world is an API server and the replicas that a test starts, in fake time.
type world struct {
	*testing.T
	leasetest.Server
	started uint64 // replicas, so that each has a jitter of its own, the same in every run
}

// inFakeTime runs a test in a synctest bubble.
func inFakeTime(t *testing.T, test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(&world{T: t}) })
}

// replica is a running Elector and what it logs.
type replica struct {
	*lease.Elector
	clock *leasetest.Clock
	log   *leasetest.Buffer
	w     *world
	stop  context.CancelFunc
	ended chan struct{}
}

// start runs a replica with the default timings; options change its Config.
func (w *world) start(identity string, options ...func(*lease.Config)) *replica {
	w.Helper()
	r := &replica{w: w, clock: leasetest.NewClock(1), log: &leasetest.Buffer{}, ended: make(chan struct{})}
	cfg := lease.Config{
		REST: w.Config(identity), Namespace: namespace, Name: name, Identity: identity, Clock: r.clock,
		Logger: slog.New(slog.NewTextHandler(r.log, nil)),
	}
	for _, option := range options {
		option(&cfg)
	}
	var err error
	if r.Elector, err = lease.New(cfg); err != nil {
		w.Fatal(err)
	}
	w.started++
	r.SetRandom(rand.New(rand.NewPCG(w.started, 1)).Float64)
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() {
		defer close(r.ended)
		if err := r.Run(ctx); err != nil {
			w.Error(err)
		}
	}()
	w.Cleanup(func() { cancel(); <-r.ended })
	synctest.Wait()
	return r
}

// kill drops a replica's requests, which is what a SIGKILL looks like to the
// others. A watch that is open stays so: cut ends it.
func (w *world) kill(r *replica) {
	identity := r.State().Identity
	w.OnRequest(func(req leasetest.Request) leasetest.Fault {
		return leasetest.Fault{DropRequest: req.Client == identity}
	})
}

// startPeer runs client-go's own LeaderElector.
func (w *world) startPeer(identity string, releaseOnCancel bool, options ...func(*leaderelection.LeaderElectionConfig)) (leads *atomic.Bool, stop func()) {
	leads = &atomic.Bool{}
	cfg := w.Config(identity)
	cfg.ContentType = "application/json"
	callbacks := leaderelection.LeaderCallbacks{
		OnStartedLeading: func(context.Context) { leads.Store(true) },
		OnStoppedLeading: func() { leads.Store(false) },
	}
	elector, err := peer.New(kubernetes.NewForConfigOrDie(cfg).CoordinationV1(), namespace, name, identity, leaseDuration, callbacks,
		append([]func(*leaderelection.LeaderElectionConfig){peer.Releasing(releaseOnCancel)}, options...)...)
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); elector.Run(ctx) }()
	stop = func() { cancel(); <-ended }
	w.Cleanup(stop)
	return leads, stop
}

// sleep lets fake time pass and everything due in it happen.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) lease() *coordinationv1.Lease { return w.Get(namespace, name) }

func (w *world) edit(f func(*coordinationv1.LeaseSpec)) {
	w.Put(namespace, name, func(l *coordinationv1.Lease) { f(&l.Spec) })
	synctest.Wait()
}

func (w *world) holder() string {
	if l := w.lease(); l != nil && l.Spec.HolderIdentity != nil {
		return *l.Spec.HolderIdentity
	}
	return ""
}

// heldBy stores a record as another holder would.
func (w *world) heldBy(holder string, seconds int32) {
	w.edit(func(s *coordinationv1.LeaseSpec) {
		s.HolderIdentity, s.LeaseDurationSeconds = &holder, &seconds
		if s.LeaseTransitions == nil {
			s.LeaseTransitions = new(int32)
		}
	})
}

// logged counts the lines of r's log that hold part.
func (r *replica) logged(part string) int { return strings.Count(r.log.String(), part) }

// leads fails the test unless exactly these replicas say that they lead.
func (w *world) leads(want bool, replicas ...*replica) {
	w.Helper()
	for _, r := range replicas {
		if got := r.IsLeader(); got != want {
			w.Fatalf("%s: leads %v, want %v, at %v; Lease: %+v\n%s", r.State().Identity, got, want, time.Now().Format("05.000"), w.lease(), r.log)
		}
	}
}

// neverTwo lets time pass, and fails the test when two of the replicas lead.
func (w *world) neverTwo(d time.Duration, replicas ...*replica) {
	w.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); sleep(10 * time.Millisecond) {
		var leaders []*replica
		for _, r := range replicas {
			if r.IsLeader() {
				leaders = append(leaders, r)
			}
		}
		if len(leaders) > 1 {
			w.Fatalf("two leaders at %v; Lease: %+v\n%s\n%s", time.Now().Format("05.000"), w.lease(), leaders[0].log, leaders[1].log)
		}
	}
}

// keepsLeading lets time pass, and fails the test when r does not lead.
func (w *world) keepsLeading(r *replica, d time.Duration) {
	w.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); sleep(10 * time.Millisecond) {
		w.leads(true, r)
	}
}

// takesOver waits for r to lead and returns how long that took.
func (w *world) takesOver(r *replica, within time.Duration) time.Duration {
	w.Helper()
	start := time.Now()
	for !r.IsLeader() {
		if time.Since(start) > within {
			w.Fatalf("%s does not lead after %v; Lease: %+v\n%s", r.State().Identity, within, w.lease(), r.log)
		}
		sleep(time.Millisecond)
	}
	return time.Since(start)
}

func equal[V comparable](w *world, what string, got, want V) {
	w.Helper()
	if got != want {
		w.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// cut cuts clients off from the API server, and ends every watch. A status other than 0 is the answer
// to every other client's watch, so that it polls.
func (w *world) cut(watches int, clients ...string) {
	w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
		if r.Verb == "watch" {
			f.Status = watches
		}
		f.DropRequest = slices.Contains(clients, r.Client)
		return f
	})
	w.CutWatches()
}

// asUser makes a replica send its requests under another name.
func asUser(w *world, name string) func(*lease.Config) {
	return func(c *lease.Config) { c.REST = w.Config(name) }
}

// fraction is a renewTime at t that is no whole second, as one that a policy
// truncates would be.
func fraction(t time.Time) *metav1.MicroTime {
	return &metav1.MicroTime{Time: t.Add(time.Microsecond)}
}
