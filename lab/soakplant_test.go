package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/mirror"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/oracle"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// planted is a mistake that was made on purpose in what a soak is judged by, and whether it was found.
type planted struct {
	Plant string `json:"plant"`
	What  string `json:"what"`
	Found bool   `json:"found"`
	// words must all be in one of the mistakes.
	words []string
}

// plant makes a mistake in the evidence. It returns what it did, and words that tell of it.
type plant func(e *evidence) (what string, words []string, err error)

// plants are all that can be planted, by name. Each takes another partition, so that all can be planted at once.
func plants() map[string]plant {
	out := map[string]plant{
		"lose-one": loseOne, "hide-one": hideOne, "duplicate-one": duplicateOne, "reorder-one": reorderOne, "corrupt-one": corruptOne,
		"forget-acknowledged": forgetAcknowledged, "forget-arrived": forgetArrived, "grow-ledger": growLedger,
	}
	for _, x := range allowed() {
		out["grow-"+strings.ReplaceAll(x.of, " ", "-")] = func(e *evidence) (string, []string, error) { return grow(e, x.of, x.floor) }
	}
	return out
}

// parsePlants reads the value of --plant.
func parsePlants(text string) ([]string, error) {
	known := slices.Sorted(maps.Keys(plants()))
	switch text {
	case "":
		return nil, nil
	case "all":
		return known, nil
	}
	names := strings.Split(text, ",")
	var errs []error
	for _, name := range names {
		if !slices.Contains(known, name) {
			errs = append(errs, fmt.Errorf("--plant %q: use all, or some of %s", name, strings.Join(known, ",")))
		}
	}
	return names, errors.Join(errs...)
}

// sow plants what is named.
func (e *evidence) sow(names []string) ([]planted, error) {
	var out []planted
	for _, name := range names {
		what, words, err := plants()[name](e)
		if err != nil {
			return nil, fmt.Errorf("plant %s: %w", name, err)
		}
		out = append(out, planted{Plant: name, What: what, words: words})
	}
	return out, nil
}

// harvest looks for what was planted among the mistakes. What is not there is a mistake of the judge.
func (r *soakResult) harvest(all []planted) {
	var missed []string
	for _, p := range all {
		p.Found = slices.ContainsFunc(r.Mistakes, func(m string) bool {
			return !slices.ContainsFunc(p.words, func(w string) bool { return !strings.Contains(m, w) })
		})
		if !p.Found {
			missed = append(missed, fmt.Sprintf("%s was planted and not found: %s; no mistake has the words %q", p.Plant, p.What, p.words))
		}
		r.Plants = append(r.Plants, p)
	}
	r.Mistakes = append(r.Mistakes, missed...)
}

// loseOne takes a record that was lost out of the mirror's book, as if Kafka or the tester had lost it.
func loseOne(e *evidence) (string, []string, error) {
	dropped := e.Mirrored[mirror.Drop]
	if len(dropped) == 0 {
		return "", nil, errors.New("the mirror has dropped nothing")
	}
	one := dropped[len(dropped)/2]
	e.Mirrored[mirror.Drop] = slices.DeleteFunc(dropped, func(p mirror.Place) bool { return p == one })
	return fmt.Sprintf("the record at source offset %d of %s/%d was lost, and nobody dropped it", one.Offset, one.Topic, one.Partition),
		[]string{fmt.Sprintf("%s/%d ", one.Topic, one.Partition), fmt.Sprintf("source offset %d,", one.Offset), "has not dropped it"}, nil
}

// pair is a place in a destination log at which two neighbours of one stream lie, in order, each there once.
type pair struct {
	log      *oracle.Destination
	at       int // of the first
	sequence uint64
	stream   oracle.StreamID
}

