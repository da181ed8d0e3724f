//go:build e2e

package kind

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// The scenarios in which a Lease has to expire use a shorter one.
	shortLease = 6 * time.Second
	// A takeover may be late by what the API server and the app take on a small
	// machine that runs a whole cluster.
	slack = 2 * time.Second
	// What client-go's LeaderElector would wait between two looks at a Lease:
	// a clean handover has to be over in less.
	poll = 2 * time.Second
)

func withLease(d time.Duration) map[string]any {
	return map[string]any{"leader-elector": map[string]any{"leaseDuration": d.String()}}
}

func env(pairs ...string) map[string]any {
	var list []any
	for _, p := range pairs {
		name, value, _ := strings.Cut(p, "=")
		list = append(list, map[string]any{"name": name, "value": value})
	}
	return map[string]any{"env": list}
}

// ofExec marks values as those of charts/example-exec.
const ofExec = "of charts/example-exec"

func underExec(values map[string]any) map[string]any {
	marked := map[string]any{ofExec: true}
	maps.Copy(marked, values)
	return marked
}

// scenarios are run in order, each with a release of its own. What run returns
// is measured against the bound.
var scenarios = []struct {
	name   string
	nodes  bool // needs the nodes to be containers of this machine's engine
	values map[string]any
	bound  time.Duration
	what   string // is measured
	run    func(*election) time.Duration
}{
	{"leader pod deleted", false, nil, poll, "from the sidecar's and the app's stop", leaderDeleted},
	{"leader pod deleted with --force --grace-period=0", false, withLease(shortLease), shortLease + slack, "from the deletion", leaderDeletedByForce},
	{"sidecar process killed (SIGKILL)", true, withLease(shortLease), shortLease + slack, "from the kill", sidecarKilled},
	{"app container killed (SIGKILL)", true, withLease(shortLease), shortLease + slack, "from the kill", appKilledAlone},
	{"sidecar frozen (SIGSTOP) past the lease, then thawed", true, withLease(shortLease), shortLease + slack, "from the freeze", sidecarFrozen},
	{"leader's node paused past the lease, then resumed", true, withLease(shortLease), shortLease + slack, "from the pause", nodePaused},
	{"leader cut off from the API server, then healed", true, withLease(shortLease), shortLease + slack, "from the cut", leaderCutOff},
	{"Deployment rolled out", false, nil, poll, "from the sidecar's and the app's stop", rolledOut},
	{"Deployment scaled 3 to 1 to 5", false, nil, poll, "from the sidecar's and the app's stop", scaled},
	{"Lease deleted under a live leader", false, withLease(shortLease), poll, "until it was back", leaseDeleted},
	{"app that ignores SIGTERM and holds the work lock, native", false, obstinate(true), 20 * time.Second, "from the deletion", obstinateApp},
	{"app that ignores SIGTERM and holds the work lock, ordinary", false, obstinate(false), 20 * time.Second, "from the deletion", obstinateApp},
	{"ordinary container: leader pod deleted", false, ordinary(), poll, "from the sidecar's and the app's stop", ordinaryDeleted},
	{"role=leader Service: a leader killed until it stays dead", true, withLease(shortLease), poll, "takeover until the Service points to the leader alone", killedUntilDead},
	{"app killed, LEAD_WHILE=lock", true, ofFive(leadWhile("lock", nil)), appKilled, "without work, median", appKills},
	{"app in a crash loop on one node, LEAD_WHILE=lock", true, leadWhile("lock", nil), poll, "without work, at most", crashLoop},
	{"app hung, LEAD_WHILE=http", true, leadWhile("http://127.0.0.1:8000/", nil), 15 * time.Second, "from the freeze", hangs},
	{"Deployment rolled out, LEAD_WHILE=lock", false, leadWhile("lock", nil), rolled, "without work, median", rollOuts},
	{"Deployment rolled out, retire alone", false, nil, 5 * time.Second, "without work, median", rollOuts},
	{"Deployment rolled out, neither", false, withoutRetire(), 5 * time.Second, "without work, median", rollOuts},
	{"Deployment scaled 5 to 1, POD_DELETION_COST", false, leadWhile("lock", map[string]any{"podDeletionCost": 100}), time.Minute, "until one pod is left, which leads on", scaleDown},
	{"node drained, LEAD_WHILE=lock", false, leadWhile("lock", nil), poll, "without work, at most", drained},
	{"terminating follower, then the leader deleted", false, withStubborn(), poll, "without work", terminating},
	{"step-down --to by kubectl exec", false, nil, poll, "without work", stepsDown},
	{"exec: leader pod deleted", false, underExec(nil), poll, "from the command's end", execDeleted},
	{"exec: elector killed", true, underExec(withLease(shortLease)), shortLease + slack, "without work", execKilled(sidecarProcess)},
	{"exec: command killed", true, underExec(nil), poll, "without work", execKilled(appProcess)},
	{"helm create and the README's lines", false, asCreated(), 30 * time.Second, "from helm install after helm uninstall", adopts},
	{"API server down for 30 s, then up", true, withLease(shortLease), shortLease + slack, "from the moment a pod could reach it", apiServerDown},
}

