//go:build !linux

package lease

import "time"

var started = time.Now()

// SystemClock returns Go's monotonic clock. It stands still while the machine
// sleeps, so that a development machine that is not Linux may believe in a
// term for that much too long: run elections that matter on Linux.
func SystemClock() Clock { return monotonicClock{} }

type monotonicClock struct{}

func (monotonicClock) Now() time.Duration { return time.Since(started) }
func (monotonicClock) Wall() time.Time    { return time.Now() }

func (monotonicClock) NewAlarm() (Alarm, error) {
	a := &timerAlarm{c: make(chan struct{}, 1)}
	a.timer = time.AfterFunc(1<<62, func() {
		select {
		case a.c <- struct{}{}:
		default:
		}
	})
	return a, nil
}

type timerAlarm struct {
	timer *time.Timer
	c     chan struct{}
}

func (a *timerAlarm) C() <-chan struct{}   { return a.c }
func (a *timerAlarm) Set(at time.Duration) { a.timer.Reset(at - time.Since(started)) }
func (a *timerAlarm) Close()               { a.timer.Stop() }
