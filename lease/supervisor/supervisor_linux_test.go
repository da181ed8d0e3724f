package supervisor

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain makes the test binary a supervisor of its arguments for the test that
// kills one.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_IS_A_SUPERVISOR") != "" {
		s, err := New()
		if err != nil {
			panic(err)
		}
		<-s.Start(os.Args[1:], os.Environ()).Gone()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// tested is a tree that is killed at the end of its test.
type tested struct {
	*Tree
	t   *testing.T
	dir string // the command's argument $1
}

// start runs a shell script, of which $1 is a directory.
func start(t *testing.T, script string) *tested {
	t.Helper()
	dir := t.TempDir()
	return startAs(t, dir, "sh", "-c", script, "sh", dir)
}

func startAs(t *testing.T, dir string, argv ...string) *tested {
	t.Helper()
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	tree := &tested{s.Start(argv, os.Environ()), t, dir}
	t.Cleanup(func() { tree.Kill(); tree.awaitsGone(); s.Close() })
	return tree
}

// awaits waits for something that other processes bring about.
func awaits(t *testing.T, what string, is func() bool) {
	t.Helper()
	for start := time.Now(); !is(); time.Sleep(time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatalf("%s does not come", what)
		}
	}
}

func (r *tested) awaits(c <-chan struct{}, what string) {
	r.t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		r.t.Fatalf("%s does not come; left: %s", what, r.Left())
	}
}

func (r *tested) awaitsGone() { r.t.Helper(); r.awaits(r.Gone(), "the end of the tree") }

// pid waits for a file that holds a process ID and a newline.
func (r *tested) pid(name string) (pid int) {
	r.t.Helper()
	awaits(r.t, name, func() bool {
		content, _ := os.ReadFile(filepath.Join(r.dir, name))
		line, complete := strings.CutSuffix(string(content), "\n")
		var err error
		pid, err = strconv.Atoi(line)
		return complete && err == nil
	})
	return pid
}

// lives says whether a process runs: a zombie does not.
func lives(pid int) bool {
	p, err := readStat(strconv.Itoa(pid))
	return err == nil && !p.dead()
}

