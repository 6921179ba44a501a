package audit

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

const (
	// maxSamples is how many places in the source log are remembered for each
	// stream; when there are more, every second one of the older half is dropped,
	// which makes look-ups wider, never wrong.
	maxSamples = 256
	// maxLookups is how many streams are looked up in the source log in one
	// interval, and settle how long a gap must have stayed open before it is.
	maxLookups = 16
	settle     = 3 * time.Second
)

// lineageID names one generation of the log of a destination partition.
type lineageID struct {
	topicID    [16]byte
	topic      string
	partition  int32
	generation uint32
}

func lineageOf(r *ledger.Received) lineageID {
	return lineageID{topicID: r.TopicID, topic: r.Topic, partition: r.Partition, generation: r.Generation}
}

// evidence is all that is known. Its methods are safe for concurrent use; the
// ledgers they hand out are not changed any more once they are in.
type evidence struct {
	mu sync.Mutex

	test     string
	expected verdict.Manifest // but the partitions
	watched  map[string]bool  // topics whose logs are asked for; it only grows
	sent     map[uint64]*ledger.Sent
	heard    map[uint64]time.Time             // when a run's ledger last changed, by our clock
	seenAll  map[lineageID][]*ledger.Received // those that no other tells all of
	outdated map[*ledger.Received]int64       // the log of this state was truncated to this offset since
	topicIDs map[string][16]byte              // as the destination has them now
	bounds   map[verdict.TopicPartition]verdict.Bounds
	absent   map[string]int    // how many looks in a row have missed the topic there
	polls    map[string][]poll // of each topic, how far the destination's logs reached at a time
	covered  map[string]int64  // of each topic, until when all that had arrived is known
	sources  map[verdict.TopicPartition]*verdict.SourceLog
	parts    map[string]int32 // partitions at the source

	lastSource map[verdict.TopicPartition]int64 // when its start was asked for the last time
	gaps       map[ledger.Stream]*gap
	kept       kept
	storedAt   time.Time
	storedSize int
	damaged    map[string]error // by side: what cannot be read of the ledger at present
	lostLedger map[string]error // by side: the ledger was replaced under us

	clock  *clock
	steady steady
	// skew is by how much, in microseconds, the clock of a writer and the broker's were seen to differ at most.
	skew int64
	// Whether evidence has been kept, and whether what an auditor before this one had kept is gone.
	restored, forgotten bool
}

// steady is a clock that never goes back, whatever is done to the machine's: the order in which things were
// seen decides who lost a record. It goes on where that of the auditor before this one was.
type steady struct {
	began time.Time
	base  int64 // Unix microseconds when it began
}

func (s *steady) now() int64 { return s.base + time.Since(s.began).Microseconds() }

// after has the clock go on after a time.
func (s *steady) after(t int64) { s.base += max(0, t+1-s.now()) }

// poll is one answer to how far a topic's logs at the destination reach.
type poll struct {
	at   int64
	id   [16]byte
	ends map[int32]int64
}

// maxPolls is how many of them wait for the consumers to have read so far.
const maxPolls = 120

// gap is what is skipped in a stream at the moment.
type gap struct {
	skipped intervals.Set
	since   time.Time
	looked  intervals.Set
}

// kept is the part of the evidence that cannot be read again, and so is stored.
type kept struct {
	Events   []verdict.Event
	Starts   map[verdict.TopicPartition][]verdict.LogStart
	Cuts     map[verdict.TopicPartition]int64
	Samples  map[ledger.Stream][]ledger.Sample
	Firsts   map[ledger.Stream][]ledger.Sample // what a log of the source began with when its start had moved
	Noticed  map[ledger.Stream][]verdict.Notice
	LookedUp map[ledger.Stream]*verdict.Lookup
	Runs     map[uint64]string   // whose ledger was seen, and the producer's id
	Sources  map[string][16]byte // ids of the topics at the source
}

