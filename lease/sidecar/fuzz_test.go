package sidecar

import (
	"strings"
	"testing"
	"time"
)

// Whatever the environment holds, it is refused with a message, or what comes
// of it keeps the rules.
func FuzzEnvironmentToConfig(f *testing.F) {
	f.Add("LEASE_NAME=app\x00NAMESPACE=default")
	f.Add("LEASE_NAME=app\x00NAMESPACE=default\x00LEASE_DURATION=3s\x00RELEASE_DELAY=never\x00LABEL_POD_ROLE=true\x00POD_NAME=a")
	f.Add("LEASE_DURATION=9223372036854775807ns\x00RENEW_DEADLINE=-1s\x00HEALTH_PORT=65536\x00=\x00LOG_LEVEL=INFO+4")
	f.Fuzz(func(t *testing.T, environ string) {
		c, err := LoadConfig(strings.Split(environ, "\x00"))
		if c == nil {
			t.Fatal("no Config")
		}
		if err != nil {
			if err.Error() == "" {
				t.Error("refused without a word")
			}
			return
		}
		e := c.Election()
		e.Complete()
		if e.Name == "" || e.Namespace == "" || e.Identity == "" || e.LeaseDuration < time.Second || e.RenewDeadline >= e.LeaseDuration ||
			e.RetryPeriod <= 0 || e.RenewInterval+e.RetryPeriod > e.RenewDeadline || c.releaseDelay < neverRelease || c.HealthPort < 0 || c.HealthPort > 65535 {
			t.Errorf("%q gives %+v", environ, c)
		}
	})
}
