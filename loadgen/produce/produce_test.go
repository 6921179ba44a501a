package produce

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/wallclock"
	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

// However it is produced, the ledger says what the raw log says.
func TestLedgerIsTheLog(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"defaults":  func(*Config) {},
		"headers":   func(c *Config) { c.UseMessageHeaders = true; c.MessageSize = 0 },
		"seed keys": func(c *Config) { c.Keys = message.KeysSeed },
		"acks 1":    func(c *Config) { c.Acks, c.Idempotent = AcksLeader, false },
		"zstd":      func(c *Config) { c.Compression = "zstd"; c.Compressibility = 0.8 },
		"no linger": func(c *Config) { c.Linger = 0 },
		// Two records and a linger each time: fewer of them, since a busy machine wakes late.
		"one a time": func(c *Config) { c.MaxBuffered, c.Records = 2*(200+recordOverhead), 400 },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, kfake.SeedTopics(4, "orders"))
			cfg := testConfig("orders")
			cfg.Throughput, cfg.Records = unlimited, 3000
			change(&cfg)
			l := start(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
			if err := l.wait(); err != nil {
				t.Fatal(err)
			}
			log := readLog(t, c, "orders")
			sent := lastLedger(t, c)
			checkLedger(t, sent, map[string][][]written{"orders": log}, false)
			if n := uint64(len(flat(log))); n != cfg.Records || sent.Scheduled != cfg.Records || sent.Shed != 0 {
				t.Errorf("%d records in the log, %d scheduled, %d shed, want %d, as many, 0", n, sent.Scheduled, sent.Shed, cfg.Records)
			}
			var bytes uint64
			for _, w := range flat(log) {
				bytes += uint64(w.size)
				if w.size != int(cfg.MessageSize) {
					t.Fatalf("size %d, want %d", w.size, cfg.MessageSize)
				}
				if at := message.PartitionFor(w.key, 4); at != w.Partition {
					t.Fatalf("key %s lands on partition %d, and is on %d", w.key, at, w.Partition)
				}
			}
			if sent.Bytes != bytes {
				t.Errorf("%d bytes, %d in the log", sent.Bytes, bytes)
			}
			if sent.Ordered != cfg.Idempotent {
				t.Errorf("ordered %t", sent.Ordered)
			}
			if cfg.Keys == message.KeysBalanced {
				for p, part := range log {
					if want := int(cfg.Records) / 4; len(part) != want {
						t.Errorf("partition %d has %d records, want %d", p, len(part), want)
					}
				}
			}
		})
	}
}

// Without acknowledgements nothing is claimed to be acknowledged.
func TestWithoutAcks(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(2, "orders"))
	cfg := testConfig("orders")
	cfg.Acks, cfg.Idempotent = AcksNone, false
	cfg.Throughput, cfg.Records = unlimited, 1000
	if err := start(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...)).wait(); err != nil {
		t.Fatal(err)
	}
	sent := lastLedger(t, c)
	checkLedger(t, sent, map[string][][]written{"orders": readLog(t, c, "orders")}, true)
	for _, s := range sent.Streams {
		if !s.Acked.Empty() || s.Last != nil {
			t.Errorf("%v: %d acknowledged", s.Stream, s.Acked.Len())
		}
	}
}

// A second life of the same producer has streams of its own, beside those of
// the first.
func TestSecondLife(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(2, "orders"))
	cfg := testConfig("orders")
	cfg.Throughput, cfg.Records = unlimited, 100
	for range 2 {
		if err := start(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...)).wait(); err != nil {
			t.Fatal(err)
		}
	}
	snapshots, _ := ledgerOf(t, c)
	last := map[uint64]*ledger.Sent{}
	for _, s := range snapshots {
		last[s.Run] = s
	}
	if len(last) != 2 {
		t.Fatalf("%d lives in the ledger, want 2", len(last))
	}
	log := readLog(t, c, "orders")
	for run, sent := range last {
		own := make([][]written, len(log))
		for p := range log {
			for _, w := range log[p] {
				if w.Run == run {
					own[p] = append(own[p], w)
				}
			}
		}
		checkLedger(t, sent, map[string][][]written{"orders": own}, false)
	}
}

