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
	read := func(path ...string) string {
		content, err := os.ReadFile(filepath.Join(append([]string{root(t)}, path...)...))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	block := regexp.MustCompile("(?s)## Add it to your chart\n.*?```yaml\n(.*?)```").FindStringSubmatch(read("README.md"))
	if block == nil {
		t.Fatal("no such block in the README")
	}
	templates := filepath.Join("charts", "example", "templates")
	rest := read("charts", "example", "Chart.yaml") + read(templates, "deployment.yaml") + read(templates, "leader-elector.yaml")
	lines := 0
	for line := range strings.Lines(block[1]) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		lines++
		_, after, found := strings.Cut(rest, line)
		if !found {
			t.Errorf("not in charts/example, or not in this order: %s", line)
			continue
		}
		rest = after
	}
	if lines >= 15 || lines == 0 {
		t.Errorf("%d lines", lines)
	}
}
