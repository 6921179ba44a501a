package scenario

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// RunConfig says how scenarios are played.
type RunConfig struct {
	// Output is the directory of all that is left behind. It must be empty, or of a run that is resumed.
	Output string
	// Repeat is how often each scenario is played with each replicator.
	Repeat int
	// Replicators take the place of the one in a scenario's baseline; none leaves that. They can be
	// variants too (see RunDeps).
	Replicators []string
	// Settings change every baseline, as for ParseWith.
	Settings []string
	// Flags are how else the run was asked for. They are kept in the plan, for whoever resumes it.
	Flags map[string]string

	// A state is steady when it has been so for SteadyFor. It is waited for no longer than SteadyWithin;
	// then the scenario is played all the same, and cannot come to hold.
	SteadyFor, SteadyWithin time.Duration
	// Bounds on what the target does. A target that tells nothing for SilentAfter is given up.
	StartTimeout, ConvergeTimeout, DrainTimeout, SilentAfter, ProbeTimeout, EvidenceTimeout time.Duration
	// Every is the time between two looks.
	Every time.Duration
}

// SetDefaults sets every field to its default. Call it before the user's settings are read.
func (c *RunConfig) SetDefaults() {
	*c = RunConfig{
		Output: "scenario-results", Repeat: 1,
		SteadyFor: 5 * time.Second, SteadyWithin: 2 * time.Minute,
		StartTimeout: 10 * time.Minute, ConvergeTimeout: 10 * time.Minute, DrainTimeout: 15 * time.Minute, SilentAfter: 3 * time.Minute, ProbeTimeout: 15 * time.Minute, EvidenceTimeout: 2 * time.Minute,
		Every: time.Second,
	}
}

// Validate reports every mistake at once.
func (c *RunConfig) Validate() error {
	var errs []error
	if c.Output == "" {
		errs = append(errs, errors.New("--output is empty: name a directory for the results"))
	}
	if c.Repeat < 1 || c.Repeat > 1000 {
		errs = append(errs, fmt.Errorf("--repeat %d: use 1 to 1000", c.Repeat))
	}
	for i, r := range c.Replicators {
		if slices.Contains(c.Replicators[:i], r) {
			errs = append(errs, fmt.Errorf("--replicator: %q is named twice", r))
		}
	}
	for name, d := range map[string]time.Duration{"steady-for": c.SteadyFor, "steady-within": c.SteadyWithin, "start-timeout": c.StartTimeout,
		"converge-timeout": c.ConvergeTimeout, "drain-timeout": c.DrainTimeout, "silent-after": c.SilentAfter, "probe-timeout": c.ProbeTimeout, "evidence-timeout": c.EvidenceTimeout, "every": c.Every} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("--%s %s: use more than 0", name, d))
		}
	}
	if c.SteadyFor < 2*time.Second || c.SteadyFor > c.SteadyWithin {
		errs = append(errs, fmt.Errorf("--steady-for %s: use 2s to --steady-within, %s", c.SteadyFor, c.SteadyWithin))
	}
	return errors.Join(errs...)
}

// RunDeps are what a Runner works with.
type RunDeps struct {
	Logger *slog.Logger
	// Target makes a target on which nothing runs. What it writes it may write below scratch, which does
	// not exist yet, and is removed when the target has stopped.
	Target func(scratch string) (Target, error)
	// Variants are replicators with settings of their own, by the names that their results have.
	Variants map[string]Variant
	// Probe makes the probe of that name on a target; nil: there are none.
	Probe func(ctx context.Context, t Target, name string, settings map[string]string) (*ProbeResult, error)
	// CanProbe says why no probe can be made on a target, by an error that wraps ErrCannotPlay; nil: on all it can.
	CanProbe func(Target) error
	// Progress is told of what happens; nil: nobody watches.
	Progress func(Progress)
	// Report writes a verdict as a page; nil: none is written.
	Report func(io.Writer, *verdict.Document) error
	// Compare writes what compares all results so far into dir; nil: nothing.
	Compare func(dir string, results []*Result) error
}

// Variant is a replicator with settings of its own.
type Variant struct {
	Replicator string
	Config     map[string]string // replicatorConfig, beside what the scenario has
}

