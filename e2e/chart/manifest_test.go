package chart_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// deploy/myapp.yaml is what the chart renders, without what only Helm uses. An API server
// takes it in a namespace whose pods must meet the Pod Security Standard "restricted".
func TestTheManifestIsTheChartsOwn(t *testing.T) {
	rendered, err := renderAs(prepared(t, "myapp"), "myapp", ``)
	if err != nil {
		t.Fatal(err)
	}
	helms := regexp.MustCompile(`(?m)^(# Source: .*|\s+helm\.sh/chart: .*|\s+app\.kubernetes\.io/managed-by: Helm)\n`)
	want := "# The sidecar beside an app, without Helm. Put your app in place of myapp, then:\n#   kubectl apply -f myapp.yaml\n" +
		helms.ReplaceAllString(rendered, "")
	path := filepath.Join(root(t), "deploy", "myapp.yaml")
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	manifest, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(manifest) != want {
		t.Errorf("%s is not what the chart renders (go test -update writes it)", path)
	}
	if !strings.Contains(want, "image: ghcr.io/leader-elector/leader-elector:0.") {
		t.Error("the image is not pinned to a version")
	}
	restricted := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "restricted", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	if _, err := controlPlane.Client.CoreV1().Namespaces().Create(t.Context(), restricted, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	taken, err := controlPlane.DryRun(t.Context(), restricted.Name, manifest)
	if err != nil {
		t.Error(err)
	}
	spec := podOf(t, taken, "Deployment")
	if len(taken) != 5 || len(spec.InitContainers) != 1 {
		t.Fatalf("%d objects, init containers %v", len(taken), spec.InitContainers)
	}
	// A Deployment is taken whatever its pods may do: so the pod itself, without the
	// account, which a dry run has not made.
	spec.ServiceAccountName = ""
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod"}, Spec: *spec}
	if _, err := controlPlane.Client.CoreV1().Pods(restricted.Name).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Error(err)
	}
	spec.Containers[0].SecurityContext = nil
	pod.Spec = *spec
	if _, err := controlPlane.Client.CoreV1().Pods(restricted.Name).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err == nil {
		t.Error("the namespace takes any pod")
	}
}
