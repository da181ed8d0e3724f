package sidecar

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/leader-elector/leader-elector/lease"
)

// streamRig is a server whose election a test decides.
type streamRig struct {
	election *told
	server   *server
	address  string
}

func newStreamRig(t *testing.T, every time.Duration) *streamRig {
	t.Helper()
	r := &streamRig{election: newTold()}
	file := NewStatusFile(t.TempDir()+"/leader_status", r.election, discard)
	over := &handover{file: file, lock: openedLock(t, file.Path+".lock")}
	r.server = newServer("default/app", r.election, nil, over, newMetrics("app", 10*time.Second, func() int64 { return 0 }), every)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	web := r.server.limits()
	served := make(chan struct{})
	go func() { defer close(served); _ = web.Serve(newFairListener(l)) }()
	stopWatching := make(chan struct{})
	go func() { r.server.streams.watch(t.Context(), r.election); close(stopWatching) }()
	t.Cleanup(func() { _ = web.Close(); <-served; <-stopWatching })
	r.address = l.Addr().String()
	return r
}

// reader reads the events of one stream.
type reader struct {
	t     *testing.T
	lines *bufio.Reader
}

func (r *streamRig) open(t *testing.T) *reader {
	t.Helper()
	resp, err := http.Get("http://" + r.address + "/leader?watch=true")
	check(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("Content-Type %q", got)
	}
	return &reader{t, bufio.NewReader(resp.Body)}
}

func (r *reader) next() (said leadership, err error) {
	for {
		line, err := r.lines.ReadString('\n')
		if err != nil {
			return said, err
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			return said, json.Unmarshal([]byte(data), &said)
		}
	}
}

// says reads on until an event says so.
func (r *reader) says(isLeader bool) {
	r.t.Helper()
	for {
		said, err := r.next()
		if err != nil {
			r.t.Fatal(err)
		}
		if said.IsLeader == isLeader {
			return
		}
	}
}

func TestAStreamTellsEachChangeAndTheEnd(t *testing.T) {
	r := newStreamRig(t, time.Hour)
	stream := r.open(t)
	stream.says(false)
	r.election.leads(time.Hour)
	stream.says(true)
	r.election.leads(20 * time.Millisecond) // its end is no change that the election tells of
	stream.says(false)
	r.election.is(func(s *lease.State) { s.Role, s.Draining = lease.HandingOver, true })
	if said, err := stream.next(); err != nil || !said.Draining {
		t.Errorf("%+v, %v", said, err)
	}
	r.server.streams.end()
	if said, err := stream.next(); err != nil || said.IsLeader {
		t.Errorf("the last event: %+v, %v", said, err)
	}
	if _, err := stream.next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last event: %v", err)
	}
}

