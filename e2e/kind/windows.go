// Package kind installs the example chart on a real cluster, breaks it in every
// way that the product promises to survive, and reads in the apps' logs whether
// two of them ever worked at once. Run it with `make e2e`.
package kind

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"
)

// line is one of the lines that e2e/cmd/app logs.
type line struct {
	Time    time.Time
	Msg     string // begin, work, end, stale, or an error
	Token   int32
	UID     string
	Checked time.Time // the last look that said yes
	Worked  time.Time // the end of the last piece of work
}

// window is an unbroken time in which one app worked.
type window struct {
	Pod     string
	Token   int32 // fencing token
	UID     string
	Begin   time.Time
	End     time.Time // of the last work known
	Checked time.Time // the last look that said yes
	Open    bool      // no end was logged
}

func (w window) String() string {
	const clock = "15:04:05.000"
	return fmt.Sprintf("%s token %d (%.8s) %s to %s, checked %s, open %v", w.Pod, w.Token, w.UID,
		w.Begin.Format(clock), w.End.Format(clock), w.Checked.Format(clock), w.Open)
}

// record gathers the lines of all the apps of one election.
type record struct {
	mu    sync.Mutex
	seen  map[string]bool
	lines map[string][]line // by pod
	says  []saying          // of the sidecars' logs
	held  []holding         // of the Lease
}

// saying is a line of a sidecar's log: one of those of spoken.
type saying struct {
	pod, what string
	at        time.Time
}

// leading and givingUp are what a sidecar says, as its log has it.
const (
	leading  = "Leading "
	givingUp = `"Giving up the Lease`
)

// holding is one version of the Lease.
type holding struct {
	holder  string
	seen    time.Time
	renewed time.Time // zero: never
	lasts   time.Duration
}

func newRecord() *record {
	return &record{seen: map[string]bool{}, lines: map[string][]line{}}
}

// addLease notes a version of the Lease.
func (r *record) addLease(h holding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = append(r.held, h)
}

// add notes a line of a pod's log. The same line, read again after a broken
// stream, counts once; what is not the app's, such as the kubelet's word that
// there is no log yet, doesn't count.
func (r *record) add(pod, raw string) {
	l := line{}
	if err := json.Unmarshal([]byte(raw), &l); err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if key := pod + raw; !r.seen[key] {
		r.seen[key] = true
		r.lines[pod] = append(r.lines[pod], l)
	}
}

// addBoth notes a line of a log that an app and an elector write.
func (r *record) addBoth(pod, raw string) {
	r.add(pod, raw)
	r.addSidecar(pod, raw)
}

var spoken = regexp.MustCompile(`^time=(\S+) .*msg=(` + leading + `|` + givingUp + `|"No longer leading)`)

// addSidecar notes a line of a sidecar's log: the one that says that it leads, the one
// that says that it gives leadership up, and the one that says that it has lost it.
func (r *record) addSidecar(pod, raw string) {
	found := spoken.FindStringSubmatch(raw)
	if found == nil {
		return
	}
	at, _ := time.Parse(time.RFC3339Nano, found[1])
	r.mu.Lock()
	defer r.mu.Unlock()
	r.says = append(r.says, saying{pod, found[2], at})
}

// ledAfter is the first moment after another at which a sidecar said that it leads,
// zero where none did.
func (r *record) ledAfter(moment time.Time) (first time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.says {
		if s.what == leading && s.at.After(moment) && (first.IsZero() || s.at.Before(first)) {
			first = s.at
		}
	}
	return first
}

// toldToStop says when the sidecar of a pod began to hand over.
func (r *record) toldToStop() map[string]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := map[string]time.Time{}
	for _, s := range r.says {
		if s.what == givingUp {
			told[s.pod] = s.at
		}
	}
	return told
}

// windows are those of all pods, in the order in which they began.
func (r *record) windows() (all []window) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for pod, lines := range r.lines {
		slices.SortStableFunc(lines, func(a, b line) int { return a.Time.Compare(b.Time) })
		var w *window
		for _, l := range lines {
			switch {
			case l.Msg == "begin": // also after a window that was cut off: the app died
				all = append(all, window{Pod: pod, Token: l.Token, UID: l.UID, Begin: l.Time, Open: true})
				w = &all[len(all)-1]
			case w == nil || l.Msg != "work" && l.Msg != "end":
				continue
			}
			w.Checked = l.Checked
			w.End = l.Time
			if l.Msg == "end" {
				w.Open, w.End = false, l.Worked
				w = nil
			}
		}
	}
	slices.SortFunc(all, func(a, b window) int { return a.Begin.Compare(b.Begin) })
	return all
}

// others are the lines that tell of no window, such as errors and stale files.
func (r *record) others() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for pod, lines := range r.lines {
		for _, l := range lines {
			if l.Msg != "begin" && l.Msg != "work" && l.Msg != "end" {
				all = append(all, fmt.Sprintf("%s %s: %s", l.Time.Format("15:04:05.000"), pod, l.Msg))
			}
		}
	}
	slices.Sort(all)
	return all
}

// violations says where windows (in order) break the promise: two pods at work
// at once, or a fencing token that did not grow with a change of holder. A pod
// that was frozen can't end a piece of work by itself: of it only what it did
// after a look that said yes is held against it.
func violations(windows []window, frozen map[string]bool) (found []string) {
	for i, w := range windows {
		end := w.End
		if frozen[w.Pod] {
			end = w.Checked
		}
		for _, later := range windows[i+1:] {
			if later.Pod != w.Pod && later.Begin.Before(end) {
				found = append(found, fmt.Sprintf("two at work for %v: %v | %v", end.Sub(later.Begin), w, later))
			}
			if later.UID == w.UID && (later.Token < w.Token || later.Token == w.Token && later.Pod != w.Pod) {
				found = append(found, fmt.Sprintf("token does not grow: %v | %v", w, later))
			}
		}
	}
	return found
}
