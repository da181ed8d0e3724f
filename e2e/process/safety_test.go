package process

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/leader-elector/leader-elector/e2e/harness"
)

func TestS1_S8_AFrozenSidecarsFileIsStaleAndGoneAfterTheThaw(t *testing.T) {
	g := newGroup(t, true, false, "LEASE_DURATION=3s")
	a := g.start("a")
	g.leader(nil)
	b := g.start("b")
	if err := a.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if g.leader(a) != b {
		t.Fatal("b does not lead")
	}
	if _, err := os.Stat(a.File); err != nil {
		t.Fatal("a frozen process can't have removed its file")
	}
	if err := a.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	g.eventually("the thawed one's file is gone", func() bool { _, err := os.Stat(a.File); return os.IsNotExist(err) })
	if status, _, _ := a.Get("/leader"); status != 503 {
		t.Fatalf("/leader of the thawed one: %d", status)
	}
}

func TestS5_ARestartedContainerTakesItsLeaseBack(t *testing.T) {
	g := newGroup(t, true, false, "LEASE_DURATION=30s")
	dir := t.TempDir()
	a := g.startIn(dir, "a")
	g.leader(nil)
	if err := a.Stop(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(a.File); err != nil {
		t.Fatal("nothing was left over to remove")
	}
	// when it starts with a configuration that is wrong, the leftover goes all the same
	wrong := g.startIn(dir, "a", "LEASE_DURATION=soon")
	<-wrong.Ended()
	if _, err := os.Stat(a.File); !os.IsNotExist(err) || wrong.Cmd.ProcessState.ExitCode() != 2 {
		t.Fatalf("file: %v, exit code %d", err, wrong.Cmd.ProcessState.ExitCode())
	}
	back := g.startIn(dir, "a")
	took := g.eventually("it leads again", back.Leads)
	if took > 10*time.Second {
		t.Fatalf("it waited for the lease of 30 s to expire: %v", took)
	}
	if token, err := back.Token(); token != 0 || err != nil {
		t.Fatalf("token %d, %v", token, err)
	}
}

func TestS6_TheLeaseIsKeptWhileTheAppHoldsTheWorkLock(t *testing.T) {
	g := newGroup(t, true, false, "LEASE_DURATION=3s", "RELEASE_DELAY=0")
	a := g.start("a")
	g.leader(nil)
	b := g.start("b")
	work, err := os.Open(a.File + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(work.Fd()), unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	if err := a.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	g.eventually("the file is gone", func() bool { return !a.Leads() })
	g.during(5*time.Second, func() error {
		if b.Leads() {
			return fmt.Errorf("b leads while the app of a works")
		}
		return nil
	})
	if err := work.Close(); err != nil {
		t.Fatal(err)
	}
	if g.leader(a) != b {
		t.Fatal("b does not lead")
	}
	<-a.Ended()
	if code := a.Cmd.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}

func TestS6_ASecondSignalExitsWithoutReleasing(t *testing.T) {
	g := newGroup(t, true, false, "LEASE_DURATION=30s", "RELEASE_DELAY=20s")
	a := g.start("a")
	g.leader(nil)
	if err := a.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	g.eventually("the file is gone", func() bool { return !a.Leads() })
	if err := a.Stop(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := a.Cmd.ProcessState.ExitCode(); code != 1 {
		t.Fatalf("exit code %d", code)
	}
}

func TestS11_ALeaderWithoutItsDirectoryMakesItAgain(t *testing.T) {
	g := newGroup(t, true, false, "LEASE_DURATION=3s", "RELEASE_DELAY=0")
	dir := t.TempDir()
	a := g.startIn(dir, "a")
	g.leader(nil)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	g.eventually("its file is back", a.Leads)
	if token, err := a.Token(); token != 0 || err != nil {
		t.Fatalf("token %d, %v", token, err)
	}
}

func TestS11_AFileThatCantBeWrittenReleases(t *testing.T) {
	g := newGroup(t, true, false, "LEASE_DURATION=3s", "RELEASE_DELAY=0")
	dir := t.TempDir()
	a := g.startIn(dir, "a")
	g.leader(nil)
	b := g.start("b")
	// When a's directory is replaced by a file, its own can't be put back.
	g.eventually("a file in place of the directory", func() bool {
		return os.RemoveAll(dir) == nil && os.WriteFile(dir, nil, 0o600) == nil
	})
	if g.leader(a) != b {
		t.Fatal("b does not lead")
	}
	if !strings.Contains(a.Log(), "Stepping down") {
		t.Fatal("a does not say why")
	}
	if status, _, _ := a.Get("/readyz"); status != 503 {
		t.Fatalf("/readyz of a: %d", status)
	}
}

func TestS11_ASecondSidecarInOneDirectoryIsRefused(t *testing.T) {
	g := newGroup(t, true, false)
	dir := t.TempDir()
	g.startIn(dir, "a")
	g.leader(nil)
	second := g.startIn(dir, "b")
	<-second.Ended()
	if second.Cmd.ProcessState.ExitCode() != 2 || !strings.Contains(second.Log(), "another sidecar") {
		t.Fatalf("exit code %d: %s", second.Cmd.ProcessState.ExitCode(), second.Log())
	}
}

func TestAnIdleFollowerIsSmall(t *testing.T) {
	g := newGroup(t, true, false)
	g.start("a")
	g.leader(nil)
	b := g.start("b")
	g.eventually("b is ready", func() bool { status, _, _ := b.Get("/readyz"); return status == 200 })
	p, err := harness.ReadProcess(b.Cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("resident: %.1f MB", float64(p.Resident)/1e6)
	if p.Resident > 14_000_000 {
		t.Errorf("%d bytes resident, want at most 14 MB", p.Resident)
	}
}
