//go:build e2e

package kind

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/action"
	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/cli"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/leader-elector/leader-elector/e2e/chart"
	"github.com/leader-elector/leader-elector/e2e/harness"
)

// instance is the label that the pods of a release have.
const instance = "app.kubernetes.io/instance"

// election is one release of the example chart, and what its apps have logged.
type election struct {
	*testing.T
	*testCluster
	*record
	scenario string
	release  string
	chart    string // its directory
	helm     *action.Configuration
	values   map[string]any
	frozen   map[string]bool // pods whose app was frozen: see violations
	killed   map[string]bool // pods of which a container was killed on purpose
	note     string          // for the report
	wrong    []string        // what failed, for the report too

	timeline   *harness.Timeline
	begun      time.Time
	shownUntil time.Time // the end of its picture; zero: the end
}

// The failures are kept, so that the table at the end of a long log has them.

func (e *election) Errorf(format string, args ...any) {
	e.Helper()
	e.wrong = append(e.wrong, fmt.Sprintf(format, args...))
	e.T.Errorf(format, args...)
}

func (e *election) Error(args ...any) {
	e.Helper()
	e.Errorf("%s", fmt.Sprint(args...))
}

func (e *election) Fatalf(format string, args ...any) {
	e.Helper()
	e.Errorf(format, args...)
	e.FailNow()
}

func (e *election) Fatal(args ...any) {
	e.Helper()
	e.Fatalf("%s", fmt.Sprint(args...))
}

