package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/lab"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/demo"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/probe"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/progress"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/report"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// Files that compare the runs below a directory.
const (
	comparisonPage = "index.html"
	comparisonText = "results.md"
)

// targetDeps are what a target is made with.
type targetDeps struct {
	log      *slog.Logger
	out      io.Writer
	scratch  string            // directory for what it writes
	settings map[string]string // for the report
	lab      lab.Config
}

// targets are what --target takes.
func targets() map[string]func(targetDeps) (scenario.Target, error) {
	return map[string]func(targetDeps) (scenario.Target, error){
		pulumiTarget: func(d targetDeps) (scenario.Target, error) { return newPulumiTarget(d.log, d.out, d.settings) },
		"lab": func(d targetDeps) (scenario.Target, error) {
			d.lab.Output, d.lab.PrometheusOutput, d.lab.Evidence = d.scratch, filepath.Dir(d.scratch), filepath.Join(filepath.Dir(d.scratch), scenario.EvidenceDir)
			return lab.New(d.lab, d.log, &labLines{to: d.out})
		},
		"demo": func(d targetDeps) (scenario.Target, error) {
			return demo.NewTarget(demo.TargetDeps{Logger: d.log, Settings: d.settings, Versions: readBuild().versions()}), nil
		},
	}
}

// labLines passes on what the lab says itself. What its auditor shows is shown from its verdict already.
type labLines struct {
	to   io.Writer
	rest []byte // of a line that has not ended
}

// said is how the lab begins a line: with the time since its start.
var said = regexp.MustCompile(`^ *\d+:\d\d  `)

// Write passes whole lines on.
func (l *labLines) Write(text []byte) (int, error) {
	l.rest = append(l.rest, text...)
	for {
		end := bytes.IndexByte(l.rest, '\n')
		if end < 0 {
			return len(text), nil
		}
		line := l.rest[:end+1]
		l.rest = l.rest[end+1:]
		if said.Match(line) {
			if _, err := l.to.Write(line); err != nil {
				return len(text), err
			}
		}
	}
}

const defaultTarget = "lab"

func targetNames() []string {
	var names []string
	for name := range targets() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func scenarioCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "scenario",
		Short: "Play scenarios by name: break one thing at a time, and judge what came of it",
		Long: `A scenario is a file: a baseline, steps that change it or break something, and what is
expected, each with its reason. The catalogue has those of the talk and more; a file of
your own is given by its path.`,
		Example: `  loadgen scenario list
  loadgen scenario run control kill-source-broker
  loadgen scenario run ./mine.yaml --target demo`,
	}, scenarioListCommand(a), scenarioShowCommand(a), scenarioRunCommand(a), scenarioCompareCommand(a))
}

// takes makes a command of a.command take arguments, which are put into args before anything is validated.
func takes(cmd *cobra.Command, args *[]string, complete func() []string) *cobra.Command {
	cmd.Args = func(_ *cobra.Command, given []string) error {
		*args = given
		return nil
	}
	if complete != nil {
		cmd.ValidArgsFunction = func(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
			names := slices.DeleteFunc(complete(), func(name string) bool { return slices.Contains(given, name) })
			return names, cobra.ShellCompDirectiveDefault
		}
	}
	return cmd
}

// catalogueNames are for the shell, which cannot be told of an error.
func catalogueNames() []string {
	names, _ := scenario.Names()
	return names
}

func scenarioListCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := a.command(&cobra.Command{
		Use:   "list",
		Short: "List the scenarios of the catalogue",
		Example: `  loadgen scenario list
  loadgen scenario list --json`,
	}, func(context.Context) error {
		names, err := scenario.Names()
		if err != nil {
			return err
		}
		type line struct {
			Name        string   `json:"name"`
			Duration    string   `json:"duration"`
			Needs       []string `json:"needs,omitempty"`
			Replicators []string `json:"replicators,omitempty"`
			About       string   `json:"about"`
		}
		var lines []line
		for _, name := range names {
			s, err := scenario.Load(name, nil)
			if err != nil {
				return err
			}
			lines = append(lines, line{s.Name, s.Duration.String(), s.Needs, s.Replicators, s.About})
		}
		if asJSON {
			out := json.NewEncoder(a.stdout)
			out.SetIndent("", "  ")
			return out.Encode(lines)
		}
		out := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(out, "NAME\tLASTS\tNEEDS\tABOUT")
		for _, l := range lines {
			needs := strings.Join(slices.Concat(l.Needs, l.Replicators), ", ")
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\n", l.Name, l.Duration, needs, sentence(l.About))
		}
		return out.Flush()
	})
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// sentence returns the first sentence of a text.
func sentence(text string) string {
	if i := strings.Index(text, ". "); i >= 0 {
		return text[:i+1]
	}
	return strings.TrimSpace(text)
}

