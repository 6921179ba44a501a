package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/grafana/grafana-foundation-sdk/go/units"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"github.com/AppsFlyer/kafka-mirror-tester/dashboards"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

// Sizes of a picture, in points at 96 to the inch.
const (
	width        = 1280 * vg.Inch / 96
	graphHeight  = 230 * vg.Inch / 96
	numberHeight = 84 * vg.Inch / 96
	headHeight   = 30 * vg.Inch / 96
	margin       = 8 * vg.Inch / 96
	lineHeight   = 13 * vg.Inch / 96
	barHeight    = 17 * vg.Inch / 96
	mostLegends  = 12
	mostColours  = 64
)

// colours of lines, for people who see them all and for those who do not: Okabe and Ito's, and darker ones.
var colours = []color.Color{
	color.RGBA{0, 114, 178, 255}, color.RGBA{213, 94, 0, 255}, color.RGBA{0, 158, 115, 255}, color.RGBA{204, 121, 167, 255},
	color.RGBA{86, 180, 233, 255}, color.RGBA{230, 159, 0, 255}, color.RGBA{90, 90, 90, 255}, color.RGBA{120, 80, 160, 255},
	color.RGBA{140, 90, 40, 255}, color.RGBA{0, 90, 70, 255}, color.RGBA{170, 170, 60, 255}, color.RGBA{150, 30, 70, 255},
}

var (
	ink        = color.RGBA{40, 40, 40, 255}
	faint      = color.RGBA{225, 225, 225, 255}
	eventInk   = color.RGBA{190, 0, 0, 255}
	nothingInk = color.RGBA{150, 150, 150, 255}
	named      = map[string]color.Color{"green": color.RGBA{0, 130, 80, 255}, "orange": color.RGBA{200, 120, 0, 255}, "red": color.RGBA{200, 20, 20, 255}}
	emptyText  = "no data"
	quietText  = "none" // where all is well if there is nothing
)

// event is a fault or a step.
type event struct {
	at   time.Time
	name string
}

// drawn is a panel with its data.
type drawn struct {
	panel  dashboards.Panel
	series []series
	x, y   vg.Length // of the upper left corner, from the top
	w, h   vg.Length
}

// Render draws a dashboard as PNG. Panels that the lab or a cluster without Kubernetes cannot have are drawn
// if there is data, and left out else.
func Render(ctx context.Context, p *Prometheus, b dashboards.Board, r Range, out io.Writer) error {
	if !r.To.After(r.From) {
		return errors.New("a picture needs a time that begins before it ends")
	}
	if err := p.reach(ctx); err != nil {
		return err
	}
	if err := p.chosen(ctx, &b, r); err != nil {
		return err
	}
	events, err := p.events(ctx, r)
	if err != nil {
		return err
	}
	var panels []drawn
	type heading struct {
		title string
		y     vg.Length
	}
	var headings []heading
	y := headHeight + margin
	for _, row := range b.Rows {
		var inRow []drawn
		for _, panel := range row.Panels {
			d := drawn{panel: panel}
			for _, q := range panel.Queries {
				found, err := p.query(ctx, &b, q, r)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", b.Title, panel.Title, err)
				}
				d.series = append(d.series, found...)
			}
			if panel.Elsewhere != "" && len(d.series) == 0 {
				continue
			}
			inRow = append(inRow, d)
		}
		if len(inRow) == 0 {
			continue
		}
		headings = append(headings, heading{row.Title, y})
		y += headHeight * 3 / 4
		x, tallest, line := vg.Length(0), vg.Length(0), len(panels)
		for _, d := range inRow {
			d.w = width * vg.Length(d.panel.Width) / 24
			d.h = graphHeight + vg.Length(legendLines(&d))*lineHeight
			switch d.panel.Kind {
			case dashboards.Number:
				d.h = numberHeight
			case dashboards.States:
				d.h = max(graphHeight, vg.Length(len(d.series))*barHeight+3*lineHeight)
			}
			if x+d.w > width+1 {
				level(panels[line:], tallest)
				x, y, tallest, line = 0, y+tallest, 0, len(panels)
			}
			d.x, d.y = x, y
			x += d.w
			tallest = max(tallest, d.h)
			panels = append(panels, d)
		}
		level(panels[line:], tallest)
		y += tallest + margin
	}
	if !slices.ContainsFunc(panels, func(d drawn) bool { return len(d.series) > 0 }) {
		return fmt.Errorf("dashboard %s: Prometheus has no data for any panel between %s and %s: %s",
			b.Name, r.From.Format(time.RFC3339), r.To.Format(time.RFC3339), p.choices(ctx, &b, r))
	}
	height := y
	img := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(110), vgimg.UseBackgroundColor(color.White))
	canvas := draw.New(img)
	write(canvas, margin, height-headHeight*2/3, 14, ink, b.Title)
	span := fmt.Sprintf("%s to %s UTC", r.From.UTC().Format("2006-01-02 15:04:05"), r.To.UTC().Format("15:04:05"))
	writeRight(canvas, width-margin, height-headHeight*2/3, 10, ink, span)
	for _, h := range headings {
		write(canvas, margin, height-h.y-headHeight/2, 11, named["green"], h.title)
	}
	for i := range panels {
		d := &panels[i]
		if err := d.draw(canvas, height, r, events); err != nil {
			return fmt.Errorf("%s: %s: %w", b.Title, d.panel.Title, err)
		}
	}
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(out, fewColours(img.Image())); err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	return nil
}

