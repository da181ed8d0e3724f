package leasetest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/leader-elector/leader-elector/lease"
)

// RoundTrip serves the request in a goroutine of its own, as a connection to
// the Server would.
func (s *Server) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	reader, writer := io.Pipe()
	w := &response{header: http.Header{}, started: make(chan struct{}), body: writer}
	in := r.Clone(ctx)
	if in.Body == nil {
		in.Body = http.NoBody
	}
	broken := make(chan struct{})
	go func() {
		defer cancel()
		defer func() {
			if recover() != nil {
				close(broken)
				writer.CloseWithError(errReset)
				return
			}
			w.WriteHeader(http.StatusOK)
			_ = writer.Close()
		}()
		s.ServeHTTP(w, in)
	}()
	select {
	case <-broken:
		return nil, errReset
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-w.started:
	}
	stop := context.AfterFunc(r.Context(), func() { writer.CloseWithError(r.Context().Err()) })
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, ContentLength: -1, Request: r,
		Body: &body{reader, func() { stop(); cancel() }},
	}, nil
}

var errReset = errors.New("connection reset by leasetest")

type body struct {
	*io.PipeReader
	done func()
}

func (b *body) Close() error { b.done(); return b.PipeReader.Close() }

type response struct {
	header  http.Header
	once    sync.Once
	started chan struct{}
	status  int
	body    *io.PipeWriter
}

func (w *response) Header() http.Header { return w.header }
func (w *response) Flush()              {}
func (w *response) WriteHeader(status int) {
	w.once.Do(func() { w.status = status; close(w.started) })
}

func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// Clock is a boot-time clock made of Go's own, and so of fake time where a test
// runs in it. Rate is how many of its seconds pass in one: 1.01 is one percent
// fast.
type Clock struct {
	Rate  float64
	start time.Time
}

// NewClock starts a Clock at the boot time of one hour.
func NewClock(rate float64) *Clock { return &Clock{rate, time.Now()} }

// Now is the boot time of this moment.
func (c *Clock) Now() time.Duration {
	return time.Hour + time.Duration(float64(time.Since(c.start))*c.Rate)
}

// NewAlarm returns an Alarm of this clock.
func (c *Clock) NewAlarm() (lease.Alarm, error) {
	a := &alarm{clock: c, c: make(chan struct{}, 1)}
	a.timer = time.AfterFunc(time.Hour, a.ring)
	a.timer.Stop()
	return a, nil
}

type alarm struct {
	clock *Clock
	timer *time.Timer
	c     chan struct{}
}

func (a *alarm) ring() {
	select {
	case a.c <- struct{}{}:
	default:
	}
}

func (a *alarm) C() <-chan struct{} { return a.c }

func (a *alarm) Set(at time.Duration) {
	wait := at - a.clock.Now()
	if a.clock.Rate != 1 && wait > 0 {
		wait = min(time.Duration(float64(wait)/a.clock.Rate)+1, 1<<61) // rounded up: never early
	}
	a.timer.Reset(wait)
}

func (a *alarm) Close() { a.timer.Stop() }