// find looks for a pair in the middle of the log of the nth partition, or of the next that has one.
func (e *evidence) find(nth int) (*pair, error) {
	logs := e.Logs.Destination
	slices.SortFunc(logs, func(a, b oracle.Destination) int { return int(a.Partition - b.Partition) })
	decoder := message.NewDecoder(e.Logs.Test)
	for i := range logs {
		log := &logs[(nth+i)%len(logs)]
		type place struct {
			stream   oracle.StreamID
			sequence uint64
		}
		var all []place
		copies := map[place]int{}
		for j := range log.Records {
			var id message.Identity
			rec := kgo.Record{Key: log.Records[j].Key, Value: log.Records[j].Value}
			for _, h := range log.Records[j].Headers {
				rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
			}
			p := place{}
			if decoder.Decode(&rec, log.Topic, &id) == message.OK {
				p = place{oracle.StreamID{Topic: log.Topic, Partition: id.Partition, Run: id.Run, Epoch: id.Epoch}, id.Sequence}
				copies[p]++
			}
			all = append(all, p)
		}
		for k := range all {
			j := (len(all)/2 + k) % len(all)
			if j+2 < len(all) && copies[all[j]] == 1 && copies[all[j+1]] == 1 && all[j].stream == all[j+1].stream && all[j].sequence < all[j+1].sequence {
				return &pair{log: log, at: j, sequence: all[j].sequence, stream: all[j].stream}, nil
			}
		}
	}
	return nil, errors.New("no two neighbours of a stream are at the destination once each")
}

// hideOne takes a record out of the destination's log: then it was lost, and the verdict counts it as received.
func hideOne(e *evidence) (string, []string, error) {
	p, err := e.find(0)
	if err != nil {
		return "", nil, err
	}
	p.log.Records = slices.Delete(slices.Clone(p.log.Records), p.at, p.at+1)
	return fmt.Sprintf("sequence %d of %v is not at the destination, and the verdict has it as received", p.sequence, p.stream),
		[]string{"verdict and truth differ", "lost", p.stream.String(), fmt.Sprint(p.sequence)}, nil
}

// duplicateOne puts a record into the destination's log a second time, of which the verdict knows nothing. Of many
// duplicates a verdict lists the first eight alone, so the partition is all that can be named.
func duplicateOne(e *evidence) (string, []string, error) {
	p, err := e.find(1)
	if err != nil {
		return "", nil, err
	}
	again := p.log.Records[p.at]
	again.Offset = p.log.Records[len(p.log.Records)-1].Offset + 1
	p.log.Records = append(slices.Clone(p.log.Records), again)
	return fmt.Sprintf("sequence %d of %v is at the destination twice, and the verdict has it once", p.sequence, p.stream),
		[]string{"verdict and truth differ", p.log.Place.String() + ": duplicates is"}, nil
}

// reorderOne has two records of a stream change places.
func reorderOne(e *evidence) (string, []string, error) {
	p, err := e.find(2)
	if err != nil {
		return "", nil, err
	}
	p.log.Records = slices.Clone(p.log.Records)
	a, b := &p.log.Records[p.at], &p.log.Records[p.at+1]
	*a, *b = *b, *a
	a.Offset, b.Offset = b.Offset, a.Offset
	return fmt.Sprintf("sequence %d of %v came after the next one, and the verdict has them in order", p.sequence, p.stream),
		[]string{"verdict and truth differ", "reordered on " + p.log.Place.String(), fmt.Sprint(b.Offset)}, nil
}

// corruptOne turns a bit of a record over.
func corruptOne(e *evidence) (string, []string, error) {
	p, err := e.find(3)
	if err != nil {
		return "", nil, err
	}
	p.log.Records = slices.Clone(p.log.Records)
	r := &p.log.Records[p.at]
	r.Value = bytes.Clone(r.Value)
	r.Value[len(r.Value)-1] ^= 1
	return fmt.Sprintf("sequence %d of %v is not as it was sent, and the verdict has it as received", p.sequence, p.stream),
		[]string{"verdict and truth differ", "corrupt on " + p.log.Place.String(), fmt.Sprint(r.Offset)}, nil
}