// Progress is what goes on at one moment.
type Progress struct {
	Scenario, Replicator string
	Run                  int
	Number, Of           int // of this run among all
	Phase                string
	Message              string            // something has happened; empty: nothing new
	Document             *verdict.Document // the verdict so far; may be nil
}

// PlanSchema names the version of plan.json.
const PlanSchema = "kafka-mirror-tester/scenario-plan/v1"

const planFile = "plan.json"

// Plan is what a runner plays, in this order. It is kept so that a run that was killed can be resumed.
type Plan struct {
	Schema      string   `json:"schema"`
	Target      string   `json:"target"`
	Scenarios   []string `json:"scenarios"` // their files are below scenarios/
	Replicators []string `json:"replicators,omitempty"`
	Repeat      int      `json:"repeat"`
	Settings    []string `json:"settings,omitempty"`
	// Flags are those of the command line that are nowhere else in the plan, such as the ocean's.
	Flags map[string]string `json:"flags,omitempty"`
}

// ReadPlan reads the plan of the run in dir.
func ReadPlan(dir string) (*Plan, error) {
	text, err := os.ReadFile(filepath.Join(dir, planFile))
	if err != nil {
		return nil, fmt.Errorf("resume: %w: name what loadgen scenario run was given as --output", err)
	}
	p := &Plan{}
	if err := verdict.Decode(text, PlanSchema, p); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, planFile), err)
	}
	return p, nil
}

// planScenarios is where the files of a plan's scenarios are.
func planScenarios(dir, name string) string { return filepath.Join(dir, "scenarios", name+".yaml") }

// scratchDir is where a target has what it needs while it runs.
const scratchDir = "scratch"

// entry is one run of the plan.
type entry struct {
	scenario   *Scenario
	replicator string // as its results are called
	run        int
	number, of int
	dir        string
}

// Runner plays scenarios on a target, one after the other.
type Runner struct {
	cfg    RunConfig
	deps   RunDeps
	target string // its name
}

