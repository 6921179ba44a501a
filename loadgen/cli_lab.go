package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/AppsFlyer/kafka-mirror-tester/lab"
	"github.com/AppsFlyer/kafka-mirror-tester/lab/ocean"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

func labCommand(a *app) *cobra.Command {
	var c lab.Config
	var t labTest
	var expect expectations
	c.SetDefaults()
	t.setDefaults()
	var cmd *cobra.Command
	cmd = a.command(&cobra.Command{
		Use:   "lab",
		Short: "Test a real replicator between real Kafka clusters on this machine",
		Long: `Start two Kafka clusters with ZooKeeper and a replicator as child processes, put
load on the source, kill a broker and bring it back, and end with a verdict and a
report. Needs Java 11 or newer and, the first time, Maven and a network.

MirrorMaker 2 comes with Kafka. uReplicator and Brooklin are in no registry: make a
directory of their jars, as the README says, and name it by --ureplicator-home or
--brooklin-home. They need root on Linux besides.

As root on Linux each process is in a network namespace of its own, and between the
two sides lies an ocean of 40 ms each way. What is less true without stands in the
report.

With --source-bootstrap and --destination-bootstrap the clusters are yours: the lab
puts load on them and verifies, and runs a replicator unless told --replicator none.
What you do to them in the meantime is marked in the report by loadgen mark.`,
		Example: `  loadgen lab
  loadgen lab --throughput 5MB/s --duration 5m --kill destination
  loadgen lab --replicator ureplicator --ureplicator-home ~/ureplicator --workers 2
  loadgen lab --ocean tun --delay 100ms --jitter 20ms --loss 0.1
  loadgen lab --source-bootstrap kafka-source:9092 --destination-bootstrap kafka-destination:9092 --replicator none
  loadgen lab --kill none --expect 'duplicates<=0' --expect 'latency.p99<=5s'`,
	}, func(ctx context.Context) error {
		l, err := lab.New(c, a.log, a.stdout)
		if err != nil {
			return err
		}
		code, err := lab.Run(ctx, l, t.Test)
		if err == nil && code != exitHolds {
			err = verdictError(code)
		}
		return err
	}, &c, validation(func() error {
		t.Baseline.Destination.Expectations = expect.texts()
		t.killAsked = cmd.Flags().Changed("kill")
		return t.complete(c, a)
	}))
	f := cmd.Flags()
	b := &t.Baseline
	f.StringSliceVar(&b.Source.Topics, "topics", b.Source.Topics, "topics under load")
	f.Var(&b.Source.Throughput, "throughput", "rate of each producer on each topic: records (20k/s), bytes (5MB/s) or max")
	f.Var(&b.Source.MessageSize, "message-size", "size of a message's value")
	f.DurationVar(&t.Duration, "duration", t.Duration, "how long the load runs")
	f.StringVar(&t.Kill, "kill", t.Kill, "side of the broker that is killed: source, destination or none")
	f.DurationVar(&t.KillAfter, "kill-after", t.KillAfter, "time from the start of the load to the kill")
	f.DurationVar(&t.KillFor, "kill-for", t.KillFor, "time from the kill to the broker's return")
	expectFlag(cmd, &expect)
	f.StringVar(&c.Output, "output", c.Output, "directory of verdict.json and report.html")
	f.IntVar(&b.Source.Brokers, "brokers", b.Source.Brokers, "brokers in each cluster")
	f.IntVar(&b.Source.Partitions, "num-partitions", b.Source.Partitions, "partitions of each topic")
	f.IntVar(&t.replicas, "num-replicas", t.replicas, "replicas in the source (0: 3, or as many as there are brokers)")
	f.IntVar(&t.destinationReplicas, "destination-replicas", t.destinationReplicas, "replicas in the destination (0: 2, or as many as there are brokers)")
	f.DurationVar((*time.Duration)(&b.Source.Retention), "retention", time.Duration(b.Source.Retention), "retention of the topics")
	f.IntVar(&b.Source.Producers, "producers", b.Source.Producers, "producer processes")
	f.IntVar(&b.Destination.Consumers, "consumers", b.Destination.Consumers, "consumer processes")
	f.StringVar(&b.Destination.Replicator, "replicator", b.Destination.Replicator, "replicator: mirrormaker2, ureplicator, brooklin or none")
	f.IntVar(&b.Destination.Workers, "workers", b.Destination.Workers, "workers: nodes of MirrorMaker 2, which share its tasks, uReplicator's workers, or Brooklin's servers")
	f.IntVar(&b.Destination.Controllers, "controllers", b.Destination.Controllers, "uReplicator's controllers")
	f.IntVar(&t.tasks, "replicator-tasks", t.tasks, "MirrorMaker 2's tasks.max")
	f.DurationVar(&t.refresh, "refresh-interval", t.refresh, "how often the replicator looks for new topics")
	f.StringToStringVar(&t.replicatorConfig, "replicator-config", t.replicatorConfig, "more of the replicator's configuration, key=value")
	f.StringToStringVar(&b.Source.KafkaConfig, "broker-config", b.Source.KafkaConfig, "more of every broker's configuration, key=value")
	f.BoolVar(&b.Secure, "secure", b.Secure, "clusters with TLS and SASL, with certificates and a password of their own")
	f.BoolVar(&c.Keep, "keep", c.Keep, "leave logs and the clusters' data on disk")
	f.DurationVar(&c.StartTimeout, "start-timeout", c.StartTimeout, "bound on each start")
	f.DurationVar(&c.DrainTimeout, "drain-timeout", c.DrainTimeout, "bound on the drain")
	a.labFlags(cmd, &c)
	cmd.AddCommand(labCleanCommand(a), labOceanCommand(a))
	completeWith(cmd, "kill", lab.Source, lab.Destination, lab.None)
	completeWith(cmd, "replicator", scenario.MirrorMaker2, scenario.UReplicator, scenario.Brooklin, scenario.NoReplicator)
	return cmd
}

