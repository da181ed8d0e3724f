package simulation

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/leasetest"
	"github.com/leader-elector/leader-elector/lease/leasetest/peer"
	"github.com/leader-elector/leader-elector/lease/sidecar"
)

// player is one process of the stack's simulation: an Elector with its status file and
// the app beside it, or client-go's LeaderElector.
type player struct {
	identity string
	process  string // tells apart the processes of one identity; the User-Agent
	clock    *leasetest.Clock
	log      *leasetest.Buffer
	stop     context.CancelFunc
	ended    chan struct{}

	elector  *lease.Elector // nil: a client-go peer
	file     *sidecar.StatusFile
	stopping context.Context // ends when the process is told to stop
	lockUsed bool            // the app holds the work lock while it works
	working  atomic.Bool     // the app works on although it was told to stop
	down     atomic.Bool     // its Elector was told last that its app does not live
	disk     atomic.Int32
	touching atomic.Int32 // changes of the file under way
	before   *player      // proven dead when this one started

	callback atomic.Bool // a peer's callbacks say that it leads

	dead     atomic.Bool // killed, or it has ended: only its file is left
	leftover time.Time   // that file's mtime
	buried   bool        // its successor has proof that it is dead
	viewed   bool        // led when last looked at
	retired  bool        // knew then that its pod is being deleted

	mutatedView func(*player) bool
	impatient   bool
	deaf        bool
}

func (p *player) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// What the disk of a player does.
const (
	diskWorks int32 = iota
	diskIsSlow
	diskFails
	diskHangs // for up to a minute
)

// view is the outside view of leadership: /leader says yes, or the status file
// is there and its mtime lies in the future, whether or not the process runs.
func (p *player) view() bool {
	switch {
	case p.dead.Load():
		return p.leftover.After(p.clock.ReadWall())
	case p.elector == nil:
		return p.callback.Load()
	case p.mutatedView != nil:
		return p.mutatedView(p)
	case p.elector.State().LeadsAt(p.clock.Read()):
		return true
	}
	return p.mtime().After(p.clock.ReadWall())
}

func (p *player) mtime() (t time.Time) {
	if info, err := os.Stat(p.file.Path); err == nil {
		t = info.ModTime()
	}
	return t
}

// startOurs runs an Elector and its status file. A player before it is an
// earlier process of the same container.
func (s *stack) startOurs(identity string, before *player) *player {
	s.started++
	p := &player{
		identity: identity, process: s.processName(identity), log: &leasetest.Buffer{}, ended: make(chan struct{}),
		lockUsed: s.random.IntN(2) == 0, mutatedView: s.mutation.view, impatient: s.mutation.impatient, deaf: s.mutation.deaf, before: before,
	}
	p.clock = s.newClock()
	cfg := lease.Config{
		REST: s.Config(p.process), Namespace: namespace, Name: name, Identity: identity, Incarnation: p.process, Clock: p.clock, ProvenDead: p.succeeds,
		Logger: slog.New(slog.NewTextHandler(p.log, nil)),
	}
	if before != nil { // on the same machine; the kernel has said that it is dead, and its file is removed first
		cfg.Clock, p.clock = before.clock, before.clock
	}
	random, turn := rand.New(rand.NewPCG(s.random.Uint64(), 0)), sync.Mutex{}
	below := func(d time.Duration) time.Duration {
		turn.Lock()
		defer turn.Unlock()
		return time.Duration(random.Int64N(int64(d)))
	}
	if s.random.IntN(2) == 0 {
		cfg.AwaitStand = true
		p.down.Store(true)
	}
	if s.random.IntN(3) == 0 {
		cfg.ClaimDelay = time.Duration(s.random.Int64N(int64(leaseDuration)))
	}
	cfg.BeforeRelease = func(ctx context.Context, _ lease.Cause) error { return p.drain(ctx, below) }
	if s.mutation.config != nil {
		s.mutation.config(&cfg)
	}
	if s.mutation.transport != nil {
		cfg.REST.Transport = s.mutation.transport(cfg.REST.Transport)
	}
	var err error
	if p.elector, err = lease.New(cfg); err != nil {
		s.Fatal(err)
	}
	p.file = sidecar.NewStatusFile(filepath.Join(s.dir, p.process), p.elector, slog.New(slog.DiscardHandler))
	p.file.Failed = p.elector.StepDown
	p.file.Touch = func(change func() error) error {
		defer s.check()
		return p.touch(change, below)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stop, p.stopping = cancel, ctx
	alarm, err := cfg.Clock.NewAlarm()
	if err != nil {
		s.Fatal(err)
	}
	life, over := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.file.Run(life, alarm); alarm.Close() })
	running.Go(func() {
		for changes := p.elector.Changes(); ; {
			select {
			case <-changes:
				s.check()
			case <-life.Done():
				return
			}
		}
	})
	running.Go(func() {
		defer over()
		if err := p.elector.Run(ctx); err != nil {
			s.Error(err)
		}
		if !p.dead.Load() {
			last, cancel := context.WithTimeout(life, 5*time.Second) // as the sidecar does
			defer cancel()
			_ = p.file.Gone(last)
			s.leave(p)
		}
	})
	go func() { running.Wait(); close(p.ended) }()
	s.Cleanup(func() {
		cancel()
		over()
		<-p.ended
		for synctest.Wait(); p.touching.Load() > 0; synctest.Wait() { // the file system may hang for longer than that
			time.Sleep(time.Second)
		}
	})
	s.join(p)
	if cfg.AwaitStand {
		time.AfterFunc(time.Duration(s.random.Int64N(int64(leaseDuration))), func() { p.stand(true) })
	}
	return p
}

