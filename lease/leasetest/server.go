// Package leasetest is an in-memory Lease API for tests: resourceVersions,
// conflicts, watches, and faults on demand. A Server is an http.Handler, to be
// put behind a listener, and an http.RoundTripper, which needs no socket and so
// works in fake time (testing/synctest).
package leasetest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

var leases = coordinationv1.Resource("leases")

var decoder = func() runtime.Decoder {
	scheme := runtime.NewScheme()
	utilruntime.Must(coordinationv1.AddToScheme(scheme))
	return serializer.NewCodecFactory(scheme).UniversalDeserializer()
}()

// Server stores Leases. The zero value is ready.
type Server struct {
	mu       sync.Mutex
	revision int
	stored   map[string]*coordinationv1.Lease
	history  []change
	oldest   int           // revisions up to this one are compacted away
	changed  chan struct{} // closed at the next change
	cut      chan struct{} // closed to end the watches of now
	requests map[string]int
	seen     int
	deciding sync.Mutex // held while fault runs
	fault    func(Request) Fault
	onAdmit  func(client string, l *coordinationv1.Lease)
	onStore  func(client string, l *coordinationv1.Lease)
}

type change struct {
	kind     watch.EventType
	revision int
	lease    *coordinationv1.Lease
	at       time.Time
}

// Request is what a fault is decided on.
type Request struct {
	N      int    // sequence number, from 1
	Verb   string // get, create, update or watch
	Client string // the User-Agent
	Lease  *coordinationv1.Lease
}

// OnRequest sets the function that decides each request's Fault, one request at a
// time. Nil: none.
func (s *Server) OnRequest(fault func(Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// OnAdmit sets a function that changes each Lease that a client (by its
// User-Agent) writes, before it is stored: a mutating admission policy. It must
// not call the Server.
func (s *Server) OnAdmit(mutate func(client string, l *coordinationv1.Lease)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onAdmit = mutate
}

// OnStore sets a function that is told of each version of a Lease that a client
// (by its User-Agent) has stored, at that moment. It must not call the Server.
func (s *Server) OnStore(told func(client string, l *coordinationv1.Lease)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onStore = told
}

// Config reaches the Server without a socket. The client is told apart by name.
func (s *Server) Config(client string) *rest.Config {
	return &rest.Config{Host: "http://leasetest", Transport: s, UserAgent: client}
}

// Requests counts the requests so far by verb.
func (s *Server) Requests() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[string]int{}
	for verb, n := range s.requests {
		counts[verb] = n
	}
	return counts
}

// Get returns a copy of the stored Lease, or nil.
func (s *Server) Get(namespace, name string) *coordinationv1.Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stored[namespace+"/"+name].DeepCopy()
}

// Put stores what edit makes of the Lease. It creates a missing Lease. Neither
// faults nor admission apply to it.
func (s *Server) Put(namespace, name string, edit func(*coordinationv1.Lease)) *coordinationv1.Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.stored[namespace+"/"+name].DeepCopy()
	if l == nil {
		l = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	edit(l)
	return s.store(l).DeepCopy()
}

// Delete removes the Lease where there is one.
func (s *Server) Delete(namespace, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := namespace + "/" + name
	if l := s.stored[key].DeepCopy(); l != nil {
		delete(s.stored, key)
		s.append(watch.Deleted, l)
	}
}

// Snapshot is a backup of a Server's store.
type Snapshot struct {
	revision, oldest int
	stored           map[string]*coordinationv1.Lease
	history          []change
}

// Snapshot returns a backup of the store as it is now.
func (s *Server) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Snapshot{s.revision, s.oldest, maps.Clone(s.stored), slices.Clone(s.history)}
}

// Restore replaces the store by a backup, its revision included: the next change
// reuses a resourceVersion. Every watch ends, as the API servers restart. A watch
// from a revision that is yet to come tells nothing until it has passed.
func (s *Server) Restore(b Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision, s.oldest, s.stored, s.history = b.revision, b.oldest, maps.Clone(b.stored), slices.Clone(b.history)
	s.cutWatches()
}

// CutWatches ends every watch that is open, as an API server's restart does.
func (s *Server) CutWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutWatches()
}

func (s *Server) cutWatches() {
	if s.cut != nil {
		close(s.cut)
	}
	s.cut = make(chan struct{})
}

// Compact forgets the past, so that a watch from it is answered with 410.
func (s *Server) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision++
	s.oldest, s.history = s.revision, nil
}

func (s *Server) store(l *coordinationv1.Lease) *coordinationv1.Lease {
	if s.stored == nil {
		s.stored = map[string]*coordinationv1.Lease{}
	}
	key, kind := l.Namespace+"/"+l.Name, watch.Modified
	if s.stored[key] == nil {
		kind = watch.Added
		l.UID = types.UID(fmt.Sprintf("uid-%d", s.revision+1))
	}
	s.stored[key] = l
	s.append(kind, l)
	return l
}

