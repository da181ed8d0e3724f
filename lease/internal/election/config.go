package election

import "time"

// Config is what a Campaign is given once. It never changes.
type Config struct {
	Namespace, Name string // of the Lease, for messages

	Identity    string                        // holderIdentity
	Incarnation string                        // this process among all of that Identity
	ProvenDead  func(incarnation string) bool // nil: none is

	LeaseDuration, RenewDeadline, RetryPeriod, RenewInterval time.Duration

	ClaimDelay time.Duration  // wait so long after the Lease became free before a claim
	AwaitStand bool           // no claim before the first StandAsked
	Drains     bool           // the app is waited for before a release
	Random     func() float64 // from 0 to 1; the Campaign's only source of chance
}

// share is that part of d which a stored duration leaves of LeaseDuration.
func (c *Config) share(d, stored time.Duration) time.Duration {
	if stored >= c.LeaseDuration {
		return d
	}
	return time.Duration(float64(d) * (float64(stored) / float64(c.LeaseDuration)))
}

// tooShort says whether a stored duration leaves less validity than the pace of
// requests (L6) can keep up.
func (c *Config) tooShort(stored time.Duration) bool {
	return c.share(c.RenewDeadline, stored) <= c.RetryPeriod/4
}

// jitter spreads the replicas: between three quarters of d and d.
func (c *Config) jitter(d time.Duration) time.Duration {
	return d - time.Duration(c.Random()*float64(d)/4)
}