func newEvidence(test string) *evidence {
	return &evidence{
		test:       test,
		watched:    map[string]bool{},
		sent:       map[uint64]*ledger.Sent{},
		heard:      map[uint64]time.Time{},
		seenAll:    map[lineageID][]*ledger.Received{},
		outdated:   map[*ledger.Received]int64{},
		topicIDs:   map[string][16]byte{},
		bounds:     map[verdict.TopicPartition]verdict.Bounds{},
		polls:      map[string][]poll{},
		absent:     map[string]int{},
		covered:    map[string]int64{},
		sources:    map[verdict.TopicPartition]*verdict.SourceLog{},
		parts:      map[string]int32{},
		lastSource: map[verdict.TopicPartition]int64{},
		gaps:       map[ledger.Stream]*gap{},
		damaged:    map[string]error{}, lostLedger: map[string]error{},
		kept: kept{
			Starts:   map[verdict.TopicPartition][]verdict.LogStart{},
			Cuts:     map[verdict.TopicPartition]int64{},
			Samples:  map[ledger.Stream][]ledger.Sample{},
			Firsts:   map[ledger.Stream][]ledger.Sample{},
			Noticed:  map[ledger.Stream][]verdict.Notice{},
			LookedUp: map[ledger.Stream]*verdict.Lookup{},
			Runs:     map[uint64]string{},
			Sources:  map[string][16]byte{},
		},
		clock:  newClock(),
		steady: steady{began: time.Now(), base: time.Now().UnixMicro()},
	}
}

// expect notes what the test is meant to consist of now.
func (e *evidence) expect(topics []string, producers int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.expected = verdict.Manifest{Producers: producers, Topics: map[string]int32{}}
	for _, topic := range topics {
		e.expected.Topics[topic] = 0
		e.watched[topic] = true
	}
}

// topics returns those of the test, sorted: all that were ever expected, and all
// that a producer has a stream of.
func (e *evidence) topics() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Sorted(maps.Keys(e.watched))
}

func (e *evidence) addEvent(event verdict.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kept.Events = append(e.kept.Events, event)
}

func (e *evidence) sortedEvents() []verdict.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.SortedStableFunc(slices.Values(e.kept.Events), func(a, b verdict.Event) int { return cmp.Compare(a.Time, b.Time) })
}

// damage notes what of a side's ledger cannot be read; nil: all can.
func (e *evidence) damage(side string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.damaged[side] = err
}

// replaced notes that a side's ledger is not the one it was.
func (e *evidence) replaced(side string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lostLedger[side] = err
}

// takeSent takes in a producer's snapshot.
func (e *evidence) takeSent(s *ledger.Sent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.sent[s.Run]
	if old != nil && old.Updated > s.Updated {
		return
	}
	if old != nil {
		s.Late = max(s.Late, old.Late) // the worst of its life
	}
	e.sent[s.Run] = s
	e.kept.Runs[s.Run] = s.Producer
	e.heard[s.Run] = time.Now()
	if s.Previous != nil {
		e.clock.producer(s.Producer, *s.Previous)
	}
	for _, st := range s.Streams {
		e.watched[st.Stream.Topic] = true
		if st.Last != nil {
			e.sample(st.Stream, *st.Last)
		}
	}
}

func (e *evidence) sample(key ledger.Stream, x ledger.Sample) {
	all := e.kept.Samples[key]
	if n := len(all); n > 0 && (all[n-1].Sequence >= x.Sequence || all[n-1].Offset >= x.Offset) {
		return
	}
	all = append(all, x)
	if len(all) > maxSamples {
		half := all[:0]
		for i, y := range all {
			if i%2 == 0 || i > maxSamples/2 {
				half = append(half, y)
			}
		}
		all = half
	}
	e.kept.Samples[key] = all
}

// takeReceived takes in a consumer's snapshot of a partition. It replaces others
// of the same generation only if nothing is forgotten with them: two consumers,
// one of them a zombie, may have read different logs without knowing.
func (e *evidence) takeReceived(r *ledger.Received) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.Previous != nil {
		e.clock.consumer(r.Writer, *r.Previous)
	}
	id := lineageOf(r)
	covers := func(a, b *ledger.Received) bool { return a.Writer == b.Writer || a.Covers(b) }
	if slices.ContainsFunc(e.seenAll[id], func(old *ledger.Received) bool { return !r.Supersedes(old) && covers(old, r) }) {
		return
	}
	e.seenAll[id] = append(slices.DeleteFunc(e.seenAll[id], func(old *ledger.Received) bool {
		replaced := r.Supersedes(old) && covers(r, old)
		if replaced {
			delete(e.outdated, old)
		}
		return replaced
	}), r)
}

