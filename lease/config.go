package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/client-go/rest"

	"github.com/leader-elector/leader-elector/lease/boottime"
	"github.com/leader-elector/leader-elector/lease/internal/election"
)

// Default timings, those of client-go's LeaderElector.
const (
	DefaultLeaseDuration = 15 * time.Second
	DefaultRenewDeadline = 10 * time.Second
	DefaultRetryPeriod   = 2 * time.Second
)

// MaxLeaseDuration is the longest LeaseDuration: one hour. Where a stored
// leaseDurationSeconds says more, followers wait for this long.
const MaxLeaseDuration = election.MaxLeaseDuration

// ErrKeepLease is what BeforeRelease returns to let the Lease expire instead of
// releasing it.
var ErrKeepLease = errors.New("the lease is kept until it expires")

// Cause says why leadership is given up voluntarily.
type Cause int

// The causes.
const (
	Stopping     Cause = iota // Run's context has ended
	SteppingDown              // StepDown was called, or an annotation of the Lease asks for it; the replica campaigns on
	AppLost                   // Stand(false) was called; the replica makes no claim until Stand(true)
)

// Config says which Lease to campaign for, as whom, and how patiently.
type Config struct {
	REST      *rest.Config // how to reach the API server; its QPS and Timeout are not used
	Namespace string       // where the Lease is
	Name      string       // the Lease's name
	Identity  string       // this replica's holderIdentity, unique among the replicas

	// Incarnation marks, on the Lease, this process among all processes that
	// ever use Identity. Empty: a random one.
	Incarnation string
	// ProvenDead says whether the process of this Incarnation is known to have
	// ended, such as this container before its restart. A Lease that it still
	// holds under our Identity is taken back at once. It must not block, and must
	// answer the same for as long as this process lives. Nil: none is known to
	// have ended.
	ProvenDead func(incarnation string) bool

	LeaseDuration time.Duration // what others wait before they take over; whole seconds, at most 1h; 0: 15s
	RenewDeadline time.Duration // how long a successful write lets us lead, from before it was sent; 0: 2/3 of LeaseDuration
	RetryPeriod   time.Duration // wait between attempts that fail; 0: 2/15 of LeaseDuration
	RenewInterval time.Duration // from one renewal to the next; 0: 1/3 of LeaseDuration

	// ClaimDelay is how long this replica waits, after the Lease became free, before it
	// claims it: at most LeaseDuration. Replicas that are preferred have a shorter one.
	ClaimDelay time.Duration
	// AwaitStand makes no claim before the first call of Stand(true).
	AwaitStand bool

	// BeforeRelease runs when leadership is given up voluntarily, after the State
	// that says so was published and before the Lease is released; the Lease
	// is renewed while it runs. It returns when the work that the Lease
	// protects has stopped, or ErrKeepLease. The context ends when the Lease
	// is lost in the meantime. Nil: the Lease is released at once.
	BeforeRelease func(context.Context, Cause) error

	Logger *slog.Logger   // nil: slog.Default(). A handler that blocks delays the election, though never the end of leadership
	Clock  boottime.Clock // nil: boottime.System()
}

// Complete fills in the timings that are zero, in proportion to LeaseDuration.
func (c *Config) Complete() {
	fill := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	fill(&c.LeaseDuration, DefaultLeaseDuration)
	fill(&c.RenewDeadline, c.LeaseDuration*2/3)
	fill(&c.RetryPeriod, c.LeaseDuration*2/15)
	fill(&c.RenewInterval, c.LeaseDuration/3)
}

// TimingError is one timing that breaks a rule.
type TimingError struct {
	Field string        // the field of Config
	Value time.Duration // what it holds
	// Rule says what it must be. Other fields of Config are in it as {Field}.
	Rule string
}

// Error names the field, its value and the rule.
func (e *TimingError) Error() string { return fmt.Sprintf("%s=%v: %s", e.Field, e.Value, e.Rule) }

// ValidateTimings reports every rule that completed timings break: TimingErrors,
// joined.
func (c *Config) ValidateTimings() error {
	var errs []error
	refuse := func(field string, value time.Duration, rule string) {
		errs = append(errs, &TimingError{field, value, rule})
	}
	if c.LeaseDuration < time.Second || c.LeaseDuration%time.Second != 0 || c.LeaseDuration > MaxLeaseDuration {
		refuse("LeaseDuration", c.LeaseDuration, "must be whole seconds, from 1s to 1h (the API field is leaseDurationSeconds)")
	}
	for _, t := range []struct {
		name  string
		value time.Duration
	}{{"RenewDeadline", c.RenewDeadline}, {"RetryPeriod", c.RetryPeriod}, {"RenewInterval", c.RenewInterval}} {
		if t.value < time.Millisecond {
			refuse(t.name, t.value, "must be at least 1ms")
		}
	}
	if c.RenewDeadline >= c.LeaseDuration {
		refuse("RenewDeadline", c.RenewDeadline, "must be less than {LeaseDuration}, or a leader may still act when another takes over")
	}
	if c.RenewInterval > c.RenewDeadline || c.RetryPeriod > c.RenewDeadline || c.RenewInterval+c.RetryPeriod > c.RenewDeadline {
		refuse("RenewInterval", c.RenewInterval, "with {RetryPeriod} added, must be at most {RenewDeadline}, so that a renewal that fails is tried again in time")
	}
	if c.ClaimDelay < 0 || c.ClaimDelay > c.LeaseDuration {
		refuse("ClaimDelay", c.ClaimDelay, "must be from 0 to {LeaseDuration}: a longer one would leave the Lease without a leader where this replica is the only one left")
	}
	return errors.Join(errs...)
}

func (c *Config) validate() error {
	errs := []error{c.ValidateTimings()}
	for _, f := range []struct{ name, value string }{{"Namespace", c.Namespace}, {"Name", c.Name}, {"Identity", c.Identity}} {
		if f.value == "" {
			errs = append(errs, fmt.Errorf("lease.Config.%s is empty", f.name))
		}
	}
	if c.REST == nil {
		errs = append(errs, errors.New("lease.Config.REST is nil"))
	}
	return errors.Join(errs...)
}
