package demo

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/report"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// eventful has a fault, a new topic and new partitions within seconds. Nothing in it depends on speed.
const eventful = `name: eventful
about: A source broker is down for a second, and a topic and partitions are added.
baseline:
  source: {brokers: 2, replicationFactor: 2, partitions: 3, throughput: 200/s, messageSize: 200B}
  destination: {brokers: 2, replicationFactor: 2, partitions: 3}
duration: 7s
steps:
  - after: 2s
    phase: fault
    side: source
    change: {fault: {kind: broker-outage, victims: [0], duration: 1s, run: 1}}
    note: a source broker is down
  - after: 2s
    phase: growth
    side: source
    change: {topics: [load, load-2], partitions: 5, throughput: 100/s}
  - when: steady
    phase: calm
expectations:
  - expect: lost == 0
    why: nothing is wrong with the mirror
  - expect: lost[replicator] == 0
    why: nor can it have lost any
  - expect: discovery.topics <= 10m
    why: the mirror looks twice a second
  - expect: discovery.partitions <= 10m
    why: likewise
  - expect: recovery[broker-outage] <= 10m
    why: the outage is one second
  - expect: latency.max[steady] <= 10m
    why: it is not slower than that
  - expect: rpo[fault] <= 10m
    why: likewise
  - expect: duplicates >= 0
    why: the mirror may repeat what it had under way
`

// quick is nothing but two seconds of load.
const quick = `name: quick
about: Two seconds of load.
baseline:
  source: {brokers: 1, replicationFactor: 1, minInsyncReplicas: 1, partitions: 2, throughput: 200/s, messageSize: 200B}
  destination: {brokers: 1, replicationFactor: 1, partitions: 2}
duration: 2s
steps:
  - after: 1s
    side: source
    change: {throughput: 300/s}
expectations:
  - expect: lost == 0
    why: nothing is wrong with the mirror
`

