package sidecar

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leader-elector/leader-elector/lease/boottime"
)

var required = []string{"LEASE_NAME=app", "NAMESPACE=default", "IDENTITY=me"}

func TestConfigDefaults(t *testing.T) {
	c, err := LoadConfig(append(required, "HEALTH_PORT=", "POD_NAMESPACE="))
	if err != nil {
		t.Fatal(err)
	}
	if c.HealthPort != 8080 || c.LeaseDuration != 15*time.Second || c.PodNamespace != "default" || c.releaseDelay != 5*time.Second {
		t.Fatalf("%+v", c)
	}
	// LEASE_DURATION alone is a valid configuration
	if c, err = LoadConfig(append(required, "LEASE_DURATION=3s")); err != nil || c.releaseDelay != time.Second {
		t.Fatalf("%v %v", c.releaseDelay, err)
	}
}

func TestConfigNamesEveryWrongVariable(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want []string
	}{
		{nil, []string{"LEASE_NAME is missing", "NAMESPACE is missing"}},
		{[]string{"LEASE_NAME=App", "NAMESPACE=a.b"}, []string{`LEASE_NAME="App"`, `NAMESPACE="a.b"`}},
		{append(required, "LABEL_POD_ROLE=true"), []string{"POD_NAME is missing"}},
		{append(required, "LABEL_POD_ROLE=maybe"), []string{`LABEL_POD_ROLE="maybe": must be true or false`}},
		{append(required, "RENEW_DEADLINE=15s"), []string{"RENEW_DEADLINE=15s: must be less than LEASE_DURATION=15s"}},
		{append(required, "RENEW_INTERVAL=9s"), []string{"RENEW_INTERVAL=9s: with RETRY_PERIOD=2s added, must be at most RENEW_DEADLINE=10s"}},
		{append(required, "LEASE_DURATION=1500ms"), []string{"LEASE_DURATION=1.5s: must be whole seconds"}},
		{append(required, "LEASE_DURATION=2h"), []string{"LEASE_DURATION=2h0m0s: must be whole seconds, from 1s to 1h"}},
		{append(required, "LEASE_DURATION=2500ms", "RETRY_PERIOD=1us"), []string{"LEASE_DURATION=2.5s", "RETRY_PERIOD=1µs: must be at least 1ms"}},
		{append(required, "LEASE_DURATION=-3s"), []string{"LEASE_DURATION=-3s"}},
		{append(required, "HEALTH_PORT=65536", "LOG_LEVEL=loud", "LOG_FORMAT=xml"), []string{"HEALTH_PORT=65536", `LOG_LEVEL="loud"`, `LOG_FORMAT="xml"`}},
		{append(required, "HEALTH_PORT=http"), []string{`HEALTH_PORT="http": must be a number`}},
		{append(required, "RELEASE_DELAY=-1s"), []string{`RELEASE_DELAY="-1s"`}},
		{append(required, "IDENTITY=a\nb"), []string{`IDENTITY="a\nb": must have no space around it`}},
		{append(required, "IDENTITY= "), []string{`IDENTITY=" "`}},
		{append(required, "IDENTITY="+strings.Repeat("a", 2000)), []string{"at most 1024 bytes"}},
		{append(required, "RETRY_PERIOD=2"), []string{`RETRY_PERIOD="2": must be a duration`}},
	} {
		_, err := LoadConfig(c.env)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v does not say %q", c.env, err, want)
			}
			if err != nil && strings.ContainsAny(err.Error(), "{}") {
				t.Errorf("%v: a field is not translated: %v", c.env, err)
			}
		}
	}
}

func TestStatusPath(t *testing.T) {
	tmp := t.TempDir()
	if got := (&Config{}).statusPath(tmp); got != filepath.Join(tmp, "leader_status") {
		t.Errorf("without a volume: %s", got)
	}
	if err := os.Mkdir(filepath.Join(tmp, "leader_status"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := (&Config{}).statusPath(tmp); got != filepath.Join(tmp, "leader_status", "leader_status") {
		t.Errorf("with a volume: %s", got)
	}
	if got := (&Config{StatusDir: "/x"}).statusPath(tmp); got != "/x/leader_status" {
		t.Errorf("STATUS_DIR=/x: %s", got)
	}
}

func TestAnotherUptimeThanTheKernelsIsSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "uptime")
	for content, want := range map[string]bool{"3600.50 100.00\n": true, "3603.00 1.00\n": false, "12.00 1.00\n": false, "": false} {
		write(t, path, content)
		if uptime, ok := shownUptime(path, boottime.Moment(time.Hour)); ok != want {
			t.Errorf("%q: %v, %v", content, uptime, ok)
		}
	}
}

// A pod whose account mounts no token is told the cause, and what to change.
func TestAPodWithoutAToken(t *testing.T) {
	_, missing := os.Stat(tokenPath) // this test may run in a pod that has one
	t.Setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
	t.Setenv("KUBERNETES_SERVICE_PORT", "9")
	_, err := (&Config{}).connect()
	if said := err != nil && strings.Contains(err.Error(), "automountServiceAccountToken: false"); said != (missing != nil) {
		t.Errorf("token: %v, connecting: %v", missing, err)
	}
}
