package process

import (
	"bufio"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leader-elector/leader-elector/e2e/harness"
)

// Clients that are many, slow, greedy or confused cost the sidecar neither its
// answers nor its memory.
func TestTheHTTPServerUnderAbuse(t *testing.T) {
	g := newGroup(t, true, false)
	s := g.start("abused")
	g.leader(nil)
	address := s.Address()
	send := func(head string) net.Conn {
		conn, err := net.DialTimeout("tcp", address, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(head)); err != nil {
			_ = conn.Close()
			return nil
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	// The answer's time is the best of some: the others may be this machine's.
	answers := func(when string) {
		for _, path := range []string{"/leader", "/healthz"} {
			var took []time.Duration
			for range 20 {
				start := time.Now()
				status, body, err := s.Get(path)
				if took = append(took, time.Since(start)); status != http.StatusOK || err != nil {
					t.Errorf("%s, %s: %d %s %v", when, path, status, body, err)
				}
			}
			slices.Sort(took)
			t.Logf("%s, %s: median %v, longest %v", when, path, took[10], took[19])
			if took[10] > 100*time.Millisecond {
				t.Errorf("%s, %s took %v", when, path, took[10])
			}
		}
		p, err := harness.ReadProcess(s.Cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d kB resident", when, p.Resident>>10)
		if p.Resident>>10 > 40_000 {
			t.Errorf("%s: %d kB resident", when, p.Resident>>10)
		}
	}

	answers("at rest")
	for range 2_000 {
		send("GET /leader HTTP/1.1\r\nHost: x\r\nX-Slow:")
	}
	answers("with 2,000 unfinished requests")
	for range 8_000 {
		send("")
	}
	answers("with 10,000 connections")

	for head, want := range map[string]string{
		"GET /leader HTTP/1.1\r\nHost: x\r\nX-Big: " + strings.Repeat("x", 64<<10) + "\r\n\r\n": "431",
		"DELETE /leader HTTP/1.1\r\nHost: x\r\n\r\n":                                            "405",
		"GET /debug/pprof/ HTTP/1.1\r\nHost: x\r\n\r\n":                                         "404",
		"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n":                                     "",
		"nonsense\r\n\r\n": "400",
	} {
		conn := send(head)
		if conn == nil {
			continue // hung up on in the middle of it: as good an answer
		}
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		line, _ := bufio.NewReader(conn).ReadString('\n')
		if strings.Contains(line, " 200 ") || !strings.Contains(line, want) && line != "" {
			t.Errorf("%.40q is answered with %q, want %s", head, line, want)
		}
	}
	answers("afterwards")
	if !s.Leads() {
		t.Error("the sidecar does not lead any more")
	}
}
