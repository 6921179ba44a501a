// Package monitoring installs Prometheus, what it watches the cluster with, and on one side Grafana.
package monitoring

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"

	kubernetes "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	helm "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/helm/v3"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
)

// PrometheusPort is Prometheus' port, open to the other region's Grafana.
const PrometheusPort = 9090

// MetricsPort is the name of the port by which a pod of this project offers /metrics.
const MetricsPort = "metrics"

// scrapeInterval of everything. The talk's panels had 30 s; halts of some seconds must show.
const scrapeInterval = "15s"

// StackChart returns the chart kube-prometheus-stack in a version, such as 88.5.3.
func StackChart(version string) kube.Chart {
	return kube.Chart{Name: "kube-prometheus-stack", Repository: "https://prometheus-community.github.io/helm-charts", Version: version}
}

// NodeProblemDetectorChart returns the chart node-problem-detector in a version, such as 2.4.1.
func NodeProblemDetectorChart(version string) kube.Chart {
	return kube.Chart{Name: "oci://ghcr.io/deliveryhero/helm-charts/node-problem-detector", Version: version}
}

// MetricsServerChart returns the chart metrics-server in a version, such as 3.13.1.
func MetricsServerChart(version string) kube.Chart {
	return kube.Chart{Name: "metrics-server", Repository: "https://kubernetes-sigs.github.io/metrics-server", Version: version}
}

// Unrestricted names what cannot keep to the restricted Pod Security level, and why. All of it comes
// from charts; for its sake the namespace is privileged.
func Unrestricted() map[string]string {
	return map[string]string{
		"node-exporter":         "it reads the node's /proc, /sys and file systems, in the node's network and process namespaces",
		"node-problem-detector": "it reads the node's kernel messages: privileged",
	}
}

// StackArgs says what is installed.
type StackArgs struct {
	// Namespace is made for it.
	Namespace string
	// Region names this side in every series and data source, such as us-east-1.
	Region string
	Chart  kube.Chart
	Images Images

	// Hostname by which ExternalDNS makes Prometheus known to the other region, such as
	// prometheus.us-east-1.kmt.internal; empty for none.
	Hostname string
	// Readers are networks, in CIDR notation, that may read from Prometheus beside its own namespace: the
	// other region's.
	Readers []string

	// NodeProblemDetector and MetricsServer are made if they are not nil. On EKS, metrics-server may as
	// well be an add-on of the cluster.
	NodeProblemDetector, MetricsServer *AddOn

	// RetentionGiB is how much of its node's disk Prometheus may fill with samples, 1 or more; the oldest go
	// first, and all after a week.
	RetentionGiB int

	// Rules are the spec of a PrometheusRule: what is recorded and alerted. Nil makes none.
	Rules map[string]any

	// Grafana is made if it is not nil: in one region, for both.
	Grafana *GrafanaArgs
}

// AddOn is a further release.
type AddOn struct {
	Chart kube.Chart
	Image string // of the chart's version, by digest
}

// Images of the chart's version by digest, as REGISTRY/REPOSITORY[:TAG]@sha256:DIGEST. Without a tag, the
// chart's own says which version it is. Grafana and Sidecar are needed with Grafana only.
type Images struct {
	Operator, Reloader, Prometheus, StateMetrics, NodeExporter, Grafana, Sidecar string
}

// GrafanaArgs says how Grafana is set up.
type GrafanaArgs struct {
	// Password of the user admin. It is kept as a secret whatever it is given as. Grafana reads it when
	// it starts: after a change, delete its pod.
	Password pulumi.StringInput
	// Own is the uid of the data source that is this region's Prometheus.
	Own string
	// Peer is the other region's Prometheus; nil for none.
	Peer *Source
	// Dashboards are JSON by name (lower-case letters, digits and dashes).
	Dashboards map[string]string
	// Expose are the networks, in CIDR notation, that a public load balancer lets in; none makes none.
	// It speaks plain HTTP.
	Expose []string
}

