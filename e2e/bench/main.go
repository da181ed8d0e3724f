// Command bench measures the sidecar against client-go's LeaderElector, side
// by side on one machine and one API server, and writes what it saw to a
// directory: report.json, report.txt, and plots.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/klog/v2"

	"github.com/leader-elector/leader-elector/e2e/harness"
)

// bench is one run.
type bench struct {
	plan
	dir          string // for everything that is thrown away
	controlPlane *harness.ControlPlane
	elections    int
	report       Report
}

// plan says how much to measure.
type plan struct {
	durations    []time.Duration // of the Leases that change hands
	clean, kills int             // for each of them
	steady       time.Duration   // for each system, in two halves; 0: not measured
	crowds       []int           // followers of one Lease
	leases       int             // with three replicas each; 0: none
	scale        time.Duration   // for how long each crowd, and those Leases, are measured
	handovers    int             // of each crowd, and twice as many of those Leases
	settle       time.Duration   // before the steady state is measured: until bursts are over
	before       string          // an earlier binary of ours, measured beside the others; empty: none
}

func main() {
	out := flag.String("out", "../dist/bench", "directory for the report")
	from := flag.String("from", "", "an earlier report.json to write again instead of measuring")
	image := flag.String("image", "", "the sidecar's image, where it was built")
	p := plan{
		durations: []time.Duration{3 * time.Second, 15 * time.Second}, crowds: []int{1, 10, 100, 1000},
		scale: 30 * time.Second, handovers: 5, settle: 20 * time.Second,
	}
	list(&p.durations, "durations", "LEASE_DURATIONs to measure failovers with (default 3s,15s)", time.ParseDuration)
	list(&p.crowds, "crowds", "numbers of followers of one Lease (default 1,10,100,1000)", strconv.Atoi)
	flag.IntVar(&p.clean, "clean", 20, "clean handovers of each system")
	flag.IntVar(&p.kills, "kills", 8, "kills of each system")
	flag.DurationVar(&p.steady, "steady", 5*time.Minute, "how long each system is left in peace; 0: not at all")
	flag.IntVar(&p.leases, "leases", 1000, "how many Leases to hold at once, with three replicas each")
	flag.StringVar(&p.before, "before", "", "an earlier binary of the sidecar, to measure beside this one")
	flag.Parse()
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard) // client-go's electors
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if *from != "" {
		err = rewrite(*from, *out)
	} else {
		err = run(ctx, p, *out, *image)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// list defines a flag that holds any number of values, none included.
func list[V any](to *[]V, name, usage string, parse func(string) (V, error)) {
	flag.Func(name, usage, func(s string) error {
		*to = nil
		for _, field := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
			v, err := parse(field)
			if err != nil {
				return err
			}
			*to = append(*to, v)
		}
		return nil
	})
}

func run(ctx context.Context, p plan, out, image string) (err error) {
	dir, err := os.MkdirTemp("", "leader-elector-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{plan: p, dir: dir, report: Report{Date: time.Now().UTC(), Command: strings.Join(os.Args[1:], " "), Machine: machine()}}
	began := time.Now()
	say := func(what string) {
		fmt.Fprintf(os.Stderr, "%6v %s\n", time.Since(began).Round(time.Second), what)
	}

	say("building both")
	ours := system{Name: oursName, env: []string{"RELEASE_DELAY=0", "GOMAXPROCS=1"}} // as the image has it
	peer := system{Name: peerName, env: []string{"RELEASE_ON_CANCEL=true"}}
	if ours.binary, err = harness.BuildSidecar(ctx, dir); err != nil {
		return err
	}
	if peer.binary, err = buildPeer(ctx, dir); err != nil {
		return err
	}
	keeping := system{Name: peerName + " without ReleaseOnCancel", binary: peer.binary}
	contenders := []system{ours, peer}
	if p.before != "" {
		contenders = []system{ours, {Name: beforeName, binary: p.before, env: ours.env}, peer}
	}
	if b.report.Sizes, err = sizes(ctx, contenders, image); err != nil {
		return err
	}
	home := filepath.Join(dir, "cluster")
	if err := os.Mkdir(home, 0o755); err != nil {
		return err
	}
	if b.controlPlane, err = harness.Start(ctx, home, os.Stderr); err != nil {
		return err
	}
	defer func() { b.controlPlane.Close() }()

	say("first leaders")
	if err := b.firstLeaders(ctx, p.clean, contenders...); err != nil {
		return err
	}
	for _, d := range p.durations {
		say(fmt.Sprintf("clean handovers and kills, lease of %v", d))
		if err := b.failovers(ctx, d, p.clean, p.kills, contenders...); err != nil {
			return err
		}
		if err := b.failovers(ctx, d, p.kills/2, 0, keeping); err != nil {
			return err
		}
	}
	say("app kills")
	if err := b.appKills(ctx, p.durations[0], p.clean, ours, peer); err != nil {
		return err
	}
	for range 2 {
		if p.steady == 0 {
			break
		}
		for _, s := range append([]system{{}}, contenders...) {
			say("steady state: " + s.Name)
			over := p.steady / 2
			if s.Name == "" {
				over /= 2
			}
			if err := b.peace(ctx, over, s); err != nil {
				return err
			}
		}
	}
	b.controlPlane.Close() // a crowd has an API server of its own
	for _, n := range p.crowds {
		say(fmt.Sprintf("%d followers of one Lease", n))
		if err := b.bothAtScale(ctx, 1, n+1, p.handovers); err != nil {
			return err
		}
	}
	if p.leases > 0 {
		say(fmt.Sprintf("%d Leases with three replicas each", p.leases))
		if err := b.bothAtScale(ctx, p.leases, 3, 2*p.handovers); err != nil {
			return err
		}
	}
	say("writing the report to " + out)
	return b.report.write(out, os.Stdout)
}

func (b *bench) bothAtScale(ctx context.Context, leases, replicas, handovers int) error {
	if err := b.atScale(ctx, oursName, runOurs, leases, replicas, handovers); err != nil {
		return fmt.Errorf("%s, %d leases, %d replicas: %w", oursName, leases, replicas, err)
	}
	if err := b.atScale(ctx, peerName, runPeer, leases, replicas, handovers); err != nil {
		return fmt.Errorf("%s, %d leases, %d replicas: %w", peerName, leases, replicas, err)
	}
	return nil
}

func buildPeer(ctx context.Context, dir string) (string, error) {
	root, err := harness.Root(ctx)
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "peer")
	return binary, harness.Build(ctx, filepath.Join(root, "e2e", "bench", "peer"), binary, "-s -w", os.Stderr)
}

// sizes are those of what is shipped, in bytes.
func sizes(ctx context.Context, systems []system, image string) (map[string]int64, error) {
	all := map[string]int64{}
	for _, s := range systems {
		info, err := os.Stat(s.binary)
		if err != nil {
			return nil, err
		}
		all["binary of "+s.Name] = info.Size()
	}
	if image == "" {
		return all, nil
	}
	size, err := exec.CommandContext(ctx, "docker", "image", "inspect", "--format", "{{.Size}}", image).Output()
	if err != nil {
		return nil, fmt.Errorf("docker image inspect %s: %w", image, err)
	}
	all["image of "+oursName], err = strconv.ParseInt(strings.TrimSpace(string(size)), 10, 64)
	return all, err
}
