package verdict

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
)

// AllPhases is the name of the phase that spans the whole test.
const AllPhases = "all"

// Expectation is a bound on one quantity of the verdict.
type Expectation struct {
	Quantity string
	Op       string // ==, <= or >=
	Limit    float64
}

// ExpectationResult is an expectation and what became of it.
type ExpectationResult struct {
	Expectation string  `json:"expectation"`
	Actual      string  `json:"actual"`
	Outcome     Outcome `json:"outcome"`
}

// Defaults are the expectations of every test. Duplicates and lateness are
// measured and shown, and bound only where an expectation says so: at least
// once delivery is what replicators promise.
func Defaults() []Expectation {
	var out []Expectation
	for _, q := range []string{"lost", "undelivered", "destination_lost", "reordered", "corrupt", "misplaced", "phantom"} {
		out = append(out, Expectation{Quantity: q, Op: "==", Limit: 0})
	}
	return out
}

// quantity reads one figure from a verdict; ok is false when it was not
// measured.
type quantity struct {
	duration bool
	read     func(v *Verdict) (value float64, ok bool)
}

func quantities() map[string]quantity {
	out := map[string]quantity{}
	count := func(name string, read func(c *Counts) uint64) {
		out[name] = quantity{read: func(v *Verdict) (float64, bool) { return float64(read(&v.Total)), true }}
	}
	count("lost", func(c *Counts) uint64 { return c.Lost })
	count("undelivered", func(c *Counts) uint64 { return c.Undelivered })
	count("destination_lost", func(c *Counts) uint64 { return c.DestinationLost })
	count("duplicates", func(c *Counts) uint64 { return c.Duplicates })
	count("replays", func(c *Counts) uint64 { return c.Replays })
	count("longest_replay", func(c *Counts) uint64 { return c.LongestReplay })
	count("reordered", func(c *Counts) uint64 { return c.Reordered })
	count("corrupt", func(c *Counts) uint64 { return c.Corrupt })
	count("malformed", func(c *Counts) uint64 { return c.Malformed })
	count("foreign", func(c *Counts) uint64 { return c.Foreign })
	count("misplaced", func(c *Counts) uint64 { return c.Misplaced })
	count("phantom", func(c *Counts) uint64 { return c.Phantom })
	count("failed", func(c *Counts) uint64 { return c.Failed })
	count("shed", func(c *Counts) uint64 { return c.Shed })
	count("unsent", func(c *Counts) uint64 { return c.Unsent })
	count("expected", func(c *Counts) uint64 { return c.Expected })
	for name, read := range map[string]func(p *latency.Percentiles) float64{
		"p50": func(p *latency.Percentiles) float64 { return p.P50 }, "p90": func(p *latency.Percentiles) float64 { return p.P90 },
		"p99": func(p *latency.Percentiles) float64 { return p.P99 }, "p99.9": func(p *latency.Percentiles) float64 { return p.P999 },
		"p99.99": func(p *latency.Percentiles) float64 { return p.P9999 }, "max": func(p *latency.Percentiles) float64 { return p.Max },
	} {
		out["latency."+name] = quantity{duration: true, read: func(v *Verdict) (float64, bool) {
			for i := range v.Latency {
				if l := &v.Latency[i]; l.Phase == AllPhases && l.Latency.Count > 0 {
					if ms := read(&l.Latency); ms != latency.OverRange {
						return ms / 1000, true
					}
					return float64(latency.MaxValue) / 1e6, true
				}
			}
			return 0, false
		}}
	}
	for name, read := range map[string]func(c *Clock) float64{
		"clock.offset": func(c *Clock) float64 { return math.Abs(c.OffsetMillis) }, "clock.bound": func(c *Clock) float64 { return c.BoundMillis },
	} {
		out[name] = quantity{duration: true, read: func(v *Verdict) (float64, bool) {
			if v.Clock == nil {
				return 0, false
			}
			return read(v.Clock) / 1000, true
		}}
	}
	out["outage"] = quantity{duration: true, read: func(v *Verdict) (float64, bool) {
		longest := 0.0
		for i := range v.Topics {
			for j := range v.Topics[i].Partitions {
				if v.Final { // what is due and never came: an outage that has not ended
					longest = max(longest, v.Topics[i].Partitions[j].RPOSeconds)
				}
				for _, o := range v.Topics[i].Partitions[j].Outages {
					longest = max(longest, float64(o.To-o.From)/1e6)
				}
			}
		}
		return longest, true
	}}
	out["recovery"] = quantity{duration: true, read: func(v *Verdict) (float64, bool) {
		longest := 0.0
		for _, r := range v.Recoveries {
			if !r.Recovered {
				return float64(latency.MaxValue) / 1e6, true
			}
			longest = max(longest, r.Seconds)
		}
		return longest, len(v.Recoveries) > 0
	}}
	return out
}

