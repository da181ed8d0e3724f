package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The scenarios, in the order of the report. Times are in milliseconds.
const (
	firstLeader = "first leader, from exec"
	cleanStop   = "clean handover, from the file's end"
	killed      = "takeover after SIGKILL, from the kill"
	overshoot   = "takeover after SIGKILL, past the lease's expiry"
)

// Samples are one scenario's measured times for one system.
type Samples struct {
	Scenario string        `json:"scenario"`
	Lease    time.Duration `json:"leaseDuration"` // nanoseconds
	System   string        `json:"system"`
	Millis   []float64     `json:"millis"`
	Never    bool          `json:"never,omitempty"` // it did not happen within four lease durations
}

func (b *bench) add(scenario string, t *trio, d time.Duration) {
	millis := float64(d) / float64(time.Millisecond)
	fmt.Fprintf(os.Stderr, "       %s, %s, lease of %v: %.1f ms\n", t.Name, scenario, t.duration, millis)
	for i := range b.report.Failover {
		s := &b.report.Failover[i]
		if s.Scenario == scenario && s.Lease == t.duration && s.System == t.Name {
			s.Millis = append(s.Millis, millis)
			return
		}
	}
	b.report.Failover = append(b.report.Failover, Samples{Scenario: scenario, Lease: t.duration, System: t.Name, Millis: []float64{millis}})
}

// firstLeaders measures from exec to leading on a free Lease.
func (b *bench) firstLeaders(ctx context.Context, rounds int, systems ...system) error {
	for range rounds {
		for _, s := range systems {
			if err := b.firstLeader(ctx, s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) firstLeader(ctx context.Context, s system) error {
	t, err := b.newTrio(ctx, s, 15*time.Second)
	if err != nil {
		return err
	}
	defer t.close()
	began := time.Now()
	if err := t.start(0); err != nil {
		return err
	}
	_, at, err := t.appears(ctx)
	if err != nil {
		return err
	}
	b.add(firstLeader, t, at.Sub(began))
	return nil
}

// failovers ends the leader of each system in turn, cleanly and then by
// SIGKILL, at a random moment of its renewals.
func (b *bench) failovers(ctx context.Context, duration time.Duration, clean, kills int, systems ...system) error {
	var trios []*trio
	var leaders []int
	for _, s := range systems {
		t, err := b.newTrio(ctx, s, duration)
		if err != nil {
			return err
		}
		defer t.close()
		leader, err := t.startAll(ctx)
		if err != nil {
			return err
		}
		trios, leaders = append(trios, t), append(leaders, leader)
	}
	for round := range clean + kills {
		for i, t := range trios {
			if err := sleep(ctx, duration/15+rand.N(duration/3)); err != nil {
				return err
			}
			end := b.stop
			if round >= clean {
				end = b.kill
			}
			old := leaders[i]
			var err error
			if leaders[i], err = end(ctx, t, old); err != nil {
				return fmt.Errorf("%s, round %d: %w", t.Name, round, err)
			}
			if err := t.start(old); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) stop(ctx context.Context, t *trio, leader int) (next int, err error) {
	if err := t.replicas[leader].Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	gone, next, at, err := t.handover(ctx)
	if err != nil {
		return 0, err
	}
	b.add(cleanStop, t, at.Sub(gone))
	select {
	case <-t.replicas[leader].Ended():
		return next, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (b *bench) kill(ctx context.Context, t *trio, leader int) (next int, err error) {
	at := time.Now()
	if err := t.replicas[leader].Stop(syscall.SIGKILL); err != nil {
		return 0, err
	}
	l, err := b.controlPlane.Client.CoordinationV1().Leases("default").Get(ctx, t.lease, metav1.GetOptions{})
	if err != nil {
		return 0, err
	}
	next, taken, err := t.appears(ctx)
	if err != nil {
		return 0, err
	}
	b.add(killed, t, taken.Sub(at))
	b.add(overshoot, t, taken.Sub(l.Spec.RenewTime.Add(t.duration)))
	return next, nil // the dead one's leftover goes when it starts again
}
