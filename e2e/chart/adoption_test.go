package chart_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	helm3action "helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chartutil"
	helm4util "helm.sh/helm/v4/pkg/chart/v2/util"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/leader-elector/leader-elector/e2e/chart"
)

// What `helm create` of either Helm makes, with the README's lines added and none taken
// out, passes a strict lint, has no key twice, and is taken by the API server.
func TestTheReadmesLinesOnHelmCreate(t *testing.T) {
	const most = 12
	for helm, create := range map[string]func(name, dir string) (string, error){"3": chartutil.Create, "4": helm4util.Create} {
		t.Run("Helm "+helm, func(t *testing.T) {
			dir := adopted(t, create, "## Add it to your chart", most)
			lint := helm3action.NewLint()
			lint.Strict = true
			for _, m := range lint.Run([]string{dir}, nil).Messages {
				if m.Severity > 1 { // above information
					t.Errorf("lint: %v", m)
				}
			}
			for version, render := range map[string]func(string, string) (string, error){"3": renderWithHelm3, "4": renderWithHelm4} {
				manifest, err := render(dir, ``)
				if err != nil {
					t.Fatalf("Helm %s: %v", version, err)
				}
				taken := admitted(t, manifest)
				pod := podOf(t, taken, "Deployment")
				if c := pod.InitContainers; len(c) != 1 || c[0].Name != "leader-elector" || c[0].RestartPolicy == nil {
					t.Errorf("Helm %s: init containers %+v", version, c)
				}
				if env := pod.Containers[0].Env; len(env) != 2 || env[0].Name != "LEADER_STATUS_FILE" {
					t.Errorf("Helm %s: the app's environment %v", version, env)
				}
				binding := rbacv1.RoleBinding{}
				convert(t, only(t, taken, "RoleBinding"), &binding)
				if account := pod.ServiceAccountName; account != binding.Subjects[0].Name || account != "demo-myapp" {
					t.Errorf("Helm %s: the pod runs as %q, the Role is bound to %q", version, account, binding.Subjects[0].Name)
				}
			}
			disabled, err := renderWithHelm3(dir, `{leader-elector: {enabled: false}}`)
			if err != nil {
				t.Fatal(err)
			}
			if pod := podOf(t, admitted(t, disabled), "Deployment"); len(pod.InitContainers)+len(pod.Containers[0].Env) > 0 {
				t.Errorf("disabled, the pod is %+v", pod)
			}
		})
	}
}

