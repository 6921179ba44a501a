// Package verdict computes, from the ledgers of both legs and what was seen in
// the source log, what a replicator lost, duplicated, reordered or corrupted,
// and whose fault it was. It is pure: it reads no clock and no network.
package verdict

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
)

// maxRanges is how many ranges and offsets a finding lists.
const maxRanges = 16

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// Input is the evidence.
type Input struct {
	Test string
	Now  int64 // Unix microseconds
	// Final: producers have stopped and the replicator makes no more progress.
	Final    bool
	Manifest Manifest

	Sent []*ledger.Sent
	// Dead names runs that are not closed and whose ledger is stale.
	Dead map[uint64]bool
	// Received is one state for each destination partition of the topics as they
	// are now. Former are states of topic ids that exist no more.
	Received []*ledger.Received
	Former   []*ledger.Received
	// Destination is how far each destination partition reached when it was last
	// asked, before Received was read.
	Destination map[TopicPartition]Bounds
	Source      map[TopicPartition]*SourceLog
	// Samples tie sequences to source offsets, in rising order.
	Samples map[ledger.Stream][]ledger.Sample
	// LookedUp is what was found when suspects were looked up in the source log
	// while the test ran, before retention could take them.
	LookedUp map[ledger.Stream]*Lookup
	// Noticed says when the auditor first knew that a later record of the stream
	// had arrived.
	Noticed map[ledger.Stream][]Notice
	// ClockBound is by how much, in microseconds, the clocks of producers and
	// consumers may differ.
	ClockBound int64

	Expectations []Expectation

	// Doubts are reasons why the evidence is not complete.
	Doubts []string

	// What is measured elsewhere and part of the verdict.
	Latency    []PhaseLatency
	Recoveries []Recovery
	Clock      *Clock
	Bottleneck Bottleneck
}

// Manifest is what the test was meant to consist of.
type Manifest struct {
	Producers int              // how many distinct producers; 0: not known
	Topics    map[string]int32 // partitions at the source
}

// Bounds are the first offset of a log and the one after its last.
type Bounds struct{ Start, End int64 }

// SourceLog is what is known of a source partition's log.
type SourceLog struct {
	Bounds
	// Starts tells how the log start moved, in order of time.
	Starts []LogStart
	// Scan is what was read of the log; nil if nothing was.
	Scan *Scan
}

// LogStart is one sample of a log's start: it was at Offset at time At, and
// still at or below the sample before this one at time After.
type LogStart struct{ After, At, Offset int64 }

// Notice says that the sequences below Below had been overtaken at time At,
// and had not been at time After.
type Notice struct {
	Below     uint64
	After, At int64
}

// Lookup is the result of looking up single sequences in the source log: found
// there, or proven not to be there.
type Lookup struct{ Present, Absent intervals.Set }

// Scan is the result of reading every record in [From, To) of a source
// partition.
type Scan struct {
	From, To int64
	Streams  map[ledger.Stream]*Scanned
}

// Scanned is what a scan found of one stream.
type Scanned struct {
	// Present are all sequences found.
	Present intervals.Set
	// Passed are those found that have not arrived, while a later record of the
	// partition has. Tail are those with nothing later arrived.
	Passed, Tail intervals.Set
	// Offsets are those of the first records of Passed and Tail.
	Offsets []ledger.Sample
}

// NewScan starts a scan at offset from.
func NewScan(from int64) *Scan {
	return &Scan{From: from, To: from, Streams: map[ledger.Stream]*Scanned{}}
}

// Observe takes in the next record of the source log. arrived says whether
// the destination has it.
func (s *Scan) Observe(stream ledger.Stream, sequence uint64, offset, intended int64, arrived bool) {
	s.To = offset + 1
	st := s.Streams[stream]
	if st == nil {
		st = &Scanned{}
		s.Streams[stream] = st
	}
	st.Present.Add(sequence)
	if !arrived {
		st.Tail.Add(sequence)
		if len(st.Offsets) < maxRanges {
			st.Offsets = append(st.Offsets, ledger.Sample{Sequence: sequence, Offset: offset, Intended: intended})
		}
		return
	}
	// All that was waiting has been passed by this record.
	for _, other := range s.Streams {
		if !other.Tail.Empty() {
			other.Passed.Union(&other.Tail)
			other.Tail = intervals.Set{}
		}
	}
}

