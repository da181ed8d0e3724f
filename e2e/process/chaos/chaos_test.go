// Package chaos runs real sidecars against a real kube-apiserver, through
// proxies that break, while processes on both sides are stopped and killed.
package chaos

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/leader-elector/leader-elector/e2e/harness"
)

const leaseName = "chaos"

var (
	duration = flag.Duration("for", 20*time.Second, "how long faults go on")
	seed     = flag.Uint64("seed", 0, "of the faults; 0: any")
)

// replica is one sidecar, in a directory that outlives its process, behind a
// proxy of its own.
type replica struct {
	identity, dir, kubeconfig string
	proxy                     *toxiproxy.Proxy

	mu      sync.Mutex
	sidecar *harness.Sidecar
	stopped bool // by SIGSTOP

	app atomic.Pointer[harness.App] // that the replica leads for; nil: it has died
}

func (r *replica) process() *harness.Sidecar {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sidecar
}

// says is what /leader answers. A process that stands still answers nothing.
func (r *replica) says() bool {
	status, _, err := r.process().Get("/leader")
	return err == nil && status == 200
}

type chaos struct {
	*testing.T
	controlPlane *harness.ControlPlane
	binary       string
	replicas     []*replica
	random       *rand.Rand
	faults       map[string]int
	timeline     *harness.Timeline
	backedUp     bool // there is a backup of etcd that was not restored yet

	mu        sync.Mutex
	looks     int
	leader    *replica
	takeovers int
	token     int
	lastSeen  time.Time
	gap       time.Duration
	overlaps  []string
}

