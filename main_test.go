package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/leader-elector/leader-elector/lease/leasetest"
)

func TestArguments(t *testing.T) {
	for _, c := range []struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{[]string{"--version"}, 0, "dev\n", ""},
		{[]string{"--help"}, 0, "LEASE_NAME", ""},
		{[]string{"--lease=x"}, 2, "", "unknown argument"},
		{nil, 2, "", "LEASE_NAME is missing"},
		{[]string{"exec", "--", "true"}, 2, "", "LEASE_NAME is missing"},
		{[]string{"exec", "true"}, 2, "", "exec takes a command"},
		{[]string{"exec", "--"}, 2, "", "exec takes a command"},
		{[]string{"install"}, 2, "", "install takes one argument"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), c.args, []string{"STATUS_DIR=" + t.TempDir(), "HEALTH_PORT=0"}, &stdout, &stderr)
		if code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("%v: code %d, stdout %q, stderr %q", c.args, code, &stdout, &stderr)
		}
	}
}

func TestAPortThatIsTakenIsABadConfiguration(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var stderr bytes.Buffer
	code := run(t.Context(), nil, []string{
		"LEASE_NAME=app", "NAMESPACE=default", "STATUS_DIR=" + t.TempDir(), fmt.Sprintf("HEALTH_PORT=%d", l.Addr().(*net.TCPAddr).Port),
	}, io.Discard, &stderr)
	if code != 2 || !strings.Contains(stderr.String(), "HEALTH_PORT=") {
		t.Fatalf("code %d: %s", code, &stderr)
	}
}

// kubeconfigFor writes a kubeconfig for an API server.
func kubeconfigFor(t *testing.T, url string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, leasetest.Kubeconfig(url), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMain makes the test binary the program itself for the tests of signals.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_IS_THE_PROGRAM") != "" {
		main()
	}
	os.Exit(m.Run())
}

// Each signal that asks the process to end does so in order, though nothing reads
// its log any more.
func TestS6_SignalsEndTheProcessInOrderWithoutAReaderOfItsLog(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		t.Run(signal.String(), func(t *testing.T) {
			var api leasetest.Server
			web := httptest.NewServer(&api)
			defer web.Close()
			dir := t.TempDir()
			reader, writer, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Stderr = writer
			cmd.Env = []string{
				"TEST_IS_THE_PROGRAM=1", "LEASE_NAME=app", "NAMESPACE=default", "IDENTITY=me", "HEALTH_PORT=0", "RELEASE_DELAY=0",
				"STATUS_DIR=" + dir, "KUBECONFIG=" + kubeconfigFor(t, web.URL),
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			_ = writer.Close()
			file := filepath.Join(dir, "leader_status")
			for start := time.Now(); ; time.Sleep(time.Millisecond) {
				if _, err := os.Stat(file); err == nil {
					break
				}
				if time.Since(start) > time.Minute {
					t.Fatal("no status file after a minute")
				}
			}
			_ = reader.Close()
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("exit: %v", err)
			}
			if l := api.Get("default", "app"); *l.Spec.HolderIdentity != "" {
				t.Errorf("the Lease is not released: holder %q", *l.Spec.HolderIdentity)
			}
			if _, err := os.Stat(file); !os.IsNotExist(err) {
				t.Error("the status file outlived the program")
			}
		})
	}
}

// The whole program, from its environment to its exit code.
func TestRun(t *testing.T) {
	api := httptest.NewServer(&leasetest.Server{})
	defer api.Close()
	dir := t.TempDir()
	kubeconfig := kubeconfigFor(t, api.URL)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var log leasetest.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, nil, []string{
			"LEASE_NAME=app", "NAMESPACE=default", "IDENTITY=me", "HEALTH_PORT=0", "RELEASE_DELAY=0", "LOG_FORMAT=json",
			"STATUS_DIR=" + filepath.Join(dir, "made"), "KUBECONFIG=" + kubeconfig,
		}, io.Discard, &log)
	}()
	file := filepath.Join(dir, "made", "leader_status")
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		if content, err := os.ReadFile(file); err == nil && string(content) == "me" {
			break
		}
		if time.Since(start) > time.Minute {
			t.Fatalf("no status file after a minute:\n%s", log.String())
		}
	}
	var first struct{ HTTP string }
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, `"campaigning"`) {
			if err := json.Unmarshal([]byte(line), &first); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, port, err := net.SplitHostPort(first.HTTP)
	if err != nil {
		t.Fatalf("no HTTP address in %s", log.String())
	}
	for _, c := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/", 200, `{"name":"me"}`},
		{"GET", "/leader", 200, `{"identity":"me","leader":"me","isLeader":true,"leaseUID":"uid-`},
		{"HEAD", "/leader", 200, ""},
		{"GET", "/healthz", 200, "ok"},
		{"GET", "/readyz", 200, "ok"},
		{"GET", "/metrics", 200, `leader_election_master_status{name="app"} 1`},
		{"POST", "/leader", 405, ""},
		{"GET", "/debug/pprof/", 404, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://127.0.0.1:"+port+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != c.status || !strings.Contains(string(body), c.body) {
			t.Errorf("%s %s: %d %s", c.method, c.path, resp.StatusCode, body)
		}
	}
	stop()
	if got := <-code; got != 0 {
		t.Fatalf("exit code %d:\n%s", got, log.String())
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Fatal("the status file outlived the program")
	}
}
