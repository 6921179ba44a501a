// Package replicators knows what each replicator needs to run: its configuration files and the
// names of its programs. It knows nothing of where the replicator runs.
package replicators

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MirrorMaker2Class is the main class of MirrorMaker 2 in dedicated mode. Its one argument is the
// file that MirrorMaker2.Properties makes.
const MirrorMaker2Class = "org.apache.kafka.connect.mirror.MirrorMaker"

// MirrorMaker2 describes a MirrorMaker 2 that copies topics from one cluster to another and keeps
// their names.
//
// Topic configurations are not copied, so that a destination topic may be set up on its own terms,
// for example with LogAppendTime. Consumer groups, ACLs and heartbeats are not copied either: they
// are no part of what is tested.
type MirrorMaker2 struct {
	Source          []string          // bootstrap servers of the source cluster, host:port
	Destination     []string          // bootstrap servers of the destination cluster, host:port
	Topics          []string          // regular expressions of the topics to copy; a comma separates two, so none may have one
	ExcludeTopics   []string          // regular expressions of topics to leave out, besides those internal to Kafka and MirrorMaker 2
	Tasks           int               // tasks.max, at least 1
	RefreshInterval time.Duration     // how often topics and partitions are looked for, whole seconds
	Replicas        int               // replication factor of topics that MirrorMaker 2 makes, its own included; at least 1
	Overrides       map[string]string // further keys, or other values for the keys set here

	// Listener is empty for one node alone. Several nodes that share the work reach each other by an
	// internal REST interface at this address, such as http://:8083; without a host each node tells the
	// others the address that its own host name stands for, in a pod the pod's.
	//
	// A node that is gone is missed for five minutes before the others take over its tasks, unless
	// Overrides have "destination.scheduled.rebalance.max.delay.ms"; until then its partitions stand still.
	Listener string
	// SourceCredentials and DestinationCredentials are nil for plain text. Else TLS, and SASL PLAIN.
	SourceCredentials, DestinationCredentials *Credentials
}

// Credentials are files by which a cluster is reached, the way a Kubernetes Secret is mounted. Their
// content never stands in a configuration file. The broker's certificate is checked, but not the name in
// it: brokers advertise addresses, which no certificate has, and Java's client knows no other name.
type Credentials struct {
	Directory string // absolute path; the names below are in it
	Authority string // certificate authorities, PEM
	User      string // SASL user
	Password  string // SASL password, without a quotation mark or a backslash
}

// mirrorMaker2Owned are the keys that ValidateOverrides refuses.
var mirrorMaker2Owned = []string{
	"clusters", "source.bootstrap.servers", "destination.bootstrap.servers",
	"source->destination.enabled", "destination->source.enabled", "source->destination.topics",
	"replication.policy.class", "dedicated.mode.enable.internal.rest", "listeners", "config.providers",
}

// ValidateOverrides refuses overrides of what else m says. It is no part of Validate: whoever writes the
// whole file by hand may know why.
func (m MirrorMaker2) ValidateOverrides() error {
	return refuseOwned("MirrorMaker 2", m.Overrides, mirrorMaker2Owned)
}

// internalTopics are never copied: they describe one cluster. The first three are MirrorMaker 2's
// own defaults, which setting topics.exclude would otherwise lose.
var internalTopics = []string{`mm2.*\.internal`, `.*\.replica`, `__.*`, `.*[\-\.]internal`, `heartbeats`, `.*\.heartbeats`}

// SetDefaults fills a fresh MirrorMaker2, all but the clusters.
func (m *MirrorMaker2) SetDefaults() {
	m.Topics = []string{".*"}
	m.Tasks = 1
	m.RefreshInterval = 10 * time.Second
	m.Replicas = 2
}

// Validate returns every mistake at once, or nil.
func (m MirrorMaker2) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("MirrorMaker 2: "+format, args...))
	}
	if len(m.Source) == 0 {
		refuse("the source has no bootstrap servers")
	}
	if len(m.Destination) == 0 {
		refuse("the destination has no bootstrap servers")
	}
	if len(m.Topics) == 0 {
		refuse("no topics to copy: name at least one, or .* for all")
	}
	for _, t := range slices.Concat(m.Topics, m.ExcludeTopics) {
		// Java's expressions differ from Go's in corners only; what Go cannot read is a mistake more often than a corner.
		if _, err := regexp.Compile(t); err != nil || t == "" || strings.Contains(t, ",") {
			refuse("topics: %q is no regular expression without a comma", t)
		}
	}
	if m.Tasks < 1 {
		refuse("tasks is %d: must be at least 1", m.Tasks)
	}
	if m.RefreshInterval < time.Second || m.RefreshInterval%time.Second != 0 {
		refuse("refresh interval is %s: must be whole seconds, at least 1s", m.RefreshInterval)
	}
	if m.Replicas < 1 {
		refuse("replicas is %d: must be at least 1", m.Replicas)
	}
	return errors.Join(errs...)
}

