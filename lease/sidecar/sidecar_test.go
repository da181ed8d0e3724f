package sidecar

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// running is a whole sidecar at an API server on loopback.
type running struct {
	*Sidecar
	api  *leasetest.Server
	stop context.CancelFunc
	log  leasetest.Buffer
	done chan error
}

func run(t *testing.T, environ ...string) *running {
	t.Helper()
	r := begin(t, nil, environ...)
	r.awaits(t, "the status file", func() bool { return exists(r.dir.path) })
	return r
}

// begin starts a sidecar, or exec of a command.
func begin(t *testing.T, argv []string, environ ...string) *running {
	t.Helper()
	r := &running{api: &leasetest.Server{}, done: make(chan error, 1)}
	web := httptest.NewServer(r.api)
	t.Cleanup(web.Close)
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	write(t, kubeconfig, string(leasetest.Kubeconfig(web.URL)))
	cfg, err := LoadConfig(append(append(required, "HEALTH_PORT=0", "STATUS_DIR="+filepath.Join(dir, "status"), "KUBECONFIG="+kubeconfig), environ...))
	check(t, err)
	if argv != nil {
		check(t, cfg.ForCommand(argv, os.Environ()))
	}
	r.Sidecar, err = Prepare(cfg)
	check(t, err)
	t.Cleanup(r.Close)
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() { r.done <- r.Run(ctx, "test", logTo(&r.log), &LogWriter{}) }()
	t.Cleanup(func() { stop(); <-r.done })
	return r
}

// awaits waits for something that other goroutines bring about.
func (r *running) awaits(t *testing.T, what string, is func() bool) {
	t.Helper()
	for start := time.Now(); !is(); time.Sleep(time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatalf("%s does not come:\n%s", what, r.log.String())
		}
	}
}

func (r *running) ended(t *testing.T) error {
	t.Helper()
	err := <-r.done
	r.done <- err
	return err
}

func TestAnHTTPServerThatFailsEndsTheProcessInOrder(t *testing.T) {
	r := run(t, "RELEASE_DELAY=0")
	check(t, r.listener.Close())
	if err := r.ended(t); err == nil || !strings.Contains(err.Error(), "HTTP server has failed") {
		t.Fatal(err)
	}
	if l := r.api.Get("default", "app"); *l.Spec.HolderIdentity != "" || exists(r.dir.path) {
		t.Fatalf("not handed over in order: holder %q", *l.Spec.HolderIdentity)
	}
}

// Everything in the status directory that the sidecar needs comes back when the
// directory was removed.
func TestS11_AVanishedDirectoryGetsItsLockAndItsClaimBack(t *testing.T) {
	r := run(t, "RELEASE_DELAY=0")
	check(t, os.RemoveAll(filepath.Dir(r.dir.path)))
	for _, name := range []string{"", ".until", ".lock", ".incarnation"} {
		r.awaits(t, "leader_status"+name, func() bool { return exists(r.dir.path + name) })
	}
	r.awaits(t, "the signature", func() bool { return read(r.dir.path+".incarnation") == r.dir.own })
	if l := r.api.Get("default", "app"); *l.Spec.LeaseTransitions != 0 || *l.Spec.HolderIdentity != "me" {
		t.Fatalf("it stepped down: %+v", l.Spec)
	}
}

// A process that died takes its Lease back at once when it is started again.
func TestS5_ARestartTakesItsOwnLeaseBackAtOnce(t *testing.T) {
	r := run(t, "RELEASE_DELAY=never")
	r.stop()
	check(t, r.ended(t))
	token := *r.api.Get("default", "app").Spec.LeaseTransitions
	before := r.dir.own
	r.Close()
	s, err := Prepare(r.cfg)
	check(t, err)
	defer s.Close()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	start := time.Now()
	go func() { done <- s.Run(ctx, "test", logTo(&r.log), &LogWriter{}) }()
	r.awaits(t, "the status file", func() bool { return exists(s.dir.path) })
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("%q waited for %v", before, took)
	}
	if l := r.api.Get("default", "app"); *l.Spec.LeaseTransitions != token {
		t.Errorf("transitions %d, before %d", *l.Spec.LeaseTransitions, token)
	}
	stop()
	check(t, <-done)
}

func TestAMtimeThatAShellCantReadIsWarnedOf(t *testing.T) {
	for environ, warns := range map[string]bool{"LEASE_DURATION=15s": false, "LEASE_DURATION=2s": true} {
		cfg, err := LoadConfig(append(required, environ))
		check(t, err)
		election := cfg.Election()
		election.Complete()
		var log leasetest.Buffer
		(&Sidecar{cfg: cfg, dir: &statusDir{}}).warn(logTo(&log), &election)
		if got := strings.Contains(log.String(), "RENEW_DEADLINE - RENEW_INTERVAL"); got != warns {
			t.Errorf("%s: %s", environ, log.String())
		}
	}
}

// /healthz says that the file system hangs, and answers all the same; /readyz
// makes a directory again that is gone.
func TestS11_HealthSaysThatTheFileSystemHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		s := &server{election: f.elector, alive: f.elector.Alive, file: f.StatusFile, lane: newLane()}
		ask := func(path string) (int, string) {
			w := httptest.NewRecorder()
			s.limits().Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			return w.Code, w.Body.String()
		}
		if code, body := ask("/healthz"); code != http.StatusOK {
			t.Fatal(code, body)
		}
		f.elector.StepDown("the test says so")
		synctest.Wait()
		check(t, os.RemoveAll(filepath.Dir(f.Path)))
		if code, body := ask("/readyz"); code != http.StatusOK || !exists(filepath.Dir(f.Path)) {
			t.Fatal(code, body)
		}
		passes(20 * time.Second)
		answer := f.hangs()
		defer answer()
		passes(8 * time.Second)
		if code, body := ask("/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "has not answered") {
			t.Fatal(code, body)
		}
	})
}

var _ Election = (*lease.Elector)(nil)
