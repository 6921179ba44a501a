package consume

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

// Progress is how far the consumer has come since it was started, over all
// topics.
type Progress struct {
	Records, Bytes, First, Duplicates, Reordered, Misplaced, Rejected, Unobserved uint64
	// Partitions are being read. Lag counts their offsets not yet read.
	Partitions int
	Lag        int64
}

// Progress returns how far the consumer has come.
func (c *Consumer) Progress() Progress {
	var out Progress
	for _, t := range c.stats() {
		t.mu.Lock()
		out.Records += t.total.counts.records
		out.Bytes += t.total.counts.bytes
		out.First += t.total.first
		out.Duplicates += t.total.counts.duplicates
		out.Reordered += t.total.counts.reordered
		out.Misplaced += t.total.counts.misplaced
		for _, n := range t.total.rejected {
			out.Rejected += n
		}
		out.Unobserved += t.unobserved
		t.mu.Unlock()
	}
	for _, p := range c.owned() {
		out.Partitions++
		out.Lag += p.lag()
	}
	return out
}

// counts are those of a Received that only grow.
type counts struct {
	records, bytes, duplicates, replays, reordered, misplaced, outages uint64
}

func countsOf(r *ledger.Received) counts {
	return counts{r.Records, r.Bytes, r.Duplicate, r.Replays, r.Reordered, r.Misplaced, r.OutageCount}
}

func (c counts) minus(b counts) counts {
	return counts{c.records - b.records, c.bytes - b.bytes, c.duplicates - b.duplicates, c.replays - b.replays, c.reordered - b.reordered, c.misplaced - b.misplaced, c.outages - b.outages}
}

func (c counts) plus(b counts) counts {
	return counts{c.records + b.records, c.bytes + b.bytes, c.duplicates + b.duplicates, c.replays + b.replays, c.reordered + b.reordered, c.misplaced + b.misplaced, c.outages + b.outages}
}

// batchStats is what one fetch adds to a topic's metrics.
type batchStats struct {
	counts   counts
	first    uint64
	rejected [message.NumKinds]uint64
	latency  latency.Counts
}

// topicStats are the metrics of a topic since the process started.
type topicStats struct {
	name string

	mu         sync.Mutex
	total      batchStats
	unobserved uint64
	rollbacks  uint64
}

func (t *topicStats) add(b *batchStats) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total.counts = t.total.counts.plus(b.counts)
	t.total.first += b.first
	for i, n := range b.rejected {
		t.total.rejected[i] += n
	}
	t.total.latency.Add(&b.latency)
}

func (t *topicStats) addUnobserved(n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unobserved += n
}

func (t *topicStats) addRollback() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rollbacks++
}

// collector exports what the consumer counts anyway, when it is asked.
type collector struct {
	c     *Consumer
	descs map[string]*prometheus.Desc

	ledgerBytes  prometheus.Counter
	ledgerErrors prometheus.Counter
	ledgerTime   prometheus.Histogram
}

