package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/route53"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"

	"github.com/AppsFlyer/kafka-mirror-tester/dashboards"
	"github.com/AppsFlyer/kafka-mirror-tester/images/catalogue"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/chaos"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/cluster"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/cost"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/dns"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kafka"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/livemap"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/monitoring"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/network"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// region is one side of the test: what both sides have.
type region struct {
	*Stack
	ctx    *pulumi.Context
	before *before
	name   string // the AWS region's; of an existing cluster the role
	tags   map[string]string

	network   *network.Network // nil with an existing cluster
	cluster   *cluster.Cluster
	namespace *corev1.Namespace
	kafka     *kafka.Kafka
	mesh      *chaos.Mesh       // nil without chaos
	prom      *monitoring.Stack // nil without monitoring

	bill cost.Bill
	more []pointer // in the output where
}

// newRegion looks back, refuses what would be lost or cost too much, and registers nothing.
func newRegion(ctx *pulumi.Context, stack *Stack) (*region, error) {
	r := &region{Stack: stack, ctx: ctx, name: stack.Role}
	var err error
	if r.before, err = lookBack(ctx); err != nil {
		return nil, err
	}
	if r.before.config != nil {
		if err := scenario.ValidateChange(r.before.config.Cluster, *stack.Cluster(), r.before.config.Shared.Secure, stack.Secure); err != nil {
			return nil, err
		}
	}
	if !stack.aws() {
		return r, nil
	}
	if r.name, _ = ctx.GetConfig("aws:region"); r.name == "" {
		return nil, fmt.Errorf("aws:region: missing: set it by pulumi config set aws:region us-east-1, or set kubeconfig to use an existing cluster")
	}
	r.tags = map[string]string{"Project": kube.PartOf, "Stack": ctx.Stack(), "Test": stack.TestID}
	for k, v := range stack.Tags {
		r.tags[k] = v
	}
	return r, r.estimate()
}

// estimate refuses a stack that costs more than it may.
func (r *region) estimate() (err error) {
	load := r.Source.Throughput.RecordsPerSecond(r.Source.MessageSize) * float64(r.Source.MessageSize) *
		float64(r.Source.Producers*len(r.Source.Topics)) / 1e6
	in := cost.Input{
		Region:        r.name,
		Nodes:         r.Cluster().Nodes,
		NodeTypes:     r.NodeTypes,
		NodeHourlyUSD: r.NodeHourlyUSD,
		NodeDiskGiB:   float64(r.NodeDisk) / (1 << 30),
		NATGateways:   1,
		LoadBalancers: r.loadBalancers(),
		Zones:         len(r.nodeZones()),
		LoadMBps:      load,
		Replicas:      r.Cluster().ReplicationFactor,
		ToPeerMBps:    load,
	}
	if r.Role == destination {
		in.ToPeerMBps = load * cost.Answers
	}
	if r.bill, err = cost.Estimate(in); err != nil {
		return fmt.Errorf("cost: %w", err)
	}
	return r.bill.Check(r.MaxHourlyUSD)
}

// loadBalancers counts those that expose makes.
func (r *region) loadBalancers() (n int) {
	if len(r.Expose) == 0 {
		return 0
	}
	if r.LiveMap != "none" {
		n++
	}
	if r.InstallMonitoring && r.Role == destination {
		n++
	}
	return n
}

func (r *region) nodeZones() []string {
	if len(r.NodeZones) == 0 {
		return r.Zones[:1]
	}
	return r.NodeZones
}

// secret returns a secret value of the configuration.
func (r *region) secret(key string) pulumi.StringOutput {
	return config.GetSecret(r.ctx, key)
}

// domain is this side's part of the private zone; empty with an existing cluster, which has none.
func (r *region) domain() string {
	if !r.aws() {
		return ""
	}
	return r.Role + "." + r.Domain
}

// inCluster is the option of everything that lives in the cluster.
func (r *region) inCluster() pulumi.ResourceOption { return pulumi.Providers(r.cluster.Provider) }