// fewColours is the picture in 64 colours, which take a quarter of the space: those that it is drawn with, and
// the most frequent shades of them, which are at the edges of lines and letters.
func fewColours(from image.Image) image.Image {
	size := from.Bounds()
	counts := map[color.RGBA]int{}
	for y := size.Min.Y; y < size.Max.Y; y++ {
		for x := size.Min.X; x < size.Max.X; x++ {
			counts[rgba(from.At(x, y))]++
		}
	}
	most := slices.SortedFunc(maps.Keys(counts), func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B), cmp.Compare(a.A, b.A))
	})
	palette := color.Palette(slices.Concat([]color.Color{color.RGBA{255, 255, 255, 255}, ink, faint, eventInk, nothingInk}, colours, []color.Color{named["green"], named["orange"], named["red"]}))
	for _, c := range most {
		if len(palette) < mostColours && palette[palette.Index(c)] != color.Color(c) {
			palette = append(palette, c)
		}
	}
	nearest := map[color.RGBA]uint8{}
	for c := range counts {
		nearest[c] = uint8(palette.Index(c))
	}
	to := image.NewPaletted(size, palette)
	for y := size.Min.Y; y < size.Max.Y; y++ {
		for x := size.Min.X; x < size.Max.X; x++ {
			to.SetColorIndex(x, y, nearest[rgba(from.At(x, y))])
		}
	}
	return to
}

func rgba(c color.Color) color.RGBA {
	r, g, b, a := c.RGBA()
	return color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), uint8(a >> 8)}
}

// level gives graphs next to each other one height.
func level(line []drawn, height vg.Length) {
	for i := range line {
		if line[i].panel.Kind != dashboards.Number {
			line[i].h = height
		}
	}
}

// events are the faults and steps in a range, in order.
func (p *Prometheus) events(ctx context.Context, r Range) ([]event, error) {
	found, err := p.ask(ctx, dashboards.Destination, metrics.AuditorEvent, "{{"+metrics.LabelKind+"}} {{"+metrics.LabelSide+"}}", r)
	if err != nil {
		return nil, err
	}
	var out []event
	for _, s := range found {
		for i, pt := range s.points {
			at := time.UnixMicro(int64(pt.value * 1e6))
			if (i == 0 || pt.value != s.points[i-1].value) && !at.Before(r.From) && !at.After(r.To) {
				out = append(out, event{at, strings.TrimSpace(s.legend)})
			}
		}
	}
	slices.SortFunc(out, func(a, b event) int { return a.at.Compare(b.at) })
	return out, nil
}

// legends of a graph; one without a name needs none.
func legends(d *drawn) []string {
	var out []string
	if d.panel.Kind == dashboards.States {
		return nil // each bar has its own beside it
	}
	for _, s := range d.series {
		if s.legend != "" || len(d.series) > 1 {
			out = append(out, cmp.Or(s.legend, "value"))
		}
	}
	if len(out) > mostLegends {
		rest := len(out) - mostLegends + 1
		out = append(out[:mostLegends-1], fmt.Sprintf("and %d more", rest))
	}
	return out
}

// legendColumns is how many legends stand next to each other.
func legendColumns(d *drawn) int {
	longest := 1
	for _, l := range legends(d) {
		longest = max(longest, len(l))
	}
	return max(1, int(d.w/(vg.Points(float64(longest)*4.7)+vg.Points(26))))
}

