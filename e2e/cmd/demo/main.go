// Command demo shows an election: three sidecars as processes of this machine,
// a clean stop of the leader and a SIGKILL of the next. It brings its own API
// server, or uses the cluster of -kubeconfig.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/leader-elector/leader-elector/e2e/harness"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "use this cluster's current context instead of starting an API server here")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE)
	err := demo(ctx, *kubeconfig)
	stop()
	if errors.Is(err, context.Canceled) {
		fmt.Println("interrupted; everything is stopped and removed")
		os.Exit(130)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, kubeconfig string) (err error) {
	dir, err := os.MkdirTemp("", "leader-elector-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Println("building the sidecar")
	binary, err := harness.BuildSidecar(ctx, dir)
	if err != nil {
		return err
	}
	if kubeconfig == "" {
		began := time.Now()
		cluster, err := harness.Start(ctx, dir, os.Stdout)
		if err != nil {
			return err
		}
		defer cluster.Close()
		fmt.Printf("etcd and kube-apiserver are ready on loopback after %v\n", time.Since(began).Round(time.Millisecond))
		if kubeconfig, err = cluster.AdminKubeconfig(); err != nil {
			return err
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("reading %s: %w", kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	s := &show{lease: fmt.Sprintf("leader-elector-demo-%d", os.Getpid()), changed: time.Now()}
	defer func() {
		for _, r := range s.replicas {
			err = errors.Join(err, r.Stop(syscall.SIGKILL))
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if e := client.CoordinationV1().Leases("default").Delete(last, s.lease, metav1.DeleteOptions{}); e != nil && len(s.replicas) > 0 {
			err = errors.Join(err, fmt.Errorf("deleting the demo's Lease: %w", e))
		}
	}()
	for i := range 3 {
		identity := fmt.Sprintf("replica-%d", i)
		r, err := harness.StartSidecar(binary, filepath.Join(dir, identity), identity,
			"KUBECONFIG="+kubeconfig, "NAMESPACE=default", "LEASE_NAME="+s.lease, "RELEASE_DELAY=0")
		if err != nil {
			return err
		}
		s.replicas = append(s.replicas, r)
	}
	return s.play(ctx)
}

// show is what is on the screen.
type show struct {
	lease    string
	replicas []*harness.Sidecar
	last     *harness.Sidecar // the leader shown last
	changed  time.Time
}

func (s *show) play(ctx context.Context) error {
	began := time.Now()
	first, err := s.next(ctx, nil)
	if err != nil {
		return err
	}
	fmt.Printf("\nfirst leader %v after the processes were started\n", s.changed.Sub(began).Round(time.Millisecond))
	if err := s.look(ctx, 6*time.Second); err != nil {
		return err
	}

	fmt.Printf("\nstopping %s cleanly (SIGTERM)\n", first.Identity)
	gone := make(chan time.Time, 1)
	go func() {
		for first.Leads() {
			time.Sleep(100 * time.Microsecond)
		}
		gone <- time.Now()
	}()
	if err := first.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	second, err := s.next(ctx, first)
	if err != nil {
		return err
	}
	fmt.Printf("clean handover: %s leads %v after the file of %s was gone\n", second.Identity, s.changed.Sub(<-gone).Round(100*time.Microsecond), first.Identity)
	if err := s.look(ctx, 6*time.Second); err != nil {
		return err
	}

	fmt.Printf("\nkilling %s (SIGKILL): its Lease has to expire\n", second.Identity)
	killed := time.Now()
	// The file's mtime is when the term lapses, RENEW_DEADLINE (10 s) after the
	// last renewal; the Lease of 15 s expires 5 s later.
	info, err := os.Stat(second.File)
	if err != nil {
		return err
	}
	if err := second.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	third, err := s.next(ctx, second)
	if err != nil {
		return err
	}
	expiry := info.ModTime().Add(5 * time.Second)
	fmt.Printf("failover: %s leads %v after the kill, %v after the Lease expired\n", third.Identity,
		s.changed.Sub(killed).Round(time.Millisecond), s.changed.Sub(expiry).Round(time.Millisecond))
	return s.look(ctx, 3*time.Second)
}

// next waits for a leader that is not the one before.
func (s *show) next(ctx context.Context, before *harness.Sidecar) (*harness.Sidecar, error) {
	limit, printed := time.Now().Add(time.Minute), time.Now()
	for ctx.Err() == nil {
		for _, r := range s.replicas {
			if r != before && r.Leads() {
				s.last, s.changed = r, time.Now()
				return r, nil
			}
			select {
			case <-r.Ended():
				if before == nil {
					return nil, fmt.Errorf("%s ended:\n%s", r.Identity, r.Log())
				}
			default:
			}
		}
		if time.Now().After(limit) {
			return nil, fmt.Errorf("no sidecar leads after a minute; the log of %s:\n%s", s.replicas[2].Identity, s.replicas[2].Log())
		}
		if time.Since(printed) > 3*time.Second {
			s.print()
			printed = time.Now()
		}
		time.Sleep(500 * time.Microsecond)
	}
	return nil, ctx.Err()
}

// look prints who leads for a while.
func (s *show) look(ctx context.Context, d time.Duration) error {
	for end := time.Now().Add(d); ; {
		s.print()
		if time.Now().After(end) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(3 * time.Second):
		}
	}
}

func (s *show) print() {
	var b strings.Builder
	fmt.Fprintf(&b, "%s ", time.Now().Format(time.TimeOnly))
	for _, r := range s.replicas {
		role := "follower, no file"
		select {
		case <-r.Ended():
			role = "stopped"
		default:
			if info, err := os.Stat(r.File); r.Leads() {
				token, _ := r.Token()
				role = fmt.Sprintf("LEADER, term %d, file valid for %v", token, time.Until(info.ModTime()).Round(time.Second))
			} else if err == nil {
				role = "stale file"
			}
		}
		fmt.Fprintf(&b, " | %s: %s", r.Identity, role)
	}
	fmt.Printf("%s | last change %v ago\n", b.String(), time.Since(s.changed).Round(time.Second))
}
