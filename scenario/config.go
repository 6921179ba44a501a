// Package scenario is the model of a test: the configuration on which a target converges, and what
// is wrong with one before anything is created. It imports neither Pulumi nor Kafka.
//
// The names in the json tags are the keys of a stack's configuration and of a scenario file alike.
package scenario

import (
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
)

// Config is a whole test: what both sides share, the source and the destination. A step of a
// scenario changes some of its values; what infrastructure it runs on is no part of it.
type Config struct {
	Shared
	Source      Source      `json:"source"`
	Destination Destination `json:"destination"`
}

// Shared is what both sides must agree on.
type Shared struct {
	// TestID names the test; all its processes have the same. Another one is another test, whose
	// records are foreign to this one.
	TestID string `json:"testId"`
	// TopicPattern is the regular expression of the topics that the replicator copies. It must match
	// every topic of either side, and none of the tester's own (kmt-…).
	TopicPattern string `json:"topicPattern"`
	// Secure switches both clusters to TLS, and SASL with the mechanism PLAIN.
	Secure bool `json:"secure"`
}

// Modes in which a Kafka cluster keeps its metadata.
const (
	ZooKeeper = "zookeeper"
	KRaft     = "kraft"
)

// Cluster is a Kafka cluster and the topics under test on it.
type Cluster struct {
	// Nodes is the number of worker nodes, 1 to 450 (the quota of a managed node group). 0 stands
	// for a cluster of somebody else's, whose nodes are not ours to count.
	Nodes int `json:"nodes"`
	// Brokers is the number of brokers, 1 to Nodes: no two share a node.
	Brokers int `json:"brokers"`
	// KafkaMode is zookeeper or kraft.
	KafkaMode string `json:"kafkaMode"`
	// QuorumSize is the number of ZooKeepers, or of KRaft controllers: 1, 3, 5 or 7.
	QuorumSize int `json:"quorumSize"`
	// KafkaConfig has further broker settings, or other values for those that the project sets.
	KafkaConfig map[string]string `json:"kafkaConfig"`
	// KafkaHeap is the Java heap of a broker, 256MiB to 64GiB.
	KafkaHeap units.Size `json:"kafkaHeap"`
	// KafkaRestart is 0 for brokers that keep running when their settings change, until they are
	// deleted. Any other number makes them follow by a rolling restart, and each new number rolls
	// them once.
	KafkaRestart int `json:"kafkaRestart"`

	// Topics are the topics under test, at least one. Adding one is a step of a scenario.
	Topics []string `json:"topics"`
	// Partitions of each topic, 1 to 10,000. They can grow and never shrink.
	Partitions int `json:"partitions"`
	// ReplicationFactor of each topic, 1 to Brokers.
	ReplicationFactor int `json:"replicationFactor"`
	// MinInsyncReplicas is how many replicas must have a record before it counts as written, 1 to
	// ReplicationFactor.
	MinInsyncReplicas int `json:"minInsyncReplicas"`
	// Retention is how long records are kept, 10s or more.
	Retention Duration `json:"retention"`

	// Fault is what is broken on this side.
	Fault Fault `json:"fault"`
}

// Source is the source cluster and the load on it.
type Source struct {
	Cluster
	// Producers is the number of producers, 0 to 1,000.
	Producers int `json:"producers"`
	// Throughput is the rate of each producer in each topic.
	Throughput units.Rate `json:"throughput"`
	// MessageSize is the size of a message's value, 100B to 64MiB.
	MessageSize units.Size `json:"messageSize"`
	// Compressibility is the part of a payload that compression can take away, 0 to 1.
	Compressibility float64 `json:"compressibility"`
	// UseMessageHeaders carries a record's identity in headers, to test that they arrive.
	UseMessageHeaders bool `json:"useMessageHeaders"`
}

// Replicators.
const (
	UReplicator  = "ureplicator"
	Brooklin     = "brooklin"
	MirrorMaker2 = "mirrormaker2"
	NoReplicator = "none"
)

// What is done at the destination when the source's partitions have grown.
const (
	// GrowthNone does nothing: following is left to the replicator.
	GrowthNone = "none"
	// GrowthCure grows the destination's topics too, and registers them with the replicator again.
	GrowthCure = "cure"
	// GrowthDestinationFirst grows the destination's topics; its partitions are set before the
	// source's.
	GrowthDestinationFirst = "destinationFirst"
)