// A client that reads nothing holds up neither others nor the end.
func TestAStreamThatNobodyReads(t *testing.T) {
	r := newStreamRig(t, time.Microsecond)
	silent, err := net.Dial("tcp", r.address)
	check(t, err)
	defer func() { _ = silent.Close() }()
	_, err = silent.Write([]byte("GET /leader?watch=true HTTP/1.1\r\nHost: x\r\n\r\n"))
	check(t, err)
	stream := r.open(t)
	r.election.leads(time.Hour)
	stream.says(true)
	ended := make(chan struct{})
	go func() { r.server.streams.end(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("the end waits for a client that does not read")
	}
}

// Streams of the app outlive any number of other connections.
func TestAStreamSurvivesTheLimitOnConnections(t *testing.T) {
	r := newStreamRig(t, time.Hour)
	stream := r.open(t)
	stream.says(false)
	for range maxConnections + 10 {
		dial(t, "127.0.0.1", r.address)
	}
	if got := get(dial(t, "127.0.0.1", r.address)); !strings.Contains(got, "200") {
		t.Fatal(got)
	}
	r.election.leads(time.Hour)
	stream.says(true)
}

func TestStatusSaysWhatAnOperatorAsks(t *testing.T) {
	r := newStreamRig(t, time.Hour)
	began := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		name  string
		state lease.State
		app   string
		want  []string
	}{
		{"following", lease.State{Identity: "me", Leader: "other", Synced: true, Transitions: 7, Role: lease.Following, Acquired: began, ClaimAt: r.election.clock.Read().Add(9 * time.Second), LeaseUID: "uid-1"}, "",
			[]string{"default/app (uid uid-1)", "other, since 2030-01-02T03:04:05Z", "7", "me, following", "other holds the Lease", "unless the Lease is renewed"}},
		{"leading", lease.State{Identity: "me", Leader: "me", Synced: true, Role: lease.Leading, ValidUntil: r.election.clock.Read().Add(time.Hour)}, "alive", []string{"me, leading", "renewed in time", "Valid for", "App alive:      true"}},
		{"without an app", lease.State{Identity: "me", Synced: true, Role: lease.Following, Down: true}, "gone", []string{"none", "no replica holds", "the app is not alive"}},
		{"retired", lease.State{Identity: "me", Synced: true, Role: lease.Following, Retired: true}, "", []string{"being deleted"}},
		{"no rights", lease.State{Identity: "me", Role: lease.Reading, Problem: "forbidden: get leases"}, "", []string{"not been read", "forbidden: get leases"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.election.is(func(s *lease.State) { *s = c.state })
			r.server.appAlive = func() (bool, bool) { return c.app != "gone", c.app != "" }
			port := r.address[strings.LastIndex(r.address, ":")+1:]
			cfg, _ := LoadConfig([]string{"HEALTH_PORT=" + port})
			var out, errs strings.Builder
			if code := Status(cfg, nil, &out, &errs); code != 0 {
				t.Fatal(code, errs.String())
			}
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is missing in\n%s", want, out.String())
				}
			}
			out.Reset()
			if code := Status(cfg, []string{"--json"}, &out, &errs); code != 0 || !json.Valid([]byte(out.String())) {
				t.Errorf("%d: %s", code, out.String())
			}
		})
	}
}

// What keeps a handover, or a claim, for good is said.
func TestStatusSaysWhatNeedsAnOperator(t *testing.T) {
	r := newStreamRig(t, time.Hour)
	says := func() string { return strings.Join(r.server.standing().Why, "; ") }
	r.election.is(func(s *lease.State) {
		*s = lease.State{Identity: "me", Leader: "other", Synced: true, Role: lease.Following, Transitions: math.MaxInt32}
	})
	if why := says(); !strings.Contains(why, "no fencing token is left") {
		t.Error(why)
	}
	r.election.is(func(s *lease.State) {
		*s = lease.State{Identity: "me", Leader: "me", Synced: true, Role: lease.HandingOver, Draining: true}
	})
	lock := r.server.handover.lock
	check(t, os.RemoveAll(lock.path))
	check(t, unix.Mkfifo(lock.path, 0o600))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- lock.appStopped(ctx, t.Context(), func(context.Context) error { return nil }) }()
	for start := time.Now(); !strings.Contains(says(), "the work lock can't be read"); time.Sleep(time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatal(says())
		}
	}
	stop()
	<-ended
	if why := says(); strings.Contains(why, "can't be read") {
		t.Error(why)
	}
}

// The process that keeps a leader from handing over is named, where /proc shows it.
func TestStatusNamesWhoHoldsTheWorkLock(t *testing.T) {
	r := newStreamRig(t, time.Hour)
	r.election.is(func(s *lease.State) {
		*s = lease.State{Identity: "me", Leader: "me", Synced: true, Role: lease.HandingOver, Draining: true}
	})
	path := r.server.handover.lock.path
	holder := lockedBy(t, path)
	if why := strings.Join(r.server.standing().Why, "; "); !strings.Contains(why, holder) {
		t.Errorf("%q does not name %s", why, holder)
	}
}