func legendLines(d *drawn) int {
	n := len(legends(d))
	columns := legendColumns(d)
	return (n + columns - 1) / columns
}

func (d *drawn) draw(canvas draw.Canvas, height vg.Length, r Range, events []event) error {
	top := height - d.y
	area := draw.Canvas{Canvas: canvas.Canvas, Rectangle: vg.Rectangle{
		Min: vg.Point{X: d.x + margin/2, Y: top - d.h + margin/2},
		Max: vg.Point{X: d.x + d.w - margin/2, Y: top - margin/2},
	}}
	frame(area)
	write(area, area.Min.X+margin/2, area.Max.Y-12, 9, ink, d.panel.Title)
	if len(d.series) == 0 {
		nothing := emptyText
		if d.panel.Quiet() {
			nothing = quietText
		}
		write(area, area.Min.X+margin/2, area.Min.Y+area.Size().Y/2-6, 9, nothingInk, nothing)
		return nil
	}
	switch d.panel.Kind {
	case dashboards.Number:
		return d.number(area)
	case dashboards.States:
		d.states(area, r, events)
		return nil
	}
	return d.graph(area, r, events)
}

// number writes the last value of each series.
func (d *drawn) number(area draw.Canvas) error {
	last := d.series[0].points[len(d.series[0].points)-1]
	newest := d.series[0]
	for _, s := range d.series {
		if p := s.points[len(s.points)-1]; p.at.After(last.at) {
			last, newest = p, s
		}
	}
	shown := format(d.panel.Unit, last.value)
	if d.panel.ByName {
		shown = newest.legend
	}
	size := vg.Length(20)
	write(area, area.Min.X+margin, area.Min.Y+area.Size().Y/2-size*3/4, size, colourOf(&d.panel, last.value), shown)
	return nil
}

// colourOf is the colour of a value by the panel's thresholds.
func colourOf(p *dashboards.Panel, value float64) color.Color {
	var c color.Color = ink
	if len(p.Steps) > 0 {
		c = named["green"]
	}
	for _, s := range p.Steps {
		if value >= s.From {
			c = named[s.Color]
		}
	}
	return c
}

// overTime is a plot with time on its x axis.
func overTime(r Range, y plot.Ticker) *plot.Plot {
	pl := plot.New()
	pl.BackgroundColor = nil
	pl.X.Min, pl.X.Max = seconds(r.From), seconds(r.To)
	pl.X.Tick.Marker = clock{r}
	pl.Y.Tick.Marker = y
	for _, axis := range []*plot.Axis{&pl.X, &pl.Y} {
		axis.Tick.Label.Font.Variant, axis.Tick.Label.Font.Size = "Sans", 7
		axis.Tick.Label.Color, axis.Color, axis.Tick.Color = ink, faint, faint
		axis.Padding = 0
	}
	return pl
}

// mark draws faults and steps.
func mark(data draw.Canvas, pl *plot.Plot, events []event) {
	for i, e := range events {
		x := data.X(pl.X.Norm(seconds(e.at)))
		data.StrokeLine2(draw.LineStyle{Color: eventInk, Width: 0.8, Dashes: []vg.Length{3, 2}}, x, data.Min.Y, x, data.Max.Y)
		y := data.Max.Y - 8*vg.Length(1+i%3) // names next to each other stay readable
		if x+4+style(6.5, eventInk, text.XLeft).Width(e.name) > data.Max.X {
			writeRight(data, x-2, y, 6.5, eventInk, e.name)
		} else {
			write(data, x+2, y, 6.5, eventInk, e.name)
		}
	}
}

