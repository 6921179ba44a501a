package verdict

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
)

// longRun is the ledger of a destination that has got a billion messages of a run, all partitions
// together, of which one in lossOf was lost (0: none).
func longRun(tb testing.TB, run uint64, partitions, lossOf int) [][]byte {
	const messages = 1_000_000_000
	tb.Helper()
	var out [][]byte
	each := uint64(messages / partitions)
	for p := range int32(partitions) {
		r := ledger.NewReceived("test", "orders", [16]byte{1}, p, "w", 0, 0)
		o := ledger.Observation{Kind: message.OK, Bytes: 1000, ID: message.Identity{Producer: []byte("producer-0"), Run: run, Partition: p}}
		for i := range int64(2000) {
			o.Offset, o.At = i, 1_700_000_000_000_000+i*100
			o.ID.Sequence, o.ID.Intended = uint64(i), o.At-1000-i
			r.Observe(&o)
		}
		// What comes then is all alike.
		st := r.Streams[0]
		from := uint64(2000)
		if lossOf > 0 {
			for ; from+uint64(lossOf) <= each; from += uint64(lossOf) {
				st.Seen.AddRange(from, from+uint64(lossOf)-1)
			}
		}
		st.Seen.AddRange(from, each)
		st.Arrivals, st.Highest = st.Seen.Len(), each-1
		r.Next, r.Records, r.Bytes = int64(st.Arrivals), st.Arrivals, st.Arrivals*1000
		data, err := r.Snapshot(0)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, data)
	}
	return out
}

func restored(tb testing.TB, data [][]byte) []*ledger.Received {
	tb.Helper()
	var out []*ledger.Received
	for _, d := range data {
		r, err := ledger.Restore(d)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// What the ledger of a billion messages takes in the topic and in memory, what it costs to store it
// once and to read it, and to merge a hundred of them (or ten), read from the topic first.
func BenchmarkLedger(b *testing.B) {
	for _, partitions := range []int{150, 3000} {
		for _, lossOf := range []int{0, 100_000} {
			name := fmt.Sprintf("partitions=%d/lost=0", partitions)
			if lossOf > 0 {
				name = fmt.Sprintf("partitions=%d/lost=1 in %d", partitions, lossOf)
			}
			b.Run(name+"/store", func(b *testing.B) {
				data := longRun(b, 1, partitions, lossOf)
				stored := 0
				for _, d := range data {
					stored += len(d)
				}
				before := heap()
				states := restored(b, data)
				inMemory := max(0, int(heap())-int(before))
				for b.Loop() {
					for _, r := range states {
						if _, err := r.Snapshot(0); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportMetric(float64(stored), "stored-B")
				b.ReportMetric(float64(inMemory), "heap-B")
			})
			many := min(100, 30_000/partitions)
			b.Run(fmt.Sprintf("%s/merge=%d", name, many), func(b *testing.B) {
				var data [][]byte
				for run := range uint64(many) {
					data = append(data, longRun(b, run, partitions, lossOf)...)
				}
				for b.Loop() {
					if n := len(Seen(restored(b, data))); n != many*partitions {
						b.Fatalf("%d streams", n)
					}
				}
			})
		}
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
