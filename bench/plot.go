package main

import (
	"fmt"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// plots draws CPU by what grows, for each series.
func plots(r *result, dir string) error {
	for _, series := range []string{seriesProducers, seriesPartitions, seriesTopics, seriesSize} {
		lines := map[string]plotter.XYs{}
		var names []string
		for _, m := range r.Runs {
			if m.Series != series {
				continue
			}
			if !slices.Contains(names, m.Contender) {
				names = append(names, m.Contender)
			}
			y := m.cpuPerGB()
			if series == seriesSize {
				y = m.CPU * 1e9 / float64(m.Records) // a record's cost is what sizes compare by
			}
			lines[m.Contender] = append(lines[m.Contender], plotter.XY{X: float64(growthValue(m)), Y: y})
		}
		if len(names) == 0 {
			continue
		}
		p := plot.New()
		p.X.Label.Text = series
		p.Y.Label.Text = "CPU s/GB"
		if series == seriesSize {
			p.X.Label.Text, p.Y.Label.Text = "size of a message's value, B", "CPU ns a record"
		}
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
		p.Legend.Top = true
		var shown []any
		for _, name := range names {
			shown = append(shown, name, lines[name])
		}
		if err := plotutil.AddLinePoints(p, shown...); err != nil {
			return fmt.Errorf("plot %s: %w", series, err)
		}
		if err := p.Save(16*vg.Centimeter, 9*vg.Centimeter, filepath.Join(dir, "growth-"+series+".svg")); err != nil {
			return fmt.Errorf("plot %s: %w", series, err)
		}
	}
	return nil
}
