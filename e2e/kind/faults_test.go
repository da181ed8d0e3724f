//go:build e2e

package kind

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
)

// The process names of the two containers, as far as the kernel keeps them.
const (
	sidecarProcess = "leader-election"
	appProcess     = "app"
)

// deletePod deletes a pod, with the grace period that it has where seconds is
// negative.
func (e *election) deletePod(pod string, seconds int64) {
	e.Helper()
	e.timeline.Fault("%s is deleted", pod)
	options := metav1.DeleteOptions{}
	if seconds >= 0 {
		options.GracePeriodSeconds = &seconds
	}
	if err := e.client.CoreV1().Pods(namespace).Delete(e.Context(), pod, options); err != nil {
		e.Fatal(err)
	}
}

// deleteFirst has the ReplicaSet delete this pod before others when it scales down.
func (e *election) deleteFirst(pod string) {
	e.Helper()
	patch := []byte(`{"metadata":{"annotations":{"controller.kubernetes.io/pod-deletion-cost":"-1"}}}`)
	if _, err := e.client.CoreV1().Pods(namespace).Patch(e.Context(), pod, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		e.Fatal(err)
	}
}

func (e *election) nodeOf(pod string) string {
	e.Helper()
	p, err := e.client.CoreV1().Pods(namespace).Get(e.Context(), pod, metav1.GetOptions{})
	if err != nil {
		e.Fatal(err)
	}
	return p.Spec.NodeName
}

// signal sends a signal to a container's process, in the pod's node.
func (e *election) signal(node, pod, process, signal string) {
	e.Helper()
	what := map[string]string{sidecarProcess: "sidecar", appProcess: "app"}[process]
	e.timeline.Fault("SIG%s to the %s of %s", signal, what, pod)
	docker(e.T, "exec", node, "sh", "-c", fmt.Sprintf(
		`for p in $(pgrep -x %s); do tr '\0' '\n' </proc/$p/environ | grep -qx HOSTNAME=%s && kill -%s $p && exit 0; done; echo no such process; exit 1`,
		process, pod, signal))
}

// alive says whether a container of the pod has a process.
func (e *election) alive(node, pod, process string) bool {
	out := docker(e.T, "exec", node, "sh", "-c", fmt.Sprintf(
		`for p in $(pgrep -x %s); do tr '\0' '\n' </proc/$p/environ | grep -qx HOSTNAME=%s && echo yes; done; true`, process, pod))
	return strings.Contains(out, "yes")
}

// cutOff drops, in the pod's node, whatever the pod sends to the API server.
// The returned function heals it.
func (e *election) cutOff(node, pod string) (heal func()) {
	e.Helper()
	p, err := e.client.CoreV1().Pods(namespace).Get(e.Context(), pod, metav1.GetOptions{})
	if err != nil {
		e.Fatal(err)
	}
	rule := func(what string) []string {
		return []string{"exec", node, "iptables", what, "FORWARD", "-s", p.Status.PodIP, "-p", "tcp", "--dport", "6443", "-j", "DROP"}
	}
	e.timeline.Fault("%s is cut off from the API server", pod)
	docker(e.T, rule("-I")...)
	undo(e.T, rule("-D")...)
	return func() {
		e.timeline.Fault("it is no longer cut off")
		docker(e.T, rule("-D")...)
	}
}

// stopAPIServer ends the API server and keeps it from coming back. The returned
// function brings it back, waits until it is ready and the pods of every node
// that has pods of this election can reach it again, which takes kube-proxy a
// while, and returns when the first of them could.
func (e *election) stopAPIServer() (start func() time.Time) {
	e.Helper()
	node := e.controlPlane(e.T)
	const there, away = "/etc/kubernetes/manifests/kube-apiserver.yaml", "/etc/kubernetes/kube-apiserver.yaml"
	e.timeline.Fault("the API server is stopped")
	undo(e.T, "exec", node, "mv", "-n", away, there)
	docker(e.T, "exec", node, "mv", there, away)
	docker(e.T, "exec", node, "sh", "-c", "for i in $(seq 600); do pgrep -x kube-apiserver >/dev/null || exit 0; sleep 0.1; done; echo still there; exit 1")
	return func() time.Time {
		e.timeline.Fault("the API server is started")
		docker(e.T, "exec", node, "mv", away, there)
		err := wait.PollUntilContextTimeout(e.Context(), 100*time.Millisecond, 3*time.Minute, true, e.ready)
		if err != nil {
			e.Fatalf("the API server does not come back: %v", err)
		}
		service, err := e.client.CoreV1().Services("default").Get(e.Context(), "kubernetes", metav1.GetOptions{})
		if err != nil {
			e.Fatal(err)
		}
		pods, err := e.pods(e.Context())
		if err != nil {
			e.Fatal(err)
		}
		reached, nodes := make(chan error), map[string]bool{}
		for _, p := range pods {
			if nodes[p.Spec.NodeName] {
				continue
			}
			nodes[p.Spec.NodeName] = true
			go func() {
				reached <- exec.CommandContext(e.Context(), "docker", "exec", p.Spec.NodeName, "sh", "-c", fmt.Sprintf(
					"for i in $(seq 900); do curl -sfk -m 1 -o /dev/null https://%s/readyz && exit 0; sleep 0.1; done; exit 1", service.Spec.ClusterIP)).Run()
			}()
		}
		first := time.Time{}
		for range nodes {
			if err := <-reached; err != nil {
				e.Errorf("a node's pods can't reach the API server again: %v", err)
			} else if first.IsZero() {
				first = time.Now()
			}
		}
		return first
	}
}

func (e *election) ready(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return e.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error() == nil, nil
}
