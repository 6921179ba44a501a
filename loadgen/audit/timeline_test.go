package audit

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// A minute of load: an event at second 20 stops arrivals for eight seconds.
func outage() ([]verdict.Event, []verdict.Point) {
	var points []verdict.Point
	for s := range int64(60) {
		p := verdict.Point{Second: s, Sent: 100, Received: 100, RPOSeconds: 1.5, P99: 20}
		if s >= 22 && s < 30 {
			p.Received, p.P99, p.RPOSeconds = 0, 0, float64(s-20)
		}
		if s == 30 {
			p.Received, p.P99 = 900, 8000
		}
		points = append(points, p)
	}
	return []verdict.Event{{Time: 20_500_000, Kind: "broker-kill", Side: "source"}, {Time: 45_000_000, Kind: "broker-return", Side: "source"}}, points
}

func TestRecoveries(t *testing.T) {
	events, points := outage()
	got := recoveries(events, points)
	if len(got) != 2 {
		t.Fatalf("%d recoveries for two events", len(got))
	}
	// The last disturbed second is 30, so all is well again at 31.
	if !got[0].Recovered || got[0].Seconds != 31-20.5 {
		t.Errorf("after the kill: %+v", got[0])
	}
	if !got[1].Recovered || got[1].Seconds != 0 {
		t.Errorf("after the return, which disturbed nothing: %+v", got[1])
	}
	for i := range points[30:] {
		points[30+i].Received, points[30+i].RPOSeconds = 0, 20
	}
	if got := recoveries(events, points); got[0].Recovered {
		t.Errorf("never recovered, and yet: %+v", got[0])
	}
}

// quiet is a load of two partitions that arrives at once, up to a second, with what was judged at its end.
func quiet(until int64) *timeline {
	tl := newTimeline()
	for s := range until {
		tl.rate(&ledger.Rate{Run: 1, Second: s, Scheduled: 100, Acked: 100})
		tl.arrive(s, 100, 20*time.Millisecond)
		tl.judge(s, 1.5, 1.5)
	}
	return tl
}

// arrive has records arrive late by so much.
func (t *timeline) arrive(second int64, records uint64, late time.Duration) {
	partition := int32(len(t.merged)) // each second is told once for each
	t.window(&ledger.WindowEntry{Topic: "a", Partition: partition, Window: ledger.Window{Second: second, Records: records, First: records,
		Latency: latency.Sparse{{Micros: late.Microseconds(), Count: int64(records)}}}})
}

// judge says how old the oldest record is that is due in each partition.
func (t *timeline) judge(second int64, ages ...float64) {
	v := &verdict.Verdict{At: second*1_000_000 + 900_000, Producers: []verdict.Producer{{}}, Topics: []verdict.Topic{{}}}
	for _, age := range ages {
		v.Topics[0].Partitions = append(v.Topics[0].Partitions, verdict.Partition{RPOSeconds: age})
	}
	t.state(v)
}

// deadWorker is quiet but for a worker that is killed at second 40, and whose partition flows again at second 88; the
// other one has just been grown and is late until then.
func deadWorker() (*timeline, verdict.Event) {
	tl := quiet(40)
	for s := int64(40); s < 120; s++ {
		tl.rate(&ledger.Rate{Run: 1, Second: s, Scheduled: 100, Acked: 100})
		tl.arrive(s, 50, 20*time.Millisecond)
		growing, dead := 1.5, 1.5
		switch {
		case s == 40:
			growing = 20
			tl.arrive(s, 50, 20*time.Second)
		case s < 88:
			dead = float64(s - 40)
		case s == 88:
			tl.arrive(s, 2400, 48*time.Second)
		}
		tl.judge(s, growing, dead)
	}
	return tl, verdict.Event{Time: 40_200_000, Kind: "worker-outage", Side: "destination"}
}

