package sidecar

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errHangs says that something did not return within its time.
var errHangs = errors.New("no answer")

// lane runs one function at a time, in a goroutine of its own, for calls that
// may hang and can't be cancelled: those of a file system, and of a credential
// plugin. A function that hangs costs one goroutine and keeps later ones out.
type lane chan struct{}

func newLane() lane { return make(lane, 1) }

// within runs f in the lane and returns what it returns, or an error that wraps
// errHangs where that takes longer than limit, or the error of ctx.
func within[T any](ctx context.Context, l lane, limit time.Duration, f func() T) (T, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var none T
	select {
	case l <- struct{}{}:
	case <-timer.C:
		return none, fmt.Errorf("%w for more than %v", errHangs, limit)
	case <-ctx.Done():
		return none, ctx.Err()
	}
	result := make(chan T, 1)
	go func() {
		defer func() { <-l }()
		result <- f()
	}()
	select {
	case r := <-result:
		return r, nil
	case <-timer.C:
		return none, fmt.Errorf("%w within %v", errHangs, limit)
	case <-ctx.Done():
		return none, ctx.Err()
	}
}