func (s *Server) append(kind watch.EventType, l *coordinationv1.Lease) {
	s.revision++
	l.ResourceVersion = strconv.Itoa(s.revision)
	l.TypeMeta = metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"}
	s.history = append(s.history, change{kind, s.revision, l.DeepCopy(), time.Now()})
	if s.changed != nil {
		close(s.changed)
	}
	s.changed = make(chan struct{})
}

// ServeHTTP answers for the Leases' part of the Kubernetes API.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(path) < 6 || path[1] != "coordination.k8s.io" || path[3] != "namespaces" || path[5] != "leases" {
		refuse(w, apierrors.NewNotFound(leases, r.URL.Path))
		return
	}
	name := ""
	if len(path) > 6 {
		name = path[6]
	}
	req := Request{Verb: verbOf(r, name), Client: r.UserAgent()}
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		var err error
		if req.Lease, err = Decode(r.Body); err != nil {
			refuse(w, apierrors.NewBadRequest(err.Error()))
			return
		}
		req.Lease.Namespace = path[4]
	}
	fault := s.count(&req)
	if !fault.before(w, r) {
		return
	}
	if req.Verb == "watch" {
		s.watch(w, r, path[4], strings.TrimPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name="), fault)
		return
	}
	body, status, err := s.apply(req, path[4], name, fault)
	if fault.Repeat && err == nil {
		body, status, err = s.apply(req, path[4], name, fault)
	}
	if !fault.after(w, r) {
		return
	}
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, status, body)
}

// Decode reads a Lease in JSON or protobuf: the body of a write. The Server
// itself answers in JSON alone.
func Decode(body io.Reader) (*coordinationv1.Lease, error) {
	content, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	l := &coordinationv1.Lease{}
	_, _, err = decoder.Decode(content, nil, l)
	return l, err
}

func (s *Server) count(req *Request) Fault {
	s.mu.Lock()
	if s.requests == nil {
		s.requests = map[string]int{}
	}
	s.requests[req.Verb]++
	s.seen++
	req.N = s.seen
	decide := s.fault
	s.mu.Unlock()
	if decide == nil {
		return Fault{}
	}
	s.deciding.Lock()
	defer s.deciding.Unlock()
	return decide(*req)
}

func verbOf(r *http.Request, name string) string {
	switch {
	case r.Method == http.MethodPost:
		return "create"
	case r.Method == http.MethodPut:
		return "update"
	case r.Method == http.MethodGet && name != "":
		return "get"
	case r.Method == http.MethodGet && r.URL.Query().Get("watch") != "":
		return "watch"
	}
	return strings.ToLower(r.Method)
}

func (s *Server) apply(req Request, namespace, name string, fault Fault) (*coordinationv1.Lease, int, *apierrors.StatusError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if req.Verb == "create" {
		name = req.Lease.Name
	}
	old := s.stored[namespace+"/"+name]
	if req.Verb == "get" {
		old = s.asOf(namespace, name, fault.Behind)
	}
	switch {
	case req.Verb == "create" && old != nil:
		return nil, 0, apierrors.NewAlreadyExists(leases, name)
	case req.Verb != "create" && old == nil:
		return nil, 0, apierrors.NewNotFound(leases, name)
	case req.Verb == "get":
		return old, http.StatusOK, nil
	case req.Verb == "create":
		return s.accept(req, s.admit(req)), http.StatusCreated, nil
	case req.Verb != "update":
		return nil, 0, apierrors.NewMethodNotSupported(leases, req.Verb)
	case req.Lease.ResourceVersion != "" && req.Lease.ResourceVersion != old.ResourceVersion:
		return nil, 0, apierrors.NewConflict(leases, name, fmt.Errorf("the object has been modified"))
	}
	l := s.admit(req)
	l.UID, l.ResourceVersion, l.TypeMeta = old.UID, old.ResourceVersion, old.TypeMeta
	if equality.Semantic.DeepEqual(l, old) { // an update that changes nothing makes no new version
		return old, http.StatusOK, nil
	}
	return s.accept(req, l), http.StatusOK, nil
}

// asOf is the Lease as it was so many of its changes ago.
func (s *Server) asOf(namespace, name string, behind int) *coordinationv1.Lease {
	for _, c := range slices.Backward(s.history) {
		if c.lease.Namespace != namespace || c.lease.Name != name {
			continue
		}
		if behind--; behind < 0 {
			if c.kind == watch.Deleted {
				return nil
			}
			return c.lease
		}
	}
	return s.stored[namespace+"/"+name]
}

// admit is what a client's write is after admission.
func (s *Server) admit(req Request) *coordinationv1.Lease {
	l := req.Lease.DeepCopy()
	if s.onAdmit != nil {
		s.onAdmit(req.Client, l)
	}
	return l
}

func (s *Server) accept(req Request, l *coordinationv1.Lease) *coordinationv1.Lease {
	l = s.store(l)
	if s.onStore != nil {
		s.onStore(req.Client, l)
	}
	return l
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, err *apierrors.StatusError) {
	status := err.Status()
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	answer(w, int(status.Code), status)
}
