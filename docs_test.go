package main

import (
	"bytes"
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// pages are the project's documents, by path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && slices.Contains([]string{"build", "dist", "licenses", "testdata", ".git"}, d.Name()) {
			return fs.SkipDir
		}
		if strings.HasSuffix(path, ".md") {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, path := range paths {
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

// What docs/operating.md explains is what the program says, to the letter: lines of
// status, messages, series.
func TestOperatingExplainsWhatTheProgramSays(t *testing.T) {
	source, rows := strings.Join(texts(t), "\n"), 0
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

// docs/troubleshooting.md says what the program says, to the letter, and has every warning
// and error that it logs: as a heading, up to the first stop in the text.
func TestTroubleshootingHasEveryWarning(t *testing.T) {
	page, all := pages(t)[filepath.Join("docs", "troubleshooting.md")], texts(t)
	for _, quoted := range regexp.MustCompile("(?m)^(?:### |\\| )`([^`]+)`").FindAllStringSubmatch(page, -1) {
		found := slices.Contains([]string{"connection refused", "i/o timeout"}, quoted[1]) // the system's own words
		if !found && !slices.ContainsFunc(all, func(text string) bool { return strings.Contains(text, quoted[1]) }) {
			t.Errorf("the program never says %q", quoted[1])
		}
	}
	said := warnings(t)
	for _, text := range said {
		if text == "The Lease was released" || strings.HasPrefix(text, "…") { // a change, and the end of an accident's text
			continue
		}
		beginning := regexp.MustCompile(`[.:;,]( |$)| %| \(| …`).Split(text, 2)[0]
		if !strings.Contains(page, "### `"+beginning) {
			t.Errorf("no heading for %q", text)
		}
	}
	if len(said) < 40 {
		t.Errorf("%d warnings", len(said))
	}
}

// texts are the string literals of the program, those that + joins as one.
func texts(t *testing.T) (all []string) {
	t.Helper()
	inspect(t, func(n ast.Node) {
		if e, ok := n.(ast.Expr); ok {
			if text := literal(e); text != "" {
				all = append(all, text)
			}
		}
	})
	return all
}

// warnings are the messages that the program logs as warnings or errors.
func warnings(t *testing.T) (all []string) {
	t.Helper()
	add := func(e ast.Expr) {
		if text := literal(e); text != "" {
			all = append(all, text)
		}
	}
	inspect(t, func(n ast.Node) {
		switch n := n.(type) {
		case *ast.KeyValueExpr: // of a problem that lasts
			if key, ok := n.Key.(*ast.Ident); ok && key.Name == "says" {
				add(n.Value)
			}
		case *ast.AssignStmt: // of an accident
			if name, ok := n.Lhs[0].(*ast.Ident); ok && name.Name == "what" && len(n.Rhs) == 1 {
				if text := literal(n.Rhs[0]); strings.HasPrefix(text, "The Lease") {
					all = append(all, text)
				}
			}
		case *ast.CallExpr:
			called, ok := n.Fun.(*ast.SelectorExpr)
			if !ok || len(n.Args) == 0 {
				return
			}
			switch called.Sel.Name {
			case "Warn", "Error":
				add(n.Args[0])
			case "say":
				if level, ok := n.Args[0].(*ast.SelectorExpr); !ok || level.Sel.Name == "LevelWarn" || level.Sel.Name == "LevelError" {
					add(n.Args[1])
				}
			}
		}
	})
	return all
}

// inspect walks through the program's own code.
func inspect(t *testing.T, see func(ast.Node)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && slices.Contains([]string{"e2e", "simulation", "leasetest", "build", "licenses"}, d.Name()) {
			return fs.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err == nil {
			ast.Inspect(file, func(n ast.Node) bool { see(n); return true })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// literal is the text of an expression, as far as it is written out: also the format of a
// Sprintf, and what + joins.
func literal(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, _ := strconv.Unquote(e.Value)
		return text
	case *ast.BinaryExpr:
		left, right := literal(e.X), literal(e.Y)
		if left+right == "" {
			return ""
		}
		return cmp.Or(left, "…") + cmp.Or(right, "…")
	case *ast.CallExpr:
		if called, ok := e.Fun.(*ast.SelectorExpr); ok && strings.HasSuffix(called.Sel.Name, "f") {
			return literal(e.Args[0])
		}
	}
	return ""
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

// docs/reference.md has the variables of --help, and their defaults.
func TestReferenceHasEveryVariable(t *testing.T) {
	var help bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, nil, &help, &help); code != 0 {
		t.Fatal(code)
	}
	_, table, _ := strings.Cut(help.String(), "Environment:")
	type variable struct{ value, text string }
	variables := map[string]variable{}
	duration := regexp.MustCompile("(?m)^LEASE_DURATION .*$").FindString(table)
	value, text := strings.Index(duration, "15s"), strings.Index(duration, "what others") // the columns
	for _, line := range regexp.MustCompile("(?m)^([A-Z_]{4,}) .*$").FindAllStringSubmatch(table, -1) {
		variables[line[1]] = variable{strings.TrimSpace(line[0][value:text]), line[0][text:]}
	}
	reference, _, _ := strings.Cut(pages(t)[filepath.Join("docs", "reference.md")], "## HTTP")
	rows := regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\|([^|]*)\\|").FindAllStringSubmatch(reference, -1)
	for _, row := range rows {
		is, ok := variables[row[1]]
		if !ok {
			t.Errorf("there is no variable %s", row[1])
			continue
		}
		said := strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(row[2]), "`", ""), "of it", "of LEASE_DURATION")
		if said != is.value && !(is.value == "" && strings.Contains(is.text, said)) {
			t.Errorf("the default of %s is %q, not %q: %s", row[1], is.value, said, is.text)
		}
	}
	if len(rows) != len(variables) || len(rows) < 15 {
		t.Errorf("%d of %d variables", len(rows), len(variables))
	}
}
