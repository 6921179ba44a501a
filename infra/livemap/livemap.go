// Package livemap shows what a cluster holds while it is being broken: Headlamp, or one of the two
// tools of the talk, both retired by their makers.
//
// Each is a Deployment of ours and no chart: they are small, and so it is certain what they may do.
package livemap

import (
	"errors"
	"fmt"
	"strings"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
)

// Values of the key liveMap.
const (
	Headlamp            = "headlamp"
	WeaveScope          = "weavescope"
	KubernetesDashboard = "kubernetes-dashboard"
	None                = "none"
)

// Unrestricted names what cannot keep to the restricted Pod Security level, and why.
func Unrestricted() map[string]string {
	return map[string]string{
		"weavescope-agent": "it lists the connections of every process of a node: privileged, in the node's network and process namespaces",
	}
}

// Args says which map there is.
type Args struct {
	// Kind is headlamp, weavescope or kubernetes-dashboard. For none, make no map.
	Kind string
	// Namespace is made for it.
	Namespace string
	// Image of it by digest: ghcr.io/headlamp-k8s/headlamp (0.45.0), weaveworks/scope (1.13.2) or
	// kubernetesui/dashboard (v2.7.0).
	Image string
	// Expose are the networks, in CIDR notation, that a public load balancer lets in; none makes none.
	Expose []string
}

// Validate reports every mistake in a at once; each names the key, the value and what would be right.
func (a *Args) Validate() error {
	var errs []error
	m, known := maps()[a.Kind]
	if !known {
		errs = append(errs, fmt.Errorf("liveMap: %q: use %s, %s, %s or %s", a.Kind, Headlamp, WeaveScope, KubernetesDashboard, None))
	} else {
		errs = append(errs, kube.CheckImage("images."+m.image, a.Image))
	}
	if a.Namespace == "" {
		errs = append(errs, errors.New("namespace of the live map: none: name the one to make"))
	}
	errs = append(errs, kube.CheckExpose("expose", a.Expose))
	if a.Kind == WeaveScope && len(a.Expose) > 0 {
		errs = append(errs, fmt.Errorf("expose: %s: Weave Scope asks nobody who they are: use liveMap headlamp, or reach it by kubectl port-forward", strings.Join(a.Expose, ", ")))
	}
	return errors.Join(errs...)
}

// Map is a live map.
type Map struct {
	pulumi.ResourceState

	// Command is what to run to reach it from one's desk, at Address.
	Command pulumi.StringOutput
	Address string
	// TokenCommand prints a token to log in with, which may see all but secrets and change nothing; empty
	// where nobody logs in.
	TokenCommand pulumi.StringOutput
	// PublicAddress of its load balancer; empty without one.
	PublicAddress pulumi.StringOutput

	namespace pulumi.StringOutput
}

// tool is one of the maps: a web server in one pod, and what it needs.
type tool struct {
	image       string   // key of its image
	command     []string // in place of the image's own
	args        []string
	port        int
	scheme      string
	user, group int    // that its image is made for
	login       bool   // with a token
	level       string // Pod Security
	files       func() (vols corev1.VolumeArray, mounts corev1.VolumeMountArray)
	more        func(*Map, *pulumi.Context, *Args) error // further objects
}

func maps() map[string]tool {
	return map[string]tool{
		// https://github.com/kubernetes-sigs/headlamp/tree/v0.45.0/charts/headlamp
		Headlamp: {
			image: "headlamp", port: 4466, scheme: "http", user: 100, group: 101, login: true, level: "restricted",
			args:  []string{"-in-cluster", "-plugins-dir=/headlamp/plugins"},
			files: scratch,
		},
		// https://github.com/kubernetes/dashboard/blob/v2.7.0/aio/deploy/recommended.yaml
		KubernetesDashboard: {
			image: "kubernetesDashboard", port: 8443, scheme: "https", user: 1001, group: 2001, login: true, level: "restricted",
			args:  []string{"--auto-generate-certificates", "--default-cert-dir=/tmp", "--metrics-provider=none"},
			files: scratch,
			more:  (*Map).dashboardStore,
		},
		// https://github.com/weaveworks/scope/tree/v1.13.2/examples/k8s
		WeaveScope: {
			image: "weavescope", port: 4040, scheme: "http", user: kube.User, group: kube.User, level: "privileged",
			// The image's own supervisor wants to be root.
			command: []string{"/home/weave/scope"},
			args:    []string{"--mode=app", "--weave=false"},
			more:    (*Map).scopeAgents,
		},
	}
}

