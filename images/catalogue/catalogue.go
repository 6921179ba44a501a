// Package catalogue lists the images that the stacks run: `make images` brings them to our own
// registries, and the stacks take them from there, by digest. It depends on nothing.
package catalogue

// Image is one that the stacks run.
type Image struct {
	// Key is its name under the object `images` in the configuration of both stacks.
	Key string
	// Repository is the last part of its repository's name; upper case is not allowed there.
	Repository string
	// Upstream is where it is copied from; empty for the one that is built here.
	Upstream string
	// Chart is the key under the object `versions` of the Helm chart that runs it; empty for what is
	// ours to deploy. Upstream is what Charts' version of that chart would pull.
	Chart string
	// Optional images are copied only when asked for.
	Optional bool
	// About says what it is for.
	About string
}

// Loadgen is the key of the image that is built from this source tree.
const Loadgen = "loadgen"

// Keys of charts' versions under the object `versions`.
const (
	ChaosMesh           = "chaosMesh"
	KubePrometheusStack = "kubePrometheusStack"
	NodeProblemDetector = "nodeProblemDetector"
	MetricsServer       = "metricsServer"
)

// Charts returns the versions of the Helm charts, by key. Another version brings other images: their
// tags are in its values.yaml, and All has to follow.
func Charts() map[string]string {
	return map[string]string{ChaosMesh: "2.8.3", KubePrometheusStack: "88.5.3", NodeProblemDetector: "2.4.1", MetricsServer: "3.13.1"}
}

// All returns the images. What charts have that is not here is switched off in their values, and what
// EKS's add-ons run is AWS's own, pinned by the add-on's version.
func All() []Image {
	return []Image{
		{Key: Loadgen, Repository: "loadgen", About: "load tools and the JMX agent, built here"},
		{Key: "kafka", Repository: "kafka", Upstream: "docker.io/apache/kafka:3.9.2", About: "brokers, ZooKeeper, MirrorMaker 2"},
		{Key: "externalDns", Repository: "external-dns", Upstream: "registry.k8s.io/external-dns/external-dns:v0.19.0", About: "names of brokers in the private zone"},
		{Key: "headlamp", Repository: "headlamp", Upstream: "ghcr.io/headlamp-k8s/headlamp:v0.45.0", About: "live map"},

		{Key: "chaosMesh", Repository: "chaos-mesh", Upstream: "ghcr.io/chaos-mesh/chaos-mesh:v2.8.3", Chart: ChaosMesh, About: "faults: Chaos Mesh's controller"},
		{Key: "chaosDaemon", Repository: "chaos-daemon", Upstream: "ghcr.io/chaos-mesh/chaos-daemon:v2.8.3", Chart: ChaosMesh, About: "faults: Chaos Mesh on each node"},
		{Key: "pause", Repository: "pause", Upstream: "registry.k8s.io/pause:3.10", Chart: ChaosMesh, About: "faults: what takes a container's place during an outage"},

		{Key: "prometheusOperator", Repository: "prometheus-operator", Upstream: "quay.io/prometheus-operator/prometheus-operator:v0.93.1", Chart: KubePrometheusStack, About: "makes Prometheus"},
		{Key: "prometheusReloader", Repository: "prometheus-config-reloader", Upstream: "quay.io/prometheus-operator/prometheus-config-reloader:v0.93.1", Chart: KubePrometheusStack, About: "beside Prometheus, hands it its settings"},
		{Key: "prometheus", Repository: "prometheus", Upstream: "quay.io/prometheus/prometheus:v3.14.0-distroless", Chart: KubePrometheusStack, About: "metrics"},
		{Key: "kubeStateMetrics", Repository: "kube-state-metrics", Upstream: "registry.k8s.io/kube-state-metrics/kube-state-metrics:v2.20.0", Chart: KubePrometheusStack, About: "metrics of Kubernetes' objects"},
		{Key: "nodeExporter", Repository: "node-exporter", Upstream: "quay.io/prometheus/node-exporter:v1.12.1-distroless", Chart: KubePrometheusStack, About: "metrics of nodes"},
		{Key: "grafana", Repository: "grafana", Upstream: "docker.io/grafana/grafana:13.2.0", Chart: KubePrometheusStack, About: "dashboards, at the destination"},
		{Key: "grafanaSidecar", Repository: "k8s-sidecar", Upstream: "quay.io/kiwigrid/k8s-sidecar:2.10.1", Chart: KubePrometheusStack, About: "beside Grafana, hands it its dashboards"},
		{Key: "nodeProblemDetector", Repository: "node-problem-detector", Upstream: "registry.k8s.io/node-problem-detector/node-problem-detector:v1.35.1", Chart: NodeProblemDetector, About: "what nodes' kernels complain of"},
		{Key: "metricsServer", Repository: "metrics-server", Upstream: "registry.k8s.io/metrics-server/metrics-server:v0.8.1", Chart: MetricsServer, About: "kubectl top"},

		// Retired by their makers; these are their last versions.
		{Key: "weavescope", Repository: "weavescope", Upstream: "docker.io/weaveworks/scope:1.13.2", Optional: true, About: "the talk's live map, retired"},
		{Key: "kubernetesDashboard", Repository: "kubernetes-dashboard", Upstream: "docker.io/kubernetesui/dashboard:v2.7.0", Optional: true, About: "the talk's dashboard, retired"},
		// The talk's, as a starting point: whether they can still be pulled, and whether they meet the
		// contract in infra/replicator, is unverified.
		{Key: "ureplicator", Repository: "ureplicator", Upstream: "docker.io/rantav/ureplicator:1c1677d", Optional: true, About: "uReplicator of the talk, unverified"},
		{Key: "brooklin", Repository: "brooklin", Upstream: "docker.io/rantav/brooklin:1.0.2-0", Optional: true, About: "Brooklin of the talk, unverified"},
	}
}

// Keys returns the keys of All, in its order.
func Keys() []string {
	var keys []string
	for _, image := range All() {
		keys = append(keys, image.Key)
	}
	return keys
}
