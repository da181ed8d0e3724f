package lease

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/leader-elector/leader-elector/lease/internal/election"
)

// lookEvery is how often AskToStepDown reads the Lease.
const lookEvery = 100 * time.Millisecond

// AskToStepDown asks the leader of the Lease that cfg names to hand over, by
// [StepDownAnnotation]: to successor, or to any replica where that is empty. It returns
// who leads then, once another does, and how long that took. Of cfg it uses REST,
// Namespace and Name. It needs the rights to get and to update the Lease.
func AskToStepDown(ctx context.Context, cfg Config, successor string) (leader string, took time.Duration, err error) {
	c, err := newClient(cfg.REST, cfg.Namespace, cfg.Name, DefaultRenewDeadline/2)
	if err != nil {
		return "", 0, err
	}
	start := time.Now()
	asked, overtaken, err := c.annotate(ctx, successor)
	if err != nil || overtaken.Holder != "" {
		return overtaken.Holder, time.Since(start), err
	}
	for {
		if err := wait(ctx, lookEvery); err != nil {
			return "", 0, fmt.Errorf("%s was asked to step down, and no other replica has led since: %w", asked.Holder, context.Cause(ctx))
		}
		now, err := c.do(ctx, c.current(), election.Request{Kind: election.Read})
		switch {
		case err != nil || now.Holder == "" || now.Holder == asked.Holder && now.Transitions == asked.Transitions:
		case now.Holder == asked.Holder && now.Transitions > asked.Transitions+1:
			return "", 0, fmt.Errorf("%s handed over, another replica led, and %[1]s leads again with token %d", now.Holder, now.Transitions)
		case now.Holder == asked.Holder:
			return "", 0, fmt.Errorf("%s handed over, and leads again with token %d, since no other replica did", now.Holder, now.Transitions)
		default:
			return now.Holder, time.Since(start), nil
		}
	}
}

// annotate writes the annotations and returns the record that they are about. Where
// another replica has taken over before that, it asks nothing of it and returns its record.
func (c *client) annotate(ctx context.Context, successor string) (asked, overtaken election.Record, err error) {
	for {
		r, err := c.do(ctx, c.current(), election.Request{Kind: election.Read})
		switch {
		case err != nil:
			return r, overtaken, fmt.Errorf("reading Lease %s/%s: %w", c.namespace, c.name, err)
		case !r.Exists():
			return r, overtaken, fmt.Errorf("there is no Lease %s/%s", c.namespace, c.name)
		case asked.Exists() && r.Holder != "" && r.Holder != asked.Holder:
			return asked, r, nil
		case r.Holder == "":
			return r, overtaken, errors.New("no replica leads")
		case r.Holder == successor:
			return r, overtaken, fmt.Errorf("%s leads already", successor)
		}
		asked = r
		r.StepDown, r.Successor = strconv.Itoa(int(r.Transitions)), successor
		_, err = c.do(ctx, c.current(), election.Request{Kind: election.Renew, Write: r})
		if !apierrors.IsConflict(err) { // the leader has renewed in between
			if err != nil {
				err = fmt.Errorf("annotating Lease %s/%s: %w", c.namespace, c.name, err)
			}
			return asked, overtaken, err
		}
		if err := wait(ctx, lookEvery); err != nil {
			return asked, overtaken, err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
