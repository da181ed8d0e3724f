package sidecar

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// server answers over HTTP what the election has come to.
type server struct {
	election Election
	alive    func(context.Context) bool // whether the election's loop turns
	file     *StatusFile
	metrics  *metrics
	lane     lane // of looks at the status directory

	lease    string // namespace/name
	handover *handover
	appAlive func() (lives, known bool) // known: LEAD_WHILE is set
	streams  *streams
	every    time.Duration // at the latest, a stream says so again
}

func newServer(lease string, election Election, alive func(context.Context) bool, over *handover, counts *metrics, every time.Duration) *server {
	return &server{
		lease: lease, election: election, alive: alive, file: over.file, metrics: counts, lane: newLane(),
		handover: over, appAlive: func() (bool, bool) { return true, false }, every: every, streams: newStreams(),
	}
}

// limits keep slow and greedy clients from costing anything that matters.
func (s *server) limits() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.name)
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /leader", s.leader)
	mux.HandleFunc("GET /metrics", s.writeMetrics)
	mux.HandleFunc("GET /status", s.status)
	return &http.Server{
		Handler: mux, MaxHeaderBytes: 8 << 10, ConnContext: withConnection,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute,
	}
}

// name answers as the old k8s.gcr.io/leader-elector did.
func (s *server) name(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"name": s.election.State().Leader})
}

func (s *server) healthz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	err := s.file.stuck()
	if err == nil && !s.alive(ctx) {
		err = errors.New("the election's loop has stood still for 2 s")
	}
	verdict(w, err)
}

func (s *server) readyz(w http.ResponseWriter, r *http.Request) {
	state := s.election.State()
	var err error
	switch {
	case state.Denied:
		err = errors.New(state.Problem)
	case !state.Synced:
		err = fmt.Errorf("the Lease has not been read yet: %s", state.Problem)
	default:
		err = s.writable(r.Context())
	}
	verdict(w, err)
}

// writable says why the status file could not be written, if so. A directory
// that is gone is made again.
func (s *server) writable(ctx context.Context) error {
	dir := filepath.Dir(s.file.Path)
	refused, err := within(ctx, s.lane, patience, func() error {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		return unix.Access(dir, unix.W_OK)
	})
	if err = errors.Join(err, refused); err != nil {
		return fmt.Errorf("the status directory %s is not writable: %w", dir, err)
	}
	return nil
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
	// Draining says that this replica no longer tells its app that it leads, and keeps
	// the Lease until the app has stopped.
	Draining bool `json:"draining,omitempty"`
}

// leadership is what this replica says of itself at this moment.
func (s *server) leadership() leadership {
	state := s.election.State()
	validFor := max(0, state.ValidUntil.Sub(s.election.Clock().Now()))
	return leadership{
		Identity: state.Identity, Leader: state.Leader, IsLeader: validFor > 0, LeaseUID: string(state.LeaseUID),
		LeaseTransitions: state.Transitions, ValidFor: validFor.Seconds(), Draining: state.Draining,
	}
}

func (s *server) leader(w http.ResponseWriter, r *http.Request) {
	if watch, _ := strconv.ParseBool(r.URL.Query().Get("watch")); watch && r.Method == http.MethodGet { // no body follows a HEAD
		s.stream(w, r)
		return
	}
	now, status := s.leadership(), http.StatusOK
	if !now.IsLeader {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, now)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
