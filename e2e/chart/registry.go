package chart

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory" // where it keeps what is pushed
	"github.com/sirupsen/logrus"
)

// Registry serves a registry on loopback until ctx is done. It returns the address of its
// folder of charts, as oci://HOST:PORT/charts.
func Registry(ctx context.Context) (charts string, err error) {
	logrus.SetOutput(io.Discard) // what the registry logs
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	config := &configuration.Configuration{Storage: configuration.Storage{"inmemory": configuration.Parameters{}}}
	server := &http.Server{Handler: handlers.NewApp(ctx, config)}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }()
	return "oci://" + listener.Addr().String() + "/charts", nil
}

// Publish packs the library chart of the project at root into the directory into, as a
// release with an image of this digest does, and pushes it to a folder of charts.
func Publish(ctx context.Context, root, into, digest, charts string) error {
	if err := run(ctx, root, "make", "chart-package", "DIGEST="+digest, "CHARTS="+into); err != nil {
		return err
	}
	archives, err := filepath.Glob(filepath.Join(into, "leader-elector-*.tgz"))
	if err != nil || len(archives) != 1 {
		return fmt.Errorf("not one package in %s: %v, %w", into, archives, err)
	}
	return run(ctx, filepath.Join(root, "e2e"), "go", "tool", "helm", "push", archives[0], charts, "--plain-http")
}

// Update does `helm dependency update` for the chart at dir, from registries on loopback.
func Update(ctx context.Context, root, dir string) error {
	return run(ctx, filepath.Join(root, "e2e"), "go", "tool", "helm", "dependency", "update", dir, "--plain-http")
}

func run(ctx context.Context, dir string, command ...string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, out)
	}
	return nil
}
