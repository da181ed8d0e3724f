package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/client-go/rest"
)

// Default timings, those of client-go's LeaderElector.
const (
	DefaultLeaseDuration = 15 * time.Second
	DefaultRenewDeadline = 10 * time.Second
	DefaultRetryPeriod   = 2 * time.Second
)

// ErrKeepLease is what BeforeRelease returns to let the Lease expire instead of
// releasing it.
var ErrKeepLease = errors.New("the lease is kept until it expires")

// Config says which Lease to campaign for, as whom, and how patiently.
type Config struct {
	REST      *rest.Config // how to reach the API server; its QPS and Timeout are not used
	Namespace string       // where the Lease is
	Name      string       // the Lease's name
	Identity  string       // this replica's holderIdentity, unique among the replicas

	// PreviousIncarnation is the Incarnation of an earlier process that is known
	// to be dead, such as this container before its restart. A Lease that it
	// still holds under the same Identity is taken back at once. Empty: a Lease
	// held by another process under our Identity is waited out like any other.
	PreviousIncarnation string

	LeaseDuration time.Duration // what others wait before they take over; whole seconds, 0: 15s
	RenewDeadline time.Duration // how long a successful write lets us lead, from before it was sent; 0: 2/3 of LeaseDuration
	RetryPeriod   time.Duration // wait between attempts that fail; 0: 2/15 of LeaseDuration
	RenewInterval time.Duration // from one renewal to the next; 0: 1/3 of LeaseDuration

	// BeforeRelease runs when leadership is given up by will, after the State
	// that says so was published and before the Lease is released; the Lease
	// is renewed while it runs. It returns when the work that the Lease
	// protects has stopped, or ErrKeepLease. The context ends when the Lease
	// is lost meanwhile. Nil: the Lease is released at once.
	BeforeRelease func(context.Context) error

	Logger *slog.Logger // nil: slog.Default(). A handler that blocks delays the election, though never its end
	Clock  Clock        // nil: SystemClock()
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

// ValidateTimings reports every rule that completed timings break. The names
// in its messages are those of the sidecar's environment variables.
func (c *Config) ValidateTimings() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.LeaseDuration < time.Second || c.LeaseDuration%time.Second != 0 || c.LeaseDuration > 1<<31*time.Second-1 {
		refuse("LEASE_DURATION=%v: must be whole seconds, at least 1s (the API field is leaseDurationSeconds)", c.LeaseDuration)
	}
	for _, t := range []struct {
		name  string
		value time.Duration
	}{{"RENEW_DEADLINE", c.RenewDeadline}, {"RETRY_PERIOD", c.RetryPeriod}, {"RENEW_INTERVAL", c.RenewInterval}} {
		if t.value < time.Millisecond {
			refuse("%s=%v: must be at least 1ms", t.name, t.value)
		}
	}
	if c.RenewDeadline >= c.LeaseDuration {
		refuse("RENEW_DEADLINE=%v: must be less than LEASE_DURATION=%v, or a leader may still act when another takes over", c.RenewDeadline, c.LeaseDuration)
	}
	if c.RenewInterval+c.RetryPeriod > c.RenewDeadline {
		refuse("RENEW_INTERVAL=%v + RETRY_PERIOD=%v: must be at most RENEW_DEADLINE=%v, so that a renewal that fails is tried again in time", c.RenewInterval, c.RetryPeriod, c.RenewDeadline)
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
