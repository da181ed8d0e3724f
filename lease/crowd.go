package lease

import (
	"math"
	"time"
)

// crowd spreads the claims of followers that are many. All of them learn at the
// same moment that the Lease is free. Where they are few, each claims it at
// once, and the first one is not a millisecond late. Where they are a thousand,
// a thousand claims arrive, all but one in vain, and that one is late too.
//
// No follower knows how many there are. But it learns, from a claim of its own
// that was refused, that it has company, and from how long the refusal took,
// how busy that company keeps the API server. Next time it waits a while.
type crowd struct {
	window time.Duration // within which the claims are spread; 0: no company is known
	wait   time.Duration // our place in it, for the claim to come
}

// refused takes in that a claim of ours, which took so long, came too late.
func (c *crowd) refused(took, most time.Duration) { c.window = min(4*took, most) }

// won takes in that a claim of ours was the first.
func (c *crowd) won() { c.window = 0 }

// draw chooses the next place in the window. Twice as many followers go in each
// tenth of it as in the tenth before. So of a thousand about one goes at its
// start, and of any number only a few go before they learn that one has won.
func (c *crowd) draw(random float64) {
	c.wait = time.Duration(float64(c.window) * max(0, 1+math.Log2(random)/10))
}