func TestTheExitCodeIsTheShells(t *testing.T) {
	dir := t.TempDir()
	plain, broken := filepath.Join(dir, "plain"), filepath.Join(dir, "broken")
	for name, mode := range map[string]os.FileMode{plain: 0o644, broken: 0o755} {
		if err := os.WriteFile(name, []byte("no program\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		argv []string
		code int
		err  string
	}{
		{[]string{"sh", "-c", "exit 3"}, 3, ""},
		{[]string{"true"}, 0, ""},
		{[]string{"sh", "-c", "kill -KILL $$"}, 128 + 9, ""},
		{[]string{"no-such-command"}, 127, `"no-such-command" can't be started: executable file not found`},
		{[]string{filepath.Join(dir, "absent")}, 127, "no such file"},
		{[]string{plain}, 126, "permission denied"},
		{[]string{broken}, 126, "exec format error"},
		{[]string{dir}, 126, "directory"},
	} {
		tree := startAs(t, dir, c.argv...)
		tree.awaits(tree.Ended(), "the command's end")
		tree.awaitsGone()
		got := tree.Exit()
		if got.Code != c.code || (got.Err != nil) != (c.err != "") || !strings.Contains(got.String(), c.err) {
			t.Errorf("%v: %d, %v", c.argv, got.Code, got)
		}
	}
}

// Processes that have left the command's group and session, and whose parents have
// ended, are killed with it.
func TestKillEndsWhatHasLeftTheGroup(t *testing.T) {
	tree := start(t, `
		setsid sh -c 'sleep 1000 & echo $! >$1/daemon' sh "$1" &
		(sleep 1000 & echo $! >"$1/orphan")
		sleep 1000 & echo $! >"$1/child"
		setsid sh -c 'trap "" TERM HUP INT; setsid sleep 1000 & echo $! >$1/grandchild; sleep 1000' sh "$1" &
		echo $$ >"$1/command"
		wait`)
	pids := map[string]int{}
	for _, name := range []string{"command", "child", "orphan", "daemon", "grandchild"} {
		if pids[name] = tree.pid(name); !lives(pids[name]) {
			t.Fatalf("the %s does not live", name)
		}
	}
	tree.Kill()
	tree.awaitsGone()
	for name, pid := range pids {
		if lives(pid) {
			t.Errorf("the %s lives", name)
		}
	}
	if got := tree.Exit().Code; got != 128+9 {
		t.Errorf("exit code %d", got)
	}
}

// A command that has ended leaves nothing behind, and its exit code stays its own.
func TestWhatTheCommandLeavesBehindIsKilled(t *testing.T) {
	tree := start(t, `setsid sh -c 'trap "" TERM; sleep 1000 & echo $! >$1/daemon; sleep 1000' sh "$1" & while ! [ -s "$1/daemon" ]; do :; done; exit 5`)
	daemon := tree.pid("daemon")
	tree.awaitsGone()
	if got := tree.Exit(); got.Code != 5 || lives(daemon) {
		t.Errorf("%v, the daemon lives: %v", got, lives(daemon))
	}
}

func TestStopAsksAndKillDoesNot(t *testing.T) {
	tree := start(t, `trap 'echo 1 >"$1/asked"' TERM; echo $$ >"$1/command"; while :; do sleep 0.01; done`)
	command := tree.pid("command")
	tree.Stop()
	tree.pid("asked")
	if !lives(command) {
		t.Fatal("it ended, though it ignores SIGTERM")
	}
	tree.Kill()
	tree.awaitsGone()
	if lives(command) {
		t.Error("it lives")
	}
}

// A command that is stopped like by ^Z hears of the SIGTERM.
func TestStopWakesACommandThatIsStopped(t *testing.T) {
	tree := start(t, `trap 'exit 4' TERM; sleep 1000 & echo $$ >"$1/command"; wait`)
	command := tree.pid("command")
	tree.Signal(syscall.SIGSTOP)
	awaits(t, "the stop", func() bool { p, err := readStat(strconv.Itoa(command)); return err == nil && p.state == 'T' })
	tree.Stop()
	tree.awaitsGone()
	if got := tree.Exit().Code; got != 4 {
		t.Errorf("exit code %d", got)
	}
}

func TestSignalReachesTheGroup(t *testing.T) {
	tree := start(t, `
		trap 'echo 1 >"$1/command"' USR1
		sh -c 'trap "echo 1 >$1/child; exit" USR1; echo 1 >$1/ready; while :; do sleep 0.01; done' sh "$1" &
		while ! [ -s "$1/command" ]; do sleep 0.01; done
		wait`)
	tree.pid("ready")
	tree.Signal(syscall.SIGUSR1)
	tree.pid("command")
	tree.pid("child")
	tree.awaitsGone()
}

func TestACommandThatIsStoppedBeforeItBeginsDoesNotBegin(t *testing.T) {
	for name, end := range map[string]func(*Tree){"Stop": (*Tree).Stop, "Kill": (*Tree).Kill} {
		file := filepath.Join(t.TempDir(), "ran")
		s, err := New()
		if err != nil {
			t.Fatal(err)
		}
		tree := &Tree{s: s, argv: []string{"touch", file}, env: os.Environ(), ended: make(chan struct{}), gone: make(chan struct{})}
		end(tree)
		tree.run()
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%s: it began", name)
		}
		s.Close()
	}
}

// Orphans that end are reaped while the command runs.
func TestAZombieFactoryLeavesNone(t *testing.T) {
	const orphans = 300
	tree := start(t, fmt.Sprintf(`i=0; while [ $i -lt %d ]; do (setsid true & true &); i=$((i+1)); done; echo $$ >"$1/command"; sleep 1000`, orphans))
	command := tree.pid("command")
	awaits(t, "the reaping", func() bool {
		_, dead, err := tree.s.look()
		return err == nil && len(dead) == 0
	})
	if !lives(command) {
		t.Error("the command does not live")
	}
}

// Programs that this process runs itself, such as credential plugins, keep their
// exit code and outlive the tree.
func TestOtherChildrenAreLeftAlone(t *testing.T) {
	other := exec.Command("sleep", "1000")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	tree := start(t, `while :; do (true &); done`)
	for range 50 {
		if err := exec.Command("sh", "-c", "exit 7").Run(); err == nil || err.Error() != "exit status 7" {
			t.Fatal(err)
		}
	}
	tree.Kill()
	tree.awaitsGone()
	if !lives(other.Process.Pid) {
		t.Error("it was killed")
	}
}

// Processes that go on as a new session's leader each time, with the parent gone,
// lose against Kill.
func TestAChainOfForksLoses(t *testing.T) {
	tree := start(t, `
		cat >"$1/link" <<-END
			#!/bin/sh
			echo \$\$ >"$1/last"
			setsid "\$0" &
		END
		chmod +x "$1/link"
		for i in 1 2 3 4; do setsid "$1/link" & done
		echo $$ >"$1/command"
		sleep 1000`)
	tree.pid("command")
	first := tree.pid("last")
	awaits(t, "another link", func() bool { return tree.pid("last") != first })
	tree.Kill()
	tree.awaitsGone()
	if alive, dead, err := tree.s.look(); err != nil || len(alive)+len(dead) > 0 {
		t.Errorf("left: %v %v %v", alive, dead, err)
	}
}

// The command lives as long as its supervisor, not as long as some thread of it.
func TestTheEndOfOtherThreadsDoesNotEndTheCommand(t *testing.T) {
	tree := start(t, `echo $$ >"$1/command"; sleep 1000`)
	command := tree.pid("command")
	for range 20 {
		var threads sync.WaitGroup
		for range 20 {
			threads.Go(runtime.LockOSThread) // the thread ends with its goroutine
		}
		threads.Wait()
	}
	if !lives(command) {
		t.Error("it was killed")
	}
}

// SIGKILL for the supervisor is SIGKILL for the command.
func TestTheCommandDiesWithItsSupervisor(t *testing.T) {
	dir := t.TempDir()
	supervisor := exec.Command(os.Args[0], "sh", "-c", `trap "" TERM HUP; echo $$ >"$1/command"; while :; do sleep 0.01; done`, "sh", dir)
	supervisor.Env = append(os.Environ(), "TEST_IS_A_SUPERVISOR=1")
	if err := supervisor.Start(); err != nil {
		t.Fatal(err)
	}
	command := (&tested{t: t, dir: dir}).pid("command")
	if err := supervisor.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = supervisor.Wait()
	awaits(t, "the command's end", func() bool { return !lives(command) })
}

func TestParseStat(t *testing.T) {
	const rest = " 7 8 9 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 3 0 12345 1000 10 18446744073709551615"
	p, err := parseStat("42 (a (b) c) Z" + rest)
	if want := (process{pid: 42, parent: 7, group: 8, session: 9, name: "a (b) c", state: 'Z', threads: 3, started: 12345}); err != nil || p != want {
		t.Errorf("%+v, %v", p, err)
	}
	if p.dead() {
		t.Error("dead, though it has other threads")
	}
	for _, line := range []string{"", "42 (a", "42 a) S" + rest, "42 (a) S 7", "x (a) S" + rest, "42 (a) SS" + rest, "42 (a) S x" + rest[2:], ")("} {
		if p, err := parseStat(line); err == nil {
			t.Errorf("%q is %+v", line, p)
		}
	}
}

func TestTheTreeIsAllThatTheCommandStartedAndNothingElse(t *testing.T) {
	const self, own = 10, 1
	all := []process{
		{pid: 1, session: own}, {pid: self, parent: 1, session: own},
		{pid: 20, parent: self, session: 20}, {pid: 21, parent: 20, session: 20}, {pid: 22, parent: 21, session: 22},
		{pid: 30, parent: self, session: own}, {pid: 31, parent: 30, session: own},
		{pid: 40, parent: 1, session: 40},
	}
	var found []int
	for _, p := range tree(all, self, own) {
		found = append(found, p.pid)
	}
	if want := []int{20, 21, 22}; !slices.Equal(found, want) {
		t.Errorf("%v, want %v", found, want)
	}
}
