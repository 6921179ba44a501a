package produce

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/rawlog"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
)

const testID = "produce-test"

// patience bounds every wait for something that must happen.
const patience = 20 * time.Second

func newCluster(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(2)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// testConfig is a small, fast load.
func testConfig(topics ...string) Config {
	var c Config
	c.SetDefaults()
	c.TestID, c.ID, c.Topics = testID, "producer-1", topics
	c.MessageSize = 200
	c.Linger = time.Millisecond
	c.SnapshotInterval = 10 * time.Millisecond
	c.MetadataInterval = 20 * time.Millisecond
	c.ShutdownTimeout = patience
	return c
}

func perSecond(n float64) units.Rate { return units.Rate{Kind: units.Records, PerSecond: n} }

var unlimited = units.Rate{Kind: units.Unlimited}

// life is a producer that runs.
type life struct {
	*Producer
	t      testing.TB
	cancel context.CancelFunc
	done   chan error
	log    *logged
}

// logged keeps what was logged, and shows it if the test fails.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func newProducer(t testing.TB, cfg Config, opts ...kgo.Opt) (*Producer, *logged) {
	t.Helper()
	out := &logged{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(out.String())
		}
	})
	p, err := New(cfg, Deps{Options: opts, Logger: slog.New(slog.NewTextHandler(out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return p, out
}

func start(t testing.TB, cfg Config, opts ...kgo.Opt) *life {
	t.Helper()
	p, out := newProducer(t, cfg, opts...)
	return launch(t, p, out)
}

func launch(t testing.TB, p *Producer, out *logged) *life {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &life{Producer: p, t: t, cancel: cancel, done: make(chan error, 1), log: out}
	go func() { l.done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-l.done:
			l.done <- err
		case <-time.After(patience):
			t.Error("the producer does not stop")
		}
	})
	return l
}

// wait returns what Run returned.
func (l *life) wait() error {
	l.t.Helper()
	select {
	case err := <-l.done:
		l.done <- err
		return err
	case <-time.After(patience):
		l.t.Fatal("the producer does not end")
		return nil
	}
}

func (l *life) stopAndWait() error {
	l.t.Helper()
	l.cancel()
	return l.wait()
}

// eventually waits until cond holds. If the producer ends before, that is the
// end of the test.
func (l *life) eventually(what string, cond func() bool) {
	l.t.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		select {
		case err := <-l.done:
			l.t.Fatalf("waiting for %s: the producer ended: %v", what, err)
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("waiting for %s: in vain; %+v", what, l.Progress())
		}
	}
}

func (l *life) acked(n uint64) {
	l.t.Helper()
	l.eventually(fmt.Sprintf("%d records acknowledged", n), func() bool { return l.Progress().Acked >= n })
}

