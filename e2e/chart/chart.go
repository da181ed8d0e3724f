// Package chart prepares the project's charts as their users do.
package chart

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"helm.sh/helm/v3/pkg/downloader"
	"helm.sh/helm/v3/pkg/getter"
)

// WithDependencies copies the chart at source and the library chart of the
// project at root side by side into the directory into, and does what `helm
// dependency update` does. It returns where the copy is.
func WithDependencies(root, source, into string) (string, error) {
	library, dir := filepath.Join(into, "leader-elector"), filepath.Join(into, filepath.Base(source))
	if err := os.CopyFS(library, os.DirFS(filepath.Join(root, "charts", "leader-elector"))); err != nil {
		return "", fmt.Errorf("copying the library chart: %w", err)
	}
	if err := os.CopyFS(dir, os.DirFS(source)); err != nil {
		return "", fmt.Errorf("copying the chart: %w", err)
	}
	// What an earlier update left in the source is not the library as it stands.
	if err := os.RemoveAll(filepath.Join(dir, "charts")); err != nil {
		return "", err
	}
	m := downloader.Manager{
		Out: io.Discard, ChartPath: dir, SkipUpdate: true, Getters: getter.Providers{},
		RepositoryConfig: filepath.Join(into, "repositories.yaml"), RepositoryCache: into,
	}
	if err := m.Update(); err != nil {
		return "", fmt.Errorf("helm dependency update of %s: %w", dir, err)
	}
	return dir, nil
}