// ordinary makes the sidecar an ordinary container, beside an app that has the
// work lock nearly all of the time.
func ordinary() map[string]any {
	values := env("WORK=1s")
	values["nativeSidecar"] = false
	return values
}

// obstinate makes an app whose pieces of work take 8 s and end for no signal.
func obstinate(native bool) map[string]any {
	values := env("IGNORE_SIGTERM=true", "WORK=8s")
	values["nativeSidecar"] = native
	values["terminationGracePeriodSeconds"] = 15
	return values
}

// obstinateApp deletes the leader's pod. No app may begin to work before the
// old app's piece of work has ended, or the app has.
func obstinateApp(e *election) time.Duration {
	old := e.leader()
	start := time.Now()
	e.deletePod(old.Pod, -1)
	next := e.after(start, time.Minute)
	if next.Pod == old.Pod {
		next = e.after(next.Begin, time.Minute)
	}
	e.settled()
	e.changed(old, next)
	return next.Begin.Sub(start)
}

// changed fails the test unless another pod leads, with a higher token.
func (e *election) changed(old, next window) {
	e.Helper()
	if next.Pod == old.Pod || next.UID == old.UID && next.Token <= old.Token {
		e.Errorf("no proper change of leader: %v, then %v", old, next)
	}
}

// podDeleted deletes the leader's pod as `kubectl delete pod` does.
func (e *election) podDeleted(old window) time.Duration {
	e.Helper()
	e.deletePod(old.Pod, -1)
	e.after(old.End, poll+10*time.Second)
	e.settled()
	return e.handedOver(old)
}

// handedOver is the longest that the election has left the work undone since a
// window began.
func (e *election) handedOver(old window) time.Duration {
	e.Helper()
	changes, idle, ours := e.handovers(old.Begin)
	if changes == 0 {
		e.Error("the leader did not change")
	}
	e.note = fmt.Sprintf("; %d handovers, no app at work for %v at most, the kubelet's share included", changes, idle.Round(time.Millisecond))
	return ours
}

func sleepUntil(moment time.Time) { time.Sleep(time.Until(moment)) }

// TestScenarios is `make e2e`.
func TestScenarios(t *testing.T) {
	start, table := time.Now(), &report{}
	example, exampleExec, created := chartWithLibrary(t, "example"), chartWithLibrary(t, "example-exec"), createdChart(t)
	c := newCluster(t)
	loaded := load(t, example)
	sidecar := imageOf(t, loaded)
	if size := imageSize(t, sidecar); size > maxImage {
		t.Errorf("the image %s has %d bytes, more than %d", sidecar, size, maxImage)
	}
	c.loadImages(t, sidecar, loaded.Values["image"].(string))
	t.Logf("cluster and images ready after %v", time.Since(start).Round(time.Second))

	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for i, s := range scenarios {
		if s.nodes && len(c.nodes) != c.all {
			table.add(s.name, "NOT RUN", 0, 0, "the cluster's nodes are not containers of this machine's Docker engine")
			continue
		}
		if err := interrupted.Err(); err != nil {
			t.Fatal(errors.New("interrupted"))
		}
		took, ran, e := time.Duration(0), false, &election{}
		passed := t.Run(s.name, func(t *testing.T) {
			ran = true
			of, values := example, maps.Clone(s.values)
			if values[ofExec] != nil {
				of = exampleExec
				delete(values, ofExec)
			} else if values[ofCreated] != nil {
				of = created
				delete(values, ofCreated)
			}
			e = c.newElection(t, s.name, of, fmt.Sprintf("e%d", i+1), values)
			e.install()
			if took = s.run(e); took > s.bound {
				e.Errorf("%v %s, more than %v", took, s.what, s.bound)
			}
		})
		if !ran { // not wanted by -run
			continue
		}
		verdict := "ok"
		if !passed {
			verdict = "FAILED"
		}
		table.add(s.name, verdict, took, s.bound, s.what+e.note, e.wrong...)
	}
	table.print(time.Since(start))
	if !slices.ContainsFunc(table.rows, func(row string) bool { return strings.Contains(row, " ok ") }) {
		t.Error("no scenario passed")
	}
}