// file puts a scenario's file into a directory and returns its path.
func file(t *testing.T, text string) string {
	t.Helper()
	name, _, _ := strings.Cut(strings.TrimPrefix(text, "name: "), "\n")
	path := filepath.Join(t.TempDir(), name+".yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// runner plays on the embedded target, or on what wraps it.
func runner(t *testing.T, wrap func(scenario.Target) scenario.Target, change func(*scenario.RunConfig, *scenario.RunDeps)) (*scenario.Runner, string) {
	t.Helper()
	var c scenario.RunConfig
	c.SetDefaults()
	c.Output = filepath.Join(t.TempDir(), "results")
	c.SteadyFor, c.Every = 2*time.Second, 200*time.Millisecond
	log := slog.New(slog.DiscardHandler)
	deps := scenario.RunDeps{
		Logger: log,
		Target: func(string) (scenario.Target, error) {
			target := scenario.Target(NewTarget(TargetDeps{Logger: log}))
			if wrap != nil {
				target = wrap(target)
			}
			return target, nil
		},
		Report: report.HTML,
	}
	if change != nil {
		change(&c, &deps)
	}
	r, err := scenario.NewRunner(c, deps)
	if err != nil {
		t.Fatal(err)
	}
	return r, c.Output
}

func outcomes(results []*scenario.Result) string {
	var out []string
	for _, r := range results {
		out = append(out, r.Scenario+": "+string(r.Outcome))
	}
	return strings.Join(out, ", ")
}

func TestScenarioHolds(t *testing.T) {
	t.Parallel()
	var phases []string
	r, dir := runner(t, nil, func(_ *scenario.RunConfig, d *scenario.RunDeps) {
		d.Progress = func(p scenario.Progress) {
			if len(phases) == 0 || phases[len(phases)-1] != p.Phase {
				phases = append(phases, p.Phase)
			}
		}
	})
	results, err := r.Run(t.Context(), []string{file(t, eventful)})
	if err != nil {
		t.Fatal(err)
	}
	res := results[0]
	if res.Outcome != verdict.Holds || res.State != scenario.Finished || res.Replicator != "mirror" || res.Target != "demo" {
		t.Fatalf("%s (%s) by %s on %s: %v", res.Outcome, res.State, res.Replicator, res.Target, res.Reasons)
	}
	for _, e := range res.Expectations {
		if e.Outcome != verdict.Holds || e.Why == "" || e.Actual == "not measured" {
			t.Errorf("%+v", e)
		}
	}
	if got := strings.Join(phases, ", "); got != "starting, becoming steady, steady, fault, growth, calm, drain" {
		t.Errorf("phases shown: %s", got)
	}
	if len(res.Steps) != 3 || len(res.Phases) != 5 || len(res.Steady) != 2 || !res.Steady[0].Reached || res.Steady[1].Before != 3 || res.Figures.Expected < 500 {
		t.Errorf("%+v", res)
	}
	var kinds []string
	for _, s := range res.Steps {
		for _, e := range s.Events {
			kinds = append(kinds, e.Kind)
			if e.Time < s.Asked || e.Kind == "broker-outage-end" && e.Time < res.Steps[0].Asked+900_000 {
				t.Errorf("%s at %d, the step was asked for at %d", e.Kind, e.Time, s.Asked)
			}
		}
	}
	slices.Sort(kinds)
	if got := strings.Join(kinds, " "); got != "broker-outage broker-outage-end partitions throughput topics" {
		t.Errorf("events of the steps: %s", got)
	}
	if len(res.Discoveries) != 2 || !res.Discoveries[0].Complete || !res.Discoveries[1].Complete || res.Discoveries[0].Seconds <= 0 {
		t.Errorf("discoveries %+v", res.Discoveries)
	}
	run := filepath.Join(dir, "eventful", "mirror", "run-1")
	for _, name := range []string{scenario.ResultFile, scenario.VerdictFile, scenario.ReportFile, scenario.JUnitFile, scenario.EventsFile, scenario.ScenarioFile, scenario.ConfigFile, "evidence/settings.yaml"} {
		if info, err := os.Stat(filepath.Join(run, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	back, err := scenario.ReadResults(dir)
	if err != nil || len(back) != 1 {
		t.Fatalf("%d results come back: %v", len(back), err)
	}
	if a, b := mustJSON(t, res), mustJSON(t, back[0]); a != b {
		t.Errorf("the result comes back otherwise:\n%s\n%s", a, b)
	}
	doc, err := back[0].ReadVerdict()
	if err != nil || !doc.Verdict.Final {
		t.Errorf("the verdict: %v", err)
	}
	for _, phase := range []string{"steady", "fault", "growth"} {
		if !slices.ContainsFunc(doc.Verdict.Latency, func(p verdict.PhaseLatency) bool { return p.Phase == phase && p.Latency.Count > 0 }) {
			t.Errorf("no latency of the phase %s", phase)
		}
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A replicator's failure breaks its scenario, and the next one is played all the same; each twice.
func TestScenarioBreaksAndRepeats(t *testing.T) {
	t.Parallel()
	r, dir := runner(t, nil, func(c *scenario.RunConfig, _ *scenario.RunDeps) {
		c.Settings, c.Repeat = []string{"destination.replicatorConfig.fault=drop"}, 2
	})
	impossible := strings.NewReplacer("name: quick", "name: impossible", "about:", "needs: [ocean]\nabout:").Replace(quick)
	results, err := r.Run(t.Context(), []string{file(t, quick), file(t, impossible)})
	if err != nil {
		t.Fatal(err)
	}
	if got := outcomes(results); got != "quick: broken, quick: broken, impossible: not played, impossible: not played" {
		t.Fatal(got)
	}
	res := results[0]
	if res.Replicator != "mirror-drop" || res.Figures.Lost == 0 || !strings.Contains(strings.Join(res.Reasons, " "), "expected lost == 0, found") {
		t.Errorf("%+v", res)
	}
	if got := results[2].Reasons[0]; !strings.Contains(got, "cannot be played here") || !strings.Contains(got, "ocean") {
		t.Errorf("not played because %s", got)
	}
	if scenario.Worst(results) != verdict.Broken || scenario.Worst(results[2:]) != scenario.NotPlayed {
		t.Error("the worst outcome")
	}
	text, err := os.ReadFile(filepath.Join(dir, scenario.JUnitFile))
	if err != nil {
		t.Fatal(err)
	}
	var suites struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Skipped  int `xml:"skipped,attr"`
		Suites   []struct {
			Name  string `xml:"name,attr"`
			Cases []struct {
				Name    string `xml:"name,attr"`
				Failure *struct {
					Message string `xml:"message,attr"`
				} `xml:"failure"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(text, &suites); err != nil {
		t.Fatal(err)
	}
	if len(suites.Suites) != 4 || suites.Failures != 4 || suites.Skipped != 2 || suites.Suites[0].Name != "quick (mirror-drop, run 1)" || suites.Suites[0].Cases[1].Failure == nil {
		t.Errorf("JUnit XML:\n%s", text)
	}
}

// wrapped changes what a target does.
type wrapped struct {
	scenario.Target
	start    func() error
	converge func() error
}

func (w *wrapped) Start(ctx context.Context, c scenario.Config) error {
	if w.start != nil {
		if err := w.start(); err != nil {
			return err
		}
	}
	return w.Target.Start(ctx, c)
}

func (w *wrapped) Converge(ctx context.Context, c scenario.Config) error {
	if w.converge != nil {
		if err := w.converge(); err != nil {
			return err
		}
	}
	return w.Target.Converge(ctx, c)
}

// A step that fails ends the steps, and what had been played until then has a verdict; a target that does
// not start has none. Neither keeps the next scenario from being played.
func TestScenarioWhoseStepFails(t *testing.T) {
	t.Parallel()
	starts := 0
	r, _ := runner(t, func(inner scenario.Target) scenario.Target {
		return &wrapped{Target: inner, start: func() error {
			if starts++; starts == 1 {
				return errors.New("no JVM")
			}
			return nil
		}, converge: func() error { return errors.New("the disk is full") }}
	}, nil)
	results, err := r.Run(t.Context(), []string{file(t, quick), file(t, strings.Replace(quick, "name: quick", "name: second", 1))})
	if err != nil {
		t.Fatal(err)
	}
	if got := outcomes(results); got != "quick: cannot say, second: cannot say" {
		t.Fatal(got)
	}
	if got := strings.Join(results[0].Reasons, "; "); !strings.Contains(got, "the target did not start: no JVM") || len(results[0].Steps) != 0 {
		t.Errorf("the first: %s", got)
	}
	second := results[1]
	if got := strings.Join(second.Reasons, "; "); !strings.Contains(got, "step 1 (change source.throughput) failed: the disk is full") {
		t.Errorf("the second: %s", got)
	}
	if second.Figures == nil || second.Figures.Expected == 0 || second.Expectations[0].Outcome != verdict.Holds {
		t.Errorf("what had been played has no verdict: %+v", second)
	}
}

// A runner that is stopped ends the scenario with what it has. The one that resumes plays it again, and what is
// left, but nothing that had finished. The same if it was killed.
func TestInterruptedRunIsResumed(t *testing.T) {
	t.Parallel()
	files := []string{file(t, strings.Replace(quick, "name: quick", "name: first", 1)), file(t, strings.Replace(quick, "duration: 2s", "duration: 8s", 1)),
		file(t, strings.Replace(quick, "name: quick", "name: third", 1))}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	played := map[string]int{}
	stopped := false
	count := func(_ *scenario.RunConfig, d *scenario.RunDeps) {
		d.Progress = func(p scenario.Progress) {
			if strings.HasPrefix(p.Message, "starting") {
				played[p.Scenario]++
			}
			if !stopped && p.Scenario == "quick" && p.Document != nil && p.Document.Verdict.Total.Received > 0 && p.Phase == scenario.PhaseSteady {
				stopped = true
				stop()
			}
		}
	}
	r, dir := runner(t, nil, count)
	results, err := r.Run(ctx, files)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	if got := outcomes(results); got != "first: holds, quick: cannot say, third: not played" {
		t.Fatal(got)
	}
	middle := results[1]
	if middle.State != scenario.Interrupted || middle.Figures == nil || middle.Figures.Received == 0 || !strings.Contains(strings.Join(middle.Reasons, " "), "stopped in the middle") {
		t.Errorf("%+v", middle)
	}

	// As if it had been killed instead.
	if err := os.WriteFile(filepath.Join(middle.Dir, "left"), []byte("a file"), 0o644); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(middle.Dir, scenario.ResultFile))
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), `"state": "interrupted"`, `"state": "playing"`, 1))
	if err := os.WriteFile(filepath.Join(middle.Dir, scenario.ResultFile), text, 0o644); err != nil {
		t.Fatal(err)
	}
	r, _ = runner(t, nil, func(c *scenario.RunConfig, d *scenario.RunDeps) {
		c.Output = dir
		count(c, d)
	})
	results, err = r.Resume(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := outcomes(results); got != "first: holds, quick: holds, third: holds" {
		t.Fatal(got)
	}
	if m := results[1]; m.State != scenario.Finished {
		t.Errorf("%+v", m)
	}
	if left, err := os.ReadFile(filepath.Join(middle.Dir, "left")); err == nil {
		t.Errorf("%s is still there of what was interrupted", left)
	}
	if played["first"] != 1 || played["quick"] != 2 || played["third"] != 1 {
		t.Errorf("played %v", played)
	}
	if _, err := r.Run(t.Context(), files); err == nil || !strings.Contains(err.Error(), "has the results of another run") {
		t.Errorf("another run into the same directory: %v", err)
	}
	if err := os.WriteFile(filepath.Join(middle.Dir, scenario.ResultFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Resume(t.Context()); err == nil || !strings.Contains(err.Error(), scenario.ResultFile) || !strings.Contains(err.Error(), "remove "+middle.Dir) {
		t.Errorf("a damaged result: %v", err)
	}
}

// What is plainly wrong is found before anything is played.
func TestEverythingIsCheckedFirst(t *testing.T) {
	t.Parallel()
	r, dir := runner(t, nil, func(c *scenario.RunConfig, _ *scenario.RunDeps) {
		c.Settings = []string{"destination.replicatorConfig.fault=explode"}
	})
	_, err := r.Run(t.Context(), []string{file(t, quick), file(t, strings.Replace(quick, "name: quick", "name: second", 1))})
	if err == nil || !strings.Contains(err.Error(), "scenario second: replicatorConfig: fault: \"explode\"") {
		t.Errorf("%v", err)
	}
	if _, err := r.Run(t.Context(), []string{file(t, quick), "kontrol", file(t, quick)}); err == nil || !strings.Contains(err.Error(), "did you mean control?") || !strings.Contains(err.Error(), `"quick" is named twice`) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was left: %v", err)
	}
}

func TestCompareIsToldOfEveryResult(t *testing.T) {
	t.Parallel()
	var counts []int
	r, _ := runner(t, nil, func(c *scenario.RunConfig, d *scenario.RunDeps) {
		d.Compare = func(_ string, results []*scenario.Result) error {
			counts = append(counts, len(results))
			return nil
		}
		d.Report = func(io.Writer, *verdict.Document) error { return errors.New("no room") }
		c.Repeat = 2
	})
	if _, err := r.Run(t.Context(), []string{file(t, strings.Replace(quick, "about:", "needs: [root]\nabout:", 1))}); err != nil {
		t.Error(err)
	}
	if !slices.Equal(counts, []int{1, 2}) {
		t.Errorf("told of %v results", counts)
	}
	r, _ = runner(t, nil, func(_ *scenario.RunConfig, d *scenario.RunDeps) {
		d.Report = func(io.Writer, *verdict.Document) error { return errors.New("no room") }
	})
	if _, err := r.Run(t.Context(), []string{file(t, quick)}); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("a report that cannot be written: %v", err)
	}
}
