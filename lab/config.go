// Package lab runs a replication test on real Apache Kafka on this machine: two clusters, a
// replicator and the load tools, all as child processes with ports and directories of their own.
package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// The sides of a replication test. None means that no broker is killed.
const (
	Source      = "source"
	Destination = "destination"
	None        = "none"
)

// MirrorMaker2 names the replicator that the lab starts by default; None leaves the clusters
// unconnected, for a replicator of one's own.
const MirrorMaker2 = "mirrormaker2"

// The ledger topics of the load tools and the topic of the lab's own self-test.
const (
	sourceLedgerTopic      = "kmt-ledger-source"
	destinationLedgerTopic = "kmt-ledger-destination"
	selfTestTopic          = "kmt-selftest"
)

// Config says what the lab builds, what load it puts on it and what it breaks.
type Config struct {
	Brokers             int           // brokers in each cluster, 1 to 30; default 3
	Topics              []string      // topics under load; default one, "lab"
	Partitions          int           // partitions of each topic, 1 to 10000; default 12
	Replicas            int           // replicas in the source; 0 = 3, or fewer where there are fewer brokers
	DestinationReplicas int           // replicas in the destination; 0 = 2, or fewer where there are fewer brokers
	Retention           time.Duration // retention of the topics, at least 1m; default 5m

	Throughput  string        // rate of each producer on each topic, in the form of `produce --throughput`; default 2k/s
	MessageSize string        // in the form of `produce --message-size`; default 1kB
	Duration    time.Duration // how long the load runs; default 2m
	Producers   int           // producer processes, 1 to 100; default 1
	Consumers   int           // consumer processes, 1 to 100; default 1

	Kill      string        // side of the broker that is killed: source, destination or none; default source
	KillAfter time.Duration // from the start of the load to the kill; default 30s
	KillFor   time.Duration // from the kill to the broker's return; default 20s

	Replicator       string            // mirrormaker2 or none; default mirrormaker2
	ReplicatorTasks  int               // MirrorMaker 2's tasks.max, 1 to 1000; default 2
	RefreshInterval  time.Duration     // how often the replicator looks for new topics, whole seconds; default 10s
	ReplicatorConfig map[string]string // further or other keys of the replicator's configuration
	BrokerConfig     map[string]string // further or other keys of every broker's server.properties

	Expect    []string      // expectations passed to the auditor, such as "duplicates<=0"
	DrainIdle time.Duration // the auditor's drain ends when the replicator moved nothing for so long; default 30s

	Output        string        // directory of verdict.json, report.html and logs; default lab-report
	Keep          bool          // leave logs and the clusters' data on disk, whatever the outcome
	Java          string        // path of java; empty = JAVA_HOME's, else the one on PATH
	CacheDir      string        // directory of the Kafka jars; empty = kafka-mirror-tester in os.UserCacheDir
	LoadgenBinary string        // the load tools' executable; empty = this process's own
	StartTimeout  time.Duration // bound on each start: of the clusters, of the replicator's first record, of a load tool; default 3m
	DrainTimeout  time.Duration // bound on the auditor's drain; default 30m
}

// SetDefaults fills a fresh Config. Call it before flags are read, so that a zero given by the
// user reaches Validate.
func (c *Config) SetDefaults() {
	*c = Config{
		Brokers: 3, Topics: []string{"lab"}, Partitions: 12, Retention: 5 * time.Minute,
		Throughput: "2k/s", MessageSize: "1kB", Duration: 2 * time.Minute, Producers: 1, Consumers: 1,
		Kill: Source, KillAfter: 30 * time.Second, KillFor: 20 * time.Second,
		Replicator: MirrorMaker2, ReplicatorTasks: 2, RefreshInterval: 10 * time.Second,
		DrainIdle: 30 * time.Second, Output: "lab-report",
		StartTimeout: 3 * time.Minute, DrainTimeout: 30 * time.Minute,
	}
}

