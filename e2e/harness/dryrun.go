package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
)

// DryRun offers every object of a YAML manifest to the API server, which
// validates each strictly and stores none. It returns the objects that were
// taken, and an error that names those that were not.
func (c *ControlPlane) DryRun(ctx context.Context, namespace string, manifest []byte) (taken []*unstructured.Unstructured, err error) {
	client, err := dynamic.NewForConfig(c.Admin)
	if err != nil {
		return nil, err
	}
	groups, err := restmapper.GetAPIGroupResources(c.Client.Discovery())
	if err != nil {
		return nil, err
	}
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	var refused []error
	for {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(o); errors.Is(err, io.EOF) {
			return taken, errors.Join(refused...)
		} else if err != nil {
			return taken, err
		}
		if len(o.Object) == 0 { // only comments
			continue
		}
		mapping, err := mapper.RESTMapping(o.GroupVersionKind().GroupKind(), o.GroupVersionKind().Version)
		if err == nil {
			_, err = client.Resource(mapping.Resource).Namespace(namespace).Create(ctx, o,
				metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
		}
		if err != nil {
			refused = append(refused, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err))
			continue
		}
		taken = append(taken, o)
	}
}
