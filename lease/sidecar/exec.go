package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/boottime"
	"github.com/leader-elector/leader-elector/lease/supervisor"
)

// execution runs a command exactly while this pod leads. It follows the State:
//
//   - It starts the command when this pod leads and more than the grace is left.
//   - It sends SIGTERM when leadership is given up voluntarily, and the grace before
//     the hold on the Lease ends otherwise. A command that was told to stop is
//     stopped, though a renewal may succeed after all. It then starts again.
//   - It kills the command, with all that it has started, the margin before the hold
//     on the Lease ends, so that nothing is left of it at that moment. Where the
//     Lease is lost at once, it kills at once.
//
// Nothing is started before all of it is gone, and nothing is released (S6).
type execution struct {
	argv       []string
	environ    []string
	statusFile string
	grace      time.Duration
	margin     time.Duration
	election   Election
	supervisor *supervisor.Supervisor
	log        *slog.Logger
	// end is told how a command has ended that was not told to stop. It must not block.
	end func(supervisor.Exit)

	mu   sync.Mutex       // guards the fields below
	tree *supervisor.Tree // nil: nothing runs. Only step writes it
	idle chan struct{}    // closed while nothing runs, so that the Lease may be released
	over bool             // no command is started any more
	kept bool             // the process ends without releasing: idle stays open

	// Only step and what it calls use these. They are about tree.
	token     int32           // of the term that it was started in
	told      boottime.Moment // when it was told to stop; 0: it was not
	toldUntil boottime.Moment // when the hold on the Lease would have ended then
	killed    boottime.Moment // when it was killed; 0: it was not
	ended     bool            // the command itself has ended
	slow      problem         // it does not stop
}

// slowStop is how long a command that was told to stop may take before the log says
// so, and slowKill the same for one that was killed.
const (
	slowStop = 30 * time.Second
	slowKill = time.Second
)

func newExecution(c *command, election Election, s *supervisor.Supervisor, statusFile string, log *slog.Logger) *execution {
	idle := make(chan struct{})
	close(idle)
	return &execution{
		argv: c.argv, environ: c.environ, statusFile: statusFile, grace: c.grace, margin: killMargin(c.grace),
		election: election, supervisor: s, log: log, idle: idle,
	}
}

// killMargin is how long before the end of the hold on the Lease SIGKILL is sent. In
// that time the kernel has to wake this process and to end the killed ones, on a busy
// node too.
func killMargin(grace time.Duration) time.Duration { return min(grace/4, time.Second) }

// run follows the election until ctx is done, on an alarm of its own. What still runs
// then is close's to end.
func (e *execution) run(ctx context.Context, alarm boottime.Alarm) {
	changes := e.election.Changes()
	for {
		alarm.Set(e.step(e.election.Clock().Now()))
		var ended, gone <-chan struct{}
		if e.tree != nil {
			gone = e.tree.Gone()
			if !e.ended {
				ended = e.tree.Ended()
			}
		}
		select {
		case <-changes:
		case <-alarm.C():
		case <-ended:
		case <-gone:
		case <-ctx.Done():
			return
		}
	}
}

// step does what is due, and returns when to look again at the latest.
func (e *execution) step(now boottime.Moment) boottime.Moment {
	e.note()
	if e.tree == nil && !e.begin() {
		return boottime.Never
	}
	state := e.election.State()
	leads := state.LeadsAt(now)
	deadline := state.HeldUntil.Add(-e.margin)
	if e.told != 0 && leads { // renewed since: no more time than it was given, so that it starts again soon
		deadline = min(deadline, e.toldUntil.Add(-e.margin))
	}
	switch {
	case e.ended: // the supervisor kills what is left
		if e.killed == 0 {
			e.killed = now
		}
	case e.killed != 0:
	case now >= deadline || state.Transitions != e.token:
		e.log.Warn("Killing the command and everything that it has started: the term ends", "left", max(0, state.HeldUntil.Sub(now)))
		e.killed = now
		e.tree.Kill()
	case e.told != 0:
	case !leads:
		e.stop(now, state, "leadership is given up; the Lease is released when the command has ended")
	case now >= state.HeldUntil.Add(-e.grace):
		e.stop(now, state, "the Lease can't be renewed")
	default:
		return state.HeldUntil.Add(-e.grace)
	}
	if e.killed != 0 {
		return e.sayIfSlow(now)
	}
	return min(deadline, e.sayIfSlow(now))
}

// begin starts the command if this pod leads for long enough. The State is read under
// the lock: who finds nothing running after the State has ended leadership, in gone,
// can rely on it.
func (e *execution) begin() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	state, now := e.election.State(), e.election.Clock().Now()
	if e.over || !state.LeadsAt(now) || state.HeldUntil.Sub(now) <= e.grace {
		return false
	}
	e.log.Info("Starting the command", "command", e.argv[0], "transitions", state.Transitions)
	e.idle = make(chan struct{})
	e.token, e.told, e.killed, e.ended = state.Transitions, 0, 0, false
	e.slow = problem{
		log: e.log, level: slog.LevelWarn, over: "the command has stopped",
		says: "the command was told to stop and still runs; the Lease is kept. Let it end on SIGTERM",
	}
	e.tree = e.supervisor.Start(e.argv, e.environment(state))
	return true
}