// labFlags adds the flags of how the lab uses this machine, or clusters that exist.
func (a *app) labFlags(cmd *cobra.Command, c *lab.Config) {
	f := cmd.Flags()
	f.StringVar(&c.Ocean, "ocean", c.Ocean, "what lies between the clusters: tun (network namespaces and an emulator; needs root on Linux), proxy (TCP proxies), off, or auto (tun where it can be had, else proxy)")
	f.DurationVar(&c.Delay, "delay", c.Delay, "delay of each packet that crosses the ocean, one way")
	f.DurationVar(&c.Jitter, "jitter", c.Jitter, "how far that delay varies")
	f.Float64Var(&c.Loss, "loss", c.Loss, "percent of the packets that the ocean loses")
	f.Var(&c.Bandwidth, "bandwidth", "bytes that the ocean carries per second each way, such as 100MB (0B: without limit)")
	f.BoolVar(&c.Prometheus, "prometheus", c.Prometheus, "watch everything by a Prometheus with the alert rules, and keep its data with the report; dashboards are drawn from it by loadgen dashboards render")
	f.StringVar(&c.Java, "java", c.Java, "path of java (default JAVA_HOME's, or the one on PATH)")
	f.StringVar(&c.UReplicatorHome, "ureplicator-home", c.UReplicatorHome, "directory of the jars of uReplicator and of all that it needs")
	f.StringVar(&c.BrooklinHome, "brooklin-home", c.BrooklinHome, "directory of the jars of Brooklin and of all that it needs")
	f.DurationVar(&c.DrainIdle, "drain-idle", c.DrainIdle, "the drain ends when the replicator has moved nothing for so long, but not before 4m for uReplicator and 6m for Brooklin, which may go on by themselves")
	f.StringVar(&c.CacheDir, "cache-dir", c.CacheDir, "directory of Kafka's jars (default the user's cache directory)")
	f.StringSliceVar(&c.SourceServers, "source-bootstrap", nil, "brokers of a source cluster that exists, host:port: the lab then runs only the load tools, and the replicator")
	f.StringSliceVar(&c.DestinationServers, "destination-bootstrap", nil, "brokers of a destination cluster that exists")
	a.securityFlags(cmd, &c.Access)
	completeWith(cmd, "ocean", lab.OceanAuto, lab.OceanOff, lab.OceanTUN, lab.OceanProxy)
}

