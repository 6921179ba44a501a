package main

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/images/catalogue"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/livemap"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// Roles of a stack.
const (
	source      = "source"
	destination = "destination"
)

// Settings says on what infrastructure a side of the test runs. The names in the json tags are the
// keys of the stack's configuration; Pulumi.yaml has their descriptions.
type Settings struct {
	Role      string `json:"role"`
	Namespace string `json:"namespace"`

	// An existing cluster. With a kubeconfig nothing is made on AWS.
	Kubeconfig    Secret `json:"kubeconfig"`
	PeerBootstrap string `json:"peerBootstrap"`
	PeerZookeeper string `json:"peerZookeeper"`
	PeerNamespace string `json:"peerNamespace"`

	ReplicatorClassPath string `json:"replicatorClassPath"`

	// AWS.
	VpcCidr            string            `json:"vpcCidr"`
	PeerCidr           string            `json:"peerCidr"`
	ServiceCidr        string            `json:"serviceCidr"`
	SubnetPrefix       int               `json:"subnetPrefix"`
	Zones              []string          `json:"zones"`
	NodeZones          []string          `json:"nodeZones"`
	NodeTypes          []string          `json:"nodeTypes"`
	NodeCapacity       string            `json:"nodeCapacity"`
	NodeImage          string            `json:"nodeImage"`
	NodeRelease        string            `json:"nodeRelease"`
	NodeDisk           units.Size        `json:"nodeDisk"`
	NodeDiskIops       int               `json:"nodeDiskIops"`
	NodeDiskThroughput int               `json:"nodeDiskThroughput"`
	Mtu                int               `json:"mtu"`
	KubernetesVersion  string            `json:"kubernetesVersion"`
	APICidrs           []string          `json:"apiCidrs"`
	AdminArns          []string          `json:"adminArns"`
	Domain             string            `json:"domain"`
	Tags               map[string]string `json:"tags"`

	// The other stack, as ORGANIZATION/PROJECT/STACK or only STACK.
	PeerStack string `json:"peerStack"`

	Images   map[string]string `json:"images"`
	Versions map[string]string `json:"versions"`

	KafkaRestartPause scenario.Duration `json:"kafkaRestartPause"`

	MonitoringNamespace string   `json:"monitoringNamespace"`
	ChaosNamespace      string   `json:"chaosNamespace"`
	InstallMonitoring   bool     `json:"installMonitoring"`
	InstallChaos        bool     `json:"installChaos"`
	LiveMap             string   `json:"liveMap"`
	Expose              []string `json:"expose"`

	Expires       string  `json:"expires"`
	MaxHourlyUSD  float64 `json:"maxHourlyUSD"`
	NodeHourlyUSD float64 `json:"nodeHourlyUSD"`

	// What make secrets writes.
	KafkaUser        string `json:"kafkaUser"`
	KafkaPassword    Secret `json:"kafkaPassword"`
	KafkaAuthority   Secret `json:"kafkaAuthority"`
	KafkaCertificate Secret `json:"kafkaCertificate"`
	KafkaKey         Secret `json:"kafkaKey"`
	GrafanaPassword  Secret `json:"grafanaPassword"`
}

// Secret is the value of a key that Pulumi.yaml declares as secret, which the CLI takes encrypted
// only. Only whether there is one can be told from it: the value goes to resources as Pulumi's secret.
type Secret struct{ set bool }

// UnmarshalText forgets all but whether there is anything.
func (s *Secret) UnmarshalText(text []byte) error {
	s.set = len(text) > 0
	return nil
}

// SetDefaults fills s with what Pulumi.yaml says, and the objects' defaults, which Pulumi would
// replace and not merge.
func (s *Settings) SetDefaults() {
	*s = Settings{
		ServiceCidr:         "172.20.0.0/16",
		SubnetPrefix:        19,
		NodeTypes:           []string{"m6i.xlarge", "m5.xlarge", "m6a.xlarge"},
		NodeCapacity:        "ON_DEMAND",
		NodeImage:           "AL2023_x86_64_STANDARD",
		NodeDisk:            200 << 30,
		NodeDiskIops:        3000,
		NodeDiskThroughput:  250,
		Mtu:                 8500,
		KubernetesVersion:   "1.35",
		Domain:              "kmt.internal",
		KafkaRestartPause:   scenario.Duration(2 * time.Minute),
		MonitoringNamespace: "monitoring",
		ChaosNamespace:      "chaos-mesh",
		InstallMonitoring:   true,
		InstallChaos:        true,
		LiveMap:             "headlamp",
		KafkaUser:           "kmt",
	}
}

// Keys of versions, besides those of Helm charts.
const (
	vPlugin           = "kubernetesPlugin"
	vVpcCni           = "vpcCni"
	vKubeProxy        = "kubeProxy"
	vCoreDNS          = "coreDns"
	vPodIdentityAgent = "podIdentityAgent"
)

// defaultVersions are those of what is the same on every cluster. EKS's own add-ons have none: which
// ones there are depends on the version of Kubernetes, and `make versions` asks AWS.
func defaultVersions() map[string]string {
	versions := catalogue.Charts()
	versions[vPlugin] = "4.26.0"
	for _, key := range []string{vVpcCni, vKubeProxy, vCoreDNS, vPodIdentityAgent} {
		versions[key] = ""
	}
	return versions
}

// version returns the version with this key.
func (s *Settings) version(key string) string {
	if v := s.Versions[key]; v != "" {
		return v
	}
	return defaultVersions()[key]
}