// forgetAcknowledged has the source's ledger not know any more that a record was acknowledged.
func forgetAcknowledged(e *evidence) (string, []string, error) {
	for _, l := range e.Ledgers {
		for stream, acked := range l.Before.acked {
			now := l.After.acked[stream]
			if last, ok := acked.Max(); ok && now != nil && now.Contains(last) {
				gone := intervals.Of(intervals.Range{From: last, To: last + 1})
				rest := now.Minus(&gone)
				l.After.acked[stream] = &rest
				return fmt.Sprintf("%s has forgotten that sequence %d of %v was acknowledged", l.After.topic, last, streamID(stream)),
					[]string{l.After.topic, "were acknowledged 1 sequences: [" + fmt.Sprint(last) + "]", streamID(stream).String()}, nil
			}
		}
	}
	return "", nil, errors.New("no ledger knows of an acknowledged record")
}

// forgetArrived has the destination's ledger not know any more that a record arrived.
func forgetArrived(e *evidence) (string, []string, error) {
	for _, l := range e.Ledgers {
		for key, before := range l.Before.received {
			now := l.After.received[key]
			if now == nil {
				continue
			}
			for i, s := range before.Streams {
				last, ok := s.Seen.Max()
				j := slices.IndexFunc(now.Streams, func(x *ledger.ReceivedStream) bool { return x.Stream == s.Stream })
				if !ok || j < 0 || !now.Streams[j].Seen.Contains(last) {
					continue
				}
				gone := intervals.Of(intervals.Range{From: last, To: last + 1})
				less, other := *now, *now.Streams[j]
				other.Seen = other.Seen.Minus(&gone)
				less.Streams = slices.Clone(now.Streams)
				less.Streams[j] = &other
				l.After.received[key] = &less
				return fmt.Sprintf("%s has forgotten that sequence %d of %v arrived", l.After.topic, last, streamID(before.Streams[i].Stream)),
					[]string{l.After.topic, "what had arrived", "1 sequences: [" + fmt.Sprint(last) + "]", streamID(s.Stream).String()}, nil
			}
		}
	}
	return "", nil, errors.New("no ledger knows of a record that arrived")
}

// growLedger has a ledger take more of the disk than compaction leaves.
func growLedger(e *evidence) (string, []string, error) {
	e.LedgerBytes = maxLedgerLog + 1
	return fmt.Sprintf("a ledger takes %d bytes", e.LedgerBytes), []string{"a ledger takes " + fmt.Sprint(e.LedgerBytes)}, nil
}

// grow has a tool use more and more, in the end by three times what is allowed whatever it has.
func grow(e *evidence, of string, floor float64) (string, []string, error) {
	i := slices.IndexFunc(e.Tools, func(tool toolEvidence) bool { return tool.Long && span(tool.Life) >= e.Wanted })
	if i < 0 {
		return "", nil, errors.New("no tool lived for long")
	}
	tool := &e.Tools[i]
	// Three times a share of what it has too, where that is the rule.
	by := 3 * max(floor, median(valuesOf(tool.Life, of)))
	life := make([]sample, 0, len(tool.Life))
	for _, x := range tool.Life {
		values := maps.Clone(x.Values)
		if _, ok := values[of]; ok {
			values[of] += by * (x.At - tool.Life[0].At) / span(tool.Life)
		}
		life = append(life, sample{At: x.At, Values: values})
	}
	tool.Life = life
	return fmt.Sprintf("%s has grown in %s by %.0f", tool.Name, of, by), []string{tool.Name + ": " + of + " grew", "allowed"}, nil
}

func valuesOf(series []sample, of string) (out []float64) {
	for _, x := range series {
		if v, ok := x.Values[of]; ok {
			out = append(out, v)
		}
	}
	return out
}

