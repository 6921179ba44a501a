package main

import (
	"encoding/json"
	"errors"
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
	ctx        *pulumi.Context
	before     *before
	peer       *peer  // nil at the source
	name       string // the AWS region's; of an existing cluster the role
	tags       map[string]string
	dashboards map[string]string // at the destination

	network   *network.Network // nil with an existing cluster
	cluster   *cluster.Cluster
	namespace *corev1.Namespace
	kafka     *kafka.Kafka
	mesh      *chaos.Mesh       // nil without chaos
	prom      *monitoring.Stack // nil without monitoring

	bill cost.Bill
	more []pointer // in the output where
}

// newRegion reads the configuration, what this stack was and what the other is, and reports every mistake
// in them at once. It registers nothing.
func newRegion(ctx *pulumi.Context, config map[string]string) (*region, error) {
	stack, m := readConfig(ctx.Project(), config)
	if stack == nil {
		return nil, m.err()
	}
	r := &region{Stack: stack, ctx: ctx, name: stack.Role}
	var err error
	if r.before, err = lookBack(ctx); err != nil {
		return nil, err
	}
	if r.before.config != nil {
		m.add(scenario.ValidateChange(r.before.config.Cluster, *stack.Cluster(), r.before.config.Shared.Secure, stack.Secure))
	}
	if r.Role == destination {
		if r.dashboards, err = dashboards.All(); err != nil {
			return nil, err
		}
		r.peer, err = newPeer(ctx, stack)
		m.add(err)
	}
	if r.aws() {
		if r.name, _ = ctx.GetConfig("aws:region"); r.name == "" {
			m.add(errors.New("aws:region: missing: set it by pulumi config set aws:region us-east-1, or set kubeconfig to use an existing cluster"))
		}
		r.tags = map[string]string{"Project": kube.PartOf, "Stack": ctx.Stack(), "Test": stack.TestID}
		for k, v := range stack.Tags {
			r.tags[k] = v
		}
	}
	for _, part := range r.parts() {
		m.add(part.Validate())
	}
	// An estimate from other values than those that were meant would mislead.
	if r.aws() && !m.refuses("nodes", "nodeTypes", "nodeDisk", "zones", "nodeZones", "replicationFactor", "topics",
		"producers", "throughput", "messageSize", "peerStack") {
		m.add(r.estimate())
	}
	if err := m.err(); err != nil {
		return nil, err
	}
	return r, nil
}

// parts are the arguments of all components that are to be made, without what these get of one another:
// what is wrong with them is known before the first is made.
func (r *region) parts() []interface{ Validate() error } {
	parts := []interface{ Validate() error }{r.clusterArgs(), r.kafkaArgs(), r.topicsArgs()}
	if r.aws() {
		parts = append(parts, r.networkArgs(), r.externalDNSArgs())
	}
	if r.Role == source {
		if r.aws() {
			parts = append(parts, r.zoneArgs())
		}
		parts = append(parts, r.producersArgs())
	} else {
		if r.aws() && r.peer != nil && r.peer.outputs != nil {
			parts = append(parts, r.peeringArgs())
		}
		parts = append(parts, r.replicatorArgs(), r.verificationArgs())
	}
	if r.InstallChaos {
		parts = append(parts, r.meshArgs())
		if r.faulty() {
			parts = append(parts, r.faultArgs())
		}
	}
	if r.LiveMap != livemap.None {
		parts = append(parts, r.liveMapArgs())
	}
	if r.InstallMonitoring {
		parts = append(parts, r.monitoringArgs())
	}
	return parts
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
		return err
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
		return r.Zones[:min(1, len(r.Zones))]
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
	args := r.clusterArgs()
	var opts []pulumi.ResourceOption
	if r.aws() {
		if r.network, err = network.NewNetwork(r.ctx, r.ctx.Stack(), r.networkArgs()); err != nil {
			return err
		}
		args.EKS.VpcID, args.EKS.SubnetIDs, args.EKS.NodeSubnetIDs = r.network.VpcID.ToStringOutput(), r.network.PrivateSubnetIDs, r.network.NodeSubnetIDs
		opts = append(opts, pulumi.DependsOn(r.network.Ready()))
	}
	if r.cluster, err = cluster.NewCluster(r.ctx, r.ctx.Stack(), args, opts...); err != nil {
		return err
	}
	return r.newNamespace()
}

func (r *region) networkArgs() *network.Args {
	return &network.Args{
		Region: r.name, CIDR: r.VpcCidr, PeerCIDR: r.PeerCidr,
		Zones: r.Zones, NodeZones: r.nodeZones(), PrivatePrefix: r.SubnetPrefix,
		ClusterName: r.clusterName(), Tags: r.tags,
	}
}

