package lease

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/types"

	"github.com/leader-elector/leader-elector/lease/internal/election"
)

// loop carries out what the election asks for. Everything that can wait does so
// in goroutines of its own, which end with their context.
type loop struct {
	*Elector
	requests context.Context // of everything that is started; ends with Run
	events   chan election.Event

	attempt *attempt           // the request under way
	watch   context.CancelFunc // ends the watch
	drain   context.CancelFunc // ends the wait for the app
	hanging atomic.Int32       // goroutines that have not come back from the API client
}

// Run campaigns until ctx is done, then gives up what it holds and returns nil.
// A lost term is no error: it is published, and the campaign goes on. An error
// means that the machine refused a timer. Call it once.
func (e *Elector) Run(ctx context.Context) error {
	alarm, err := e.cfg.Clock.NewAlarm()
	if err != nil {
		return err
	}
	defer alarm.Close()
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	l := &loop{Elector: e, requests: requests, events: make(chan election.Event), watch: func() {}, drain: func() {}}
	campaign := election.New(e.election())
	stop := ctx.Done()
	for event := (election.Event{}); ; {
		now := e.cfg.Clock.Now()
		todo := campaign.Step(now, e.cfg.Clock.Wall(), event)
		l.carryOut(todo)
		if todo.Done {
			return nil
		}
		alarm.Set(todo.WakeAt)
		event = election.Event{}
		select {
		case <-alarm.C():
		case e.alive <- struct{}{}:
		case event = <-l.events:
		case <-e.orders.given:
			event = e.orders.take()
		case <-stop:
			stop = nil
			event = election.Event{Kind: election.StopAsked}
		}
	}
}

// election is the part of the Config that the core knows.
func (e *Elector) election() *election.Config {
	return &election.Config{
		Namespace: e.cfg.Namespace, Name: e.cfg.Name,
		Identity: e.cfg.Identity, Incarnation: e.cfg.Incarnation, ProvenDead: e.cfg.ProvenDead,
		LeaseDuration: e.cfg.LeaseDuration, RenewDeadline: e.cfg.RenewDeadline, RetryPeriod: e.cfg.RetryPeriod, RenewInterval: e.cfg.RenewInterval,
		ClaimDelay: e.cfg.ClaimDelay, AwaitStand: e.cfg.AwaitStand, Drains: e.cfg.BeforeRelease != nil, Random: e.random,
	}
}

// carryOut does what a Step asks for, in its order. It waits for nothing.
func (l *loop) carryOut(t election.Todo) {
	s, uid := t.State, types.UID(t.State.UID)
	if uid == "" && s.ValidUntil != 0 { // the Lease was deleted under its leader, which puts it back
		uid = l.State().LeaseUID
	}
	l.publish(State{
		Identity: l.cfg.Identity, Leader: s.Leader, Previous: s.Previous, ValidUntil: s.ValidUntil, HeldUntil: s.HeldUntil, LeaseUID: uid,
		Transitions: s.Transitions, Synced: s.Synced, Problem: s.Problem, Denied: s.Denied,
		Role: roles[s.Role], Down: s.Down, Retired: s.Retired, Draining: s.Draining, Rests: s.Rests, Acquired: acquired(s.Acquired), ClaimAt: s.ClaimAt, LapsesAt: s.LapsesAt,
	})
	for _, line := range t.Lines {
		l.log.Log(l.requests, line.Level, line.Text, line.Args...)
	}
	if t.Abandon {
		l.attempt.abandon(l.client)
	}
	if t.Send.Kind != election.None {
		if l.attempt != nil {
			l.attempt.cancel() // it was answered: nothing of it is to stay
		}
		l.attempt = &attempt{request: t.Send}
		l.attempt.ctx, l.attempt.cancel = context.WithCancel(l.requests)
		l.send(l.attempt, l.client.current())
	}
	if t.Double {
		l.double(l.attempt)
	}
	if t.EndWatch {
		l.watch()
	}
	if t.Watch != 0 {
		l.startWatch(t.Watch, t.WatchFrom)
	}
	if t.CancelDrain {
		l.drain()
	}
	if t.Drain {
		l.startDrain(Cause(t.DrainCause))
	}
}

// attempt is the request under way, in one copy or two.
type attempt struct {
	request election.Request
	ctx     context.Context
	cancel  context.CancelFunc
	doubled bool
	heard   atomic.Bool // the API server, or something like it, has answered a copy
}

// abandon ends what is left of an attempt. Where neither connection gave an
// answer, the next request dials.
func (a *attempt) abandon(c *client) {
	if a.doubled && !a.heard.Load() {
		c.dropConnections()
	}
	a.cancel()
}

// double sends a copy on connections of its own.
func (l *loop) double(a *attempt) {
	a.doubled = true
	fresh, err := l.client.fresh()
	if err != nil {
		l.tell(a.ctx, election.Event{Kind: election.Answered, ID: a.request.ID, Failure: failureOf(err)})
		return
	}
	l.send(a, fresh)
}

func (l *loop) send(a *attempt, line *line) {
	go func() {
		record, err := guarded(l, a.ctx, func() (election.Record, error) { return l.client.do(a.ctx, line, a.request) })
		failure := failureOf(err)
		if a.ctx.Err() == nil && (err == nil || failure.Code != 0) && !a.heard.Swap(true) {
			l.client.prefer(line)
		}
		l.tell(a.ctx, election.Event{Kind: election.Answered, ID: a.request.ID, Record: record, Failure: failure})
	}()
}

// maxHanging bounds how many calls may hang that do not end with their context.
const maxHanging = 8

// guarded calls do, and returns at the latest when ctx ends. A credential plugin
// may hang without regard to a context: then only so many calls pile up.
func guarded[T any](l *loop, ctx context.Context, do func() (T, error)) (result T, err error) {
	if n := l.hanging.Add(1); n > maxHanging {
		l.hanging.Add(-1)
		return result, fmt.Errorf("%d earlier requests have not returned. Does a credential plugin of the kubeconfig hang?", maxHanging)
	}
	type outcome struct {
		result T
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		defer l.hanging.Add(-1)
		result, err := do()
		done <- outcome{result, err}
	}()
	select {
	case o := <-done:
		return o.result, o.err
	case <-ctx.Done():
		return result, ctx.Err()
	}
}

func (l *loop) startWatch(id int, from string) {
	ctx, cancel := context.WithCancel(l.requests)
	l.watch = cancel
	go func() {
		_, err := guarded(l, ctx, func() (struct{}, error) {
			l.client.follow(ctx, id, from, l.cfg.RenewDeadline/2, func(ev election.Event) bool { return l.tell(ctx, ev) })
			return struct{}{}, nil
		})
		if err != nil && ctx.Err() == nil {
			l.tell(ctx, election.Event{Kind: election.WatchEnded, ID: id, Failure: failureOf(err)})
		}
	}()
}

func (l *loop) startDrain(cause Cause) {
	ctx, cancel := context.WithCancel(l.requests)
	l.drain = cancel
	go func() {
		defer cancel()
		err := l.cfg.BeforeRelease(ctx, cause)
		failure := failureOf(err)
		failure.Keep = errors.Is(err, ErrKeepLease)
		l.tell(l.requests, election.Event{Kind: election.Drained, Failure: failure})
	}()
}

// tell hands the loop an event, and says whether it took it before ctx ended.
func (l *loop) tell(ctx context.Context, ev election.Event) bool {
	select {
	case l.events <- ev:
		return true
	case <-ctx.Done():
		return false
	}
}
