package lease_test

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// freezer is a TCP proxy that can make the connections of this moment go
// silent, as a load balancer does that lost a backend. New ones work.
type freezer struct {
	addr     string
	accepted atomic.Int32
	mu       sync.Mutex
	live     chan struct{} // closed when its connections freeze
}

func newFreezer(t *testing.T, backend string) *freezer {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &freezer{addr: listener.Addr().String(), live: make(chan struct{})}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", backend)
			if err != nil {
				_ = client.Close()
				continue
			}
			f.accepted.Add(1)
			f.mu.Lock()
			live := f.live
			f.mu.Unlock()
			t.Cleanup(func() { _, _ = client.Close(), server.Close() })
			go relay(server, client, live)
			go relay(client, server, live)
		}
	}()
	return f
}

func (f *freezer) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.live)
	f.live = make(chan struct{})
}

func relay(to, from net.Conn, live <-chan struct{}) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		select {
		case <-live:
			_, _ = io.Copy(io.Discard, from)
			return
		default:
		}
		if _, werr := to.Write(buffer[:n]); err != nil || werr != nil {
			_, _ = to.Close(), from.Close()
			return
		}
	}
}
