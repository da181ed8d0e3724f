// Command leader-election-sidecar tells the app beside it whether its pod
// leads. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/leader-elector/leader-elector/internal/sidecar"
)

// version is set at build time: -ldflags '-X main.version=v1.2.3'.
var version = "dev"

func main() {
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-signals
		stop()
		<-signals
		os.Exit(1) // at once, without releasing: the Lease expires
	}()
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run is the whole program. It returns the exit code: 0 after a clean stop, 1
// for a failure at run time, 2 for a bad configuration.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	for _, arg := range args {
		switch arg {
		case "--version", "-version":
			fmt.Fprintln(stdout, version)
			return 0
		case "--help", "-help", "-h":
			sidecar.WriteHelp(stdout, version)
			return 0
		default:
			fmt.Fprintf(stderr, "unknown argument %q: everything is set by the environment; see --help\n", arg)
			return 2
		}
	}
	// Made for a process whose live heap is 1 MB: garbage is collected at 1 MB
	// instead of 4, and nothing is kept once for each of a node's many cores.
	debug.SetGCPercent(25)
	debug.SetMemoryLimit(48 << 20) // of the chart's 64Mi
	runtime.GOMAXPROCS(1)
	cfg, err := sidecar.LoadConfig(environ)
	s, claimErr := sidecar.Prepare(cfg)
	if claimErr == nil {
		defer s.Close()
	}
	err = errors.Join(err, claimErr)
	if err != nil {
		fmt.Fprintf(stderr, "bad configuration:\n%v\n", err)
		return 2
	}
	log, lines := cfg.NewLogger(stderr)
	code := 0
	if err := s.Run(ctx, version, log, lines); err != nil {
		log.Error("stopped", "err", err)
		code = 1
	}
	select { // a reader of the log that has gone away keeps nobody here
	case <-lines.Flush():
	case <-time.After(time.Second):
	}
	return code
}
