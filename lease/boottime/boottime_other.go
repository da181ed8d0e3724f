//go:build !linux

package boottime

import "time"

var started = time.Now()

// System returns Go's monotonic clock. It stands still while the machine
// sleeps, so that a development machine that is not Linux may believe in a
// term for that much too long: run elections that matter on Linux.
func System() Clock { return monotonicClock{} }

type monotonicClock struct{}

func (monotonicClock) Now() Moment     { return Moment(time.Since(started)) }
func (monotonicClock) Wall() time.Time { return time.Now() }

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

func (a *timerAlarm) C() <-chan struct{} { return a.c }
func (a *timerAlarm) Set(at Moment)      { a.timer.Reset(at.Sub(Moment(time.Since(started)))) }
func (a *timerAlarm) Close()             { a.timer.Stop() }
