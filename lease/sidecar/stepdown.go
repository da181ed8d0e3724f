package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"github.com/leader-elector/leader-elector/lease"
)

// StepDown asks the leader to hand over, to the identity of --to where that is given, and
// waits until another replica leads. It uses the rights of the pod that it runs in. It
// returns the exit code.
func StepDown(ctx context.Context, cfg *Config, args []string, stdout, stderr io.Writer) int {
	successor, err := stepDownArguments(args)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	api, err := cfg.connect()
	if err == nil {
		err = cfg.stepDown(ctx, api, successor, stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "step-down: %v\n", err)
		return 1
	}
	return 0
}

func stepDownArguments(args []string) (successor string, err error) {
	switch {
	case len(args) == 0:
		return "", nil
	case len(args) == 1 && strings.HasPrefix(args[0], "--to="):
		successor = strings.TrimPrefix(args[0], "--to=")
	case len(args) == 2 && args[0] == "--to":
		successor = args[1]
	}
	if successor == "" {
		return "", errors.New("usage: leader-election-sidecar step-down [--to IDENTITY]")
	}
	return successor, nil
}

// errNoneLed says why the command has stopped waiting.
var errNoneLed = errors.New("timed out. Possible causes: its app still holds the work lock, there is no other replica that can lead (status in the leader's pod tells more), or the leader is a program that does not know the annotation")

// stepDown waits for as long as an app that never took the work lock is waited for, and
// for one term more.
func (c *Config) stepDown(ctx context.Context, api *rest.Config, successor string, stdout io.Writer) error {
	election := c.Election()
	election.Complete()
	election.REST = api
	limit := 2*election.LeaseDuration + max(c.releaseDelay, c.defaultReleaseDelay)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errNoneLed)
	defer cancel()
	leader, took, err := lease.AskToStepDown(ctx, election, successor)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s leads after %v\n", leader, took.Round(time.Millisecond))
	if successor != "" && leader != successor {
		return fmt.Errorf("%s leads instead of %s, which did not claim the Lease within RETRY_PERIOD of its release", leader, successor)
	}
	return nil
}
