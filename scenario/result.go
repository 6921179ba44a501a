package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// ResultSchema names the version of result.json. It changes when a field changes its meaning or goes;
// new fields alone do not change it.
const ResultSchema = "kafka-mirror-tester/scenario-result/v1"

// NotPlayed is the outcome of a scenario that the target has not the means for, or that was never begun.
const NotPlayed verdict.Outcome = "not played"

// States of a result.
const (
	Playing     = "playing" // or its runner was killed
	Finished    = "finished"
	Interrupted = "interrupted"
)

// The files of a run, in a directory of its own.
const (
	ResultFile   = "result.json"
	VerdictFile  = "verdict.json"
	ReportFile   = "report.html"
	ScenarioFile = "scenario.yaml"
	ConfigFile   = "config.json"
	EventsFile   = "events.json"
	JUnitFile    = "junit.xml"
	ProbeFile    = "probe.json" // where the scenario makes a probe
	EvidenceDir  = "evidence"
)

// Result is what became of one run of a scenario.
type Result struct {
	Schema   string `json:"schema"`
	Scenario string `json:"scenario"`
	About    string `json:"about"`
	Reported string `json:"reported,omitempty"`
	Target   string `json:"target"`
	// Replicator is what copied.
	Replicator string `json:"replicator"`
	// Run counts the runs of the same scenario with the same replicator, from 1.
	Run      int      `json:"run"`
	Settings []string `json:"settings,omitempty"` // as given with --set
	Test     string   `json:"test"`

	State   string          `json:"state"`
	Outcome verdict.Outcome `json:"outcome"`
	// Reasons say in sentences why the outcome is not "holds".
	Reasons []string `json:"reasons,omitempty"`
	// Notes are worth knowing and do not change the outcome.
	Notes []string `json:"notes,omitempty"`

	Started int64 `json:"started_unix_us"`
	Ended   int64 `json:"ended_unix_us"`

	Steady       []Steadiness        `json:"steady,omitempty"`
	Phases       []Phase             `json:"phases,omitempty"`
	Steps        []StepResult        `json:"steps,omitempty"`
	Discoveries  []Discovery         `json:"discoveries,omitempty"`
	Expectations []ExpectationResult `json:"expectations"`
	Figures      *Figures            `json:"figures,omitempty"`
	Probe        *ProbeResult        `json:"probe,omitempty"`

	Machine  string            `json:"machine"`
	Versions map[string]string `json:"versions,omitempty"`

	// Dir is where it was read from or is written to.
	Dir string `json:"-"`
}

// Steadiness is what waiting for a steady state came to.
type Steadiness struct {
	// Before is the step that waited; 0: the beginning.
	Before  int     `json:"before_step"`
	Reached bool    `json:"reached"`
	Seconds float64 `json:"seconds"`
	Why     string  `json:"why,omitempty"` // it was not reached
}

// Phase is when a phase began.
type Phase struct {
	Name string `json:"name"`
	From int64  `json:"from_unix_us"`
}