func client(t testing.TB, c *kfake.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...), kgo.MetadataMinAge(10 * time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// written is a record in the source log.
type written struct {
	message.Identity
	producer string
	offset   int64
	at       time.Time
	key      []byte
	size     int
}

// readLog reads a whole topic, by partition. All of it must be good records of
// this test.
func readLog(t testing.TB, c *kfake.Cluster, topic string) [][]written {
	t.Helper()
	cl := client(t, c)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	decoder := message.NewDecoder(testID)
	var out [][]written
	for _, info := range c.PartitionInfos(topic) {
		var log []written
		for offset := int64(0); offset < info.HighWatermark; {
			part, err := rawlog.Fetch(ctx, cl, topic, [16]byte{}, info.Partition, offset)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range part.Records {
				w := written{offset: r.Offset, at: r.Timestamp, key: r.Key, size: len(r.Value)}
				if kind := decoder.Decode(r, topic, &w.Identity); kind != message.OK {
					t.Fatalf("%s/%d at offset %d: a %s record", topic, info.Partition, r.Offset, kind)
				}
				w.producer = string(w.Producer)
				if w.Partition != info.Partition {
					t.Fatalf("%s/%d at offset %d says that it is of partition %d", topic, info.Partition, r.Offset, w.Partition)
				}
				log = append(log, w)
			}
			offset = part.Next
		}
		out = append(out, log)
	}
	return out
}

func flat(log [][]written) []written { return slices.Concat(log...) }

// intendedTimes of all records of a topic, in rising order.
func intendedTimes(log [][]written) []int64 {
	var out []int64
	for _, w := range flat(log) {
		out = append(out, w.Intended)
	}
	slices.Sort(out)
	return out
}

// ledgerOf reads all that the ledger topic has of the test.
func ledgerOf(t testing.TB, c *kfake.Cluster) (sent []*ledger.Sent, rates []*ledger.Rate) {
	t.Helper()
	if c.TopicInfo(ledger.SourceTopic) == nil {
		return nil, nil
	}
	r, err := ledger.NewReader(ledger.ReaderConfig{Opts: []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}, Topic: ledger.SourceTopic, Test: testID})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = r.ReadToEnd(ctx, func(e ledger.Entry) error {
		switch e.Key.Kind {
		case ledger.KindSent:
			var s ledger.Sent
			sent = append(sent, &s)
			if err := ledger.Decode(e.Payload, &s); err != nil {
				return err
			}
			if s.Key() != e.Key {
				return fmt.Errorf("key %s of a ledger that says %s", e.Key, s.Key())
			}
		case ledger.KindRate:
			var r ledger.Rate
			rates = append(rates, &r)
			return ledger.Decode(e.Payload, &r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sent, rates
}

// lastLedger is the newest snapshot of the only life there was.
func lastLedger(t testing.TB, c *kfake.Cluster) *ledger.Sent {
	t.Helper()
	sent, _ := ledgerOf(t, c)
	if len(sent) == 0 {
		t.Fatal("there is no ledger")
	}
	return sent[len(sent)-1]
}

// checkLedger compares a ledger of a producer that was stopped with the raw
// logs: everything in them is acknowledged, or open if that is allowed, exactly
// once, and (if the ledger claims it) in rising order; nothing else is.
func checkLedger(t testing.TB, sent *ledger.Sent, logs map[string][][]written, openAllowed bool) {
	t.Helper()
	if !sent.Closed {
		t.Error("the ledger is not closed")
	}
	inLog := map[ledger.Stream]*intervals.Set{}
	highest := map[ledger.Stream]uint64{}
	offsets := map[ledger.Stream]map[uint64]written{}
	for topic, log := range logs {
		for _, w := range flat(log) {
			key := ledger.Stream{Run: w.Run, Topic: topic, Epoch: w.Epoch, Partition: w.Partition}
			if inLog[key] == nil {
				inLog[key], offsets[key] = &intervals.Set{}, map[uint64]written{}
			} else if sent.Ordered && w.Sequence < highest[key] {
				t.Errorf("%v: sequence %d comes after %d", key, w.Sequence, highest[key])
			}
			if !inLog[key].Add(w.Sequence) {
				t.Errorf("%v: sequence %d is in the log twice", key, w.Sequence)
			}
			highest[key] = max(highest[key], w.Sequence)
			offsets[key][w.Sequence] = w
		}
	}
	controls := map[string]int{}
	for _, s := range sent.Streams {
		present := inLog[s.Stream]
		if present == nil {
			present = &intervals.Set{}
		}
		delete(inLog, s.Stream)
		if first := present.Ranges(1); len(first) > 0 && (s.Began == 0 || s.Began > offsets[s.Stream][first[0].From].Intended) {
			t.Errorf("%v: began at %d, and its first record was meant for %d", s.Stream, s.Began, offsets[s.Stream][first[0].From].Intended)
		}
		if beyond := present.Minus(&s.Acked); !beyond.Empty() && !openAllowed {
			t.Errorf("%v: in the log and not acknowledged: %v", s.Stream, beyond.Ranges(5))
		}
		if lost := s.Acked.Minus(present); !lost.Empty() {
			t.Errorf("%v: acknowledged and not in the log: %v", s.Stream, lost.Ranges(5))
		}
		used := intervals.Of(intervals.Range{To: s.Next})
		for reason, failed := range s.Failed {
			if both := failed.Intersect(present); !both.Empty() {
				t.Errorf("%v: failed (%s) and in the log: %v", s.Stream, reason, both.Ranges(5))
			}
			used = used.Minus(failed)
		}
		if s.Control != nil {
			controls[s.Stream.Topic]++
			if *s.Control > 3 || present.Contains(*s.Control) || s.Reserved <= *s.Control {
				t.Errorf("%v: control %d of %d reserved, in the log: %t", s.Stream, *s.Control, s.Reserved, present.Contains(*s.Control))
			}
			control := intervals.Of(intervals.Range{From: *s.Control, To: *s.Control + 1})
			used = used.Minus(&control)
		}
		if open := used.Minus(&s.Acked); !open.Empty() && !openAllowed {
			t.Errorf("%v: used and without an outcome: %v", s.Stream, open.Ranges(5))
		}
		if top, ok := present.Max(); ok && (top >= s.Next || s.Next > s.Reserved) {
			t.Errorf("%v: highest sequence %d, next %d, reserved %d", s.Stream, top, s.Next, s.Reserved)
		}
		for _, w := range offsets[s.Stream] {
			if w.offset < s.Base {
				t.Errorf("%v: sequence %d at offset %d, below the base %d", s.Stream, w.Sequence, w.offset, s.Base)
			}
			if w.producer != sent.Producer {
				t.Errorf("%v: producer %q", s.Stream, w.producer)
			}
		}
		if s.Last != nil {
			if w := offsets[s.Stream][s.Last.Sequence]; w.offset != s.Last.Offset || w.Intended != s.Last.Intended {
				t.Errorf("%v: last acknowledgement %+v, in the log %+v", s.Stream, *s.Last, w)
			}
			if top, _ := s.Acked.Max(); top != s.Last.Sequence {
				t.Errorf("%v: last acknowledgement %d, highest %d", s.Stream, s.Last.Sequence, top)
			}
		}
	}
	for topic := range logs {
		if controls[topic] != 1 {
			t.Errorf("topic %s has %d controls, want 1", topic, controls[topic])
		}
	}
	if len(inLog) > 0 {
		t.Errorf("streams in the log that the ledger does not know: %v", inLog)
	}
}

func addPartitions(t testing.TB, c *kfake.Cluster, topic string, to int) {
	t.Helper()
	answers, err := kadm.NewClient(client(t, c)).UpdatePartitions(context.Background(), to, topic)
	if err == nil {
		err = answers.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func setLimit(t testing.TB, c *kfake.Cluster, topic string, limit string) {
	t.Helper()
	answers, err := kadm.NewClient(client(t, c)).AlterTopicConfigs(context.Background(), []kadm.AlterConfig{{Name: "max.message.bytes", Value: &limit}}, topic)
	if err == nil {
		for _, a := range answers {
			err = errors.Join(err, a.Err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// isFor says whether a produce request has records for the topic.
func isFor(req kmsg.Request, topic string, id [16]byte) bool {
	for _, rt := range req.(*kmsg.ProduceRequest).Topics {
		if rt.Topic == topic || rt.TopicID == id && id != [16]byte{} {
			return true
		}
	}
	return false
}

// stall makes the cluster hold produce requests to a topic until the returned
// function is called.
func stall(t testing.TB, c *kfake.Cluster, topic string) (release func()) {
	t.Helper()
	id := c.TopicInfo(topic).TopicID
	free := make(chan struct{})
	release = sync.OnceFunc(func() { close(free) })
	t.Cleanup(release)
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if isFor(req, topic, id) {
			c.SleepControl(func() { <-free })
		}
		return nil, nil, false
	})
	return release
}

func plainUser(user, password string) kgo.Opt {
	return kgo.SASL(plain.Auth{User: user, Pass: password}.AsMechanism())
}

func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}
