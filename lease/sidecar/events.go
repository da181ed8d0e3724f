package sidecar

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/client-go/rest"

	"github.com/leader-elector/leader-elector/lease"
)

// events makes a Kubernetes Event on the Lease when this pod begins to lead and when it
// stops, as client-go's LeaderElector does: `kubectl describe lease` shows them.
type events struct {
	election  Election
	client    rest.Interface
	namespace string // of the Lease
	lease     string
	limit     time.Duration // for one request
	lane      lane
	log       *slog.Logger
}

// run makes an Event for each change until ctx is done, and of the end of leadership after
// that. One that is refused is not made again: Events are no record to rely on.
func (e *events) run(ctx context.Context) {
	trouble := problem{
		log: e.log, level: slog.LevelWarn, over: "Events can be made again",
		says: "an Event of the Lease can't be made; LEADER_EVENTS needs the right to create events in the Lease's namespace",
	}
	changes, led := e.election.Changes(), false
	for {
		ended := ctx.Err() != nil
		state, now := e.election.State(), e.election.Clock().Now()
		if leads := state.LeadsAt(now); leads != led {
			led = leads
			trouble.report(e.send(context.WithoutCancel(ctx), state, leads))
		}
		if ended {
			return
		}
		wait := time.Hour
		if led {
			wait = state.ValidUntil.Sub(now)
		}
		select {
		case <-changes:
		case <-time.After(max(wait, time.Millisecond)):
		case <-ctx.Done():
		}
	}
}

func (e *events) send(ctx context.Context, state lease.State, leads bool) error {
	says := "stopped leading"
	if leads {
		says = fmt.Sprintf("became leader, with the fencing token %d", state.Transitions)
	}
	now := time.Now().UTC()
	stamp := now.Format(time.RFC3339)
	body, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Event", "type": "Normal", "reason": "LeaderElection", "message": state.Identity + " " + says,
		"metadata":       map[string]any{"namespace": e.namespace, "name": fmt.Sprintf("%s.%x", e.lease, now.UnixNano())},
		"involvedObject": map[string]any{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "namespace": e.namespace, "name": e.lease, "uid": state.LeaseUID},
		"source":         map[string]any{"component": "leader-election-sidecar"}, "firstTimestamp": stamp, "lastTimestamp": stamp, "count": 1,
	})
	if err != nil {
		return err
	}
	failure, err := within(ctx, e.lane, e.limit, func() error {
		ctx, cancel := context.WithTimeout(ctx, e.limit)
		defer cancel()
		return e.client.Post().AbsPath("/api/v1/namespaces", e.namespace, "events").
			MaxRetries(0).SetHeader("Content-Type", "application/json").SetHeader("Accept", "application/json").Body(body).Do(ctx).Error()
	})
	if err == nil {
		err = failure
	}
	return err
}
