package report

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
)

const (
	// buckets is how many time steps a chart has at most. Each keeps its smallest
	// and its largest value, so that no peak is lost.
	buckets = 500
	// The drawing area, in the user units of the SVG. It is stretched to the
	// width of the page, so text is not part of it.
	width, height = 2000, 1000
)

// axis is the time axis that all charts share, in Unix seconds.
type axis struct{ from, to float64 }

// x places a time in the drawing area.
func (a axis) x(t float64) float64 { return (t - a.from) / (a.to - a.from) * width }

// percent places a time in percent of the axis.
func (a axis) percent(t float64) float64 { return round2((t - a.from) / (a.to - a.from) * 100) }

func (a axis) contains(t float64) bool { return t >= a.from && t <= a.to }

// steps is how many buckets the axis has, and how long each is in seconds. A
// bucket is a whole number of seconds, since points are.
func (a axis) steps() (n int, seconds float64) {
	seconds = math.Max(1, math.Ceil((a.to-a.from)/buckets))
	return max(1, int(math.Ceil((a.to-a.from)/seconds))), seconds
}

func round2(v float64) float64 { return math.Round(v*100) / 100 }

// label is text beside an axis, At in percent of it.
type label struct {
	At   float64
	Text string
}

// point is one value of a series; NaN where there is none.
type point struct{ t, v float64 }

// bucket holds the extremes of a time step. The first of them in time is lo
// if rising.
type bucket struct {
	lo, hi, sum point
	rising      bool
	n           int
}

// downsample sorts points into the steps of the axis. Steps without a value
// have n = 0. Points need not be in order of time.
func downsample(a axis, points []point) []bucket {
	n, seconds := a.steps()
	out := make([]bucket, n)
	for _, p := range points {
		if math.IsNaN(p.v) || p.t < a.from || p.t >= a.to {
			continue
		}
		b := &out[min(n-1, int((p.t-a.from)/seconds))]
		if b.n == 0 {
			b.lo, b.hi = p, p
		}
		if p.v < b.lo.v {
			b.lo = p
		}
		if p.v > b.hi.v {
			b.hi = p
		}
		b.sum.v += p.v
		b.n++
		b.rising = b.lo.t <= b.hi.t
	}
	return out
}

// scale turns a value into a share (0..1) of the height.
type scale func(v float64) float64

func clamp01(v float64) float64 { return math.Min(1, math.Max(0, v)) }

// linear returns a scale from 0 to a round number at or above top, with labels.
func linear(top float64, format func(float64) string) (scale, []label) {
	if !(top > 0) || math.IsInf(top, 0) {
		top = 1
	}
	step := niceStep(top / 4)
	end := math.Ceil(top/step-1e-9) * step
	var labels []label
	for i := 0; float64(i)*step <= end*(1+1e-9); i++ {
		v := float64(i) * step
		text := "0"
		if i > 0 {
			text = format(v)
		}
		labels = append(labels, label{At: round2(v / end * 100), Text: text})
	}
	return func(v float64) float64 { return clamp01(v / end) }, labels
}