func scenarioShowCommand(a *app) *cobra.Command {
	var names []string
	return takes(a.command(&cobra.Command{
		Use:   "show NAME",
		Short: "Show a scenario's file",
		Long: `Show a scenario's file. Saved as a file of your own and changed, it can be played by its
path. Beside the quantities of every verdict (see 'loadgen audit --help'), a scenario can
expect:

  ` + strings.Join(scenario.Quantities(), "\n  "),
		Example: `  loadgen scenario show kill-source-broker`,
	}, func(context.Context) error {
		s, err := scenario.Load(names[0], nil)
		if err != nil {
			return err
		}
		_, err = a.stdout.Write(s.Source)
		return err
	}, validation(func() error {
		if len(names) != 1 {
			return fmt.Errorf("%d names: give one; 'loadgen scenario list' shows them", len(names))
		}
		return nil
	})), &names, catalogueNames)
}

func scenarioRunCommand(a *app) *cobra.Command {
	var c scenario.RunConfig
	c.SetDefaults()
	parent := c.Output
	c.Output = filepath.Join(parent, time.Now().UTC().Format("20060102-150405")) // one run beside the other
	var names []string
	var all bool
	var resume string
	var labConfig lab.Config
	labConfig.SetDefaults()
	target := defaultTarget
	var cmd *cobra.Command
	cmd = takes(a.command(&cobra.Command{
		Use:   "run NAME…",
		Short: "Play scenarios, and exit by the gravest outcome",
		Long: `Play scenarios one after the other. Each starts from nothing, waits until the state is
steady, plays its steps, drains, and is judged: holds, broken or cannot say. One that the
target has not the means for is not played, and says why. What fails does not keep the
next one from being played.

The output directory gets ` + comparisonPage + ` and ` + comparisonText + `, which compare all runs, ` + scenario.JUnitFile + `, and for
each run a directory with its result, verdict, report, events and evidence (logs,
configuration files, metrics).`,
		Example: `  loadgen scenario run control kill-source-broker add-topic
  loadgen scenario run --all --replicator mirrormaker2,mirrormaker2-untuned --output results
  loadgen scenario run long-haul --set duration=6h --set source.throughput=20k/s
  loadgen scenario run kill-destination-broker --repeat 5
  loadgen scenario run ./mine.yaml --target demo
  loadgen scenario run control --source-bootstrap kafka-source:9092 --destination-bootstrap kafka-destination:9092 --replicator none
  loadgen scenario run --resume results`,
	}, func(ctx context.Context) error {
		level := cmd.Flag("log-level")
		if !level.Changed {
			_ = level.Value.Set("error") // what happens is shown; that a dead broker cannot be reached is not news
		}
		show := &scenarioProgress{to: a.stdout}
		defer show.end()
		log, err := newLogger(show, level.Value.String(), cmd.Flag("log-format").Value.String())
		if err != nil {
			return err
		}
		if all {
			if names, err = scenario.Names(); err != nil {
				return err
			}
		}
		if resume != "" {
			c.Output = resume
			plan, err := scenario.ReadPlan(resume)
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("target") {
				target = plan.Target
			}
			if err := giveAgain(cmd.Flags(), plan.Flags); err != nil {
				return fmt.Errorf("resume: %w", err)
			}
			// A runner that was killed has left its lab.
			if target == "lab" {
				left, err := lab.Clean()
				for _, line := range left {
					fmt.Fprintln(a.stdout, line)
				}
				if err != nil {
					return fmt.Errorf("clean up after the run that was killed: %w", err)
				}
			}
		}
		c.Flags = givenFlags(cmd.Flags())
		if target == pulumiTarget {
			patientWithPulumi(cmd, &c)
		}
		if cmd.Flags().Changed("start-timeout") {
			labConfig.StartTimeout = c.StartTimeout // each of its starts has a bound of its own, which is shorter
		}
		runner, err := scenario.NewRunner(c, scenario.RunDeps{
			Logger: log,
			Target: func(scratch string) (scenario.Target, error) {
				return targets()[target](targetDeps{log: log, out: show, scratch: scratch, settings: flagValues(cmd.Flags()), lab: labConfig})
			},
			Variants: variants(),
			Probe: func(ctx context.Context, t scenario.Target, name string, settings map[string]string) (*scenario.ProbeResult, error) {
				return makeProbe(ctx, log, t, name, settings)
			},
			CanProbe: canProbe,
			Progress: show.tell,
			Report:   report.HTML,
			Compare:  compare,
		})
		if err != nil {
			return err
		}
		var results []*scenario.Result
		if resume != "" {
			results, err = runner.Resume(ctx)
		} else {
			results, err = runner.Run(ctx, names)
		}
		show.end()
		if len(results) > 0 {
			err = errors.Join(a.listResults(results, filepath.Join(c.Output, comparisonPage)), err)
		}
		if err != nil {
			return err
		}
		return exitByOutcome(scenario.Worst(results))
	}, validation(func() error {
		_, err := scenario.NewRunner(c, scenario.RunDeps{Variants: variants()})
		return err
	}), &labConfig, validation(func() error {
		_, known := targets()[target]
		switch {
		case !known:
			return fmt.Errorf("--target %q is not known: use one of %s", target, strings.Join(targetNames(), ", "))
		case resume != "" && (len(names) > 0 || all):
			return errors.New("--resume goes on with what was begun: leave the names out")
		case resume != "" && anyChanged(cmd, "replicator", "set", "repeat", "output"):
			return errors.New("--resume goes on with what was begun: leave --replicator, --set, --repeat and --output out")
		case resume == "" && len(names) == 0 && !all:
			return errors.New("no scenario: name at least one, or give --all; 'loadgen scenario list' shows them")
		case len(names) > 0 && all:
			return errors.New("--all are all of the catalogue: leave the names out")
		case slices.Contains(c.Replicators, scenario.NoReplicator) && target != pulumiTarget && len(labConfig.SourceServers) == 0:
			return errors.New("--replicator none is for a replicator of yours: name the clusters that it joins by --source-bootstrap and --destination-bootstrap")
		}
		if resume != "" && !cmd.Flags().Changed("target") {
			return nil // the run that is resumed says which
		}
		return checkPulumi(cmd, target)
	})), &names, catalogueNames)
	f := cmd.Flags()
	f.BoolVar(&all, "all", false, "all scenarios of the catalogue")
	f.StringVar(&target, "target", target, "where they are played: lab, on real Kafka as child processes; demo, in this process and with less to break; or pulumi, on both stacks, which costs")
	f.StringSliceVar(&c.Replicators, "replicator", nil, "replicators to play each scenario with: mirrormaker2, mirrormaker2-untuned (with the settings that one gets who changes none), ureplicator, brooklin, none (yours, which runs already) (default the scenario's)")
	f.StringArrayVar(&c.Settings, "set", nil, "KEY=VALUE, a change of each scenario's baseline such as source.throughput=5k/s, or duration=1h; may be repeated")
	f.IntVar(&c.Repeat, "repeat", c.Repeat, "how often to play each")
	f.StringVar(&c.Output, "output", c.Output, "directory for the results; it must be empty")
	f.Lookup("output").DefValue = filepath.Join(parent, "TIME")
	f.StringVar(&resume, "resume", "", "directory of a run that was stopped or killed, to go on with, and with the flags that it was given")
	f.DurationVar(&c.SteadyFor, "steady-for", c.SteadyFor, "how long the state must have been steady")
	f.DurationVar(&c.SteadyWithin, "steady-within", c.SteadyWithin, "how long to wait for that; then the scenario is played all the same, and cannot hold")
	f.DurationVar(&c.StartTimeout, "start-timeout", c.StartTimeout, "bound on the start of a target")
	f.DurationVar(&c.ConvergeTimeout, "converge-timeout", c.ConvergeTimeout, "bound on each change")
	f.DurationVar(&c.DrainTimeout, "drain-timeout", c.DrainTimeout, "bound on the drain")
	a.labFlags(cmd, &labConfig)
	f.AddFlagSet(pulumiFlags())
	completeWith(cmd, "target", targetNames()...)
	completeWith(cmd, "replicator", scenario.MirrorMaker2, "mirrormaker2-untuned", scenario.UReplicator, scenario.Brooklin, scenario.NoReplicator)
	return cmd
}

