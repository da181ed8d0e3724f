package sidecar

import (
	"container/list"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// maxConnections is how many connections may be open at once.
const maxConnections = 100

// listen opens the port.
func listen(port int) (net.Listener, error) {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, fmt.Errorf("HEALTH_PORT=%d: %w; choose a port that nothing else in this pod listens on", port, err)
	}
	return newFairListener(l), nil
}

// fairListener is a listener that no client can keep others out of. Where too
// many connections are open, the source that has the most of them loses its
// oldest one: neither slow clients nor a flood from one address touch the
// kubelet's probe, which comes from another.
type fairListener struct {
	net.Listener
	mu      sync.Mutex
	open    int
	kept    int                         // streams that are not among those
	next    uint64                      // sequence number of the next connection
	sources map[netip.Prefix]*list.List // of *connection, oldest first; none is empty
}

func newFairListener(l net.Listener) *fairListener {
	return &fairListener{Listener: l, sources: map[netip.Prefix]*list.List{}}
}

// Accept waits for the next connection.
func (l *fairListener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: accepted, listener: l, source: sourceOf(accepted.RemoteAddr())}
	l.mu.Lock()
	if l.sources[c.source] == nil {
		l.sources[c.source] = list.New()
	}
	c.number, c.place = l.next, l.sources[c.source].PushBack(c)
	l.next++
	l.open++
	var victim *connection
	if l.open > maxConnections {
		victim = l.victim()
		l.remove(victim)
	}
	l.mu.Unlock()
	if victim != nil {
		_ = victim.Conn.Close()
	}
	return c, nil
}

// victim is the oldest connection of the source that has the most, and of
// several such sources the oldest one's.
func (l *fairListener) victim() *connection {
	var worst *connection
	most := 0
	for _, source := range l.sources {
		oldest := source.Front().Value.(*connection)
		if n := source.Len(); n > most || n == most && oldest.number < worst.number {
			most, worst = n, oldest
		}
	}
	return worst
}

// remove takes a connection out of the books. l.mu is held.
func (l *fairListener) remove(c *connection) {
	if c.place == nil {
		return // it has lost its place already
	}
	source := l.sources[c.source]
	source.Remove(c.place)
	if source.Len() == 0 {
		delete(l.sources, c.source)
	}
	c.place = nil
	l.open--
}

// maxStreams is how many connections are kept, whatever else is open.
const maxStreams = 20

// keep takes the connection of a stream from this machine's loopback out of the count:
// it is the app's, and no flood takes it.
func (c *connection) keep() {
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	if c.place != nil && c.source.Addr().IsLoopback() && c.listener.kept < maxStreams {
		c.listener.remove(c)
		c.listener.kept++
		c.kept = true
	}
}

// connection is one that a fairListener has accepted.
type connection struct {
	net.Conn
	listener *fairListener
	source   netip.Prefix
	number   uint64
	place    *list.Element // in the source's list; nil: it is gone
	kept     bool
}

// Close closes the connection and gives its place back.
func (c *connection) Close() error {
	c.listener.mu.Lock()
	c.listener.remove(c)
	if c.kept {
		c.kept = false
		c.listener.kept--
	}
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// sourceOf is who a connection counts for: an IPv4 address, or an IPv6 network
// of 64 bits, any address of which one machine may use.
func sourceOf(addr net.Addr) netip.Prefix {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap()
	bits := ip.BitLen()
	if ip.Is6() && !ip.IsLoopback() {
		bits = 64
	}
	return netip.PrefixFrom(ip.WithZone(""), bits).Masked()
}
