package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/leader-elector/leader-elector/e2e/harness"
)

// Point is one system at one size, on an API server of its own.
type Point struct {
	System   string    `json:"system"`
	Leases   int       `json:"leases"`
	Replicas int       `json:"replicas"` // of each Lease
	Load     Load      `json:"load"`
	Idle     float64   `json:"idleRSS"`  // of the API server before anyone came, bytes
	Handover []float64 `json:"handover"` // milliseconds from one leadership to the next
	Refused  []float64 `json:"refused"`  // writes refused with 409 in each handover
	Takeover *Takeover `json:"takeover,omitempty"`
}

// Takeover is what happened when a leader died, from just before the expiry of
// its Lease until RETRY_PERIOD and a second after.
type Takeover struct {
	Overshoot float64            `json:"overshoot"` // milliseconds past the expiry
	Requests  map[string]float64 `json:"requests"`  // their number, by verb; refused ones by verb and status
}

func (p Point) name() string { return fmt.Sprintf("%d leases x %d replicas", p.Leases, p.Replicas) }

// refused is how many writes came to nothing.
func (t *Takeover) refused() (n float64) {
	for key, count := range t.Requests {
		if strings.HasPrefix(key, "PUT ") {
			n += count
		}
	}
	return n
}

// atScale measures leases Leases with replicas replicas each.
func (b *bench) atScale(ctx context.Context, name string, run func(context.Context, *elector) error, leases, replicas, handovers int) (err error) {
	dir := filepath.Join(b.dir, fmt.Sprintf("scale-%s-%d-%d", name, leases, replicas))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	controlPlane, err := harness.Start(ctx, dir, os.Stderr)
	if err != nil {
		return err
	}
	defer controlPlane.Close()
	kubeconfig, err := controlPlane.Account(ctx, "crowd", []rbacv1.PolicyRule{
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"get", "update", "watch", "create"}},
	})
	if err != nil {
		return err
	}
	c, err := newCrowd(kubeconfig, run)
	if err != nil {
		return err
	}
	defer c.close()
	idle, err := look(ctx, controlPlane)
	if err != nil {
		return err
	}
	p := Point{System: name, Leases: leases, Replicas: replicas, Idle: idle.counted.APIServerRSS}
	for i := range leases { // first one of each, which leads
		c.start(ctx, leaseName(i))
		if err := sleep(ctx, 3*time.Millisecond); err != nil {
			return err
		}
	}
	if err := c.settle(ctx, leases); err != nil {
		return err
	}
	for range replicas - 1 {
		for i := range leases {
			c.start(ctx, leaseName(i))
			if err := sleep(ctx, 3*time.Millisecond); err != nil { // a TLS handshake each
				return err
			}
		}
	}
	if err := c.settle(ctx, leases*(replicas-1)); err != nil {
		return err
	}
	if err := sleep(ctx, b.settle/2); err != nil {
		return err
	}
	if p.Load, err = measure(ctx, controlPlane, b.plan.scale); err != nil {
		return err
	}
	for i := range handovers {
		name := leaseName(i % leases)
		c.drain()
		before, err := look(ctx, controlPlane)
		if err != nil {
			return err
		}
		c.leaders[name].cancel()
		gone, next, err := c.handover(ctx, name)
		if err != nil {
			return err
		}
		p.Handover = append(p.Handover, float64(next.at.Sub(gone.at))/float64(time.Millisecond))
		c.start(ctx, name)
		if err := sleep(ctx, 3*time.Second); err != nil {
			return err
		}
		after, err := look(ctx, controlPlane)
		if err != nil {
			return err
		}
		p.Refused = append(p.Refused, after.requests["PUT 409"]-before.requests["PUT 409"])
	}
	if leases == 1 {
		if p.Takeover, err = takeover(ctx, controlPlane, c); err != nil {
			return err
		}
	}
	b.report.Scale = append(b.report.Scale, p)
	return nil
}

func leaseName(i int) string { return fmt.Sprintf("scale-%d", i) }

// settle waits until n more electors know who leads.
func (c *crowd) settle(ctx context.Context, n int) error {
	limit := time.After(5 * time.Minute)
	for i := range n {
		select {
		case <-c.joined:
		case <-ctx.Done():
			return ctx.Err()
		case <-limit:
			return fmt.Errorf("%d of %d electors know who leads after 5 minutes", i, n)
		}
	}
	return nil
}

// takeover cuts the leader off and sees what its followers do.
func takeover(ctx context.Context, controlPlane *harness.ControlPlane, c *crowd) (*Takeover, error) {
	c.drain()
	leader := c.leaders[leaseName(0)]
	leader.link.cut()
	l, err := controlPlane.Client.CoordinationV1().Leases("default").Get(ctx, leader.lease, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	expiry := l.Spec.RenewTime.Add(15 * time.Second)
	if err := sleep(ctx, time.Until(expiry)-500*time.Millisecond); err != nil {
		return nil, err
	}
	before, err := look(ctx, controlPlane)
	if err != nil {
		return nil, err
	}
	_, next, err := c.handover(ctx, leader.lease)
	if err != nil {
		return nil, err
	}
	if err := sleep(ctx, 3*time.Second); err != nil {
		return nil, err
	}
	after, err := look(ctx, controlPlane)
	if err != nil {
		return nil, err
	}
	t := &Takeover{Overshoot: float64(next.at.Sub(expiry)) / float64(time.Millisecond), Requests: map[string]float64{}}
	for key, n := range after.requests {
		if n -= before.requests[key]; n > 0 {
			t.Requests[key] = n
		}
	}
	return t, nil
}
