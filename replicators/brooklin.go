package replicators

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// BrooklinClass is the main class of a Brooklin server. Its one argument is the file that
// Brooklin.Properties makes.
const BrooklinClass = "com.linkedin.datastream.server.DatastreamServer"

// BrooklinPort is where every Brooklin server serves its REST API.
const BrooklinPort = 32311

// Names in server.properties, which a datastream refers to.
const (
	BrooklinConnector = "kafkaMirroringC"
	BrooklinTransport = "kafkaTP"
)

const (
	brooklinConnectorPrefix = "brooklin.server.connector." + BrooklinConnector + "."
	brooklinTransportPrefix = "brooklin.server.transportProvider." + BrooklinTransport + "."
)

// Brooklin describes a Brooklin (1.0.2) that copies topics into one destination cluster. Where it copies
// from, and what, a datastream says, which is made over REST: see BrooklinClient and Datastream.
//
// The producer's safe settings stand here in full. Brooklin means them as its defaults, but sets them
// under names with the prefix "producer.", which its open-source producer factory does not strip
// (KafkaProducerWrapper, SimpleKafkaProducerFactory), so that they have no effect.
type Brooklin struct {
	Destination []string // bootstrap servers of the destination cluster, host:port
	// DestinationZooKeeper is empty for a destination in KRaft mode. Mirroring does without.
	DestinationZooKeeper string
	ZooKeeper            string // Brooklin's own, host:port[,host:port][/path]; a path in it must exist already
	// ClusterName names this Brooklin in its ZooKeeper.
	ClusterName string
	// Overrides are further settings, or other values for the ones set here. A key begins with where it
	// belongs: "consumer." and "connector." (the mirroring connector and its consumer), "producer." (the
	// Kafka transport provider), or "brooklin.server." for a whole key of server.properties.
	Overrides map[string]string
}

// SetDefaults fills a fresh Brooklin, all but the addresses.
func (b *Brooklin) SetDefaults() { b.ClusterName = "brooklin" }

// brooklinOwned are the keys of server.properties that Overrides may not have.
var brooklinOwned = []string{
	"brooklin.server.coordinator.cluster", "brooklin.server.coordinator.zkAddress", "brooklin.server.httpPort",
	"brooklin.server.connectorNames", "brooklin.server.transportProviderNames",
	brooklinConnectorPrefix + "factoryClassName", brooklinConnectorPrefix + "consumer.bootstrap.servers",
	brooklinConnectorPrefix + "consumer.group.id",
	brooklinTransportPrefix + "factoryClassName", brooklinTransportPrefix + "bootstrap.servers", brooklinTransportPrefix + "zookeeper.connect",
}

// Validate returns every mistake at once, or nil.
func (b Brooklin) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("Brooklin: "+format, args...))
	}
	if len(b.Destination) == 0 {
		refuse("the destination has no bootstrap servers")
	}
	if b.ZooKeeper == "" {
		refuse("it has no ZooKeeper of its own")
	}
	if b.ClusterName == "" || strings.Trim(b.ClusterName, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		refuse("cluster name %q: use letters, digits, '-' and '_'", b.ClusterName)
	}
	errs = append(errs, b.ValidateOverrides())
	return errors.Join(errs...)
}

// ValidateOverrides is the part of Validate that can be checked before any address is known.
func (b Brooklin) ValidateOverrides() error {
	var errs []error
	for _, k := range slices.Sorted(maps.Keys(b.Overrides)) {
		full, ok := brooklinKey(k)
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("Brooklin: override %q: begin it with consumer., connector., producer. or brooklin.server., which says what it belongs to", k))
		case slices.Contains(brooklinOwned, full):
			errs = append(errs, fmt.Errorf("Brooklin: override %q: this follows from the clusters and cannot be set: remove it", k))
		}
	}
	return errors.Join(errs...)
}

// brooklinKey returns the key of server.properties that an override stands for.
func brooklinKey(override string) (string, bool) {
	for prefix, full := range map[string]string{
		"consumer.":        brooklinConnectorPrefix + "consumer.",
		"connector.":       brooklinConnectorPrefix,
		"producer.":        brooklinTransportPrefix,
		"brooklin.server.": "brooklin.server.",
	} {
		if key, ok := strings.CutPrefix(override, prefix); ok && key != "" {
			return full + key, true
		}
	}
	return "", false
}