// NewRunner makes a runner.
func NewRunner(cfg RunConfig, deps RunDeps) (*Runner, error) {
	errs := []error{cfg.Validate()}
	known := append(slices.Sorted(maps.Keys(deps.Variants)), UReplicator, Brooklin, MirrorMaker2, NoReplicator)
	for _, r := range cfg.Replicators {
		oneOf(func(format string, args ...any) { errs = append(errs, fmt.Errorf("--"+format, args...)) }, "replicator", r, known...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &Runner{cfg: cfg, deps: deps}, nil
}

// Run plays the scenarios, whose names or files are given, and returns all results. What is wrong with
// any of them is reported before the first one is played. An error is one of this program or its
// environment; what becomes of a scenario is in its result. When ctx ends, the scenario that is played
// ends with what it has.
func (r *Runner) Run(ctx context.Context, names []string) ([]*Result, error) {
	if len(names) == 0 {
		return nil, errors.New("no scenario: name at least one")
	}
	t, err := r.deps.Target(filepath.Join(r.cfg.Output, scratchDir))
	if err != nil {
		return nil, err
	}
	r.target = t.Name()
	errs := []error{r.vacant()}
	plan := &Plan{Schema: PlanSchema, Target: t.Name(), Replicators: r.cfg.Replicators, Repeat: r.cfg.Repeat, Settings: r.cfg.Settings, Flags: r.cfg.Flags}
	texts := map[string][]byte{}
	for _, name := range names {
		s, err := Load(name, r.cfg.Settings)
		switch {
		case err != nil:
			errs = append(errs, err)
		case texts[s.Name] != nil:
			errs = append(errs, fmt.Errorf("scenario %q is named twice: use --repeat to play it more often", s.Name))
		default:
			texts[s.Name] = s.Source
			plan.Scenarios = append(plan.Scenarios, s.Name)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	read := func(name string) ([]byte, error) { return texts[name], nil }
	entries, refused, err := r.entries(ctx, t, plan, read)
	if err != nil {
		return nil, err
	}
	if err := r.prepare(plan, texts); err != nil {
		return nil, err
	}
	return r.playAlone(ctx, entries, refused)
}

// Resume goes on with the run in Output: what has finished is not played again. The scenario that was played
// when its runner was stopped or killed is played again, in the place of what that one has left.
func (r *Runner) Resume(ctx context.Context) ([]*Result, error) {
	plan, err := ReadPlan(r.cfg.Output)
	if err != nil {
		return nil, err
	}
	t, err := r.deps.Target(filepath.Join(r.cfg.Output, scratchDir))
	if err != nil {
		return nil, err
	}
	if t.Name() != plan.Target {
		return nil, fmt.Errorf("resume: %s was played on target %s, and this is %s: give --target %s", r.cfg.Output, plan.Target, t.Name(), plan.Target)
	}
	r.target = t.Name()
	r.cfg.Replicators, r.cfg.Repeat, r.cfg.Settings = plan.Replicators, plan.Repeat, plan.Settings
	entries, refused, err := r.entries(ctx, t, plan, func(name string) ([]byte, error) { return os.ReadFile(planScenarios(r.cfg.Output, name)) })
	if err != nil {
		return nil, err
	}
	return r.playAlone(ctx, entries, refused)
}

// playAlone plays what has not been played yet, unless another runner is at it.
func (r *Runner) playAlone(ctx context.Context, entries []entry, refused map[string]string) ([]*Result, error) {
	plan, err := os.Open(filepath.Join(r.cfg.Output, planFile))
	if err != nil {
		return nil, fmt.Errorf("--output: %w", err)
	}
	defer plan.Close() // which ends the lock, as a kill does
	if err := lock(plan); err != nil {
		return nil, fmt.Errorf("%s is being played by another loadgen: wait for its end, or stop it: %w", r.cfg.Output, err)
	}
	return r.playAll(ctx, entries, refused)
}

// vacant says why the output directory cannot be that of a new run.
func (r *Runner) vacant() error {
	there, err := os.ReadDir(r.cfg.Output)
	info, statErr := os.Stat(r.cfg.Output)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case statErr == nil && !info.IsDir():
		return fmt.Errorf("--output: %s is a file: name a directory", r.cfg.Output)
	case err != nil:
		return fmt.Errorf("--output: %w", err)
	case slices.ContainsFunc(there, func(e os.DirEntry) bool { return e.Name() == planFile }):
		return fmt.Errorf("--output: %s has the results of another run: go on with it by --resume %s, or name another directory", r.cfg.Output, r.cfg.Output)
	case len(there) > 0:
		return fmt.Errorf("--output: %s is not empty: name another directory", r.cfg.Output)
	}
	return nil
}

// prepare makes the output directory and leaves the plan there.
func (r *Runner) prepare(plan *Plan, texts map[string][]byte) error {
	if err := os.MkdirAll(filepath.Join(r.cfg.Output, "scenarios"), 0o755); err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	for name, text := range texts {
		if err := writeFile(planScenarios(r.cfg.Output, name), text); err != nil {
			return err
		}
	}
	return writeJSON(filepath.Join(r.cfg.Output, planFile), plan)
}

// entries lists the runs of a plan, and for those that cannot be played why not. What is plainly wrong is
// an error.
func (r *Runner) entries(ctx context.Context, t Target, plan *Plan, read func(string) ([]byte, error)) ([]entry, map[string]string, error) {
	var all []entry
	refused := map[string]string{} // by directory
	var errs []error
	var lacks error // what the machine lacks for every scenario
	replicators := plan.Replicators
	if len(replicators) == 0 {
		replicators = []string{""}
	}
	for _, name := range plan.Scenarios {
		text, err := read(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("scenario %s: %w", name, err))
			continue
		}
		for _, replicator := range replicators {
			settings := plan.Settings
			reason := ""
			if replicator != "" {
				variant, ok := r.deps.Variants[replicator]
				if !ok {
					variant.Replicator = replicator
				}
				own, err := ParseWith(name, text, settings)
				switch {
				case err == nil && len(own.Replicators) > 0 && !slices.Contains(own.Replicators, variant.Replicator):
					reason = fmt.Sprintf("only %s has what is tested", strings.Join(own.Replicators, ", "))
				case err == nil && variant.Replicator == NoReplicator && own.onReplicator() != "":
					reason = fmt.Sprintf("the replicator is not ours, and a step is about it: %s: do it by hand, and tell it with loadgen mark", own.onReplicator())
				default:
					settings = slices.Concat(settings, []string{"destination.replicator=" + variant.Replicator}, variant.settings())
				}
			}
			s, err := ParseWith(name, text, settings)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			label := cmp.Or(replicator, s.Baseline.Destination.Replicator)
			if d, ok := t.(Describer); ok {
				if own := d.ReplicatorName(s.Baseline); own != "" {
					label = own
				}
			}
			if reason == "" {
				err := r.check(t, s)
				if checked, ok := t.(Ready); ok && err == nil && lacks == nil {
					if err = checked.Ready(ctx, s.Baseline); err != nil && !errors.Is(err, ErrCannotPlay) {
						lacks, err = err, nil
					}
				}
				switch {
				case errors.Is(err, ErrCannotPlay):
					reason = err.Error()
				case err != nil:
					errs = append(errs, fmt.Errorf("scenario %s: %w", name, err))
				}
			}
			for run := 1; run <= plan.Repeat; run++ {
				e := entry{scenario: s, replicator: label, run: run, dir: filepath.Join(r.cfg.Output, name, label, fmt.Sprintf("run-%d", run))}
				if reason != "" {
					refused[e.dir] = reason
				}
				all = append(all, e)
			}
		}
	}
	for i := range all {
		all[i].number, all[i].of = i+1, len(all)
	}
	return all, refused, errors.Join(append(errs, lacks)...)
}

// settings are the variant's, as for ParseWith.
func (v Variant) settings() []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(v.Config)) {
		out = append(out, fmt.Sprintf("destination.replicatorConfig.%s=%q", key, v.Config[key]))
	}
	return out
}

