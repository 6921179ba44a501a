package report_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

const start = int64(1_795_363_200) // 2026-11-22 16:00:00 UTC

// brokerFailure makes up the document of a test in which a source broker is
// killed: throughput dips, latency peaks, the backlog is worked off. It holds.
func brokerFailure(partitions, seconds int) *verdict.Document {
	rnd := rand.New(rand.NewPCG(1, 2))
	const rate, size = 100_000, 1000
	kill, back := seconds*2/5, seconds*11/20
	caught := seconds * 3 / 4 // when the backlog is gone
	d := &verdict.Document{Schema: verdict.Schema}
	v := &d.Verdict
	*v = verdict.Verdict{Test: "atlantic-2026-11-22", Outcome: verdict.Holds, Final: true, Started: start*1e6 + 200_000, At: (start+int64(seconds))*1e6 + 31_500_000}

	pending, total, received := 0.0, uint64(0), uint64(0)
	for s := range seconds {
		noise := func(by float64) float64 { return 1 + by*rnd.NormFloat64() }
		in, out := rate*noise(0.003), rate*noise(0.012)
		p50, tail := 88.0, 1.0
		switch {
		case s >= kill && s < kill+4:
			in, out = 0.68*rate*noise(0.02), 0.05*rate
		case s >= kill && s < back:
			out = 0.64 * rate * noise(0.04)
			if s < kill+8 {
				in = 1.3 * rate
			}
		case s >= back && s < caught:
			out = 1.5 * rate * noise(0.03)
		}
		if pending += in - out; pending < 9000 {
			out += pending - 9000
			pending = 9000 * noise(0.05)
		}
		behind := pending / rate
		p := verdict.Point{Second: start + int64(s), Scheduled: rate, Sent: uint64(in), SentBytes: uint64(in) * size,
			Received: uint64(max(0, out)), ReceivedBytes: uint64(max(0, out)) * size, Pending: uint64(pending), RPOSeconds: behind * noise(0.02), ConsumerLag: uint64(300 * math.Abs(noise(0.4)))}
		if behind > 0.2 {
			p50, tail = behind*600, 3
		}
		p.P50 = p50 * noise(0.04)
		p.P99 = p.P50*1.9*noise(0.08) + behind*300*tail
		p.Max = p.P99 * (1.2 + 1.5*rnd.Float64())
		if s == kill+1 {
			p.Shed, p.Duplicates = 0, 180
		}
		if s == kill+2 {
			p.Duplicates = 132
		}
		if s >= kill && s < kill+9 {
			p.Skipped = uint64(rnd.IntN(60))
		}
		total, received = total+p.Sent, received+p.Received
		d.Timeline = append(d.Timeline, p)
	}
	d.Events = []verdict.Event{
		{Time: (start+int64(kill))*1e6 + 412_000, Kind: "broker-kill", Side: "source", Detail: "broker 2, kill -9 of process 41822"},
		{Time: (start+int64(back))*1e6 + 97_000, Kind: "broker-return", Side: "source", Detail: "broker 2 started again, same disk"},
		{Time: (start + int64(back) + 6) * 1e6, Kind: "in-sync", Side: "source", Detail: "no under-replicated partition any more"},
	}
	v.Recoveries = []verdict.Recovery{
		{Event: "broker-kill", At: d.Events[0].Time, Recovered: true, Seconds: float64(caught - kill)},
		{Event: "broker-return", At: d.Events[1].Time, Recovered: true, Seconds: float64(caught - back)},
	}
	v.Total = verdict.Counts{Scheduled: total, Acked: total, Expected: total, Received: total, Arrivals: total + 312, Duplicates: 312, Replays: 2, LongestReplay: 180}
	v.Latency = []verdict.PhaseLatency{
		phase(verdict.AllPhases, 0, seconds, latency.Percentiles{Count: int64(total), P50: 92, P90: 9120, P99: 14_700, P999: 19_800, P9999: 21_400, Max: 22_310}),
		phase("before broker-kill", 0, kill, latency.Percentiles{Count: int64(kill) * rate, P50: 87.4, P90: 121, P99: 171, P999: 240, P9999: 388, Max: 412}),
		phase("broker-kill", kill, back, latency.Percentiles{Count: int64(back-kill) * rate, P50: 5210, P90: 12_800, P99: 17_900, P999: 21_000, P9999: 22_100, Max: 22_310}),
		phase("broker-return", back, seconds, latency.Percentiles{Count: int64(seconds-back) * rate, P50: 94.1, P90: 7090, P99: 12_100, P999: 14_800, P9999: 15_600, Max: 15_610}),
	}
	v.Clock = &verdict.Clock{OffsetMillis: 0.31, BoundMillis: 1.2, Probes: 302}
	v.Control = verdict.Control{Planted: 4, Reported: 4, OK: true}
	v.Bottleneck = verdict.Bottleneck{Component: "none", Evidence: "producers kept to their schedule, the source took all of it, the tester read at the end of the log"}
	for _, e := range []string{"lost", "undelivered", "destination_lost", "reordered", "corrupt", "misplaced", "phantom"} {
		v.Expectations = append(v.Expectations, verdict.ExpectationResult{Expectation: e + " == 0", Actual: "0", Outcome: verdict.Holds})
	}
	v.Expectations = append(v.Expectations,
		verdict.ExpectationResult{Expectation: "duplicates <= 1000", Actual: "312", Outcome: verdict.Holds},
		verdict.ExpectationResult{Expectation: "recovery <= 3m0s", Actual: (time.Duration(caught-kill) * time.Second).String(), Outcome: verdict.Holds})

	topics := []string{"orders", "clicks"}
	for i, name := range topics {
		n := partitions / 2
		if i == 1 {
			n = partitions - n
		}
		t := verdict.Topic{Name: name}
		for p := range n {
			each := total / uint64(max(1, partitions))
			c := verdict.Counts{Acked: each, Expected: each, Received: each, Arrivals: each}
			x := verdict.Partition{Partition: int32(p), Counts: c}
			if p%3 == 1 { // led by the killed broker
				length := 4 + 9*rnd.Float64()
				from := d.Events[0].Time + int64(rnd.IntN(300_000))
				x.Outages = []verdict.Outage{{From: from, To: from + int64(length*1e6)}}
				if rnd.IntN(3) == 0 {
					x.Outages = append(x.Outages, verdict.Outage{From: d.Events[1].Time + 2_000_000, To: d.Events[1].Time + 2_000_000 + int64(rnd.IntN(3_000_000)) + 1_000_000})
				}
				for _, o := range x.Outages {
					x.OutageCount++
					x.OutageSeconds += float64(o.To-o.From) / 1e6
				}
			}
			x.Streams = []verdict.Stream{
				{Producer: "producer-0", Run: "8f3b06c1a2d94e57", Reserved: each/2 + 30_000, Counts: verdict.Counts{Acked: each / 2, Expected: each / 2, Received: each / 2, Arrivals: each / 2}},
				{Producer: "producer-1", Run: "02c55e9b7741aa10", Reserved: each/2 + 30_000, Counts: verdict.Counts{Acked: each / 2, Expected: each / 2, Received: each / 2, Arrivals: each / 2}},
			}
			t.Partitions = append(t.Partitions, x)
			t.Counts.Acked, t.Counts.Expected, t.Counts.Received, t.Counts.Arrivals = t.Counts.Acked+each, t.Counts.Expected+each, t.Counts.Received+each, t.Counts.Arrivals+each
		}
		v.Topics = append(v.Topics, t)
	}
	v.Producers = []verdict.Producer{
		{ID: "producer-0", Run: "8f3b06c1a2d94e57", Started: v.Started, Updated: v.Started + int64(seconds)*1e6, State: "closed", Counts: verdict.Counts{Scheduled: total / 2, Acked: total / 2, Expected: total / 2}},
		{ID: "producer-1", Run: "02c55e9b7741aa10", Started: v.Started + 4000, Updated: v.Started + int64(seconds)*1e6, State: "closed", Counts: verdict.Counts{Scheduled: total / 2, Acked: total / 2, Expected: total / 2}},
	}
	v.Findings = []verdict.Finding{{Word: "duplicate", Topic: "orders", Partition: 1, Producer: "producer-0", Run: "8f3b06c1a2d94e57", Count: 180,
		Sequences: []intervals.Range{{From: 40_112, To: 40_113}, {From: 40_113, To: 40_114}}, DestinationOffsets: []int64{80_433, 80_434}, Evidence: "first at offset 80433 of the destination"}}
	d.Config = map[string]string{"topics": "orders,clicks", "throughput": "50MB/s", "message-size": "1kB", "num-partitions": fmt.Sprint(partitions / 2), "num-replicas": "3",
		"acks": "all", "idempotent": "true", "producers": "2", "consumers": "4", "source-bootstrap-servers": "127.0.0.1:19092,127.0.0.1:19093", "destination-bootstrap-servers": "127.0.0.1:29092", "drain-idle": "30s"}
	d.Versions = map[string]string{"loadgen": "v0.1.0 (3f9c2ab)", "go": "go1.26.8", "franz-go": "v1.22.2", "source cluster": "3.9.1 (ZooKeeper)", "destination cluster": "3.9.1 (ZooKeeper)", "replicator": "MirrorMaker 2, 3.9.1"}
	return d
}

