// Package harness runs a real etcd, a real kube-apiserver and the sidecar as
// processes of this machine, for tests and for the demo.
package harness

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Root is the project's top directory, seen from anywhere in the module e2e.
func Root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(filepath.Dir(strings.TrimSpace(string(out)))), nil
}

// BuildSidecar builds the binary as it ships, into dir.
func BuildSidecar(ctx context.Context, dir string) (string, error) {
	root, err := Root(ctx)
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "leader-election-sidecar")
	if out, err := exec.CommandContext(ctx, "make", "-C", root, "build", "BINARY="+binary).CombinedOutput(); err != nil {
		return "", fmt.Errorf("make build: %w\n%s", err, out)
	}
	return binary, nil
}

// Build builds the command in the directory source, and says from time to time
// how long it is taking.
func Build(ctx context.Context, source, binary, ldflags string, progress io.Writer) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", ldflags, "-o", binary, ".")
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	start, done := time.Now(), make(chan struct{})
	go func() {
		tick := time.NewTicker(15 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fmt.Fprintf(progress, "  still compiling, %v so far\n", time.Since(start).Round(time.Second))
			case <-done:
				return
			}
		}
	}()
	defer close(done)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build in %s: %w\n%s", source, err, out)
	}
	return nil
}