// niceStep returns 1, 2, 2.5 or 5 times a power of ten, at or above v.
func niceStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 2.5, 5} {
		if v <= m*power*(1+1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// logarithmic returns a scale over whole decades that holds low and high. What
// is below it lies on its floor.
func logarithmic(low, high float64, format func(float64) string) (scale, []label) {
	if !(low > 0) || !(high >= low) || math.IsInf(high, 0) {
		low, high = 1, 10
	}
	from, to := math.Floor(math.Log10(low)+1e-9), math.Ceil(math.Log10(high)-1e-9)
	if to <= from {
		to = from + 1
	}
	every := math.Max(1, math.Ceil((to-from)/5))
	var labels []label
	for d := from; d <= to; d += every {
		labels = append(labels, label{At: round2((d - from) / (to - from) * 100), Text: format(math.Pow(10, d))})
	}
	return func(v float64) float64 {
		if v <= 0 {
			return 0
		}
		return clamp01((math.Log10(v) - from) / (to - from))
	}, labels
}

// decade labels a power of ten of milliseconds: 100 s, and not 1 min 40 s.
func decade(ms float64) string {
	if ms >= 1e5 && ms <= 1e6 {
		return human.Count(uint64(math.Round(ms/1e3))) + " s"
	}
	return human.Millis(ms)
}

// line returns the path of a series, broken where seconds are missing.
func line(a axis, s scale, in []bucket) (path, area string) {
	_, seconds := a.steps()
	var p, q pathBuilder
	var last point
	open := false
	end := func() {
		if open {
			q.to(a.x(last.t), height)
			q.close()
		}
		open = false
	}
	for _, b := range in {
		if b.n == 0 {
			continue
		}
		two := []point{b.lo, b.hi}
		if !b.rising {
			slices.Reverse(two)
		}
		if b.lo == b.hi {
			two = two[:1]
		}
		for _, x := range two {
			y := height * (1 - s(x.v))
			switch {
			case !open || x.t-last.t > math.Max(2.5, 2.5*seconds):
				end()
				p.move(a.x(x.t), y)
				p.to(a.x(x.t), y) // a point of its own is a dot
				q.move(a.x(x.t), height)
				q.to(a.x(x.t), y)
				open = true
			default:
				p.to(a.x(x.t), y)
				q.to(a.x(x.t), y)
			}
			last = x
		}
	}
	end()
	return p.String(), q.String()
}

// bars returns the path of vertical bars from bottom upwards, all in shares of
// the height. What is not zero is at least a sixth of size high: one record in
// a thousand must be seen.
func bars(a axis, in []bucket, value func(bucket) float64, bottom, size float64) string {
	top := 0.0
	for _, b := range in {
		top = math.Max(top, value(b))
	}
	var p pathBuilder
	_, seconds := a.steps()
	for i, b := range in {
		v := value(b)
		if b.n == 0 || !(v > 0) {
			continue
		}
		share := math.Max(1.0/6, math.Log1p(v)/math.Log1p(top))
		x := a.x(a.from + (float64(i)+0.5)*seconds)
		p.move(x, height*(1-bottom))
		p.to(x, height*(1-bottom-size*share))
	}
	return p.String()
}

// pathBuilder writes the d attribute of an SVG path, in whole user units.
type pathBuilder struct{ strings.Builder }

func (p *pathBuilder) op(c byte, x, y float64) {
	p.WriteByte(c)
	p.WriteString(strconv.Itoa(int(math.Round(x))))
	p.WriteByte(' ')
	p.WriteString(strconv.Itoa(int(math.Round(y))))
}
func (p *pathBuilder) move(x, y float64) { p.op('M', x, y) }
func (p *pathBuilder) to(x, y float64)   { p.op('L', x, y) }
func (p *pathBuilder) close()            { p.WriteByte('Z') }

// figures are the values that a chart shows under the pointer: one number for
// each step, or two (smallest, largest) where they differ.
func figures(in []bucket, sum bool) json.RawMessage {
	var b strings.Builder
	number := func(v float64) string {
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return "null"
		}
		if v == math.Trunc(v) && math.Abs(v) < 1e15 && sum {
			return strconv.FormatFloat(v, 'f', -1, 64)
		}
		return strconv.FormatFloat(v, 'g', 4, 64)
	}
	b.WriteByte('[')
	for i, x := range in {
		if i > 0 {
			b.WriteByte(',')
		}
		switch {
		case x.n == 0:
			b.WriteString("null")
		case sum:
			b.WriteString(number(x.sum.v))
		case x.lo.v == x.hi.v:
			b.WriteString(number(x.lo.v))
		default:
			b.WriteString("[" + number(x.lo.v) + "," + number(x.hi.v) + "]")
		}
	}
	b.WriteByte(']')
	return json.RawMessage(b.String())
}

// timeLabels returns about eight round times on the axis, in UTC.
func timeLabels(a axis) []label {
	span := a.to - a.from
	step := 86400.0
	for _, s := range []float64{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400} {
		if span/s <= 9 {
			step = s
			break
		}
	}
	for span/step > 9 {
		step *= 2
	}
	layout := "15:04"
	switch {
	case step < 60:
		layout = "15:04:05"
	case step >= 86400:
		layout = "Jan 2"
	}
	var out []label
	for t := math.Ceil(a.from/step) * step; t <= a.to && len(out) < 12; t += step {
		out = append(out, label{At: a.percent(t), Text: unix(t).Format(layout)})
	}
	return out
}

func formatOf(unit string) func(float64) string {
	switch unit {
	case unitBytes:
		return func(v float64) string { return human.Bytes(v) + "/s" }
	case unitRecords:
		return func(v float64) string { return human.Rounded(v) + "/s" }
	case unitMillis:
		return human.Millis
	case unitSeconds:
		return human.Seconds
	default:
		return human.Rounded
	}
}

// Units of charts.
const (
	unitBytes   = "bytes"
	unitRecords = "records"
	unitMillis  = "ms"
	unitSeconds = "s"
	unitCount   = "count"
)
