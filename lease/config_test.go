package lease_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leader-elector/leader-elector/lease"
)

func TestTimingsKeepTheirProportion(t *testing.T) {
	for _, c := range []struct{ duration, deadline, retry, interval time.Duration }{
		{0, renewDeadline, retryPeriod, renewInterval},
		{30 * time.Second, 20 * time.Second, 4 * time.Second, 10 * time.Second},
		{time.Hour, 40 * time.Minute, 8 * time.Minute, 20 * time.Minute},
	} {
		cfg := lease.Config{LeaseDuration: c.duration}
		cfg.Complete()
		if cfg.RenewDeadline != c.deadline || cfg.RetryPeriod != c.retry || cfg.RenewInterval != c.interval {
			t.Errorf("%v: %v, %v, %v", c.duration, cfg.RenewDeadline, cfg.RetryPeriod, cfg.RenewInterval)
		}
		if err := cfg.ValidateTimings(); err != nil {
			t.Errorf("%v: %v", c.duration, err)
		}
	}
	kept := lease.Config{LeaseDuration: 20 * time.Second, RenewDeadline: 19 * time.Second, RetryPeriod: time.Second, RenewInterval: 7 * time.Second}
	completed := kept
	completed.Complete()
	if kept.RenewDeadline != completed.RenewDeadline || kept.RetryPeriod != completed.RetryPeriod || kept.RenewInterval != completed.RenewInterval {
		t.Errorf("%+v became %+v", kept, completed)
	}
}

func TestTimingsThatBreakARuleAreRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		cfg    lease.Config
		fields []string // that are named, in this order; none: it is accepted
	}{
		{"defaults", lease.Config{}, nil},
		{"shortest", lease.Config{LeaseDuration: time.Second}, nil},
		{"longest", lease.Config{LeaseDuration: lease.MaxLeaseDuration}, nil},
		{"interval and retry just fit", lease.Config{RenewInterval: 8 * time.Second}, nil},
		{"too short", lease.Config{LeaseDuration: 999 * time.Millisecond}, []string{"LeaseDuration"}},
		{"too long", lease.Config{LeaseDuration: lease.MaxLeaseDuration + time.Second}, []string{"LeaseDuration"}},
		{"mistyped", lease.Config{LeaseDuration: 300000000 * time.Second}, []string{"LeaseDuration"}},
		{"not whole seconds", lease.Config{LeaseDuration: 15500 * time.Millisecond}, []string{"LeaseDuration"}},
		{"negative", lease.Config{LeaseDuration: -15 * time.Second}, []string{"LeaseDuration", "RenewDeadline", "RetryPeriod", "RenewInterval"}},
		{"deadline is the duration", lease.Config{RenewDeadline: leaseDuration}, []string{"RenewDeadline"}},
		{"interval and retry don't fit", lease.Config{RenewInterval: 8*time.Second + 1}, []string{"RenewInterval"}},
		{"retry longer than deadline", lease.Config{RetryPeriod: 11 * time.Second}, []string{"RenewInterval"}},
		{"sum overflows", lease.Config{RenewInterval: 1<<63 - 1}, []string{"RenewInterval"}},
		{"retry below a millisecond", lease.Config{RetryPeriod: time.Microsecond}, []string{"RetryPeriod"}},
		{"several", lease.Config{LeaseDuration: 1500 * time.Millisecond, RenewDeadline: 2 * time.Second, RetryPeriod: 1}, []string{"LeaseDuration", "RetryPeriod", "RenewDeadline"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := c.cfg
			cfg.Complete()
			err := cfg.ValidateTimings()
			var got []string
			if joined, ok := err.(interface{ Unwrap() []error }); ok {
				for _, e := range joined.Unwrap() {
					var timing *lease.TimingError
					if !errors.As(e, &timing) {
						t.Fatalf("%v is no TimingError", e)
					}
					got = append(got, timing.Field)
					if !strings.Contains(e.Error(), timing.Field+"="+timing.Value.String()) {
						t.Errorf("%q does not name the value", e)
					}
				}
			}
			for _, want := range c.fields {
				if !slices.Contains(got, want) {
					t.Errorf("%s is not refused: %v", want, err)
				}
			}
			if len(c.fields) == 0 && err != nil {
				t.Errorf("refused: %v", err)
			}
			if _, err := lease.New(withREST(c.cfg)); (err != nil) != (len(c.fields) > 0) {
				t.Errorf("New: %v", err)
			}
		})
	}
}

func withREST(c lease.Config) lease.Config {
	c.REST, c.Namespace, c.Name, c.Identity = (&world{}).Config("a"), namespace, name, "a"
	return c
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	_, err := lease.New(lease.Config{})
	for _, want := range []string{"Namespace", "Name", "Identity", "REST"} {
		if err == nil || !strings.Contains(err.Error(), "lease.Config."+want) {
			t.Errorf("%s is not named: %v", want, err)
		}
	}
}
