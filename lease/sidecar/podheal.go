package sidecar

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

// podHeal turns the role=leader of the leader before this one into follower,
// once in each term of ours: that pod may have died with it.
type podHeal struct {
	election    Election
	pods        pods   // not those of podLabel, so that neither waits for the other
	name        string // of this pod
	shows       rolePatch
	retryPeriod time.Duration
	log         *slog.Logger
}

// run does so until ctx is done.
func (p *podHeal) run(ctx context.Context) {
	trouble := problem{
		log: p.log, level: slog.LevelWarn, over: "the previous leader's role label is no longer wrong",
		says: "the previous leader's pod may still have " + p.shows.label + "=leader; retrying. If that pod is dead, delete it",
	}
	changes := p.election.Changes()
	term, healed := "", ""
	retry := backoff{first: p.retryPeriod, longest: confirmEvery}
	var due time.Time
	for {
		state, now := p.election.State(), p.election.Clock().Now()
		if is := fmt.Sprint(state.LeaseUID, " ", state.Transitions); is != term {
			term, due = is, time.Time{}
			retry.reset()
		}
		var again <-chan time.Time
		if state.LeadsAt(now) && healed != term && p.isPod(state.Previous) {
			if !time.Now().Before(due) {
				err := p.heal(ctx, state.Previous)
				if ctx.Err() != nil {
					return
				}
				trouble.report(err, "pod", state.Previous)
				if err == nil {
					healed = term
				} else {
					due = time.Now().Add(retry.next())
				}
				continue
			}
			again = time.After(time.Until(due))
		}
		select {
		case <-changes:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// isPod says whether an identity may be the name of another pod than this.
func (p *podHeal) isPod(identity string) bool {
	return identity != "" && identity != p.name && validation.IsDNS1123Subdomain(identity) == nil
}

// heal patches a pod. One that is gone, or that says otherwise already, needs
// none. The API server answers 422 where the patch's test fails, and also where an
// admission policy or webhook denies the patch: then the label is still wrong.
func (p *podHeal) heal(ctx context.Context, pod string) error {
	path := "/metadata/labels/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(p.shows.label)
	_, err := p.pods.patch(ctx, pod, types.JSONPatchType,
		fmt.Sprintf(`[{"op":"test","path":%q,"value":"leader"},{"op":"replace","path":%[1]q,"value":"follower"}]`, path))
	switch {
	case err == nil:
		if p.shows.cost != 0 { // tried once: a cost that stays misleads nothing but a scale-down
			_, _ = p.pods.patch(ctx, pod, types.MergePatchType, p.shows.of(follower))
		}
		return nil
	case apierrors.IsNotFound(err):
		return nil
	case isDenied(err):
		return err
	case apierrors.IsInvalid(err), strings.Contains(err.Error(), "testing path"):
		return nil
	}
	return err
}

// isDenied says whether an admission policy or webhook refused a request.
func isDenied(err error) bool {
	return strings.Contains(err.Error(), "denied") || strings.Contains(strings.ToLower(err.Error()), "admission")
}