func scratch() (corev1.VolumeArray, corev1.VolumeMountArray) {
	volume, mount := kube.Scratch("tmp", "/tmp", "256Mi")
	return corev1.VolumeArray{volume}, corev1.VolumeMountArray{mount}
}

func (a *Args) app() kube.App { return kube.App{Name: a.Kind, Component: "live-map"} }

// New makes a live map.
func New(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Map, error) {
	if err := args.Validate(); err != nil {
		return nil, err
	}
	m := &Map{}
	if err := ctx.RegisterComponentResource("kafka-mirror-tester:livemap:Map", name, m, opts...); err != nil {
		return nil, fmt.Errorf("register live map: %w", err)
	}
	if err := m.provision(ctx, args, maps()[args.Kind]); err != nil {
		return nil, err
	}
	if err := ctx.RegisterResourceOutputs(m, pulumi.Map{
		"command": m.Command, "address": pulumi.String(m.Address), "tokenCommand": m.TokenCommand, "publicAddress": m.PublicAddress,
	}); err != nil {
		return nil, fmt.Errorf("register outputs of the live map: %w", err)
	}
	return m, nil
}

func (m *Map) provision(ctx *pulumi.Context, args *Args, t tool) error {
	namespace, err := args.app().NewNamespace(ctx, args.Namespace, t.level, nil, pulumi.Parent(m))
	if err != nil {
		return fmt.Errorf("namespace of the live map: %w", err)
	}
	m.namespace = namespace.Metadata.Name().Elem()
	if err := m.policy(ctx, args, t); err != nil {
		return err
	}
	if t.more != nil {
		if err := t.more(m, ctx, args); err != nil {
			return err
		}
	}
	if err := m.server(ctx, args, t); err != nil {
		return err
	}
	if err := m.viewer(ctx, args, t); err != nil {
		return err
	}
	return m.expose(ctx, args, t)
}

// await bounds how long an update waits for the map's pods, seconds.
const await = "600"

// policy lets nobody reach the map's pods: kubectl port-forward gets there through the pod itself. A load
// balancer comes by any node, and lets in whom it is to; Weave Scope's agents report from the nodes' own
// addresses, which no policy can name.
func (m *Map) policy(ctx *pulumi.Context, args *Args, t tool) error {
	ingress := networkingv1.NetworkPolicyIngressRuleArray{}
	if len(args.Expose) > 0 || args.Kind == WeaveScope {
		ingress = append(ingress, &networkingv1.NetworkPolicyIngressRuleArgs{
			Ports: networkingv1.NetworkPolicyPortArray{&networkingv1.NetworkPolicyPortArgs{Port: pulumi.Int(t.port), Protocol: pulumi.String("TCP")}},
		})
	}
	_, err := networkingv1.NewNetworkPolicy(ctx, args.Kind, &networkingv1.NetworkPolicyArgs{
		Metadata: args.app().Meta(m.namespace, args.Kind),
		Spec: &networkingv1.NetworkPolicySpecArgs{
			PodSelector: &metav1.LabelSelectorArgs{}, // all of its namespace
			PolicyTypes: pulumi.StringArray{pulumi.String("Ingress")},
			Ingress:     ingress,
		},
	}, pulumi.Parent(m))
	if err != nil {
		return fmt.Errorf("network policy of the live map: %w", err)
	}
	return nil
}

