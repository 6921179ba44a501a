package monitoring

import (
	"fmt"
	"maps"
	"slices"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
)

// adminSecret is the Secret with Grafana's administrator.
const adminSecret = "grafana-admin"

// grafanaConfig makes what Grafana finds when it starts.
func (s *Stack) grafanaConfig(ctx *pulumi.Context, g *GrafanaArgs) ([]pulumi.Resource, error) {
	if g == nil {
		return nil, nil
	}
	// The SDK keeps a Secret's contents as Pulumi's secrets.
	secret, err := corev1.NewSecret(ctx, adminSecret, &corev1.SecretArgs{
		Metadata:   grafanaApp().Meta(s.Namespace, adminSecret),
		StringData: pulumi.StringMap{"admin-user": pulumi.String("admin"), "admin-password": g.Password},
	}, pulumi.Parent(s))
	if err != nil {
		return nil, fmt.Errorf("administrator of Grafana: %w", err)
	}
	// Grafana's sidecar loads every ConfigMap with this label, and again when it changes.
	for _, name := range slices.Sorted(maps.Keys(g.Dashboards)) {
		meta := grafanaApp().Meta(s.Namespace, "dashboard-"+name)
		labels := grafanaApp().Labels()
		labels["grafana_dashboard"] = pulumi.String("1")
		meta.Labels = labels
		if _, err := corev1.NewConfigMap(ctx, "dashboard-"+name, &corev1.ConfigMapArgs{
			Metadata: meta,
			Data:     pulumi.StringMap{name + ".json": pulumi.String(g.Dashboards[name])},
		}, pulumi.Parent(s)); err != nil {
			return nil, fmt.Errorf("dashboard %s: %w", name, err)
		}
	}
	return []pulumi.Resource{secret}, nil
}

// expose puts a load balancer before Grafana, for named networks only.
func (s *Stack) expose(ctx *pulumi.Context, g *GrafanaArgs) error {
	s.GrafanaAddress = pulumi.String("").ToStringOutput()
	if g == nil || len(g.Expose) == 0 {
		return nil
	}
	balancer, err := grafanaApp().NewLoadBalancer(ctx, "grafana-public", s.Namespace,
		pulumi.StringMap{"app.kubernetes.io/name": pulumi.String("grafana")}, // the chart's pods
		80, 3000, g.Expose, pulumi.Parent(s), pulumi.DependsOn([]pulumi.Resource{s.release}))
	if err != nil {
		return fmt.Errorf("load balancer of Grafana: %w", err)
	}
	s.GrafanaAddress = pulumi.Sprintf("http://%s", kube.LoadBalancerAddress(balancer))
	return nil
}

// addOns are node-problem-detector and metrics-server.
func (s *Stack) addOns(ctx *pulumi.Context, args *StackArgs) error {
	if npd := args.NodeProblemDetector; npd != nil {
		// It brings a ServiceMonitor, whose definition comes with the stack.
		if _, err := kube.NewRelease(ctx, "node-problem-detector", npd.Chart, s.Namespace, pulumi.ToMap(npd.detectorValues()),
			pulumi.Parent(s), pulumi.DependsOn([]pulumi.Resource{s.release})); err != nil {
			return fmt.Errorf("release of node-problem-detector: %w", err)
		}
	}
	if ms := args.MetricsServer; ms != nil {
		if _, err := kube.NewRelease(ctx, "metrics-server", ms.Chart, s.Namespace, pulumi.ToMap(ms.metricsServerValues()),
			pulumi.Parent(s)); err != nil {
			return fmt.Errorf("release of metrics-server: %w", err)
		}
	}
	return nil
}