// Reach notes that everything below offset was read, though the records there
// were not of this test.
func (s *Scan) Reach(offset int64) { s.To = max(s.To, offset) }

// Seen returns for each stream the sequences that the destination holds, over
// all its partitions. Scans use it to tell what has arrived.
func Seen(received []*ledger.Received) map[ledger.Stream]*intervals.Set {
	out := map[ledger.Stream]*intervals.Set{}
	for _, r := range received {
		for _, s := range r.Streams {
			add(out, s.Stream, &s.Seen)
		}
	}
	return out
}

func add(m map[ledger.Stream]*intervals.Set, key ledger.Stream, seen *intervals.Set) {
	set := m[key]
	if set == nil {
		set = &intervals.Set{}
		m[key] = set
	}
	set.Union(seen)
}

// state is a verdict in the making.
type state struct {
	in       *Input
	out      Verdict
	seen     map[ledger.Stream]*intervals.Set
	gone     map[ledger.Stream]*intervals.Set
	arrivals map[ledger.Stream]uint64
	known    map[ledger.Stream]bool
	parts    map[TopicPartition]*Partition
	received map[TopicPartition]*ledger.Received
	doubts   []string
	madeUp   uint64 // phantoms of runs whose ledger is known
}

// Compute returns the verdict on the evidence.
func Compute(in *Input) Verdict {
	s := &state{
		in:       in,
		out:      Verdict{Test: in.Test, Final: in.Final, At: in.Now},
		seen:     Seen(in.Received),
		gone:     map[ledger.Stream]*intervals.Set{},
		arrivals: map[ledger.Stream]uint64{},
		known:    map[ledger.Stream]bool{},
		parts:    map[TopicPartition]*Partition{},
		received: map[TopicPartition]*ledger.Received{},
	}
	s.arrived()
	for _, sent := range slices.SortedFunc(slices.Values(in.Sent), func(a, b *ledger.Sent) int {
		return cmp.Or(cmp.Compare(a.Producer, b.Producer), cmp.Compare(a.Started, b.Started), cmp.Compare(a.Run, b.Run))
	}) {
		s.producer(sent)
	}
	s.unknownRuns()
	s.assemble()
	s.complete()
	s.judge()
	return s.out
}

func (s *state) doubt(format string, args ...any) {
	s.doubts = append(s.doubts, fmt.Sprintf(format, args...))
}

func (s *state) part(topic string, partition int32) *Partition {
	key := TopicPartition{topic, partition}
	p := s.parts[key]
	if p == nil {
		p = &Partition{Partition: partition}
		s.parts[key] = p
	}
	return p
}

// arrived takes in the second leg.
func (s *state) arrived() {
	for _, r := range s.in.Received {
		s.received[TopicPartition{r.Topic, r.Partition}] = r
		p := s.part(r.Topic, r.Partition)
		c := &p.Counts
		c.Replays += r.Replays
		c.LongestReplay = max(c.LongestReplay, r.Longest)
		c.Reordered += r.Reordered
		c.Misplaced += r.Misplaced
		for kind, n := range r.Kinds {
			switch kind {
			case message.Foreign:
				c.Foreign += n
			case message.Corrupt:
				c.Corrupt += n
			default:
				c.Malformed += n
			}
		}
		p.OutageCount += r.OutageCount
		p.OutageSeconds += float64(r.OutageTotal) / 1e6
		for _, o := range r.Outages {
			p.Outages = append(p.Outages, Outage{From: o.From, To: o.To})
		}
		for _, st := range r.Streams {
			s.arrivals[st.Stream] += st.Arrivals
		}
		for _, g := range r.Gone {
			add(s.gone, g.Stream, &g.Seen)
		}
		s.evidence(r)
	}
	for _, r := range s.in.Former {
		for _, st := range r.Streams {
			add(s.gone, st.Stream, &st.Seen)
		}
		for _, g := range r.Gone {
			add(s.gone, g.Stream, &g.Seen)
		}
	}
}