// clusterName is what AWS and people call the cluster.
func (r *region) clusterName() string { return kube.PartOf + "-" + r.ctx.Stack() }

// provision makes the region's network and cluster, or takes the existing one.
func (r *region) provision() (err error) {
	args := &cluster.Args{KubernetesPlugin: r.version(vPlugin)}
	var opts []pulumi.ResourceOption
	if r.aws() {
		r.network, err = network.NewNetwork(r.ctx, r.ctx.Stack(), &network.Args{
			Region: r.name, CIDR: r.VpcCidr, PeerCIDR: r.PeerCidr,
			Zones: r.Zones, NodeZones: r.nodeZones(), PrivatePrefix: r.SubnetPrefix,
			ClusterName: r.clusterName(), Tags: r.tags,
		})
		if err != nil {
			return err
		}
		args.EKS = r.eks()
		opts = append(opts, pulumi.DependsOn(r.network.Ready()))
	} else {
		args.Existing = &cluster.Existing{Kubeconfig: r.secret("kubeconfig")}
	}
	if r.cluster, err = cluster.NewCluster(r.ctx, r.ctx.Stack(), args, opts...); err != nil {
		return err
	}
	return r.newNamespace()
}

func (r *region) eks() *cluster.EKS {
	profile, _ := r.ctx.GetConfig("aws:profile")
	return &cluster.EKS{
		Name: r.clusterName(), Region: r.name, Profile: profile, Version: r.KubernetesVersion,
		VpcID: r.network.VpcID.ToStringOutput(), SubnetIDs: r.network.PrivateSubnetIDs, NodeSubnetIDs: r.network.NodeSubnetIDs,
		ServiceCIDR: r.ServiceCidr, PodCIDRs: []string{r.VpcCidr, r.PeerCidr},
		APICIDRs: r.APICidrs, AdminARNs: r.AdminArns, MTU: r.Mtu,
		AddOns: cluster.AddOns{
			VPCCNI: r.version(vVpcCni), KubeProxy: r.version(vKubeProxy),
			CoreDNS: r.version(vCoreDNS), PodIdentityAgent: r.version(vPodIdentityAgent),
		},
		Nodes: cluster.Nodes{
			Count: r.Cluster().Nodes, InstanceTypes: r.NodeTypes, AMIType: r.NodeImage, Release: r.NodeRelease,
			CapacityType: r.NodeCapacity,
			Disk:         cluster.Disk{GiB: int(r.NodeDisk >> 30), IOPS: r.NodeDiskIops, MiBps: r.NodeDiskThroughput},
		},
		Tags: r.tags,
	}
}

// newNamespace makes the namespace of everything of ours, at the restricted Pod Security level, in
// which Chaos Mesh may break things.
func (r *region) newNamespace() (err error) {
	r.namespace, err = kube.App{Name: r.Namespace, Component: "namespace"}.NewNamespace(r.ctx, r.Namespace, "restricted",
		map[string]string{chaos.InjectAnnotation: chaos.InjectValue}, pulumi.Provider(r.cluster.Provider))
	return err
}

// publish has the names of this side appear in the zone.
func (r *region) publish(zone pulumi.StringInput, after ...pulumi.Resource) error {
	_, err := dns.NewExternalDNS(r.ctx, "external-dns", &dns.ExternalDNSArgs{
		Image: r.Images["externalDns"], Namespace: r.Namespace, ClusterName: r.cluster.Name,
		Owner: r.clusterName(), Domain: r.Domain, ZoneID: zone, Region: r.name, Interval: 60, Tags: r.tags,
	}, r.inCluster(), pulumi.DependsOn(append(after, r.namespace)))
	return err
}

// newZone makes the private zone that both sides see; the source has it.
func (r *region) newZone() (*route53.Zone, error) {
	return dns.NewZone(r.ctx, r.Domain, &dns.ZoneArgs{Domain: r.Domain, VpcID: r.network.VpcID, Region: r.name, Tags: r.tags})
}

func (r *region) ns() pulumi.StringOutput { return r.namespace.Metadata.Name().Elem() }