// Destination is the destination cluster, the replicator, and what verifies.
type Destination struct {
	Cluster
	// Replicator is ureplicator, brooklin, mirrormaker2 or none.
	Replicator string `json:"replicator"`
	// Workers of the replicator, 1 to 500: uReplicator's workers, Brooklin's or MirrorMaker 2's nodes.
	Workers int `json:"workers"`
	// Controllers of uReplicator, 0 to 9; no other replicator has any.
	Controllers int `json:"controllers"`
	// ReplicatorConfig has further settings of the replicator, or other values.
	ReplicatorConfig map[string]string `json:"replicatorConfig"`
	// ReplicatorHeap is the Java heap of each of its processes, 128MiB to 64GiB.
	ReplicatorHeap units.Size `json:"replicatorHeap"`
	// PartitionGrowth is none, cure or destinationFirst.
	PartitionGrowth string `json:"partitionGrowth"`
	// Consumers that verify, 1 to 1,000.
	Consumers int `json:"consumers"`
	// Expectations of the verdict, such as "latency.p99 <= 5s".
	Expectations []string `json:"expectations"`
}

// SetDefaults fills c with the sizes of the talk.
func (c *Config) SetDefaults() {
	*c = Config{}
	c.Shared.SetDefaults()
	c.Source.SetDefaults()
	c.Destination.SetDefaults()
}

// SetSmallDefaults fills c with a test that one machine can run: the same shape as SetDefaults, with 3 + 3
// brokers and 1,000 records per second. Scenario files have their baselines on top of it.
func (c *Config) SetSmallDefaults() {
	c.SetDefaults()
	for _, side := range []*Cluster{&c.Source.Cluster, &c.Destination.Cluster} {
		side.Nodes, side.Brokers, side.QuorumSize, side.KafkaHeap, side.Partitions = 0, 3, 1, 256<<20, 6
	}
	c.Source.Producers, c.Source.Throughput = 1, units.Rate{Kind: units.Records, PerSecond: 1000}
	c.Destination.Workers, c.Destination.ReplicatorHeap, c.Destination.Consumers = 2, 256<<20, 1
}

// SetDefaults fills s.
func (s *Shared) SetDefaults() {
	*s = Shared{TestID: "test", TopicPattern: "load.*"}
}

func (c *Cluster) setDefaults() {
	*c = Cluster{
		Brokers:    30,
		KafkaMode:  ZooKeeper,
		QuorumSize: 3,
		KafkaHeap:  4 << 30,
		Topics:     []string{"load"},
		Partitions: 150,
		Retention:  Duration(300 * time.Second),
	}
}

// SetDefaults fills s with the sizes of the talk.
func (s *Source) SetDefaults() {
	*s = Source{
		Producers:   10,
		Throughput:  units.Rate{Kind: units.Records, PerSecond: 20_000},
		MessageSize: 1000,
	}
	s.Cluster.setDefaults()
	s.Nodes, s.ReplicationFactor, s.MinInsyncReplicas = 40, 3, 2
}

// SetDefaults fills d with the sizes of the talk. The replicator is MirrorMaker 2, the only one of
// the three with a maintained public image.
func (d *Destination) SetDefaults() {
	*d = Destination{
		Replicator:      MirrorMaker2,
		Workers:         8,
		Controllers:     1,
		ReplicatorHeap:  2 << 30,
		PartitionGrowth: GrowthNone,
		Consumers:       4,
	}
	d.Cluster.setDefaults()
	d.Nodes, d.ReplicationFactor, d.MinInsyncReplicas = 48, 2, 1
}

// Duration is a time.Duration that is written as 300s or 5m in text.
type Duration time.Duration

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return &durationError{string(text)}
	}
	*d = Duration(parsed)
	return nil
}

// MarshalText is the inverse of UnmarshalText.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String returns d as time.Duration writes it.
func (d Duration) String() string { return time.Duration(d).String() }

type durationError struct{ text string }

func (e *durationError) Error() string {
	return "duration \"" + e.text + "\": write it as 30s, 5m or 1h30m"
}
