package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// class names an outcome in the style sheet.
func class(o verdict.Outcome) string {
	switch o {
	case verdict.Holds:
		return "holds"
	case verdict.Broken:
		return "broken"
	default:
		return "unknown"
	}
}

// faults says in a sentence, for one record and for many, what a broken
// expectation on a count means; empty for other quantities.
func faults(quantity string) (one, many string) {
	switch quantity {
	case "lost":
		return "1 record is lost", "%s records are lost"
	case "undelivered":
		return "1 record never arrived", "%s records never arrived"
	case "destination_lost":
		return "1 record is gone from the destination again", "%s records are gone from the destination again"
	case "duplicates":
		return "1 duplicate arrived", "%s duplicates arrived"
	case "reordered":
		return "1 record arrived out of order", "%s records arrived out of order"
	case "corrupt":
		return "1 record arrived corrupted", "%s records arrived corrupted"
	case "malformed":
		return "1 record cannot be read", "%s records cannot be read"
	case "misplaced":
		return "1 record is on the wrong partition", "%s records are on the wrong partition"
	case "phantom":
		return "1 record arrived that was never sent", "%s records arrived that were never sent"
	}
	return "", ""
}

// why says in one sentence what the outcome rests on.
func why(v *verdict.Verdict) string {
	c := &v.Total
	var sentence string
	switch {
	case v.Outcome == verdict.Holds:
		sentence = holds(v)
	case v.Outcome == verdict.Broken:
		var parts []string
		for _, e := range v.Expectations {
			if e.Outcome == verdict.Broken {
				parts = append(parts, fault(v, e))
			}
		}
		switch {
		case len(parts) == 0 && len(v.Reasons) > 0:
			sentence = v.Reasons[0] + "."
		case len(parts) == 0:
			sentence = "An expectation is not met."
		default:
			sentence = strings.Join(parts, "; ") + "."
		}
	case !v.Control.OK && v.Control.Planted > 0:
		sentence = fmt.Sprintf("The tester is not to be trusted: of %d losses planted on purpose it reports %d.", v.Control.Planted, v.Control.Reported)
	case len(v.Reasons) > 0:
		sentence = "The evidence does not suffice: " + v.Reasons[0] + "."
	case c.Expected == 0:
		sentence = "Nothing is known to have been sent."
	default:
		sentence = "The evidence does not suffice."
	}
	if !v.Final {
		sentence = "so far: " + sentence
	}
	return capital(sentence)
}

// capital puts a capital letter at the begin of a sentence.
func capital(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	if size == 0 {
		return s
	}
	return string(unicode.ToUpper(r)) + s[size:]
}

func holds(v *verdict.Verdict) string {
	c := &v.Total
	if c.Expected == 0 {
		return "Every expectation is met, but nothing was sent."
	}
	missing := c.Lost + c.Undelivered + c.DestinationLost + c.Unobserved
	switch {
	case !v.Final && c.Pending > 0:
		return fmt.Sprintf("nothing is lost; %s of %s on the way.", human.Count(c.Pending), human.Plural(c.Expected, "record is", "records are"))
	case missing > 0 || c.Indeterminate > 0:
		return fmt.Sprintf("%s of %s missing, which the expectations allow.", human.Count(missing), human.Plural(c.Expected, "record is", "records are"))
	case c.Corrupt+c.Misplaced+c.Phantom+c.Malformed > 0:
		return fmt.Sprintf("All %s arrived; every expectation is met.", human.Plural(c.Expected, "record", "records"))
	case c.Reordered > 0:
		return fmt.Sprintf("All %s arrived intact; every expectation is met.", human.Plural(c.Expected, "record", "records"))
	case c.Duplicates > 0:
		return fmt.Sprintf("All %s arrived, intact and in order, some of them more than once; every expectation is met.", human.Plural(c.Expected, "record", "records"))
	default:
		return fmt.Sprintf("All %s arrived exactly once, intact and in order; every expectation is met.", human.Plural(c.Expected, "record", "records"))
	}
}