// evidence turns a partition's examples into findings.
func (s *state) evidence(r *ledger.Received) {
	counts := map[string]uint64{ledger.WordDuplicate: r.Duplicate, ledger.WordReordered: r.Reordered, ledger.WordMisplaced: r.Misplaced}
	for kind, n := range r.Kinds {
		counts[kind.String()] = n
	}
	byWord := map[string]*Finding{}
	for i := range r.Evidence {
		e := &r.Evidence[i]
		f := byWord[e.Word]
		if f == nil {
			f = &Finding{Word: e.Word, Topic: r.Topic, Partition: r.Partition, Count: counts[e.Word], Producer: e.Producer}
			if e.Stream.Run != 0 {
				f.Run, f.Epoch = runName(e.Stream.Run), e.Stream.Epoch
			}
			f.Evidence = fmt.Sprintf("first at offset %d of the destination", e.Offset)
			byWord[e.Word] = f
		}
		f.DestinationOffsets = append(f.DestinationOffsets, e.Offset)
		if e.Stream.Run != 0 {
			f.Sequences = append(f.Sequences, intervals.Range{From: e.Sequence, To: e.Sequence + 1})
		}
	}
	for _, word := range slices.Sorted(maps.Keys(byWord)) {
		s.out.Findings = append(s.out.Findings, *byWord[word])
	}
}

func runName(run uint64) string { return fmt.Sprintf("%016x", run) }

// producer takes in one life of a producer.
func (s *state) producer(sent *ledger.Sent) {
	p := Producer{ID: sent.Producer, Run: runName(sent.Run), Started: sent.Started, Updated: sent.Updated, State: "running"}
	switch {
	case sent.Closed:
		p.State = "closed"
	case s.in.Dead[sent.Run]:
		p.State = "dead"
	case s.in.Final:
		s.doubt("producer %s (run %s) is neither closed nor silent: it may still be sending", sent.Producer, p.Run)
	}
	p.Counts.Scheduled, p.Counts.Shed = sent.Scheduled, sent.Shed
	if s.out.Started == 0 || sent.Started < s.out.Started {
		s.out.Started = sent.Started
	}
	planted := false
	for _, st := range sent.Streams {
		c := s.stream(sent, st, p.State == "running")
		sum(&p.Counts, &c)
		planted = planted || st.Control != nil
	}
	if len(sent.Streams) > 0 && !planted {
		s.doubt("producer %s (run %s) planted no control", sent.Producer, p.Run)
	}
	s.out.Producers = append(s.out.Producers, p)
}

// stream decides on every sequence that the stream reserved.
func (s *state) stream(sent *ledger.Sent, st *ledger.SentStream, running bool) Counts {
	key := st.Stream
	s.known[key] = true
	end := st.Reserved
	if sent.Closed {
		end = st.Next
		if st.Control != nil {
			end = max(end, *st.Control+1) // planned, and not reached before the producer stopped
		}
	}
	all := intervals.Of(intervals.Range{To: end})
	seen := s.seen[key]
	if seen == nil {
		seen = &intervals.Set{}
	}
	var failed intervals.Set
	for _, f := range st.Failed {
		failed.Union(f)
	}
	var once intervals.Set
	if g := s.gone[key]; g != nil {
		once = g.Intersect(&all)
	}
	source := s.in.Source[TopicPartition{key.Topic, key.Partition}]
	var scan *Scan
	var scanned *Scanned
	if source != nil && source.Scan != nil {
		scan = source.Scan
		if scanned = scan.Streams[key]; scanned == nil {
			scanned = &Scanned{}
		}
	}

	// What the source holds or held: acknowledged, or found there, or seen at the
	// destination.
	inReserve := seen.Intersect(&all)
	expected := st.Acked.Clone()
	expected.Union(&once)
	expected.Union(&inReserve)
	if scanned != nil {
		present := scanned.Present.Intersect(&all)
		expected.Union(&present)
	}
	if found := s.in.LookedUp[key]; found != nil {
		present := found.Present.Intersect(&all)
		expected.Union(&present)
	}
	control := intervals.Set{}
	if st.Control != nil {
		control.Add(*st.Control)
		s.out.Control.Planted++
	}
	expected.Union(&control)

	// What is neither known to be there nor known to have failed, and what of it
	// the source log proves absent.
	unknown := all.Minus(&expected)
	unknown = unknown.Minus(&failed)
	absent := s.absent(sent, st, &unknown, scan)
	indeterminate := unknown.Minus(&absent)

	missing := expected.Minus(seen)
	if reported := missing.Intersect(&control); !reported.Empty() {
		s.out.Control.Reported++
	}
	missing = missing.Minus(&control)
	expected = expected.Minus(&control)

	part := s.part(key.Topic, key.Partition)
	c := Counts{
		Acked:    st.Acked.Len(),
		Failed:   failed.Len(),
		Unsent:   absent.Len(),
		Expected: expected.Len(),
		Received: seen.Len(),
		Arrivals: s.arrivals[key],
	}
	c.Duplicates = c.Arrivals - c.Received
	phantom := seen.Minus(&all)
	c.Phantom = phantom.Len()
	s.madeUp += c.Phantom
	s.find(sent, key, Finding{Word: "phantom", Evidence: fmt.Sprintf("only sequences below %d were reserved", end)}, &phantom, nil)
	if running {
		// Outcomes of what was sent a moment ago are on their way.
		c.Pending = missing.Len()
	} else {
		c.Indeterminate = indeterminate.Len()
		s.find(sent, key, Finding{Word: "indeterminate", Attribution: ByTester,
			Evidence: "the outcome of sending is unknown, and the source log could not be read back that far"}, &indeterminate, nil)
	}

	// The rest is about what is missing at the destination.
	switch {
	case !s.in.Final:
		skipped := missing.Below(s.overtaken(key))
		c.Pending, c.Skipped = missing.Len(), skipped.Len()
	case !missing.Empty():
		s.missing(sent, st, &missing, &once, source, scanned, &c)
	}
	if first := missing.Ranges(1); len(first) > 0 {
		part.RPORecords += missing.Len()
		part.RPOSeconds = max(part.RPOSeconds, s.age(key, first[0].From, sent))
	}
	part.Streams = append(part.Streams, Stream{Producer: sent.Producer, Run: runName(sent.Run), Epoch: key.Epoch, Reserved: end, Counts: c})
	sum(&part.Counts, &c)
	return c
}