// Properties returns server.properties, its keys in order. b must be valid.
func (b Brooklin) Properties() []byte {
	p := map[string]string{
		"brooklin.server.coordinator.cluster":    b.ClusterName,
		"brooklin.server.coordinator.zkAddress":  b.ZooKeeper,
		"brooklin.server.httpPort":               strconv.Itoa(BrooklinPort),
		"brooklin.server.connectorNames":         BrooklinConnector,
		"brooklin.server.transportProviderNames": BrooklinTransport,

		brooklinConnectorPrefix + "factoryClassName": "com.linkedin.datastream.connectors.kafka.mirrormaker.KafkaMirrorMakerConnectorFactory",
		// One task on each server: their consumers share the partitions as a group, so a server more or
		// less needs no other setting.
		brooklinConnectorPrefix + "assignmentStrategyFactory": "com.linkedin.datastream.server.assignment.BroadcastStrategyFactory",
		// The talk's: a partition whose record cannot be sent is tried again after half a minute.
		brooklinConnectorPrefix + "pausePartitionOnError":         "true",
		brooklinConnectorPrefix + "pauseErrorPartitionDurationMs": "30000",
		brooklinConnectorPrefix + "consumer.max.poll.records":     "10000",
		// -1 lets the kernel tune the buffers: the consumer crosses the ocean.
		brooklinConnectorPrefix + "consumer.receive.buffer.bytes": "-1",
		brooklinConnectorPrefix + "consumer.send.buffer.bytes":    "-1",

		brooklinTransportPrefix + "factoryClassName":                      "com.linkedin.datastream.kafka.KafkaTransportProviderAdminFactory",
		brooklinTransportPrefix + "bootstrap.servers":                     strings.Join(b.Destination, ","),
		brooklinTransportPrefix + "client.id":                             b.ClusterName,
		brooklinTransportPrefix + "acks":                                  "all",
		brooklinTransportPrefix + "retries":                               "2147483647",
		brooklinTransportPrefix + "max.in.flight.requests.per.connection": "1",
		brooklinTransportPrefix + "max.block.ms":                          "2147483647",
	}
	if b.DestinationZooKeeper != "" {
		p[brooklinTransportPrefix+"zookeeper.connect"] = b.DestinationZooKeeper
	}
	for k, v := range b.Overrides {
		if full, ok := brooklinKey(k); ok {
			p[full] = v
		}
	}
	return Properties(p)
}

// Datastream is what Brooklin copies: which topics from which cluster.
// https://github.com/linkedin/brooklin, datastream-common/.../Datastream.pdsc
type Datastream struct {
	Name      string            `json:"name"`
	Connector string            `json:"connectorName"`
	Transport string            `json:"transportProviderName"`
	Source    DatastreamSource  `json:"source"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	// Status is Brooklin's word: INITIALIZING, READY, PAUSED, STOPPED or DELETING.
	Status string `json:"Status,omitempty"`
}

// DatastreamSource is where a Datastream copies from.
type DatastreamSource struct {
	// ConnectionString is kafka://host:port,host:port/PATTERN.
	ConnectionString string `json:"connectionString"`
}

// NewDatastream describes a datastream that copies the topics that match pattern, a regular expression
// for whole names, from the cluster with these bootstrap servers, and keeps each record on the partition
// it came from.
func NewDatastream(name string, bootstrap []string, pattern string) (Datastream, error) {
	var errs []error
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		errs = append(errs, fmt.Errorf("Brooklin: datastream name %q: use letters, digits, '-' and '_'", name))
	}
	if len(bootstrap) == 0 {
		errs = append(errs, errors.New("Brooklin: the source has no bootstrap servers"))
	}
	// Brooklin takes what follows the last slash for the pattern.
	if _, err := regexp.Compile(pattern); err != nil || pattern == "" || strings.Contains(pattern, "/") {
		errs = append(errs, fmt.Errorf("Brooklin: topics: %q is no regular expression without a slash", pattern))
	}
	if err := errors.Join(errs...); err != nil {
		return Datastream{}, err
	}
	// Brooklin sorts them too; in order, one cluster has one connection string.
	bootstrap = slices.Sorted(slices.Values(bootstrap))
	return Datastream{
		Name:      name,
		Connector: BrooklinConnector,
		Transport: BrooklinTransport,
		Source:    DatastreamSource{ConnectionString: "kafka://" + strings.Join(bootstrap, ",") + "/" + pattern},
		Metadata: map[string]string{
			"owner":                           "kafka-mirror-tester",
			"system.reuseExistingDestination": "false", // mirroring refuses any other
			"system.destination.identityPartitioningEnabled": "true",
		},
	}, nil
}

// Same says whether d, as Brooklin shows it, is what want asks for. Brooklin adds metadata of its own.
func (d Datastream) Same(want Datastream) bool {
	for k, v := range want.Metadata {
		if d.Metadata[k] != v {
			return false
		}
	}
	return d.Name == want.Name && d.Connector == want.Connector && d.Transport == want.Transport && d.Source == want.Source
}

// Patterns joins regular expressions for topics into one that matches whole names.
func Patterns(topics ...string) string {
	return "^(" + strings.Join(topics, "|") + ")$"
}
