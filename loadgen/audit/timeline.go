package audit

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// timeline puts what happened in each second together, over all producers and
// partitions.
type timeline struct {
	mu      sync.Mutex
	seconds map[int64]*second
	merged  map[windowID]*intervals.Set // seconds of each partition that are in
	rates   map[uint64]*intervals.Set   // and of each run of a producer
	last    verdict.Counts
	scratch *latency.Histogram

	appended, arrival bool // windows have LogAppendTime, or the consumer's time
}

type windowID struct {
	topicID   [16]byte
	partition int32
}

// second is one second. Rates are by the clock of who measured them: producers
// for what was sent, the destination broker or the consumer for what arrived.
type second struct {
	point   verdict.Point
	judged  bool           // a verdict was computed in it
	dirty   bool           // percentiles are to be computed
	latency latency.Sparse // of first arrivals, in rising order
	catchUp latency.Sparse // likewise, read while the tester was behind
}

func newTimeline() *timeline {
	return &timeline{seconds: map[int64]*second{}, merged: map[windowID]*intervals.Set{}, rates: map[uint64]*intervals.Set{}, scratch: latency.New()}
}

func (t *timeline) at(s int64) *second {
	x := t.seconds[s]
	if x == nil {
		x = &second{point: verdict.Point{Second: s}}
		t.seconds[s] = x
	}
	return x
}

// window takes in a second of arrivals on one partition. A consumer that
// starts again tells of the same windows again.
func (t *timeline) window(e *ledger.WindowEntry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if once(t.merged, windowID{e.TopicID, e.Partition}, e.Window.Second) {
		t.add(&e.Window)
	}
}

// once notes that a second is in, and reports whether it was not before.
// Entries of one writer may come in any order, and more than once.
func once[K comparable](seconds map[K]*intervals.Set, key K, second int64) bool {
	set := seconds[key]
	if set == nil {
		set = &intervals.Set{}
		seconds[key] = set
	}
	return set.Add(uint64(max(0, second)))
}

func (t *timeline) add(w *ledger.Window) {
	s := t.at(w.Second)
	s.point.Received += w.Records
	s.point.ReceivedBytes += w.Bytes
	if w.Appended {
		t.appended = true
	} else {
		t.arrival = true
	}
	s.dirty = true
	into := &s.latency
	if w.CatchUp {
		into = &s.catchUp
	}
	*into = plus(*into, w.Latency)
}

// plus adds buckets to those that are there. Every second of a test is kept, so it is a list and no map, which would take
// several times as much.
func plus(sum, more latency.Sparse) latency.Sparse {
	for _, b := range more {
		i, there := slices.BinarySearchFunc(sum, b.Micros, func(x latency.Bucket, micros int64) int { return cmp.Compare(x.Micros, micros) })
		if there {
			sum[i].Count += b.Count
		} else {
			sum = slices.Insert(sum, i, b)
		}
	}
	return sum
}

// finish takes in the windows that are still open.
func (t *timeline) finish(received []*ledger.Received) {
	for _, r := range received {
		if r.Window.Records > 0 {
			t.window(&ledger.WindowEntry{Topic: r.Topic, TopicID: r.TopicID, Partition: r.Partition, Window: r.Window})
		}
	}
}

// rate takes in a second of a producer's life.
func (t *timeline) rate(r *ledger.Rate) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !once(t.rates, r.Run, r.Second) {
		return
	}
	p := &t.at(r.Second).point
	p.Scheduled += r.Scheduled
	p.Sent += r.Acked
	p.SentBytes += r.Bytes
	p.Shed += r.Shed
}

// state notes what the verdict said at the end of this second.
func (t *timeline) state(v *verdict.Verdict) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(v.Producers) == 0 {
		return
	}
	s := t.at(v.At / 1_000_000)
	s.judged = true
	p := &s.point
	c := &v.Total
	p.Pending, p.Skipped = c.Pending, c.Skipped
	if v.Final {
		p.Pending = c.Lost + c.Undelivered + c.Unobserved + c.DestinationLost
	}
	p.RPOSeconds = 0
	for i := range v.Topics {
		for j := range v.Topics[i].Partitions {
			p.RPOSeconds = max(p.RPOSeconds, v.Topics[i].Partitions[j].RPOSeconds)
		}
	}
	p.Duplicates += c.Duplicates - min(c.Duplicates, t.last.Duplicates)
	p.Reordered += c.Reordered - min(c.Reordered, t.last.Reordered)
	p.Corrupt += c.Corrupt - min(c.Corrupt, t.last.Corrupt)
	t.last = *c
}