func (r *region) clusterArgs() *cluster.Args {
	args := &cluster.Args{KubernetesPlugin: r.version(vPlugin)}
	if !r.aws() {
		args.Existing = &cluster.Existing{Kubeconfig: r.secret("kubeconfig")}
		return args
	}
	profile, _ := r.ctx.GetConfig("aws:profile")
	args.EKS = &cluster.EKS{
		Name: r.clusterName(), Region: r.name, Profile: profile, Version: r.KubernetesVersion,
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
	return args
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
	args := r.externalDNSArgs()
	args.ClusterName, args.ZoneID = r.cluster.Name, zone
	_, err := dns.NewExternalDNS(r.ctx, "external-dns", args, r.inCluster(), pulumi.DependsOn(append(after, r.namespace)))
	return err
}

func (r *region) externalDNSArgs() *dns.ExternalDNSArgs {
	return &dns.ExternalDNSArgs{
		Image: r.Images["externalDns"], Namespace: r.Namespace,
		Owner: r.clusterName(), Domain: r.Domain, Region: r.name, Interval: 60, Tags: r.tags,
	}
}

// newZone makes the private zone that both sides see; the source has it.
func (r *region) newZone() (*route53.Zone, error) {
	args := r.zoneArgs()
	args.VpcID = r.network.VpcID
	return dns.NewZone(r.ctx, r.Domain, args)
}

func (r *region) zoneArgs() *dns.ZoneArgs {
	return &dns.ZoneArgs{Domain: r.Domain, Region: r.name, Tags: r.tags}
}

func (r *region) ns() pulumi.StringOutput { return r.namespace.Metadata.Name().Elem() }

func (r *region) newKafka() (err error) {
	args := r.kafkaArgs()
	args.Namespace = r.ns()
	r.kafka, err = kafka.NewKafka(r.ctx, "kafka", args, r.inCluster())
	return err
}

// kafkaArgs are the cluster. Its memory is twice the heap: the rest is page cache, from which consumers and
// followers that keep up are served.
func (r *region) kafkaArgs() *kafka.Args {
	c := r.Cluster()
	args := &kafka.Args{
		Image: r.Images["kafka"], LoadgenImage: r.Images["loadgen"],
		Mode: c.KafkaMode, Brokers: c.Brokers, QuorumSize: c.QuorumSize,
		Broker: kafka.Size{
			Heap: int64(c.KafkaHeap), CPU: "1", Memory: fmt.Sprintf("%dMi", 2*c.KafkaHeap>>20),
			Disk: fmt.Sprintf("%dGi", r.NodeDisk*3/4>>30),
		},
		Quorum:   kafka.Size{Heap: 512 << 20, CPU: "250m", Memory: "1Gi", Disk: "10Gi"},
		Replicas: c.ReplicationFactor, MinISR: c.MinInsyncReplicas, InternalReplicas: min(3, c.ReplicationFactor),
		Retention: time.Duration(c.Retention), BrokerConfig: c.KafkaConfig,
		Restart: c.KafkaRestart, MinReady: time.Duration(r.KafkaRestartPause),
		Domain:              r.domain(),
		MonitoringNamespace: r.MonitoringNamespace, SelfTestDeadline: 15 * time.Minute,
	}
	if r.Secure {
		args.Security = &kafka.Security{
			User: r.KafkaUser, ServerName: serverName(r.Domain),
			Password: r.secret("kafkaPassword"), Certificate: r.secret("kafkaCertificate"),
			Key: r.secret("kafkaKey"), Authority: r.secret("kafkaAuthority"),
		}
	}
	if r.Role == source {
		args.Clients, args.ZookeeperClients = r.across(), r.across()
	} else {
		// uReplicator and Brooklin look into the destination's ZooKeeper.
		args.Clients, args.ZookeeperClients = kafka.Peers{Namespaces: r.peerNamespaces()}, kafka.Peers{Namespaces: []string{r.Namespace}}
	}
	return args
}

// serverName is the one name in the brokers' certificate; make secrets writes it there.
func serverName(domain string) string { return "kafka." + domain }

// newChaos installs Chaos Mesh, and breaks what the configuration says.
func (r *region) newChaos(after ...pulumi.Resource) (err error) {
	if !r.InstallChaos {
		return nil
	}
	if r.mesh, err = chaos.NewMesh(r.ctx, "chaos-mesh", r.meshArgs(), r.inCluster()); err != nil || !r.faulty() {
		return err
	}
	_, err = chaos.NewFault(r.ctx, "fault", r.mesh, r.faultArgs(), pulumi.Provider(r.cluster.Provider), pulumi.DependsOn(after))
	return err
}

func (r *region) meshArgs() *chaos.MeshArgs {
	return &chaos.MeshArgs{
		Namespace: r.ChaosNamespace, Chart: chaos.Chart(r.version(catalogue.ChaosMesh)), SelfTest: r.Images["loadgen"],
		Controller: r.Images["chaosMesh"], Daemon: r.Images["chaosDaemon"], Pause: r.Images["pause"],
	}
}

// faulty says whether something is broken: not by the first update, nor by a fault that has not been run.
func (r *region) faulty() bool {
	f := r.Cluster().Fault
	return f.Kind != "" && f.Run != r.faultBaseline()
}

func (r *region) faultArgs() *chaos.FaultArgs {
	f := r.Cluster().Fault
	brokers := chaos.Pods{App: kafka.BrokerApp(), Namespace: r.Namespace, StatefulSet: "kafka", Container: "broker", Size: r.Cluster().Brokers}
	args := &chaos.FaultArgs{
		Kind: f.Kind, Run: f.Run, Victims: f.Victims, Percent: f.Percent,
		Latency: time.Duration(f.Latency), Jitter: time.Duration(f.Jitter), Duration: time.Duration(f.Duration),
		Brokers: brokers, Workers: r.workers(),
		// What the other region reaches: uReplicator reads the source's ZooKeeper.
		Region: []chaos.Pods{brokers, {App: kafka.ZookeeperApp(), Namespace: r.Namespace}},
	}
	if args.Workers.Size > 0 {
		args.Region = append(args.Region, args.Workers)
	}
	if r.PeerCidr != "" {
		args.Peer = []string{r.PeerCidr}
	}
	return args
}

// faultBaseline is the run before which nothing is broken: 0, or what it was on the first update.
func (r *region) faultBaseline() int {
	if r.before.config == nil {
		return r.Cluster().Fault.Run
	}
	return r.before.faultBaseline
}

// newMonitoring installs Prometheus, and Grafana at the destination.
func (r *region) newMonitoring(after ...pulumi.Resource) (err error) {
	if !r.InstallMonitoring {
		return nil
	}
	args := r.monitoringArgs()
	if args.Rules, err = dashboards.RuleSpec(time.Duration(r.Cluster().Retention)); err != nil {
		return err
	}
	r.prom, err = monitoring.NewStack(r.ctx, "monitoring", args, r.inCluster(), pulumi.DependsOn(after))
	return err
}

func (r *region) monitoringArgs() *monitoring.StackArgs {
	args := &monitoring.StackArgs{
		Namespace: r.MonitoringNamespace, Region: r.name,
		RetentionGiB: int(r.NodeDisk / 5 >> 30), // a broker beside it may fill three quarters
		Chart:        monitoring.StackChart(r.version(catalogue.KubePrometheusStack)),
		Images: monitoring.Images{
			Operator: r.Images["prometheusOperator"], Reloader: r.Images["prometheusReloader"], Prometheus: r.Images["prometheus"],
			StateMetrics: r.Images["kubeStateMetrics"], NodeExporter: r.Images["nodeExporter"],
			Grafana: r.Images["grafana"], Sidecar: r.Images["grafanaSidecar"],
		},
	}
	if r.Role == destination {
		args.Grafana = r.grafanaArgs()
	}
	if r.aws() {
		args.Hostname = "prometheus." + r.domain()
		args.Readers = []string{r.PeerCidr}
		args.NodeProblemDetector = &monitoring.AddOn{Chart: monitoring.NodeProblemDetectorChart(r.version(catalogue.NodeProblemDetector)), Image: r.Images["nodeProblemDetector"]}
		args.MetricsServer = &monitoring.AddOn{Chart: monitoring.MetricsServerChart(r.version(catalogue.MetricsServer)), Image: r.Images["metricsServer"]}
	}
	return args
}

// newLiveMap shows the cluster's objects as they come and go.
func (r *region) newLiveMap() (*livemap.Map, error) {
	if r.LiveMap == livemap.None {
		return nil, nil
	}
	return livemap.New(r.ctx, "live-map", r.liveMapArgs(), r.inCluster())
}

func (r *region) liveMapArgs() *livemap.Args {
	return &livemap.Args{Kind: r.LiveMap, Namespace: r.Namespace + "-" + r.LiveMap, Image: r.Images[liveMapImage(r.LiveMap)], Expose: r.Expose}
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
