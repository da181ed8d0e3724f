package sidecar

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func claimed(t *testing.T, path, own string) *statusDir {
	t.Helper()
	d, err := claimStatusDir(path, own)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	return d
}

func TestStatusDirRefusesWhatItCantUse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	if _, err := claimStatusDir(filepath.Join(file, "leader_status"), "x"); err == nil || !strings.Contains(err.Error(), "STATUS_DIR") {
		t.Fatalf("STATUS_DIR that is a file: %v", err)
	}
}

func TestS5_AClaimProvesThatTheProcessesBeforeAreDead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leader_status")
	first := claimed(t, path, "one")
	if len(first.dead)+len(first.odd) != 0 {
		t.Fatalf("%+v", first)
	}
	for _, name := range []string{"", ".until", ".tmp", ".until.tmp"} {
		write(t, path+name, "me")
	}
	if _, err := claimStatusDir(path, "two"); err == nil || !strings.Contains(err.Error(), "another sidecar") {
		t.Fatalf("claimed twice: %v", err)
	}
	if !exists(path) {
		t.Fatal("a live sidecar's status file was removed")
	}
	first.close()
	second := claimed(t, path, "two")
	if !slices.Equal(second.dead, []string{"one"}) {
		t.Fatalf("dead: %q", second.dead)
	}
	for _, name := range []string{"", ".until", ".tmp", ".until.tmp"} {
		if exists(path + name) {
			t.Errorf("the leftover %q is still there", name)
		}
	}
}

// A process that dies before it has claimed the Lease costs its successor no
// proof about the one before.
func TestS5_EveryProcessThatHadTheDirectoryIsKnown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leader_status")
	for _, own := range []string{"one", "two"} {
		claimed(t, path, own).close()
	}
	dead := claimed(t, path, "three").dead
	proven := origin{}.provenDead(dead)
	if !proven("one") || !proven("two") || proven("three") || proven("") {
		t.Fatalf("dead: %q", dead)
	}
	for i := range 40 {
		d, err := claimStatusDir(path+"2", string(rune('A'+i%26))+"x")
		check(t, err)
		if d.close(); len(d.dead) > maxDead {
			t.Fatalf("%d are listed", len(d.dead))
		}
	}
}

// What an app puts in the place of the sidecar's files keeps it from nothing.
func TestS5_ForeignFilesKeepNoSidecarFromStarting(t *testing.T) {
	for _, name := range []string{"", ".tmp", ".until", ".until.tmp", ".incarnation", ".lock"} {
		for kind, put := range foreign {
			t.Run(kind+" in place of "+name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "leader_status")
				put(t, path+name)
				d := claimed(t, path, "one")
				lock := &lockFiles{path: path + ".lock"}
				check(t, lock.open())
				defer lock.close()
				for _, gone := range []string{"", ".tmp", ".until", ".until.tmp"} {
					if exists(path + gone) {
						t.Errorf("%q is still there", gone)
					}
				}
				for _, made := range []string{".incarnation", ".lock"} {
					if info, err := os.Lstat(path + made); err != nil || !info.Mode().IsRegular() {
						t.Errorf("%q: %v %v", made, info, err)
					}
				}
				d.close()
				if next := claimed(t, path, "two"); !slices.Equal(next.dead, []string{"one"}) {
					t.Errorf("dead: %q", next.dead)
				}
			})
		}
	}
}

// An app that locks the claim's file, with flock or with lockf, costs the proof
// and nothing else; its lock is not taken for another sidecar.
func TestS5_AnAppsLockOnTheClaimCostsTheProofAlone(t *testing.T) {
	lockf := func(t *testing.T, f *os.File) {
		check(t, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}))
	}
	flocks := func(t *testing.T, f *os.File) { check(t, unix.Flock(int(f.Fd()), unix.LOCK_SH)) }
	for name, take := range map[string]func(*testing.T, *os.File){"lockf": lockf, "flock": flocks} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "leader_status")
			claimed(t, path, "one").close()
			app, err := os.OpenFile(path+".incarnation", os.O_RDWR, 0)
			check(t, err)
			take(t, app)
			second := claimed(t, path, "two")
			if second.dead != nil || len(second.odd) != 1 || !strings.Contains(second.odd[0], "wait for its own Lease") {
				t.Fatalf("dead %q, said %q", second.dead, second.odd)
			}
			// the one without a claim is alive: it is not proven dead
			check(t, app.Close())
			if name == "flock" {
				if _, err := claimStatusDir(path, "three"); err == nil {
					t.Fatal("two sidecars in one directory")
				}
			}
			second.close()
			if third := claimed(t, path, "three"); slices.Contains(third.dead, "two") || !slices.Contains(third.dead, "one") {
				t.Fatalf("dead: %q", third.dead)
			}
		})
	}
}

// No user but the sidecar's can lock the claim, or write what it lists.
func TestS5_OnlyTheSidecarsUserMayWriteTheClaim(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leader_status")
	claimed(t, path, "one").close()
	if info, err := os.Stat(path + ".incarnation"); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	check(t, os.Chmod(path+".incarnation", 0o666))
	write(t, path+".incarnation", "forged")
	if d := claimed(t, path, "two"); d.dead != nil || len(d.odd) != 1 {
		t.Fatalf("dead %q, said %q", d.dead, d.odd)
	}
}

// After the directory was made again, the claim is back, and with it the proof.
func TestS5_AVanishedClaimIsTakenAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d", "leader_status")
	first := claimed(t, path, "one")
	check(t, os.RemoveAll(filepath.Dir(path)))
	check(t, os.Mkdir(filepath.Dir(path), 0o755))
	first.keep(discard)
	if _, err := claimStatusDir(path, "two"); err == nil || !strings.Contains(err.Error(), "another sidecar") {
		t.Fatalf("claimed twice: %v", err)
	}
	first.close()
	if second := claimed(t, path, "two"); !slices.Equal(second.dead, []string{"one"}) {
		t.Fatalf("dead: %q", second.dead)
	}
}

// A disk that was full at the start is not full for good.
func TestS5_AClaimIsSignedOnceThereIsSpace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leader_status")
	first := claimed(t, path, "one")
	full, err := os.Open(path + ".incarnation") // which can't be written to
	check(t, err)
	check(t, os.Truncate(path+".incarnation", 0))
	writable := first.claims[0]
	first.claims[0] = full
	if err := first.sign(); err == nil {
		t.Fatal("signed")
	}
	first.claims[0] = writable
	check(t, full.Close())
	first.keep(discard)
	first.close()
	if second := claimed(t, path, "two"); !slices.Equal(second.dead, []string{"one"}) {
		t.Fatalf("dead: %q", second.dead)
	}
}

// A claim that was moved away and comes back proves nothing about a live process.
func TestS5_AClaimThatComesBackIsStillHeld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leader_status")
	first := claimed(t, path, "one")
	check(t, os.Rename(path+".incarnation", path+".away"))
	first.keep(discard)
	check(t, os.Rename(path+".away", path+".incarnation"))
	if _, err := claimStatusDir(path, "two"); err == nil {
		t.Fatal("a live process's claim was taken")
	}
}