// givenFlags are the flags that were given and that a plan does not have otherwise, for who resumes the run. None of
// them is secret.
func givenFlags(flags *pflag.FlagSet) map[string]string {
	given := map[string]string{}
	flags.VisitAll(func(f *pflag.Flag) { // not Visit, which knows nothing of those from the environment
		if !f.Changed {
			return
		}
		switch f.Name {
		case "all", "target", "replicator", "set", "repeat", "output", "resume", "log-level", "log-format":
			return
		}
		given[f.Name] = f.Value.String()
		if list, ok := f.Value.(pflag.SliceValue); ok {
			given[f.Name] = strings.Join(list.GetSlice(), ",")
		}
	})
	return given
}

// giveAgain gives flags as they were given to the run that is resumed, but for those that are given now.
func giveAgain(flags *pflag.FlagSet, given map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if flags.Changed(name) {
			continue
		}
		if err := flags.Set(name, given[name]); err != nil {
			return fmt.Errorf("--%s, which the run was begun with: %w", name, err)
		}
	}
	return nil
}

// variants are what --replicator takes beside the replicators themselves.
func variants() map[string]scenario.Variant {
	return map[string]scenario.Variant{
		"mirrormaker2-untuned": {Replicator: scenario.MirrorMaker2, Config: replicators.MirrorMaker2Untuned()},
	}
}

