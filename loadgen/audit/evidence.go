package audit

import (
	"cmp"
	"fmt"
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
	maxSamples = 4096
	// maxLookups is how many streams are looked up in the source log in one
	// interval, and settle how long a gap must have stayed open before it is.
	maxLookups = 16
	settle     = 3 * time.Second
)

// partitionID names one life of a destination partition.
type partitionID struct {
	topicID   [16]byte
	topic     string
	partition int32
}

// evidence is all that is known. Its methods are safe for concurrent use; the
// ledgers they hand out are not changed any more once they are in.
type evidence struct {
	mu sync.Mutex

	test     string
	sent     map[uint64]*ledger.Sent
	heard    map[uint64]time.Time // when a run's ledger last changed, by our clock
	seenAll  map[partitionID]*ledger.Received
	topicIDs map[string][16]byte // as the destination has them now
	bounds   map[verdict.TopicPartition]verdict.Bounds
	asked    int64 // when the destination's ends were asked for, before that
	sources  map[verdict.TopicPartition]*verdict.SourceLog
	parts    map[string]int32 // partitions at the source

	lastSource int64 // when the source's log starts were asked for the last time
	complete   map[verdict.TopicPartition]completion
	gaps       map[ledger.Stream]*gap
	kept       kept
	storedAt   time.Time
	damaged    map[string]error // by side: what cannot be read of the ledger at present
	lostLedger map[string]error // by side: the ledger was replaced under us

	clock *clock
}

// completion is when a partition's state was last known to cover all of the
// log, and when it was the time before.
type completion struct{ last, before int64 }

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
	Samples  map[ledger.Stream][]ledger.Sample
	Noticed  map[ledger.Stream][]verdict.Notice
	LookedUp map[ledger.Stream]*verdict.Lookup
}

