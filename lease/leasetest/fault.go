package leasetest

import (
	"context"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Fault is what goes wrong with one request. The zero value: nothing.
type Fault struct {
	Delay       time.Duration // before the request is applied
	AnswerDelay time.Duration // after it was applied, before it is answered
	DropRequest bool          // never applied and never answered: a blackholed connection
	DropAnswer  bool          // applied, never answered
	Reset       bool          // with one of those: the connection breaks instead of hanging
	Status      int           // refused with this HTTP status, not applied
	Message     string        // of such a refusal, as the real API server words it; empty: "injected"
	RetryAfter  int           // seconds, in the header of a refusal
	Body        string        // answered with these bytes and status 200, after it was applied
	Repeat      bool          // write: a proxy retries it. It is applied, then received again, and that is answered: 409
	Behind      int           // get: answered from a cache that lags by this many versions of the Lease

	EndAfter   time.Duration // watch: closed by the server after this
	Expire     bool          // watch: ends with an error event of code 410, after EndAfter
	Stale      bool          // watch: open, but tells nothing
	Replay     int           // watch: begins this many revisions too early
	EventDelay time.Duration // watch: each event arrives this long after the change
}

// Latency is a network on which a round trip takes this long.
func Latency(roundTrip time.Duration) Fault {
	return Fault{Delay: roundTrip / 2, AnswerDelay: roundTrip / 2, EventDelay: roundTrip / 2}
}

// Messages of refusals by admission, as kube-apiserver words them.
const (
	PolicyDenied  = `leases.coordination.k8s.io "app" is forbidden: ValidatingAdmissionPolicy 'freeze' with binding 'freeze-prod' denied request: changes are frozen`
	WebhookDenied = `admission webhook "validate.example.com" denied the request: changes are frozen`
	WebhookFailed = `Internal error occurred: failed calling webhook "validate.example.com": failed to call webhook: Post "https://webhook.example.svc:443/validate?timeout=10s": dial tcp 10.96.12.7:443: connect: connection refused`
	RoleMissing   = `leases.coordination.k8s.io "app" is forbidden: User "system:serviceaccount:default:default" cannot update resource "leases" in API group "coordination.k8s.io" in the namespace "default"`
)

// before says whether the request is to be applied.
func (f Fault) before(w http.ResponseWriter, r *http.Request) bool {
	if !pause(r.Context(), f.Delay) {
		return false
	}
	if f.DropRequest {
		f.hang(r)
		return false
	}
	if f.Status != 0 {
		if f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
		}
		err := apierrors.NewGenericServerResponse(f.Status, r.Method, leases, "", "injected", f.RetryAfter, true)
		if f.Message != "" {
			err.ErrStatus.Message = f.Message
		}
		refuse(w, err)
		return false
	}
	return true
}

// after says whether the request, now applied, is to be answered as usual.
func (f Fault) after(w http.ResponseWriter, r *http.Request) bool {
	if !pause(r.Context(), f.AnswerDelay) {
		return false
	}
	if f.DropAnswer {
		f.hang(r)
		return false
	}
	if f.Body != "" {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(f.Body))
		return false
	}
	return true
}

func (f Fault) hang(r *http.Request) {
	if f.Reset {
		panic(http.ErrAbortHandler)
	}
	<-r.Context().Done()
}

func (f Fault) watchEnd() <-chan time.Time {
	if f.EndAfter == 0 {
		return nil
	}
	return time.After(f.EndAfter)
}

// pause waits for d, and says whether ctx is still alive then.
func pause(ctx context.Context, d time.Duration) bool {
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}
