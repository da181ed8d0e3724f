package lease_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// lines are those of r's log that were written since, of a level or above.
func (r *replica) lines(since int, levels ...string) (found []string) {
	for _, line := range strings.Split(strings.TrimSpace(r.log.String()), "\n")[since:] {
		for _, level := range levels {
			if strings.Contains(line, "level="+level) {
				found = append(found, line)
			}
		}
	}
	return found
}

func (r *replica) logLength() int { return len(strings.Split(strings.TrimSpace(r.log.String()), "\n")) }

func (w *world) quiet(replicas ...*replica) {
	w.Helper()
	for _, r := range replicas {
		if bad := r.lines(0, "WARN", "ERROR"); len(bad) > 0 {
			w.Fatalf("%s\n%s", r.State().Identity, strings.Join(bad, "\n"))
		}
	}
}

func TestLog_AnOrdinaryLifeIsNoAccident(t *testing.T) {
	t.Run("start, handover, stop", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a, b := w.start("a"), w.start("b")
			sleep(time.Minute)
			a.stop()
			<-a.ended
			sleep(time.Minute)
			w.leads(true, b)
			b.stop()
			<-b.ended
			w.quiet(a, b)
		})
	})
	t.Run("takeover", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a, b, c := w.start("a"), w.start("b"), w.start("c")
			sleep(time.Minute)
			w.cut(0, "a")
			sleep(time.Minute)
			w.leads(false, a)
			w.quiet(b, c)
		})
	})
	t.Run("pod replaced by one of the same name", func(t *testing.T) {
		inFakeTime(t, func(w *world) {
			a, b := w.start("app-0"), w.start("app-1")
			w.cut(0, "app-0")
			sleep(time.Second)
			again := w.start("app-0", asUser(w, "replacement"))
			sleep(2 * time.Minute)
			for _, r := range []*replica{b, again} {
				if bad := r.lines(0, "ERROR"); len(bad) > 0 {
					w.Fatalf("%s", strings.Join(bad, "\n"))
				}
			}
			w.leads(false, a)
		})
	})
}

func TestLog_AnAdmissionDenialIsToldApart(t *testing.T) {
	for _, c := range []struct {
		status        int
		message, want string
		not           string
	}{
		{403, leasetest.PolicyDenied, "change that policy", "The Role of"},
		{422, strings.Replace(leasetest.PolicyDenied, "forbidden", "invalid", 1), "change that policy", "The Role of"},
		{403, leasetest.WebhookDenied, "change that policy", "The Role of"},
		{500, leasetest.WebhookFailed, "change that policy", "The Role of"},
		{403, leasetest.RoleMissing, `must allow "update"`, "admission"},
	} {
		t.Run(fmt.Sprint(c.status, c.message), func(t *testing.T) {
			inFakeTime(t, func(w *world) {
				w.heldBy("", 15)
				w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
					if r.Verb == "update" {
						f.Status, f.Message = c.status, c.message
					}
					return f
				})
				a := w.start("a")
				sleep(time.Second)
				for _, text := range []string{a.State().Problem, strings.ReplaceAll(a.log.String(), `\"`, `"`)} {
					if !strings.Contains(text, c.want) || strings.Contains(text, c.not) {
						w.Fatalf("want %q, not %q:\n%s", c.want, c.not, text)
					}
				}
				w.OnRequest(nil)
				w.takesOver(a, 2*leaseDuration)
			})
		})
	}
}

// Reads that work end no problem with writes.
func TestLog_AProblemIsSaidOnceAMinuteUntilAWriteSucceeds(t *testing.T) {
	for watching, forbid := range map[string]int{"watching": 0, "polling": 500} {
		t.Run(watching, func(t *testing.T) {
			inFakeTime(t, func(w *world) {
				w.heldBy("", 15)
				refuse := func(r leasetest.Request) (f leasetest.Fault) {
					switch r.Verb {
					case "update":
						f.Status, f.Message = 500, leasetest.WebhookFailed
					case "watch":
						f.Status = forbid
					}
					return f
				}
				w.OnRequest(refuse)
				a := w.start("a")
				sleep(5*time.Minute - time.Second)
				equal(w, "said", a.logged("API request failed"), 5)
				equal(w, "said to be over", a.logged("succeed again"), 0)
				w.OnRequest(nil)
				w.takesOver(a, 2*leaseDuration)
				equal(w, "said to be over, after a write", a.logged("succeed again"), 1)
			})
		})
	}
}