// Source is a data source.
type Source struct {
	UID    string // by which dashboards name it
	Region string
	URL    pulumi.StringInput
}

// DNS names, as Kubernetes wants them of objects.
var namePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?$`)

// Validate reports every mistake in a at once; each names the key, the value and what would be right. What
// other resources give is not looked at.
func (a *StackArgs) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if a.Namespace == "" {
		refuse("monitoringNamespace: empty: name the one to make")
	}
	if a.Region == "" {
		refuse("aws:region: empty: name this side, such as us-east-1")
	}
	if a.RetentionGiB < 1 {
		refuse("nodeDisk: leaves Prometheus %d GiB for samples, a fifth of it: use 5GiB or more", a.RetentionGiB)
	}
	errs = append(errs, a.Chart.Validate("versions.kubePrometheusStack"))
	images := map[string]string{
		"prometheusOperator": a.Images.Operator, "prometheusReloader": a.Images.Reloader, "prometheus": a.Images.Prometheus,
		"kubeStateMetrics": a.Images.StateMetrics, "nodeExporter": a.Images.NodeExporter,
	}
	if a.Grafana != nil {
		images["grafana"], images["grafanaSidecar"] = a.Images.Grafana, a.Images.Sidecar
	}
	for key, addOn := range map[string]*AddOn{"nodeProblemDetector": a.NodeProblemDetector, "metricsServer": a.MetricsServer} {
		if addOn != nil {
			errs = append(errs, addOn.Chart.Validate("versions."+key))
			images[key] = addOn.Image
		}
	}
	for _, key := range slices.Sorted(maps.Keys(images)) {
		errs = append(errs, kube.CheckImage("images."+key, images[key]))
	}
	for _, cidr := range a.Readers {
		if p, err := netip.ParsePrefix(cidr); err != nil || p.Bits() == 0 {
			refuse("peerCidr: %q: use the other region's network, such as 10.20.0.0/16, and never all of the internet", cidr)
		}
	}
	if g := a.Grafana; g != nil {
		if g.Password == nil {
			refuse("grafanaPassword: missing: run make secrets")
		}
		if g.Own == "" || g.Peer != nil && (g.Peer.UID == "" || g.Peer.UID == g.Own) {
			refuse("data sources of Grafana: give each a uid of its own")
		}
		for _, name := range slices.Sorted(maps.Keys(g.Dashboards)) {
			if !namePattern.MatchString(name) {
				refuse("dashboard %q: use lower-case letters, digits and dashes", name)
			}
			if len(g.Dashboards[name]) > 1000_000 {
				refuse("dashboard %q: %d bytes: a ConfigMap holds 1,000,000", name, len(g.Dashboards[name]))
			}
		}
		errs = append(errs, kube.CheckExpose("expose", g.Expose))
	}
	return errors.Join(errs...)
}

// given refuses arguments without what other resources give.
func (a *StackArgs) given() error {
	if g := a.Grafana; g != nil && g.Peer != nil && g.Peer.URL == nil {
		return errors.New("data sources of Grafana: give the other region's a URL")
	}
	return nil
}

// Stack is the monitoring of one region.
type Stack struct {
	pulumi.ResourceState

	// Namespace of everything.
	Namespace pulumi.StringOutput
	// URL of Prometheus for the other region, by its host name; empty without one.
	URL pulumi.StringOutput
	// PrometheusCommand is what to run to reach it from one's desk, at http://localhost:9090.
	PrometheusCommand pulumi.StringOutput
	// GrafanaCommand likewise, at http://localhost:3000; empty without Grafana.
	GrafanaCommand pulumi.StringOutput
	// GrafanaAddress of its load balancer; empty without one.
	GrafanaAddress pulumi.StringOutput

	namespace *corev1.Namespace
	release   *helm.Release
}

func prometheusApp() kube.App { return kube.App{Name: "prometheus", Component: "monitoring"} }
func grafanaApp() kube.App    { return kube.App{Name: "grafana", Component: "monitoring"} }

// NewStack installs args. It waits until the operators, exporters and Grafana run; Prometheus itself
// is made by its operator, and nothing of a test depends on it.
func NewStack(ctx *pulumi.Context, name string, args *StackArgs, opts ...pulumi.ResourceOption) (*Stack, error) {
	if err := errors.Join(args.Validate(), args.given()); err != nil {
		return nil, err
	}
	s := &Stack{}
	if err := ctx.RegisterComponentResource("kafka-mirror-tester:monitoring:Stack", name, s, opts...); err != nil {
		return nil, fmt.Errorf("register monitoring: %w", err)
	}
	if err := s.provision(ctx, args); err != nil {
		return nil, err
	}
	s.outputs(args)
	if err := ctx.RegisterResourceOutputs(s, pulumi.Map{
		"namespace":         s.Namespace,
		"url":               s.URL,
		"prometheusCommand": s.PrometheusCommand,
		"grafanaCommand":    s.GrafanaCommand,
		"grafanaAddress":    s.GrafanaAddress,
	}); err != nil {
		return nil, fmt.Errorf("register outputs of monitoring: %w", err)
	}
	return s, nil
}

func (s *Stack) provision(ctx *pulumi.Context, args *StackArgs) (err error) {
	if s.namespace, err = prometheusApp().NewNamespace(ctx, args.Namespace, "privileged", nil, pulumi.Parent(s)); err != nil {
		return fmt.Errorf("namespace of monitoring: %w", err)
	}
	s.Namespace = s.namespace.Metadata.Name().Elem()
	before, err := s.grafanaConfig(ctx, args.Grafana)
	if err != nil {
		return err
	}
	s.release, err = kube.NewRelease(ctx, "kube-prometheus-stack", args.Chart, s.Namespace, pulumi.ToMap(args.values()),
		pulumi.Parent(s), pulumi.DependsOn(before))
	if err != nil {
		return fmt.Errorf("release of kube-prometheus-stack: %w", err)
	}
	if err := s.prometheus(ctx, args); err != nil {
		return err
	}
	if err := s.addOns(ctx, args); err != nil {
		return err
	}
	return s.expose(ctx, args.Grafana)
}

func (s *Stack) outputs(args *StackArgs) {
	text := func(format string, args ...any) pulumi.StringOutput { return pulumi.Sprintf(format, args...) }
	none := pulumi.String("").ToStringOutput()
	s.URL = none
	if args.Hostname != "" {
		s.URL = text("http://%s:%d", args.Hostname, PrometheusPort)
	}
	s.PrometheusCommand = text("kubectl --namespace %s port-forward service/prometheus %d", s.Namespace, PrometheusPort)
	s.GrafanaCommand = none
	if args.Grafana != nil {
		s.GrafanaCommand = text("kubectl --namespace %s port-forward service/grafana 3000:80", s.Namespace)
	}
}

// prometheus is what makes Prometheus watch our pods, and others reach it.
func (s *Stack) prometheus(ctx *pulumi.Context, args *StackArgs) error {
	app := prometheusApp()
	// One PodMonitor, where the talk had a ServiceMonitor for each workload: what is watched is pods with
	// a port of one name, and many of them (producers, workers) have no Service, nor need one.
	_, err := apiextensions.NewCustomResource(ctx, "kafka-mirror-tester", &apiextensions.CustomResourceArgs{
		ApiVersion: pulumi.String("monitoring.coreos.com/v1"),
		Kind:       pulumi.String("PodMonitor"),
		Metadata:   app.Meta(s.Namespace, kube.PartOf),
		OtherFields: kubernetes.UntypedArgs{"spec": map[string]any{
			"namespaceSelector": map[string]any{"any": true},
			"selector":          map[string]any{"matchLabels": map[string]any{"app.kubernetes.io/part-of": kube.PartOf}},
			"jobLabel":          "app.kubernetes.io/name",
			"podTargetLabels":   []string{"app.kubernetes.io/component"},
			"podMetricsEndpoints": []any{map[string]any{
				"port": MetricsPort, "path": "/metrics", "interval": scrapeInterval,
				"relabelings": []any{map[string]any{"action": "replace", "sourceLabels": []string{"__meta_kubernetes_pod_node_name"}, "targetLabel": "node"}},
			}},
		}},
	}, pulumi.Parent(s), pulumi.DependsOn([]pulumi.Resource{s.release}))
	if err != nil {
		return fmt.Errorf("monitor of the test's pods: %w", err)
	}

	if args.Rules != nil {
		if _, err := apiextensions.NewCustomResource(ctx, "kafka-mirror-tester-rules", &apiextensions.CustomResourceArgs{
			ApiVersion:  pulumi.String("monitoring.coreos.com/v1"),
			Kind:        pulumi.String("PrometheusRule"),
			Metadata:    app.Meta(s.Namespace, kube.PartOf),
			OtherFields: kubernetes.UntypedArgs{"spec": args.Rules},
		}, pulumi.Parent(s), pulumi.DependsOn([]pulumi.Resource{s.release})); err != nil {
			return fmt.Errorf("rules of Prometheus: %w", err)
		}
	}

	// The chart's pods, not ours, carry these labels. Headless, so that its name in the other region's
	// DNS stands for the pod's own address: a Service's would mean nothing there.
	meta := app.Meta(s.Namespace, "prometheus")
	if args.Hostname != "" {
		meta = kube.Annotated(meta,
			"external-dns.alpha.kubernetes.io/hostname", args.Hostname,
			"external-dns.alpha.kubernetes.io/ttl", "15")
	}
	pods := pulumi.StringMap{"app.kubernetes.io/name": pulumi.String("prometheus")}
	if _, err := corev1.NewService(ctx, "prometheus", &corev1.ServiceArgs{
		Metadata: meta,
		Spec: &corev1.ServiceSpecArgs{
			ClusterIP: pulumi.String("None"),
			Selector:  pods,
			Ports:     corev1.ServicePortArray{&corev1.ServicePortArgs{Name: pulumi.String("http"), Port: pulumi.Int(PrometheusPort)}},
		},
	}, pulumi.Parent(s), pulumi.DependsOn([]pulumi.Resource{s.release})); err != nil {
		return fmt.Errorf("service of Prometheus: %w", err)
	}

	ingress := networkingv1.NetworkPolicyIngressRuleArray{&networkingv1.NetworkPolicyIngressRuleArgs{
		From: networkingv1.NetworkPolicyPeerArray{&networkingv1.NetworkPolicyPeerArgs{PodSelector: &metav1.LabelSelectorArgs{}}}, // its namespace
	}}
	for _, cidr := range args.Readers {
		ingress = append(ingress, &networkingv1.NetworkPolicyIngressRuleArgs{
			From:  networkingv1.NetworkPolicyPeerArray{&networkingv1.NetworkPolicyPeerArgs{IpBlock: &networkingv1.IPBlockArgs{Cidr: pulumi.String(cidr)}}},
			Ports: networkingv1.NetworkPolicyPortArray{&networkingv1.NetworkPolicyPortArgs{Port: pulumi.Int(PrometheusPort), Protocol: pulumi.String("TCP")}},
		})
	}
	if _, err := networkingv1.NewNetworkPolicy(ctx, "prometheus", &networkingv1.NetworkPolicyArgs{
		Metadata: app.Meta(s.Namespace, "prometheus"),
		Spec: &networkingv1.NetworkPolicySpecArgs{
			PodSelector: &metav1.LabelSelectorArgs{MatchLabels: pods},
			PolicyTypes: pulumi.StringArray{pulumi.String("Ingress")},
			Ingress:     ingress,
		},
	}, pulumi.Parent(s)); err != nil {
		return fmt.Errorf("network policy of Prometheus: %w", err)
	}
	return nil
}
