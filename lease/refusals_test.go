package lease_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/leader-elector/leader-elector/lease/leasetest"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

func TestL4_ALongRetryAfterIsCapped(t *testing.T) {
	const longest = 4 * retryPeriod
	for _, status := range []int{429, 503} {
		for _, verb := range []string{"get", "create"} {
			inFakeTime(t, func(w *world) {
				var n atomic.Int32
				w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
					if r.Verb == verb && n.Add(1) == 1 {
						f.Status, f.RetryAfter = status, 300
					}
					return f
				})
				a := w.start("a")
				equal(w, verb+" waits", w.takesOver(a, time.Minute), longest)
			})
		}
		inFakeTime(t, func(w *world) { // the claim of an expired term
			w.heldBy("other", 15)
			a := w.start("a")
			var n atomic.Int32
			w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
				if r.Verb == "update" && n.Add(1) == 1 {
					f.Status, f.RetryAfter = status, 300
				}
				return f
			})
			equal(w, "claim waits", w.takesOver(a, time.Minute), leaseDuration+longest)
		})
		inFakeTime(t, func(w *world) { // the renewals of a leader, until shortly before its deadline
			a := w.start("a")
			start := time.Now()
			w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
				if r.Verb == "update" && time.Since(start) < renewDeadline-retryPeriod/2 {
					f.Status, f.RetryAfter = status, 300
				}
				return f
			})
			w.keepsLeading(a, time.Minute)
		})
	}
}

// Each of these writers answers every write of ours, or every watch.
func TestL6_NoFightIsAHotLoop(t *testing.T) {
	type put = func(*coordinationv1.Lease)
	edit := func(edits ...put) func(*world) {
		return func(w *world) {
			for _, e := range edits {
				if w.lease() != nil {
					w.Put(namespace, name, e)
				}
			}
		}
	}
	var before *coordinationv1.Lease
	fights := map[string]func(*world){
		"holder erased": edit(func(l *coordinationv1.Lease) { l.Spec.HolderIdentity = nil }),
		"deleted":       func(w *world) { w.Delete(namespace, name) },
		"shortened": edit(func(l *coordinationv1.Lease) {
			one := int32(1)
			l.Spec.LeaseDurationSeconds = &one
		}),
		"taken and given back": edit(
			func(l *coordinationv1.Lease) {
				before = l.DeepCopy()
				other, now := "other", metav1.NowMicro()
				l.Spec.HolderIdentity, l.Spec.RenewTime = &other, &now
			},
			func(l *coordinationv1.Lease) { l.Spec = before.Spec },
		),
		"taken": edit(func(l *coordinationv1.Lease) {
			other, one, now := "other", int32(1), metav1.NowMicro()
			l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &other, &one, &now
		}),
		"released": edit(func(l *coordinationv1.Lease) {
			empty, one, now := "", int32(1), metav1.NowMicro()
			l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime, l.Spec.AcquireTime = &empty, &one, &now, &now
		}),
		"annotated": edit(func(l *coordinationv1.Lease) { l.Annotations["touched"] = time.Now().String() }),
		"nothing":   func(*world) {},
	}
	watches := map[string]leasetest.Fault{
		"":                             {},
		", every watch expires":        {Expire: true},
		", every watch ends at once":   {EndAfter: time.Nanosecond},
		", every watch is refused 410": {Status: 410},
		", every watch is refused 429": {Status: 429},
	}
	for fight, strike := range fights {
		for watching, fault := range watches {
			t.Run(fight+watching, func(t *testing.T) {
				inFakeTime(t, func(w *world) {
					var mu sync.Mutex
					requests := map[string]int{}
					w.OnRequest(func(r leasetest.Request) (f leasetest.Fault) {
						mu.Lock()
						defer mu.Unlock()
						requests[r.Client]++
						if r.Verb == "watch" {
							f = fault
						}
						return f
					})
					a, b := w.start("a"), w.start("b")
					sleep(retryPeriod) // b knows the term of a
					written := make(chan struct{}, 100)
					w.OnStore(func(string, *coordinationv1.Lease) {
						select {
						case written <- struct{}{}:
						default:
						}
					})
					over := make(chan struct{})
					go func() {
						for {
							select {
							case <-written:
								strike(w)
							case <-over:
								return
							}
						}
					}()
					defer close(over)
					const d = 2 * time.Minute
					// A release in the leader's name can't be told from its own. Of a writer
					// that takes or shortens a held term, a leader without a watch learns too late.
					if fight == "released" || (fight == "shortened" || fight == "taken") && watching != "" {
						sleep(d)
					} else {
						w.neverTwo(d, a, b)
					}
					mu.Lock()
					defer mu.Unlock()
					for client, n := range requests {
						if limit := int((d+retryPeriod)/(retryPeriod/4)) + 12; n > limit {
							t.Errorf("%s: %d requests in %v, at most %d are allowed", client, n, d, limit)
						}
					}
					for _, r := range []*replica{a, b} {
						for _, accident := range []string{"The Lease was deleted while", "The Lease was deleted and created", "holder was erased", "holder was changed"} {
							if n := strings.Count(r.log.String(), accident); n > 3 {
								t.Errorf("%s logs %q %d times in %v, at most once a minute is allowed", r.State().Identity, accident, n, d)
							}
						}
					}
				})
			})
		}
	}
}
