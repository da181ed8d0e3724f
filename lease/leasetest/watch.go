package leasetest

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// watch streams changes after the requested revision, or from what is stored.
func (s *Server) watch(w http.ResponseWriter, r *http.Request, namespace, name string, fault Fault) {
	s.mu.Lock()
	from, err := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	if s.cut == nil {
		s.cut = make(chan struct{})
	}
	cut := s.cut
	var first []change
	if l := s.stored[namespace+"/"+name]; err != nil {
		from = s.revision
		if l != nil {
			first = []change{{watch.Added, s.revision, l.DeepCopy(), time.Now()}}
		}
	}
	tooOld := from < s.oldest
	s.mu.Unlock()
	if !pause(r.Context(), fault.AnswerDelay) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	flush(w)
	if tooOld || fault.Expire && fault.EndAfter == 0 {
		sendExpired(w)
		return
	}
	if fault.Replay > 0 {
		from = max(s.oldestKept(), from-fault.Replay)
	}
	for _, c := range first {
		if !fault.Stale && pause(r.Context(), fault.EventDelay) {
			send(w, c.kind, c.lease)
		}
	}
	end := fault.watchEnd()
	for {
		s.mu.Lock()
		events := first[:0:0]
		for _, c := range s.history {
			if c.revision > from && c.lease.Namespace == namespace && c.lease.Name == name {
				events = append(events, c)
			}
		}
		from = max(from, s.revision)
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		for _, c := range events {
			if fault.Stale || !pause(r.Context(), time.Until(c.at.Add(fault.EventDelay))) {
				continue
			}
			send(w, c.kind, c.lease)
		}
		select {
		case <-changed:
		case <-cut:
			return
		case <-end:
			if fault.Expire {
				sendExpired(w)
			}
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (s *Server) oldestKept() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.oldest
}

func sendExpired(w http.ResponseWriter) {
	gone := apierrors.NewResourceExpired("too old resource version").Status()
	gone.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	send(w, watch.Error, gone)
}

func send(w http.ResponseWriter, kind watch.EventType, object any) {
	raw, _ := json.Marshal(object)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": json.RawMessage(raw)})
	flush(w)
}

func flush(w http.ResponseWriter) {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}
