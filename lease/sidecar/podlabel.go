package sidecar

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// podLabel keeps role=leader|follower on this pod. One goroutine, run, decides
// on all of the pod's patches, and makes one at a time.
type podLabel struct {
	election    Election
	pods        pods
	name        string // of this pod
	shows       rolePatch
	retryPeriod time.Duration
	log         *slog.Logger

	questions chan chan struct{} // whether the label is as it should be
	mayShow   atomic.Bool        // role=leader was sent, and may have landed
	failure   atomic.Value       // of the last patch: its text
}

func newPodLabel(election Election, pods pods, name string, shows rolePatch, retryPeriod time.Duration, log *slog.Logger) *podLabel {
	return &podLabel{election: election, pods: pods, name: name, shows: shows, retryPeriod: retryPeriod, log: log, questions: make(chan chan struct{})}
}

// confirmEvery is how often the label is patched although it should be as it is:
// someone may have changed it, and a patch that was given up may have landed
// late. That needs no other right than to patch.
const confirmEvery = time.Minute

// run labels the pod after each change, and once a minute, until ctx is done.
func (p *podLabel) run(ctx context.Context) {
	trouble := problem{
		log: p.log, level: slog.LevelWarn, over: "the pod's role label is set again",
		says: "the pod's role label can't be set; retrying. A Service that selects " + p.shows.label + "=leader may send to another pod until then",
	}
	changes := p.election.Changes()
	role, labelled := "", ""
	retry := backoff{first: p.retryPeriod, longest: 4 * p.retryPeriod}
	var due time.Time
	var asked []chan struct{}
	for {
		state, now := p.election.State(), p.election.Clock().Now()
		if current := roleAt(state.LeadsAt(now)); current != role {
			role, due = current, time.Time{}
			retry.reset()
		}
		if state.Synced && !time.Now().Before(due) {
			err := p.label(ctx, role)
			if ctx.Err() != nil {
				return
			}
			p.failure.Store(text(err))
			trouble.report(err, "role", role)
			labelled = "" // unknown until the API server has said so
			wait := confirmEvery
			if err != nil {
				wait = retry.next()
			} else {
				labelled = role
				retry.reset()
			}
			due = time.Now().Add(wait)
			continue // the role may have changed in between
		}
		if labelled == role {
			for _, question := range asked {
				close(question)
			}
			asked = nil
		}
		wait := confirmEvery
		if state.Synced {
			wait = time.Until(due)
		}
		if role == leader {
			wait = min(wait, state.ValidUntil.Sub(now))
		}
		select {
		case <-changes:
		case <-time.After(max(wait, time.Millisecond)):
		case question := <-p.questions:
			asked = append(asked, question)
		case <-ctx.Done():
			return
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// failing says what is wrong with the pod's label; "" where nothing is known to be.
func (p *podLabel) failing() string {
	failure, _ := p.failure.Load().(string)
	return failure
}

const (
	leader   = "leader"
	follower = "follower"
)

func roleAt(leads bool) string {
	if leads {
		return leader
	}
	return follower
}

// settled returns once the label says what the election does, or when limit or
// ctx is over.
func (p *podLabel) settled(ctx context.Context, limit time.Duration) error {
	if !p.mayShow.Load() { // the label was refused: the pod never showed that it leads
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answer := make(chan struct{})
	select {
	case p.questions <- answer:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-answer:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// label patches the label, after it has looked once that the pod has none of another
// meaning. The answer must show it: a proxy may answer 200 with something else, and an
// admission webhook may change what is stored.
func (p *podLabel) label(ctx context.Context, role string) error {
	if !p.shows.free {
		if err := p.look(ctx); err != nil {
			return err
		}
		p.shows.free = true
	}
	if role == leader {
		p.mayShow.Store(true)
	}
	stored, err := p.send(ctx, p.shows.of(role))
	if err != nil {
		return err
	}
	switch is, ok := stored[p.shows.label]; {
	case !ok:
		return fmt.Errorf("the answer to the patch shows no label %s instead of %[1]s=%q: an admission webhook or policy removes the label, or a proxy answers for the API server", p.shows.label, role)
	case is != role:
		return fmt.Errorf("the API server stored %s=%q instead of %[1]s=%q: an admission webhook or policy changes the label", p.shows.label, is, role)
	}
	return nil
}

// look refuses to label a pod whose label means something else: a selector may hold
// it, and a controller whose pod no longer fits makes another one. A patch that changes
// nothing returns the labels, and needs no other right.
func (p *podLabel) look(ctx context.Context) error {
	labels, err := p.send(ctx, "{}")
	if is, ok := labels[p.shows.label]; err == nil && ok && is != leader && is != follower {
		err = fmt.Errorf("the pod has the label %s=%q already, which means something else: set ROLE_LABEL to another label, such as leader-elector/role", p.shows.label, is)
	}
	return err
}

// send makes a merge patch, and returns the pod's labels.
func (p *podLabel) send(ctx context.Context, patch string) (labels map[string]string, err error) {
	body, err := p.pods.patch(ctx, p.name, types.MergePatchType, patch)
	if err != nil {
		return nil, err
	}
	var pod struct {
		Metadata struct {
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(body, &pod); err != nil {
		return nil, fmt.Errorf("the answer to the patch is not a Pod: %w; make sure that no proxy answers for the API server", err)
	}
	return pod.Metadata.Labels, nil
}

// rolePatch is how a pod shows its role.
type rolePatch struct {
	label string // its key
	cost  int    // pod-deletion-cost of the leader; 0: the annotation is left alone
	free  bool   // the pod was seen to have the label in no other meaning
}

// costAnnotation makes a ReplicaSet that scales down delete other pods first.
const costAnnotation = "controller.kubernetes.io/pod-deletion-cost"

// of is the merge patch that shows a role.
func (r rolePatch) of(role string) string {
	metadata := map[string]any{"labels": map[string]string{r.label: role}}
	if r.cost != 0 {
		cost := map[string]any{costAnnotation: nil} // removed
		if role == leader {
			cost[costAnnotation] = strconv.Itoa(r.cost)
		}
		metadata["annotations"] = cost
	}
	patch, _ := json.Marshal(map[string]any{"metadata": metadata}) // of strings alone: it can't fail
	return string(patch)
}

// pods sends patches of pods, one at a time, on the election's own connection.
type pods struct {
	client    rest.Interface
	namespace string
	limit     time.Duration // for one request
	lane      lane          // a credential plugin may hang, whatever its context says
}

// patch sends one request, and returns when limit is over at the latest.
func (p pods) patch(ctx context.Context, pod string, kind types.PatchType, body string) ([]byte, error) {
	type answer struct {
		body []byte
		err  error
	}
	a, err := within(ctx, p.lane, p.limit, func() (a answer) {
		ctx, cancel := context.WithTimeout(ctx, p.limit)
		defer cancel()
		result := p.client.Patch(kind).AbsPath("/api/v1/namespaces", p.namespace, "pods", pod).
			MaxRetries(0).SetHeader("Accept", "application/json").Body([]byte(body)).Do(ctx)
		if a.body, a.err = result.Raw(); a.err != nil {
			a.err = result.Error() // with the API server's message, which Raw leaves out
		}
		return a
	})
	if err == nil {
		err = a.err
	}
	if apierrors.IsForbidden(err) {
		return nil, fmt.Errorf("%w: the Role of this pod's service account must allow \"patch\" on resource pods in namespace %s", err, p.namespace)
	}
	return a.body, err
}

// backoff is how long to wait after each of several failures in a row.
type backoff struct{ first, longest, last time.Duration }

func (b *backoff) next() time.Duration {
	b.last = min(max(b.first, 2*b.last), b.longest)
	return b.last
}

func (b *backoff) reset() { b.last = 0 }
