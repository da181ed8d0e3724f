//go:build e2e

package kind

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// The image has a /tmp that every user may write, so that a pod without a volume needs
// nothing else, and nothing but the binary beside it.
func TestImage(t *testing.T) {
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "docker", args...).Output()
		if err != nil {
			t.Fatalf("docker %s: %v", strings.Join(args, " "), err)
		}
		return strings.TrimSpace(string(out))
	}
	image := imageOf(t, load(t, chartWithLibrary(t, "example")))
	id := run("create", image)
	defer run("rm", id)
	listing, err := exec.CommandContext(t.Context(), "sh", "-c", "docker export "+id+" | tar --list --verbose --numeric-owner --file -").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^drwxrwxrwt 0/0 .* tmp/$`).Match(listing) {
		t.Errorf("no /tmp of mode 1777 in\n%s", listing)
	}
	out, err := exec.CommandContext(t.Context(), "docker", "run", "--rm", image, "--version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "leader-election-sidecar") && len(out) == 0 {
		t.Errorf("%v, %s", err, out)
	}
}
