package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// timeline is the charts over the common time axis.
type timeline struct {
	Charts     []chart
	Times      []label
	Events     []event
	EventsNote string
	Lanes      int
	Bands      []band
	Note       string
	Data       data
}

// chart is one drawing area with its legend.
type chart struct {
	Index  int
	Name   string
	Kind   string // class of its height: tall, short or rows
	Title  string // what one would say of it in a sentence
	Y      []label
	Series []series
}

// series is one line, area or row of bars.
type series struct {
	Class   string // gives the colour
	Name    string
	Summary string
	Line    string
	Area    string
	Bars    string
}

// event is a marker across all charts.
type event struct {
	Number  int
	X       float64 // percent; meaningless unless Drawn
	Drawn   bool
	Lane    int
	Flip    bool // its text stands to the left
	Bare    bool // there is no room for its text
	Kind    string
	Side    string
	Detail  string
	Time    string
	Elapsed string
}

// band is a time in which the system had not recovered from an event.
type band struct {
	X, Width int // in user units
}

// axisOf spans the time line; without one, the test.
func axisOf(d *verdict.Document) (axis, bool) {
	low, high := int64(math.MaxInt64), int64(math.MinInt64)
	for i := range d.Timeline {
		low, high = min(low, d.Timeline[i].Second), max(high, d.Timeline[i].Second)
	}
	if low <= high {
		return axis{float64(low), float64(high) + 1}, true
	}
	v := &d.Verdict
	if v.Started > 0 && v.At > v.Started {
		return axis{math.Floor(float64(v.Started) / 1e6), math.Ceil(float64(v.At)/1e6) + 1}, true
	}
	return axis{}, false
}

func newTimeline(d *verdict.Document) *timeline {
	a, ok := axisOf(d)
	if !ok || len(d.Timeline) == 0 {
		return nil
	}
	// In order of time, each second at its middle.
	points := slices.Clone(d.Timeline)
	slices.SortStableFunc(points, func(x, y verdict.Point) int { return cmp.Compare(x.Second, y.Second) })
	_, step := a.steps()
	t := &timeline{Times: timeLabels(a), Data: data{From: a.from, Span: a.to - a.from, Step: step, Start: float64(d.Verdict.Started) / 1e6}}
	if t.Data.Start == 0 {
		t.Data.Start = a.from
	}
	t.events(a, d)
	t.recoveries(a, &d.Verdict)

	of := func(value func(p *verdict.Point) float64) []point {
		out := make([]point, len(points))
		for i := range points {
			out[i] = point{float64(points[i].Second) + 0.5, value(&points[i])}
		}
		return out
	}
	count := func(value func(p *verdict.Point) uint64) []point {
		return of(func(p *verdict.Point) float64 { return float64(value(p)) })
	}
	millis := func(value func(p *verdict.Point) float64) []point {
		return of(func(p *verdict.Point) float64 {
			switch ms := value(p); {
			case ms == 0:
				return math.NaN() // nothing arrived in that second
			case ms == latency.OverRange:
				return math.Inf(1)
			default:
				return ms
			}
		})
	}

	t.lines(a, "Throughput", "tall", unitBytes, summaryMean,
		curve{"in", "into the source", count(func(p *verdict.Point) uint64 { return p.SentBytes })},
		curve{"out", "at the destination", count(func(p *verdict.Point) uint64 { return p.ReceivedBytes })})
	t.lines(a, "Records", "short", unitRecords, summaryMean,
		curve{"plan", "scheduled", count(func(p *verdict.Point) uint64 { return p.Scheduled })},
		curve{"in", "into the source", count(func(p *verdict.Point) uint64 { return p.Sent })},
		curve{"out", "at the destination", count(func(p *verdict.Point) uint64 { return p.Received })})
	t.lines(a, "Latency", "tall", unitMillis, summaryMax,
		curve{"p50", "p50", millis(func(p *verdict.Point) float64 { return p.P50 })},
		curve{"p99", "p99", millis(func(p *verdict.Point) float64 { return p.P99 })},
		curve{"max", "max", millis(func(p *verdict.Point) float64 { return p.Max })})
	t.lines(a, "Pending", "short", unitCount, summaryMax,
		curve{"pending", "acknowledged, not yet at the destination", count(func(p *verdict.Point) uint64 { return p.Pending })})
	t.lines(a, "RPO", "short", unitSeconds, summaryMax,
		curve{"rpo", "age of the oldest pending record", of(func(p *verdict.Point) float64 { return p.RPOSeconds })})
	t.rows(a, "Anomalies",
		rows{"skipped", true, count(func(p *verdict.Point) uint64 { return p.Skipped })},
		rows{"duplicates", false, count(func(p *verdict.Point) uint64 { return p.Duplicates })},
		rows{"reordered", false, count(func(p *verdict.Point) uint64 { return p.Reordered })},
		rows{"corrupt", false, count(func(p *verdict.Point) uint64 { return p.Corrupt })},
		rows{"shed", false, count(func(p *verdict.Point) uint64 { return p.Shed })})
	t.lines(a, "Consumer lag", "short", unitCount, summaryMax,
		curve{"lag", "at the destination, not yet in a consumer's snapshot; those come once a second", count(func(p *verdict.Point) uint64 { return p.ConsumerLag })})

	if step > 1 {
		t.Note = fmt.Sprintf("Each step stands for %s; its smallest and its largest value are drawn.", human.Seconds(step))
	}
	return t
}

