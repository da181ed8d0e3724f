// Package supervisor runs one command, and everything that the command starts, as
// one tree of processes that can be ended as a whole. It needs Linux.
//
// # What belongs to the tree
//
// The command runs in a session of its own. The supervisor is a child subreaper:
// a process whose parent has ended becomes its child, whatever session and process
// group it has moved to. So each descendant of the supervisor that is not of the
// supervisor's own session belongs to the tree. A program that this process starts
// itself, such as a credential plugin, is of its session and is left alone.
//
// As PID 1 the supervisor also adopts what `kubectl exec` leaves behind. It reaps
// that like the rest, and ends it with the tree.
//
// # When the supervisor dies
//
// The kernel then sends SIGKILL to the command (prctl(2), PR_SET_PDEATHSIG), but
// not to what the command has started. As PID 1 of a container the supervisor
// takes all of it along. Elsewhere the container runtime or systemd ends the rest
// of the cgroup. Without any of these, such processes live on, and so does a
// command that is set-user-ID: the kernel takes the signal away from it.
//
// # What is not promised
//
//   - That a tree is gone by some moment. A process in an uninterruptible sleep ends
//     when the kernel lets it. [Tree.Gone] waits as long as that takes.
//   - Anything about processes that run elsewhere on the command's behalf, such as a
//     container that it has asked a container engine for.
package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
)

// Exit is how a command ended.
type Exit struct {
	// Code is what a shell would report: the exit code, 128+n where signal n killed
	// the command, 127 where there is no such command, 126 where it can't be run.
	Code int
	// Err is why the command did not run. Nil: it did.
	Err error
}

// String says it in words.
func (e Exit) String() string {
	if e.Err != nil {
		return e.Err.Error()
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// errStopped says that the command was stopped before it had begun.
var errStopped = errors.New("stopped before it was started")

// Find looks the command up as a shell does. The Exit that it returns otherwise
// says why there is none.
func Find(command string) (path string, why *Exit) {
	path, err := exec.LookPath(command)
	if err != nil {
		return "", notStarted(command, err)
	}
	return path, nil
}

// notStarted is the Exit of a command that can't be started.
func notStarted(command string, err error) *Exit {
	code := 126
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code = 127
	}
	var named *exec.Error
	if errors.As(err, &named) {
		err = named.Err
	}
	return &Exit{Code: code, Err: fmt.Errorf("the command %q can't be started: %w", command, err)}
}
