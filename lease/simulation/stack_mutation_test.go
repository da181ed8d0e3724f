package simulation

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/boottime"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// stackMutation breaks one safety rule of our replicas at a seam between them and
// the world: the connection, the clock, the Config, the way to look at them.
type stackMutation struct {
	rule, how string
	config    func(*lease.Config)
	transport func(http.RoundTripper) http.RoundTripper
	view      func(*player) bool
	forget    bool // followers lose their memory when the Lease is deleted
	impatient bool // the app is told to stop, and not waited for
	deaf      bool // the Elector is not told that the app is gone
}

var stackMutations = []stackMutation{
	{rule: "S1", how: "the term ends when the next record is seen, not at the renew deadline",
		view: func(p *player) bool {
			return p.elector.State().Leader == p.identity && p.elector.State().ValidUntil != 0
		}},
	{rule: "S2", how: "half of the record's leaseDurationSeconds is waited for",
		transport: edits(`"leaseDurationSeconds":15`, `"leaseDurationSeconds":7`, false)},
	{rule: "S3", how: "updates carry no resourceVersion",
		transport: edits(`"resourceVersion":"[0-9]+",?`, ``, true)},
	{rule: "S4", how: "a write whose answer was lost is taken for one that landed",
		transport: func(next http.RoundTripper) http.RoundTripper { return roundTripper(believeLostAnswers(next)) }},
	{rule: "S5, S9", how: "another process of our identity is taken for dead without proof",
		config: func(c *lease.Config) { c.ProvenDead = func(i string) bool { return i != c.Incarnation } }},
	{rule: "S6", how: "the Lease is released while the app is still stopping", impatient: true},
	{rule: "S8", how: "the clock does not count the time for which the process stood still",
		config: func(c *lease.Config) { c.Clock = &monotonic{Clock: c.Clock.(*leasetest.Clock)} }},
	{rule: "S10", how: "a deleted Lease is forgotten, and so free", forget: true},
	{rule: "S11", how: "a status file that can't be removed does not keep the Lease",
		config: func(c *lease.Config) { c.BeforeRelease = func(context.Context, lease.Cause) error { return nil } }},
	{rule: "S12", how: "leaseTransitions does not grow",
		transport: edits(`"leaseTransitions":[0-9]+`, `"leaseTransitions":0`, true)},
	{rule: "A2", how: "a leader is not told that its app is gone", deaf: true},
}

// TestStackFindsEveryMutation is the proof of the oracle: whichever rule
// is broken, some schedule shows it.
func TestStackFindsEveryMutation(t *testing.T) {
	const most = 400
	for _, m := range stackMutations {
		t.Run(m.rule, func(t *testing.T) {
			t.Parallel()
			for n := uint64(1); n <= most; n++ {
				if r := runOne(t, n, m); len(r.violations) > 0 {
					t.Logf("%s: found by schedule %d: %s", m.how, n, r.violations[0])
					return
				}
			}
			t.Errorf("%s: not found in %d schedules", m.how, most)
		})
	}
}

// edits changes the JSON that passes: that of writes, or that of answers.
func edits(pattern, replacement string, writes bool) func(http.RoundTripper) http.RoundTripper {
	what := regexp.MustCompile(pattern)
	edit := func(b []byte) []byte { return what.ReplaceAll(b, []byte(replacement)) }
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if writes && r.Method == http.MethodPut {
				body, err := jsonBody(r)
				if err != nil {
					return nil, err
				}
				r = withJSON(r, edit(body))
			}
			resp, err := next.RoundTrip(r)
			if err != nil || writes {
				return resp, err
			}
			in, out := io.Pipe()
			original := resp.Body
			go func() { // line by line: a watch never ends
				for lines := bufio.NewReader(original); ; {
					line, err := lines.ReadBytes('\n')
					if _, werr := out.Write(edit(line)); err != nil || werr != nil {
						_ = out.CloseWithError(err)
						return
					}
				}
			}()
			resp.Body = &editedBody{in, original}
			return resp, nil
		})
	}
}

// jsonBody is the Lease that a write carries, as JSON.
func jsonBody(r *http.Request) ([]byte, error) {
	l, err := leasetest.Decode(r.Body)
	if err != nil {
		return nil, err
	}
	return json.Marshal(l)
}

func withJSON(r *http.Request, body []byte) *http.Request {
	r = r.Clone(r.Context())
	r.Header.Set("Content-Type", "application/json")
	r.Body = io.NopCloser(bytes.NewReader(body))
	return r
}