// destination notes how far the destination's logs reach, as asked for at time
// asked.
func (e *evidence) destination(all map[string]topicBounds, asked int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for topic := range e.topicIDs {
		if _, ok := all[topic]; ok {
			delete(e.absent, topic)
			continue
		}
		// A broker that has just started may not know of a topic yet.
		if e.absent[topic]++; e.absent[topic] >= absentFor {
			e.forget(topic)
			e.topicIDs[topic] = [16]byte{} // no state is of this topic now
		}
	}
	for topic, b := range all {
		if old, ok := e.topicIDs[topic]; ok && old != b.id {
			e.forget(topic) // made anew: what was there before is gone
		}
		e.topicIDs[topic] = b.id
		p := poll{at: asked, id: b.id, ends: map[int32]int64{}}
		for n, x := range b.partitions {
			e.bounds[verdict.TopicPartition{Topic: topic, Partition: n}] = x
			p.ends[n] = x.End
		}
		polls := append(e.polls[topic], p)
		e.polls[topic] = polls[max(0, len(polls)-maxPolls):]
	}
}

// absentFor is how many looks in a row must miss a topic for it to be gone.
const absentFor = 3

// vanishing says whether a topic that was at the destination was missed by the last look, and it is not yet
// clear that it is gone.
func (e *evidence) vanishing() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, looks := range e.absent {
		if looks > 0 && looks < absentFor {
			return true
		}
	}
	return false
}

// forget drops what is known of the logs of a topic at the destination.
func (e *evidence) forget(topic string) {
	delete(e.polls, topic)
	delete(e.covered, topic)
	for tp := range e.bounds {
		if tp.Topic == topic {
			delete(e.bounds, tp)
		}
	}
}

// ends returns the states of the partitions, so that it can be asked whether
// the log of their last record's leader epoch still reaches that far.
func (e *evidence) ends() map[verdict.TopicPartition]*ledger.Received {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[verdict.TopicPartition]*ledger.Received{}
	for _, r := range e.current() {
		out[verdict.TopicPartition{Topic: r.Topic, Partition: r.Partition}] = r
	}
	return out
}

// truncated notes that the log of a state was cut to offset since.
func (e *evidence) truncated(r *ledger.Received, offset int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if slices.Contains(e.seenAll[lineageOf(r)], r) {
		e.outdated[r] = offset
	}
}

// source notes the bounds of the source's logs, asked for between before and
// after. It returns the new starts of those that retention has shortened beyond
// what is known to have arrived.
func (e *evidence) source(all map[string]topicBounds, before, after int64) map[verdict.TopicPartition]int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	ahead := map[verdict.TopicPartition]int64{}
	for topic, b := range all {
		if old, ok := e.kept.Sources[topic]; ok && old != b.id {
			for n := range b.partitions { // made anew: nothing of what was known is where it was
				e.cut(verdict.TopicPartition{Topic: topic, Partition: n}, 0)
			}
		}
		e.kept.Sources[topic] = b.id
		e.parts[topic] = int32(len(b.partitions))
		for n, x := range b.partitions {
			tp := verdict.TopicPartition{Topic: topic, Partition: n}
			log := e.sources[tp]
			if log == nil {
				log = &verdict.SourceLog{}
				e.sources[tp] = log
			}
			if x.End < log.End {
				e.cut(tp, x.End)
			}
			log.Bounds = x
			asked, ok := e.lastSource[tp]
			if !ok {
				asked = math.MinInt64
			}
			starts := e.kept.Starts[tp]
			if n := len(starts); n == 0 && x.Start > 0 || n > 0 && x.Start > starts[n-1].Offset {
				e.kept.Starts[tp] = append(starts, verdict.LogStart{After: asked, At: after, Offset: x.Start})
				if !e.passed(tp, x.Start) {
					ahead[tp] = x.Start
				}
			}
			e.lastSource[tp] = before
		}
	}
	return ahead
}

