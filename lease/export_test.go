package lease

// SetRandom makes the jitter of e repeatable. Call it before Run.
func (e *Elector) SetRandom(random func() float64) { e.random = random }
