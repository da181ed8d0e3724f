package chart_test

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	helm3action "helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	helm4action "helm.sh/helm/v4/pkg/action"
	helm4loader "helm.sh/helm/v4/pkg/chart/loader"
	helm4release "helm.sh/helm/v4/pkg/release"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/leader-elector/leader-elector/e2e/chart"
	"github.com/leader-elector/leader-elector/e2e/harness"
)

var update = flag.Bool("update", false, "write the golden renders again")

const (
	release   = "demo"
	namespace = "apps"
)

var cases = []struct{ name, chart, values string }{
	{"native", "example", ``},
	{"native-without-label", "example", `{leader-elector: {labelPodRole: false}}`},
	{"ordinary", "example", `{nativeSidecar: false}`},
	{"ordinary-without-label", "example", `{nativeSidecar: false, leader-elector: {labelPodRole: false}}`},
	{"disabled", "example", `{leader-elector: {enabled: false}}`},
	{"two-elections", "two", ``},
	{"two-elections-everything", "two", `
leader-elector: {leadWhile: lock, podDeletionCost: 100, claimDelay: 2s}
reports: {leadWhile: "http://localhost:8000/reports", labelPodRole: true, roleLabel: reports-role, claimDelay: ""}
`},
	{"lead-while-lock", "example", `{leader-elector: {leadWhile: lock}}`},
	{"lead-while-http", "example", `{nativeSidecar: false, leader-elector: {leadWhile: "http://localhost:8000/alive"}}`},
	{"exec", "example-exec", ``},
	{"exec-disabled", "example-exec", `{leader-elector: {enabled: false}}`},
	{"two-execs", "two-exec", ``},
	{"exec-everything-set", "example-exec", everything + `
  leadWhile: ""
`},
	{"everything-set", "example", everything + `
  leadWhile: http://127.0.0.1:8000/alive
`},
}

const everything = `
leader-elector:
  name: election
  leaseName: the-lock
  image: {registry: registry.example, repository: le, digest: "sha256:0123456789012345678901234567890123456789012345678901234567890123", pullPolicy: Always}
  port: 9090
  labelPodRole: true
  roleLabel: example.com/role
  podDeletionCost: 100
  leaderEvents: true
  statusDir: /status/
  claimDelay: 2s
  stopGrace: 5s
  leaseDuration: 30s
  renewDeadline: 20s
  retryPeriod: 4s
  renewInterval: 10s
  releaseDelay: never
  logFormat: json
  logLevel: debug
  extraEnv: [{name: TZ, value: UTC}]
  resources: {limits: {memory: 32Mi}}
  startupProbe: {failureThreshold: 5}
  livenessProbe: {periodSeconds: 3}
  container: {securityContext: {runAsUser: 1000}, terminationMessagePolicy: FallbackToLogsOnError}
  serviceAccount: {create: false, name: mine}
  rbac: {create: true}
  leaderService: {name: primary, type: NodePort, ports: [{name: sql, port: 5432}], selector: {app: db}, annotations: {a: b}}`

// Helm 3 and Helm 4 render every public template as the golden files say.
func TestGoldenRenders(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := prepared(t, c.chart)
			three, err := renderWithHelm3(dir, c.values)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "golden", c.name+".yaml")
			if *update {
				if err := os.WriteFile(golden, []byte(three), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if three != string(want) {
				t.Errorf("Helm 3 renders other than %s (go test -update writes it again):\n%s", golden, three)
			}
			four, err := renderWithHelm4(dir, c.values)
			if err != nil {
				t.Fatal(err)
			}
			// Helm 4 keeps blanks at the end of a template that Helm 3 takes off.
			if trimmed(four) != trimmed(string(want)) {
				t.Errorf("Helm 4 renders other than %s:\n%s", golden, four)
			}
		})
	}
}

func trimmed(manifest string) string {
	return strings.TrimSpace(regexp.MustCompile(`\s*\n`).ReplaceAllString(manifest, "\n"))
}

