package replicators

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Main classes of uReplicator, as of its last public version (June 2021).
const (
	UReplicatorControllerClass = "com.uber.stream.kafka.mirrormaker.controller.ControllerStarter"
	UReplicatorWorkerClass     = "com.uber.stream.ureplicator.worker.WorkerStarter"
)

// UReplicatorPort is where a controller serves its REST API.
const UReplicatorPort = 9000

// UReplicatorJavaOption is needed on Java 17: without it the ZooKeeper client inside fails to log in
// to nothing.
const UReplicatorJavaOption = "-Dzookeeper.sasl.client=false"

// UReplicator describes a uReplicator that copies topics from one cluster to another, keeps their
// names, and keeps each record on the partition it came from.
//
// Which topics it copies it is told over REST: see UReplicatorClient. Sizes of buffers and batches are
// the ones that uReplicator ships (config/*.properties). What decides whether records can be lost or
// reordered it ships no values for, or unsafe ones; those are set to the safe value, as Apache
// MirrorMaker 1 does, so that a loss is the replicator's and not the configuration's: acks=all, endless
// retries, one request in flight, and no automatic commit beside the offsets that uReplicator keeps in
// ZooKeeper. Overrides test otherwise.
type UReplicator struct {
	Source               []string // bootstrap servers of the source cluster, host:port
	Destination          []string // bootstrap servers of the destination cluster, host:port
	SourceZooKeeper      string   // of the source cluster, host:port[,host:port][/path]: offsets are kept there
	DestinationZooKeeper string   // of the destination cluster: partitions are counted there
	HelixZooKeeper       string   // uReplicator's own; a path in it must exist already
	// ClusterName names this uReplicator in its ZooKeeper and is its consumer group.
	ClusterName string
	// RebalanceDelay is how long after a worker came or went its partitions are spread anew, whole
	// seconds. uReplicator's default, and the talk's, is two minutes.
	RebalanceDelay time.Duration
	// Overrides are further settings, or other values for the ones set here. A key begins with where it
	// belongs: "consumer.", "producer." (properties), "controller." or "worker." (arguments, without the
	// dash). "controller.enableAutoWhitelist": "true" adds the arguments that this needs.
	Overrides map[string]string
}

// SetDefaults fills a fresh UReplicator, all but the addresses.
func (u *UReplicator) SetDefaults() {
	u.ClusterName = "ureplicator"
	u.RebalanceDelay = 2 * time.Minute
}

// uReplicatorOwned are the keys that Overrides may not have, since the rest would no longer fit.
var uReplicatorOwned = []string{
	"consumer.bootstrap.servers", "consumer.zookeeper.connect", "consumer.commit.zookeeper.connect", "consumer.group.id",
	"consumer.key.deserializer", "consumer.value.deserializer",
	"producer.bootstrap.servers", "producer.zookeeper.connect", "producer.key.serializer", "producer.value.serializer",
	"controller.port", "controller.zookeeper", "controller.helixClusterName", "controller.enableFederated", "controller.instanceId",
	"controller.srcKafkaZkPath", "controller.destKafkaZkPath", "controller.backUpToGit", "controller.localBackupFilePath",
	"worker.federated_enabled", "worker.consumer_config", "worker.producer_config", "worker.helix_config",
}

// Validate returns every mistake at once, or nil.
func (u UReplicator) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("uReplicator: "+format, args...))
	}
	if len(u.Source) == 0 {
		refuse("the source has no bootstrap servers")
	}
	if len(u.Destination) == 0 {
		refuse("the destination has no bootstrap servers")
	}
	for _, z := range []struct{ what, address string }{
		{"the source has no ZooKeeper: uReplicator keeps its offsets there, so Kafka must not run in KRaft mode", u.SourceZooKeeper},
		{"the destination has no ZooKeeper: uReplicator counts partitions there, so Kafka must not run in KRaft mode", u.DestinationZooKeeper},
		{"it has no ZooKeeper of its own", u.HelixZooKeeper},
	} {
		if z.address == "" {
			refuse("%s", z.what)
		}
	}
	if u.ClusterName == "" || strings.Trim(u.ClusterName, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		refuse("cluster name %q: use letters, digits, '-' and '_'", u.ClusterName)
	}
	if u.RebalanceDelay < time.Second || u.RebalanceDelay%time.Second != 0 {
		refuse("rebalance delay is %s: must be whole seconds, at least 1s", u.RebalanceDelay)
	}
	errs = append(errs, u.ValidateOverrides())
	return errors.Join(errs...)
}

// ValidateOverrides is the part of Validate that can be checked before any address is known.
func (u UReplicator) ValidateOverrides() error {
	errs := []error{refuseOwned("uReplicator", u.Overrides, uReplicatorOwned)}
	for _, k := range slices.Sorted(maps.Keys(u.Overrides)) {
		part, key, _ := strings.Cut(k, ".")
		if key == "" || !slices.Contains([]string{"consumer", "producer", "controller", "worker"}, part) {
			errs = append(errs, fmt.Errorf("uReplicator: override %q: begin it with consumer., producer., controller. or worker., which says what it belongs to", k))
		}
	}
	return errors.Join(errs...)
}

