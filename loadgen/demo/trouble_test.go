package demo

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/audit"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/consume"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/mirror"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/oracle/oracletest"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/produce"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// bad is a run in which something is full, slow, denied or gone.
type bad struct {
	name string
	// before happens when the first third of the load has arrived and is known to have, and the rest has not begun;
	// meanwhile happens during the rest.
	before, meanwhile func(ctx context.Context, r *badRun)
	// exact: in the end both logs are whole, and the verdict is what the oracle reads in them.
	exact bool
	// unseen: in the end a cluster does not tell what it must, which the auditor does not wait for long.
	unseen bool
	// stuck: the producer's ledger takes nothing more, for which the producer does not wait long.
	stuck bool
	want  []verdict.Outcome
	// says is part of a reason that the verdict gives, or of a finding's evidence.
	says string
}

// badRun is a small test with an honest mirror.
type badRun struct {
	*scene
	slow        atomic.Int64 // how long the consumer takes for 64 bytes, in nanoseconds
	deaf        atomic.Bool
	stopMirror  func() // and wait; startMirror starts it again
	startMirror func()
	producing   chan struct{} // closed when the load has ended
	kept        []*kfake.FaultHandle
}

const badRecords = 900

// fault has requests about a topic fail until undo, or the verdict.
func (r *badRun) fault(c *cluster, key kmsg.Key, topic string, err *kerr.Error) (undo func()) {
	h := c.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Topic: topic, Err: err, Count: -1})
	r.kept = append(r.kept, h)
	return func() { h.Remove() }
}

// remake deletes a topic and makes it again.
func (r *badRun) remake(c *cluster, name string, configs map[string]string, partitions int32) {
	if err := c.DeleteTopic(name); err != nil {
		r.t.Error(err)
	}
	if err := c.CreateTopic(name, partitions, configs); err != nil {
		r.t.Error(err)
	}
}

// arrived waits until so many records are in a log of the topic under test.
func (r *badRun) arrived(ctx context.Context, c *cluster, n int64) {
	r.await(ctx, "the load", func() []string {
		var have int64
		for _, p := range c.PartitionInfos(topic) {
			have += p.HighWatermark
		}
		if have < n {
			return []string{"too little has arrived"}
		}
		return nil
	})
}

// told waits until the consumer has told the ledger of so many arrivals.
func (r *badRun) told(ctx context.Context, n uint64) {
	reader, err := ledger.NewReader(ledger.ReaderConfig{Opts: r.destination.options(), Topic: ledger.DestinationTopic, Test: testID})
	if err != nil {
		r.t.Fatal(err)
	}
	defer reader.Close()
	read := map[int32]uint64{}
	r.await(ctx, "the consumer", func() []string {
		err := reader.ReadToEnd(ctx, func(e ledger.Entry) error {
			if e.Key.Kind == ledger.KindReceived {
				state, err := ledger.Restore(e.Payload)
				if err != nil {
					return err
				}
				read[state.Partition] = max(read[state.Partition], state.Records)
			}
			return nil
		})
		var sum uint64
		for _, n := range read {
			sum += n
		}
		if err != nil || sum < n {
			return []string{"it has told of too little"}
		}
		return nil
	})
}

// during does something again and again until the load has ended.
func (r *badRun) during(ctx context.Context, every time.Duration, do func()) {
	for ctx.Err() == nil {
		select {
		case <-r.producing:
			return
		default:
		}
		do()
		_ = sleep(ctx, every)
	}
}

var compacted = map[string]string{"cleanup.policy": "compact", "message.timestamp.type": "LogAppendTime"}

// Of badRecords the first third is sent before anything happens. When some of the rest are in the source, its producer
// is at work.
const badFirst, badSome = badRecords / 3, badRecords/3 + 50

