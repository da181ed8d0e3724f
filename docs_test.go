package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages are README.md and docs/*.md, by path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, path := range append(paths, "README.md") {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[path] = string(content)
	}
	return all
}

// anchors are what GitHub makes of a page's headings.
func anchors(page string) map[string]bool {
	found := map[string]bool{"": true}
	odd := regexp.MustCompile(`[^a-z0-9 _-]`)
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		found[strings.ReplaceAll(odd.ReplaceAllString(strings.ToLower(heading[1]), ""), " ", "-")] = true
	}
	return found
}

func TestLinksOfTheDocs(t *testing.T) {
	all := pages(t)
	for path, page := range all {
		for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(page, -1) {
			if strings.HasPrefix(link[1], "http") {
				continue
			}
			file, anchor, _ := strings.Cut(link[1], "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s: %v", path, link[1], err)
			} else if there, ok := all[target]; ok && !anchors(there)[anchor] {
				t.Errorf("%s: %s: no such heading", path, link[1])
			}
		}
	}
}

// sources is the text of all Go files of the program.
func sources(t *testing.T) string {
	t.Helper()
	var all bytes.Buffer
	err := filepath.WalkDir("lease", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		all.Write(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// What docs/operating.md explains is what the program says, to the letter: lines of
// status, messages, series.
func TestOperatingExplainsWhatTheProgramSays(t *testing.T) {
	source, rows := sources(t), 0
	page := pages(t)[filepath.Join("docs", "operating.md")]
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(page, -1) {
		rows++
		for _, part := range strings.Split(row[1], "…") {
			if !strings.Contains(source, strings.TrimSpace(part)) {
				t.Errorf("the program never says %q", row[1])
			}
		}
	}
	if rows < 40 {
		t.Errorf("%d rows", rows)
	}
}

// The scenarios of make e2e that docs/deaths.md refers to exist.
func TestDeathsNameScenarios(t *testing.T) {
	scenarios, err := os.ReadFile(filepath.Join("e2e", "kind", "scenarios_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`, "([^"]+)"`).FindAllStringSubmatch(pages(t)[filepath.Join("docs", "deaths.md")], -1)
	for _, name := range named {
		if !bytes.Contains(scenarios, []byte(`{"`+name[1]+`"`)) {
			t.Errorf("no scenario %q", name[1])
		}
	}
	if len(named) < 15 {
		t.Errorf("%d scenarios", len(named))
	}
}

// The README's table of the environment has every variable of --help.
func TestReadmeHasEveryVariable(t *testing.T) {
	var help bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, nil, &help, &help); code != 0 {
		t.Fatal(code)
	}
	readme := pages(t)["README.md"]
	_, table, _ := strings.Cut(help.String(), "Environment:")
	variables := regexp.MustCompile(`(?m)^([A-Z_]{4,}) `).FindAllStringSubmatch(table, -1)
	for _, variable := range variables {
		if !strings.Contains(readme, "| `"+variable[1]+"` |") {
			t.Errorf("the README does not explain %s", variable[1])
		}
	}
	if len(variables) < 15 {
		t.Errorf("%d variables", len(variables))
	}
}
