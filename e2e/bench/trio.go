package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/leader-elector/leader-elector/e2e/harness"
)

// system is one of those compared.
type system struct {
	Name   string
	binary string
	env    []string
}

// trio is three replicas of a system, seen as an app sees them: by their files.
type trio struct {
	system
	lease, kubeconfig string
	dir               string
	duration          time.Duration
	replicas          []*harness.Sidecar
	watcher           *fsnotify.Watcher
}

// newTrio prepares an election of its own, without replicas yet.
func (b *bench) newTrio(ctx context.Context, s system, duration time.Duration) (*trio, error) {
	b.elections++
	t := &trio{system: s, lease: fmt.Sprintf("bench-%d", b.elections), duration: duration}
	t.dir = filepath.Join(b.dir, t.lease)
	var err error
	if t.kubeconfig, err = b.controlPlane.Account(ctx, t.lease, harness.Rules(t.lease, true, false)); err != nil {
		return nil, err
	}
	t.watcher, err = fsnotify.NewBufferedWatcher(1000)
	return t, err
}

// start starts the i-th replica, for the first time or again.
func (t *trio) start(i int) error {
	identity := fmt.Sprintf("%s-%d", t.lease, i)
	dir := filepath.Join(t.dir, identity)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := t.watcher.Add(dir); err != nil {
		return err
	}
	env := append([]string{"KUBECONFIG=" + t.kubeconfig, "NAMESPACE=default", "LEASE_NAME=" + t.lease, "LEASE_DURATION=" + t.duration.String()}, t.env...)
	r, err := harness.StartSidecar(t.binary, dir, identity, env...)
	if err != nil {
		return err
	}
	if i < len(t.replicas) {
		t.replicas[i] = r
	} else {
		t.replicas = append(t.replicas, r)
	}
	return nil
}

// startAll starts three replicas and returns the one that leads.
func (t *trio) startAll(ctx context.Context) (leader int, err error) {
	for i := range 3 {
		if err := t.start(i); err != nil {
			return 0, err
		}
	}
	leader, _, err = t.appears(ctx)
	return leader, err
}

// appears waits for the next file, and says whose it is and since when.
func (t *trio) appears(ctx context.Context) (replica int, at time.Time, err error) {
	for limit := time.After(4 * t.duration); ; {
		e, err := t.next(ctx, limit)
		if err != nil || e.op.Has(fsnotify.Create) {
			return e.replica, e.at, err
		}
	}
}

// handover waits for one file to go and another to come, in whichever order:
// client-go gives the Lease up before it says so.
func (t *trio) handover(ctx context.Context) (gone time.Time, replica int, appeared time.Time, err error) {
	for limit := time.After(4 * t.duration); gone.IsZero() || appeared.IsZero(); {
		e, err := t.next(ctx, limit)
		switch {
		case err != nil:
			return gone, replica, appeared, err
		case e.op.Has(fsnotify.Create):
			replica, appeared = e.replica, e.at
		case e.op.Has(fsnotify.Remove):
			gone = e.at
		}
	}
	return gone, replica, appeared, nil
}

// change is a status file's appearance or end.
type change struct {
	replica int
	op      fsnotify.Op
	at      time.Time
}

func (t *trio) next(ctx context.Context, limit <-chan time.Time) (change, error) {
	for {
		select {
		case <-ctx.Done():
			return change{}, ctx.Err()
		case <-limit:
			return change{}, fmt.Errorf("%s: nothing happens\n%s", t.Name, t.replicas[0].Log())
		case err := <-t.watcher.Errors:
			return change{}, err
		case e := <-t.watcher.Events:
			at := time.Now()
			for i, r := range t.replicas {
				if e.Name == r.File && e.Op&(fsnotify.Create|fsnotify.Remove) != 0 {
					return change{i, e.Op, at}, nil
				}
			}
		}
	}
}

// close kills what runs.
func (t *trio) close() {
	for _, r := range t.replicas {
		_ = r.Stop(syscall.SIGKILL)
	}
	_ = t.watcher.Close()
}
