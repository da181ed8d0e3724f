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
	RetryAfter  int           // seconds, in the header of a refusal
	Body        string        // answered with these bytes and status 200, after it was applied

	EndAfter   time.Duration // watch: closed by the server after this
	Stale      bool          // watch: open, but tells nothing
	Replay     int           // watch: begins this many revisions too early
	EventDelay time.Duration // watch: each event is late by this
}

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
		refuse(w, apierrors.NewGenericServerResponse(f.Status, r.Method, leases, "", "injected", f.RetryAfter, true))
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
