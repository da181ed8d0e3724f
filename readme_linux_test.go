package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The README's lines for an app in a shell do what it says: the app works while the pod
// leads, a handover waits for its work, and the pod leads only while the app lives.
func TestTheReadmesShell(t *testing.T) {
	for _, program := range []string{"bash", "flock"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Logf("NOT RUN, since there is no %s", program)
			return
		}
	}
	_, section, _ := strings.Cut(pages(t)["README.md"], "## How an app reads it")
	section, _, _ = strings.Cut(section, "\n## Documents")
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1)
	if len(blocks) != 3 {
		t.Fatalf("%d blocks", len(blocks))
	}
	looks, work, alive := blocks[0][1], blocks[1][1], blocks[2][1]
	looks = strings.Replace(looks, "file=/tmp/leader_status/leader_status", `file=$LEADER_STATUS_FILE`, 1)
	dir := t.TempDir()
	for name, script := range map[string]string{
		"work.sh": looks + "do-one-piece-of-work() { echo working; read _; }\n" + work + work + "echo done\n",
		"hold.sh": "file=$LEADER_STATUS_FILE\n" + strings.Replace(alive, "exec myapp", "exec bash app.sh", 1),
		"app.sh":  "sleep 1000 9<&- &\necho holding\nread _\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("work", func(t *testing.T) { works(t, dir, []string{"bash", "work.sh"}) })
	t.Run("hold", func(t *testing.T) { holds(t, dir, []string{"bash", "hold.sh"}) })
}
