package sidecar

import (
	"context"
	"log/slog"
	"time"
)

// problem logs something that goes wrong for a while: at once, then once a
// minute while it lasts, and once when it is over. One goroutine uses it.
type problem struct {
	log   *slog.Logger
	level slog.Level
	says  string // what is wrong, and then what to do about it
	over  string

	lasting bool
	said    time.Time
}

// report takes the outcome of one attempt.
func (p *problem) report(err error, args ...any) {
	switch {
	case err == nil && p.lasting:
		p.log.Info(p.over)
	case err != nil && (!p.lasting || time.Since(p.said) >= time.Minute):
		p.log.Log(context.Background(), p.level, p.says, append([]any{"err", err}, args...)...)
		p.said = time.Now()
	}
	p.lasting = err != nil
}
