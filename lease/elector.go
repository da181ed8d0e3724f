// Package lease elects one leader among replicas that share a
// coordination.k8s.io/v1 Lease.
//
// An Elector campaigns for the Lease and publishes, as a stream of State, what
// this replica may believe. The promise is about State.LeadsAt: among replicas
// that run this package, with clocks that run at nearly the same rate, at most
// one may answer yes at any moment. Nothing is assumed of what clocks say, of
// how long a request takes, or of whether its answer arrives. Not promised:
// that work begun while leading has ended when leadership does. Work that
// cannot stop at once fences itself with State.Transitions.
package lease

import (
	"context"
	"crypto/rand"
	"log/slog"
	mathrand "math/rand/v2"

	"k8s.io/client-go/rest"
)

// Elector is one replica's campaign for a Lease. Make it with New.
type Elector struct {
	cfg         Config
	client      *client
	incarnation string
	random      func() float64
	log         *slog.Logger

	publisher
	alive    chan struct{}
	stepDown chan string
}

// New checks cfg and prepares an Elector. It sends nothing.
func New(cfg Config) (*Elector, error) {
	cfg.Complete()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Clock == nil {
		cfg.Clock = SystemClock()
	}
	c, err := newClient(cfg.REST, cfg.Namespace, cfg.Name, cfg.RenewDeadline/2)
	if err != nil {
		return nil, err
	}
	e := &Elector{
		cfg: cfg, client: c, incarnation: rand.Text(), random: mathrand.Float64,
		log:   cfg.Logger.With("lease", cfg.Namespace+"/"+cfg.Name, "identity", cfg.Identity),
		alive: make(chan struct{}), stepDown: make(chan string, 1),
	}
	e.current.Store(&State{Identity: cfg.Identity})
	return e, nil
}

// State returns the newest State.
func (e *Elector) State() State { return *e.current.Load() }

// IsLeader says whether this replica leads at this moment.
func (e *Elector) IsLeader() bool { return e.State().LeadsAt(e.cfg.Clock.Now()) }

// States returns a channel that delivers the present State and then each newer
// one. A reader that is slow misses those in between, and delays nobody.
func (e *Elector) States() <-chan State { return e.subscribe() }

// Clock returns the clock that State.ValidUntil is a moment of.
func (e *Elector) Clock() Clock { return e.cfg.Clock }

// Incarnation is this process's random mark on the Lease. See
// Config.PreviousIncarnation.
func (e *Elector) Incarnation() string { return e.incarnation }

// REST is the connection that the election uses, for raw requests to the same
// API server.
func (e *Elector) REST() rest.Interface { return e.client.rest }

// Alive reports whether Run's loop turns: false when it has not within ctx.
func (e *Elector) Alive(ctx context.Context) bool {
	select {
	case <-e.alive:
		return true
	case <-ctx.Done():
		return false
	}
}

// StepDown gives leadership up, for the reason that is logged, as a clean stop
// does; the replica campaigns again one LeaseDuration later. It returns at once.
func (e *Elector) StepDown(reason string) {
	select {
	case e.stepDown <- reason:
	default: // one is on its way
	}
}

// Run campaigns until ctx is done, then gives up what it holds and returns nil.
// A lost term is no error: it is published, and the campaign goes on. An error
// means that the machine refused a timer. Call it once.
func (e *Elector) Run(ctx context.Context) error {
	alarm, err := e.cfg.Clock.NewAlarm()
	if err != nil {
		return err
	}
	defer alarm.Close()
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	c := &campaign{Elector: e, requests: requests, answers: make(chan answer, 1)}
	stop := ctx.Done()

	for {
		now := c.wake()
		if c.resigning {
			c.resign(now)
		}
		if c.over(now) {
			return nil
		}
		alarm.Set(c.act(now))

		select {
		case <-alarm.C():
		case e.alive <- struct{}{}:
		case a := <-c.answers:
			c.answered(a, c.wake())
		case ev := <-c.watch.events:
			c.watched(ev, c.wake())
		case err := <-c.drained:
			c.appStopped(err, c.wake())
		case reason := <-e.stepDown:
			c.log.Warn("stepping down", "reason", reason)
			c.resumeAt = c.wake() + e.cfg.LeaseDuration
			c.resigning = true
		case <-stop:
			stop = nil
			c.stopping, c.resigning = true, true
		}
	}
}
