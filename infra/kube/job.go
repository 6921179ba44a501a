package kube

import (
	"fmt"

	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// JobArgs describes a Job that `pulumi up` waits for. What depends on it starts after it succeeded.
type JobArgs struct {
	App       App
	Namespace pulumi.StringInput
	Image     string             // load generator's, by digest
	Command   []string           // arguments of loadgen; one JSON or flag value each
	Env       corev1.EnvVarArray // further environment
	// Kafka is the cluster that the container reaches as its only one; nil: its Command says.
	Kafka *Access
	// Deadline bounds the Job, all its attempts together, seconds, at least 1.
	Deadline int
	// Retries is how often a failed pod is tried again. Faults come and go while Jobs run.
	Retries int
	Volumes corev1.VolumeArray
	Mounts  corev1.VolumeMountArray
	// Security replaces the restricted container security context, for the rare Job that needs more.
	Security *corev1.SecurityContextArgs
	// PodSecurity replaces the restricted pod security context.
	PodSecurity *corev1.PodSecurityContextArgs
	// ServiceAccount is empty for a pod that has no business with the API server.
	ServiceAccount pulumi.StringInput
}

// NewJob registers the Job. It is named by Pulumi, since a Job's template is immutable: a changed
// Job is a new one, made before the old one goes. One that failed is replaced by the next update
// (replaceUnready), and there is no TTL, since a Job that vanished would be made again by each
// update.
func NewJob(ctx *pulumi.Context, name string, args *JobArgs, opts ...pulumi.ResourceOption) (*batchv1.Job, error) {
	security, podSecurity := args.Security, args.PodSecurity
	if security == nil {
		security = ContainerSecurity()
	}
	if podSecurity == nil {
		podSecurity = PodSecurity()
	}
	env, volumes, mounts := args.Env, args.Volumes, args.Mounts
	if args.Kafka != nil {
		kafka := args.Kafka.Flags()
		env, volumes, mounts = append(env, kafka.Env...), append(volumes, kafka.Volumes...), append(mounts, kafka.Mounts...)
	}
	command := pulumi.StringArray{}
	for _, c := range args.Command {
		command = append(command, pulumi.String(c))
	}
	return batchv1.NewJob(ctx, name, &batchv1.JobArgs{
		Metadata: &metav1.ObjectMetaArgs{
			Namespace: args.Namespace,
			Labels:    args.App.Labels(),
			Annotations: pulumi.StringMap{
				"pulumi.com/replaceUnready": pulumi.String("true"),
				TimeoutSeconds:              pulumi.String(fmt.Sprint(args.Deadline + 60)), // the Job's own deadline speaks first
			},
		},
		Spec: &batchv1.JobSpecArgs{
			BackoffLimit:          pulumi.Int(args.Retries),
			ActiveDeadlineSeconds: pulumi.Int(args.Deadline),
			Template: &corev1.PodTemplateSpecArgs{
				Metadata: &metav1.ObjectMetaArgs{Labels: args.App.Labels()},
				Spec: &corev1.PodSpecArgs{
					RestartPolicy:                pulumi.String("Never"),
					SecurityContext:              podSecurity,
					AutomountServiceAccountToken: pulumi.Bool(args.ServiceAccount != nil),
					ServiceAccountName:           serviceAccount(args.ServiceAccount),
					Volumes:                      volumes,
					Containers: corev1.ContainerArray{&corev1.ContainerArgs{
						Name:            pulumi.String("loadgen"),
						Image:           pulumi.String(args.Image),
						Args:            command,
						Env:             env,
						Resources:       Resources{CPU: "100m", CPULimit: "1", Memory: "128Mi"}.Args(),
						SecurityContext: security,
						VolumeMounts:    mounts,
					}},
				},
			},
		},
	}, opts...)
}

func serviceAccount(name pulumi.StringInput) pulumi.StringPtrInput {
	if name == nil {
		return nil
	}
	return name.ToStringOutput().ToStringPtrOutput()
}
