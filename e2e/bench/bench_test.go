package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Given a small plan, when it is carried out, then everything was measured and
// a person can look at it.
func TestASmallPlan(t *testing.T) {
	out := t.TempDir()
	p := plan{ // windows longer than a RENEW_INTERVAL, so that each holds a renewal
		durations: []time.Duration{3 * time.Second}, clean: 1, kills: 2,
		steady: 12 * time.Second, settle: time.Second, crowds: []int{2}, leases: 2, scale: 6 * time.Second, handovers: 1,
	}
	if err := run(t.Context(), p, out, ""); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(out, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r Report
	if err := json.Unmarshal(content, &r); err != nil {
		t.Fatal(err)
	}
	for _, system := range systems {
		for scenario, want := range map[string]int{cleanStop: 1, killed: 2, overshoot: 2} {
			if got := r.samples(scenario, 3*time.Second, system).Millis; len(got) != want {
				t.Errorf("%s, %s: %v, want %d of them", system, scenario, got, want)
			}
		}
		if got := r.samples(firstLeader, 15*time.Second, system).Millis; len(got) != 1 || got[0] <= 0 {
			t.Errorf("%s, first leader: %v", system, got)
		}
		apps := r.samples(appKilled, 3*time.Second, system)
		if never := system == peerName; apps.Never != never || !never && len(apps.Millis) != 1 {
			t.Errorf("%s, an app's death: %+v", system, apps)
		}
		s := r.steady(system)
		if s.Load.AllRequests <= 0 || s.Wire <= 0 || s.Leader.Resident <= 0 || s.Leader.CPU <= 0 || s.Follower.Heap <= 0 {
			t.Errorf("%s, steady state: %+v", system, s)
		}
		if r.Sizes["binary of "+system] == 0 {
			t.Errorf("the size of %s is missing", system)
		}
	}
	if ours, peer := r.steady(oursName), r.steady(peerName); ours.Load.Requests["GET"] >= peer.Load.Requests["GET"] {
		t.Errorf("reads per second: ours %v, the peer's %v", ours.Load.Requests, peer.Load.Requests)
	}
	if len(r.Scale) != 4 {
		t.Fatalf("%d points, want 4", len(r.Scale))
	}
	for _, point := range r.Scale {
		if point.Load.AllRequests <= 0 || len(point.Handover) == 0 || point.Leases == 1 && point.Takeover == nil {
			t.Errorf("%+v", point)
		}
	}
	for _, picture := range []string{"failover.svg", "load.svg"} {
		if info, err := os.Stat(filepath.Join(out, picture)); err != nil || info.Size() < 1000 {
			t.Errorf("%s: %v, %v", picture, info, err)
		}
	}
}