// overtaken is the highest sequence of the stream that has arrived.
func (s *state) overtaken(key ledger.Stream) uint64 {
	if seen := s.seen[key]; seen != nil {
		highest, _ := seen.Max()
		return highest
	}
	return 0
}

// age is how long ago, in seconds, the given sequence was intended: at most,
// since only samples are known.
func (s *state) age(key ledger.Stream, sequence uint64, sent *ledger.Sent) float64 {
	intended := sent.Started
	if lower, ok := sampleBelow(s.in.Samples[key], sequence); ok {
		intended = lower.Intended
	}
	return float64(max(0, s.in.Now-intended)) / 1e6
}

// sampleBelow returns the last sample at or below the sequence.
func sampleBelow(samples []ledger.Sample, sequence uint64) (ledger.Sample, bool) {
	i, _ := slices.BinarySearchFunc(samples, sequence, func(x ledger.Sample, n uint64) int {
		if x.Sequence <= n {
			return -1
		}
		return 1
	})
	if i == 0 {
		return ledger.Sample{}, false
	}
	return samples[i-1], true
}

// LowestOffset is the smallest source offset at which the sequence can be.
func LowestOffset(sent *ledger.Sent, st *ledger.SentStream, samples []ledger.Sample, sequence uint64) int64 {
	if !sent.Ordered {
		return st.Base // retries may have put it anywhere after the stream's begin
	}
	lower, ok := sampleBelow(samples, sequence)
	switch {
	case ok && lower.Sequence == sequence:
		return lower.Offset
	case ok:
		return lower.Offset + 1
	default:
		return st.Base
	}
}

// highestOffset is the largest source offset at which the sequence can be.
func (s *state) highestOffset(sent *ledger.Sent, st *ledger.SentStream, sequence uint64) int64 {
	if sent.Ordered {
		samples := s.in.Samples[st.Stream]
		i, _ := slices.BinarySearchFunc(samples, sequence, func(x ledger.Sample, n uint64) int { return cmp.Compare(x.Sequence, n) })
		if i < len(samples) {
			return samples[i].Offset
		}
	}
	return math.MaxInt64
}

// absent returns what of the unknown sequences a complete reading of the
// source log did not find.
func (s *state) absent(sent *ledger.Sent, st *ledger.SentStream, unknown *intervals.Set, scan *Scan) intervals.Set {
	var out intervals.Set
	if scan == nil {
		return out
	}
	for r := range unknown.All() {
		// Offsets rise with sequences, so the first of a range speaks for all of it.
		// Where the range straddles the scan's begin, part of it may still be
		// provable.
		if LowestOffset(sent, st, s.in.Samples[st.Stream], r.From) >= scan.From {
			out.AddRange(r.From, r.To)
			continue
		}
		for _, sample := range s.in.Samples[st.Stream] {
			if sent.Ordered && sample.Sequence >= r.From && sample.Sequence < r.To && sample.Offset+1 >= scan.From {
				out.AddRange(sample.Sequence+1, r.To)
				break
			}
		}
	}
	return out
}

