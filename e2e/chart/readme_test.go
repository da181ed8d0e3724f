package chart_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The chart's README shows the lines of charts/example, which the e2e tests install.
func TestTheChartsReadmeLinesAreTheExample(t *testing.T) {
	linesOfTheExample(t, filepath.Join("charts", "leader-elector", "README.md"), "## Line by line", "example")
}

// The chart's README shows the lines of charts/example-exec.
func TestTheChartsReadmeLinesAreTheExamples(t *testing.T) {
	linesOfTheExample(t, filepath.Join("charts", "leader-elector", "README.md"), "## An app under exec", "example-exec")
}

// linesOfTheExample holds the lines of YAML below a heading against the example chart:
// each has to be in it, and in that order.
func linesOfTheExample(t *testing.T, readme, heading, example string) {
	read := func(path ...string) string {
		content, err := os.ReadFile(filepath.Join(append([]string{root(t)}, path...)...))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	block := regexp.MustCompile("(?s)" + heading + "\n.*?```yaml\n(.*?)```").FindStringSubmatch(read(readme))
	if block == nil {
		t.Fatalf("no such block in %s", readme)
	}
	templates := filepath.Join("charts", example, "templates")
	// The example takes the library from this project's tree.
	rest := strings.Replace(read("charts", example, "Chart.yaml"), "file://../leader-elector", "oci://ghcr.io/leader-elector/charts", 1) + read(templates, "deployment.yaml") + read(templates, "leader-elector.yaml")
	lines := 0
	for line := range strings.Lines(block[1]) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		lines++
		_, after, found := strings.Cut(rest, line)
		if !found {
			t.Errorf("not in charts/%s, or not in this order: %s", example, line)
			continue
		}
		rest = after
	}
	if lines == 0 {
		t.Errorf("no lines in %s", readme)
	}
}
