package chart_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The README's lines for an app chart are fewer than 15, and those of
// charts/example, which the e2e tests install.
func TestReadmeLinesAreTheExamples(t *testing.T) {
	lines := linesOfTheExample(t, "README.md", "## Add it to your chart", "example")
	if lines >= 15 {
		t.Errorf("%d lines", lines)
	}
}

// The chart's README shows the lines of charts/example-exec.
func TestTheChartsReadmeLinesAreTheExamples(t *testing.T) {
	linesOfTheExample(t, filepath.Join("charts", "leader-elector", "README.md"), "## An app under exec", "example-exec")
}

// linesOfTheExample counts the lines of YAML below a heading. Each has to be in
// the example chart, and in that order.
func linesOfTheExample(t *testing.T, readme, heading, example string) (lines int) {
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
	rest := read("charts", example, "Chart.yaml") + read(templates, "deployment.yaml") + read(templates, "leader-elector.yaml")
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
	return lines
}