// refuseOwned reports the overrides that a replicator's own description already says.
func refuseOwned(who string, overrides map[string]string, owned []string) error {
	var errs []error
	for _, k := range slices.Sorted(maps.Keys(overrides)) {
		if slices.Contains(owned, k) {
			errs = append(errs, fmt.Errorf("%s: override %q: this follows from the clusters and cannot be set: remove it", who, k))
		}
	}
	return errors.Join(errs...)
}

// part merges the overrides that begin with prefix over p.
func (u UReplicator) part(prefix string, p map[string]string) map[string]string {
	for k, v := range u.Overrides {
		if key, ok := strings.CutPrefix(k, prefix+"."); ok {
			p[key] = v
		}
	}
	return p
}

// ConsumerProperties returns the file that a worker reads from the source cluster by.
func (u UReplicator) ConsumerProperties() []byte {
	return Properties(u.part("consumer", map[string]string{
		"bootstrap.servers":         strings.Join(u.Source, ","),
		"commit.zookeeper.connect":  u.SourceZooKeeper,
		"group.id":                  u.ClusterName,
		"auto.offset.reset":         "earliest",
		"enable.auto.commit":        "false",
		"key.deserializer":          "org.apache.kafka.common.serialization.ByteArrayDeserializer",
		"value.deserializer":        "org.apache.kafka.common.serialization.ByteArrayDeserializer",
		"max.partition.fetch.bytes": "8388608",
		// -1 lets the kernel tune the buffers: the consumer crosses the ocean.
		"receive.buffer.bytes": "-1",
		"send.buffer.bytes":    "-1",
	}))
}

// ProducerProperties returns the file that a worker writes to the destination cluster by.
func (u UReplicator) ProducerProperties() []byte {
	return Properties(u.part("producer", map[string]string{
		"bootstrap.servers": strings.Join(u.Destination, ","),
		"zookeeper.connect": u.DestinationZooKeeper,
		"client.id":         u.ClusterName,
		"key.serializer":    "org.apache.kafka.common.serialization.ByteArraySerializer",
		"value.serializer":  "org.apache.kafka.common.serialization.ByteArraySerializer",
		"producer.type":     "async",
		"compression.type":  "none",

		"acks":                                  "all",
		"retries":                               "2147483647",
		"max.in.flight.requests.per.connection": "1",

		"batch.size":       "262144",
		"linger.ms":        "1000",
		"buffer.memory":    "167772160",
		"max.request.size": "31457280",
	}))
}

// HelixProperties returns the file by which a worker finds its controllers. instance names the worker,
// different for each; empty leaves the name out, to be added as a line "instanceId=NAME".
func (u UReplicator) HelixProperties(instance string) []byte {
	p := map[string]string{"zkServer": u.HelixZooKeeper, "helixClusterName": u.ClusterName}
	if instance != "" {
		p["instanceId"] = instance
	}
	return Properties(p)
}

// ControllerArgs returns the arguments of a controller. backup is a directory that it may write to.
func (u UReplicator) ControllerArgs(backup string) []string {
	args := map[string]string{
		"port":                        strconv.Itoa(UReplicatorPort),
		"zookeeper":                   u.HelixZooKeeper,
		"helixClusterName":            u.ClusterName,
		"enableFederated":             "false",
		"mode":                        "auto",
		"env":                         "kmt.destination", // two words and a dot, or the controller exports no metrics
		"backUpToGit":                 "false",
		"localBackupFilePath":         backup,
		"autoRebalanceDelayInSeconds": strconv.Itoa(int(u.RebalanceDelay / time.Second)),
		"initWaitTimeInSeconds":       "10",
		"refreshTimeInSeconds":        "20",
	}
	if u.Overrides["controller.enableAutoWhitelist"] == "true" {
		args["enableAutoTopicExpansion"] = "true"
		args["enableSrcKafkaValidation"] = "true" // what expands topics
		args["srcKafkaZkPath"] = u.SourceZooKeeper
		args["destKafkaZkPath"] = u.DestinationZooKeeper
	}
	return arguments(u.part("controller", args))
}

// WorkerArgs returns the arguments of a worker whose files are consumer, producer and helix.
func (u UReplicator) WorkerArgs(consumer, producer, helix string) []string {
	return arguments(u.part("worker", map[string]string{
		"federated_enabled": "false",
		"consumer_config":   consumer,
		"producer_config":   producer,
		"helix_config":      helix,
		// Without it records are spread over the destination's partitions at random.
		"topic_partition_count_observer": "true",
	}))
}

func arguments(of map[string]string) []string {
	var args []string
	for _, k := range slices.Sorted(maps.Keys(of)) {
		args = append(args, "-"+k, of[k])
	}
	return args
}