// probed is a target on whose clusters probes can be made.
type probed interface {
	ClientOptions(side string) []kgo.Opt
}

// adopting is a target whose replicator may have to be told of a probe's topic, or be waited for until it finds it.
type adopting interface {
	Adopt(ctx context.Context, topic string, partitions int) error
}

// probeConfig is how a scenario has a probe made.
func probeConfig(name string, settings map[string]string) (probe.Config, error) {
	var c probe.Config
	c.SetDefaults()
	c.Probe = name
	var errs []error
	for key, value := range settings {
		var err error
		switch key {
		case "idle":
			c.Idle, err = time.ParseDuration(value)
		case "settle":
			c.Settle, err = time.ParseDuration(value)
		case "partitions":
			c.Partitions, err = strconv.Atoi(value)
		case "records":
			c.Records, err = strconv.Atoi(value)
		case "maxReread":
			c.MaxReread, err = strconv.Atoi(value)
		case "producerLimit":
			err = c.ProducerLimit.Set(value)
		case "mustArrive":
			err = c.MustArrive.Set(value)
		case "compressions":
			c.Compressions = strings.Split(value, ",")
		case "negativeTimestamp":
			c.Negative, err = strconv.ParseBool(value)
		default:
			err = errors.New("is not known: use idle, settle, partitions, records, maxReread, producerLimit, mustArrive, compressions or negativeTimestamp")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("probeSettings: %s: %w", key, err))
		}
	}
	return c, errors.Join(append(errs, c.Validate())...)
}

// canProbe says why no probe can be made on a target.
func canProbe(t scenario.Target) error {
	if _, ok := t.(probed); !ok {
		return fmt.Errorf("%w: a probe has clients of its own on both clusters, and those of target %s cannot be reached from here: run loadgen probe beside them", scenario.ErrCannotPlay, t.Name())
	}
	return nil
}

// makeProbe makes a probe on the clusters of a target.
func makeProbe(ctx context.Context, log *slog.Logger, t scenario.Target, name string, settings map[string]string) (*scenario.ProbeResult, error) {
	on, ok := t.(probed)
	if !ok {
		return nil, canProbe(t)
	}
	c, err := probeConfig(name, settings)
	if err != nil {
		return nil, err
	}
	deps := probe.Deps{Source: on.ClientOptions("source"), Destination: on.ClientOptions("destination"), Logger: log}
	if a, ok := t.(adopting); ok {
		deps.Made = a.Adopt
	}
	doc, err := probe.Run(ctx, c, deps)
	if err != nil {
		return nil, err
	}
	doc.Versions = readBuild().versions()
	result := &scenario.ProbeResult{Name: name, Document: doc}
	for _, x := range doc.Checks {
		result.Checks = append(result.Checks, scenario.ProbeCheck{Name: x.Name, About: x.About, Counts: x.Counts, Outcome: x.Outcome, Compared: x.Compared, Wrong: x.Wrong, Detail: x.Detail})
	}
	return result, nil
}

func anyChanged(cmd *cobra.Command, flags ...string) bool {
	return slices.ContainsFunc(flags, cmd.Flags().Changed)
}

// exitByOutcome returns the error that gives the process the exit code of an outcome.
func exitByOutcome(o verdict.Outcome) error {
	switch o {
	case verdict.Holds:
		return nil
	case verdict.Broken:
		return verdictError(exitBroken)
	default: // where nothing was played, nothing can be said
		return verdictError(exitCannotSay)
	}
}

