package lease_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/rest"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// One replica wins, and hands the Lease over to another one when it stops.
func Example() {
	server := &leasetest.Server{} // in a cluster: rest.InClusterConfig()
	campaign := func(identity string) (elector *lease.Elector, stop func()) {
		elector, err := lease.New(lease.Config{
			REST: server.Config(identity), Namespace: "default", Name: "app", Identity: identity,
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			log.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- elector.Run(ctx) }()
		return elector, func() {
			cancel()
			if err := <-ended; err != nil {
				log.Fatal(err)
			}
		}
	}
	// until waits for a State of which is is true.
	until := func(elector *lease.Elector, is func(lease.State) bool) lease.State {
		for range elector.Changes() {
			if s := elector.State(); is(s) {
				return s
			}
		}
		panic("unreachable: the channel is never closed")
	}
	leads := func(s lease.State) bool { return s.ValidUntil != 0 }

	first, stopFirst := campaign("app-0")
	until(first, leads)
	second, stopSecond := campaign("app-1")
	s := until(second, func(s lease.State) bool { return s.Synced })
	fmt.Println(s.Identity, "follows", s.Leader)

	stopFirst()
	s = until(second, leads)
	fmt.Println(s.Identity, "leads after", s.Previous, "with token", s.Transitions)
	stopSecond()
	// Output:
	// app-1 follows app-0
	// app-1 leads after app-0 with token 1
}

// A program in a pod, which campaigns until it gets a signal.
func ExampleElector_Run() {
	cluster, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	hostname, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	elector, err := lease.New(lease.Config{REST: cluster, Namespace: "default", Name: "app", Identity: hostname})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := elector.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

// The end of a term is a moment that is known in advance. Work that must not
// outlast it gets a deadline.
func ExampleState_LeadsAt() {
	var elector *lease.Elector // made by lease.New

	clock := elector.Clock()
	for range elector.Changes() {
		s := elector.State()
		if !s.LeadsAt(clock.Now()) {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), s.ValidUntil.Sub(clock.Now()))
		_ = work(ctx, s.Transitions)
		cancel()
	}
}

// The work of a leader is stopped before the Lease is released.
func ExampleConfig_beforeRelease() {
	stopped := make(chan struct{}) // closed by the work when it has ended
	cfg := lease.Config{
		BeforeRelease: func(ctx context.Context, cause lease.Cause) error {
			select {
			case <-stopped:
				return nil
			case <-ctx.Done(): // the Lease was lost in the meantime
				return ctx.Err()
			}
		},
	}
	_ = cfg
}

// A Config is checked before anything is sent.
func ExampleTimingError() {
	cfg := lease.Config{LeaseDuration: lease.DefaultLeaseDuration, RenewDeadline: lease.DefaultLeaseDuration}
	cfg.Complete()
	var timing *lease.TimingError
	if errors.As(cfg.ValidateTimings(), &timing) {
		fmt.Println(timing.Field, timing.Value)
	}
	// Output: RenewDeadline 15s
}

// work acts on behalf of the leader. Its receivers refuse a token that is lower
// than one they have seen.
func work(ctx context.Context, token int32) error { _ = token; return ctx.Err() }
