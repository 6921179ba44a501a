// Package chaos installs Chaos Mesh and breaks things with it: one fault is one object.
package chaos

import (
	"errors"
	"fmt"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	helm "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/helm/v3"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
)

// Only pods in namespaces with this annotation can be hurt. Namespaces of brokers and workers need it.
const (
	InjectAnnotation = "chaos-mesh.org/inject"
	InjectValue      = "enabled"
)

// Chart returns Chaos Mesh's Helm chart in a version, such as 2.8.3.
func Chart(version string) kube.Chart {
	return kube.Chart{Name: "chaos-mesh", Repository: "https://charts.chaos-mesh.org", Version: version}
}

// Unrestricted names what cannot keep to the restricted Pod Security level, and why.
func Unrestricted() map[string]string {
	return map[string]string{
		"chaos-daemon": "of the chart: it enters the network and process namespaces of the pods it breaks, through the node's containerd: privileged, as root, on each node",
		"netem":        "the self-test adds a netem queue to its own network namespace, which needs NET_ADMIN, and so root, since a capability is effective for other users only with help of the image",
	}
}

// MeshArgs says how Chaos Mesh is installed.
type MeshArgs struct {
	// Namespace is made for it, and allows privileged pods.
	Namespace string
	Chart     kube.Chart
	// Controller and Daemon are images of Chaos Mesh, of the chart's version, by digest.
	Controller, Daemon string
	// Pause is the image by digest that takes a container's place during an outage, such as
	// registry.k8s.io/pause. Our containers have a command that it has not got, so that it never runs.
	Pause string
	// SelfTest is the load generator's image by digest. With it, a Job proves that nodes can delay and
	// lose packets (sch_netem), before any fault of the network. Empty where there are to be none.
	SelfTest string
}

// Validate reports every mistake in a at once; each names the key, the value and what would be right.
func (a *MeshArgs) Validate() error {
	var errs []error
	if a.Namespace == "" {
		errs = append(errs, errors.New("chaosNamespace: empty: name the one to make"))
	}
	errs = append(errs, a.Chart.Validate("versions.chaosMesh"))
	errs = append(errs,
		kube.CheckImage("images.chaosMesh", a.Controller),
		kube.CheckImage("images.chaosDaemon", a.Daemon),
		kube.CheckImage("images.pause", a.Pause))
	if a.SelfTest != "" {
		errs = append(errs, kube.CheckImage("images.loadgen", a.SelfTest))
	}
	return errors.Join(errs...)
}

// Mesh is an installed Chaos Mesh.
type Mesh struct {
	pulumi.ResourceState

	// Namespace is where faults are made.
	Namespace pulumi.StringOutput

	namespace *corev1.Namespace
	release   *helm.Release
	netem     pulumi.Resource // nil without a self-test
}

var app = kube.App{Name: "chaos-mesh", Component: "chaos"}

// NewMesh installs Chaos Mesh and waits until it runs on each node, and until the self-test has
// succeeded. Chaos Mesh's own definitions (CRDs) stay in the cluster after a destroy, as Helm leaves
// them.
func NewMesh(ctx *pulumi.Context, name string, args *MeshArgs, opts ...pulumi.ResourceOption) (*Mesh, error) {
	if err := args.Validate(); err != nil {
		return nil, err
	}
	m := &Mesh{}
	if err := ctx.RegisterComponentResource("kafka-mirror-tester:chaos:Mesh", name, m, opts...); err != nil {
		return nil, fmt.Errorf("register Chaos Mesh: %w", err)
	}
	if err := m.provision(ctx, args); err != nil {
		return nil, err
	}
	m.Namespace = m.namespace.Metadata.Name().Elem()
	if err := ctx.RegisterResourceOutputs(m, pulumi.Map{"namespace": m.Namespace}); err != nil {
		return nil, fmt.Errorf("register outputs of Chaos Mesh: %w", err)
	}
	return m, nil
}

func (m *Mesh) provision(ctx *pulumi.Context, args *MeshArgs) (err error) {
	child := pulumi.Parent(m)
	if m.namespace, err = app.NewNamespace(ctx, args.Namespace, "privileged", nil, child); err != nil {
		return fmt.Errorf("namespace of Chaos Mesh: %w", err)
	}
	namespace := m.namespace.Metadata.Name().Elem()
	if m.release, err = kube.NewRelease(ctx, "chaos-mesh", args.Chart, namespace, pulumi.ToMap(args.values()), child); err != nil {
		return fmt.Errorf("release of Chaos Mesh: %w", err)
	}
	if args.SelfTest == "" {
		return nil
	}
	m.netem, err = kube.NewJob(ctx, "netem", &kube.JobArgs{
		App:       kube.App{Name: "netem", Component: "self-test"},
		Namespace: namespace,
		Image:     args.SelfTest,
		Command:   []string{"selftest", "netem"},
		Deadline:  300,
		Retries:   1,
		PodSecurity: &corev1.PodSecurityContextArgs{
			RunAsUser: pulumi.Int(0), RunAsGroup: pulumi.Int(0),
			SeccompProfile: &corev1.SeccompProfileArgs{Type: pulumi.String("RuntimeDefault")},
		},
		Security: &corev1.SecurityContextArgs{
			AllowPrivilegeEscalation: pulumi.Bool(false),
			ReadOnlyRootFilesystem:   pulumi.Bool(true),
			Capabilities: &corev1.CapabilitiesArgs{
				Drop: pulumi.StringArray{pulumi.String("ALL")},
				Add:  pulumi.StringArray{pulumi.String("NET_ADMIN")},
			},
		},
	}, child)
	if err != nil {
		return fmt.Errorf("self-test of netem: %w", err)
	}
	return nil
}

// values are those of the chart 2.8.3.
// https://github.com/chaos-mesh/chaos-mesh/blob/v2.8.3/helm/chaos-mesh/values.yaml
func (a *MeshArgs) values() map[string]any {
	controller := map[string]any{
		"image": image(a.Controller),
		// One is enough, since nothing breaks while it is away. Leader election stays on: at an update
		// two of them overlap.
		"replicaCount":          1,
		"enableFilterNamespace": true,
		"podChaos":              map[string]any{"podFailure": map[string]any{"pauseImage": a.Pause}},
		"resources":             resources("50m", "512Mi"),
	}
	daemon := map[string]any{
		"image":       image(a.Daemon),
		"runtime":     "containerd",
		"socketPath":  "/run/containerd/containerd.sock",           // as on Amazon Linux
		"tolerations": []any{map[string]any{"operator": "Exists"}}, // on each node, whatever its taints
		"resources":   resources("50m", "512Mi"),
	}
	return map[string]any{
		"enableProfiling":   false,
		"controllerManager": controller,
		"chaosDaemon":       daemon,
		"dashboard":         map[string]any{"create": false}, // the stack's state says which faults there are
		"dnsServer":         map[string]any{"create": false}, // for faults of DNS, of which there are none
	}
}

// image makes the chart, which joins registry/repository:tag, write repository@sha256:digest.
func image(ref string) map[string]any {
	p := kube.SplitImage(ref)
	return map[string]any{"registry": p.Registry, "repository": p.Repository + "@sha256", "tag": p.Digest[len("sha256:"):]}
}

func resources(cpu, memory string) map[string]any {
	return map[string]any{
		"requests": map[string]any{"cpu": cpu, "memory": memory},
		"limits":   map[string]any{"memory": memory},
	}
}
