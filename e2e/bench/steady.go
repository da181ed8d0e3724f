package main

import (
	"context"
	"time"

	"github.com/leader-elector/leader-elector/e2e/harness"
)

// Steady is what three replicas cost while nothing happens.
type Steady struct {
	System   string          `json:"system"` // empty: the API server alone
	Over     time.Duration   `json:"over"`   // nanoseconds
	Load     Load            `json:"load"`
	Wire     float64         `json:"wire"` // bytes per second on the replicas' connections, both ways, TLS included
	Leader   harness.Process `json:"leader"`
	Follower harness.Process `json:"follower"` // the mean of the two
}

// peace measures an election in which nothing happens. The zero system is
// no replica.
func (b *bench) peace(ctx context.Context, d time.Duration, s system) error {
	result := Steady{System: s.Name, Over: d}
	if s.Name == "" {
		load, err := measure(ctx, b.controlPlane, d)
		result.Load = load
		b.report.Steady = append(b.report.Steady, result)
		return err
	}
	t, err := b.newTrio(ctx, s, 15*time.Second)
	if err != nil {
		return err
	}
	defer t.close()
	relay, err := newRelay(b.controlPlane.Admin.Host)
	if err != nil {
		return err
	}
	defer relay.close()
	if t.kubeconfig, err = b.through(relay, t.kubeconfig); err != nil {
		return err
	}
	leader, err := t.startAll(ctx)
	if err != nil {
		return err
	}
	if err := sleep(ctx, b.settle); err != nil {
		return err
	}
	before, err := t.processes()
	if err != nil {
		return err
	}
	bytes := relay.bytes.Load()
	if result.Load, err = measure(ctx, b.controlPlane, d); err != nil {
		return err
	}
	result.Wire = float64(relay.bytes.Load()-bytes) / d.Seconds()
	after, err := t.processes()
	if err != nil {
		return err
	}
	for i, p := range after {
		p.CPU -= before[i].CPU
		if i == leader {
			result.Leader = p
			continue
		}
		result.Follower.Resident += p.Resident / 2
		result.Follower.Heap += p.Heap / 2
		result.Follower.Peak += p.Peak / 2
		result.Follower.CPU += p.CPU / 2
	}
	b.report.Steady = append(b.report.Steady, result)
	return nil
}

func (t *trio) processes() (all []harness.Process, err error) {
	for _, r := range t.replicas {
		p, err := harness.ReadProcess(r.Cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}
