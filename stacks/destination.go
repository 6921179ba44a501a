package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/dashboards"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/chaos"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/dns"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kafka"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/monitoring"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/peering"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/replicator"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/topics"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/workload"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// newDestination declares the destination's region: what joins it to the source's, the cluster that
// is replicated to, the replicator, and what verifies.
func (r *region) newDestination() error {
	if err := r.provision(); err != nil {
		return err
	}
	joined, err := r.join()
	if err != nil {
		return err
	}
	if err := r.newKafka(); err != nil {
		return err
	}
	t, err := r.newTopics()
	if err != nil {
		return err
	}
	copier, err := r.newReplicator(slices.Concat(joined, []pulumi.Resource{t.Applied, t.SelfTest}))
	if err != nil {
		return err
	}
	verification, err := r.newVerification(slices.Concat(joined, []pulumi.Resource{r.kafka.SelfTest}))
	if err != nil {
		return err
	}
	if err := r.newChaos(slices.Concat(copier.Ready(), verification.Ready())...); err != nil {
		return err
	}
	if err := r.newMonitoring(joined...); err != nil {
		return err
	}
	r.more = []pointer{
		{"verdict so far", verification.VerdictCommand},
		{"report so far", verification.ReportCommand},
		{"the load has ended", verification.DrainCommand},
		{"final verdict", verification.FinalVerdictCommand},
		{"replicator's REST", copier.RestCommand},
	}
	return r.finish()
}

// peer is what the destination knows of the source.
type peer struct {
	outputs              *outputs // nil without the source's stack
	region               string   // of AWS; empty without one
	bootstrap, zookeeper pulumi.StringInput
}

// newPeer reads the source's stack, or takes what the configuration says of a source that has none. Where
// that fails, the stack keeps the source's defaults.
func newPeer(ctx *pulumi.Context, stack *Stack) (*peer, error) {
	if stack.PeerStack == "" {
		// Nothing is known of the load; what is not said is not expected.
		stack.Source = scenario.Source{Cluster: stack.Destination.Cluster}
		return &peer{bootstrap: pulumi.String(stack.PeerBootstrap), zookeeper: pulumi.String(stack.PeerZookeeper)}, nil
	}
	if qualified(ctx, stack.PeerStack) == qualified(ctx, ctx.Stack()) {
		return nil, fmt.Errorf("peerStack: %s is this stack itself: name the source's stack, such as us-east-1", stack.PeerStack)
	}
	o, err := referTo(ctx, stack.PeerStack)
	if err != nil {
		return nil, err
	}
	if err := stack.readSource(o); err != nil {
		return nil, err
	}
	p := &peer{outputs: o, bootstrap: o.string(outBootstrap), zookeeper: o.string(outZookeeper)}
	if !stack.aws() {
		return p, nil
	}
	region, err := o.get(outRegion)
	if err != nil {
		return nil, err
	}
	cidr, err := o.get(outVpcCidr)
	if err != nil {
		return nil, err
	}
	if region == nil {
		return nil, fmt.Errorf("peerStack: %s has its Kubernetes from elsewhere: a region on AWS is joined to one on AWS only: set kubeconfig here too", stack.PeerStack)
	}
	if cidr != stack.PeerCidr {
		return nil, fmt.Errorf("peerCidr: %s, and the vpcCidr of %s is %v: set it to that", stack.PeerCidr, stack.PeerStack, cidr)
	}
	p.region = fmt.Sprint(region)
	return p, nil
}

// peeringArgs are what joins the regions.
func (r *region) peeringArgs() *peering.Args {
	profile, _ := r.ctx.GetConfig("aws:profile")
	return &peering.Args{
		// The producers do not write here, and nothing of the source reads here.
		Here: peering.Side{CIDR: r.VpcCidr},
		Peer: peering.Side{
			CIDR: r.PeerCidr,
			Open: []peering.Port{
				{Name: "kafka", Number: kafka.BrokerPort},
				{Name: "zookeeper", Number: kafka.ZookeeperPort},
				{Name: "prometheus", Number: monitoring.PrometheusPort},
			},
		},
		PeerRegion: r.peer.region, Profile: profile, Tags: r.tags,
	}
}