// builtSoak is the evidence of a soak that was not played: two partitions with 400 records each of one producer. The
// mirror has dropped some and sent some twice, and was killed and copied a part again. The verdict is computed as
// the auditor does it.
func builtSoak(t *testing.T) *evidence {
	t.Helper()
	const (
		test, topic = "soak", "soak"
		run         = 7
		records     = 400
		started     = int64(1_800_000_000_000_000)
	)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	filler, err := message.NewFiller(1, 0.5)
	must(err)
	encoder, decoder := message.NewEncoder(message.FormatValue, topic, filler), message.NewDecoder(test)
	sent := &ledger.Sent{Test: test, Producer: "p", Run: run, Started: started, Updated: started, Closed: true, Ordered: true, Scheduled: 2 * records}
	e := &evidence{
		Logs: &oracle.Input{Test: test, Final: true, Producers: 1, Topics: []string{topic}}, Mirrored: map[string][]mirror.Place{},
		LedgerBytes: 20 << 20, Wanted: 60,
	}
	in := &verdict.Input{
		Test: test, Now: started + 1e9, Final: true, Manifest: verdict.Manifest{Producers: 1, Topics: map[string]int32{topic: 2}},
		Destination: map[verdict.TopicPartition]verdict.Bounds{}, Source: map[verdict.TopicPartition]*verdict.SourceLog{},
		Sent: []*ledger.Sent{sent}, Expectations: verdict.Defaults(),
	}
	life := oracle.Life{Producer: sent.Producer, Run: run, Started: started, State: oracle.Closed, Ordered: true, Scheduled: 2 * records}
	for p := range int32(2) {
		place := oracle.Place{Topic: topic, Partition: p}
		control := uint64(0)
		stream := ledger.Stream{Run: run, Topic: topic, Partition: p}
		source, destination := oracle.Source{Place: place}, oracle.Destination{Place: place}
		received := ledger.NewReceived(test, topic, [16]byte{1}, p, "c", 0, started)
		arrive := func(r kgo.Record) {
			var id message.Identity
			offset := int64(len(destination.Records))
			kind := decoder.Decode(&r, topic, &id)
			received.Observe(&ledger.Observation{Offset: offset, At: id.Intended + 1000, Kind: kind, ID: id, Bytes: len(r.Value)})
			destination.Records = append(destination.Records, oracle.Record{Offset: offset, Key: r.Key, Value: r.Value})
		}
		copied := func(r kgo.Record) {
			at := mirror.Place{Topic: topic, Partition: p, Offset: r.Offset}
			switch {
			case r.Offset%97 == 41:
				e.Mirrored[mirror.Drop] = append(e.Mirrored[mirror.Drop], at)
				return
			case r.Offset%89 == 50:
				e.Mirrored[mirror.Duplicate] = append(e.Mirrored[mirror.Duplicate], at)
				arrive(r)
			}
			arrive(r)
		}
		var log []kgo.Record
		for n := uint64(1); n <= records; n++ {
			id := message.Identity{Producer: []byte("p"), Run: run, Partition: p, Sequence: n, Intended: started + int64(n)*1000, Test: message.TestHash(test)}
			var rec kgo.Record
			encoder.Encode(&rec, &id, []byte("key"), 100)
			rec.Offset = int64(n - 1)
			log = append(log, rec)
			source.Records = append(source.Records, oracle.Record{Offset: rec.Offset, Key: rec.Key, Value: rec.Value})
		}
		for _, rec := range log[:160] {
			copied(rec)
		}
		for _, rec := range log[130:] {
			copied(rec)
		}
		source.End, source.To = records, records
		e.Logs.Source, e.Logs.Destination = append(e.Logs.Source, source), append(e.Logs.Destination, destination)
		scan := verdict.NewScan(0)
		acked := oracle.Stream{Topic: topic, Partition: p, Reserved: records + 1, Control: &control}
		for n := uint64(1); n <= records; n++ {
			scan.Observe(stream, n, int64(n-1), started+int64(n)*1000, received.Streams[0].Seen.Contains(n))
			acked.Acked = append(acked.Acked, n)
		}
		life.Streams = append(life.Streams, acked)
		sent.Streams = append(sent.Streams, &ledger.SentStream{
			Stream: stream, Control: &control, Reserved: records + 1, Next: records + 1, Acked: intervals.Of(intervals.Range{From: 1, To: records + 1}),
		})
		at := verdict.TopicPartition{Topic: topic, Partition: p}
		in.Received = append(in.Received, received)
		in.Destination[at] = verdict.Bounds{End: received.Next}
		in.Source[at] = &verdict.SourceLog{Bounds: verdict.Bounds{End: records}, Scan: scan}
	}
	e.Logs.Lives = []oracle.Life{life}
	e.Verdict = &verdict.Document{Verdict: verdict.Compute(in)}
	read := func(m *ledgerMemory) *ledgerMemory {
		text, err := ledger.Encode(sent)
		must(err)
		must(m.take(ledger.Entry{Key: ledger.Key{Test: test, Kind: ledger.KindSent, Name: "p"}, Payload: text}))
		for _, r := range in.Received {
			text, err := ledger.Encode(r)
			must(err)
			must(m.take(ledger.Entry{Key: ledger.Key{Test: test, Kind: ledger.KindReceived, Name: "c"}, Payload: text}))
		}
		return m
	}
	e.Ledgers = []ledgerEvidence{{read(newLedgerMemory("ledger")), read(newLedgerMemory("ledger"))}}
	var flat []sample
	for at := 0.0; at <= 120; at += 2 {
		flat = append(flat, sample{At: at, Values: map[string]float64{memory: 50 << 20, heap: 8 << 20, goroutines: 40, openFiles: 20, disk: 1000}})
	}
	e.Tools = []toolEvidence{{Name: "producer 0", Life: flat[:10]}, {Name: "producer 1", Long: true, Life: flat}}
	return e
}