// missing sorts what did not arrive by what became of it.
func (s *state) missing(sent *ledger.Sent, st *ledger.SentStream, missing, once *intervals.Set, source *SourceLog, scanned *Scanned, c *Counts) {
	key := st.Stream
	gone := missing.Intersect(once)
	c.DestinationLost = gone.Len()
	s.find(sent, key, Finding{Word: "destination-lost", Attribution: ByDestination,
		Evidence: "read from the destination once, and no longer there after its log was truncated or its topic made anew"}, &gone, nil)
	rest := missing.Minus(&gone)
	if rest.Empty() {
		return
	}
	if why := s.unreadable(sent, key); why != "" {
		c.Unobserved = rest.Len()
		s.find(sent, key, Finding{Word: "unobserved", Attribution: ByTester, Evidence: why}, &rest, nil)
		s.doubt("%d records of %s/%d may have arrived unseen: %s", rest.Len(), key.Topic, key.Partition, why)
		return
	}
	if scanned == nil {
		lost := rest.Below(s.overtaken(key))
		tail := rest.Minus(&lost)
		c.Lost, c.Undelivered = lost.Len(), tail.Len()
		const why = "the source log could not be read back, so whose fault it is stays open"
		s.find(sent, key, Finding{Word: "lost", Attribution: ByUnknown, Evidence: why}, &lost, nil)
		s.find(sent, key, Finding{Word: "undelivered", Attribution: ByUnknown, Evidence: why}, &tail, nil)
		return
	}
	tail := rest.Intersect(&scanned.Tail)
	c.Undelivered = tail.Len()
	s.find(sent, key, Finding{Word: "undelivered", Attribution: ByReplicator,
		Evidence: "still in the source log, and nothing after it has arrived"}, &tail, scanned.Offsets)
	lost := rest.Minus(&tail)
	c.Lost = lost.Len()

	passed := lost.Intersect(&scanned.Passed)
	s.find(sent, key, Finding{Word: "lost", Attribution: ByReplicator,
		Evidence: "still in the source log, while later records of the partition have arrived"}, &passed, scanned.Offsets)
	// Those that the source no longer holds.
	rest = lost.Minus(&passed)
	looked := s.in.LookedUp[key]
	if looked == nil {
		looked = &Lookup{}
	}
	never := rest.Intersect(&looked.Absent)
	s.find(sent, key, Finding{Word: "lost", Attribution: BySource,
		Evidence: "acknowledged, but not in the source log when it was looked up"}, &never, nil)
	rest = rest.Minus(&never)
	by := map[Attribution]*intervals.Set{}
	why := map[Attribution]string{}
	found := rest.Intersect(&looked.Present)
	unfound := rest.Minus(&found)
	for _, set := range []*intervals.Set{&found, &unfound} {
		for r := range set.All() {
			for r.From < r.To {
				// A piece between two samples shares its bounds, so it is judged as one.
				to := s.nextSample(key, r.From, r.To)
				who, evidence := s.attribute(sent, st, source, set == &found, r.From, to)
				if by[who] == nil {
					by[who] = &intervals.Set{}
					why[who] = evidence
				}
				by[who].AddRange(r.From, to)
				r.From = to
			}
		}
	}
	for _, who := range slices.Sorted(maps.Keys(by)) {
		s.find(sent, key, Finding{Word: "lost", Attribution: who, Evidence: why[who]}, by[who], nil)
	}
}

// nextSample returns the end of the piece of [from, to) that begins at from
// and has no sample inside: a sample's own sequence is a piece of its own.
func (s *state) nextSample(key ledger.Stream, from, to uint64) uint64 {
	for _, x := range s.in.Samples[key] {
		if x.Sequence == from {
			return from + 1
		}
		if x.Sequence > from {
			return min(to, x.Sequence)
		}
	}
	return to
}

