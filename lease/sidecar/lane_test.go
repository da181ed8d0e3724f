package sidecar

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// One call that hangs costs one goroutine, and everyone who waits for it, or for
// the lane, a bounded time.
func TestS11_EveryWaitInALaneIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, answer := newLane(), make(chan struct{})
		calls := 0
		hangs := func() int { calls++; <-answer; return calls }
		for range 3 {
			start := time.Now()
			if _, err := within(t.Context(), l, 2*time.Second, hangs); !errors.Is(err, errHangs) || time.Since(start) != 2*time.Second {
				t.Fatalf("after %v: %v", time.Since(start), err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := within(ctx, l, time.Hour, hangs); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		close(answer)
		synctest.Wait()
		if got, err := within(t.Context(), l, time.Second, hangs); got != 2 || err != nil {
			t.Fatalf("call %d, %v: later calls began although the first one hung", got, err)
		}
	})
}
