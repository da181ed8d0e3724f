package harness

import (
	"fmt"
	"html"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind is what a bar of a timeline says of a replica.
type Kind int

// The bars of a replica, from top to bottom.
const (
	Holds Kind = iota // the Lease names it
	Told              // its app is told that it leads
	Works             // its app does leader work
	kinds
)

var (
	kindNames  = [kinds]string{"the Lease names this replica", "its app is told that it leads", "its app works"}
	kindColors = [kinds]string{"#1b6ec2", "#e69f00", "#2a9d5b"}
)

// Timeline is what happened to an election: who held the Lease, who was told to lead,
// whose app worked, and which faults there were. Save draws it.
type Timeline struct {
	mu     sync.Mutex
	names  []string // of the replicas, in the order in which they were first seen
	spans  map[string]*[kinds][]span
	faults []fault
}

type span struct {
	from, to time.Time // to is zero while it goes on
}

type fault struct {
	at   time.Time
	text string
}

// NewTimeline returns an empty one.
func NewTimeline() *Timeline { return &Timeline{spans: map[string]*[kinds][]span{}} }

func (t *Timeline) of(replica string, kind Kind) *[]span {
	if t.spans[replica] == nil {
		t.spans[replica] = new([kinds][]span)
		t.names = append(t.names, replica)
	}
	return &t.spans[replica][kind]
}

// Set says that something begins or ends at a moment. Saying it again changes nothing.
func (t *Timeline) Set(replica string, kind Kind, on bool, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	spans := t.of(replica, kind)
	open := len(*spans) > 0 && (*spans)[len(*spans)-1].to.IsZero()
	switch {
	case on && !open:
		*spans = append(*spans, span{from: at})
	case !on && open:
		(*spans)[len(*spans)-1].to = at
	}
}

// Span says that something was so from one moment to another.
func (t *Timeline) Span(replica string, kind Kind, from, to time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	spans := t.of(replica, kind)
	*spans = append(*spans, span{from, to})
}

// Fault notes what was broken, or mended, at this moment.
func (t *Timeline) Fault(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = append(t.faults, fault{time.Now(), fmt.Sprintf(format, args...)})
}

// Measures of the picture, in pixels.
const (
	left       = 250 // of the replicas' names
	bar        = 11
	lane       = int(kinds)*(bar+2) + 14
	columns    = 3 // of the list of faults
	faultLine  = 16
	numberRows = 4

	longestName = 33 // letters
)

// Save draws the time from one moment to another as SVG. Replicas of which nothing is
// to be seen are left out.
func (t *Timeline) Save(path, title string, from, to time.Time) error {
	if !from.Before(to) {
		return fmt.Errorf("the timeline %q has no time between %v and %v", title, from, to)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &picture{from: from, to: to, width: min(max(int(to.Sub(from).Seconds()*60), 700), 2600)}
	var shown []string
	for _, name := range t.names {
		if slices.ContainsFunc(t.spans[name][:], func(of []span) bool { return slices.ContainsFunc(of, p.sees) }) {
			shown = append(shown, name)
		}
	}
	faults := slices.DeleteFunc(slices.Clone(t.faults), func(f fault) bool { return f.at.Before(from) || f.at.After(to) })
	p.top = 72 + 12*numberRows // of the first lane, below title, legend and the faults' numbers
	p.bottom = p.top + len(shown)*lane
	p.text(12, 22, 15, "#000", title)
	for k, x := 0, 12; k < int(kinds); k++ {
		if !slices.ContainsFunc(shown, func(name string) bool { return len(t.spans[name][k]) > 0 }) {
			continue
		}
		p.rect(x, 36, 14, bar, kindColors[k])
		p.text(x+20, 46, 12, "#333", kindNames[k])
		x += 30 + 7*len(kindNames[k])
	}
	p.seconds()
	for i, replica := range shown {
		name := replica
		y := p.top + i*lane
		if r := []rune(name); len(r) > longestName {
			name = string(r[:longestName-1]) + "…"
		}
		p.text(12, y+bar+9, 12, "#000", name)
		for k := range kinds {
			for _, s := range t.spans[replica][k] {
				p.span(s, y+int(k)*(bar+2), kindColors[k], replica+": "+kindNames[k])
			}
		}
	}
	// The reader looks for the times without a leader that works.
	idle, what := Works, "no app works"
	if !slices.ContainsFunc(shown, func(name string) bool { return len(t.spans[name][Works]) > 0 }) {
		idle, what = Told, "no replica leads"
	}
	gaps := p.gaps(t.spans, idle, what)
	p.faults(faults, p.bottom+lane+30)
	height := p.bottom + lane + 36 + (len(faults)+columns-1)/columns*faultLine
	if gaps {
		p.text(12, p.bottom+bar+9, 12, "#c0392b", what)
	}
	svg := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif">`+"\n"+
		`<title>%s</title>`+"\n"+`<rect width="100%%" height="100%%" fill="#fff"/>`+"\n%s</svg>\n", left+p.width+40, height, html.EscapeString(title), p.svg.String())
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(svg), 0o644)
}