// lag notes the consumers' lag at this second.
func (t *timeline) lag(now int64, records uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.seconds[now/1_000_000]; s != nil {
		s.point.ConsumerLag = records
	}
}

// stamps says whether latencies end with a broker's LogAppendTime, and whether
// with a consumer's clock.
func (t *timeline) stamps() (appended, arrival bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.appended, t.arrival
}

// points returns all seconds in order, with their percentiles.
func (t *timeline) points() []verdict.Point {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*second, 0, len(t.seconds))
	for _, s := range t.seconds {
		if s.dirty && len(s.latency) > 0 {
			t.scratch.Reset()
			t.scratch.Merge(s.latency)
			q := t.scratch.Percentiles()
			s.point.P50, s.point.P99, s.point.Max = q.P50, q.P99, q.Max
		}
		s.dirty = false
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *second) int { return cmp.Compare(a.point.Second, b.point.Second) })
	out := make([]verdict.Point, len(all))
	for i, s := range all {
		out[i] = s.point
	}
	// A second in which nothing was told of keeps the state of the one before.
	for i := 1; i < len(out); i++ {
		if p := &out[i]; p.Pending == 0 && p.RPOSeconds == 0 && p.Received == 0 && p.Sent > 0 {
			p.Pending, p.RPOSeconds, p.Skipped = out[i-1].Pending, out[i-1].RPOSeconds, out[i-1].Skipped
		}
	}
	// Where the auditor could not look, as while a broker that keeps a ledger was down, what came later tells how old
	// the oldest record was that was due: one that arrived late was due all that time, and so was one that is due still.
	age := 0.0 // seconds, at the end of the second
	for i := len(out) - 1; i >= 0; i-- {
		if i+1 < len(out) {
			next := &out[i+1]
			age = max(0, max(age, next.Max/1000)-float64(next.Second-out[i].Second))
		}
		if all[i].judged {
			age = max(age, out[i].RPOSeconds)
		} else {
			out[i].RPOSeconds = max(out[i].RPOSeconds, age)
		}
	}
	return out
}

// apart tells what happened from what only begins a phase.
func apart(events []verdict.Event) (happened, marked []verdict.Event) {
	for _, e := range events {
		if e.Kind == verdict.PhaseEvent {
			marked = append(marked, e)
		} else {
			happened = append(happened, e)
		}
	}
	return happened, marked
}