func phase(name string, from, to int, p latency.Percentiles) verdict.PhaseLatency {
	return verdict.PhaseLatency{Phase: name, From: (start + int64(from)) * 1e6, To: (start + int64(to)) * 1e6, Latency: p, ClockBound: 1.2, ClockOffset: 0.31, Source: "LogAppendTime"}
}

// withLoss turns the document into one of a test that is broken.
func withLoss(d *verdict.Document) *verdict.Document {
	v := &d.Verdict
	v.Outcome = verdict.Broken
	v.Total.Lost, v.Total.LostAtLeast, v.Total.Reordered, v.Total.Corrupt = 431, 429, 17, 2
	v.Total.Received -= 431
	v.Reasons = []string{"expected lost == 0, found 431", "expected reordered == 0, found 17", "expected corrupt == 0, found 2", "expected recovery <= 30s, found 1m45s"}
	v.Notes = []string{"nothing was sent to 2 of 75 partitions of clicks"}
	for i := range v.Expectations {
		e := &v.Expectations[i]
		found := map[string]string{"lost == 0": "431", "reordered == 0": "17", "corrupt == 0": "2"}[e.Expectation]
		if found != "" {
			e.Actual, e.Outcome = found, verdict.Broken
		}
		if e.Expectation == "recovery <= 3m0s" {
			e.Expectation, e.Outcome = "recovery <= 30s", verdict.Broken
		}
	}
	lost := verdict.Finding{Word: "lost", Attribution: verdict.ByReplicator, Topic: "orders", Partition: 4, Producer: "producer-1", Run: "02c55e9b7741aa10", Count: 400,
		Sequences: []intervals.Range{{From: 61_204, To: 61_590}, {From: 61_604, To: 61_618}}, SourceOffsets: []int64{122_410, 122_411, 122_412, 122_413, 122_414, 122_415, 122_416, 122_417},
		Evidence: "still in the source log, while later records of the partition have arrived"}
	more := lost
	more.Partition, more.Count = 6, 12
	v.Findings = append(v.Findings, lost, more,
		verdict.Finding{Word: "lost", Attribution: verdict.ByRetention, Topic: "clicks", Partition: 1, Producer: "producer-0", Run: "8f3b06c1a2d94e57", Count: 19,
			Sequences: []intervals.Range{{From: 70_000, To: 70_019}}, Evidence: "the source's retention removed it before the replicator went past it"},
		verdict.Finding{Word: "reordered", Topic: "orders", Partition: 4, Producer: "producer-1", Run: "02c55e9b7741aa10", Count: 17,
			Sequences: []intervals.Range{{From: 61_590, To: 61_604}}, DestinationOffsets: []int64{122_499, 122_500}, Evidence: "first at offset 122499 of the destination"},
		verdict.Finding{Word: "corrupt", Topic: "clicks", Partition: 7, Count: 2, DestinationOffsets: []int64{99_120, 99_144}, Evidence: "first at offset 99120 of the destination"})
	at := len(d.Timeline)*2/5 + 2
	d.Timeline[at].Reordered, d.Timeline[at+2].Corrupt, d.Timeline[at+9].Corrupt = 17, 1, 1
	for i := range v.Topics {
		for j := range v.Topics[i].Partitions {
			if p := &v.Topics[i].Partitions[j]; v.Topics[i].Name == "orders" && p.Partition == 4 {
				p.Counts.Lost, p.Counts.Reordered = 412, 17
				p.Counts.Received -= 412
				p.Streams[1].Counts.Lost = 412
				v.Topics[i].Counts.Lost, v.Topics[i].Counts.Reordered = 412, 17
			}
		}
	}
	return d
}

