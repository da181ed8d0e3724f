package lease

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/rest"

	"github.com/leader-elector/leader-elector/lease/boottime"
	"github.com/leader-elector/leader-elector/lease/internal/election"
)

const record = `{"metadata":{"name":"app","namespace":"default","uid":"u","resourceVersion":"7"},"spec":{"holderIdentity":"other","leaseDurationSeconds":15,"leaseTransitions":3,"renewTime":"2026-01-01T00:00:00.000000Z"}}`

// canned answers every request with the same bytes.
type canned struct {
	status int
	kind   string
	body   []byte
}

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: c.status, Header: http.Header{"Content-Type": {c.kind}, "Retry-After": {"1"}},
		Body: io.NopCloser(bytes.NewReader(c.body)), Request: r,
	}, nil
}

func newElector(tb testing.TB, transport http.RoundTripper) *Elector {
	e, err := New(Config{
		REST: &rest.Config{Host: "http://api", Transport: transport}, Namespace: "default", Name: "app", Identity: "me",
	})
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// driver steps the election of a replica called me, in a time of its own.
type driver struct {
	*election.Campaign
	tb     testing.TB
	now    boottime.Moment
	todo   election.Todo
	flight election.Request // the request under way
	watch  int              // the watch that runs
}

func newDriver(tb testing.TB, e *Elector) *driver {
	campaign := election.New(e.election())
	d := &driver{Campaign: &campaign, tb: tb, now: boottime.Moment(time.Hour)}
	d.step(election.Event{})
	return d
}

// step lets one thing happen, and notes what is to be done about it.
func (d *driver) step(ev election.Event) {
	d.todo = d.Step(d.now, time.Unix(0, int64(d.now)).UTC(), ev)
	if d.todo.Abandon || ev.Kind == election.Answered && ev.ID == d.flight.ID {
		d.flight = election.Request{}
	}
	if d.todo.Send.Kind != election.None {
		d.flight = d.todo.Send
	}
	if d.todo.EndWatch {
		d.watch = 0
	}
	if d.todo.Watch != 0 {
		d.watch = d.todo.Watch
	}
	if d.todo.WakeAt < 0 {
		d.tb.Errorf("wakes at %v", d.todo.WakeAt)
	}
}

func (d *driver) answer(r election.Record, f election.Failure) {
	d.step(election.Event{Kind: election.Answered, ID: d.flight.ID, Record: r, Failure: f})
}

// untilRead brings the campaign to a read, at most limit later. Every write on
// the way is refused.
func (d *driver) untilRead(limit time.Duration) bool {
	for end := d.now.Add(limit); d.now <= end; {
		switch {
		case d.flight.Kind == election.Read:
			return true
		case d.flight.Kind != election.None:
			d.answer(election.Record{}, election.Failure{Text: "conflict", Code: 409})
		default:
			d.now = max(d.now, d.todo.WakeAt)
			d.step(election.Event{})
		}
	}
	return false
}

// leavesTermsAlone fails unless the campaign, which learnt at that moment that r is
// stored, waits for as long as the holder of r may lead. Reads find r again.
func (d *driver) leavesTermsAlone(r election.Record, learnt boottime.Moment) {
	d.tb.Helper()
	if r.Holder == "" {
		return
	}
	wait := DefaultLeaseDuration
	if r.Seconds > 0 {
		wait = min(time.Duration(r.Seconds)*time.Second, MaxLeaseDuration)
	}
	for steps := 0; ; steps++ {
		if d.todo.State.ValidUntil != 0 {
			d.tb.Errorf("leads by the record of %q", r.Holder)
		}
		waited := d.now.Sub(learnt)
		if k := d.flight.Kind; k >= election.Restore {
			if waited < wait {
				d.tb.Errorf("%v after %v beside %q, whose record says %v", k, waited, r.Holder, wait)
			}
			return
		}
		if waited > wait+time.Minute || steps > 10000 {
			d.tb.Errorf("no claim %v after the record of %q, which says %v", waited, r.Holder, wait)
			return
		}
		if d.flight.Kind == election.Read {
			d.answer(r, election.Failure{})
			continue
		}
		d.now = max(d.now, d.todo.WakeAt)
		d.step(election.Event{})
	}
}

// parse reads a Lease. What is no Lease stands for one that is absent.
func parse(raw []byte, version int) election.Record {
	l := &coordinationv1.Lease{}
	if json.Unmarshal(raw, l) != nil {
		return election.Record{}
	}
	if l.ResourceVersion == "" {
		l.ResourceVersion = strconv.Itoa(version)
	}
	return recordOf(l)
}

// Two Leases, one after the other: whatever they say, a foreign term is waited
// out for as long as its record says, and no replica leads by it.
func FuzzLeaseToDecision(f *testing.F) {
	f.Add([]byte(record), []byte(record))
	f.Add([]byte(`{}`), []byte(`{"spec":{"holderIdentity":"me","leaseDurationSeconds":-1}}`))
	f.Add([]byte(record), []byte(`{"metadata":{"annotations":{"leader-elector/incarnation":"put-back-for:x"}},"spec":{"holderIdentity":"","leaseDurationSeconds":1}}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		one, two := parse(first, 7), parse(second, 8)
		exhausted := func(r election.Record) bool { return r.Counted && r.Transitions == 1<<31-1 } // never claimed
		start := func() (d *driver, learnt boottime.Moment) {
			e := newElector(t, canned{})
			e.random = func() float64 { return 0.5 }
			d = newDriver(t, e)
			d.answer(one, election.Failure{})
			return d, d.now
		}
		if !exhausted(one) {
			d, learnt := start()
			d.leavesTermsAlone(one, learnt)
		}
		if exhausted(one) || exhausted(two) {
			return
		}
		since := func(d *driver, learnt boottime.Moment) boottime.Moment {
			if sameContent(one, two) {
				return learnt
			}
			return d.now
		}
		// the second one is read
		if d, learnt := start(); d.untilRead(time.Minute) {
			d.answer(two, election.Failure{})
			d.leavesTermsAlone(two, since(d, learnt))
		}
		// the second one is told by the watch, if one runs
		if d, learnt := start(); d.watch != 0 {
			d.now = d.now.Add(time.Second)
			d.step(election.Event{Kind: election.WatchUp, ID: d.watch})
			ev := election.Event{Kind: election.WatchSaw, ID: d.watch, Record: two}
			if !two.Exists() {
				ev.Kind, ev.Record = election.WatchDeleted, one
				ev.Record.Version = "9"
			}
			d.step(ev)
			if d.flight.Kind >= election.Restore { // of the version before
				d.answer(election.Record{}, election.Failure{Text: "conflict", Code: 409})
			}
			if later(ev.Record.Version, one.Version) { // else it was no news
				d.leavesTermsAlone(two, since(d, learnt))
			}
		}
		// the second one is what is stored of our claim
		if d, learnt := start(); d.flight.Kind == election.Claim && two.Exists() && two.Holder != "me" {
			d.answer(two, election.Failure{})
			d.leavesTermsAlone(two, since(d, learnt))
		}
	})
}

// later says whether a version comes after another one, as far as the two can be
// compared. A watch never tells twice of one version.
func later(version, than string) bool {
	order, err := resourceversion.CompareResourceVersion(version, than)
	return err != nil || order > 0
}

// sameContent says whether two records differ in their resourceVersion alone.
func sameContent(a, b election.Record) bool {
	a.Version, a.Object, b.Version, b.Object = "", nil, "", nil
	return a == b
}

// An answer of the API server, or of a proxy before it: an error, or the Lease
// that was asked for.
func FuzzAnswerToClient(f *testing.F) {
	f.Add(100, "application/json", []byte(record))
	f.Add(100, "text/html", []byte(`<html>login</html>`))
	f.Add(309, "application/json", []byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Conflict","code":409}`))
	f.Add(329, "application/json", []byte(`{"kind":"Status","details":{"retryAfterSeconds":-5}}`))
	f.Add(100, "application/vnd.kubernetes.protobuf", []byte("k8s\x00\n\x00"))
	f.Fuzz(func(t *testing.T, status int, kind string, body []byte) {
		status = 100 + int(uint(status)%500) // no HTTP client lets another one through
		e := newElector(t, canned{status, kind, body})
		d := newDriver(t, e)
		got, err := e.client.do(t.Context(), e.client.current(), d.flight)
		if err == nil && got.Exists() && got.Object.Name != "app" {
			t.Errorf("not the Lease that was asked for: %+v", got.Object)
		}
		failure := failureOf(err)
		d.answer(got, failure)
		if at := d.todo.WakeAt; at < d.now || at == boottime.Never {
			t.Errorf("wakes at %v, now it is %v", at, d.now)
		}
		if err == nil && got.Exists() && !(got.Counted && got.Transitions == 1<<31-1) {
			d.leavesTermsAlone(got, d.now)
			return
		}
		// the same bytes as the answer to the claim of an absent Lease
		d = newDriver(t, e)
		d.answer(election.Record{}, election.Failure{})
		got, err = e.client.do(t.Context(), e.client.current(), d.flight)
		if err != nil {
			d.answer(got, failureOf(err))
			if d.todo.State.ValidUntil != 0 {
				t.Errorf("leads after %v", err)
			}
		}
	})
}

// A watch's bytes: events of the Lease, and then an end.
func FuzzWatchToClient(f *testing.F) {
	f.Add([]byte(`{"type":"ADDED","object":` + record + `}` + "\n" + `{"type":"DELETED","object":` + record + `}`))
	f.Add([]byte(`{"type":"ERROR","object":{"kind":"Status","code":410}}`))
	f.Add([]byte(`{"type":"BOOKMARK","object":{}}{"type":"MODIFIED","object":{"kind":"Pod","apiVersion":"v1"}}`))
	f.Add([]byte("\x00\x00\x00\x04half"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		kind := "application/json"
		if len(stream) > 0 && stream[0] == 0 { // as the length of a first frame begins
			kind = "application/vnd.kubernetes.protobuf;stream=watch"
		}
		e := newElector(t, canned{200, kind, stream})
		d := newDriver(t, e)
		d.answer(parse([]byte(record), 7), election.Failure{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var events []election.Event
		e.client.follow(ctx, d.watch, "7", time.Minute, func(ev election.Event) bool {
			events = append(events, ev)
			return true
		})
		if ctx.Err() != nil {
			t.Fatal("the watch does not end with its bytes")
		}
		if n := len(events); n == 0 || events[n-1].Kind != election.WatchEnded {
			t.Fatalf("the end is not told: %+v", events)
		}
		for _, ev := range events {
			told := ev.Kind == election.WatchSaw || ev.Kind == election.WatchDeleted
			if told && (ev.Record.Object.Name != "app" || ev.Record.Version == "") {
				t.Errorf("not the Lease that is watched: %+v", ev.Record.Object)
			}
			d.step(ev)
			if d.todo.State.ValidUntil != 0 {
				t.Errorf("leads by %+v", ev)
			}
			claims := d.flight.Kind == election.Claim
			if ev.Kind == election.WatchSaw && ev.Record.Holder != "" && d.todo.State.Leader == ev.Record.Holder && claims {
				t.Errorf("claims beside %q", ev.Record.Holder)
			}
		}
	})
}