// picture is an SVG that grows.
type picture struct {
	from, to           time.Time
	width, top, bottom int
	svg                strings.Builder
}

func (p *picture) x(at time.Time) float64 {
	share := float64(at.Sub(p.from)) / float64(p.to.Sub(p.from))
	return float64(left) + float64(p.width)*min(max(share, 0), 1)
}

func (p *picture) sees(s span) bool {
	return s.from.Before(p.to) && (s.to.IsZero() || s.to.After(p.from))
}

func (p *picture) text(x, y, size int, color, text string) {
	fmt.Fprintf(&p.svg, `<text x="%d" y="%d" font-size="%d" fill="%s">%s</text>`+"\n", x, y, size, color, html.EscapeString(text))
}

func (p *picture) rect(x, y, width, height int, color string) {
	fmt.Fprintf(&p.svg, `<rect x="%d" y="%d" width="%d" height="%d" rx="2" fill="%s"/>`+"\n", x, y, width, height, color)
}

func (p *picture) span(s span, y int, color, tip string) {
	if !p.sees(s) {
		return
	}
	end := s.to
	if end.IsZero() {
		end = p.to
	}
	x := p.x(s.from)
	fmt.Fprintf(&p.svg, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"><title>%s, %.3f s to %.3f s</title></rect>`+"\n",
		x, y, max(p.x(end)-x, 1), bar, color, html.EscapeString(tip), s.from.Sub(p.from).Seconds(), end.Sub(p.from).Seconds())
}

// seconds draws the axis of time, with a line every 1, 2, 5, 10, … s.
func (p *picture) seconds() {
	total := p.to.Sub(p.from).Seconds()
	step := 1.0
	for _, factor := range []float64{2, 2.5, 2, 2, 2.5, 2} {
		if float64(p.width)/(total/step) >= 50 {
			break
		}
		step *= factor
	}
	for s := 0.0; s <= total; s += step {
		x := p.x(p.from.Add(time.Duration(s * float64(time.Second))))
		fmt.Fprintf(&p.svg, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#ddd"/>`+"\n", x, p.top-4, x, p.bottom+lane-14)
		fmt.Fprintf(&p.svg, `<text x="%.1f" y="%d" font-size="11" fill="#666" text-anchor="middle">%g s</text>`+"\n", x, p.bottom+lane, s)
	}
}

// gaps draws when a bar of this kind is missing everywhere, with how long that was, and
// says whether there was such a time.
func (p *picture) gaps(spans map[string]*[kinds][]span, kind Kind, what string) bool {
	var work []span
	for _, of := range spans {
		work = append(work, of[kind]...)
	}
	slices.SortFunc(work, func(a, b span) int { return a.from.Compare(b.from) })
	work = append(work, span{from: p.to}) // a gap at the end ends there
	found, free, labelled := false, time.Time{}, 0.0
	for _, s := range work {
		if !free.IsZero() && s.from.Sub(free) >= time.Millisecond && s.from.After(p.from) && free.Before(p.to) {
			p.span(span{free, s.from}, p.bottom, "#c0392b", what)
			if x := p.x(free); x >= labelled {
				fmt.Fprintf(&p.svg, `<text x="%.1f" y="%d" font-size="11" fill="#c0392b">%v</text>`+"\n", x, p.bottom+2*bar+2, s.from.Sub(free).Round(time.Millisecond))
				labelled = x + 60
			}
			found = true
		}
		if s.to.IsZero() {
			s.to = p.to
		}
		if s.to.After(free) {
			free = s.to
		}
	}
	return found
}

// faults draws a line for each fault with its number, and the list of them.
func (p *picture) faults(all []fault, y int) {
	rows := (len(all) + columns - 1) / columns
	last, row := -100.0, 0
	for i, f := range all {
		x := p.x(f.at)
		if row = (row + 1) % numberRows; x-last >= 16 { // numbers that are close stand in rows
			row = 0
		}
		last = x
		fmt.Fprintf(&p.svg, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#c0392b" stroke-dasharray="3,3"/>`+"\n", x, p.top-8, x, p.bottom+bar)
		fmt.Fprintf(&p.svg, `<text x="%.1f" y="%d" font-size="11" fill="#c0392b" text-anchor="middle">%d</text>`+"\n", x, p.top-11-12*row, i+1)
		p.text(12+i/max(rows, 1)*(left+p.width+28)/columns, y+(i%max(rows, 1)+1)*faultLine-6, 12, "#333", fmt.Sprintf("%d: at %.1f s, %s", i+1, f.at.Sub(p.from).Seconds(), f.text))
	}
}