// fault says what a broken expectation found.
func fault(v *verdict.Verdict, e verdict.ExpectationResult) string {
	quantity, bound, _ := strings.Cut(e.Expectation, " ")
	n, err := strconv.ParseUint(e.Actual, 10, 64)
	text, many := faults(quantity)
	if err != nil || text == "" {
		return fmt.Sprintf("%s is %s, expected %s", quantity, e.Actual, bound)
	}
	if n != 1 {
		text = fmt.Sprintf(many, human.Count(n))
	}
	return text + blame(v, strings.ReplaceAll(quantity, "_", "-"))
}

// blame says whose fault the findings of a word are: " by the replicator", or
// how many are whose.
func blame(v *verdict.Verdict, word string) string {
	by := map[verdict.Attribution]uint64{}
	for i := range v.Findings {
		if f := &v.Findings[i]; f.Word == word && f.Attribution != "" {
			by[f.Attribution] += f.Count
		}
	}
	who := slices.SortedFunc(maps.Keys(by), func(a, b verdict.Attribution) int {
		return cmp.Or(cmp.Compare(by[b], by[a]), cmp.Compare(a, b))
	})
	if len(who) == 0 {
		return ""
	}
	var parts []string
	for _, a := range who {
		switch {
		case len(who) == 1:
			parts = append(parts, string(a))
		default:
			parts = append(parts, fmt.Sprintf("%s %s", a, human.Count(by[a])))
		}
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// word is one count of the verdict and what it means.
type word struct {
	Name    string
	Meaning string
	Value   func(c *verdict.Counts) uint64
	// Bad says that anything but zero deserves attention.
	Bad bool
}

// sending, arriving and anomalies are the words of the two legs, in the order
// in which they are read.
func sending() []word {
	return []word{
		{"scheduled", "asked for by the schedule", func(c *verdict.Counts) uint64 { return c.Scheduled }, false},
		{"shed", "of those, never sent: the producer's buffer was full", func(c *verdict.Counts) uint64 { return c.Shed }, true},
		{"acked", "acknowledged by the source cluster", func(c *verdict.Counts) uint64 { return c.Acked }, false},
		{"failed", "certainly not written", func(c *verdict.Counts) uint64 { return c.Failed }, true},
		{"unsent", "reserved, and proven absent from the source log", func(c *verdict.Counts) uint64 { return c.Unsent }, false},
		{"indeterminate", "outcome of sending unknown", func(c *verdict.Counts) uint64 { return c.Indeterminate }, true},
		{"expected", "the source holds or held them: what the replicator has to carry", func(c *verdict.Counts) uint64 { return c.Expected }, false},
	}
}

func arriving() []word {
	return []word{
		{"received", "distinct records at the destination", func(c *verdict.Counts) uint64 { return c.Received }, false},
		{"arrivals", "all copies of them", func(c *verdict.Counts) uint64 { return c.Arrivals }, false},
		{"lost", "expected, and proven absent at the destination", func(c *verdict.Counts) uint64 { return c.Lost }, true},
		{"lost at least", "of those, less the unidentifiable records, which may be them", func(c *verdict.Counts) uint64 { return c.LostAtLeast }, true},
		{"undelivered", "missing at the end, with nothing later of its partition arrived", func(c *verdict.Counts) uint64 { return c.Undelivered }, true},
		{"skipped", "while running: a later record of its partition has arrived", func(c *verdict.Counts) uint64 { return c.Skipped }, true},
		{"pending", "while running: not yet at the destination", func(c *verdict.Counts) uint64 { return c.Pending }, false},
		{"destination lost", "at the destination once, and gone at the end", func(c *verdict.Counts) uint64 { return c.DestinationLost }, true},
		{"unobserved", "may have arrived where we could not read", func(c *verdict.Counts) uint64 { return c.Unobserved }, true},
	}
}

func anomalies() []word {
	return []word{
		{"duplicates", "every arrival after a record's first", func(c *verdict.Counts) uint64 { return c.Duplicates }, true},
		{"replays", "unbroken runs of duplicates in one partition", func(c *verdict.Counts) uint64 { return c.Replays }, true},
		{"longest replay", "records in the longest of them", func(c *verdict.Counts) uint64 { return c.LongestReplay }, true},
		{"reordered", "first arrivals behind a later record of their stream", func(c *verdict.Counts) uint64 { return c.Reordered }, true},
		{"corrupt", "content and checksum do not agree", func(c *verdict.Counts) uint64 { return c.Corrupt }, true},
		{"malformed", "claim to be of a test and cannot be read", func(c *verdict.Counts) uint64 { return c.Malformed }, true},
		{"misplaced", "on another destination partition than the mapping says", func(c *verdict.Counts) uint64 { return c.Misplaced }, true},
		{"phantom", "outside everything that producers reserved", func(c *verdict.Counts) uint64 { return c.Phantom }, true},
		{"foreign", "of other tests or other programs", func(c *verdict.Counts) uint64 { return c.Foreign }, false},
	}
}

// trouble sums up what deserves attention in some counts; 0 means nothing.
func trouble(c *verdict.Counts) uint64 {
	return c.Lost + c.Undelivered + c.DestinationLost + c.Unobserved + c.Indeterminate + c.Duplicates + c.Reordered +
		c.Corrupt + c.Malformed + c.Misplaced + c.Phantom + c.Failed
}

// millis writes a latency of Percentiles.
func millis(ms float64) string {
	if ms == latency.OverRange {
		return "never"
	}
	return human.Millis(ms)
}

// share writes n of total in percent, cut and not rounded: 100 % is only what
// is complete.
func share(n, total uint64) string {
	switch {
	case total == 0:
		return ""
	case n >= total:
		return "100 %"
	}
	missing := float64(total-n) / float64(total) * 100
	decimals := max(1, int(math.Ceil(-math.Log10(missing)))+1)
	if decimals > 10 {
		return "above 99.99999999 %"
	}
	shift := math.Pow(10, float64(decimals))
	return strconv.FormatFloat(math.Floor((100-missing)*shift)/shift, 'f', decimals, 64) + " %"
}

// whole is the latency over the whole test; nil when it was not measured.
func whole(v *verdict.Verdict) *verdict.PhaseLatency {
	for i := range v.Latency {
		if l := &v.Latency[i]; l.Phase == verdict.AllPhases && l.Latency.Count > 0 {
			return l
		}
	}
	return nil
}

// longest is the longest outage, and where it was; nil when there was none.
func longest(v *verdict.Verdict) (o *verdict.Outage, topic string, partition int32) {
	for i := range v.Topics {
		for j := range v.Topics[i].Partitions {
			p := &v.Topics[i].Partitions[j]
			for k := range p.Outages {
				if x := &p.Outages[k]; o == nil || x.To-x.From > o.To-o.From {
					o, topic, partition = x, v.Topics[i].Name, p.Partition
				}
			}
		}
	}
	return o, topic, partition
}

// slowest is the recovery that took longest, one that never came above all;
// nil when there was no event to recover from.
func slowest(v *verdict.Verdict) *verdict.Recovery {
	var out *verdict.Recovery
	for i := range v.Recoveries {
		r := &v.Recoveries[i]
		if out == nil || out.Recovered && (!r.Recovered || r.Seconds > out.Seconds) {
			out = r
		}
	}
	return out
}

// notRecovered says that the system has not come back from an event.
func notRecovered(v *verdict.Verdict) string {
	if v.Final {
		return "never"
	}
	return "not yet"
}

// clocks says how far apart the clocks behind a latency may be.
func clocks(l *verdict.PhaseLatency) string {
	switch {
	case l.ClockBound > 0:
	case l.ClockKnown:
		return "one clock"
	default:
		return "clock offset unknown"
	}
	return "clocks ± " + human.Millis(l.ClockBound)
}

// worstRPO is the largest RPO at any second of the test.
func worstRPO(d *verdict.Document) (seconds float64, records uint64) {
	for i := range d.Timeline {
		seconds, records = max(seconds, d.Timeline[i].RPOSeconds), max(records, d.Timeline[i].Pending)
	}
	for i := range d.Verdict.Topics {
		for j := range d.Verdict.Topics[i].Partitions {
			p := &d.Verdict.Topics[i].Partitions[j]
			seconds, records = max(seconds, p.RPOSeconds), max(records, p.RPORecords)
		}
	}
	return seconds, records
}
