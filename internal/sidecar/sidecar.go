package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/leader-elector/leader-elector/lease"
)

// Sidecar is a process that has claimed what it needs and may run.
type Sidecar struct {
	cfg      *Config
	dir      *statusDir
	listener net.Listener
}

// Prepare claims the status directory, removing a leftover status file before
// anything else, and the port. It does so even where the Config is wrong
// otherwise, so that its caller can report everything at once.
func Prepare(cfg *Config) (*Sidecar, error) {
	dir, dirErr := claimStatusDir(cfg.StatusPath())
	s := &Sidecar{cfg: cfg, dir: dir}
	var listenErr error
	if cfg.HealthPort >= 0 && cfg.HealthPort <= 65535 {
		s.listener, listenErr = listen(cfg.HealthPort)
	}
	if err := errors.Join(dirErr, listenErr); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close gives back what was claimed.
func (s *Sidecar) Close() {
	if s.dir != nil {
		s.dir.close()
	}
	if s.listener != nil {
		_ = s.listener.Close()
	}
}

// connect finds the API server: of the cluster that this pod runs in, else of
// the kubeconfig's current context.
func (s *Sidecar) connect() (*rest.Config, error) {
	config, err := rest.InClusterConfig()
	if !errors.Is(err, rest.ErrNotInCluster) {
		return config, err
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if s.cfg.Kubeconfig != "" {
		rules.Precedence = filepath.SplitList(s.cfg.Kubeconfig)
	}
	config, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("no API server is known: not in a cluster, and the kubeconfig (KUBECONFIG, else ~/.kube/config) can't be used: %w", err)
	}
	return config, nil
}

// Run takes part in the election until ctx is done, and then hands over in
// order (S6).
func (s *Sidecar) Run(ctx context.Context, version string, log *slog.Logger, logs *LogWriter) error {
	config, err := s.connect()
	if err != nil {
		return err
	}
	counts := &metrics{leaseName: s.cfg.LeaseName, dropped: logs.Dropped, requests: map[[2]string]int64{}}
	config.UserAgent = "leader-election-sidecar/" + version
	config.Wrap(counts.wrap)

	var file *StatusFile
	lock := &workLock{path: s.dir.path + ".lock", log: log}
	var label *podLabel
	election := s.cfg.Election()
	election.REST, election.Logger, election.PreviousIncarnation = config, log, s.dir.previous
	election.BeforeRelease = func(ctx context.Context) error {
		if err := file.Gone(ctx); err != nil {
			return err
		}
		if label != nil {
			if err := label.label(ctx, "follower"); err != nil {
				log.Warn("the pod keeps its label until its successor changes it", "err", err)
			}
		}
		return lock.appStopped(ctx, s.cfg.releaseDelay)
	}
	elector, err := lease.New(election)
	if err != nil {
		return err
	}
	if err := errors.Join(s.dir.sign(elector.Incarnation()), lock.create()); err != nil {
		return err
	}
	alarm, err := elector.Clock().NewAlarm()
	if err != nil {
		return err
	}
	defer alarm.Close()
	file = NewStatusFile(s.dir.path, elector, log)
	election.Complete()

	followers, end := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	defer running.Wait()
	defer end()
	running.Go(func() { file.Run(followers, alarm) })
	running.Go(func() { lock.watch(followers, elector) })
	if s.cfg.LabelPodRole {
		label = &podLabel{elector: elector, namespace: s.cfg.PodNamespace, name: s.cfg.PodName, retryPeriod: election.RetryPeriod, log: log}
		running.Go(func() { label.run(followers) })
	}
	web := (&server{elector: elector, file: file, metrics: counts}).limits()
	web.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	defer func() { _ = web.Close() }()
	go func() { _ = web.Serve(s.listener) }()
	log.Info("campaigning", "version", version, "identity", s.cfg.Identity, "lease", s.cfg.Namespace+"/"+s.cfg.LeaseName,
		"statusFile", s.dir.path, "http", s.listener.Addr().String(), "api", config.Host)

	if err := elector.Run(ctx); err != nil {
		return err
	}
	last, cancel := context.WithTimeout(followers, 5*time.Second)
	defer cancel()
	if err := file.Gone(last); err != nil {
		return fmt.Errorf("the status file %s can't be removed: the app may go on believing it", s.dir.path)
	}
	return nil
}
