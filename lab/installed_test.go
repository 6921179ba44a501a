//go:build installations

package lab

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/oracle/oracletest"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/probe"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// installed is a lab with a replicator that no registry has, from the directory that a variable names. Where
// none is named the test fails: its tag says that there is one.
func installed(t *testing.T, variable string, set func(*Config, string)) *real {
	t.Helper()
	home := os.Getenv(variable)
	if home == "" {
		t.Fatalf("%s is not set: name the directory of the replicator's jars, or leave this test out", variable)
	}
	r := newReal(t)
	cfg := r.lab.cfg
	cfg.Ocean, cfg.Delay, cfg.StartTimeout = OceanTUN, 10*time.Millisecond, 10*time.Minute
	set(&cfg, home)
	l, err := New(cfg, slog.New(slog.DiscardHandler), testOutput{t})
	r.must(err)
	r.lab = l
	t.Cleanup(func() {
		if err := l.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *real) baseline(replicator string) testConfig {
	base := small()
	base.setTopics("load")
	base.TopicPattern = "(load|probe-).*"
	base.Source.Brokers, base.Destination.Brokers, base.Destination.ReplicationFactor = 2, 1, 1
	base.Destination.Replicator, base.Destination.ReplicatorConfig = replicator, nil
	base.Destination.Workers = 2
	day := scenario.Duration(24 * time.Hour) // the truth is read from both logs in the end
	base.Source.Retention, base.Destination.Retention = day, day
	return base
}

// breakWorker has worker 1 down for some seconds, and returns when it is back.
func (r *real) breakWorker(next scenario.Config) {
	r.Helper()
	next.Destination.Fault = scenario.Fault{Kind: "worker-outage", Victims: []int{1}, Duration: scenario.Duration(10 * time.Second), Run: 1}
	r.converge(next)
	select {
	case <-r.lab.faults[Destination].ended:
	case <-time.After(10 * time.Minute):
		r.Fatal("the worker is not back")
	}
}

// probe makes a probe's topic, which nobody has told the replicator of. It writes without zstd, which both replicators' clients
// do not know: the worker of uReplicator that reads it stops for good, with all of its partitions.
func (r *real) probe() {
	r.Helper()
	var c probe.Config
	c.SetDefaults()
	c.Probe, c.Compressions = probe.Fidelity, []string{"none", "gzip", "snappy", "lz4"}
	doc, err := probe.Run(r.Context(), c, probe.Deps{
		Source: r.lab.ClientOptions(Source), Destination: r.lab.ClientOptions(Destination), Logger: slog.New(slog.DiscardHandler), Made: r.lab.Adopt,
	})
	r.must(err)
	var summary strings.Builder
	r.must(doc.Summary(&summary))
	r.Log(summary.String()) // what it does to single records is the scenario fidelity's to judge
	for _, p := range doc.Partitions {
		if !p.Complete {
			r.Errorf("the end of the probe's partition %d has not arrived", p.Partition)
		}
	}
}

// judge drains, and compares what the auditor says with what is in both clusters.
func (r *real) judge(topics ...string) {
	r.Helper()
	doc, err := r.lab.Drain(r.Context())
	r.must(err)
	_, differences := oracletest.Compare(r.Context(), r.T, doc, r.lab.Source.Options(), r.lab.Destination.Options(), topics, r.lab.expected)
	for _, d := range differences {
		r.Errorf("verdict and oracle differ: %s", d)
	}
	if doc.Verdict.Outcome != verdict.Holds {
		r.Errorf("the verdict is %s: %v", doc.Verdict.Outcome, doc.Verdict.Reasons)
	}
	for _, name := range []string{"config", "*-0.log"} {
		if found, err := filepath.Glob(filepath.Join(r.lab.logs, name)); err != nil || len(found) == 0 {
			r.Errorf("no %s is kept: %v", name, err)
		}
	}
}

// TestRealUReplicator has controllers go and come, with a topic that appears while there are none, takes the
// cure for partitions that have grown, and kills a worker.
func TestRealUReplicator(t *testing.T) {
	r := installed(t, "UREPLICATOR_HOME", func(c *Config, home string) { c.UReplicatorHome, c.KeepLogs = home, true })
	base := r.baseline(scenario.UReplicator)
	r.must(r.lab.Start(t.Context(), base.Config))

	r.probe()
	next := base.Config
	next.Destination.Controllers = 2
	r.converge(next)
	next.Destination.Controllers = 0
	r.converge(next)
	next.Source.Topics, next.Destination.Topics = []string{"load", "load2"}, []string{"load", "load2"}
	r.converge(next)
	next.Destination.Controllers = 1
	r.converge(next)
	next.Source.Partitions, next.Destination.Partitions, next.Destination.PartitionGrowth = 8, 8, scenario.GrowthCure
	r.converge(next)
	r.breakWorker(next)
	r.judge("load", "load2")
}

// TestRealBrooklin has both sides grow, the destination first, and kills a server.
func TestRealBrooklin(t *testing.T) {
	r := installed(t, "BROOKLIN_HOME", func(c *Config, home string) { c.BrooklinHome, c.KeepLogs = home, true })
	base := r.baseline(scenario.Brooklin)
	r.must(r.lab.Start(t.Context(), base.Config))

	r.probe()
	next := base.Config
	next.Source.Partitions, next.Destination.Partitions, next.Destination.PartitionGrowth = 8, 8, scenario.GrowthDestinationFirst
	r.converge(next)
	r.breakWorker(next)
	r.judge("load")
}