// Every public template renders empty where enabled is false, but for two: the account's
// name, without which Helm would keep the one that the pod had, and what inject is given.
func TestDisabledRendersEmpty(t *testing.T) {
	dir := prepared(t, "example")
	public := publicTemplates(t)
	probe := ""
	for _, name := range public {
		switch name {
		case "leader-elector.serviceAccountName":
			probe += `{{ if ne (include "` + name + `" .) "default" }}{{ fail "the account is not empty" }}{{ end }}`
			continue
		case "leader-elector.inject":
			probe += `{{ define "probe" }}given{{ end }}{{ if ne (include "` + name + `" (list . "probe")) "given" }}{{ fail "inject adds something" }}{{ end }}`
			continue
		}
		probe += `{{ if include "` + name + `" . }}{{ fail "` + name + ` is not empty" }}{{ end }}`
	}
	if err := os.WriteFile(filepath.Join(dir, "templates", "probe.yaml"), []byte(probe), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := renderWithHelm3(dir, `{leader-elector: {enabled: false}}`); err != nil {
		t.Fatal(err)
	}
	if _, err := renderWithHelm3(dir, ``); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Fatalf("the probe finds nothing where enabled is true: %v", err)
	}
}

// The public templates are those that the design promises.
func TestPublicTemplates(t *testing.T) {
	want := "container env execCommand execEnv execInitContainer execProbes execVolumeMounts execVolumes imagePullSecrets inject leaderService podMonitor prometheusRule resources role roleBinding serviceAccount serviceAccountName sidecar volume volumeMount"
	var names []string
	for _, name := range publicTemplates(t) {
		names = append(names, strings.TrimPrefix(name, "leader-elector."))
	}
	for _, name := range strings.Fields(want) {
		found := false
		for _, got := range names {
			found = found || got == name
		}
		if !found {
			t.Errorf("no template leader-elector.%s", name)
		}
	}
	if len(names) != len(strings.Fields(want)) {
		t.Errorf("public templates: %v, want %s", names, want)
	}
}