var expectationForm = regexp.MustCompile(`^\s*([a-z][a-z0-9_.]*)\s*(==|<=|>=)\s*(\S+)\s*$`)

// ParseExpectation reads an expectation such as "duplicates <= 5",
// "latency.p99 <= 5s" or "lost == 0".
func ParseExpectation(text string) (Expectation, error) {
	m := expectationForm.FindStringSubmatch(text)
	if m == nil {
		return Expectation{}, fmt.Errorf("expectation %q: want a quantity, one of == <= >=, and a limit, such as \"duplicates <= 5\" or \"latency.p99 <= 5s\"", text)
	}
	all := quantities()
	q, ok := all[m[1]]
	if !ok {
		return Expectation{}, fmt.Errorf("expectation %q: there is no quantity %q; there are %s", text, m[1], strings.Join(slices.Sorted(maps.Keys(all)), ", "))
	}
	e := Expectation{Quantity: m[1], Op: m[2]}
	if q.duration {
		d, err := time.ParseDuration(m[3])
		if err != nil || d < 0 {
			return Expectation{}, fmt.Errorf("expectation %q: %q is not a duration, such as 500ms or 30s", text, m[3])
		}
		e.Limit = d.Seconds()
		return e, nil
	}
	n, err := strconv.ParseUint(m[3], 10, 53)
	if err != nil {
		return Expectation{}, fmt.Errorf("expectation %q: %q is not a number of records, 0 or more", text, m[3])
	}
	e.Limit = float64(n)
	return e, nil
}

// String writes the expectation as ParseExpectation reads it.
func (e Expectation) String() string {
	return fmt.Sprintf("%s %s %s", e.Quantity, e.Op, e.format(e.Limit))
}

func (e Expectation) format(value float64) string {
	if quantities()[e.Quantity].duration {
		if value >= float64(latency.MaxValue)/1e6 {
			return "never"
		}
		return time.Duration(value * float64(time.Second)).Round(time.Millisecond).String()
	}
	return strconv.FormatFloat(value, 'f', -1, 64)
}

func (e Expectation) met(value float64) bool {
	switch e.Op {
	case "==":
		return value == e.Limit
	case "<=":
		return value <= e.Limit
	default:
		return value >= e.Limit
	}
}

// Value returns the quantity as v has it; ok is false when it was not measured.
func (e Expectation) Value(v *Verdict) (value float64, ok bool) {
	return quantities()[e.Quantity].read(v)
}

// Met reports whether a value of the quantity is within the limit.
func (e Expectation) Met(value float64) bool { return e.met(value) }

// Decide says whether the quantity is within the limit where all that is known of it is that it lies
// between low and high.
func (e Expectation) Decide(low, high float64) Outcome {
	switch {
	case e.met(low) && e.met(high) && (e.Op != "==" || low == high):
		return Holds
	case !e.met(low) && !e.met(high) && (e.Op != "==" || high < e.Limit || low > e.Limit):
		return Broken
	}
	return CannotSay
}

// farApart is from which difference of the clocks on, in seconds, it cannot be told when a test had recovered:
// that is, when latency was back, and nothing was due any more.
const farApart = 1.0

// Between returns between which values a quantity lies that was measured as value. What compares times of two
// clocks, those of producers and those of arrivals, is known no better than the difference between the clocks.
func (v *Verdict) Between(quantity string, value float64) (low, high float64) {
	c := v.Clock
	if c == nil || c.One || value >= float64(latency.MaxValue)/1e6 {
		return value, value
	}
	least, most := (c.OffsetMillis-c.BoundMillis)/1000, (c.OffsetMillis+c.BoundMillis)/1000 // by how much arrivals' are ahead
	switch {
	case strings.HasPrefix(quantity, "latency."):
		return value - most, value - least
	case quantity == "outage" || quantity == "rpo":
		return max(0, value-max(0, most)), value + max(0, -least)
	case quantity == "recovery" && max(most, -least) > farApart:
		return 0, math.Inf(1)
	}
	return value, value
}