var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// Validate returns every mistake of the configuration at once, or nil. Throughput and MessageSize
// are only looked at for being there: the load tools own their form.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	within := func(key string, value, low, high int) {
		if value < low || value > high {
			refuse("%s is %d: must be %d to %d", key, value, low, high)
		}
	}
	atLeast := func(key string, value, low time.Duration) {
		if value < low {
			refuse("%s is %s: must be at least %s", key, value, low)
		}
	}
	oneOf := func(key, value string, allowed ...string) {
		for _, a := range allowed {
			if value == a {
				return
			}
		}
		refuse("%s is %q: must be one of %q", key, value, allowed)
	}

	within("brokers", c.Brokers, 1, 30)
	within("num-partitions", c.Partitions, 1, 10000)
	within("num-replicas", c.Replicas, 0, max(c.Brokers, 0))
	within("destination-replicas", c.DestinationReplicas, 0, max(c.Brokers, 0))
	atLeast("retention", c.Retention, time.Minute)
	if len(c.Topics) == 0 {
		refuse("topics is empty: name at least one")
	}
	seen := map[string]bool{}
	for _, t := range c.Topics {
		switch {
		case !topicName.MatchString(t) || t == "." || t == "..":
			refuse("topics: %q is no topic name: 1 to 249 of letters, digits, '.', '_' and '-'", t)
		case t == sourceLedgerTopic || t == destinationLedgerTopic || t == selfTestTopic:
			refuse("topics: %q is used by the tester itself: choose another name", t)
		case seen[t]:
			refuse("topics: %q is named twice", t)
		}
		seen[t] = true
	}
	if c.Throughput == "" {
		refuse("throughput is empty: give a rate such as 2k/s or 5MB/s")
	}
	if c.MessageSize == "" {
		refuse("message-size is empty: give a size such as 1kB")
	}
	atLeast("duration", c.Duration, time.Second)
	within("producers", c.Producers, 1, 100)
	within("consumers", c.Consumers, 1, 100)
	oneOf("kill", c.Kill, Source, Destination, None)
	if c.Kill == Source || c.Kill == Destination {
		atLeast("kill-after", c.KillAfter, 0)
		atLeast("kill-for", c.KillFor, time.Second)
		if c.KillAfter+c.KillFor >= c.Duration {
			refuse("kill-after %s and kill-for %s reach the end of the load: together they must be less than duration %s",
				c.KillAfter, c.KillFor, c.Duration)
		}
	}
	oneOf("replicator", c.Replicator, MirrorMaker2, None)
	if c.Replicator == MirrorMaker2 {
		within("replicator-tasks", c.ReplicatorTasks, 1, 1000)
		if c.RefreshInterval < time.Second || c.RefreshInterval%time.Second != 0 {
			refuse("refresh-interval is %s: must be whole seconds, at least 1s", c.RefreshInterval)
		}
	}
	atLeast("drain-idle", c.DrainIdle, time.Second)
	atLeast("start-timeout", c.StartTimeout, time.Second)
	atLeast("drain-timeout", c.DrainTimeout, c.DrainIdle)
	if c.Output == "" {
		refuse("output is empty: name a directory for the verdict and the report")
	} else if info, err := os.Stat(c.Output); err == nil && !info.IsDir() {
		refuse("output %s is a file: name a directory", c.Output)
	}
	return errors.Join(errs...)
}

// replicas is the replication factor of a side, as the design has it (3 and 2) unless said otherwise.
func (c *Config) replicas(side string) int {
	set, designed := c.Replicas, 3
	if side == Destination {
		set, designed = c.DestinationReplicas, 2
	}
	if set > 0 {
		return set
	}
	return min(designed, c.Brokers)
}

// cacheDir is where the jars are, by default below the user's cache directory.
func (c *Config) cacheDir() (string, error) {
	if c.CacheDir != "" {
		return filepath.Abs(c.CacheDir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place to keep the Kafka jars, name one with --cache-dir: %w", err)
	}
	return filepath.Join(dir, "kafka-mirror-tester"), nil
}
