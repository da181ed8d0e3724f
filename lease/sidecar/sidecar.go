package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/leader-elector/leader-elector/lease"
	"github.com/leader-elector/leader-elector/lease/boottime"
)

// Sidecar is a process that has claimed what it needs and may run.
type Sidecar struct {
	cfg      *Config
	origin   origin
	dir      *statusDir
	lock     *workLock
	lockErr  error
	listener net.Listener

	// Retire tells Run that the pod is being deleted, by any value. Nil: it is never told.
	Retire <-chan os.Signal

	execution atomic.Pointer[execution] // nil: no command is run
}

const (
	startLimit = 10 * time.Second // how long the file system may take at start
	closeLimit = time.Second      // and at the end
)

// Prepare claims the status directory, removing a leftover status file before
// anything else, and the port. It does so even where the Config is wrong
// otherwise, so that its caller can report everything at once.
func Prepare(cfg *Config) (*Sidecar, error) {
	s, err := claim(cfg)
	if err != nil {
		s = &Sidecar{}
	}
	var listenErr error
	if cfg.HealthPort >= 0 && cfg.HealthPort <= 65535 {
		s.listener, listenErr = listen(cfg.HealthPort)
	}
	if err := errors.Join(err, listenErr); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// claim does all that a start asks of the file system.
func claim(cfg *Config) (*Sidecar, error) {
	type claimed struct {
		*Sidecar
		err error
	}
	c, err := within(context.Background(), newLane(), startLimit, func() claimed {
		s := &Sidecar{cfg: cfg, origin: readOrigin(tokenPath, bootIDPath)}
		var err error
		if s.dir, err = claimStatusDir(cfg.StatusPath(), s.origin.incarnation()); err != nil {
			return claimed{nil, err}
		}
		s.lock = newWorkLock(s.dir.path + ".lock")
		s.lockErr = s.lock.files.open()
		return claimed{s, nil}
	})
	if err != nil {
		return nil, fmt.Errorf("the file system of the status directory (STATUS_DIR=%s) gives %w; check the volume that is mounted there", cfg.StatusDir, err)
	}
	return c.Sidecar, c.err
}

// Close gives back what was claimed.
func (s *Sidecar) Close() {
	if s.listener != nil {
		_ = s.listener.Close()
	}
	if s.dir == nil {
		return
	}
	s.lock.close()
	_, _ = within(context.Background(), newLane(), closeLimit, func() error { s.dir.close(); return nil })
}

// connect finds the API server: of the cluster that this pod runs in, else of
// the kubeconfig's current context.
func (c *Config) connect() (*rest.Config, error) {
	config, err := rest.InClusterConfig()
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("this pod has no service account token. Remove automountServiceAccountToken: false from the pod and from its service account: %w", err)
	}
	if !errors.Is(err, rest.ErrNotInCluster) {
		return config, err
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if c.Kubeconfig != "" {
		rules.Precedence = filepath.SplitList(c.Kubeconfig)
	}
	config, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, fmt.Errorf("no API server is known: not in a cluster, and no kubeconfig in %s. Set KUBECONFIG to a kubeconfig that has a current context", strings.Join(rules.Precedence, ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("no API server is known: not in a cluster, and the kubeconfig (KUBECONFIG, else ~/.kube/config) can't be used: %w", err)
	}
	return config, nil
}

// Run takes part in the election until ctx is done, and then hands over in
// order (S6).
//
// The error is a *CommandExit where the command of exec has ended by itself with
// another exit code than 0, or could not be started.
func (s *Sidecar) Run(ctx context.Context, version string, log *slog.Logger, logs *LogWriter) error {
	if err := s.findCommand(); err != nil {
		return err
	}
	config, err := s.cfg.connect()
	if err != nil {
		return err
	}
	config.UserAgent = "leader-election-sidecar/" + version

	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	election := s.cfg.Election()
	election.Complete()
	s.warn(log, &election)
	counts := newMetrics(s.cfg.LeaseName, election.RenewDeadline, logs.Dropped)
	config.Wrap(counts.wrap)
	over := newHandover(s.cfg, &election, ctx)
	election.REST, election.Logger, election.BeforeRelease = config, log, over.run
	election.Incarnation, election.ProvenDead = s.dir.own, s.origin.provenDead(s.dir.dead)
	elector, err := lease.New(election)
	if err != nil {
		return err
	}
	counts.election = elector
	alarm, err := elector.Clock().NewAlarm()
	if err != nil {
		return err
	}
	defer alarm.Close()
	s.lock.log = log
	over.log, over.lock = log, s.lock
	over.file = NewStatusFile(s.dir.path, elector, log)
	over.file.Failed = elector.StepDown
	over.file.Keep = func() { s.dir.keep(log); over.lock.keep() }
	over.begins = counts.handsOver
	over.retired = func() bool { return elector.State().Retired }
	follow, alive := s.app(elector, over, log)

	sinks, end := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	defer running.Wait()
	defer end()
	endCommand, err := s.execute(sinks, &running, over, elector, fail)
	if err != nil {
		return err
	}
	running.Go(func() { over.file.Run(sinks, alarm) })
	running.Go(func() { over.lock.watch(sinks, elector) })
	running.Go(func() { over.lock.retire(sinks, s.Retire, elector) })
	running.Go(func() { follow(sinks) })
	running.Go(func() { counts.watch(sinks) })
	if s.cfg.LabelPodRole {
		patches := func() pods { return pods{elector.REST(), s.cfg.PodNamespace, election.RetryPeriod, newLane()} }
		shows := rolePatch{label: s.cfg.RoleLabel, cost: int(s.cfg.DeletionCost)}
		over.label = newPodLabel(elector, patches(), s.cfg.PodName, shows, election.RetryPeriod, log)
		heal := &podHeal{election: elector, pods: patches(), name: s.cfg.PodName, shows: shows, retryPeriod: election.RetryPeriod, log: log}
		running.Go(func() { over.label.run(sinks) })
		running.Go(func() { heal.run(sinks) })
	}
	if s.cfg.LeaderEvents {
		told := &events{election: elector, client: elector.REST(), namespace: s.cfg.Namespace, lease: s.cfg.LeaseName, limit: election.RetryPeriod, lane: newLane(), log: log}
		running.Go(func() { told.run(sinks) })
	}
	answers := newServer(s.cfg.Namespace+"/"+s.cfg.LeaseName, elector, elector.Alive, over, counts, election.RetryPeriod)
	answers.appAlive = alive
	running.Go(func() { answers.streams.watch(sinks, elector) })
	web := answers.limits()
	web.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	defer func() { _ = web.Close() }()
	defer answers.streams.end()
	go s.serve(web, log, fail)
	log.Info("campaigning", "version", version, "identity", s.cfg.Identity, "lease", s.cfg.Namespace+"/"+s.cfg.LeaseName,
		"statusFile", s.dir.path, "http", s.listener.Addr().String(), "api", config.Host)

	err = errors.Join(elector.Run(ctx), endedBy(context.Cause(ctx)))
	last, cancel := context.WithTimeout(sinks, lastLimit)
	defer cancel()
	return errors.Join(err, endCommand(last), over.file.Gone(last))
}

// app is what follows the app's life, and says whether it lives. Both do nothing where
// LEAD_WHILE is unset.
func (s *Sidecar) app(elector *lease.Elector, over *handover, log *slog.Logger) (follow func(context.Context), alive func() (lives, known bool)) {
	switch s.cfg.LeadWhile {
	case "":
		return func(context.Context) {}, func() (bool, bool) { return true, false }
	case leadWhileLock:
		lock := newAppLock(s.dir.path, log, elector.Stand)
		over.appEnded = lock.free
		return lock.watch, func() (bool, bool) { return lock.alive.Load(), true }
	}
	probe := newAppProbe(s.cfg.LeadWhile, log, elector.Stand)
	return probe.watch, func() (bool, bool) { return probe.alive.Load(), true }
}

// lastLimit is how long the end of the status file and of killed processes is waited
// for after the election.
const lastLimit = 5 * time.Second

// errServe says that the HTTP server has ended without being asked to.
var errServe = errors.New("the HTTP server has failed, so that probes can't be answered")

// serve answers over HTTP. Where that fails, the process ends in order: without
// probes it would not last anyway.
func (s *Sidecar) serve(web *http.Server, log *slog.Logger, fail context.CancelCauseFunc) {
	if err := web.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		log.Error("the HTTP server has failed; stopping, so that this container is restarted", "err", err)
		fail(fmt.Errorf("%w: %w", errServe, err))
	}
}

// warn logs what works, though not as well as it could.
func (s *Sidecar) warn(log *slog.Logger, election *lease.Config) {
	for _, odd := range s.dir.odd {
		log.Warn(odd)
	}
	if s.lockErr != nil {
		log.Warn("the work lock can't be used; a clean stop will let the Lease expire. Let nothing but the sidecar write "+s.lock.path, "err", s.lockErr)
	}
	switch {
	case s.cfg.command == nil && s.cfg.StopGrace != 0:
		log.Warn("STOP_GRACE applies to exec alone; remove it")
	case s.cfg.command != nil && s.cfg.ReleaseDelay != "":
		log.Warn("RELEASE_DELAY does not apply to exec, which releases the Lease when its command has ended; remove it")
	}
	if uptime, ok := shownUptime("/proc/uptime", boottime.System().Now()); !ok && uptime > 0 {
		log.Warn("/proc/uptime is not the time since this machine started (does the container runtime use lxcfs?), so an app can't use leader_status.until; let it read the status file's mtime alone", "uptime", uptime)
	}
	if !readableMtime(election) {
		log.Warn("RENEW_DEADLINE - RENEW_INTERVAL is below 1s, so a shell, which reads whole seconds, may conclude that this pod does not lead although it does; make it 1s or more",
			"renewDeadline", election.RenewDeadline, "renewInterval", election.RenewInterval)
	}
}
