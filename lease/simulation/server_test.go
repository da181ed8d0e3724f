package simulation

import (
	"slices"
	"strconv"

	"github.com/leader-elector/leader-elector/lease/internal/election"
)

// server is the API server's model: one Lease, its versions, its history.
type server struct {
	stored  election.Record
	version int
	objects int                    // Leases created so far
	history []election.Event       // newest last
	admit   func(*election.Record) // an admission policy; nil: none
	past    []server               // what etcd may be restored to; newest last
}

const keptHistory = 6

func (s *server) change(kind election.EventKind, r election.Record) election.Record {
	s.version++
	r.Version = strconv.Itoa(s.version)
	history := append(slices.Clip(s.history), election.Event{Kind: kind, Record: r})
	s.history = history[max(0, len(history)-keptHistory):]
	return r
}

func (s *server) remember() {
	past := append(slices.Clip(s.past), server{stored: s.stored, version: s.version})
	s.past = past[max(0, len(past)-3):]
}

// put stores r without asking, as kubectl edit does.
func (s *server) put(r election.Record) {
	s.remember()
	if !s.stored.Exists() {
		s.objects++
		r.UID = "uid-" + strconv.Itoa(s.objects)
	}
	s.stored = s.change(election.WatchSaw, r)
}

func (s *server) delete() {
	s.remember()
	s.change(election.WatchDeleted, s.stored)
	s.stored = election.Record{}
}

// apply deals with one request.
func (s *server) apply(r election.Request) (election.Record, election.Failure) {
	refuse := func(code int, text string) (election.Record, election.Failure) {
		return election.Record{}, election.Failure{Code: code, Text: text}
	}
	switch {
	case r.Kind == election.Read:
		return s.stored, election.Failure{}
	case r.Write.Version == "" && s.stored.Exists():
		return refuse(409, "already exists")
	case r.Write.Version != "" && !s.stored.Exists():
		return refuse(404, "not found")
	case r.Write.Version != s.stored.Version:
		return refuse(409, "the object has been modified")
	}
	write := r.Write
	write.UID = s.stored.UID
	if s.admit != nil {
		s.admit(&write)
	}
	s.put(write)
	return s.stored, election.Failure{}
}
