// Package replicator declares what copies the source's topics to the destination: uReplicator,
// Brooklin, MirrorMaker 2, or nothing. It belongs in the destination's region.
//
// What images have to bring is written in CONTRACT.md; the self-test checks it.
//
// # What a change touches
//
// A worker or a controller more or less is a StatefulSet's replicas, and the self-test done again with
// the new set: a returned update means that records cross. The numbers are in no configuration file.
//
// Partitions and topics are the registration (Replicator.Register), done again, and with it the
// self-test. While uReplicator has no controller (Controllers 0, a scenario), nobody can be asked, so
// the registration then stays as it is, whatever else changes; it is done as soon as there is one.
//
// Another kind replaces everything. The old workers are told to go before the new ones come, so that two
// replicators copy at once for no longer than the old one needs to end, a minute at most.
package replicator

import (
	"errors"
	"fmt"
	"time"

	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// Ports of the replicator's pods.
const (
	UReplicatorPort  = replicators.UReplicatorPort // REST of uReplicator's controllers
	BrooklinPort     = replicators.BrooklinPort    // REST of Brooklin's servers
	mirrorMaker2Port = 8083                        // of MirrorMaker 2's nodes among themselves
	MetricsPort      = 9404                        // JMX exporter, on every pod, named MetricsPortName
)

// MetricsPortName names the JMX exporter's port on pods and Services.
const MetricsPortName = "metrics"

// WorkerApp returns the labels of a kind's workers, whose pods are called KIND-worker-N.
func WorkerApp(kind string) kube.App { return kube.App{Name: kind, Component: "worker"} }

// ControllerApp returns the labels of uReplicator's controllers, whose pods are called
// ureplicator-controller-N.
func ControllerApp() kube.App { return kube.App{Name: scenario.UReplicator, Component: "controller"} }

// ZookeeperApp returns the labels of a kind's own ZooKeepers, whose pods are called KIND-zookeeper-N.
// uReplicator and Brooklin have such.
func ZookeeperApp(kind string) kube.App {
	return kube.App{Name: kind, Component: "replicator-zookeeper"}
}

// Images are all by digest.
type Images struct {
	// Replicator is uReplicator's or Brooklin's, as CONTRACT.md says. MirrorMaker 2 comes with Kafka.
	Replicator string
	Kafka      string // apache/kafka 3.9.x: ZooKeeper and MirrorMaker 2
	Loadgen    string // load generator, which brings the JMX exporter's agent along
}

// Size is what one pod gets.
type Size struct {
	Heap   int64  // of the JVM, both -Xms and -Xmx, bytes: 64 MiB or more, at most three quarters of Memory
	CPU    string // asked for, in Kubernetes' form; there is no limit
	Memory string // asked for and limit: a number and Mi or Gi, such as 3Gi
}

// Topic is a topic that must be copied, and how many partitions it has at the source.
type Topic struct {
	Name       string
	Partitions int // 1 or more
}

// Args describes a replicator. What is not said to be optional is required, but for
// NoReplicator, which needs its Kind only.
type Args struct {
	Kind                string // scenario.UReplicator, Brooklin, MirrorMaker2 or NoReplicator
	Namespace           pulumi.StringInput
	MonitoringNamespace string // whose pods may read metrics; empty: none may
	Images              Images
	// ClassPath is where the replicator's jars are in its image, as java -cp takes it. Empty: the place
	// that CONTRACT.md names.
	ClassPath string

	Source, Destination *kube.Access
	// SourceZookeeper and DestinationZookeeper are host:port, with commas. uReplicator needs both;
	// Brooklin does without; MirrorMaker 2 does not know them.
	SourceZookeeper, DestinationZookeeper pulumi.StringInput

	Workers     int // uReplicator's workers, Brooklin's servers, MirrorMaker 2's nodes: 1 to 500
	Controllers int // uReplicator's, 0 to 9
	// ZookeeperSize is the number of the replicator's own ZooKeepers: 1, or 3, 5, 7. The talk had 1.
	ZookeeperSize int
	Size          Size // of a worker and of a controller
	ZookeeperPod  Size
	// Apart are pods next to which workers are put only if there is no other place: the brokers. Optional.
	Apart kube.App

	Topics       []Topic // to be registered; the self-test's is one of them
	TopicPattern string  // regular expression for names of topics to copy, besides the self-test's
	Growth       string  // scenario.GrowthNone, GrowthCure or GrowthDestinationFirst
	SelfTest     Topic   // exists at both sides; its records must cross
	Replicas     int     // replication factor of topics that MirrorMaker 2 makes for itself, at least 1
	// Config has further settings or other values, as the Overrides of package replicators. Optional.
	Config map[string]string

	// RegisterDeadline and SelfTestDeadline are whole seconds, at least 1 min. The self-test's is 10 min or
	// more for good reason: Brooklin takes up to 5 min to see a new topic, and MirrorMaker 2 5 min to hand
	// over what a removed node did.
	RegisterDeadline, SelfTestDeadline time.Duration
}

// Replicator is a replicator.
type Replicator struct {
	pulumi.ResourceState

	// RestCommand makes the REST interface reachable on this machine; empty for kinds without one.
	RestCommand pulumi.StringOutput
	// Register succeeds when the replicator says that it copies all topics; nil for kinds that find them
	// by themselves.
	Register *batchv1.Job
	// SelfTest succeeds when a record has crossed; nil for NoReplicator.
	SelfTest *batchv1.Job

	args    *Args
	name    string
	workers []pulumi.Resource   // and all that they need
	config  pulumi.StringOutput // checksum of the workers' files
}

// Ready returns what to depend on for a replicator that works: nothing for NoReplicator.
func (r *Replicator) Ready() []pulumi.Resource {
	if r.SelfTest == nil {
		return nil
	}
	return []pulumi.Resource{r.SelfTest}
}

// NewReplicator registers a replicator. Every mistake in args is reported at once, before anything is
// registered. It depends on working clusters, and on topics that have the partitions in args.Topics on
// both sides, as far as args.Growth says so: give it a pulumi.DependsOn.
func NewReplicator(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Replicator, error) {
	if err := errors.Join(args.Validate(), args.given()); err != nil {
		return nil, fmt.Errorf("replicator %s: %w", name, err)
	}
	r := &Replicator{args: args, name: name}
	if err := ctx.RegisterComponentResource("kafka-mirror-tester:replicator:Replicator", name, r, opts...); err != nil {
		return nil, fmt.Errorf("replicator %s: %w", name, err)
	}
	steps := map[string][]func(*pulumi.Context) error{
		scenario.UReplicator:  {r.zookeeper, r.uReplicator, r.restService, r.register, r.selfTest},
		scenario.Brooklin:     {r.zookeeper, r.brooklin, r.restService, r.register, r.selfTest},
		scenario.MirrorMaker2: {r.mirrorMaker2, r.selfTest},
	}
	for _, step := range steps[args.Kind] {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("replicator %s: %w", name, err)
		}
	}
	r.RestCommand = pulumi.String("").ToStringOutput()
	if app, port := args.rest(); port > 0 {
		r.RestCommand = pulumi.Sprintf("kubectl --namespace %s port-forward service/%s %d", args.Namespace, app.Name, port)
	}
	if err := ctx.RegisterResourceOutputs(r, pulumi.Map{"restCommand": r.RestCommand}); err != nil {
		return nil, fmt.Errorf("replicator %s: register outputs: %w", name, err)
	}
	return r, nil
}
