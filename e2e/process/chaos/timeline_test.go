package chaos

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/leader-elector/leader-elector/e2e/harness"
)

// watchLease notes who holds the Lease.
func (c *chaos) watchLease(ctx context.Context) {
	harness.WatchLease(ctx, c.controlPlane.Client, "default", leaseName, func(l *coordinationv1.Lease) {
		for _, r := range c.replicas {
			holds := l != nil && l.Spec.HolderIdentity != nil && *l.Spec.HolderIdentity == r.identity
			c.timeline.Set(r.identity, harness.Holds, holds, time.Now())
		}
	})
}

// draw makes a picture of each minute of the run.
func (c *chaos) draw(begun time.Time) {
	root, err := harness.Root(c.Context())
	if err != nil {
		c.Fatal(err)
	}
	end := time.Now()
	for i := 0; begun.Before(end); i++ {
		until := begun.Add(time.Minute)
		if until.After(end) {
			until = end
		}
		file := filepath.Join(root, "dist", "timelines", fmt.Sprintf("chaos-%d.svg", i+1))
		if err := c.timeline.Save(file, fmt.Sprintf("make chaos, seed %d, minute %d", *seed, i+1), begun, until); err != nil {
			c.Error(err)
		}
		begun = until
	}
}
