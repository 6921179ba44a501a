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

// resolve is the promise of a record: the client calls it once, when it knows
// what became of the record.
func (s *slot) resolve(r *kgo.Record, err error) {
	if err != nil {
		s.finish(s.stream.topic.p.judge(s, err), 0)
		return
	}
	p := s.stream.topic.p
	if p.cfg.Acks != AcksNone {
		s.stream.acked(s.sequence, r.Offset, s.intended)
	}
	s.finish(failure{}, p.answered.Load())
}

// finish notes a record's outcome and frees its slot. The time is in Unix microseconds.
func (s *slot) finish(f failure, ackedAt int64) {
	t := s.stream.topic
	p := t.p
	timed := false
	if f.reason == "" {
		t.counts.acked.Add(1)
		t.counts.bytes.Add(uint64(len(s.record.Value)))
		timed = p.cfg.Acks != AcksNone
	} else {
		if f.certain {
			s.stream.failed(s.sequence, f.reason)
		}
		t.counts.fail(f)
	}
	cost, late := s.cost, ackedAt-s.intended
	t.mu.Lock()
	if timed {
		t.acks.Record(late)
		t.latency.Observe(late)
	}
	t.freed = append(t.freed, s)
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
