package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
)

// FileVersion is the version of the form of scenario files that is read. It changes when a key changes its meaning
// or goes; new keys alone do not change it.
const FileVersion = 1

// ErrFileVersion is wrapped when a file is of another version.
var ErrFileVersion = errors.New("unknown version")

// Scenario is a test that is played: a baseline, what is changed when, and what is expected.
type Scenario struct {
	// Version is that of the file's form. Left out it is FileVersion.
	Version int `json:"version"`
	// Name is that of its file.
	Name string `json:"name"`
	// About says what is tested.
	About string `json:"about"`
	// Reported is what others have reported of it, such as the talk.
	Reported string `json:"reported"`
	// Needs are the features that a target must have.
	Needs []string `json:"needs"`
	// Replicators are those that have what is tested; none means all.
	Replicators []string `json:"replicators"`
	// Baseline is what the test starts with. A file names what differs from SetSmallDefaults.
	Baseline Config `json:"-"`
	// Steps are played in order.
	Steps []Step `json:"steps"`
	// Probe names a side experiment that is made in the steady state, with records and a topic of its own
	// beside the load; empty for none. ProbeSettings are given to it.
	Probe         string            `json:"probe"`
	ProbeSettings map[string]string `json:"probeSettings"`
	// Duration is how long it is played, from the steady state to the end of the load.
	Duration Duration `json:"duration"`
	// Expectations decide the outcome, beside those that every verdict has.
	Expectations []Expectation `json:"expectations"`
	// Source is the file's text.
	Source []byte `json:"-"`
}

// Phases that every scenario has.
const (
	// PhaseSteady is from the steady state to the first step that begins another phase.
	PhaseSteady = "steady"
	// PhaseDrain is from the end of the load to the verdict.
	PhaseDrain = "drain"
)

// Step changes something, begins a phase, or both.
type Step struct {
	// After is how long after the step before it, or after the steady state, it is played; At how long
	// after the steady state. When is steady for a step that waits until the state is steady again.
	// At most one of them is given.
	After *Duration `json:"after"`
	At    *Duration `json:"at"`
	When  string    `json:"when"`
	// Phase is begun by the step; empty: the one before it goes on.
	Phase string `json:"phase"`
	// Note says in words what is done.
	Note string `json:"note"`

	// Side is source or destination.
	Side string `json:"side"`
	// Changes are the keys that the step changes, each with its side: source.brokers.
	Changes []string `json:"-"`
	// Config is what is in force after the step.
	Config Config `json:"-"`
	// Start is when it is played, after the steady state, as far as that can be known before: a step
	// that waits for a steady state counts as if it waited for nothing.
	Start time.Duration `json:"-"`

	change *yaml.Node // what the file says of it
	line   int
}

// Title says what the step does: its note, or else what it changes.
func (s *Step) Title() string {
	switch {
	case s.Note != "":
		return s.Note
	case len(s.Changes) > 0:
		return "change " + strings.Join(s.Changes, ", ")
	default:
		return "begin the phase " + s.Phase
	}
}

// file is a scenario's file; what is in the nodes is read when what comes before it is known.
type file struct {
	Scenario
	Baseline     yamlNode   `json:"baseline"`
	Steps        []yamlNode `json:"steps"`
	Expectations []yamlNode `json:"expectations"`
}

// yamlNode keeps a part of a file for later.
type yamlNode struct{ *yaml.Node }

// Parse reads a scenario. All mistakes are reported at once, with their lines. name is what the file is
// called without .yaml.
func Parse(name string, text []byte) (*Scenario, error) { return ParseWith(name, text, nil) }

