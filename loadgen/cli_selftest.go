package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/selftest"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/topics"
)

func selftestCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "selftest",
		Short: "Show that clusters, replicator and kernel do what a test needs",
		Example: `  loadgen selftest kafka --bootstrap-servers kafka-source:9092 --brokers 3
  loadgen selftest replicator --source-bootstrap-servers kafka-source:9092 --destination-bootstrap-servers kafka-destination:9092`,
	}, selftestKafkaCommand(a), selftestReplicatorCommand(a), selftestNetemCommand(a))
}

func selftestKafkaCommand(a *app) *cobra.Command {
	var to connect.Config
	var brokers int
	limit := patience(5 * time.Minute)
	to.SetDefaults()
	cmd := a.command(&cobra.Command{
		Use:   "kafka",
		Short: "Have every broker of a cluster take a record and give it back",
		Long: `Wait until exactly --brokers brokers are registered, make a topic of which each of them
leads a partition alone, write a record to each and read it back, and remove the topic.`,
		Example: `  loadgen selftest kafka --bootstrap-servers kafka-source:9092 --brokers 30`,
	}, func(ctx context.Context) error {
		return a.insist(ctx, limit, connect.Denied, func(ctx context.Context) error {
			opts, err := a.reach(ctx, &to)
			if err != nil {
				return err
			}
			return selftest.Kafka(ctx, opts, brokers, a.stdout, a.log)
		})
	}, &to, &limit, validation(func() error {
		if brokers < 1 {
			return fmt.Errorf("%d brokers: say with --brokers how many the cluster has to have, 1 or more", brokers)
		}
		return nil
	}))
	bootstrapFlag(cmd, &to)
	cmd.Flags().IntVar(&brokers, "brokers", 0, "how many brokers the cluster has to have")
	limit.flag(cmd)
	a.securityFlags(cmd, &to)
	return cmd
}

func selftestReplicatorCommand(a *app) *cobra.Command {
	var source, destination connect.Config
	topic := selftest.ReplicatorTopic
	limit := patience(10 * time.Minute)
	source.SetDefaults()
	destination.SetDefaults()
	cmd := a.command(&cobra.Command{
		Use:   "replicator",
		Short: "Have a record cross from the source to the destination",
		Long: `Write a record to --topic at the source, and another every few seconds, until one of
them is read at the destination. The topic must exist at the source, and be one of those
that the replicator copies.`,
		Example: `  loadgen selftest replicator --source-bootstrap-servers kafka-source:9092 --destination-bootstrap-servers kafka-destination:9092 --topic kmt-selftest`,
	}, func(ctx context.Context) error {
		return a.insist(ctx, limit, topics.Refused, func(ctx context.Context) error {
			sourceOpts, destinationOpts, err := a.reachBoth(ctx, &source, &destination)
			if err != nil {
				return err
			}
			return selftest.Replicator(ctx, sourceOpts, destinationOpts, topic, a.stdout, a.log)
		})
	}, &bothClusters{&source, &destination}, &limit, validation(func() error { return topics.ValidateNames([]string{topic}) }))
	bothBootstrapFlags(cmd, &source, &destination)
	cmd.Flags().StringVar(&topic, "topic", topic, "topic whose records must cross")
	limit.flag(cmd)
	a.securityFlags(cmd, &source)
	return cmd
}

func selftestNetemCommand(a *app) *cobra.Command {
	return a.command(&cobra.Command{
		Use:     "netem",
		Short:   "Show that this node's kernel can lose and delay packets",
		Long:    `Add a netem queueing discipline to the loopback device and remove it. Needs the capability NET_ADMIN.`,
		Example: `  loadgen selftest netem`,
	}, func(context.Context) error { return selftest.Netem(a.stdout) })
}

// bothBootstrapFlags adds the flags for the addresses of two clusters.
func bothBootstrapFlags(cmd *cobra.Command, source, destination *connect.Config) {
	cmd.Flags().StringSliceVar(&source.BootstrapServers, "source-bootstrap-servers", nil, "addresses of some brokers of the source, host:port")
	cmd.Flags().StringSliceVar(&destination.BootstrapServers, "destination-bootstrap-servers", nil, "addresses of some brokers of the destination, host:port")
}

// reachBoth is reach for two clusters that differ in their addresses only.
func (a *app) reachBoth(ctx context.Context, source, destination *connect.Config) (sourceOpts, destinationOpts []kgo.Opt, err error) {
	same := *source
	same.BootstrapServers = destination.BootstrapServers
	sourceOpts, sourceErr := a.reach(ctx, source)
	if sourceErr != nil {
		err = fmt.Errorf("source: %w", sourceErr)
	}
	destinationOpts, destinationErr := a.reach(ctx, &same)
	if destinationErr != nil {
		err = errors.Join(err, fmt.Errorf("destination: %w", destinationErr))
	}
	return sourceOpts, destinationOpts, err
}
