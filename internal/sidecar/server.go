package sidecar

import (
	"container/list"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/leader-elector/leader-elector/lease"
)

// server answers over HTTP what the election has come to.
type server struct {
	elector *lease.Elector
	file    *StatusFile
	metrics *metrics
}

// limits keep slow and greedy clients from costing anything that matters.
func (s *server) limits() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.name)
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /leader", s.leader)
	mux.HandleFunc("GET /metrics", s.writeMetrics)
	return &http.Server{
		Handler: mux, MaxHeaderBytes: 8 << 10,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute,
	}
}

// listen opens the port.
func listen(port int) (net.Listener, error) {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, fmt.Errorf("HEALTH_PORT=%d: %w; choose a port that nothing else in this pod listens on", port, err)
	}
	return &crowd{Listener: l, open: list.New()}, nil
}

// maxConnections is how many may be open at once.
const maxConnections = 100

// crowd is a listener on which the newest connections stay: whoever has been
// there longest gives way, so that no number of slow clients keeps others out.
type crowd struct {
	net.Listener
	mu   sync.Mutex
	open *list.List // of net.Conn, oldest first
}

// Accept waits for the next connection.
func (c *crowd) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open.Len() >= maxConnections {
		_ = c.open.Remove(c.open.Front()).(net.Conn).Close()
	}
	return &visitor{conn, c, c.open.PushBack(conn)}, nil
}

// visitor is one connection of a crowd.
type visitor struct {
	net.Conn
	crowd *crowd
	place *list.Element
}

// Close closes the connection and gives its place back.
func (v *visitor) Close() error {
	v.crowd.mu.Lock()
	v.crowd.open.Remove(v.place) // nothing where it had to give way already
	v.crowd.mu.Unlock()
	return v.Conn.Close()
}

// name answers as the old k8s.gcr.io/leader-elector did.
func (s *server) name(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"name": s.elector.State().Leader})
}

func (s *server) healthz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	err := s.file.stuck()
	if err == nil && !s.elector.Alive(ctx) {
		err = errors.New("the election's loop has stood still for 2 s")
	}
	verdict(w, err)
}

func (s *server) readyz(w http.ResponseWriter, _ *http.Request) {
	state := s.elector.State()
	var err error
	switch dir := filepath.Dir(s.file.Path); {
	case state.Denied:
		err = errors.New(state.Problem)
	case !state.Synced:
		err = fmt.Errorf("the Lease has not been read yet: %s", state.Problem)
	default:
		if e := unix.Access(dir, unix.W_OK); e != nil {
			err = fmt.Errorf("the status directory %s is not writable: %w", dir, e)
		}
	}
	verdict(w, err)
}

func verdict(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// leadership is the body of /leader.
type leadership struct {
	Identity         string  `json:"identity"`
	Leader           string  `json:"leader"`
	IsLeader         bool    `json:"isLeader"`
	LeaseUID         string  `json:"leaseUID"`
	LeaseTransitions int32   `json:"leaseTransitions"`
	ValidFor         float64 `json:"validFor"` // seconds
}

func (s *server) leader(w http.ResponseWriter, _ *http.Request) {
	state := s.elector.State()
	validFor := max(0, state.ValidUntil-s.elector.Clock().Now())
	status := http.StatusOK
	if validFor == 0 {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, leadership{
		Identity: state.Identity, Leader: state.Leader, IsLeader: validFor > 0, LeaseUID: string(state.LeaseUID),
		LeaseTransitions: state.Transitions, ValidFor: validFor.Seconds(),
	})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
