package scenario

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// Expectation is what must hold for a scenario to hold. Expect is a bound on a quantity of the verdict,
// such as lost == 0 or latency.p99 <= 5s, or on one that only a scenario has (see Quantities).
type Expectation struct {
	Expect string `json:"expect"`
	// Why says why it is expected.
	Why string `json:"why"`

	line     int
	plain    *verdict.Expectation // nil: one that only a scenario has
	quantity string
	selector string
	bound    verdict.Expectation // with the operator and the limit, in seconds or records
}

// ExpectationResult is an expectation and what became of it.
type ExpectationResult struct {
	Expectation string          `json:"expectation"`
	Why         string          `json:"why"`
	Actual      string          `json:"actual"`
	Outcome     verdict.Outcome `json:"outcome"`
}

// What stands in the brackets behind a quantity.
const (
	ofPhase   = "phase"
	ofEvent   = "event"
	ofWhose   = "attribution"
	ofCheck   = "check"
	ofNone    = ""
	latencyOf = "latency."
)

type quantity struct {
	duration bool
	selector string
	optional bool // the quantity is also there without a selector
	about    string
}

// own are the quantities that only a scenario has.
func own() map[string]quantity {
	out := map[string]quantity{
		"recovery":             {true, ofEvent, false, "from an event until everything due had arrived and latency was as before"},
		"outage":               {true, ofPhase, false, "longest time within a phase in which nothing arrived although something was due"},
		"rpo":                  {true, ofPhase, true, "greatest age of a record that was due and had not arrived, since the steady state"},
		"rpo_records":          {false, ofPhase, true, "most records that were due and had not arrived, since the steady state"},
		"duplicates":           {false, ofPhase, false, "duplicates that were told of in a phase"},
		"lost":                 {false, ofWhose, false, "records lost by one party"},
		"undelivered":          {false, ofWhose, false, "records left undelivered by one party"},
		"probe":                {false, ofCheck, false, "of what a check of the scenario's probe looked at, how many were wrong"},
		"discovery.topics":     {true, ofNone, true, "from the change at the source until a record of each new topic had arrived"},
		"discovery.partitions": {true, ofNone, true, "from the change at the source until a record of each new partition had arrived"},
	}
	for _, p := range []string{"p50", "p90", "p99", "p99.9", "p99.99", "max"} {
		out[latencyOf+p] = quantity{true, ofPhase, false, "latency of the records meant to be sent in a phase"}
	}
	return out
}

// Quantities describes what only a scenario's expectations can be about, one line each.
func Quantities() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(own())) {
		q := own()[name]
		switch {
		case q.selector == ofNone:
		case q.optional:
			name += " or " + name + "[" + q.selector + "]"
		default:
			name += "[" + q.selector + "]"
		}
		out = append(out, name+": "+q.about)
	}
	return out
}

var expectationForm = regexp.MustCompile(`^\s*([a-z][a-z0-9_.]*)(?:\[([^\]]*)\])?\s*(==|<=|>=)\s*(\S+)\s*$`)

// Parties to which a loss can be attributed.
func parties() []string {
	return []string{"replicator", "retention", "source", "destination", "tester", "unknown"}
}

// parse reads the text of an expectation of s.
func (e *Expectation) parse(s *Scenario) error {
	m := expectationForm.FindStringSubmatch(e.Expect)
	if m == nil {
		return fmt.Errorf("expect: %q: want a quantity, one of == <= >=, and a limit, such as lost == 0 or latency.p99[steady] <= 5s", e.Expect)
	}
	q, isOwn := own()[m[1]]
	if !isOwn || m[2] == "" && !q.optional {
		if m[2] != "" {
			return fmt.Errorf("expect: %q: %s takes nothing in brackets; these do: %s", e.Expect, m[1], strings.Join(slices.Sorted(maps.Keys(own())), ", "))
		}
		plain, err := verdict.ParseExpectation(e.Expect)
		if err != nil {
			return fmt.Errorf("expect: %w, and for scenarios %s", err, strings.Join(slices.Sorted(maps.Keys(own())), ", "))
		}
		e.plain = &plain
		return nil
	}
	e.quantity, e.selector = m[1], m[2]
	e.bound = verdict.Expectation{Op: m[3]}
	if q.duration {
		d, err := time.ParseDuration(m[4])
		if err != nil || d < 0 {
			return fmt.Errorf("expect: %q: %q is not a duration, such as 500ms or 30s", e.Expect, m[4])
		}
		e.bound.Limit = d.Seconds()
	} else {
		n, err := strconv.ParseUint(m[4], 10, 53)
		if err != nil {
			return fmt.Errorf("expect: %q: %q is not a number of records, 0 or more", e.Expect, m[4])
		}
		e.bound.Limit = float64(n)
	}
	return e.checkSelector(s, q)
}