// passed says whether every stream of the partition is known to have arrived from beyond the source's offset.
func (e *evidence) passed(tp verdict.TopicPartition, offset int64) bool {
	for _, sent := range e.sent {
		for _, st := range sent.Streams {
			key := st.Stream
			if key.Topic != tp.Topic || key.Partition != tp.Partition || st.Acked.Empty() {
				continue
			}
			noticed := e.kept.Noticed[key]
			if len(noticed) == 0 || verdict.LowestOffset(sent, st, e.kept.Samples[key], noticed[len(noticed)-1].Below) < offset {
				return false
			}
		}
	}
	return true
}

// first notes what the source's log began with after its start had moved: to which record retention had come, where
// the ledger's samples only say that within a second of load.
func (e *evidence) first(all map[ledger.Stream]ledger.Sample) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for key, x := range all {
		e.kept.Firsts[key] = append(e.kept.Firsts[key], x)
	}
}

// places returns the known places of a stream's records in the source log, in rising order.
func (e *evidence) places(key ledger.Stream) []ledger.Sample {
	all := slices.Concat(e.kept.Samples[key], e.kept.Firsts[key])
	slices.SortFunc(all, func(a, b ledger.Sample) int {
		return cmp.Or(cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.Offset, b.Offset))
	})
	out := all[:0]
	for _, x := range all {
		if n := len(out); n == 0 || out[n-1].Sequence < x.Sequence && out[n-1].Offset < x.Offset {
			out = append(out, x)
		}
	}
	return out
}

// cut notes that a source log was truncated to offset.
func (e *evidence) cut(tp verdict.TopicPartition, offset int64) {
	if old, ok := e.kept.Cuts[tp]; !ok || offset < old {
		e.kept.Cuts[tp] = offset
	}
}

// truncatedSource is cut, for those who do not hold the lock.
func (e *evidence) truncatedSource(tp verdict.TopicPartition, offset int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cut(tp, offset)
}

// notice notes how far each stream has come, and what is skipped, and since
// when.
func (e *evidence) notice(now int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	current, former := e.split()
	arrived := verdict.Arrived(&verdict.Input{Received: current, Former: former})
	for _, sent := range e.sent {
		for _, st := range sent.Streams {
			have := arrived[st.Stream]
			if have == nil {
				continue
			}
			reserved := have.Below(st.Reserved)
			highest, ok := reserved.Max()
			if !ok {
				continue
			}
			e.come(st.Stream, highest, now)
			e.skip(st, have, highest)
		}
	}
	for topic, polls := range e.polls {
		for _, p := range polls {
			if p.at > e.covered[topic] && covers(p, topic, current) {
				e.covered[topic] = p.at
			}
		}
	}
}

// come notes that the stream has come as far as highest.
func (e *evidence) come(key ledger.Stream, highest uint64, now int64) {
	all := e.kept.Noticed[key]
	if n := len(all); n > 0 && all[n-1].Below >= highest {
		return
	}
	after, ok := e.covered[key.Topic]
	if !ok {
		after = math.MinInt64
	}
	all = append(all, verdict.Notice{Below: highest, After: after, At: now})
	if len(all) > maxSamples {
		// Of two the later Below with the earlier After: less exact, never wrong.
		half := all[:0]
		for i := 0; i < len(all); i++ {
			x := all[i]
			if i < maxSamples/2 && i+1 < len(all) {
				x.Below, x.At = all[i+1].Below, all[i+1].At
				i++
			}
			half = append(half, x)
		}
		all = half
	}
	e.kept.Noticed[key] = all
}

// skip notes what of the stream is overtaken.
func (e *evidence) skip(st *ledger.SentStream, have *intervals.Set, highest uint64) {
	due := st.Acked.Below(highest)
	skipped := due.Minus(have)
	if skipped.Empty() {
		delete(e.gaps, st.Stream)
		return
	}
	g := e.gaps[st.Stream]
	if g == nil {
		g = &gap{since: time.Now()}
		e.gaps[st.Stream] = g
	}
	g.skipped = skipped
}

