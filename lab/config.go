// Package lab plays replication tests on real Apache Kafka on this machine: two clusters, a replicator
// and the load tools, all as child processes with addresses and directories of their own.
package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/lab/ocean"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
)

// The sides of a replication test. None is neither.
const (
	Source      = ocean.Source
	Destination = ocean.Destination
	None        = "none"
)

// selfTestTopic is the topic of the lab's own self-test.
const selfTestTopic = "kmt-selftest"

// Config says how the lab uses this machine. What is tested on it is a scenario.Config.
type Config struct {
	Output   string // directory of verdict.json, report.html and logs; default lab-report
	Keep     bool   // leave logs and the clusters' data on disk, whatever the outcome
	KeepLogs bool   // leave logs and configurations in Output, whatever the outcome
	Evidence string // directory that Evidence is going to be asked for, where Output does not stay: messages name the logs there; empty = none

	Prometheus       bool   // watch everything by a Prometheus
	PrometheusOutput string // directory in which its data stay; empty = Output

	Java          string // path of java; empty = JAVA_HOME's, else the one on PATH
	CacheDir      string // directory of the Kafka jars; empty = kafka-mirror-tester in os.UserCacheDir
	LoadgenBinary string // the load tools' executable; empty = this process's own

	// Directories with the jars of replicators that no registry has, and of all that they need; empty = none.
	UReplicatorHome, BrooklinHome string

	// Clusters that exist: the lab then runs the load tools only, and the replicator if it is asked to. Both
	// are reached as Access says, but for its addresses.
	SourceServers, DestinationServers []string
	Access                            connect.Config

	Ocean     string        // what lies between the clusters: auto, off, tun or proxy; default auto
	Delay     time.Duration // of each packet that crosses the ocean, one way; default 40ms
	Jitter    time.Duration // how far the delay varies, at most Delay
	Loss      float64       // percent of the packets
	Bandwidth units.Size    // bytes per second, each way; 0 is without limit

	StartTimeout time.Duration // bound on each start: of the clusters, of the replicator's first record, of a load tool; default 3m
	DrainIdle    time.Duration // the auditor's drain ends when the replicator moved nothing for so long, or longer where that may be its way; default 30s
	DrainTimeout time.Duration // bound on the auditor's drain; default 30m
}

// SetDefaults fills a fresh Config. Call it before flags are read, so that a zero given by the
// user reaches Validate.
func (c *Config) SetDefaults() {
	*c = Config{
		Output: "lab-report", Ocean: OceanAuto, Delay: 40 * time.Millisecond, DrainIdle: 30 * time.Second,
		StartTimeout: 3 * time.Minute, DrainTimeout: 30 * time.Minute,
	}
	c.Access.SetDefaults()
}

// Validate returns every mistake of the configuration at once, or nil.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	atLeast := func(key string, value, low time.Duration) {
		if value < low {
			refuse("%s is %s: must be at least %s", key, value, low)
		}
	}
	for _, side := range []struct {
		name    string
		servers []string
	}{{Source, c.SourceServers}, {Destination, c.DestinationServers}} {
		if c.existing() {
			access := c.Access
			access.BootstrapServers = side.servers
			if err := access.Validate(); err != nil {
				refuse("%s-bootstrap: %w", side.name, err)
			}
		}
	}
	if a := c.Access; !c.existing() && (a.TLS || a.TLSCAFile+a.TLSServerName+a.TLSCertFile+a.TLSKeyFile+a.SASLMechanism+a.SASLUser+a.SASLPasswordFile != "") {
		refuse("TLS or SASL is given, which is for clusters that exist: name them, or say --secure for clusters of the lab's own with TLS and SASL")
	}
	if c.existing() && c.Ocean != OceanAuto && c.Ocean != OceanOff {
		refuse("ocean is %q: between clusters that exist lies what lies there: leave it out", c.Ocean)
	}
	if all := []string{OceanAuto, OceanOff, OceanTUN, OceanProxy}; !slices.Contains(all, c.Ocean) {
		refuse("ocean is %q: must be one of %q", c.Ocean, all)
	}
	o := c.ocean()
	errs = append(errs, o.Link.Validate(), c.uReplicator().validate(), c.brooklin().validate())
	if c.Ocean == OceanProxy && c.Loss > 0 {
		refuse("loss is %v: TCP proxies lose no packets: leave it out, or use --ocean=%s", c.Loss, OceanTUN)
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

// existing reports whether the clusters are somebody else's.
func (c *Config) existing() bool { return len(c.SourceServers)+len(c.DestinationServers) > 0 }

// access is how those are reached by processes that run elsewhere; a password that was given goes into a
// file below dir.
func (c *Config) access(dir string) (connect.Config, error) {
	a := c.Access
	for _, file := range []*string{&a.TLSCAFile, &a.TLSCertFile, &a.TLSKeyFile, &a.SASLPasswordFile} {
		if *file == "" {
			continue
		}
		path, err := filepath.Abs(*file)
		if err != nil {
			return a, err
		}
		*file = path
	}
	if a.SASLMechanism == "" || a.SASLPassword == "" {
		return a, nil
	}
	a.SASLPasswordFile = filepath.Join(dir, passwordFile)
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = os.WriteFile(a.SASLPasswordFile, []byte(a.SASLPassword), 0o600)
	}
	if err != nil {
		return a, fmt.Errorf("pass the SASL password on: %w", err)
	}
	a.SASLPassword = ""
	return a, nil
}

// ocean is the network's configuration.
func (c *Config) ocean() ocean.Config {
	var o ocean.Config
	o.SetDefaults()
	o.Link = ocean.Link{Delay: c.Delay, Jitter: c.Jitter, Loss: c.Loss, Bandwidth: int64(c.Bandwidth)}
	return o
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
