package main

import (
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kafka"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/topics"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/workload"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// topicsDeadline bounds the Job that makes topics, all its attempts together.
const topicsDeadline = 10 * time.Minute

// newSource declares the source's region: the cluster that is loaded, and the load.
func (r *region) newSource() error {
	if err := r.provision(); err != nil {
		return err
	}
	if r.aws() {
		zone, err := r.newZone()
		if err != nil {
			return err
		}
		r.ctx.Export(outZoneID, zone.ZoneId)
		if err := r.publish(zone.ZoneId); err != nil {
			return err
		}
	}
	if err := r.newKafka(); err != nil {
		return err
	}
	t, err := r.newTopics()
	if err != nil {
		return err
	}
	producers, err := r.newProducers(t)
	if err != nil {
		return err
	}
	if err := r.newChaos(producers.Ready()...); err != nil {
		return err
	}
	if err := r.newMonitoring(); err != nil {
		return err
	}
	return r.finish()
}

// across are the pods of the other region: they come from its network, or, with both sides in one
// existing cluster, from the other side's namespace.
func (r *region) across() kafka.Peers {
	peers := kafka.Peers{Namespaces: r.peerNamespaces()}
	if r.PeerCidr != "" {
		peers.CIDRs = []string{r.PeerCidr}
	}
	return peers
}

// peerNamespaces are where the other side may live in the same cluster.
func (r *region) peerNamespaces() []string {
	if r.PeerNamespace == "" {
		return nil
	}
	return []string{r.PeerNamespace}
}

// topicsArgs are the topics under test. Only the destination's brokers stamp records: latency runs to that
// moment.
func (r *region) topicsArgs() *topics.Args {
	c := r.Cluster()
	return &topics.Args{
		Image:  r.Images["loadgen"],
		Topics: c.Topics, Partitions: c.Partitions, Replicas: c.ReplicationFactor, MinISR: c.MinInsyncReplicas,
		Retention: time.Duration(c.Retention), LogAppendTime: r.Role == destination,
		Grow:     r.Role == source || r.Destination.PartitionGrowth != scenario.GrowthNone,
		Deadline: topicsDeadline,
	}
}

func (r *region) newTopics() (*topics.Topics, error) {
	args := r.topicsArgs()
	args.Namespace, args.Kafka = r.ns(), r.kafka.Access
	return topics.NewTopics(r.ctx, "topics", args, r.inCluster(), pulumi.DependsOn([]pulumi.Resource{r.kafka.SelfTest}))
}

// producersArgs are the load on the source.
func (r *region) producersArgs() *workload.ProducersArgs {
	s := r.Source
	return &workload.ProducersArgs{
		Test: r.test(), Count: s.Producers,
		Rate: s.Throughput.String(), MessageSize: s.MessageSize.String(),
		Compressibility: s.Compressibility, UseMessageHeaders: s.UseMessageHeaders, Until: r.Expires,
		Resources: kube.Resources{CPU: "500m", Memory: "512Mi"},
	}
}

func (r *region) newProducers(t *topics.Topics) (*workload.Producers, error) {
	args := r.producersArgs()
	args.Namespace, args.Kafka = r.ns(), r.kafka.Access
	return workload.NewProducers(r.ctx, "producers", args, r.inCluster(), pulumi.DependsOn([]pulumi.Resource{t.Applied}))
}

// test is what the load tools of this side are told.
func (r *region) test() workload.Test {
	return workload.Test{
		MonitoringNamespace: r.MonitoringNamespace, Image: r.Images["loadgen"],
		ID: r.TestID, Topics: r.Cluster().Topics,
	}
}
