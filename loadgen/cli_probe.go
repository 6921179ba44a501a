package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/probe"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

func probeCommand(a *app) *cobra.Command {
	var probes []*cobra.Command
	for _, name := range probe.Names() {
		probes = append(probes, oneProbeCommand(a, name))
	}
	return a.group(&cobra.Command{
		Use:   "probe",
		Short: "Show by small experiments what a replicator does with unusual records",
		Long: `Write known records to a topic of its own at the source, wait until the replicator has
brought them, and compare both clusters' logs exactly: what a load of one kind of record
cannot show. The topic gets a fresh name that begins with "` + probe.TopicPrefix + `"; the replicator must
copy such topics and keep their names.`,
		Example: `  loadgen probe fidelity --source-bootstrap-servers kafka-source:9092 --destination-bootstrap-servers kafka-destination:9092`,
	}, probes...)
}

func oneProbeCommand(a *app, name string) *cobra.Command {
	var source, destination connect.Config
	var c probe.Config
	var output string
	var asJSON bool
	source.SetDefaults()
	destination.SetDefaults()
	c.SetDefaults()
	c.Probe = name
	checks, about := probe.Checks(name)
	var long strings.Builder
	fmt.Fprintf(&long, "Look at %s. What must hold:\n\n", probe.About(name))
	for i := range checks {
		fmt.Fprintf(&long, "  %-22s %s\n", checks[i], about[i])
	}
	long.WriteString(`
--allow names those that are measured and may fail. Waiting ends when the replicator has
made no progress for --idle.`)
	cmd := a.command(&cobra.Command{
		Use:   name,
		Short: "Look at " + probe.About(name),
		Long:  long.String(),
		Example: fmt.Sprintf(`  loadgen probe %[1]s --source-bootstrap-servers kafka-source:9092 --destination-bootstrap-servers kafka-destination:9092
  loadgen probe %[1]s --source-bootstrap-servers kafka-source:9092 --destination-bootstrap-servers kafka-destination:9092 --allow %[2]s --output %[1]s.json`,
			name, checks[len(checks)-1]),
	}, func(ctx context.Context) error {
		sourceOpts, destinationOpts, err := a.reachBoth(ctx, &source, &destination)
		if err != nil {
			return err
		}
		doc, err := probe.Run(ctx, c, probe.Deps{Source: sourceOpts, Destination: destinationOpts, Logger: a.log})
		if err != nil {
			return err
		}
		doc.Versions = readBuild().versions()
		if output != "" {
			if err := writeProbe(output, doc); err != nil {
				return err
			}
		}
		if asJSON {
			err = doc.Write(a.stdout)
		} else {
			err = doc.Summary(a.stdout)
		}
		if err != nil {
			return err
		}
		switch doc.Outcome {
		case verdict.Holds:
			return nil
		case verdict.Broken:
			return verdictError(exitBroken)
		default:
			return verdictError(exitCannotSay)
		}
	}, &bothClusters{&source, &destination}, &c)
	bothBootstrapFlags(cmd, &source, &destination)
	f := cmd.Flags()
	f.StringVar(&c.Topic, "topic", c.Topic, "topic of the probe, empty or not there yet (default a fresh one, "+probe.TopicPrefix+name+"-…)")
	f.IntVar(&c.Partitions, "num-partitions", c.Partitions, "partitions of the topic")
	f.IntVar(&c.Replicas, "num-replicas", c.Replicas, "replicas at the source (0: as many as there are brokers, up to 3)")
	f.IntVar(&c.DestinationReplicas, "destination-replicas", c.DestinationReplicas, "replicas at the destination (0: as many as there are brokers, up to 3)")
	f.StringToStringVar(&c.TopicConfig, "topic-config", c.TopicConfig, "more settings of the topic on both sides, key=value")
	f.BoolVar(&c.ReplicatorCreates, "replicator-creates", c.ReplicatorCreates, "leave it to the replicator to make the topic at the destination")
	f.StringSliceVar(&c.Allow, "allow", c.Allow, "checks that may fail")
	completeWith(cmd, "allow", checks...)
	f.DurationVar(&c.Idle, "idle", c.Idle, "give up waiting when the replicator has made no progress for so long")
	f.DurationVar(&c.Settle, "settle", c.Settle, "watch the destination for what comes late for so long, after all has arrived")
	switch name {
	case probe.Fidelity:
		f.StringSliceVar(&c.Compressions, "compression", c.Compressions, "compressions to write with; a replicator with an old client may stop at one that it does not know")
		completeWith(cmd, "compression", probe.Compressions()...)
		f.BoolVar(&c.Negative, "negative-timestamp", c.Negative, "send a record with a timestamp before 1970 in the end; MirrorMaker 2 stops at it for good")
	case probe.Offsets:
		f.IntVar(&c.Records, "records", c.Records, "records in each partition")
		f.StringVar(&c.Group, "consumer-group", c.Group, "consumer group that fails over (default a fresh one)")
		f.IntVar(&c.MaxReread, "max-reread", c.MaxReread, "how many records the group may read twice (-1: any number)")
	case probe.Compaction:
		f.IntVar(&c.Records, "keys", c.Records, "keys in each partition")
		f.BoolVar(&c.CompactFirst, "compact-first", c.CompactFirst, "wait until the source's log is compacted before looking at the destination; a replicator that you stop meanwhile reads a log with holes")
	case probe.Sizes:
		f.Var(&c.ProducerLimit, "producer-limit", "largest request of the replicator's producer (Java: max.request.size), around which sizes are tried")
		f.Var(&c.MustArrive, "must-arrive", "size of a batch up to which records have to arrive (0B: what the destination's topic takes)")
	}
	f.StringVar(&output, "output", output, "write the result to this file too, as JSON")
	f.BoolVar(&asJSON, "json", asJSON, "print JSON")
	f.BoolVar(&c.Remove, "remove", c.Remove, "remove the topic in the end; a replicator may complain, or make it again")
	a.securityFlags(cmd, &source)
	return cmd
}

// writeProbe writes the document whole or not at all.
func writeProbe(path string, doc *probe.Document) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the output's directory: %w", err)
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".probe-*")
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	defer os.Remove(file.Name()) // in vain after the renaming
	if err := doc.Write(file); err != nil {
		file.Close()
		return err
	}
	if err := file.Chmod(0o644); err != nil {
		file.Close()
		return fmt.Errorf("write the result: %w", err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}