func badRuns() []bad {
	holds, broken, cannotSay := []verdict.Outcome{verdict.Holds}, []verdict.Outcome{verdict.Broken}, []verdict.Outcome{verdict.CannotSay}
	const aWhile = 2 * time.Second
	return []bad{
		{name: "nothing", exact: true, want: holds},
		{name: "leaders move all the time", exact: true, want: holds, meanwhile: func(ctx context.Context, r *badRun) {
			r.during(ctx, 30*time.Millisecond, func() {
				r.source.ShufflePartitionLeaders()
				r.destination.ShufflePartitionLeaders()
			})
		}},
		{name: "brokers accept and do not answer for a while", exact: true, want: holds, meanwhile: func(ctx context.Context, r *badRun) {
			r.deaf.Store(true)
			_ = sleep(ctx, aWhile)
			r.deaf.Store(false)
		}},
		{name: "the consumer is a hundred times too slow, and retention is ahead of it", want: cannotSay, says: "were removed before anyone read them",
			before: func(_ context.Context, r *badRun) { r.slow.Store(int64(time.Minute)) }, // until the load has gone by
			meanwhile: func(ctx context.Context, r *badRun) {
				r.arrived(ctx, r.destination, badRecords*2/3)
				for _, p := range r.destination.PartitionInfos(topic) {
					if err := r.destination.DeleteRecords(topic, p.Partition, p.HighWatermark); err != nil {
						r.t.Error(err)
					}
				}
				r.slow.Store(0)
			}},
		{name: "the consumer is a hundred times too slow to the end", want: cannotSay, says: "was read of partition",
			before: func(_ context.Context, r *badRun) { r.slow.Store(int64(200 * time.Millisecond)) }},
		{name: "the source topic is deleted and made again before all is copied", want: broken, says: "acknowledged, but not in the source log",
			before: func(_ context.Context, r *badRun) { r.stopMirror() },
			meanwhile: func(ctx context.Context, r *badRun) {
				r.arrived(ctx, r.source, badSome)
				r.remake(r.source, topic, nil, int32(r.partitions))
				r.startMirror()
			}},
		{name: "the destination topic is deleted and made again", want: broken, says: "no longer there after",
			before: func(_ context.Context, r *badRun) { r.remake(r.destination, topic, nil, int32(r.partitions)) }},
		{name: "the consumer is denied for a while", exact: true, want: holds, meanwhile: func(ctx context.Context, r *badRun) {
			undo := r.fault(r.destination, kmsg.Fetch, topic, kerr.TopicAuthorizationFailed)
			_ = sleep(ctx, aWhile)
			undo()
		}},
		{name: "the consumer is denied for good", want: cannotSay, says: "was read of partition",
			before: func(_ context.Context, r *badRun) {
				r.fault(r.destination, kmsg.Fetch, topic, kerr.TopicAuthorizationFailed)
			}},
		{name: "the producer is denied for a while", exact: true, want: holds, meanwhile: func(ctx context.Context, r *badRun) {
			r.arrived(ctx, r.source, badSome)
			undo := r.fault(r.source, kmsg.Produce, topic, kerr.TopicAuthorizationFailed)
			_ = sleep(ctx, aWhile/10)
			undo()
		}},
		{name: "the disks of both ledgers are full for a while", exact: true, want: holds, meanwhile: func(ctx context.Context, r *badRun) {
			r.arrived(ctx, r.source, badSome)
			undo1 := r.fault(r.source, kmsg.Produce, ledger.SourceTopic, kerr.KafkaStorageError)
			undo2 := r.fault(r.destination, kmsg.Produce, ledger.DestinationTopic, kerr.KafkaStorageError)
			_ = sleep(ctx, aWhile)
			undo1()
			undo2()
		}},
		// The source log tells what the ledger could not be told.
		{name: "the disk of the source ledger is full for good", exact: true, stuck: true, want: holds, meanwhile: func(ctx context.Context, r *badRun) {
			r.arrived(ctx, r.source, badSome)
			r.fault(r.source, kmsg.Produce, ledger.SourceTopic, kerr.KafkaStorageError)
		}},
		{name: "the disk of the destination ledger is full for good", want: cannotSay, says: "was read of partition",
			before: func(_ context.Context, r *badRun) {
				r.fault(r.destination, kmsg.Produce, ledger.DestinationTopic, kerr.KafkaStorageError)
			}},
		{name: "the source ledger is deleted", unseen: true, stuck: true, want: cannotSay, says: "could not be seen", meanwhile: func(ctx context.Context, r *badRun) {
			r.arrived(ctx, r.source, badSome)
			if err := r.source.DeleteTopic(ledger.SourceTopic); err != nil {
				r.t.Error(err)
			}
		}},
		{name: "the destination ledger is deleted", unseen: true, want: cannotSay, says: "could not be seen",
			before: func(_ context.Context, r *badRun) {
				if err := r.destination.DeleteTopic(ledger.DestinationTopic); err != nil {
					r.t.Error(err)
				}
			}},
		{name: "the source ledger is deleted and made again", stuck: true, want: cannotSay, says: "the ledger topic is not what it was", meanwhile: func(ctx context.Context, r *badRun) {
			r.arrived(ctx, r.source, badSome)
			r.remake(r.source, ledger.SourceTopic, compacted, 1)
		}},
		{name: "the destination ledger is deleted and made again", want: cannotSay, says: "the ledger topic is not what it was",
			before: func(_ context.Context, r *badRun) {
				r.remake(r.destination, ledger.DestinationTopic, compacted, 1)
			}},
		// The embedded cluster moves the start of a log that is compacted, which Kafka does not: who is not fast enough
		// cannot say.
		{name: "the ledgers are compacted all the time", want: append(holds, cannotSay...), meanwhile: func(ctx context.Context, r *badRun) {
			r.during(ctx, 50*time.Millisecond, func() {
				r.source.Compact()
				r.destination.Compact()
			})
		}},
	}
}

