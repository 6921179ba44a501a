package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// pair is two clusters with one topic of one partition, and no load tools: the
// tests write the ledgers themselves.
type pair struct {
	source, destination []kgo.Opt
	clusters            [2]*kfake.Cluster
	state               *ledger.Received // of the destination's partition
}

func newPair(t *testing.T) *pair {
	t.Helper()
	var p pair
	for i, side := range []*[]kgo.Opt{&p.source, &p.destination} {
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "load"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		p.clusters[i] = c
		*side = []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...), kgo.MetadataMinAge(20 * time.Millisecond)}
	}
	return &p
}

func (p *pair) auditor(t *testing.T, change ...func(*Config)) *Auditor {
	t.Helper()
	cfg := Config{TestID: "t1", Topics: []string{"load"}, Interval: 20 * time.Millisecond, DrainIdle: time.Second, Quiet: 100 * time.Millisecond, DeadAfter: 300 * time.Millisecond}
	for _, f := range change {
		f(&cfg)
	}
	a, err := New(t.Context(), cfg, Deps{Source: p.source, Destination: p.destination, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// verdict drains at once and returns what comes out.
func (p *pair) verdict(t *testing.T) *verdict.Document {
	t.Helper()
	a := p.auditor(t)
	a.Drain()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	doc, err := a.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// put stores a state in a ledger.
func put(t *testing.T, opts []kgo.Opt, topic string, key ledger.Key, v any) {
	t.Helper()
	s, err := ledger.Open(t.Context(), ledger.StoreConfig{Opts: opts, Topic: topic}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	data, err := ledger.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), key, data); err != nil {
		t.Fatal(err)
	}
}

// producer is the ledger of a producer that planted its control and sent
// nothing else.
func producer(test string) *ledger.Sent {
	control := uint64(0)
	return &ledger.Sent{Test: test, Producer: "p1", Run: 7, Started: time.Now().UnixMicro(), Updated: time.Now().UnixMicro(), Closed: true, Ordered: true,
		Streams: []*ledger.SentStream{{Stream: ledger.Stream{Run: 7, Topic: "load"}, Reserved: 1, Control: &control}}}
}

func wantDoubt(t *testing.T, doc *verdict.Document, parts ...string) {
	t.Helper()
	if doc.Verdict.Outcome != verdict.CannotSay {
		t.Errorf("the outcome is %q", doc.Verdict.Outcome)
	}
	for _, part := range parts {
		if !strings.Contains(strings.Join(doc.Verdict.Reasons, "\n"), part) {
			t.Errorf("%q is not among the reasons: %q", part, doc.Verdict.Reasons)
		}
	}
}

func TestNothingToAudit(t *testing.T) {
	wantDoubt(t, newPair(t).verdict(t), "nothing was sent to topic load", "no sequence was planted")
}

func TestLedgerOfAnotherTest(t *testing.T) {
	p := newPair(t)
	put(t, p.source, ledger.SourceTopic, producer("t2").Key(), producer("t2"))
	doc := p.verdict(t)
	wantDoubt(t, doc, "nothing was sent to topic load")
	if n := len(doc.Verdict.Producers); n != 0 {
		t.Errorf("%d producers of another test were taken in", n)
	}
}

// An entry that cannot be read may hold anything, so nothing is said.
func TestDamagedLedger(t *testing.T) {
	p := newPair(t)
	put(t, p.source, ledger.SourceTopic, producer("t1").Key(), producer("t1"))
	client, err := kgo.NewClient(p.source...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: ledger.SourceTopic, Key: []byte("t1/sent/p2/0000"), Value: []byte("kmtL\x01\x01 cut sho")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	wantDoubt(t, p.verdict(t), "the source ledger cannot be trusted", "t1/sent/p2/0000")
}

// A producer that has died is taken for dead; what it reserved and the source
// log does not hold was not sent, and that is no doubt.
func TestDeadProducer(t *testing.T) {
	p := newPair(t)
	s := producer("t1")
	s.Closed, s.Streams[0].Reserved = false, 1000
	put(t, p.source, ledger.SourceTopic, s.Key(), s)
	doc := p.verdict(t)
	if state := doc.Verdict.Producers[0].State; state != "dead" {
		t.Errorf("the producer is %s", state)
	}
	if c := doc.Verdict.Total; c.Unsent != 999 || c.Indeterminate != 0 {
		t.Errorf("of 1,000 reserved, 1 of them the control, %d are unsent and %d indeterminate", c.Unsent, c.Indeterminate)
	}
}

// What cannot be read again outlives the auditor.
func TestEventsOutliveTheAuditor(t *testing.T) {
	p := newPair(t)
	first := p.auditor(t)
	first.AddEvent(verdict.Event{Kind: "broker-kill", Side: "source"})
	ctx, kill := context.WithTimeout(t.Context(), 30*time.Second)
	defer kill()
	ended := make(chan error, 1)
	go func() {
		_, err := first.Run(ctx)
		ended <- err
	}()
	for !first.evidence.isStored() {
		if ctx.Err() != nil {
			t.Fatal("the evidence was never stored")
		}
		time.Sleep(time.Millisecond) // until the condition above
	}
	kill()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if doc := p.verdict(t); len(doc.Events) != 1 || doc.Events[0].Kind != "broker-kill" {
		t.Errorf("the next auditor knows of %+v", doc.Events)
	}
}

func TestHandler(t *testing.T) {
	a := newPair(t).auditor(t)
	defer a.Close()
	h := a.Handler()
	call := func(method, path, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		return w
	}
	for body, want := range map[string]string{
		`{"kind":""}`:              "kind is empty",
		`{"kind":"x","colour":1}`:  "colour",
		`not json`:                 "time_unix_us",
		strings.Repeat(" ", 1<<17): "too large",
	} {
		if w := call(http.MethodPost, "/events", body); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%.20q: %d %s", body, w.Code, w.Body)
		}
	}
	if w := call(http.MethodPost, "/events", `{"kind":"broker-kill","side":"source","time_unix_us":5}`); w.Code != http.StatusNoContent {
		t.Errorf("an event: %d %s", w.Code, w.Body)
	}
	var doc verdict.Document
	if err := json.Unmarshal(call(http.MethodGet, "/verdict", "").Body.Bytes(), &doc); err != nil || len(doc.Events) != 1 || doc.Events[0].Time != 5 {
		t.Errorf("the verdict so far: %+v, %v", doc.Events, err)
	}
	if doc.Verdict.Outcome != verdict.CannotSay {
		t.Errorf("before anything was looked at the outcome is %q", doc.Verdict.Outcome)
	}
}

func TestValidate(t *testing.T) {
	c := Config{TestID: "a/b", Producers: -1, Quiet: -1, DeadAfter: time.Millisecond, GiveUp: time.Millisecond}
	c.SetDefaults()
	err := c.Validate()
	for _, want := range []string{"a/b", "topics", "-1", "quiet", "dead after", "give up"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

// A test that is stopped early has not drained: what is missing may be on its
// way, so neither is the replicator blamed nor is all well.
func TestInterrupted(t *testing.T) {
	p := newPair(t)
	s := producer("t1")
	st := s.Streams[0]
	st.Reserved, st.Next = 10, 10
	for i := range uint64(9) {
		st.Ack(i+1, int64(i), 0)
	}
	s.Closed = false
	put(t, p.source, ledger.SourceTopic, s.Key(), s)
	a := p.auditor(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan *verdict.Document, 1)
	go func() {
		doc, err := a.Run(ctx)
		if err != nil {
			t.Error(err)
		}
		ended <- doc
	}()
	for !a.Ready() {
		time.Sleep(time.Millisecond) // until the condition above
	}
	if so := a.Snapshot(); so.Verdict.Outcome != verdict.CannotSay {
		t.Errorf("while it runs the outcome is %q", so.Verdict.Outcome)
	}
	stop()
	doc := <-ended
	if doc == nil {
		t.Fatal("no verdict")
	}
	wantDoubt(t, doc, "stopped before the test had drained")
	if c := doc.Verdict.Total; c.Pending != 9 || c.Undelivered+c.Lost != 0 {
		t.Errorf("%d pending, %d undelivered, %d lost; want 9 pending", c.Pending, c.Undelivered, c.Lost)
	}
}

// What the source's retention deletes while the destination does not answer is seen when it happens.
func TestSourceIsWatchedWhileTheDestinationIsAway(t *testing.T) {
	p := newPair(t)
	destination, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "load"))
	if err != nil {
		t.Fatal(err)
	}
	defer destination.Close()
	p.destination = []kgo.Opt{kgo.SeedBrokers(destination.ListenAddrs()...)}
	var away atomic.Bool
	destination.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
		destination.KeepControl()
		return nil, errors.New("the connection is closed"), away.Load()
	})
	client, err := kgo.NewClient(p.source...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 10 {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "load", Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	a := p.auditor(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if _, err := a.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	for !a.Ready() {
		time.Sleep(time.Millisecond) // until the condition above
	}
	away.Store(true)
	tp := verdict.TopicPartition{Topic: "load"}
	for _, start := range []int64{3, 6} {
		var to kadm.Offsets
		to.AddOffset("load", 0, start, -1)
		if _, err := kadm.NewClient(client).DeleteRecords(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(time.Minute)
		for seen := false; !seen; time.Sleep(time.Millisecond) {
			a.evidence.mu.Lock()
			all := a.evidence.kept.Starts[tp]
			seen = len(all) > 0 && all[len(all)-1].Offset == start
			a.evidence.mu.Unlock()
			if time.Now().After(deadline) {
				t.Fatalf("that the log now begins at %d was not seen: %v", start, all)
			}
		}
	}
	away.Store(false)
	stop()
	<-ended
}

// How far retention had come is known to the record, though the producer's ledger tells the place of only one record in
// the source log: the auditor looks at what the log begins with.
func TestWhatRetentionTookIsKnownToTheRecord(t *testing.T) {
	p := newPair(t)
	s := producer("t1")
	st := s.Streams[0]
	st.Reserved, st.Next = 10, 10
	filler, err := message.NewFiller(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(append(p.source, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	enc := message.NewEncoder(message.FormatValue, "load", filler)
	for sequence := uint64(1); sequence < 10; sequence++ {
		var rec kgo.Record
		enc.Encode(&rec, &message.Identity{Test: message.TestHash("t1"), Producer: []byte("p1"), Run: 7, Sequence: sequence}, nil, 200)
		sent, err := client.ProduceSync(t.Context(), &rec).First()
		if err != nil {
			t.Fatal(err)
		}
		st.Ack(sequence, sent.Offset, time.Now().UnixMicro())
	}
	put(t, p.source, ledger.SourceTopic, s.Key(), s)
	p.state = ledger.NewReceived("t1", "load", p.clusters[1].TopicInfo("load").TopicID, 0, "c", 0, time.Now().UnixMicro())
	arrive := func(sequences ...uint64) {
		for range sequences {
			if err := produce(t.Context(), p.destination, "x"); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range sequences {
			p.state.Observe(&ledger.Observation{Offset: p.state.Next, LeaderEpoch: -1, Kind: message.OK, ID: message.Identity{Run: 7, Sequence: n}})
		}
		p.state.Updated = time.Now().UnixMicro()
		put(t, p.destination, ledger.DestinationTopic, p.state.Key(), p.state)
	}
	arrive(1, 2)
	a := p.auditor(t)
	ended, _ := p.begin(t, a, false)
	until := func(what string, holds func(e *evidence) bool) {
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		for ok := false; !ok; time.Sleep(time.Millisecond) { // until the condition
			a.evidence.mu.Lock()
			ok = holds(a.evidence)
			a.evidence.mu.Unlock()
			if time.Now().After(deadline) {
				t.Fatalf("it was not seen that %s", what)
			}
		}
	}
	key, tp := st.Stream, verdict.TopicPartition{Topic: "load"}
	until("2 has come", func(e *evidence) bool { n := e.kept.Noticed[key]; return len(n) > 0 && n[len(n)-1].Below == 2 })
	var to kadm.Offsets
	to.AddOffset("load", 0, 5, -1) // where 6 is
	if _, err := kadm.NewClient(client).DeleteRecords(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	until("the log begins at 5 now", func(e *evidence) bool { n := e.kept.Starts[tp]; return len(n) > 0 && n[len(n)-1].Offset == 5 })
	until("a later poll found nothing new", func(e *evidence) bool { return e.covered["load"] > e.kept.Starts[tp][0].At })
	arrive(6, 7, 8, 9)
	a.Drain()
	doc := <-ended
	if doc == nil {
		t.Fatal("no verdict")
	}
	var lost []string
	for _, f := range doc.Verdict.Findings {
		if f.Word == "lost" {
			lost = append(lost, fmt.Sprint(f.Attribution, " ", f.Sequences))
		}
	}
	if want := []string{"retention [3-5]"}; !slices.Equal(lost, want) {
		t.Errorf("lost: %v, want %v", lost, want)
	}
}

// produce writes a value to the topic.
func produce(ctx context.Context, opts []kgo.Opt, value string) error {
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer client.Close()
	return client.ProduceSync(ctx, &kgo.Record{Topic: "load", Value: []byte(value)}).FirstErr()
}

// A destination topic that is deleted after it was read has lost everything.
func TestDestinationDeleted(t *testing.T) {
	e := newEvidence("t1")
	e.parts["load"] = 1
	id := [16]byte{1}
	r := ledger.NewReceived("t1", "load", id, 0, "c", 0, 1)
	e.destination(map[string]topicBounds{"load": {id: id, partitions: map[int32]verdict.Bounds{0: {End: 5}}}}, 1)
	e.takeReceived(r)
	if current, _ := e.split(); len(current) != 1 {
		t.Fatal("the state is not taken for what it is: the test cannot tell")
	}
	for at := range int64(absentFor) {
		e.destination(nil, 2+at)
	}
	if current, former := e.split(); len(current) != 0 || len(former) != 1 {
		t.Errorf("%d states of the present and %d of the past", len(current), len(former))
	}
	if _, ok := e.bounds[verdict.TopicPartition{Topic: "load"}]; ok {
		t.Error("the log still has an end")
	}
}

// Of two consumers, one of which slept through a truncation of the log, neither
// makes the auditor forget what the other one read.
func TestStatesOfTwoLogs(t *testing.T) {
	e := newEvidence("t1")
	state := func(writer string, epochs ...int32) *ledger.Received {
		r := ledger.NewReceived("t1", "load", [16]byte{1}, 0, writer, 0, 1)
		for i, epoch := range epochs {
			r.Observe(&ledger.Observation{Offset: int64(i), LeaderEpoch: epoch, Kind: message.OK, ID: message.Identity{Run: 1, Sequence: uint64(i)}})
		}
		return r
	}
	for _, test := range []struct {
		take            *ledger.Received
		current, former int
	}{
		{state("a", 0), 1, 0},
		{state("b", 0, 0, 0), 1, 0}, // it took over from a
		{state("b", 0, 0, 0, 0), 1, 0},
		{state("a", 0, 0), 1, 0},          // a is late
		{state("a", 0, 0, 1, 1, 1), 1, 1}, // and reads what replaced the end of the log
		{state("c", 0, 0, 1, 1, 1, 1), 1, 1},
		{state("b", 0, 0, 0, 0), 1, 1}, // read from the ledger again
	} {
		e.takeReceived(test.take)
		if current, former := e.split(); len(current) != test.current || len(former) != test.former {
			t.Errorf("after %s at %d there are %d states of the present and %d of the past, want %d and %d",
				test.take.Writer, test.take.Next, len(current), len(former), test.current, test.former)
		}
	}
	e.truncated(e.current()[0], 5)
	if current, former := e.split(); len(current) != 1 || current[0].Writer != "b" || len(former) != 1 {
		t.Errorf("%d states of the present and %d of the past when the longest is out of date", len(current), len(former))
	}
}

func TestMergeKeepsEveryExpectation(t *testing.T) {
	low, _ := verdict.ParseExpectation("duplicates >= 1")
	high, _ := verdict.ParseExpectation("duplicates <= 10")
	lost, _ := verdict.ParseExpectation("lost <= 3")
	got := verdict.Merge([]verdict.Expectation{low, high, lost})
	if n := len(verdict.Defaults()) - 1 + 3; len(got) != n {
		t.Errorf("%d expectations, want %d: %v", len(got), n, got)
	}
}
