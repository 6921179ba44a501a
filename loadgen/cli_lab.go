package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/AppsFlyer/kafka-mirror-tester/lab"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/produce"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
)

func labCommand(a *app) *cobra.Command {
	var c lab.Config
	var expect expectations
	c.SetDefaults()
	var rate units.Rate
	var size units.Size
	// The lab hands them on as they are; that they are right is seen here, before
	// anything is started.
	load := validation(func() error {
		if err := errors.Join(rate.Set(c.Throughput), size.Set(c.MessageSize)); err != nil {
			return err
		}
		var p produce.Config
		p.SetDefaults()
		p.TestID, p.ID, p.Topics, p.Throughput, p.MessageSize = "lab", "producer-1", c.Topics, rate, size
		return p.Validate()
	})
	cmd := a.command(&cobra.Command{
		Use:   "lab",
		Short: "Test a real replicator between real Kafka clusters on this machine",
		Long: `Start two Kafka clusters with ZooKeeper and a replicator as child processes, put
load on the source, kill a broker and bring it back, and end with a verdict and a
report. Needs Java 11 or newer and, the first time, Maven and a network.`,
		Example: `  loadgen lab
  loadgen lab --throughput 5MB/s --duration 5m --kill destination
  loadgen lab --kill none --expect 'duplicates<=0' --expect 'latency.p99<=5s'`,
	}, func(ctx context.Context) error {
		c.Expect = expect.texts()
		code, err := lab.Run(ctx, c, a.log, a.stdout)
		if err == nil && code != exitHolds {
			err = verdictError(code)
		}
		return err
	}, load, &c)
	f := cmd.Flags()
	f.StringSliceVar(&c.Topics, "topics", c.Topics, "topics under load")
	f.StringVar(&c.Throughput, "throughput", c.Throughput, "rate of each producer on each topic: records (20k/s), bytes (5MB/s) or max")
	f.StringVar(&c.MessageSize, "message-size", c.MessageSize, "size of a message's value")
	f.DurationVar(&c.Duration, "duration", c.Duration, "how long the load runs")
	f.StringVar(&c.Kill, "kill", c.Kill, "side of the broker that is killed: source, destination or none")
	f.DurationVar(&c.KillAfter, "kill-after", c.KillAfter, "time from the start of the load to the kill")
	f.DurationVar(&c.KillFor, "kill-for", c.KillFor, "time from the kill to the broker's return")
	expectFlag(cmd, &expect)
	f.DurationVar(&c.DrainIdle, "drain-idle", c.DrainIdle, "the drain ends when the replicator has moved nothing for so long")
	f.StringVar(&c.Output, "output", c.Output, "directory of verdict.json and report.html")
	f.IntVar(&c.Brokers, "brokers", c.Brokers, "brokers in each cluster")
	f.IntVar(&c.Partitions, "num-partitions", c.Partitions, "partitions of each topic")
	f.IntVar(&c.Replicas, "num-replicas", c.Replicas, "replicas in the source (0: 3, or as many as there are brokers)")
	f.IntVar(&c.DestinationReplicas, "destination-replicas", c.DestinationReplicas, "replicas in the destination (0: 2, or as many as there are brokers)")
	f.DurationVar(&c.Retention, "retention", c.Retention, "retention of the topics")
	f.IntVar(&c.Producers, "producers", c.Producers, "producer processes")
	f.IntVar(&c.Consumers, "consumers", c.Consumers, "consumer processes")
	f.StringVar(&c.Replicator, "replicator", c.Replicator, "replicator: mirrormaker2 or none")
	f.IntVar(&c.ReplicatorTasks, "replicator-tasks", c.ReplicatorTasks, "MirrorMaker 2's tasks.max")
	f.DurationVar(&c.RefreshInterval, "refresh-interval", c.RefreshInterval, "how often the replicator looks for new topics")
	f.StringToStringVar(&c.ReplicatorConfig, "replicator-config", c.ReplicatorConfig, "more of the replicator's configuration, key=value")
	f.StringToStringVar(&c.BrokerConfig, "broker-config", c.BrokerConfig, "more of every broker's configuration, key=value")
	f.StringVar(&c.Java, "java", c.Java, "path of java (default JAVA_HOME's, or the one on PATH)")
	f.StringVar(&c.CacheDir, "cache-dir", c.CacheDir, "directory of Kafka's jars (default the user's cache directory)")
	f.BoolVar(&c.Keep, "keep", c.Keep, "leave logs and the clusters' data on disk")
	f.DurationVar(&c.StartTimeout, "start-timeout", c.StartTimeout, "bound on each start")
	f.DurationVar(&c.DrainTimeout, "drain-timeout", c.DrainTimeout, "bound on the drain")
	completeWith(cmd, "kill", lab.Source, lab.Destination, lab.None)
	completeWith(cmd, "replicator", lab.MirrorMaker2, lab.None)
	return cmd
}
