package monitoring

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	operator "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/config"
	_ "github.com/prometheus/prometheus/discovery/kubernetes" // as a kind of service discovery that a configuration may have
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"sigs.k8s.io/yaml"

	"github.com/leader-elector/leader-elector/e2e/chart"
	"github.com/leader-elector/leader-elector/e2e/harness"
)

// manifest is what charts/example renders, with the objects for Prometheus' operator.
var manifest = sync.OnceValues(func() (string, error) {
	ctx := context.Background()
	root, err := harness.Root(ctx)
	if err != nil {
		return "", err
	}
	temporary, err := os.MkdirTemp("", "")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	dir, err := chart.WithDependencies(root, filepath.Join(root, "charts", "example"), temporary)
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "go", "tool", "helm", "template", "demo", dir, "--namespace", "apps",
		"--set", "leader-elector.podMonitor.create=true,leader-elector.prometheusRule.create=true").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return string(out), nil
})

// rendered are the objects for Prometheus' operator.
func rendered(t *testing.T) (monitor operator.PodMonitor, rule operator.PrometheusRule) {
	t.Helper()
	all, err := manifest()
	if err != nil {
		t.Fatal(err)
	}
	for object := range strings.SplitSeq(all, "\n---\n") {
		var into any
		switch {
		case strings.Contains(object, "\nkind: PodMonitor\n"):
			into = &monitor
		case strings.Contains(object, "\nkind: PrometheusRule\n"):
			into = &rule
		default:
			continue
		}
		if err := yaml.UnmarshalStrict([]byte(object), into); err != nil {
			t.Fatalf("%v in\n%s", err, object)
		}
	}
	return monitor, rule
}

func TestThePodMonitorScrapesTheSidecar(t *testing.T) {
	monitor, _ := rendered(t)
	if len(monitor.Spec.PodMetricsEndpoints) != 1 || *monitor.Spec.PodMetricsEndpoints[0].Port != "leader-elector" || monitor.Spec.Selector.MatchLabels["app.kubernetes.io/instance"] != "demo" {
		t.Errorf("%+v", monitor.Spec)
	}
}

// of are series of the example's Lease, as promqltest loads them: METRIC POD VALUES,
// 30 s from value to value.
func of(series ...string) string {
	load := "load 30s\n"
	for _, s := range series {
		f := strings.SplitN(s, " ", 3)
		load += fmt.Sprintf("  %s{namespace=%q,name=%q,pod=%q} %s\n", f[0], "apps", "demo-example-leader-elector", f[1], f[2])
	}
	return load
}

// Each alert, what fires it, and what is so near that it almost does.
var alerts = map[string]struct{ fires, not string }{
	"LeaderElectionNoLeader": {
		fires: of("leader_election_master_status a 1 0x20", "leader_election_master_status b 0x21"),
		not:   of("leader_election_master_status a 1 0 1 0 1 0x60", "leader_election_master_status b 0 0 0 0 0 1x60"), // a handover
	},
	"LeaderElectionNoAppAlive": {
		fires: of("leader_election_app_alive a 0x21", "leader_election_app_alive b 1 0x20"),
		not:   of("leader_election_app_alive a 0x21", "leader_election_app_alive b 1x21"),
	},
	"LeaderElectionTwoLeaders": {
		fires: of("leader_election_master_status a 1x21", "leader_election_master_status b 0 0 0 1x18"),
		not:   of("leader_election_master_status a 1 1 1 1 0x17", "leader_election_master_status b 0 0 0 1x18"), // one scrape before, one after a handover
	},
	"LeaderElectionFlapping": {
		fires: of("leader_election_transitions_seen_total a 0+1x60"),
		not:   of("leader_election_transitions_seen_total a 0x20 1 2 3 4x37", "leader_election_transitions_seen_total b 7x60"), // a rollout
	},
	"LeaderElectionRenewalsLate": {
		fires: of("leader_election_valid_seconds a 8 6 2.4 8x20", "leader_election_renew_deadline_seconds a 10x23"),
		not:   of("leader_election_valid_seconds a 8 6 2.6 8 5.5 0x20", "leader_election_renew_deadline_seconds a 10x25", "leader_election_valid_seconds b 0x25", "leader_election_renew_deadline_seconds b 10x25"),
	},
	"LeaderElectionDrainsLong": {
		fires: of("leader_election_draining_since_timestamp_seconds a 0 0 60x40"),
		not:   of("leader_election_draining_since_timestamp_seconds a 0 0 60 60 60 60 60 60 60 0x30", "leader_election_draining_since_timestamp_seconds b 0x40"),
	},
}

var update = flag.Bool("update", false, "write deploy/prometheus-rules.yaml again")

