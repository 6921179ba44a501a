package consume

import (
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
)

// fetchOf is a fetch of n good records of a kilobyte, of two streams.
func fetchOf(t testing.TB, n int) *kgo.FetchPartition {
	t.Helper()
	filler, err := message.NewFiller(1, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	enc := message.NewEncoder(message.FormatValue, "orders", filler)
	fp := &kgo.FetchPartition{HighWatermark: int64(n)}
	for i := range n {
		id := message.Identity{Test: message.TestHash(testID), Producer: []byte("producer-0"), Run: uint64(i % 2), Sequence: uint64(i / 2), Intended: 1_700_000_000_000_000}
		rec := &kgo.Record{}
		enc.Encode(rec, &id, []byte("key"), 1000)
		rec.Offset, rec.Timestamp = int64(i), time.UnixMicro(1_700_000_000_100_000)
		fp.Records = append(fp.Records, rec)
	}
	return fp
}

func benchPartition() *partition {
	p := &partition{topicPartition: topicPartition{"orders", 0}, stats: &topicStats{}}
	p.state = ledger.NewReceived(testID, "orders", [16]byte{1}, 0, "w", 0, 0)
	return p
}

// advance makes the fetch the next one of the same partition. The checksums do
// not cover where a record lies, but they do cover its sequence: it is the
// state that is moved back.
func advance(p *partition, fp *kgo.FetchPartition) {
	for _, r := range fp.Records {
		r.Offset += int64(len(fp.Records))
	}
	fp.HighWatermark += int64(len(fp.Records))
	for _, s := range p.state.Streams {
		s.Seen = intervals.Set{}
		s.Arrivals, s.Highest = 0, 0
	}
}

func TestNothingIsAllocatedForARecord(t *testing.T) {
	const n = 1000
	p, fp, decoder, now := benchPartition(), fetchOf(t, n), message.NewDecoder(testID), time.Now()
	take := func() {
		if err := p.take(fp, decoder, now); err != nil {
			t.Fatal(err)
		}
		advance(p, fp)
	}
	take() // the first one makes the streams and the window
	// A set that was emptied takes a little memory for its first range.
	if got := testing.AllocsPerRun(20, take); got > 4 {
		t.Errorf("%v allocations for %d records", got, n)
	}
	if p.state.Records != 22*n || p.state.Duplicate != 0 || len(p.state.Kinds) != 0 {
		t.Errorf("%d records, %d duplicates, %v", p.state.Records, p.state.Duplicate, p.state.Kinds)
	}
}

// A partition to which nothing more comes must not keep the fetch in memory that it was read with.
func TestNoFetchIsKept(t *testing.T) {
	p, fp, decoder := benchPartition(), fetchOf(t, 10), message.NewDecoder(testID)
	var values []weak.Pointer[byte]
	for _, r := range fp.Records {
		values = append(values, weak.Make(&r.Value[0]))
	}
	p.fetched = append(p.fetched, *fp)
	if err := p.takeAll(decoder, time.Now()); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	for i, v := range values {
		if v.Value() != nil {
			t.Errorf("record %d is still in memory", i)
		}
	}
	if p.state.Records != 10 || p.state.Streams[0].Producer != "producer-0" {
		t.Errorf("%d records, of %q", p.state.Records, p.state.Streams[0].Producer)
	}
}

// The path of a record from the client's hands into the state.
func BenchmarkTake(b *testing.B) {
	const n = 1000
	p, fp, decoder, now := benchPartition(), fetchOf(b, n), message.NewDecoder(testID), time.Now()
	b.ReportAllocs()
	b.SetBytes(int64(len(fp.Records[0].Value)))
	b.ResetTimer() // most of a short run
	for i := 0; i < b.N; i += n {
		if err := p.take(fp, decoder, now); err != nil {
			b.Fatal(err)
		}
		advance(p, fp)
	}
}
