package lease

import "time"

// Clock tells and awaits boot time: the time since the machine started,
// counted through suspension too and never set by anyone. Two moments of it are
// comparable within one machine only. The default is CLOCK_BOOTTIME; tests
// bring their own.
type Clock interface {
	// Now is the boot time of this moment.
	Now() time.Duration
	// Wall is the wall-clock time of this moment, for others to read. The
	// election decides nothing by it: anyone may set it.
	Wall() time.Time
	// NewAlarm returns an Alarm that is not set.
	NewAlarm() (Alarm, error)
}

// Alarm wakes one reader at a moment of its Clock. It may wake it for nothing:
// the reader looks at the time.
type Alarm interface {
	// C receives when the moment has come.
	C() <-chan struct{}
	// Set replaces the moment that is waited for. A moment in the past wakes
	// at once.
	Set(at time.Duration)
	// Close frees what the alarm holds.
	Close()
}
