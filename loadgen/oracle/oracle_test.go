package oracle

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
)

const (
	test  = "t"
	topic = "a"
	run   = 7
)

var fill = sync.OnceValues(func() (*message.Filler, error) { return message.NewFiller(1, 0) })

// at is the record with the sequence at an offset.
func at(t *testing.T, offset int64, sequence uint64, change ...func(*Record)) Record {
	t.Helper()
	filler, err := fill()
	if err != nil {
		t.Fatal(err)
	}
	var rec kgo.Record
	id := message.Identity{Test: message.TestHash(test), Producer: []byte("p"), Run: run, Partition: 0, Sequence: sequence, Intended: 1}
	message.NewEncoder(message.FormatValue, topic, filler).Encode(&rec, &id, []byte("k"), 90)
	out := Record{Offset: offset, Timestamp: 1, Key: rec.Key, Value: rec.Value}
	for _, f := range change {
		f(&out)
	}
	return out
}

func log(t *testing.T, sequences ...uint64) []Record {
	t.Helper()
	var out []Record
	for i, n := range sequences {
		out = append(out, at(t, int64(i), n))
	}
	return out
}

// clean is a test in which the sequences 1 to 5 were sent, all acknowledged,
// and the control is 0.
func clean(t *testing.T) *Input {
	t.Helper()
	control := uint64(0)
	place := Place{topic, 0}
	return &Input{
		Test: test, Final: true, Producers: 1, Topics: []string{topic},
		Lives: []Life{{Producer: "p", Run: run, Started: 1, State: Closed, Ordered: true,
			Streams: []Stream{{Topic: topic, Reserved: 6, Control: &control, Acked: []uint64{1, 2, 3, 4, 5}}}}},
		Source:      []Source{{Place: place, End: 5, To: 5, Records: log(t, 1, 2, 3, 4, 5)}},
		Destination: []Destination{{Place: place, Records: log(t, 1, 2, 3, 4, 5)}},
	}
}

