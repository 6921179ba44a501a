package produce

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
)

// Reasons of records that were not written, or may not have been.
const (
	reasonTooLarge  = "message too large"
	reasonDenied    = "no permission"
	reasonInvalid   = "invalid record"
	reasonTimeout   = "delivery timeout"
	reasonStopped   = "stopped before an answer"
	reasonConnected = "connection lost"
)

// counts are those of one topic since the start.
type counts struct {
	scheduled, acked, bytes, failed, unresolved atomic.Uint64
	shedFull, shedUnreserved                    atomic.Uint64
	inFlight                                    atomic.Int64

	mu      sync.Mutex
	reasons map[failure]uint64
}

func (c *counts) shed() uint64 { return c.shedFull.Load() + c.shedUnreserved.Load() }

// failure is what became of a record that was not acknowledged.
type failure struct {
	reason string
	// certain: it is not in the log. Otherwise only the log can tell.
	certain bool
}

func (c *counts) fail(f failure) {
	if f.certain {
		c.failed.Add(1)
	} else {
		c.unresolved.Add(1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reasons == nil {
		c.reasons = map[failure]uint64{}
	}
	c.reasons[f]++
}

// told are acknowledgements that were not noted yet: of one stream, and in
// sequence, as the records of a batch are. Topic.mu is held.
type told struct {
	stream *stream
	from   uint64
	n      uint64
	// Of the last of them.
	offset, intended int64
	bytes            uint64
	cost             int64

	late  int64  // of the latest of them
	lates uint64 // that were as late, and follow each other
}

// mostTold bounds the records of a told, and with it what the buffer gets back
// later than it might.
const mostTold = 128

// resolve is the promise of a record: the client calls it once, when it knows
// what became of the record.
func (s *slot) resolve(r *kgo.Record, err error) {
	t := s.stream.topic
	p := t.p
	if err != nil {
		t.settle()
		s.finish(p.judge(s, err))
		return
	}
	if p.unanswered || r.Offset < 0 { // or the broker knew of it already, and not where
		if !p.unanswered {
			s.stream.acked(s.sequence)
		}
		s.finish(failure{})
		return
	}
	late := p.answered.Load() - s.intended
	t.mu.Lock()
	g := &t.told
	if g.n > 0 && (g.stream != s.stream || g.from+g.n != s.sequence) {
		t.note()
	}
	if g.n == 0 {
		g.stream, g.from = s.stream, s.sequence
	}
	g.n++
	g.offset, g.intended = r.Offset, s.intended
	g.bytes += uint64(len(s.record.Value))
	g.cost += s.cost
	if late != g.late {
		t.noteLates()
		g.late = late
	}
	g.lates++
	t.freed = append(t.freed, s)
	t.waiting--
	if t.waiting == 0 || g.n >= mostTold || g.cost >= p.buffer.max/16 {
		t.note()
	}
	t.mu.Unlock()
}

// settle notes what was told.
func (t *topic) settle() {
	t.mu.Lock()
	t.note()
	t.mu.Unlock()
}

// note is settle where mu is held.
func (t *topic) note() {
	t.noteLates()
	g := &t.told
	if g.n == 0 {
		return
	}
	g.stream.ackedAll(g.from, g.n, g.offset, g.intended)
	t.counts.acked.Add(g.n)
	t.counts.bytes.Add(g.bytes)
	t.p.buffer.release(g.cost)
	t.counts.inFlight.Add(-int64(g.n))
	n := int(g.n)
	g.n, g.bytes, g.cost = 0, 0, 0
	t.p.pending.Add(-n)
}

func (t *topic) noteLates() {
	g := &t.told
	if g.lates > 0 {
		t.acks.RecordMany(g.late, g.lates)
		t.latency.ObserveMany(g.late, g.lates)
		g.lates = 0
	}
}

// finish notes the outcome of a single record, and frees its slot.
func (s *slot) finish(f failure) {
	t := s.stream.topic
	p := t.p
	if f.reason == "" {
		t.counts.acked.Add(1)
		t.counts.bytes.Add(uint64(len(s.record.Value)))
	} else {
		if f.certain {
			s.stream.failed(s.sequence, f.reason)
		}
		t.counts.fail(f)
	}
	cost, late := s.cost, p.answered.Load()-s.intended
	t.mu.Lock()
	if f.reason == "" && !p.unanswered {
		t.acks.Record(late)
		t.latency.Observe(late)
	}
	t.freed = append(t.freed, s)
	t.waiting--
	if t.waiting == 0 {
		t.note()
	}
	t.mu.Unlock()
	p.buffer.release(cost)
	t.counts.inFlight.Add(-1)
	p.pending.Done()
}

// judge tells what an error of the client means for a record.
//
// A broker's refusal is certain only if this was the only attempt: after a
// connection was lost, an earlier one may have been written and the answer
// lost. Nor is it if several requests may be under way without idempotence:
// then a refusal of one batch fails those behind it as well, which may have
// been written.
func (p *Producer) judge(s *slot, err error) failure {
	f := failure{reason: reasonOf(err)}
	switch f.reason {
	case reasonTooLarge, reasonDenied, reasonInvalid:
		f.certain = (p.cfg.Idempotent || p.cfg.MaxInFlight <= 1) && s.lost == p.lost.Load()
	}
	t := s.stream.topic
	if f.reason == reasonDenied && t.counts.acked.Load() == 0 {
		p.stop(fmt.Errorf("no permission to write to topic %q: grant this user WRITE on it (and IDEMPOTENT_WRITE on the cluster before Kafka 2.8, or use --idempotent=false): %w", t.name, err))
	}
	return f
}

func reasonOf(err error) string {
	var answer *kerr.Error
	var network net.Error
	switch {
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		return reasonTooLarge
	case connect.Denied(err):
		return reasonDenied
	case errors.Is(err, kerr.InvalidRecord), errors.Is(err, kerr.InvalidTimestamp), errors.Is(err, kerr.PolicyViolation), errors.Is(err, kerr.UnsupportedForMessageFormat):
		return reasonInvalid
	case errors.Is(err, kgo.ErrRecordTimeout):
		return reasonTimeout
	case errors.Is(err, kgo.ErrClientClosed):
		return reasonStopped
	case errors.As(err, &answer):
		return answer.Message
	case errors.As(err, &network):
		return reasonConnected
	}
	return "other"
}
