package harness

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// WatchLease shows see each version of a Lease until ctx is done, nil where it was
// deleted. It goes on after a time in which no API server answers.
func WatchLease(ctx context.Context, client kubernetes.Interface, namespace, name string, see func(*coordinationv1.Lease)) {
	for ctx.Err() == nil {
		w, err := client.CoordinationV1().Leases(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		if err == nil {
			for ev := range w.ResultChan() {
				l, ok := ev.Object.(*coordinationv1.Lease)
				switch {
				case ev.Type == watch.Deleted:
					see(nil)
				case ok:
					see(l)
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}
