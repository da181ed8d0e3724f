package main

import (
	"bytes"
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// executing is the program running `exec -- sh -c SCRIPT`, of which $1 is a directory.
type executing struct {
	*exec.Cmd
	t   *testing.T
	dir string
	api leasetest.Server
	log bytes.Buffer
}

func execute(t *testing.T, script string) *executing {
	t.Helper()
	e := &executing{t: t, dir: t.TempDir()}
	web := httptest.NewServer(&e.api)
	t.Cleanup(web.Close)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	e.Cmd = exec.CommandContext(ctx, os.Args[0], "exec", "--", "sh", "-c", script, "sh", e.dir)
	e.Stderr = &e.log
	e.WaitDelay = time.Second // a process that outlives its tree may hold stderr
	e.Env = append(os.Environ(),
		"TEST_IS_THE_PROGRAM=1", "LEASE_NAME=app", "NAMESPACE=default", "IDENTITY=me", "HEALTH_PORT=0",
		"STATUS_DIR="+filepath.Join(e.dir, "status"), "KUBECONFIG="+kubeconfigFor(t, web.URL),
	)
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	return e
}

// line waits for a file of one whole line.
func (e *executing) line(name string) string {
	e.t.Helper()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		content, _ := os.ReadFile(filepath.Join(e.dir, name))
		if line, whole := strings.CutSuffix(string(content), "\n"); whole {
			return line
		}
		if time.Since(start) > time.Minute {
			e.t.Fatalf("%s does not come", name)
		}
	}
}

func (e *executing) signal(sig os.Signal) {
	e.t.Helper()
	if err := e.Process.Signal(sig); err != nil {
		e.t.Fatal(err)
	}
}

// ends waits for the program's end, and checks its exit code and the Lease's holder.
func (e *executing) ends(code int, holder string) {
	e.t.Helper()
	err := e.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		e.t.Error(err)
	}
	if got := e.ProcessState.ExitCode(); got != code {
		e.t.Errorf("exit code %d, want %d:\n%s", got, code, e.log.String())
	}
	if got := *e.api.Get("default", "app").Spec.HolderIdentity; got != holder {
		e.t.Errorf("holder %q, want %q", got, holder)
	}
}

// diesSoon waits for the end of a process whose ID is in a file.
func (e *executing) diesSoon(name string) {
	e.t.Helper()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + e.line(name) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Since(start) > time.Minute {
			e.t.Fatalf("the %s lives", name)
		}
	}
}

func (e *executing) isDead(name string) {
	e.t.Helper()
	pid, err := strconv.Atoi(e.line(name))
	if err != nil || syscall.Kill(pid, 0) == nil {
		e.t.Errorf("the %s (%d) lives: %v", name, pid, err)
	}
}

const stubborn = `
	trap 'echo 1 >"$1/asked"' TERM
	setsid sh -c 'trap "" TERM HUP INT; (sleep 1000 & echo $! >$1/daemon); sleep 1000' sh "$1" &
	echo $$ >"$1/command"
	while :; do sleep 0.01; done`

// SIGTERM ends in order; what the command exits with then is of no account.
func TestExecEndsInOrder(t *testing.T) {
	e := execute(t, `trap 'echo $LEADER_TOKEN >"$1/asked"; exit 9' TERM; echo $$ >"$1/command"; while :; do sleep 0.01; done`)
	e.line("command")
	e.signal(syscall.SIGTERM)
	if got := e.line("asked"); got != "0" {
		t.Errorf("LEADER_TOKEN=%s", got)
	}
	e.ends(0, "")
}

// A command that uses a signal to end, by itself, ends the program with its code.
func TestExecForwardsSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH} {
		e := execute(t, `trap 'exit 28' WINCH; trap 'exit 2' INT; trap 'exit 1' HUP; trap 'exit 3' QUIT; trap 'exit 10' USR1; trap 'exit 12' USR2
			echo $$ >"$1/command"; while :; do sleep 0.01; done`)
		e.line("command")
		e.signal(sig)
		e.ends(int(sig), "")
	}
}

// A second SIGTERM ends at once, with the whole tree, and the Lease is left to expire.
func TestExecEndsAtOnceAtTheSecondSIGTERM(t *testing.T) {
	e := execute(t, stubborn)
	e.line("command")
	e.line("daemon")
	e.signal(syscall.SIGTERM)
	e.line("asked")
	e.signal(syscall.SIGTERM)
	e.ends(1, "me")
	e.isDead("command")
	e.isDead("daemon")
}

// SIGKILL for the program is SIGKILL for its command.
func TestExecsCommandDiesWithTheProgram(t *testing.T) {
	e := execute(t, `trap "" TERM HUP; echo $$ >"$1/command"; while :; do sleep 0.01; done`)
	e.line("command")
	e.signal(syscall.SIGKILL)
	_ = e.Wait()
	e.diesSoon("command")
}

func TestInstallCopiesTheProgram(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bin")
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"install", dir}, nil, &stdout, &stderr); code != 0 || stdout.String() != filepath.Join(dir, "leader-election-sidecar")+"\n" {
		t.Fatalf("code %d, %s%s", code, &stdout, &stderr)
	}
	installed := exec.CommandContext(t.Context(), filepath.Join(dir, "leader-election-sidecar"), "--version")
	installed.Env = []string{"TEST_IS_THE_PROGRAM=1"}
	if out, err := installed.Output(); err != nil || string(out) != "dev\n" {
		t.Errorf("%q, %v", out, err)
	}
	if code := run(t.Context(), []string{"install", filepath.Join(dir, "leader-election-sidecar")}, nil, &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), "can't be installed") {
		t.Errorf("into a file: code %d, %s", code, &stderr)
	}
}
