package sidecar

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/boottime"
	"github.com/leader-elector/leader-elector/lease/leasetest"
	"github.com/leader-elector/leader-elector/lease/supervisor"
)

// commanded is an execution that follows an election which the test decides. Its
// processes are real. Its grace is an hour, so that what the test takes is of no
// account.
type commanded struct {
	*told
	e   *execution
	t   *testing.T
	dir string // the command's argument $1
	log leasetest.Buffer

	exits chan supervisor.Exit // of commands that ended by themselves
}

const (
	testGrace  = time.Hour
	testMargin = 20 * time.Minute
	testTerm   = 10 * time.Hour
)

// commands runs a shell script while the test's election is led.
func commands(t *testing.T, script string) *commanded {
	t.Helper()
	dir := t.TempDir()
	return commandsAs(t, dir, "sh", "-c", script, "sh", dir)
}

func commandsAs(t *testing.T, dir string, argv ...string) *commanded {
	t.Helper()
	c := &commanded{told: newTold(), t: t, dir: dir, exits: make(chan supervisor.Exit, 1)}
	s, err := supervisor.New()
	check(t, err)
	environ := append(os.Environ(), "LEADER_TOKEN=of an outer one", "OURS=kept")
	c.e = newExecution(&command{argv: argv, environ: environ, grace: testGrace}, c, s, filepath.Join(dir, "leader_status"), logTo(&c.log))
	c.e.margin = testMargin
	c.e.end = func(exit supervisor.Exit) { c.exits <- exit }
	alarm, err := c.clock.NewAlarm()
	check(t, err)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.e.run(ctx, alarm) })
	t.Cleanup(func() { check(t, c.e.close(context.Background())); stop(); running.Wait(); alarm.Close(); s.Close() })
	return c
}

// takes lets this replica take the Lease with that token.
func (c *commanded) takes(token int32) {
	c.is(func(s *lease.State) {
		s.Transitions, s.LeaseUID = token, "uid-1"
		s.ValidUntil = c.clock.Read().Add(testTerm)
		s.HeldUntil = s.ValidUntil
	})
}

// left lets so much be left of the term by now.
func (c *commanded) left(d time.Duration) {
	c.clock.Skip(c.State().HeldUntil.Sub(c.clock.Read()) - d)
	c.is(func(*lease.State) {})
}

// givesUp begins a handover: the Lease is held, and no longer led by.
func (c *commanded) givesUp() { c.is(func(s *lease.State) { s.ValidUntil = 0 }) }

// awaits waits for something that other processes bring about.
func (c *commanded) awaits(what string, is func() bool) {
	c.t.Helper()
	for start := time.Now(); !is(); time.Sleep(time.Millisecond) {
		if time.Since(start) > time.Minute {
			c.t.Fatalf("%s does not come:\n%s", what, c.log.String())
		}
	}
}

// line waits for a file of one whole line.
func (c *commanded) line(name string) (line string) {
	c.t.Helper()
	c.awaits(name, func() bool {
		content, _ := os.ReadFile(filepath.Join(c.dir, name))
		var whole bool
		line, whole = strings.CutSuffix(string(content), "\n")
		return whole
	})
	return line
}

func (c *commanded) pid(name string) int {
	c.t.Helper()
	pid, err := strconv.Atoi(c.line(name))
	check(c.t, err)
	return pid
}

// tell makes a file that a script waits for.
func (c *commanded) tell(name string) { write(c.t, filepath.Join(c.dir, name), "") }

func (c *commanded) awaitsIdle() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.e.gone(ctx); err != nil {
		c.t.Fatalf("the command does not end:\n%s", c.log.String())
	}
}

func (c *commanded) isIdle() bool {
	return isClosed(func() chan struct{} { c.e.mu.Lock(); defer c.e.mu.Unlock(); return c.e.idle }())
}

