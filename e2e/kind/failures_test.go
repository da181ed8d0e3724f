//go:build e2e

package kind

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// leaderDeleted deletes the leader's pod as kubectl delete does.
func leaderDeleted(e *election) time.Duration {
	old := e.leader()
	return e.podDeleted(old)
}

// leaderDeletedByForce deletes the leader's pod without a grace period.
func leaderDeletedByForce(e *election) time.Duration {
	old := e.leader()
	start := time.Now()
	e.deletePod(old.Pod, 0)
	next := e.after(start, time.Minute)
	e.settled()
	e.changed(old, next)
	return next.Begin.Sub(start)
}

// sidecarKilled kills the leader's sidecar, which the kubelet starts again.
func sidecarKilled(e *election) time.Duration {
	old := e.leader()
	e.killed[old.Pod] = true
	node, start := e.nodeOf(old.Pod), time.Now()
	e.signal(node, old.Pod, sidecarProcess, "KILL")
	_, at := e.ledAgain(start, time.Minute)
	e.settled()
	return at.Sub(start)
}

// appKilledAlone kills the leader's app, which the kubelet starts again in the same term.
func appKilledAlone(e *election) time.Duration {
	old := e.leader()
	e.killed[old.Pod] = true
	node, start := e.nodeOf(old.Pod), time.Now()
	e.signal(node, old.Pod, appProcess, "KILL")
	next := e.after(start, time.Minute)
	e.settled()
	if next.Pod != old.Pod || next.Token != old.Token {
		e.Errorf("the app came back to another term: %v, then %v", old, next)
	}
	return next.Begin.Sub(start)
}

// sidecarFrozen stops the leader's sidecar for longer than its Lease lasts.
func sidecarFrozen(e *election) time.Duration {
	old := e.leader()
	e.killed[old.Pod] = true // a file that no process removes, and perhaps a liveness probe that fails
	node, start := e.nodeOf(old.Pod), time.Now()
	e.signal(node, old.Pod, sidecarProcess, "STOP")
	next := e.after(start, time.Minute)
	e.serviceHas(next.Pod, 5*time.Second) // the frozen one's label is healed by its successor
	sleepUntil(start.Add(shortLease + 3*time.Second))
	e.signal(node, old.Pod, sidecarProcess, "CONT")
	e.settled()
	e.changed(old, next)
	return next.Begin.Sub(start)
}

// nodePaused pauses the leader's node for longer than its Lease lasts.
func nodePaused(e *election) time.Duration {
	old := e.leader()
	e.frozen[old.Pod] = true
	node, start := e.nodeOf(old.Pod), time.Now()
	undo(e.T, "unpause", node)
	e.timeline.Fault("the node of %s is paused", old.Pod)
	docker(e.T, "pause", node)
	next := e.after(start, time.Minute)
	sleepUntil(start.Add(shortLease + 3*time.Second))
	e.timeline.Fault("the node goes on")
	docker(e.T, "unpause", node)
	e.settled()
	e.changed(old, next)
	return next.Begin.Sub(start)
}

// leaderCutOff cuts the leader off from the API server for longer than its Lease lasts.
func leaderCutOff(e *election) time.Duration {
	old := e.leader()
	node, start := e.nodeOf(old.Pod), time.Now()
	heal := e.cutOff(node, old.Pod)
	next := e.after(start, time.Minute)
	sleepUntil(start.Add(shortLease + 3*time.Second))
	heal()
	e.settled()
	e.changed(old, next)
	return next.Begin.Sub(start)
}

// rolledOut rolls the Deployment out once.
func rolledOut(e *election) time.Duration {
	old := e.leader()
	e.upgrade(env("ROUND=2"))
	e.settled()
	return e.handedOver(old)
}

// scaled scales the Deployment down, so that the leader goes, and up.
func scaled(e *election) time.Duration {
	old := e.leader()
	e.deleteFirst(old.Pod)
	e.upgrade(map[string]any{"replicas": 1})
	e.settled()
	e.upgrade(map[string]any{"replicas": 5})
	e.settled()
	return e.handedOver(old)
}

// leaseDeleted deletes the Lease: its leader puts it back, and works on.
func leaseDeleted(e *election) time.Duration {
	old := e.leader()
	leases, start := e.client.CoordinationV1().Leases(namespace), time.Now()
	e.timeline.Fault("the Lease is deleted")
	if err := leases.Delete(e.Context(), e.leaseName(), metav1.DeleteOptions{}); err != nil {
		e.Fatal(err)
	}
	took := time.Duration(0)
	for took < time.Minute {
		took = time.Since(start)
		if l, err := leases.Get(e.Context(), e.leaseName(), metav1.GetOptions{}); err == nil {
			if *l.Spec.HolderIdentity != old.Pod || *l.Spec.LeaseTransitions != old.Token {
				e.Errorf("put back as %+v; before, %s led with token %d", l.Spec, old.Pod, old.Token)
			}
			break
		}
	}
	sleepUntil(start.Add(shortLease + 2*time.Second)) // a replica that thinks it free would have it by now
	e.settled()
	if w := e.leader(); w.Begin != old.Begin {
		e.Errorf("the leader's work was interrupted: %v, then %v", old, w)
	}
	return took
}

// ordinaryDeleted deletes the leader's pod, in which the sidecar looks now and then whether the app has the work lock.
func ordinaryDeleted(e *election) time.Duration {
	old := e.leader()
	sleepUntil(old.Begin.Add(8 * time.Second))
	return e.podDeleted(old)
}

// killedUntilDead kills the leader's sidecar until the kubelet waits before it starts it again. Its pod's label
// then still says leader, and the successor changes it.
func killedUntilDead(e *election) time.Duration {
	old := e.leader()
	e.serviceHas(old.Pod, 10*time.Second)
	e.killed[old.Pod] = true
	node := e.nodeOf(old.Pod)
	// After some kills the kubelet waits before it starts the container
	// again: long enough for the Lease to expire while the pod's label,
	// which no sidecar is there to change, still says leader.
	next, killed := old, time.Time{}
	for deadline := time.Now().Add(2 * time.Minute); next.Pod == old.Pod; next, _ = e.ledAgain(killed, time.Minute) {
		if time.Now().After(deadline) {
			e.Fatal("no other pod has taken over from one whose sidecar is killed again and again")
		}
		if e.alive(node, old.Pod, sidecarProcess) {
			killed = time.Now()
			e.signal(node, old.Pod, sidecarProcess, "KILL")
		}
	}
	if e.alive(node, old.Pod, sidecarProcess) {
		e.Error("the killed sidecar is back, and may have healed its label by itself")
	}
	e.serviceHas(next.Pod, 10*time.Second)
	took := time.Since(next.Begin)
	e.changed(old, next)
	e.settled()
	return took
}

// execDeleted deletes the leader's pod under exec.
func execDeleted(e *election) time.Duration {
	old := e.leader()
	e.deletePod(old.Pod, -1)
	next := e.after(old.End, time.Minute)
	e.settled()
	e.changed(old, next)
	return next.Begin.Sub(e.endOf(old))
}

// apiServerDown stops the API server for 30 s.
func apiServerDown(e *election) time.Duration {
	start, stopped := e.stopAPIServer(), time.Now()
	time.Sleep(30 * time.Second) // the fault itself
	up := start()
	next := e.after(stopped, time.Minute)
	e.settledWithin(2 * time.Minute) // the controller manager was down as well
	return max(0, next.Begin.Sub(up))
}
