package sidecar

import (
	"context"
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

// retireAgain is how long a process may take to listen for signals.
const retireAgain = 50 * time.Millisecond

// Retire sends the retire signal to the sidecar of this container. It returns the exit
// code.
func Retire(cfg *Config, stderr io.Writer) int {
	pids, err := sidecarsOf(cfg)
	for _, pid := range pids {
		err = errors.Join(err, syscall.Kill(pid, RetireSignal))
	}
	time.Sleep(retireAgain) // one that has just started may have missed it
	for _, pid := range pids {
		_ = syscall.Kill(pid, RetireSignal)
	}
	if err == nil && len(pids) == 0 {
		err = fmt.Errorf("no process of Lease %s/%s is seen in /proc", cfg.Namespace, cfg.LeaseName)
	}
	if err != nil {
		fmt.Fprintf(stderr, "the sidecar can't be told that its pod is being deleted: %v; run this command in its container\n", err)
		return 1
	}
	return 0
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
