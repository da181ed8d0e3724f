// Package boottime tells the time since the machine started, which counts
// suspension and can't be set, unlike a wall clock.
package boottime

import (
	"math"
	"time"
)

// Moment is a point in boot time: nanoseconds since the machine started. It is a
// type of its own, so that it can't be mixed up with a span of time. Moments are
// comparable within one boot of one machine only.
type Moment int64

// Never is later than any Moment that can come.
const Never = Moment(math.MaxInt64)

// Add returns the Moment that is d after m, and Never where that overflows.
func (m Moment) Add(d time.Duration) Moment {
	if sum := m + Moment(d); d <= 0 || sum >= m {
		return sum
	}
	return Never
}

// Sub returns the span from o to m.
func (m Moment) Sub(o Moment) time.Duration { return time.Duration(m - o) }

// Seconds returns m in whole seconds, rounded down: what /proc/uptime shows.
func (m Moment) Seconds() int64 { return int64(m) / int64(time.Second) }

// Clock tells and awaits boot time. The default is System; tests bring their own.
type Clock interface {
	// Now is the boot time of this moment.
	Now() Moment
	// Wall is the wall-clock time of this moment, for others to read. The
	// election decides nothing by it: anyone may set it.
	Wall() time.Time
	// NewAlarm returns an Alarm that is not set.
	NewAlarm() (Alarm, error)
}

// Alarm wakes one reader at a moment of its Clock. It may wake its reader
// without need: the reader looks at the time.
type Alarm interface {
	// C receives when the moment has come.
	C() <-chan struct{}
	// Set replaces the moment that is waited for. A moment in the past wakes
	// at once.
	Set(at Moment)
	// Close frees what the alarm holds.
	Close()
}