func (e *evidence) judged(t *testing.T, names ...string) *soakResult {
	t.Helper()
	r := newSoakResult()
	all, err := e.sow(names)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.judge(r); err != nil {
		t.Fatal(err)
	}
	r.harvest(all)
	return r
}

// What make soak judges by finds each mistake that is planted, names it, and finds nothing where nothing is wrong.
func TestSoakFindsWhatIsPlanted(t *testing.T) {
	right := builtSoak(t).judged(t)
	if len(right.Mistakes) > 0 || right.Truth.Lost == 0 || right.Truth.Duplicates < 30 || right.Truth != right.Verdict || right.Outcome != "broken" {
		t.Fatalf("with nothing planted: %s", right.markdown())
	}
	for _, name := range append(slices.Sorted(maps.Keys(plants())), "all") {
		t.Run(name, func(t *testing.T) {
			names, err := parsePlants(name)
			if err != nil {
				t.Fatal(err)
			}
			r := builtSoak(t).judged(t, names...)
			t.Log(r.markdown())
			for _, p := range r.Plants {
				if !p.Found {
					t.Errorf("%s: %s: not found", p.Plant, p.What)
				}
			}
			if len(r.Mistakes) == 0 || len(r.Plants) != len(names) {
				t.Error("the soak would have passed")
			}
		})
	}
	if _, err := parsePlants("lose-one,loose-one"); err == nil || !strings.Contains(err.Error(), `"loose-one"`) || !strings.Contains(err.Error(), "lose-one") {
		t.Errorf("a plant that does not exist: %v", err)
	}
}

