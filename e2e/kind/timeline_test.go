//go:build e2e

package kind

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/leader-elector/leader-elector/e2e/harness"
)

// watchLease notes each version of the Lease until ctx is done.
func (e *election) watchLease(ctx context.Context) {
	harness.WatchLease(ctx, e.client, namespace, e.leaseName(), func(l *coordinationv1.Lease) {
		h := holding{seen: time.Now()}
		if l != nil && l.Spec.HolderIdentity != nil && l.Spec.RenewTime != nil {
			h = holding{*l.Spec.HolderIdentity, h.seen, l.Spec.RenewTime.Time, time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second}
		}
		e.addLease(h)
	})
}

// pictureEnds ends the picture here, at the first of several rounds.
func (e *election) pictureEnds() {
	if e.shownUntil.IsZero() {
		e.shownUntil = time.Now()
	}
}

// picture draws the scenario's timeline, from its first leader on, into dist/timelines.
func (e *election) picture() {
	root, err := harness.Root(context.Background())
	if err != nil {
		e.T.Error(err)
		return
	}
	until := time.Now()
	e.draw(e.timeline, until)
	if !e.shownUntil.IsZero() {
		until = e.shownUntil
	}
	from := e.begun
	if first := e.ledAfter(e.begun); !first.IsZero() {
		from = first.Add(-time.Second)
	}
	file := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(e.scenario), "-"), "-")
	if err := e.timeline.Save(filepath.Join(root, "dist", "timelines", file+".svg"), e.scenario, from, until); err != nil {
		e.T.Error(err)
	}
}
