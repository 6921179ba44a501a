package latency

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

const buckets = 19

// bounds of the buckets in microseconds.
var bounds = func() (out [buckets]int64) {
	for i, seconds := range metrics.LatencyBuckets() {
		out[i] = int64(seconds * 1e6)
	}
	return out
}()

// Counts are those of a Prometheus histogram of latencies, for who has a lock anyway: a record costs
// a search of a few numbers, and no atomic operation. The zero value is empty and ready for use. It
// is not safe for concurrent use.
type Counts struct {
	buckets [buckets + 1]uint64 // not cumulative; the last one is over all bounds
	sum     int64               // microseconds
}

// Observe counts one latency in microseconds.
func (c *Counts) Observe(micros int64) { c.ObserveMany(micros, 1) }

// ObserveMany counts n equal latencies.
func (c *Counts) ObserveMany(micros int64, n uint64) {
	i := 0
	for i < len(bounds) && micros > bounds[i] {
		i++
	}
	c.buckets[i] += n
	c.sum += micros * int64(n)
}

// Add counts all that other has counted.
func (c *Counts) Add(other *Counts) {
	for i, n := range other.buckets {
		c.buckets[i] += n
	}
	c.sum += other.sum
}

// Metric returns the histogram.
func (c *Counts) Metric(desc *prometheus.Desc, labels ...string) prometheus.Metric {
	cumulative := map[float64]uint64{}
	var n uint64
	for i, bound := range metrics.LatencyBuckets() {
		n += c.buckets[i]
		cumulative[bound] = n
	}
	n += c.buckets[buckets]
	return prometheus.MustNewConstHistogram(desc, n, float64(c.sum)/1e6, cumulative, labels...)
}
