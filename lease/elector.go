package lease

import (
	"context"
	"crypto/rand"
	"log/slog"
	mathrand "math/rand/v2"

	"k8s.io/client-go/rest"

	"github.com/leader-elector/leader-elector/lease/boottime"
	"github.com/leader-elector/leader-elector/lease/internal/election"
)

// Elector is one replica's campaign for a Lease. Make it with New.
type Elector struct {
	cfg    Config
	client *client
	random func() float64
	log    *slog.Logger

	publisher
	alive  chan struct{}
	orders orders
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
		cfg.Clock = boottime.System()
	}
	if cfg.Incarnation == "" {
		cfg.Incarnation = rand.Text()
	}
	c, err := newClient(cfg.REST, cfg.Namespace, cfg.Name, cfg.RenewDeadline/2)
	if err != nil {
		return nil, err
	}
	e := &Elector{
		cfg: cfg, client: c, random: mathrand.Float64,
		log:   cfg.Logger.With("lease", cfg.Namespace+"/"+cfg.Name, "identity", cfg.Identity),
		alive: make(chan struct{}), orders: orders{given: make(chan struct{}, 1)},
	}
	e.current.Store(&State{Identity: cfg.Identity})
	return e, nil
}

// State returns the newest State.
func (e *Elector) State() State { return *e.current.Load() }

// IsLeader says whether this replica leads at this moment.
func (e *Elector) IsLeader() bool { return e.State().LeadsAt(e.cfg.Clock.Now()) }

// Changes returns a channel that receives once at first, and then after each
// change of State but its ClaimAt and LapsesAt. Several changes may wake its reader once: read State then.
func (e *Elector) Changes() <-chan struct{} { return e.subscribe() }

// Clock returns the clock that State.ValidUntil is a moment of.
func (e *Elector) Clock() boottime.Clock { return e.cfg.Clock }

// Incarnation is this process's mark on the Lease. See Config.Incarnation.
func (e *Elector) Incarnation() string { return e.cfg.Incarnation }

// REST is the connection that the election uses, for raw requests to the same
// API server.
func (e *Elector) REST() rest.Interface { return e.client.current().rest }

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
	e.orders.give(election.Event{Kind: election.StepDownAsked, Reason: reason})
}

// Stand says whether this replica may lead: whether what it leads for is alive. After
// Stand(false) a leader hands over as after StepDown, and the replica makes no claim
// until Stand(true). It returns at once. Without Config.AwaitStand a replica may lead
// from the start.
func (e *Elector) Stand(may bool) {
	e.orders.give(election.Event{Kind: election.StandAsked, Stands: may})
}

// Retire says that this replica is about to end, so that it makes no claim any more. A
// leader leads on until StepDown, Stand(false) or the end of Run's context.
func (e *Elector) Retire() { e.orders.give(election.Event{Kind: election.RetireAsked}) }
