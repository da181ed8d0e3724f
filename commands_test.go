package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// process is one of the sidecar, and its environment, which its commands share.
type process struct {
	cmd  *exec.Cmd
	env  []string
	file string
	log  leasetest.Buffer
}

func start(t *testing.T, kubeconfig, identity string, env ...string) *process {
	t.Helper()
	dir := t.TempDir()
	p := &process{file: filepath.Join(dir, "leader_status")}
	p.env = append([]string{
		"TEST_IS_THE_PROGRAM=1", "LEASE_NAME=app", "NAMESPACE=default", "IDENTITY=" + identity, "HEALTH_PORT=" + freePort(t),
		"RELEASE_DELAY=0", "STATUS_DIR=" + dir, "KUBECONFIG=" + kubeconfig,
	}, env...)
	p.cmd = exec.CommandContext(t.Context(), os.Args[0])
	p.cmd.Stderr, p.cmd.Env = &p.log, p.env
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		if t.Failed() {
			t.Logf("%s, %v:\n%s", identity, p.cmd.ProcessState, p.log.String())
		}
	})
	return p
}

// freePort is none of those that the kernel gives to connections, which may take it
// before the process does.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := fmt.Sprint(10000 + rand.N(20000))
		if l, err := net.Listen("tcp", ":"+port); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

// command runs one as in the program's container.
func (p *process) command(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	var both bytes.Buffer
	return run(t.Context(), args, p.env, &both, &both), both.String()
}

func (p *process) leads() bool { _, err := os.Stat(p.file); return err == nil }

func (p *process) logged(text string) bool { return strings.Contains(p.log.String(), text) }

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for start := time.Now(); !is(); time.Sleep(time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func TestCommands(t *testing.T) {
	var stored leasetest.Server
	api := httptest.NewServer(&stored)
	t.Cleanup(api.Close) // once the processes have ended
	kubeconfig := kubeconfigFor(t, api.URL)
	a := start(t, kubeconfig, "a")
	eventually(t, "a leads", a.leads)
	b, c := start(t, kubeconfig, "b"), start(t, kubeconfig, "c")
	for _, p := range []*process{b, c} {
		eventually(t, "it follows", func() bool { return p.logged("Leader changed") })
	}

	code, out := b.command(t, "status")
	if code != 0 || !strings.Contains(out, "b, following") || !strings.Contains(out, "a, since") {
		t.Errorf("status: %d\n%s", code, out)
	}
	code, out = b.command(t, "step-down", "--to", "c")
	if code != 0 || !strings.HasPrefix(out, "c leads after ") {
		t.Errorf("step-down: %d\n%s", code, out)
	}
	eventually(t, "c shows that it leads", c.leads)                                           // the command sees the Lease
	for _, args := range [][]string{{"step-down", "--to=c"}, {"step-down", "--to", "gone"}} { // to the leader; to a replica that is not there
		if code, out = b.command(t, args...); code != 1 {
			t.Errorf("%v: %d\n%s", args, code, out)
		}
	}
	for _, args := range [][]string{{"step-down", "c"}, {"step-down", "--to"}, {"status", "-x"}, {"unknown"}} {
		if code, out = b.command(t, args...); code != 2 {
			t.Errorf("%v: %d\n%s", args, code, out)
		}
	}
}

// A replica that may not read the Lease says nothing of what is stored, nor a token.
func TestStatusOfALeaseThatWasNeverRead(t *testing.T) {
	var stored leasetest.Server
	stored.OnRequest(func(leasetest.Request) leasetest.Fault {
		return leasetest.Fault{Status: 403, Message: leasetest.RoleMissing}
	})
	api := httptest.NewServer(&stored)
	t.Cleanup(api.Close)
	a := start(t, kubeconfigFor(t, api.URL), "a")
	eventually(t, "it is refused", func() bool { return a.logged("API request failed") })
	code, out := a.command(t, "status")
	if code != 0 || !strings.Contains(out, "default/app, which was not read yet") || strings.Contains(out, "none") || strings.Contains(out, "Fencing token") {
		t.Errorf("status: %d\n%s", code, out)
	}
}

// The hook of a pod that is being deleted: the follower in it claims no more, though the
// leader goes (A7).
func TestA7_Retire(t *testing.T) {
	api := httptest.NewServer(&leasetest.Server{})
	t.Cleanup(api.Close) // once the processes have ended
	kubeconfig := kubeconfigFor(t, api.URL)
	a := start(t, kubeconfig, "a")
	eventually(t, "a leads", a.leads)
	b := start(t, kubeconfig, "b")
	eventually(t, "b follows", func() bool { return b.logged("Leader changed") })
	if code, out := b.command(t, "retire"); code != 0 {
		t.Fatal(code, out)
	}
	eventually(t, "b is retired", func() bool { return b.logged("This pod is being deleted") })
	if a.logged("being deleted") {
		t.Error("the command told the sidecar of another pod too")
	}
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "b sees the release", func() bool { return b.logged("The Lease was released") })
	c := start(t, kubeconfig, "c")
	eventually(t, "c leads", c.leads)
	if b.logged("msg=Leading") {
		t.Errorf("b claimed:\n%s", b.log.String())
	}
}

// A leader that is retired hands over once the work lock tells when its app has stopped.
func TestA7_ARetiredLeaderWhoseAppUsesTheWorkLock(t *testing.T) {
	api := httptest.NewServer(&leasetest.Server{})
	t.Cleanup(api.Close) // once the processes have ended
	a := start(t, kubeconfigFor(t, api.URL), "a")
	eventually(t, "a leads", a.leads)
	lock, err := os.Open(a.file + ".lock")
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_SH)
	}
	if err != nil {
		t.Fatal(err)
	}
	if code, out := a.command(t, "retire"); code != 0 {
		t.Fatal(code, out)
	}
	eventually(t, "it waits for the app", func() bool { return a.logged("waiting for the app to release the work lock") })
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has released", func() bool { return a.logged("Released the Lease") })
}

func TestRetireWithoutASidecar(t *testing.T) {
	code, out := (&process{env: []string{"LEASE_NAME=none-of-this-name", "NAMESPACE=default"}}).command(t, "retire")
	if code != 1 || !strings.Contains(out, "no process") {
		t.Error(code, out)
	}
}

// A sidecar that has just started does not listen yet. The hook ends well only when it was
// told all the same.
func TestA7_RetireRightAtTheStart(t *testing.T) {
	api := httptest.NewServer(&leasetest.Server{})
	t.Cleanup(api.Close)
	kubeconfig := kubeconfigFor(t, api.URL)
	for i := range 5 {
		p := start(t, kubeconfig, fmt.Sprint("p", i))
		if code, out := p.command(t, "retire"); code != 0 {
			t.Fatal(code, out)
		}
		eventually(t, "it is retired", func() bool { return p.logged("This pod is being deleted") })
	}
}
