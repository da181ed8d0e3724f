package process

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/leader-elector/leader-elector/e2e/harness"
)

// app starts an app for a sidecar, until the test ends.
func (g *group) app(s *harness.Sidecar) *harness.App {
	g.Helper()
	a, err := harness.StartApp(s.File)
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() { _ = a.Kill() })
	return a
}

// An app that dies takes leadership along, at once; one that comes back can lead again.
func TestA2_AKilledAppHandsOver(t *testing.T) {
	g := newGroup(t, true, false, "LEASE_DURATION=15s", "LEAD_WHILE=lock")
	g.startThree()
	g.during(time.Second, func() error {
		if len(g.leaders()) > 0 {
			return fmt.Errorf("a replica leads without an app")
		}
		return nil
	})
	apps := map[*harness.Sidecar]*harness.App{}
	for _, s := range g.sidecars {
		apps[s] = g.app(s)
	}
	old := g.leader(nil)
	for round := range 3 {
		killed := time.Now()
		if err := apps[old].Kill(); err != nil {
			t.Fatal(err)
		}
		next := g.leader(old)
		t.Logf("round %d: another leads %v after the kill", round, time.Since(killed).Round(time.Millisecond))
		if status, _, err := old.Get("/healthz"); status != 200 || err != nil { // A3
			t.Errorf("/healthz of a replica without an app: %d, %v", status, err)
		}
		apps[old] = g.app(old)
		old = next
	}
}

// The command works with the pod's own rights.
func TestStepDownByCommand(t *testing.T) {
	g := newGroup(t, true, false, "LEASE_DURATION=15s", "RELEASE_DELAY=0")
	a := g.start("a")
	g.leader(nil)
	b, c := g.start("b"), g.start("c")
	for _, s := range []*harness.Sidecar{b, c} {
		g.eventually("it follows", func() bool { return strings.Contains(s.Log(), "Leader changed") })
	}
	out, err := command(b, "step-down", "--to", "c")
	if err != nil || !strings.HasPrefix(out, "c leads after") {
		t.Fatalf("%v: %s", err, out)
	}
	if g.leader(a) != c {
		t.Fatalf("c does not lead:\n%s", c.Log())
	}
	t.Log(out)
}

// command runs one with the sidecar's binary and environment.
func command(s *harness.Sidecar, args ...string) (string, error) {
	cmd := exec.Command(s.Cmd.Path, args...)
	cmd.Env = s.Cmd.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
