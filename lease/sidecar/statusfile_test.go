package sidecar

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leader-elector/leader-elector/lease/leasetest"
)

func TestS1_TheFileIsGoneAtTheRenewDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		info, err := os.Stat(f.Path)
		if err != nil || info.Mode().Perm() != 0o644 {
			t.Fatalf("%v %v", info, err)
		}
		if content, _ := os.ReadFile(f.Path); string(content) != "me" {
			t.Fatalf("content %q", content)
		}
		// its mtime is when the term lapses, and each renewal moves it on
		if left := time.Until(info.ModTime()); left != 10*time.Second {
			t.Fatalf("mtime in %v", left)
		}
		time.Sleep(5*time.Second + time.Millisecond)
		synctest.Wait()
		if info, err = os.Stat(f.Path); err != nil || time.Until(info.ModTime()) != 10*time.Second-time.Millisecond {
			t.Fatalf("mtime in %v after a renewal, %v", time.Until(info.ModTime()), err)
		}
		f.loseAPI()
		f.isGoneAfter(t, 10*time.Second-time.Millisecond)
	})
}

func TestS1_ALabelPatchThatHangsKeepsNoFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var api leasetest.Server
		config := api.Config("me")
		hanging, answer := 0, make(chan struct{})
		config.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			if strings.Contains(r.URL.Path, "/pods/") {
				hanging++
				<-answer // whatever its context says
				return nil, r.Context().Err()
			}
			return api.RoundTrip(r)
		})
		f := followOver(t, &api, config)
		label := newPodLabel(f.elector, pods{f.elector.REST(), "default", time.Hour, newLane()}, "me", rolePatch{label: "role"}, time.Hour, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { defer close(ended); label.run(ctx) }()
		defer func() { cancel(); <-ended; close(answer) }()
		synctest.Wait()
		if hanging != 1 || !exists(f.Path) {
			t.Fatalf("%d patches hang, the file exists: %v", hanging, exists(f.Path))
		}
		f.loseAPI()
		f.isGoneAfter(t, 10*time.Second)
	})
}

// A process that is stopped between its looks at the two clocks and goes on past
// the term writes no mtime that lies in the future.
func TestS8_AStallBetweenTheClocksProlongsNothing(t *testing.T) {
	for what, spoil := range map[string]func(path string) error{
		"the file has to be written again": os.Remove,
		"its time has to be set again":     func(path string) error { return os.Chtimes(path, time.Now(), time.Now()) },
	} {
		for readings := range 8 {
			synctest.Test(t, func(t *testing.T) {
				f := follow(t)
				clock := f.clock
				f.loseAPI()
				f.touches(func(do func() error) error {
					err := do()
					if info, statErr := os.Stat(f.Path); statErr == nil && info.ModTime().After(time.Now()) && !f.elector.State().LeadsAt(clock.Read()) {
						t.Errorf("%s, %d: after the term, the file is valid for another %v", what, readings, time.Until(info.ModTime()))
					}
					return err
				})
				check(t, spoil(f.Path))
				// when the process stands still after one of its next looks at a clock
				clock.Stall(readings+1, 20*time.Second)
				time.Sleep(40 * time.Second)
				synctest.Wait()
				if exists(f.Path) {
					t.Errorf("%s, %d: the file is still there", what, readings)
				}
			})
		}
	}
}

// A wall clock that is set leaves the file true within a second.
func TestTheFileFollowsTheWallClock(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			f := follow(t)
			clock := f.clock
			clock.SetWall(jump)
			time.Sleep(1500 * time.Millisecond)
			synctest.Wait()
			info, err := os.Stat(f.Path)
			if err != nil {
				t.Fatal(err)
			}
			validFor := f.elector.State().ValidUntil.Sub(clock.Read())
			if off := info.ModTime().Sub(clock.ReadWall()) - validFor; off.Abs() > time.Second {
				t.Fatalf("the wall clock set by %v: the mtime is off by %v", jump, off)
			}
		})
	}
}

func TestADeletedStatusFileIsPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		if err := os.Remove(f.Path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second + time.Millisecond)
		synctest.Wait()
		if !exists(f.Path) {
			t.Fatal("not put back within a second")
		}
	})
}

// Readers that can't trust the wall clock have the same moment in boot time.
func TestS1_TheUntilFileSaysWhenTheTermLapsesInBootTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		until := f.Path + ".until"
		want := func() string { return strconv.FormatInt(f.elector.State().ValidUntil.Seconds(), 10) }
		if info, err := os.Stat(until); err != nil || info.Mode().Perm() != 0o644 || read(until) != want() {
			t.Fatalf("%q instead of %q, %v", read(until), want(), err)
		}
		before := read(until)
		passes(5*time.Second + time.Millisecond) // a renewal
		if read(until) != want() || read(until) == before {
			t.Fatalf("%q after a renewal, want %q, before %q", read(until), want(), before)
		}
		_ = os.Remove(until) // someone does so
		passes(time.Second + time.Millisecond)
		if read(until) != want() {
			t.Fatal("not put back within a second")
		}
		f.loseAPI()
		f.isGoneAfter(t, 9*time.Second-2*time.Millisecond)
		if exists(until) {
			t.Fatal("the until file outlives the term")
		}
	})
}

// A leader that stands still while someone sets the wall clock back leaves a
// status file whose mtime is in the future again. The until file is past.
func TestS1_AWallClockSetBackMakesNoLeftoverValid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		f.clock.Pause(time.Minute)
		time.Sleep(30 * time.Second)
		f.clock.SetWall(-time.Hour)
		info, err := os.Stat(f.Path)
		if err != nil || !info.ModTime().After(f.clock.ReadWall()) {
			t.Fatalf("the case is not what it should be: %v", err)
		}
		until, err := strconv.ParseInt(read(f.Path+".until"), 10, 64)
		if err != nil || until > f.clock.Read().Seconds() {
			t.Fatalf("valid until %d at %d, %v", until, f.clock.Read().Seconds(), err)
		}
		time.Sleep(time.Minute)
	})
}

// The until file is there whenever the status file is.
func TestS1_TheUntilFileComesFirstAndGoesLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		f.elector.StepDown("the test says so")
		synctest.Wait()
		f.touches(func(change func() error) error {
			if exists(f.Path) && !exists(f.Path+".until") {
				t.Error("a status file without an until file")
			}
			err := change()
			if exists(f.Path) && !exists(f.Path+".until") {
				t.Error("a status file without an until file")
			}
			return err
		})
		passes(20 * time.Second)
		if !f.elector.IsLeader() || !exists(f.Path) {
			t.Fatal("it does not lead again")
		}
		f.loseAPI()
		passes(20 * time.Second)
		if exists(f.Path) || exists(f.Path+".until") {
			t.Fatal("still there")
		}
	})
}