// covers says whether the states hold all that there was at the time of the
// poll.
func covers(p poll, topic string, current []*ledger.Received) bool {
	read := map[int32]int64{}
	for _, r := range current {
		if r.Topic != topic {
			continue
		}
		if r.TopicID != p.id || r.Start > 0 || !r.Unobserved.Empty() {
			return false
		}
		read[r.Partition] = r.Next
	}
	for n, end := range p.ends {
		if read[n] < end {
			return false
		}
	}
	return true
}

// current returns the states of the partitions of the topics as they are now.
func (e *evidence) current() []*ledger.Received {
	now, _ := e.split()
	return now
}

// split sorts the partitions' states into those of the logs as they are now
// and those that are of the past: of topics that were made anew, and of logs
// that were truncated since.
func (e *evidence) split() (current, former []*ledger.Received) {
	newest := map[string]*ledger.Received{}
	all := slices.Concat(slices.Collect(maps.Values(e.seenAll))...)
	for _, r := range all {
		if n := newest[r.Topic]; n == nil || r.Started > n.Started {
			newest[r.Topic] = r
		}
	}
	best := map[verdict.TopicPartition]*ledger.Received{}
	for _, r := range all {
		is, known := e.topicIDs[r.Topic]
		if !known {
			is = newest[r.Topic].TopicID
		}
		if _, cut := e.outdated[r]; cut || r.TopicID != is {
			continue
		}
		tp := verdict.TopicPartition{Topic: r.Topic, Partition: r.Partition}
		if r.Supersedes(best[tp]) {
			best[tp] = r
		}
	}
	for _, r := range all {
		if best[verdict.TopicPartition{Topic: r.Topic, Partition: r.Partition}] == r {
			current = append(current, r)
		} else {
			former = append(former, r)
		}
	}
	byPlace := func(a, b *ledger.Received) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Generation, b.Generation))
	}
	slices.SortFunc(current, byPlace)
	slices.SortFunc(former, byPlace)
	return current, former
}

// received returns the states of the partitions as they are now.
func (e *evidence) received() []*ledger.Received {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.current()
}

// dead returns the runs that are not closed and were not heard of for so long.
func (e *evidence) dead(after time.Duration) map[uint64]bool {
	out := map[uint64]bool{}
	for run, s := range e.sent {
		if !s.Closed && time.Since(e.heard[run]) > after {
			out[run] = true
		}
	}
	return out
}

// ended reports whether all expected producers have been there and have closed
// or died.
func (e *evidence) ended(deadAfter time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	dead := e.dead(deadAfter)
	ids := map[string]bool{}
	for run, s := range e.sent {
		if !s.Closed && !dead[run] {
			return false
		}
		ids[s.Producer] = true
	}
	return len(ids) > 0 && len(ids) >= e.expected.Producers
}

// progress is what changes as long as something still moves.
type progress struct {
	received, arrivals uint64
	next, end          int64
	open               int
}

// progress sums up how far everything is, and how many producers still run.
func (e *evidence) progress(deadAfter time.Duration) (progress, int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var p progress
	for _, r := range e.current() {
		p.next += r.Next
		p.arrivals += r.Records
		p.received += r.Records - r.Duplicate
	}
	for _, b := range e.bounds {
		p.end += b.End
	}
	dead := e.dead(deadAfter)
	for run, s := range e.sent {
		if !s.Closed && !dead[run] {
			p.open++
		}
	}
	return p, p.open
}

// consumerLag is how many records at the destination the consumers have not
// told of yet.
func (e *evidence) consumerLag() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := map[verdict.TopicPartition]int64{}
	for _, r := range e.current() {
		next[verdict.TopicPartition{Topic: r.Topic, Partition: r.Partition}] = r.Next
	}
	var lag uint64
	for tp, b := range e.bounds {
		at, ok := next[tp]
		if !ok {
			at = b.Start
		}
		lag += uint64(max(0, b.End-at))
	}
	return lag
}

