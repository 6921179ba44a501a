// Command bench measures the load tools side by side with what people use instead, and with the
// limit, which is the bare client. It starts a broker of its own, runs every contender as a process
// of its own in alternating order, and reports medians.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func main() {
	// The kernel ends the children with the thread that started them (see child): all are started by
	// this one, which lives as long as the process.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// part is one of the questions that bench answers.
type part struct {
	name  string
	short string
	extra bool // only when it is asked for
	run   func(*bench, context.Context) error
}

func parts() []part {
	return []part{
		{name: partProduce, short: "produce: ours, bare franz-go, Kafka's Java tool, librdkafka", run: (*bench).produce},
		{name: partConsume, short: "consume and verify: ours, bare franz-go, Kafka's Java tool, librdkafka, the original's way of counting", run: (*bench).consume},
		{name: partOneCore, short: "100 MB/s by one producer and one consumer, each on one core", run: (*bench).oneCore},
		{name: partAlone, short: "verification and ledgers without a network", run: (*bench).alone},
		{name: partGrowth, short: "how cost grows with producers, partitions, topics and message size", run: (*bench).growth},
		{name: partStacks, short: "registering both stacks, as brokers and workers grow", run: (*bench).stacks},
		{name: partEndToEnd, short: "the highest rate through MirrorMaker 2 in the lab with p99 below a second", extra: true, run: (*bench).endToEnd},
	}
}

// The parts' names, which are those of their files too.
const (
	partProduce  = "produce"
	partConsume  = "consume"
	partOneCore  = "one-core"
	partAlone    = "alone"
	partGrowth   = "growth"
	partStacks   = "stacks"
	partEndToEnd = "end-to-end"
)

func partNames() []string {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

// settings are what the flags say.
type settings struct {
	only        []string
	quick       bool
	repetitions int
	records     int64
	sizes       []int
	contenders  []string
	output      string
	tempDir     string
	java        string
	cacheDir    string
	loadgen     string
}

// Repetitions and records where the flags do not say.
const (
	defaultRepetitions, defaultRecords = 5, 500_000
	quickRepetitions, quickRecords     = 2, 150_000
)

func (s *settings) complete() error {
	var errs []string
	for _, name := range s.only {
		if !slices.Contains(partNames(), name) {
			errs = append(errs, fmt.Sprintf("--only %q is unknown: use %s", name, strings.Join(partNames(), ", ")))
		}
	}
	if s.repetitions < 0 {
		errs = append(errs, fmt.Sprintf("--repetitions %d: use 1 or more", s.repetitions))
	}
	if s.records != 0 && s.records < 1000 {
		errs = append(errs, fmt.Sprintf("--records %d are too few to measure: use 1000 or more", s.records))
	}
	for _, size := range s.sizes {
		if size < 100 || size > 500_000 {
			errs = append(errs, fmt.Sprintf("--sizes %d is out of range: use 100 to 500000", size))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("%s", strings.Join(errs, "\n"))
	}
	if s.repetitions == 0 {
		s.repetitions = defaultRepetitions
		if s.quick {
			s.repetitions = quickRepetitions
		}
	}
	if s.records == 0 {
		s.records = defaultRecords
		if s.quick {
			s.records = quickRecords
		}
	}
	return nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var s settings
	root := &cobra.Command{
		Use:   "bench",
		Short: "Measure the load tools side by side with what people use, and with the limit",
		Long:  long(),
		Example: `  go run ./bench
  go run ./bench --quick
  go run ./bench --only produce,consume --sizes 1000 --repetitions 9
  go run ./bench --only end-to-end
  go run ./bench report --from bench-report      # into docs/performance.md`,
		Args:              cobra.NoArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.complete(); err != nil {
				return err
			}
			return measure(cmd.Context(), s, stdout, stderr)
		},
	}
	f := root.Flags()
	f.SortFlags = false
	f.StringSliceVar(&s.only, "only", nil, "only these parts: "+strings.Join(partNames(), ", "))
	f.BoolVar(&s.quick, "quick", false, "fewer repetitions and records: under five minutes, and less to be trusted")
	f.IntVar(&s.repetitions, "repetitions", 0, fmt.Sprintf("repetitions (0: %d, with --quick %d)", defaultRepetitions, quickRepetitions))
	f.Int64Var(&s.records, "records", 0, fmt.Sprintf("records of 1000 B in each run, as many bytes of others (0: %d, with --quick %d)", defaultRecords, quickRecords))
	f.IntSliceVar(&s.sizes, "sizes", []int{100, 1000, 10_000}, "sizes of the records' values in bytes, side by side")
	f.StringSliceVar(&s.contenders, "contenders", nil, "only these contenders, side by side")
	f.StringVar(&s.output, "output", "bench-report", "where the raw results go")
	f.StringVar(&s.tempDir, "temp-dir", "", "where the broker keeps its data (empty: the system's)")
	f.StringVar(&s.java, "java", "", "Java to use (empty: JAVA_HOME or PATH)")
	f.StringVar(&s.cacheDir, "cache-dir", "", "where Kafka's jars are kept (empty: as in the lab)")
	f.StringVar(&s.loadgen, "loadgen", "", "the load tools' executable (empty: it is built)")
	root.AddCommand(reportCommand(stdout), brokerCommand(stdout, stderr))
	root.AddCommand(rawCommands(stdout)...)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}

func long() string {
	var b strings.Builder
	b.WriteString("Measure the load tools side by side with what people use, and with the limit.\nThe parts are:\n\n")
	for _, p := range parts() {
		extra := ""
		if p.extra {
			extra = " (only when asked for)"
		}
		fmt.Fprintf(&b, "  %-11s %s%s\n", p.name, p.short, extra)
	}
	b.WriteString("\nTables are printed, and raw results are kept as JSON in --output.")
	return b.String()
}

// bench is one run.
type bench struct {
	settings
	stdout io.Writer
	say    func(format string, args ...any)
	temp   string

	tools  *tools  // built when they are first needed
	broker *broker // started when it is first needed
	// metricsAddress is where our consumer serves its metrics.
	metricsAddress string
	compiled       map[string]bool // benchmarks by package
	machine        machine
}

func measure(ctx context.Context, s settings, stdout, stderr io.Writer) (err error) {
	start := time.Now()
	b := &bench{settings: s, stdout: stdout, machine: thisMachine()}
	b.say = func(format string, args ...any) {
		fmt.Fprintf(stderr, "%6.1fs  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
	if err := os.MkdirAll(s.output, 0o755); err != nil {
		return fmt.Errorf("make the output directory: %w", err)
	}
	temp, remove, err := makeTempDir(s.tempDir)
	if err != nil {
		return err
	}
	b.temp = temp
	defer func() {
		b.broker.stop()
		if removeErr := remove(); err == nil {
			err = removeErr
		}
	}()
	for _, p := range parts() {
		if len(s.only) == 0 && p.extra || len(s.only) > 0 && !slices.Contains(s.only, p.name) {
			continue
		}
		b.say("%s: %s", p.name, p.short)
		if err := p.run(b, ctx); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	b.say("raw results are in %s; they go into docs/performance.md with: go run ./bench report --from %s", s.output, s.output)
	return nil
}
