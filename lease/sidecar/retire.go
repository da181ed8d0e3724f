package sidecar

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// RetireSignal tells the sidecar that its pod is being deleted: the command retire sends
// it, which the pod's preStop hook runs. It is one that the kernel and Go's runtime leave
// to programs.
const RetireSignal = syscall.Signal(35)

// retiree is what is told of the pod's deletion: *lease.Elector.
type retiree interface {
	Election
	Retire()
	StepDown(reason string)
}

// retire waits until it is told of the pod's deletion. From then on this replica makes no
// claim, and a leader hands over once the work lock can tell when its app has stopped. An
// app without work lock and alive lock has time until the SIGTERM, which comes after its
// end (A7).
func (l *workLock) retire(ctx context.Context, told <-chan os.Signal, election retiree) {
	select {
	case <-told:
	case <-ctx.Done():
		return
	}
	election.Retire()
	looks := time.NewTicker(lookForAppEvery)
	defer looks.Stop()
	for ctx.Err() == nil {
		if leadsNow(election) {
			if !l.used.Load() {
				_, _ = l.look(ctx)
			}
			if l.used.Load() {
				election.StepDown("this pod is being deleted")
				return
			}
		}
		select {
		case <-looks.C:
		case <-ctx.Done():
		}
	}
}

// retireLimit is how long Retire waits for a process that has just started, and for its
// word that it was told. retireAgain is how often it tells it.
const (
	retireLimit = 5 * time.Second
	retireAgain = 50 * time.Millisecond
)

// Retire sends the retire signal to the sidecar of this container, until that says that it
// was told: one that has just started does not listen yet. It returns the exit code.
func Retire(cfg *Config, stderr io.Writer) int {
	err := errors.New("no such process")
	for start := time.Now(); err != nil && time.Since(start) < retireLimit; {
		if err = cfg.retire(); err != nil {
			time.Sleep(retireAgain)
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "the sidecar can't be told that its pod is being deleted: %v; run this command in its container\n", err)
		return 1
	}
	return 0
}

// retire sends the signal once, and returns nil once the process says that it was told.
// One whose port is not known can't be asked.
func (c *Config) retire() error {
	pids, err := sidecarsOf(c)
	if err == nil && len(pids) == 0 {
		err = fmt.Errorf("no process of Lease %s/%s is seen in /proc", c.Namespace, c.LeaseName)
	}
	for _, pid := range pids {
		if !catches(pid) {
			err = errors.Join(err, fmt.Errorf("process %d does not listen to signals yet", pid))
			continue
		}
		err = errors.Join(err, syscall.Kill(pid, RetireSignal))
	}
	if err != nil || c.HealthPort == 0 {
		return err
	}
	body, err := ask(c.HealthPort)
	if err != nil {
		return fmt.Errorf("the sidecar did not confirm it: %w", err)
	}
	var is standing
	if err := json.Unmarshal(body, &is); err != nil || !is.Retired {
		return errors.Join(errors.New("it does not say that it was told"), err)
	}
	return nil
}

// catches says whether a process has a handler for the retire signal, which would end it
// otherwise.
func catches(pid int) bool {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if mask, found := strings.CutPrefix(line, "SigCgt:"); found {
			caught, _ := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			return caught&(1<<(RetireSignal-1)) != 0
		}
	}
	return false
}

// sidecarsOf are the processes that run this very program for the same Lease, this one
// apart. Containers that share a PID namespace may have others.
func sidecarsOf(cfg *Config) (pids []int, err error) {
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, dir := range all {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if exe, statErr := os.Stat(dir + "/exe"); err != nil || statErr != nil || pid == os.Getpid() || !os.SameFile(exe, own) {
			continue
		}
		if environ, err := os.ReadFile(dir + "/environ"); err == nil && cfg.isThatOf(strings.Split(string(environ), "\x00")) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// isThatOf says whether a process with this environment takes part in the same election
// with the same status file.
func (c *Config) isThatOf(environ []string) bool {
	other, _ := LoadConfig(environ)
	return other.LeaseName == c.LeaseName && other.Namespace == c.Namespace && other.StatusDir == c.StatusDir && other.HealthPort == c.HealthPort
}