// What a dead worker copied is not seen to be late at once, and all is calm until it is. A test has recovered when
// it flows again, and not before.
func TestRecoveryCountsWhatIsSeenLater(t *testing.T) {
	const flows = 89 - 40.2 // at second 88 what was late arrives
	tl, outage := deadWorker()
	at := func(second float64, kind string) verdict.Event {
		return verdict.Event{Time: int64(second * 1e6), Kind: kind, Side: "destination"}
	}
	for name, c := range map[string]struct {
		events []verdict.Event
		want   []float64
	}{
		"alone":                     {[]verdict.Event{outage}, []float64{flows}},
		"its process is back":       {[]verdict.Event{outage, at(41.4, "worker-outage"+verdict.EndSuffix)}, []float64{flows, 89 - 41.4}},
		"another event at once":     {[]verdict.Event{outage, at(42, "workers")}, []float64{flows, 89 - 42}},
		"an event long after":       {[]verdict.Event{outage, at(100, "workers")}, []float64{flows, 0}},
		"an event before":           {[]verdict.Event{at(30, "workers"), outage}, []float64{0, flows}},
		"only one, 14 s before":     {[]verdict.Event{at(26, "workers")}, []float64{89 - 26}},
		"only one, too long before": {[]verdict.Event{at(10, "workers")}, []float64{0}},
	} {
		got := recoveries(c.events, tl.points())
		for i, r := range got {
			if !r.Recovered || math.Abs(r.Seconds-c.want[i]) > 0.001 {
				t.Errorf("%s: %s: recovered %t, %v s, want %v s", name, r.Event, r.Recovered, r.Seconds, c.want[i])
			}
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %d recoveries", name, len(got))
		}
	}
}

// Where much is late at rest, an outage is seen later still.
func TestRecoveryWhereMuchIsLate(t *testing.T) {
	tl := newTimeline()
	for s := range int64(100) {
		tl.rate(&ledger.Rate{Run: 1, Second: s, Scheduled: 100, Acked: 100})
		tl.arrive(s, 50, 8*time.Second)
		age := 8.0
		if s >= 20 && s < 60 {
			age += float64(s - 20)
		}
		tl.judge(s, 8, age)
	}
	got := recoveries([]verdict.Event{{Time: 20_000_000, Kind: "worker-outage"}}, tl.points())
	if len(got) != 1 || !got[0].Recovered || got[0].Seconds != 40 {
		t.Errorf("an outage of 40 s: %+v", got)
	}
}

// While a broker that keeps a ledger is down nothing is judged. What was due then is told by when it arrived, or by
// what is due still.
func TestWhatWasDueWhileNobodyLooked(t *testing.T) {
	events := []verdict.Event{{Time: 20_500_000, Kind: "broker-outage", Side: "destination"}}
	blind := func(arrives bool) *timeline {
		tl := quiet(20)
		for s := int64(20); s < 60; s++ {
			tl.rate(&ledger.Rate{Run: 1, Second: s, Scheduled: 100, Acked: 100})
			tl.arrive(s, 50, 20*time.Millisecond) // of the other partitions
			if s == 50 && arrives {
				tl.arrive(s, 1500, 30*time.Second)
			}
			if s > 55 && !arrives {
				tl.judge(s, 1.5, float64(s-20))
			}
		}
		return tl
	}
	tl := blind(true)
	for _, p := range tl.points() {
		if want := float64(p.Second - 20); p.Second > 20 && p.Second < 50 && math.Abs(p.RPOSeconds-want) > 1 {
			t.Errorf("second %d: the oldest record was due for %v s, want %v s", p.Second, p.RPOSeconds, want)
		}
	}
	if got := recoveries(events, tl.points()); !got[0].Recovered || got[0].Seconds != 51-20.5 {
		t.Errorf("what arrived after 30 s: %+v", got)
	}
	if got := recoveries(events, blind(false).points()); got[0].Recovered {
		t.Errorf("what is still due: %+v", got)
	}
}

