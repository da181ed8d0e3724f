package sidecar

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	podA  = "0b1f4e8a-3c7d-4a55-9d2e-6f0a1b2c3d4e"
	podB  = "ffffffff-3c7d-4a55-9d2e-6f0a1b2c3d4e"
	boot1 = "11111111-1111-4111-8111-111111111111"
	boot2 = "22222222-2222-4222-8222-222222222222"
)

// After a reboot of the node, the volume in memory has lost every proof; that the
// same pod's record is from another boot is one.
func TestS5_TheSamePodUnderAnotherBootIsProvenDead(t *testing.T) {
	before := origin{podA, boot1}.incarnation()
	for _, c := range []struct {
		name   string
		now    origin
		before string
		dead   bool
	}{
		{"another boot", origin{podA, boot2}, before, true},
		{"the same boot", origin{podA, boot1}, before, false},
		{"another pod", origin{podB, boot2}, before, false},
		{"own pod not known", origin{"", boot2}, before, false},
		{"own boot not known", origin{podA, ""}, before, false},
		{"neither pod known", origin{"", boot2}, origin{"", boot1}.incarnation(), false},
		{"its boot not known", origin{podA, boot2}, origin{podA, ""}.incarnation(), false},
		{"empty", origin{podA, boot2}, "", false},
		{"an older version's", origin{podA, boot2}, strings.Split(before, ".")[0], false},
		{"more parts", origin{podA, boot2}, before + "." + boot2, false},
		{"no random part", origin{podA, boot2}, "." + podA + "." + boot1, false},
		{"an odd boot", origin{podA, boot2}, strings.Split(before, ".")[0] + "." + podA + ".x", false},
		{"a line too many", origin{podA, boot2}, before + "\n", false},
		{"put back for it", origin{podA, boot2}, "put-back-for:" + before, false},
	} {
		if got := c.now.provenDead(nil)(c.before); got != c.dead {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// A claim that is free proves that a process of this kernel has ended. On a volume
// whose locks are local to a node, it says nothing of a process on another one.
func TestS5_AFreeClaimProvesNothingOfAnotherKernel(t *testing.T) {
	for _, c := range []struct {
		name        string
		before, now origin
		dead        bool
	}{
		{"container restarted", origin{podA, boot1}, origin{podA, boot1}, true},
		{"another pod on this node", origin{podA, boot1}, origin{podB, boot1}, true},
		{"another pod under another kernel", origin{podA, boot1}, origin{podB, boot2}, false},
		{"this pod under another boot", origin{podA, boot1}, origin{podA, boot2}, true},
		{"boot not known", origin{podA, ""}, origin{podA, ""}, true},
		{"own boot not known", origin{podA, boot1}, origin{podA, ""}, false},
	} {
		before := c.before.incarnation()
		if got := c.now.provenDead([]string{before})(before); got != c.dead {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestS5_TheOriginIsReadFromTheMountedToken(t *testing.T) {
	dir := t.TempDir()
	token, boot := filepath.Join(dir, "token"), filepath.Join(dir, "boot_id")
	claims := func(s string) string { return "h." + base64.RawURLEncoding.EncodeToString([]byte(s)) + ".s" }
	write(t, boot, boot1+"\n")
	for content, want := range map[string]string{
		claims(`{"kubernetes.io":{"namespace":"x","pod":{"name":"a","uid":"` + podA + `"}}}`): podA,
		claims(`{"kubernetes.io":{"pod":{"uid":"` + podA + `.` + boot2 + `"}}}`):              "",
		claims(`{"kubernetes.io":{"pod":"x"}}`):                                               "",
		claims(`{}`):                                                                          "",
		claims(`nonsense`):                                                                    "",
		"h.!.s":                                                                               "",
		"nonsense":                                                                            "",
		"":                                                                                    "",
	} {
		write(t, token, content)
		if got := readOrigin(token, boot); got != (origin{want, boot1}) {
			t.Errorf("%q: %+v", content, got)
		}
	}
	check(t, os.Remove(token))
	write(t, boot, "nonsense")
	if got := readOrigin(token, boot); got != (origin{}) {
		t.Errorf("without files: %+v", got)
	}
	o := origin{podA, boot1}
	if got := originOf(o.incarnation()); got != o || !isIncarnation(o.incarnation()) {
		t.Errorf("%+v", got)
	}
}