// environment is this process's own, with what the command has to know of its term.
func (e *execution) environment(state lease.State) []string {
	ours := []string{
		fmt.Sprintf("LEADER_TOKEN=%d", state.Transitions), "LEADER_LEASE_UID=" + string(state.LeaseUID), "LEADER_STATUS_FILE=" + e.statusFile,
	}
	return append(slices.DeleteFunc(slices.Clone(e.environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.ContainsFunc(ours, func(o string) bool { return strings.HasPrefix(o, name+"=") })
	}), ours...)
}

func (e *execution) stop(now boottime.Moment, state lease.State, why string) {
	e.log.Info("Stopping the command", "reason", why, "left", state.HeldUntil.Sub(now))
	e.told, e.toldUntil = now, state.HeldUntil
	e.tree.Stop()
}

// note notes the end of the command, and that of its tree.
func (e *execution) note() {
	if e.tree == nil {
		return
	}
	if !e.ended && isClosed(e.tree.Ended()) {
		e.ended = true
		exit := e.tree.Exit()
		if exit.Err != nil {
			e.log.Error("The command could not be run", "err", exit.Err)
		} else {
			e.log.Info("The command has ended", "code", exit.Code)
		}
		if e.told == 0 && e.killed == 0 && !e.finish() {
			e.end(exit)
		}
	}
	if isClosed(e.tree.Gone()) {
		e.slow.report(nil)
		e.mu.Lock()
		defer e.mu.Unlock()
		e.tree = nil
		if !e.kept {
			close(e.idle)
		}
	}
}

// sayIfSlow logs that something takes long, and returns when to look again.
func (e *execution) sayIfSlow(now boottime.Moment) boottime.Moment {
	since, patience := e.told, slowStop
	if e.killed != 0 {
		since, patience = e.killed, slowKill
		e.slow.says = "killed processes of the command have not ended; waiting for them before anything is started or released. Look for a file system or device that hangs"
	}
	due := since.Add(patience)
	if now < due {
		return due
	}
	err := errors.New("waiting for the command to end")
	if e.killed != 0 {
		err = errors.New(e.tree.Left())
	}
	e.slow.report(err)
	return now.Add(time.Second)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// finish lets no command start any more, and says whether that was so already.
func (e *execution) finish() (before bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before, e.over = e.over, true
	return before
}

// runs says whether anything that was started still runs.
func (e *execution) runs() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tree != nil
}

// gone returns when nothing runs, or when ctx is done, then with the reason. Run must
// be running. Where the State has ended leadership before, nothing is started after it.
func (e *execution) gone(ctx context.Context) error {
	e.mu.Lock()
	idle := e.idle
	e.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// running is the tree that runs, or nil.
func (e *execution) running() *supervisor.Tree {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tree
}

// close kills what runs, and returns when it is gone, or when ctx is done, then with
// what is left.
func (e *execution) close(ctx context.Context) error {
	e.finish()
	tree := e.running()
	if tree == nil {
		return nil
	}
	tree.Kill()
	select {
	case <-tree.Gone():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("killed processes of the command have not ended: %s", tree.Left())
	}
}

// Forwarded are the signals that a command gets from this process. SIGTERM is not
// among them: it asks this process to hand over, and the command then gets it in
// order.
var Forwarded = []os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGWINCH, syscall.SIGCONT,
}

// Forward passes a signal on to the command, and says whether that is all that it is
// for. Not so are SIGTERM, and SIGINT and SIGQUIT where no command runs: they ask this
// process to end. Other signals are of no meaning then.
func (s *Sidecar) Forward(sig os.Signal) bool {
	if s.cfg.command == nil || !slices.Contains(Forwarded, sig) {
		return false
	}
	if e := s.execution.Load(); e != nil {
		if tree := e.running(); tree != nil {
			tree.Signal(sig)
			return true
		}
	}
	return sig != syscall.SIGINT && sig != syscall.SIGQUIT
}

// Abort kills the command and all that it has started, since the process ends without
// handing over. It waits for that: no longer than others wait for the Lease, or for
// closeLimit where that is longer.
func (s *Sidecar) Abort() {
	if e := s.execution.Load(); e != nil {
		held := e.election.State().HeldUntil.Sub(e.election.Clock().Now())
		ctx, cancel := context.WithTimeout(context.Background(), max(closeLimit, held))
		defer cancel()
		e.mu.Lock()
		e.kept = true
		e.mu.Unlock()
		if err := e.close(ctx); err != nil {
			e.log.Error("the command's processes may still be at work: this process ends without them. Kill them", "err", err)
		}
	}
}
