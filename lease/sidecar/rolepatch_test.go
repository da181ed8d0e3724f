package sidecar

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// With role: api in a Deployment's selector, a pod that gets another label is no longer
// the ReplicaSet's, which makes another one.
func TestARoleThatMeansSomethingElseIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLabelRig(t)
		r.set("me", "api")
		r.label.shows.free = false
		r.sent()
		r.election.leads(time.Hour)
		passes(10 * time.Minute)
		r.wants(t, "while it means something else", "me", "api")
		if got := r.sent(); len(got) != 0 {
			t.Errorf("patched: %q", got)
		}
		if !strings.Contains(r.log.String(), `ROLE_LABEL`) {
			t.Errorf("the remedy is not named:\n%s", r.log.String())
		}
		if why := r.label.failing(); !strings.Contains(why, "ROLE_LABEL") {
			t.Errorf("status does not say so: %q", why)
		}
	})
}

func TestThePatchOfARole(t *testing.T) {
	for _, c := range []struct {
		shows rolePatch
		role  string
		want  string
	}{
		{rolePatch{label: "role"}, leader, `{"metadata":{"labels":{"role":"leader"}}}`},
		{rolePatch{label: "example.com/role"}, follower, `{"metadata":{"labels":{"example.com/role":"follower"}}}`},
		{rolePatch{label: "role", cost: 100}, leader, `{"metadata":{"annotations":{"controller.kubernetes.io/pod-deletion-cost":"100"},"labels":{"role":"leader"}}}`},
		{rolePatch{label: "role", cost: 100}, follower, `{"metadata":{"annotations":{"controller.kubernetes.io/pod-deletion-cost":null},"labels":{"role":"follower"}}}`},
	} {
		if got := c.shows.of(c.role); got != c.want {
			t.Errorf("%+v, %s: %s", c.shows, c.role, got)
		}
	}
}

func TestFollowingTheAppIsConfigured(t *testing.T) {
	for _, c := range []struct{ set, names string }{
		{"LEAD_WHILE=lock", ""}, {"LEAD_WHILE=http://127.0.0.1:8000/healthz", ""}, {"LEAD_WHILE=https://x/", "LEAD_WHILE"}, {"LEAD_WHILE=yes", "LEAD_WHILE"}, {"LEAD_WHILE=http://", "LEAD_WHILE"},
		{"LEAD_WHILE=http://localhost:8080/x", "HEALTH_PORT"}, {"LEAD_WHILE=http://[::1]:8080/x", "HEALTH_PORT"}, {"LEAD_WHILE=http://localhost:99999/", "65535"}, {"LEAD_WHILE=http://app:8080/x", ""},
		{"CLAIM_DELAY=2s", ""}, {"CLAIM_DELAY=16s", "CLAIM_DELAY"}, {"CLAIM_DELAY=-1s", "CLAIM_DELAY"}, {"CLAIM_DELAY=2", "CLAIM_DELAY"},
		{"ROLE_LABEL=role", ""}, {"ROLE_LABEL=a b", "ROLE_LABEL"}, {"ROLE_LABEL=example.com/role", "LABEL_POD_ROLE"},
		{"POD_DELETION_COST=100", "POD_DELETION_COST"}, {"POD_DELETION_COST=much", "POD_DELETION_COST"},
	} {
		_, err := LoadConfig([]string{"LEASE_NAME=app", "NAMESPACE=default", c.set})
		if c.names == "" && err != nil || c.names != "" && (err == nil || !strings.Contains(err.Error(), c.names)) {
			t.Errorf("%s: %v", c.set, err)
		}
	}
	if _, err := LoadConfig([]string{"LEASE_NAME=app", "NAMESPACE=default", "ROLE_LABEL=example.com/role", "POD_DELETION_COST=-100", "LABEL_POD_ROLE=true", "POD_NAME=x"}); err != nil {
		t.Error(err)
	}
}
