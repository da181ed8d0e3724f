// Package local runs a real etcd, a real kube-apiserver and the sidecar as
// processes of this machine, for tests and for the demo.
package local

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// kubernetesVersion is the one that e2e/controlplane/go.mod requires.
const kubernetesVersion = "v1.37.2"

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

// BuildControlPlane returns the binary of e2e/controlplane, built once for each
// version of its source and kept in the user's cache directory. Progress says
// how long it is taking: some minutes, the first time.
func BuildControlPlane(ctx context.Context, progress io.Writer) (string, error) {
	root, err := Root(ctx)
	if err != nil {
		return "", err
	}
	source := filepath.Join(root, "e2e", "controlplane")
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), runtime.GOARCH)
	for _, name := range []string{"main.go", "go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", err
		}
		sum.Write(content)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "leader-elector")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// Test binaries run side by side: the first one builds.
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("locking %s: %w", lock.Name(), err)
	}
	binary := filepath.Join(dir, fmt.Sprintf("controlplane-%x", sum.Sum(nil)[:8]))
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	fmt.Fprintf(progress, "compiling etcd and kube-apiserver %s, once: some minutes\n", kubernetesVersion)
	const v = "k8s.io/component-base/version."
	flags := fmt.Sprintf("-s -w -X %[1]sgitVersion=%[2]s -X %[1]sgitMajor=1 -X %[1]sgitMinor=%[3]s -X %[1]sgitTreeState=clean",
		v, kubernetesVersion, strings.Split(kubernetesVersion, ".")[1])
	if err := Build(ctx, source, binary+".new", flags, progress); err != nil {
		return "", err
	}
	return binary, os.Rename(binary+".new", binary)
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
