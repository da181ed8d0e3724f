//go:build e2e

package kind

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
)

const (
	// From the kill of an app to work elsewhere, and the same for a rollout. What is
	// wanted on an idle machine is 250 and 150 ms; here a whole cluster shares it.
	appKilled = time.Second
	rolled    = time.Second
)

// leadWhile is the example chart with this value, and with others of the election.
func leadWhile(what string, more map[string]any) map[string]any {
	election := map[string]any{"leadWhile": what}
	maps.Copy(election, more)
	return map[string]any{"leader-elector": election}
}

// ofFive has five replicas, so that an app lives in one at least whose app was not killed
// before: the kubelet waits before it starts one again that was.
func ofFive(values map[string]any) map[string]any {
	values["replicas"] = 5
	return values
}

// withoutRetire replaces the hook of the pod's deletion by one that does nothing.
func withoutRetire() map[string]any {
	hook := map[string]any{"preStop": map[string]any{"exec": map[string]any{"command": []any{"/leader-election-sidecar", "--version"}}}}
	return map[string]any{"leader-elector": map[string]any{"container": map[string]any{"lifecycle": hook}}}
}

// withStubborn adds a container that ends for no signal.
func withStubborn() map[string]any {
	stubborn := map[string]any{
		"name": "stubborn", "image": "leader-elector/example:dev", "args": []any{"stubborn"},
		"securityContext": map[string]any{
			"runAsNonRoot": true, "allowPrivilegeEscalation": false, "capabilities": map[string]any{"drop": []any{"ALL"}}, "seccompProfile": map[string]any{"type": "RuntimeDefault"},
		},
	}
	return map[string]any{"containers": []any{stubborn}, "terminationGracePeriodSeconds": 20}
}

// appKills kills the leader's app, some times, and returns the median of how long
// no app worked.
func appKills(e *election) time.Duration {
	var idle []time.Duration
	for range 5 {
		old := e.leader()
		e.killed[old.Pod] = true
		e.signal(e.nodeOf(old.Pod), old.Pod, appProcess, "KILL")
		next := e.after(old.Begin, time.Minute)
		if next.Pod == old.Pod {
			e.Errorf("the pod whose app was killed leads on: %v, then %v", old, next)
		}
		idle = append(idle, next.Begin.Sub(e.endOf(old)))
		e.settled()
		e.pictureEnds()
	}
	slices.Sort(idle)
	e.note = fmt.Sprintf("; of 5, the longest %v", idle[4].Round(time.Millisecond))
	return idle[2]
}

// endOf is when the work of a window ended, as far as is known by now.
func (e *election) endOf(w window) time.Time {
	for _, now := range e.windows() {
		if now.Pod == w.Pod && now.Begin.Equal(w.Begin) {
			return now.End
		}
	}
	return w.End
}

// crashLoop kills the app of one pod whenever it lives, until the kubelet waits before
// it starts it again.
func crashLoop(e *election) time.Duration {
	old := e.leader()
	e.killed[old.Pod] = true
	node, kills := e.nodeOf(old.Pod), 0
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if e.alive(node, old.Pod, appProcess) {
			e.signal(node, old.Pod, appProcess, "KILL")
			kills++
		}
	}
	next := e.leader()
	e.changed(old, next)
	e.settled()
	_, idle, _ := e.handovers(old.Begin)
	e.note = fmt.Sprintf("; %d kills", kills)
	return idle
}

// hangs freezes the leader's app. Where it has the work lock in hand, its Lease is kept.
func hangs(e *election) time.Duration {
	old := e.leader()
	e.frozen[old.Pod] = true
	node, start := e.nodeOf(old.Pod), time.Now()
	e.signal(node, old.Pod, appProcess, "STOP")
	e.note = "; it had no work lock in hand"
	for e.ledAfter(start).IsZero() && time.Since(start) < 15*time.Second {
		time.Sleep(50 * time.Millisecond)
	}
	if e.ledAfter(start).IsZero() {
		e.note, start = "; it had the work lock in hand: from the thaw", time.Now()
	}
	e.signal(node, old.Pod, appProcess, "CONT")
	next := e.after(old.Begin, time.Minute)
	e.settled()
	e.changed(old, next)
	return next.Begin.Sub(start)
}

// rollOuts rolls the Deployment out, some times, and returns the median of how long
// no app worked in each handover.
func rollOuts(e *election) time.Duration {
	var idle []time.Duration
	for round := range 6 {
		old := e.leader()
		e.upgrade(env(fmt.Sprintf("ROUND=%d", round)))
		e.settled()
		idle = append(idle, e.gaps(old.Begin)...)
		e.pictureEnds()
	}
	slices.Sort(idle)
	if len(idle) == 0 {
		e.Fatal("the leader did not change")
	}
	e.note = fmt.Sprintf("; of %d handovers, the longest %v", len(idle), idle[len(idle)-1].Round(time.Millisecond))
	return median(idle)
}

