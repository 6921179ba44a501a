package produce

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
)

// buffer bounds the memory of records that have no outcome yet, over all
// topics. Nobody ever waits for it.
type buffer struct {
	max  int64
	_    apart
	used atomic.Int64
	_    apart

	mu    sync.Mutex
	since time.Time     // when it became full; zero: it is not
	full  time.Duration // before that
}

// acquire takes room for up to n records of this cost and returns for how many
// there was room.
func (b *buffer) acquire(cost int64, n int) int {
	for {
		used := b.used.Load()
		got := min(int64(n), max(0, b.max-used)/cost)
		if got == 0 {
			return 0
		}
		if b.used.CompareAndSwap(used, used+got*cost) {
			return int(got)
		}
	}
}

func (b *buffer) release(cost int64) { b.used.Add(-cost) }

// note tells whether what was due at now found no room.
func (b *buffer) note(now time.Time, full bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case full && b.since.IsZero():
		b.since = now
	case !full && !b.since.IsZero():
		b.full += now.Sub(b.since)
		b.since = time.Time{}
	}
}

// fullFor is for how long the buffer was full in all.
func (b *buffer) fullFor(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.since.IsZero() {
		return b.full
	}
	return b.full + now.Sub(b.since)
}

// slot is one record on its way, with what is needed to note its outcome. A
// slot is used again and again, so that a record costs no allocation: not for
// its value, and not for a promise of its own either.
type slot struct {
	record kgo.Record
	// These stand beside the record's offset, which the client writes just before
	// it tells the outcome: they share a cache line.
	stream   *stream
	sequence uint64
	intended int64 // Unix microseconds
	cost     int64 // in the buffer

	payload message.Payload
	promise func(*kgo.Record, error) // resolve
	lost    uint64
	_       [16]byte // whole cache lines
}

// slot returns one that is not in use, for a message of this size. Outcomes are
// told from another goroutine than the sender's, which takes all that have
// gathered at once.
func (t *topic) slot(size int) *slot {
	if len(t.free) == 0 {
		t.mu.Lock()
		t.free, t.freed = t.freed, t.free
		t.mu.Unlock()
	}
	n := len(t.free)
	if n == 0 {
		x := &slot{}
		x.promise = x.resolve
		// Each slot has a part of the filler to itself, so that no two records on their way at once are alike.
		x.payload.Offset = t.made
		t.made += uint64(size)
		return x
	}
	if n%touched == 0 {
		t.touch(t.free[n-touched:])
	}
	x := t.free[n-1]
	t.free = t.free[:n-1]
	return x
}

// touched is how many slots are brought into the cache at once.
const touched = 16

// touch reads a byte of every cache line that offer is about to write. With many
// records on their way slots are out of the cache when their turn comes again:
// one after the other they would be waited for one after the other, and so the
// processor gets them all at the same time.
func (t *topic) touch(slots []*slot) {
	var sum int
	for _, s := range slots {
		sum += int(s.record.Partition) + int(s.record.Offset) + s.payload.Size() + int(s.lost)
		if v := s.record.Value; len(v) > 0 {
			sum += int(v[0]) + int(v[min(len(v)-1, 64)])
		}
		for i := range s.record.Headers {
			if v := s.record.Headers[i].Value; len(v) > 0 {
				sum += int(v[0])
			}
		}
	}
	t.seen = sum // else the compiler would see that nobody needs it
}
