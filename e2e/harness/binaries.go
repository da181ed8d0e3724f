package harness

import (
	"context"
	"crypto/sha256"
	"errors"
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

// kubernetesVersion is the one that e2e/cmd/controlplane/go.mod requires.
const kubernetesVersion = "v1.37.2"

// envtest fetches released binaries of etcd and kube-apiserver, as tests of
// controllers do.
const envtest = "sigs.k8s.io/controller-runtime/tools/setup-envtest@v0.25.1"

// binaries is how to start etcd and kube-apiserver: each a command without
// its flags.
type binaries map[string][]string

// findBinaries takes the binaries of the directory that KUBEBUILDER_ASSETS
// names. Without it, it takes those that this version was found or built with
// before; else it fetches them, and where that can't be done, it compiles them.
// Progress says which.
func findBinaries(ctx context.Context, progress io.Writer) (binaries, error) {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		return released(dir)
	}
	root, err := Root(ctx)
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "leader-elector")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	// Test binaries run side by side: the first one fetches or builds.
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = lock.Close() }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("locking %s: %w", lock.Name(), err)
	}
	source := filepath.Join(root, "e2e", "cmd", "controlplane")
	compiled, err := compiledName(dir, source)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(compiled); err == nil {
		return both(compiled), nil
	}
	assets, err := fetch(ctx, dir, progress)
	if err == nil {
		return released(assets)
	}
	fmt.Fprintf(progress, "no released binaries of etcd and kube-apiserver: %v\n", err)
	return both(compiled), compile(ctx, source, compiled, progress)
}

// released is the control plane whose binaries lie in a directory.
func released(dir string) (binaries, error) {
	c := binaries{}
	for _, program := range []string{"etcd", "kube-apiserver"} {
		path := filepath.Join(dir, program)
		if info, err := os.Stat(path); err != nil || info.Mode()&0o111 == 0 {
			return nil, fmt.Errorf("no program %s: KUBEBUILDER_ASSETS must name a directory that holds etcd and kube-apiserver, or be unset", path)
		}
		c[program] = []string{path}
	}
	return c, nil
}

// both is the control plane that one compiled binary is.
func both(binary string) binaries {
	return binaries{"etcd": {binary, "etcd"}, "kube-apiserver": {binary, "kube-apiserver"}}
}

// fetchLimit is how long the tool that fetches may take to arrive, and then to list what it
// can fetch.
const fetchLimit = 15 * time.Second

// fetch returns the directory that holds released binaries of this minor version.
func fetch(ctx context.Context, cache string, progress io.Writer) (dir string, err error) {
	minor := strings.TrimPrefix(kubernetesVersion[:strings.LastIndex(kubernetesVersion, ".")], "v")
	tool := func(ctx context.Context, args ...string) (string, error) {
		var problem strings.Builder
		cmd := exec.CommandContext(ctx, filepath.Join(cache, "setup-envtest"), append(args, "--bin-dir", cache)...)
		cmd.Stderr = &problem
		out, err := cmd.Output()
		if err != nil {
			err = fmt.Errorf("setup-envtest %s: %w: %s", args[0], errors.Join(err, context.Cause(ctx)), firstLine(problem.String()))
		}
		return strings.TrimSpace(string(out)), err
	}
	if fetched, err := tool(ctx, "use", minor+".x", "--installed-only", "--print", "path"); err == nil {
		return fetched, nil // before
	}
	// Where there is no network, or a proxy that does not answer, this is soon known.
	limited, stop := context.WithTimeoutCause(ctx, fetchLimit, fmt.Errorf("no answer within %v", fetchLimit))
	defer stop()
	if err := outsideOfModules(limited, cache, "mod", "download", envtest); err != nil {
		return "", err
	}
	if err := outsideOfModules(ctx, cache, "install", envtest); err != nil {
		return "", err
	}
	listing, stopListing := context.WithTimeout(ctx, fetchLimit)
	defer stopListing()
	if _, err := tool(listing, "list"); err != nil {
		return "", err
	}
	fmt.Fprintf(progress, "fetching etcd and kube-apiserver %s\n", minor)
	return tool(ctx, "use", minor+".x", "--print", "path")
}

// outsideOfModules runs a go command that does not look at this project's modules.
func outsideOfModules(ctx context.Context, cache string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "GOBIN="+cache, "GOFLAGS=", "GOWORK=off")
	cmd.Dir = cache
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), errors.Join(err, context.Cause(ctx)), firstLine(string(out)))
	}
	return nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

// compiledName is where the binary of e2e/cmd/controlplane is kept: one for each version of
// its source.
func compiledName(dir, source string) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), runtime.GOARCH)
	for _, name := range []string{"main.go", "go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", err
		}
		sum.Write(content)
	}
	return filepath.Join(dir, fmt.Sprintf("controlplane-%x", sum.Sum(nil)[:8])), nil
}

// compile builds e2e/cmd/controlplane, which takes some minutes.
func compile(ctx context.Context, source, binary string, progress io.Writer) error {
	fmt.Fprintf(progress, "compiling etcd and kube-apiserver %s, once: some minutes\n", kubernetesVersion)
	const v = "k8s.io/component-base/version."
	flags := fmt.Sprintf("-s -w -X %[1]sgitVersion=%[2]s -X %[1]sgitMajor=1 -X %[1]sgitMinor=%[3]s -X %[1]sgitTreeState=clean",
		v, kubernetesVersion, strings.Split(kubernetesVersion, ".")[1])
	if err := Build(ctx, source, binary+".new", flags, progress); err != nil {
		return err
	}
	return os.Rename(binary+".new", binary)
}
