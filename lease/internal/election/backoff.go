package election

import (
	"math"
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
)

// Backoff says when to ask the API server next.
type Backoff struct {
	notBefore boottime.Moment // no request before
	pollAt    boottime.Moment // next read of a follower that has no watch
	failures  int             // attempts that failed in a row
	conflicts int             // requests of a leader in a row that only showed that the Lease had changed
	pace      boottime.Moment // bounds the requests on average (L6)
	spread    time.Duration   // within which claims are spread; 0: no company is known
	place     time.Duration   // our place in it, for the claim to come
}

// burst is how many requests may follow each other at once, before they are
// spaced by a quarter of RetryPeriod.
const burst = 10

func (b *Backoff) spend(cfg *Config, now boottime.Moment) {
	b.pace = max(b.pace, now).Add(cfg.RetryPeriod / 4)
}

// allowed is when the next request keeps the average (L6).
func (b *Backoff) allowed(cfg *Config) boottime.Moment {
	return b.pace.Add(-burst * cfg.RetryPeriod / 4)
}

func (b *Backoff) succeeded() { b.failures = 0 }

// soon is the wait of a leader that has to look again.
func (b *Backoff) soon(cfg *Config) time.Duration {
	b.conflicts = min(b.conflicts+1, 6)
	return cfg.jitter(cfg.RetryPeriod/100) << b.conflicts
}

// failed is the wait after an attempt that failed. Left is what is left of our
// leadership: the wait never uses it up (L4).
func (b *Backoff) failed(cfg *Config, f Failure, leading bool, left time.Duration) time.Duration {
	delay := cfg.jitter(cfg.RetryPeriod)
	switch {
	case f.Timeout:
		delay = 0
	case f.Code == 429 || f.Code >= 500:
		delay = cfg.jitter(cfg.RetryPeriod) << min(b.failures, 2)
		if f.RetryAfter > 0 {
			delay = min(f.RetryAfter, 4*cfg.RetryPeriod)
		}
	case f.Code == 401 && b.failures == 0: // the token file may hold a newer one, which is read now
		delay = cfg.RetryPeriod / 20
	}
	if leading {
		delay = min(delay, max(left/2, cfg.RetryPeriod/10))
	}
	b.failures = min(b.failures+1, 1000)
	return delay
}

// Followers learn at the same moment that the Lease is free. Where they are few,
// each claims it at once. Where they are a thousand, a thousand claims arrive, all
// but one in vain, and that one is late too. No follower knows how many there are.
// But it learns, from a claim of its own that was refused, that it has company,
// and from how long the refusal took, how busy that company keeps the API server.

// lostClaim notes that a claim of ours came too late, and how long that took.
func (b *Backoff) lostClaim(cfg *Config, took time.Duration) {
	b.spread = min(4*took, cfg.RetryPeriod/8)
}

// wonClaim notes that a claim of ours was the first.
func (b *Backoff) wonClaim() { b.spread = 0 }

// draw chooses our place among the claims to come. Twice as many followers go in
// each tenth of the spread as in the tenth before. So of any number only a few go
// before they learn that one has won.
func (b *Backoff) draw(cfg *Config) {
	b.place = 0
	if b.spread > 0 {
		b.place = time.Duration(float64(b.spread) * max(0, 1+math.Log2(cfg.Random())/10))
	}
}
