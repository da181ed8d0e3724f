package sidecar

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// holders names the processes that have the work lock, as far as /proc shows them: those
// of this PID namespace, so none of another container. It shows who took a lock, which a
// child may have inherited since. Empty: it shows none.
func (l *workLock) holders() string {
	var files []string // as /proc/locks writes them
	for n := range maxDraining + 1 {
		path := l.path
		if n > 0 {
			path = l.files.aside(n) // a handover puts the file aside while it is held
		}
		var st unix.Stat_t
		if unix.Lstat(path, &st) == nil {
			files = append(files, fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino))
		}
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return ""
	}
	defer func() { _ = locks.Close() }()
	var found []string
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		// 1: FLOCK  ADVISORY  READ 1234 08:01:5678 0 EOF
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[1] != "FLOCK" || !slices.Contains(files, fields[5]) || fields[4] == fmt.Sprint(os.Getpid()) {
			continue
		}
		name := strings.TrimSpace(readSmall("/proc/" + fields[4] + "/comm"))
		if name == "" {
			found = append(found, fmt.Sprintf("a child of process %s, which has ended", fields[4]))
			continue
		}
		found = append(found, fmt.Sprintf("process %s (%s)", fields[4], name))
	}
	return strings.Join(found, ", ")
}