// ParseWith is Parse with some settings of the baseline changed, each such as
// "source.throughput=5k/s" or "destination.replicatorConfig={tasks.max: 8}"; "duration=2h" changes the
// scenario's duration.
func ParseWith(name string, text []byte, settings []string) (_ *Scenario, err error) {
	defer func() {
		if err != nil {
			err = human.Shown(err, human.Lines)
		}
	}()
	var root yaml.Node
	in := yaml.NewDecoder(bytes.NewReader(text))
	switch err := in.Decode(&root); {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("scenario %s: the file is empty", human.Line(name))
	case err != nil:
		return nil, fmt.Errorf("scenario %s: %w", human.Line(name), err)
	}
	if err := in.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("scenario %s: more than one document: a file has one scenario", human.Line(name))
	}
	if err := fileVersion(root.Content[0]); err != nil {
		return nil, fmt.Errorf("scenario %s: %w", human.Line(name), err)
	}
	d := &decoder{}
	var f file
	f.Version = FileVersion
	d.value(root.Content[0], reflect.ValueOf(&f).Elem(), "")
	s := &f.Scenario
	s.Source = text
	s.Baseline.SetSmallDefaults()
	d.config(f.Baseline.Node, &s.Baseline, "baseline")
	for _, setting := range settings {
		if text, ok := strings.CutPrefix(setting, "duration="); ok {
			if err := s.Duration.UnmarshalText([]byte(text)); err != nil {
				d.errs = append(d.errs, fmt.Errorf("--set %s: %w", human.Line(setting), err))
			}
			continue
		}
		d.setting(setting, &s.Baseline)
	}
	for i, node := range f.Steps {
		var step struct {
			Step
			Change yamlNode `json:"change"`
		}
		d.value(node.Node, reflect.ValueOf(&step).Elem(), fmt.Sprintf("step %d", i+1))
		step.change, step.line = step.Change.Node, node.Line
		s.Steps = append(s.Steps, step.Step)
	}
	for i, node := range f.Expectations {
		e := Expectation{line: node.Line}
		d.value(node.Node, reflect.ValueOf(&e).Elem(), fmt.Sprintf("expectation %d", i+1))
		s.Expectations = append(s.Expectations, e)
	}
	d.check(s, name)
	if len(d.errs) > 0 {
		return nil, fmt.Errorf("scenario %s:\n%w", human.Line(name), errors.Join(d.errs...))
	}
	return s, nil
}

// fileVersion refuses a file of another version before anything else of it is read: what that has that is not
// known here is no mistake.
func fileVersion(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return nil // which is refused later
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if key, value := n.Content[i], n.Content[i+1]; key.Value == "version" && value.Value != strconv.Itoa(FileVersion) {
			return fmt.Errorf("line %d: version: %q, and this program reads %d: use the loadgen that it was written for, or leave the key out: %w", value.Line, value.Value, FileVersion, ErrFileVersion)
		}
	}
	return nil
}

// config changes what n names of c.
func (d *decoder) config(n *yaml.Node, c *Config, path string) {
	if n == nil {
		return
	}
	d.value(n, reflect.ValueOf(c).Elem(), path)
}

// side is the part of c that belongs to a side; the other one is returned too.
func (c *Config) side(name string) (of, other reflect.Value) {
	source, destination := reflect.ValueOf(&c.Source).Elem(), reflect.ValueOf(&c.Destination).Elem()
	if name == "source" {
		return source, destination
	}
	return destination, source
}

// cluster is the cluster of a side.
func (c *Config) cluster(side string) *Cluster {
	if side == "source" {
		return &c.Source.Cluster
	}
	return &c.Destination.Cluster
}

func otherSide(side string) string {
	if side == "source" {
		return "destination"
	}
	return "source"
}

// setting changes one key of c by text such as source.brokers=4.
func (d *decoder) setting(text string, c *Config) {
	key, value, ok := strings.Cut(text, "=")
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(value), &n); !ok || key == "" || err != nil || len(n.Content) != 1 {
		d.errs = append(d.errs, fmt.Errorf("--set %s: write it as KEY=VALUE, such as source.throughput=5k/s", human.Line(text)))
		return
	}
	node := n.Content[0]
	// The last piece may itself have dots, as a Kafka setting does.
	parts := strings.SplitN(key, ".", 3)
	if hint := c.noSetting(parts[0]); hint != "" {
		d.errs = append(d.errs, fmt.Errorf("--set %s: %s is no key here: %s", human.Line(text), human.Line(parts[0]), hint))
		return
	}
	for _, part := range slices.Backward(parts) {
		node = &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: part}, node}}
	}
	unplaced(node)
	before := len(d.errs)
	if len(parts) == 3 && (parts[1] == "kafkaConfig" || parts[1] == "replicatorConfig") {
		// One entry more, and not all of them anew.
		side, _ := c.side(parts[0])
		if m, ok := fields(side)[parts[1]]; ok && (parts[0] == "source" || parts[0] == "destination") {
			kept := maps.Clone(m.Interface().(map[string]string))
			defer func() {
				for k, v := range kept {
					if k != parts[2] {
						m.SetMapIndex(reflect.ValueOf(k), reflect.ValueOf(v))
					}
				}
			}()
		}
	}
	d.config(node, c, "")
	for i := before; i < len(d.errs); i++ {
		d.errs[i] = fmt.Errorf("--set %s: %w", human.Line(text), d.errs[i])
	}
}

