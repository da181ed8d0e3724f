// Command cluster runs a real etcd and kube-apiserver on free loopback ports
// until it is interrupted, and prints the kubeconfigs that reach them.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/leader-elector/leader-elector/e2e/harness"
)

func main() {
	lease := flag.String("lease", "", "make a service account of this name too, with the README's rights on the Lease of this name")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *lease); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, lease string) error {
	dir, err := os.MkdirTemp("", "leader-elector-cluster-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cluster, err := harness.Start(ctx, dir, os.Stderr)
	if err != nil {
		return err
	}
	defer cluster.Close()
	admin, err := cluster.AdminKubeconfig()
	if err != nil {
		return err
	}
	fmt.Printf("export KUBECONFIG=%s # all rights\n", admin)
	if lease != "" {
		account, err := cluster.Account(ctx, lease, harness.Rules(lease, true, true))
		if err != nil {
			return err
		}
		fmt.Printf("export KUBECONFIG=%s # service account %s\n", account, lease)
	}
	fmt.Println("running until interrupted (Ctrl-C)")
	<-ctx.Done()
	return nil
}