// deploy/prometheus-rules.yaml has the chart's rules for a Prometheus without the operator.
func TestTheRulesWithoutTheOperator(t *testing.T) {
	_, rule := rendered(t)
	groups, err := yaml.Marshal(rule.Spec)
	if err != nil {
		t.Fatal(err)
	}
	// There they are for one Lease, here for all.
	const name = "demo-example-leader-elector"
	text := strings.ReplaceAll(string(groups), `{namespace="apps",name="`+name+`"}`, "")
	text = "# Alerts for every election that this Prometheus scrapes. See docs/monitoring.md.\n" + strings.Replace(text, name, "leader-elector", 1)
	if strings.Contains(text, "demo") {
		t.Fatalf("a rule is about one Lease:\n%s", text)
	}
	root, err := harness.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "deploy", "prometheus-rules.yaml")
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if read(t, "deploy", "prometheus-rules.yaml") != text {
		t.Errorf("%s is not what the chart renders (go test -update writes it)", path)
	}
}

// A series that is gone is no leader either.
func TestNoPodsAreNoLeader(t *testing.T) {
	_, rule := rendered(t)
	if !fires(t, rule, "LeaderElectionNoLeader", "load 30s\n  up 1x10\n") {
		t.Error("it does not fire")
	}
}

func TestAlerts(t *testing.T) {
	_, rule := rendered(t)
	for _, r := range rule.Spec.Groups[0].Rules {
		if _, tested := alerts[r.Alert]; !tested {
			t.Errorf("%s has no test", r.Alert)
		}
		page, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "#")
		if !strings.HasSuffix(page, "docs/monitoring.md") || anchor != strings.ToLower(r.Alert) || !strings.Contains(read(t, "docs", "monitoring.md"), "\n### "+r.Alert+"\n") {
			t.Errorf("%s has no section in its document: %s", r.Alert, r.Annotations["runbook_url"])
		}
	}
	for name, series := range alerts {
		if !fires(t, rule, name, series.fires) {
			t.Errorf("%s does not fire for\n%s", name, series.fires)
		}
		if fires(t, rule, name, series.not) {
			t.Errorf("%s fires for\n%s", name, series.not)
		}
	}
}

// fires says whether an alert of the example's fires at some evaluation, 30 s apart.
func fires(t *testing.T, rule operator.PrometheusRule, alert, series string) bool {
	t.Helper()
	storage := promqltest.LoadedStorage(t, series)
	defer func() { _ = storage.Close() }()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, Parser: parser.NewParser(parser.Options{}), NoStepSubqueryIntervalFn: func(int64) int64 { return 30_000 }})
	defer func() { _ = engine.Close() }()
	for _, r := range rule.Spec.Groups[0].Rules {
		if r.Alert != alert {
			continue
		}
		expr, err := parser.NewParser(parser.Options{}).ParseExpr(r.Expr.String())
		if err != nil {
			t.Fatalf("%s: %v", alert, err)
		}
		wait := time.Duration(0)
		if r.For != nil {
			if wait, err = time.ParseDuration(string(*r.For)); err != nil {
				t.Fatal(err)
			}
		}
		alerting := rules.NewAlertingRule(alert, expr, wait, 0, labels.FromMap(r.Labels), labels.FromMap(r.Annotations), labels.EmptyLabels(), "", true, promslog.NewNopLogger())
		for at := time.Unix(0, 0).UTC(); at.Before(time.Unix(0, 0).Add(30 * time.Minute)); at = at.Add(30 * time.Second) {
			if _, err := alerting.Eval(t.Context(), 0, at, rules.EngineQueryFunc(engine, storage), nil, 0); err != nil {
				t.Fatalf("%s: %v", alert, err)
			}
			if slices.ContainsFunc(alerting.ActiveAlerts(), func(a *rules.Alert) bool { return a.State == rules.StateFiring }) {
				return true
			}
		}
		return false
	}
	t.Fatalf("no alert %s is rendered", alert)
	return false
}

// The configuration in docs/monitoring.md is one that Prometheus takes, and the chart's
// pods have the port that it keeps.
func TestTheScrapeConfiguration(t *testing.T) {
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(read(t, "docs", "monitoring.md"), -1) {
		if strings.Contains(block[1], "scrape_configs:") {
			c, err := config.Load(block[1], promslog.NewNopLogger())
			if err != nil {
				t.Fatal(err)
			}
			monitor, _ := rendered(t)
			port := *monitor.Spec.PodMetricsEndpoints[0].Port
			if keep := c.ScrapeConfigs[0].RelabelConfigs[0]; !keep.Regex.MatchString(port) {
				t.Errorf("%s does not keep the port %s", keep.Regex, port)
			}
			return
		}
	}
	t.Error("docs/monitoring.md has no scrape_configs")
}
