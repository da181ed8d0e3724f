package chart_test

import (
	"os/exec"
	"testing"
)

// The example's tests for helm-unittest, which users of charts know, pass.
func TestHelmUnittest(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "tool", "helm-unittest", "--strict", prepared(t, "example")).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