// compare writes what compares results into a directory.
func compare(dir string, results []*scenario.Result) error {
	out := outputDir(dir)
	return errors.Join(
		out.write(comparisonPage, func(w io.Writer) error { return report.Comparison(w, dir, results) }),
		out.write(comparisonText, func(w io.Writer) error { return report.ComparisonMarkdown(w, dir, results) }),
	)
}

// listResults prints a line for each result, and where the comparison is.
func (a *app) listResults(results []*scenario.Result, page string) error {
	out := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, r := range results {
		why := ""
		if r.Outcome != verdict.Holds && len(r.Reasons) > 0 {
			why = human.Printable(r.Reasons[0])
			if len(r.Reasons) > 1 {
				why += fmt.Sprintf(" (and %d more)", len(r.Reasons)-1)
			}
		}
		fmt.Fprintf(out, "%s\t%s\trun %d\t%s\t%s\n", r.Scenario, r.Replicator, r.Run, strings.ToUpper(string(r.Outcome)), why)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "compared in %s\n", page)
	return err
}

func scenarioCompareCommand(a *app) *cobra.Command {
	var dirs []string
	output := outputDir("scenario-comparison")
	cmd := takes(a.command(&cobra.Command{
		Use:   "compare DIR…",
		Short: "Compare the results of several runs on one page",
		Long: `Compare what 'loadgen scenario run' left in directories, over scenarios, replicators and
runs: ` + comparisonPage + `, which opens offline, and ` + comparisonText + `.`,
		Example: `  loadgen scenario compare results
  loadgen scenario compare results-tuned results-untuned --output comparison`,
	}, func(context.Context) error {
		results, err := scenario.ReadResults(dirs...)
		if err != nil {
			return err
		}
		if err := output.prepare(); err != nil {
			return err
		}
		if err := compare(string(output), results); err != nil {
			return err
		}
		return a.listResults(results, filepath.Join(string(output), comparisonPage))
	}, validation(func() error {
		if len(dirs) == 0 {
			return errors.New("no directory: name what 'loadgen scenario run' was given as --output")
		}
		for _, dir := range dirs {
			if _, err := os.Stat(dir); err != nil {
				return err
			}
		}
		return nil
	}), &output), &dirs, nil)
	cmd.Flags().StringVar((*string)(&output), "output", string(output), "directory of the comparison")
	return cmd
}

// scenarioProgress shows the runs one after the other. Logs come from any goroutine.
type scenarioProgress struct {
	to     io.Writer
	run    string // that is shown
	events int

	mu   sync.Mutex
	show *progress.Printer // nil: none; guarded by mu
}

// printer is what shows the run; nil: none does.
func (s *scenarioProgress) printer() *progress.Printer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.show
}

// showBy has another printer show the run, and the one before it leave what it shows as it is.
func (s *scenarioProgress) showBy(next *progress.Printer) {
	s.mu.Lock()
	before := s.show
	s.show = next
	s.mu.Unlock()
	if before != nil {
		before.Close()
	}
}

// Write lets logs appear above what is shown.
func (s *scenarioProgress) Write(text []byte) (int, error) {
	if show := s.printer(); show != nil {
		return show.Writer().Write(text)
	}
	return s.to.Write(text)
}

// tell shows what the runner tells of.
func (s *scenarioProgress) tell(p scenario.Progress) {
	run := fmt.Sprintf("%s, %s, run %d", p.Scenario, p.Replicator, p.Run)
	if run != s.run {
		s.showBy(progress.New(s.to, progress.Config{}))
		s.run, s.events = run, 0
		s.line("%d of %d: %s", p.Number, p.Of, run)
	}
	if p.Message != "" {
		s.line("  %s", p.Message)
	}
	if p.Document == nil {
		return
	}
	for ; s.events < len(p.Document.Events); s.events++ {
		if e := p.Document.Events[s.events]; e.Kind != verdict.PhaseEvent {
			s.printer().Event(e)
		}
	}
	if sample, ok := progress.FromDocument(p.Document, p.Phase); ok && p.Message == "" {
		s.printer().Show(sample)
	}
}

func (s *scenarioProgress) line(format string, args ...any) {
	fmt.Fprintf(s, "%s  %s\n", time.Now().UTC().Format("15:04:05"), human.Printable(fmt.Sprintf(format, args...)))
}

// end leaves what is shown as it is.
func (s *scenarioProgress) end() { s.showBy(nil) }
