package monitoring_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/dashboards"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/monitoring"
)

const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

const (
	release   = "kubernetes:helm.sh/v3:Release"
	service   = "kubernetes:core/v1:Service"
	configMap = "kubernetes:core/v1:ConfigMap"
	secret    = "kubernetes:core/v1:Secret"
)

const password = "correct-horse-battery"

// source is the side without Grafana.
func source() *monitoring.StackArgs {
	return &monitoring.StackArgs{
		Namespace: "monitoring", Region: "us-east-1", RetentionGiB: 10, Chart: monitoring.StackChart("88.5.3"),
		Hostname: "prometheus.us-east-1.kmt.internal", Readers: []string{"10.20.0.0/16"},
		Images: monitoring.Images{
			Operator: "r.example/operator" + digest, Reloader: "r.example/reloader" + digest, Prometheus: "r.example/prometheus:v3.14.0" + digest,
			StateMetrics: "r.example/state" + digest, NodeExporter: "r.example/node" + digest,
		},
	}
}

// destination is the side with Grafana.
func destination() *monitoring.StackArgs {
	a := source()
	a.Region, a.Hostname, a.Readers = "eu-west-1", "", nil
	a.Images.Grafana, a.Images.Sidecar = "grafana/grafana"+digest, "r.example/sidecar"+digest
	a.Grafana = &monitoring.GrafanaArgs{
		Own:        "destination",
		Peer:       &monitoring.Source{UID: "source", Region: "us-east-1", URL: pulumi.String("http://prometheus.us-east-1.kmt.internal:9090")},
		Dashboards: map[string]string{"replication": `{"title":"Replication test"}`},
	}
	return a
}

func stack(t *testing.T, args func() *monitoring.StackArgs) *enginetest.Stack {
	s := enginetest.New(t, func(ctx *pulumi.Context) error {
		cluster, err := kubernetes.NewProvider(ctx, "cluster", &kubernetes.ProviderArgs{
			Kubeconfig: pulumi.String("{}"), EnableConfigMapMutable: pulumi.Bool(true), EnableSecretMutable: pulumi.Bool(true),
		})
		if err != nil {
			return err
		}
		a := args()
		if a.Grafana != nil && a.Grafana.Password == nil {
			// In clear on purpose: it has to be made a secret here.
			a.Grafana.Password = pulumi.String(password)
		}
		m, err := monitoring.NewStack(ctx, "monitoring", a, pulumi.Providers(cluster))
		if err != nil {
			return err
		}
		ctx.Export("url", m.URL)
		ctx.Export("prometheus", m.PrometheusCommand)
		ctx.Export("grafana", m.GrafanaCommand)
		ctx.Export("address", m.GrafanaAddress)
		return nil
	})
	return s
}

func TestThePasswordIsNowhereInClear(t *testing.T) {
	s := stack(t, destination)
	s.Up()
	if text := s.PlainText(); strings.Contains(text, password) {
		t.Error("the password stands in the state in clear")
	}
	admin := s.Resource(secret, "grafana-admin")
	if len(admin.SecretInputs) == 0 {
		t.Errorf("no secret among the inputs of %v", admin.Inputs)
	}
	values := s.Resource(release, "kube-prometheus-stack")
	want := map[string]any{"existingSecret": "grafana-admin", "userKey": "admin-user", "passwordKey": "admin-password"}
	if got := values.Get("values.grafana.admin"); !reflect.DeepEqual(got, want) {
		t.Errorf("Grafana's administrator: %v, want %v", got, want)
	}
	data, _ := admin.Get("stringData").(map[string]any)
	if data["admin-user"] == nil || data["admin-password"] == nil {
		t.Errorf("the Secret holds %v", data)
	}
}

