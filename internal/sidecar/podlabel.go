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

	"github.com/leader-elector/leader-elector/lease"
)

// podLabel keeps role=leader|follower on this pod, by patches on the election's
// own connection.
type podLabel struct {
	elector         *lease.Elector
	namespace, name string
	retryPeriod     time.Duration
	log             *slog.Logger
}

// run labels the pod after each change until ctx is done.
func (p *podLabel) run(ctx context.Context) {
	states := p.elector.States()
	labelled, healed, failing := "", "", false
	for {
		var retry <-chan time.Time
		state := p.elector.State()
		role := "follower"
		if state.LeadsAt(p.elector.Clock().Now()) {
			role = "leader"
		}
		term := fmt.Sprint(state.LeaseUID, state.Transitions)
		var err error
		if role == "leader" && healed != term && p.isPod(state.Previous) {
			if err = p.heal(ctx, state.Previous); err == nil {
				healed = term
			}
		}
		if err == nil && state.Synced && labelled != role {
			labelled = "" // unknown until the API server has said so
			if err = p.label(ctx, role); err == nil {
				labelled = role
			}
		}
		if err != nil {
			if !failing {
				p.log.Warn("the pod's role label can't be set; trying on", "role", role, "err", err)
			}
			retry = time.After(p.retryPeriod)
		}
		failing = err != nil
		var lapse <-chan time.Time
		if wait := state.ValidUntil - p.elector.Clock().Now(); role == "leader" {
			lapse = time.After(max(wait, time.Millisecond))
		}
		select {
		case <-states:
		case <-retry:
		case <-lapse:
		case <-ctx.Done():
			return
		}
	}
}

// isPod says whether an identity may be the name of another pod than this.
func (p *podLabel) isPod(identity string) bool {
	return identity != "" && identity != p.name && validation.IsDNS1123Subdomain(identity) == nil
}

func (p *podLabel) label(ctx context.Context, role string) error {
	return p.patch(ctx, p.name, types.MergePatchType, `{"metadata":{"labels":{"role":"`+role+`"}}}`)
}

// heal turns a dead predecessor's role=leader into follower. A predecessor that
// is gone, or that says otherwise already, needs none.
func (p *podLabel) heal(ctx context.Context, predecessor string) error {
	err := p.patch(ctx, predecessor, types.JSONPatchType,
		`[{"op":"test","path":"/metadata/labels/role","value":"leader"},{"op":"replace","path":"/metadata/labels/role","value":"follower"}]`)
	if apierrors.IsNotFound(err) || apierrors.IsInvalid(err) || err != nil && strings.Contains(err.Error(), "testing path") {
		return nil
	}
	return err
}

func (p *podLabel) patch(ctx context.Context, pod string, kind types.PatchType, body string) error {
	ctx, cancel := context.WithTimeout(ctx, p.retryPeriod)
	defer cancel()
	err := p.elector.REST().Patch(kind).AbsPath("/api/v1/namespaces", p.namespace, "pods", pod).
		MaxRetries(0).Body([]byte(body)).Do(ctx).Error()
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("%w: the Role of this pod's service account must allow \"patch\" on resource pods in namespace %s", err, p.namespace)
	}
	return err
}
