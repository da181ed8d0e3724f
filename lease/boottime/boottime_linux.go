package boottime

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// System returns the machine's boot-time clock.
func System() Clock { return bootClock{} }

type bootClock struct{}

func (bootClock) Now() Moment {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("CLOCK_BOOTTIME is missing, which every Linux since 2.6.39 has: " + err.Error())
	}
	return Moment(ts.Nano())
}

func (bootClock) Wall() time.Time { return time.Now() }

// NewAlarm uses a timerfd, since Go's own timers stand still while the machine
// is suspended: they would fire late by just that time after it resumes.
func (bootClock) NewAlarm() (Alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating a boot-time timer: %w", err)
	}
	a := &timerfd{fd: fd, file: os.NewFile(uintptr(fd), "timerfd"), c: make(chan struct{}, 1)}
	go a.relay()
	return a, nil
}

type timerfd struct {
	fd   int // kept beside file: File.Fd would make it blocking
	file *os.File
	c    chan struct{}
}

func (a *timerfd) relay() {
	var expirations [8]byte
	for {
		if _, err := a.file.Read(expirations[:]); err != nil {
			return // closed
		}
		select {
		case a.c <- struct{}{}:
		default:
		}
	}
}

func (a *timerfd) C() <-chan struct{} { return a.c }

func (a *timerfd) Set(at Moment) {
	at = max(at, 1) // zero would disarm it
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(at))}
	if err := unix.TimerfdSettime(a.fd, unix.TFD_TIMER_ABSTIME, &spec, nil); err != nil {
		panic(fmt.Sprintf("timerfd_settime(%v): %v", at, err)) // only for a bad descriptor or time: a bug here
	}
}

func (a *timerfd) Close() { _ = a.file.Close() }