func (e *Expectation) checkSelector(s *Scenario, q quantity) error {
	var known []string
	switch {
	case e.selector == "" && q.selector == ofNone:
		word := strings.TrimPrefix(e.quantity, "discovery.")
		for _, step := range s.Steps {
			if slices.Contains(step.Changes, "source."+word) {
				return nil
			}
		}
		return fmt.Errorf("expect: %q: no step changes the source's %s", e.Expect, word)
	case q.selector == ofNone:
		return fmt.Errorf("expect: %q: %s takes nothing in brackets", e.Expect, e.quantity)
	case e.selector == "":
		return nil
	case q.selector == ofCheck:
		if s.Probe == "" {
			return fmt.Errorf("expect: %q: the scenario makes no probe", e.Expect)
		}
		return nil // who makes the probe knows its checks
	case q.selector == ofPhase:
		known = s.Phases()
	case q.selector == ofEvent:
		known = s.events()
	default:
		known = parties()
	}
	if !slices.Contains(known, e.selector) {
		there := "there are " + strings.Join(known, ", ")
		if len(known) == 0 {
			there = "no step makes any"
		}
		return fmt.Errorf("expect: %q: there is no %s %q: %s", e.Expect, q.selector, e.selector, there)
	}
	return nil
}

// expectations checks those of s.
func (d *decoder) expectations(s *Scenario) {
	if len(s.Expectations) == 0 {
		d.errs = append(d.errs, fmt.Errorf("expectations: none: give at least one, with its reason"))
	}
	for i := range s.Expectations {
		e := &s.Expectations[i]
		where := &yaml.Node{Line: e.line}
		if strings.TrimSpace(e.Why) == "" {
			d.refuse(where, "expectation %d: why is missing: say why it is expected", i+1)
		}
		if err := e.parse(s); err != nil {
			d.refuse(where, "expectation %d: %v", i+1, err)
		}
	}
	for i := range s.Expectations {
		if e := &s.Expectations[i]; e.quantity == "lost" && e.bound.Op != "<=" && e.bound.Limit > 0 && !s.allowsLoss() {
			d.refuse(&yaml.Node{Line: e.line}, "expectation %d: %q cannot hold beside lost == 0, which is expected where nothing else is of lost: give another, such as lost >= %s", i+1, e.Expect, e.bound.Format(e.bound.Limit))
		}
	}
}

// allowsLoss says whether an expectation allows that records are lost.
func (s *Scenario) allowsLoss() bool {
	expected := verdict.Expectation{Quantity: "lost", Op: "=="}
	for _, e := range s.Expectations {
		if e.plain != nil && e.plain.Quantity == "lost" {
			expected = *e.plain
		}
	}
	return expected.Op == ">=" || expected.Limit > 0
}

// plain returns those expectations that the auditor judges.
func (s *Scenario) plain() []string {
	var out []string
	for _, e := range s.Expectations {
		if e.plain != nil {
			out = append(out, e.plain.String())
		}
	}
	return out
}

// judge says what became of the expectation.
func (e *Expectation) judge(doc *verdict.Document, found []Discovery, probe *ProbeResult) ExpectationResult {
	r := ExpectationResult{Expectation: e.Expect, Why: e.Why, Actual: "not measured", Outcome: verdict.CannotSay}
	if e.quantity == "probe" {
		return e.judgeProbe(probe, r)
	}
	if doc == nil {
		return r
	}
	v := &doc.Verdict
	if e.plain != nil {
		r.Expectation = e.plain.String()
		for _, x := range v.Expectations {
			if x.Expectation == r.Expectation {
				r.Actual, r.Outcome = x.Actual, x.Outcome
				if !v.Final && r.Outcome == verdict.Holds {
					r.Outcome = verdict.CannotSay
				}
				return r
			}
		}
		value, ok := e.plain.Value(v) // the auditor was not asked
		if ok {
			weighed, actual := v.Weigh(*e.plain, e.plain.Quantity, value, e.plain.Format(value))
			r.Actual, r.Outcome = actual, decide(weighed, v)
		}
		return r
	}
	if strings.HasPrefix(e.quantity, "discovery.") {
		return e.judgeDiscovery(found, r)
	}
	value, ok := e.measure(doc)
	if !ok {
		return r
	}
	text := strconv.FormatFloat(value, 'f', -1, 64)
	if own()[e.quantity].duration {
		text = duration(value)
	}
	weighed, actual := v.Weigh(e.bound, e.quantity, value, text)
	if c := v.Clock; c != nil && strings.HasPrefix(e.quantity, latencyOf) && time.Duration(c.BoundMillis*float64(time.Millisecond)) > guard {
		weighed, actual = verdict.CannotSay, fmt.Sprintf("%s; the clocks of producers and of arrivals differ by up to %s more or less, so it is not known which records belong to the phase", text, duration(c.BoundMillis/1000))
	}
	r.Actual, r.Outcome = actual, decide(weighed, v)
	return r
}