// Names are prefixes of others' names: a namespace, and a suffix of the names of AWS resources.
var namePattern = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$`)

// liveMapImage is the key of a live map's image; empty for none.
func liveMapImage(kind string) string {
	return map[string]string{livemap.Headlamp: "headlamp", livemap.WeaveScope: "weavescope", livemap.KubernetesDashboard: "kubernetesDashboard"}[kind]
}

// aws says whether the cluster is made on AWS.
func (s *Settings) aws() bool { return !s.Kubeconfig.set }

// validate reports what is wrong with s, all at once, but for what components check of their own
// arguments (the size of a network, the form of an ARN, the images that they run).
func (s *Settings) validate(stack *Stack) error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	need := func(value, key, why string) {
		if value == "" {
			refuse("%s: missing: %s", key, why)
		}
	}

	if !namePattern.MatchString(s.Namespace) {
		refuse("namespace: %q: use 1 to 32 lower-case letters, digits and dashes, beginning with a letter", s.Namespace)
	}
	known := catalogue.Keys()
	for _, key := range slices.Sorted(maps.Keys(s.Images)) {
		if !slices.Contains(known, key) {
			refuse("images.%s: there is no such image: use %s", key, strings.Join(known, ", "))
		}
	}
	if stack.Secure {
		for _, secret := range []struct {
			key   string
			value Secret
		}{
			{"kafkaPassword", s.KafkaPassword}, {"kafkaAuthority", s.KafkaAuthority},
			{"kafkaCertificate", s.KafkaCertificate}, {"kafkaKey", s.KafkaKey},
		} {
			if !secret.value.set {
				refuse("%s: missing, and secure is true: run make secrets", secret.key)
			}
		}
		if s.Role == destination && (stack.Destination.Replicator == scenario.UReplicator || stack.Destination.Replicator == scenario.Brooklin) {
			refuse("secure: true: the Kafka clients in %s are too old for the certificates used here: use mirrormaker2, or secure false", stack.Destination.Replicator)
		}
	}
	if s.InstallMonitoring && s.Role == destination && !s.GrafanaPassword.set {
		refuse("grafanaPassword: missing: run make secrets, or set installMonitoring to false")
	}
	if stack.Cluster().Fault.Kind == "region-partition" && !s.aws() {
		refuse("fault.kind: region-partition: an existing cluster has no regions to cut apart: use broker-partition or worker-partition")
	}
	if s.PeerStack != "" && (s.PeerBootstrap != "" || s.PeerZookeeper != "") {
		refuse("peerBootstrap: the stack %s says where its brokers are: leave peerBootstrap and peerZookeeper out, or peerStack (pulumi config rm peerStack)", s.PeerStack)
	}
	if kind := stack.Cluster().Fault.Kind; scenario.FaultKinds()[kind].LabOnly {
		refuse("fault.kind: %s is played by the lab alone, since Chaos Mesh has nothing like it here: use another kind, or loadgen scenario run --target lab", kind)
	}
	if !s.InstallChaos && stack.Cluster().Fault.Kind != "" {
		refuse("fault.kind: %s needs Chaos Mesh, and installChaos is false: set it to true, or leave the fault out", stack.Cluster().Fault.Kind)
	}
	if _, err := time.Parse(time.RFC3339, s.Expires); s.Expires != "" && err != nil {
		refuse("expires: %q: use a time such as 2026-12-24T18:00:00Z, or leave it out", s.Expires)
	}
	if !(s.MaxHourlyUSD >= 0) || math.IsInf(s.MaxHourlyUSD, 0) { // not a number bounds nothing
		refuse("maxHourlyUSD: %v: use the most that an hour may cost, or 0 for no bound", s.MaxHourlyUSD)
	}
	if !(s.NodeHourlyUSD >= 0) || math.IsInf(s.NodeHourlyUSD, 0) {
		refuse("nodeHourlyUSD: %v: use what a node costs in an hour, or 0 for the price that is known here", s.NodeHourlyUSD)
	}
	for _, e := range stack.Destination.Expectations {
		if _, err := verdict.ParseExpectation(e); err != nil {
			refuse("expectations: %w", err)
		}
	}
	if s.Role == destination {
		switch {
		case s.PeerStack == "" && s.aws():
			refuse("peerStack: missing: a region on AWS is joined to the source's stack: name it, such as us-east-1")
		case s.PeerStack == "":
			need(s.PeerBootstrap, "peerStack", "name the source's stack, such as us-east-1, or set peerBootstrap to the source's brokers")
			if stack.Destination.Replicator == scenario.UReplicator {
				need(s.PeerZookeeper, "peerZookeeper", "without peerStack, uReplicator needs the address of the source's ZooKeeper")
			}
		}
	} else if s.PeerStack != "" || s.PeerBootstrap != "" {
		refuse("peerStack: the destination refers to the source, and not the other way round: leave peerStack and peerBootstrap out here")
	}
	for _, key := range slices.Sorted(maps.Keys(s.Versions)) {
		if _, known := defaultVersions()[key]; !known {
			refuse("versions.%s: there is no such version: use %s", key, strings.Join(slices.Sorted(maps.Keys(defaultVersions())), ", "))
		}
	}
	if s.aws() {
		need(s.PeerCidr, "peerCidr", "use the other region's vpcCidr")
	}
	return errors.Join(errs...)
}