// phases returns the latencies of the whole test, of each phase between
// events, and of each phase that was named. A record belongs to the phase in which it was meant to be sent: its
// time of arrival less its latency, which is known to a second.
func (t *timeline) phases(events []verdict.Event, in *verdict.Input) []verdict.PhaseLatency {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.seconds) == 0 {
		return nil
	}
	var start int64
	for _, s := range in.Sent {
		if start == 0 || s.Started < start {
			start = s.Started
		}
	}
	type phase struct {
		verdict.PhaseLatency
		hist *latency.Histogram
	}
	phases := []*phase{{PhaseLatency: verdict.PhaseLatency{Phase: verdict.AllPhases, From: start, To: in.Now}, hist: latency.New()}}
	happened, marked := apart(events)
	if len(happened) > 0 {
		from, name := start, "baseline"
		for _, e := range happened {
			if e.Time > from {
				phases = append(phases, &phase{PhaseLatency: verdict.PhaseLatency{Phase: name, From: from, To: e.Time}, hist: latency.New()})
			}
			from, name = e.Time, "after "+e.Kind
			if e.Side != "" {
				name += " (" + e.Side + ")"
			}
		}
		phases = append(phases, &phase{PhaseLatency: verdict.PhaseLatency{Phase: name, From: from, To: in.Now}, hist: latency.New()})
	}
	between := phases[1:]
	var named []*phase
	for i, e := range marked {
		to := in.Now
		if i+1 < len(marked) {
			to = marked[i+1].Time
		}
		named = append(named, &phase{PhaseLatency: verdict.PhaseLatency{Phase: e.Detail, From: e.Time, To: to}, hist: latency.New()})
	}
	of := func(at int64) []*phase {
		out := phases[:1:1]
		for i, p := range between {
			if at < p.To || i == len(between)-1 {
				out = append(out, p)
				break
			}
		}
		for i, p := range named {
			if at >= p.From && (at < p.To || i == len(named)-1) {
				return append(out, p)
			}
		}
		return out
	}
	phases = append(phases, named...)
	ahead := int64(0) // by how much the clock of arrivals is: events are told by one that is right
	if in.Clock != nil {
		ahead = int64(in.Clock.OffsetMillis * 1000)
	}
	for _, s := range t.seconds {
		for _, b := range s.latency {
			for _, p := range of(s.point.Second*1_000_000 + 500_000 - b.Micros + ahead) {
				p.hist.Merge(latency.Sparse{b})
			}
		}
		for _, b := range s.catchUp {
			for _, p := range of(s.point.Second*1_000_000 + 500_000 - b.Micros + ahead) {
				p.CatchUp += b.Count
			}
		}
		if s.point.Shed > 0 {
			for _, p := range of(s.point.Second*1_000_000 + ahead) {
				p.Shed += s.point.Shed
				p.hist.AddOverRange(int64(s.point.Shed))
			}
		}
	}
	out := make([]verdict.PhaseLatency, 0, len(phases))
	for _, p := range phases {
		p.Latency = p.hist.Percentiles()
		p.Source = "arrival"
		if t.appended {
			p.Source = "LogAppendTime"
		}
		if in.Clock != nil {
			p.ClockKnown = true
			p.ClockOffset, p.ClockBound = in.Clock.OffsetMillis, in.Clock.BoundMillis
		}
		out = append(out, p.PhaseLatency)
	}
	return out
}

// A test has recovered from an event at the first of calm seconds in a row in
// which records arrived, what was due was no older and no later than three
// times what it was before the first event, or than the floors below.
const (
	calm         = 3
	floorRPO     = 3.0    // seconds; ledgers are stored once a second, so less cannot be told
	floorLatency = 1000.0 // milliseconds, 99th percentile
	// What begins later than so many seconds after an event is not its effect.
	effectWithin = 15
)

// recoveries tells for each event how long its effect lasted.
func recoveries(events []verdict.Event, points []verdict.Point) []verdict.Recovery {
	events, _ = apart(events)
	if len(events) == 0 || len(points) == 0 {
		return nil
	}
	var rpo, p99 []float64
	for _, p := range points {
		if p.Second*1_000_000 < events[0].Time && p.Received > 0 {
			rpo, p99 = append(rpo, p.RPOSeconds), append(p99, p.P99)
		}
	}
	limitRPO, limitLatency := max(floorRPO, 3*median(rpo)), max(floorLatency, 3*median(p99))
	lastSent := int64(math.MinInt64)
	for _, p := range points {
		if p.Sent > 0 {
			lastSent = max(lastSent, p.Second)
		}
	}
	disturbed := func(p *verdict.Point) bool {
		return p.RPOSeconds > limitRPO || p.P99 > limitLatency || p.Received == 0 && p.Second <= lastSent
	}
	var out []verdict.Recovery
	for i, e := range events {
		r := verdict.Recovery{Event: e.Kind, At: e.Time}
		if e.Side != "" {
			r.Event += " (" + e.Side + ")"
		}
		until := lastEffect(events[i:], int64(math.Ceil(limitRPO)))
		begin, _ := slices.BinarySearchFunc(points, e.Time/1_000_000, func(p verdict.Point, s int64) int { return cmp.Compare(p.Second, s) })
		started, quiet := false, 0
		end := int64(0)
		for i := begin; i < len(points); i++ {
			p := &points[i]
			switch {
			case disturbed(p):
				started, quiet = true, 0
			case started:
				if quiet == 0 {
					end = p.Second
				}
				quiet++
			}
			if p.Second >= until && (!started || quiet >= calm) {
				break
			}
		}
		switch {
		case !started:
			r.Recovered = true
		case quiet > 0:
			r.Recovered, r.Seconds = true, max(0, float64(end)-float64(e.Time)/1e6)
		}
		out = append(out, r)
	}
	return out
}

