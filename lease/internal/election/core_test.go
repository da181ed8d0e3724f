package election

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
)

// The core reads no clock, starts no goroutine, waits for nothing and calls nothing
// that could: only then can every order of events be tried.
func TestTheCoreDoesNoIO(t *testing.T) {
	allowed := []string{
		"encoding/binary", "fmt", "log/slog", "math", "slices", "strconv", "strings", "time",
		"k8s.io/api/coordination/v1", "k8s.io/apimachinery/pkg/util/resourceversion",
		"github.com/leader-elector/leader-elector/lease/boottime",
	}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if path, _ := strconv.Unquote(i.Path.Value); !slices.Contains(allowed, path) {
				t.Errorf("%s imports %s", name, path)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.ChanType, *ast.SelectStmt, *ast.SendStmt:
				t.Errorf("%s: %T", name, n)
			case *ast.SelectorExpr:
				pkg, _ := n.X.(*ast.Ident)
				if pkg != nil && (pkg.Name == "time" && slices.Contains([]string{"Now", "After", "AfterFunc", "Sleep", "NewTimer", "NewTicker", "Since", "Until"}, n.Sel.Name) ||
					pkg.Name == "slog" && !strings.HasPrefix(n.Sel.Name, "Level") || pkg.Name == "boottime" && n.Sel.Name == "System") {
					t.Errorf("%s: %s.%s", name, pkg.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}

// Under a policy that truncates renewTime, a follower sees a renewal by its second
// alone. Found by the simulation's soak.
func TestS2_AWallClockThatIsSetBackRepeatsNoSecond(t *testing.T) {
	var tenure Tenure
	wall, at := time.Date(2030, 1, 1, 0, 0, 0, 900_000_000, time.UTC), boottime.Moment(time.Hour)
	second, since := Stamp(0), at
	for i := range 200 {
		stamp := tenure.stamp(wall, at)
		if stamp.whole() {
			t.Errorf("%d: %d is a whole second, as truncated ones are", i, stamp)
		}
		switch now := stamp.seconds(); {
		case now < second:
			t.Errorf("%d: the second %d after %d", i, now, second)
		case now > second:
			second, since = now, at
		case at.Sub(since) >= time.Second:
			t.Errorf("%d: the second %d for %v", i, now, at.Sub(since))
		}
		at = at.Add(300 * time.Millisecond)
		wall = wall.Add(300*time.Millisecond - time.Duration(i%17/16)*10*time.Second) // set back now and then
	}
}