// The oracle judges the verdict, so what it says itself is written down here by
// hand.
func TestRead(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(in *Input)
		outcome string
		want    Counts
		fates   map[uint64]Fate
	}{
		"clean": {func(*Input) {}, "holds", Counts{Acked: 5, Expected: 5, Received: 5, Arrivals: 5}, nil},
		"a gap": {func(in *Input) {
			in.Destination[0].Records = log(t, 1, 2, 5)
		}, "broken", Counts{Acked: 5, Expected: 5, Received: 3, Arrivals: 3, Lost: 2, LostAtLeast: 2},
			map[uint64]Fate{3: {"lost", byReplicator}, 4: {"lost", byReplicator}}},
		"a head": {func(in *Input) {
			in.Destination[0].Records = log(t, 2, 3, 4, 5)
		}, "broken", Counts{Acked: 5, Expected: 5, Received: 4, Arrivals: 4, Lost: 1, LostAtLeast: 1}, map[uint64]Fate{1: {"lost", byReplicator}}},
		"a tail": {func(in *Input) {
			in.Destination[0].Records = log(t, 1, 2, 3)
		}, "broken", Counts{Acked: 5, Expected: 5, Received: 3, Arrivals: 3, Undelivered: 2},
			map[uint64]Fate{4: {"undelivered", byReplicator}, 5: {"undelivered", byReplicator}}},
		"nothing arrives": {func(in *Input) {
			in.Destination[0].Records = nil
		}, "broken", Counts{Acked: 5, Expected: 5, Undelivered: 5}, nil},
		"a replay": {func(in *Input) {
			in.Destination[0].Records = log(t, 1, 2, 3, 1, 2, 3, 4, 4, 5)
		}, "holds", Counts{Acked: 5, Expected: 5, Received: 5, Arrivals: 9, Duplicates: 4, Replays: 2, LongestReplay: 3}, nil},
		"out of order": {func(in *Input) {
			in.Destination[0].Records = log(t, 1, 4, 2, 3, 5)
		}, "broken", Counts{Acked: 5, Expected: 5, Received: 5, Arrivals: 5, Reordered: 2}, nil},
		"damaged": {func(in *Input) {
			in.Destination[0].Records[2].Value = bytes.Replace(in.Destination[0].Records[2].Value, []byte("p;3;"), []byte("p;4;"), 1)
		}, "broken", Counts{Acked: 5, Expected: 5, Received: 4, Arrivals: 4, Lost: 1, Corrupt: 1}, nil},
		"malformed": {func(in *Input) {
			in.Destination[0].Records[2].Value = []byte("x")
		}, "broken", Counts{Acked: 5, Expected: 5, Received: 4, Arrivals: 4, Lost: 1, Malformed: 1}, nil},
		"on another partition": {func(in *Input) {
			in.Destination = append(in.Destination, Destination{Place: Place{topic, 1}, Records: in.Destination[0].Records[4:]})
			in.Destination[0].Records = in.Destination[0].Records[:4]
		}, "broken", Counts{Acked: 5, Expected: 5, Received: 5, Arrivals: 5, Misplaced: 1}, nil},
		"a phantom": {func(in *Input) {
			in.Destination[0].Records = log(t, 1, 2, 3, 4, 5, 6)
		}, "broken", Counts{Acked: 5, Expected: 5, Received: 6, Arrivals: 6, Phantom: 1}, nil},
		"the control arrives": {func(in *Input) {
			in.Destination[0].Records = log(t, 0, 1, 2, 3, 4, 5)
		}, "cannot say", Counts{Acked: 5, Expected: 5, Received: 6, Arrivals: 6}, nil},
		"lost by the source": {func(in *Input) {
			in.Destination[0].Records, in.Source[0].Records = log(t, 1, 2, 3, 5), log(t, 1, 2, 3, 5)
			in.Source[0].End, in.Source[0].To = 4, 4
		}, "broken", Counts{Acked: 5, Expected: 5, Received: 4, Arrivals: 4, Lost: 1, LostAtLeast: 1}, map[uint64]Fate{4: {"lost", bySource}}},
		"taken by retention": {func(in *Input) {
			in.Destination[0].Records = log(t, 4, 5)
			in.Source[0].Records, in.Source[0].Start = in.Source[0].Records[3:], 3
			in.Source[0].Starts = []Moved{{After: 10, At: 20, Offset: 3}}
			in.Lives[0].Streams[0].Placed = []Placed{{3, 2}}
			in.Lives[0].Streams[0].Overtaken = []Overtaken{{Highest: 4, After: 25, At: 30}}
		}, "broken", Counts{Acked: 5, Expected: 5, Received: 2, Arrivals: 2, Lost: 3, LostAtLeast: 3}, map[uint64]Fate{1: {"lost", byRetention}}},
		"retention or the replicator": {func(in *Input) {
			in.Destination[0].Records = log(t, 4, 5)
			in.Source[0].Records, in.Source[0].Start = in.Source[0].Records[3:], 3
			in.Source[0].Starts = []Moved{{After: 10, At: 20, Offset: 3}}
			in.Lives[0].Streams[0].Placed = []Placed{{3, 2}}
			in.Lives[0].Streams[0].Overtaken = []Overtaken{{Highest: 4, After: 15, At: 30}}
		}, "broken", Counts{Acked: 5, Expected: 5, Received: 2, Arrivals: 2, Lost: 3, LostAtLeast: 3}, map[uint64]Fate{1: {"lost", byUnknown}}},
		"lost by the destination": {func(in *Input) {
			in.Destination[0].Records = log(t, 1, 2, 3)
			in.Former = []Destination{{Place: Place{topic, 0}, Records: log(t, 1, 2, 3, 4, 5)}}
		}, "broken", Counts{Acked: 5, Expected: 5, Received: 3, Arrivals: 3, DestinationLost: 2}, map[uint64]Fate{4: {"destination-lost", byDestination}}},
		"not read": {func(in *Input) {
			in.Destination[0].Records, in.Destination[0].Unread = log(t, 1, 2, 3), []Unread{{From: 3, To: 5}}
		}, "cannot say", Counts{Acked: 5, Expected: 5, Received: 3, Arrivals: 3, Unobserved: 2}, map[uint64]Fate{4: {"unobserved", byTester}}},
		"not read, but that is not enough": {func(in *Input) {
			in.Destination[0].Records, in.Destination[0].Unread = log(t, 1, 2, 3), []Unread{{From: 3, To: 4}}
		}, "broken", Counts{Acked: 5, Expected: 5, Received: 3, Arrivals: 3, Unobserved: 2, LostAtLeast: 1}, nil},
		"the rest was never sent": {func(in *Input) {
			in.Lives[0].State, in.Lives[0].Streams[0].Reserved = Dead, 9
			in.Lives[0].Streams[0].Acked = []uint64{1, 2, 3}
		}, "holds", Counts{Acked: 3, Unsent: 3, Expected: 5, Received: 5, Arrivals: 5}, map[uint64]Fate{6: {"unsent", ""}}},
		"who knows what was sent": {func(in *Input) {
			in.Lives[0].State, in.Lives[0].Streams[0].Reserved = Dead, 9
			in.Source = nil
		}, "cannot say", Counts{Acked: 5, Indeterminate: 3, Expected: 5, Received: 5, Arrivals: 5}, map[uint64]Fate{6: {"indeterminate", byTester}}},
		"still under way": {func(in *Input) {
			in.Final, in.Lives[0].State = false, Running
			in.Destination[0].Records = log(t, 1, 2, 4)
		}, "holds", Counts{Acked: 5, Expected: 5, Received: 3, Arrivals: 3, Pending: 2, Skipped: 1}, nil},
		"a life without a book": {func(in *Input) {
			in.Lives = nil
		}, "cannot say", Counts{Received: 5, Arrivals: 5, Phantom: 5}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			in := clean(t)
			c.change(in)
			got := Read(in)
			if c.outcome == "broken" && len(got.Exceeded) == 0 || got.Outcome != c.outcome {
				t.Errorf("outcome %s (%v, %v), want %s", got.Outcome, got.Exceeded, got.Doubts, c.outcome)
			}
			if got.Total != c.want {
				t.Errorf("counts\n%+v, want\n%+v", got.Total, c.want)
			}
			for n, want := range c.fates {
				if f := got.Fates[StreamID{topic, 0, run, 0}][n]; f != want {
					t.Errorf("fate of %d is %v, want %v", n, f, want)
				}
			}
		})
	}
}

