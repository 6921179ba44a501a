package consume

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
)

// at returns the fetch's record i as if it lay at an offset.
func at(fp *kgo.FetchPartition, i int, offset int64, epoch int32) *kgo.Record {
	rec := *fp.Records[i]
	rec.Offset, rec.LeaderEpoch = offset, epoch
	return &rec
}

// A partition that was taken away and comes back may be read on from another
// consumer's state: the ledger keeps both.
func TestEveryTakeOverHasItsOwnKey(t *testing.T) {
	c, err := New(testConfig("c", "orders"), Deps{Logger: slog.Default()})
	if err != nil {
		t.Fatal(err)
	}
	tp := topicPartition{"orders", 0}
	topics := map[string]topicNow{"orders": {id: [16]byte{1}, partitions: 2}}
	writers := map[string]bool{}
	for range 3 {
		c.follow(topics)
		c.follow(topics) // nothing is new
		writers[c.parts[tp].writer] = true
		delete(c.parts, tp)
	}
	if len(writers) != 3 {
		t.Errorf("three times taken over, and stored by %v", writers)
	}
}

// What the client hands over is not taken on trust: a place in the log that
// was not asked for is noticed.
func TestTakeChecksThePlace(t *testing.T) {
	all := fetchOf(t, 10)
	for _, test := range []struct {
		name       string
		records    []*kgo.Record
		logStart   int64
		want       error
		next       int64
		records_   uint64
		unobserved string
	}{
		{"in order", []*kgo.Record{at(all, 0, 5, 2), at(all, 1, 6, 3)}, 0, nil, 7, 2, ""},
		{"a gap", []*kgo.Record{at(all, 0, 5, 2), at(all, 1, 9, 2)}, 5, nil, 10, 2, ""},
		{"a gap at first", []*kgo.Record{at(all, 0, 8, 2)}, 0, nil, 9, 1, ""},
		{"the log's start has moved", []*kgo.Record{at(all, 0, 8, 2)}, 8, nil, 9, 1, " 5-7"},
		{"a part of the gap was removed", []*kgo.Record{at(all, 0, 8, 2)}, 7, nil, 9, 1, " 5-6"},
		{"the log's start has moved since", []*kgo.Record{at(all, 0, 8, 2)}, 100, nil, 9, 1, " 5-7"},
		{"backwards", []*kgo.Record{at(all, 0, 5, 2), at(all, 1, 4, 2)}, 0, errBackwards, 6, 1, ""},
		{"backwards at first", []*kgo.Record{at(all, 0, 4, 2)}, 0, errBackwards, 5, 0, ""},
		{"an earlier epoch", []*kgo.Record{at(all, 0, 5, 2), at(all, 1, 6, 1)}, 0, errDiverged, 6, 1, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := benchPartition()
			p.state.Next, p.state.LeaderEpoch = 5, 1
			err := p.take(&kgo.FetchPartition{Records: test.records, LogStartOffset: test.logStart, HighWatermark: 10}, message.NewDecoder(testID), time.Now())
			if !errors.Is(err, test.want) || p.state.Next != test.next || p.state.Records != test.records_ || describeSet(&p.state.Unobserved) != test.unobserved {
				t.Errorf("%v; up to %d, %d records, unobserved%s", err, p.state.Next, p.state.Records, describeSet(&p.state.Unobserved))
			}
		})
	}
}

// Latencies are the tester's own, and marked so, for what lay there when it
// began, and while it does not keep up. With the broker's stamps it is all one.
func TestCatchUp(t *testing.T) {
	all := fetchOf(t, 10)
	p := benchPartition()
	p.end = 2
	now := time.UnixMicro(1_700_000_001_000_000)
	step := func(i int, after time.Duration, watermark int64, appended bool, want bool) {
		t.Helper()
		now = now.Add(after)
		rec := at(all, i, int64(i), 0)
		if appended {
			rec.Attrs = kgo.NewRecordAttrs(kgo.RecordAttrsOpts{TimestampType: 1})
		}
		p.state.Window.CatchUp = false
		if err := p.take(&kgo.FetchPartition{Records: []*kgo.Record{rec}, HighWatermark: watermark}, message.NewDecoder(testID), now); err != nil {
			t.Fatal(err)
		}
		if got := p.state.Window.CatchUp; got != want {
			t.Errorf("record %d: %v", i, got)
		}
	}
	step(0, 0, 2, false, true)
	step(1, 0, 2, false, true)
	step(2, 0, 3, false, false)  // the end is reached
	step(3, 0, 50, false, false) // behind, but not for long
	step(4, time.Second/2, 50, false, false)
	step(5, time.Second, 50, false, true) // for long
	step(6, time.Second, 50, true, false) // the broker's stamp
	step(7, time.Second, 8, false, true)  // this fetch reaches the end
	step(8, time.Second, 9, false, false)
}

// What the leader says of epochs decides; without an epoch the log's end does.
func TestIntact(t *testing.T) {
	for _, test := range []struct {
		name  string
		next  int64
		epoch int32
		any   bool
		log   logNow
		want  bool
	}{
		{"all there", 10, 3, true, logNow{end: 20, epoch: 3, epochEnd: 15}, true},
		{"just there", 10, 3, true, logNow{end: 20, epoch: 3, epochEnd: 10}, true},
		{"the epoch ended before", 10, 3, true, logNow{end: 20, epoch: 3, epochEnd: 9}, false},
		{"another epoch ended before", 10, 3, true, logNow{end: 20, epoch: 2, epochEnd: 9}, false},
		{"the end is behind, the epoch is not", 10, 3, true, logNow{end: 8, epoch: 3, epochEnd: 10}, true},
		{"unknown epoch, and nothing left to compare", 10, 3, true, logNow{start: 12, end: 20, epoch: -1, epochEnd: -1}, false},
		{"no epochs", 10, -1, true, logNow{end: 10, epoch: -1, epochEnd: -1}, true},
		{"no epochs, shorter", 10, -1, true, logNow{end: 9, epoch: -1, epochEnd: -1}, false},
		{"nothing read yet", 10, 0, false, logNow{start: 10, end: 10, epoch: -1, epochEnd: -1}, true},
		{"nothing read yet, shorter", 10, 0, false, logNow{end: 5, epoch: -1, epochEnd: -1}, false},
	} {
		got, err := new(Consumer).intact(t.Context(), benchPartition(), test.next, test.epoch, test.any, test.log)
		if err != nil || got != test.want {
			t.Errorf("%s: %v, %v", test.name, got, err)
		}
	}
}