type editedBody struct {
	*io.PipeReader
	original io.Closer
}

func (b *editedBody) Close() error { _ = b.PipeReader.Close(); return b.original.Close() }

// believeLostAnswers answers what was sent where the true answer is lost.
func believeLostAnswers(next http.RoundTripper) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodPut {
			return next.RoundTrip(r)
		}
		body, err := jsonBody(r)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		resp, err := next.RoundTrip(withJSON(r.WithContext(ctx), body))
		if err != nil {
			resp = &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}}
		} else if body, err = io.ReadAll(resp.Body); err != nil {
			return nil, err
		} else {
			_ = resp.Body.Close()
		}
		resp.Body, resp.Request = io.NopCloser(bytes.NewReader(body)), r
		return resp, nil
	}
}

// monotonic is a clock that stands still with its process.
type monotonic struct {
	*leasetest.Clock
	lost atomic.Int64
}

func (m *monotonic) Now() boottime.Moment {
	before := m.Read()
	now := m.Clock.Now()
	m.lost.Add(int64(m.Read().Sub(before)))
	return now.Add(-time.Duration(m.lost.Load()))
}

func (m *monotonic) NewAlarm() (boottime.Alarm, error) {
	a, err := m.Clock.NewAlarm()
	return &monotonicAlarm{a, m}, err
}

type monotonicAlarm struct {
	boottime.Alarm
	clock *monotonic
}

func (a *monotonicAlarm) Set(at boottime.Moment) {
	a.Alarm.Set(at.Add(time.Duration(a.clock.lost.Load())))
}

// TestClientGoWithReleaseOverlapsWhereOursDoesNot runs the same schedules of
// partitions, slow answers and clean stops twice: with client-go's
// LeaderElector and its ReleaseOnCancel, and with ours. The app takes up to the
// notice that a lost term gives it to stop.
func TestClientGoWithReleaseOverlapsWhereOursDoesNot(t *testing.T) {
	overlaps := func(n uint64, start func(*stack, string) *player) (count int, longest time.Duration) {
		inStack(t, n, stackMutation{}, func(s *stack) {
			s.handovers(start)
			s.mu.Lock()
			defer s.mu.Unlock()
			count, longest = s.appOverlaps, s.appOverlap
			if len(s.violations) > 0 {
				t.Errorf("seed %d: %s\n%s", n, s.violations[0], s.story())
			}
		})
		return count, longest
	}
	theirs, worst := 0, time.Duration(0)
	const schedules = 40
	for n := uint64(1); n <= schedules; n++ {
		count, longest := overlaps(n, func(s *stack, identity string) *player { return s.startPeer(identity, true) })
		theirs, worst = theirs+count, max(worst, longest)
		if count, longest := overlaps(n, func(s *stack, identity string) *player { return s.startOurs(identity, nil) }); count > 0 {
			t.Errorf("seed %d: our apps overlapped %d times, for up to %v", n, count, longest)
		}
	}
	t.Logf("%d schedules: client-go with ReleaseOnCancel let two apps work at once %d times, for up to %v; ours never", schedules, theirs, worst.Round(time.Millisecond))
	if theirs == 0 {
		t.Error("client-go never overlapped: the schedules show nothing")
	}
}

// handovers stops leaders cleanly, one after the other, under bad connections.
func (s *stack) handovers(start func(*stack, string) *player) {
	s.OnRequest(s.faults())
	s.OnStore(s.stored)
	for i := range 3 {
		start(s, fmt.Sprintf("replica-%d", i))
	}
	for range 20 {
		s.pass(time.Duration(s.random.Int64N(int64(20 * time.Second))))
		leader := s.leader()
		switch n := s.random.IntN(4); {
		case n == 0:
			s.set(s.random.IntN(60), false)
		case n == 1:
			s.set(0, false)
		case leader == nil:
		case n == 2:
			s.note("%s cut off for a while", leader.process)
			s.cutOff(leader, true)
			s.pass(time.Duration(s.random.Int64N(int64(12 * time.Second))))
			s.cutOff(leader, false)
		case n == 3:
			s.note("%s stops cleanly", leader.process)
			leader.stop()
			s.pass(20 * time.Second)
			identity, _, _ := strings.Cut(leader.process, "#")
			s.calm()
			s.until(func() bool { return leader.hasEnded() })
			start(s, identity)
		}
	}
}
