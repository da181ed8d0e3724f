package sidecar

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/supervisor"
)

// command is what `exec -- CMD` asks for.
type command struct {
	argv    []string
	environ []string
	grace   time.Duration // from SIGTERM to the end of the term
}

// CommandExit says that Run has ended because the command of exec has ended by
// itself, or could not be started.
type CommandExit struct {
	// Code is what this process should exit with: the command's own exit code, or what
	// a shell would say of it. See supervisor.Exit.
	Code int
	err  error
}

// Error says how the command ended.
func (e *CommandExit) Error() string { return e.err.Error() }

func commandExit(exit supervisor.Exit) error {
	switch {
	case exit.Err != nil:
		return &CommandExit{exit.Code, exit.Err}
	case exit.Code != 0:
		return &CommandExit{exit.Code, fmt.Errorf("the command ended by itself with %v", exit)}
	}
	return nil
}

// shortestGrace is how much of a STOP_GRACE timers and the scheduler may eat.
const shortestGrace = 20 * time.Millisecond

// memoryDir is a directory in memory that the container runtime mounts, writable also
// where the image's file system is not.
const memoryDir = "/dev/shm"

// ForCommand makes this the Config of `exec -- argv`: the command, which gets environ,
// runs while this pod leads. The error says what does not fit.
//
// Where STATUS_DIR is not set and its default can't be written to, as in an app image
// with a read-only file system, the status file is in /dev/shm.
func (c *Config) ForCommand(argv, environ []string) error {
	if len(argv) == 0 || argv[0] == "" {
		return errors.New("no command is given: exec -- COMMAND [ARGUMENT...]")
	}
	if c.LeadWhile != "" {
		return fmt.Errorf("LEAD_WHILE=%s: exec starts the command only where its pod leads, so no replica would ever have a living app, and none would lead; leave LEAD_WHILE empty under exec", c.LeadWhile)
	}
	c.command = &command{argv: argv, environ: environ}
	c.releaseDelay, c.defaultReleaseDelay = 0, 0 // the end of the command is seen
	if c.StatusDir == "" && unix.Access(filepath.Dir(c.StatusPath()), unix.W_OK|unix.X_OK) != nil {
		c.StatusDir = memoryDir
	}
	timings := c.Election()
	timings.Complete()
	if timings.ValidateTimings() != nil {
		return nil // LoadConfig has reported it
	}
	var err error
	c.command.grace, err = stopGrace(c.StopGrace, &timings)
	return err
}

// stopGrace completes and checks STOP_GRACE. The default leaves a leader with slow
// answers, as in rule L3, its command: a renewal that is sent after RENEW_INTERVAL, by
// default half of RENEW_DEADLINE, and answered after 0.4 of it, is not too late.
func stopGrace(set time.Duration, timings *lease.Config) (time.Duration, error) {
	grace, origin := set, ""
	if set == 0 {
		grace, origin = timings.RenewDeadline/10, " (the default, 1/10 of RENEW_DEADLINE)"
	}
	most := timings.RenewDeadline - timings.RenewInterval - timings.RetryPeriod
	switch {
	case grace > most:
		return 0, fmt.Errorf("STOP_GRACE=%v%s: with %s and %s added, must be at most %s, so that a renewal that fails is tried again before the command is told to stop: %v at most. Make STOP_GRACE, RENEW_INTERVAL or RETRY_PERIOD shorter, or RENEW_DEADLINE and LEASE_DURATION longer",
			grace, origin, setting(timings, "RenewInterval"), setting(timings, "RetryPeriod"), setting(timings, "RenewDeadline"), most)
	case grace < shortestGrace:
		return 0, fmt.Errorf("STOP_GRACE=%v%s: must be at least %v", grace, origin, shortestGrace)
	}
	return grace, nil
}

// findCommand says early that exec's command can't be started, before the election
// begins.
func (s *Sidecar) findCommand() error {
	if s.cfg.command == nil {
		return nil
	}
	if _, why := supervisor.Find(s.cfg.command.argv[0]); why != nil {
		return commandExit(*why)
	}
	return nil
}

// execute runs exec's command for as long as sinks lasts. Fail is told when it has
// ended by itself. The function that it returns kills what still runs.
func (s *Sidecar) execute(sinks context.Context, running *sync.WaitGroup, over *handover, election Election, fail context.CancelCauseFunc) (end func(context.Context) error, err error) {
	if s.cfg.command == nil {
		return func(context.Context) error { return nil }, nil
	}
	tree, err := supervisor.New()
	if err != nil {
		return nil, err
	}
	alarm, err := election.Clock().NewAlarm()
	if err != nil {
		return nil, err
	}
	e := newExecution(s.cfg.command, election, tree, s.dir.path, over.log)
	e.end = func(exit supervisor.Exit) { fail(&commandEnded{exit}) }
	over.command = e
	over.file.Failed = nil // the command follows the State, not the file: a full disk of its image does not stop it
	s.execution.Store(e)
	running.Go(func() {
		defer alarm.Close()
		e.run(sinks, alarm)
	})
	return func(ctx context.Context) error {
		defer tree.Close()
		return e.close(ctx)
	}, nil
}

// commandEnded is the cause of a stop for which the command has ended by itself.
type commandEnded struct{ exit supervisor.Exit }

func (e *commandEnded) Error() string { return e.exit.String() }

// endedBy is the error of a Run whose context has ended for this cause.
func endedBy(cause error) error {
	var ended *commandEnded
	switch {
	case errors.As(cause, &ended):
		return commandExit(ended.exit)
	case errors.Is(cause, errServe):
		return cause
	}
	return nil
}
