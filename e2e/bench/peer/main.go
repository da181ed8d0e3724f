// Command peer is what users run today in the sidecar's place, as small as it
// can be written: client-go's clientset and LeaderElector with their defaults,
// and the same status file. `make bench` measures the sidecar against it. It
// reads the sidecar's environment, and RELEASE_ON_CANCEL=true.
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"

	"github.com/leader-elector/leader-elector/lease/leasetest/peer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	duration, err := time.ParseDuration(os.Getenv("LEASE_DURATION"))
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	identity, dir := os.Getenv("IDENTITY"), os.Getenv("STATUS_DIR")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	file := filepath.Join(dir, "leader_status")
	if err := os.RemoveAll(file); err != nil {
		return err
	}
	health := leaderelection.NewLeaderHealthzAdaptor(20 * time.Second)
	http.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		if err := health.Check(r); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	go func() { log.Print(http.ListenAndServe(":"+os.Getenv("HEALTH_PORT"), nil)) }()
	callbacks := leaderelection.LeaderCallbacks{
		OnStartedLeading: func(context.Context) {
			if err := os.WriteFile(file, []byte(identity), 0o644); err != nil {
				log.Print(err)
			}
		},
		OnStoppedLeading: func() { _ = os.Remove(file) },
	}
	elector, err := peer.New(client.CoordinationV1(), os.Getenv("NAMESPACE"), os.Getenv("LEASE_NAME"), identity, duration, callbacks,
		peer.Releasing(os.Getenv("RELEASE_ON_CANCEL") == "true"), func(c *leaderelection.LeaderElectionConfig) { c.WatchDog = health })
	if err != nil {
		return err
	}
	health.SetLeaderElection(elector)
	elector.Run(ctx)
	return nil
}
