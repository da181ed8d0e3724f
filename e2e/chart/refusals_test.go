package chart_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the schema refuses for the first election, the templates refuse for
// another one, whose values Helm does not hold against the schema.
func TestTheSchemaRefusesWhatCannotWork(t *testing.T) {
	dir, two := prepared(t, "example"), prepared(t, "two")
	for _, c := range []struct{ values, says string }{
		{`{leader-elector: {leaseduration: 15s}}`, "additional properties 'leaseduration' not allowed"},
		{`{leader-elector: {image: {tga: "1"}}}`, "additional properties 'tga' not allowed"},
		{`{leader-elector: {labelPodRole: "yes"}}`, "at '/labelPodRole': got string, want boolean"},
		{`{leader-elector: {port: "8080"}}`, "at '/port': got string, want integer"},
		{`{leader-elector: {port: 0}}`, "at '/port': minimum: got 0, want 1"},
		{`{leader-elector: {leaseDuration: 15}}`, "at '/leaseDuration': got number, want string"},
		{`{leader-elector: {leaseDuration: 15 s}}`, "at '/leaseDuration': '15 s' does not match pattern"},
		{`{leader-elector: {releaseDelay: soon}}`, "at '/releaseDelay': 'soon' does not match pattern"},
		{`{leader-elector: {name: My_Election}}`, "at '/name': 'My_Election' does not match pattern"},
		{`{leader-elector: {statusDir: relative}}`, "at '/statusDir': 'relative' does not match pattern"},
		{`{leader-elector: {logLevel: loud}}`, "at '/logLevel': value must be one of 'debug', 'info', 'warn', 'error'"},
		{`{leader-elector: {leaderService: {ports: [{name: http}]}}}`, "at '/leaderService/ports/0': missing property 'port'"},
		{`{leader-elector: {extraEnv: [5]}}`, "at '/extraEnv/0': got number, want object"},
		{`{leader-elector: {image: {repository: ""}}}`, "at '/image/repository': minLength: got 0, want 1"},
		{`{leader-elector: {name: ` + strings.Repeat("n", 41) + `}}`, "at '/name': maxLength: got 41, want 40"},
		{`{leader-elector: {serviceAccount: {annotations: {a: 1}}}}`, "at '/serviceAccount/annotations/a': got number, want string"},
		{`{leader-elector: {leadWhile: always}}`, "at '/leadWhile': 'always' does not match pattern"},
		{`{leader-elector: {leadWhile: "https://localhost/alive"}}`, "at '/leadWhile': 'https://localhost/alive' does not match pattern"},
		{`{leader-elector: {leadWhile: "http://"}}`, "at '/leadWhile': 'http://' does not match pattern"},
		{`{leader-elector: {leadWhile: true}}`, "at '/leadWhile': got boolean, want string"},
		{`{leader-elector: {claimDelay: 2}}`, "at '/claimDelay': maximum: got 2, want 0"},
		{`{leader-elector: {claimDelay: 2 s}}`, "at '/claimDelay': '2 s' does not match pattern"},
		{`{leader-elector: {stopGrace: long}}`, "at '/stopGrace': 'long' does not match pattern"},
		{`{leader-elector: {podDeletionCost: high}}`, "at '/podDeletionCost': got string, want"},
		{`{leader-elector: {podDeletionCost: 1.5}}`, "at '/podDeletionCost': got number, want"},
		{`{leader-elector: {podDeletionCost: 3000000000}}`, "at '/podDeletionCost': maximum: got"},
		{`{leader-elector: {roleLabel: ""}}`, "at '/roleLabel': '' does not match pattern"},
		{`{leader-elector: {roleLabel: the role}}`, "at '/roleLabel': 'the role' does not match pattern"},
		{`{leader-elector: {roleLabel: Example.com/role}}`, "at '/roleLabel': 'Example.com/role' does not match pattern"},
		{`{leader-elector: {roleLabel: ` + strings.Repeat("r", 64) + `}}`, "at '/roleLabel': '" + strings.Repeat("r", 64) + "' does not match pattern"},
		{`{leader-elector: {leaderService: {ports: []}}}`, "at '/leaderService/ports': minItems: got 0, want 1"},
		{`{leader-elector: {name: "1"}}`, "at '/name': '1' does not match pattern"}, // the name of a port too
		{`{leader-elector: {name: a--b}}`, "at '/name': 'a--b' does not match pattern"},
		{`{leader-elector: {image: {tag: 1}}}`, "at '/image/tag': got number, want string"},
		{`{leader-elector: {extraVolumeMounts: [{name: a}]}}`, "at '/extraVolumeMounts/0': missing property 'mountPath'"},
		{`{leader-elector: {commonLabels: {a: 1}}}`, "at '/commonLabels/a': got number, want string"},
		{`{leader-elector: {readinessProbe: {enabled: "no"}}}`, "at '/readinessProbe/enabled': got string, want boolean"},
	} {
		for helm, render := range map[string]func(string, string) (string, error){"Helm 3": renderWithHelm3, "Helm 4": renderWithHelm4} {
			_, err := render(dir, c.values)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s, %s: got %v, want %q", helm, c.values, err, c.says)
			}
			if _, err := render(two, ofAnother(c.values)); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s, %s: got %v, want %q", helm, ofAnother(c.values), err, c.says)
			}
		}
	}
	for _, values := range []string{`{global: {any: thing}}`, `{leader-elector: {global: {any: thing}, enabled: true}}`} {
		if _, err := renderWithHelm3(dir, values); err != nil {
			t.Errorf("%s: %v", values, err)
		}
	}
}