func (r *Runner) check(t Target, s *Scenario) error {
	if e, ok := t.(Equipped); ok {
		var missing []error
		for _, feature := range s.Needs {
			missing = append(missing, e.Provides(feature))
		}
		if err := errors.Join(missing...); err != nil {
			return err
		}
	}
	if s.Probe != "" && r.deps.Probe == nil {
		return fmt.Errorf("%w: there is nothing that makes the probe %s", ErrCannotPlay, s.Probe)
	}
	if s.Probe != "" && r.deps.CanProbe != nil {
		if err := r.deps.CanProbe(t); err != nil {
			return fmt.Errorf("probe: %s: %w", s.Probe, err)
		}
	}
	if x, ok := t.(Spacious); ok {
		x.Sends(s.Sends(r.cfg.SteadyWithin))
	}
	configs := s.Configs()
	for i := range configs {
		configs[i].Destination.Expectations = s.plain()
	}
	return t.Check(configs)
}

// playAll plays what has not been played yet.
func (r *Runner) playAll(ctx context.Context, entries []entry, refused map[string]string) ([]*Result, error) {
	var all []*Result
	for _, e := range entries {
		res, err := r.one(ctx, e, refused[e.dir])
		if err != nil {
			return all, err
		}
		all = append(all, res)
		if err := r.summarize(all); err != nil {
			return all, err
		}
	}
	return all, ctx.Err()
}

// one returns the result of a run, which is played unless that has been done.
func (r *Runner) one(ctx context.Context, e entry, refused string) (*Result, error) {
	res, err := ReadResult(e.dir)
	switch {
	case err == nil && res.State != Finished:
		if err := os.RemoveAll(e.dir); err != nil {
			return nil, fmt.Errorf("what the interrupted run has left: %w", err)
		}
		if res.Outcome != NotPlayed {
			r.tell(e, "", "was interrupted: it is played again, and what it had left is removed", nil)
		}
	case err == nil && res.Outcome != NotPlayed:
		r.tell(e, "", "has been played before: "+string(res.Outcome), nil)
		return res, nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%w: remove %s, to have this run played again", err, e.dir)
	}
	res = r.newResult(e)
	if refused != "" || ctx.Err() != nil {
		res.State, res.Outcome = Finished, NotPlayed
		res.Reasons = []string{refused}
		if refused == "" {
			res.State, res.Reasons = Interrupted, []string{"the run was stopped before"}
		}
		r.tell(e, "", "not played: "+res.Reasons[0], nil)
		if err := os.MkdirAll(e.dir, 0o755); err != nil {
			return nil, fmt.Errorf("--output: %w", err)
		}
		return res, r.leave(e, res, nil)
	}
	return res, r.play(ctx, e, res)
}

