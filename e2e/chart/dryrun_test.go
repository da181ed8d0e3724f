package chart_test

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/leader-elector/leader-elector/e2e/harness"
)

var controlPlane *harness.ControlPlane

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "leader-elector-chart-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		controlPlane, err = harness.Start(context.Background(), dir, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer controlPlane.Close()
	return m.Run()
}

// The real API server takes every rendered object: no field unknown, none
// missing, none twice.
func TestTheAPIServerTakesTheRenders(t *testing.T) {
	_, err := controlPlane.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			manifest, err := renderWithHelm3(prepared(t, c.chart), c.values)
			if err != nil {
				t.Fatal(err)
			}
			objects, err := controlPlane.DryRun(t.Context(), namespace, []byte(manifest))
			if err != nil {
				t.Error(err)
			}
			if len(objects) == 0 {
				t.Error("nothing was rendered")
			}
			for _, o := range objects {
				role := rbacv1.Role{}
				if o.GetKind() != "Role" {
					continue
				}
				if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role); err != nil {
					t.Fatal(err)
				}
				// the rights that all tests of the sidecar run with, and no other
				label := len(role.Rules) > 2
				want := harness.Rules(role.Rules[0].ResourceNames[0], true, label)
				if len(role.Rules) > 3 {
					want = append(want, harness.EventRule())
				}
				if !reflect.DeepEqual(role.Rules, want) {
					t.Errorf("rules %v, tested %v", role.Rules, want)
				}
			}
		})
	}
}
