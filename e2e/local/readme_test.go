package local_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/leader-elector/leader-elector/e2e/local"
)

// The README's manifest is valid to the real API server, and its Role is the
// one that the other tests run with.
func TestReadmeManifest(t *testing.T) {
	root, err := local.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	manifest := regexp.MustCompile("(?s)```yaml\n(apiVersion: v1\n.*?)```").FindSubmatch(readme)
	objects, err := cluster.DryRun(t.Context(), "default", manifest[1])
	if err != nil {
		t.Error(err)
	}
	for _, o := range objects {
		if o.GetKind() == "Role" {
			role := rbacv1.Role{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role); err != nil {
				t.Fatal(err)
			}
			if want := local.Rules("myapp-lock", true, true); !reflect.DeepEqual(role.Rules, want) {
				t.Errorf("the README's rules %v, tested %v", role.Rules, want)
			}
		}
	}
	if len(objects) != 5 {
		t.Fatalf("%d objects", len(objects))
	}
}