func TestChaos(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("seed %d", *seed)
	dir := t.TempDir()
	binary, err := harness.BuildSidecar(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	controlPlane, err := harness.Start(t.Context(), dir, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer controlPlane.Close()
	account, err := controlPlane.Account(t.Context(), "chaos", harness.Rules(leaseName, true, false))
	if err != nil {
		t.Fatal(err)
	}
	c := &chaos{T: t, controlPlane: controlPlane, binary: binary, random: rand.New(rand.NewPCG(*seed, 0)), faults: map[string]int{}, timeline: harness.NewTimeline(), lastSeen: time.Now(), token: -1}
	proxies := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	for i := range 3 {
		c.replicas = append(c.replicas, c.newReplica(proxies, account, fmt.Sprintf("replica-%d", i)))
	}
	c.makePolicies()
	ctx, stop := context.WithCancel(context.Background())
	var looking sync.WaitGroup
	looking.Go(func() { c.watchFiles(ctx) })
	looking.Go(func() { c.watchLease(ctx) })
	for _, r := range c.replicas {
		looking.Go(func() { c.watchAnswers(ctx, r) })
	}
	begun := time.Now()
	for end := time.Now().Add(*duration); time.Now().Before(end); {
		c.fault()
		c.sleep(2 * time.Second) // faults last, and add up
	}
	c.heal()
	c.leads(30 * time.Second)
	c.takesOver(30 * time.Second)
	stop()
	looking.Wait()
	c.draw(begun)
	for _, r := range c.replicas {
		_ = r.process().Stop(syscall.SIGKILL)
	}
	total := 0
	for _, n := range c.faults {
		total += n
	}
	kinds := []string{}
	for _, name := range slices.Sorted(maps.Keys(c.faults)) {
		kinds = append(kinds, fmt.Sprintf("%s %d", name, c.faults[name]))
	}
	t.Logf("%d faults in %v (%s)", total, *duration, strings.Join(kinds, ", "))
	t.Logf("%d takeovers, %d looks, longest time without a leader %v, overlaps %d", c.takeovers, c.looks, c.gap.Round(time.Millisecond), len(c.overlaps))
	for _, o := range c.overlaps {
		t.Error(o)
	}
	if c.takeovers == 0 {
		t.Error("no replica ever took over: the faults show nothing")
	}
	if t.Failed() {
		for _, r := range c.replicas {
			t.Logf("--- %s\n%s", r.identity, r.process().Log())
		}
	}
}

func (c *chaos) newReplica(proxies *toxiproxy.ApiServer, account, identity string) *replica {
	upstream := strings.TrimPrefix(c.controlPlane.Admin.Host, "https://")
	r := &replica{identity: identity, dir: filepath.Join(c.TempDir(), identity), proxy: toxiproxy.NewProxy(proxies, identity, "127.0.0.1:0", upstream)}
	if err := r.proxy.Start(); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(r.proxy.Stop)
	content, err := os.ReadFile(account)
	if err != nil {
		c.Fatal(err)
	}
	r.kubeconfig = filepath.Join(c.TempDir(), "kubeconfig")
	if err := os.WriteFile(r.kubeconfig, []byte(strings.ReplaceAll(string(content), upstream, r.proxy.Listen)), 0o600); err != nil {
		c.Fatal(err)
	}
	c.start(r)
	c.startApp(r)
	c.Cleanup(func() { c.killApp(r) })
	return r
}

func (c *chaos) startApp(r *replica) {
	if r.app.Load() != nil {
		return
	}
	app, err := harness.StartApp(r.process().File)
	if err != nil {
		c.Error(err)
	}
	r.app.Store(app)
}

func (c *chaos) killApp(r *replica) {
	if app := r.app.Swap(nil); app != nil {
		_ = app.Kill()
	}
}

func (c *chaos) start(r *replica) {
	s, err := harness.StartSidecar(c.binary, r.dir, r.identity, "LEASE_NAME="+leaseName, "NAMESPACE=default", "LEASE_DURATION=3s", "RELEASE_DELAY=0", "LEAD_WHILE=lock", "KUBECONFIG="+r.kubeconfig)
	if err != nil {
		c.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sidecar, r.stopped = s, false
}

// signal stops a replica's process, or lets it go on.
func (r *replica) signal(sig syscall.Signal, stopped bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.sidecar.Signal(sig)
	r.stopped = stopped
}

// fault breaks something. Faults pile up until some are healed.
func (c *chaos) fault() {
	r := c.replicas[c.random.IntN(len(c.replicas))]
	c.mu.Lock()
	if c.leader != nil && c.random.IntN(2) == 0 {
		r = c.leader // most is to be learnt from breaking the leader
	}
	c.mu.Unlock()
	switch n := c.random.IntN(28); {
	case n < 8:
		c.network(r)
	case n < 10:
		c.freeze(r)
	case n < 13:
		c.note("SIGKILL", r)
		_ = r.process().Stop(syscall.SIGKILL)
		c.sleep(2 * time.Second)
		c.start(r)
	case n < 15:
		c.note("SIGTERM", r)
		_ = r.process().Stop(syscall.SIGTERM)
		c.start(r)
	case n == 15:
		c.note("API server killed", nil)
		c.controlPlane.StopAPIServer()
		c.sleep(3 * time.Second)
		if err := c.controlPlane.StartAPIServer(c.Context()); err != nil {
			c.Fatal(err)
		}
	case n == 16:
		c.note("etcd killed", nil)
		c.controlPlane.StopEtcd()
		c.sleep(3 * time.Second)
		if err := c.controlPlane.StartEtcd(); err != nil {
			c.Fatal(err)
		}
	case n == 17:
		c.note("writes denied", nil)
		c.deny(true)
	case n < 22:
		c.disturb()
	case n < 24:
		c.note("app killed, and back at once", r)
		c.killApp(r)
		c.startApp(r)
	case n == 24:
		c.note("app killed, and gone", r)
		c.killApp(r)
	case n == 25:
		c.note("retired, then SIGTERM", r)
		_ = r.process().Signal(syscall.Signal(35)) // as the command retire does
		c.sleep(time.Second)
		_ = r.process().Stop(syscall.SIGTERM)
		c.start(r)
	default:
		c.heal()
	}
}

// note counts a fault, of one replica or of all.
func (c *chaos) note(name string, r *replica) {
	c.faults[name]++
	if r != nil {
		name = r.identity + ": " + name
	}
	c.timeline.Fault("%s", name)
}

// network breaks a replica's connection.
func (c *chaos) network(r *replica) {
	toxic := func(name, kind, attributes string) {
		c.note(name, r)
		for _, stream := range []string{"upstream", "downstream"} {
			// It may have this one already.
			_, _ = r.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(`{"type":%q,"stream":%q,"attributes":%s}`, kind, stream, attributes)))
		}
	}
	switch n := c.random.IntN(10); {
	case n < 3:
		toxic("latency", "latency", fmt.Sprintf(`{"latency":%d,"jitter":100}`, c.random.IntN(800)))
	case n < 6: // a round trip of up to half of RENEW_DEADLINE
		toxic("constant latency", "latency", fmt.Sprintf(`{"latency":%d,"jitter":0}`, c.random.IntN(500)))
	case n < 8:
		toxic("blackhole", "timeout", `{"timeout":0}`)
	default:
		toxic("reset", "reset_peer", `{"timeout":0}`)
	}
}

// heal ends every fault of the network, the refusal of writes, and the absence of apps.
func (c *chaos) heal() {
	c.timeline.Fault("networks, writes and apps are healed")
	for _, r := range c.replicas {
		c.startApp(r)
		r.proxy.Toxics.ResetToxics(c.Context())
	}
	c.deny(false)
}

// takesOver kills the leader's app unless a replica has taken over from another before: in
// a short run the seed may have hit no leader for long enough.
func (c *chaos) takesOver(within time.Duration) {
	for start := time.Now(); time.Since(start) < within; time.Sleep(10 * time.Millisecond) {
		c.mu.Lock()
		leader, done := c.leader, c.takeovers > 0
		c.mu.Unlock()
		if done {
			return
		}
		if leader != nil {
			c.killApp(leader)
		}
	}
}

// leads waits for a leader.
func (c *chaos) leads(within time.Duration) {
	for start := time.Now(); time.Since(start) < within; time.Sleep(10 * time.Millisecond) {
		if slices.ContainsFunc(c.replicas, func(r *replica) bool { return r.process().Leads() }) {
			return
		}
	}
	c.Errorf("no replica leads %v after all faults have ceased", within)
}

// overlap reports two leaders. The first was asked before and after the second.
func (c *chaos) overlap(how string, a, b *replica) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.overlaps = append(c.overlaps, fmt.Sprintf("%s two leaders, by %s: %s and %s", time.Now().Format("15:04:05.000"), how, a.identity, b.identity))
}