// input puts the evidence together.
func (e *evidence) input(cfg Config, final bool) *verdict.Input {
	e.mu.Lock()
	defer e.mu.Unlock()
	in := &verdict.Input{
		Test:         cfg.TestID,
		Now:          time.Now().UnixMicro(),
		Final:        final,
		Manifest:     verdict.Manifest{Producers: e.expected.Producers, Topics: map[string]int32{}},
		Dead:         e.dead(cfg.DeadAfter),
		Destination:  map[verdict.TopicPartition]verdict.Bounds{},
		Source:       map[verdict.TopicPartition]*verdict.SourceLog{},
		Samples:      map[ledger.Stream][]ledger.Sample{},
		LookedUp:     map[ledger.Stream]*verdict.Lookup{},
		Noticed:      map[ledger.Stream][]verdict.Notice{},
		ClockBound:   clockMargin + e.skew,
		Expectations: verdict.Merge(cfg.Expectations),
	}
	for _, side := range []string{"source", "destination"} {
		for _, err := range []error{e.damaged[side], e.lostLedger[side]} {
			if err != nil {
				in.Doubts = append(in.Doubts, fmt.Sprintf("the %s ledger cannot be trusted: %v", side, err))
			}
		}
	}
	if e.forgotten {
		in.Doubts = append(in.Doubts, "the destination ledger has lost what an auditor before this one had kept there: it was deleted or made anew")
	}
	for run, producer := range e.kept.Runs {
		if e.sent[run] == nil {
			in.Doubts = append(in.Doubts, fmt.Sprintf("the source ledger has lost all that it had of producer %s (run %016x): it was deleted or made anew", producer, run))
		}
	}
	for topic := range e.expected.Topics {
		in.Manifest.Topics[topic] = e.parts[topic]
	}
	for _, s := range e.sent {
		in.Sent = append(in.Sent, s)
	}
	in.Received, in.Former = e.split()
	for topic := range e.watched {
		for p := range e.parts[topic] {
			in.Destination[verdict.TopicPartition{Topic: topic, Partition: p}] = verdict.Bounds{} // unless it is there
		}
	}
	for tp, b := range e.bounds {
		in.Destination[tp] = b
	}
	for tp, s := range e.sources {
		log := *s
		log.Starts = slices.Clone(e.kept.Starts[tp])
		if cut, ok := e.kept.Cuts[tp]; ok {
			log.Cut = &cut
		}
		in.Source[tp] = &log
	}
	for key, x := range e.kept.Samples {
		in.Samples[key] = slices.Clone(x)
	}
	for key := range e.kept.Firsts {
		in.Samples[key] = e.places(key)
	}
	for key, x := range e.kept.LookedUp {
		in.LookedUp[key] = &verdict.Lookup{Present: x.Present.Clone(), Absent: x.Absent.Clone()}
	}
	for key, x := range e.kept.Noticed {
		in.Noticed[key] = slices.Clone(x)
	}
	return in
}

