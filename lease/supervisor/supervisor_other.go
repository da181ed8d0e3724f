//go:build !linux

package supervisor

import (
	"errors"
	"os"
)

// Supervisor can't be had here: only Linux has child subreapers.
type Supervisor struct{}

// New says so.
func New() (*Supervisor, error) {
	return nil, errors.New("running a command while leading needs Linux")
}

// Close does nothing.
func (*Supervisor) Close() {}

// Start returns a Tree of nothing.
func (*Supervisor) Start([]string, []string) *Tree { return &Tree{} }

// Tree is empty.
type Tree struct{}

// Ended never ends.
func (*Tree) Ended() <-chan struct{} { return nil }

// Exit says that nothing ran.
func (*Tree) Exit() Exit { return Exit{Code: 126, Err: errStopped} }

// Gone never ends.
func (*Tree) Gone() <-chan struct{} { return nil }

// Signal does nothing.
func (*Tree) Signal(os.Signal) {}

// Stop does nothing.
func (*Tree) Stop() {}

// Kill does nothing.
func (*Tree) Kill() {}

// Left describes nothing.
func (*Tree) Left() string { return "" }