// StepResult is what became of a step.
type StepResult struct {
	Title   string   `json:"title"`
	Changes []string `json:"changes,omitempty"`
	// Asked is when the target was asked for the change, Done when it said that it is so.
	Asked int64 `json:"asked_unix_us"`
	Done  int64 `json:"done_unix_us,omitempty"`
	// Events are what the target told of it until the next step: when it really began and ended.
	Events []verdict.Event `json:"events,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// Figures are those of the verdict that runs are compared by. What was not measured is nil.
type Figures struct {
	Expected        uint64   `json:"expected"`
	Received        uint64   `json:"received"`
	Lost            uint64   `json:"lost"`
	Undelivered     uint64   `json:"undelivered"`
	DestinationLost uint64   `json:"destination_lost"`
	Duplicates      uint64   `json:"duplicates"`
	Reordered       uint64   `json:"reordered"`
	Misplaced       uint64   `json:"misplaced"`
	OutageSeconds   float64  `json:"outage_s"` // the longest since the steady state
	RPOSeconds      float64  `json:"rpo_s"`    // the worst since the steady state
	RPORecords      uint64   `json:"rpo_records"`
	RecoverySeconds *float64 `json:"recovery_s"` // the longest; -1: it never recovered
	SteadyP99Millis *float64 `json:"steady_p99_ms"`
	P99Millis       *float64 `json:"p99_ms"`
	Bottleneck      string   `json:"bottleneck"`
}

func figures(doc *verdict.Document) *Figures {
	v, c := &doc.Verdict, &doc.Verdict.Total
	f := &Figures{
		Expected: c.Expected, Received: c.Received, Lost: c.Lost, Undelivered: c.Undelivered, DestinationLost: c.DestinationLost,
		Duplicates: c.Duplicates, Reordered: c.Reordered, Misplaced: c.Misplaced, Bottleneck: v.Bottleneck.Component,
	}
	var steady int64
	if p := phase(v, PhaseSteady); p != nil {
		steady = p.From
	}
	f.OutageSeconds = longestOutage(v, steady, math.MaxInt64)
	for _, p := range doc.Timeline {
		if (p.Second+1)*1_000_000 > steady {
			f.RPOSeconds, f.RPORecords = max(f.RPOSeconds, p.RPOSeconds), max(f.RPORecords, p.Pending)
		}
	}
	for _, r := range v.Recoveries {
		longest := r.Seconds
		if !r.Recovered {
			longest = -1
		}
		if f.RecoverySeconds == nil || *f.RecoverySeconds >= 0 && (longest < 0 || longest > *f.RecoverySeconds) {
			f.RecoverySeconds = &longest
		}
	}
	for name, to := range map[string]**float64{PhaseSteady: &f.SteadyP99Millis, verdict.AllPhases: &f.P99Millis} {
		if p := phase(v, name); p != nil && p.Latency.Count > 0 {
			ms := p.Latency.P99
			*to = &ms
		}
	}
	return f
}

// ProbeResult is what a probe found: a side experiment beside the load.
type ProbeResult struct {
	Name   string       `json:"name"`
	Checks []ProbeCheck `json:"checks"`
	Error  string       `json:"error,omitempty"` // why it could not be made
	// Document is all that it found, as the probe has it; it is kept in ProbeFile.
	Document any `json:"-"`
}

// ProbeCheck is one thing that must hold, or that is only measured.
type ProbeCheck struct {
	Name     string          `json:"name"`
	About    string          `json:"about"`
	Counts   bool            `json:"counts"`
	Outcome  verdict.Outcome `json:"outcome"`
	Compared uint64          `json:"compared"`
	Wrong    uint64          `json:"wrong"`
	Detail   string          `json:"detail,omitempty"`
}

func (p *ProbeResult) check(name string) *ProbeCheck {
	if p == nil {
		return nil
	}
	for i := range p.Checks {
		if p.Checks[i].Name == name {
			return &p.Checks[i]
		}
	}
	return nil
}

// rank orders outcomes, the gravest first.
func rank(o verdict.Outcome) int {
	return slices.Index([]verdict.Outcome{verdict.Broken, verdict.CannotSay, verdict.Holds, NotPlayed}, o)
}

// Worst returns the gravest outcome of all: broken before cannot say before holds. Results that were not
// played count only if nothing was.
func Worst(results []*Result) verdict.Outcome {
	worst := NotPlayed
	for _, r := range results {
		if rank(r.Outcome) < rank(worst) {
			worst = r.Outcome
		}
	}
	return worst
}

// worsen makes the outcome at least as grave as o, for a reason.
func (r *Result) worsen(o verdict.Outcome, reason string) {
	if rank(o) < rank(r.Outcome) {
		r.Outcome = o
	}
	if reason != "" && !slices.Contains(r.Reasons, reason) {
		r.Reasons = append(r.Reasons, reason)
	}
}

// conclude comes to the outcome. doc is nil if there is none at all.
func (r *Result) conclude(s *Scenario, doc *verdict.Document) {
	doubts := r.Reasons
	r.Reasons, r.Expectations = nil, []ExpectationResult{}
	r.Outcome = verdict.Holds
	if doc == nil {
		if len(doubts) == 0 { // which say why
			doubts = []string{"there is no verdict"}
		}
	} else {
		r.Figures, r.Versions = figures(doc), doc.Versions
		if doc.Verdict.Outcome != verdict.Holds {
			r.worsen(doc.Verdict.Outcome, "")
			for _, reason := range doc.Verdict.Reasons {
				r.worsen(doc.Verdict.Outcome, reason)
			}
		}
		r.assign(doc.Events)
	}
	judged := map[string]bool{}
	for i := range s.Expectations {
		e := s.Expectations[i].judge(doc, r.Discoveries, r.Probe)
		r.Expectations = append(r.Expectations, e)
		judged[e.Expectation] = true
		if s.Expectations[i].quantity == "probe" {
			judged[s.Expectations[i].selector] = true
		}
		switch {
		case e.Outcome == verdict.Holds || doc == nil:
		case s.Expectations[i].plain != nil && e.Outcome == doc.Verdict.Outcome:
			r.worsen(e.Outcome, "") // the verdict has said it
		default:
			r.worsen(e.Outcome, fmt.Sprintf("expected %s, found %s", e.Expectation, e.Actual))
		}
	}
	if doc != nil { // those that every verdict has
		for _, e := range doc.Verdict.Expectations {
			if !judged[e.Expectation] {
				r.Expectations = append(r.Expectations, ExpectationResult{Expectation: e.Expectation, Why: "holds for every test", Actual: e.Actual, Outcome: e.Outcome})
			}
		}
	}
	if r.Probe != nil {
		if r.Probe.Error != "" {
			doubts = append(doubts, "the probe "+r.Probe.Name+" could not be made: "+r.Probe.Error)
		}
		for _, c := range r.Probe.Checks { // those that the scenario does not speak of
			if judged[c.Name] || !c.Counts {
				continue
			}
			e := Expectation{Expect: "probe[" + c.Name + "] == 0", Why: c.About, quantity: "probe", selector: c.Name, bound: verdict.Expectation{Op: "=="}}
			x := e.judge(doc, nil, r.Probe)
			r.Expectations = append(r.Expectations, x)
			if x.Outcome != verdict.Holds {
				r.worsen(x.Outcome, fmt.Sprintf("expected %s, found %s", x.Expectation, x.Actual))
			}
		}
	}
	for _, x := range r.Steady {
		if !x.Reached {
			where := "at the beginning"
			if x.Before > 0 {
				where = fmt.Sprintf("before step %d", x.Before)
			}
			doubts = append(doubts, fmt.Sprintf("the state was not steady %s: %s", where, x.Why))
		}
	}
	for i, step := range r.Steps {
		if step.Error != "" {
			doubts = append(doubts, fmt.Sprintf("step %d (%s) failed: %s", i+1, step.Title, step.Error))
		}
	}
	for _, reason := range doubts {
		r.worsen(verdict.CannotSay, reason)
	}
}

// assign gives each event to the step before it, and the end of a fault to the step that began it.
func (r *Result) assign(events []verdict.Event) {
	for i := range r.Steps {
		r.Steps[i].Events = nil
	}
	for _, e := range events {
		if e.Kind == verdict.PhaseEvent {
			continue
		}
		at := -1
		begin, isEnd := strings.CutSuffix(e.Kind, EndSuffix)
		for i := range r.Steps {
			began := slices.ContainsFunc(r.Steps[i].Events, func(b verdict.Event) bool { return b.Kind == begin && b.Side == e.Side })
			if e.Time >= r.Steps[i].Asked && (!isEnd || began) {
				at = i
			}
		}
		if at >= 0 {
			r.Steps[at].Events = append(r.Steps[at].Events, e)
		}
	}
}

// ReadResult reads the result of the run in dir.
func ReadResult(dir string) (*Result, error) {
	text, err := os.ReadFile(filepath.Join(dir, ResultFile))
	if err != nil {
		return nil, err
	}
	r := &Result{}
	if err := verdict.Decode(text, ResultSchema, r); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, ResultFile), err)
	}
	r.Dir = dir
	return r, nil
}

// ReadResults reads all results below the directories, in the order of their scenarios, replicators and runs.
func ReadResults(dirs ...string) ([]*Result, error) {
	var all []*Result
	var errs []error
	for _, dir := range dirs {
		found := 0
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && d.Name() == EvidenceDir {
				return fs.SkipDir
			}
			if d.IsDir() || d.Name() != ResultFile {
				return nil
			}
			r, err := ReadResult(filepath.Dir(path))
			if err != nil {
				errs = append(errs, err)
				return nil
			}
			found++
			all = append(all, r)
			return nil
		})
		if err == nil && found == 0 && len(errs) == 0 {
			err = fmt.Errorf("%s: no %s below it: name what loadgen scenario run was given as --output", dir, ResultFile)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	sortResults(all)
	return all, errors.Join(errs...)
}

func sortResults(all []*Result) {
	slices.SortStableFunc(all, func(a, b *Result) int {
		if c := strings.Compare(a.Scenario, b.Scenario); c != 0 {
			return c
		}
		if c := strings.Compare(a.Replicator, b.Replicator); c != 0 {
			return c
		}
		return a.Run - b.Run
	})
}

// ReadVerdict reads the verdict of the run.
func (r *Result) ReadVerdict() (*verdict.Document, error) {
	text, err := os.ReadFile(filepath.Join(r.Dir, VerdictFile))
	if err != nil {
		return nil, err
	}
	return verdict.Read(bytes.NewReader(text))
}

// machine describes what this runs on.
func machine() string {
	out := fmt.Sprintf("%s/%s, %s", runtime.GOOS, runtime.GOARCH, human.Plural(uint64(runtime.NumCPU()), "CPU", "CPUs"))
	text, err := os.ReadFile("/proc/meminfo")
	var kib float64
	if err == nil {
		_, err = fmt.Sscanf(string(text), "MemTotal: %f kB", &kib)
	}
	if err == nil {
		out += fmt.Sprintf(", %.0f GiB", kib/(1<<20))
	}
	return out
}
