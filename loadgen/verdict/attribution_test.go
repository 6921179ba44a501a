package verdict_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// What random histories meet once in many thousands: whether retention or the
// replicator was first, when the destination's log was truncated in between.
//
// The sequences 1 to 12 lie at the source offsets 0 to 11. 4, 5 and 6 did not
// arrive, and the source's log began at 6 between the times 100 and 110. That 7
// and higher had not arrived at time 120 is what the auditor thought.
func TestWhoWasFirst(t *testing.T) {
	key := ledger.Stream{Run: 7, Topic: "a"}
	type record struct {
		sequence uint64
		epoch    int32
	}
	state := func(records ...record) *ledger.Received {
		r := ledger.NewReceived("t", "a", [16]byte{1}, 0, "c", 0, 0)
		for i, x := range records {
			r.Observe(&ledger.Observation{
				Offset: int64(i), LeaderEpoch: x.epoch, At: 1, Kind: message.OK,
				ID: message.Identity{Run: 7, Sequence: x.sequence},
			})
		}
		return r
	}
	arrived := func(epochOf7 int32) *ledger.Received {
		all := []record{{1, 0}, {2, 0}, {3, 0}, {7, epochOf7}}
		for n := uint64(8); n <= 12; n++ {
			all = append(all, record{n, 1})
		}
		return state(all...)
	}
	rolledBack := func() *ledger.Received {
		return state(record{1, 0}, record{2, 0}, record{3, 0}, record{7, 0}).RollBack(arrived(1))
	}
	made := func(r *ledger.Received, id byte) *ledger.Received {
		r.TopicID = [16]byte{id}
		return r
	}
	stranger := func(r *ledger.Received) *ledger.Received {
		r.Observe(&ledger.Observation{Offset: r.Next, LeaderEpoch: 1, At: 1, Kind: message.OK, ID: message.Identity{Run: 8}})
		return r
	}
	for name, c := range map[string]struct {
		now     *ledger.Received
		former  *ledger.Received
		noticed []verdict.Notice
		want    map[string]string
	}{
		"nothing was hidden": {now: arrived(1), want: map[string]string{"lost by retention": "[4-6]"}},
		"an earlier reading of the same log": {
			now: arrived(0), former: state(record{1, 0}, record{2, 0}, record{3, 0}, record{7, 0}),
			want: map[string]string{"lost by retention": "[4-6]"},
		},
		"7 came a second time, after a truncation": {
			now: arrived(1), former: state(record{1, 0}, record{2, 0}, record{3, 0}, record{7, 0}),
			want: map[string]string{"lost by unknown": "[4-6]"},
		},
		"it was rolled back": {now: rolledBack(), want: map[string]string{"lost by unknown": "[4-6]"}},
		"7 came a second time, to a topic made anew": {
			now: arrived(0), former: made(state(record{7, 0}), 2),
			want: map[string]string{"lost by unknown": "[4-6]"},
		},
		"a record of a run without a ledger came, too": {
			now: stranger(arrived(1)), want: map[string]string{"lost by unknown": "[4-6]"},
		},
		"only a notice tells of 5": {
			now: arrived(1), noticed: []verdict.Notice{{Below: 5, After: 60, At: 70}},
			want: map[string]string{"lost by replicator": "[4]", "destination-lost by destination cluster": "[5]", "lost by retention": "[6]"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			control := uint64(0)
			sent := &ledger.Sent{Test: "t", Producer: "p", Run: 7, Ordered: true, Closed: true, Streams: []*ledger.SentStream{{
				Stream: key, Control: &control, Reserved: 13, Next: 13, Acked: intervals.Of(intervals.Range{From: 1, To: 13}),
			}}}
			scan := verdict.NewScan(6)
			for n := uint64(7); n <= 12; n++ {
				scan.Observe(key, n, int64(n-1), 0, true)
			}
			place := verdict.TopicPartition{Topic: "a"}
			in := &verdict.Input{
				Test: "t", Now: 200, Final: true, Sent: []*ledger.Sent{sent}, Received: []*ledger.Received{c.now},
				Destination: map[verdict.TopicPartition]verdict.Bounds{place: {End: c.now.Next}},
				Source: map[verdict.TopicPartition]*verdict.SourceLog{place: {
					Bounds: verdict.Bounds{Start: 6, End: 12}, Starts: []verdict.LogStart{{After: 100, At: 110, Offset: 6}}, Scan: scan,
				}},
				Samples: map[ledger.Stream][]ledger.Sample{key: {{Sequence: 3, Offset: 2}, {Sequence: 6, Offset: 5}}},
				Noticed: map[ledger.Stream][]verdict.Notice{key: append(c.noticed, verdict.Notice{Below: 12, After: 120, At: 130})},
			}
			if c.former != nil {
				in.Former = []*ledger.Received{c.former}
			}
			got := map[string]string{}
			v := verdict.Compute(in)
			for _, f := range v.Findings {
				if f.Word == "lost" || f.Word == "destination-lost" {
					got[f.Word+" by "+string(f.Attribution)] = fmt.Sprint(f.Sequences)
				}
			}
			if !maps.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
