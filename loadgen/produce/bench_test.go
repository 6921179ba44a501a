package produce

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

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
