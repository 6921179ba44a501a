package produce

import (
	"sync"
	"sync/atomic"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
)

// epoch is a time in which a topic has a certain number of partitions. Each
// partition has a stream of its own in it.
type epoch struct {
	number  uint32
	keys    message.Keys
	streams []*stream
	// retired: the sender has gone over to the next epoch, and no sequence of
	// these streams will be used any more.
	retired atomic.Bool
}

// stream is one sequence of numbers. The sender uses the numbers up, the
// client's promises tell what became of them, the keeper stores all that.
type stream struct {
	topic *topic
	epoch *epoch
	// control is reserved and never sent; none is -1.
	control int64

	next     atomic.Uint64 // the first sequence not used; written by the sender
	began    atomic.Int64  // when the first record used was intended; written by the sender
	reserved atomic.Uint64 // sequences below are durably reserved; written by the keeper
	renew    atomic.Uint64 // from here on the keeper is asked to reserve more

	_     apart
	mu    sync.Mutex
	state ledger.SentStream // but Reserved and Next
}

const noControl = -1

func newStream(t *topic, e *epoch, partition int32, base int64, run uint64) *stream {
	return &stream{
		topic:   t,
		epoch:   e,
		control: noControl,
		state:   ledger.SentStream{Stream: ledger.Stream{Run: run, Topic: t.name, Epoch: e.number, Partition: partition}, Base: base},
	}
}

// take returns the next sequence that may be sent, without using it; ok is
// false if it is not reserved.
func (s *stream) take() (sequence uint64, ok bool) {
	sequence = s.next.Load()
	if s.control >= 0 && sequence == uint64(s.control) {
		sequence++
	}
	return sequence, sequence < s.reserved.Load()
}

// used notes that a sequence is about to be sent, whose record was intended then.
func (s *stream) used(sequence uint64, intended int64) {
	if s.began.Load() == 0 {
		s.began.Store(intended)
	}
	s.next.Store(sequence + 1)
}

// ackedAll notes that n records were acknowledged; offset and intended are the
// last one's.
func (s *stream) ackedAll(from, n uint64, offset, intended int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := from + n - 1
	s.state.Acked.AddRange(from, last)
	s.state.Ack(last, offset, intended)
}

// acked notes that a record was acknowledged of which it is not known where it is.
func (s *stream) acked(sequence uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Acked.Add(sequence)
}

func (s *stream) failed(sequence uint64, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Fail(sequence, reason)
}

// suspect marks everything acknowledged so far: the client noticed that the
// partition had lost data, and cannot tell how much.
func (s *stream) suspect() {
	s.topic.settle()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Suspect.Union(&s.state.Acked)
}

func (s *stream) suspects() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Suspect.Len()
}

// snapshot returns what to store. Its Reserved becomes valid with publish, once
// it is durable. closed: nothing will be sent any more.
func (s *stream) snapshot(closed bool, ahead uint64) *ledger.SentStream {
	// In this order: whoever retired the stream had stopped to use it, and what
	// is acknowledged was used before.
	closed = closed || s.epoch.retired.Load()
	s.topic.settle()
	s.mu.Lock()
	out := s.state
	out.Acked = s.state.Acked.Clone()
	out.Suspect = s.state.Suspect.Clone()
	out.Failed = make(map[string]*intervals.Set, len(s.state.Failed))
	for reason, set := range s.state.Failed {
		c := set.Clone()
		out.Failed[reason] = &c
	}
	if s.state.Last != nil {
		last := *s.state.Last
		out.Last = &last
	}
	s.mu.Unlock()

	out.Next, out.Began = s.next.Load(), s.began.Load()
	least := out.Next
	if s.control >= 0 {
		control := uint64(s.control)
		out.Control = &control
		least = max(least, control+1)
	}
	if closed {
		out.Reserved = least
	} else {
		out.Reserved = max(s.reserved.Load(), least+ahead)
	}
	return &out
}

// publish lets the sender use what has been reserved.
func (s *stream) publish(reserved, ahead uint64) {
	if reserved > s.reserved.Load() {
		s.renew.Store(reserved - min(reserved, ahead/2))
		s.reserved.Store(reserved)
	}
}