// adopted is the chart that a command creates, with the lines of a README added: at most
// so many.
func adopted(t *testing.T, create func(name, dir string) (string, error), heading string, most int) string {
	t.Helper()
	source, err := create("myapp", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := chart.Adopt(source, string(readme), heading, "file://../leader-elector")
	if err != nil {
		t.Fatal(err)
	}
	if lines > most {
		t.Errorf("the README adds %d lines", lines)
	}
	dir, err := chart.WithDependencies(root(t), source, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// What inject adds to a pod is what the lines of charts/example add.
func TestInjectAddsWhatTheLinesAdd(t *testing.T) {
	lines := prepared(t, "example")
	injected := prepared(t, "example")
	path := filepath.Join(injected, "templates", "deployment.yaml")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	kept := regexp.MustCompile(`(?m)^.*include "leader-elector\.(sidecar|env|volumeMount|volume)" .*\n`).ReplaceAll(content, nil)
	kept = []byte(`{{- define "app" }}` + "\n" + string(kept) + "{{- end }}\n" + `{{ include "leader-elector.inject" (list . "app") }}`)
	if err := os.WriteFile(path, kept, 0o644); err != nil {
		t.Fatal(err)
	}
	pod := func(dir string) *corev1.PodSpec {
		manifest, err := renderWithHelm3(dir, `{env: [{name: A, value: b}]}`)
		if err != nil {
			t.Fatal(err)
		}
		return podOf(t, admitted(t, manifest), "Deployment")
	}
	want, got := pod(lines), pod(injected)
	byName := func(env []corev1.EnvVar) map[string]string {
		all := map[string]string{}
		for _, e := range env {
			all[e.Name] = e.Value
		}
		return all
	}
	if !reflect.DeepEqual(byName(got.Containers[0].Env), byName(want.Containers[0].Env)) {
		t.Errorf("environment %v, want %v", got.Containers[0].Env, want.Containers[0].Env)
	}
	got.Containers[0].Env, want.Containers[0].Env = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("inject makes\n%+v\nthe lines\n%+v", got, want)
	}
}

// inject finds the pod in every kind of workload, and says what it can't work with.
func TestInjectTakesAnyWorkload(t *testing.T) {
	const pod = `{containers: [{name: app, image: app}]}`
	for _, c := range []struct{ workload, says string }{
		{`{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: ` + pod + `}`, ""},
		{`{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a}, spec: {serviceName: a, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: ` + pod + `}}}`, ""},
		{`{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: a}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: ` + pod + `}}}`, ""},
		{`{apiVersion: batch/v1, kind: Job, metadata: {name: a}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: app, image: app}]}}}}`, ""},
		{`{apiVersion: batch/v1, kind: CronJob, metadata: {name: a}, spec: {schedule: "0 * * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: app, image: app}]}}}}}}`, ""},
		{`{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {securityContext: {runAsUser: 0}, containers: [{name: app, image: app}]}}`, ""},
		{`{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}`, "renders no pod with containers (kind ConfigMap)"},
		{`[1, 2]`, "renders no YAML object"},
		{"a: b\n---\nc: d", "renders more than one object"},
		{"a: b\n--- # its config\nc: d", "renders more than one object"},
		{"# a licence\n---\n# the pod\n" + `{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: ` + pod + "}\n---\n# the end\n", ""},
		{`{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: elsewhere}, spec: ` + pod + `}`, "an object of namespace elsewhere, and the Role is in that of the release, "},
		{`{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {role: web}}, spec: ` + pod + `}`, ""}, // labelPodRole is off
		{`{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {serviceAccount: other, containers: [{name: app}]}}`, "runs as the service account other"},
		{`{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {volumes: [{name: leader-elector}], containers: [{name: app}]}}`, "has a volume leader-elector already"},
		{`{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: leader-elector}]}}`, "has a container leader-elector already"},
		{`{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: app, volumeMounts: [{name: x, mountPath: /tmp/leader_status/}]}]}}`, "the container app has a mount at /tmp/leader_status/ already"},
		{`{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: app, env: [{name: LEADER_URL}]}]}}`, "the container app has the variable LEADER_URL already"},
		{`{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {serviceAccountName: other, containers: [{name: app}]}}`, "runs as the service account other, and the Role is bound to demo-inject-leader-elector"},
		{`{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {automountServiceAccountToken: false, containers: [{name: app}]}}`, "gets no token of its service account"},
		{`{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: app, ports: [{containerPort: 8080}]}]}}`, "the container app has port 8080, and so does the sidecar"},
	} {
		dir := prepared(t, "inject")
		if err := os.WriteFile(filepath.Join(dir, "templates", "workload.yaml"), []byte(`{{ define "workload" }}`+c.workload+`{{ end }}{{ include "leader-elector.inject" (list . "workload") }}`), 0o644); err != nil {
			t.Fatal(err)
		}
		manifest, err := renderWithHelm3(dir, `{}`)
		if c.says != "" {
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: got %v, want %q", c.workload, err, c.says)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.workload, err)
			continue
		}
		kind := regexp.MustCompile(`kind: (\w+)`).FindStringSubmatch(c.workload)[1]
		spec := podOf(t, admitted(t, manifest), kind)
		sidecar := spec.InitContainers[0]
		if user := sidecar.SecurityContext.RunAsUser; strings.Contains(c.workload, "runAsUser: 0") != (user != nil && *user == 65532) {
			t.Errorf("%s: the sidecar runs as %v", c.workload, user)
		}
	}
}

// inject adds to what the pod has, and takes nothing away; where the template renders
// nothing, so does inject.
func TestInjectKeepsWhatThePodHas(t *testing.T) {
	dir := prepared(t, "inject")
	const workload = `{{ define "workload" }}{{ if not .Values.without }}
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {role: web}}
spec:
  securityContext: {runAsUser: 0}
  imagePullSecrets: [{name: mine}]
  volumes: [{name: data, emptyDir: {}}]
  initContainers: [{name: first, image: app}]
  containers: [{name: app, image: app, env: [{name: A, value: b}], volumeMounts: [{name: data, mountPath: /data}]}]
{{ end }}{{ end }}{{ include "leader-elector.inject" (list . "workload") }}`
	if err := os.WriteFile(filepath.Join(dir, "templates", "workload.yaml"), []byte(workload), 0o644); err != nil {
		t.Fatal(err)
	}
	manifest, err := renderWithHelm3(dir, `{global: {imagePullSecrets: [all]}, leader-elector: {container: {securityContext: {runAsUser: 7}}}}`)
	if err != nil {
		t.Fatal(err)
	}
	pod := podOf(t, admitted(t, manifest), "Pod")
	app := pod.Containers[0]
	var names []string
	for _, c := range pod.InitContainers {
		names = append(names, c.Name)
	}
	for _, v := range pod.Volumes {
		names = append(names, v.Name)
	}
	for _, m := range app.VolumeMounts {
		names = append(names, m.MountPath)
	}
	for _, e := range app.Env {
		names = append(names, e.Name)
	}
	for _, s := range pod.ImagePullSecrets {
		names = append(names, s.Name)
	}
	const want = "first leader-elector data leader-elector /data /tmp/leader_status A LEADER_STATUS_FILE LEADER_URL mine all"
	if got := strings.Join(names, " "); got != want || *pod.InitContainers[1].SecurityContext.RunAsUser != 7 {
		t.Errorf("got %s, user %d; want %s, user 7", got, *pod.InitContainers[1].SecurityContext.RunAsUser, want)
	}
	if manifest, err := renderWithHelm3(dir, `{without: true}`); err != nil || strings.Contains(manifest, "kind: Pod\n") {
		t.Errorf("without it, inject renders %v\n%s", err, manifest)
	}
	if _, err := renderWithHelm3(dir, `{leader-elector: {labelPodRole: true}}`); err == nil || !strings.Contains(err.Error(), "has the label role: web") {
		t.Errorf("a label of another meaning: %v", err)
	}
	if _, err := renderWithHelm3(dir, `{leader-elector: {serviceAccount: {automount: false}}}`); err == nil || !strings.Contains(err.Error(), "gets no token") {
		t.Errorf("an account without token: %v", err)
	}
}

// What is switched off is not there, and an app chart's own names count.
func TestSwitchesAndNames(t *testing.T) {
	for _, c := range []struct{ chart, values, has, hasNot string }{
		{"example", ``, "kind: Role\n", "kind: PodMonitor\n"},
		{"example", `{leader-elector: {rbac: {create: false}}}`, "kind: ServiceAccount\n", "kind: Role\n"},
		{"example", `{leader-elector: {leaderService: {create: false}}}`, "kind: Role\n", "kind: Service\n"},
		{"example", `{fullnameOverride: mine}`, `name: "mine-leader-elector"`, "demo-example-leader-elector"},
		{"example", `{nameOverride: mine}`, `name: "demo-mine-leader-elector"`, "demo-example-leader-elector"},
		{"two", `{leader-elector: {leaseName: first, leaderService: {name: svc}}, reports: {labelPodRole: true, roleLabel: x}}`, `name: "demo-two-reports-leader"`, `resourceNames: ["first", `},
		{"example", `{leader-elector: {leaseName: "{{ .Release.Name }}-x", leaderService: {name: "{{ .Release.Name }}-y"}}}`, `name: "demo-y"`, "{{"},
		{"example", `{leader-elector: {image: {registry: "reg.example:5000/"}}}`, `image: reg.example:5000/leader-elector/leader-elector:`, "5000//"},
		{"example", `{leader-elector: {labelPodRole: true, podDeletionCost: 0}}`, `name: POD_DELETION_COST`, "e+0"},
	} {
		manifest, err := renderWithHelm3(prepared(t, c.chart), c.values)
		if err != nil || !strings.Contains(manifest, c.has) || strings.Contains(manifest, c.hasNot) {
			t.Errorf("%s: %v; want %q and not %q in\n%s", c.values, err, c.has, c.hasNot, manifest)
		}
	}
}

// admitted are the objects of a manifest, after a real API server has taken each. No
// mapping in it has a key twice.
func admitted(t *testing.T, manifest string) []*unstructured.Unstructured {
	t.Helper()
	for document := range strings.SplitSeq(manifest, "\n---\n") {
		if err := yaml.UnmarshalStrict([]byte(document), &map[string]any{}); err != nil {
			t.Errorf("%v in\n%s", err, document)
		}
	}
	taken, err := controlPlane.DryRun(t.Context(), "default", []byte(manifest))
	if err != nil {
		t.Error(err)
	}
	return taken
}

func only(t *testing.T, objects []*unstructured.Unstructured, kind string) *unstructured.Unstructured {
	t.Helper()
	var found []*unstructured.Unstructured
	for _, o := range objects {
		if o.GetKind() == kind {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d objects of kind %s among %d", len(found), kind, len(objects))
	}
	return found[0]
}

func podOf(t *testing.T, objects []*unstructured.Unstructured, kind string) *corev1.PodSpec {
	t.Helper()
	path := map[string][]string{"Pod": {"spec"}, "CronJob": {"spec", "jobTemplate", "spec", "template", "spec"}}[kind]
	if path == nil {
		path = []string{"spec", "template", "spec"}
	}
	content, found, err := unstructured.NestedMap(only(t, objects, kind).Object, path...)
	if err != nil || !found {
		t.Fatal(found, err)
	}
	spec := &corev1.PodSpec{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, spec); err != nil {
		t.Fatal(err)
	}
	return spec
}

func convert(t *testing.T, o *unstructured.Unstructured, into any) {
	t.Helper()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, into); err != nil {
		t.Fatal(err)
	}
}

// Values that a template has to complete, or to leave out, render what the API server takes.
func TestProbesAndTags(t *testing.T) {
	dir := prepared(t, "example")
	sidecar := func(values string) corev1.Container {
		t.Helper()
		manifest, err := renderWithHelm3(dir, values)
		if err != nil {
			t.Fatal(values, err)
		}
		return podOf(t, admitted(t, manifest), "Deployment").InitContainers[0]
	}
	if c := sidecar(`{leader-elector: {startupProbe: null, livenessProbe: null}}`); c.StartupProbe != nil || c.LivenessProbe != nil {
		t.Errorf("probes that are null: %v, %v", c.StartupProbe, c.LivenessProbe)
	}
	if p := sidecar(`{leader-elector: {livenessProbe: {httpGet: {path: /readyz}}}}`).LivenessProbe; p.HTTPGet.Path != "/readyz" || p.HTTPGet.Port.IntValue() != 8080 || p.PeriodSeconds != 10 {
		t.Errorf("a path alone: %+v", p)
	}
	if p := sidecar(`{leader-elector: {livenessProbe: {tcpSocket: {port: 8080}}}}`).LivenessProbe; p.HTTPGet != nil || p.TCPSocket == nil {
		t.Errorf("another handler: %+v", p)
	}
	if p := sidecar(``).ReadinessProbe; p != nil {
		t.Errorf("a readiness probe that was not asked for: %+v", p)
	}
	if p := sidecar(`{leader-elector: {readinessProbe: {enabled: true, periodSeconds: 3}}}`).ReadinessProbe; p == nil || p.HTTPGet.Path != "/readyz" || p.PeriodSeconds != 3 {
		t.Errorf("readiness: %+v", p)
	}
	digest := "sha256:" + strings.Repeat("a", 64)
	for values, want := range map[string]string{
		`{leader-elector: {image: {tag: ""}}}`:                               "ghcr.io/leader-elector/leader-elector:0.1.0",
		`{leader-elector: {image: {tag: "2"}}}`:                              "ghcr.io/leader-elector/leader-elector:2",
		`{leader-elector: {image: {registry: "", repository: le}}}`:          "le:0.1.0",
		`{leader-elector: {image: {tag: "2", digest: "` + digest + `"}}}`:    "ghcr.io/leader-elector/leader-elector@" + digest,
		`{global: {imageRegistry: "registry.example:5000"}}`:                 "registry.example:5000/leader-elector/leader-elector:0.1.0",
		`{leader-elector: {global: {imageRegistry: "registry.example/le"}}}`: "ghcr.io/leader-elector/leader-elector:0.1.0",
	} {
		if got := sidecar(values).Image; got != want {
			t.Errorf("%s: %s, want %s", values, got, want)
		}
	}
}

// What is added stands beside what is there.
func TestWhatIsAdded(t *testing.T) {
	manifest, err := renderWithHelm3(prepared(t, "example"), `
global: {imagePullSecrets: [one, {name: two}]}
leader-elector:
  commonLabels: {team: a, app.kubernetes.io/name: not-this}
  commonAnnotations: {b: c, d: e}
  extraVolumeMounts: [{name: leader-elector, mountPath: /again}]
  extraEnv: [{name: TZ, value: UTC}]
  serviceAccount: {automount: false, labels: {f: g}, annotations: {d: mine}}
  leaderService: {spec: {clusterIP: None, type: ClusterIP, publishNotReadyAddresses: true}, annotations: {h: i}}
`)
	if err != nil {
		t.Fatal(err)
	}
	taken := admitted(t, manifest)
	account, service := corev1.ServiceAccount{}, corev1.Service{}
	convert(t, only(t, taken, "ServiceAccount"), &account)
	convert(t, only(t, taken, "Service"), &service)
	if l := account.Labels; l["team"] != "a" || l["f"] != "g" || l["app.kubernetes.io/name"] != "example" || l["helm.sh/chart"] != "example-0.1.0" {
		t.Errorf("labels %v", l)
	}
	if a := account.Annotations; a["b"] != "c" || a["d"] != "mine" {
		t.Errorf("annotations %v", a)
	}
	if *account.AutomountServiceAccountToken || len(account.ImagePullSecrets) != 2 || account.ImagePullSecrets[1].Name != "two" {
		t.Errorf("account %+v", account)
	}
	if s := service; s.Spec.ClusterIP != "None" || !s.Spec.PublishNotReadyAddresses || s.Annotations["h"] != "i" || s.Spec.Selector["role"] != "leader" {
		t.Errorf("service %+v", s)
	}
	sidecar := podOf(t, taken, "Deployment").InitContainers[0]
	if len(sidecar.VolumeMounts) != 2 || sidecar.Env[len(sidecar.Env)-1].Name != "TZ" || sidecar.Env[0].Name != "LEASE_NAME" {
		t.Errorf("mounts %v, environment %v", sidecar.VolumeMounts, sidecar.Env)
	}
}

// The pod runs as the account that the Role is bound to, whichever election is enabled and
// however the account is made.
func TestOneAccount(t *testing.T) {
	for _, c := range []struct{ values, first, second string }{
		{``, "demo-two-leader-elector", "demo-two-leader-elector"},
		{`{leader-elector: {enabled: false}}`, "default", "demo-two-reports"},
		{`{reports: {enabled: false}}`, "demo-two-leader-elector", "demo-two-leader-elector"},
		{`{leader-elector: {enabled: false}, reports: {enabled: false}}`, "default", "default"},
		{`{leader-elector: {serviceAccount: {create: false}}}`, "default", "default"},
		{`{leader-elector: {serviceAccount: {create: false, name: mine}}}`, "mine", "mine"},
		{`{leader-elector: {enabled: false, serviceAccount: {create: false, name: mine}}}`, "mine", "demo-two-reports"},
		{`{leader-elector: {serviceAccount: {create: false, name: "{{ .Release.Name }}-x"}}}`, "demo-x", "demo-x"},
		{`{reports: {serviceAccount: {create: true}}}`, "demo-two-leader-elector", "demo-two-reports"},
		{`{reports: {serviceAccount: {create: true, name: its-own}}}`, "demo-two-leader-elector", "its-own"},
	} {
		dir := prepared(t, "two")
		names := `{{ define "names" }}{{ include "leader-elector.serviceAccountName" . }} {{ include "leader-elector.serviceAccountName" (dict "context" . "values" .Values.reports) }}{{ end }}` +
			"{{ if true }}apiVersion: v1\nkind: ConfigMap\nmetadata: {name: names}\ndata: {names: {{ include \"names\" . }}}{{ end }}"
		if err := os.WriteFile(filepath.Join(dir, "templates", "names.yaml"), []byte(names), 0o644); err != nil {
			t.Fatal(err)
		}
		manifest, err := renderWithHelm3(dir, c.values)
		if err != nil {
			t.Errorf("%s: %v", c.values, err)
			continue
		}
		taken := admitted(t, manifest)
		data, _, _ := unstructured.NestedString(only(t, taken, "ConfigMap").Object, "data", "names")
		if data != c.first+" "+c.second {
			t.Errorf("%s: accounts %s, want %s %s", c.values, data, c.first, c.second)
		}
		for _, o := range taken {
			binding := rbacv1.RoleBinding{}
			if o.GetKind() != "RoleBinding" {
				continue
			}
			convert(t, o, &binding)
			want := c.first
			if strings.HasSuffix(binding.Name, "-reports") {
				want = c.second
			}
			if got := binding.Subjects[0].Name; got != want {
				t.Errorf("%s: %s is bound to %s, want %s", c.values, binding.Name, got, want)
			}
		}
	}
}

// Every name fits, for every name of a release that Helm allows.
func TestNamesFit(t *testing.T) {
	for _, name := range []string{"a", strings.Repeat("r", 53), "a." + strings.Repeat("b", 49) + ".c", strings.Repeat("r", 42) + "." + strings.Repeat("x", 10)} {
		for _, values := range []string{``, `{leader-elector: {name: ` + strings.Repeat("n", 40) + `}, reports: {name: ` + strings.Repeat("m", 40) + `, labelPodRole: true, roleLabel: x}}`} {
			manifest, err := renderAs(prepared(t, "two"), name, values)
			if err != nil {
				t.Fatal(err)
			}
			names := map[string]bool{}
			for _, o := range admitted(t, manifest) {
				if id := o.GetKind() + o.GetName(); len(o.GetName()) > 63 || names[id] {
					t.Errorf("release %s: %s twice, or too long", name, id)
				} else {
					names[id] = true
				}
			}
		}
	}
}

// Names that were cut differ where what they were made from does: two apps with one Lease
// would be one election.
func TestCutNamesDiffer(t *testing.T) {
	long := "payments-service-production-europe-west-canary-blue"
	names := map[string]bool{}
	for _, release := range []string{long + "1", long + "2"} {
		manifest, err := renderAs(prepared(t, "example"), release, ``)
		if err != nil {
			t.Fatal(err)
		}
		names[regexp.MustCompile(`name: LEASE_NAME\s+value: (\S+)`).FindStringSubmatch(manifest)[1]] = true
	}
	if len(names) != 2 {
		t.Errorf("one Lease for two releases: %v", names)
	}
}

// Under an alias, the one election has the names that it would have without.
func TestAnAlias(t *testing.T) {
	dir := prepared(t, "inject")
	chartFile := filepath.Join(dir, "Chart.yaml")
	content, err := os.ReadFile(chartFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(chartFile, []byte(strings.Replace(string(content), "version: 0.1.0\n    repository", "alias: election\n    version: 0.1.0\n    repository", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	workload := `{{ define "workload" }}{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: app, image: app}]}}{{ end }}{{ include "leader-elector.inject" (list (dict "context" $ "values" .Values.election) "workload") }}` +
		"\n---\n" + `{{ include "leader-elector.resources" (dict "context" $ "values" .Values.election) }}`
	if err := os.WriteFile(filepath.Join(dir, "templates", "leader-elector.yaml"), []byte(workload), 0o644); err != nil {
		t.Fatal(err)
	}
	for helm, render := range map[string]func(string, string) (string, error){"3": renderWithHelm3, "4": renderWithHelm4} {
		manifest, err := render(dir, `{election: {labelPodRole: true}}`)
		if err != nil {
			t.Fatalf("Helm %s: %v", helm, err)
		}
		taken := admitted(t, manifest)
		pod := podOf(t, taken, "Pod")
		if e := pod.Containers[0].Env; len(e) != 2 || e[0].Name != "LEADER_STATUS_FILE" || pod.ServiceAccountName != "demo-inject-leader-elector" {
			t.Errorf("Helm %s: %v, account %s", helm, e, pod.ServiceAccountName)
		}
		if s := only(t, taken, "Service"); s.GetName() != "demo-inject-leader" {
			t.Errorf("Helm %s: Service %s", helm, s.GetName())
		}
	}
}
