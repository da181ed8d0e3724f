package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// App is a process that has the alive lock beside a status file, for LEAD_WHILE=lock. It
// does nothing else.
type App struct {
	cmd *exec.Cmd
}

// StartApp starts one for the status file. It has the lock when StartApp returns.
func StartApp(statusFile string) (*App, error) {
	path := statusFile + ".alive"
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	a := &App{exec.Command("sleep", "3600")}
	a.cmd.ExtraFiles = []*os.File{f} // the lock is the open file's, so the process has it too
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := a.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting an app for %s: %w", statusFile, err)
	}
	return a, nil
}

// Kill ends the app as SIGKILL does. One that has ended is no error.
func (a *App) Kill() error {
	err := a.cmd.Process.Kill()
	_ = a.cmd.Wait()
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}