// What cannot be planted on a real run, since a verdict would be another one, or the test would be another one.
func TestSoakFindsMore(t *testing.T) {
	for name, c := range map[string]struct {
		change func(e *evidence)
		want   string
	}{
		"the verdict says nothing of a loss": {func(e *evidence) {
			v := &e.Verdict.Verdict
			v.Findings = slices.DeleteFunc(slices.Clone(v.Findings), func(f verdict.Finding) bool { return f.Word == "lost" && f.Partition == 1 })
		}, `lost by "replicator" on soak/1 run 0000000000000007 epoch 0`},
		"the verdict lists a loss that is none": {func(e *evidence) {
			f := &e.Verdict.Verdict.Findings[slices.IndexFunc(e.Verdict.Verdict.Findings, func(f verdict.Finding) bool { return f.Word == "lost" })]
			f.Sequences = append(slices.Clone(f.Sequences), intervals.Range{From: 5, To: 6})
		}, "sequence 5 of soak/"},
		"the verdict holds": {func(e *evidence) { e.Verdict.Verdict.Outcome = verdict.Holds }, `the outcome is "broken"`},
		"what was dropped arrived": {func(e *evidence) {
			e.Mirrored[mirror.Drop] = append(e.Mirrored[mirror.Drop], mirror.Place{Topic: "soak", Partition: 1, Offset: 11})
		}, "soak/1 run 0000000000000007 epoch 0: sequence 12, source offset 11, was dropped by the mirror, and is not missing"},
		"nothing was dropped": {func(e *evidence) {
			e.Mirrored = map[string][]mirror.Place{}
			e.Logs.Lives, e.Logs.Source, e.Logs.Destination = nil, nil, nil
		}, "nothing is missing"},
		"a record that was acknowledged is not in the source": {func(e *evidence) {
			e.Logs.Source[0].Records = slices.Delete(slices.Clone(e.Logs.Source[0].Records), 41, 42)
		}, "sequence 42 was acknowledged, and is not in the source's log"},
		"a long life was short":      {func(e *evidence) { e.Wanted = 200 }, "producer 1 lived for 120 s at most"},
		"a tool was seen too rarely": {func(e *evidence) { e.Tools[1].Life = []sample{e.Tools[1].Life[0], e.Tools[1].Life[60]} }, "memory was measured 1 times"},
		"a tool crashed":             {func(e *evidence) { e.Tools[0].Crashed = "panic: oh" }, "producer 0 has crashed: panic: oh"},
		"a ledger was never read":    {func(e *evidence) { e.Ledgers[0].Before = newLedgerMemory("ledger") }, "nothing was ever read of it"},
		"a ledger forgot while it was read": {func(e *evidence) {
			sent := &ledger.Sent{Test: "soak", Run: 7, Streams: []*ledger.SentStream{{Stream: ledger.Stream{Run: 7, Topic: "soak"}, Acked: intervals.Of(intervals.Range{From: 1, To: 400})}}}
			text, err := ledger.Encode(sent)
			if err == nil {
				err = e.Ledgers[0].Before.take(ledger.Entry{Key: ledger.Key{Kind: ledger.KindSent}, Payload: text, Offset: 9})
			}
			if err != nil {
				panic(err)
			}
		}, "ledger at offset 9: soak/0 run 0000000000000007 epoch 0: acknowledged before, and not any more: 1 sequences: [400]"},
		"an entry of a ledger cannot be read": {func(e *evidence) {
			_ = e.Ledgers[0].Before.take(ledger.Entry{Key: ledger.Key{Kind: ledger.KindReceived}, Payload: []byte{99}, Offset: 8})
		}, "ledger at offset 8"},
		"a partition's ledger is gone": {func(e *evidence) { clear(e.Ledgers[0].After.received) }, "in the end it knows nothing of soak/"},
	} {
		t.Run(name, func(t *testing.T) {
			e := builtSoak(t)
			c.change(e)
			r := e.judged(t)
			if !slices.ContainsFunc(r.Mistakes, func(m string) bool { return strings.Contains(m, c.want) }) {
				t.Errorf("want a mistake with %q:\n%s", c.want, strings.Join(r.Mistakes, "\n"))
			}
		})
	}
}

// The report says how it went, and is written also when the soak did not come to its end.
func TestSoakReport(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	r := newSoakResult()
	r.Seed, r.Duration, r.Faults["broker-kill source"] = 8, scenario.Duration(5*time.Minute), 3
	if err := r.write(dir); err != nil {
		t.Fatal(err)
	}
	report := func() string {
		text, err := os.ReadFile(filepath.Join(dir, "soak.md"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if text := report(); !strings.HasPrefix(text, "# Soak: FAILED before it could be judged") || !strings.Contains(text, "--duration 5m0s --seed 8") {
		t.Errorf("of one that did not end:\n%s", text)
	}
	if err := builtSoak(t).judge(r); err != nil {
		t.Fatal(err)
	}
	if err := r.write(dir); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# Soak: passed", "| broker-kill source | 3 |", "| lost | 8 | 8 |", "| expected | 800 | 800 |", "0 differences", "| producer 1 | memory | 120 s | 52.4 MB | 52.4 MB | 0 B |", "## Mistakes\n\nnone"} {
		if !strings.Contains(report(), want) {
			t.Errorf("want %q in:\n%s", want, report())
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "soak.json"))
	if err != nil {
		t.Fatal(err)
	}
	var back soakResult
	if err := json.Unmarshal(text, &back); err != nil || back.Truth != r.Truth || back.Schema != soakSchema {
		t.Errorf("soak.json: %v\n%s", err, text)
	}
}
