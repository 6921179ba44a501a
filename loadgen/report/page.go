package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// page is what the template shows.
type page struct {
	CSS    template.CSS
	JS     template.JS
	Policy string

	Test, When, Word, Symbol, Class, Why string
	Final                                bool
	Reasons, Notes                       list
	Trust                                []statement
	Tiles                                []tile
	Expectations                         *table

	Timeline *timeline

	Findings   *table
	Latency    *table
	ClockText  string
	Recoveries *table
	Outages    *outages
	Totals     []*table
	Topics     []topic
	TopicsNote string
	Producers  *table
	Config     *table
	Versions   *table
	Schema     string
}

// list is a list of sentences of which the first are shown at once.
type list struct {
	Shown, More []string
	Left        int
}

func newList(in []string) list {
	var l list
	for i, s := range in {
		switch {
		case i < maxReasons:
			l.Shown = append(l.Shown, clip(s, maxText))
		case i < maxReasons+maxMore:
			l.More = append(l.More, clip(s, maxText))
		default:
			l.Left++
		}
	}
	return l
}

// statement is one of the things that the verdict's own trustworthiness rests
// on.
type statement struct{ Class, Symbol, Name, Text string }

// tile is a key figure.
type tile struct{ Name, Value, Hint, Class string }

// table is any table. The first cell of a row is its header.
type table struct {
	ID, Caption string
	Head        []column
	Rows        [][]cell
	Note        string // what is left out, or how to read it
}

type column struct {
	Text   string
	Number bool
}

type cell struct {
	Text   string
	Class  string
	Lines  []string // under the text
	Spread *spread
}

// spread draws percentiles on a logarithmic axis, in percent of its length.
type spread struct {
	P50, P99, P9999, Max float64
	Title                string
}

// Number says whether column i holds numbers.
func (t *table) Number(i int) bool { return i < len(t.Head) && t.Head[i].Number }

func text(s string) cell { return cell{Text: clip(s, maxText)} }

func number(n uint64) cell {
	c := cell{Text: human.Count(n)}
	if n == 0 {
		c.Class = "zero"
	}
	return c
}

// suspicious is number, marked if it is not zero.
func suspicious(n uint64) cell {
	c := number(n)
	if n > 0 {
		c.Class = "marked"
	}
	return c
}

// columns makes a table's head: "#" before a name says that it holds numbers.
func columns(names ...string) []column {
	var out []column
	for _, n := range names {
		name, isNumber := strings.CutPrefix(n, "#")
		out = append(out, column{Text: name, Number: isNumber})
	}
	return out
}

// left says how many rows a table leaves out.
func left(shown, all int, what string) string {
	if shown >= all {
		return ""
	}
	return fmt.Sprintf("Showing %s of %s %s. All are in verdict.json.", human.Count(uint64(shown)), human.Count(uint64(all)), what)
}

func newPage(d *verdict.Document) *page {
	v := &d.Verdict
	p := &page{
		Test:   clip(v.Test, maxText),
		When:   when(v),
		Word:   string(v.Outcome),
		Symbol: v.Outcome.Symbol(),
		Class:  class(v.Outcome),
		Why:    why(v),
		Final:  v.Final,
		Notes:  newList(v.Notes),
		Schema: d.Schema,
	}
	if p.Word == "" {
		p.Word = string(verdict.CannotSay)
	}
	if v.Outcome != verdict.Holds {
		p.Reasons = newList(v.Reasons)
	}
	p.Trust = trust(v)
	p.Tiles = tiles(d)
	p.Expectations = expectations(v)
	p.Timeline = newTimeline(d)
	p.Findings = findings(v)
	p.Latency = phases(v)
	p.ClockText = clockText(v)
	p.Recoveries = recoveries(v)
	p.Outages = newOutages(d)
	p.Totals = totals(v)
	p.Topics, p.TopicsNote = topics(v)
	p.Producers = producers(v)
	p.Config = settings("config", d.Config)
	p.Versions = settings("versions", d.Versions)
	return p
}

