package supervisor

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Supervisor runs one tree at a time. A process has one Supervisor at a time: it reaps
// every orphan that the process adopts.
type Supervisor struct {
	session  int // of this process
	children chan os.Signal
	closed   chan struct{}
	ended    chan struct{} // closed when reap has returned

	reaping sync.Mutex // held while a child is forked or reaped, so that each one that is reaped is known
	tree    *Tree      // guarded by reaping; nil: none
}

// orphanDelay is how long ended orphans may wait before they are reaped. It bounds
// what a command that leaves many behind costs.
const orphanDelay = 50 * time.Millisecond

// New makes this process a child subreaper, which reaps from now on.
func New() (*Supervisor, error) {
	self, err := readStat("self")
	if err == nil && self.pid != os.Getpid() {
		err = errors.New("it shows another PID namespace")
	}
	if err != nil {
		return nil, fmt.Errorf("running a command needs /proc: %w; mount procfs there", err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("becoming a child subreaper: %w", err)
	}
	s := &Supervisor{session: self.session, children: make(chan os.Signal, 1), closed: make(chan struct{}), ended: make(chan struct{})}
	signal.Notify(s.children, syscall.SIGCHLD)
	go s.reap()
	return s, nil
}

// Close ends the reaping. Another Supervisor may follow where no tree is left.
func (s *Supervisor) Close() {
	signal.Stop(s.children)
	close(s.closed)
	<-s.ended
}

// reap waits for children to end. It learns of the command's end at once, and
// collects orphans a few times a second.
func (s *Supervisor) reap() {
	defer close(s.ended)
	var orphans <-chan time.Time
	for {
		select {
		case <-s.children:
			s.reapCommand()
			if orphans == nil {
				orphans = time.After(orphanDelay)
			}
		case <-orphans:
			orphans = nil
			s.reapOrphans()
		case <-s.closed:
			return
		}
	}
}

func (s *Supervisor) reapCommand() {
	s.reaping.Lock()
	defer s.reaping.Unlock()
	if s.tree != nil {
		s.tree.reap()
	}
}

func (s *Supervisor) reapOrphans() {
	s.reaping.Lock()
	defer s.reaping.Unlock()
	_, dead, err := s.look()
	if err != nil {
		return // the next SIGCHLD tries again
	}
	s.collect(dead)
}

// collect reaps children that have ended. s.reaping is held.
func (s *Supervisor) collect(dead []process) {
	for _, p := range dead {
		if s.tree != nil && s.tree.is(p.pid) {
			s.tree.reap()
			continue
		}
		_, _ = unix.Wait4(p.pid, nil, unix.WNOHANG|unix.WALL, nil)
	}
}

// look returns the processes of the tree that live, and the children among them
// that have ended and wait to be reaped.
func (s *Supervisor) look() (alive, dead []process, err error) {
	all, err := processes()
	if err != nil {
		return nil, nil, err
	}
	self := os.Getpid()
	for _, p := range tree(all, self, s.session) {
		switch {
		case !p.dead():
			alive = append(alive, p)
		case p.parent == self:
			dead = append(dead, p)
		}
	}
	return alive, dead, nil
}

// none says whether no process of the tree is left. Each descendant of this process
// is one through a child, so having no child is having no descendant: the kernel
// tells that of one moment, which a walk through /proc can't. Where a program of
// our own session is our child, two looks at /proc have to do.
func (s *Supervisor) none() bool {
	for range 2 {
		if errors.Is(unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil), unix.ECHILD) {
			return true
		}
		all, err := processes()
		if err != nil {
			return false
		}
		if len(tree(all, os.Getpid(), s.session)) > 0 || !hasOwn(all, os.Getpid(), s.session) {
			return false // there is a child. One that /proc hides counts
		}
	}
	return true
}