func TestGrafanaOnOneSideKnowsBoth(t *testing.T) {
	west := stack(t, source)
	up := west.Up()
	if got := west.Resource(release, "kube-prometheus-stack").Get("values.grafana"); !reflect.DeepEqual(got, map[string]any{"enabled": false}) {
		t.Errorf("Grafana at the source: %v", got)
	}
	for _, r := range west.Resources() {
		if strings.Contains(r.Name, "grafana") || r.Type == configMap || r.Type == secret {
			t.Errorf("the side without Grafana has a %s %s", r.Type, r.Name)
		}
	}
	if up.Outputs["grafana"] != "" || up.Outputs["url"] != "http://prometheus.us-east-1.kmt.internal:9090" {
		t.Errorf("outputs of the source: %v", up.Outputs)
	}

	east := stack(t, destination)
	east.Up()
	grafana := east.Resource(release, "kube-prometheus-stack")
	for path, want := range map[string]any{
		"sidecar.datasources.uid":      "destination",
		"sidecar.datasources.url":      "http://prometheus.monitoring.svc:9090",
		"additionalDataSources[0].uid": "source",
		"additionalDataSources[0].url": "http://prometheus.us-east-1.kmt.internal:9090",
	} {
		if got := grafana.Get("values.grafana." + path); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	board := east.Resource(configMap, "dashboard-replication")
	if got := board.Get(`metadata.labels.grafana_dashboard`); got != "1" {
		t.Errorf("the sidecar does not find the dashboard: %v", board.Get("metadata.labels"))
	}
	data, _ := board.Get("data").(map[string]any)
	if text, _ := data["replication.json"].(string); !json.Valid([]byte(text)) {
		t.Errorf("data of the dashboard: %v", data)
	}
}

func TestUpdatesTouchOnlyWhatChanged(t *testing.T) {
	a := destination()
	s := stack(t, func() *monitoring.StackArgs { return a })
	expect := func(what string, want ...string) {
		t.Helper()
		if got := s.Up().Changes(); !slices.Equal(got, want) {
			t.Errorf("%s: did %q, want %q", what, got, want)
		}
	}
	s.Up()
	expect("nothing new")

	a.Grafana.Dashboards["replication"] = `{"title":"Another"}`
	expect("another dashboard", "update "+configMap+" dashboard-replication")

	a.Grafana.Password = pulumi.String("another-password")
	expect("another password", "update "+secret+" grafana-admin")

	a.Grafana.Expose = []string{"203.0.113.7/32"}
	expect("exposed", "create "+service+" grafana-public")
	a.Grafana.Expose = nil
	expect("no longer", "delete "+service+" grafana-public")
	if got := s.Refresh().Changes(); len(got) > 0 {
		t.Errorf("a refresh finds %q", got)
	}
}

func TestNothingIsPublicButForNamedNetworks(t *testing.T) {
	a := destination()
	s := stack(t, func() *monitoring.StackArgs { return a })
	s.Up()
	for _, r := range s.Resources() {
		if r.Type == service && r.Get("spec.type") != nil {
			t.Errorf("%s is a Service of type %v", r.Name, r.Get("spec.type"))
		}
	}
	a.Grafana.Expose = []string{"203.0.113.7/32", "198.51.100.0/24"}
	s.Up()
	public := s.Resource(service, "grafana-public")
	if got := public.Get("spec.loadBalancerSourceRanges"); !reflect.DeepEqual(got, []any{"203.0.113.7/32", "198.51.100.0/24"}) {
		t.Errorf("the load balancer lets in %v", got)
	}
	down := s.Destroy()
	if at, ns := down.Index(service, "grafana-public"), down.Index("kubernetes:core/v1:Namespace", "monitoring"); at < 0 || at > ns {
		t.Errorf("the load balancer goes at step %d, its namespace at %d", at, ns)
	}
	if left := s.Resources(); len(left) > 0 {
		t.Errorf("destroy leaves %v", left)
	}
}

func TestPrometheusIsReachedByItsNamespaceAndTheOtherRegionOnly(t *testing.T) {
	s := stack(t, source)
	s.Up()
	rules, _ := s.Resource("kubernetes:networking.k8s.io/v1:NetworkPolicy", "prometheus").Get("spec.ingress").([]any)
	want := []any{
		map[string]any{"from": []any{map[string]any{"podSelector": map[string]any{}}}},
		map[string]any{
			"from":  []any{map[string]any{"ipBlock": map[string]any{"cidr": "10.20.0.0/16"}}},
			"ports": []any{map[string]any{"port": 9090, "protocol": "TCP"}},
		},
	}
	if !reflect.DeepEqual(rules, want) {
		t.Errorf("rules %v, want %v", rules, want)
	}
	name := s.Resource(service, "prometheus")
	annotations, _ := name.Get("metadata.annotations").(map[string]any)
	if name.Get("spec.clusterIP") != "None" || annotations["external-dns.alpha.kubernetes.io/hostname"] != "prometheus.us-east-1.kmt.internal" {
		t.Errorf("the service is not one that DNS of the other region can use: %v", name.Inputs)
	}
}

func TestEveryPodOfTheTestIsWatched(t *testing.T) {
	s := stack(t, source)
	up := s.Up()
	const podMonitor = "kubernetes:monitoring.coreos.com/v1:PodMonitor"
	m := s.Resource(podMonitor, "kafka-mirror-tester")
	if got := m.Get("spec.podMetricsEndpoints[0].port"); got != monitoring.MetricsPort {
		t.Errorf("port %v", got)
	}
	labels, _ := m.Get("spec.selector.matchLabels").(map[string]any)
	if !reflect.DeepEqual(labels, map[string]any{"app.kubernetes.io/part-of": kube.PartOf}) || m.Get("spec.namespaceSelector.any") != true {
		t.Errorf("watches %v in %v", labels, m.Get("spec.namespaceSelector"))
	}
	// Its definition comes with the release.
	if at := up.Index(podMonitor, "kafka-mirror-tester"); at < up.Index(release, "kube-prometheus-stack") {
		t.Errorf("the monitor is step %d, before the release", at)
	}
}

func TestRulesComeAfterTheirDefinition(t *testing.T) {
	a := source()
	var err error
	if a.Rules, err = dashboards.RuleSpec(5 * time.Minute); err != nil {
		t.Fatal(err)
	}
	s := stack(t, func() *monitoring.StackArgs { return a })
	up := s.Up()
	const prometheusRule, name = "kubernetes:monitoring.coreos.com/v1:PrometheusRule", "kafka-mirror-tester-rules"
	if groups, _ := s.Resource(prometheusRule, name).Get("spec.groups").([]any); len(groups) != len(dashboards.Rules(time.Minute)) {
		t.Errorf("%d groups", len(groups))
	}
	if at := up.Index(prometheusRule, name); at < up.Index(release, "kube-prometheus-stack") {
		t.Errorf("the rules are step %d, before the release", at)
	}
	// Another retention is another limit of the disk's alert, and touches nothing else.
	if a.Rules, err = dashboards.RuleSpec(time.Hour); err != nil {
		t.Fatal(err)
	}
	if got, want := s.Up().Changes(), []string{"update " + prometheusRule + " " + name}; !slices.Equal(got, want) {
		t.Errorf("another retention: did %q, want %q", got, want)
	}
}

func TestAddOnsAndImages(t *testing.T) {
	a := destination()
	a.NodeProblemDetector = &monitoring.AddOn{Chart: monitoring.NodeProblemDetectorChart("2.4.1"), Image: "r.example/npd" + digest}
	a.MetricsServer = &monitoring.AddOn{Chart: monitoring.MetricsServerChart("3.13.1"), Image: "r.example/ms" + digest}
	s := stack(t, func() *monitoring.StackArgs { return a })
	s.Up()
	hex := strings.TrimPrefix(digest, "@sha256:")
	for path, want := range map[string]any{
		"kube-prometheus-stack values.prometheus.prometheusSpec.retentionSize":               "10GB",
		"kube-prometheus-stack values.prometheus.prometheusSpec.image":                       map[string]any{"registry": "r.example", "repository": "prometheus", "tag": "v3.14.0", "sha": hex},
		"kube-prometheus-stack values.prometheusOperator.image":                              map[string]any{"registry": "r.example", "repository": "operator", "sha": hex},
		"kube-prometheus-stack values.prometheusOperator.prometheusConfigReloader.image.sha": hex,
		"kube-prometheus-stack values.kube-state-metrics.image.sha":                          "sha256:" + hex,
		"kube-prometheus-stack values.prometheus-node-exporter.image.digest":                 "sha256:" + hex,
		"kube-prometheus-stack values.grafana.image":                                         map[string]any{"registry": "docker.io", "repository": "grafana/grafana", "sha": hex},
		"kube-prometheus-stack values.grafana.sidecar.image.repository":                      "sidecar",
		"node-problem-detector values.image":                                                 map[string]any{"repository": "r.example/npd", "digest": "sha256:" + hex},
		"node-problem-detector chart":                                                        "oci://ghcr.io/deliveryhero/helm-charts/node-problem-detector",
		"metrics-server values.image":                                                        map[string]any{"repository": "r.example/ms@sha256", "tag": hex},
	} {
		name, path, _ := strings.Cut(path, " ")
		if got := s.Resource(release, name).Get(path); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %s: %v, want %v", name, path, got, want)
		}
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*monitoring.StackArgs)
		want   []string
	}{
		"version": {func(a *monitoring.StackArgs) { a.Chart.Version = "88.x.>1" }, []string{"versions.kubePrometheusStack", "88.x.>1", "exact"}},
		"image":   {func(a *monitoring.StackArgs) { a.Images.Grafana = "grafana:latest" }, []string{"images.grafana", "grafana:latest"}},
		"no image": {func(a *monitoring.StackArgs) { a.Images = monitoring.Images{}; a.Grafana = nil }, []string{
			"images.prometheusOperator: no image: run make images", "images.prometheusReloader", "images.prometheus:", "images.kubeStateMetrics", "images.nodeExporter",
		}},
		"no image of Grafana": {func(a *monitoring.StackArgs) { a.Images.Grafana, a.Images.Sidecar = "", "" }, []string{"images.grafana:", "images.grafanaSidecar"}},
		"add-on": {func(a *monitoring.StackArgs) {
			a.MetricsServer, a.NodeProblemDetector = &monitoring.AddOn{Image: "x"}, &monitoring.AddOn{}
		}, []string{"versions.metricsServer", "images.metricsServer", "images.nodeProblemDetector: no image"}},
		"all the internet, and one network written wrongly": {func(a *monitoring.StackArgs) {
			a.Grafana.Expose = []string{"0.0.0.0/0", "203.0.113.7/24", "me", "::/64"}
		},
			[]string{"expose: 0.0.0.0/0", "too much of the internet", "203.0.113.0/24", `"me"`, "IPv4"}},
		"readers":       {func(a *monitoring.StackArgs) { a.Readers = []string{"0.0.0.0/0"} }, []string{"peerCidr", "0.0.0.0/0"}},
		"same uid":      {func(a *monitoring.StackArgs) { a.Grafana.Peer.UID = "destination" }, []string{"uid"}},
		"bad dashboard": {func(a *monitoring.StackArgs) { a.Grafana.Dashboards["Über"] = "{}" }, []string{`"Über"`}},
		"everything": {func(a *monitoring.StackArgs) { *a = monitoring.StackArgs{} },
			[]string{"monitoringNamespace", "aws:region", "nodeDisk", "kubePrometheusStack", "images.prometheus:"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := stack(t, func() *monitoring.StackArgs {
				a := destination()
				test.change(a)
				return a
			})
			_, err := s.TryUp()
			if err == nil {
				t.Fatal("is accepted")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if left := s.Resources(); len(left) > 2 { // the stack and the cluster's provider
				t.Errorf("resources were made: %v", left)
			}
		})
	}
}