// Each topic has its own rate, and a duration has
// exactly as many records as the rate says.
func TestTopicsWithDifferentRates(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(3, "fast", "slow"))
	cfg := testConfig("fast", "slow")
	cfg.Duration = 500 * time.Millisecond
	p, _ := newProducer(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
	if err := p.SetRate("fast", perSecond(2000)); err != nil {
		t.Fatal(err)
	}
	if err := p.SetRate("slow", perSecond(20)); err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	logs := map[string][][]written{"fast": readLog(t, c, "fast"), "slow": readLog(t, c, "slow")}
	checkLedger(t, lastLedger(t, c), logs, false)
	for topic, want := range map[string]struct {
		records int
		every   int64
	}{"fast": {1000, 500}, "slow": {10, 50_000}} {
		times := intendedTimes(logs[topic])
		if len(times) != want.records {
			t.Errorf("%s: %d records, want %d", topic, len(times), want.records)
		}
		checkSpacing(t, times, want.every)
	}
}

// checkSpacing allows for a wall clock that is being corrected meanwhile. Times
// of sending would come in bunches of the sender's ticks, a millisecond apart.
func checkSpacing(t testing.TB, times []int64, every int64) {
	t.Helper()
	for i := 1; i < len(times); i++ {
		if gap := times[i] - times[i-1]; gap < every-100 || gap > every+100 {
			t.Fatalf("%d µs between records %d and %d, want %d", gap, i-1, i, every)
		}
	}
}

// While the broker does not answer, the schedule goes on: what fits into the
// buffer keeps its intended time, the rest is shed without a sequence.
func TestSlowBroker(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(2, "orders"))
	release := stall(t, c, "orders")
	cfg := testConfig("orders")
	cfg.Throughput, cfg.Records = perSecond(1000), 400
	cfg.MaxBuffered = 100 * (200 + recordOverhead)
	l := start(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
	l.eventually("the schedule's end", func() bool { return l.Progress().Scheduled == 400 })
	if p := l.Progress(); p.Acked != 0 || p.InFlight != 100 || p.Shed != 300 {
		t.Errorf("%+v, want 100 in flight and 300 shed", p)
	}
	release()
	if err := l.wait(); err != nil {
		t.Fatal(err)
	}
	log := readLog(t, c, "orders")
	sent := lastLedger(t, c)
	checkLedger(t, sent, map[string][][]written{"orders": log}, false)
	times := intendedTimes(log)
	if len(times) != 100 || sent.Shed != 300 || sent.Scheduled != 400 {
		t.Fatalf("%d records, %d shed of %d", len(times), sent.Shed, sent.Scheduled)
	}
	checkSpacing(t, times, 1000)
	if sent.Full < 250_000 {
		t.Errorf("the buffer was full for %d µs, want some 300,000", sent.Full)
	}
	// The first records waited until the last ones were due, and that is seen.
	_, rates := ledgerOf(t, c)
	var worst int64
	var sum ledger.TopicRate
	for _, r := range rates {
		for _, x := range r.Topics {
			worst = max(worst, x.AckP99)
			sum.Scheduled += x.Scheduled
			sum.Acked += x.Acked
			sum.Shed += x.Shed
			sum.Bytes += x.Bytes
		}
	}
	if worst < 250_000 {
		t.Errorf("99th percentile of latency is %d µs: it does not count from intended times", worst)
	}
	if sum.Scheduled != 400 || sum.Acked != 100 || sum.Shed != 300 || sum.Bytes != 20_000 {
		t.Errorf("rates add up to %+v", sum)
	}
}

// The rate is as the buffer allows, without shedding.
func TestUnlimitedRateShedsNothing(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(2, "orders"))
	release := stall(t, c, "orders")
	cfg := testConfig("orders")
	cfg.Throughput = unlimited
	cfg.MaxBuffered = 50 * (200 + recordOverhead)
	l := start(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
	l.eventually("a full buffer", func() bool { return l.Progress().InFlight == 50 && l.Progress().Full > 0 })
	if p := l.Progress(); p.Scheduled != 50 || p.Shed != 0 {
		t.Errorf("%+v", p)
	}
	release()
	l.acked(5000)
	if err := l.stopAndWait(); err != nil {
		t.Fatal(err)
	}
	sent := lastLedger(t, c)
	checkLedger(t, sent, map[string][][]written{"orders": readLog(t, c, "orders")}, false)
	if sent.Shed != 0 || sent.Full == 0 {
		t.Errorf("%d shed, buffer full for %d µs", sent.Shed, sent.Full)
	}
}