// states draws a bar for each series, as long as it is in a state, with the state's colour and name.
func (d *drawn) states(area draw.Canvas, r Range, events []event) {
	pl := overTime(r, names(d.series))
	pl.Y.Min, pl.Y.Max = 0, float64(len(d.series))
	inner := draw.Crop(area, margin/2, -margin, margin/2, -18)
	data := pl.DataCanvas(inner)
	pl.Draw(inner)
	for i, s := range d.series {
		top := data.Y(pl.Y.Norm(float64(len(d.series) - i)))
		height := min(barHeight, data.Size().Y/vg.Length(len(d.series)))
		top -= (data.Size().Y/vg.Length(len(d.series)) - height) / 2
		for _, b := range bars(s.points, r) {
			state := stateOf(&d.panel, b.value)
			box := vg.Rectangle{
				Min: vg.Point{X: data.X(pl.X.Norm(seconds(b.from))), Y: top - height + 1},
				Max: vg.Point{X: data.X(pl.X.Norm(seconds(b.to))), Y: top - 1},
			}
			data.FillPolygon(named[state.Color], []vg.Point{box.Min, {X: box.Max.X, Y: box.Min.Y}, box.Max, {X: box.Min.X, Y: box.Max.Y}})
			if wide := style(7, color.White, text.XLeft).Width(state.Name); wide+6 < box.Size().X {
				write(data, box.Min.X+3, box.Min.Y+(box.Size().Y-7)/2+1, 7, color.White, state.Name)
			}
		}
	}
	mark(data, pl, events)
}

// bar is how long a series has one value.
type bar struct {
	from, to time.Time
	value    float64
}

// bars are the times for which a series has each value. A sample counts until the next is due.
func bars(points []point, r Range) []bar {
	var out []bar
	for _, p := range points {
		to := p.at.Add(r.step())
		if to.After(r.To) {
			to = r.To
		}
		if last := len(out) - 1; last >= 0 && out[last].value == p.value && !p.at.After(out[last].to) {
			out[last].to = to
			continue
		}
		out = append(out, bar{p.at, to, p.value})
	}
	return out
}

func stateOf(p *dashboards.Panel, value float64) dashboards.State {
	for _, s := range p.States {
		if s.Value == value {
			return s
		}
	}
	return dashboards.State{Value: value, Name: format(p.Unit, value), Color: "orange"}
}

// names stand beside the bars of series, from the top.
type names []series

// Ticks implements plot.Ticker.
func (n names) Ticks(_, _ float64) []plot.Tick {
	var out []plot.Tick
	for i, s := range n {
		out = append(out, plot.Tick{Value: float64(len(n)-i) - 0.5, Label: s.legend})
	}
	return out
}

func (d *drawn) graph(area draw.Canvas, r Range, events []event) error {
	pl := overTime(r, scale{d.panel.Unit})
	low, high := math.Inf(1), math.Inf(-1)
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = faint, faint
	pl.Add(grid)
	for i, s := range d.series {
		for _, piece := range pieces(s.points, 3*r.step()) {
			line, err := plotter.NewLine(piece)
			if err != nil {
				return err
			}
			line.Color, line.Width = colours[i%len(colours)], 1.2
			if len(piece) == 1 {
				dot, err := plotter.NewScatter(piece)
				if err != nil {
					return err
				}
				dot.Color, dot.Radius, dot.Shape = line.Color, 1.2, draw.CircleGlyph{}
				pl.Add(dot)
			}
			pl.Add(line)
		}
		for _, p := range s.points {
			low, high = min(low, p.value), max(high, p.value)
		}
	}
	if m := d.panel.Min; m != nil {
		low = min(low, *m)
	}
	if m := d.panel.Max; m != nil {
		high = max(high, *m)
	}
	if high-low < 1e-9 {
		high = low + 1
	}
	pl.Y.Min, pl.Y.Max = low, high+(high-low)*0.06
	lines := legendLines(d)
	inner := draw.Crop(area, margin/2, -margin, margin/2+vg.Length(lines)*lineHeight, -18)
	data := pl.DataCanvas(inner)
	for _, s := range d.panel.Steps {
		if s.From > low && s.From < pl.Y.Max {
			pl.Add(across{s.From, named[s.Color]})
		}
	}
	pl.Draw(inner)
	mark(data, pl, events)
	columns := legendColumns(d)
	for i, l := range legends(d) {
		x := area.Min.X + margin + vg.Length(i%columns)*(area.Size().X-2*margin)/vg.Length(columns)
		y := area.Min.Y + margin/2 + vg.Length(lines-1-i/columns)*lineHeight
		area.StrokeLine2(draw.LineStyle{Color: colours[i%len(colours)], Width: 2}, x, y+3, x+12, y+3)
		write(area, x+16, y, 7.5, ink, l)
	}
	return nil
}