// lives says whether a process runs: a zombie does not.
func lives(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

const (
	// announces itself, with what it is told of its term
	announces = `echo "$LEADER_TOKEN $LEADER_LEASE_UID $LEADER_STATUS_FILE $OURS" >"$1/term-$LEADER_TOKEN"; echo $$ >"$1/pid.tmp"; mv "$1/pid.tmp" "$1/pid"; `
	// ends on SIGTERM once the test says so
	politely = `trap 'echo 1 >"$1/asked"; while ! [ -e "$1/end" ]; do sleep 0.01; done; exit 0' TERM; ` + announces + `while :; do sleep 0.01; done`
	// leaves a process behind that has left its session, and ignores SIGTERM as that does
	stubborn = `trap 'echo 1 >"$1/asked"' TERM; ` + announces + `setsid sh -c 'trap "" TERM HUP; (sleep 1000 & echo $! >$1/daemon); sleep 1000' sh "$1" & while :; do sleep 0.01; done`
)

func TestExecRunsTheCommandWhileThisPodLeads(t *testing.T) {
	c := commands(t, politely)
	if !c.isIdle() {
		t.Fatal("it runs before this pod leads")
	}
	c.takes(7)
	if got, want := c.line("term-7"), "7 uid-1 "+filepath.Join(c.dir, "leader_status")+" kept"; got != want {
		t.Errorf("the command was told %q, want %q", got, want)
	}
	// renewed, and renewed again: nothing happens
	c.left(2 * testGrace)
	c.takes(7)
	c.givesUp()
	c.line("asked")
	if c.isIdle() {
		t.Error("the Lease may be released before the command has ended")
	}
	c.tell("end")
	c.awaitsIdle()
	select {
	case exit := <-c.exits:
		t.Errorf("ended by itself: %v", exit)
	default:
	}
}

// Renewals go on while a command that was told to hand over takes its time.
func TestExecDoesNotKillWhileTheLeaseIsHeld(t *testing.T) {
	c := commands(t, politely)
	c.takes(1)
	c.pid("pid")
	c.givesUp()
	c.line("asked")
	for range 5 {
		c.left(testGrace / 2)
		c.is(func(s *lease.State) { s.HeldUntil = c.clock.Read().Add(testTerm) })
	}
	c.tell("end")
	c.awaitsIdle()
	if strings.Contains(c.log.String(), "Killing") {
		t.Errorf("killed:\n%s", c.log.String())
	}
}

// A renewal that comes after the command was told to stop does not take that back. It
// starts again, under the same token.
func TestExecStopsBeforeATermThatCantBeRenewedEndsAndStartsAgain(t *testing.T) {
	c := commands(t, politely)
	c.takes(3)
	first := c.pid("pid")
	c.left(testGrace + time.Minute)
	if strings.Contains(c.log.String(), "Stopping") {
		t.Fatal("stopped too early")
	}
	c.left(testGrace)
	c.line("asked")
	c.takes(3)
	c.tell("end")
	c.awaits("the second start", func() bool { return c.pid("pid") != first })
	if lives(first) {
		t.Error("two at work")
	}
	if got := strings.Count(c.log.String(), "Killing"); got != 0 {
		t.Errorf("%d killed:\n%s", got, c.log.String())
	}
}

// What ignores SIGTERM is gone before the term ends, with what has left its session.
func TestExecKillsTheTreeBeforeTheTermEnds(t *testing.T) {
	c := commands(t, stubborn)
	c.takes(1)
	command, daemon := c.pid("pid"), c.pid("daemon")
	c.left(testGrace)
	c.line("asked")
	c.left(testMargin + time.Minute)
	if !lives(command) || !lives(daemon) {
		t.Fatal("killed too early")
	}
	c.left(testMargin)
	c.awaitsIdle()
	if lives(command) || lives(daemon) {
		t.Errorf("left: command %v, daemon %v", lives(command), lives(daemon))
	}
	if s := c.State(); !s.LeadsAt(c.clock.Read()) {
		t.Error("the term was over")
	}
}

// A command that does not stop in the time that it was given is killed though the
// Lease was renewed: else nothing works for long.
func TestExecKillsACommandThatDoesNotStopThoughTheLeaseIsRenewed(t *testing.T) {
	c := commands(t, stubborn)
	c.takes(1)
	first := c.pid("pid")
	c.left(testGrace)
	c.line("asked")
	c.takes(1)
	c.clock.Skip(testGrace - testMargin)
	c.is(func(*lease.State) {})
	c.awaits("the second start", func() bool { return c.pid("pid") != first })
}

// A Lease that is lost at once leaves no time for a SIGTERM.
func TestExecKillsAtOnceWhenTheLeaseIsLost(t *testing.T) {
	c := commands(t, stubborn)
	c.takes(1)
	command, daemon := c.pid("pid"), c.pid("daemon")
	c.leads(0)
	c.awaitsIdle()
	if lives(command) || lives(daemon) || exists(filepath.Join(c.dir, "asked")) {
		t.Errorf("left: command %v, daemon %v", lives(command), lives(daemon))
	}
}

// The Lease is lost while a command takes its time to hand over.
func TestExecKillsWhenTheLeaseIsLostDuringAHandover(t *testing.T) {
	c := commands(t, stubborn)
	c.takes(1)
	command, daemon := c.pid("pid"), c.pid("daemon")
	c.givesUp()
	c.line("asked")
	c.left(testMargin)
	c.awaitsIdle()
	if lives(command) || lives(daemon) {
		t.Errorf("left: command %v, daemon %v", lives(command), lives(daemon))
	}
}

// A new term without a look at the end of the one before: its command is another one.
func TestExecStartsAnotherCommandInAnotherTerm(t *testing.T) {
	c := commands(t, stubborn)
	c.takes(1)
	first := c.pid("pid")
	c.takes(3)
	c.line("term-3")
	if lives(first) {
		t.Error("two at work")
	}
}

func TestExecStartsNothingThatItWouldHaveToStopAtOnce(t *testing.T) {
	for what, c := range map[string]struct{ valid, held time.Duration }{
		"no term":                  {0, 0},
		"a handover":               {0, testTerm},
		"a term that is over":      {-time.Second, -time.Second},
		"a term that nearly is so": {testGrace, testGrace},
	} {
		told := newTold()
		told.is(func(s *lease.State) {
			s.ValidUntil, s.HeldUntil = told.clock.Read().Add(c.valid), told.clock.Read().Add(c.held)
			if c.valid == 0 {
				s.ValidUntil = 0
			}
		})
		e := newExecution(&command{argv: []string{"true"}, grace: testGrace}, told, nil, "", discard)
		if wake := e.step(told.clock.Now()); wake != boottime.Never || e.tree != nil {
			t.Errorf("%s: started", what)
		}
	}
}

func TestExecEndsWithACommandThatEndsByItself(t *testing.T) {
	c := commands(t, announces+`setsid sleep 1000 & echo $! >"$1/daemon"; exit 3`)
	c.takes(1)
	if exit := <-c.exits; exit.Code != 3 || exit.Err != nil {
		t.Errorf("%+v", exit)
	}
	c.awaitsIdle()
	if lives(c.pid("daemon")) {
		t.Error("it left a process behind")
	}
	c.takes(1)
	c.takes(2)
	if got := strings.Count(c.log.String(), "Starting"); got != 1 || !c.isIdle() {
		t.Errorf("%d started", got)
	}
}

func TestExecEndsWhereTheCommandCantBeStarted(t *testing.T) {
	c := commandsAs(t, t.TempDir(), "no-such-command")
	c.takes(1)
	if exit := <-c.exits; exit.Code != 127 || exit.Err == nil {
		t.Errorf("%+v", exit)
	}
	c.awaitsIdle()
}

// The whole of exec at an API server. A stop lets the command take its time, and the
// Lease is released when it has ended.
func TestExecReleasesWhenTheCommandHasEnded(t *testing.T) {
	dir := t.TempDir()
	r := begin(t, []string{"sh", "-c", politely, "sh", dir}, "LEASE_DURATION=3s")
	r.awaits(t, "the command", func() bool { return exists(filepath.Join(dir, "pid")) })
	r.stop()
	r.awaits(t, "SIGTERM", func() bool { return read(filepath.Join(dir, "asked")) != "" })
	// longer than the Lease lasts without renewals
	renewed := r.api.Get("default", "app").Spec.RenewTime.Time
	r.awaits(t, "renewals", func() bool {
		return r.api.Get("default", "app").Spec.RenewTime.Sub(renewed) > 4*time.Second
	})
	if holder := *r.api.Get("default", "app").Spec.HolderIdentity; holder != "me" || exists(r.dir.path) {
		t.Errorf("holder %q while the command runs; the status file is there: %v", holder, exists(r.dir.path))
	}
	write(t, filepath.Join(dir, "end"), "")
	check(t, r.ended(t))
	if holder := *r.api.Get("default", "app").Spec.HolderIdentity; holder != "" {
		t.Errorf("holder %q", holder)
	}
}

func TestExecTakesTheExitCodeOfItsCommandAndReleases(t *testing.T) {
	for script, code := range map[string]int{"exit 3": 3, "kill -9 $$": 137, "exit 0": 0} {
		r := begin(t, []string{"sh", "-c", script})
		err := r.ended(t)
		var exit *CommandExit
		if errors.As(err, &exit) != (code != 0) || exit != nil && exit.Code != code {
			t.Errorf("%s: %v", script, err)
		}
		if holder := *r.api.Get("default", "app").Spec.HolderIdentity; holder != "" {
			t.Errorf("%s: holder %q", script, holder)
		}
	}
}

func TestExecDoesNotCampaignForACommandThatIsNotThere(t *testing.T) {
	r := begin(t, []string{"no-such-command"})
	var exit *CommandExit
	if err := r.ended(t); !errors.As(err, &exit) || exit.Code != 127 {
		t.Errorf("%v", err)
	}
	if l := r.api.Get("default", "app"); l != nil {
		t.Errorf("it took the Lease: %+v", l.Spec)
	}
}

// The API server is lost: the command, which ignores SIGTERM and leaves a daemon, is
// gone before another replica may lead. When the API server is back, the command runs
// again.
func TestExecOutlivesNoTerm(t *testing.T) {
	dir := t.TempDir()
	r := begin(t, []string{"sh", "-c", `
		trap 'echo 1 >"$1/asked"' TERM
		echo $$ >>"$1/pids"
		setsid sh -c 'trap "" TERM; while :; do cut -d" " -f1 /proc/uptime >"$1/now" && mv "$1/now" "$1/last"; done' sh "$1" &
		while :; do sleep 0.01; done`, "sh", dir}, "LEASE_DURATION=6s", "STOP_GRACE=1s")
	var stored atomic.Int64
	r.api.OnStore(func(string, *coordinationv1.Lease) { stored.Store(int64(boottime.System().Now())) })
	r.awaits(t, "the daemon's work", func() bool { return exists(filepath.Join(dir, "last")) })
	r.awaits(t, "a renewal", func() bool { return stored.Load() != 0 })
	r.api.OnRequest(func(leasetest.Request) leasetest.Fault { return leasetest.Fault{DropRequest: true} })
	r.awaits(t, "SIGTERM", func() bool { return exists(filepath.Join(dir, "asked")) })
	r.awaits(t, "the end of the term", func() bool { return strings.Contains(r.log.String(), "No longer leading") })
	free := boottime.Moment(stored.Load()).Add(6 * time.Second)
	last, err := strconv.ParseFloat(read(filepath.Join(dir, "last")), 64)
	check(t, err)
	r.awaits(t, "the end of the Lease", func() bool { return boottime.System().Now() > free })
	again, err := strconv.ParseFloat(read(filepath.Join(dir, "last")), 64)
	check(t, err)
	if again != last || last > free.Sub(0).Seconds() {
		t.Errorf("work at %v and at %v; others may lead from %v on", last, again, free)
	}
	r.api.OnRequest(nil)
	r.awaits(t, "another command", func() bool { return len(strings.Fields(read(filepath.Join(dir, "pids")))) == 2 })
	check(t, r.execution.Load().close(context.Background()))
	r.stop()
	check(t, r.ended(t))
}

func TestStopGrace(t *testing.T) {
	for _, c := range []struct {
		environ []string
		grace   time.Duration
		refused string
	}{
		{nil, time.Second, ""},
		{[]string{"STOP_GRACE=3s"}, 3 * time.Second, ""},
		{[]string{"STOP_GRACE=3001ms"}, 0, "STOP_GRACE=3.001s: with RENEW_INTERVAL=5s and RETRY_PERIOD=2s added, must be at most RENEW_DEADLINE=10s"},
		{[]string{"LEASE_DURATION=1s"}, 2 * time.Second / 30, ""},
		{[]string{"RENEW_INTERVAL=8s"}, 0, "STOP_GRACE=1s (the default, 1/10 of RENEW_DEADLINE): with RENEW_INTERVAL=8s"},
		{[]string{"STOP_GRACE=-1s"}, 0, "STOP_GRACE=-1s: must be at least 20ms"},
		{[]string{"STOP_GRACE=1ms"}, 0, "must be at least 20ms"},
		{[]string{"LEAD_WHILE=lock"}, 0, "no replica would ever have a living app"},
		{[]string{"STOP_GRACE=1"}, 0, `STOP_GRACE="1": must be a duration`},
		{[]string{"RENEW_DEADLINE=20s"}, 0, "RENEW_DEADLINE=20s: must be less than LEASE_DURATION"},
	} {
		cfg, err := LoadConfig(append(required, c.environ...))
		err = errors.Join(err, cfg.ForCommand([]string{"true"}, nil))
		switch {
		case c.refused != "":
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%v: %v does not say %q", c.environ, err, c.refused)
			}
		case err != nil || cfg.command.grace.Round(time.Millisecond) != c.grace.Round(time.Millisecond):
			t.Errorf("%v: %v, %v", c.environ, cfg.command.grace, err)
		}
	}
	if err := (&Config{}).ForCommand(nil, nil); err == nil {
		t.Error("no command is a command")
	}
}