func (r *Runner) newResult(e entry) *Result {
	return &Result{
		Schema: ResultSchema, Scenario: e.scenario.Name, About: e.scenario.About, Reported: e.scenario.Reported, Target: r.target, Replicator: e.replicator, Run: e.run,
		Settings: r.cfg.Settings, State: Playing, Outcome: verdict.CannotSay, Reasons: []string{"it is being played"}, Expectations: []ExpectationResult{},
		Machine: machine(), Dir: e.dir, Test: testID(e.scenario.Name, e.run),
	}
}

// testID makes a test's id of a scenario's name, within the limit.
func testID(name string, run int) string {
	if len(name) > 34 {
		name = strings.TrimRight(name[:34], "-")
	}
	return fmt.Sprintf("%s-%d", name, run)
}

func (r *Runner) tell(e entry, phase, message string, doc *verdict.Document) {
	if r.deps.Progress != nil {
		r.deps.Progress(Progress{Scenario: e.scenario.Name, Replicator: e.replicator, Run: e.run, Number: e.number, Of: e.of, Phase: phase, Message: message, Document: doc})
	}
}

// summarize writes what is about all results.
func (r *Runner) summarize(all []*Result) error {
	if err := writeWith(filepath.Join(r.cfg.Output, JUnitFile), func(w io.Writer) error { return WriteJUnit(w, all) }); err != nil {
		return err
	}
	if r.deps.Compare != nil {
		sorted := slices.Clone(all)
		sortResults(sorted)
		return r.deps.Compare(r.cfg.Output, sorted)
	}
	return nil
}

// leave writes what a run leaves behind.
func (r *Runner) leave(e entry, res *Result, doc *verdict.Document) error {
	at := func(name string) string { return filepath.Join(e.dir, name) }
	if doc != nil {
		if err := errors.Join(writeWith(at(VerdictFile), doc.Write), writeJSON(at(EventsFile), doc.Events)); err != nil {
			return err
		}
		if r.deps.Report != nil {
			if err := writeWith(at(ReportFile), func(w io.Writer) error { return r.deps.Report(w, withExpectations(doc, res)) }); err != nil {
				return err
			}
		}
	}
	if res.Probe != nil && res.Probe.Document != nil {
		if err := writeJSON(at(ProbeFile), res.Probe.Document); err != nil {
			return err
		}
	}
	if err := writeWith(at(JUnitFile), func(w io.Writer) error { return WriteJUnit(w, []*Result{res}) }); err != nil {
		return err
	}
	return writeJSON(at(ResultFile), res) // last: it says that the run is over
}

// withExpectations returns the document as the report shows it: with what the scenario expected, and the
// outcome that came of it.
func withExpectations(doc *verdict.Document, res *Result) *verdict.Document {
	shown := *doc
	v := &shown.Verdict
	v.Expectations = nil
	for _, e := range res.Expectations {
		v.Expectations = append(v.Expectations, verdict.ExpectationResult{Expectation: e.Expectation, Actual: e.Actual, Outcome: e.Outcome})
	}
	v.Outcome, v.Reasons = res.Outcome, res.Reasons
	v.Notes = slices.Concat([]string{res.About}, doc.Verdict.Notes, res.Notes)
	return &shown
}

// run is a scenario while it is played.
type run struct {
	*Runner
	entry
	res    *Result
	target Target
	doc    *verdict.Document // the latest
	phase  string
	heard  time.Time // of the target
	saved  time.Time
}

