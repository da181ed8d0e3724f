package election

import (
	"log/slog"
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
)

// Cause says why leadership is given up voluntarily.
type Cause int

// The causes.
const (
	Stopping Cause = iota
	SteppingDown
	AppLost
)

// Stage is how far a handover has come (S6).
type Stage int

// The stages.
const (
	Holding   Stage = iota // no handover
	Draining               // the app is being waited for; the Lease is renewed
	Releasing              // the app has stopped; the Lease is being released
)

// Handover is how leadership is given up voluntarily.
type Handover struct {
	stage    Stage
	stopping bool            // the process ends with it
	keep     bool            // the Lease is left to expire
	by       boottime.Moment // when releasing is given up
	resumeAt boottime.Moment // no claim before; Never: a LeaseDuration after the handover
	yields   bool            // nor before another has led, whichever comes first
}

// begin starts a handover, in which the app is waited for where drain says so.
func (h *Handover) begin(now boottime.Moment, drain bool, patience time.Duration) {
	h.stage = Draining
	if !drain {
		h.drained(now, patience, false)
	}
}

// drained notes that the app has stopped, or that the Lease is to expire.
func (h *Handover) drained(now boottime.Moment, patience time.Duration, keep bool) {
	h.stage, h.keep, h.by = Releasing, keep, now.Add(patience)
}

// rest lets others come first once the handover has ended: for a LeaseDuration from
// then, since the app may take longer than that to stop. Yields: or until another led.
func (h *Handover) rest(yields bool) { h.resumeAt, h.yields = boottime.Never, yields }

// finish ends the handover.
func (h *Handover) finish(cfg *Config, now boottime.Moment) {
	if h.stage, h.keep, h.by = Holding, false, 0; h.resumeAt == boottime.Never {
		h.resumeAt = now.Add(cfg.LeaseDuration)
	}
}

// giveUp begins a handover (S6). The State that ends our leadership is published
// before the app is asked to stop.
func (c *Campaign) giveUp(cause Cause, now boottime.Moment, t *Todo) {
	if c.handover.stage != Holding {
		return
	}
	drain := c.tenure.served && c.cfg.Drains
	c.handover.begin(now, drain, c.cfg.RenewDeadline)
	if drain {
		t.Drain, t.DrainCause = true, cause
		t.say(slog.LevelInfo, "Giving up the Lease once the app has stopped")
	}
}

func (c *Campaign) drained(f Failure, now boottime.Moment, t *Todo) {
	if c.handover.stage != Draining {
		return
	}
	c.handover.drained(now, c.cfg.RenewDeadline, f.failed())
	if f.failed() { // others come first once it has expired
		c.handover.resumeAt = now.Add(2 * c.cfg.LeaseDuration)
	}
	switch {
	case f.Keep:
		t.say(slog.LevelInfo, "The Lease is left to expire")
	case f.failed():
		t.say(slog.LevelWarn, "The Lease is left to expire: the app may still be at work", "err", f.Text)
	}
}