// Records count in the phase in which they were meant to be sent, however late
// they arrive.
func TestPhasesGoByIntendedTime(t *testing.T) {
	tl := newTimeline()
	for s := range int64(60) {
		tl.window(&ledger.WindowEntry{Topic: "a", Window: ledger.Window{Second: s, Records: 10, First: 10,
			Latency: latency.Sparse{{Micros: 10_000, Count: 10}}}})
	}
	// Ten records of second 25 arrive at second 50, 25 s late.
	tl.window(&ledger.WindowEntry{Topic: "a", Partition: 1, Window: ledger.Window{Second: 50, Records: 10, First: 10,
		Latency: latency.Sparse{{Micros: 25_000_000, Count: 10}}}})
	events, _ := outage()
	phases := tl.phases(events, &verdict.Input{Now: 60_000_000, Sent: []*ledger.Sent{{Started: 1}}})
	if len(phases) != 4 {
		t.Fatalf("phases: %+v", phases)
	}
	for i, want := range []struct {
		name  string
		count int64
		max   float64
	}{{"all", 610, 25_000}, {"baseline", 210, 10}, {"after broker-kill (source)", 250, 25_000}, {"after broker-return (source)", 150, 10}} {
		p := phases[i]
		if p.Phase != want.name || p.Latency.Count != want.count || p.Latency.Max < want.max*0.98 || p.Latency.Max > want.max*1.02 {
			t.Errorf("phase %d: %s with %d records, max %v; want %+v", i, p.Phase, p.Latency.Count, p.Latency.Max, want)
		}
	}
}

// A consumer that starts again tells of the same windows again.
func TestWindowsCountOnce(t *testing.T) {
	tl := newTimeline()
	w := &ledger.WindowEntry{Topic: "a", Window: ledger.Window{Second: 7, Records: 10}}
	tl.window(w)
	tl.window(w)
	// Entries that were stored at the same time come in any order.
	tl.window(&ledger.WindowEntry{Topic: "a", Window: ledger.Window{Second: 6, Records: 5}})
	if p := tl.points(); len(p) != 2 || p[0].Received != 5 || p[1].Received != 10 {
		t.Errorf("got %+v", p)
	}
}

// Three clocks that differ: the estimate finds the offset within its bound.
func TestClockChain(t *testing.T) {
	const source, destination = int64(3_000_000), int64(-40_000_000) // ahead of the producer and the auditor, in microseconds
	c := newClock()
	for i := range int64(20) {
		sent := 1_000_000 * i
		trip := 10_000 + 1_000*i
		c.producer("p", ledger.Probe{Sent: sent, Acked: sent + trip, Offset: i})
		c.appendedAt(0, ledger.Entry{Offset: i, Appended: (sent + trip*3/4 + source) / 1000 * 1000, AppendedIsBroker: true})
		c.appendedAt(0, ledger.Entry{Offset: 100 + i, Appended: (sent + trip/4 + source) / 1000 * 1000, AppendedIsBroker: true})
		c.auditor(false, ledger.Probe{Sent: sent, Acked: sent + trip, Offset: 100 + i})
		c.auditor(true, ledger.Probe{Sent: sent, Acked: sent + trip, Offset: i})
		c.appendedAt(1, ledger.Entry{Offset: i, Appended: (sent + trip/2 + destination) / 1000 * 1000, AppendedIsBroker: true})
	}
	got := c.estimate(true, false)
	if got == nil {
		t.Fatal("no estimate")
	}
	const want = float64(destination) / 1000
	if got.OffsetMillis < want-got.BoundMillis || got.OffsetMillis > want+got.BoundMillis {
		t.Errorf("offset %v +- %v ms, want %v", got.OffsetMillis, got.BoundMillis, want)
	}
	if got.BoundMillis < 15 || got.BoundMillis > 17 { // half of three best round trips of 10 ms, and 0.5 ms each
		t.Errorf("bound %v ms", got.BoundMillis)
	}
}

