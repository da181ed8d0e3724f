//go:build e2e

package kind

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	kind "sigs.k8s.io/kind/pkg/cluster"
)

const namespace = "leader-elector-e2e"

// testCluster is where the scenarios run.
type testCluster struct {
	kubeconfig string
	client     kubernetes.Interface
	nodes      []string // its nodes that are containers of this machine's engine
	all        int      // how many nodes it has
}

// newCluster makes a kind cluster of one control plane and two workers, or uses
// that of E2E_KUBECONFIG.
func newCluster(t *testing.T) *testCluster {
	c := &testCluster{kubeconfig: os.Getenv("E2E_KUBECONFIG")}
	if c.kubeconfig == "" {
		c.kubeconfig = createKindCluster(t)
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	if c.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	nodes, err := c.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.all = len(nodes.Items)
	for _, n := range nodes.Items {
		if exec.CommandContext(t.Context(), "docker", "container", "inspect", n.Name).Run() == nil {
			c.nodes = append(c.nodes, n.Name)
		}
	}
	c.createNamespace(t)
	return c
}

func createKindCluster(t *testing.T) (kubeconfig string) {
	keep := os.Getenv("E2E_KEEP") == "1"
	name := fmt.Sprintf("leader-elector-e2e-%d", os.Getpid())
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if keep {
		kubeconfig = filepath.Join(os.TempDir(), name+".kubeconfig")
	}
	provider := kind.NewProvider(kind.ProviderWithDocker())
	t.Cleanup(func() {
		if keep {
			fmt.Printf("kept: export KUBECONFIG=%s; remove it with `docker rm -f -v $(docker ps -aq --filter label=io.x-k8s.kind.cluster=%s)`\n", kubeconfig, name)
			return
		}
		if err := provider.Delete(name, kubeconfig); err != nil {
			t.Error(err)
		}
	})
	options := []kind.CreateOption{
		kind.CreateWithV1Alpha4Config(&v1alpha4.Cluster{Nodes: []v1alpha4.Node{
			{Role: v1alpha4.ControlPlaneRole}, {Role: v1alpha4.WorkerRole}, {Role: v1alpha4.WorkerRole},
		}}),
		kind.CreateWithKubeconfigPath(kubeconfig), kind.CreateWithWaitForReady(5 * time.Minute), kind.CreateWithRetain(keep),
	}
	if image := os.Getenv("KIND_NODE_IMAGE"); image != "" {
		options = append(options, kind.CreateWithNodeImage(image))
	}
	if err := provider.Create(name, options...); err != nil {
		t.Fatalf("creating the kind cluster: %v", err)
	}
	return kubeconfig
}

// createNamespace makes the namespace, with Pod Security's strictest level
// enforced, and removes it when the test ends.
func (c *testCluster) createNamespace(t *testing.T) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	if _, err := c.client.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		err := c.client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{})
		for ; err == nil; time.Sleep(100 * time.Millisecond) {
			_, err = c.client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		}
		if !apierrors.IsNotFound(err) {
			t.Errorf("removing namespace %s: %v", namespace, err)
		}
	})
}

// loadImages puts images of this machine's engine on the nodes.
func (c *testCluster) loadImages(t *testing.T, images ...string) {
	archive, err := exec.CommandContext(t.Context(), "docker", append([]string{"save"}, images...)...).Output()
	if err != nil {
		t.Fatalf("docker save %v: %v; `make image example-image` builds them", images, err)
	}
	for _, node := range c.nodes {
		cmd := exec.CommandContext(t.Context(), "docker", "exec", "-i", node, "ctr", "-n", "k8s.io", "images", "import", "--all-platforms", "--digests", "-")
		cmd.Stdin = bytes.NewReader(archive)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("loading %v on %s: %v\n%s", images, node, err, out)
		}
	}
}

// maxImage is the most bytes that the sidecar's image may have.
const maxImage = 12_000_000

func imageSize(t *testing.T, image string) int {
	t.Helper()
	size, err := strconv.Atoi(docker(t, "image", "inspect", "--format", "{{.Size}}", image))
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// docker runs a command of the engine's client.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// undo runs a command when the test ends, however it does.
func undo(t *testing.T, args ...string) {
	t.Cleanup(func() { _ = exec.Command("docker", args...).Run() })
}

// controlPlane is the node that the API server runs on.
func (c *testCluster) controlPlane(t *testing.T) string {
	t.Helper()
	nodes, err := c.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{LabelSelector: "node-role.kubernetes.io/control-plane"})
	if err != nil || len(nodes.Items) != 1 {
		t.Fatalf("%d control planes, %v", len(nodes.Items), err)
	}
	return nodes.Items[0].Name
}
