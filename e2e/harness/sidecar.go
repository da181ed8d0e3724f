package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/leader-elector/leader-elector/lease/leasetest"
)

// Sidecar is one running process of the product.
type Sidecar struct {
	Identity string
	File     string // its status file
	Cmd      *exec.Cmd
	log      leasetest.Buffer
	ended    chan struct{}
}

// StartSidecar runs the binary with STATUS_DIR dir and this environment, and
// with nothing else that might reach it.
func StartSidecar(binary, dir, identity string, env ...string) (*Sidecar, error) {
	s := &Sidecar{Identity: identity, File: filepath.Join(dir, "leader_status"), ended: make(chan struct{})}
	s.Cmd = exec.Command(binary)
	s.Cmd.Env = append([]string{"IDENTITY=" + identity, "STATUS_DIR=" + dir, "HEALTH_PORT=0", "HOME=" + dir, "PATH=" + os.Getenv("PATH")}, env...)
	s.Cmd.Stdout, s.Cmd.Stderr = &s.log, &s.log
	s.Cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := s.Cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", binary, err)
	}
	go func() { defer close(s.ended); _ = s.Cmd.Wait() }()
	return s, nil
}

// Leads says whether an app beside this sidecar would believe that it leads:
// the file is there, and its mtime lies in the future.
func (s *Sidecar) Leads() bool {
	info, err := os.Stat(s.File)
	return err == nil && info.ModTime().After(time.Now())
}

// Signal sends the process a signal.
func (s *Sidecar) Signal(sig os.Signal) error { return s.Cmd.Process.Signal(sig) }

// Ended closes when the process has ended.
func (s *Sidecar) Ended() <-chan struct{} { return s.ended }

// Stop ends the process with the signal and waits for it, a minute at most.
func (s *Sidecar) Stop(sig os.Signal) error {
	if err := s.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.ended:
		return nil
	case <-time.After(time.Minute):
		_ = s.Cmd.Process.Kill()
		return fmt.Errorf("%s did not end within a minute of %v", s.Identity, sig)
	}
}

// Log is what the process has written.
func (s *Sidecar) Log() string { return s.log.String() }

var httpAddress = regexp.MustCompile(`http="?\[::\]:(\d+)`)

// Address is where the process serves HTTP, empty while its log does not say so.
func (s *Sidecar) Address() string {
	port := httpAddress.FindStringSubmatch(s.Log())
	if port == nil {
		return ""
	}
	return net.JoinHostPort("127.0.0.1", port[1])
}

// Get asks the process over HTTP.
func (s *Sidecar) Get(path string) (status int, body string, err error) {
	address := s.Address()
	if address == "" {
		return 0, "", errors.New("no HTTP port in the log yet")
	}
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + address + path)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	content, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(content), err
}

// Token is the fencing token that /leader gives.
func (s *Sidecar) Token() (token int, err error) {
	var answer struct{ LeaseTransitions int }
	_, body, err := s.Get("/leader")
	if err == nil {
		err = json.Unmarshal([]byte(body), &answer)
	}
	return answer.LeaseTransitions, err
}
