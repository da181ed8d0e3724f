package chart_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/leader-elector/leader-elector/e2e/chart"
)

// What a release pushes is what `helm dependency update` gets from a registry: the chart
// of this version, with the image's digest in it. An app chart that has it renders.
func TestTheChartThroughARegistry(t *testing.T) {
	charts, err := chart.Registry(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The release's workflow has an environment of its own, which make reads.
	workflow, err := os.ReadFile(filepath.Join(root(t), ".github", "workflows", "release.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var release struct{ Env map[string]string }
	if err := yaml.Unmarshal(workflow, &release); err != nil || len(release.Env) == 0 {
		t.Fatal(release, err)
	}
	for name, value := range release.Env {
		t.Setenv(name, value)
	}
	dry := exec.CommandContext(t.Context(), "make", "--dry-run", "chart-package", "DIGEST=sha256:"+strings.Repeat("c", 64))
	dry.Dir = root(t)
	if out, err := dry.CombinedOutput(); err != nil || !strings.Contains(string(out), "--destination '"+filepath.Join(root(t), "dist", "charts")+"'") {
		t.Errorf("the workflow does not find the package in dist/charts: %v\n%s", err, out)
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
