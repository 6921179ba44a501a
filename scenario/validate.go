package scenario

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
)

// OwnTopics begins the names of the tester's own topics, which are never under test.
const OwnTopics = "kmt-"

// A test's id becomes part of topic, object and label names: Kubernetes' strictest rule serves all.
var testIDPattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$`)

// Names that Kafka takes for a topic; it also refuses . and .., and more than 249 characters.
var topicPattern = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// Validate reports every mistake at once, those of either side and those between them; each names
// the key, the value and what would be right.
func (c *Config) Validate() error {
	return errors.Join(
		c.Shared.Validate(),
		side("source", c.Source.Validate()),
		side("destination", c.Destination.Validate()),
		c.ValidateTogether(),
	)
}

func side(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

// ValidateTogether reports what either side allows and both together do not.
func (c *Config) ValidateTogether() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Destination.Replicator == UReplicator {
		for _, s := range []struct{ name, mode string }{{"source", c.Source.KafkaMode}, {"destination", c.Destination.KafkaMode}} {
			if s.mode == KRaft {
				refuse("replicator: ureplicator reads the ZooKeepers of both clusters, and the %s has kafkaMode kraft: set it to zookeeper, or use another replicator", s.name)
			}
		}
	}
	if pattern, err := regexp.Compile("^(?:" + c.TopicPattern + ")$"); err == nil {
		for _, topic := range slices.Concat(c.Source.Topics, c.Destination.Topics) {
			if !pattern.MatchString(topic) {
				refuse("topicPattern: %q does not match the topic %q: the replicator would not copy it", c.TopicPattern, topic)
			}
		}
	}
	return errors.Join(slices.CompactFunc(errs, func(a, b error) bool { return a.Error() == b.Error() })...)
}

// ValidateChange reports what cannot become of what a stack has now: what would be lost, or what
// running brokers cannot do. secure is Shared.Secure, before and after.
func ValidateChange(from, to Cluster, wasSecure, secure bool) error {
	var errs []error
	if wasSecure != secure {
		errs = append(errs, fmt.Errorf("secure: %t, and the brokers run with %t: they cannot change it while they run, since clients and other brokers would be locked out: destroy the stack first", secure, wasSecure))
	}
	if from.ReplicationFactor != to.ReplicationFactor {
		errs = append(errs, fmt.Errorf("replicationFactor: %d, and the topics have %d: use that, or other topics in another stack", to.ReplicationFactor, from.ReplicationFactor))
	}
	if to.Partitions < from.Partitions {
		errs = append(errs, fmt.Errorf("partitions: %d, and there are %d: partitions cannot shrink: use %d or more, or other topics", to.Partitions, from.Partitions, from.Partitions))
	}
	if from.KafkaMode != to.KafkaMode {
		errs = append(errs, fmt.Errorf("kafkaMode: %s, and the cluster is in mode %s: a cluster keeps its mode: destroy the stack first", to.KafkaMode, from.KafkaMode))
	}
	if from.QuorumSize != to.QuorumSize {
		errs = append(errs, fmt.Errorf("quorumSize: %d, and the cluster was made with %d: its members are in every member's configuration: destroy the stack first", to.QuorumSize, from.QuorumSize))
	}
	return errors.Join(errs...)
}

// Validate reports every mistake in s at once.
func (s *Shared) Validate() error {
	var errs []error
	if !testIDPattern.MatchString(s.TestID) {
		errs = append(errs, fmt.Errorf("testId: %q: use 1 to 40 lower-case letters, digits and dashes, with a letter or digit at either end", s.TestID))
	}
	pattern, err := regexp.Compile("^(?:" + s.TopicPattern + ")$")
	switch {
	case s.TopicPattern == "" || err != nil || strings.Contains(s.TopicPattern, ","):
		errs = append(errs, fmt.Errorf("topicPattern: %q is no regular expression without a comma: use one that matches the topics under test, such as load.*", s.TopicPattern))
	case pattern.MatchString(OwnTopics + "ledger-source"):
		errs = append(errs, fmt.Errorf("topicPattern: %q also matches the tester's own topics, %s…, which must not be replicated: use one that matches the topics under test only, such as load.*", s.TopicPattern, OwnTopics))
	}
	return errors.Join(errs...)
}

// Validate reports every mistake in s at once.
func (s *Source) Validate() error {
	errs := s.Cluster.validate()
	errs = append(errs, s.Fault.validate(s.Brokers, 0, s.Producers, "producer")...)
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	within(refuse, "producers", s.Producers, 0, 1000)
	if s.Throughput.Kind != units.Unlimited && !(s.Throughput.PerSecond > 0) {
		refuse("throughput: none: use records (20k/s), bytes (100MB/s) or max, for each producer and topic")
	}
	if s.MessageSize < 100 || s.MessageSize > 64<<20 {
		refuse("messageSize: %s: use 100B to 64MiB", s.MessageSize)
	}
	if math.IsNaN(s.Compressibility) || s.Compressibility < 0 || s.Compressibility > 1 {
		refuse("compressibility: %v: use 0 to 1", s.Compressibility)
	}
	return errors.Join(errs...)
}

// Validate reports every mistake in d at once, but for expectations, which only the verdict can read.
func (d *Destination) Validate() error {
	errs := d.Cluster.validate()
	workers := d.Workers
	if d.Replicator == NoReplicator {
		workers = 0
	}
	errs = append(errs, d.Fault.validate(d.Brokers, workers, d.Consumers, "consumer")...)
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	oneOf(refuse, "replicator", d.Replicator, UReplicator, Brooklin, MirrorMaker2, NoReplicator)
	within(refuse, "workers", d.Workers, 1, 500)
	within(refuse, "controllers", d.Controllers, 0, 9)
	if d.ReplicatorHeap < 128<<20 || d.ReplicatorHeap > 64<<30 {
		refuse("replicatorHeap: %s: use 128MiB to 64GiB", d.ReplicatorHeap)
	}
	if d.Replicator == UReplicator && d.KafkaMode == KRaft {
		refuse("replicator: ureplicator reads ZooKeeper, and kafkaMode is kraft: set kafkaMode to zookeeper, or use another replicator")
	}
	oneOf(refuse, "partitionGrowth", d.PartitionGrowth, GrowthNone, GrowthCure, GrowthDestinationFirst)
	within(refuse, "consumers", d.Consumers, 1, 1000)
	return errors.Join(errs...)
}

func (c *Cluster) validate() []error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	within(refuse, "nodes", c.Nodes, 0, 450)
	within(refuse, "brokers", c.Brokers, 1, 450)
	if c.Nodes > 0 && c.Brokers > c.Nodes {
		refuse("brokers: %d do not fit on %d nodes, since no two share one: use at most %d brokers, or at least %d nodes", c.Brokers, c.Nodes, c.Nodes, c.Brokers)
	}
	oneOf(refuse, "kafkaMode", c.KafkaMode, ZooKeeper, KRaft)
	if c.QuorumSize < 1 || c.QuorumSize > 7 || c.QuorumSize%2 == 0 {
		refuse("quorumSize: %d: use 1, 3, 5 or 7", c.QuorumSize)
	}
	if c.Nodes > 0 && c.QuorumSize > c.Nodes {
		refuse("quorumSize: %d do not fit on %d nodes, since no two share one: use at least %d nodes, or quorumSize 1", c.QuorumSize, c.Nodes, c.QuorumSize)
	}
	if c.KafkaHeap < 256<<20 || c.KafkaHeap > 64<<30 {
		refuse("kafkaHeap: %s: use 256MiB to 64GiB", c.KafkaHeap)
	}
	if c.KafkaRestart < 0 {
		refuse("kafkaRestart: %d: use 0 for brokers that keep running, or the next number to roll them", c.KafkaRestart)
	}

	if len(c.Topics) == 0 {
		refuse("topics: none: name at least one")
	}
	for i, topic := range c.Topics {
		switch {
		case !topicPattern.MatchString(topic) || topic == "." || topic == "..":
			refuse("topics: %q is no name for a topic: use 1 to 249 letters, digits, dots, underscores and dashes", topic)
		case strings.HasPrefix(topic, OwnTopics):
			refuse("topics: %q: names that begin with %s are the tester's own", topic, OwnTopics)
		case slices.Contains(c.Topics[:i], topic):
			refuse("topics: %q is named twice", topic)
		}
	}
	within(refuse, "partitions", c.Partitions, 1, 10_000)
	within(refuse, "replicationFactor", c.ReplicationFactor, 1, math.MaxInt16)
	if c.ReplicationFactor > c.Brokers && c.Brokers > 0 {
		refuse("replicationFactor: %d is more than the brokers: use at most %d", c.ReplicationFactor, c.Brokers)
	}
	within(refuse, "minInsyncReplicas", c.MinInsyncReplicas, 1, math.MaxInt16)
	if c.MinInsyncReplicas > c.ReplicationFactor && c.ReplicationFactor > 0 {
		refuse("minInsyncReplicas: %d is more than the replication factor: nothing could ever be written with acks=all: use at most %d", c.MinInsyncReplicas, c.ReplicationFactor)
	}
	if c.Retention < Duration(10*time.Second) {
		refuse("retention: %s: use 10s or more", c.Retention)
	}
	return errs
}

func within(refuse func(string, ...any), key string, value, lowest, highest int) {
	if value < lowest || value > highest {
		refuse("%s: %d: use %d to %d", key, value, lowest, highest)
	}
}

func oneOf(refuse func(string, ...any), key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		refuse("%s: %q is not known: use one of %s", key, value, strings.Join(allowed, ", "))
	}
}
