package lease

import (
	"sync"

	"github.com/leader-elector/leader-elector/lease/internal/election"
)

// orders are what the program tells the election, in order, until the loop takes them.
// Giving one never blocks.
type orders struct {
	mu    sync.Mutex
	queue []election.Event
	given chan struct{} // there may be some
}

// give adds an order, unless the last one says the same.
func (o *orders) give(ev election.Event) {
	o.mu.Lock()
	if n := len(o.queue); n == 0 || o.queue[n-1].Kind != ev.Kind || o.queue[n-1].Stands != ev.Stands {
		o.queue = append(o.queue, ev)
	}
	o.mu.Unlock()
	select {
	case o.given <- struct{}{}:
	default:
	}
}

// take returns the oldest order; an event that says nothing where there is none.
func (o *orders) take() (ev election.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		return ev
	}
	ev, o.queue = o.queue[0], o.queue[1:]
	if len(o.queue) > 0 {
		select {
		case o.given <- struct{}{}:
		default:
		}
	}
	return ev
}