// Both formats are read as documented, and every bit counts.
func TestParse(t *testing.T) {
	filler, err := message.NewFiller(1, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []message.Format{message.FormatValue, message.FormatHeaders} {
		var rec kgo.Record
		id := message.Identity{Test: message.TestHash(test), Producer: []byte("p-1"), Run: run, Epoch: 2, Partition: 3, Sequence: 42, Intended: -5}
		message.NewEncoder(format, topic, filler).Encode(&rec, &id, []byte("key"), 100)
		r := Record{Key: rec.Key, Value: rec.Value}
		parts := []*[]byte{&r.Key, &r.Value}
		for _, h := range rec.Headers {
			r.Headers = append(r.Headers, Header{h.Key, h.Value})
		}
		for i := range r.Headers {
			parts = append(parts, &r.Headers[i].Value)
		}
		got, kind := parse(&r, topic, test)
		if want := (identity{run: run, epoch: 2, partition: 3, sequence: 42, intended: -5}); kind != ours || got != want {
			t.Fatalf("%s: %+v, %v", format, got, kind)
		}
		if _, kind := parse(&r, topic, "another"); kind != foreign {
			t.Errorf("%s: of another test it is %v", format, kind)
		}
		if _, kind := parse(&r, "another", test); kind != corrupt {
			t.Errorf("%s: of another topic it is %v", format, kind)
		}
		for i, part := range parts {
			whole := slices.Clone(*part)
			for bit := range 8 * len(whole) {
				*part = slices.Clone(whole)
				(*part)[bit/8] ^= 1 << (bit % 8)
				if _, kind := parse(&r, topic, test); kind != corrupt && kind != malformed {
					t.Errorf("%s: with bit %d of part %d wrong it is %v", format, bit, i, kind)
				}
			}
			*part = whole
		}
	}
}

// A verdict that is wrong in any number is noticed.
func TestCheck(t *testing.T) {
	in := clean(t)
	in.Destination[0].Records = log(t, 1, 2, 5, 5)
	good := fmt.Sprintf(`{"outcome":"broken","control":{"ok":true},
		"total":{"acked":5,"expected":5,"received":3,"arrivals":4,"duplicates":1,"replays":1,"longest_replay":1,"lost":2,"lost_at_least":2},
		"topics":[{"name":"a","counts":{"acked":5,"expected":5,"received":3,"arrivals":4,"duplicates":1,"replays":1,"longest_replay":1,"lost":2,"lost_at_least":2},
		"partitions":[{"partition":0,"rpo_records":2,"counts":{"acked":5,"expected":5,"received":3,"arrivals":4,"duplicates":1,"replays":1,"longest_replay":1,"lost":2},
		"streams":[{"run":"%016x","epoch":0,"counts":{"acked":5,"expected":5,"received":3,"arrivals":4,"duplicates":1,"lost":2}}]}]}],
		"findings":[{"word":"duplicate","topic":"a","count":1,"destination_offsets":[3]},
		{"word":"lost","attribution":"replicator","topic":"a","run":"%016x","count":2,"sequences":[{"from":3,"to":5}],"source_offsets":[2,3]}],
		"expectations":[{"expectation":"lost == 0","outcome":"broken"}]}`, run, run)
	if _, diffs := Check(in, []byte(good)); len(diffs) > 0 {
		t.Fatalf("the true verdict is called wrong: %v", diffs)
	}
	for _, bad := range [][2]string{
		{`"outcome":"broken","control"`, `"outcome":"holds","control"`},
		{`"ok":true`, `"ok":false`},
		{`"lost_at_least":2},
		"topics"`, `"lost_at_least":1},
		"topics"`},
		{`"duplicates":1,"lost":2}}]`, `"duplicates":0,"lost":2}}]`},
		{`"rpo_records":2`, `"rpo_records":3`},
		{`"from":3`, `"from":2`},
		{`"to":5`, `"to":4`},
		{`"attribution":"replicator"`, `"attribution":"retention"`},
		{`"source_offsets":[2,3]`, `"source_offsets":[1]`},
		{`"source_offsets":[2,3]`, `"source_offsets":[9]`},
		{`"destination_offsets":[3]`, `"destination_offsets":[2]`},
		{`"word":"duplicate"`, `"word":"reordered"`},
		{`"epoch":0`, `"epoch":1`},
		{`"expectation":"lost == 0","outcome":"broken"`, `"expectation":"lost == 0","outcome":"holds"`},
		{`{`, `[`},
	} {
		wrong := bytes.Replace([]byte(good), []byte(bad[0]), []byte(bad[1]), 1)
		if bytes.Equal(wrong, []byte(good)) {
			t.Fatalf("there is no %s", bad[0])
		}
		if _, diffs := Check(in, wrong); len(diffs) == 0 {
			t.Errorf("with %s for %s the verdict is called true", bad[1], bad[0])
		}
	}
}