func when(v *verdict.Verdict) string {
	switch {
	case v.At == 0:
		return ""
	case v.Started == 0 || v.Started > v.At:
		return date(v.At) + " UTC"
	default:
		return fmt.Sprintf("%s UTC, %s", date(v.Started), human.Seconds(float64(v.At-v.Started)/1e6))
	}
}

func trust(v *verdict.Verdict) []statement {
	state := func(ok bool, name, text string) statement {
		if ok {
			return statement{"holds", "✓", name, text}
		}
		return statement{"unknown", "?", name, text}
	}
	control := fmt.Sprintf("%d of %d losses planted on purpose were reported", v.Control.Reported, v.Control.Planted)
	if v.Control.Planted == 0 {
		control = "no loss was planted, so it is not shown that one would be seen"
	}
	if v.Control.Detail != "" && v.Control.Planted > 0 {
		control += ": " + v.Control.Detail
	}
	out := []statement{state(v.Control.OK, "Positive control", control)}
	bottleneck := "not checked"
	if v.Bottleneck.Component != "" {
		bottleneck = v.Bottleneck.Component
		if v.Bottleneck.Evidence != "" {
			bottleneck += ": " + v.Bottleneck.Evidence
		}
	}
	s := state(v.Bottleneck.Component != "" && v.Bottleneck.Component != "tester", "Bottleneck", clip(bottleneck, maxText))
	return append(out, s, state(v.Clock != nil && (v.Clock.One || v.Clock.Probes > 0), "Clocks", clockText(v)))
}

func clockText(v *verdict.Verdict) string {
	if v.Clock != nil && v.Clock.One {
		return "everything ran on one machine and has one clock"
	}
	if v.Clock == nil || v.Clock.Probes == 0 {
		return "the offset between the clocks at both ends is not known, so latencies may be off by it"
	}
	s := fmt.Sprintf("the destination's clock is %s ± %s off (%s); figures are not corrected by it, expectations allow for it",
		human.Millis(v.Clock.OffsetMillis), human.Millis(v.Clock.BoundMillis), human.Plural(uint64(max(0, v.Clock.Probes)), "probe", "probes"))
	if v.Clock.Detail != "" {
		s += ": " + clip(v.Clock.Detail, maxText)
	}
	return s
}

func tiles(d *verdict.Document) []tile {
	v, c := &d.Verdict, &d.Verdict.Total
	broken := map[string]bool{}
	for _, e := range v.Expectations {
		quantity, _, _ := strings.Cut(e.Expectation, " ")
		broken[quantity] = broken[quantity] || e.Outcome == verdict.Broken
	}
	count := func(name, quantity string, n uint64, hint string) tile {
		t := tile{Name: name, Value: human.Count(n), Hint: hint}
		switch {
		case broken[quantity]:
			t.Class = "broken"
		case n > 0 && quantity != "":
			t.Class = "marked"
		}
		return t
	}
	measured := func(name, quantity, value, hint string) tile {
		t := tile{Name: name, Value: value, Hint: hint}
		if broken[quantity] {
			t.Class = "broken"
		}
		return t
	}

	lost := count("Lost", "lost", c.Lost, "")
	if c.LostAtLeast < c.Lost {
		lost.Hint = "at least " + human.Count(c.LostAtLeast)
	}
	missing := count("Undelivered", "undelivered", c.Undelivered, "")
	if !v.Final {
		missing = count("Pending", "", c.Pending, human.Count(c.Skipped)+" of them skipped")
	}
	duplicates := count("Duplicates", "duplicates", c.Duplicates, "")
	if c.Replays > 0 {
		duplicates.Hint = human.Plural(c.Replays, "replay", "replays") + ", longest " + human.Count(c.LongestReplay)
	}
	corrupt := count("Corrupt", "corrupt", c.Corrupt, "")
	if c.Malformed > 0 {
		corrupt.Hint = human.Count(c.Malformed) + " malformed besides"
	}
	sent := count("Sent", "", c.Expected, "")
	if c.Shed > 0 {
		sent.Hint = human.Count(c.Shed) + " shed"
	}
	out := []tile{
		sent, count("Received", "", c.Received, share(c.Received, c.Expected)), lost, missing,
		duplicates, count("Reordered", "reordered", c.Reordered, ""), corrupt,
	}

	if l := whole(v); l == nil {
		out = append(out, measured("Latency p50", "", "–", "not measured"), measured("p99", "", "–", ""), measured("p99.99", "", "–", ""), measured("Maximum", "", "–", ""))
	} else {
		out = append(out,
			measured("Latency p50", "latency.p50", millis(l.Latency.P50), clocks(l)), measured("p99", "latency.p99", millis(l.Latency.P99), ""),
			measured("p99.99", "latency.p99.99", millis(l.Latency.P9999), ""), measured("Maximum", "latency.max", millis(l.Latency.Max), ""))
	}
	if o, name, partition := longest(v); o == nil {
		value := "none"
		if c.Expected == 0 {
			value = "–"
		}
		out = append(out, measured("Longest outage", "outage", value, ""))
	} else {
		out = append(out, measured("Longest outage", "outage", human.Seconds(float64(o.To-o.From)/1e6), fmt.Sprintf("%s/%d", clip(name, 60), partition)))
	}
	switch r := slowest(v); {
	case r == nil:
		out = append(out, measured("Recovery", "recovery", "–", "no event to recover from"))
	case !r.Recovered:
		t := measured("Recovery", "recovery", notRecovered(v), "after "+clip(r.Event, 60))
		t.Class = cmp.Or(t.Class, "marked")
		out = append(out, t)
	default:
		out = append(out, measured("Recovery", "recovery", human.Seconds(r.Seconds), "after "+clip(r.Event, 60)))
	}
	seconds, records := worstRPO(d)
	return append(out, measured("Worst RPO", "", human.Seconds(seconds), human.Plural(records, "record", "records")))
}

