package leasetest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
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
			if p := recover(); p != nil {
				if err, ok := p.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
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
		writer.CloseWithError(r.Context().Err()) // the answer may have begun
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