// pieces are the parts of a line between gaps.
func pieces(points []point, gap time.Duration) []plotter.XYs {
	var out []plotter.XYs
	for i, p := range points {
		if i == 0 || p.at.Sub(points[i-1].at) > gap {
			out = append(out, nil)
		}
		last := len(out) - 1
		out[last] = append(out[last], plotter.XY{X: seconds(p.at), Y: p.value})
	}
	return out
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// across is a threshold's line.
type across struct {
	value  float64
	colour color.Color
}

// Plot implements plot.Plotter.
func (a across) Plot(c draw.Canvas, pl *plot.Plot) {
	y := c.Y(pl.Y.Norm(a.value))
	c.StrokeLine2(draw.LineStyle{Color: a.colour, Width: 0.8}, c.Min.X, y, c.Max.X, y)
}

// clock marks round times.
type clock struct{ r Range }

// Ticks implements plot.Ticker.
func (c clock) Ticks(_, _ float64) []plot.Tick {
	span := c.r.To.Sub(c.r.From)
	step := 24 * time.Hour
	for _, s := range []time.Duration{10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour} {
		if span/s <= 7 {
			step = s
			break
		}
	}
	layout := "15:04"
	if step < time.Minute {
		layout = "15:04:05"
	}
	var out []plot.Tick
	for t := c.r.From.UTC().Truncate(step).Add(step); t.Before(c.r.To); t = t.Add(step) {
		out = append(out, plot.Tick{Value: seconds(t), Label: t.Format(layout)})
	}
	return out
}

// scale writes values with their unit.
type scale struct{ unit string }

// Ticks implements plot.Ticker.
func (s scale) Ticks(low, high float64) []plot.Tick {
	whole := 1.0 // what values are round multiples of
	if s.unit == units.BytesIEC {
		for whole*1024 <= high {
			whole *= 1024
		}
	}
	var out []plot.Tick
	for _, t := range (plot.DefaultTicks{}).Ticks(low/whole, high/whole) {
		if t.Label != "" {
			out = append(out, plot.Tick{Value: t.Value * whole, Label: format(s.unit, t.Value*whole)})
		}
	}
	return out
}

// format writes a value with its unit, as Grafana does, in short.
func format(unit string, v float64) string {
	sign := ""
	if v < 0 {
		sign = "-"
	}
	switch unit {
	case units.Seconds:
		a := math.Abs(v)
		switch {
		case a == 0:
			return "0 s"
		case a < 1e-3:
			return sign + human.Rounded(a*1e6) + " µs"
		case a < 1:
			return sign + human.Rounded(a*1e3) + " ms"
		case a < 120:
			return sign + human.Rounded(a) + " s"
		case a < 7200:
			return sign + human.Rounded(a/60) + " min"
		}
		return sign + human.Rounded(a/3600) + " h"
	case units.PercentUnit:
		return human.Rounded(v*100) + " %"
	case units.BytesIEC:
		a := math.Abs(v)
		for _, prefix := range []string{"", "Ki", "Mi", "Gi"} {
			if a < 1024 {
				return sign + human.Rounded(a) + " " + prefix + "B"
			}
			a /= 1024
		}
		return sign + human.Rounded(a) + " TiB"
	case units.BytesPerSecondSI:
		return sign + human.Bytes(math.Abs(v)) + "/s"
	case units.RecordsPerSecond, units.RequestsPerSecond, units.OpsPerSecond, units.PacketsPerSecond:
		return human.Rounded(v) + "/s"
	case units.Bool:
		if v == 0 {
			return "no"
		}
		return "yes"
	}
	return human.Rounded(v)
}

func style(size vg.Length, c color.Color, align text.XAlignment) draw.TextStyle {
	f := plot.DefaultFont
	f.Variant, f.Size = "Sans", font.Length(size)
	return draw.TextStyle{Color: c, Font: f, XAlign: align, Handler: plot.DefaultTextHandler}
}

func write(c draw.Canvas, x, y, size vg.Length, col color.Color, s string) {
	c.FillText(style(size, col, text.XLeft), vg.Point{X: x, Y: y}, s)
}

func writeRight(c draw.Canvas, x, y, size vg.Length, col color.Color, s string) {
	c.FillText(style(size, col, text.XRight), vg.Point{X: x, Y: y}, s)
}

func frame(c draw.Canvas) {
	c.StrokeLines(draw.LineStyle{Color: faint, Width: 0.8}, []vg.Point{
		c.Min, {X: c.Max.X, Y: c.Min.Y}, c.Max, {X: c.Min.X, Y: c.Max.Y}, c.Min,
	})
}