// apart says what the difference between the clocks makes of a figure; nothing where it makes little.
func (v *Verdict) apart(low, high float64, outcome Outcome) string {
	c := v.Clock
	if low == high || outcome != CannotSay && math.Abs(c.OffsetMillis) <= c.BoundMillis {
		return ""
	}
	text := fmt.Sprintf("; the clocks of producers and of arrivals are %s ± %s apart, so ", seconds(c.OffsetMillis/1000), seconds(c.BoundMillis/1000))
	if math.IsInf(high, 1) {
		return text + "it is not known"
	}
	return text + fmt.Sprintf("it is %s to %s", seconds(low), seconds(high))
}

func seconds(value float64) string {
	return time.Duration(value * float64(time.Second)).Round(time.Millisecond).String()
}

// Weigh is Decide for a quantity that was measured as value. The text is the value, with what is known of it.
func (v *Verdict) Weigh(e Expectation, quantity string, value float64, text string) (outcome Outcome, actual string) {
	low, high := v.Between(quantity, value)
	outcome = e.Decide(low, high)
	return outcome, text + v.apart(low, high, outcome)
}

// Format writes a value of the quantity for people.
func (e Expectation) Format(value float64) string { return e.format(value) }

// Merge returns the given expectations behind those defaults that are on other
// quantities.
func Merge(given []Expectation) []Expectation {
	var out []Expectation
	for _, d := range Defaults() {
		if !slices.ContainsFunc(given, func(g Expectation) bool { return g.Quantity == d.Quantity }) {
			out = append(out, d)
		}
	}
	return append(out, given...)
}

// judge evaluates the expectations and comes to the outcome.
func (s *state) judge() {
	v := &s.out
	v.Latency, v.Recoveries, v.Clock, v.Bottleneck = s.in.Latency, s.in.Recoveries, s.in.Clock, s.in.Bottleneck
	all := quantities()
	broken := false
	for _, e := range s.in.Expectations {
		value, ok := all[e.Quantity].read(v)
		r := ExpectationResult{Expectation: e.String(), Outcome: Holds}
		weighed, actual := v.Weigh(e, e.Quantity, value, e.format(value))
		r.Actual = actual
		switch {
		case !ok:
			r.Actual, r.Outcome = "not measured", CannotSay
			s.doubt("%s was not measured", e.Quantity)
		case e.Quantity == "lost" && e.Op != ">=" && e.met(value) && !e.met(float64(v.Total.LostAtLeast)):
			r.Actual, r.Outcome = "at least "+e.format(float64(v.Total.LostAtLeast)), Broken
			broken = true
			v.Reasons = append(v.Reasons, fmt.Sprintf("expected %s, found %s: more are missing than can lie where nobody read", r.Expectation, r.Actual))
		case weighed == CannotSay:
			r.Outcome = CannotSay
			s.doubt("whether %s cannot be told: found %s", r.Expectation, actual)
		case weighed == Holds:
			if len(s.doubts) > 0 && !all[e.Quantity].duration {
				r.Outcome = CannotSay
			}
		case e.Quantity == "phantom" && s.madeUp == 0:
			r.Outcome = CannotSay // only of runs whose ledger may have been lost
		case e.Quantity == "lost" && e.Limit > 0 && e.met(float64(v.Total.LostAtLeast)):
			r.Outcome = CannotSay
			s.doubt("between %d and %d records are lost: some arrived that could not be identified", v.Total.LostAtLeast, v.Total.Lost)
		default:
			r.Outcome = Broken
			broken = true
			v.Reasons = append(v.Reasons, fmt.Sprintf("expected %s, found %s", r.Expectation, r.Actual))
		}
		v.Expectations = append(v.Expectations, r)
	}
	v.Reasons = append(v.Reasons, s.doubts...)
	switch {
	case !v.Control.OK:
		v.Outcome = CannotSay
	case broken:
		v.Outcome = Broken
	case len(s.doubts) > 0:
		v.Outcome = CannotSay
	default:
		v.Outcome = Holds
	}
}
