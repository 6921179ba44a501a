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
func newDestination(ctx *pulumi.Context, stack *Stack) error {
	peer, err := newPeer(ctx, stack)
	if err != nil {
		return err
	}
	r, err := newRegion(ctx, stack)
	if err != nil {
		return err
	}
	if err := r.provision(); err != nil {
		return err
	}
	joined, err := r.join(peer)
	if err != nil {
		return err
	}
	// uReplicator and Brooklin look into the destination's ZooKeeper.
	if err := r.newKafka(kafka.Peers{Namespaces: r.peerNamespaces()}, kafka.Peers{Namespaces: []string{r.Namespace}}); err != nil {
		return err
	}
	t, err := r.newTopics(true, r.Destination.PartitionGrowth != scenario.GrowthNone)
	if err != nil {
		return err
	}
	copier, err := r.newReplicator(peer, slices.Concat(joined, []pulumi.Resource{t.Applied, t.SelfTest}))
	if err != nil {
		return err
	}
	verification, err := r.newVerification(peer, slices.Concat(joined, []pulumi.Resource{r.kafka.SelfTest}))
	if err != nil {
		return err
	}
	if err := r.newChaos(r.workers(), slices.Concat(copier.Ready(), verification.Ready())...); err != nil {
		return err
	}
	grafana, err := r.grafana(peer)
	if err != nil {
		return err
	}
	if err := r.newMonitoring(grafana, joined...); err != nil {
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
	bootstrap, zookeeper pulumi.StringInput
}

// newPeer reads the source's stack, or takes what the configuration says of a source that has none.
func newPeer(ctx *pulumi.Context, stack *Stack) (*peer, error) {
	if stack.PeerStack == "" {
		// Nothing is known of the load; what is not said is not expected.
		stack.Source = scenario.Source{Cluster: stack.Destination.Cluster}
		return &peer{bootstrap: pulumi.String(stack.PeerBootstrap), zookeeper: pulumi.String(stack.PeerZookeeper)}, nil
	}
	o, err := referTo(ctx, stack.PeerStack)
	if err != nil {
		return nil, err
	}
	if err := stack.readSource(o); err != nil {
		return nil, err
	}
	return &peer{outputs: o, bootstrap: o.string(outBootstrap), zookeeper: o.string(outZookeeper)}, nil
}

// join connects this region with the source's, and returns what whoever crosses depends on.
func (r *region) join(p *peer) ([]pulumi.Resource, error) {
	if !r.aws() {
		return nil, nil
	}
	if p.outputs == nil {
		return nil, fmt.Errorf("peerStack: missing: a region on AWS is joined to the source's stack: name it, such as us-east-1")
	}
	region, err := p.outputs.get(outRegion)
	if err != nil {
		return nil, err
	}
	cidr, err := p.outputs.get(outVpcCidr)
	if err != nil {
		return nil, err
	}
	if cidr != r.PeerCidr {
		return nil, fmt.Errorf("peerCidr: %s, and the vpcCidr of %s is %v: set it to that", r.PeerCidr, r.PeerStack, cidr)
	}
	profile, _ := r.ctx.GetConfig("aws:profile")
	joined, err := peering.NewPeering(r.ctx, "peering", &peering.Args{
		Here: peering.Side{
			CIDR: r.VpcCidr, VpcID: r.network.VpcID.ToStringOutput(), RouteTableID: r.network.PrivateRouteTableID.ToStringOutput(),
			SecurityGroupID: r.cluster.NodeSecurityGroupID,
			// The producers do not write here, and nothing of the source reads here.
		},
		Peer: peering.Side{
			CIDR: r.PeerCidr, VpcID: p.outputs.string(outVpcID), RouteTableID: p.outputs.string(outRouteTables),
			SecurityGroupID: p.outputs.string(outSecurityGroup),
			Open: []peering.Port{
				{Name: "kafka", Number: kafka.BrokerPort},
				{Name: "zookeeper", Number: kafka.ZookeeperPort},
				{Name: "prometheus", Number: monitoring.PrometheusPort},
			},
		},
		PeerRegion: fmt.Sprint(region), Profile: profile, Tags: r.tags,
	}, pulumi.DependsOn([]pulumi.Resource{r.cluster.Provider}))
	if err != nil {
		return nil, err
	}
	zone, err := dns.NewAssociation(r.ctx, r.Domain, &dns.AssociationArgs{
		ZoneID: p.outputs.string(outZoneID), VpcID: r.network.VpcID.ToStringOutput(), Region: r.name,
	})
	if err != nil {
		return nil, err
	}
	if err := r.publish(p.outputs.string(outZoneID), zone); err != nil {
		return nil, err
	}
	return append(joined.Ready(), zone), nil
}

// sourceAccess is how pods here reach the source: the same credentials open both clusters.
func (r *region) sourceAccess(p *peer) *kube.Access {
	access := *r.kafka.Access
	access.Bootstrap = p.bootstrap
	return &access
}

func (r *region) newReplicator(p *peer, after []pulumi.Resource) (*replicator.Replicator, error) {
	d := r.Destination
	args := &replicator.Args{
		Kind: d.Replicator, Namespace: r.ns(), MonitoringNamespace: r.MonitoringNamespace,
		Images: replicator.Images{
			Replicator: r.Images[d.Replicator], Kafka: r.Images["kafka"], Loadgen: r.Images["loadgen"],
		},
		ClassPath: r.ReplicatorClassPath,
		Source:    r.sourceAccess(p), Destination: r.kafka.Access,
		SourceZookeeper: p.zookeeper, DestinationZookeeper: r.kafka.LocalZookeeper,
		Workers: d.Workers, Controllers: d.Controllers, ZookeeperSize: 1,
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
	return replicator.NewReplicator(r.ctx, "replicator", args, r.inCluster(), pulumi.DependsOn(after))
}

// workers are the replicator's, as a fault's victims; none without a replicator.
func (r *region) workers() chaos.Pods {
	d := r.Destination
	if d.Replicator == scenario.NoReplicator {
		return chaos.Pods{}
	}
	return chaos.Pods{
		App: replicator.WorkerApp(d.Replicator), Namespace: r.Namespace,
		StatefulSet: d.Replicator + "-worker", Container: "worker", Size: d.Workers,
	}
}

func (r *region) newVerification(p *peer, after []pulumi.Resource) (*workload.Verification, error) {
	return workload.NewVerification(r.ctx, "verification", &workload.VerificationArgs{
		Test: r.test(), Source: r.sourceAccess(p), Destination: r.kafka.Access,
		Producers: r.Source.Producers, Consumers: r.Destination.Consumers, Expectations: r.Destination.Expectations,
		ConsumerResources: kube.Resources{CPU: "500m", Memory: "1Gi"},
		AuditorResources:  kube.Resources{CPU: "500m", Memory: "2Gi"},
	}, r.inCluster(), pulumi.DependsOn(after))
}

// grafana shows both sides; nil without monitoring.
func (r *region) grafana(p *peer) (*monitoring.GrafanaArgs, error) {
	if !r.InstallMonitoring {
		return nil, nil
	}
	boards, err := dashboards.All()
	if err != nil {
		return nil, err
	}
	args := &monitoring.GrafanaArgs{
		Password: r.secret("grafanaPassword"), Own: dashboards.Destination, Dashboards: boards, Expose: r.Expose,
	}
	if p.outputs != nil && r.aws() {
		region, err := p.outputs.get(outRegion)
		if err != nil {
			return nil, err
		}
		args.Peer = &monitoring.Source{UID: dashboards.Source, Region: fmt.Sprint(region), URL: p.outputs.string(outPrometheus)}
	}
	return args, nil
}
