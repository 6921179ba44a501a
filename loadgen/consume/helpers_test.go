package consume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
)

const testID = "test-1"

func startCluster(t testing.TB, opts ...kfake.Opt) (*kfake.Cluster, []kgo.Opt) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(2)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}
}

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func newClient(t testing.TB, opts []kgo.Opt, more ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(slices.Clone(opts), more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func createTopic(t testing.TB, opts []kgo.Opt, name string, partitions int32, configs ...string) {
	t.Helper()
	c := map[string]*string{}
	for i := 0; i < len(configs); i += 2 {
		c[configs[i]] = &configs[i+1]
	}
	if _, err := kadm.NewClient(newClient(t, opts)).CreateTopic(deadline(t), partitions, 1, c, name); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// lines are a log that a test can look into.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *lines) contain(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.all.String(), s)
}

// running is a consumer that runs.
type running struct {
	*Consumer
	t      testing.TB
	log    *lines
	cancel context.CancelFunc
	done   chan error
	ended  bool
}

func testConfig(id string, topics ...string) Config {
	var cfg Config
	cfg.SetDefaults()
	cfg.TestID, cfg.ID, cfg.Topics = testID, id, topics
	cfg.SnapshotInterval, cfg.MetadataInterval = 20*time.Millisecond, 50*time.Millisecond
	cfg.ShutdownTimeout = 10 * time.Second
	return cfg
}

func start(t testing.TB, opts []kgo.Opt, cfg Config) *running {
	t.Helper()
	log := &lines{}
	c, err := New(cfg, Deps{Options: opts, Logger: slog.New(slog.NewTextHandler(log, nil)), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Consumer: c, t: t, log: log, cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- c.Run(ctx) }()
	t.Cleanup(func() {
		r.crash()
		if t.Failed() {
			t.Logf("log of %s:\n%s", cfg.ID, log.all.String())
		}
	})
	return r
}

// stop stops it cleanly.
func (r *running) stop() {
	r.t.Helper()
	if err := r.end(); err != nil {
		r.t.Errorf("%s: %v", r.cfg.ID, err)
	}
}

// crash ends it as a kill would.
func (r *running) crash() {
	r.abandon.Store(true)
	_ = r.end()
}

func (r *running) end() error {
	if r.ended {
		return nil
	}
	r.ended = true
	r.cancel()
	select {
	case err := <-r.done:
		return err
	case <-time.After(30 * time.Second):
		return errors.New("it does not end")
	}
}

// traffic writes to the destination what a bad replicator might.
type traffic struct {
	t      testing.TB
	client *kgo.Client
	topic  string
	rng    *rand.Rand
	filler *message.Filler
	run    uint64
	test   uint64
	next   map[int32]uint64
	sent   int
}

func newTraffic(t testing.TB, opts []kgo.Opt, topic string, seed uint64, more ...kgo.Opt) *traffic {
	t.Helper()
	filler, err := message.NewFiller(seed, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	return &traffic{
		t: t, topic: topic, filler: filler, rng: rand.New(rand.NewPCG(seed, 2)), run: seed + 1, test: message.TestHash(testID), next: map[int32]uint64{},
		client: newClient(t, opts, append([]kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(1 << 20), kgo.MetadataMinAge(20 * time.Millisecond)}, more...)...),
	}
}

func (tr *traffic) record(test uint64, source, destination int32, sequence uint64) *kgo.Record {
	format := message.Format(tr.rng.IntN(2))
	id := message.Identity{Test: test, Producer: []byte("producer-0"), Run: tr.run, Partition: source, Sequence: sequence, Intended: 1_700_000_000_000_000 + int64(sequence)}
	rec := &kgo.Record{}
	message.NewEncoder(format, tr.topic, tr.filler).Encode(rec, &id, []byte(fmt.Sprint(sequence%7)), 60+tr.rng.IntN(100))
	rec.Partition = destination
	return rec
}

// some makes about n records for the partitions; clean ones only if bad is
// false.
func (tr *traffic) some(n int, partitions int32, bad bool) []*kgo.Record {
	var out []*kgo.Record
	for len(out) < n {
		p := tr.rng.Int32N(partitions)
		seq := tr.next[p]
		dice := tr.rng.IntN(100)
		if !bad {
			dice = 50
		}
		switch {
		case dice < 1: // corrupt
			rec := tr.record(tr.test, p, p, seq)
			rec.Value[len(rec.Value)-1] ^= 1
			tr.next[p]++
			out = append(out, rec)
		case dice < 2: // foreign
			out = append(out, tr.record(message.TestHash("another"), p, p, seq))
		case dice < 3: // not readable at all
			out = append(out, &kgo.Record{Topic: tr.topic, Partition: p, Value: [][]byte{nil, []byte("x"), bytes.Repeat([]byte("what"), 40)}[tr.rng.IntN(3)]})
		case dice < 5: // misplaced
			out = append(out, tr.record(tr.test, p, (p+1)%partitions, seq))
			tr.next[p]++
		case dice < 8: // lost
			tr.next[p] += 1 + tr.rng.Uint64N(3)
		case dice < 12: // replayed
			if seq == 0 {
				continue
			}
			from := seq - min(seq, 1+tr.rng.Uint64N(5))
			for s := from; s < seq; s++ {
				out = append(out, tr.record(tr.test, p, p, s))
			}
		case dice < 15: // out of order
			out = append(out, tr.record(tr.test, p, p, seq+1), tr.record(tr.test, p, p, seq))
			tr.next[p] += 2
		default:
			out = append(out, tr.record(tr.test, p, p, seq))
			tr.next[p]++
		}
	}
	return out
}

func (tr *traffic) send(n int, partitions int32, bad bool) {
	tr.t.Helper()
	records := tr.some(n, partitions, bad)
	if err := tr.client.ProduceSync(deadline(tr.t), records...).FirstErr(); err != nil {
		tr.t.Fatal(err)
	}
	tr.sent += len(records)
}

// grow adds partitions to the topic.
func (tr *traffic) grow(by int) {
	tr.t.Helper()
	if _, err := kadm.NewClient(tr.client).CreatePartitions(deadline(tr.t), by, tr.topic); err != nil {
		tr.t.Fatal(err)
	}
	tr.client.PurgeTopicsFromProducing(tr.topic) // so that it learns of them at once
}

// naive is what a plain reading of a destination partition counts.
type naive struct {
	Records, Bytes, Duplicate, Reordered, Misplaced, Replays, Longest uint64
	Kinds                                                             map[message.Kind]uint64
	Streams                                                           map[string]*naiveStream
	End                                                               int64
}

type naiveStream struct {
	Arrivals uint64
	Seen     string
	seen     map[uint64]bool
}

func (n *naive) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "records %d, bytes %d, duplicates %d, reordered %d, misplaced %d, replays %d, longest %d, end %d, kinds", n.Records, n.Bytes, n.Duplicate, n.Reordered, n.Misplaced, n.Replays, n.Longest, n.End)
	for _, k := range slices.Sorted(maps.Keys(n.Kinds)) {
		fmt.Fprintf(&b, " %v %d", k, n.Kinds[k])
	}
	for _, k := range slices.Sorted(maps.Keys(n.Streams)) {
		fmt.Fprintf(&b, "\n  stream %s: %d arrivals of %s", k, n.Streams[k].Arrivals, n.Streams[k].Seen)
	}
	return b.String()
}

// readLog reads every record of a topic and counts without any of the code
// under test, apart from decoding a record.
func readLog(t testing.TB, opts []kgo.Opt, topic string) map[int32]*naive {
	t.Helper()
	client := newClient(t, opts, kgo.ConsumeTopics(topic), kgo.KeepControlRecords(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer client.Close()
	admin := kadm.NewClient(client)
	ends, err := admin.ListEndOffsets(deadline(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	starts, err := admin.ListStartOffsets(deadline(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	records := map[int32][]*kgo.Record{}
	out := map[int32]*naive{}
	left := 0
	at := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		out[o.Partition] = &naive{Kinds: map[message.Kind]uint64{}, Streams: map[string]*naiveStream{}, End: o.Offset}
		start, _ := starts.Lookup(topic, o.Partition)
		at[o.Partition] = start.Offset
		if start.Offset < o.Offset {
			left++
		}
	})
	ctx := deadline(t)
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			before := at[rec.Partition]
			at[rec.Partition] = rec.Offset + 1
			if end := out[rec.Partition].End; before < end && rec.Offset+1 >= end {
				left--
			}
			if rec.Offset < out[rec.Partition].End && !rec.Attrs.IsControl() {
				records[rec.Partition] = append(records[rec.Partition], rec)
			}
		})
	}
	decoder := message.NewDecoder(testID)
	for p, n := range out {
		highest := map[string]uint64{}
		run := uint64(0)
		for _, rec := range records[p] {
			n.Records++
			n.Bytes += uint64(len(rec.Key) + len(rec.Value))
			var id message.Identity
			if kind := decoder.Decode(rec, topic, &id); kind != message.OK {
				n.Kinds[kind]++
				continue
			}
			name := fmt.Sprintf("%x/%d/%d", id.Run, id.Epoch, id.Partition)
			s := n.Streams[name]
			if s == nil {
				s = &naiveStream{seen: map[uint64]bool{}}
				n.Streams[name] = s
			}
			s.Arrivals++
			if id.Partition != p {
				n.Misplaced++
			}
			if s.seen[id.Sequence] {
				n.Duplicate++
				if run == 0 {
					n.Replays++
				}
				run++
				n.Longest = max(n.Longest, run)
				continue
			}
			run = 0
			s.seen[id.Sequence] = true
			if len(s.seen) > 1 && id.Sequence < highest[name] {
				n.Reordered++
			}
			highest[name] = max(highest[name], id.Sequence)
		}
		for _, s := range n.Streams {
			s.Seen = ranges(slices.Sorted(maps.Keys(s.seen)))
		}
	}
	return out
}

func ranges(sorted []uint64) string {
	var b strings.Builder
	for i := 0; i < len(sorted); {
		j := i
		for j+1 < len(sorted) && sorted[j+1] == sorted[j]+1 {
			j++
		}
		fmt.Fprintf(&b, " %d-%d", sorted[i], sorted[j])
		i = j + 1
	}
	return b.String()
}

func describeSet(s *intervals.Set) string {
	var b strings.Builder
	for r := range s.All() {
		fmt.Fprintf(&b, " %d-%d", r.From, r.To-1)
	}
	return b.String()
}

// fromState says of a state what readLog says of a log.
func fromState(r *ledger.Received) *naive {
	n := &naive{
		Records: r.Records, Bytes: r.Bytes, Duplicate: r.Duplicate, Reordered: r.Reordered, Misplaced: r.Misplaced, Replays: r.Replays, Longest: r.Longest,
		Kinds: r.Kinds, Streams: map[string]*naiveStream{}, End: r.Next,
	}
	for _, s := range r.Streams {
		n.Streams[fmt.Sprintf("%x/%d/%d", s.Stream.Run, s.Stream.Epoch, s.Stream.Partition)] = &naiveStream{Arrivals: s.Arrivals, Seen: describeSet(&s.Seen)}
	}
	return n
}

// bestStates reads the ledger as the auditor does: of each partition the one
// snapshot that supersedes all others. By topic id and partition.
func bestStates(t testing.TB, opts []kgo.Opt, topic string) map[[16]byte]map[int32]*ledger.Received {
	t.Helper()
	r, err := ledger.NewReader(ledger.ReaderConfig{Opts: opts, Topic: ledger.DestinationTopic, Test: testID, Kinds: []string{ledger.KindReceived}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out := map[[16]byte]map[int32]*ledger.Received{}
	if err := r.ReadToEnd(deadline(t), func(e ledger.Entry) error {
		s, err := ledger.Restore(e.Payload)
		if err != nil {
			return err
		}
		if s.Topic != topic {
			return nil
		}
		if out[s.TopicID] == nil {
			out[s.TopicID] = map[int32]*ledger.Received{}
		}
		if s.Supersedes(out[s.TopicID][s.Partition]) {
			out[s.TopicID][s.Partition] = s
		}
		return nil
	}); err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) { // the ledger may not exist yet
		t.Fatal(err)
	}
	return out
}

func topicID(t testing.TB, opts []kgo.Opt, topic string) [16]byte {
	t.Helper()
	meta, err := kadm.NewClient(newClient(t, opts)).Metadata(deadline(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	return meta.Topics[topic].ID
}

// expectExact compares what the ledger holds with the raw log.
func expectExact(t testing.TB, opts []kgo.Opt, topic string) map[int32]*ledger.Received {
	t.Helper()
	want := readLog(t, opts, topic)
	states := bestStates(t, opts, topic)[topicID(t, opts, topic)]
	for _, p := range slices.Sorted(maps.Keys(want)) {
		if states[p] == nil {
			t.Errorf("%s/%d: nothing in the ledger", topic, p)
			continue
		}
		if got := fromState(states[p]).String(); got != want[p].String() {
			t.Errorf("%s/%d:\n got %s\nwant %s", topic, p, got, want[p])
		}
	}
	if len(states) != len(want) {
		t.Errorf("%s: %d partitions in the ledger, want %d", topic, len(states), len(want))
	}
	return states
}

// caughtUp waits until consumers together have read all there is.
func caughtUp(t testing.TB, opts []kgo.Opt, topic string) {
	t.Helper()
	admin := kadm.NewClient(newClient(t, opts))
	id := topicID(t, opts, topic)
	eventually(t, "the ledger reaches the end of "+topic, func() bool {
		ends, err := admin.ListEndOffsets(deadline(t), topic)
		if err != nil {
			t.Fatal(err)
		}
		states := bestStates(t, opts, topic)[id]
		all := true
		ends.Each(func(o kadm.ListedOffset) {
			all = all && states[o.Partition] != nil && states[o.Partition].Next == o.Offset
		})
		return all
	})
}
