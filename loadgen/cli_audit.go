package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/audit"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/progress"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/report"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/serve"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

func auditCommand(a *app) *cobra.Command {
	var source, destination connect.Config
	var c audit.Config
	var h serve.Config
	var expect expectations
	output := outputDir("audit-report")
	source.SetDefaults()
	destination.SetDefaults()
	c.SetDefaults()
	var cmd *cobra.Command
	cmd = a.command(&cobra.Command{
		Use:   "audit",
		Short: "Follow a test on both clusters and come to the verdict",
		Long: `Merge what producers sent and consumers received, all the time, and come to the
verdict when the test has drained. The verdict so far is at GET /verdict, and as a page
for people at GET /report; POST /events notes what was done to the clusters; POST
/drain says that the load ends.`,
		Example: `  loadgen audit --test-id t1 --topics load --producers 1 --until-closed \
    --source-bootstrap-servers kafka-source:9092 --destination-bootstrap-servers kafka-destination:9092
  loadgen audit --test-id t1 --topics load --expect 'duplicates<=0' --expect 'latency.p99<=5s' --output t1-report \
    --source-bootstrap-servers kafka-source:9092 --destination-bootstrap-servers kafka-destination:9092`,
	}, func(ctx context.Context) error {
		c.Expectations = expect
		c.Settings, c.Versions = flagValues(cmd.Flags()), readBuild().versions()
		if err := output.prepare(); err != nil {
			return err
		}
		sourceOpts, destinationOpts, err := a.reachBoth(ctx, &source, &destination)
		if err != nil {
			return err
		}
		registry := newRegistry()
		auditor, err := audit.New(ctx, c, audit.Deps{Source: sourceOpts, Destination: destinationOpts, Logger: a.log, Registerer: ofTest(registry, c.TestID)})
		if err != nil {
			return err
		}
		ready := func() error {
			if !auditor.Ready() {
				return errors.New("the clusters and ledgers have not been read yet")
			}
			return nil
		}
		stop, err := a.serve(h, registry, ready, a.withReport(auditor))
		if err != nil {
			auditor.Close()
			return err
		}
		defer stop()
		show := progress.New(a.stdout, progress.Config{})
		watching, end := context.WithCancel(ctx)
		var watch sync.WaitGroup
		watch.Go(func() { show.Watch(watching, auditor.Snapshot, auditor.Phase) })
		doc, err := auditor.Run(ctx)
		end()
		watch.Wait()
		show.Close()
		if err != nil {
			return err
		}
		return a.conclude(doc, output)
	}, &bothClusters{&source, &destination}, &c, &h, &output)
	f := cmd.Flags()
	testFlag(cmd, &c.TestID)
	bothBootstrapFlags(cmd, &source, &destination)
	topicsFlag(cmd, &c.Topics)
	settingsFlag(cmd, &c.SettingsFile)
	f.IntVar(&c.Producers, "producers", c.Producers, "producers the test is meant to have (0: any number; one that never starts then goes unnoticed)")
	f.BoolVar(&c.UntilClosed, "until-closed", c.UntilClosed, "drain and end once all expected producers have stopped")
	f.DurationVar(&c.DrainIdle, "drain-idle", c.DrainIdle, "the drain ends when the replicator has made no progress for so long")
	f.DurationVar(&c.Quiet, "quiet", c.Quiet, "silence at the destination, after everything has arrived, that ends the drain")
	f.DurationVar(&c.DeadAfter, "dead-after", c.DeadAfter, "a producer whose ledger is not updated for so long is taken for dead")
	f.DurationVar(&c.GiveUp, "give-up", c.GiveUp, "when a cluster does not answer, or denies an answer, for so long in the drain, the verdict is that it cannot say")
	f.DurationVar(&c.Interval, "interval", c.Interval, "time between two looks at clusters and ledgers")
	expectFlag(cmd, &expect)
	f.StringArrayVar(&c.Notes, "note", c.Notes, "sentence for the verdict's notes, such as where the test ran; may be repeated")
	f.StringVar((*string)(&output), "output", string(output), "directory of verdict.json and report.html")
	ledgerFlag(cmd, &c.LedgerReplicas)
	httpFlags(cmd, &h, metrics.AuditorPort)
	a.securityFlags(cmd, &source)
	return cmd
}

// withReport serves what the auditor does, and the report.
func (a *app) withReport(auditor *audit.Auditor) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", auditor.Handler())
	mux.HandleFunc("GET /report", func(w http.ResponseWriter, _ *http.Request) {
		doc := auditor.Snapshot()
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if err := report.HTML(w, &doc); err != nil {
			a.log.Warn("could not answer GET /report", "error", err)
		}
	})
	return mux
}

// bothClusters validates the settings of two clusters that differ in their
// addresses only.
type bothClusters struct{ source, destination *connect.Config }

// Validate reports every mistake, with the side it is on.
func (b *bothClusters) Validate() error {
	destination := connect.Config{BootstrapServers: b.destination.BootstrapServers}
	return errors.Join(onSide("source", b.source.Validate()), onSide("destination", destination.Validate()))
}

func onSide(side string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", side, err)
}

// outputDir is where a test leaves its verdict and report.
type outputDir string

// Validate reports what is wrong with the name.
func (d *outputDir) Validate() error {
	if *d == "" {
		return errors.New("--output is empty: name a directory for the verdict and the report")
	}
	return nil
}

// prepare makes the directory and proves that files can be made in it, before a
// long test ends in vain.
func (d outputDir) prepare() error {
	if err := os.MkdirAll(string(d), 0o755); err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	probe, err := os.CreateTemp(string(d), "probe.*")
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// write writes a file whole or not at all.
func (d outputDir) write(name string, content func(io.Writer) error) (err error) {
	path := filepath.Join(string(d), name)
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w: make room, or name another directory with --output", path, err)
		}
	}()
	file, err := os.CreateTemp(string(d), name+".*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // it is gone if all went well
	if err := errors.Join(content(file), file.Sync(), file.Chmod(0o644), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// conclude prints the verdict, writes it and the report, and returns what the
// process is to end with. The verdict is printed even if it cannot be written.
func (a *app) conclude(doc *verdict.Document, output outputDir) error {
	page := filepath.Join(string(output), "report.html")
	if err := errors.Join(
		report.Summary(a.stdout, doc, page),
		output.write("verdict.json", doc.Write),
		output.write("report.html", func(w io.Writer) error { return report.HTML(w, doc) }),
	); err != nil {
		return err
	}
	return exitBy(doc)
}

// flagValues returns the flags' values for the report. None of them is secret.
func flagValues(flags *pflag.FlagSet) map[string]string {
	values := map[string]string{}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			values[f.Name] = f.Value.String()
		}
	})
	return values
}
