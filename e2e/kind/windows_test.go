package kind

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// logged is a line as e2e/cmd/app writes it, ms after noon. What was checked lies
// 1 ms before it.
func logged(ms int, msg string, token int) string {
	at := noon.Add(time.Duration(ms) * time.Millisecond)
	return fmt.Sprintf(`{"time":%q,"level":"INFO","msg":%q,"token":%d,"uid":"u","checked":%q,"worked":%q}`,
		at.Format(time.RFC3339Nano), msg, token, at.Add(-time.Millisecond).Format(time.RFC3339Nano), at.Format(time.RFC3339Nano))
}

func TestViolations(t *testing.T) {
	type lines map[string][]string
	for _, c := range []struct {
		name   string
		logs   lines
		frozen string
		want   string
	}{
		{"a clean handover", lines{
			"a": {logged(0, "begin", 1), logged(50, "work", 1), logged(90, "end", 1)},
			"b": {logged(91, "begin", 2), logged(200, "work", 2)},
		}, "", ""},
		{"two at once, by a line of work", lines{
			"a": {logged(0, "begin", 1), logged(95, "work", 1)},
			"b": {logged(91, "begin", 2)},
		}, "", "two at work for 4ms"},
		{"two at once, by an end", lines{
			"a": {logged(0, "begin", 1), logged(120, "end", 1)},
			"b": {logged(91, "begin", 2)},
		}, "", "two at work for 29ms"},
		{"a frozen one that ends its work late", lines{
			"a": {logged(0, "begin", 1), logged(80, "work", 1), strings.Replace(logged(500, "end", 1), `"checked":"2026-01-01T12:00:00.499Z"`, `"checked":"2026-01-01T12:00:00.079Z"`, 1)},
			"b": {logged(91, "begin", 2)},
		}, "a", ""},
		{"a frozen one that looks again and works on", lines{
			"a": {logged(0, "begin", 1), logged(500, "work", 1)},
			"b": {logged(91, "begin", 2)},
		}, "a", "two at work"},
		{"a token used twice", lines{
			"a": {logged(0, "begin", 1), logged(90, "end", 1)},
			"b": {logged(91, "begin", 1)},
		}, "", "token does not grow"},
		{"a token that falls, two windows later", lines{
			"a": {logged(0, "begin", 5), logged(10, "end", 5), logged(40, "begin", 4)},
			"b": {logged(20, "begin", 6), logged(30, "end", 6)},
		}, "", "token does not grow"},
		{"an app that died and came back", lines{
			"a": {logged(0, "begin", 1), logged(20, "work", 1), logged(90, "begin", 1), logged(100, "end", 1)},
		}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRecord()
			for range 2 { // a stream read twice changes nothing
				for pod, lines := range c.logs {
					for _, l := range lines {
						r.add(pod, l)
					}
				}
			}
			got := strings.Join(violations(r.windows(), map[string]bool{c.frozen: true}), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Fatalf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestALeaderSaysSo(t *testing.T) {
	r := newRecord()
	for ms, line := range map[int]string{
		10: `time=%s level=INFO msg=Leading transitions=1 previous=""`,
		20: `time=%s level=INFO msg="Giving up the Lease once the app has stopped"`,
		30: `time=%s level=INFO msg=Leading transitions=1 previous=""`,
		40: `time=%s level=WARN msg="Leading no longer"`,
	} {
		r.addSidecar("a", fmt.Sprintf(line, noon.Add(time.Duration(ms)*time.Millisecond).Format(time.RFC3339Nano)))
	}
	for _, c := range []struct{ after, want int }{{0, 10}, {10, 30}, {15, 30}} {
		if got := r.ledAfter(noon.Add(time.Duration(c.after) * time.Millisecond)).Sub(noon).Milliseconds(); got != int64(c.want) {
			t.Errorf("the first after %d ms: %d ms, want %d", c.after, got, c.want)
		}
	}
	if got := r.ledAfter(noon.Add(30 * time.Millisecond)); !got.IsZero() {
		t.Errorf("one led at %v", got)
	}
	if got := r.toldToStop()["a"].Sub(noon); got != 20*time.Millisecond {
		t.Errorf("told to stop after %v, want 20ms", got)
	}
}