// attribute says who lost the acknowledged sequences [from, to), which the
// source no longer holds; found says that they were looked up and found there.
func (s *state) attribute(sent *ledger.Sent, st *ledger.SentStream, source *SourceLog, found bool, from, to uint64) (Attribution, string) {
	lowest := LowestOffset(sent, st, s.in.Samples[st.Stream], from)
	if lowest >= source.Scan.From {
		return BySource, fmt.Sprintf("acknowledged, but not in the source log, which was read from offset %d on", source.Scan.From)
	}
	highest := s.highestOffset(sent, st, to-1)
	// When retention took them: not before the log start first passed the lowest
	// offset they can be at, at the latest when it had passed the highest.
	takenAfter, takenBy := int64(math.MinInt64), int64(math.MaxInt64)
	for _, start := range source.Starts {
		if start.Offset > lowest && takenAfter == math.MinInt64 {
			takenAfter = start.After
		}
		if start.Offset > highest {
			takenBy = start.At
			break
		}
	}
	overtakenAfter, overtakenBy := int64(math.MaxInt64), int64(math.MaxInt64)
	for _, n := range s.in.Noticed[st.Stream] {
		if n.Below > from && overtakenBy == math.MaxInt64 {
			overtakenBy = n.At
		}
		if n.Below >= to {
			overtakenAfter = n.After
			break
		}
	}
	switch {
	case takenBy <= overtakenAfter && takenBy != math.MaxInt64:
		return ByRetention, "the source's retention removed it before the replicator went past it"
	case takenAfter >= overtakenBy && found:
		return ByReplicator, "it was looked up and found in the source log, and later records had arrived before the source's retention removed it"
	default:
		return ByUnknown, "the source no longer holds it, and whether retention or the replicator was first was not seen"
	}
}

// unreadable says why the destination partition of the stream was not read
// completely; empty if it was.
func (s *state) unreadable(sent *ledger.Sent, key ledger.Stream) string {
	at := TopicPartition{key.Topic, key.Partition}
	r := s.received[at]
	if r == nil {
		return fmt.Sprintf("nothing has read partition %d of %s at the destination", key.Partition, key.Topic)
	}
	bounds, ok := s.in.Destination[at]
	if !ok {
		return fmt.Sprintf("the end of partition %d of %s at the destination is not known", key.Partition, key.Topic)
	}
	if r.Next < bounds.End {
		return fmt.Sprintf("partition %d of %s was read up to offset %d of %d", key.Partition, key.Topic, r.Next, bounds.End)
	}
	gaps := r.Unobserved.Clone()
	if sent.Started > r.Started+s.in.ClockBound {
		// What was there before the consumer began cannot be of this producer, which
		// began later.
		before := intervals.Of(intervals.Range{To: uint64(max(r.Start, 0))})
		gaps = gaps.Minus(&before)
	}
	if !gaps.Empty() {
		return fmt.Sprintf("offsets %v of partition %d of %s were removed before they were read", gaps.Ranges(4), key.Partition, key.Topic)
	}
	return ""
}

// find adds a finding if the set holds anything.
func (s *state) find(sent *ledger.Sent, key ledger.Stream, f Finding, set *intervals.Set, offsets []ledger.Sample) {
	if set.Empty() {
		return
	}
	f.Topic, f.Partition, f.Epoch = key.Topic, key.Partition, key.Epoch
	f.Run = runName(key.Run)
	if sent != nil {
		f.Producer = sent.Producer
	}
	f.Count, f.Sequences = set.Len(), set.Ranges(maxRanges)
	for _, o := range offsets {
		if set.Contains(o.Sequence) {
			f.SourceOffsets = append(f.SourceOffsets, o.Offset)
		}
	}
	s.out.Findings = append(s.out.Findings, f)
}

// unknownRuns deals with arrivals that no ledger reserved.
func (s *state) unknownRuns() {
	for _, key := range slices.SortedFunc(maps.Keys(s.seen), compareStreams) {
		if s.known[key] {
			continue
		}
		seen := s.seen[key]
		c := Counts{Received: seen.Len(), Arrivals: s.arrivals[key], Phantom: seen.Len()}
		c.Duplicates = c.Arrivals - c.Received
		sum(&s.part(key.Topic, key.Partition).Counts, &c)
		s.find(nil, key, Finding{Word: "phantom", Evidence: "no ledger has reserved anything for this stream"}, seen, nil)
		s.doubt("%d records arrived of run %s, for which there is no ledger: it was lost, or they were made up", seen.Len(), runName(key.Run))
	}
}

