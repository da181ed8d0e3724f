package sidecar

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// streams are the answers to GET /leader?watch=true that are being written.
type streams struct {
	open sync.WaitGroup

	mu      sync.Mutex    // guards what follows
	changed chan struct{} // closed at the next change
	ending  bool          // the last event is to be written
}

func newStreams() *streams { return &streams{changed: make(chan struct{})} }

// watch wakes the streams at each change, until ctx is done.
func (s *streams) watch(ctx context.Context, election Election) {
	for changes := election.Changes(); ; {
		select {
		case <-changes:
			s.wake(false)
		case <-ctx.Done():
			return
		}
	}
}

func (s *streams) wake(ending bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed, s.ending = make(chan struct{}), s.ending || ending
}

// next returns what closes at the next change, and whether there will be none.
func (s *streams) next() (changed <-chan struct{}, ending bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed, s.ending
}

// enter counts a stream, unless all are ending.
func (s *streams) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ending {
		s.open.Add(1)
	}
	return !s.ending
}

// lastEventLimit is how long the end of the process waits for the last events.
const lastEventLimit = time.Second

// end lets each stream write its last event, and waits for that.
func (s *streams) end() {
	s.wake(true)
	written := make(chan struct{})
	go func() { s.open.Wait(); close(written) }()
	select {
	case <-written:
	case <-time.After(lastEventLimit):
	}
}

// eventLimit is how long a client may take to read an event.
const eventLimit = 5 * time.Second

// stream answers with server-sent events: what /leader says, at once, at each change,
// at the end of a term, and every RETRY_PERIOD. The last one says how it ended.
func (s *server) stream(w http.ResponseWriter, r *http.Request) {
	if !s.streams.enter() {
		http.Error(w, "the sidecar is stopping", http.StatusServiceUnavailable)
		return
	}
	defer s.streams.open.Done()
	if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
		c.keep()
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // the request has been read
	last, said := leadership{}, time.Time{}
	for {
		changed, ending := s.streams.next()
		now := s.leadership()
		same := now
		same.ValidFor = last.ValidFor // it changes all the time
		if same != last || time.Since(said) >= s.every || ending {
			body, _ := json.Marshal(now) // of plain values: it can't fail
			_ = out.SetWriteDeadline(time.Now().Add(eventLimit))
			if _, err := fmt.Fprintf(w, "data: %s\n\n", body); err != nil || out.Flush() != nil {
				return
			}
			last, said = now, time.Now()
		}
		if ending {
			return
		}
		wait := s.every - time.Since(said)
		if now.IsLeader {
			wait = min(wait, time.Duration(now.ValidFor*float64(time.Second)))
		}
		select {
		case <-changed:
		case <-time.After(max(wait, time.Millisecond)):
		case <-r.Context().Done():
			return
		}
	}
}

// connectionKey is where a request's context holds its connection.
type connectionKey struct{}

func withConnection(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, c)
}
