package audit

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	names "github.com/AppsFlyer/kafka-mirror-tester/metrics"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// metrics exports the current verdict.
type metrics struct {
	counts     map[string]*prometheus.GaugeVec
	rpoRecords *prometheus.GaugeVec
	rpoSeconds *prometheus.GaugeVec
	outcome    *prometheus.GaugeVec
	controlOK  prometheus.Gauge
	offset     prometheus.Gauge
	bound      prometheus.Gauge
	event      *prometheus.GaugeVec
}

// counted is which counts of a topic are exported, and under which name.
func counted() map[string]func(c *verdict.Counts) uint64 {
	return map[string]func(c *verdict.Counts) uint64{
		names.AuditorLost:            func(c *verdict.Counts) uint64 { return c.Lost },
		names.AuditorSkipped:         func(c *verdict.Counts) uint64 { return c.Skipped },
		names.AuditorPending:         func(c *verdict.Counts) uint64 { return c.Pending },
		names.AuditorUndelivered:     func(c *verdict.Counts) uint64 { return c.Undelivered },
		names.AuditorIndeterminate:   func(c *verdict.Counts) uint64 { return c.Indeterminate },
		names.AuditorUnobserved:      func(c *verdict.Counts) uint64 { return c.Unobserved },
		names.AuditorDestinationLost: func(c *verdict.Counts) uint64 { return c.DestinationLost },
		names.AuditorDuplicates:      func(c *verdict.Counts) uint64 { return c.Duplicates },
		names.AuditorReordered:       func(c *verdict.Counts) uint64 { return c.Reordered },
		names.AuditorCorrupt:         func(c *verdict.Counts) uint64 { return c.Corrupt },
		names.AuditorMisplaced:       func(c *verdict.Counts) uint64 { return c.Misplaced },
		names.AuditorPhantom:         func(c *verdict.Counts) uint64 { return c.Phantom },
	}
}

func newMetrics(reg prometheus.Registerer) *metrics {
	vec := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
		reg.MustRegister(g)
		return g
	}
	one := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		reg.MustRegister(g)
		return g
	}
	m := &metrics{
		counts:     map[string]*prometheus.GaugeVec{},
		rpoRecords: vec(names.AuditorRPORecords, "Records that are at the source and not yet at the destination.", names.LabelTopic, names.LabelPartition),
		rpoSeconds: vec(names.AuditorRPOSeconds, "Age of the oldest record that is at the source and not yet at the destination.", names.LabelTopic, names.LabelPartition),
		outcome:    vec(names.AuditorOutcome, "1 for the verdict so far.", names.LabelOutcome),
		controlOK:  one(names.AuditorControlOK, "1 if every sequence that was deliberately never sent is reported as missing."),
		offset:     one(names.AuditorClockOffset, "Destination's clock minus the producers'."),
		bound:      one(names.AuditorClockBound, "Plus or minus on the clock offset."),
		event:      vec(names.AuditorEvent, "When an event of this kind, such as a fault or a step of a scenario, last began.", names.LabelKind, names.LabelSide),
	}
	for name := range counted() {
		word := strings.TrimSuffix(strings.TrimPrefix(name, "kmt_auditor_"), "_records")
		m.counts[name] = vec(name, "Records so far: "+word+". The README defines the word.", names.LabelTopic)
	}
	return m
}

// happened exports when an event began; it was told of, or found in a report, in any order.
func (m *metrics) happened(events []verdict.Event) {
	last := map[[2]string]int64{}
	for _, e := range events {
		key := [2]string{e.Kind, e.Side}
		last[key] = max(last[key], e.Time)
	}
	for key, at := range last {
		m.event.WithLabelValues(key[0], key[1]).Set(float64(at) / 1e6)
	}
}

func (m *metrics) set(v *verdict.Verdict) {
	read := counted()
	for i := range v.Topics {
		t := &v.Topics[i]
		for name, g := range m.counts {
			g.WithLabelValues(t.Name).Set(float64(read[name](&t.Counts)))
		}
		for j := range t.Partitions {
			p := &t.Partitions[j]
			partition := strconv.Itoa(int(p.Partition))
			m.rpoRecords.WithLabelValues(t.Name, partition).Set(float64(p.RPORecords))
			m.rpoSeconds.WithLabelValues(t.Name, partition).Set(p.RPOSeconds)
		}
	}
	for _, o := range []verdict.Outcome{verdict.Holds, verdict.Broken, verdict.CannotSay} {
		is := 0.0
		if v.Outcome == o {
			is = 1
		}
		m.outcome.WithLabelValues(strings.ReplaceAll(string(o), " ", "_")).Set(is)
	}
	m.controlOK.Set(0)
	if v.Control.OK {
		m.controlOK.Set(1)
	}
	if v.Clock != nil {
		m.offset.Set(v.Clock.OffsetMillis / 1000)
		m.bound.Set(v.Clock.BoundMillis / 1000)
	}
}