// rebalanceDelay is Connect's setting, of the workers at the destination.
const rebalanceDelay = "destination.scheduled.rebalance.max.delay.ms"

// Properties returns the configuration file, its keys in order. m must be valid.
func (m MirrorMaker2) Properties() []byte {
	const flow = "source->destination."
	refresh := strconv.Itoa(int(m.RefreshInterval / time.Second))
	replicas := strconv.Itoa(m.Replicas)
	p := map[string]string{
		"clusters":                      "source, destination",
		"source.bootstrap.servers":      strings.Join(m.Source, ","),
		"destination.bootstrap.servers": strings.Join(m.Destination, ","),

		flow + "enabled":              "true",
		"destination->source.enabled": "false",
		flow + "topics":               strings.Join(m.Topics, ","),
		flow + "groups.exclude":       ".*", // switching checkpoints off instead fills the log with errors
		flow + "topics.exclude":       strings.Join(slices.Concat(internalTopics, m.ExcludeTopics), ","),

		"replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
		"tasks.max":                strconv.Itoa(m.Tasks),

		"refresh.topics.enabled":          "true",
		"refresh.topics.interval.seconds": refresh,
		"refresh.groups.enabled":          "false",
		"sync.topic.configs.enabled":      "false",
		"sync.topic.acls.enabled":         "false",
		"sync.group.offsets.enabled":      "false",
		"emit.heartbeats.enabled":         "false",

		"replication.factor":                    replicas,
		"checkpoints.topic.replication.factor":  replicas,
		"heartbeats.topic.replication.factor":   replicas,
		"offset-syncs.topic.replication.factor": replicas,
		"offset.storage.replication.factor":     replicas,
		"config.storage.replication.factor":     replicas,
		"status.storage.replication.factor":     replicas,
		"offset.storage.partitions":             "5",
		"status.storage.partitions":             "1",
		"dedicated.mode.enable.internal.rest":   "false",
		// Every plugin here declares itself: no need to look into each class of each jar at start.
		"destination.plugin.discovery": "service_load",
	}
	// -1 lets the kernel tune the buffers: with the clients' fixed sizes an ocean of 80 ms holds one
	// connection to 1.6 MB/s.
	for _, client := range []string{"source.consumer", "source.admin", "destination.producer", "destination.consumer", "destination.admin"} {
		p[client+".send.buffer.bytes"] = "-1"
		p[client+".receive.buffer.bytes"] = "-1"
	}
	// A worker that has gone is waited for before another takes its tasks: Connect's five minutes are longer
	// than the retention that the talk tested with. Half a minute is enough for a pod to come back.
	p[rebalanceDelay] = "30000"
	if m.Listener != "" {
		p["dedicated.mode.enable.internal.rest"] = "true"
		p["listeners"] = m.Listener
	}
	m.SourceCredentials.add(p, "source.")
	m.DestinationCredentials.add(p, "destination.")
	maps.Copy(p, m.Overrides)
	return Properties(p)
}

// add adds what the clients of one cluster need.
func (c *Credentials) add(p map[string]string, cluster string) {
	if c == nil {
		return
	}
	p["config.providers"] = "directory"
	p["config.providers.directory.class"] = "org.apache.kafka.common.config.provider.DirectoryConfigProvider"
	p[cluster+"security.protocol"] = "SASL_SSL"
	p[cluster+"ssl.truststore.type"] = "PEM"
	p[cluster+"ssl.truststore.location"] = c.Directory + "/" + c.Authority
	p[cluster+"ssl.endpoint.identification.algorithm"] = ""
	p[cluster+"sasl.mechanism"] = "PLAIN"
	p[cluster+"sasl.jaas.config"] = fmt.Sprintf(
		`org.apache.kafka.common.security.plain.PlainLoginModule required username="${directory:%s:%s}" password="${directory:%s:%s}";`,
		c.Directory, c.User, c.Directory, c.Password)
}

// Properties writes a Java properties file, its keys in order.
func Properties(p map[string]string) []byte {
	key := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, ":", `\:`, "=", `\=`, " ", `\ `, "#", `\#`, "!", `\!`)
	value := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`)
	var b bytes.Buffer
	for _, k := range slices.Sorted(maps.Keys(p)) {
		v := value.Replace(p[k])
		if strings.HasPrefix(v, " ") || strings.HasPrefix(v, "\t") {
			v = `\` + v // else read as a part of the separator
		}
		fmt.Fprintf(&b, "%s=%s\n", key.Replace(k), v)
	}
	return b.Bytes()
}
