package produce

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/schedule"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
)

const (
	// tick is how often a sender looks for what is due.
	tick = time.Millisecond
	// maxBatch is how many records a sender takes from the schedule at once.
	maxBatch = 512
)

// topic is the load on one topic.
type topic struct {
	p       *Producer
	name    string
	encoder *message.Encoder
	wake    chan struct{} // the sender should look at setting and upcoming

	setting  atomic.Pointer[Setting]
	upcoming atomic.Pointer[epoch] // for the sender to go over to
	current  atomic.Pointer[epoch] // what the sender uses
	limit    atomic.Int64          // of a batch, in bytes

	// Written for each record by who tells outcomes.
	_       apart
	counts  counts
	mu      sync.Mutex
	acks    *latency.Histogram // of this second
	latency latency.Counts     // since the start
	freed   []*slot            // that are not in use any more
	told    told
	waiting int // records without an outcome
	_       apart

	// The sender's own.
	schedule *schedule.Schedule
	applied  *Setting
	size     int
	cost     int64
	id       message.Identity
	picked   uint64
	asked    uint64 // by the schedule
	free     []*slot
	made     uint64 // bytes of filler that slots have
	seen     int    // of touch
}

// apart keeps what one goroutine writes for each record away from what another
// one reads for each: processors pass whole cache lines, in pairs, to and fro.
type apart [128]byte

// reserve says how far ahead sequences are reserved. Far is cheap: what was
// reserved and not used costs one reading of the source log after a crash.
type reserve struct {
	seconds float64 // of load
	least   uint64  // for each stream
	guess   float64 // stands for a rate without a limit, in records per second
}

// ahead is how many sequences of each stream are reserved beyond what is used.
func (t *topic) ahead(partitions int) uint64 {
	rate := t.setting.Load().recordsPerSecond()
	if rate == schedule.Unlimited {
		rate = t.p.reserve.guess
	}
	return max(t.p.reserve.least, uint64(math.Ceil(rate*t.p.reserve.seconds/float64(partitions))))
}

// run sends what is due until ctx ends, or the topic has had all its records,
// or it is end (if that is not zero).
func (t *topic) run(ctx context.Context, start, end time.Time) error {
	var err error
	t.applied = t.setting.Load()
	if t.schedule, err = schedule.New(start, t.applied.recordsPerSecond()); err != nil {
		return err
	}
	t.resize()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		now := time.Now()
		last := !end.IsZero() && !now.Before(end)
		if last {
			now = end // what is due later is not part of the load
		}
		if err := t.adopt(now); err != nil {
			return err
		}
		if last && t.schedule.Rate() == schedule.Unlimited || t.complete() {
			return nil
		}
		if t.send(now) {
			continue
		}
		if last || t.complete() {
			return nil
		}
		wait := time.Hour // paused
		if d, ok := t.schedule.Wait(now); ok {
			wait = max(tick, d)
		}
		if !end.IsZero() {
			wait = min(wait, max(0, end.Sub(now)))
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-t.wake:
		}
	}
	return nil
}

func (t *topic) complete() bool {
	bound := t.p.cfg.Records
	return bound > 0 && t.asked >= bound
}

// adopt takes over a new setting and a new epoch.
func (t *topic) adopt(now time.Time) error {
	if s := t.setting.Load(); s != t.applied {
		if err := t.schedule.SetRate(now, s.recordsPerSecond()); err != nil {
			return err
		}
		t.applied = s
		t.resize()
	}
	if e := t.upcoming.Swap(nil); e != nil {
		old := t.current.Swap(e)
		old.retired.Store(true)
		t.id.Epoch = e.number
	}
	return nil
}

func (t *topic) resize() {
	t.size = int(t.applied.Size)
	t.cost = int64(t.size) + recordOverhead
}