// play plays one scenario. What goes wrong with it is in its result.
func (r *Runner) play(ctx context.Context, e entry, res *Result) (err error) {
	if err := os.MkdirAll(e.dir, 0o755); err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	at := func(name string) string { return filepath.Join(e.dir, name) }
	baseline := e.scenario.Baseline.clone()
	baseline.TestID, baseline.Destination.Expectations = res.Test, e.scenario.plain()
	res.Started = time.Now().UnixMicro()
	x := &run{Runner: r, entry: e, res: res}
	scratch := at(scratchDir)
	defer os.RemoveAll(scratch)
	if x.target, err = r.deps.Target(scratch); err != nil {
		return err
	}
	if err := errors.Join(writeFile(at(ScenarioFile), e.scenario.Source), writeJSON(at(ConfigFile), baseline), writeJSON(at(ResultFile), res)); err != nil {
		return err
	}
	// A target prepares for what will be asked of it; the one that was asked before the first run was another.
	if err := r.check(x.target, e.scenario); err != nil {
		return fmt.Errorf("scenario %s: %w", e.scenario.Name, err)
	}
	res.Reasons = nil
	final := x.playSteps(ctx, baseline)
	res.State, res.Ended = Finished, time.Now().UnixMicro()
	if ctx.Err() != nil {
		res.State = Interrupted
		res.Reasons = append(res.Reasons, "the run was stopped in the middle of the scenario")
	}
	if final == nil {
		final = x.doc
	}
	for i := range res.Discoveries {
		if final != nil {
			res.Discoveries[i].look(final)
		}
	}
	x.evidence(ctx)
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.ConvergeTimeout)
	defer cancel()
	if err := x.target.Stop(stopping); err != nil {
		r.deps.Logger.Error("the target did not stop cleanly", "error", err)
		res.Notes = append(res.Notes, "the target did not stop cleanly: "+err.Error())
	}
	res.conclude(e.scenario, final)
	if d, ok := x.target.(Describer); ok {
		all := maps.Clone(d.Versions())
		maps.Copy(all, res.Versions)
		res.Versions = all
	}
	if err := r.leave(e, res, final); err != nil {
		return err
	}
	x.say("%s", res.Outcome)
	return nil
}

func (x *run) say(format string, args ...any) {
	x.tell(x.entry, x.phase, fmt.Sprintf(format, args...), x.doc)
}

// doubt notes that the scenario was not played as it says.
func (x *run) doubt(format string, args ...any) {
	reason := fmt.Sprintf(format, args...)
	x.res.Reasons = append(x.res.Reasons, reason)
	x.say("%s", reason)
}

// playSteps starts the target, plays the steps and drains. It returns the final verdict, nil if there is
// none.
func (x *run) playSteps(ctx context.Context, baseline Config) *verdict.Document {
	x.phase = "starting"
	x.say("starting on %s", x.target.Name())
	starting, cancel := context.WithTimeout(ctx, x.cfg.StartTimeout)
	err := x.target.Start(starting, baseline)
	cancel()
	if err != nil {
		if ctx.Err() == nil {
			x.doubt("the target did not start: %v", err)
		}
		return nil
	}
	x.heard = time.Now()
	x.phase = "becoming steady"
	if x.steady(ctx, 0, time.Now()) != nil {
		return nil
	}
	if err := x.begin(ctx, PhaseSteady, time.Now()); err != nil {
		x.doubt("the phase %s could not be marked: %v", PhaseSteady, err)
	}
	asked, nominal := time.Now(), time.Duration(0)
	if x.scenario.Probe != "" && x.probe(ctx) != nil {
		return nil
	}
	now := baseline
	failed := false
	for i := range x.scenario.Steps {
		step := &x.scenario.Steps[i]
		if step.When == PhaseSteady && i > 0 {
			if err := x.steady(ctx, i+1, asked); err != nil {
				return nil
			}
		} else if x.hold(ctx, asked.Add(step.Start-nominal)) != nil {
			return nil
		}
		asked, nominal = time.Now(), step.Start
		next := step.Config.clone()
		next.TestID, next.Destination.Expectations = baseline.TestID, baseline.Destination.Expectations
		result := x.step(ctx, i, step, now, next)
		x.res.Steps = append(x.res.Steps, result)
		if result.Error != "" {
			x.say("step %d failed: %s", i+1, result.Error)
			failed = true
			break // what comes after it would not be what the scenario says
		}
		now = next
		x.save()
	}
	if !failed && x.hold(ctx, asked.Add(time.Duration(x.scenario.Duration)-nominal)) != nil {
		return nil
	}
	if ctx.Err() != nil {
		return nil
	}
	if err := x.begin(ctx, PhaseDrain, time.Now()); err != nil {
		x.doubt("the phase %s could not be marked: %v", PhaseDrain, err)
	}
	x.metrics(ctx)
	x.say("draining")
	doc, err := x.drain(ctx)
	if err != nil {
		if ctx.Err() == nil {
			x.doubt("there is no final verdict: %v", err)
		}
		return nil
	}
	return doc
}

