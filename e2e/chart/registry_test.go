package chart_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leader-elector/leader-elector/e2e/chart"
)

// What a release pushes is what `helm dependency update` gets from a registry: the chart
// of this version, with the image's digest in it. An app chart that has it renders.
func TestTheChartThroughARegistry(t *testing.T) {
	charts, err := chart.Registry(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	digest := "sha256:" + strings.Repeat("c", 64)
	if err := chart.Publish(t.Context(), root(t), t.TempDir(), digest, charts); err != nil {
		t.Fatal(err)
	}

	app := filepath.Join(t.TempDir(), "example")
	if err := os.CopyFS(app, os.DirFS(filepath.Join(root(t), "charts", "example"))); err != nil {
		t.Fatal(err)
	}
	chartFile := filepath.Join(app, "Chart.yaml")
	content, err := os.ReadFile(chartFile)
	if err != nil {
		t.Fatal(err)
	}
	from := strings.Replace(string(content), "file://../leader-elector", charts, 1)
	if from == string(content) {
		t.Fatal("the example's dependency has another repository")
	}
	if err := os.WriteFile(chartFile, []byte(from), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(app, "charts")); err != nil {
		t.Fatal(err)
	}
	if err := chart.Update(t.Context(), root(t), app); err != nil {
		t.Fatal(err)
	}
	manifest, err := renderWithHelm3(app, ``)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(manifest, "image: ghcr.io/leader-elector/leader-elector@"+digest+"\n") {
		t.Errorf("the image's digest is not in\n%s", manifest)
	}
}
