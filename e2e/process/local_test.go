package process

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"

	"github.com/leader-elector/leader-elector/e2e/harness"
	"github.com/leader-elector/leader-elector/lease/leasetest/peer"
)

var (
	controlPlane *harness.ControlPlane
	binary       string
	groups       atomic.Int32 // counts them, so that each has names of its own
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "leader-elector-test-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		binary, err = harness.BuildSidecar(ctx, dir)
	}
	if err == nil {
		controlPlane, err = harness.Start(ctx, dir, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer controlPlane.Close()
	return m.Run()
}

// group is the replicas of one election, watched by the oracle all the while.
type group struct {
	*testing.T
	lease, kubeconfig string
	env               []string
	mu                sync.Mutex
	sidecars          []*harness.Sidecar
	stop              chan struct{}
}

// newGroup makes an account with the README's rights and starts the oracle:
// no two files may be valid at once.
func newGroup(t *testing.T, watch, label bool, env ...string) *group {
	t.Helper()
	lease := fmt.Sprintf("%s-%d", strings.ToLower(strings.ReplaceAll(t.Name(), "_", "-")), groups.Add(1))
	kubeconfig, err := controlPlane.Account(t.Context(), lease, harness.Rules(lease, watch, label))
	if err != nil {
		t.Fatal(err)
	}
	g := &group{T: t, lease: lease, kubeconfig: kubeconfig, env: env, stop: make(chan struct{})}
	var oracle sync.WaitGroup
	oracle.Go(func() {
		for {
			select {
			case <-g.stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			if leaders := g.leaders(); len(leaders) > 1 {
				// a leader may change between two looks: look again at the first
				if leaders[0].File != leaders[1].File && leaders[0].Leads() && leaders[1].Leads() {
					t.Errorf("two leaders: %s and %s", leaders[0].Identity, leaders[1].Identity)
					return
				}
			}
		}
	})
	t.Cleanup(func() {
		close(g.stop)
		oracle.Wait()
		for _, s := range g.sidecars {
			_ = s.Stop(syscall.SIGKILL)
			if t.Failed() {
				t.Logf("--- %s\n%s", s.Identity, s.Log())
			}
		}
	})
	return g
}

func (g *group) startThree() {
	g.Helper()
	for i := range 3 {
		g.start(fmt.Sprintf("replica-%d", i))
	}
}

func (g *group) start(identity string, env ...string) *harness.Sidecar {
	g.Helper()
	return g.startIn(g.TempDir(), identity, env...)
}

func (g *group) startIn(dir, identity string, env ...string) *harness.Sidecar {
	g.Helper()
	all := append([]string{"LEASE_NAME=" + g.lease, "NAMESPACE=default", "KUBECONFIG=" + g.kubeconfig}, g.env...)
	s, err := harness.StartSidecar(binary, dir, identity, append(all, env...)...)
	if err != nil {
		g.Fatal(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sidecars = append(g.sidecars, s)
	return s
}

func (g *group) leaders() (leaders []*harness.Sidecar) {
	g.mu.Lock()
	sidecars := g.sidecars
	g.mu.Unlock()
	for _, s := range sidecars {
		if s.Leads() {
			leaders = append(leaders, s)
		}
	}
	return leaders
}

// leader waits until a replica other than not leads.
func (g *group) leader(not *harness.Sidecar) *harness.Sidecar {
	g.Helper()
	var found *harness.Sidecar
	g.eventually("a leader", func() bool {
		for _, s := range g.leaders() {
			if s != not {
				found = s
			}
		}
		return found != nil
	})
	return found
}

func (g *group) eventually(what string, holds func() bool) time.Duration {
	g.Helper()
	start := time.Now()
	for !holds() {
		if time.Since(start) > time.Minute {
			g.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(start)
}

// during checks something again and again for a time.
func (g *group) during(d time.Duration, holds func() error) {
	g.Helper()
	for start := time.Now(); time.Since(start) < d; time.Sleep(5 * time.Millisecond) {
		if err := holds(); err != nil {
			g.Fatal(err)
		}
	}
}

func TestThreeProcessesElectOneAndHandOver(t *testing.T) {
	g := newGroup(t, true, false, "LEASE_DURATION=3s", "RELEASE_DELAY=0")
	g.startThree()
	first := g.leader(nil)
	if content, _ := os.ReadFile(first.File); string(content) != first.Identity {
		t.Fatalf("the status file holds %q", content)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		for _, s := range g.sidecars {
			g.eventually(path+" of "+s.Identity, func() bool { status, _, _ := s.Get(path); return status == 200 })
		}
	}
	if err := first.Stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := first.Cmd.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}
	second := g.leader(first)
	before, err := second.Token()
	if err != nil || before != 1 {
		t.Fatalf("token %d, %v", before, err)
	}
	killed := time.Now()
	if err := second.Stop(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	third := g.leader(second)
	t.Logf("taken over %v after SIGKILL", time.Since(killed).Round(time.Millisecond))
	if token, err := third.Token(); err != nil || token != 2 {
		t.Fatalf("token %d, %v", token, err)
	}
}

func TestApiServerDownForLongerThanTheLease(t *testing.T) {
	g := newGroup(t, true, false, "LEASE_DURATION=3s")
	g.startThree()
	g.leader(nil)
	controlPlane.StopAPIServer()
	gone := g.eventually("no leader", func() bool { return len(g.leaders()) == 0 })
	t.Logf("the file went %v after the API server", gone.Round(time.Millisecond))
	g.during(3*time.Second, func() error {
		if len(g.leaders()) > 0 {
			return fmt.Errorf("a replica leads without an API server")
		}
		return nil
	})
	if err := controlPlane.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.leader(nil)
}

func TestApiServerRestartedQuicklyChangesNoLeader(t *testing.T) {
	g := newGroup(t, true, false, "LEASE_DURATION=60s", "RENEW_INTERVAL=1s")
	g.startThree()
	leader := g.leader(nil)
	controlPlane.StopAPIServer()
	if err := controlPlane.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(leader.File)
	if err != nil {
		t.Fatal(err)
	}
	g.eventually("a renewal", func() bool {
		now, err := os.Stat(leader.File)
		return err == nil && now.ModTime().After(info.ModTime())
	})
	if token, err := leader.Token(); !leader.Leads() || err != nil || token != 0 {
		t.Fatalf("leads %v, token %d, %v", leader.Leads(), token, err)
	}
}

func TestWatchForbiddenPolls(t *testing.T) {
	g := newGroup(t, false, false, "LEASE_DURATION=3s", "RELEASE_DELAY=0")
	a := g.start("a")
	g.leader(nil)
	b := g.start("b")
	g.eventually("the warning", func() bool { return strings.Contains(b.Log(), "can't be watched") })
	if err := a.Stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if g.leader(a) != b {
		t.Fatal("b does not lead")
	}
	if n := strings.Count(b.Log(), "level=WARN"); n != 1 {
		t.Fatalf("%d warnings", n)
	}
	if status, body, err := b.Get("/readyz"); status != 200 {
		t.Fatalf("/readyz: %d %s %v", status, body, err)
	}
}

func TestMixedWithClientGo(t *testing.T) {
	g := newGroup(t, true, false, "LEASE_DURATION=3s", "RELEASE_DELAY=0")
	a := g.start("ours")
	g.leader(nil)
	var leads atomic.Bool
	callbacks := leaderelection.LeaderCallbacks{
		OnStartedLeading: func(context.Context) { leads.Store(true) },
		OnStoppedLeading: func() { leads.Store(false) },
	}
	theirs := func(ctx context.Context, ended chan<- struct{}) {
		elector, err := peer.New(controlPlane.Client.CoordinationV1(), "default", g.lease, "theirs", 3*time.Second, callbacks)
		if err != nil {
			t.Error(err)
			return
		}
		elector.Run(ctx)
		close(ended)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go theirs(ctx, ended)
	g.during(4*time.Second, func() error {
		if leads.Load() {
			return fmt.Errorf("client-go leads beside ours")
		}
		return nil
	})
	if err := a.Stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	g.eventually("client-go leads", leads.Load)
	b := g.start("ours-again")
	g.during(4*time.Second, func() error {
		if b.Leads() {
			return fmt.Errorf("ours leads beside client-go")
		}
		return nil
	})
	cancel()
	<-ended
	g.leader(nil)
}

func TestSteadyStateCostsOneUpdatePerRenewInterval(t *testing.T) {
	g := newGroup(t, true, false, "LEASE_DURATION=3s") // one renewal a second
	g.startThree()
	g.leader(nil)
	for _, s := range g.sidecars {
		g.eventually("ready", func() bool { status, _, _ := s.Get("/readyz"); return status == 200 })
	}
	g.eventually("a second without reads", func() bool { // what was asked while three claimed at once is over
		reads := requests(t)["GET"]
		time.Sleep(time.Second)
		return requests(t)["GET"] == reads
	})
	const window = 20 * time.Second
	before, start := requests(t), time.Now()
	time.Sleep(window) // the measured time itself
	after, took := requests(t), time.Since(start)
	for _, verb := range []string{"GET", "POST", "LIST", "PATCH"} {
		if after[verb] != before[verb] {
			t.Errorf("%d %s of leases in the steady state", after[verb]-before[verb], verb)
		}
	}
	updates := after["PUT"] - before["PUT"]
	t.Logf("%d updates in %v", updates, took.Round(time.Millisecond))
	own := int(took/(10*time.Second)) + 1 // the API server's own Lease, in kube-system
	if most := int(took/time.Second) + 1 + own; updates < 1 || updates > most {
		t.Errorf("%d updates, want at most %d", updates, most)
	}
}

// requests counts, from the API server's own metrics, those for leases by verb.
// Its own Lease, which it renews every 10 s, is among them.
func requests(t *testing.T) map[string]int {
	t.Helper()
	metrics, err := controlPlane.APIServerMetrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	metrics.Each("apiserver_request_total", func(label func(string) string, value float64) {
		if verb := label("verb"); verb != "WATCH" {
			counts[verb] += int(value)
		}
	}, "resource", "leases")
	return counts
}

func TestPodLabelIsHealedAfterAKill(t *testing.T) {
	g := newGroup(t, true, true, "LEASE_DURATION=3s", "RELEASE_DELAY=0", "LABEL_POD_ROLE=true")
	pods := controlPlane.Client.CoreV1().Pods("default")
	for _, name := range []string{"pod-a", "pod-b"} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}}}
		if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = pods.Delete(context.Background(), name, metav1.DeleteOptions{}) })
	}
	role := func(pod string) string {
		p, err := pods.Get(t.Context(), pod, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return p.Labels["role"]
	}
	a := g.start("pod-a", "POD_NAME=pod-a")
	g.leader(nil)
	g.eventually("role of a", func() bool { return role("pod-a") == "leader" })
	b := g.start("pod-b", "POD_NAME=pod-b")
	g.eventually("role of b", func() bool { return role("pod-b") == "follower" })
	if err := a.Stop(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	g.leader(a)
	g.eventually("role of b", func() bool { return role("pod-b") == "leader" })
	g.eventually("role of the killed pod", func() bool { return role("pod-a") == "follower" }) // which b's own label does not wait for
	c := g.start("pod-a", "POD_NAME=pod-a")
	g.eventually("a follows", func() bool { status, _, _ := c.Get("/readyz"); return status == 200 })
	if err := b.Stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	g.eventually("role of a", func() bool { return role("pod-a") == "leader" })
	if got := role("pod-b"); got != "follower" {
		t.Fatalf("role of the stopped pod: %q", got)
	}
}
