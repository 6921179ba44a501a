package lab

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// What a load tool must not use more and more of.
const (
	memory     = "memory"
	goroutines = "goroutines"
	openFiles  = "open files"
	disk       = "disk"
)

// sample is how large a process was at a time, in seconds.
type sample struct {
	At     float64
	Values map[string]float64
}

func span(series []sample) float64 {
	if len(series) == 0 {
		return 0
	}
	return series[len(series)-1].At - series[0].At
}

// growth is by how much a process grew over a time, and how much it may have: a share of what it had, or a small
// number if that is more.
type growth struct {
	Tool    string  `json:"tool"`
	Of      string  `json:"of"`
	Median  float64 `json:"median"`
	Grown   float64 `json:"grown"` // the slope, times the time
	Allowed float64 `json:"allowed"`
	Seconds float64 `json:"seconds"`
	TooMuch bool    `json:"too_much"`
}

func (g growth) String() string {
	return fmt.Sprintf("%s: %s %.0f, grown by %.0f in %.0f s, allowed %.0f", g.Tool, g.Of, g.Median, g.Grown, g.Seconds, g.Allowed)
}

// warmUp is the part of a life that does not count, in seconds: a third of it, at most a minute.
const warmUp = 60.0

// growths tells how a process grew after it had warmed up. The slope is the median of those between all pairs of
// samples (Theil and Sen's), which neither a garbage collection nor a burst after a pause moves, and which does not
// depend on how fast the machine is.
func growths(tool string, series []sample) []growth {
	if len(series) == 0 {
		return nil
	}
	from := series[0].At + min(warmUp, span(series)/3)
	series = slices.DeleteFunc(slices.Clone(series), func(x sample) bool { return x.At < from })
	var out []growth
	for _, of := range []struct {
		name         string
		floor, share float64
	}{{memory, 32 << 20, 0.25}, {goroutines, 16, 0.25}, {openFiles, 16, 0.25}, {disk, 32 << 20, 0}} {
		var all, slopes []float64
		var xs, ys []float64
		for _, x := range series {
			if v, ok := x.Values[of.name]; ok {
				xs, ys, all = append(xs, x.At), append(ys, v), append(all, v)
			}
		}
		for i := range xs {
			for j := i + 1; j < len(xs); j++ {
				if xs[j] > xs[i] {
					slopes = append(slopes, (ys[j]-ys[i])/(xs[j]-xs[i]))
				}
			}
		}
		g := growth{Tool: tool, Of: of.name, Median: median(all), Grown: median(slopes) * span(series), Seconds: span(series)}
		g.Allowed = max(of.floor, of.share*g.Median)
		// Nothing measured is nothing shown.
		g.TooMuch = g.Grown > g.Allowed || len(slopes) == 0
		out = append(out, g)
	}
	return out
}

func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// A leak is found among noise, and noise is not taken for one.
func TestGrowth(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	series := func(leak map[string]float64) []sample { // in all, over ten minutes
		var out []sample
		for at := 0.0; at < 600; at += 2 {
			x := sample{At: at, Values: map[string]float64{
				memory: 60<<20 + 30<<20*dice.Float64(), goroutines: 40 + 10*dice.Float64(), openFiles: 20 + 10*dice.Float64(), disk: 1 << 20,
			}}
			if at < 50 {
				x.Values[memory] *= at / 50 // it warms up
			}
			if dice.IntN(20) == 0 {
				x.Values[memory] *= 4 // a burst
				x.Values[goroutines] *= 10
			}
			for of, n := range leak {
				x.Values[of] += n * at / 600
			}
			if dice.IntN(10) == 0 {
				delete(x.Values, goroutines) // it did not answer
			}
			out = append(out, x)
		}
		return out
	}
	for leak, amount := range map[string]float64{"": 0, memory: 60 << 20, goroutines: 40, openFiles: 40, disk: 100 << 20} {
		for _, g := range growths("tool", series(map[string]float64{leak: amount})) {
			if g.TooMuch != (g.Of == leak) {
				t.Errorf("with a leak of %q: %s, too much: %t", leak, g, g.TooMuch)
			}
		}
	}
	for _, g := range growths("tool", []sample{{At: 1}, {At: 2}}) {
		if !g.TooMuch {
			t.Errorf("nothing was measured of %s, and that is fine", g.Of)
		}
	}
}