// newKafka makes the cluster. Its memory is twice the heap: the rest is page cache, from which
// consumers and followers that keep up are served.
func (r *region) newKafka(clients, zookeeperClients kafka.Peers) (err error) {
	c := r.Cluster()
	args := &kafka.Args{
		Namespace: r.ns(), Image: r.Images["kafka"], LoadgenImage: r.Images["loadgen"],
		Mode: c.KafkaMode, Brokers: c.Brokers, QuorumSize: c.QuorumSize,
		Broker: kafka.Size{
			Heap: int64(c.KafkaHeap), CPU: "1", Memory: fmt.Sprintf("%dMi", 2*c.KafkaHeap>>20),
			Disk: fmt.Sprintf("%dGi", r.NodeDisk*3/4>>30),
		},
		Quorum:   kafka.Size{Heap: 512 << 20, CPU: "250m", Memory: "1Gi", Disk: "10Gi"},
		Replicas: c.ReplicationFactor, MinISR: c.MinInsyncReplicas, InternalReplicas: min(3, c.ReplicationFactor),
		Retention: time.Duration(c.Retention), BrokerConfig: c.KafkaConfig,
		Restart: c.KafkaRestart, MinReady: time.Duration(r.KafkaRestartPause),
		Domain: r.domain(), Clients: clients, ZookeeperClients: zookeeperClients,
		MonitoringNamespace: r.MonitoringNamespace, SelfTestDeadline: 15 * time.Minute,
	}
	if r.Secure {
		args.Security = &kafka.Security{
			User: r.KafkaUser, ServerName: serverName(r.Domain),
			Password: r.secret("kafkaPassword"), Certificate: r.secret("kafkaCertificate"),
			Key: r.secret("kafkaKey"), Authority: r.secret("kafkaAuthority"),
		}
	}
	r.kafka, err = kafka.NewKafka(r.ctx, "kafka", args, r.inCluster())
	return err
}

// serverName is the one name in the brokers' certificate; make secrets writes it there.
func serverName(domain string) string { return "kafka." + domain }

// newChaos installs Chaos Mesh, and breaks what the configuration says, unless this is the first
// update, or the fault has not been run yet.
func (r *region) newChaos(workers chaos.Pods, after ...pulumi.Resource) (err error) {
	if !r.InstallChaos {
		return nil
	}
	r.mesh, err = chaos.NewMesh(r.ctx, "chaos-mesh", &chaos.MeshArgs{
		Namespace: r.ChaosNamespace, Chart: chaos.Chart(r.version(catalogue.ChaosMesh)), SelfTest: r.Images["loadgen"],
		Controller: r.Images["chaosMesh"], Daemon: r.Images["chaosDaemon"], Pause: r.Images["pause"],
	}, r.inCluster())
	if err != nil {
		return err
	}
	f := r.Cluster().Fault
	if f.Kind == "" || f.Run == r.faultBaseline() {
		return nil
	}
	brokers := chaos.Pods{App: kafka.BrokerApp(), Namespace: r.Namespace, StatefulSet: "kafka", Container: "broker", Size: r.Cluster().Brokers}
	args := &chaos.FaultArgs{
		Kind: f.Kind, Run: f.Run, Victims: f.Victims, Percent: f.Percent,
		Latency: time.Duration(f.Latency), Jitter: time.Duration(f.Jitter), Duration: time.Duration(f.Duration),
		Brokers: brokers, Workers: workers,
		// What the other region reaches: uReplicator reads the source's ZooKeeper.
		Region: []chaos.Pods{brokers, {App: kafka.ZookeeperApp(), Namespace: r.Namespace}},
	}
	if workers.Size > 0 {
		args.Region = append(args.Region, workers)
	}
	if r.PeerCidr != "" {
		args.Peer = []string{r.PeerCidr}
	}
	_, err = chaos.NewFault(r.ctx, "fault", r.mesh, args, pulumi.Provider(r.cluster.Provider), pulumi.DependsOn(after))
	return err
}

