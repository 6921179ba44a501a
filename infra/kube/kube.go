// Package kube holds what every Kubernetes object of ours has in common: labels, security contexts,
// resources, the way a Job gates an update, and how a container reaches Kafka.
package kube

import (
	"fmt"
	"strings"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/images/catalogue"
)

// PartOf is the value of the label app.kubernetes.io/part-of on every object of ours.
const PartOf = "kafka-mirror-tester"

// App names one workload: Name tells it from its siblings ("kafka"), Component says what it is in
// the architecture ("broker", "zookeeper", "producer").
type App struct{ Name, Component string }

// Selector returns the labels by which pods of a are found. They never change, since a selector is
// immutable.
func (a App) Selector() pulumi.StringMap {
	return pulumi.StringMap{
		"app.kubernetes.io/name":      pulumi.String(a.Name),
		"app.kubernetes.io/component": pulumi.String(a.Component),
	}
}

// Labels returns the standard labels of a's objects and pods.
func (a App) Labels() pulumi.StringMap {
	labels := a.Selector()
	labels["app.kubernetes.io/part-of"] = pulumi.String(PartOf)
	labels["app.kubernetes.io/managed-by"] = pulumi.String("pulumi")
	return labels
}

// User is the numeric user and group of every container of ours: not root, and not a user that an
// image may give files to.
const User = 10001

// PodSecurity returns a pod's security context at the restricted Pod Security level.
// https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
func PodSecurity() *corev1.PodSecurityContextArgs {
	return &corev1.PodSecurityContextArgs{
		RunAsNonRoot: pulumi.Bool(true),
		RunAsUser:    pulumi.Int(User),
		RunAsGroup:   pulumi.Int(User),
		FsGroup:      pulumi.Int(User),
		SeccompProfile: &corev1.SeccompProfileArgs{
			Type: pulumi.String("RuntimeDefault"),
		},
	}
}

// ContainerSecurity returns a container's security context at the restricted level, with a root
// filesystem that cannot be written.
func ContainerSecurity() *corev1.SecurityContextArgs {
	return &corev1.SecurityContextArgs{
		AllowPrivilegeEscalation: pulumi.Bool(false),
		ReadOnlyRootFilesystem:   pulumi.Bool(true),
		Capabilities:             &corev1.CapabilitiesArgs{Drop: pulumi.StringArray{pulumi.String("ALL")}},
	}
}

// Resources says what a container asks for and may use, in Kubernetes' quantities. Memory is both
// asked for and the limit, so that a node is never overcommitted; an empty CPULimit leaves CPU
// without a limit, since throttling would look like a slow replicator.
type Resources struct{ CPU, CPULimit, Memory string }

// Args returns r as a container's resources.
func (r Resources) Args() *corev1.ResourceRequirementsArgs {
	limits := pulumi.StringMap{"memory": pulumi.String(r.Memory)}
	if r.CPULimit != "" {
		limits["cpu"] = pulumi.String(r.CPULimit)
	}
	return &corev1.ResourceRequirementsArgs{
		Requests: pulumi.StringMap{"cpu": pulumi.String(r.CPU), "memory": pulumi.String(r.Memory)},
		Limits:   limits,
	}
}

// Env returns environment variables in the order given, as name, value, name, value.
func Env(pairs ...string) corev1.EnvVarArray {
	if len(pairs)%2 != 0 {
		pairs = append(pairs, "")
	}
	env := make(corev1.EnvVarArray, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		env = append(env, &corev1.EnvVarArgs{Name: pulumi.String(pairs[i]), Value: pulumi.String(pairs[i+1])})
	}
	return env
}

// HostAntiAffinity keeps pods of a off a node that has one already. Required is for brokers: a lost
// node must be one lost broker.
func (a App) HostAntiAffinity(required bool) *corev1.AffinityArgs {
	term := &corev1.PodAffinityTermArgs{
		LabelSelector: a.labelSelector(),
		TopologyKey:   pulumi.String("kubernetes.io/hostname"),
	}
	if required {
		return &corev1.AffinityArgs{PodAntiAffinity: &corev1.PodAntiAffinityArgs{
			RequiredDuringSchedulingIgnoredDuringExecution: corev1.PodAffinityTermArray{term},
		}}
	}
	return &corev1.AffinityArgs{PodAntiAffinity: &corev1.PodAntiAffinityArgs{
		PreferredDuringSchedulingIgnoredDuringExecution: corev1.WeightedPodAffinityTermArray{
			&corev1.WeightedPodAffinityTermArgs{Weight: pulumi.Int(100), PodAffinityTerm: term},
		},
	}}
}

// ZoneSpread spreads pods of a evenly over the zones.
func (a App) ZoneSpread() corev1.TopologySpreadConstraintArray {
	return corev1.TopologySpreadConstraintArray{&corev1.TopologySpreadConstraintArgs{
		MaxSkew:           pulumi.Int(1),
		TopologyKey:       pulumi.String("topology.kubernetes.io/zone"),
		WhenUnsatisfiable: pulumi.String("ScheduleAnyway"),
		LabelSelector:     a.labelSelector(),
	}}
}

// CheckImage refuses an image that is not pinned by digest: what was tested could not be told
// afterwards. key is the configuration key that names it.
func CheckImage(key, image string) error {
	name, digest, found := strings.Cut(image, "@sha256:")
	if image == "" {
		return fmt.Errorf("%s: no image: run %s, or set %s to NAME@sha256:DIGEST", key, makeImage(key), key)
	}
	if !found || name == "" || len(digest) != 64 || strings.Trim(digest, "0123456789abcdef") != "" {
		return fmt.Errorf("%s: image %q has no digest: run %s, or set %s to NAME@sha256:DIGEST (64 hexadecimal digits)", key, image, makeImage(key), key)
	}
	return nil
}

// makeImage is what brings the image with this configuration key: some come only when they are asked for.
func makeImage(key string) string {
	for _, image := range catalogue.All() {
		if image.Optional && key == "images."+image.Key {
			return "make images ARGS='--only " + image.Key + "'"
		}
	}
	return "make images"
}