// written notes when, by the clock of its writer, an entry was written that the broker has stamped by its own.
func (e *evidence) written(entry ledger.Entry, updated int64) {
	if !entry.AppendedIsBroker {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.skew = max(e.skew, updated-entry.Appended, entry.Appended-updated)
}

// clockMargin is by how much, in microseconds, the clocks of producers and
// consumers are taken to differ at most, beside what was seen of it, when it is to
// be proven that a record cannot have been written before a producer began.
const clockMargin = int64(10_000_000)

// span is a stretch of the source log in which the sequences of one stream are
// looked for.
type span struct {
	from, to  int64 // to < 0: the end of the log
	sequences intervals.Set
	// begin: the stretch begins where the stream did, and nothing was truncated.
	begin   bool
	ordered bool
	// What was found of the stream, of whatever sequence.
	present intervals.Set
}

// suspects returns what has been skipped for a while and has not been looked up.
func (e *evidence) suspects() map[ledger.Stream]*span {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[ledger.Stream]*span{}
	for _, sent := range e.sent {
		for _, st := range sent.Streams {
			g := e.gaps[st.Stream]
			if g == nil || time.Since(g.since) < settle || len(out) >= maxLookups {
				continue
			}
			open := g.skipped.Minus(&g.looked)
			first := open.Ranges(1)
			if len(first) == 0 {
				continue
			}
			// One stretch between two samples at a time, those included: that is about
			// a second of load.
			tp := verdict.TopicPartition{Topic: st.Stream.Topic, Partition: st.Stream.Partition}
			_, cut := e.kept.Cuts[tp]
			s := &span{from: st.Base, to: -1, begin: !cut, ordered: sent.Ordered}
			until := uint64(math.MaxInt64)
			if sent.Ordered {
				for _, x := range e.kept.Samples[st.Stream] {
					if x.Sequence < first[0].From {
						s.from, s.begin = x.Offset, false
					}
					if x.Sequence > first[0].From {
						s.to, until = x.Offset+1, x.Sequence
						break
					}
				}
			}
			s.sequences = open.Below(until)
			out[st.Stream] = s
		}
	}
	return out
}

// lookedUp notes what was found of a stretch that was read from offset from on.
// A sequence that was not found is not there only if the log was seen to hold
// lower and higher ones of the stream: then it is where it always was.
func (e *evidence) lookedUp(key ledger.Stream, s *span, from int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if g := e.gaps[key]; g != nil {
		g.looked.Union(&s.sequences)
	}
	l := e.kept.LookedUp[key]
	if l == nil {
		l = &verdict.Lookup{}
		e.kept.LookedUp[key] = l
	}
	found := s.sequences.Intersect(&s.present)
	l.Present.Union(&found)
	highest, ok := s.present.Max()
	if !ok || !s.ordered || from > s.from {
		return
	}
	missing := s.sequences.Minus(&found)
	missing = missing.Below(highest)
	if !s.begin {
		below := intervals.Of(intervals.Range{To: s.present.Ranges(1)[0].From})
		missing = missing.Minus(&below)
	}
	l.Absent.Union(&missing)
}

// scanned notes what a reading of the source log found, and that it reached
// from where to where at that time.
func (e *evidence) scanned(tp verdict.TopicPartition, scan *verdict.Scan) {
	e.mu.Lock()
	defer e.mu.Unlock()
	log := e.sources[tp]
	if log == nil {
		log = &verdict.SourceLog{}
		e.sources[tp] = log
	}
	log.Scan, log.End = scan, scan.To
}

// storeRate bounds how much evidence is stored, in bytes per second.
const storeRate = 128 << 10

// encode returns the evidence to keep if the last time was
// long enough ago.
func (e *evidence) encode(every time.Duration) ([]byte, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	// However large it is, it is a trickle beside the load.
	every = max(every, time.Duration(float64(e.storedSize)/storeRate*float64(time.Second)))
	if time.Since(e.storedAt) < every {
		return nil, false
	}
	data, err := ledger.Encode(&e.kept)
	return data, err == nil
}

// stored notes that the evidence has been stored.
func (e *evidence) stored(size int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.storedAt, e.storedSize, e.restored = time.Now(), size, true
}

// now is the time for the order of what is seen.
func (e *evidence) now() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.steady.now()
}

// wasKept notes that an auditor has kept evidence.
func (e *evidence) wasKept() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forgotten = e.forgotten || !e.restored // it was not this one
}

// isStored reports whether it ever was.
func (e *evidence) isStored() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.storedAt.IsZero()
}

// decode takes over the evidence that an auditor before this one kept.
func (e *evidence) decode(data []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var k kept
	if err := ledger.Decode(data, &k); err != nil {
		return err
	}
	e.restored = true
	for tp, x := range k.Cuts {
		e.cut(tp, x)
	}
	maps.Copy(e.kept.Runs, k.Runs)
	maps.Copy(e.kept.Sources, k.Sources)
	for _, starts := range k.Starts {
		for _, x := range starts {
			e.steady.after(x.At)
		}
	}
	for _, notices := range k.Noticed {
		for _, x := range notices {
			e.steady.after(x.At)
		}
	}
	for tp, x := range k.Starts {
		e.kept.Starts[tp] = x
	}
	for key, x := range k.Samples {
		e.kept.Samples[key] = x
	}
	for key, x := range k.Firsts {
		e.kept.Firsts[key] = x
	}
	for key, x := range k.Noticed {
		e.kept.Noticed[key] = x
	}
	for key, x := range k.LookedUp {
		if x != nil {
			e.kept.LookedUp[key] = x
		}
	}
	for _, event := range k.Events { // the ledger may still hold older versions of the same
		if !slices.Contains(e.kept.Events, event) {
			e.kept.Events = append(e.kept.Events, event)
		}
	}
	return nil
}
