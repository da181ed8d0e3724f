package chaos

import (
	"context"

	admission "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/leader-elector/leader-elector/lease"
)

// mutations are admission policies that change each write of the Lease.
var mutations = []struct {
	name, patch string
	shows       func(*coordinationv1.Lease) bool
}{
	{"cap", `[JSONPatch{op: "add", path: "/spec/leaseDurationSeconds", value: 2}]`,
		func(l *coordinationv1.Lease) bool { return *l.Spec.LeaseDurationSeconds == 2 }},
	{"truncate", `[JSONPatch{op: "add", path: "/spec/renewTime", value: string(object.spec.renewTime).substring(0, 19) + ".000000Z"}]`,
		func(l *coordinationv1.Lease) bool { return l.Spec.RenewTime.Nanosecond() == 0 }},
	{"unmark", `has(object.metadata.annotations) ? [JSONPatch{op: "remove", path: "/metadata/annotations"}] : []`,
		func(l *coordinationv1.Lease) bool { return l.Annotations[lease.IncarnationAnnotation] == "" }},
}

// makePolicies stores the policies. Each is in force while it has a binding.
func (c *chaos) makePolicies() {
	api, ctx := c.controlPlane.Client.AdmissionregistrationV1(), c.Context()
	match := &admission.MatchResources{ResourceRules: []admission.NamedRuleWithOperations{{
		ResourceNames: []string{leaseName},
		RuleWithOperations: admission.RuleWithOperations{
			Operations: []admission.OperationType{admission.Create, admission.Update},
			Rule:       admission.Rule{APIGroups: []string{"coordination.k8s.io"}, APIVersions: []string{"v1"}, Resources: []string{"leases"}},
		},
	}}}
	// Edits by hand are not changed: the admin is exempt.
	ours := []admission.MatchCondition{{Name: "ours", Expression: `request.userInfo.username.startsWith("system:serviceaccount:")`}}
	for _, m := range mutations {
		policy := &admission.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: m.name}, Spec: admission.MutatingAdmissionPolicySpec{
			MatchConstraints: match, MatchConditions: ours, ReinvocationPolicy: admission.NeverReinvocationPolicy,
			Mutations: []admission.Mutation{{PatchType: admission.PatchTypeJSONPatch, JSONPatch: &admission.JSONPatch{Expression: m.patch}}},
		}}
		if _, err := api.MutatingAdmissionPolicies().Create(ctx, policy, metav1.CreateOptions{}); err != nil {
			c.Fatal(err)
		}
	}
	policy := &admission.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "deny"}, Spec: admission.ValidatingAdmissionPolicySpec{
		MatchConstraints: match, MatchConditions: ours, Validations: []admission.Validation{{Expression: "false", Message: "changes are frozen"}},
	}}
	if _, err := api.ValidatingAdmissionPolicies().Create(ctx, policy, metav1.CreateOptions{}); err != nil {
		c.Fatal(err)
	}
}

// mutate brings the mutation of this name into force, or ends it.
func (c *chaos) mutate(name string, on bool) {
	bindings := c.controlPlane.Client.AdmissionregistrationV1().MutatingAdmissionPolicyBindings()
	c.bind(on, func(ctx context.Context) error {
		_, err := bindings.Create(ctx, &admission.MutatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admission.MutatingAdmissionPolicyBindingSpec{PolicyName: name},
		}, metav1.CreateOptions{})
		return err
	}, func(ctx context.Context) error { return bindings.Delete(ctx, name, metav1.DeleteOptions{}) })
}

// deny lets every write of the replicas be refused, or ends that.
func (c *chaos) deny(on bool) {
	bindings := c.controlPlane.Client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	c.bind(on, func(ctx context.Context) error {
		_, err := bindings.Create(ctx, &admission.ValidatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "deny"},
			Spec:       admission.ValidatingAdmissionPolicyBindingSpec{PolicyName: "deny", ValidationActions: []admission.ValidationAction{admission.Deny}},
		}, metav1.CreateOptions{})
		return err
	}, func(ctx context.Context) error { return bindings.Delete(ctx, "deny", metav1.DeleteOptions{}) })
}

// bind creates or deletes a binding that may be there, or gone, already.
func (c *chaos) bind(on bool, create, remove func(context.Context) error) {
	do := remove
	if on {
		do = create
	}
	c.admin(func(ctx context.Context) error {
		if err := do(ctx); !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			return err
		}
		return nil
	})
}