func outcomeCell(o verdict.Outcome) cell {
	return cell{Text: o.Symbol() + " " + string(o), Class: class(o)}
}

// gravestFirst puts what is broken before what is open before what holds.
func gravestFirst(in []verdict.ExpectationResult) []verdict.ExpectationResult {
	order := func(o verdict.Outcome) int {
		return slices.Index([]verdict.Outcome{verdict.Broken, verdict.CannotSay, verdict.Holds}, o)
	}
	out := slices.Clone(in)
	slices.SortStableFunc(out, func(a, b verdict.ExpectationResult) int { return cmp.Compare(order(a.Outcome), order(b.Outcome)) })
	return out
}

func expectations(v *verdict.Verdict) *table {
	t := &table{ID: "expectations-table", Caption: "Expectations", Head: columns("Expected", "#Found", "Outcome")}
	in := gravestFirst(v.Expectations)
	for _, e := range in[:min(len(in), maxEntries)] {
		t.Rows = append(t.Rows, []cell{text(e.Expectation), text(e.Actual), outcomeCell(e.Outcome)})
	}
	t.Note = left(len(t.Rows), len(in), "expectations")
	return t
}

// severity orders findings: what is missing first.
func severity(word string) int {
	i := slices.Index([]string{"lost", "destination-lost", "undelivered", "corrupt", "phantom", "misplaced", "reordered", "unobserved", "indeterminate", "duplicate"}, word)
	if i < 0 {
		return 100
	}
	return i
}

func findings(v *verdict.Verdict) *table {
	if len(v.Findings) == 0 {
		return nil
	}
	t := &table{ID: "findings-table", Caption: "Findings", Head: columns("What", "#Records", "Whose", "Where", "Evidence")}
	in := slices.Clone(v.Findings)
	slices.SortStableFunc(in, func(a, b verdict.Finding) int {
		return cmp.Or(cmp.Compare(severity(a.Word), severity(b.Word)), cmp.Compare(b.Count, a.Count))
	})
	for i := range in[:min(len(in), maxFindings)] {
		f := &in[i]
		e := cell{Text: capital(clip(f.Evidence, maxText))}
		add := func(name, value string) {
			if value != "" {
				e.Lines = append(e.Lines, name+" "+clip(value, 400))
			}
		}
		add("sequences", joined(f.Sequences, f.Count))
		add("source offsets", joined(f.SourceOffsets, f.Count))
		add("destination offsets", joined(f.DestinationOffsets, f.Count))
		if f.Producer != "" || f.Run != "" {
			add("producer", fmt.Sprintf("%s, run %s, epoch %d", clip(f.Producer, 200), f.Run, f.Epoch))
		}
		t.Rows = append(t.Rows, []cell{
			{Text: clip(f.Word, 100), Class: "word"}, number(f.Count), {Text: cmp.Or(string(f.Attribution), "–")},
			{Text: fmt.Sprintf("%s/%d", clip(f.Topic, 200), f.Partition)}, e,
		})
	}
	t.Note = left(len(t.Rows), len(in), "findings, the gravest first")
	return t
}