// TestFullAndSlow ends each bad run in a right verdict, or an honest "cannot say", and in no case in a wrong "nothing
// lost".
func TestFullAndSlow(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	turns := make(chan struct{}, 9) // mostly they wait
	for _, b := range badRuns() {
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			t.Run(b.name, func(t *testing.T) { b.run(t) })
		})
	}
	all.Wait()
}

func (b *bad) run(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	r := &badRun{scene: &scene{t: t, log: slog.New(slog.DiscardHandler), partitions: 3, producers: 1}, producing: make(chan struct{})}
	for _, c := range []**cluster{&r.source, &r.destination} {
		var err error
		if *c, err = newCluster(brokers); err != nil {
			t.Fatal(err)
		}
		defer (*c).Close()
		if err := (*c).CreateTopic(topic, int32(r.partitions), nil); err != nil {
			t.Fatal(err)
		}
	}
	tools, stopTools := context.WithCancel(ctx)
	var tooling sync.WaitGroup
	defer tooling.Wait()
	defer stopTools()

	r.startMirror = func() {
		running, stop := context.WithCancel(tools)
		ended := make(chan struct{})
		r.stopMirror = func() { stop(); <-ended }
		tooling.Go(func() {
			defer close(ended)
			var c mirror.Config
			c.SetDefaults()
			c.Topics, c.RefreshInterval, c.CommitInterval, c.ShutdownTimeout = []string{topic}, 50*time.Millisecond, 50*time.Millisecond, time.Second
			for running.Err() == nil {
				m, err := mirror.New(c, mirror.Deps{Source: r.heard(r.source), Destination: r.heard(r.destination), Logger: r.log})
				if err != nil {
					t.Error(err)
					return
				}
				_ = m.Run(running) // it begins again where it could not begin
				_ = sleep(running, 50*time.Millisecond)
			}
		})
	}
	r.startMirror()
	tooling.Go(func() {
		c := consume.Config{}
		c.SetDefaults()
		c.TestID, c.ID, c.Topics = testID, "consumer-0", []string{topic}
		c.SnapshotInterval, c.MetadataInterval, c.ShutdownTimeout = 50*time.Millisecond, 100*time.Millisecond, time.Second
		for tools.Err() == nil {
			k, err := consume.New(c, consume.Deps{Options: r.heard(r.destination, &r.slow), Logger: r.log})
			if err != nil {
				t.Error(err)
				return
			}
			_ = k.Run(tools) // likewise
			_ = sleep(tools, 50*time.Millisecond)
		}
	})
	giveUp := time.Minute
	if b.unseen {
		giveUp = 3 * time.Second
	}
	a, err := audit.New(ctx, audit.Config{
		TestID: testID, Topics: []string{topic}, Producers: 1, Interval: 150 * time.Millisecond,
		DrainIdle: 4 * time.Second, Quiet: 500 * time.Millisecond, DeadAfter: 2 * time.Second, GiveUp: giveUp,
	}, audit.Deps{Source: r.heard(r.source), Destination: r.heard(r.destination), Logger: r.log, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	judged := make(chan *verdict.Document, 1)
	go func() {
		doc, err := a.Run(ctx)
		if err != nil {
			t.Errorf("no verdict: %v", err)
		}
		judged <- doc
	}()

	var acked uint64
	load := func(records uint64, patience time.Duration) error {
		c := produce.Config{}
		c.SetDefaults()
		c.TestID, c.ID, c.Topics = testID, "producer-0", []string{topic}
		c.MessageSize, c.Records, c.Throughput = 200, records, units.Rate{Kind: units.Records, PerSecond: 400}
		c.SnapshotInterval, c.MetadataInterval, c.ShutdownTimeout = 50*time.Millisecond, 100*time.Millisecond, patience
		p, err := produce.New(c, produce.Deps{Options: r.heard(r.source), Logger: r.log})
		if err != nil {
			t.Fatal(err)
		}
		err = p.Run(ctx)
		acked += p.Progress().Acked
		return err
	}
	if err := load(badFirst, time.Minute); err != nil {
		t.Fatal(err)
	}
	r.arrived(ctx, r.destination, badFirst)
	r.told(ctx, badFirst)
	if b.before != nil {
		b.before(ctx, r)
	}
	var happening sync.WaitGroup
	if b.meanwhile != nil {
		happening.Go(func() { b.meanwhile(ctx, r) })
	}
	patience := time.Minute
	if b.stuck {
		patience = 3 * time.Second
	}
	// A producer whose ledger takes nothing ends with an error, which is right.
	err = load(badRecords-badFirst, patience)
	close(r.producing)
	happening.Wait()
	a.Drain()
	doc := <-judged
	if doc == nil {
		t.FailNow()
	}
	for _, h := range r.kept {
		h.Remove()
	}

	v := doc.Verdict
	there := r.distinct(ctx)
	t.Logf("%s: %d acknowledged, %d of %d are at the destination; %+v; %v (the producer: %v)", v.Outcome, acked, there, badRecords, v.Total, v.Reasons, err)
	if !slices.Contains(b.want, v.Outcome) {
		t.Errorf("the verdict is %q, want one of %q", v.Outcome, b.want)
	}
	if v.Outcome == verdict.Holds && there < acked {
		t.Errorf("%d records that were acknowledged are not at the destination, and the verdict holds", acked-there)
	}
	said := strings.Join(v.Reasons, "\n")
	for _, f := range v.Findings {
		said += "\n" + f.Evidence
	}
	if !strings.Contains(said, b.says) {
		t.Errorf("%q is not among what the verdict says:\n%s", b.says, said)
	}
	if acked <= badFirst {
		t.Errorf("only %d records were acknowledged: too few to show anything", acked)
	}
	if b.exact {
		_, differences := oracletest.Compare(ctx, t, doc, r.source.options(), r.destination.options(), []string{topic}, 1)
		for i, d := range differences {
			if i == 10 {
				t.Errorf("… and %d more differences", len(differences)-i)
				break
			}
			t.Error(d)
		}
	}
}

// heard are options of a client whose brokers say nothing while they are deaf, and little while it is slow.
func (r *badRun) heard(c *cluster, slow ...*atomic.Int64) []kgo.Opt {
	return append(c.options(), kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &hearing{Conn: conn, deaf: &r.deaf, slow: slow}, nil
	}))
}

