package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/leasetest/peer"
)

// crowd is many electors of one system in this process, each with a
// connection of its own.
type crowd struct {
	run      func(ctx context.Context, e *elector) error
	config   *rest.Config
	electors []*elector
	joined   chan *elector // those that have learnt who leads
	turns    chan turn     // every change of leadership
	leaders  map[string]*elector
	running  sync.WaitGroup
}

// turn is one elector's start or end of leading.
type turn struct {
	*elector
	leads bool
	at    time.Time
}

// elector is one member of a crowd.
type elector struct {
	crowd           *crowd
	lease, identity string
	link            *link
	cancel          context.CancelFunc
	once            sync.Once
}

// newCrowd prepares a crowd whose members run like run, as the account of the
// kubeconfig.
func newCrowd(kubeconfig string, run func(context.Context, *elector) error) (*crowd, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	// No channel may ever fill up: an elector that waits for us is not measured.
	return &crowd{run: run, config: config, joined: make(chan *elector, 10000), turns: make(chan turn, 100000), leaders: map[string]*elector{}}, err
}

func (c *crowd) start(ctx context.Context, lease string) *elector {
	e := &elector{crowd: c, lease: lease, identity: fmt.Sprintf("member-%d", len(c.electors)), link: &link{}}
	c.electors = append(c.electors, e)
	ctx, e.cancel = context.WithCancel(ctx)
	c.running.Go(func() {
		if err := c.run(ctx, e); err != nil {
			slog.Error("an elector ended", "err", err)
		}
	})
	return e
}

// took notes a turn.
func (c *crowd) took(t turn) {
	if t.leads {
		c.leaders[t.lease] = t.elector
	}
}

// drain notes the turns so far.
func (c *crowd) drain() {
	for {
		select {
		case t := <-c.turns:
			c.took(t)
		default:
			return
		}
	}
}

// handover waits for the end of one leadership and the start of another, in
// whichever order they come.
func (c *crowd) handover(ctx context.Context, lease string) (end, start turn, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for end.elector == nil || start.elector == nil {
		select {
		case t := <-c.turns:
			c.took(t)
			switch {
			case t.lease != lease:
			case t.leads:
				start = t
			default:
				end = t
			}
		case <-ctx.Done():
			return end, start, fmt.Errorf("waiting for a change of leader: %w", ctx.Err())
		}
	}
	return end, start, nil
}

// close ends all.
func (c *crowd) close() {
	for _, e := range c.electors {
		e.cancel()
	}
	c.running.Wait()
}

func (e *elector) rest() *rest.Config {
	config := rest.CopyConfig(e.crowd.config)
	config.Dial = e.link.dial // one dialer each: client-go shares connections among equal configs
	return config
}

func (e *elector) join()           { e.once.Do(func() { e.crowd.joined <- e }) }
func (e *elector) turn(leads bool) { e.crowd.turns <- turn{e, leads, time.Now()} }

// runOurs takes part through the package lease.
func runOurs(ctx context.Context, e *elector) error {
	elector, err := lease.New(lease.Config{
		REST: e.rest(), Namespace: "default", Name: e.lease, Identity: e.identity, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- elector.Run(ctx) }()
	leads := false
	for changes := elector.Changes(); ; {
		select {
		case <-changes:
			if elector.State().Leader != "" {
				e.join()
			}
			if now := elector.IsLeader(); now != leads {
				leads = now
				e.turn(leads)
			}
		case err := <-done:
			if leads {
				e.turn(false)
			}
			return err
		}
	}
}

// runPeer takes part through client-go's LeaderElector.
func runPeer(ctx context.Context, e *elector) error {
	client, err := kubernetes.NewForConfig(e.rest())
	if err != nil {
		return err
	}
	elector, err := peer.New(client.CoordinationV1(), "default", e.lease, e.identity, 15*time.Second, leaderelection.LeaderCallbacks{
		OnStartedLeading: func(context.Context) { e.turn(true) },
		OnStoppedLeading: func() { e.turn(false) },
		OnNewLeader:      func(string) { e.join() },
	})
	if err != nil {
		return err
	}
	elector.Run(ctx)
	return nil
}

// link is one elector's way to the API server.
type link struct {
	mu     sync.Mutex
	isCut  bool
	opened []net.Conn
}

func (l *link) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isCut {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	l.opened = append(l.opened, conn)
	return conn, nil
}

// cut ends the link, as the end of its machine would.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = true
	for _, conn := range l.opened {
		_ = conn.Close()
	}
}
