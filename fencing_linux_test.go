package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// The writes that both recipes of docs/fencing.md judge, in this order.
var fencedWrites = []struct {
	uid     string
	token   int
	waited  bool // LEASE_DURATION has passed since the write before
	accepts bool
}{
	{"a", 0, false, true}, // the first token
	{"a", 1, false, true},
	{"a", 0, true, false}, // an old leader, however late
	{"a", 1, false, true},
	{"b", 1, false, true}, // deleted and put back: the token goes on
	{"a", 1, false, false},
	{"a", 9, true, false},
	{"b", 2, false, true},
	{"c", 0, false, false}, // deleted while no replica ran
	{"c", 0, true, true},
	{"b", 3, true, false},
	{"c", 0, false, true},
	{"c", 1, false, true},
}

// fencingBlocks are the code blocks of docs/fencing.md under a heading.
func fencingBlocks(t *testing.T, heading string) []string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("docs", "fencing.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var blocks []string
	for _, block := range regexp.MustCompile("(?s)```\\w+\n(.*?)```").FindAllStringSubmatch(section, -1) {
		blocks = append(blocks, block[1])
	}
	if len(blocks) == 0 {
		t.Fatalf("no code under %s", heading)
	}
	return blocks
}

func judged(t *testing.T, verdicts string) {
	t.Helper()
	lines := strings.Fields(verdicts)
	if len(lines) != len(fencedWrites) {
		t.Fatalf("%d verdicts on %d writes:\n%s", len(lines), len(fencedWrites), verdicts)
	}
	for i, w := range fencedWrites {
		if (lines[i] == "accepted") != w.accepts {
			t.Errorf("write %d, %+v: %s", i, w, lines[i])
		}
	}
}

func seconds(waited bool) int {
	if waited {
		return 0 // as if the time were over
	}
	return 3600
}

func TestFencingInSQLite(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Log("not run: no python3 here")
		return
	}
	program := fencingBlocks(t, "SQLite")[0] + "\ndb = sqlite3.connect('fenced.db', isolation_level=None)\ndb.executescript(TABLES)\n"
	for _, w := range fencedWrites {
		program += fmt.Sprintf("try:\n    fence(db, 'x', %q, %d, %d)\n    db.execute('COMMIT')\n    print('accepted')\nexcept Fenced:\n    db.execute('ROLLBACK')\n    print('refused')\n", w.uid, w.token, seconds(w.waited))
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", program)
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	judged(t, string(out))
}

// A piece of work is stored whole where the fence lets it, and leaves no transaction open where it fails.
func TestFencedWorkInSQLite(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Log("not run: no python3 here")
		return
	}
	program := strings.Join(fencingBlocks(t, "SQLite"), "\n") + `
db = sqlite3.connect('fenced.db', isolation_level=None)
db.executescript(TABLES + "CREATE TABLE done (what TEXT);")
def writes(what, fails=None):
    def write(db):
        db.execute("INSERT INTO done VALUES (?)", (what,))
        if fails:
            raise fails
    return write
for uid, token, write in [("a", 1, writes("first")), ("a", 0, writes("old")), ("a", 1, writes("broken", KeyError())), ("", 2, writes("unknown")), ("a", 2, writes("last"))]:
    try:
        work(db, uid, token, write)
    except (Fenced, KeyError, sqlite3.IntegrityError) as e:
        print(type(e).__name__)
    assert not db.in_transaction
print([what for what, in db.execute("SELECT what FROM done")])
`
	cmd := exec.CommandContext(t.Context(), python, "-c", program)
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if want := "Fenced\nKeyError\nIntegrityError\n['first', 'last']\n"; err != nil || string(out) != want {
		t.Errorf("%v, got\n%swant\n%s", err, out, want)
	}
}

func TestFencingInPostgreSQL(t *testing.T) {
	for _, program := range []string{"initdb", "postgres", "pg_ctl", "psql"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Logf("not run: no %s here (Debian's packages postgresql and postgresql-client have it)", program)
			return
		}
	}
	dir, err := os.MkdirTemp("", "fencing") // one that another user can reach
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	const nobody = 65534 // PostgreSQL does not run as root
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	run := func(name string, args ...string) (string, error) {
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), name, args...) // to stop the server too
		cmd.Dir = dir
		if os.Geteuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	must := func(name string, args ...string) {
		t.Helper()
		if out, err := run(name, args...); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	data := filepath.Join(dir, "data")
	must("initdb", "--no-sync", "--username=app", "-D", data)
	must("pg_ctl", "-D", data, "-l", filepath.Join(dir, "log"), "-w", "-o", "-h '' -k "+dir, "start")
	t.Cleanup(func() { _, _ = run("pg_ctl", "-D", data, "-m", "immediate", "stop") })
	psql := func(sql string) (string, error) {
		return run("psql", "-h", dir, "-U", "app", "-d", "postgres", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-c", sql)
	}
	blocks := fencingBlocks(t, "PostgreSQL")
	if out, err := psql(blocks[0]); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	verdicts := ""
	for _, w := range fencedWrites {
		out, err := psql(fmt.Sprintf("SELECT fence('x', '%s', %d, '%d seconds')", w.uid, w.token, seconds(w.waited)))
		switch {
		case err == nil:
			verdicts += "accepted\n"
		case strings.Contains(out, "fenced: "):
			verdicts += "refused\n"
		default:
			t.Fatalf("%v\n%s", err, out)
		}
	}
	judged(t, verdicts)
	if out, err := psql(blocks[1]); err != nil {
		t.Errorf("the example: %v\n%s", err, out)
	}
}