// succeeds says whether the process of an incarnation is proven dead to p.
func (p *player) succeeds(incarnation string) bool {
	for before := p.before; before != nil; before = before.before {
		if before.process == incarnation {
			return true
		}
	}
	return false
}

// touch changes the file on a disk that may be slow, fail or hang. A process that
// is dead changes nothing, and one that stands still does so later.
func (p *player) touch(change func() error, below func(time.Duration) time.Duration) error {
	p.touching.Add(1)
	defer p.touching.Add(-1)
	switch p.disk.Load() {
	case diskIsSlow:
		time.Sleep(below(3 * time.Second))
	case diskFails:
		return errors.New("the simulation's disk fails")
	case diskHangs:
		for end := time.Now().Add(below(time.Minute)); p.disk.Load() == diskHangs && !p.dead.Load() && time.Now().Before(end); {
			time.Sleep(100 * time.Millisecond)
		}
	}
	p.clock.Now()
	if p.dead.Load() {
		return errors.New("the process is dead")
	}
	return change()
}

// fileGone waits for the file to be removed. One that can't be removed keeps the
// Lease: for as long as that takes, or until it expires where the process has to end.
func (p *player) fileGone(ctx context.Context) error {
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(p.stopping, func() { time.AfterFunc(renewDeadline, cancel) })
	defer stop()
	err := p.file.Gone(limited)
	if err != nil && ctx.Err() == nil {
		return lease.ErrKeepLease
	}
	return err
}

// drain is what the sidecar does before it releases (S6): the file goes, the
// app is waited for.
func (p *player) drain(ctx context.Context, below func(time.Duration) time.Duration) error {
	if p.dead.Load() {
		return lease.ErrKeepLease
	}
	if err := p.fileGone(ctx); err != nil {
		return err
	}
	const releaseDelay = leaseDuration - renewDeadline
	wait, work := releaseDelay, below(releaseDelay)
	if p.lockUsed { // it is waited for as long as it takes
		work = below(20 * time.Second)
		wait = work
	}
	p.working.Store(true)
	stopped := time.AfterFunc(work, func() { p.working.Store(false) })
	if p.impatient {
		return nil
	}
	defer stopped.Stop()
	defer p.working.Store(false)
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startPeer runs client-go's LeaderElector, again and again, beside an app.
func (s *stack) startPeer(identity string, releaseOnCancel bool) *player {
	notice := time.Duration(s.random.Int64N(int64(leaseDuration - renewDeadline)))
	s.started++
	p := &player{identity: identity, process: s.processName(identity), clock: leasetest.NewClock(1), log: &leasetest.Buffer{}, ended: make(chan struct{})}
	cfg := s.Config(p.process)
	cfg.ContentType, cfg.Timeout, cfg.QPS = "application/json", renewDeadline/2, -1
	client := kubernetes.NewForConfigOrDie(cfg).CoordinationV1()
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	callbacks := leaderelection.LeaderCallbacks{
		OnStartedLeading: func(ctx context.Context) {
			if ctx.Err() != nil {
				return
			}
			p.callback.Store(true)
			s.check()
			p.working.Store(true) // and for a while after it is told to stop
			context.AfterFunc(ctx, func() {
				time.AfterFunc(notice, func() { p.working.Store(false); s.check() })
			})
		},
		OnStoppedLeading: func() { p.callback.Store(false); s.check() },
	}
	go func() {
		defer close(p.ended)
		for ctx.Err() == nil {
			elector, err := peer.New(client, namespace, name, identity, leaseDuration, callbacks, peer.Releasing(releaseOnCancel))
			if err != nil {
				s.Error(err)
				return
			}
			elector.Run(ctx)
		}
	}()
	s.Cleanup(func() { cancel(); <-p.ended })
	s.join(p)
	return p
}

// kill ends a process as SIGKILL does. What it had under way may still arrive.
func (s *stack) kill(p *player) {
	s.leave(p)
	s.cutOff(p, true)
	p.stop()
}

// leave notes that of a process only its file is left.
func (s *stack) leave(p *player) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.dead.Store(true) // before the look: no change of the file begins from now on
	if p.elector != nil {
		p.leftover = p.mtime()
	}
	p.callback.Store(false)
}

// roundTripper is a RoundTripper made of a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
