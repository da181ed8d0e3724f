package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Process is what a process costs its machine.
type Process struct {
	Resident int           `json:"resident"` // bytes, at the end
	Heap     int           `json:"heap"`     // those that no file backs
	Peak     int           `json:"peak"`     // bytes, most ever
	CPU      time.Duration `json:"cpu"`      // nanoseconds on a core
}

// ReadProcess reads what /proc says of a process.
func ReadProcess(pid int) (p Process, err error) {
	dir := fmt.Sprintf("/proc/%d", pid)
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return p, err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		field := map[string]*int{"VmRSS": &p.Resident, "RssAnon": &p.Heap, "VmHWM": &p.Peak}[name]
		if field == nil {
			continue
		}
		kilobytes, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		if err != nil {
			return p, fmt.Errorf("%s: %q: %w", dir, line, err)
		}
		*field = kilobytes << 10
	}
	tasks, err := filepath.Glob(filepath.Join(dir, "task", "*", "schedstat"))
	if err != nil {
		return p, err
	}
	for _, task := range tasks {
		content, err := os.ReadFile(task)
		if err != nil {
			return p, err
		}
		ran, _, _ := strings.Cut(string(content), " ")
		nanoseconds, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return p, fmt.Errorf("%s: %w", task, err)
		}
		p.CPU += time.Duration(nanoseconds)
	}
	return p, nil
}