// join connects this region with the source's, and returns what whoever crosses depends on.
func (r *region) join() ([]pulumi.Resource, error) {
	if !r.aws() {
		return nil, nil
	}
	from := r.peer.outputs
	args := r.peeringArgs()
	args.Here.VpcID, args.Here.RouteTableID = r.network.VpcID.ToStringOutput(), r.network.PrivateRouteTableID.ToStringOutput()
	args.Here.SecurityGroupID = r.cluster.NodeSecurityGroupID
	args.Peer.VpcID, args.Peer.RouteTableID = from.string(outVpcID), from.string(outRouteTables)
	args.Peer.SecurityGroupID = from.string(outSecurityGroup)
	joined, err := peering.NewPeering(r.ctx, "peering", args, pulumi.DependsOn([]pulumi.Resource{r.cluster.Provider}))
	if err != nil {
		return nil, err
	}
	zone, err := dns.NewAssociation(r.ctx, r.Domain, &dns.AssociationArgs{
		ZoneID: from.string(outZoneID), VpcID: r.network.VpcID.ToStringOutput(), Region: r.name,
	})
	if err != nil {
		return nil, err
	}
	if err := r.publish(from.string(outZoneID), zone); err != nil {
		return nil, err
	}
	return append(joined.Ready(), zone), nil
}

// sourceAccess is how pods here reach the source: the same credentials open both clusters.
func (r *region) sourceAccess() *kube.Access {
	access := *r.kafka.Access
	access.Bootstrap = r.peer.bootstrap
	return &access
}

func (r *region) replicatorArgs() *replicator.Args {
	d := r.Destination
	args := &replicator.Args{
		Kind: d.Replicator, MonitoringNamespace: r.MonitoringNamespace,
		Images: replicator.Images{
			Replicator: r.Images[d.Replicator], Kafka: r.Images["kafka"], Loadgen: r.Images["loadgen"],
		},
		ClassPath: r.ReplicatorClassPath,
		Workers:   d.Workers, Controllers: d.Controllers, ZookeeperSize: 1,
		Size:         replicator.Size{Heap: int64(d.ReplicatorHeap), CPU: "1", Memory: fmt.Sprintf("%dMi", d.ReplicatorHeap*3/2>>20)},
		ZookeeperPod: replicator.Size{Heap: 512 << 20, CPU: "250m", Memory: "1Gi"},
		Apart:        kafka.BrokerApp(),
		TopicPattern: r.TopicPattern, Growth: d.PartitionGrowth,
		SelfTest: replicator.Topic{Name: topics.SelfTestTopic, Partitions: 1},
		Replicas: min(3, d.ReplicationFactor), Config: d.ReplicatorConfig,
		RegisterDeadline: 10 * time.Minute, SelfTestDeadline: 15 * time.Minute,
	}
	for _, topic := range d.Topics {
		args.Topics = append(args.Topics, replicator.Topic{Name: topic, Partitions: r.Source.Partitions})
	}
	return args
}

func (r *region) newReplicator(after []pulumi.Resource) (*replicator.Replicator, error) {
	args := r.replicatorArgs()
	args.Namespace, args.Source, args.Destination = r.ns(), r.sourceAccess(), r.kafka.Access
	args.SourceZookeeper, args.DestinationZookeeper = r.peer.zookeeper, r.kafka.LocalZookeeper
	return replicator.NewReplicator(r.ctx, "replicator", args, r.inCluster(), pulumi.DependsOn(after))
}

// workers are the replicator's, as a fault's victims; none at the source and without a replicator.
func (r *region) workers() chaos.Pods {
	d := r.Destination
	if r.Role == source || d.Replicator == scenario.NoReplicator {
		return chaos.Pods{}
	}
	return chaos.Pods{
		App: replicator.WorkerApp(d.Replicator), Namespace: r.Namespace,
		StatefulSet: d.Replicator + "-worker", Container: "worker", Size: d.Workers,
	}
}

func (r *region) verificationArgs() *workload.VerificationArgs {
	return &workload.VerificationArgs{
		Test: r.test(), Producers: r.Source.Producers, Consumers: r.Destination.Consumers, Expectations: r.Destination.Expectations,
		ConsumerResources: kube.Resources{CPU: "500m", Memory: "1Gi"},
		AuditorResources:  kube.Resources{CPU: "500m", Memory: "2Gi"},
	}
}

func (r *region) newVerification(after []pulumi.Resource) (*workload.Verification, error) {
	args := r.verificationArgs()
	args.Namespace, args.Source, args.Destination = r.ns(), r.sourceAccess(), r.kafka.Access
	return workload.NewVerification(r.ctx, "verification", args, r.inCluster(), pulumi.DependsOn(after))
}

// grafanaArgs show both sides.
func (r *region) grafanaArgs() *monitoring.GrafanaArgs {
	args := &monitoring.GrafanaArgs{
		Password: r.secret("grafanaPassword"), Own: dashboards.Destination, Dashboards: r.dashboards, Expose: r.Expose,
	}
	if r.peer != nil && r.peer.region != "" {
		args.Peer = &monitoring.Source{UID: dashboards.Source, Region: r.peer.region, URL: r.peer.outputs.string(outPrometheus)}
	}
	return args
}