// noSetting says what to write in place of a first word that a setting cannot begin with; empty for one that it can.
func (c *Config) noSetting(word string) string {
	all := fields(reflect.ValueOf(c).Elem())
	if _, ok := all[word]; ok {
		return ""
	}
	var sides []string
	for _, side := range []string{"source", "destination"} {
		of, _ := c.side(side)
		if _, ok := fields(of)[word]; ok {
			sides = append(sides, side+"."+word)
		}
	}
	names := slices.Sorted(maps.Keys(all))
	switch near := Nearest(word, append(names, "duration")); {
	case len(sides) > 0:
		return "did you mean " + strings.Join(sides, " or ") + "?"
	case near != "":
		return "did you mean " + near + "?"
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "source" || name == "destination" })
	return "there are duration, " + strings.Join(names, ", ") + ", and the keys of both sides, such as source.throughput and destination.workers"
}

// unplaced forgets the lines of what does not come from the file.
func unplaced(n *yaml.Node) {
	n.Line = 0
	for _, c := range n.Content {
		unplaced(c)
	}
}

var namePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,58}[a-z0-9])?$`)

// check reports what is wrong with the scenario as a whole, and works out what each step makes of the
// baseline.
func (d *decoder) check(s *Scenario, name string) {
	refuse := func(format string, args ...any) { d.errs = append(d.errs, fmt.Errorf(format, args...)) }
	switch {
	case s.Name == "":
		refuse("name is missing: it is that of the file, %s", human.Line(name))
	case s.Name != name:
		refuse("name: %q, and the file is called %s.yaml: they must be the same", s.Name, human.Line(name))
	case !namePattern.MatchString(s.Name):
		refuse("name: %q: use 1 to 60 lower-case letters, digits and dashes", s.Name)
	}
	if strings.TrimSpace(s.About) == "" {
		refuse("about is missing: say what is tested")
	}
	for _, feature := range s.Needs {
		if Features()[feature] == "" {
			refuse("needs: %q is not known: there are %s", feature, featureNames())
		}
	}
	for _, replicator := range s.Replicators {
		oneOf(refuse, "replicators", replicator, UReplicator, Brooklin, MirrorMaker2)
	}
	if len(s.Replicators) > 0 && !slices.Contains(s.Replicators, s.Baseline.Destination.Replicator) {
		refuse("replicators: the baseline has %s, which is not among them", s.Baseline.Destination.Replicator)
	}
	for side, fault := range map[string]string{"source": s.Baseline.Source.Fault.Kind, "destination": s.Baseline.Destination.Fault.Kind} {
		if fault != "" {
			refuse("baseline: %s.fault: a fault that is there from the start never begins: put it into a step", side)
		}
	}
	if len(s.Baseline.Destination.Expectations) > 0 {
		refuse("baseline: destination.expectations: write them under expectations, each with its reason")
	}
	if err := s.Baseline.Validate(); err != nil {
		refuse("baseline: %w", err)
	}
	if s.Duration < Duration(time.Second) || s.Duration > Duration(7*24*time.Hour) {
		refuse("duration: %s: use 1s to 168h", s.Duration)
	}
	if len(s.ProbeSettings) > 0 && s.Probe == "" {
		refuse("probeSettings: there is no probe: name one, or leave them out")
	}
	d.steps(s)
	d.expectations(s)
}

// steps checks the steps in order.
func (d *decoder) steps(s *Scenario) {
	now, at := s.Baseline, time.Duration(0)
	for i := range s.Steps {
		step := &s.Steps[i]
		where := &yaml.Node{Line: step.line}
		refuse := func(format string, args ...any) {
			d.refuse(where, "step %d: %s", i+1, fmt.Sprintf(format, args...))
		}
		given := 0
		switch {
		case step.After != nil:
			at += time.Duration(*step.After)
			given++
			if *step.After < 0 {
				refuse("after: %s: use 0s or more", *step.After)
			}
		case step.At != nil && time.Duration(*step.At) < at:
			refuse("at: %s: the step before it is played at %s: use that or later", *step.At, Duration(at))
		}
		if step.At != nil {
			given++
			at = max(at, time.Duration(*step.At))
		}
		if step.When != "" {
			given++
			if step.When != PhaseSteady {
				refuse("when: %q: use %s, or give after or at", step.When, PhaseSteady)
			}
		}
		if given > 1 {
			refuse("more than one of after, at and when: give one")
		}
		if given == 0 && i > 0 {
			refuse("when it is played is missing: give after, at, or when: steady")
		}
		step.Start = at
		if at > time.Duration(s.Duration) {
			refuse("is played at %s, and the scenario ends after %s", Duration(at), s.Duration)
		}
		switch {
		case step.Phase == PhaseSteady, step.Phase == PhaseDrain, step.Phase == "all", step.Phase == "baseline":
			refuse("phase: %q is the name of one that is always there: use another", step.Phase)
		case step.Phase != "" && !namePattern.MatchString(step.Phase):
			refuse("phase: %q: use lower-case letters, digits and dashes", step.Phase)
		case step.Phase != "" && slices.ContainsFunc(s.Steps[:i], func(b Step) bool { return b.Phase == step.Phase }):
			refuse("phase: %q has begun before: use another name", step.Phase)
		}
		if step.change == nil {
			if step.Phase == "" {
				refuse("changes nothing and begins no phase: give change with side, or phase")
			}
			if step.Side != "" {
				refuse("side: %s, and nothing to change: give change, or leave side out", step.Side)
			}
			step.Config = now
			continue
		}
		step.Config = d.apply(step, now, i, refuse)
		now = step.Config
		for _, side := range []string{"source", "destination"} {
			f := now.cluster(side).Fault
			if slices.Contains(step.Changes, side+".fault") && f.Kind != "" && at+time.Duration(f.Duration) > time.Duration(s.Duration) {
				refuse("%s.fault.duration: %s from %s on, and the scenario ends after %s: make it longer, or the fault shorter", side, f.Duration, Duration(at), s.Duration)
			}
		}
	}
}

// apply returns what a step makes of the configuration before it.
func (d *decoder) apply(step *Step, before Config, i int, refuse func(string, ...any)) Config {
	after := before.clone()
	errs := len(d.errs)
	if step.Side != "source" && step.Side != "destination" {
		if step.Side == "" {
			refuse("side is missing: source or destination")
		} else {
			refuse("side: %q: use source or destination", step.Side)
		}
		return after
	}
	of, other := after.side(step.Side)
	d.foreign = func(key string) string {
		if _, ok := fields(other)[key]; ok {
			return fmt.Sprintf("the %s has it: change the side", otherSide(step.Side))
		}
		return ""
	}
	d.value(step.change, of, fmt.Sprintf("step %d: change", i+1))
	d.foreign = nil
	if len(d.errs) > errs {
		return after
	}
	was, _ := before.side(step.Side)
	changed, original := fields(of), fields(was)
	d.pairs(step.change, "", func(key, _ *yaml.Node) {
		if reflect.DeepEqual(changed[key.Value].Interface(), original[key.Value].Interface()) {
			hint := "leave it out"
			if key.Value == "fault" {
				hint = "give it another run to have it begin again"
			}
			refuse("%s.%s is so already: %s", step.Side, key.Value, hint)
			return
		}
		step.Changes = append(step.Changes, step.Side+"."+key.Value)
	})
	if i := slices.IndexFunc(step.Changes, ofReplicator); i >= 0 && before.Destination.Replicator == NoReplicator {
		refuse("%s: the baseline has no replicator that it could change: leave it out, or give destination.replicator another value than %s", step.Changes[i], NoReplicator)
	}
	if len(after.Destination.Expectations) > 0 {
		refuse("destination.expectations: they hold for the whole scenario: write them under expectations")
	}
	if err := after.Validate(); err != nil {
		refuse("makes a configuration that is not valid: %v", err)
	}
	if err := ValidateChange(*before.cluster(step.Side), *after.cluster(step.Side), before.Secure, after.Secure); err != nil {
		refuse("contradicts what is there: %v", err)
	}
	if after.Destination.Replicator != before.Destination.Replicator {
		refuse("destination.replicator: %s, and the test is of %s: use another scenario", after.Destination.Replicator, before.Destination.Replicator)
	}
	return after
}

// clone returns a copy that shares nothing with c.
func (c *Config) clone() Config {
	out := *c
	for _, side := range []string{"source", "destination"} {
		x := out.cluster(side)
		x.KafkaConfig, x.Topics = maps.Clone(x.KafkaConfig), slices.Clone(x.Topics)
		x.Fault.Victims = slices.Clone(x.Fault.Victims)
	}
	d := &out.Destination
	d.ReplicatorConfig, d.Expectations = maps.Clone(d.ReplicatorConfig), slices.Clone(d.Expectations)
	return out
}

// Configs returns the baseline and what each step makes of it, for Target.Check.
func (s *Scenario) Configs() []Config {
	out := []Config{s.Baseline}
	for i := range s.Steps {
		if s.Steps[i].change != nil {
			out = append(out, s.Steps[i].Config)
		}
	}
	return out
}

// fastest stands for a rate without a limit, in bytes per second: about what a machine's clusters take.
const fastest = 50e6

// Sends is how many bytes the load comes to at most, with so long a wait for a steady state.
func (s *Scenario) Sends(wait time.Duration) float64 {
	total, at, now := 0.0, -wait, s.Baseline
	until := func(then time.Duration) {
		total += now.Source.bytesPerSecond() * (then - at).Seconds()
		at = then
	}
	for i := range s.Steps {
		step := &s.Steps[i]
		until(step.Start)
		if step.When == PhaseSteady && i > 0 {
			total += now.Source.bytesPerSecond() * wait.Seconds()
		}
		now = step.Config
	}
	until(time.Duration(s.Duration))
	return total
}

// bytesPerSecond is what all producers send to all topics.
func (s *Source) bytesPerSecond() float64 {
	rate := s.Throughput.RecordsPerSecond(s.MessageSize) * float64(s.MessageSize) * float64(s.Producers*len(s.Topics))
	return min(rate, fastest)
}

// Sends is how many bytes the load comes to in a time.
func (s *Source) Sends(time time.Duration) float64 { return s.bytesPerSecond() * time.Seconds() }

// Phases returns the names of the phases in their order.
func (s *Scenario) Phases() []string {
	out := []string{PhaseSteady}
	for _, step := range s.Steps {
		if step.Phase != "" {
			out = append(out, step.Phase)
		}
	}
	return append(out, PhaseDrain)
}

// onReplicator is the title of the first step that changes or breaks the replicator's own processes; empty for none.
func (s *Scenario) onReplicator() string {
	for i := range s.Steps {
		step := &s.Steps[i]
		hit := slices.Contains(step.Changes, "destination.fault") && FaultKinds()[step.Config.Destination.Fault.Kind].Target == TargetWorker
		if hit || slices.ContainsFunc(step.Changes, ofReplicator) {
			return step.Title()
		}
	}
	return ""
}

// ofReplicator reports whether a change is one of the replicator's processes.
func ofReplicator(change string) bool {
	return slices.Contains([]string{"destination.workers", "destination.controllers", "destination.replicatorConfig"}, change)
}

// events returns the kinds of events that recoveries are measured from.
func (s *Scenario) events() []string {
	kinds := map[string]bool{}
	for _, step := range s.Steps {
		for _, change := range step.Changes {
			side, key, _ := strings.Cut(change, ".")
			if key != "fault" {
				kinds[key] = true
				continue
			}
			if f := step.Config.cluster(side).Fault; f.Kind != "" {
				kinds[f.Kind] = true
				if FaultKinds()[f.Kind].Lasting {
					kinds[f.Kind+EndSuffix] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(kinds))
}
