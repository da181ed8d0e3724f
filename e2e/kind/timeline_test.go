//go:build e2e

package kind

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/leader-elector/leader-elector/e2e/harness"
)

// watchLease notes each version of the Lease until ctx is done.
func (e *election) watchLease(ctx context.Context) {
	for ctx.Err() == nil {
		options := metav1.ListOptions{FieldSelector: "metadata.name=" + e.leaseName()}
		if w, err := e.client.CoordinationV1().Leases(namespace).Watch(ctx, options); err == nil {
			for ev := range w.ResultChan() {
				if l, ok := ev.Object.(*coordinationv1.Lease); ok && ev.Type != watch.Deleted && l.Spec.HolderIdentity != nil && l.Spec.RenewTime != nil {
					e.addLease(holding{*l.Spec.HolderIdentity, time.Now(), l.Spec.RenewTime.Time, time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second})
				} else {
					e.addLease(holding{seen: time.Now()})
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
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
