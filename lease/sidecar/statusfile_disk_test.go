package sidecar

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A disk that is full, read-only or gone: who can't write the file does not
// lead, who can't remove it keeps the Lease.
func TestS11_DisksThatFail(t *testing.T) {
	for _, failure := range []error{syscall.ENOSPC, syscall.EROFS, syscall.EIO, syscall.ESTALE} {
		t.Run(failure.Error()+", writing", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := follow(t)
				f.failsWith(failure)
				time.Sleep(6 * time.Second) // past the next renewal
				synctest.Wait()
				if l := f.api.Get("default", "app"); *l.Spec.HolderIdentity != "" && f.elector.IsLeader() {
					t.Errorf("leads on: %+v", l.Spec)
				}
				if info, err := os.Stat(f.Path); err == nil && info.ModTime().After(time.Now().Add(10*time.Second)) {
					t.Errorf("the file is valid until %v", info.ModTime())
				}
				f.failsWith(nil)
				time.Sleep(40 * time.Second)
				synctest.Wait()
				if !f.elector.IsLeader() || !exists(f.Path) || f.stuck() != nil {
					t.Errorf("leads %v, file %v, %v", f.elector.IsLeader(), exists(f.Path), f.stuck())
				}
			})
		})
		t.Run(failure.Error()+", removing", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := follow(t)
				f.failsWith(failure)
				gone := make(chan error, 1)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				f.elector.StepDown("the test says so")
				synctest.Wait()
				go func() { gone <- f.Gone(ctx) }()
				time.Sleep(30 * time.Second)
				synctest.Wait()
				select {
				case err := <-gone:
					t.Fatalf("taken for removed: %v", err)
				default:
				}
				if f.stuck() == nil {
					t.Error("health does not fail")
				}
				f.failsWith(nil)
				if err := <-gone; err != nil || exists(f.Path) && !f.elector.IsLeader() {
					t.Errorf("%v, file %v", err, exists(f.Path))
				}
			})
		})
	}
}

// A place that can't be made again: a regular file stands where its directory was.
func TestS11_AFileThatCantBeWrittenStepsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		dir := filepath.Dir(f.Path)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		write(t, dir, "not a directory")
		passes(2 * time.Second)
		if f.holder() != "" || f.elector.IsLeader() {
			t.Fatalf("holder %q", f.holder())
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		passes(15 * time.Second)
		if !f.elector.IsLeader() || !exists(f.Path) {
			t.Fatal("it does not lead again after a lease duration")
		}
	})
}

// An app may still read the directory, by a mount of it.
func TestS1_AFileInADirectoryThatWasMovedAwayGoesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		dir := filepath.Dir(f.Path)
		check(t, os.Rename(dir, dir+".moved"))
		passes(2 * time.Second) // it is made again
		moved := filepath.Join(dir+".moved", filepath.Base(f.Path))
		if !exists(moved) || !exists(f.Path) {
			t.Fatalf("there: %v, %v", exists(moved), exists(f.Path))
		}
		f.loseAPI()
		passes(11 * time.Second)
		if exists(f.Path) || exists(moved) || exists(moved+".until") {
			t.Error("the files in the moved directory stay")
		}
	})
}

// A lone replica whose directory someone removes leads on.
func TestS11_AVanishedDirectoryIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		if err := os.RemoveAll(filepath.Dir(f.Path)); err != nil {
			t.Fatal(err)
		}
		passes(time.Second + time.Millisecond)
		if !exists(f.Path) || !exists(f.Path+".until") {
			t.Fatal("the files are not back within a second")
		}
		if l := f.api.Get("default", "app"); f.holder() != "me" || *l.Spec.LeaseTransitions != 0 || !f.elector.IsLeader() {
			t.Fatalf("it stepped down: %+v", l.Spec)
		}
	})
}