// A clock that is set wrong, drifts, or belongs to one producer of two: whatever
// the offset was at any moment lies within the bound, and the bound is no wider
// than it has to be.
func TestClockMoves(t *testing.T) {
	const trip = int64(4_000) // of a write, in microseconds
	for name, c := range map[string]struct {
		first, second func(at int64) int64 // by how much a producer's clock is ahead, microseconds
		widest        float64              // bound, milliseconds
		moved         bool
	}{
		"right":           {func(int64) int64 { return 0 }, func(int64) int64 { return 0 }, 8, false},
		"wrong":           {func(int64) int64 { return 5_000_000 }, func(int64) int64 { return 5_000_000 }, 8, false},
		"one of two":      {func(int64) int64 { return 0 }, func(int64) int64 { return -250_000 }, 135, false},
		"step":            {func(at int64) int64 { return max(0, min(at-20_000_000, 1)) * 300_000 }, func(int64) int64 { return 0 }, 165, true},
		"step and back":   {func(at int64) int64 { return (at / 20_000_000 % 2) * 300_000 }, func(int64) int64 { return 0 }, 165, true},
		"drift":           {func(at int64) int64 { return at / 1000 }, func(int64) int64 { return 0 }, 40, true},
		"quick drift":     {func(at int64) int64 { return -at / 20 }, func(int64) int64 { return 0 }, 1520, true},
		"unnoticed drift": {func(at int64) int64 { return at / 100_000 }, func(int64) int64 { return 0 }, 8, false},
	} {
		t.Run(name, func(t *testing.T) {
			k := newClock()
			least, most := int64(math.MaxInt64), int64(math.MinInt64)
			for i := range int64(60) {
				at := 1_000_000 * i
				for n, ahead := range []func(int64) int64{c.first, c.second} {
					off := ahead(at)
					least, most = min(least, -off), max(most, -off)
					offset := 2*i + int64(n)
					// Where within the write the broker stamped it is not known.
					k.producer(fmt.Sprint(n), ledger.Probe{Sent: at + off, Acked: at + off + trip, Offset: offset})
					k.appendedAt(0, ledger.Entry{Offset: offset, Appended: (at + trip*(i%5)/4) / 1000 * 1000, AppendedIsBroker: true})
				}
				k.auditor(false, ledger.Probe{Sent: at, Acked: at + trip, Offset: 1000 + i})
				k.appendedAt(0, ledger.Entry{Offset: 1000 + i, Appended: (at + trip/2) / 1000 * 1000, AppendedIsBroker: true})
				k.auditor(true, ledger.Probe{Sent: at, Acked: at + trip, Offset: i})
				k.appendedAt(1, ledger.Entry{Offset: i, Appended: (at + trip/2) / 1000 * 1000, AppendedIsBroker: true})
			}
			got := k.estimate(true, false)
			low, high := got.OffsetMillis-got.BoundMillis, got.OffsetMillis+got.BoundMillis
			if low > float64(least)/1000 || high < float64(most)/1000 {
				t.Errorf("%.1f to %.1f ms, and the offset was %.1f to %.1f ms", low, high, float64(least)/1000, float64(most)/1000)
			}
			if got.BoundMillis > c.widest || got.Moved != c.moved {
				t.Errorf("bound %v ms, moved %t: want at most %v ms, moved %t", got.BoundMillis, got.Moved, c.widest, c.moved)
			}
			if k.estimate(false, true) != nil {
				t.Error("no consumer has probed, and the offset of its clock is said to be known")
			}
		})
	}
}

