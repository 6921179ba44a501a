// Package oracletest lets tests hold a verdict against the oracle's reading of
// the raw logs of two live clusters.
package oracletest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/oracle"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// Compare holds a verdict against the oracle's reading of both raw logs and of
// the producers' books, and returns what is true.
func Compare(ctx context.Context, t *testing.T, doc *verdict.Document, source, destination []kgo.Opt, topics []string, producers int) (*oracle.Truth, []string) {
	t.Helper()
	truth, differences, err := Check(doc, Read(ctx, t, doc.Verdict.Test, source, destination, topics, producers))
	if err != nil {
		t.Fatal(err)
	}
	return truth, differences
}

// Read reads both raw logs and the producers' books: all that the oracle goes by.
func Read(ctx context.Context, t *testing.T, test string, source, destination []kgo.Opt, topics []string, producers int) *oracle.Input {
	t.Helper()
	in := &oracle.Input{Test: test, Final: true, Producers: producers, Topics: topics, Lives: lives(ctx, t, test, source)}
	for place, log := range rawLogs(ctx, t, source, topics) {
		in.Source = append(in.Source, oracle.Source{Place: place, End: log.end, To: log.end, Records: log.records})
	}
	for place, log := range rawLogs(ctx, t, destination, topics) {
		in.Destination = append(in.Destination, oracle.Destination{Place: place, Records: log.records})
	}
	return in
}

// Check holds a verdict against what Read has read.
func Check(doc *verdict.Document, in *oracle.Input) (*oracle.Truth, []string, error) {
	// Outages are measured by the consumers' clocks, of which the logs know nothing.
	judged := doc.Verdict
	judged.Topics = slices.Clone(judged.Topics)
	for i := range judged.Topics {
		parts := slices.Clone(judged.Topics[i].Partitions)
		for j := range parts {
			parts[j].Outages, parts[j].OutageCount, parts[j].OutageSeconds = nil, 0, 0
		}
		judged.Topics[i].Partitions = parts
	}
	data, err := json.Marshal(judged)
	if err != nil {
		return nil, nil, fmt.Errorf("write the verdict for the oracle: %w", err)
	}
	truth, differences := oracle.Check(in, data)
	return truth, differences, nil
}

type rawLog struct {
	end     int64
	records []oracle.Record
}

// rawLogs reads every record of the topics.
func rawLogs(ctx context.Context, t *testing.T, opts []kgo.Opt, topics []string) map[oracle.Place]*rawLog {
	t.Helper()
	client, err := kgo.NewClient(append(opts[:len(opts):len(opts)], kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ends, err := admin.ListEndOffsets(ctx, topics...)
	if err != nil || ends.Error() != nil {
		t.Fatal(err, ends.Error())
	}
	starts, err := admin.ListStartOffsets(ctx, topics...)
	if err != nil || starts.Error() != nil {
		t.Fatal(err, starts.Error())
	}
	starts.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			t.Fatalf("%s/%d begins at offset %d: retention has removed what the truth is read from", o.Topic, o.Partition, o.Offset)
		}
	})
	out := map[oracle.Place]*rawLog{}
	missing := int64(0)
	ends.Each(func(o kadm.ListedOffset) {
		out[oracle.Place{Topic: o.Topic, Partition: o.Partition}] = &rawLog{end: o.Offset}
		missing += o.Offset
	})
	for missing > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("read the raw logs: %d records do not come: %v", missing, fetches.Err())
		}
		fetches.EachRecord(func(r *kgo.Record) {
			log := out[oracle.Place{Topic: r.Topic, Partition: r.Partition}]
			if r.Offset >= log.end {
				return
			}
			missing--
			rec := oracle.Record{Offset: r.Offset, Key: r.Key, Value: r.Value}
			for _, h := range r.Headers {
				rec.Headers = append(rec.Headers, oracle.Header{Key: h.Key, Value: h.Value})
			}
			log.records = append(log.records, rec)
		})
	}
	return out
}

// lives reads the producers' books as they were stored last.
func lives(ctx context.Context, t *testing.T, test string, source []kgo.Opt) []oracle.Life {
	t.Helper()
	reader, err := ledger.NewReader(ledger.ReaderConfig{Opts: source, Topic: ledger.SourceTopic, Test: test})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	books := map[uint64]*ledger.Sent{}
	err = reader.ReadToEnd(ctx, func(e ledger.Entry) error {
		if e.Key.Kind != ledger.KindSent {
			return nil
		}
		var s ledger.Sent
		if err := ledger.Decode(e.Payload, &s); err != nil {
			return err
		}
		books[s.Run] = &s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var out []oracle.Life
	for run, s := range books {
		l := oracle.Life{Producer: s.Producer, Run: run, Started: s.Started, State: oracle.Dead, Ordered: s.Ordered, Scheduled: s.Scheduled, Shed: s.Shed}
		if s.Closed {
			l.State = oracle.Closed
		}
		for _, st := range s.Streams {
			reserved := st.Reserved
			if s.Closed {
				reserved = st.Next // no more were ever handed out
			}
			x := oracle.Stream{
				Topic: st.Stream.Topic, Epoch: st.Stream.Epoch, Partition: st.Stream.Partition, Base: st.Base,
				Reserved: reserved, Control: st.Control, Acked: numbers(&st.Acked),
			}
			for _, f := range st.Failed {
				x.Failed = append(x.Failed, numbers(f)...)
			}
			l.Streams = append(l.Streams, x)
		}
		out = append(out, l)
	}
	return out
}

func numbers(s *intervals.Set) []uint64 {
	var out []uint64
	for r := range s.All() {
		for n := r.From; n < r.To; n++ {
			out = append(out, n)
		}
	}
	return out
}
