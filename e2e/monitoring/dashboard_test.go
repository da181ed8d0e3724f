package monitoring

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
)

// Each query of the Grafana dashboard shows something of the series that a leader has.
func TestTheDashboardsQueries(t *testing.T) {
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "deploy", "grafana-dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	load := "load 30s\n"
	for line := range strings.Lines(scrape(t, "text/plain")) {
		if series, value, found := strings.Cut(strings.TrimSpace(line), "} "); found && !strings.HasPrefix(line, "#") {
			load += fmt.Sprintf("  %s,namespace=\"apps\",pod=\"pod-0\"} %sx10\n", series, value)
		}
	}
	load = strings.ReplaceAll(load, "draining_since_timestamp_seconds{name=\"app\",namespace=\"apps\",pod=\"pod-0\"} 0x10", "draining_since_timestamp_seconds{name=\"app\",namespace=\"apps\",pod=\"pod-0\"} 60x10")
	storage := promqltest.LoadedStorage(t, load)
	defer func() { _ = storage.Close() }()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, Parser: parser.NewParser(parser.Options{})})
	defer func() { _ = engine.Close() }()
	variables := strings.NewReplacer("$namespace", "apps", "$name", "app", "$pods", "pod-0", "$__rate_interval", "2m")
	if len(dashboard.Panels) < 5 {
		t.Fatalf("%d panels", len(dashboard.Panels))
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			query, err := engine.NewInstantQuery(t.Context(), storage, nil, variables.Replace(target.Expr), time.Unix(180, 0))
			if err != nil {
				t.Errorf("%s: %v", panel.Title, err)
				continue
			}
			if result := query.Exec(t.Context()); result.Err != nil || result.String() == "" {
				t.Errorf("%s: %s shows %q, %v", panel.Title, target.Expr, result, result.Err)
			}
		}
	}
}
