package kube

import (
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// NewNamespace makes a namespace of a's under a fixed name, at a Pod Security level: restricted,
// baseline or privileged, with further annotations.
// https://kubernetes.io/docs/concepts/security/pod-security-admission/
func (a App) NewNamespace(ctx *pulumi.Context, name, level string, annotations map[string]string, opts ...pulumi.ResourceOption) (*corev1.Namespace, error) {
	labels := a.Labels()
	labels["pod-security.kubernetes.io/enforce"] = pulumi.String(level)
	labels["pod-security.kubernetes.io/warn"] = pulumi.String(level)
	return corev1.NewNamespace(ctx, name, &corev1.NamespaceArgs{
		Metadata: &metav1.ObjectMetaArgs{Name: pulumi.String(name), Labels: labels, Annotations: pulumi.ToStringMap(annotations)},
	}, opts...)
}
