package harness

import (
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A handover from a to b, seen between the seconds 0 and 10.
func TestTimeline(t *testing.T) {
	start := time.Now()
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	tl := NewTimeline()
	tl.Set("a", Holds, true, at(-1))
	tl.Set("a", Holds, true, at(2))
	tl.Set("a", Holds, false, at(4))
	tl.Set("b", Holds, true, at(4.1)) // to the end
	tl.Span("a", Works, at(1), at(3.9))
	tl.Span("b", Works, at(4.15), at(12))
	tl.Span("c", Works, at(-9), at(-8)) // before the picture
	tl.Fault("a & <b> are told")
	tl.faults[0].at = at(3)
	path := filepath.Join(t.TempDir(), "of", "svg.svg")
	if err := tl.Save(path, "a <title>", at(0), at(10)); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	svg := string(content)
	if err := xml.Unmarshal(content, new(struct{})); err != nil {
		t.Errorf("not XML: %v", err)
	}
	for what, wanted := range map[string]int{
		kindColors[Holds]: 3, kindColors[Told]: 0, kindColors[Works]: 3, // one of them is in the legend
		">250ms<": 1, "4.150 s to 12.000 s": 1, ">c<": 0, "1: at 3.0 s, a &amp; &lt;b&gt; are told": 1,
	} {
		if n := strings.Count(svg, what); n != wanted {
			t.Errorf("%q is there %d times, not %d", what, n, wanted)
		}
	}
	for _, line := range regexp.MustCompile(`y1="(\d+)" x2="[^"]*" y2="(\d+)"`).FindAllStringSubmatch(svg, -1) {
		if line[1] == line[2] {
			t.Errorf("a line of no height: %s", line[0])
		}
	}
	if err := tl.Save(path, "of no time", at(1), at(1)); err == nil {
		t.Error("a picture of no time")
	}
	tl.Span("a very long name that is longer than thirty-three letters", Works, at(1), at(2))
	if err := tl.Save(path, "the end", at(11), at(20)); err != nil {
		t.Fatal(err)
	}
	if content, _ := os.ReadFile(path); !strings.Contains(string(content), ">8s<") {
		t.Errorf("no gap of 8 s at the end in\n%s", content)
	}
	// 600 pixels for 10 s are less than the least width: 700.
	if wanted := fmt.Sprintf(`<rect x="%.1f" y="120" width="%.1f"`, 250.0, 280.0); !strings.Contains(svg, wanted) {
		t.Errorf("no bar %s of a's Lease in\n%s", wanted, svg)
	}
}