func TestLog_ALasting401NamesTheRemedyEachMinute(t *testing.T) {
	inFakeTime(t, func(w *world) {
		a, b := w.start("a"), w.start("b")
		w.OnRequest(func(leasetest.Request) leasetest.Fault { return leasetest.Fault{Status: 401} })
		w.CutWatches()
		sleep(10*time.Minute + renewInterval)
		for _, r := range []*replica{a, b} {
			w.leads(false, r)
			if n := r.logged("replace the pods"); n < 9 || n > 12 {
				w.Fatalf("%s: %d times in ten minutes\n%s", r.State().Identity, n, r.log)
			}
			if n := len(r.lines(0, "WARN", "ERROR")); n > 15 {
				w.Fatalf("%s: %d lines\n%s", r.State().Identity, n, r.log)
			}
			equal(w, "denied", r.State().Denied, true)
		}
	})
}

// What was done to the Lease leaves one line on the leader, and one on a follower.
func TestLog_EachAccidentLeavesOneLine(t *testing.T) {
	now := func() *metav1.MicroTime { return &metav1.MicroTime{Time: time.Now()} }
	for _, c := range []struct {
		name             string
		strike           func(w *world)
		leader, follower string
		lost             bool
	}{
		{"deleted", func(w *world) { w.Delete(namespace, name) },
			"The Lease was deleted while it was held. This replica leads and puts the Lease back",
			"The Lease was deleted while it was held. Waiting", false},
		{"replaced", func(w *world) {
			l := w.lease()
			w.Delete(namespace, name)
			w.Put(namespace, name, func(n *coordinationv1.Lease) { n.Spec = l.Spec; n.Annotations = l.Annotations })
		}, "was deleted", "was deleted", false},
		{"wiped", func(w *world) {
			w.Put(namespace, name, func(l *coordinationv1.Lease) { l.Spec = coordinationv1.LeaseSpec{} })
		}, "holder was erased by something that is not a replica. This replica leads and puts the Lease back",
			"holder was erased by something that is not a replica. Waiting", false},
		{"holder edited", func(w *world) {
			w.edit(func(s *coordinationv1.LeaseSpec) { other := "other"; s.HolderIdentity = &other })
		}, "holder was changed by something that is not a replica", "holder was changed by something that is not a replica", true},
		{"holder edited to the follower's name", func(w *world) {
			w.edit(func(s *coordinationv1.LeaseSpec) { b := "b"; s.HolderIdentity = &b })
		}, "holder was changed by something that is not a replica", "names this replica, but another process wrote it", true},
		{"taken in the follower's name", func(w *world) {
			w.edit(func(s *coordinationv1.LeaseSpec) { b := "b"; s.HolderIdentity, s.RenewTime = &b, now() })
		}, "Leader changed", "names this replica, but another process wrote it", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(w *world) {
				a, b := w.start("a"), w.start("b")
				sleep(renewInterval + time.Second)
				w.leads(true, a)
				atA, atB := a.logLength(), b.logLength()
				c.strike(w)
				sleep(renewInterval)
				for _, at := range []struct {
					r     *replica
					since int
					want  string
				}{{a, atA, c.leader}, {b, atB, c.follower}} {
					found := 0
					lines := at.r.lines(at.since, "INFO", "WARN", "ERROR")
					for _, line := range lines {
						if strings.Contains(line, at.want) {
							found++
						}
					}
					most := 1
					if c.lost && at.r == a {
						most = 2 // and that it no longer leads
					}
					if found != 1 || len(lines) > most {
						t.Errorf("%s: want one line %q\n%s", at.r.State().Identity, at.want, strings.Join(lines, "\n"))
					}
				}
				w.leads(false, b)
				w.leads(!c.lost, a)
				// and no error is made of it
				sleep(2 * time.Minute)
				for _, r := range []*replica{a, b} {
					if bad := r.lines(0, "ERROR"); len(bad) > 0 {
						t.Errorf("%s", strings.Join(bad, "\n"))
					}
				}
				synctest.Wait()
				equal(w, "one leads in the end", a.IsLeader() != b.IsLeader(), true)
			})
		})
	}
}
