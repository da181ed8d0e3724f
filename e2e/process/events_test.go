package process

import (
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/leader-elector/leader-elector/e2e/harness"
)

// `kubectl describe lease` shows who began to lead and who stopped. Without the right to
// make Events a replica leads all the same, and names the right.
func TestLeaderEvents(t *testing.T) {
	g := newGroup(t, true, false, "LEADER_EVENTS=true", "RELEASE_DELAY=0")
	without := g.start("without")
	g.leader(nil)
	for start := time.Now(); !strings.Contains(without.Log(), "create events"); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatalf("the right is not named:\n%s", without.Log())
		}
	}
	if err := without.Stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}

	rules := append(harness.Rules(g.lease, true, false), harness.EventRule())
	kubeconfig, err := controlPlane.Account(t.Context(), g.lease+"-events", rules)
	if err != nil {
		t.Fatal(err)
	}
	with := g.start("with", "KUBECONFIG="+kubeconfig)
	g.leader(nil)
	says := func(want string) {
		for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
			all, err := controlPlane.Client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + g.lease})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range all.Items {
				if strings.HasPrefix(e.Message, want) && e.InvolvedObject.Kind == "Lease" && e.InvolvedObject.UID != "" {
					return
				}
			}
			if time.Since(start) > time.Minute {
				t.Fatalf("no Event %q in %v\n%s", want, all.Items, with.Log())
			}
		}
	}
	says("with became leader, with the fencing token ")
	if err := with.Stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	says("with stopped leading")
}