// hearing is a connection that hears nothing for a time, or little: with 200 ms for 64 bytes less than a hundredth of
// the load.
type hearing struct {
	net.Conn
	deaf *atomic.Bool
	slow []*atomic.Int64
}

func (h *hearing) Read(b []byte) (int, error) {
	for _, slow := range h.slow {
		if slow.Load() == 0 {
			continue
		}
		b = b[:min(len(b), 64)]
		for from := time.Now(); int64(time.Since(from)) < slow.Load(); {
			time.Sleep(10 * time.Millisecond) // until the condition above
		}
	}
	n, err := h.Conn.Read(b)
	for h.deaf.Load() && err == nil {
		time.Sleep(10 * time.Millisecond) // until the condition above
	}
	return n, err
}

// distinct counts the records of the test at the destination, each once.
func (r *badRun) distinct(ctx context.Context) uint64 {
	var ends int64
	for _, p := range r.destination.PartitionInfos(topic) {
		ends += p.HighWatermark - p.LogStartOffset
	}
	client, err := kgo.NewClient(append(r.destination.options(), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	type sequence struct {
		run       uint64
		partition int32
		number    uint64
	}
	all := map[sequence]bool{}
	decoder := message.NewDecoder(testID)
	for ends > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			r.t.Fatalf("%d records at the destination do not come: %v", ends, fetches.Err())
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			ends--
			var id message.Identity
			if decoder.Decode(rec, topic, &id) == message.OK {
				all[sequence{id.Run, id.Partition, id.Sequence}] = true
			}
		})
	}
	return uint64(len(all))
}