// joined writes the first of some ranges or offsets; an ellipsis says that
// they are not all.
func joined[T any](in []T, count uint64) string {
	var parts []string
	var n uint64
	for _, x := range in {
		parts = append(parts, fmt.Sprint(x))
		if r, ok := any(x).(interface{ Len() uint64 }); ok {
			n += r.Len()
		} else {
			n++
		}
	}
	if len(parts) > 0 && n < count {
		parts = append(parts, "…")
	}
	return strings.Join(parts, ", ")
}

func phases(v *verdict.Verdict) *table {
	if len(v.Latency) == 0 {
		return nil
	}
	t := &table{ID: "latency-table", Caption: "Latency per phase",
		Head: columns("Phase", "#From", "#Lasted", "#Records", "#p50", "#p90", "#p99", "#p99.9", "#p99.99", "#Max", "p50 – p99 – max", "#Shed", "#Left out", "#Clock")}
	in := v.Latency[:min(len(v.Latency), maxEntries)]
	low, high := math.Inf(1), 0.0
	for i := range in {
		for _, ms := range []float64{in[i].Latency.P50, in[i].Latency.Max, in[i].Latency.P9999} {
			if ms > 0 {
				low, high = math.Min(low, ms), math.Max(high, ms)
			}
		}
	}
	s, _ := logarithmic(low, high, func(float64) string { return "" })
	for i := range in {
		l := &in[i]
		q := &l.Latency
		row := []cell{{Text: clip(l.Phase, 200), Lines: []string{l.Source}}, text(clock(l.From)), text(human.Seconds(float64(l.To-l.From) / 1e6)), number(uint64(max(0, q.Count)))}
		if q.Count == 0 {
			row = append(row, text("–"), text("–"), text("–"), text("–"), text("–"), text("–"), text(""))
		} else {
			at := func(ms float64) float64 {
				if ms == latency.OverRange {
					return 100
				}
				return round2(100 * s(ms))
			}
			row = append(row, text(millis(q.P50)), text(millis(q.P90)), text(millis(q.P99)), text(millis(q.P999)), text(millis(q.P9999)), text(millis(q.Max)),
				cell{Spread: &spread{P50: at(q.P50), P99: at(q.P99), P9999: at(q.P9999), Max: at(q.Max), Title: q.String()}})
		}
		clockCell := text("–")
		if l.ClockBound > 0 {
			clockCell = text(fmt.Sprintf("%s ± %s", human.Millis(l.ClockOffset), human.Millis(l.ClockBound)))
		}
		t.Rows = append(t.Rows, append(row, suspicious(l.Shed), suspicious(uint64(max(0, l.CatchUp))), clockCell))
	}
	t.Note = strings.TrimSpace("Latency runs from the intended send time; shed records count as never arrived. “Left out” are records read while the tester itself was catching up. " +
		left(len(in), len(v.Latency), "phases"))
	return t
}

func recoveries(v *verdict.Verdict) *table {
	if len(v.Recoveries) == 0 {
		return nil
	}
	t := &table{ID: "recoveries-table", Caption: "Recoveries", Head: columns("Event", "#At (UTC)", "#Recovered after")}
	for _, r := range v.Recoveries[:min(len(v.Recoveries), maxEntries)] {
		c := text(human.Seconds(r.Seconds))
		if !r.Recovered {
			c = cell{Text: "✕ " + notRecovered(v), Class: "broken"}
		}
		t.Rows = append(t.Rows, []cell{text(r.Event), text(clock(r.At)), c})
	}
	t.Note = left(len(t.Rows), len(v.Recoveries), "recoveries")
	return t
}