// Helm drops what is null before it looks at the schema: what the templates need is required.
func TestNullsAreRefused(t *testing.T) {
	dir := prepared(t, "example")
	for helm, render := range map[string]func(string, string) (string, error){"Helm 3": renderWithHelm3, "Helm 4": renderWithHelm4} {
		for _, name := range []string{"enabled", "name", "image", "port", "statusDir", "leaseDuration", "container", "serviceAccount", "rbac", "leaderService"} {
			if _, err := render(dir, `{leader-elector: {`+name+`: null}}`); err == nil || !strings.Contains(err.Error(), "missing property '"+name+"'") {
				t.Errorf("%s, %s: %v", helm, name, err)
			}
		}
	}
}

// ofAnother are the values of the election leader-elector as those of the
// election reports, which has a name already.
func ofAnother(values string) string {
	return strings.Replace(values, "leader-elector:", "reports:", 1)
}

// The templates can't read the schema: they hold a copy.
func TestTheTemplatesHoldTheSchema(t *testing.T) {
	dir := filepath.Join(root(t), "charts", "leader-elector")
	schema, err := os.ReadFile(filepath.Join(dir, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "templates", "_schema.tpl")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "{{- define \"leader-elector._schema\" -}}\n", "{{- end -}}\n"
	head, _, _ := strings.Cut(string(content), begin)
	want := head + begin + string(schema) + end
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(content) != want {
		t.Errorf("%s is no copy of values.schema.json (go test -update copies it)", path)
	}
}

// What depends on more than one value, the templates refuse themselves.
func TestTheTemplatesRefuseWhatCannotWork(t *testing.T) {
	const (
		needs = "podDeletionCost needs labelPodRole: true"
		holds = "which leaderService.selector holds too"
		empty = "Leave leadWhile empty with the exec templates"
		other = "ownPod: true where its templates are in another pod"
	)
	for _, c := range []struct{ chart, values, says string }{
		{"two", `{reports: {name: ""}}`, "need a name of their own"},
		{"two", ofAnother(everything), ""},
		{"example", `{leader-elector: {labelPodRole: false, podDeletionCost: 100}}`, needs},
		{"example", `{leader-elector: {labelPodRole: false, podDeletionCost: 0}}`, needs},
		{"example", `{leader-elector: {podDeletionCost: 0}}`, ""},
		{"example", `{leader-elector: {enabled: false, labelPodRole: false, podDeletionCost: 100}}`, ""},
		{"two", `{leader-elector: {podDeletionCost: 100}}`, ""}, // the second election does not inherit it
		{"two", `{reports: {podDeletionCost: 100}}`, needs},
		{"example", `{leader-elector: {roleLabel: app.kubernetes.io/name}}`, holds},
		{"example", `{leader-elector: {leaderService: {selector: {role: db}}}}`, holds},
		{"example", `{leader-elector: {leaderService: {selector: {role: db}}, roleLabel: leads}}`, ""},
		{"example", `{leader-elector: {leaderService: {selector: {role: db}}, labelPodRole: false}}`, ""},
		{"two", `{reports: {labelPodRole: true, roleLabel: app.kubernetes.io/instance}}`, holds},
		{"example-exec", `{leader-elector: {leadWhile: lock}}`, empty},
		{"example-exec", `{command: []}`, "command is empty"},
		{"example-exec", `{leader-elector: {stopGrace: 9s}}`, "it must be at most 3000ms"},
		{"example-exec", `{leader-elector: {stopGrace: 3s, container: {lifecycle: {preStop: {exec: {command: [x]}}}}}}`, ""},
		{"example", `{leader-elector: {claimDelay: 0}}`, ""},
		{"example", `{leader-elector: {leadWhile: "http://localhost:8080/healthz"}}`, "port 8080 is where the sidecar itself answers"},
		{"example", `{leader-elector: {leadWhile: "http://127.0.0.1:8080"}}`, "port 8080 is where the sidecar itself answers"},
		{"two", `{leader-elector: {leaseName: x}, reports: {leaseName: x}}`, "two elections have leaseName x"},
		{"two", `{reports: {statusDir: /tmp/./leader_status}}`, "two elections have statusDir /tmp/./leader_status. "},
		{"example", `{leader-elector: {leaseDuration: 1.5s}}`, "must be whole seconds"},
		{"example", `{leader-elector: {leaseDuration: 15500ms}}`, "must be whole seconds"},
		{"example", `{leader-elector: {leaseDuration: 1m30s}}`, ""},
		{"example", `{leader-elector: {renewInterval: 20s}}`, "renewInterval (20000ms) and retryPeriod (2000ms) together must be at most renewDeadline (10000ms)"},
		{"example", `{leader-elector: {retryPeriod: 100s}}`, "together must be at most renewDeadline"},
		{"example", `{leader-elector: {renewDeadline: 5s, renewInterval: 6s}}`, "together must be at most renewDeadline"},
		{"example", `{leader-elector: {claimDelay: 15001ms}}`, "it must be at most leaseDuration"},
		{"example", `{leader-elector: {extraEnv: [{name: LEASE_NAME, value: other}]}}`, "extraEnv has LEASE_NAME, which this chart sets"},
		{"example", `{leader-elector: {extraEnv: [{name: LEASE_DURATION, value: 1s}]}}`, "extraEnv has LEASE_DURATION, which this chart sets"},
		{"example", `{leader-elector: {leaderService: {name: "123"}}}`, "leaderService.name is \"123\""},
		{"example", `{leader-elector: {leaderService: {name: "x: y"}}}`, "leaderService.name is"},
		{"example", `{leader-elector: {leaderService: {ports: null}}}`, "leaderService.ports is empty"},
		{"example", `{leader-elector: {image: {repository: null}}}`, "image.repository is empty"},
		{"example-exec", `{leader-elector: {leadWhile: lock, enabled: false}}`, ""},
		{"two-exec", `{reports: {leadWhile: "http://localhost:8000/alive"}}`, empty},
		{"two", `{reports: {port: 8080}}`, "two elections have port 8080. "},
		{"two", `{reports: {statusDir: /tmp/leader_status/}}`, "two elections have statusDir /tmp/leader_status/. "},
		{"two", `{reports: {labelPodRole: true}}`, "two elections label the pod with roleLabel role. "},
		{"two", `{leader-elector: {podDeletionCost: 1}, reports: {labelPodRole: true, roleLabel: a, podDeletionCost: 1}}`, "two elections set podDeletionCost"},
		{"two", `{reports: {name: leader-elector}}`, "two elections are called leader-elector"},
		{"two", `{reports: {port: 8080}}`, other},
		{"two", `{reports: {port: 8080, statusDir: /tmp/leader_status, labelPodRole: true, ownPod: true}}`, ""},
		{"two", `{leader-elector: {enabled: false}, reports: {port: 8080}}`, ""},
		{"two", `{reports: {port: 8080, enabled: false}}`, ""},
		{"example", `{leader-elector: {leaseDuration: 0s}}`, "it must be whole seconds, from 1s to 1h"},
		{"example", `{leader-elector: {leaseDuration: 500ms}}`, "it must be whole seconds, from 1s to 1h"},
		{"example", `{leader-elector: {leaseDuration: 2h}}`, "it must be whole seconds, from 1s to 1h"},
		{"example", `{leader-elector: {renewDeadline: 99s}}`, "it must be shorter than leaseDuration"},
		{"example", `{leader-elector: {renewDeadline: 14999ms}}`, ""},
		{"example", `{leader-elector: {renewDeadline: 9s, renewInterval: 8s, retryPeriod: 2s}}`, "together must be at most renewDeadline"},
		{"example", `{leader-elector: {claimDelay: 20s}}`, "it must be at most leaseDuration"},
		{"example", `{leader-elector: {leaseName: My_Lease}}`, `leaseName is "My_Lease"`},
		{"example", `{leader-elector: {leaseName: a..b}}`, `leaseName is "a..b"`},
		{"example", `{leader-elector: {serviceAccount: {create: false, name: "{{ .Release.Name }}_x"}}}`, `serviceAccount.name is "demo_x"`},
	} {
		dir := prepared(t, c.chart)
		for helm, render := range map[string]func(string, string) (string, error){"Helm 3": renderWithHelm3, "Helm 4": renderWithHelm4} {
			_, err := render(dir, c.values)
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%s, %s, %s: got %v, want %q", helm, c.chart, c.values, err, c.says)
			}
		}
	}
}
