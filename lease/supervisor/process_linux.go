package supervisor

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// process is what /proc says of a process.
type process struct {
	pid, parent, group, session int
	name                        string
	state                       byte
	threads                     int
	started                     uint64 // clock ticks since boot: tells a process from a later one of its pid
}

// dead says that no thread of the process runs any more. A process whose first
// thread has ended is shown as a zombie while others of its threads go on.
func (p process) dead() bool {
	return p.state == 'X' || p.state == 'Z' && p.threads <= 1
}

// readStat reads the process of a directory in /proc.
func readStat(dir string) (process, error) {
	content, err := os.ReadFile("/proc/" + dir + "/stat")
	if err != nil {
		return process{}, err
	}
	return parseStat(string(content))
}

// parseStat reads a line of /proc/PID/stat (proc_pid_stat(5)). The name in it may
// hold anything, parentheses and spaces included.
func parseStat(line string) (p process, err error) {
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return p, fmt.Errorf("not a line of /proc/PID/stat: %.80q", line)
	}
	p.name = line[open+1 : end]
	fields := strings.Fields(line[end+1:]) // from field 3 on, the state
	if len(fields) < 20 || len(fields[0]) != 1 {
		return p, fmt.Errorf("not a line of /proc/PID/stat: %.80q", line)
	}
	p.state = fields[0][0]
	errs := make([]error, 6)
	p.pid, errs[0] = strconv.Atoi(strings.TrimSpace(line[:open]))
	p.parent, errs[1] = strconv.Atoi(fields[1])
	p.group, errs[2] = strconv.Atoi(fields[2])
	p.session, errs[3] = strconv.Atoi(fields[3])
	p.threads, errs[4] = strconv.Atoi(fields[17])
	p.started, errs[5] = strconv.ParseUint(fields[19], 10, 64)
	return p, errors.Join(errs...)
}

// processes are all that /proc shows, one after the other: not of one moment.
func processes() ([]process, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var all []process
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		if p, err := readStat(name); err == nil { // else it has ended since
			all = append(all, p)
		}
	}
	return all, nil
}

// tree returns the descendants of root without those children that are of root's
// session, and without what they have started.
func tree(all []process, root, session int) (found []process) {
	children := map[int][]process{}
	for _, p := range all {
		children[p.parent] = append(children[p.parent], p)
	}
	for _, p := range children[root] {
		if p.session != session {
			found = append(found, p)
		}
	}
	for i := 0; i < len(found) && len(found) <= len(all); i++ {
		found = append(found, children[found[i].pid]...)
	}
	return found
}

// hasOwn says whether root has a child of its own session.
func hasOwn(all []process, root, session int) bool {
	for _, p := range all {
		if p.parent == root && p.session == session {
			return true
		}
	}
	return false
}