func TestSettingsOfTheOtherModeAreWarnedOf(t *testing.T) {
	for _, c := range []struct {
		environ string
		exec    bool
		says    string
	}{
		{"STOP_GRACE=1s", false, "STOP_GRACE applies to exec alone"},
		{"RELEASE_DELAY=1s", true, "RELEASE_DELAY does not apply to exec"},
		{"STOP_GRACE=1s", true, ""},
		{"RELEASE_DELAY=1s", false, ""},
	} {
		cfg, err := LoadConfig(append(required, c.environ))
		check(t, err)
		if c.exec {
			check(t, cfg.ForCommand([]string{"true"}, nil))
		}
		election := cfg.Election()
		election.Complete()
		var log leasetest.Buffer
		(&Sidecar{cfg: cfg, dir: &statusDir{}}).warn(logTo(&log), &election)
		if c.says == "" && strings.Contains(log.String(), "no meaning") || !strings.Contains(log.String(), c.says) {
			t.Errorf("%+v: %s", c, log.String())
		}
	}
}

// A copy of a program runs, replaces the one before, and leaves nothing beside it.
func TestInstall(t *testing.T) {
	shell, err := exec.LookPath("sh")
	check(t, err)
	dir := filepath.Join(t.TempDir(), "made")
	for range 2 {
		path, err := install(shell, dir)
		check(t, err)
		out, err := exec.Command(path, "-c", "echo runs").Output()
		check(t, err)
		if string(out) != "runs\n" || path != filepath.Join(dir, Program) {
			t.Errorf("%s says %q", path, out)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v %v", entries, err)
	}
	if _, err := install(shell, filepath.Join(dir, Program)); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("into a file: %v", err)
	}
	check(t, os.Remove(filepath.Join(dir, Program)))
	check(t, os.Mkdir(filepath.Join(dir, Program), 0o755))
	if _, err := install(shell, dir); err == nil {
		t.Error("over a directory")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}
