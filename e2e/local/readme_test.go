package local_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

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
	manifest := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(readme)
	client, err := dynamic.NewForConfig(cluster.Admin)
	if err != nil {
		t.Fatal(err)
	}
	groups, err := restmapper.GetAPIGroupResources(cluster.Client.Discovery())
	if err != nil {
		t.Fatal(err)
	}
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	decoder, objects := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest[1]), 4096), 0
	for ; ; objects++ {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(o); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		mapping, err := mapper.RESTMapping(o.GroupVersionKind().GroupKind(), o.GroupVersionKind().Version)
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Resource(mapping.Resource).Namespace("default").Create(t.Context(), o,
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
		if err != nil {
			t.Errorf("%s: %v", o.GetKind(), err)
		}
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
	if objects != 5 {
		t.Fatalf("%d objects", objects)
	}
}
