package kube

import (
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Access says how pods reach a Kafka cluster.
type Access struct {
	// Bootstrap is a comma-separated list of host:port.
	Bootstrap pulumi.StringInput
	// Secret is empty for plain text. Else it is the name of a Secret in the pod's namespace with the
	// keys ca.crt, username and password: TLS, and SASL with the mechanism PLAIN.
	Secret string
	// ServerName is the name that the brokers' certificate has, whatever address a client connects to:
	// brokers advertise pod IPs. It counts only with a Secret.
	ServerName string
}

// Keys of the Secret that Access.Secret names.
const (
	SecretAuthority = "ca.crt"
	SecretUser      = "username"
	SecretPassword  = "password"
)

// Flags is what a container needs to reach Kafka by the load tools' environment variables.
type Flags struct {
	Env     corev1.EnvVarArray
	Volumes corev1.VolumeArray
	Mounts  corev1.VolumeMountArray
}

// accessPath is where the Secret is mounted.
const accessPath = "/etc/kafka-access"

// Flags returns the environment of a container of the load tools that reaches this cluster. Every
// flag of loadgen is also an environment variable; no secret is in it, only the files' names.
func (a *Access) Flags() Flags {
	f := Flags{Env: corev1.EnvVarArray{&corev1.EnvVarArgs{Name: pulumi.String("LOADGEN_BOOTSTRAP_SERVERS"), Value: a.Bootstrap}}}
	f.add(a)
	return f
}

// Both returns the environment of a container that reaches two clusters with the same credentials,
// as the auditor does.
func Both(source, destination *Access) Flags {
	f := Flags{Env: corev1.EnvVarArray{
		&corev1.EnvVarArgs{Name: pulumi.String("LOADGEN_SOURCE_BOOTSTRAP_SERVERS"), Value: source.Bootstrap},
		&corev1.EnvVarArgs{Name: pulumi.String("LOADGEN_DESTINATION_BOOTSTRAP_SERVERS"), Value: destination.Bootstrap},
	}}
	f.add(destination)
	return f
}

func (f *Flags) add(a *Access) {
	secret := a.Secret
	if secret == "" {
		return
	}
	if a.ServerName != "" {
		f.Env = append(f.Env, Env("LOADGEN_TLS_SERVER_NAME", a.ServerName)...)
	}
	f.Env = append(f.Env, Env(
		"LOADGEN_TLS", "true",
		"LOADGEN_TLS_CA_FILE", accessPath+"/"+SecretAuthority,
		"LOADGEN_SASL_MECHANISM", "PLAIN",
		"LOADGEN_SASL_PASSWORD_FILE", accessPath+"/"+SecretPassword,
	)...)
	f.Env = append(f.Env, &corev1.EnvVarArgs{
		Name: pulumi.String("LOADGEN_SASL_USER"),
		ValueFrom: &corev1.EnvVarSourceArgs{SecretKeyRef: &corev1.SecretKeySelectorArgs{
			Name: pulumi.String(secret), Key: pulumi.String(SecretUser),
		}},
	})
	f.Volumes = append(f.Volumes, &corev1.VolumeArgs{
		Name:   pulumi.String("kafka-access"),
		Secret: &corev1.SecretVolumeSourceArgs{SecretName: pulumi.String(secret)},
	})
	f.Mounts = append(f.Mounts, &corev1.VolumeMountArgs{
		Name: pulumi.String("kafka-access"), MountPath: pulumi.String(accessPath), ReadOnly: pulumi.Bool(true),
	})
}
