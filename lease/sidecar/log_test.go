package sidecar

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/klog/v2"

	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// client-go writes a klog line for each attempt that fails. Only LOG_LEVEL=debug
// shows them.
func TestKlogLinesAreForDebuggingAlone(t *testing.T) {
	defer klog.ClearLogger()
	for level, want := range map[string]bool{"debug": true, "info": false, "error": false} {
		t.Run(level, func(t *testing.T) {
			cfg, err := LoadConfig(append(required, "LOG_LEVEL="+level))
			check(t, err)
			var out leasetest.Buffer
			log, lines := cfg.NewLogger(&out)
			klog.Errorf("Unexpected error when reading response body: %v", "EOF")
			klog.Background().Error(errors.New("EOF"), "Unexpected error when reading response body")
			log.Error("ours")
			<-lines.Flush()
			if got := strings.Count(out.String(), "Unexpected error"); got > 0 != want {
				t.Errorf("%d klog lines: %s", got, out.String())
			}
			if !strings.Contains(out.String(), "ours") {
				t.Errorf("our own line is missing: %s", out.String())
			}
		})
	}
}
