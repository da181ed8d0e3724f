package election

import (
	"encoding/binary"
	"slices"
	"strconv"
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
)

// Fingerprint collects what decides the future of an election, so that two
// moments that differ in nothing else have the same bytes: times count from now,
// versions from the newest one, names and renewTimes in the order in which they
// are met. It is for those who try every order of events.
type Fingerprint struct {
	Bytes  []byte
	Now    boottime.Moment // of the process that is being written
	Newest int             // the API server's resourceVersion
	names  []string
	stamps []Stamp
}

// Reset empties f, for use again.
func (f *Fingerprint) Reset() {
	f.Bytes, f.names, f.stamps = f.Bytes[:0], f.names[:0], f.stamps[:0]
}

// Int writes a number.
func (f *Fingerprint) Int(i int64) { f.Bytes = binary.AppendVarint(f.Bytes, i) }

// Bool writes a truth.
func (f *Fingerprint) Bool(b bool) {
	if b {
		f.Bytes = append(f.Bytes, 1)
	} else {
		f.Bytes = append(f.Bytes, 0)
	}
}

// Due writes a moment in which only the future counts.
func (f *Fingerprint) Due(m boottime.Moment) { f.since(m, 0) }

// since writes a moment that is of no more interest when it lies back so far.
func (f *Fingerprint) since(m boottime.Moment, back time.Duration) {
	switch {
	case m == 0:
		f.Int(-2 << 60)
	case m == boottime.Never:
		f.Int(1 << 60)
	default:
		f.Int(int64(max(m.Sub(f.Now), -back)))
	}
}

// Name writes an identity, an incarnation or a uid.
func (f *Fingerprint) Name(s string) {
	f.Int(met(&f.names, s))
}

func (f *Fingerprint) stamp(s Stamp) { f.Int(met(&f.stamps, s)) }

// met is the place of v among those met so far, -1 for the zero value.
func met[T comparable](seen *[]T, v T) int64 {
	var zero T
	if v == zero {
		return -1
	}
	i := slices.Index(*seen, v)
	if i < 0 {
		i = len(*seen)
		*seen = append(*seen, v)
	}
	return int64(i)
}

func (f *Fingerprint) version(v string) {
	n, err := strconv.Atoi(v)
	if err != nil {
		f.Int(-1 << 40)
		return
	}
	f.Int(int64(max(n-f.Newest, -20))) // those before are all old
}

// Record writes r.
func (f *Fingerprint) Record(r Record) {
	f.Bool(r.Exists())
	if !r.Exists() && r.Renewed == 0 {
		return
	}
	f.Name(r.UID)
	f.version(r.Version)
	f.Name(r.Holder)
	f.Name(r.Mark)
	f.Int(int64(r.Seconds))
	f.Int(int64(r.Transitions))
	f.stamp(r.Acquired)
	f.stamp(r.Renewed)
	f.Bool(r.StepDown != "")
	f.Bool(r.StepDown != "" && r.StepDown == strconv.Itoa(int(r.Transitions)))
	f.Name(r.Successor)
}

// Request writes r.
func (f *Fingerprint) Request(r Request) {
	f.Int(int64(r.Kind))
	if r.Kind != None && r.Kind != Read {
		f.Record(r.Write)
	}
}

// Campaign writes c. What only the log depends on is left out, and what depends on
// a wall clock that is set back.
func (f *Fingerprint) Campaign(c *Campaign) {
	t := &c.term
	f.Name(t.holder)
	f.Name(t.process)
	f.Record(t.held)
	f.Int(int64(t.transitions))
	f.Bool(t.counted)
	f.Bool(t.dead)
	f.Int(int64(t.others))
	f.Int(int64(t.lower))
	f.Bool(t.doubted)
	f.Int(int64(t.written))
	f.Int(int64(t.before))
	f.Due(t.floor)
	f.Due(t.current)

	old := c.cfg.RenewDeadline
	n := &c.tenure
	f.Int(int64(len(n.writes)))
	for _, w := range n.writes {
		f.write(w, old)
	}
	f.since(n.until, old)
	f.Due(n.renewAt)
	f.Int(int64(n.token))
	f.stamp(n.acquired)
	f.Bool(n.told)
	f.Bool(n.served)
	f.Bool(n.owned != "" && n.owned == c.stored.Version)

	h := &c.handover
	f.Int(int64(h.stage))
	f.Bool(h.stopping)
	f.Bool(h.keep)
	f.Due(h.by)
	f.Due(h.resumeAt)
	f.Bool(h.yields)

	s := &c.standing
	f.Bool(s.down)
	f.Bool(s.retired)
	f.Bool(s.free)
	if back := max(c.cfg.ClaimDelay, c.cfg.RetryPeriod); c.cfg.ClaimDelay > 0 || c.stored.Successor != "" {
		f.since(s.since, back)
	}

	l := &c.flight
	f.Int(int64(l.copies))
	if l.copies > 0 {
		f.Request(l.request)
		f.write(l.write, old)
		f.Bool(l.broken)
		f.version(l.known)
		f.Due(l.doubleAt)
		f.Due(l.giveUpAt)
	}

	b := &c.backoff
	f.Due(b.notBefore)
	f.Due(b.pollAt)
	f.Int(int64(min(b.failures, 3)))
	f.Int(int64(b.conflicts))
	f.Due(b.pace)
	f.Int(int64(b.spread))
	f.Int(int64(b.place))

	w := &c.watch
	f.Bool(w.id != 0)
	f.Bool(w.up)
	f.since(w.since, c.cfg.RetryPeriod)
	f.Due(w.retryAt)
	f.Bool(w.fromNow)

	f.Record(c.stored)
	f.version(c.version)
	f.Bool(c.synced)
	f.Bool(c.fresh)
	f.Bool(c.unknown)
	f.Due(c.restoreAt)
}

func (f *Fingerprint) write(w write, old time.Duration) {
	f.stamp(w.renewed)
	f.since(w.sent, old)
	f.version(w.replaced.Version)
	f.Bool(w.restores)
	f.version(w.version)
	f.stamp(w.stored)
	f.Name(w.mark)
	f.Bool(w.repeats)
	f.Bool(w.voided)
	f.Bool(w.claims)
	if w.version == "" {
		f.Record(w.replaced)
	}
	f.Int(int64(w.lasts))
}

// UnderWay is the request under way. Its Kind is None where there is none.
func (c *Campaign) UnderWay() Request { return c.flight.request }

// Version is the newest resourceVersion that c knows.
func (c *Campaign) Version() string { return c.version }
