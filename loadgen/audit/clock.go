package audit

import (
	"fmt"
	"math"
	"sync"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// clock estimates how far the clock at the end of a latency is ahead of the
// producers'. Every write to a ledger topic is a probe: the broker stamped it
// (LogAppendTime) between sending and acknowledgement, so its clock is known to
// half a round trip. Three such offsets in a chain lead from a producer by the
// source broker and the auditor to the destination broker, and a fourth to a
// consumer, which counts where topics have no LogAppendTime.
type clock struct {
	mu        sync.Mutex
	appended  [2]map[int64]int64 // source, destination: offset in the ledger -> LogAppendTime
	pending   []sentProbe        // whose LogAppendTime has not been read yet
	producers map[string]*link   // to the source broker, by producer
	consumers map[string]*link   // to the destination broker, by consumer
	auditors  [2]link            // to the source and to the destination broker
	probes    int
}

// sentProbe is a probe on a side's ledger, by whoever is at the other end of the link.
type sentProbe struct {
	ledger.Probe
	side int
	of   *link
}

// link is how far a broker's clock is ahead of that of one process, in
// microseconds. Each probe leaves a range for it. While all have something in
// common, the tightest is taken; otherwise one of the clocks has moved, by a step
// or by drifting, and every offset that it had is one that it can have had.
type link struct {
	known, moved bool
	common       interval // what all probes have in common since the clock moved last
	best         interval // the tightest of them
	seen         interval // all of them that are about as tight: where a slow drift has led
	past         interval // what the clock had before it moved
}

// interval is a range of microseconds.
type interval struct{ low, high float64 }

func (s interval) mid() float64  { return (s.low + s.high) / 2 }
func (s interval) half() float64 { return (s.high - s.low) / 2 }
func (s interval) hull(other interval) interval {
	return interval{min(s.low, other.low), max(s.high, other.high)}
}
func (s interval) plus(other interval) interval {
	return interval{s.low + other.low, s.high + other.high}
}
func (s interval) minus(other interval) interval {
	return interval{s.low - other.high, s.high - other.low}
}

// note takes in the range that a probe leaves.
func (l *link) note(s interval) {
	switch {
	case l.known && s.low <= l.common.high && s.high >= l.common.low:
		l.common = interval{max(l.common.low, s.low), min(l.common.high, s.high)}
		if s.half() <= l.best.half() {
			if 2*s.half() < l.best.half() {
				l.seen = s // those before were much wider
			}
			l.best = s
		}
		if s.half() <= 2*l.best.half() {
			l.seen = l.seen.hull(s)
		}
		return
	case l.known && l.moved:
		l.past = l.past.hull(l.seen)
	case l.known:
		l.moved, l.past = true, l.seen
	}
	l.known, l.common, l.best, l.seen = true, s, s, s
}

// offset is the range of what the offset was at any time.
func (l *link) offset() interval {
	if l.moved {
		return l.past.hull(l.seen)
	}
	return l.best
}

// maxAppended bounds how many ledger entries' times are remembered, and
// maxPending how many probes wait for one.
const (
	maxAppended = 4096
	maxPending  = 1024
)

func newClock() *clock {
	return &clock{appended: [2]map[int64]int64{{}, {}}, producers: map[string]*link{}, consumers: map[string]*link{}}
}

// appendedAt notes when the broker stamped a ledger entry.
func (c *clock) appendedAt(side int, e ledger.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !e.AppendedIsBroker {
		return
	}
	if len(c.appended[side]) > maxAppended {
		clear(c.appended[side])
	}
	c.appended[side][e.Offset] = e.Appended
	c.match()
}

// producer notes a producer's probe of the source cluster.
func (c *clock) producer(id string, p ledger.Probe) { c.probe(c.producers, id, 0, p) }

// consumer notes a consumer's probe of the destination cluster.
func (c *clock) consumer(id string, p ledger.Probe) { c.probe(c.consumers, id, 1, p) }

func (c *clock) probe(links map[string]*link, id string, side int, p ledger.Probe) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if links[id] == nil {
		links[id] = &link{}
	}
	c.pending = append(c.pending, sentProbe{p, side, links[id]})
	c.match()
}

// auditor notes one of our own probes.
func (c *clock) auditor(destination bool, p ledger.Probe) {
	c.mu.Lock()
	defer c.mu.Unlock()
	side := 0
	if destination {
		side = 1
	}
	c.pending = append(c.pending, sentProbe{p, side, &c.auditors[side]})
	c.match()
}

// match pairs probes with the times that brokers gave them.
func (c *clock) match() {
	rest := c.pending[:0]
	for _, p := range c.pending {
		at, ok := c.appended[p.side][p.Offset]
		if !ok {
			rest = append(rest, p)
			continue
		}
		c.probes++
		// LogAppendTime is in whole milliseconds, cut off.
		p.of.note(interval{float64(at - p.Acked), float64(at + 1000 - p.Sent)})
	}
	c.pending = rest[max(0, len(rest)-maxPending):]
}

// over is the range of all links that are known.
func over(links map[string]*link) (all interval, known, moved bool) {
	for _, l := range links {
		switch {
		case !l.known:
			continue
		case known:
			all = all.hull(l.offset())
		default:
			all = l.offset()
		}
		known, moved = true, moved || l.moved
	}
	return all, known, moved
}

// estimate returns the offset between the clocks at both ends of a latency, or
// nil while a link of the chain is unknown. appended says that some latencies
// end with a broker's LogAppendTime, arrival that some end with a consumer's.
func (c *clock) estimate(appended, arrival bool) *verdict.Clock {
	c.mu.Lock()
	defer c.mu.Unlock()
	producers, known, moved := over(c.producers)
	source, destination := &c.auditors[0], &c.auditors[1]
	if !known || !source.known || !destination.known {
		return nil
	}
	moved = moved || source.moved || destination.moved
	to := destination.offset().minus(source.offset()).plus(producers)
	detail := fmt.Sprintf("producer -> source broker %s, source broker -> auditor %s, auditor -> destination broker %s",
		millis(producers), millis(interval{}.minus(source.offset())), millis(destination.offset()))
	if arrival {
		consumers, known, theirs := over(c.consumers)
		if !known {
			return nil
		}
		moved = moved || theirs
		detail += ", destination broker -> consumer " + millis(interval{}.minus(consumers))
		if at := to.minus(consumers); appended {
			to = to.hull(at)
		} else {
			to = at
		}
	}
	detail += "; each known to half a round trip of a ledger write"
	if moved {
		detail += "; a clock has moved while the test ran, and the bound covers all that it was"
	}
	return &verdict.Clock{OffsetMillis: math.Round(to.mid()) / 1000, BoundMillis: math.Round(to.half()) / 1000, Moved: moved, Probes: c.probes, Detail: detail}
}

func millis(s interval) string { return fmt.Sprintf("%+.1f ms", s.mid()/1000) }