// server is the web server. Its service account has no rights of its own: whoever logs in is seen by
// the API server as the owner of the token.
func (m *Map) server(ctx *pulumi.Context, args *Args, t tool) error {
	app := args.app()
	account, err := corev1.NewServiceAccount(ctx, args.Kind, &corev1.ServiceAccountArgs{
		Metadata:                     app.Meta(m.namespace, args.Kind),
		AutomountServiceAccountToken: pulumi.Bool(false),
	}, pulumi.Parent(m))
	if err != nil {
		return fmt.Errorf("service account of the live map: %w", err)
	}
	security := kube.PodSecurity()
	security.RunAsUser, security.RunAsGroup, security.FsGroup = pulumi.Int(t.user), pulumi.Int(t.group), pulumi.Int(t.group)
	var volumes corev1.VolumeArray
	var mounts corev1.VolumeMountArray
	if t.files != nil {
		volumes, mounts = t.files()
	}
	arguments := pulumi.ToStringArray(t.args)
	if args.Kind == KubernetesDashboard {
		arguments = append(arguments, pulumi.Sprintf("--namespace=%s", m.namespace))
	}
	if _, err := appsv1.NewDeployment(ctx, args.Kind, &appsv1.DeploymentArgs{
		Metadata: kube.Annotated(app.Meta(m.namespace, args.Kind), kube.TimeoutSeconds, await),
		Spec: &appsv1.DeploymentSpecArgs{
			Replicas: pulumi.Int(1),
			Selector: app.LabelSelector(),
			Template: &corev1.PodTemplateSpecArgs{
				Metadata: &metav1.ObjectMetaArgs{Labels: app.Labels()},
				Spec: &corev1.PodSpecArgs{
					ServiceAccountName: account.Metadata.Name(),
					// To find the API server and its certificate; the dashboard also stores its keys with it.
					AutomountServiceAccountToken: pulumi.Bool(t.login),
					SecurityContext:              security,
					Volumes:                      volumes,
					Containers: corev1.ContainerArray{&corev1.ContainerArgs{
						Name:            pulumi.String(args.Kind),
						Image:           pulumi.String(args.Image),
						Command:         pulumi.ToStringArray(t.command),
						Args:            arguments,
						Ports:           corev1.ContainerPortArray{&corev1.ContainerPortArgs{Name: pulumi.String("http"), ContainerPort: pulumi.Int(t.port)}},
						Resources:       kube.Resources{CPU: "100m", Memory: "512Mi"}.Args(),
						SecurityContext: kube.ContainerSecurity(),
						VolumeMounts:    mounts,
						ReadinessProbe: &corev1.ProbeArgs{HttpGet: &corev1.HTTPGetActionArgs{
							Path: pulumi.String("/"), Port: pulumi.String("http"), Scheme: pulumi.String(strings.ToUpper(t.scheme)),
						}},
					}},
				},
			},
		},
	}, pulumi.Parent(m)); err != nil {
		return fmt.Errorf("deployment of the live map: %w", err)
	}
	if _, err := corev1.NewService(ctx, args.Kind, &corev1.ServiceArgs{
		Metadata: app.Meta(m.namespace, args.Kind),
		Spec: &corev1.ServiceSpecArgs{
			Selector: app.Selector(),
			Ports:    corev1.ServicePortArray{&corev1.ServicePortArgs{Name: pulumi.String("http"), Port: pulumi.Int(80), TargetPort: pulumi.String("http")}},
		},
	}, pulumi.Parent(m)); err != nil {
		return fmt.Errorf("service of the live map: %w", err)
	}
	m.Command = pulumi.Sprintf("kubectl --namespace %s port-forward service/%s 8080:80", m.namespace, args.Kind)
	m.Address = t.scheme + "://localhost:8080"
	return nil
}

// expose puts a load balancer before the map, for named networks only.
func (m *Map) expose(ctx *pulumi.Context, args *Args, t tool) error {
	m.PublicAddress = pulumi.String("").ToStringOutput()
	if len(args.Expose) == 0 {
		return nil
	}
	port := 80
	if t.scheme == "https" {
		port = 443
	}
	balancer, err := args.app().NewLoadBalancer(ctx, args.Kind+"-public", m.namespace, args.app().Selector(), port, t.port, args.Expose, pulumi.Parent(m))
	if err != nil {
		return fmt.Errorf("load balancer of the live map: %w", err)
	}
	m.PublicAddress = pulumi.Sprintf("%s://%s", t.scheme, kube.LoadBalancerAddress(balancer))
	return nil
}
