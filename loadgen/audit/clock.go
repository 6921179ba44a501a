package audit

import (
	"fmt"
	"math"
	"sync"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// clock estimates how far the destination brokers' clock is ahead of the
// producers'. Every write to a ledger topic is a probe: the broker stamped it
// (LogAppendTime) between sending and acknowledgement, so its clock is known to
// half a round trip. Three such offsets in a chain lead from a producer by the
// source broker and the auditor to the destination broker.
type clock struct {
	mu       sync.Mutex
	appended [2]map[int64]int64 // source, destination: offset in the ledger -> LogAppendTime
	pending  [2][]ledger.Probe  // the auditor's, whose LogAppendTime has not been read yet
	sent     []ledger.Probe     // producers', likewise
	best     [3]offset          // source - producer, source - auditor, destination - auditor
	probes   int
}

// offset is the difference of two clocks in microseconds, known to plus or
// minus bound.
type offset struct {
	value, bound float64
	known        bool
}

// maxAppended bounds how many ledger entries' times are remembered.
const maxAppended = 4096

func newClock() *clock {
	return &clock{appended: [2]map[int64]int64{{}, {}}}
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
func (c *clock) producer(p ledger.Probe) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, p)
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
	c.pending[side] = append(c.pending[side], p)
	c.match()
}

// match pairs probes with the times that brokers gave them.
func (c *clock) match() {
	pair := func(probes []ledger.Probe, side, best int) []ledger.Probe {
		rest := probes[:0]
		for _, p := range probes {
			at, ok := c.appended[side][p.Offset]
			if !ok {
				rest = append(rest, p)
				continue
			}
			c.probes++
			// LogAppendTime is in whole milliseconds, cut off: half of one is added.
			o := offset{value: float64(at) + 500 - float64(p.Sent+p.Acked)/2, bound: float64(p.Acked-p.Sent)/2 + 500, known: true}
			if !c.best[best].known || o.bound <= c.best[best].bound {
				c.best[best] = o
			}
		}
		return rest[max(0, len(rest)-64):]
	}
	c.sent = pair(c.sent, 0, 0)
	c.pending[0] = pair(c.pending[0], 0, 1)
	c.pending[1] = pair(c.pending[1], 1, 2)
}

// estimate returns the offset, or nil while a link of the chain is unknown.
func (c *clock) estimate() *verdict.Clock {
	c.mu.Lock()
	defer c.mu.Unlock()
	var bound float64
	for _, o := range c.best {
		if !o.known {
			return nil
		}
		bound += o.bound
	}
	value := c.best[2].value - c.best[1].value + c.best[0].value
	return &verdict.Clock{
		OffsetMillis: math.Round(value) / 1000, BoundMillis: math.Round(bound) / 1000, Probes: c.probes,
		Detail: fmt.Sprintf("producer -> source broker %+.1f ms, source broker -> auditor %+.1f ms, auditor -> destination broker %+.1f ms; each known to half a round trip of a ledger write",
			c.best[0].value/1000, -c.best[1].value/1000, c.best[2].value/1000),
	}
}
