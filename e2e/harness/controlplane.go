package harness

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

const adminToken = "admin-of-a-loopback-only-test-cluster"

// ControlPlane is an etcd and a kube-apiserver on free loopback ports, RBAC on, with
// everything that they store under one directory.
type ControlPlane struct {
	Admin  *rest.Config         // as system:masters
	Client kubernetes.Interface // with Admin's rights

	dir             string
	programs        binaries
	etcdPort, port  int
	peerPort        int // etcd wants one
	etcd, apiserver *exec.Cmd
}

// Start finds both servers, or fetches or builds them, and starts them. It returns when they
// are ready. Stop them with Close.
func Start(ctx context.Context, dir string, progress io.Writer) (*ControlPlane, error) {
	programs, err := findBinaries(ctx, progress)
	if err != nil {
		return nil, err
	}
	c := &ControlPlane{dir: dir, programs: programs}
	ports, err := freePorts()
	if err != nil {
		return nil, err
	}
	c.etcdPort, c.port, c.peerPort = ports[0], ports[1], ports[2]
	certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		return nil, err
	}
	accounts, err := keyutil.MakeEllipticPrivateKeyPEM()
	if err != nil {
		return nil, err
	}
	for name, content := range map[string][]byte{
		"tls.crt": certificate, "tls.key": key, "accounts.key": accounts,
		"tokens.csv": []byte(adminToken + ",admin,admin,system:masters\n"),
	} {
		if err := os.WriteFile(c.file(name), content, 0o600); err != nil {
			return nil, err
		}
	}
	if err := c.StartEtcd(); err != nil {
		return nil, err
	}
	c.Admin = &rest.Config{
		Host: fmt.Sprintf("https://127.0.0.1:%d", c.port), BearerToken: adminToken, QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAData: certificate},
	}
	if c.Client, err = kubernetes.NewForConfig(c.Admin); err == nil {
		err = c.StartAPIServer(ctx)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// freePorts finds ports that are free now.
func freePorts() (ports [3]int, err error) {
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return ports, err
		}
		defer func() { _ = l.Close() }() // at the end, so that they differ
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

func (c *ControlPlane) file(name string) string { return filepath.Join(c.dir, name) }
func (c *ControlPlane) etcdURL() string         { return fmt.Sprintf("http://127.0.0.1:%d", c.etcdPort) }

// StartEtcd starts etcd, with what it stored before.
func (c *ControlPlane) StartEtcd() (err error) {
	peer := fmt.Sprintf("http://127.0.0.1:%d", c.peerPort)
	c.etcd, err = c.spawn("etcd", "--data-dir="+c.file("etcd"), "--listen-client-urls="+c.etcdURL(), "--advertise-client-urls="+c.etcdURL(),
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer, "--unsafe-no-fsync", "--log-level=error")
	return err
}

// StopEtcd ends etcd as SIGKILL does.
func (c *ControlPlane) StopEtcd() { end(c.etcd) }

// BackupEtcd copies what etcd has stored. It must be stopped.
func (c *ControlPlane) BackupEtcd() error { return copyDir(c.file("etcd-backup"), c.file("etcd")) }

// RestoreEtcd replaces what etcd has stored by the backup, revision and all. Both
// servers must be stopped.
func (c *ControlPlane) RestoreEtcd() error { return copyDir(c.file("etcd"), c.file("etcd-backup")) }

func copyDir(to, from string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.CopyFS(to, os.DirFS(from))
}

// StartAPIServer starts the kube-apiserver and returns when it is ready.
func (c *ControlPlane) StartAPIServer(ctx context.Context) (err error) {
	c.apiserver, err = c.spawn("kube-apiserver", "--etcd-servers="+c.etcdURL(), "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", c.port),
		"--tls-cert-file="+c.file("tls.crt"), "--tls-private-key-file="+c.file("tls.key"), "--token-auth-file="+c.file("tokens.csv"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+c.file("accounts.key"),
		"--service-account-signing-key-file="+c.file("accounts.key"), "--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount",
		"--service-cluster-ip-range=10.0.0.0/24", "--endpoint-reconciler-type=none")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		attempt, done := context.WithTimeout(ctx, 2*time.Second)
		err := c.Client.CoreV1().RESTClient().Get().AbsPath("/readyz").Do(attempt).Error()
		done()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kube-apiserver is not ready after 2 minutes: %w; see %s", err, c.file("kube-apiserver.log"))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// StopAPIServer ends the kube-apiserver by SIGKILL.
func (c *ControlPlane) StopAPIServer() { end(c.apiserver) }

// Close ends both servers.
func (c *ControlPlane) Close() { end(c.apiserver); end(c.etcd) }

// Log is the tail of the API server's log, for a test that failed.
func (c *ControlPlane) Log() string {
	content, _ := os.ReadFile(c.file("kube-apiserver.log"))
	return string(content[max(0, len(content)-4000):])
}

func (c *ControlPlane) spawn(program string, flags ...string) (*exec.Cmd, error) {
	log, err := os.OpenFile(c.file(program+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	command := c.programs[program]
	cmd := exec.Command(command[0], append(command[1:len(command):len(command)], flags...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	return cmd, nil
}

func end(cmd *exec.Cmd) {
	if cmd != nil && cmd.ProcessState == nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// WriteKubeconfig writes a kubeconfig with this token and returns its path.
func (c *ControlPlane) WriteKubeconfig(name, token string) (string, error) {
	path := c.file(name + ".kubeconfig")
	config := clientcmdapi.NewConfig()
	config.Clusters["local"] = &clientcmdapi.Cluster{Server: c.Admin.Host, CertificateAuthorityData: c.Admin.CAData}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: "local", AuthInfo: name, Namespace: "default"}
	config.CurrentContext = name
	return path, clientcmd.WriteToFile(*config, path)
}

// AdminKubeconfig writes a kubeconfig with all rights.
func (c *ControlPlane) AdminKubeconfig() (string, error) {
	return c.WriteKubeconfig("admin", adminToken)
}
