package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/produce"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/serve"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/wallclock"
	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

func produceCommand(a *app) *cobra.Command {
	var to connect.Config
	var c produce.Config
	var h serve.Config
	to.SetDefaults()
	c.SetDefaults()
	c.NumPartitions = 0 // not given
	var cmd *cobra.Command
	var clockOf func() *wallclock.Clock
	cmd = a.command(&cobra.Command{
		Use:   "produce",
		Short: "Put a known load on the source cluster",
		Long: `Put a known load on the source cluster: records are due at times that do not depend
on how fast the cluster answers, and a ledger keeps which of them it acknowledged.
Ends when --duration or --records is reached, or with a signal: then it waits for
what was sent and closes the ledger, for --shutdown-timeout at most.`,
		Example: `  loadgen produce --test-id t1 --id producer-1 --topics load --num-partitions 12 --num-replicas 3 \
    --throughput 20k/s --message-size 1kB --bootstrap-servers kafka-source:9092
  loadgen produce --test-id t1 --id producer-1 --topics load --num-partitions 12 --duration 1h \
    --throughput 100MB/s --compressibility 0.5 --compression lz4 --bootstrap-servers kafka-source:9092`,
	}, func(ctx context.Context) error {
		opts, err := a.reach(ctx, &to)
		if err != nil {
			return err
		}
		registry, clock := newRegistry(), clockOf()
		p, err := produce.New(c, produce.Deps{Options: opts, Logger: a.log, Registerer: ofTest(registry, c.TestID), Clock: clock})
		if err != nil {
			return err
		}
		stop, err := a.serve(h, registry, p.Ready, handlerOf(clock))
		if err != nil {
			return err
		}
		defer stop()
		return p.Run(ctx)
	}, &to, validation(func() error {
		f := cmd.Flags()
		c.CreateTopics = f.Changed("num-partitions")
		var err error
		if !c.CreateTopics && (f.Changed("num-replicas") || f.Changed("retention")) {
			err = errors.New("--num-replicas and --retention are for topics that are created: give --num-partitions too, or leave them out")
		}
		return errors.Join(err, c.Validate())
	}), &h)
	f := cmd.Flags()
	testFlag(cmd, &c.TestID)
	f.StringVar(&c.ID, "id", c.ID, "name of this producer; no two of a test share it, and it keeps it when it is started again")
	bootstrapFlag(cmd, &to)
	topicsFlag(cmd, &c.Topics)
	f.Var(&c.Throughput, "throughput", "rate of each topic: records (20k/s), bytes (100MB/s) or max")
	f.Var(&c.MessageSize, "message-size", "size of a message's value")
	f.DurationVar(&c.Duration, "duration", c.Duration, "how long the load runs (0: until it is stopped)")
	f.Uint64Var(&c.Records, "records", c.Records, "records for each topic (0: no bound)")
	settingsFlag(cmd, &c.SettingsFile)
	f.BoolVar(&c.UseMessageHeaders, "use-message-headers", c.UseMessageHeaders, "carry the identity in headers, not in the value")
	f.StringVar(&c.Keys, "keys", c.Keys, "keys: balanced (an even load on all partitions) or seed (the original tool's)")
	f.Float64Var(&c.Compressibility, "compressibility", c.Compressibility, "part of the payload that compression can take away, 0 to 1")
	f.IntVar(&c.NumPartitions, "num-partitions", c.NumPartitions, "create topics that do not exist, with so many partitions; those that do must have as many (not given: the topics must exist)")
	f.IntVar(&c.NumReplicas, "num-replicas", c.NumReplicas, "replicas of each partition (0: as many as there are brokers, up to 3)")
	f.DurationVar(&c.Retention, "retention", c.Retention, "how long records are kept (0: the cluster's default)")
	f.StringVar(&c.Acks, "acks", c.Acks, "who must have a record before it counts as sent: all, 1 (the leader) or 0 (nobody)")
	f.BoolVar(&c.Idempotent, "idempotent", c.Idempotent, "have the cluster drop what the client sends twice")
	f.StringVar(&c.Compression, "compression", c.Compression, "compression of batches: none, gzip, snappy, lz4 or zstd")
	f.DurationVar(&c.Linger, "linger", c.Linger, "how long a record may wait for others to share its batch")
	f.Var(&c.MaxBuffered, "max-buffered", "memory for records that are not acknowledged yet; what does not fit is shed")
	f.IntVar(&c.MaxInFlight, "max-in-flight", c.MaxInFlight, "requests under way to each broker, if not idempotent (0: 1)")
	f.DurationVar(&c.DeliveryTimeout, "delivery-timeout", c.DeliveryTimeout, "give up records not acknowledged for so long (0: never)")
	f.DurationVar(&c.ShutdownTimeout, "shutdown-timeout", c.ShutdownTimeout, "bound on the stop")
	f.DurationVar(&c.SnapshotInterval, "snapshot-interval", c.SnapshotInterval, "how often the ledger is stored")
	f.DurationVar(&c.MetadataInterval, "metadata-interval", c.MetadataInterval, "how often new partitions are looked for")
	ledgerFlag(cmd, &c.LedgerReplicas)
	httpFlags(cmd, &h, metrics.ProducerPort)
	clockOf = clockFlag(cmd)
	a.securityFlags(cmd, &to)
	completeWith(cmd, "keys", message.KeysBalanced, message.KeysSeed)
	completeWith(cmd, "acks", produce.AcksAll, produce.AcksLeader, produce.AcksNone)
	completeWith(cmd, "compression", "none", "gzip", "snappy", "lz4", "zstd")
	return cmd
}
