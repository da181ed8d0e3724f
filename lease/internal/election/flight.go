package election

import (
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
)

// Flight is the request under way.
type Flight struct {
	request  Request
	write    write           // of a request of our term
	sent     boottime.Moment // before it was sent
	known    string          // newest resourceVersion known then
	copies   int             // sent and not answered; 0: no request is under way
	broken   bool            // a copy failed without an answer: it may have landed
	doubleAt boottime.Moment // when to send it once more, on a connection of its own; Never: that was done
	giveUpAt boottime.Moment
}

// aloft starts the clock of a request. A request that takes long is doubled on a
// connection of its own, not given up: neither one dead connection nor a slow one
// costs leadership (L3). Left is what is left of our leadership, 0 without one.
func (f *Flight) aloft(cfg *Config, now boottime.Moment, left time.Duration) {
	patience, double := cfg.RenewDeadline/2, cfg.RetryPeriod
	if left > 0 {
		patience = min(patience, left*9/10) // a read and another renewal may still follow in time
		if f.request.Kind == Read {
			patience = min(patience, max(left/2, cfg.RetryPeriod/4))
		}
		double = min(double, max(left/2, cfg.RetryPeriod/10))
	}
	f.copies, f.sent = 1, now
	f.doubleAt, f.giveUpAt = now.Add(min(double, patience/2)), now.Add(patience)
}

// wakeAt is when the request needs attention.
func (f *Flight) wakeAt() boottime.Moment { return min(f.doubleAt, f.giveUpAt) }