func labOceanCommand(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:   "ocean",
		Short: "Measure the lab's ocean on this machine",
		Long: `Make an ocean without any cluster, and measure it: round trips, and what one TCP
connection carries with and without loss, with small and large socket buffers. Takes
about two and a half minutes, and writes tables in Markdown. On a machine with other
things to do the figures are worse. Needs root on Linux, and TUN devices.`,
		Example: "  loadgen lab ocean\n  loadgen lab ocean > ocean.md",
	}, func(ctx context.Context) error {
		a.log.Info("measuring the ocean: this takes about two and a half minutes")
		if err := ocean.Measure(ctx, a.stdout); err != nil {
			return fmt.Errorf("measure the ocean: %w", err)
		}
		return nil
	})
}

func labCleanCommand(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:   "clean",
		Short: "End and remove what a lab has left that was killed",
		Long: `End the processes of labs that were killed, unmount their slow disks and remove their
temporary directories. Labs that run are left alone.`,
		Example: "  loadgen lab clean",
	}, func(context.Context) error {
		done, err := lab.Clean()
		for _, line := range done {
			_, said := fmt.Fprintln(a.stdout, line)
			err = errors.Join(err, said)
		}
		if err == nil && len(done) == 0 {
			_, err = fmt.Fprintln(a.stdout, "nothing was left")
		}
		return err
	})
}

// labTest is a lab.Test as flags describe it: most of them are for both sides.
type labTest struct {
	lab.Test
	killAsked                            bool // --kill was given
	replicas, destinationReplicas, tasks int
	refresh                              time.Duration
	replicatorConfig                     map[string]string
}

func (t *labTest) setDefaults() {
	t.Test.SetDefaults()
	t.tasks, t.refresh = 2, 10*time.Second
}

// complete makes the baseline of what the flags say, and reports every mistake.
func (t *labTest) complete(c lab.Config, a *app) error {
	s, d := &t.Baseline.Source, &t.Baseline.Destination
	t.Baseline.TopicPattern = lab.PatternOf(s.Topics)
	d.Brokers, d.Partitions, d.Topics, d.Retention, d.KafkaConfig = s.Brokers, s.Partitions, s.Topics, s.Retention, s.KafkaConfig
	s.ReplicationFactor, d.ReplicationFactor = t.replicas, t.destinationReplicas
	if t.replicas == 0 {
		s.ReplicationFactor = max(1, min(3, s.Brokers))
	}
	if t.destinationReplicas == 0 {
		d.ReplicationFactor = max(1, min(2, d.Brokers))
	}
	s.MinInsyncReplicas, d.MinInsyncReplicas = 1, 1
	if s.ReplicationFactor > 2 {
		s.MinInsyncReplicas = 2 // with two replicas, one dead broker would already stop acks=all
	}
	var errs []error
	if c.SourceServers != nil || c.DestinationServers != nil {
		if t.killAsked && t.Kill != lab.None {
			errs = append(errs, fmt.Errorf("kill is %q: the lab does not run the clusters that exist: leave it out, kill a broker by hand, and tell it with loadgen mark", t.Kill))
		}
		t.Kill = lab.None
	}
	errs = append(errs, t.Test.Validate())
	d.ReplicatorConfig = t.replicatorConfig
	if d.Replicator == scenario.MirrorMaker2 {
		if t.refresh < time.Second || t.refresh%time.Second != 0 {
			errs = append(errs, fmt.Errorf("refresh-interval is %s: must be whole seconds, at least 1s", t.refresh))
		}
		d.ReplicatorConfig = map[string]string{
			"tasks.max":                       strconv.Itoa(t.tasks),
			"refresh.topics.interval.seconds": strconv.Itoa(int(t.refresh / time.Second)),
		}
		maps.Copy(d.ReplicatorConfig, t.replicatorConfig)
	}
	l, err := lab.New(c, a.log, io.Discard)
	if err != nil {
		if c.Validate() == nil { // whose mistakes are reported by itself
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	return errors.Join(append(errs, l.Check([]scenario.Config{t.Baseline}))...)
}