// drain has the target end the load, tells meanwhile what arrives, and returns the final verdict.
func (x *run) drain(ctx context.Context) (doc *verdict.Document, err error) {
	draining, cancel := context.WithTimeout(ctx, x.cfg.DrainTimeout)
	defer cancel()
	asking, enough := context.WithCancel(draining)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer enough()
		doc, err = x.target.Drain(draining)
	}()
	tick := time.NewTicker(x.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return doc, err
		case <-tick.C:
			_ = x.ask(asking) // what runs is being stopped, the auditor too in the end
		}
	}
}

// probe makes the scenario's probe while the load runs. The error is that ctx has ended or the target is
// silent.
func (x *run) probe(ctx context.Context) error {
	x.say("probe %s", x.scenario.Probe)
	probing, cancel := context.WithTimeout(ctx, x.cfg.ProbeTimeout)
	defer cancel()
	type answer struct {
		result *ProbeResult
		err    error
	}
	done := make(chan answer, 1)
	go func() {
		result, err := x.deps.Probe(probing, x.target, x.scenario.Probe, x.scenario.ProbeSettings)
		done <- answer{result, err}
	}()
	for {
		select {
		case a := <-done:
			x.res.Probe = a.result
			if a.err != nil {
				x.res.Probe = &ProbeResult{Name: x.scenario.Probe, Checks: []ProbeCheck{}, Error: a.err.Error()}
			}
			return ctx.Err()
		default:
		}
		if err := x.look(ctx, x.cfg.Every); err != nil {
			cancel()
			<-done // it uses the target, which will be stopped
			return err
		}
	}
}

// guard is how much earlier than a change its phase begins: records that are on their way when something
// breaks belong to the phase that delays them.
const guard = 2 * time.Second

// step plays one step.
func (x *run) step(ctx context.Context, i int, step *Step, now, next Config) StepResult {
	result := StepResult{Title: step.Title(), Changes: step.Changes, Asked: time.Now().UnixMicro()}
	fail := func(err error) StepResult {
		result.Error = err.Error()
		return result
	}
	if step.Phase != "" {
		from := time.Now()
		if n := len(x.res.Phases); n > 0 && len(step.Changes) > 0 {
			from = from.Add(-min(guard, from.Sub(time.UnixMicro(x.res.Phases[n-1].From))/2)) // and something is left of the one before
		}
		if err := x.begin(ctx, step.Phase, from); err != nil {
			return fail(fmt.Errorf("begin the phase %s: %w", step.Phase, err))
		}
	}
	if len(step.Changes) == 0 {
		result.Done = result.Asked
		return result
	}
	x.say("step %d: %s", i+1, step.Title())
	for _, e := range changes(now, next, step) {
		if err := x.target.Mark(ctx, e); err != nil {
			return fail(fmt.Errorf("tell the auditor: %w", err))
		}
	}
	x.res.Discoveries = append(x.res.Discoveries, discoveries(i+1, now, next, time.UnixMicro(result.Asked))...)
	converging, cancel := context.WithTimeout(ctx, x.cfg.ConvergeTimeout)
	defer cancel()
	if err := x.target.Converge(converging, next); err != nil {
		return fail(err)
	}
	result.Done = time.Now().UnixMicro()
	return result
}

// changes are the events of what a step changes, but for faults, of which the target tells.
func changes(now, next Config, step *Step) []verdict.Event {
	var out []verdict.Event
	was, _ := now.side(step.Side)
	is, _ := next.side(step.Side)
	before, after := fields(was), fields(is)
	for _, change := range step.Changes {
		_, key, _ := strings.Cut(change, ".")
		if key == "fault" {
			continue
		}
		out = append(out, verdict.Event{Kind: key, Side: step.Side, Detail: fmt.Sprintf("%s -> %s", brief(before[key]), brief(after[key]))})
	}
	return out
}

func brief(v reflect.Value) string { return fmt.Sprint(v.Interface()) }

