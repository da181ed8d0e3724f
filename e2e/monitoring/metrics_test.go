// Package monitoring tests what others make of /metrics: Prometheus, its rules, Grafana.
package monitoring

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/leader-elector/leader-elector/e2e/harness"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// scrape is what a sidecar that leads answers, whose app has the alive lock.
func scrape(t *testing.T, accept string) string {
	t.Helper()
	api := httptest.NewServer(&leasetest.Server{})
	t.Cleanup(api.Close)
	binary, err := harness.BuildSidecar(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(kubeconfig, leasetest.Kubeconfig(api.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := harness.StartSidecar(binary, dir, "pod-0", "LEASE_NAME=app", "NAMESPACE=default", "LEAD_WHILE=lock", "KUBECONFIG="+kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(syscall.SIGTERM) })
	app, err := os.OpenFile(filepath.Join(dir, "leader_status.alive"), os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.Close() })
	if err := syscall.Flock(int(app.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); !s.Leads(); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatalf("it does not lead after a minute:\n%s", s.Log())
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Address()+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func families(t *testing.T, page string) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	all, err := parser.TextToMetricFamilies(strings.NewReader(page))
	if err != nil {
		t.Fatalf("%v in\n%s", err, page)
	}
	return all
}

// What Prometheus' linter has against a name is known, and given a reason.
func TestPromlint(t *testing.T) {
	page := scrape(t, "text/plain")
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// The page is good OpenMetrics too, which Prometheus asks for first.
func TestOpenMetrics(t *testing.T) {
	page := scrape(t, "application/openmetrics-text;version=1.0.0;q=0.9,text/plain;q=0.5")
	parser := textparse.NewOpenMetricsParser([]byte(page), labels.NewSymbolTable())
	series := 0
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, page)
		}
		if entry == textparse.EntrySeries {
			series++
		}
	}
	if series < 20 {
		t.Errorf("%d series in\n%s", series, page)
	}
}

// docs/monitoring.md has a row for each metric, with its type and labels, and no other.
func TestTheDocumentHasEveryMetric(t *testing.T) {
	var want []string
	for name, family := range families(t, scrape(t, "text/plain")) {
		of := ""
		for _, label := range family.GetMetric()[0].GetLabel() {
			of += ", `" + label.GetName() + "`"
		}
		want = append(want, fmt.Sprintf("| `%s` | %s | %s |", name, strings.ToLower(family.GetType().String()), strings.TrimPrefix(of, ", ")))
	}
	doc := read(t, "docs", "monitoring.md")
	got := regexp.MustCompile("(?m)^\\| `(leader_election|rest_client)_\\w+` \\|[^|]*\\|[^|]*\\|").FindAllString(doc, -1)
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("docs/monitoring.md has\n%s\n/metrics has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// read is a file of the project.
func read(t *testing.T, path ...string) string {
	t.Helper()
	root, err := harness.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
