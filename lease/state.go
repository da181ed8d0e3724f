package lease

import (
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// State is what one replica knows of the election at one moment. It is a
// value: read it, compare it, keep it.
type State struct {
	// Identity is this replica's own holderIdentity.
	Identity string
	// Leader is the holderIdentity last read from the Lease; empty before the
	// first read and after a release. It may be out of date: only IsLeader,
	// about this replica itself, is a promise.
	Leader string
	// Previous is the holder that Leader took over from, where known.
	Previous string
	// ValidUntil is the boot time (Clock) at which this replica's leadership
	// ends unless a renewal moves it on. Zero while it does not lead.
	ValidUntil time.Duration
	// LeaseUID is the uid of the Lease object that Transitions counts in.
	LeaseUID types.UID
	// Transitions is spec.leaseTransitions: a fencing token, which grows with
	// every change of holder. Tokens are comparable under one LeaseUID.
	Transitions int32
	// Synced says that the Lease has been read at least once.
	Synced bool
	// Problem is the last API error while it lasts, empty after a request that
	// succeeded.
	Problem string
	// Denied says that Problem is a refusal of our credentials or rights, which
	// waiting does not cure.
	Denied bool
}

// LeadsAt says whether this replica leads at the boot time now.
func (s State) LeadsAt(now time.Duration) bool { return now < s.ValidUntil }

// publisher hands the newest State to any number of readers without ever
// waiting for one of them.
type publisher struct {
	current atomic.Pointer[State]
	mu      sync.Mutex // guards subscribers; nothing blocks while it is held
	readers []chan State
}

func (p *publisher) publish(s State) {
	if *p.current.Load() == s {
		return
	}
	p.current.Store(&s)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.readers {
		select {
		case <-c: // what its reader has not taken yet is out of date
		default:
		}
		c <- s
	}
}

// subscribe returns a channel that holds the newest State not yet received.
func (p *publisher) subscribe() <-chan State {
	c := make(chan State, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	c <- *p.current.Load()
	p.readers = append(p.readers, c)
	return c
}