// A slow ledger costs records once the reserve is used up, and never sends
// what is not reserved.
func TestSlowLedger(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(1, "orders"))
	cfg := testConfig("orders")
	cfg.Throughput = perSecond(10) // reserves 1,000
	l := start(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
	l.acked(1)
	release := stall(t, c, ledger.SourceTopic)
	if err := l.SetRate("orders", perSecond(20_000)); err != nil {
		t.Fatal(err)
	}
	l.eventually("shed records", func() bool { return l.Progress().Shed > 1000 })
	before, _ := ledgerOf(t, c)
	reserved := before[len(before)-1].Streams[0].Reserved
	for _, w := range flat(readLog(t, c, "orders")) {
		if w.Sequence >= reserved {
			t.Fatalf("sequence %d was sent, %d are reserved", w.Sequence, reserved)
		}
	}
	if n := l.topics[0].counts.shedFull.Load(); n != 0 {
		t.Errorf("%d shed for a full buffer", n)
	}
	release()
	l.acked(reserved + 1000)
	if err := l.stopAndWait(); err != nil {
		t.Fatal(err)
	}
	checkLedger(t, lastLedger(t, c), map[string][][]written{"orders": readLog(t, c, "orders")}, false)
}

// A record that is too large fails alone, whatever lies before and behind it.
func TestTooLarge(t *testing.T) {
	t.Run("idempotent", func(t *testing.T) { tooLarge(t, func(*Config) {}) })
	t.Run("many requests in flight", func(t *testing.T) {
		tooLarge(t, func(c *Config) { c.Idempotent, c.MaxInFlight = false, 5 })
	})
}