func totals(v *verdict.Verdict) []*table {
	make := func(id, caption string, words []word) *table {
		t := &table{ID: id, Caption: caption, Head: columns("Word", "#Records", "Meaning")}
		for _, w := range words {
			n := w.Value(&v.Total)
			c := number(n)
			if w.Bad {
				c = suspicious(n)
			}
			t.Rows = append(t.Rows, []cell{text(w.Name), c, text(w.Meaning)})
		}
		return t
	}
	return []*table{
		make("sending-table", "Producer to source", sending()),
		make("arriving-table", "Source to destination: delivery", arriving()),
		make("anomalies-table", "Source to destination: order and content", anomalies()),
	}
}

// topic is a topic with its tables.
type topic struct {
	Name       string
	Facts      string
	Class      string
	Partitions *table
	Streams    *table
}

func topics(v *verdict.Verdict) ([]topic, string) {
	in := slices.Clone(v.Topics)
	if len(in) > maxTopics {
		slices.SortStableFunc(in, func(a, b verdict.Topic) int { return cmp.Compare(trouble(&b.Counts), trouble(&a.Counts)) })
	}
	var out []topic
	partitionsLeft, streamsLeft := maxRows, maxRows
	for i := range in[:min(len(in), maxTopics)] {
		x := &in[i]
		t := topic{Name: clip(x.Name, 300), Facts: topicFacts(x)}
		if trouble(&x.Counts) > 0 {
			t.Class = "marked"
		}
		t.Partitions = partitions(x, min(maxPartitions, partitionsLeft))
		partitionsLeft -= len(t.Partitions.Rows)
		if t.Streams = streams(x, min(maxPartitions, streamsLeft)); t.Streams != nil {
			streamsLeft -= len(t.Streams.Rows)
		}
		out = append(out, t)
	}
	return out, left(len(out), len(in), "topics, those with anomalies first")
}

func topicFacts(t *verdict.Topic) string {
	c := &t.Counts
	facts := []string{human.Plural(uint64(len(t.Partitions)), "partition", "partitions"), human.Count(c.Received) + " of " + human.Plural(c.Expected, "record", "records")}
	for _, w := range []struct {
		name string
		n    uint64
	}{{"lost", c.Lost}, {"undelivered", c.Undelivered}, {"gone again", c.DestinationLost}, {"unobserved", c.Unobserved}, {"indeterminate", c.Indeterminate},
		{"duplicates", c.Duplicates}, {"reordered", c.Reordered}, {"corrupt", c.Corrupt}, {"malformed", c.Malformed}, {"misplaced", c.Misplaced}, {"phantom", c.Phantom}} {
		if w.n > 0 {
			facts = append(facts, human.Count(w.n)+" "+w.name)
		}
	}
	return strings.Join(facts, " · ")
}

func partitions(x *verdict.Topic, limit int) *table {
	t := &table{ID: "", Caption: "Partitions of " + clip(x.Name, 300), Head: columns("Partition", "#Expected", "#Received", "#Lost", "#Undelivered", "#Gone again",
		"#Duplicates", "#Reordered", "#Corrupt", "#Misplaced", "#RPO", "#Outages", "#In total")}
	in := slices.Clone(x.Partitions)
	if len(in) > limit {
		slices.SortStableFunc(in, func(a, b verdict.Partition) int {
			return cmp.Or(cmp.Compare(trouble(&b.Counts), trouble(&a.Counts)), cmp.Compare(b.OutageSeconds, a.OutageSeconds))
		})
	}
	for i := range in[:min(len(in), limit)] {
		p := &in[i]
		c := &p.Counts
		outage := cell{Text: "–", Class: "zero"}
		if p.OutageCount > 0 {
			outage = text(human.Seconds(p.OutageSeconds))
		}
		rpo := cell{Text: "–", Class: "zero"}
		if p.RPORecords > 0 {
			rpo = cell{Text: human.Seconds(p.RPOSeconds), Lines: []string{human.Plural(p.RPORecords, "record", "records")}}
		}
		t.Rows = append(t.Rows, []cell{text(fmt.Sprint(p.Partition)), number(c.Expected), number(c.Received), suspicious(c.Lost), suspicious(c.Undelivered),
			suspicious(c.DestinationLost), suspicious(c.Duplicates), suspicious(c.Reordered), suspicious(c.Corrupt), suspicious(c.Misplaced), rpo,
			number(p.OutageCount), outage})
	}
	t.Note = left(len(t.Rows), len(in), "partitions, those with anomalies and outages first")
	return t
}

