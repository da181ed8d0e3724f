package lease

import (
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/leader-elector/leader-elector/lease/boottime"
	"github.com/leader-elector/leader-elector/lease/internal/election"
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
	ValidUntil boottime.Moment
	// HeldUntil is the boot time until which no other replica leads, unless a renewal
	// moves it on. It is ValidUntil while this replica leads. It goes on while the
	// work of a leader that gives up is being stopped (Config.BeforeRelease): that
	// work must have ended by then. Zero otherwise.
	HeldUntil boottime.Moment
	// LeaseUID is the uid of the Lease object that Transitions counts in. It is empty
	// where there is none, and stays while a leader puts a deleted Lease back.
	LeaseUID types.UID
	// Transitions is spec.leaseTransitions: a fencing token, which grows with
	// every change of holder. Tokens are comparable under one LeaseUID.
	Transitions int32
	// Synced says that the Lease has been read at least once.
	Synced bool
	// Problem is the last API error while it lasts. It is empty otherwise.
	Problem string
	// Denied says that Problem is a refusal of our credentials or rights, which
	// waiting does not cure.
	Denied bool

	// Role is what this replica does: "reading", "following", "leading" or "handing over".
	// One that leads may not tell yet (ValidUntil is zero): it renews first. After Run has
	// returned it is the last role.
	Role Role
	// Down says that Stand(false) was called, or Stand is awaited: no claim is made.
	Down bool
	// Retired says that Retire was called: no claim is made.
	Retired bool
	// Draining says that leadership is being given up: the Lease is kept until the app
	// has stopped.
	Draining bool

	// Rests says that this follower has stepped down, and that ClaimAt is so late because
	// of that.
	Rests bool
	// Acquired is the wall-clock time at which the stored term began, by its holder's
	// clock. Zero where the Lease does not say.
	Acquired time.Time
	// ClaimAt is the boot time at which this follower claims the Lease unless its
	// holder renews it. boottime.Never while it makes no claim. It moves on with each
	// renewal of the holder, which wakes no reader of Changes.
	ClaimAt boottime.Moment
	// LapsesAt is the boot time at which the term of Leader is over, as this follower has
	// seen it. It moves on as ClaimAt does. Zero where no other replica holds the Lease.
	LapsesAt boottime.Moment
}

// Role is what a replica does.
type Role string

// The roles.
const (
	Reading     Role = "reading"      // finding out what is stored
	Following   Role = "following"    // waiting for the Lease to become free
	Leading     Role = "leading"      // renewing
	HandingOver Role = "handing over" // giving up leadership in order
)

var roles = map[election.Role]Role{
	election.Reading: Reading, election.Following: Following, election.Leading: Leading, election.HandingOver: HandingOver,
}

func acquired(s election.Stamp) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(s)).UTC()
}

// LeadsAt says whether this replica leads at the boot time now.
func (s State) LeadsAt(now boottime.Moment) bool { return now < s.ValidUntil }

// publisher holds the newest State and wakes its readers. It never waits for one.
type publisher struct {
	current atomic.Pointer[State]
	mu      sync.Mutex // guards wakes; nothing blocks while it is held
	wakes   []chan struct{}
}

func (p *publisher) publish(s State) {
	before := *p.current.Load()
	if before == s {
		return
	}
	p.current.Store(&s)
	before.ClaimAt, before.LapsesAt = s.ClaimAt, s.LapsesAt
	if before == s {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.wakes {
		select {
		case c <- struct{}{}:
		default: // it has been woken already and will read this State
		}
	}
}

func (p *publisher) subscribe() <-chan struct{} {
	c := make(chan struct{}, 1)
	c <- struct{}{}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wakes = append(p.wakes, c)
	return c
}