func newEvidence(test string) *evidence {
	return &evidence{
		test:     test,
		sent:     map[uint64]*ledger.Sent{},
		heard:    map[uint64]time.Time{},
		seenAll:  map[partitionID]*ledger.Received{},
		topicIDs: map[string][16]byte{},
		bounds:   map[verdict.TopicPartition]verdict.Bounds{},
		sources:  map[verdict.TopicPartition]*verdict.SourceLog{},
		parts:    map[string]int32{},
		complete: map[verdict.TopicPartition]completion{},
		gaps:     map[ledger.Stream]*gap{},
		damaged:  map[string]error{}, lostLedger: map[string]error{},
		kept: kept{
			Starts:   map[verdict.TopicPartition][]verdict.LogStart{},
			Samples:  map[ledger.Stream][]ledger.Sample{},
			Noticed:  map[ledger.Stream][]verdict.Notice{},
			LookedUp: map[ledger.Stream]*verdict.Lookup{},
		},
		clock: newClock(),
	}
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
	e.sent[s.Run] = s
	e.heard[s.Run] = time.Now()
	if s.Previous != nil {
		e.clock.producer(*s.Previous)
	}
	for _, st := range s.Streams {
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

// takeReceived takes in a consumer's snapshot of a partition.
func (e *evidence) takeReceived(r *ledger.Received) {
	e.mu.Lock()
	defer e.mu.Unlock()
	id := partitionID{topicID: r.TopicID, topic: r.Topic, partition: r.Partition}
	if r.Supersedes(e.seenAll[id]) {
		e.seenAll[id] = r
	}
}

// destination notes how far the destination's logs reach, as asked for at time
// asked.
func (e *evidence) destination(all map[string]topicBounds, asked int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = asked
	for topic, b := range all {
		e.topicIDs[topic] = b.id
		for p, x := range b.partitions {
			e.bounds[verdict.TopicPartition{Topic: topic, Partition: p}] = x
		}
	}
}

// observed notes which partitions' states cover all that was there when their
// ends were asked for.
func (e *evidence) observed() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.current() {
		tp := verdict.TopicPartition{Topic: r.Topic, Partition: r.Partition}
		if b, ok := e.bounds[tp]; ok && r.Next >= b.End {
			e.complete[tp] = completion{last: e.asked, before: e.complete[tp].last}
		}
	}
}

// source notes the bounds of the source's logs, asked for between before and
// after.
func (e *evidence) source(all map[string]topicBounds, before, after int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for topic, b := range all {
		e.parts[topic] = int32(len(b.partitions))
		for p, x := range b.partitions {
			tp := verdict.TopicPartition{Topic: topic, Partition: p}
			log := e.sources[tp]
			if log == nil {
				log = &verdict.SourceLog{}
				e.sources[tp] = log
			}
			log.Bounds = x
			starts := e.kept.Starts[tp]
			if n := len(starts); n == 0 && x.Start > 0 || n > 0 && x.Start > starts[n-1].Offset {
				e.kept.Starts[tp] = append(starts, verdict.LogStart{After: e.lastSource, At: after, Offset: x.Start})
			}
		}
	}
	e.lastSource = before
}

// notice updates what is skipped and since when.
func (e *evidence) notice(now int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	seen := verdict.Seen(e.current())
	for _, sent := range e.sent {
		for _, st := range sent.Streams {
			key := st.Stream
			have := seen[key]
			if have == nil {
				continue
			}
			highest, ok := have.Max()
			if !ok {
				continue
			}
			due := st.Acked.Below(highest)
			skipped := due.Minus(have)
			g := e.gaps[key]
			if skipped.Empty() {
				delete(e.gaps, key)
				continue
			}
			fresh := skipped
			if g == nil {
				g = &gap{since: time.Now()}
				e.gaps[key] = g
			} else {
				fresh = skipped.Minus(&g.skipped)
			}
			g.skipped = skipped
			if fresh.Empty() {
				continue
			}
			g.since = time.Now()
			// Of this very look it is not known whether the gap was open when it began.
			done := e.complete[verdict.TopicPartition{Topic: key.Topic, Partition: key.Partition}]
			after := done.last
			if after == e.asked {
				after = done.before
			}
			e.kept.Noticed[key] = append(e.kept.Noticed[key], verdict.Notice{Below: highest, After: after, At: now})
		}
	}
}

// current returns the states of the partitions of the topics as they are now.
func (e *evidence) current() []*ledger.Received {
	now, _ := e.split()
	return now
}

// split sorts the partitions' states into those of the topics as they are now
// and those of topics that were deleted and made anew.
func (e *evidence) split() (current, former []*ledger.Received) {
	newest := map[string]*ledger.Received{}
	for id, r := range e.seenAll {
		if n := newest[id.topic]; n == nil || r.Started > n.Started {
			newest[id.topic] = r
		}
	}
	for id, r := range e.seenAll {
		is, known := e.topicIDs[id.topic]
		if !known {
			is = newest[id.topic].TopicID
		}
		if id.topicID == is {
			current = append(current, r)
		} else {
			former = append(former, r)
		}
	}
	byPlace := func(a, b *ledger.Received) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
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
func (e *evidence) ended(producers int, deadAfter time.Duration) bool {
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
	return len(ids) > 0 && len(ids) >= producers
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
		Manifest:     verdict.Manifest{Producers: cfg.Producers, Topics: map[string]int32{}},
		Dead:         e.dead(cfg.DeadAfter),
		Destination:  map[verdict.TopicPartition]verdict.Bounds{},
		Source:       map[verdict.TopicPartition]*verdict.SourceLog{},
		Samples:      map[ledger.Stream][]ledger.Sample{},
		LookedUp:     map[ledger.Stream]*verdict.Lookup{},
		Noticed:      map[ledger.Stream][]verdict.Notice{},
		ClockBound:   clockMargin,
		Expectations: verdict.Merge(cfg.Expectations),
	}
	for _, side := range []string{"source", "destination"} {
		for _, err := range []error{e.damaged[side], e.lostLedger[side]} {
			if err != nil {
				in.Doubts = append(in.Doubts, fmt.Sprintf("the %s ledger cannot be trusted: %v", side, err))
			}
		}
	}
	for _, topic := range cfg.Topics {
		in.Manifest.Topics[topic] = e.parts[topic]
	}
	for _, s := range e.sent {
		in.Sent = append(in.Sent, s)
	}
	in.Received, in.Former = e.split()
	for tp, b := range e.bounds {
		in.Destination[tp] = b
	}
	for tp, s := range e.sources {
		log := *s
		log.Starts = slices.Clone(e.kept.Starts[tp])
		in.Source[tp] = &log
	}
	for key, x := range e.kept.Samples {
		in.Samples[key] = slices.Clone(x)
	}
	for key, x := range e.kept.LookedUp {
		in.LookedUp[key] = &verdict.Lookup{Present: x.Present.Clone(), Absent: x.Absent.Clone()}
	}
	for key, x := range e.kept.Noticed {
		in.Noticed[key] = slices.Clone(x)
	}
	return in
}

// clockMargin is by how much, in microseconds, the clocks of producers and
// consumers are taken to differ at most when it is to be proven that a record
// cannot have been written before a producer began.
const clockMargin = int64(10_000_000)

// span is a stretch of the source log and the sequences looked for in it.
type span struct {
	from, to  int64 // to < 0: the end of the log
	sequences intervals.Set
}

// suspects returns what has been skipped for a while and has not been looked up.
func (e *evidence) suspects() map[ledger.Stream]span {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[ledger.Stream]span{}
	for _, sent := range e.sent {
		for _, st := range sent.Streams {
			g := e.gaps[st.Stream]
			if g == nil || time.Since(g.since) < settle || len(out) >= maxLookups {
				continue
			}
			open := g.skipped.Minus(&g.looked)
			if st.Control != nil {
				control := intervals.Of(intervals.Range{From: *st.Control, To: *st.Control + 1})
				open = open.Minus(&control)
			}
			first := open.Ranges(1)
			if len(first) == 0 {
				continue
			}
			// One stretch between two samples at a time: that is at most a second of load.
			samples := e.kept.Samples[st.Stream]
			s := span{from: verdict.LowestOffset(sent, st, samples, first[0].From), to: -1}
			until := uint64(1) << 62
			for _, x := range samples {
				if sent.Ordered && x.Sequence > first[0].From {
					s.to, until = x.Offset, x.Sequence
					break
				}
			}
			s.sequences = open.Below(until)
			out[st.Stream] = s
		}
	}
	return out
}

// found notes that a sequence is in the source log.
func (e *evidence) found(key ledger.Stream, sequence uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lookup(key).Present.Add(sequence)
}

func (e *evidence) lookup(key ledger.Stream) *verdict.Lookup {
	l := e.kept.LookedUp[key]
	if l == nil {
		l = &verdict.Lookup{}
		e.kept.LookedUp[key] = l
	}
	return l
}

// lookedUp notes that the stretch was read, from offset from on: what was not
// found there is not there, if nothing of the stretch had been removed.
func (e *evidence) lookedUp(key ledger.Stream, s span, from int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if g := e.gaps[key]; g != nil {
		g.looked.Union(&s.sequences)
	}
	if from <= s.from {
		l := e.lookup(key)
		absent := s.sequences.Minus(&l.Present)
		l.Absent.Union(&absent)
	}
}

// doubtful returns the source partitions in which something acknowledged is
// missing or something has an unknown outcome, with the lowest offset at which
// it can be.
func (e *evidence) doubtful(seen map[ledger.Stream]*intervals.Set) map[verdict.TopicPartition]int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[verdict.TopicPartition]int64{}
	for _, sent := range e.sent {
		for _, st := range sent.Streams {
			end := st.Reserved
			if sent.Closed {
				end = st.Next
			}
			rest := intervals.Of(intervals.Range{To: end})
			for _, f := range st.Failed {
				rest = rest.Minus(f)
			}
			if st.Control != nil {
				control := intervals.Of(intervals.Range{From: *st.Control, To: *st.Control + 1})
				rest = rest.Minus(&control)
			}
			if have := seen[st.Stream]; have != nil {
				rest = rest.Minus(have)
			}
			first := rest.Ranges(1)
			if len(first) == 0 {
				continue
			}
			tp := verdict.TopicPartition{Topic: st.Stream.Topic, Partition: st.Stream.Partition}
			from := verdict.LowestOffset(sent, st, e.kept.Samples[st.Stream], first[0].From)
			if old, ok := out[tp]; !ok || from < old {
				out[tp] = from
			}
		}
	}
	return out
}

// scanned notes what a reading of the source log found.
func (e *evidence) scanned(tp verdict.TopicPartition, scan *verdict.Scan) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sources[tp] == nil {
		e.sources[tp] = &verdict.SourceLog{}
	}
	e.sources[tp].Scan = scan
}

// encode returns the evidence to keep if the last time was
// long enough ago.
func (e *evidence) encode(every time.Duration) ([]byte, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.storedAt) < every {
		return nil, false
	}
	data, err := ledger.Encode(&e.kept)
	if err != nil {
		return nil, false
	}
	e.storedAt = time.Now()
	return data, true
}

// decode takes over the evidence that an auditor before this one kept.
func (e *evidence) decode(data []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var k kept
	if err := ledger.Decode(data, &k); err != nil {
		return err
	}
	for tp, x := range k.Starts {
		e.kept.Starts[tp] = x
	}
	for key, x := range k.Samples {
		e.kept.Samples[key] = x
	}
	for key, x := range k.Noticed {
		e.kept.Noticed[key] = x
	}
	for key, x := range k.LookedUp {
		if x != nil {
			e.kept.LookedUp[key] = x
		}
	}
	e.kept.Events = append(k.Events, e.kept.Events...)
	return nil
}