func streams(x *verdict.Topic, limit int) *table {
	type row struct {
		partition int32
		s         *verdict.Stream
	}
	var in []row
	for i := range x.Partitions {
		for j := range x.Partitions[i].Streams {
			in = append(in, row{x.Partitions[i].Partition, &x.Partitions[i].Streams[j]})
		}
	}
	if len(in) == 0 {
		return nil
	}
	if len(in) > limit {
		slices.SortStableFunc(in, func(a, b row) int { return cmp.Compare(trouble(&b.s.Counts), trouble(&a.s.Counts)) })
	}
	t := &table{Caption: "Streams of " + clip(x.Name, 300), Head: columns("Partition", "Producer", "Run", "#Epoch", "#Reserved", "#Acked", "#Expected", "#Received",
		"#Lost", "#Undelivered", "#Indeterminate", "#Unsent", "#Duplicates", "#Phantom")}
	for _, r := range in[:min(len(in), limit)] {
		c := &r.s.Counts
		t.Rows = append(t.Rows, []cell{text(fmt.Sprint(r.partition)), text(clip(r.s.Producer, 200)), {Text: clip(r.s.Run, 40), Class: "mono"}, text(fmt.Sprint(r.s.Epoch)),
			number(r.s.Reserved), number(c.Acked), number(c.Expected), number(c.Received), suspicious(c.Lost), suspicious(c.Undelivered), suspicious(c.Indeterminate),
			number(c.Unsent), suspicious(c.Duplicates), suspicious(c.Phantom)})
	}
	t.Note = left(len(t.Rows), len(in), "streams, those with anomalies first")
	return t
}

func producers(v *verdict.Verdict) *table {
	t := &table{ID: "producers-table", Caption: "Producers", Head: columns("Producer", "Run", "State", "Started (UTC)", "Last heard of", "#Scheduled", "#Shed", "#Acked", "#Failed", "#Unsent", "#Indeterminate")}
	for i := range v.Producers[:min(len(v.Producers), maxEntries)] {
		p := &v.Producers[i]
		c := &p.Counts
		state := cell{Text: clip(p.State, 100)}
		if p.State != "closed" {
			state.Class = "marked"
		}
		t.Rows = append(t.Rows, []cell{text(p.ID), {Text: clip(p.Run, 40), Class: "mono"}, state, text(date(p.Started)), text(date(p.Updated)),
			number(c.Scheduled), suspicious(c.Shed), number(c.Acked), suspicious(c.Failed), number(c.Unsent), suspicious(c.Indeterminate)})
	}
	t.Note = left(len(t.Rows), len(v.Producers), "producers")
	return t
}

func settings(id string, in map[string]string) *table {
	caption := map[string]string{"config": "Configuration", "versions": "Versions"}[id]
	t := &table{ID: id + "-table", Caption: caption, Head: columns("Name", "Value")}
	names := slices.Sorted(maps.Keys(in))
	for _, name := range names[:min(len(names), maxEntries)] {
		t.Rows = append(t.Rows, []cell{text(clip(name, 300)), {Text: clip(in[name], maxText), Class: "value"}})
	}
	t.Note = left(len(t.Rows), len(names), "settings")
	return t
}

// data is what the script needs to show values under the pointer.
type data struct {
	From    float64             `json:"from"`  // Unix seconds
	Span    float64             `json:"span"`  // of the axis, in seconds
	Step    float64             `json:"step"`  // of a bucket, in seconds
	Start   float64             `json:"start"` // of the test, Unix seconds
	Figures [][]json.RawMessage `json:"figures"`
	Units   []string            `json:"units"`
}