// decide is careful with what is not final or not certain.
func decide(weighed verdict.Outcome, v *verdict.Verdict) verdict.Outcome {
	switch {
	case weighed != verdict.Holds:
		return weighed
	case !v.Final || v.Outcome == verdict.CannotSay:
		return verdict.CannotSay
	default:
		return verdict.Holds
	}
}

func duration(seconds float64) string {
	if seconds >= never {
		return "never"
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond).String()
}

// never is a time that nothing measured can reach, in seconds.
const never = float64(latency.MaxValue) / 1e6

// longestOutage is the part of an outage between two times, in Unix microseconds, that is the longest, in seconds.
func longestOutage(v *verdict.Verdict, from, to int64) float64 {
	var longest float64
	for _, t := range v.Topics {
		for _, p := range t.Partitions {
			for _, o := range p.Outages {
				longest = max(longest, float64(min(o.To, to)-max(o.From, from))/1e6)
			}
		}
	}
	return longest
}

// measure reads the quantity from the document.
func (e *Expectation) measure(doc *verdict.Document) (value float64, ok bool) {
	v := &doc.Verdict
	from, to := int64(0), int64(math.MaxInt64)
	if own()[e.quantity].selector == ofPhase && e.selector != "" {
		p := phase(v, e.selector)
		if p == nil {
			return 0, false
		}
		from, to = p.From, p.To
	} else if p := phase(v, PhaseSteady); p != nil {
		from = p.From // what came before is the start of the target
	}
	switch {
	case strings.HasPrefix(e.quantity, latencyOf):
		p := phase(v, e.selector)
		if p.Latency.Count == 0 {
			return 0, false
		}
		whole := *p
		whole.Phase = verdict.AllPhases
		return verdict.Expectation{Quantity: e.quantity}.Value(&verdict.Verdict{Latency: []verdict.PhaseLatency{whole}})
	case e.quantity == "recovery":
		for _, r := range v.Recoveries {
			if r.Event != e.selector && !strings.HasPrefix(r.Event, e.selector+" (") {
				continue
			}
			ok = true
			if !r.Recovered {
				return never, true
			}
			value = max(value, r.Seconds)
		}
		return value, ok
	case e.quantity == "outage":
		return longestOutage(v, from, to), true
	case e.quantity == "rpo" || e.quantity == "rpo_records" || e.quantity == "duplicates":
		for _, p := range doc.Timeline {
			if end := (p.Second + 1) * 1_000_000; end <= from || end > to {
				continue // a point is the state at the end of its second
			}
			ok = true
			switch e.quantity {
			case "rpo":
				value = max(value, p.RPOSeconds)
			case "rpo_records":
				value = max(value, float64(p.Pending))
			default:
				value += float64(p.Duplicates)
			}
		}
		return value, ok
	default: // lost or undelivered, by whom
		for _, f := range v.Findings {
			if f.Word == e.quantity && strings.HasPrefix(string(f.Attribution), e.selector) {
				value += float64(f.Count)
			}
		}
		return value, true
	}
}

func phase(v *verdict.Verdict, name string) *verdict.PhaseLatency {
	for i := range v.Latency {
		if v.Latency[i].Phase == name {
			return &v.Latency[i]
		}
	}
	return nil
}

// judgeProbe judges by a check of the probe.
func (e *Expectation) judgeProbe(probe *ProbeResult, r ExpectationResult) ExpectationResult {
	c := probe.check(e.selector)
	switch {
	case c == nil:
	case c.Outcome == verdict.CannotSay:
		r.Actual = cmp.Or(c.Detail, "cannot say")
	default:
		r.Actual, r.Outcome = fmt.Sprintf("%d of %d", c.Wrong, c.Compared), verdict.Broken
		if e.bound.Met(float64(c.Wrong)) {
			r.Outcome = verdict.Holds
		}
	}
	return r
}

// judgeDiscovery judges by the discovery that took longest.
func (e *Expectation) judgeDiscovery(found []Discovery, r ExpectationResult) ExpectationResult {
	what := strings.TrimPrefix(e.quantity, "discovery.")
	var worst *Discovery
	for i := range found {
		if f := &found[i]; f.What == what && (worst == nil || !f.Complete && worst.Complete || f.Complete == worst.Complete && f.Seconds > worst.Seconds) {
			worst = f
		}
	}
	switch {
	case worst == nil:
	case worst.Complete:
		r.Actual, r.Outcome = duration(worst.Seconds), verdict.Broken
		if e.bound.Met(worst.Seconds) {
			r.Outcome = verdict.Holds
		}
	default:
		r.Actual = fmt.Sprintf("not within %s: no record of %s", duration(worst.Seconds), strings.Join(worst.Missing, ", "))
		if worst.Seconds >= e.bound.Limit && e.bound.Op != ">=" {
			r.Outcome = verdict.Broken
		}
	}
	return r
}
