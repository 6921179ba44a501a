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
	heap       = "heap"
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

// growth is by how much a process grew in a life, after it had warmed up: the median of the last quarter of its samples
// less that of the first.
type growth struct {
	Tool    string  `json:"tool"`
	Of      string  `json:"of"`
	First   float64 `json:"first"`
	Last    float64 `json:"last"`
	Grown   float64 `json:"grown"`
	Allowed float64 `json:"allowed"`
	Seconds float64 `json:"seconds"` // of that life
	Samples int     `json:"samples"`
	TooMuch bool    `json:"too_much"`
}

func (g growth) String() string {
	if g.Samples < fewest {
		return fmt.Sprintf("%s: %s was measured %d times in %.0f s: whether it grows cannot be told", g.Tool, g.Of, g.Samples, g.Seconds)
	}
	return fmt.Sprintf("%s: %s grew from %.0f to %.0f in %.0f s, by more than the %.0f allowed", g.Tool, g.Of, g.First, g.Last, g.Seconds, g.Allowed)
}

const (
	// warmUp is the part of a life that does not count, in seconds: a third of it, at most a minute.
	warmUp = 60.0
	// fewest is how many samples can tell of growth.
	fewest = 8
)

// allowed is by how much a process may grow: a number whatever it has, or a share of what it had if that is more. The
// numbers are what a tool uses and gives back again: a consumer that reads what a fault has held up has it on its heap,
// and a tool has its connections and goroutines twice for a while. The heap is Go's goal for it, twice what the last
// collection has left. The memory of the process is bounded more widely: a consumer lets 64 MiB of garbage gather before it
// collects, which takes it minutes, and Go gives memory back only when there is time for it. The numbers do not depend on
// the time, so an hour finds leaks of 23 MB or 22 goroutines, and a minute finds gross ones alone.
func allowed() []struct {
	of           string
	floor, share float64
} {
	return []struct {
		of           string
		floor, share float64
	}{{memory, 128 << 20, 0.25}, {heap, 32 << 20, 0.25}, {goroutines, 16, 0.25}, {openFiles, 16, 0.25}, {disk, 32 << 20, 0}}
}

// growths tells how a process grew. A median is moved neither by a garbage collection nor by the burst after a pause, and
// quarters are those of the samples, so that one in which the process was stopped is not empty.
func growths(tool string, series []sample) []growth {
	if len(series) == 0 {
		return nil
	}
	from := series[0].At + min(warmUp, span(series)/3)
	var out []growth
	for _, x := range allowed() {
		var all []float64
		for _, s := range series {
			if v, ok := s.Values[x.of]; ok && s.At >= from {
				all = append(all, v)
			}
		}
		quarter := (len(all) + 3) / 4
		g := growth{Tool: tool, Of: x.of, First: median(all[:quarter]), Last: median(all[len(all)-quarter:]), Seconds: span(series), Samples: len(all)}
		g.Grown, g.Allowed = g.Last-g.First, max(x.floor, x.share*g.First)
		// Nothing measured is nothing shown.
		g.TooMuch = g.Grown > g.Allowed || g.Samples < fewest
		out = append(out, g)
	}
	return out
}

// measured says whether a life was seen often enough to tell how the process grew.
func measured(series []sample) bool {
	all := growths("", series)
	return len(all) > 0 && !slices.ContainsFunc(all, func(g growth) bool { return g.Samples < fewest })
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
	series := func(leak map[string]float64, begins float64) []sample { // in all, over ten minutes
		var out []sample
		for at := 0.0; at < 600; at += 2 {
			x := sample{At: at, Values: map[string]float64{
				memory: 60<<20 + 30<<20*dice.Float64(), heap: 20<<20 + 10<<20*dice.Float64(), goroutines: 40 + 10*dice.Float64(), openFiles: 20 + 10*dice.Float64(), disk: 1 << 20,
			}}
			if at < 50 {
				x.Values[memory] *= at / 50 // it warms up
			}
			if dice.IntN(20) == 0 {
				x.Values[memory] *= 4 // a burst
				x.Values[goroutines] *= 10
			}
			for of, n := range leak {
				x.Values[of] += n * max(0, at-begins) / (600 - begins)
			}
			if dice.IntN(10) == 0 {
				delete(x.Values, goroutines) // it did not answer
			}
			if at < 300 || at > 360 { // it was stopped
				out = append(out, x)
			}
		}
		return out
	}
	for leak, amount := range map[string]float64{"": 0, memory: 300 << 20, heap: 60 << 20, goroutines: 40, openFiles: 40, disk: 100 << 20} {
		for _, begins := range []float64{0, 400} {
			for _, g := range growths("tool", series(map[string]float64{leak: amount}, begins)) {
				if g.TooMuch != (g.Of == leak) {
					t.Errorf("with a leak of %q from %.0f s on: %s, too much: %t", leak, begins, g, g.TooMuch)
				}
			}
		}
	}
	few := series(nil, 0)[:fewest]
	if measured(few) || measured(nil) {
		t.Error("a few samples are taken for enough")
	}
	for _, g := range growths("tool", few) {
		if !g.TooMuch {
			t.Errorf("%s was measured %d times, and that is fine", g.Of, g.Samples)
		}
	}
}