// send takes one batch from the schedule and hands it to the client. It returns
// whether there may be more to do at once.
func (t *topic) send(now time.Time) (more bool) {
	t.settle() // the buffer may need the room
	limit := maxBatch
	if bound := t.p.cfg.Records; bound > 0 {
		limit = int(min(uint64(limit), bound-t.asked))
	}
	var (
		batch schedule.Batch
		room  int
		free  = t.schedule.Rate() == schedule.Unlimited
	)
	if free {
		// Nothing is due at a certain time: the buffer sets the pace.
		got := t.p.buffer.acquire(t.cost, limit)
		batch = t.schedule.Next(now, got)
		room = batch.Len()
		t.p.buffer.release(int64(got-room) * t.cost)
		t.p.buffer.note(now, got == 0)
	} else {
		batch = t.schedule.Next(now, limit)
		room = t.p.buffer.acquire(t.cost, batch.Len())
		if batch.Len() > 0 {
			t.p.buffer.note(now, room < batch.Len())
		}
	}
	asked := batch.Len()
	if asked == 0 {
		return false
	}
	more = true
	// All at once, since whoever notes outcomes writes to the same memory. None
	// of these can have an outcome before it is offered.
	t.expect(room)
	offered := 0
	var unreserved uint64
	for i := range room {
		if t.offer(t.p.clock.Micros(batch.At(i)), now) {
			offered++
			continue
		}
		if free { // wait for the ledger
			asked, more = i, false
			break
		}
		t.picked++
		unreserved++
	}
	if unsent := room - offered; unsent > 0 {
		t.p.buffer.release(int64(unsent) * t.cost)
		t.expect(-unsent)
		if free {
			room = offered
		}
	}
	t.asked += uint64(asked)
	t.counts.scheduled.Add(uint64(asked))
	t.counts.shedFull.Add(uint64(asked - room))
	t.counts.shedUnreserved.Add(unreserved)
	if !free {
		t.p.noteLate(time.Since(batch.At(0)))
	}
	return more
}

// expect counts records of which an outcome will be told.
func (t *topic) expect(n int) {
	t.p.pending.Add(n)
	t.counts.inFlight.Add(int64(n))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting += n
	if t.waiting == 0 {
		t.note()
	}
}

// offer hands one record to the client, or returns false if the ledger has not
// reserved a sequence for it. The record has room in the buffer, and counts as
// in flight. Its time is about now; intended is in Unix microseconds.
func (t *topic) offer(intended int64, now time.Time) bool {
	e := t.current.Load()
	partition, key := e.keys.Pick(t.picked)
	st := e.streams[partition]
	sequence, ok := st.take()
	if sequence >= st.renew.Load() {
		t.p.keeper.hurry()
	}
	if !ok {
		return false
	}
	t.picked++

	s := t.slot(t.size)
	s.stream, s.sequence, s.intended, s.cost = st, sequence, intended, t.cost
	s.lost = t.p.lost.Load()
	if cap(s.record.Value) > 2*t.size+4096 {
		s.record.Value = nil // a smaller size was set: the buffer counts on it
	}
	t.id.Partition, t.id.Sequence, t.id.Intended = partition, sequence, s.intended
	t.encoder.EncodeAgain(&s.record, &t.id, key, t.size, &s.payload)
	s.record.Timestamp = t.p.clock.At(now) // else the client would ask for the time once more

	st.used(sequence, intended)
	if limit := t.limit.Load(); largestBatch(units.Size(t.size)) > limit && batchSize(&s.record) > limit {
		// The client would send it, and the broker's refusal would take all that
		// waits for the same partition with it.
		s.finish(failure{reason: reasonTooLarge, certain: true})
		return true
	}
	t.p.hand(context.Background(), &s.record, s.promise)
	return true
}

// batchSize is what a batch of this record alone takes, as the client reckons.
func batchSize(r *kgo.Record) int64 {
	const overhead = 65 // of a batch and its length
	n := 3 +            // attributes, differences of time and offset
		kbin.VarintLen(int32(len(r.Key))) + len(r.Key) +
		kbin.VarintLen(int32(len(r.Value))) + len(r.Value) +
		kbin.VarintLen(int32(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		n += kbin.VarintLen(int32(len(h.Key))) + len(h.Key) + kbin.VarintLen(int32(len(h.Value))) + len(h.Value)
	}
	return int64(overhead + kbin.VarintLen(int32(n)) + n)
}
