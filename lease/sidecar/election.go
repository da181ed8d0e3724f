package sidecar

import (
	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/boottime"
)

// Election is all that the sinks (status file, label, HTTP) know of the
// election: *lease.Elector, or a test's.
type Election interface {
	// State returns the newest State.
	State() lease.State
	// Changes returns a channel that receives once at first, and then after each
	// change of State.
	Changes() <-chan struct{}
	// Clock returns the clock that State.ValidUntil is a moment of.
	Clock() boottime.Clock
}

// leadsNow says whether this replica leads at this moment.
func leadsNow(e Election) bool { return e.State().LeadsAt(e.Clock().Now()) }
