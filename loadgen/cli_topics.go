package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/topics"
)

func topicsCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "topics",
		Short: "Create, apply, describe and grow topics",
		Example: `  loadgen topics create --bootstrap-servers 127.0.0.1:9092 --topics load --num-partitions 12
  loadgen topics describe --bootstrap-servers 127.0.0.1:9092 --topics load`,
	}, topicsCreateCommand(a), topicsApplyCommand(a), topicsDescribeCommand(a), topicsGrowCommand(a))
}

func topicsCreateCommand(a *app) *cobra.Command {
	var to connect.Config
	var c topics.Config
	to.SetDefaults()
	c.SetDefaults()
	cmd := a.command(&cobra.Command{
		Use:   "create",
		Short: "Create topics",
		Example: `  # on the source: 12 partitions, three replicas, two of which must have each record
  loadgen topics create --bootstrap-servers kafka-source:9092 --topics load --num-partitions 12 --num-replicas 3 --min-insync-replicas 2

  # on the destination: latency is measured to the time the broker appends a record
  loadgen topics create --bootstrap-servers kafka-destination:9092 --topics load --num-partitions 12 --log-append-time`,
	}, func(ctx context.Context) error {
		client, err := a.dial(ctx, &to)
		if err != nil {
			return err
		}
		defer client.Close()
		if err := topics.Create(ctx, client, c); err != nil {
			return err
		}
		return a.println("created", c.Names)
	}, &to, &c)
	bootstrapFlag(cmd, &to)
	topicsFlag(cmd, &c.Names)
	topicShapeFlags(cmd, &c)
	a.securityFlags(cmd, &to)
	return cmd
}

func topicsApplyCommand(a *app) *cobra.Command {
	var to connect.Config
	var c topics.Config
	var grow bool
	limit := patience(5 * time.Minute)
	to.SetDefaults()
	c.SetDefaults()
	cmd := a.command(&cobra.Command{
		Use:   "apply",
		Short: "Create topics that do not exist, and bring those that do to what is asked for",
		Long: `Create the topics that do not exist; add partitions to those that have fewer; change
the settings that are given and otherwise. A topic with more partitions than asked for
is an error, since partitions cannot shrink. While brokers do not answer it is tried
again, for --timeout at most.`,
		Example: `  loadgen topics apply --bootstrap-servers kafka-source:9092 --topics load --num-partitions 150 --num-replicas 3 --min-insync-replicas 2
  loadgen topics apply --bootstrap-servers kafka-destination:9092 --topics load --num-partitions 150 --num-replicas 2 --log-append-time --grow=false`,
	}, func(ctx context.Context) error {
		return a.insist(ctx, limit, topics.Refused, func(ctx context.Context) error {
			client, err := a.dial(ctx, &to)
			if err != nil {
				return err
			}
			defer client.Close()
			done, err := topics.Apply(ctx, client, c, grow)
			err = errors.Join(err, a.println("created", done.Created), a.println("grown", done.Grown))
			for _, change := range done.Changed {
				_, said := fmt.Fprintln(a.stdout, change)
				err = errors.Join(err, said)
			}
			for _, left := range done.Left {
				a.log.Warn(left)
			}
			if err != nil {
				return err
			}
			return a.println("as asked:", c.Names)
		})
	}, &to, &c, &limit)
	bootstrapFlag(cmd, &to)
	topicsFlag(cmd, &c.Names)
	topicShapeFlags(cmd, &c)
	cmd.Flags().BoolVar(&grow, "grow", true, "add partitions to topics that have fewer (--grow=false: leave topics that exist with the partitions they have)")
	limit.flag(cmd)
	a.securityFlags(cmd, &to)
	return cmd
}

func (a *app) println(what string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(a.stdout, "%s %s\n", what, strings.Join(names, " "))
	return err
}

func topicsDescribeCommand(a *app) *cobra.Command {
	var to connect.Config
	var names topics.Names
	var asJSON bool
	to.SetDefaults()
	cmd := a.command(&cobra.Command{
		Use:   "describe",
		Short: "Show partitions, replicas and settings of topics",
		Example: `  loadgen topics describe --bootstrap-servers 127.0.0.1:9092 --topics load
  loadgen topics describe --bootstrap-servers 127.0.0.1:9092 --topics load --json`,
	}, func(ctx context.Context) error {
		client, err := a.dial(ctx, &to)
		if err != nil {
			return err
		}
		defer client.Close()
		described, err := topics.Describe(ctx, client, names)
		if err != nil {
			return err
		}
		if asJSON {
			enc := json.NewEncoder(a.stdout)
			enc.SetIndent("", "  ")
			return enc.Encode(described)
		}
		return a.printTopics(described)
	}, &to, &names)
	bootstrapFlag(cmd, &to)
	topicsFlag(cmd, (*[]string)(&names))
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	a.securityFlags(cmd, &to)
	return cmd
}

func (a *app) printTopics(described []topics.Description) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TOPIC\tPARTITIONS\tREPLICAS\tLEADERLESS\tUNDER-REPLICATED\tSETTINGS")
	for _, d := range described {
		var settings []string
		for _, s := range d.SortedSettings() {
			settings = append(settings, s.Name+"="+s.Value)
		}
		if d.SettingsError != "" {
			settings = []string{d.SettingsError}
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%s\n", d.Name, d.Partitions, d.Replicas, d.Leaderless, d.UnderReplicated, strings.Join(settings, " "))
	}
	return w.Flush()
}

func topicsGrowCommand(a *app) *cobra.Command {
	var to connect.Config
	var c topics.Growth
	to.SetDefaults()
	cmd := a.command(&cobra.Command{
		Use:   "grow",
		Short: "Add partitions to topics",
		Long: `Add partitions to topics, until each has --num-partitions. Producers that write to
them follow by themselves; whether a replicator does is for the test to show.`,
		Example: `  loadgen topics grow --bootstrap-servers 127.0.0.1:9092 --topics load --num-partitions 24`,
	}, func(ctx context.Context) error {
		client, err := a.dial(ctx, &to)
		if err != nil {
			return err
		}
		defer client.Close()
		if err := topics.Grow(ctx, client, c); err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "%d partitions: %s\n", c.Partitions, strings.Join(c.Names, " "))
		return err
	}, &to, &c)
	bootstrapFlag(cmd, &to)
	topicsFlag(cmd, &c.Names)
	cmd.Flags().IntVar(&c.Partitions, "num-partitions", c.Partitions, "partitions each topic is to have")
	a.securityFlags(cmd, &to)
	return cmd
}
