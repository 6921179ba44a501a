package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/demo"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/mirror"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/progress"
)

func demoCommand(a *app) *cobra.Command {
	var c demo.Config
	var expect expectations
	output := outputDir("demo-report")
	c.SetDefaults()
	var cmd *cobra.Command
	cmd = a.command(&cobra.Command{
		Use:   "demo",
		Short: "Watch a replication test: two embedded clusters, a mirror, a broker failure",
		Long: `Run a whole replication test inside this process: two embedded Kafka clusters, a
mirror between them, load, the failure of a source broker, and a verdict with a
report. Nothing else is needed. --mirror-fault makes the mirror go wrong, to show
what the verdict looks like then.`,
		Example: `  loadgen demo
  loadgen demo --mirror-fault drop
  loadgen demo --mirror-fault duplicate --expect 'duplicates<=0'`,
	}, func(ctx context.Context) error {
		c.Expectations = expect
		if err := output.prepare(); err != nil {
			return err
		}
		level := cmd.Flag("log-level")
		if !level.Changed {
			_ = level.Value.Set("error") // what happens is shown; that a dead broker cannot be reached is not news
		}
		show := progress.New(a.stdout, progress.Config{})
		log, err := newLogger(show.Writer(), level.Value.String(), cmd.Flag("log-format").Value.String())
		if err != nil {
			return err
		}
		doc, err := demo.Run(ctx, c, demo.Deps{Logger: log, Progress: show, Settings: flagValues(cmd.Flags()), Versions: readBuild().versions()})
		show.Close()
		if err != nil {
			return err
		}
		return a.conclude(doc, output)
	}, &c, &output)
	f := cmd.Flags()
	f.StringVar(&c.MirrorFault, "mirror-fault", c.MirrorFault, "what the mirror does wrong: "+strings.Join(mirror.Kinds(), ", ")+" (default nothing)")
	f.Var(&c.Throughput, "throughput", "rate of all producers together: records (2k/s) or bytes (2MB/s)")
	f.Var(&c.MessageSize, "message-size", "size of a message's value")
	f.IntVar(&c.Partitions, "num-partitions", c.Partitions, "partitions of the topic")
	f.DurationVar(&c.Duration, "duration", c.Duration, "how long the load runs")
	expectFlag(cmd, &expect)
	f.StringVar((*string)(&output), "output", string(output), "directory of verdict.json and report.html")
	completeWith(cmd, "mirror-fault", mirror.Kinds()...)
	return cmd
}