func tooLarge(t *testing.T, change func(*Config)) {
	c := newCluster(t, kfake.SeedTopics(2, "orders"))
	setLimit(t, c, "orders", "10000")
	cfg := testConfig("orders")
	cfg.Throughput = perSecond(5000)
	change(&cfg)
	l := start(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
	for round := uint64(1); round <= 3; round++ {
		l.acked(l.Progress().Acked + 100)
		if err := l.SetMessageSize("orders", 20_000); err != nil {
			t.Fatal(err)
		}
		l.eventually("failures", func() bool { return l.Progress().Failed >= 100*round })
		if err := l.SetMessageSize("orders", 5000); err != nil {
			t.Fatal(err)
		}
	}
	l.acked(l.Progress().Acked + 100)
	if err := l.stopAndWait(); err != nil {
		t.Fatal(err)
	}
	sent := lastLedger(t, c)
	checkLedger(t, sent, map[string][][]written{"orders": readLog(t, c, "orders")}, false)
	if sum := l.Progress(); sum.Scheduled != sum.Acked+sum.Failed || sum.Unresolved+sum.Shed > 0 {
		t.Errorf("%+v", sum)
	}
	for _, s := range sent.Streams {
		failed := s.Failed[reasonTooLarge]
		if len(s.Failed) != 1 || failed == nil {
			t.Errorf("%v: failures %v", s.Stream, s.Failed)
			continue
		}
		if first := failed.Ranges(1)[0].From; first >= s.Next || s.Acked.Len() <= first {
			t.Errorf("%v: nothing was acknowledged after sequence %d failed", s.Stream, first)
		}
	}
	if !bytes.Contains([]byte(l.log.String()), []byte("too large for the topic")) {
		t.Error("no warning was logged")
	}
}

// The largest record that the topic takes is written, one byte more is not.
func TestLargestRecord(t *testing.T) {
	for _, headers := range []bool{false, true} {
		c := newCluster(t, kfake.SeedTopics(1, "orders"))
		setLimit(t, c, "orders", "3000000")
		cfg := testConfig("orders")
		cfg.UseMessageHeaders = headers
		cfg.Records = 1
		probe, _ := newProducer(t, cfg)
		// Of the same shape as what will be sent.
		r := kgo.Record{}
		keys, err := message.NewKeys(cfg.Keys, 1, message.DefaultKeysPerPartition)
		if err != nil {
			t.Fatal(err)
		}
		_, key := keys.Pick(0)
		id := probe.topics[0].id
		id.Intended = time.Now().UnixMicro()
		probe.topics[0].encoder.Encode(&r, &id, key, 2_900_000)
		largest := 2_900_000 + int(3_000_000-batchSize(&r))

		for size, want := range map[int]bool{largest: true, largest + 1: false} {
			cfg := cfg
			cfg.Throughput = perSecond(1e-6)
			l := start(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
			l.eventually("readiness", func() bool { return l.Ready() == nil })
			if err := l.SetMessageSize("orders", units.Size(size)); err != nil {
				t.Fatal(err)
			}
			if err := l.SetRate("orders", unlimited); err != nil {
				t.Fatal(err)
			}
			if err := l.wait(); err != nil {
				t.Fatal(err)
			}
			if p := l.Progress(); (p.Acked == 1) != want || (p.Failed == 1) == want {
				t.Errorf("headers %t, %d bytes: %+v", headers, size, p)
			}
		}
	}
}

// When the broker itself refuses, because its limit was lowered, nothing is
// claimed that is not so, and the load goes on when it is raised again.
func TestBrokerRefuses(t *testing.T) {
	for _, idempotent := range []bool{true, false} {
		c := newCluster(t, kfake.SeedTopics(2, "orders"))
		cfg := testConfig("orders")
		cfg.Idempotent = idempotent
		if !idempotent {
			cfg.MaxInFlight = 5
		}
		cfg.Throughput, cfg.MessageSize = perSecond(5000), 2000
		l := start(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
		l.acked(200)
		setLimit(t, c, "orders", "1000")
		l.eventually("refusals", func() bool { return l.Progress().Failed+l.Progress().Unresolved > 200 })
		setLimit(t, c, "orders", "1000000")
		l.acked(l.Progress().Acked + 500)
		if err := l.stopAndWait(); err != nil {
			t.Fatal(err)
		}
		sent := lastLedger(t, c)
		checkLedger(t, sent, map[string][][]written{"orders": readLog(t, c, "orders")}, !idempotent)
		if p := l.Progress(); idempotent && p.Unresolved > 0 || !idempotent && p.Failed > 0 {
			t.Errorf("idempotent %t: %+v", idempotent, p)
		}
	}
}

// When a topic grows, every partition gets a new stream, and keys spread over
// all of them.
func TestGrowth(t *testing.T) {
	for _, keys := range []string{message.KeysBalanced, message.KeysSeed} {
		c := newCluster(t, kfake.SeedTopics(2, "orders"))
		cfg := testConfig("orders")
		cfg.Throughput, cfg.Keys = perSecond(5000), keys
		l := start(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
		l.acked(100)
		for epoch, partitions := range []int{5, 6} {
			addPartitions(t, c, "orders", partitions)
			l.eventually("the new epoch", func() bool { e := l.topics[0].current.Load(); return int(e.number) == epoch+1 })
			l.acked(l.Progress().Acked + 200)
		}
		if err := l.keeper.now(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := l.stopAndWait(); err != nil {
			t.Fatal(err)
		}
		log := readLog(t, c, "orders")
		snapshots, _ := ledgerOf(t, c)
		sent := snapshots[len(snapshots)-1]
		checkLedger(t, sent, map[string][][]written{"orders": log}, false)
		if len(sent.Streams) != 2+5+6 {
			t.Errorf("%d streams, want 13", len(sent.Streams))
		}
		count := []int{2, 5, 6}
		for p, part := range log {
			var epochs []uint32
			for _, w := range part {
				if at := message.PartitionFor(w.key, count[w.Epoch]); at != w.Partition {
					t.Fatalf("epoch %d: key %s lands on partition %d, and is on %d", w.Epoch, w.key, at, w.Partition)
				}
				epochs = append(epochs, w.Epoch)
			}
			if !slices.IsSorted(epochs) {
				t.Errorf("partition %d: epochs are mixed", p)
			}
			if len(part) == 0 || part[len(part)-1].Epoch != 2 {
				t.Errorf("partition %d has nothing of the last epoch", p)
			}
		}
		// Retired streams reserve nothing, also while the load runs.
		before := snapshots[len(snapshots)-2]
		for _, s := range before.Streams {
			if s.Stream.Epoch > 0 && s.Began < sent.Started+time.Millisecond.Microseconds() {
				t.Errorf("%v: began at %d, as if with its producer at %d", s.Stream, s.Began, sent.Started)
			}
			if s.Stream.Epoch < 2 && s.Reserved > max(s.Next, 4) {
				t.Errorf("%v: %d reserved, %d used", s.Stream, s.Reserved, s.Next)
			}
		}
	}
}

func TestSetRate(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(1, "orders"))
	cfg := testConfig("orders")
	cfg.Throughput = perSecond(0.001) // one record in 17 minutes
	l := start(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
	l.eventually("readiness", func() bool { return l.Ready() == nil })
	if err := l.SetRate("orders", perSecond(1000)); err != nil {
		t.Fatal(err)
	}
	l.acked(100)
	if err := l.SetRate("orders", perSecond(5000)); err != nil {
		t.Fatal(err)
	}
	l.acked(1000)
	wantError(t, l.SetRate("orders", perSecond(0)), "throughput 0/s", "more than 0")
	wantError(t, l.SetRate("orders", perSecond(-1)), "throughput -1/s")
	wantError(t, l.SetRate("others", perSecond(1)), `"others"`)
	wantError(t, l.SetMessageSize("orders", 10), "10 B is too small", "producer-1")
	if err := l.stopAndWait(); err != nil {
		t.Fatal(err)
	}
	log := readLog(t, c, "orders")
	checkLedger(t, lastLedger(t, c), map[string][][]written{"orders": log}, false)
	times := intendedTimes(log)
	change := 1
	for change < len(times) && times[change]-times[change-1] > 900 {
		change++
	}
	if change < 100 {
		t.Fatalf("only %d records at the first rate", change)
	}
	checkSpacing(t, times[:change], 1000)
	checkSpacing(t, times[change:], 200)
}

// Acknowledged and then lost: the client notices, and the ledger says so.
func TestDataLoss(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(1, "orders"))
	cfg := testConfig("orders")
	cfg.Throughput = perSecond(2000)
	l := start(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
	l.acked(100)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "orders", Err: kerr.OutOfOrderSequenceNumber})
	l.eventually("the loss", func() bool { return l.losses.Load() > 0 })
	l.acked(l.Progress().Acked + 100)
	if err := l.stopAndWait(); err != nil {
		t.Fatal(err)
	}
	sent := lastLedger(t, c)
	if n := sent.Streams[0].Suspect.Len(); n < 100 || n >= sent.Streams[0].Acked.Len() {
		t.Errorf("%d suspects of %d", n, sent.Streams[0].Acked.Len())
	}
	if sent.Ordered {
		t.Error("the log is still claimed to be in order")
	}
}

// A broker that never answers does not hold up the stop: what has no outcome
// stays open in a closed ledger.
func TestStopWithoutAnswers(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(1, "orders"))
	cfg := testConfig("orders")
	cfg.Throughput, cfg.ShutdownTimeout = perSecond(2000), 200*time.Millisecond
	l := start(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
	l.acked(100)
	stall(t, c, "orders")
	l.eventually("records on the way", func() bool { return l.Progress().InFlight > 100 })
	if err := l.stopAndWait(); err != nil {
		t.Fatal(err)
	}
	sent := lastLedger(t, c)
	checkLedger(t, sent, map[string][][]written{"orders": readLog(t, c, "orders")}, true)
	s := sent.Streams[0]
	if p := l.Progress(); p.Unresolved == 0 || p.Failed != 0 || p.InFlight != 0 || s.Next != s.Acked.Len()+p.Unresolved+1 {
		t.Errorf("%+v, next %d", p, s.Next)
	}
}

// Topics are made as asked for, and so that they take the messages.
func TestCreateTopics(t *testing.T) {
	c := newCluster(t)
	cfg := testConfig("orders", "invoices")
	cfg.CreateTopics, cfg.NumPartitions, cfg.NumReplicas, cfg.Retention = true, 3, 2, time.Minute
	cfg.MessageSize, cfg.Records = 3_000_000, 5
	if err := start(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...)).wait(); err != nil {
		t.Fatal(err)
	}
	logs := map[string][][]written{}
	for _, topic := range cfg.Topics {
		info := c.TopicInfo(topic)
		if info.NumReplicas != 2 || *info.Configs["retention.ms"] != "60000" {
			t.Errorf("%s: %d replicas, retention %s", topic, info.NumReplicas, *info.Configs["retention.ms"])
		}
		logs[topic] = readLog(t, c, topic)
		if len(logs[topic]) != 3 || len(flat(logs[topic])) != 5 {
			t.Errorf("%s: %d partitions, %d records", topic, len(logs[topic]), len(flat(logs[topic])))
		}
	}
	checkLedger(t, lastLedger(t, c), logs, false)
}

// A moved leader costs nothing.
// A clock that is wrong is wrong in every time that the producer sends or stores, and in nothing that it does.
func TestWrongClock(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(1, "orders"))
	cfg := testConfig("orders")
	cfg.Throughput, cfg.Records = perSecond(2000), 1000
	p, out := newProducer(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
	const behind = time.Hour
	p.clock = wallclock.New(wallclock.Error{Offset: -behind})
	begin := time.Now()
	l := launch(t, p, out)
	if err := l.wait(); err != nil {
		t.Fatal(err)
	}
	end := time.Now()
	wrong := func(what string, us int64) {
		if at := time.UnixMicro(us).Add(behind); at.Before(begin.Add(-time.Second)) || at.After(end.Add(time.Second)) {
			t.Errorf("%s: %s, and by the clock it is %s to %s", what, at.Add(-behind), begin.Add(-behind), end.Add(-behind))
		}
	}
	sent, log := lastLedger(t, c), readLog(t, c, "orders")
	checkLedger(t, sent, map[string][][]written{"orders": log}, false)
	if n := len(flat(log)); n != 1000 {
		t.Errorf("%d records, want 1000", n)
	}
	for _, w := range flat(log) {
		wrong("an intended time", w.Intended)
		wrong("a record's time", w.at.UnixMicro())
	}
	wrong("the start", sent.Started)
	wrong("the last change", sent.Updated)
	if sent.Previous == nil {
		t.Fatal("no probe")
	}
	wrong("a probe", sent.Previous.Sent)
	wrong("a probe's end", sent.Previous.Acked)
	if sent.Scheduled != 1000 || sent.Shed != 0 {
		t.Errorf("%d records were due and %d shed", sent.Scheduled, sent.Shed)
	}
}

func TestMovedLeader(t *testing.T) {
	c := newCluster(t, kfake.NumBrokers(3), kfake.SeedTopics(3, "orders"))
	cfg := testConfig("orders")
	cfg.Throughput = perSecond(3000)
	l := start(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
	for range 5 {
		l.acked(l.Progress().Acked + 200)
		c.ShufflePartitionLeaders()
	}
	l.acked(l.Progress().Acked + 200)
	if err := l.stopAndWait(); err != nil {
		t.Fatal(err)
	}
	sent := lastLedger(t, c)
	checkLedger(t, sent, map[string][][]written{"orders": readLog(t, c, "orders")}, false)
	if !sent.Ordered {
		t.Error("the ledger does not claim order")
	}
}

func TestMetrics(t *testing.T) {
	c := newCluster(t, kfake.SeedTopics(3, "orders"))
	cfg := testConfig("orders")
	cfg.Throughput, cfg.Records = perSecond(10_000), 1000
	registry := prometheus.NewPedanticRegistry()
	l, _ := newProducer(t, cfg)
	if err := registry.Register(l.metrics); err != nil {
		t.Fatal(err)
	}
	l.options = []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}
	if err := l.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	gathered, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(gathered).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", err, problems)
	}
	got := map[string]float64{}
	for _, family := range gathered {
		for _, m := range family.Metric {
			switch {
			case m.Counter != nil:
				got[family.GetName()] += m.Counter.GetValue()
			case m.Gauge != nil:
				got[family.GetName()] += m.Gauge.GetValue()
			case m.Histogram != nil:
				got[family.GetName()] += float64(m.Histogram.GetSampleCount())
			}
		}
	}
	for name, want := range map[string]float64{
		metrics.ProducerRecords:    1000,
		metrics.ProducerBytes:      200_000,
		metrics.ProducerScheduled:  1000,
		metrics.ProducerShed:       0,
		metrics.ProducerSuspect:    0,
		metrics.ProducerLatency:    1000,
		metrics.ProducerInFlight:   0,
		metrics.ProducerRate:       10_000,
		metrics.ProducerTopics:     1,
		metrics.ProducerPartitions: 3,
		metrics.ProducerBuffered:   0,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s is %v (%t), want %v", name, value, ok, want)
		}
	}
	for _, name := range []string{metrics.ProducerLate, metrics.ProducerFull, metrics.LedgerBytes, metrics.LedgerErrors, metrics.LedgerAge, metrics.LedgerEvery, metrics.LedgerTime} {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
}
