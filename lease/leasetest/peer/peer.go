// Package peer makes client-go's LeaderElector, for tests and benchmarks that put it
// beside this project's elector.
package peer

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// New returns a LeaderElector for the Lease of this namespace and name, which has not
// started. Its timings have the proportions of client-go's defaults: 15 s, 10 s and 2 s
// for a duration of 15 s. It releases the Lease when its context ends. An option changes
// that, or anything else. Errors are those of client-go, for a configuration that it refuses.
func New(leases coordinationv1.LeasesGetter, namespace, name, identity string, duration time.Duration, callbacks leaderelection.LeaderCallbacks, options ...func(*leaderelection.LeaderElectionConfig)) (*leaderelection.LeaderElector, error) {
	config := leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Client: leases,
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
		},
		LeaseDuration: duration, RenewDeadline: duration * 2 / 3, RetryPeriod: duration * 2 / 15, ReleaseOnCancel: true,
		Callbacks: callbacks,
	}
	for _, option := range options {
		option(&config)
	}
	return leaderelection.NewLeaderElector(config)
}

// Releasing is an option: whether the LeaderElector releases the Lease when its context ends.
func Releasing(on bool) func(*leaderelection.LeaderElectionConfig) {
	return func(config *leaderelection.LeaderElectionConfig) { config.ReleaseOnCancel = on }
}
