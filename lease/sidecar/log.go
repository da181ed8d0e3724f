package sidecar

import (
	"io"
	"log/slog"
	"sync/atomic"

	"k8s.io/klog/v2"
)

func (c *Config) level() (l slog.Level, err error) {
	return l, l.UnmarshalText([]byte(c.LogLevel))
}

// NewLogger logs to w as configured. A w that blocks does not block the caller:
// lines that find no room are dropped and counted.
//
// klog's lines pass at the debug level alone: client-go writes one for each
// attempt that fails, and this module reports failed requests itself.
func (c *Config) NewLogger(w io.Writer) (*slog.Logger, *LogWriter) {
	out := &LogWriter{lines: make(chan []byte, 1024), flush: make(chan chan struct{})}
	go out.relay(w)
	level, _ := c.level()
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewTextHandler(out, options)
	if c.LogFormat == "json" {
		handler = slog.NewJSONHandler(out, options)
	}
	logger := slog.New(handler)
	if level <= slog.LevelDebug {
		klog.SetSlogLogger(logger)
	} else {
		klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	}
	return logger, out
}

// LogWriter takes lines without ever blocking.
type LogWriter struct {
	lines   chan []byte
	flush   chan chan struct{}
	dropped atomic.Int64
}

// Write takes one line.
func (l *LogWriter) Write(line []byte) (int, error) {
	select {
	case l.lines <- append([]byte(nil), line...):
	default:
		l.dropped.Add(1)
	}
	return len(line), nil
}

// Dropped is how many lines found no room.
func (l *LogWriter) Dropped() int64 { return l.dropped.Load() }

// Flush returns a channel that closes when the lines so far are written.
func (l *LogWriter) Flush() <-chan struct{} {
	done := make(chan struct{})
	go func() { l.flush <- done }()
	return done
}

func (l *LogWriter) relay(w io.Writer) {
	for {
		select {
		case line := <-l.lines:
			_, _ = w.Write(line)
		case done := <-l.flush:
			for len(l.lines) > 0 {
				_, _ = w.Write(<-l.lines)
			}
			close(done)
		}
	}
}