// withDoubt turns the document into one whose evidence does not suffice.
func withDoubt(d *verdict.Document) *verdict.Document {
	v := &d.Verdict
	v.Outcome, v.Bottleneck = verdict.CannotSay, verdict.Bottleneck{Component: "tester", Evidence: "the producers ran up to 4.1 s behind their own schedule"}
	v.Clock = nil
	for i := range 37 {
		v.Reasons = append(v.Reasons, fmt.Sprintf("%d records of orders/%d may have arrived unseen: offsets [0-%d] of partition %d of orders were removed before they were read", 120+i, i, 119+i, i))
		v.Total.Unobserved += uint64(120 + i)
		v.Total.Received -= uint64(120 + i)
	}
	for i := range v.Expectations {
		if v.Expectations[i].Actual == "0" {
			v.Expectations[i].Outcome = verdict.CannotSay
		}
	}
	v.Recoveries[1].Recovered = false
	for i := range v.Expectations {
		if e := &v.Expectations[i]; e.Expectation == "recovery <= 3m0s" {
			e.Actual, e.Outcome = "never", verdict.CannotSay
		}
	}
	v.Producers[1].State = "dead"
	v.Producers[1].Counts.Indeterminate = 1204
	return d
}

// running is a document of a test that is not over, and short: one point a
// second is drawn.
func running() *verdict.Document {
	d := brokerFailure(12, 60)
	d.Verdict.Final = false
	d.Timeline = slices.Clone(d.Timeline[:30])
	d.Events, d.Verdict.Recoveries = d.Events[:1], []verdict.Recovery{{Event: "broker-kill", At: d.Events[0].Time}}
	d.Verdict.Total.Pending, d.Verdict.Total.Skipped = 181_204, 43
	return d
}