// curve is a series before it is drawn.
type curve struct {
	class, name string
	points      []point
}

type summary int

const (
	summaryMax summary = iota
	summaryMean
)

// lines adds a chart of lines. Latency has a logarithmic axis.
func (t *timeline) lines(a axis, name, kind, unit string, sum summary, curves ...curve) {
	format := formatOf(unit)
	low, high := math.Inf(1), 0.0
	for _, c := range curves {
		for _, p := range c.points {
			if p.v > 0 && !math.IsInf(p.v, 0) {
				low, high = math.Min(low, p.v), math.Max(high, p.v)
			}
		}
	}
	out := chart{Index: len(t.Charts), Name: name, Kind: kind}
	var s scale
	switch {
	case unit == unitMillis:
		s, out.Y = logarithmic(low, high, decade)
	case high == 0 && len(curves) == 1:
		out.Kind = "flat"
		s, out.Y = linear(4, format)
	case unit == unitSeconds:
		s, out.Y = linear(math.Max(high, 1), format)
	default:
		s, out.Y = linear(math.Max(high, 4), format)
	}
	var figs []json.RawMessage
	for i, c := range curves {
		b := downsample(a, c.points)
		path, area := line(a, s, b)
		x := series{Class: c.class, Name: c.name, Line: path}
		// One area a chart: several would hide one another.
		if len(curves) == 1 || unit == unitBytes && i == len(curves)-1 {
			x.Area = area
		}
		x.Summary = summarise(c.points, sum, format)
		out.Series = append(out.Series, x)
		figs = append(figs, figures(b, false))
		out.Title += fmt.Sprintf("; %s: %s", c.name, x.Summary)
	}
	out.Title = name + " over time" + out.Title
	t.add(out, unit, figs)
}

func (t *timeline) add(c chart, unit string, figs []json.RawMessage) {
	t.Charts = append(t.Charts, c)
	t.Data.Figures = append(t.Data.Figures, figs)
	t.Data.Units = append(t.Data.Units, unit)
}

