package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/leader-elector/leader-elector/e2e/harness"
)

// appKilled is the time from an app's death to another replica's leadership. Ours runs
// with LEAD_WHILE=lock. The peer does not know of its app: it never hands over.
const appKilled = "app killed, from the kill to another leader"

// appKills kills the app of each system's leader, at random moments of its renewals.
func (b *bench) appKills(ctx context.Context, duration time.Duration, rounds int, ours, peer system) error {
	ours.env = append([]string{"LEAD_WHILE=lock"}, ours.env...)
	if err := b.appKillsOf(ctx, ours, duration, rounds); err != nil {
		return err
	}
	return b.appKillsOf(ctx, peer, duration, 1) // it takes so long to see that nothing happens
}

func (b *bench) appKillsOf(ctx context.Context, s system, duration time.Duration, rounds int) error {
	t, err := b.newTrio(ctx, s, duration)
	if err != nil {
		return err
	}
	defer t.close()
	var apps [3]*harness.App
	for i := range apps {
		if err := t.start(i); err != nil {
			return err
		}
		if apps[i], err = harness.StartApp(t.replicas[i].File); err != nil {
			return err
		}
		defer func() { _ = apps[i].Kill() }()
	}
	leader, _, err := t.appears(ctx)
	if err != nil {
		return err
	}
	for range rounds {
		if err := sleep(ctx, duration/15+rand.N(duration/3)); err != nil {
			return err
		}
		at := time.Now()
		if err := apps[leader].Kill(); err != nil {
			return err
		}
		next, taken, err := t.appears(ctx)
		if s.Name == peerName {
			if err == nil {
				return fmt.Errorf("%s handed over %v after its app's death", s.Name, taken.Sub(at))
			}
			b.never(appKilled, t)
			continue
		}
		if err != nil {
			return err
		}
		b.add(appKilled, t, taken.Sub(at))
		if apps[leader], err = harness.StartApp(t.replicas[leader].File); err != nil {
			return err
		}
		leader = next
	}
	return nil
}

// never notes that what is measured did not happen within four lease durations.
func (b *bench) never(scenario string, t *trio) {
	b.report.Failover = append(b.report.Failover, Samples{Scenario: scenario, Lease: t.duration, System: t.Name, Never: true})
}
