package produce

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/schedule"
	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

// Progress is how far the load has come, over all topics.
type Progress struct {
	Scheduled, Acked, Bytes, Shed, Failed, Unresolved uint64
	// InFlight records have no outcome yet.
	InFlight int64
	// Late is by how much the producer itself ran behind its schedule a moment
	// ago, Full for how long its buffer was full.
	Late, Full time.Duration
}

// Progress returns how far the load has come.
func (p *Producer) Progress() Progress {
	out := Progress{Late: time.Duration(p.lateNow.Load()), Full: p.buffer.fullFor(time.Now())}
	for _, t := range p.all() {
		t.settle()
		out.Scheduled += t.counts.scheduled.Load()
		out.Acked += t.counts.acked.Load()
		out.Bytes += t.counts.bytes.Load()
		out.Shed += t.counts.shed()
		out.Failed += t.counts.failed.Load()
		out.Unresolved += t.counts.unresolved.Load()
		out.InFlight += t.counts.inFlight.Load()
	}
	return out
}

func (p *Producer) inFlight() int64 { return p.Progress().InFlight }

// collector exports what the producer counts anyway, when it is asked.
type collector struct {
	p      *Producer
	stored prometheus.Histogram
	descs  map[string]*prometheus.Desc
}

func newCollector(p *Producer) *collector {
	c := &collector{
		p: p,
		stored: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: metrics.LedgerTime, Help: "Time to store one snapshot of the ledger.", Buckets: metrics.LatencyBuckets(),
		}),
		descs: map[string]*prometheus.Desc{},
	}
	desc := func(name, help string, labels ...string) {
		c.descs[name] = prometheus.NewDesc(name, help, labels, nil)
	}
	desc(metrics.ProducerLatency, "Time from when a record was meant to be sent to its acknowledgement.", metrics.LabelTopic)
	desc(metrics.ProducerRecords, "Records acknowledged.", metrics.LabelTopic)
	desc(metrics.ProducerBytes, "Bytes of the values of acknowledged records.", metrics.LabelTopic)
	desc(metrics.ProducerScheduled, "Records that the schedule asked for.", metrics.LabelTopic)
	desc(metrics.ProducerShed, "Records never sent, because the buffer was full or the ledger had not reserved a sequence in time.", metrics.LabelTopic, metrics.LabelReason)
	desc(metrics.ProducerErrors, "Records that were certainly not written.", metrics.LabelTopic, metrics.LabelReason)
	desc(metrics.ProducerUnresolved, "Records of which it is not known whether they were written.", metrics.LabelTopic, metrics.LabelReason)
	desc(metrics.ProducerSuspect, "Records acknowledged before the client noticed that their partition had lost data.", metrics.LabelTopic)
	desc(metrics.ProducerInFlight, "Records handed to the client that have no outcome yet.", metrics.LabelTopic)
	desc(metrics.ProducerRate, "Records per second asked for; 0 is as fast as possible.", metrics.LabelTopic)
	desc(metrics.ProducerPartitions, "Partitions that are produced to.", metrics.LabelTopic)
	desc(metrics.ProducerTopics, "Topics that are produced to.")
	desc(metrics.ProducerLate, "By how much the producer itself is behind its schedule.")
	desc(metrics.ProducerBuffered, "Memory of records that have no outcome yet, as the buffer counts it.")
	desc(metrics.ProducerFull, "Time for which the buffer was full.")
	desc(metrics.LedgerBytes, "Bytes of the ledger's snapshots.")
	desc(metrics.LedgerErrors, "Snapshots of the ledger that could not be stored.")
	desc(metrics.LedgerAge, "Time since the ledger was last stored.")
	desc(metrics.LedgerEvery, "Time between snapshots of the ledger, as adapted to the load.")
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	c.stored.Describe(out)
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	c.stored.Collect(out)
	counter := func(name string, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(c.descs[name], prometheus.CounterValue, value, labels...)
	}
	gauge := func(name string, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(c.descs[name], prometheus.GaugeValue, value, labels...)
	}
	suspects := map[*topic]uint64{}
	for _, s := range c.p.keeper.all() {
		suspects[s.topic] += s.suspects()
	}
	topics := c.p.all()
	for _, t := range topics {
		n := &t.counts
		t.mu.Lock()
		t.note()
		latency := t.latency
		t.mu.Unlock()
		out <- latency.Metric(c.descs[metrics.ProducerLatency], t.name)
		counter(metrics.ProducerRecords, float64(n.acked.Load()), t.name)
		counter(metrics.ProducerBytes, float64(n.bytes.Load()), t.name)
		counter(metrics.ProducerScheduled, float64(n.scheduled.Load()), t.name)
		counter(metrics.ProducerShed, float64(n.shedFull.Load()), t.name, "buffer full")
		counter(metrics.ProducerShed, float64(n.shedUnreserved.Load()), t.name, "ledger slow")
		counter(metrics.ProducerSuspect, float64(suspects[t]), t.name)
		gauge(metrics.ProducerInFlight, float64(n.inFlight.Load()), t.name)
		switch rate := t.setting.Load().recordsPerSecond(); rate {
		case 0: // nothing is asked for
		case schedule.Unlimited:
			gauge(metrics.ProducerRate, 0, t.name)
		default:
			gauge(metrics.ProducerRate, rate, t.name)
		}
		partitions := 0
		if e := t.current.Load(); e != nil {
			partitions = len(e.streams)
		}
		gauge(metrics.ProducerPartitions, float64(partitions), t.name)
		n.mu.Lock()
		for f, count := range n.reasons {
			name := metrics.ProducerUnresolved
			if f.certain {
				name = metrics.ProducerErrors
			}
			counter(name, float64(count), t.name, f.reason)
		}
		n.mu.Unlock()
	}
	gauge(metrics.ProducerTopics, float64(len(topics)))
	gauge(metrics.ProducerLate, time.Duration(c.p.lateNow.Load()).Seconds())
	gauge(metrics.ProducerBuffered, float64(c.p.buffer.used.Load()))
	counter(metrics.ProducerFull, c.p.buffer.fullFor(time.Now()).Seconds())
	counter(metrics.LedgerBytes, float64(c.p.keeper.volume.Load()))
	counter(metrics.LedgerErrors, float64(c.p.keeper.errors.Load()))
	if at := c.p.keeper.stored.Load(); at > 0 {
		gauge(metrics.LedgerAge, time.Since(time.Unix(0, at)).Seconds())
	}
	gauge(metrics.LedgerEvery, time.Duration(c.p.keeper.every.Load()).Seconds())
}