func summarise(points []point, sum summary, format func(float64) string) string {
	top, over := math.Inf(-1), false
	first, last, total := -1, -1, 0.0
	for i, p := range points {
		switch {
		case math.IsInf(p.v, 1):
			over = true
			continue
		case math.IsNaN(p.v):
			continue
		}
		top = math.Max(top, p.v)
		total += p.v
		if p.v != 0 {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	switch {
	case over:
		return "max never"
	case first < 0:
		return "0 throughout"
	case sum == summaryMean:
		// Over the time in which there was any.
		return "mean " + format(total/(points[last].t-points[first].t+1))
	default:
		return "max " + format(top)
	}
}

// rows are bars in a row of their own.
type rows struct {
	name   string
	state  bool // the values are a state, not a count of that second
	points []point
}

// rows adds a chart with one row of bars for each kind of anomaly.
func (t *timeline) rows(a axis, name string, in ...rows) {
	out := chart{Index: len(t.Charts), Name: name, Kind: "rows", Title: name + " over time"}
	var figs []json.RawMessage
	size := 1 / float64(len(in))
	quiet := true
	for i, r := range in {
		b := downsample(a, r.points)
		bottom := 1 - float64(i+1)*size
		value := func(b bucket) float64 { return b.sum.v }
		if r.state {
			value = func(b bucket) float64 { return b.hi.v }
		}
		x := series{Class: r.name, Name: r.name, Summary: "none", Bars: bars(a, b, value, bottom, size*0.8)}
		total, top := 0.0, 0.0
		for _, p := range r.points {
			total += p.v
			top = math.Max(top, p.v)
		}
		quiet = quiet && top == 0
		switch {
		case top > 0 && r.state:
			x.Summary = "up to " + human.Count(uint64(top)) + " at once"
		case top > 0:
			x.Summary = human.Count(uint64(total))
		}
		out.Series = append(out.Series, x)
		out.Y = append(out.Y, label{At: round2(100 * (bottom + size*0.4)), Text: r.name})
		figs = append(figs, figures(b, !r.state))
		out.Title += fmt.Sprintf("; %s: %s", r.name, x.Summary)
	}
	if quiet {
		out.Kind = "flat"
	}
	t.add(out, unitCount, figs)
}

// events numbers the events and finds room for their names above the charts.
func (t *timeline) events(a axis, d *verdict.Document) {
	in := slices.Clone(d.Events)
	slices.SortStableFunc(in, func(x, y verdict.Event) int { return cmp.Compare(x.Time, y.Time) })
	const lanes = 3
	var free [lanes]float64 // from where on a lane is free, in percent
	for i := range in[:min(len(in), maxEvents)] {
		e := &in[i]
		at := float64(e.Time) / 1e6
		x := event{Number: i + 1, Kind: clip(e.Kind, 100), Side: clip(e.Side, 100), Detail: clip(e.Detail, 500), Time: clock(e.Time),
			Elapsed: elapsed(at - t.Data.Start), Drawn: a.contains(at)}
		if x.Drawn {
			x.X = a.percent(at)
			// About 0.65 % of the width a letter, on a desktop's screen.
			room := 3.5 + 0.65*float64(utf8.RuneCountInString(x.Kind))
			x.Flip = x.X+room > 100
			from, to := x.X-1, x.X+room
			if x.Flip {
				from, to = x.X-room, x.X+1
			}
			x.Lane = -1
			for lane := range free {
				if free[lane] <= from {
					x.Lane = lane
					break
				}
			}
			if x.Lane < 0 {
				x.Lane, x.Bare = lanes-1, true
			} else {
				free[x.Lane] = to
			}
			t.Lanes = max(t.Lanes, x.Lane+1)
		}
		t.Events = append(t.Events, x)
	}
	t.EventsNote = left(len(t.Events), len(in), "events")
}

// elapsed writes a time since the test's begin: "+1:02:03".
func elapsed(seconds float64) string {
	if seconds < 0 {
		return human.Elapsed(seconds)
	}
	return "+" + human.Elapsed(seconds)
}

// recoveries shades the time in which the system had not recovered; where
// several events overlap, once.
func (t *timeline) recoveries(a axis, v *verdict.Verdict) {
	type span struct{ from, to float64 }
	var spans []span
	for _, r := range v.Recoveries {
		from, to := float64(r.At)/1e6, a.to
		if r.Recovered {
			to = from + r.Seconds
		}
		if from, to = math.Max(from, a.from), math.Min(to, a.to); from < to {
			spans = append(spans, span{from, to})
		}
	}
	slices.SortFunc(spans, func(x, y span) int { return cmp.Compare(x.from, y.from) })
	for _, s := range spans {
		x, end := int(math.Round(a.x(s.from))), int(math.Round(a.x(s.to)))
		if n := len(t.Bands); n > 0 && x <= t.Bands[n-1].X+t.Bands[n-1].Width {
			last := &t.Bands[n-1]
			last.Width = max(last.Width, end-last.X)
			continue
		}
		t.Bands = append(t.Bands, band{X: x, Width: max(2, end-x)})
	}
}

// outages shows when which partition stood still.
type outages struct {
	Times []label
	Rows  []outageRow
	Area  string // how many partitions stood still at once
	Most  int
	All   int
	Note  string
}

type outageRow struct {
	Name, Facts string
	Bars        []outageBar
}

type outageBar struct {
	X, Width float64 // percent
	Title    string
}

func newOutages(d *verdict.Document) *outages {
	a, ok := axisOf(d)
	if !ok {
		return nil
	}
	type row struct {
		topic string
		p     *verdict.Partition
	}
	var in []row
	out := &outages{Times: timeLabels(a)}
	const n = buckets
	step := (a.to - a.from) / n
	still := make([]int, n+1) // differences
	for i := range d.Verdict.Topics {
		t := &d.Verdict.Topics[i]
		out.All += len(t.Partitions)
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if len(p.Outages) == 0 {
				continue
			}
			in = append(in, row{t.Name, p})
			// A partition counts once in a step, however many of its outages touch it.
			counted := -1
			sorted := slices.Clone(p.Outages)
			slices.SortFunc(sorted, func(x, y verdict.Outage) int { return cmp.Compare(x.From, y.From) })
			for _, o := range sorted {
				from, to, ok := clipTo(a, o)
				if !ok {
					continue
				}
				first := max(counted+1, min(n-1, int((from-a.from)/step)))
				last := min(n-1, int((to-a.from)/step))
				if first <= last {
					still[first]++
					still[last+1]--
					counted = last
				}
			}
		}
	}
	if len(in) == 0 {
		return nil
	}
	slices.SortStableFunc(in, func(x, y row) int { return cmp.Compare(y.p.OutageSeconds, x.p.OutageSeconds) })
	shown := in[:min(len(in), maxOutageRows)]
	for _, r := range shown {
		x := outageRow{Name: fmt.Sprintf("%s/%d", clip(r.topic, 300), r.p.Partition),
			Facts: fmt.Sprintf("%s, %s in total", human.Plural(max(r.p.OutageCount, uint64(len(r.p.Outages))), "outage", "outages"), human.Seconds(r.p.OutageSeconds))}
		for _, o := range r.p.Outages {
			if from, to, ok := clipTo(a, o); ok {
				x.Bars = append(x.Bars, outageBar{X: a.percent(from), Width: math.Max(0.15, round2(a.percent(to)-a.percent(from))),
					Title: fmt.Sprintf("%s: %s, %s to %s UTC", x.Name, human.Seconds(float64(o.To-o.From)/1e6), clock(o.From), clock(o.To))})
			}
		}
		out.Rows = append(out.Rows, x)
	}
	out.Note = left(len(shown), len(in), "partitions with outages, those that stood still longest first")

	var p pathBuilder
	p.move(0, height)
	now := 0
	for _, change := range still[:n] {
		now += change
		out.Most = max(out.Most, now)
	}
	now = 0
	for i, change := range still[:n] {
		now += change
		y := height * (1 - float64(now)/float64(max(1, out.Most)))
		p.to(a.x(a.from+float64(i)*step), y)
		p.to(math.Min(width, a.x(a.from+float64(i+1)*step)), y)
	}
	p.to(width, height)
	p.close()
	out.Area = p.String()
	return out
}

// clipTo returns the part of the outage on the axis, in Unix seconds.
func clipTo(a axis, o verdict.Outage) (from, to float64, ok bool) {
	from, to = math.Max(a.from, float64(o.From)/1e6), math.Min(a.to, float64(o.To)/1e6)
	return from, to, from < to
}
