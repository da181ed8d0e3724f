package sidecar

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// podAPI stores the role label of pods, and answers patches as a test says.
type podAPI struct {
	mu      sync.Mutex
	roles   map[string]string
	patches []string                                                   // pod=role, as they arrived
	busy    map[string]int                                             // requests under way by pod
	most    int                                                        // of one pod, at once
	fault   func(r *http.Request, pod string, n int) (*answered, bool) // nil: none. n counts the patches of the pod from 1
	count   map[string]int
}

// answered is what a fault answers.
type answered struct {
	status int
	body   string          // empty: a Status that says no
	late   <-chan struct{} // the patch lands, and is answered, when this is closed
}

func (a *podAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	pod := path.Base(r.URL.Path)
	if string(body) == "{}" { // a look at the labels
		labels, _ := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]string{"role": a.role(pod)}}})
		return a.answer(r, 200, strings.Replace(string(labels), `"role":""`, "", 1)), nil
	}
	role := follower
	if strings.Contains(string(body), `"role":"leader"`) {
		role = leader
	}
	a.mu.Lock()
	a.count[pod]++
	a.busy[pod]++
	a.most = max(a.most, a.busy[pod])
	a.patches = append(a.patches, pod+"="+role)
	n, fault := a.count[pod], a.fault
	a.mu.Unlock()
	defer func() { a.mu.Lock(); defer a.mu.Unlock(); a.busy[pod]-- }()
	if fault != nil {
		if f, ok := fault(r, pod, n); ok {
			if f.late != nil {
				<-f.late // whatever the request's context says
			} else if f.body != "" {
				return a.answer(r, f.status, f.body), nil
			} else {
				return a.answer(r, f.status, fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","code":%d,"reason":"Forbidden","message":"no"}`, f.status)), nil
			}
		}
	}
	a.set(pod, role)
	stored, _ := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]string{"role": role}}})
	return a.answer(r, 200, string(stored)), nil
}

func (a *podAPI) answer(r *http.Request, status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Request: r, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}
}

func (a *podAPI) set(pod, role string) { a.mu.Lock(); defer a.mu.Unlock(); a.roles[pod] = role }

func (a *podAPI) role(pod string) string { a.mu.Lock(); defer a.mu.Unlock(); return a.roles[pod] }

func (a *podAPI) fails(fault func(r *http.Request, pod string, n int) (*answered, bool)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault = fault
}

// sent are the patches since the last call.
func (a *podAPI) sent() (patches []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	patches, a.patches = a.patches, nil
	return patches
}

// labelRig is a pod named me, whose label follows an Election.
type labelRig struct {
	*podAPI
	election *told
	label    *podLabel
	log      leasetest.Buffer
}

func newLabelRig(t *testing.T) *labelRig {
	t.Helper()
	r := &labelRig{podAPI: &podAPI{roles: map[string]string{}, busy: map[string]int{}, count: map[string]int{}}, election: newTold()}
	config := (&leasetest.Server{}).Config("me")
	config.Transport = r.podAPI
	elector, err := lease.New(lease.Config{REST: config, Namespace: "default", Name: "app", Identity: "me", Clock: r.election.clock, Logger: discard})
	check(t, err)
	patches := func() pods { return pods{elector.REST(), "default", 2 * time.Second, newLane()} }
	r.label = newPodLabel(r.election, patches(), "me", rolePatch{label: "role"}, 2*time.Second, logTo(&r.log))
	heal := &podHeal{election: r.election, pods: patches(), name: "me", shows: rolePatch{label: "role"}, retryPeriod: 2 * time.Second, log: logTo(&r.log)}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.label.run(ctx) })
	running.Go(func() { heal.run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	synctest.Wait()
	return r
}

func (r *labelRig) wants(t *testing.T, when, pod, role string) {
	t.Helper()
	if got := r.role(pod); got != role {
		t.Errorf("%s: %s is %q, want %q", when, pod, got, role)
	}
}

func TestTheLabelFollowsTheElection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLabelRig(t)
		r.wants(t, "at first", "me", follower)
		r.election.leads(10 * time.Second)
		synctest.Wait()
		r.wants(t, "leading", "me", leader)
		passes(10 * time.Second)
		r.wants(t, "after the term has lapsed", "me", follower)
		if got := r.sent(); len(got) != 3 {
			t.Errorf("%q", got)
		}
	})
}

// A label that someone changes is right again within a minute, which costs one
// request a minute.
func TestAChangedLabelIsPutRightWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLabelRig(t)
		r.election.leads(24 * time.Hour)
		synctest.Wait()
		r.sent()
		r.set("me", "nonsense")
		passes(time.Minute)
		r.wants(t, "a minute later", "me", leader)
		passes(time.Hour)
		if got := r.sent(); len(got) != 61 {
			t.Errorf("%d requests in 61 minutes", len(got))
		}
	})
}

// A patch that was given up lands after the one that took it back.
func TestALateLeaderPatchIsPutRightWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLabelRig(t)
		lands := make(chan struct{})
		r.fails(func(_ *http.Request, pod string, n int) (*answered, bool) { return &answered{late: lands}, n == 2 })
		r.election.leads(10 * time.Second)
		passes(20 * time.Second)
		close(lands)
		passes(time.Minute)
		r.wants(t, "a minute later", "me", follower)
		if r.most > 1 {
			t.Errorf("%d patches at once", r.most)
		}
	})
}

