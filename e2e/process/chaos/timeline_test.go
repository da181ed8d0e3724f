package chaos

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/leader-elector/leader-elector/e2e/harness"
)

// watchLease notes who holds the Lease.
func (c *chaos) watchLease(ctx context.Context) {
	for ctx.Err() == nil {
		w, err := c.controlPlane.Client.CoordinationV1().Leases("default").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + leaseName})
		if err == nil {
			for ev := range w.ResultChan() {
				if l, ok := ev.Object.(*coordinationv1.Lease); ok {
					for _, r := range c.replicas {
						holds := ev.Type != watch.Deleted && l.Spec.HolderIdentity != nil && *l.Spec.HolderIdentity == r.identity
						c.timeline.Set(r.identity, harness.Holds, holds, time.Now())
					}
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond): // no API server answers
		}
	}
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
