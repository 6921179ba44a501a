package kube

import (
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// SkipAwait is the annotation by which `pulumi up` does not wait for an object. Whatever a fault may
// hit carries it: a broker that is down on purpose must not hold up an update for ten minutes. What
// depends on such an object waits for a self-test Job instead.
// https://www.pulumi.com/registry/packages/kubernetes/installation-configuration/
const SkipAwait = "pulumi.com/skipAwait"

// TimeoutSeconds is the annotation that bounds how long `pulumi up` waits for an object.
const TimeoutSeconds = "pulumi.com/timeoutSeconds"

func (a App) labelSelector() *metav1.LabelSelectorArgs {
	return &metav1.LabelSelectorArgs{MatchLabels: a.Selector()}
}

// LabelSelector selects a's pods.
func (a App) LabelSelector() *metav1.LabelSelectorArgs { return a.labelSelector() }

// Meta returns the metadata of an object of a's with a fixed name, so that others can refer to it.
func (a App) Meta(namespace pulumi.StringInput, name string) *metav1.ObjectMetaArgs {
	return &metav1.ObjectMetaArgs{
		Name:      pulumi.String(name),
		Namespace: namespace,
		Labels:    a.Labels(),
	}
}

// Annotated returns m with annotations added, as name, value, name, value.
func Annotated(m *metav1.ObjectMetaArgs, pairs ...string) *metav1.ObjectMetaArgs {
	annotations := pulumi.StringMap{}
	for i := 0; i+1 < len(pairs); i += 2 {
		annotations[pairs[i]] = pulumi.String(pairs[i+1])
	}
	m.Annotations = annotations
	return m
}

// Scratch is an emptyDir of bounded size mounted at path, for programs that need somewhere to write.
func Scratch(name, path, size string) (*corev1.VolumeArgs, *corev1.VolumeMountArgs) {
	return &corev1.VolumeArgs{
			Name:     pulumi.String(name),
			EmptyDir: &corev1.EmptyDirVolumeSourceArgs{SizeLimit: pulumi.String(size)},
		}, &corev1.VolumeMountArgs{
			Name:      pulumi.String(name),
			MountPath: pulumi.String(path),
		}
}

// ReadOnly mounts a volume that is not written to.
func ReadOnly(name, path string) *corev1.VolumeMountArgs {
	return &corev1.VolumeMountArgs{Name: pulumi.String(name), MountPath: pulumi.String(path), ReadOnly: pulumi.Bool(true)}
}

// PodIndex is the field with the index of a StatefulSet's pod, a label since Kubernetes 1.28.
const PodIndex = "metadata.labels['apps.kubernetes.io/pod-index']"

// FromField sets an environment variable to a field of the pod, such as metadata.name or PodIndex.
func FromField(name, field string) *corev1.EnvVarArgs {
	return &corev1.EnvVarArgs{
		Name:      pulumi.String(name),
		ValueFrom: &corev1.EnvVarSourceArgs{FieldRef: &corev1.ObjectFieldSelectorArgs{FieldPath: pulumi.String(field)}},
	}
}
