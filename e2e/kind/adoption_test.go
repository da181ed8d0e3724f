//go:build e2e

package kind

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/action"
	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/leader-elector/leader-elector/e2e/chart"
	"github.com/leader-elector/leader-elector/e2e/harness"
)

// ofCreated marks values as those of createdChart.
const ofCreated = "of helm create"

// createdChart is what `helm create app` makes, with the README's lines added and the
// library chart from a registry.
func createdChart(t *testing.T) string {
	root, err := harness.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := chartutil.Create("app", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	charts, err := chart.Registry(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := chart.Publish(t.Context(), root, t.TempDir(), "sha256:"+strings.Repeat("0", 64), charts); err != nil {
		t.Fatal(err)
	}
	if _, err := chart.Adopt(dir, string(readme), "## Add it to your chart", charts); err != nil {
		t.Fatal(err)
	}
	if err := chart.Update(t.Context(), root, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// asCreated are the values that put the example's app into such a chart.
func asCreated() map[string]any {
	restricted := map[string]any{
		"runAsNonRoot": true, "allowPrivilegeEscalation": false,
		"capabilities": map[string]any{"drop": []any{"ALL"}}, "seccompProfile": map[string]any{"type": "RuntimeDefault"},
	}
	return map[string]any{
		ofCreated: true, "replicaCount": 3, "securityContext": restricted,
		"image":   map[string]any{"repository": "leader-elector/example", "tag": "dev"},
		"service": map[string]any{"port": 8000},
		// The image was loaded into the nodes by its tag: under another name of it, the chart does not use the digest of the release.
		"leader-elector": map[string]any{"labelPodRole": true, "image": map[string]any{"registry": "", "repository": "ghcr.io/leader-elector/leader-elector"}},
	}
}

// imageOf is the sidecar's image in an app chart's library.
func imageOf(t *testing.T, app *helmchart.Chart) string {
	library := app.Dependencies()[0]
	image, err := chartutil.Values(library.Values).Table("image")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%v/%v:%v", image["registry"], image["repository"], library.Metadata.AppVersion)
}

// adopts is a newcomer's session: install, a leader, its Service answers, disable,
// uninstall, install again. Without the leftover Lease the second install has a leader
// at once.
func adopts(e *election) time.Duration {
	e.leader()
	e.settled()
	service := "http:" + e.fullName() + "-leader:http"
	answer, err := e.client.CoreV1().RESTClient().Get().Namespace(namespace).Resource("services").Name(service).SubResource("proxy").Do(e.Context()).Raw()
	if now := e.leader(); err != nil || strings.TrimSpace(string(answer)) != now.Pod {
		e.Errorf("the leader Service answers %q, %v; %s leads", answer, err, now.Pod)
	}
	e.upgrade(map[string]any{"leader-elector": map[string]any{"enabled": false}})
	e.podsEnd(func(role string, sidecars int) bool { return role == "" && sidecars == 0 })
	e.upgrade(map[string]any{"leader-elector": map[string]any{"enabled": true}})
	e.leader()
	e.settled()

	if _, err := action.NewUninstall(e.helm).Run(e.release); err != nil {
		e.Fatal(err)
	}
	e.podsEnd(func(string, int) bool { return false })
	if err := e.client.CoordinationV1().Leases(namespace).Delete(e.Context(), e.leaseName(), metav1.DeleteOptions{}); err != nil {
		e.Errorf("deleting the Lease that is left: %v", err)
	}
	start := time.Now()
	e.install()
	next := e.after(start, time.Minute)
	e.settled()
	return next.Begin.Sub(start)
}

// podsEnd waits until every pod of the release is one of those wanted.
func (e *election) podsEnd(wanted func(role string, sidecars int) bool) {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.Context(), time.Minute)
	defer cancel()
	for unwanted := 1; unwanted > 0; time.Sleep(100 * time.Millisecond) {
		pods, err := e.pods(ctx)
		if err != nil {
			e.Fatal(err)
		}
		unwanted = 0
		for _, p := range pods {
			if !wanted(p.Labels["role"], len(p.Spec.InitContainers)) {
				unwanted++
			}
		}
	}
}
