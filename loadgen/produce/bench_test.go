package produce

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
)

// ownPart is a sender whose client acknowledges everything at once.
func ownPart(tb testing.TB, headers bool) *topic {
	cfg := testConfig("orders")
	cfg.MessageSize, cfg.Throughput, cfg.UseMessageHeaders = 1000, unlimited, headers
	p, _ := newProducer(tb, cfg)
	t := p.topics[0]
	e, err := p.newEpoch(t, 0, make([]int64, 8))
	if err != nil {
		tb.Fatal(err)
	}
	t.current.Store(e)
	for _, s := range e.streams {
		s.publish(1<<40, 0)
	}
	p.answered.Store(time.Now().UnixMicro())
	var offset int64
	p.hand = func(_ context.Context, r *kgo.Record, promise func(*kgo.Record, error)) {
		r.Offset = offset
		offset++
		promise(r, nil)
	}
	t.applied = t.setting.Load()
	t.resize()
	t.expect(1) // others are always on their way
	return t
}

// sendOne does what send does for each record.
func (t *topic) sendOne(tb testing.TB, now time.Time) {
	if t.p.buffer.acquire(t.cost, 1) != 1 {
		tb.Fatal("no room")
	}
	t.expect(1)
	if !t.offer(now.UnixMicro(), now) {
		tb.Fatal("not sent")
	}
}

// Our own part of a record, without the client's.
func BenchmarkOwnPart(b *testing.B) {
	for name, headers := range map[string]bool{message.FormatValue.String(): false, message.FormatHeaders.String(): true} {
		b.Run(name, func(b *testing.B) {
			t := ownPart(b, headers)
			b.SetBytes(1000)
			b.ReportAllocs()
			now := time.Now()
			for b.Loop() {
				t.sendOne(b, now)
			}
		})
	}
}

// A record costs no allocation of ours.
func TestNoAllocations(t *testing.T) {
	for _, headers := range []bool{false, true} {
		x := ownPart(t, headers)
		now := time.Now()
		if n := testing.AllocsPerRun(10_000, func() {
			x.sendOne(t, now)
		}); n > 0 {
			t.Errorf("headers %t: %v allocations for each record", headers, n)
		}
	}
}

// Acknowledgements are noted together, but nobody who looks misses one.
func TestWhatWasToldIsNoted(t *testing.T) {
	const n = 10
	told := func() *topic {
		x := ownPart(t, false)
		x.p.answered.Store(time.Now().Add(time.Second).UnixMicro())
		for range n {
			x.sendOne(t, time.Now())
		}
		return x
	}
	x := told()
	acked := uint64(0)
	for _, s := range x.current.Load().streams {
		sent := s.snapshot(false, 0)
		acked += sent.Acked.Len()
	}
	if acked != n {
		t.Errorf("the ledger has %d acknowledgements, want %d", acked, n)
	}
	x = told()
	if p := x.p.Progress(); p.Acked != n || p.Bytes != n*1000 || p.InFlight != 1 {
		t.Errorf("%+v", p)
	}
	x = told()
	if r := x.p.rate(0, map[*topic]ledger.TopicRate{}); r.Acked != n || len(r.Topics) != 1 || r.Topics[0].AckP99 < 1000 {
		t.Errorf("%+v", r)
	}
	x = told()
	for _, s := range x.current.Load().streams {
		s.suspect()
	}
	marked := uint64(0)
	for _, s := range x.current.Load().streams {
		marked += s.suspects()
	}
	if marked != n {
		t.Errorf("%d acknowledgements are suspect, want %d", marked, n)
	}
	x = told()
	x.expect(-1) // the others have their outcome too
	if x.counts.acked.Load() != n || x.counts.inFlight.Load() != 0 || x.p.buffer.used.Load() != 0 {
		t.Errorf("acked %d, in flight %d, buffered %d", x.counts.acked.Load(), x.counts.inFlight.Load(), x.p.buffer.used.Load())
	}
}

// All of it, with the client and a cluster that throws the records away.
func BenchmarkProduce(b *testing.B) {
	c := newCluster(b, kfake.NumBrokers(1), kfake.SeedTopics(4, "orders"), kfake.BlackholeProduce())
	cfg := testConfig("orders")
	cfg.SetDefaults()
	cfg.TestID, cfg.ID, cfg.Topics = testID, "producer-1", []string{"orders"}
	cfg.Throughput, cfg.Records = unlimited, uint64(b.N)
	p, _ := newProducer(b, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
	b.SetBytes(1000)
	b.ReportAllocs()
	b.ResetTimer()
	if err := p.Run(b.Context()); err != nil {
		b.Fatal(err)
	}
	if n := p.Progress(); n.Acked != uint64(b.N) {
		b.Fatalf("%+v", n)
	}
}
