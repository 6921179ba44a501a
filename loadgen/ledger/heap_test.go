package ledger

import (
	"runtime"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
)

// synthetic drives a partition's ledger with n records of a number of streams,
// of which gaps sequences never arrive, at 100,000 records a second. It calls
// TakeWindows every second, as a consumer does.
func synthetic(n, streams, gaps int) *Received {
	r := NewReceived("test", "orders", [16]byte{1}, 0, "w", 0, 0)
	o := Observation{Kind: message.OK, Bytes: 1000, ID: message.Identity{Producer: []byte("producer-0")}}
	next := make([]uint64, streams)
	every := n
	if gaps > 0 {
		every = n / gaps
	}
	for i := range n {
		s := i % streams
		if i%every == every-1 {
			next[s]++ // this one got lost
		}
		o.Offset = int64(i)
		o.At = 1_700_000_000_000_000 + int64(i)*10
		o.ID.Run, o.ID.Sequence, o.ID.Intended = uint64(s), next[s], o.At-int64(i%50_000)
		next[s]++
		r.Observe(&o)
		if i%100_000 == 0 {
			r.TakeWindows()
		}
	}
	r.TakeWindows()
	return r
}

func liveHeap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// sizeOf returns what a state takes in memory and in the ledger.
func sizeOf(t testing.TB, n, streams, gaps int) (heap, stored int) {
	t.Helper()
	before := liveHeap()
	started := time.Now()
	r := synthetic(n, streams, gaps)
	took := time.Since(started)
	heap = max(0, int(liveHeap())-int(before))
	data, err := r.Snapshot(0)
	if err != nil {
		t.Fatal(err)
	}
	if r.Records != uint64(n) || len(r.Streams) != streams {
		t.Fatalf("%d records of %d streams", r.Records, len(r.Streams))
	}
	t.Logf("%11d records, %4d streams, %6d gaps: heap %7d B, stored %7d B, %d ns each", n, streams, gaps, heap, len(data), took.Nanoseconds()/int64(n))
	return heap, len(data)
}

// What a consumer keeps in memory depends on streams and gaps, not on how many
// records it has read.
func TestHeapDoesNotGrowWithRecords(t *testing.T) {
	const few = fewRecords
	for _, shape := range []struct{ streams, gaps, many int }{{64, 1000, manyRecords}, {1, 0, 5 * few}, {64, 50_000, 5 * few}} {
		heap, stored := sizeOf(t, few, shape.streams, shape.gaps)
		moreHeap, moreStored := sizeOf(t, shape.many, shape.streams, shape.gaps)
		// Numbers that are a hundred times as large take a few bits more, above
		// all where they stand in a bitmap.
		if moreHeap > heap+heap/2+64<<10 || moreStored > 2*stored+4<<10 {
			t.Errorf("%d streams, %d gaps: %d B after %d records, %d B after %d (stored %d, %d)", shape.streams, shape.gaps, heap, few, moreHeap, shape.many, stored, moreStored)
		}
		if shape.gaps == 1000 && heap > 256<<10 {
			t.Errorf("%d B for %d streams and %d gaps", heap, shape.streams, shape.gaps)
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	b.ReportAllocs()
	r := NewReceived("test", "orders", [16]byte{1}, 0, "w", 0, 0)
	o := Observation{Kind: message.OK, Bytes: 1000, ID: message.Identity{Producer: []byte("producer-0")}}
	for i := range b.N {
		o.Offset, o.At = int64(i), 1_700_000_000_000_000+int64(i)*10
		o.ID.Run, o.ID.Sequence, o.ID.Intended = uint64(i%8), uint64(i/8), o.At-1000
		r.Observe(&o)
		if i%100_000 == 0 {
			r.TakeWindows()
		}
	}
}

// BenchmarkHeap is one state after 100 million records.
func BenchmarkHeap(b *testing.B) {
	for range b.N {
		heap, stored := sizeOf(b, 100_000_000, 64, 1000)
		b.ReportMetric(float64(heap), "heap-B")
		b.ReportMetric(float64(stored), "stored-B")
	}
}
