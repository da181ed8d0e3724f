package kind

import (
	"slices"
	"time"

	"github.com/leader-elector/leader-elector/e2e/harness"
)

// draw adds to a timeline what is recorded.
func (r *record) draw(to *harness.Timeline, until time.Time) {
	for _, w := range r.windows() {
		if w.Open && until.Sub(w.End) < time.Second { // its log comes a little later
			w.End = until
		}
		to.Span(w.Pod, harness.Works, w.Begin, w.End)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, h := range r.held {
		end := until
		if i+1 < len(r.held) {
			end = r.held[i+1].seen
		}
		if h.holder != "" {
			to.Span(h.holder, harness.Holds, h.seen, end)
		}
	}
	slices.SortStableFunc(r.says, func(a, b saying) int { return a.at.Compare(b.at) })
	for i, s := range r.says {
		if s.what == leading {
			to.Span(s.pod, harness.Told, s.at, r.toldUntil(s, r.says[i+1:], until))
		}
	}
}

// toldUntil is when a leader's term ended: when its sidecar said so, or when the status
// file lapsed, RENEW_DEADLINE after the last renewal, where the sidecar said no more.
func (r *record) toldUntil(s saying, later []saying, until time.Time) time.Time {
	if i := slices.IndexFunc(later, func(l saying) bool { return l.pod == s.pod }); i >= 0 {
		until = later[i].at
	}
	lapses := until
	for i, h := range r.held {
		replaced := until
		if i+1 < len(r.held) {
			replaced = r.held[i+1].seen
		}
		if h.holder == s.pod && replaced.After(s.at) && h.seen.Before(until) {
			lapses = h.renewed.Add(h.lasts * 2 / 3)
		}
	}
	if lapses.Before(until) {
		return lapses
	}
	return until
}