// faultBaseline is the run before which nothing is broken: 0, or what it was on the first update.
func (r *region) faultBaseline() int {
	if r.before.config == nil {
		return r.Cluster().Fault.Run
	}
	return r.before.faultBaseline
}

// newMonitoring installs Prometheus, and Grafana where it is asked for.
func (r *region) newMonitoring(grafana *monitoring.GrafanaArgs, after ...pulumi.Resource) (err error) {
	if !r.InstallMonitoring {
		return nil
	}
	rules, err := dashboards.RuleSpec(time.Duration(r.Cluster().Retention))
	if err != nil {
		return err
	}
	args := &monitoring.StackArgs{
		Namespace: r.MonitoringNamespace, Region: r.name, Rules: rules,
		Chart: monitoring.StackChart(r.version(catalogue.KubePrometheusStack)),
		Images: monitoring.Images{
			Operator: r.Images["prometheusOperator"], Reloader: r.Images["prometheusReloader"], Prometheus: r.Images["prometheus"],
			StateMetrics: r.Images["kubeStateMetrics"], NodeExporter: r.Images["nodeExporter"],
			Grafana: r.Images["grafana"], Sidecar: r.Images["grafanaSidecar"],
		},
		Grafana: grafana,
	}
	if r.aws() {
		args.Hostname = "prometheus." + r.domain()
		args.Readers = []string{r.PeerCidr}
		args.NodeProblemDetector = &monitoring.AddOn{Chart: monitoring.NodeProblemDetectorChart(r.version(catalogue.NodeProblemDetector)), Image: r.Images["nodeProblemDetector"]}
		args.MetricsServer = &monitoring.AddOn{Chart: monitoring.MetricsServerChart(r.version(catalogue.MetricsServer)), Image: r.Images["metricsServer"]}
	}
	r.prom, err = monitoring.NewStack(r.ctx, "monitoring", args, r.inCluster(), pulumi.DependsOn(after))
	return err
}

// newLiveMap shows the cluster's objects as they come and go.
func (r *region) newLiveMap() (*livemap.Map, error) {
	if r.LiveMap == livemap.None {
		return nil, nil
	}
	return livemap.New(r.ctx, "live-map", &livemap.Args{
		Kind: r.LiveMap, Namespace: r.Namespace + "-" + r.LiveMap, Image: r.Images[liveMapImage(r.LiveMap)], Expose: r.Expose,
	}, r.inCluster())
}

// finish adds the live map and writes the outputs.
func (r *region) finish() error {
	liveMap, err := r.newLiveMap()
	if err != nil {
		return err
	}
	r.help(liveMap)
	return r.export()
}

// export writes what the other stack, the next update and people read.
func (r *region) export() error {
	c := exportedConfig{Shared: r.Shared, Cluster: *r.Cluster()}
	if r.Role == source {
		c.Source = &r.Source
	}
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("output %s: %w", outConfig, err)
	}
	r.ctx.Export(outRole, pulumi.String(r.Role))
	r.ctx.Export(outConfig, pulumi.String(text))
	r.ctx.Export(outFaultBaseline, pulumi.Int(r.faultBaseline()))
	r.ctx.Export(outBootstrap, r.kafka.Bootstrap)
	r.ctx.Export(outZookeeper, r.kafka.ZookeeperConnect)
	if r.prom != nil {
		r.ctx.Export(outPrometheus, r.prom.URL)
	}
	if r.aws() {
		r.ctx.Export(outHourlyUSD, pulumi.Float64(r.bill.Total()))
		r.ctx.Export(outRegion, pulumi.String(r.name))
		r.ctx.Export(outVpcID, r.network.VpcID)
		r.ctx.Export(outVpcCidr, pulumi.String(r.VpcCidr))
		r.ctx.Export(outRouteTables, r.network.PrivateRouteTableID)
		r.ctx.Export(outSecurityGroup, r.cluster.NodeSecurityGroupID)
		if err := r.ctx.Log.Info("estimated cost:\n"+r.bill.String(), nil); err != nil {
			return fmt.Errorf("log the cost: %w", err)
		}
	}
	return nil
}
