package main

import (
	"context"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/consume"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/serve"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/wallclock"
	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

func consumeCommand(a *app) *cobra.Command {
	var from connect.Config
	var c consume.Config
	var h serve.Config
	from.SetDefaults()
	c.SetDefaults()
	c.ID = "consumer"
	var clockOf func() *wallclock.Clock
	cmd := a.command(&cobra.Command{
		Use:   "consume",
		Short: "Verify what arrives at the destination cluster",
		Long: `Read what arrives at the destination cluster, verify every record, and keep what was
seen of each partition together with the next offset in a ledger. Topics that do not
exist yet are waited for. Runs until it is stopped; started again, it goes on exactly
where its last snapshot ends.`,
		Example: `  loadgen consume --test-id t1 --topics load --bootstrap-servers kafka-destination:9092
  loadgen consume --test-id t1 --topics load --instances 4 --index 0 --id consumer-0 --bootstrap-servers kafka-destination:9092
  loadgen consume --test-id t1 --topics load --consumer-group t1 --id consumer-0 --bootstrap-servers kafka-destination:9092`,
	}, func(ctx context.Context) error {
		opts, err := a.reach(ctx, &from)
		if err != nil {
			return err
		}
		registry, clock := newRegistry(), clockOf()
		r, err := consume.New(c, consume.Deps{Options: opts, Logger: a.log, Registerer: ofTest(registry, c.TestID), Clock: clock})
		if err != nil {
			return err
		}
		stop, err := a.serve(h, registry, r.Ready, handlerOf(clock))
		if err != nil {
			return err
		}
		defer stop()
		defer letGarbageGather()()
		return r.Run(ctx)
	}, &from, &c, &h)
	f := cmd.Flags()
	testFlag(cmd, &c.TestID)
	f.StringVar(&c.ID, "id", c.ID, "name of this consumer in logs and in the ledger")
	bootstrapFlag(cmd, &from)
	topicsFlag(cmd, &c.Topics)
	settingsFlag(cmd, &c.SettingsFile)
	f.StringVar(&c.Group, "consumer-group", c.Group, "consumer group that shares the partitions out (empty: a fixed share, as below)")
	f.IntVar(&c.Instances, "instances", c.Instances, "consumers among which the partitions are divided")
	f.IntVar(&c.Index, "index", c.Index, "which of them this one is, from 0")
	f.DurationVar(&c.SnapshotInterval, "snapshot-interval", c.SnapshotInterval, "how often the ledger is stored")
	f.DurationVar(&c.MetadataInterval, "metadata-interval", c.MetadataInterval, "how often new topics and partitions are looked for")
	f.DurationVar(&c.ShutdownTimeout, "shutdown-timeout", c.ShutdownTimeout, "bound on the stop")
	ledgerFlag(cmd, &c.LedgerReplicas)
	httpFlags(cmd, &h, metrics.ConsumerPort)
	clockOf = clockFlag(cmd)
	a.securityFlags(cmd, &from)
	return cmd
}

// spare is how much more garbage a consumer lets gather than Go's collector would
// by itself. What it keeps is little and what it reads is much, so the collector
// would run for every few fetches: with this it takes a tenth less CPU, and up to
// 64 MiB more memory however much it keeps (see docs/performance.md).
const spare = 64 << 20

// letGarbageGather does so until the function it returns is called: the collector
// waits until there is as much garbage as there is memory in use, and memory that
// nobody touches counts and costs nothing. Who sets GOGC or GOMEMLIMIT knows better.
func letGarbageGather() (end func()) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	untouched := make([]byte, spare)
	return func() { runtime.KeepAlive(untouched) }
}