// begin begins a phase.
func (x *run) begin(ctx context.Context, name string, from time.Time) error {
	at := from.UnixMicro()
	if n := len(x.res.Phases); n > 0 {
		at = max(at, x.res.Phases[n-1].From+1)
	}
	x.phase = name
	x.res.Phases = append(x.res.Phases, Phase{Name: name, From: at})
	return x.target.Mark(ctx, verdict.Event{Time: at, Kind: verdict.PhaseEvent, Detail: name})
}

// hold looks at what goes on until a time. The error is that ctx has ended or the target is silent, and
// has been noted.
func (x *run) hold(ctx context.Context, until time.Time) error {
	for {
		left := time.Until(until)
		if left <= 0 {
			return ctx.Err()
		}
		if err := x.look(ctx, min(left, x.cfg.Every)); err != nil {
			return err
		}
	}
}

// look waits a while and then asks the target how it is.
func (x *run) look(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	err := x.ask(ctx)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && time.Since(x.heard) > x.cfg.SilentAfter:
		x.doubt("the target has told nothing for %s: %v", human.Seconds(time.Since(x.heard).Seconds()), err)
		return err
	}
	if time.Since(x.saved) > saveEvery {
		x.save()
	}
	return nil
}

// ask asks the target for the verdict so far, and tells it.
func (x *run) ask(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	doc, err := x.target.Status(asking)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		x.doc, x.heard = doc, time.Now()
		for i := range x.res.Discoveries {
			x.res.Discoveries[i].look(doc)
		}
	default:
		x.deps.Logger.Debug("the target does not answer", "error", err)
	}
	x.tell(x.entry, x.phase, "", x.doc)
	return err
}

// saveEvery is how often what is known so far is written, for a runner that is killed.
const saveEvery = 10 * time.Second

// save writes what is known so far. If that fails the scenario goes on: the end will tell.
func (x *run) save() {
	x.saved = time.Now()
	err := writeJSON(filepath.Join(x.dir, ResultFile), x.res)
	if err == nil && x.doc != nil {
		err = writeWith(filepath.Join(x.dir, VerdictFile), x.doc.Write)
	}
	if err != nil {
		x.deps.Logger.Warn("what is known so far cannot be kept", "error", err)
	}
}

// steady waits for a steady state that begins after since.
func (x *run) steady(ctx context.Context, step int, since time.Time) error {
	began := time.Now()
	result := Steadiness{Before: step}
	x.say("waiting for a steady state")
	for {
		if err := x.look(ctx, x.cfg.Every); err != nil {
			return err
		}
		if x.doc != nil {
			result.Reached, result.Why = steady(x.doc, since.Unix(), int(x.cfg.SteadyFor/time.Second))
		}
		if result.Reached || time.Since(began) > x.cfg.SteadyWithin {
			break
		}
	}
	result.Seconds = time.Since(began).Seconds()
	x.res.Steady = append(x.res.Steady, result)
	if result.Reached {
		x.say("steady after %s", human.Seconds(result.Seconds))
	} else {
		x.say("not steady within %s: %s; going on all the same", human.Seconds(result.Seconds), result.Why)
	}
	return nil
}

// metrics has the target leave the metrics of its processes.
func (x *run) metrics(ctx context.Context) {
	m, ok := x.target.(Metered)
	if !ok {
		return
	}
	dir := filepath.Join(x.dir, EvidenceDir, "metrics")
	asking, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = m.Metrics(asking, dir)
	}
	if err != nil && ctx.Err() == nil {
		x.deps.Logger.Warn("metrics are missing", "error", err)
		x.res.Notes = append(x.res.Notes, "metrics are missing: "+err.Error())
	}
}

// evidence has the target leave what it has, and takes secrets out of it.
func (x *run) evidence(ctx context.Context) {
	w, ok := x.target.(Witness)
	if !ok {
		return
	}
	dir := filepath.Join(x.dir, EvidenceDir)
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), x.cfg.EvidenceTimeout)
	defer cancel()
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = errors.Join(w.Evidence(asking, dir), redact(dir))
	}
	if err != nil {
		x.deps.Logger.Warn("evidence is missing", "error", err)
		x.res.Notes = append(x.res.Notes, "evidence is missing: "+err.Error())
	}
}