// watchFiles reads every replica's status file every 10 ms, as an app would.
func (c *chaos) watchFiles(ctx context.Context) {
	for ctx.Err() == nil {
		var leading []*replica
		for _, r := range c.replicas {
			leads := r.process().Leads()
			c.timeline.Set(r.identity, harness.Told, leads, time.Now())
			c.timeline.Set(r.identity, harness.Works, leads && r.app.Load() != nil, time.Now()) // as an app does
			if leads {
				leading = append(leading, r)
			}
		}
		now := time.Now()
		if len(leading) > 1 && leading[0].process().Leads() {
			c.overlap("file", leading[0], leading[1])
		}
		c.mu.Lock()
		c.looks++
		if len(leading) > 0 {
			c.gap = max(c.gap, now.Sub(c.lastSeen))
			c.lastSeen = now
		}
		changed := len(leading) == 1 && leading[0] != c.leader
		c.mu.Unlock()
		if changed {
			c.tookOver(leading[0])
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// tookOver checks that the fencing token has grown with the leader's change.
func (c *chaos) tookOver(r *replica) {
	token, err := r.process().Token()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leader != nil {
		c.takeovers++
	}
	c.leader = r
	if err != nil || !r.process().Leads() {
		return // stopped or killed since
	}
	if token <= c.token {
		c.overlaps = append(c.overlaps, fmt.Sprintf("%s leads with token %d after %d", r.identity, token, c.token))
	}
	c.token = token
}

// watchAnswers asks one replica over HTTP every 10 ms, and looks at the others'
// files while it says that it leads.
func (c *chaos) watchAnswers(ctx context.Context, r *replica) {
	for ctx.Err() == nil {
		r.mu.Lock()
		stopped := r.stopped
		r.mu.Unlock()
		if !stopped && r.says() {
			for _, other := range c.replicas {
				if other != r && other.process().Leads() && r.says() && other.process().Leads() {
					c.overlap("/leader and file", r, other)
				}
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}
