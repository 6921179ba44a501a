package main

import (
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/chaos"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kafka"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/topics"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/workload"
)

// topicsDeadline bounds the Job that makes topics, all its attempts together.
const topicsDeadline = 10 * time.Minute

// newSource declares the source's region: the cluster that is loaded, and the load.
func newSource(ctx *pulumi.Context, stack *Stack) error {
	r, err := newRegion(ctx, stack)
	if err != nil {
		return err
	}
	if err := r.provision(); err != nil {
		return err
	}
	if r.aws() {
		zone, err := r.newZone()
		if err != nil {
			return err
		}
		ctx.Export(outZoneID, zone.ZoneId)
		if err := r.publish(zone.ZoneId); err != nil {
			return err
		}
	}
	if err := r.newKafka(r.across(), r.across()); err != nil {
		return err
	}
	t, err := r.newTopics(false, true)
	if err != nil {
		return err
	}
	producers, err := r.newProducers(t)
	if err != nil {
		return err
	}
	if err := r.newChaos(chaos.Pods{}, producers.Ready()...); err != nil {
		return err
	}
	if err := r.newMonitoring(nil); err != nil {
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

// newTopics makes the topics under test. Only the destination's brokers stamp records: latency runs to
// that moment.
func (r *region) newTopics(logAppendTime, grow bool) (*topics.Topics, error) {
	c := r.Cluster()
	return topics.NewTopics(r.ctx, "topics", &topics.Args{
		Namespace: r.ns(), Image: r.Images["loadgen"], Kafka: r.kafka.Access,
		Topics: c.Topics, Partitions: c.Partitions, Replicas: c.ReplicationFactor, MinISR: c.MinInsyncReplicas,
		Retention: time.Duration(c.Retention), LogAppendTime: logAppendTime, Grow: grow, Deadline: topicsDeadline,
	}, r.inCluster(), pulumi.DependsOn([]pulumi.Resource{r.kafka.SelfTest}))
}

// newProducers puts the load on the source.
func (r *region) newProducers(t *topics.Topics) (*workload.Producers, error) {
	s := r.Source
	return workload.NewProducers(r.ctx, "producers", &workload.ProducersArgs{
		Test: r.test(), Kafka: r.kafka.Access, Count: s.Producers,
		Rate: s.Throughput.String(), MessageSize: s.MessageSize.String(),
		Compressibility: s.Compressibility, UseMessageHeaders: s.UseMessageHeaders,
		Resources: kube.Resources{CPU: "500m", Memory: "512Mi"},
	}, r.inCluster(), pulumi.DependsOn([]pulumi.Resource{t.Applied}))
}

// test is what the load tools of this side are told.
func (r *region) test() workload.Test {
	return workload.Test{
		Namespace: r.ns(), MonitoringNamespace: r.MonitoringNamespace, Image: r.Images["loadgen"],
		ID: r.TestID, Topics: r.Cluster().Topics,
	}
}
