package chart_test

import (
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/sirupsen/logrus"
)

// What a release pushes is what `helm dependency update` gets from a registry: the chart
// of this version, with the image's digest in it. An app chart that has it renders.
func TestTheChartThroughARegistry(t *testing.T) {
	config := &configuration.Configuration{Storage: configuration.Storage{"inmemory": configuration.Parameters{}}}
	logrus.SetOutput(io.Discard) // the registry's
	registry := httptest.NewServer(handlers.NewApp(t.Context(), config))
	defer registry.Close()
	charts := "oci://" + strings.TrimPrefix(registry.URL, "http://") + "/charts"

	run := func(dir string, command ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
		}
		return string(out)
	}
	digest := "sha256:" + strings.Repeat("c", 64)
	packages := t.TempDir()
	run(root(t), "make", "chart-package", "DIGEST="+digest, "CHARTS="+packages)
	archives, err := filepath.Glob(filepath.Join(packages, "*.tgz"))
	if err != nil || len(archives) != 1 {
		t.Fatal(archives, err)
	}
	run(".", "go", "tool", "helm", "push", archives[0], charts, "--plain-http")

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
	_ = os.RemoveAll(filepath.Join(app, "charts"))
	run(".", "go", "tool", "helm", "dependency", "update", app, "--plain-http")
	manifest, err := renderWithHelm3(app, ``)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(manifest, "image: ghcr.io/leader-elector/leader-elector@"+digest+"\n") {
		t.Errorf("the image's digest is not in\n%s", manifest)
	}
}