// A credential plugin that hangs costs one goroutine, not one a patch, and no
// shutdown.
func TestS6_APatchThatHangsHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLabelRig(t)
		plugin := make(chan struct{})
		r.sent()
		r.fails(func(*http.Request, string, int) (*answered, bool) { return &answered{late: plugin}, true })
		r.election.leads(time.Hour)
		passes(10 * time.Minute)
		r.election.leads(0)
		start := time.Now()
		if err := r.label.settled(t.Context(), 2*time.Second); err == nil || time.Since(start) != 2*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if got := r.sent(); len(got) != 1 {
			t.Errorf("%d patches hang", len(got))
		}
		if n := strings.Count(r.log.String(), "can't be set"); n < 9 || n > 11 {
			t.Errorf("said %d times in 10 minutes", n)
		}
		close(plugin)
		passes(time.Minute)
		r.wants(t, "after it has answered", "me", follower)
	})
}

// The leader's own label does not wait for a predecessor that it may not patch.
func TestTheOwnLabelNeverWaitsForThePredecessors(t *testing.T) {
	for name, fault := range map[string]*answered{"refused": {status: 403}, "hanging": {late: make(chan struct{})}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if fault.late != nil {
					late := make(chan struct{})
					fault = &answered{late: late}
					defer close(late)
				}
				r := newLabelRig(t)
				r.sent()
				r.fails(func(_ *http.Request, pod string, _ int) (*answered, bool) { return fault, pod == "dead" })
				r.election.is(func(s *lease.State) { s.Previous, s.Transitions = "dead", 1 })
				r.election.leads(time.Hour)
				synctest.Wait()
				r.wants(t, "at once", "me", leader)
				passes(10 * time.Minute)
				if n := strings.Count(strings.Join(r.sent(), " "), "dead="); n < 1 || n > 16 {
					t.Errorf("%d patches of the predecessor in 10 minutes", n)
				}
			})
		})
	}
}

func TestADeadPredecessorIsHealedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLabelRig(t)
		r.set("dead", leader)
		r.sent()
		r.election.is(func(s *lease.State) { s.Previous, s.Transitions = "dead", 1 })
		r.election.leads(time.Hour)
		passes(10 * time.Second)
		r.wants(t, "after the takeover", "dead", follower)
		if got := strings.Count(strings.Join(r.sent(), " "), "dead="); got != 1 {
			t.Errorf("%d patches", got)
		}
	})
}

// A clean stop patches once: the shutdown waits for the same patch.
func TestS6_AStopLabelsThePodOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLabelRig(t)
		r.election.leads(time.Hour)
		synctest.Wait()
		r.sent()
		r.election.leads(0)
		check(t, r.label.settled(t.Context(), 2*time.Second))
		r.wants(t, "at the stop", "me", follower)
		synctest.Wait()
		if got := r.sent(); len(got) != 1 {
			t.Errorf("%q", got)
		}
	})
}

// An answer that does not show the label is no success: it is said, and the patch
// is sent again.
func TestAnAnswerThatDoesNotShowTheLabelIsRetried(t *testing.T) {
	for name, body := range map[string]string{
		"HTML":       "<html>welcome</html>",
		"other kind": `{"kind":"Status","status":"Success"}`,
		"no labels":  `{"kind":"Pod","metadata":{"name":"me"}}`,
		"no role":    `{"kind":"Pod","metadata":{"labels":{"app":"x"}}}`,
		"other role": `{"kind":"Pod","metadata":{"labels":{"role":"follower"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newLabelRig(t)
				r.fails(func(_ *http.Request, _ string, n int) (*answered, bool) {
					return &answered{status: 200, body: body}, n < 4
				})
				r.election.leads(time.Hour)
				synctest.Wait()
				if err := r.label.settled(t.Context(), time.Second); err == nil {
					t.Error("the label counts as set")
				}
				if !strings.Contains(r.log.String(), "can't be set") {
					t.Errorf("not said: %s", r.log.String())
				}
				passes(10 * time.Second)
				r.wants(t, "after the next patches", "me", leader)
			})
		})
	}
}

// A 422 says that the predecessor needs no patch, unless an admission policy
// or webhook denied the patch.
func TestADeniedHealIsRetried(t *testing.T) {
	for message, denied := range map[string]bool{
		`the server rejected our request due to an error in our request`:                                       false,
		`pods \"dead\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no labels`: true,
		`admission webhook \"w\" denied the request: no labels`:                                                true,
	} {
		t.Run(message, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newLabelRig(t)
				r.set("dead", leader)
				r.sent()
				body := `{"kind":"Status","apiVersion":"v1","status":"Failure","code":422,"reason":"Invalid","message":"` + message + `"}`
				r.fails(func(_ *http.Request, pod string, n int) (*answered, bool) {
					return &answered{status: 422, body: body}, pod == "dead" && n == 1
				})
				r.election.is(func(s *lease.State) { s.Previous, s.Transitions = "dead", 1 })
				r.election.leads(time.Hour)
				passes(10 * time.Second)
				want := 1
				if denied {
					want = 2
					r.wants(t, "once it is allowed", "dead", follower)
				}
				if n := strings.Count(strings.Join(r.sent(), " "), "dead="); n != want {
					t.Errorf("%d patches, want %d", n, want)
				}
				if said := strings.Contains(r.log.String(), "may still have role=leader"); said != denied {
					t.Errorf("said: %s", r.log.String())
				}
			})
		})
	}
}