func publicTemplates(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root(t), "charts", "leader-elector", "templates", "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, define := range regexp.MustCompile(`define "([^"]*)"`).FindAllStringSubmatch(string(content), -1) {
			if !strings.HasPrefix(define[1], "leader-elector._") {
				names = append(names, define[1])
			}
		}
	}
	return names
}

// An app under exec takes part in the same election as a sidecar would: its
// environment is the sidecar's, but for what depends on how the binary runs.
func TestExecHasTheSidecarsEnvironment(t *testing.T) {
	env := func(name, values string) (env []corev1.EnvVar) {
		manifest, err := renderWithHelm3(prepared(t, name), values)
		if err != nil {
			t.Fatal(err)
		}
		for object := range strings.SplitSeq(manifest, "\n---\n") {
			var d appsv1.Deployment
			if err := yaml.Unmarshal([]byte(object), &d); err != nil || d.Kind != "Deployment" {
				continue
			}
			pod := d.Spec.Template.Spec
			for _, c := range append(pod.InitContainers, pod.Containers...) {
				if i := slices.IndexFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "LEASE_NAME" }); i >= 0 {
					env = slices.DeleteFunc(c.Env[i:], func(e corev1.EnvVar) bool {
						return strings.HasPrefix(e.Name, "LEADER_") || e.Name == "STOP_GRACE"
					})
				}
			}
		}
		return env
	}
	sidecar, exec := env("example", everything), env("example-exec", everything)
	if len(sidecar) == 0 || !reflect.DeepEqual(sidecar, exec) {
		t.Errorf("the sidecar's: %v\nunder exec:    %v", sidecar, exec)
	}
}

// The kubelet allows one handler a hook. A chart that sets one for the sidecar
// gets that one alone, and keeps ours beside a hook of another kind.
func TestAPreStopHookOfTheAppChartStandsAlone(t *testing.T) {
	dir := prepared(t, "example")
	for _, c := range []struct {
		lifecycle string
		retires   bool
	}{
		{`{}`, true},
		{`{postStart: {exec: {command: [/mine]}}}`, true},
		{`{preStop: {exec: {command: [/mine]}}}`, false},
		{`{preStop: {httpGet: {path: /, port: 80}}}`, false},
	} {
		manifest, err := renderWithHelm3(dir, `{leader-elector: {container: {lifecycle: `+c.lifecycle+`}}}`)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(manifest, "- retire\n"); got != c.retires {
			t.Errorf("lifecycle %s: renders retire: %v, want %v", c.lifecycle, got, c.retires)
		}
	}
}

func TestLintIsClean(t *testing.T) {
	lint := helm3action.NewLint()
	lint.Strict = true
	example, exec := prepared(t, "example"), prepared(t, "example-exec")
	library := filepath.Join(filepath.Dir(example), "leader-elector")
	for _, dir := range []string{library, example, exec} {
		result := lint.Run([]string{dir}, nil)
		for _, m := range result.Messages {
			if m.Severity > 1 { // above information
				t.Errorf("%s: %v", dir, m)
			}
		}
		for _, err := range result.Errors {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// The chart, its image and its documentation speak of one version.
func TestOneVersion(t *testing.T) {
	library, err := loader.Load(filepath.Join(root(t), "charts", "leader-elector"))
	if err != nil {
		t.Fatal(err)
	}
	example, err := loader.Load(prepared(t, "example"))
	if err != nil {
		t.Fatal(err)
	}
	values, err := os.ReadFile(filepath.Join(root(t), "charts", "leader-elector", "templates", "_values.tpl"))
	if err != nil {
		t.Fatal(err)
	}
	tag := regexp.MustCompile(`(?s)define "leader-elector._appVersion" -}}\n(.*?)\n`).FindStringSubmatch(string(values))
	if tag == nil {
		t.Fatal("no leader-elector._appVersion")
	}
	version := library.Metadata.Version
	for what, got := range map[string]string{
		"appVersion": library.Metadata.AppVersion, "leader-elector._appVersion": tag[1],
		"charts/example's dependency": example.Metadata.Dependencies[0].Version,
	} {
		if got != version {
			t.Errorf("%s is %q, the chart's version %q", what, got, version)
		}
	}
	image := "ghcr.io/leader-elector/leader-elector:" + version
	if !strings.Contains(library.Metadata.Annotations["artifacthub.io/images"], image+"\n") {
		t.Errorf("the Artifact Hub annotation does not name %s", image)
	}
}

// Releases are built as `make build` builds, which is what tests and benchmarks see.
func TestOneSetOfBuildFlags(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root(t), "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	releaser, err := os.ReadFile(filepath.Join(root(t), ".goreleaser.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`(?m)^FLAGS +:= (.*)$`).FindSubmatch(makefile)
	if flags == nil {
		t.Fatal("the Makefile has no FLAGS")
	}
	want := "flags: [" + strings.ReplaceAll(string(flags[1]), " ", ", ") + "]\n"
	if !strings.Contains(string(releaser), want) {
		t.Errorf(".goreleaser.yaml does not hold %q", want)
	}
}

// A pod's hook names the binary by its path, which is the image's entrypoint.
func TestThePreStopHookRunsTheImagesEntrypoint(t *testing.T) {
	read := func(path ...string) string {
		content, err := os.ReadFile(filepath.Join(append([]string{root(t)}, path...)...))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	entrypoint := regexp.MustCompile(`(?m)^ENTRYPOINT \["(.*)"\]$`).FindStringSubmatch(read("Dockerfile"))
	if entrypoint == nil {
		t.Fatal("the Dockerfile has no ENTRYPOINT of one word")
	}
	if hook := "exec: {command: [" + entrypoint[1] + ", retire]}\n"; !strings.Contains(read("charts", "leader-elector", "templates", "_container.tpl"), hook) {
		t.Errorf("_container.tpl does not hold %q", hook)
	}
}

func root(t *testing.T) string {
	t.Helper()
	root, err := harness.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// prepared is a copy of an app chart with the library among its dependencies.
func prepared(t *testing.T, name string) string {
	t.Helper()
	source := filepath.Join(root(t), "charts", name)
	if !strings.HasPrefix(name, "example") {
		source = filepath.Join("testdata", name)
	}
	dir, err := chart.WithDependencies(root(t), source, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func parsed(values string) (map[string]any, error) {
	m := map[string]any{}
	return m, yaml.Unmarshal([]byte(values), &m)
}

func renderWithHelm3(dir, values string) (string, error) { return renderAs(dir, release, values) }

func renderAs(dir, release, values string) (string, error) {
	v, err := parsed(values)
	if err != nil {
		return "", err
	}
	c, err := loader.Load(dir)
	if err != nil {
		return "", err
	}
	install := helm3action.NewInstall(new(helm3action.Configuration))
	install.DryRun, install.ClientOnly, install.ReleaseName, install.Namespace = true, true, release, namespace
	r, err := install.Run(c, v)
	if err != nil {
		return "", err
	}
	return r.Manifest, nil
}

func renderWithHelm4(dir, values string) (string, error) {
	v, err := parsed(values)
	if err != nil {
		return "", err
	}
	c, err := helm4loader.Load(dir)
	if err != nil {
		return "", err
	}
	install := helm4action.NewInstall(new(helm4action.Configuration))
	install.DryRunStrategy, install.ReleaseName, install.Namespace = helm4action.DryRunClient, release, namespace
	r, err := install.Run(c, v)
	if err != nil {
		return "", err
	}
	accessor, err := helm4release.NewAccessor(r)
	if err != nil {
		return "", err
	}
	return accessor.Manifest(), nil
}
