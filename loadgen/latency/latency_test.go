package latency

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// Quantiles of a merged histogram agree with those of the sorted values.
func TestQuantilesOfMergedHistograms(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 2))
		parts := []*Histogram{New(), New(), New()}
		var values []int64
		for range 1 + r.IntN(3000) {
			v := int64(r.ExpFloat64() * 30_000)
			if r.IntN(20) == 0 {
				v = -v
			}
			values = append(values, v)
			parts[r.IntN(len(parts))].Record(v)
		}
		merged := New()
		for _, p := range parts {
			merged.Merge(p.Sparse())
		}
		slices.Sort(values)
		if merged.Count() != int64(len(values)) {
			t.Fatalf("seed %d: %d counted, want %d", seed, merged.Count(), len(values))
		}
		for _, q := range []float64{0, 0.01, 0.05, 0.5, 0.9, 0.99, 0.9999, 1} {
			want := float64(values[max(1, int(math.Ceil(q*float64(len(values)))))-1])
			got := merged.Quantile(q)
			if math.Abs(got-want) > 0.021*math.Abs(want)+2 {
				t.Errorf("seed %d: quantile %v is %v, want %v", seed, q, got, want)
			}
		}
	}
}

func TestOverRangeStandsAboveAll(t *testing.T) {
	h := New()
	for range 98 {
		h.Record(1000)
	}
	h.AddOverRange(2)
	if got := h.Quantile(0.98); got < 990 || got > 1010 {
		t.Errorf("p98 is %v", got)
	}
	p := h.Percentiles()
	if p.P99 != OverRange || p.Max != OverRange || p.Count != 100 {
		t.Errorf("got %+v", p)
	}
}

func TestEmptyAndExtreme(t *testing.T) {
	h := New()
	if !math.IsNaN(h.Quantile(0.5)) || h.Percentiles() != (Percentiles{}) {
		t.Error("an empty histogram has a quantile")
	}
	h.Record(math.MaxInt64)
	h.Record(0)
	if h.Count() != 2 || h.Quantile(0.5) != 0 {
		t.Errorf("count %d, p50 %v", h.Count(), h.Quantile(0.5))
	}
}

func BenchmarkRecord(b *testing.B) {
	b.ReportAllocs()
	h := New()
	for i := range b.N {
		h.Record(int64(i))
	}
}