func newCollector(c *Consumer) *collector {
	k := &collector{
		c:            c,
		descs:        map[string]*prometheus.Desc{},
		ledgerBytes:  prometheus.NewCounter(prometheus.CounterOpts{Name: metrics.LedgerBytes, Help: "Bytes of snapshots stored in the ledger."}),
		ledgerErrors: prometheus.NewCounter(prometheus.CounterOpts{Name: metrics.LedgerErrors, Help: "Snapshots that could not be stored; they are tried again."}),
		ledgerTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: metrics.LedgerTime, Help: "Time to store one snapshot of the ledger.", Buckets: metrics.LatencyBuckets(),
		}),
	}
	for name, help := range map[string]string{
		metrics.ConsumerRecords:    "Records read at the destination, of whatever kind.",
		metrics.ConsumerBytes:      "Bytes of keys and values read at the destination.",
		metrics.ConsumerFirst:      "Records that arrived for the first time.",
		metrics.ConsumerDuplicates: "Arrivals after the first.",
		metrics.ConsumerReplays:    "Maximal runs of duplicates.",
		metrics.ConsumerReordered:  "First arrivals below their stream's maximum.",
		metrics.ConsumerMisplaced:  "Records on another partition than at the source.",
		metrics.ConsumerRejected:   "Records that are damaged, not readable or of another test, by kind.",
		metrics.ConsumerOutages:    "Silences in which something was due.",
		metrics.ConsumerUnobserved: "Offsets that retention or a truncation took before they were read.",
		metrics.ConsumerRollbacks:  "Truncations of a partition's log, and topics made anew.",
		metrics.ConsumerLatency:    "Time from when a record was meant to be sent to its first arrival.",
		metrics.ConsumerLag:        "Records at the destination that were not read yet.",
		metrics.ConsumerPartitions: "Partitions assigned to this consumer.",
		metrics.ConsumerStreams:    "Streams in memory.",
		metrics.LedgerAge:          "Time since all that was known was last stored in the ledger.",
		metrics.LedgerEvery:        "Time between snapshots, as adapted to the load.",
	} {
		labels := []string{metrics.LabelTopic}
		switch name {
		case metrics.ConsumerRejected:
			labels = append(labels, metrics.LabelKind)
		case metrics.LedgerAge, metrics.LedgerEvery:
			labels = nil
		}
		k.descs[name] = prometheus.NewDesc(name, help, labels, nil)
	}
	return k
}

// Describe implements prometheus.Collector.
func (k *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range k.descs {
		out <- d
	}
	for _, m := range []prometheus.Collector{k.ledgerBytes, k.ledgerErrors, k.ledgerTime} {
		m.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (k *collector) Collect(out chan<- prometheus.Metric) {
	emit := func(kind prometheus.ValueType, name string, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(k.descs[name], kind, value, labels...)
	}
	type gauges struct {
		lag                 int64
		partitions, streams int
	}
	by := map[string]*gauges{}
	parts := k.c.owned()
	topics := k.c.stats() // later: it has those of all parts
	for name := range topics {
		by[name] = &gauges{}
	}
	for _, p := range parts {
		g := by[p.topic]
		g.lag += p.lag()
		g.partitions++
		g.streams += p.streams()
	}
	for name, t := range topics {
		t.mu.Lock()
		total, unobserved, rollbacks := t.total, t.unobserved, t.rollbacks
		t.mu.Unlock()
		for metric, n := range map[string]uint64{
			metrics.ConsumerRecords:    total.counts.records,
			metrics.ConsumerBytes:      total.counts.bytes,
			metrics.ConsumerFirst:      total.first,
			metrics.ConsumerDuplicates: total.counts.duplicates,
			metrics.ConsumerReplays:    total.counts.replays,
			metrics.ConsumerReordered:  total.counts.reordered,
			metrics.ConsumerMisplaced:  total.counts.misplaced,
			metrics.ConsumerOutages:    total.counts.outages,
			metrics.ConsumerUnobserved: unobserved,
			metrics.ConsumerRollbacks:  rollbacks,
		} {
			emit(prometheus.CounterValue, metric, float64(n), name)
		}
		for kind, n := range total.rejected {
			if message.Kind(kind) != message.OK {
				emit(prometheus.CounterValue, metrics.ConsumerRejected, float64(n), name, message.Kind(kind).String())
			}
		}
		out <- total.latency.Metric(k.descs[metrics.ConsumerLatency], name)
		emit(prometheus.GaugeValue, metrics.ConsumerLag, float64(by[name].lag), name)
		emit(prometheus.GaugeValue, metrics.ConsumerPartitions, float64(by[name].partitions), name)
		emit(prometheus.GaugeValue, metrics.ConsumerStreams, float64(by[name].streams), name)
	}
	if last := k.c.lastStored.Load(); last > 0 {
		emit(prometheus.GaugeValue, metrics.LedgerAge, time.Since(time.UnixMicro(last)).Seconds())
	}
	emit(prometheus.GaugeValue, metrics.LedgerEvery, time.Duration(k.c.interval.Load()).Seconds())
	for _, m := range []prometheus.Collector{k.ledgerBytes, k.ledgerErrors, k.ledgerTime} {
		m.Collect(out)
	}
}
