package sidecar

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// served is the address of a server that answers "ok" behind a fair listener.
func served(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })}
	done := make(chan struct{})
	go func() { defer close(done); _ = web.Serve(newFairListener(l)) }()
	t.Cleanup(func() { _ = web.Close(); <-done })
	return l.Addr().String()
}

// dial connects from an address of this machine's loopback network.
func dial(t *testing.T, from, to string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", to)
	check(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func get(conn net.Conn) string {
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		return err.Error()
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return line
}

// A flood from one address takes no connection from another, however long that
// has been there.
func TestAFloodTakesNoOtherSourcesConnection(t *testing.T) {
	to := served(t)
	probe := dial(t, "127.0.0.3", to)
	var last net.Conn
	for range 1000 {
		last = dial(t, "127.0.0.2", to)
	}
	if got := get(last); !strings.Contains(got, "200 OK") { // so all of them were accepted
		t.Fatalf("the newest of the flood: %q", got)
	}
	if got := get(probe); !strings.Contains(got, "200 OK") {
		t.Fatalf("the connection that was there first: %q", got)
	}
	if got := get(dial(t, "127.0.0.3", to)); !strings.Contains(got, "200 OK") {
		t.Fatalf("a new one: %q", got)
	}
}

// Where every source has one connection, the oldest goes.
func TestManySourcesKeepTheNewestConnections(t *testing.T) {
	to := served(t)
	first := dial(t, "127.0.1.1", to)
	second := dial(t, "127.0.1.2", to)
	var last net.Conn
	for i := range maxConnections - 1 {
		last = dial(t, fmt.Sprintf("127.0.2.%d", i+1), to)
	}
	if got := get(last); !strings.Contains(got, "200 OK") { // so all of them were accepted
		t.Errorf("the newest: %q", got)
	}
	if got := get(second); !strings.Contains(got, "200 OK") {
		t.Errorf("the second oldest: %q", got)
	}
	if got := get(first); strings.Contains(got, "200 OK") {
		t.Error("the oldest is still there")
	}
}

func TestSourceOf(t *testing.T) {
	for addr, want := range map[string]string{
		"10.1.2.3": "10.1.2.3/32", "::ffff:10.1.2.3": "10.1.2.3/32", "2001:db8:1:2:3::4": "2001:db8:1:2::/64", "::1": "::1/128", "fe80::1%eth0": "fe80::/64",
	} {
		if got := sourceOf(net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 1))); got.String() != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