func compareStreams(a, b ledger.Stream) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Run, b.Run))
}

// assemble adds partitions up to topics and to the total.
func (s *state) assemble() {
	topics := map[string]*Topic{}
	for _, key := range slices.SortedFunc(maps.Keys(s.parts), func(a, b TopicPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	}) {
		p := s.parts[key]
		t := topics[key.Topic]
		if t == nil {
			t = &Topic{Name: key.Topic}
			topics[key.Topic] = t
		}
		t.Partitions = append(t.Partitions, *p)
		sum(&t.Counts, &p.Counts)
	}
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		t := topics[name]
		// An unidentifiable record may be one of those that are missing.
		broken := t.Counts.Corrupt + t.Counts.Malformed
		t.Counts.LostAtLeast = t.Counts.Lost - min(t.Counts.Lost, broken)
		sum(&s.out.Total, &t.Counts)
		s.out.Topics = append(s.out.Topics, *t)
	}
	for i := range s.out.Producers {
		s.out.Total.Scheduled += s.out.Producers[i].Counts.Scheduled
		s.out.Total.Shed += s.out.Producers[i].Counts.Shed
	}
}

// complete checks the evidence against what the test was meant to be.
func (s *state) complete() {
	s.doubts = append(s.doubts, s.in.Doubts...)
	ids := map[string]bool{}
	for _, p := range s.out.Producers {
		ids[p.ID] = true
	}
	if want := s.in.Manifest.Producers; want > 0 && len(ids) < want {
		s.doubt("%d producers were expected, %d have a ledger", want, len(ids))
	}
	for _, topic := range slices.Sorted(maps.Keys(s.in.Manifest.Topics)) {
		i := slices.IndexFunc(s.out.Topics, func(t Topic) bool { return t.Name == topic })
		if i < 0 || s.out.Topics[i].Counts.Expected == 0 {
			s.doubt("nothing was sent to topic %s", topic)
			continue
		}
		idle := 0
		for p := range s.in.Manifest.Topics[topic] {
			if q := s.parts[TopicPartition{topic, p}]; q == nil || q.Counts.Expected == 0 {
				idle++
			}
		}
		if idle > 0 {
			s.out.Notes = append(s.out.Notes, fmt.Sprintf("nothing was sent to %d of %d partitions of %s", idle, s.in.Manifest.Topics[topic], topic))
		}
	}
	if s.in.Final {
		if n := s.out.Total.Indeterminate; n > 0 {
			s.doubt("the outcome of %d records is unknown, and the source log could not be read back", n)
		}
	}
	for _, sent := range s.in.Sent {
		if !sent.Ordered && (s.out.Total.Duplicates > 0 || s.out.Total.Reordered > 0) {
			s.out.Notes = append(s.out.Notes, "a producer was not idempotent: its own retries may have caused duplicates and reordering")
			break
		}
	}
	ctl := &s.out.Control
	ctl.OK = ctl.Reported == ctl.Planted && ctl.Planted > 0
	switch {
	case ctl.Planted == 0:
		ctl.Detail = "no sequence was planted, so it is not shown that a loss would be seen"
	case !ctl.OK:
		ctl.Detail = "a sequence that was never sent is not reported as missing: the tester is not to be trusted"
	}
	if !ctl.OK {
		s.doubt("%s", ctl.Detail)
	}
}

// sum adds b to a.
func sum(a, b *Counts) {
	a.Scheduled += b.Scheduled
	a.Shed += b.Shed
	a.Acked += b.Acked
	a.Failed += b.Failed
	a.Unsent += b.Unsent
	a.Expected += b.Expected
	a.Received += b.Received
	a.Arrivals += b.Arrivals
	a.Lost += b.Lost
	a.LostAtLeast += b.LostAtLeast
	a.Undelivered += b.Undelivered
	a.Skipped += b.Skipped
	a.Pending += b.Pending
	a.Indeterminate += b.Indeterminate
	a.Unobserved += b.Unobserved
	a.DestinationLost += b.DestinationLost
	a.Duplicates += b.Duplicates
	a.Replays += b.Replays
	a.LongestReplay = max(a.LongestReplay, b.LongestReplay)
	a.Reordered += b.Reordered
	a.Corrupt += b.Corrupt
	a.Malformed += b.Malformed
	a.Foreign += b.Foreign
	a.Misplaced += b.Misplaced
	a.Phantom += b.Phantom
}