func TestBottleneck(t *testing.T) {
	busy := []verdict.Point{{Received: 100}, {Received: 100}, {Received: 100}}
	late := []verdict.Point{{Received: 100, RPOSeconds: 60}, {Received: 100, RPOSeconds: 61}}
	behind := []verdict.Point{{Received: 100, ConsumerLag: 5000, RPOSeconds: 60}, {Received: 100, ConsumerLag: 6000, RPOSeconds: 60}}
	for want, in := range map[string]struct {
		sent   ledger.Sent
		points []verdict.Point
	}{
		"none":           {ledger.Sent{Scheduled: 300, Updated: 10_000_000}, busy},
		"source cluster": {ledger.Sent{Scheduled: 300, Shed: 5, Updated: 10_000_000}, busy},
		// While the load runs some are under way; when it has ended, none should be.
		"none ":           {ledger.Sent{Scheduled: 300, Updated: 10_000_000, Streams: []*ledger.SentStream{{Acked: intervals.Of(intervals.Range{To: 200})}}}, busy},
		"source cluster ": {ledger.Sent{Scheduled: 300, Updated: 10_000_000, Closed: true, Streams: []*ledger.SentStream{{Acked: intervals.Of(intervals.Range{To: 200})}}}, late},
		"replicator":      {ledger.Sent{Scheduled: 300, Updated: 10_000_000}, late},
		"tester":          {ledger.Sent{Scheduled: 300, Updated: 10_000_000}, behind},
	} {
		if got := bottleneck(&verdict.Input{Sent: []*ledger.Sent{&in.sent}}, in.points); got.Component != strings.TrimSpace(want) {
			t.Errorf("want %s, got %+v", want, got)
		}
	}
	if got := bottleneck(&verdict.Input{Sent: []*ledger.Sent{{Late: 2_000_000}}}, busy); got.Component != "tester" {
		t.Errorf("a late producer: %+v", got)
	}
}

// A phase that was named spans what happened in it, and nothing recovers from its beginning.
func TestNamedPhases(t *testing.T) {
	tl := newTimeline()
	for s := range int64(60) {
		micros := int64(10_000)
		if s >= 20 && s < 50 {
			micros = 900_000
		}
		tl.window(&ledger.WindowEntry{Topic: "a", Window: ledger.Window{Second: s, Records: 10, First: 10, Latency: latency.Sparse{{Micros: micros, Count: 10}}}})
	}
	events, points := outage()
	alone := recoveries(events, points)
	marks := []verdict.Event{
		{Time: 5_000_000, Kind: verdict.PhaseEvent, Detail: "steady"}, {Time: 19_000_000, Kind: verdict.PhaseEvent, Detail: "fault"},
		{Time: 51_000_000, Kind: verdict.PhaseEvent, Detail: "recovered"},
	}
	events = []verdict.Event{marks[0], marks[1], events[0], events[1], marks[2]}
	got := map[string]verdict.PhaseLatency{}
	for _, p := range tl.phases(events, &verdict.Input{Now: 60_000_000, Sent: []*ledger.Sent{{Started: 1}}}) {
		got[p.Phase] = p
	}
	for name, want := range map[string]struct {
		count int64
		max   float64
	}{"steady": {140, 10}, "fault": {320, 900}, "recovered": {90, 10}, "all": {600, 900}, "baseline": {210, 900}} {
		p := got[name]
		if p.Latency.Count != want.count || p.Latency.Max < want.max*0.98 || p.Latency.Max > want.max*1.02 {
			t.Errorf("phase %s: %d records, max %v; want %+v", name, p.Latency.Count, p.Latency.Max, want)
		}
	}
	if with := recoveries(events, points); len(with) != 2 || with[0] != alone[0] || with[1] != alone[1] {
		t.Errorf("with phases %+v, without %+v", with, alone)
	}
}

// A second's buckets are each there once and in order, in whatever order the windows of its partitions come.
func TestASecondsLatenciesAddUp(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	want := map[int64]int64{}
	var sum latency.Sparse
	for range 50 {
		var window latency.Sparse
		for range dice.IntN(20) {
			b := latency.Bucket{Micros: dice.Int64N(40) - 5, Count: 1 + dice.Int64N(3)}
			window = append(window, b)
			want[b.Micros] += b.Count
		}
		sum = plus(sum, window)
	}
	for i, b := range sum {
		if b.Count != want[b.Micros] || i > 0 && sum[i-1].Micros >= b.Micros {
			t.Errorf("bucket %d: %+v, want %d in rising order", i, b, want[b.Micros])
		}
	}
	if len(sum) != len(want) {
		t.Errorf("%d buckets, want %d", len(sum), len(want))
	}
}
