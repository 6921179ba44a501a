package ledger

import (
	"fmt"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
)

// arrivals is a stream of observations of one partition: what comes of each of many streams in turn,
// in runs as batches make them.
type arrivals struct {
	next    []uint64
	stream  int
	left    int // of the run
	run     int
	offset  int64
	every   int // each so many records one is lost, or comes again
	replays bool
	obs     Observation
}

func (a *arrivals) observe(r *Received) {
	if a.left == 0 {
		a.left = a.run
		a.stream++
		if a.stream == len(a.next) {
			a.stream = 0
		}
	}
	a.left--
	a.offset++
	sequence := a.next[a.stream]
	if a.every > 0 && a.offset%int64(a.every) == 0 {
		if a.replays {
			sequence -= min(sequence, 1) // the one before, again
		} else {
			sequence++ // this one got lost
		}
	}
	a.next[a.stream] = sequence + 1
	a.obs.Offset, a.obs.At = a.offset, 1_700_000_000_000_000+a.offset
	a.obs.ID.Run, a.obs.ID.Sequence, a.obs.ID.Intended = uint64(a.stream)*0x9e3779b97f4a7c15, sequence, a.obs.At-1000-a.offset&1023
	r.Observe(&a.obs)
	if a.offset%1_000_000 == 0 {
		r.TakeWindows()
	}
}

// What it costs to observe a record, its checksum apart, on one core; and the memory that the state takes.
func BenchmarkVerify(b *testing.B) {
	for _, streams := range []int{1, 1000, 100_000} {
		for _, load := range []struct {
			name    string
			every   int
			replays bool
		}{{"steady", 0, false}, {"loss=1%", 100, false}, {"replays=1%", 100, true}} {
			b.Run(fmt.Sprintf("streams=%d/%s", streams, load.name), func(b *testing.B) {
				before := liveHeap()
				r := NewReceived("test", "orders", [16]byte{1}, 0, "w", 0, 0)
				a := &arrivals{next: make([]uint64, streams), run: 10, every: load.every, replays: load.replays}
				a.obs = Observation{Kind: message.OK, Bytes: 1000, ID: message.Identity{Producer: []byte("producer-0")}}
				for range 10 * streams { // each is known
					a.observe(r)
				}
				b.ResetTimer()
				b.ReportAllocs()
				for range b.N {
					a.observe(r)
				}
				b.StopTimer()
				b.ReportMetric(float64(max(0, int(liveHeap())-int(before))), "heap-B")
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "M/s")
				if r.Records == 0 {
					b.Fatal("nothing was observed")
				}
			})
		}
	}
}