// median is that of a sorted slice.
func median(sorted []time.Duration) time.Duration {
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// gaps are the times without work between the windows that began after a moment.
func (e *election) gaps(moment time.Time) (all []time.Duration) {
	windows := e.windows()
	for i := 1; i < len(windows); i++ {
		if windows[i].Begin.After(moment) && windows[i].Pod != windows[i-1].Pod {
			all = append(all, windows[i].Begin.Sub(windows[i-1].End))
		}
	}
	return all
}

// scaleDown leaves one pod of five: the leader, which leads on.
func scaleDown(e *election) time.Duration {
	e.upgrade(map[string]any{"replicas": 5})
	e.settled()
	old := e.leader()
	start := time.Now()
	e.upgrade(map[string]any{"replicas": 1})
	e.settled()
	if now := e.leader(); !now.Begin.Equal(old.Begin) {
		e.Errorf("the leader was not the last to be deleted: %v, then %v", old, now)
	}
	return time.Since(start)
}

// drained evicts every pod of the leader's node, as kubectl drain does.
func drained(e *election) time.Duration {
	old := e.leader()
	node := e.nodeOf(old.Pod)
	cordon := func(on bool) {
		patch := fmt.Sprintf(`{"spec":{"unschedulable":%v}}`, on)
		if _, err := e.client.CoreV1().Nodes().Patch(e.Context(), node, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			e.Fatal(err)
		}
	}
	e.timeline.Fault("the pods of %s's node are evicted", old.Pod)
	cordon(true)
	defer cordon(false)
	pods, err := e.pods(e.Context())
	if err != nil {
		e.Fatal(err)
	}
	for _, p := range pods {
		if p.Spec.NodeName == node {
			eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: p.Name}}
			if err := e.client.PolicyV1().Evictions(namespace).Evict(e.Context(), eviction); err != nil {
				e.Fatal(err)
			}
		}
	}
	next := e.after(old.End, time.Minute)
	e.settled()
	e.changed(old, next)
	_, idle, _ := e.handovers(old.Begin)
	return idle
}

// terminating deletes a follower, of which a second container lives on, and then the
// leader: the follower never claims (A7).
func terminating(e *election) time.Duration {
	old := e.leader()
	pods, err := e.pods(e.Context())
	if err != nil {
		e.Fatal(err)
	}
	follower := pods[slices.IndexFunc(pods, func(p corev1.Pod) bool { return p.Name != old.Pod })].Name
	e.deletePod(follower, -1)
	e.said(follower, "This pod is being deleted")
	start := time.Now()
	e.deletePod(old.Pod, -1)
	next := e.after(start, time.Minute)
	if next.Pod == follower {
		e.Errorf("the pod that is being deleted leads: %v", next)
	}
	e.settled()
	e.changed(old, next)
	return next.Begin.Sub(e.endOf(old))
}

// said waits for a line of a pod's sidecar.
func (e *election) said(pod, text string) {
	e.Helper()
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(50 * time.Millisecond) {
		log, err := e.client.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Container: "leader-elector"}).DoRaw(e.Context())
		if err == nil && bytes.Contains(log, []byte(text)) {
			return
		}
	}
	e.Fatalf("the sidecar of %s does not say %q", pod, text)
}

// stepsDown hands over to a pod by name, with the rights of another pod alone.
func stepsDown(e *election) time.Duration {
	old := e.leader()
	// Before the sidecar has seen the work lock held, a step-down waits for RELEASE_DELAY.
	sleepUntil(old.Begin.Add(8 * time.Second))
	pods, err := e.pods(e.Context())
	if err != nil {
		e.Fatal(err)
	}
	to := pods[slices.IndexFunc(pods, func(p corev1.Pod) bool { return p.Name != old.Pod })].Name
	start := time.Now()
	e.timeline.Fault("step-down --to %s", to)
	out, err := e.exec(old.Pod, "/leader-election-sidecar", "step-down", "--to", to)
	if err != nil || !strings.HasPrefix(out, to+" leads after") {
		e.Errorf("step-down: %v, %q", err, out)
	}
	next := e.after(start, time.Minute)
	if next.Pod != to {
		e.Errorf("%v leads, not %s", next, to)
	}
	status, err := e.exec(to, "/leader-election-sidecar", "status")
	if err != nil || !strings.Contains(status, to+", leading") {
		e.Errorf("status: %v, %q", err, status)
	}
	e.settled()
	e.changed(old, next)
	e.note = "; " + strings.TrimSpace(strings.TrimPrefix(out, to+" "))
	return next.Begin.Sub(e.endOf(old))
}

// exec runs a command in a pod's sidecar, as kubectl exec does.
func (e *election) exec(pod string, command ...string) (string, error) {
	config, err := clientcmd.BuildConfigFromFlags("", e.kubeconfig)
	if err != nil {
		return "", err
	}
	req := e.client.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: "leader-elector", Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(config, "GET", req.URL().String())
	if err != nil {
		return "", err
	}
	var out, errs bytes.Buffer // each is written to by a goroutine of its own
	err = executor.StreamWithContext(e.Context(), remotecommand.StreamOptions{Stdout: &out, Stderr: &errs})
	return out.String() + errs.String(), err
}

// execKilled kills a process of the leader's container under exec.
func execKilled(process string) func(*election) time.Duration {
	return func(e *election) time.Duration {
		old := e.leader()
		e.killed[old.Pod] = true
		start := time.Now()
		e.signal(e.nodeOf(old.Pod), old.Pod, process, "KILL")
		next := e.after(start, time.Minute)
		e.settled()
		if process == appProcess {
			e.changed(old, next)
		}
		return next.Begin.Sub(e.endOf(old))
	}
}