// lastEffect returns the last second in which an effect of the first of the events can begin to be seen. An effect
// may end and another follow: what a dead worker copied stands still from the event on, is seen to be late only
// when it is older than the limit, and until then all may look calm. What begins after another event is of that
// one, unless it is the fault's own end, or so soon that the effect of this one could not yet be seen.
func lastEffect(events []verdict.Event, limit int64) int64 {
	e := events[0]
	begun := e.Time / 1_000_000
	until := begun + limit + effectWithin
	for _, other := range events[1:] {
		if other.Side == e.Side && other.Kind == e.Kind+verdict.EndSuffix {
			continue
		}
		until = min(until, max(other.Time/1_000_000-1, begun+limit+1))
	}
	return until
}

func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(x))
	return s[len(s)/2]
}

// bottleneck says what bounded the throughput: who was behind while the others
// waited.
func bottleneck(in *verdict.Input, points []verdict.Point) verdict.Bottleneck {
	var shed, scheduled, open uint64
	var full, late, lived int64
	for _, s := range in.Sent {
		shed += s.Shed
		scheduled += s.Scheduled
		full += s.Full
		late = max(late, s.Late)
		lived += s.Updated - s.Started
		if s.Closed {
			due, acked := s.Scheduled-min(s.Scheduled, s.Shed), uint64(0)
			for _, st := range s.Streams {
				acked += st.Acked.Len()
				for _, failed := range st.Failed {
					due -= min(due, failed.Len())
				}
			}
			if acked > 0 { // with acks=0 nothing ever is
				open += due - min(due, acked)
			}
		}
	}
	busy, consumerBehind, replicatorBehind := 0, 0, 0
	for _, p := range points {
		if p.Received == 0 && p.Pending == 0 {
			continue
		}
		busy++
		if float64(p.ConsumerLag) > 5*float64(max(p.Received, 1)) && p.ConsumerLag > 1000 {
			consumerBehind++
		}
		if p.RPOSeconds > 10 {
			replicatorBehind++
		}
	}
	switch {
	case late > 1_000_000:
		return verdict.Bottleneck{Component: "tester", Evidence: fmt.Sprintf("a producer ran %.1f s behind its own schedule while its buffer had room", float64(late)/1e6)}
	case shed > 0 || lived > 0 && float64(full) > 0.01*float64(lived):
		return verdict.Bottleneck{Component: "source cluster", Evidence: fmt.Sprintf("producers' buffers were full for %.1f s in all; %d of %d records were shed", float64(full)/1e6, shed, scheduled)}
	case 20*open > scheduled:
		return verdict.Bottleneck{Component: "source cluster", Evidence: fmt.Sprintf("%d of %d records that were due had not been acknowledged when their producers stopped", open, scheduled)}
	case 2*consumerBehind > busy && busy > 0:
		return verdict.Bottleneck{Component: "tester", Evidence: fmt.Sprintf("consumers were more than 5 s behind the destination in %d of %d s", consumerBehind, busy)}
	case len(points) > 0 && points[len(points)-1].RPOSeconds > 10:
		return verdict.Bottleneck{Component: "replicator", Evidence: fmt.Sprintf("at the end the oldest record that was due was %.0f s old", points[len(points)-1].RPOSeconds)}
	case 2*replicatorBehind > busy && busy > 0:
		return verdict.Bottleneck{Component: "replicator", Evidence: fmt.Sprintf("records were due for more than 10 s in %d of %d s, while producers and consumers kept up", replicatorBehind, busy)}
	default:
		return verdict.Bottleneck{Component: "none", Evidence: "producers kept their schedule, and nothing was behind for most of the test"}
	}
}