// Something else in the place of the status files costs no leadership.
func TestS11_WhateverIsInTheFilesPlacesIsReplaced(t *testing.T) {
	for _, name := range []string{"", ".tmp", ".until", ".until.tmp"} {
		for kind, put := range foreign {
			t.Run(kind+" in place of "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := follow(t)
					_ = os.Remove(f.Path)
					_ = os.Remove(f.Path + ".until")
					put(t, f.Path+name)
					passes(time.Second + time.Millisecond)
					info, err := os.Lstat(f.Path)
					if err != nil || !info.Mode().IsRegular() || read(f.Path) != "me" || !f.elector.IsLeader() {
						t.Fatalf("%v, leads: %v, %v", info, f.elector.IsLeader(), err)
					}
					if info, err := os.Lstat(f.Path + ".until"); err != nil || !info.Mode().IsRegular() {
						t.Fatalf("%v %v", info, err)
					}
				})
			})
		}
	}
}

// foreign makes what an app may put in the place of a file of ours.
var foreign = map[string]func(t *testing.T, path string){
	"FIFO":           func(t *testing.T, path string) { check(t, syscall.Mkfifo(path, 0o666)) },
	"directory":      func(t *testing.T, path string) { check(t, os.MkdirAll(path, 0o755)) },
	"full directory": func(t *testing.T, path string) { check(t, os.MkdirAll(filepath.Join(path, "x"), 0o755)) },
	"dangling link":  func(t *testing.T, path string) { check(t, os.Symlink("/nonexistent/x", path)) },
	"link":           func(t *testing.T, path string) { check(t, os.Symlink("/etc/passwd", path)) },
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A leader whose file is not written, because the file system hangs, gives the
// term up after 2 s, and the next replica leads. Health says why.
func TestS11_AFirstWriteThatHangsHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		f.elector.StepDown("the test says so")
		synctest.Wait()
		answer := f.hangs()
		defer answer()
		var seen time.Duration
		for start := time.Now(); f.holder() != "me"; seen = time.Since(start) {
			passes(time.Millisecond)
			if seen > time.Minute {
				t.Fatal("it does not claim again")
			}
		}
		passes(2*time.Second + 10*time.Millisecond)
		if f.elector.IsLeader() || f.holder() != "" {
			t.Fatalf("leads %v, holder %q", f.elector.IsLeader(), f.holder())
		}
		if err := f.stuck(); err == nil || !strings.Contains(err.Error(), "has not answered") {
			t.Fatalf("health: %v", err)
		}
		answer()
		synctest.Wait()
		if err := f.stuck(); err != nil || exists(f.Path) {
			t.Fatalf("after the file system has answered: %v, the file exists: %v", err, exists(f.Path))
		}
	})
}

// A renewal that the file does not show within 2 s ends the term; the Lease is
// kept, because the file can't be removed.
func TestS11_ARenewalThatTheFileDoesNotShowStepsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		answer := f.hangs()
		defer answer()
		passes(5*time.Second + 2*time.Second + 10*time.Millisecond)
		if f.elector.IsLeader() {
			t.Fatal("it leads on")
		}
		passes(time.Minute + time.Second) // a renewal during the handover may shift the looks, which are a second apart
		if f.holder() != "me" {
			t.Fatalf("the Lease was given to %q although the file may be there", f.holder())
		}
		if f.stuck() == nil {
			t.Error("health does not fail")
		}
		if n := strings.Count(f.log.String(), "status file is out of date"); n != 2 {
			t.Errorf("said %d times in 62 s:\n%s", n, f.log.String())
		}
		answer()
		passes(time.Second)
		if log := f.log.String(); !strings.Contains(log, "Released the Lease") || f.stuck() != nil {
			t.Errorf("stuck: %v\n%s", f.stuck(), log)
		}
	})
}

// Gone ends with its context, whatever the file system does.
func TestS11_GoneEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		answer := f.hangs()
		defer answer()
		f.elector.StepDown("the test says so")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		err := f.Gone(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "has not answered") || time.Since(start) != 5*time.Second {
			t.Fatalf("after %v: %v", time.Since(start), err)
		}
	})
}
