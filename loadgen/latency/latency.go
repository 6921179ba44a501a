// Package latency measures how late records arrive: histograms that merge
// without loss over partitions, processes and time.
package latency

import (
	"fmt"
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Values are recorded in microseconds between 1 and MaxValue with two
// significant digits (at most 1 % off); larger ones count as MaxValue.
// Negative ones, which differing clocks cause, are kept with their sign.
const (
	MaxValue          = int64(24 * time.Hour / time.Microsecond)
	significantDigits = 2
)

// Histogram counts latencies. It is not safe for concurrent use.
type Histogram struct {
	positive, negative *hdrhistogram.Histogram
	over               int64
}

// New returns an empty histogram. It takes about 40 KiB.
func New() *Histogram {
	return &Histogram{positive: hdrhistogram.New(1, MaxValue, significantDigits)}
}

// Record counts one latency in microseconds.
func (h *Histogram) Record(micros int64) { h.add(micros, 1) }

// RecordMany counts n equal latencies.
func (h *Histogram) RecordMany(micros int64, n uint64) { h.add(micros, int64(n)) }

func (h *Histogram) add(micros, n int64) {
	side := h.positive
	if micros < 0 {
		if h.negative == nil {
			h.negative = hdrhistogram.New(1, MaxValue, significantDigits)
		}
		side, micros = h.negative, -micros
	}
	// The value is clamped into the histogram's range, so this cannot fail.
	_ = side.RecordValues(min(max(micros, 0), MaxValue), n)
}

// AddOverRange counts n records that have no latency at all, because they were
// never sent or never arrived: they stand above every value.
func (h *Histogram) AddOverRange(n int64) { h.over += n }

// Count is how many records were counted, those over range included.
func (h *Histogram) Count() int64 {
	n := h.positive.TotalCount() + h.over
	if h.negative != nil {
		n += h.negative.TotalCount()
	}
	return n
}

// Reset empties the histogram and keeps its memory.
func (h *Histogram) Reset() {
	h.positive.Reset()
	if h.negative != nil {
		h.negative.Reset()
	}
	h.over = 0
}

// Quantile returns the latency in microseconds below or at which the share q
// (0..1) of all records lies, or +Inf when that share includes records over
// range. It returns NaN when nothing was counted.
func (h *Histogram) Quantile(q float64) float64 {
	total := h.Count()
	if total == 0 {
		return math.NaN()
	}
	rank := max(1, int64(math.Ceil(q*float64(total))))
	if h.negative != nil && h.negative.TotalCount() > 0 {
		n := h.negative.TotalCount()
		if rank <= n {
			// The negative side counts from zero downwards: turn the rank round.
			return -float64(h.negative.ValueAtQuantile(100 * float64(n-rank+1) / float64(n)))
		}
		rank -= n
	}
	n := h.positive.TotalCount()
	if rank > n {
		return math.Inf(1)
	}
	return float64(h.positive.ValueAtQuantile(100 * float64(rank) / float64(n)))
}

// Max returns the largest latency in microseconds, +Inf when a record is over
// range, NaN when nothing was counted.
func (h *Histogram) Max() float64 {
	switch {
	case h.over > 0:
		return math.Inf(1)
	case h.positive.TotalCount() > 0:
		return float64(h.positive.Max())
	default:
		return h.Quantile(1)
	}
}

// Bucket is one non-empty bucket: Count latencies of about Micros.
type Bucket struct {
	_      struct{} `cbor:",toarray"`
	Micros int64
	Count  int64
}

// Sparse is the written form of a histogram: its non-empty buckets. Records
// over range are not part of it.
type Sparse []Bucket

// Sparse returns the non-empty buckets.
func (h *Histogram) Sparse() Sparse {
	var out Sparse
	if h.negative != nil {
		for _, b := range h.negative.Distribution() {
			if b.Count > 0 {
				out = append(out, Bucket{Micros: -b.To, Count: b.Count})
			}
		}
	}
	if h.positive.TotalCount() == 0 {
		return out
	}
	for _, b := range h.positive.Distribution() {
		if b.Count > 0 {
			out = append(out, Bucket{Micros: b.To, Count: b.Count})
		}
	}
	return out
}

// Merge adds written buckets to the histogram.
func (h *Histogram) Merge(s Sparse) {
	for _, b := range s {
		h.add(b.Micros, b.Count)
	}
}

// Percentiles are what reports show, in milliseconds. Values over range are
// given as -1, since JSON has no infinity.
type Percentiles struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p99_9_ms"`
	P9999 float64 `json:"p99_99_ms"`
	Max   float64 `json:"max_ms"`
}

// OverRange stands in Percentiles for a latency that is not finite.
const OverRange = -1

// Percentiles returns the usual percentiles; all are zero when nothing was
// counted.
func (h *Histogram) Percentiles() Percentiles {
	if h.Count() == 0 {
		return Percentiles{}
	}
	ms := func(micros float64) float64 {
		if math.IsInf(micros, 1) {
			return OverRange
		}
		return micros / 1000
	}
	return Percentiles{
		Count: h.Count(),
		P50:   ms(h.Quantile(0.50)),
		P90:   ms(h.Quantile(0.90)),
		P99:   ms(h.Quantile(0.99)),
		P999:  ms(h.Quantile(0.999)),
		P9999: ms(h.Quantile(0.9999)),
		Max:   ms(h.Max()),
	}
}

// String writes the percentiles on one line.
func (p Percentiles) String() string {
	if p.Count == 0 {
		return "no records"
	}
	f := func(ms float64) string {
		if ms == OverRange {
			return "never"
		}
		return time.Duration(ms * float64(time.Millisecond)).Round(100 * time.Microsecond).String()
	}
	return fmt.Sprintf("p50 %s, p90 %s, p99 %s, p99.9 %s, p99.99 %s, max %s",
		f(p.P50), f(p.P90), f(p.P99), f(p.P999), f(p.P9999), f(p.Max))
}
