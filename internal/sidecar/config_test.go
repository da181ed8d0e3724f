package sidecar

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
		{append(required, "RENEW_INTERVAL=9s"), []string{"RENEW_INTERVAL=9s + RETRY_PERIOD=2s"}},
		{append(required, "LEASE_DURATION=1500ms"), []string{"LEASE_DURATION=1.5s: must be whole seconds"}},
		{append(required, "LEASE_DURATION=-3s"), []string{"LEASE_DURATION=-3s"}},
		{append(required, "HEALTH_PORT=65536", "LOG_LEVEL=loud", "LOG_FORMAT=xml"), []string{"HEALTH_PORT=65536", `LOG_LEVEL="loud"`, `LOG_FORMAT="xml"`}},
		{append(required, "HEALTH_PORT=http"), []string{`HEALTH_PORT="http": must be a number`}},
		{append(required, "RELEASE_DELAY=-1s"), []string{`RELEASE_DELAY="-1s"`}},
		{append(required, "RETRY_PERIOD=2"), []string{`RETRY_PERIOD="2": must be a duration`}},
	} {
		_, err := LoadConfig(c.env)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v does not say %q", c.env, err, want)
			}
		}
	}
}

func TestStatusDirRefusesWhatItCantUse(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := claimStatusDir(filepath.Join(file, "leader_status")); err == nil || !strings.Contains(err.Error(), "STATUS_DIR") {
		t.Fatalf("STATUS_DIR that is a file: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "leader_status"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := claimStatusDir(filepath.Join(dir, "leader_status")); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Fatalf("a directory in the file's place: %v", err)
	}
}

func TestStatusDirRemembersThePreviousIncarnation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leader_status")
	first, err := claimStatusDir(path)
	if err != nil || first.previous != "" {
		t.Fatalf("%+v %v", first, err)
	}
	if err := first.sign("one"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("me"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := claimStatusDir(path); err == nil || !strings.Contains(err.Error(), "another sidecar") {
		t.Fatalf("claimed twice: %v", err)
	}
	first.close()
	second, err := claimStatusDir(path)
	if err != nil || second.previous != "one" {
		t.Fatalf("%+v %v", second, err)
	}
	defer second.close()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatal("the leftover status file is still there")
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
