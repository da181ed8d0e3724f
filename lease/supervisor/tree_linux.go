package supervisor

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// phase is how far a command has come.
type phase int

const (
	preparing phase = iota // the file is being looked for: nothing is started
	forking                // it is being started
	running
	ended
)

// Tree is a command and everything that it has started.
type Tree struct {
	s    *Supervisor
	argv []string
	env  []string

	mu      sync.Mutex // guards the fields below. Nothing waits under it
	phase   phase
	pid     int              // of the command; not another's while it is running
	pending []syscall.Signal // sent while it was forking
	exit    Exit
	killer  sync.Once

	ended chan struct{}
	gone  chan struct{}
	left  atomic.Pointer[[]process] // by the last look
}

// Start runs argv with the environment env and this process's standard files. It
// returns at once: looking the command up may wait for a file system. The tree
// before must be gone.
func (s *Supervisor) Start(argv, env []string) *Tree {
	t := &Tree{s: s, argv: argv, env: env, ended: make(chan struct{}), gone: make(chan struct{})}
	go t.run()
	return t
}

// run keeps the thread that has forked the command until the tree is gone: the
// kernel takes the thread's end for the parent's death.
func (t *Tree) run() {
	path, why := Find(t.argv[0])
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if t.begin(why) {
		t.fork(path)
	}
	<-t.gone
}

// begin says whether to fork.
func (t *Tree) begin(why *Exit) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.phase == ended: // stopped in the meantime
		return false
	case why != nil:
		t.finish(*why)
		return false
	}
	t.phase = forking
	return true
}

// fork waits until the new process has become the command. Its parent-death signal
// and its session are set by then.
func (t *Tree) fork(path string) {
	t.s.reaping.Lock()
	defer t.s.reaping.Unlock()
	pid, err := syscall.ForkExec(path, t.argv, &syscall.ProcAttr{
		Env: t.env, Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.finish(*notStarted(t.argv[0], err))
		return
	}
	t.s.tree, t.pid, t.phase = t, pid, running
	for _, number := range t.pending {
		t.signal(number)
	}
}

// finish notes the command's end. What it has left behind is killed, as a container
// runtime does when the first process of a container has ended. t.mu is held.
func (t *Tree) finish(e Exit) {
	t.phase, t.exit = ended, e
	close(t.ended)
	t.killer.Do(func() { go t.kill() })
}

// reap notes the command's end if it has ended. s.reaping is held.
func (t *Tree) reap() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.phase != running {
		return
	}
	var status unix.WaitStatus
	pid, err := unix.Wait4(t.pid, &status, unix.WNOHANG, nil)
	switch {
	case err == unix.EINTR || err == nil && pid == 0:
	case err != nil:
		t.finish(Exit{Code: 1, Err: fmt.Errorf("the exit status of the command is lost: %w", err)})
	case status.Signaled():
		t.finish(Exit{Code: 128 + int(status.Signal())})
	default:
		t.finish(Exit{Code: status.ExitStatus()})
	}
}

func (t *Tree) is(pid int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.phase == running && t.pid == pid
}

// Ended is closed when the command itself has ended. The rest of the tree is then
// being killed.
func (t *Tree) Ended() <-chan struct{} { return t.ended }

// Exit says how the command ended. It is of no meaning before Ended is closed.
func (t *Tree) Exit() Exit {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.exit
}

// Gone is closed when the command has ended and no process that it has started is
// left.
func (t *Tree) Gone() <-chan struct{} { return t.gone }

// Signal sends a signal to the command's process group. A command that has not
// begun, or has ended, gets none.
func (t *Tree) Signal(sig os.Signal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if number, ok := sig.(syscall.Signal); ok {
		t.signal(number)
	}
}

// Stop asks the command to end: SIGTERM to its process group, and SIGCONT so that
// one that is stopped hears it. A command that has not begun does not begin.
func (t *Tree) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.phase == preparing {
		t.finish(Exit{Code: 126, Err: errStopped})
	}
	t.signal(unix.SIGTERM)
	t.signal(unix.SIGCONT)
}

// signal reaches the command's first group, and the command where it has moved to
// another. It is not reaped, so its pid is no other's. t.mu is held.
func (t *Tree) signal(number syscall.Signal) {
	switch t.phase {
	case forking:
		t.pending = append(t.pending, number)
		return
	case preparing, ended:
		return
	}
	_ = unix.Kill(-t.pid, number)
	if group, err := unix.Getpgid(t.pid); err == nil && group != t.pid {
		_ = unix.Kill(t.pid, number)
	}
}

// Kill ends every process of the tree by SIGKILL. It returns at once; Gone is
// closed when none is left.
func (t *Tree) Kill() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.phase == preparing {
		t.finish(Exit{Code: 126, Err: errStopped})
	}
	t.killer.Do(func() { go t.kill() })
}

// Pauses between looks that find nothing new.
const (
	shortestPause = time.Millisecond
	longestPause  = 50 * time.Millisecond
)

// kill looks and kills until nothing is left. A process that was killed can't fork,
// but one that has not been seen yet can. So as long as looks find new processes,
// the next one follows at once.
func (t *Tree) kill() {
	defer close(t.gone)
	seen, pause := map[int]uint64{}, shortestPause
	for !t.over() {
		alive, dead, _ := t.s.look()
		found := false
		for _, p := range alive {
			found = found || seen[p.pid] != p.started
			seen[p.pid] = p.started
			p.kill()
		}
		t.left.Store(&alive)
		if t.s.reaping.TryLock() { // else a fork is under way, or another reaps
			t.s.collect(dead)
			t.s.reaping.Unlock()
		}
		if found {
			pause = shortestPause
			continue
		}
		time.Sleep(pause)
		pause = min(2*pause, longestPause)
	}
}

// over says whether the tree is gone, and forgets it then.
func (t *Tree) over() bool {
	t.mu.Lock()
	done := t.phase == ended
	t.mu.Unlock()
	if !done || !t.s.reaping.TryLock() {
		return false
	}
	defer t.s.reaping.Unlock()
	if !t.s.none() {
		return false
	}
	if t.s.tree == t {
		t.s.tree = nil
	}
	return true
}

// kill sends SIGKILL to the process, unless its pid is another's by now. The group
// of a child goes with it in one step, in which none of its members can fork.
func (p process) kill() {
	handle, err := os.FindProcess(p.pid) // refers to this process, also when another has its pid
	if err != nil {
		return
	}
	defer func() { _ = handle.Release() }()
	now, err := readStat(strconv.Itoa(p.pid))
	if err != nil || now.started != p.started {
		return
	}
	if now.parent == os.Getpid() && now.group > 1 { // nothing else reaps a child, so that its group keeps its number
		_ = unix.Kill(-now.group, unix.SIGKILL)
	}
	_ = handle.Signal(unix.SIGKILL)
}

// Left describes what is left of a tree that is being killed, by the last look.
func (t *Tree) Left() string {
	alive := t.left.Load()
	if alive == nil || len(*alive) == 0 {
		return "no process seen"
	}
	var text strings.Builder
	for i, p := range *alive {
		if i == 8 {
			fmt.Fprintf(&text, " and %d more", len(*alive)-i)
			break
		}
		fmt.Fprintf(&text, "%s%d (%s, state %c)", map[bool]string{true: ", "}[i > 0], p.pid, p.name, p.state)
	}
	return text.String()
}
