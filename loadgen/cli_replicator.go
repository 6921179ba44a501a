package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/register"
)

func replicatorCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:     "replicator",
		Short:   "Tell a replicator what to copy",
		Example: `  loadgen replicator register --replicator ureplicator --url http://ureplicator:9000 --topics load --num-partitions 150`,
	}, replicatorRegisterCommand(a))
}

func replicatorRegisterCommand(a *app) *cobra.Command {
	var c register.Config
	c.SetDefaults()
	cmd := a.command(&cobra.Command{
		Use:   "register",
		Short: "Register topics with a replicator, and wait until it copies them",
		Long: `Register topics with a replicator over its REST interface, and wait until it says
that it copies them. Running it again changes nothing.

uReplicator is told of each topic, once enough workers are alive. Brooklin gets one
datastream for all. MirrorMaker 2 finds topics by itself: there is nothing to do.`,
		Example: `  loadgen replicator register --replicator ureplicator --url http://ureplicator:9000 --topics load,kmt-selftest:1 --num-partitions 150

  # the topic has grown, at the destination too: tell uReplicator
  loadgen replicator register --replicator ureplicator --url http://ureplicator:9000 --topics load --num-partitions 300 --partition-growth cure

  loadgen replicator register --replicator brooklin --url http://brooklin:32311 --topics load --topic-pattern '^(load.*)$' --source-bootstrap-servers kafka-source:9092`,
	}, func(ctx context.Context) error {
		done, err := register.Register(ctx, c, a.log)
		for _, s := range done.Left {
			a.log.Warn(s)
		}
		if err != nil {
			for _, s := range done.Changed {
				a.log.Warn(s)
			}
			return err
		}
		for _, s := range done.Changed {
			if _, err := fmt.Fprintln(a.stdout, s); err != nil {
				return err
			}
		}
		for _, s := range done.Unchanged {
			if _, err := fmt.Fprintln(a.stdout, "unchanged:", s); err != nil {
				return err
			}
		}
		return nil
	}, &c)
	f := cmd.Flags()
	f.StringVar(&c.Replicator, "replicator", c.Replicator, "ureplicator, brooklin, mirrormaker2 or none")
	f.StringVar(&c.URL, "url", c.URL, "address of the replicator's REST interface, http://HOST:PORT")
	f.StringSliceVar(&c.Topics, "topics", c.Topics, "topics, NAME or NAME:PARTITIONS")
	f.IntVar(&c.Partitions, "num-partitions", c.Partitions, "partitions of each topic that does not say")
	f.StringVar(&c.Growth, "partition-growth", c.Growth, "what is done about partitions that uReplicator does not know of: none, cure or destinationFirst")
	f.IntVar(&c.Instances, "instances", c.Instances, "uReplicator workers that must be alive first")
	f.DurationVar(&c.Settle, "settle", c.Settle, "how long their number must have stayed the same")
	f.DurationVar(&c.Timeout, "timeout", c.Timeout, "how long to try")
	f.StringSliceVar(&c.Source, "source-bootstrap-servers", c.Source, "Brooklin: addresses of some brokers to copy from, host:port")
	f.StringVar(&c.Pattern, "topic-pattern", c.Pattern, "Brooklin: regular expression for the topics to copy (default --topics)")
	f.StringVar(&c.Datastream, "datastream", c.Datastream, "Brooklin: name of the datastream and its consumer group")
	completeWith(cmd, "replicator", register.UReplicator, register.Brooklin, register.MirrorMaker2, register.None)
	completeWith(cmd, "partition-growth", register.GrowthNone, register.GrowthCure, register.GrowthDestinationFirst)
	return cmd
}