// chartWithLibrary is a copy of an example's chart with the library, as `helm
// dependency update` leaves it.
func chartWithLibrary(t *testing.T, name string) (dir string) {
	root, err := harness.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if dir, err = chart.WithDependencies(root, filepath.Join(root, "charts", name), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// load reads a chart. Each use reads it again, since Helm changes what it is given.
func load(t *testing.T, dir string) *helmchart.Chart {
	t.Helper()
	c, err := loader.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newElection is what watches the release that install makes.
func (c *testCluster) newElection(t *testing.T, scenario, example, release string, values map[string]any) *election {
	settings := cli.New()
	settings.KubeConfig = c.kubeconfig
	settings.SetNamespace(namespace)
	e := &election{
		T: t, testCluster: c, record: newRecord(), scenario: scenario, release: release, chart: example, values: values,
		helm: new(action.Configuration), frozen: map[string]bool{}, killed: map[string]bool{},
		timeline: harness.NewTimeline(), begun: time.Now(),
	}
	if err := e.helm.Init(settings.RESTClientGetter(), namespace, "secret", func(string, ...any) {}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var reading sync.WaitGroup
	reading.Go(func() { e.readLogs(ctx, &reading) })
	reading.Go(func() { e.watchLease(ctx) })
	t.Cleanup(func() {
		e.picture()
		if t.Failed() {
			e.explain()
		}
		_, _ = action.NewUninstall(e.helm).Run(release)
		stop()
		reading.Wait()
	})
	return e
}

// install installs the chart and returns when its pods are ready.
func (e *election) install() {
	e.Helper()
	install := action.NewInstall(e.helm)
	install.ReleaseName, install.Namespace, install.Wait, install.Timeout = e.release, namespace, true, 2*time.Minute
	if _, err := install.RunWithContext(e.Context(), load(e.T, e.chart), e.values); err != nil {
		e.Fatalf("helm install: %v", err)
	}
}

// upgrade changes values and returns when the new pods are ready and no others are
// left. Helm's own wait ends while the last old pod, perhaps the leader's, still runs.
func (e *election) upgrade(values map[string]any) {
	e.Helper()
	e.timeline.Fault("helm upgrade")
	upgrade := action.NewUpgrade(e.helm)
	upgrade.Namespace, upgrade.Wait, upgrade.Timeout, upgrade.ReuseValues = namespace, true, 2*time.Minute, true
	if _, err := upgrade.RunWithContext(e.Context(), e.release, load(e.T, e.chart), values); err != nil {
		e.Fatalf("helm upgrade: %v", err)
	}
	ctx, cancel := context.WithTimeout(e.Context(), time.Minute)
	defer cancel()
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		all, err := e.client.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		i := slices.IndexFunc(all.Items, func(d appsv1.Deployment) bool { return d.Spec.Selector.MatchLabels[instance] == e.release })
		if i < 0 {
			return false, fmt.Errorf("no Deployment of the release %s", e.release)
		}
		d := all.Items[i]
		pods, err := e.pods(ctx)
		return d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas == *d.Spec.Replicas && len(pods) == int(*d.Spec.Replicas), err
	})
	if err != nil {
		e.Fatalf("waiting for the old pods' end: %v", err)
	}
}

func (e *election) pods(ctx context.Context) ([]corev1.Pod, error) {
	list, err := e.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: instance + "=" + e.release})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// readLogs follows the apps' logs from their pods' first second on, until ctx
// is done: when a pod is gone, its log is too.
func (e *election) readLogs(ctx context.Context, reading *sync.WaitGroup) {
	following := map[string]bool{}
	for {
		pods, _ := e.pods(ctx)
		for _, p := range pods {
			if !following[p.Name] {
				following[p.Name] = true
				reading.Go(func() { e.follow(ctx, p.Name, "app", e.addBoth) }) // under exec the elector writes there too
				if len(p.Spec.Containers) > 1 || len(p.Spec.InitContainers) > 0 && p.Spec.InitContainers[0].RestartPolicy != nil {
					reading.Go(func() { e.follow(ctx, p.Name, "leader-elector", e.addSidecar) })
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// follow reads a container's log to its end, through broken streams and restarts.
func (e *election) follow(ctx context.Context, pod, container string, add func(pod, line string)) {
	for ctx.Err() == nil {
		for _, previous := range []bool{true, false} {
			stream, err := e.client.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container, Follow: !previous, Previous: previous}).Stream(ctx)
			if err == nil {
				for lines := bufio.NewScanner(stream); lines.Scan(); {
					add(pod, lines.Text())
				}
				_ = stream.Close()
			}
		}
		// The kubelet may not know the pod yet, or no more: the API server does.
		if _, err := e.client.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// leader waits until one app is at work.
func (e *election) leader() window {
	e.Helper()
	return e.after(time.Time{}, time.Minute)
}

// after waits for an app to be at work in a window that began after a moment.
func (e *election) after(moment time.Time, within time.Duration) window {
	e.Helper()
	for start := time.Now(); time.Since(start) < within; time.Sleep(20 * time.Millisecond) {
		all := e.windows()
		if len(all) == 0 {
			continue
		}
		if w := all[len(all)-1]; w.Open && w.Begin.After(moment) && time.Since(w.End) < time.Second {
			return w
		}
	}
	e.Fatalf("no app began to work within %v after %v", within, moment.Format(time.TimeOnly))
	return window{}
}

// ledAgain waits until a sidecar has said, after a moment, that it leads, and an app
// works by a look at what that one says. The app need not have noticed: a sidecar that
// is restarted may take its Lease back between two of its looks.
func (e *election) ledAgain(moment time.Time, within time.Duration) (w window, at time.Time) {
	e.Helper()
	for start := time.Now(); time.Since(start) < within; time.Sleep(20 * time.Millisecond) {
		led, all := e.ledAfter(moment), e.windows()
		if led.IsZero() || len(all) == 0 {
			continue
		}
		switch w := all[len(all)-1]; {
		case w.Open && w.Begin.After(moment):
			return w, w.Begin
		case w.Open && w.Checked.After(led):
			return w, w.Checked
		}
	}
	e.Fatalf("no sidecar that began to lead after %v had an app at work within %v", moment.Format(time.TimeOnly), within)
	return window{}, time.Time{}
}

// handovers looks at the changes of leader after a moment: how many there were,
// the longest time for which no app worked, and how much of that at most
// was the election's. The rest is the kubelet's, which tells the sidecar to stop
// some time after the app has stopped.
func (e *election) handovers(moment time.Time) (changes int, idle, ours time.Duration) {
	all, told := e.windows(), e.toldToStop()
	for i := 1; i < len(all); i++ {
		before, after := all[i-1], all[i]
		if after.Pod == before.Pod || !after.Begin.After(moment) {
			continue
		}
		changes++
		idle = max(idle, after.Begin.Sub(before.End))
		since := before.End
		if t := told[before.Pod]; t.After(since) {
			since = t
		}
		ours = max(ours, after.Begin.Sub(since))
	}
	return changes, idle, ours
}

// settled fails the test unless things are as they should be after any fault:
// one pod at work and alone so for two seconds, the leader Service pointing to
// it and to nothing else, and no promise broken since the beginning.
func (e *election) settled() { e.Helper(); e.settledWithin(10 * time.Second) }

// settledWithin is settled where the cluster's own controllers need so long to
// follow a label with the Service's endpoints.
func (e *election) settledWithin(controllers time.Duration) {
	e.Helper()
	now := e.after(time.Time{}, 30*time.Second)
	for start := time.Now(); time.Since(start) < 2*time.Second; time.Sleep(50 * time.Millisecond) {
		if w := e.after(time.Time{}, 30*time.Second); w.Begin != now.Begin {
			e.Errorf("another window began after the fault was over: %v, then %v", now, w)
			now = w
		}
	}
	e.serviceHas(now.Pod, controllers)
	for _, v := range violations(e.windows(), e.frozen) {
		e.Error(v)
	}
	for _, l := range e.others() {
		if strings.Contains(l, ": stale") && slices.ContainsFunc(keys(e.frozen, e.killed), func(pod string) bool { return strings.Contains(l, pod) }) {
			continue // no process was there to remove the file
		}
		e.Errorf("an app complains: %s", l)
	}
	pods, err := e.pods(e.Context())
	if err != nil {
		e.Error(err)
	}
	for _, p := range pods {
		for _, s := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
			if s.RestartCount > 0 && !e.killed[p.Name] {
				e.Errorf("%s of %s was restarted %d times: %+v", s.Name, p.Name, s.RestartCount, s.LastTerminationState.Terminated)
			}
		}
	}
}

func keys(sets ...map[string]bool) (all []string) {
	for _, s := range sets {
		for k := range s {
			all = append(all, k)
		}
	}
	return all
}

// serviceHas waits until the leader Service's endpoints are this pod alone.
func (e *election) serviceHas(pod string, within time.Duration) (took time.Duration) {
	e.Helper()
	var got []string
	for start := time.Now(); time.Since(start) < within; time.Sleep(50 * time.Millisecond) {
		slices, err := e.client.DiscoveryV1().EndpointSlices(namespace).List(e.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + e.fullName() + "-leader"})
		if err != nil {
			continue
		}
		got = nil
		for _, s := range slices.Items {
			for _, endpoint := range s.Endpoints {
				got = append(got, endpoint.TargetRef.Name)
			}
		}
		if len(got) == 1 && got[0] == pod {
			return time.Since(start)
		}
	}
	e.Errorf("after %v the leader Service's endpoints are %v, the leader is %s", within, got, pod)
	return within
}

// explain logs all that is known of an election that went wrong.
func (e *election) explain() {
	for _, w := range e.windows() {
		e.Log(w)
	}
	for _, l := range e.others() {
		e.Log(l)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	lease, err := e.client.CoordinationV1().Leases(namespace).Get(ctx, e.leaseName(), metav1.GetOptions{})
	spec, _ := json.Marshal(lease.Spec)
	e.Logf("Lease: %s %v", spec, err)
	pods, _ := e.pods(ctx)
	for _, p := range pods {
		e.Logf("%s on %s, %s, role %q", p.Name, p.Spec.NodeName, p.Status.Phase, p.Labels["role"])
		for _, previous := range []bool{true, false} {
			log, err := e.client.CoreV1().Pods(namespace).GetLogs(p.Name, &corev1.PodLogOptions{Container: "leader-elector", Previous: previous}).DoRaw(ctx)
			if err == nil {
				e.Logf("its sidecar (previous: %v):\n%s", previous, log)
			}
		}
	}
	events, _ := e.client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{})
	for _, ev := range events.Items {
		if strings.HasPrefix(ev.InvolvedObject.Name, e.release) && ev.Type == corev1.EventTypeWarning {
			e.Logf("event of %s: %s %s", ev.InvolvedObject.Name, ev.Reason, ev.Message)
		}
	}
}

// fullName is what the names of the release's objects begin with.
func (e *election) fullName() string { return e.release + "-" + filepath.Base(e.chart) }

func (e *election) leaseName() string { return e.fullName() + "-leader-elector" }

// report is the table that is printed at the end.
type report struct {
	rows []string
}

func (r *report) add(name string, verdict string, measured, bound time.Duration, what string, wrong ...string) {
	took, limit := "", ""
	if bound != 0 {
		took, limit = measured.Round(time.Millisecond).String(), bound.String()
	}
	r.rows = append(r.rows, fmt.Sprintf("%-58s %-8s %10s %8s  %s", name, verdict, took, limit, what))
	for _, w := range wrong {
		r.rows[len(r.rows)-1] += "\n    " + w
	}
}

func (r *report) print(total time.Duration) {
	fmt.Fprintf(os.Stdout, "\n%-58s %-8s %10s %8s  %s\n", "scenario", "verdict", "measured", "bound", "what was measured")
	for _, row := range r.rows {
		fmt.Fprintln(os.Stdout, row)
	}
	fmt.Fprintf(os.Stdout, "%d scenarios, %v in all\n\n", len(r.rows), total.Round(time.Second))
}
