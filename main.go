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
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/leader-elector/leader-elector/lease/sidecar"
)

// version is set at build time: -ldflags '-X main.version=v1.2.3'.
var version = "dev"

func main() {
	ctx, stop := context.WithCancel(context.Background())
	p := &program{
		ctx: ctx, stop: stop, environ: os.Environ(), stdout: os.Stdout, stderr: os.Stderr, signals: make(chan os.Signal, 16),
		retired: make(chan os.Signal, 1),
	}
	signal.Notify(p.signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	signal.Notify(p.retired, sidecar.RetireSignal)
	// A closed stderr must not end the process: writing to it
	// fails instead. Notify, unlike Ignore, leaves child processes alone.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	go p.obey()
	os.Exit(p.command(os.Args[1:]))
}

// program is the process that a command runs in.
type program struct {
	ctx            context.Context // ends when the process is asked to end
	stop           context.CancelFunc
	environ        []string
	stdout, stderr io.Writer
	signals        chan os.Signal                  // all that are caught but this one:
	retired        chan os.Signal                  // the pod is being deleted
	sidecar        atomic.Pointer[sidecar.Sidecar] // nil: it has not been prepared
}

// asking are the signals that ask the process to end, where exec's command does not
// get them.
var asking = []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP}

// obey ends the process as signals ask for it: the first in order, the second at
// once and without releasing, so that the Lease expires. Some are for exec's command.
func (p *program) obey() {
	asked := false
	for sig := range p.signals {
		s := p.sidecar.Load()
		switch {
		case s != nil && s.Forward(sig):
		case !slices.Contains(asking, sig):
		case !asked:
			asked = true
			p.stop()
		default:
			if s != nil {
				s.Abort()
			}
			os.Exit(1)
		}
	}
}

// run is the whole program but for its signals. It returns the exit code: 0 after a
// clean stop, 1 for a failure at run time, 2 for a bad configuration, and what exec
// says of its command.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	return (&program{ctx: ctx, environ: environ, stdout: stdout, stderr: stderr}).command(args)
}

// commands are what the first argument may be. Each takes the arguments after it, and
// returns the exit code.
var commands = map[string]func(*program, []string) int{
	"exec":      (*program).exec,
	"install":   (*program).install,
	"retire":    configured((*program).retire),
	"status":    configured((*program).status),
	"step-down": configured((*program).stepDown),
}

// command runs what the arguments ask for; none: the sidecar.
func (p *program) command(args []string) int {
	if len(args) == 0 {
		return p.elect(nil)
	}
	switch args[0] {
	case "--version", "-version":
		fmt.Fprintln(p.stdout, version)
		return 0
	case "--help", "-help", "-h":
		sidecar.WriteHelp(p.stdout, version)
		return 0
	}
	if command := commands[args[0]]; command != nil {
		return command(p, args[1:])
	}
	return p.refuse("unknown argument %q: see --help", args[0])
}

// refuse says what is wrong with the arguments.
func (p *program) refuse(format string, args ...any) int {
	fmt.Fprintf(p.stderr, format+"\n", args...)
	return 2
}

// install is the command `install DIR`.
func (p *program) install(args []string) int {
	if len(args) != 1 || strings.HasPrefix(args[0], "-") {
		return p.refuse("install takes one argument, a directory: see --help")
	}
	path, err := sidecar.Install(args[0])
	if err != nil {
		fmt.Fprintln(p.stderr, err)
		return 1
	}
	fmt.Fprintln(p.stdout, path)
	return 0
}

// exec is the command `exec -- CMD`.
func (p *program) exec(args []string) int {
	if len(args) < 2 || args[0] != "--" {
		return p.refuse("exec takes a command: exec -- COMMAND [ARGUMENT...]")
	}
	if p.signals != nil {
		signal.Notify(p.signals, sidecar.Forwarded...)
	}
	return p.elect(args[1:])
}

// configured is a command that goes by the environment of the sidecar it is about.
func configured(command func(*program, *sidecar.Config, []string) int) func(*program, []string) int {
	return func(p *program, args []string) int {
		cfg, err := sidecar.LoadConfig(p.environ)
		if err != nil {
			return p.badConfiguration(err)
		}
		return command(p, cfg, args)
	}
}

func (p *program) retire(cfg *sidecar.Config, args []string) int {
	if len(args) > 0 {
		return p.refuse("retire takes no arguments")
	}
	return sidecar.Retire(cfg, p.stderr)
}

func (p *program) status(cfg *sidecar.Config, args []string) int {
	return sidecar.Status(cfg, args, p.stdout, p.stderr)
}

func (p *program) stepDown(cfg *sidecar.Config, args []string) int {
	return sidecar.StepDown(p.ctx, cfg, args, p.stdout, p.stderr)
}

func (p *program) badConfiguration(err error) int {
	return p.refuse("bad configuration:\n%v", err)
}

// elect takes part in the election, and runs argv while this pod leads; nil: nothing.
func (p *program) elect(argv []string) int {
	// Made for a process whose live heap is 1 MB: garbage is collected at 1 MB
	// instead of 4, and nothing is kept once for each of a node's many cores.
	debug.SetGCPercent(25)
	debug.SetMemoryLimit(48 << 20) // of the chart's 64Mi
	runtime.GOMAXPROCS(1)
	defer time.AfterFunc(10*time.Second, debug.FreeOSMemory).Stop() // gives back what only the start needed
	cfg, err := sidecar.LoadConfig(p.environ)
	if argv != nil {
		err = errors.Join(err, cfg.ForCommand(argv, p.environ))
	}
	s, claimErr := sidecar.Prepare(cfg)
	if claimErr == nil {
		defer s.Close()
	}
	err = errors.Join(err, claimErr)
	if err != nil {
		return p.badConfiguration(err)
	}
	log, lines := cfg.NewLogger(p.stderr)
	s.Retire = p.retired
	p.sidecar.Store(s)
	code := 0
	if err := s.Run(p.ctx, version, log, lines); err != nil {
		log.Error("stopped", "err", err)
		code = 1
		var command *sidecar.CommandExit
		if errors.As(err, &command) {
			code = command.Code
		}
	}
	select { // Don't block exit when nothing drains stderr.
	case <-lines.Flush():
	case <-time.After(time.Second):
	}
	return code
}
