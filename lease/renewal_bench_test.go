package lease

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/leader-elector/leader-elector/lease/internal/election"
)

// BenchmarkRenewal is what one renewal costs the process beside the network,
// from the decision to renew to the answer understood: ours, client-go's, and
// that of net/http alone with a body of the same length.
func BenchmarkRenewal(b *testing.B) {
	identity, seconds, transitions, now := "me", int32(15), int32(3), metav1.NowMicro()
	l := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: "default", UID: "3b2c5f0e-9f0b-4c55-b0cd-6f1e5a0f8f8e", ResourceVersion: "7",
			Annotations: map[string]string{IncarnationAnnotation: "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &identity, LeaseDurationSeconds: &seconds, LeaseTransitions: &transitions, AcquireTime: &now, RenewTime: &now},
	}
	encoded := func(kind string) []byte {
		info, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), kind)
		if !ok {
			b.Fatal(kind)
		}
		body, err := runtime.Encode(codecs.EncoderForVersion(info.Serializer, coordinationv1.SchemeGroupVersion), l)
		if err != nil {
			b.Fatal(err)
		}
		return body
	}
	b.Run("leader-elector", func(b *testing.B) {
		e := newElector(b, canned{http.StatusOK, runtime.ContentTypeProtobuf, encoded(runtime.ContentTypeProtobuf)})
		d := newDriver(b, e)
		d.answer(election.Record{}, election.Failure{})
		d.answer(recordOf(l), election.Failure{}) // to the claim
		for b.Loop() {
			for d.flight.Kind == election.None {
				d.now = d.todo.WakeAt
				d.step(election.Event{})
			}
			if d.flight.Kind != election.Renew {
				b.Fatalf("not a renewal: %v", d.flight.Kind)
			}
			got, err := e.client.do(b.Context(), e.client.current(), d.flight)
			if err != nil {
				b.Fatal(err)
			}
			d.answer(got, election.Failure{})
		}
		b.ReportAllocs()
	})
	b.Run("client-go", func(b *testing.B) {
		client, err := kubernetes.NewForConfig(&rest.Config{Host: "http://api", QPS: -1,
			Transport: canned{http.StatusOK, runtime.ContentTypeJSON, encoded(runtime.ContentTypeJSON)}})
		if err != nil {
			b.Fatal(err)
		}
		lock := &resourcelock.LeaseLock{LeaseMeta: l.ObjectMeta, Client: client.CoordinationV1(), LockConfig: resourcelock.ResourceLockConfig{Identity: identity}}
		record, _, err := lock.Get(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			record.RenewTime = metav1.Now()
			if err := lock.Update(b.Context(), *record); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportAllocs()
	})
	b.Run("net-http", func(b *testing.B) {
		body := encoded(runtime.ContentTypeProtobuf)
		client := http.Client{Transport: canned{http.StatusOK, runtime.ContentTypeProtobuf, body}}
		for b.Loop() {
			r, err := http.NewRequestWithContext(b.Context(), http.MethodPut, "http://api/apis/coordination.k8s.io/v1/namespaces/default/leases/app", bytes.NewReader(body))
			if err != nil {
				b.Fatal(err)
			}
			resp, err := client.Do(r)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadAll(resp.Body); err != nil {
				b.Fatal(err)
			}
			_ = resp.Body.Close()
		}
		b.ReportAllocs()
	})
}
