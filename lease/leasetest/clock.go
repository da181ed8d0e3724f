package leasetest

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
)

// Clock is a boot-time clock made of Go's own, and so of fake time where a test
// runs in it. Rate is how many of its seconds pass in one: 1.01 is one percent
// fast.
type Clock struct {
	Rate    float64
	start   time.Time
	skipped atomic.Int64
	wallSet atomic.Int64 // how far the wall clock was set off
	paused  atomic.Int64 // until when, as time since start

	mu      sync.Mutex
	stallIn int // after how many readings to stand still; 0: never
	stalls  time.Duration
}

// NewClock starts a Clock at the boot time of one hour.
func NewClock(rate float64) *Clock { return &Clock{Rate: rate, start: time.Now()} }

// Pause makes every caller that asks for the time wait for d, like a process
// that is stopped: the time goes on without it. A pause within a longer one ends
// with that.
func (c *Clock) Pause(d time.Duration) {
	until := int64(time.Since(c.start) + d)
	for paused := c.paused.Load(); until > paused && !c.paused.CompareAndSwap(paused, until); {
		paused = c.paused.Load()
	}
}

// Paused says whether a Pause is on or a Stall is to come.
func (c *Clock) Paused() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stallIn > 0 || time.Duration(c.paused.Load()) > time.Since(c.start)
}

// Stall stops the process for d right after its n-th reading of this clock from
// now on: between looking at the time and acting on it.
func (c *Clock) Stall(n int, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stallIn, c.stalls = n, d
}

// SetWall sets the wall clock off by d more. Boot time knows nothing of it.
func (c *Clock) SetWall(d time.Duration) { c.wallSet.Add(int64(d)) }

// Skip moves this clock on by d before any timer notices, as a pause looks to
// the process that had it. To other clocks it is a jump.
func (c *Clock) Skip(d time.Duration) { c.skipped.Add(int64(d)) }

// Now is the boot time of this moment.
func (c *Clock) Now() boottime.Moment {
	c.standStill()
	now := c.Read()
	c.stall()
	return now
}

// Wall is the wall-clock time of this moment.
func (c *Clock) Wall() time.Time {
	c.standStill()
	now := c.ReadWall()
	c.stall()
	return now
}

// ReadWall is Wall as seen from outside of the process. A Pause does not delay it.
func (c *Clock) ReadWall() time.Time {
	return c.start.Add(time.Duration(float64(time.Since(c.start))*c.Rate) + time.Duration(c.wallSet.Load()))
}

func (c *Clock) standStill() {
	left := func() time.Duration { return time.Duration(c.paused.Load()) - time.Since(c.start) }
	for d := left(); d > 0; d = left() {
		time.Sleep(d)
	}
}

func (c *Clock) stall() {
	c.mu.Lock()
	now := c.stallIn == 1
	c.stallIn = max(0, c.stallIn-1)
	d := c.stalls
	c.mu.Unlock()
	if now {
		c.Pause(d) // all of the process
		c.standStill()
	}
}

// Read is Now as seen from outside of the process. A Pause does not delay it.
func (c *Clock) Read() boottime.Moment {
	return boottime.Moment(time.Hour) + boottime.Moment(float64(time.Since(c.start))*c.Rate) + boottime.Moment(c.skipped.Load())
}

// NewAlarm returns an Alarm of this clock.
func (c *Clock) NewAlarm() (boottime.Alarm, error) {
	a := &alarm{clock: c, c: make(chan struct{}, 1)}
	a.timer = time.AfterFunc(time.Hour, a.ring)
	a.timer.Stop()
	return a, nil
}

type alarm struct {
	clock *Clock
	timer *time.Timer
	c     chan struct{}
}

func (a *alarm) ring() {
	select {
	case a.c <- struct{}{}:
	default:
	}
}

func (a *alarm) C() <-chan struct{} { return a.c }

func (a *alarm) Set(at boottime.Moment) {
	wait := min(at.Sub(a.clock.Read()), 1<<60) // so that the division can't overflow
	if a.clock.Rate != 1 && wait > 0 {
		wait = time.Duration(float64(wait)/a.clock.Rate) + 1 // rounded up: never early
	}
	a.timer.Reset(wait)
}

func (a *alarm) Close() { a.timer.Stop() }
