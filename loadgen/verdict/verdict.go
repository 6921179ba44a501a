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
	"sort"

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
	// are now, and of the log as it is now: its last record's leader epoch did not
	// end below its Next. Former are all others: of topic ids that exist no more,
	// of logs that were truncated since, and those that were superseded.
	Received []*ledger.Received
	Former   []*ledger.Received
	// Destination is how far each destination partition reached when it was last
	// asked, before Received was read. A partition that does not exist there is
	// given as empty: Bounds{}.
	Destination map[TopicPartition]Bounds
	Source      map[TopicPartition]*SourceLog
	// Samples tie sequences to source offsets, in rising order.
	Samples map[ledger.Stream][]ledger.Sample
	// LookedUp is what was found when suspects were looked up in the source log
	// while the test ran, before retention could take them: acknowledged sequences
	// that had not arrived although a higher one of the stream had.
	LookedUp map[ledger.Stream]*Lookup
	// Noticed says when it was first known how far a stream had come, whether
	// anything was missing then or not.
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
	// Cut is the lowest offset to which the log was seen to be truncated; nil:
	// never. Offsets from there on were given out more than once.
	Cut *int64
	// Scan is what was read of the log; nil if nothing was.
	Scan *Scan
}

// LogStart is one sample of a log's start: it was at Offset at time At, and
// still at or below the sample before this one at time After. Of the first
// sample nothing is known but At.
type LogStart struct{ After, At, Offset int64 }

// Notice says that the sequence Below had arrived at time At: all below it were
// overtaken, if they had not arrived. At time After no sequence above the Below
// of the notice before had arrived; to know that, all that lay at the
// destination at that time must have been read. math.MinInt64: not known.
type Notice struct {
	Below     uint64
	After, At int64
}

// Lookup is the result of looking up single sequences in the source log: found
// there, or proven not to be there.
type Lookup struct{ Present, Absent intervals.Set }

// Scan is the result of reading every record in [From, To) of a source
// partition. As long as To is below the log's end nothing is concluded from it.
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
	// PassedAt and TailAt are the places of the first records of each.
	PassedAt, TailAt []ledger.Sample
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
		if len(st.TailAt) < maxRanges {
			st.TailAt = append(st.TailAt, ledger.Sample{Sequence: sequence, Offset: offset, Intended: intended})
		}
		return
	}
	// All that was waiting has been passed by this record.
	for _, other := range s.Streams {
		if !other.Tail.Empty() {
			other.Passed.Union(&other.Tail)
			other.PassedAt = append(other.PassedAt, other.TailAt[:min(len(other.TailAt), maxRanges-len(other.PassedAt))]...)
			other.Tail, other.TailAt = intervals.Set{}, nil
		}
	}
}

// Reach notes that everything below offset was read, though the records there
// were not of this test.
func (s *Scan) Reach(offset int64) { s.To = max(s.To, offset) }

// Seen returns for each stream the sequences that the destination holds, over
// all its partitions.
func Seen(received []*ledger.Received) map[ledger.Stream]*intervals.Set {
	out := map[ledger.Stream]*intervals.Set{}
	for _, r := range received {
		for _, s := range r.Streams {
			add(out, s.Stream, &s.Seen)
		}
	}
	return out
}

// noticed returns what had arrived when it was noticed and is not among what is
// seen now.
func noticed(in *Input, seen map[ledger.Stream]*intervals.Set) map[ledger.Stream]*intervals.Set {
	out := map[ledger.Stream]*intervals.Set{}
	for key, notices := range in.Noticed {
		var rest intervals.Set
		for _, x := range notices {
			if have := seen[key]; have == nil || !have.Contains(x.Below) {
				rest.Add(x.Below)
			}
		}
		add(out, key, &rest)
	}
	return out
}

// once returns what was read at the destination and then rolled back, was part
// of a state that is not used any more, or was noticed and is not seen any more:
// the state that told of it may have been replaced since.
func once(in *Input, seen map[ledger.Stream]*intervals.Set) map[ledger.Stream]*intervals.Set {
	out := Seen(in.Former)
	for key, rest := range noticed(in, seen) {
		add(out, key, rest)
	}
	for _, states := range [][]*ledger.Received{in.Received, in.Former} {
		for _, r := range states {
			for _, g := range r.Gone {
				add(out, g.Stream, &g.Seen)
			}
		}
	}
	return out
}

// Arrived returns for each stream the sequences that the destination holds or
// once held. Scans use it to tell what has arrived.
func Arrived(in *Input) map[ledger.Stream]*intervals.Set {
	out := Seen(in.Received)
	for key, seen := range once(in, out) {
		add(out, key, seen)
	}
	return out
}

// ScanFrom returns the source partitions whose log must be read, each from the
// returned offset to its end, for the final verdict to be complete. When that
// is done and the scans are part of the input, it returns those that must be
// read again from further back, since a log that was truncated put records
// where they were not expected.
func ScanFrom(in *Input) map[TopicPartition]int64 {
	out := map[TopicPartition]int64{}
	seen := Seen(in.Received)
	for _, sent := range in.Sent {
		for _, st := range sent.Streams {
			rest, _ := reserve(sent, st)
			for _, f := range st.Failed {
				rest = rest.Minus(f)
			}
			if have := seen[st.Stream]; have != nil {
				rest = rest.Minus(have)
			}
			tp := TopicPartition{st.Stream.Topic, st.Stream.Partition}
			source := in.Source[tp]
			if source == nil {
				source = &SourceLog{}
			}
			scanned := source.scanned(st.Stream)
			if scanned != nil {
				rest = rest.Minus(&scanned.Present)
			}
			first := rest.Ranges(1)
			if len(first) == 0 {
				continue
			}
			from := source.Start
			switch {
			case scanned == nil:
				// From the last place known, so that it is seen whether that still holds.
				from = st.Base
				if lower, ok := sampleBelow(in.Samples[st.Stream], first[0].From); ok && sent.Ordered {
					from = lower.Offset
				}
				if source.Cut != nil {
					from = min(from, *source.Cut)
				}
				from = max(from, source.Start)
			case source.Scan.From <= source.Start || covers(sent, st, in.Samples[st.Stream], source, first[0].From):
				continue
			}
			if old, ok := out[tp]; !ok || from < old {
				out[tp] = from
			}
		}
	}
	return out
}

// reserve returns the sequences that the stream may have used, the control left
// out, and the control.
func reserve(sent *ledger.Sent, st *ledger.SentStream) (all, control intervals.Set) {
	all.AddRange(0, st.Reserved)
	if sent.Closed {
		all = all.Below(st.Next)
	}
	if st.Control != nil {
		control.Add(*st.Control)
		all = all.Minus(&control)
	}
	return all, control
}

// Reached returns the highest sequence of the stream of those that have arrived;
// ok is false if there is none. What was made up does not count: sequences that
// were never reserved, and the control.
func Reached(sent *ledger.Sent, st *ledger.SentStream, arrived *intervals.Set) (highest uint64, ok bool) {
	all, _ := reserve(sent, st)
	reached := arrived.Intersect(&all)
	return reached.Max()
}

// scanned returns what a complete scan found of the stream; nil if there was no
// such scan.
func (l *SourceLog) scanned(key ledger.Stream) *Scanned {
	if l == nil || l.Scan == nil || l.Scan.To < l.End {
		return nil
	}
	if found := l.Scan.Streams[key]; found != nil {
		return found
	}
	return &Scanned{}
}

// covers reports whether the scan has read every place at which the sequence,
// or a higher one, can be or can have been, so that it is not and was not there
// if it was not found.
func covers(sent *ledger.Sent, st *ledger.SentStream, samples []ledger.Sample, source *SourceLog, sequence uint64) bool {
	found := source.scanned(st.Stream)
	if found == nil {
		return false
	}
	cut := int64(math.MaxInt64)
	if source.Cut != nil {
		cut = *source.Cut
	}
	if min(st.Base, cut) >= source.Scan.From {
		return true
	}
	if !sent.Ordered {
		return false // retries may have put it anywhere after the stream's begin
	}
	// It lies behind each lower one that is there, whatever happened to the log.
	if first := found.Present.Ranges(1); len(first) > 0 && first[0].From < sequence {
		return true
	}
	for _, x := range samples {
		if x.Sequence < sequence && x.Offset == source.Scan.From-1 && x.Offset < cut {
			return true
		}
	}
	return false
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
	sent     map[uint64]*ledger.Sent // by run
	streams  map[ledger.Stream]*ledger.SentStream
	unread   map[string][]unread // by topic
	undated  map[ledger.Stream]*intervals.Set
	doubts   []string
	madeUp   uint64 // phantoms of runs whose ledger is known
}

// unread is a part of a destination partition that nobody read.
type unread struct {
	why     string
	offsets uint64
	before  int64 // all of it was written before this time; 0: not known
}

// Compute returns the verdict on the evidence.
func Compute(in *Input) Verdict {
	seen := Seen(in.Received)
	s := &state{
		in:       in,
		out:      Verdict{Test: in.Test, Final: in.Final, At: in.Now},
		seen:     seen,
		gone:     once(in, seen),
		arrivals: map[ledger.Stream]uint64{},
		known:    map[ledger.Stream]bool{},
		parts:    map[TopicPartition]*Partition{},
		received: map[TopicPartition]*ledger.Received{},
		sent:     map[uint64]*ledger.Sent{},
		streams:  map[ledger.Stream]*ledger.SentStream{},
		unread:   map[string][]unread{},
	}
	for _, sent := range in.Sent {
		s.sent[sent.Run] = sent
		for _, st := range sent.Streams {
			s.streams[st.Stream] = st
		}
	}
	if in.Final {
		s.undated = s.findUndated()
	}
	s.arrived()
	s.findUnread()
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
		s.evidence(r)
	}
}

// findUndated returns arrivals of which it is not known when they came: those in
// logs that were truncated or deleted, which the destination may have shown
// between two looks at it, and had nothing there at either, and those that nobody
// noticed, as of a producer whose ledger is lost.
func (s *state) findUndated() map[ledger.Stream]*intervals.Set {
	out := map[ledger.Stream]*intervals.Set{}
	for _, states := range [][]*ledger.Received{s.in.Received, s.in.Former} {
		for _, r := range states {
			for _, g := range r.Gone {
				add(out, g.Stream, &g.Seen)
			}
		}
	}
	now := map[TopicPartition]*ledger.Received{}
	for _, r := range s.in.Received {
		now[TopicPartition{r.Topic, r.Partition}] = r
	}
	for _, r := range s.in.Former {
		// That the log as it is now holds the same sequences proves nothing: they may
		// have come a second time.
		if current := now[TopicPartition{r.Topic, r.Partition}]; current != nil && current.Continues(r) {
			continue
		}
		for _, st := range r.Streams {
			add(out, st.Stream, &st.Seen)
		}
	}
	for key, rest := range noticed(s.in, s.seen) {
		add(out, key, rest)
	}
	for key, seen := range s.seen {
		var before intervals.Set
		if notices := s.in.Noticed[key]; len(notices) > 0 {
			before = seen.Below(notices[len(notices)-1].Below + 1)
		}
		rest := seen.Minus(&before)
		add(out, key, &rest)
	}
	return out
}

// findUnread notes what nobody read at the destination.
func (s *state) findUnread() {
	parts := map[TopicPartition]bool{}
	for at := range s.received {
		parts[at] = true
	}
	for at := range s.in.Destination {
		parts[at] = true
	}
	for _, sent := range s.in.Sent {
		for _, st := range sent.Streams {
			parts[TopicPartition{st.Stream.Topic, st.Stream.Partition}] = true
		}
	}
	for _, at := range slices.SortedFunc(maps.Keys(parts), func(a, b TopicPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	}) {
		note := func(offsets uint64, before int64, format string, args ...any) {
			why := fmt.Sprintf(format, args...) + fmt.Sprintf(" partition %d of %s at the destination", at.Partition, at.Topic)
			s.unread[at.Topic] = append(s.unread[at.Topic], unread{why, offsets, before})
		}
		r := s.received[at]
		bounds, known := s.in.Destination[at]
		switch {
		case r == nil && known && bounds.End > 0:
			note(uint64(bounds.End), 0, "nothing has read")
		case r == nil && !known:
			note(math.MaxInt64, 0, "nothing is known of")
		case r == nil: // empty, or not there at all
		case !known:
			note(math.MaxInt64, 0, "it is not known how far to read")
		case r.Next < bounds.End:
			note(uint64(bounds.End-r.Next), 0, "up to offset %d of %d was read of", r.Next, bounds.End)
		}
		if r == nil {
			continue
		}
		began := r.Unobserved.Below(uint64(max(r.Start, 0)))
		gaps := r.Unobserved.Minus(&began)
		if !began.Empty() {
			note(began.Len(), r.Started, "offsets %v were removed before anyone read", began.Ranges(4))
		}
		if !gaps.Empty() {
			note(gaps.Len(), 0, "offsets %v were removed before anyone read them in", gaps.Ranges(4))
		}
	}
}

// unreadable says what of the topic at the destination may hold records of the
// producer that nobody read; empty if nothing does. Which partition does not
// matter: the replicator may have put a record on any.
func (s *state) unreadable(sent *ledger.Sent, topic string) string {
	for _, u := range s.unread[topic] {
		// What was there before the consumer began cannot be of a producer that
		// began later.
		if u.before == 0 || sent.Started <= u.before+s.in.ClockBound {
			return u.why
		}
	}
	return ""
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
	all, control := reserve(sent, st)
	if !control.Empty() {
		s.out.Control.Planted++
	}
	all.Union(&control)
	end := st.Reserved
	if sent.Closed {
		end = st.Next
	}
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
	scanned := source.scanned(key)

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
	expected.Union(&control)

	// What is neither known to be there nor known to have failed, and what of it
	// the source log proves absent.
	unknown := all.Minus(&expected)
	unknown = unknown.Minus(&failed)
	var absent intervals.Set
	for r := range unknown.All() {
		if !running && covers(sent, st, s.in.Samples[key], source, r.From) {
			absent.AddRange(r.From, r.To)
		}
	}
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
	ever := seen.Clone()
	ever.Union(&once)
	highest, _ := Reached(sent, st, &ever)
	skipped := missing.Below(highest)
	switch {
	case !s.in.Final:
		c.Pending, c.Skipped = missing.Len(), skipped.Len()
	case !missing.Empty():
		s.missing(sent, st, &missing, &skipped, &once, source, &c)
	}
	part.RPORecords += missing.Len()
	if due := missing.Minus(&skipped); !due.Empty() {
		part.RPOSeconds = max(part.RPOSeconds, s.age(st, due.Ranges(1)[0].From, sent))
	}
	part.Streams = append(part.Streams, Stream{Producer: sent.Producer, Run: runName(sent.Run), Epoch: key.Epoch, Reserved: end, Counts: c})
	sum(&part.Counts, &c)
	return c
}

// age is how long ago, in seconds, the given sequence was intended: at most,
// since only samples are known. A stream may have begun long after its producer,
// as that of a new partition does.
func (s *state) age(st *ledger.SentStream, sequence uint64, sent *ledger.Sent) float64 {
	intended := max(sent.Started, st.Began)
	if lower, ok := sampleBelow(s.in.Samples[st.Stream], sequence); ok {
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
func (s *state) highestOffset(key ledger.Stream, sequence uint64) int64 {
	if sent := s.sent[key.Run]; sent == nil || !sent.Ordered {
		return math.MaxInt64
	}
	samples := s.in.Samples[key]
	i, found := slices.BinarySearchFunc(samples, sequence, func(x ledger.Sample, n uint64) int { return cmp.Compare(x.Sequence, n) })
	if i == len(samples) {
		return math.MaxInt64
	}
	offset := samples[i].Offset
	source := s.in.Source[TopicPartition{key.Topic, key.Partition}]
	if found || source != nil && source.Cut != nil && offset >= *source.Cut {
		return offset // a later record may stand where this one stood before the log was cut
	}
	return offset - 1
}

// missing sorts what did not arrive by what became of it; skipped is what of it
// a higher sequence of the stream has overtaken.
func (s *state) missing(sent *ledger.Sent, st *ledger.SentStream, missing, skipped, once *intervals.Set, source *SourceLog, c *Counts) {
	key := st.Stream
	if why := s.unreadable(sent, key.Topic); why != "" {
		c.Unobserved = missing.Len()
		s.find(sent, key, Finding{Word: "unobserved", Attribution: ByTester, Evidence: why}, missing, nil)
		return
	}
	gone := missing.Intersect(once)
	c.DestinationLost = gone.Len()
	s.find(sent, key, Finding{Word: "destination-lost", Attribution: ByDestination,
		Evidence: "read from the destination once, and no longer there after its log was truncated or its topic made anew"}, &gone, nil)
	rest := missing.Minus(&gone)
	if rest.Empty() {
		return
	}
	scanned := source.scanned(key)
	var tail, passed intervals.Set
	if scanned != nil {
		tail = rest.Intersect(&scanned.Tail)
		s.find(sent, key, Finding{Word: "undelivered", Attribution: ByReplicator,
			Evidence: "still in the source log, and nothing after it has arrived"}, &tail, scanned.TailAt)
	} else {
		tail = rest.Minus(skipped)
		s.find(sent, key, Finding{Word: "undelivered", Attribution: ByUnknown, Evidence: notReadBack}, &tail, nil)
	}
	lost := rest.Minus(&tail)
	c.Undelivered, c.Lost = tail.Len(), lost.Len()
	if scanned != nil {
		passed = lost.Intersect(&scanned.Present)
		s.find(sent, key, Finding{Word: "lost", Attribution: ByReplicator,
			Evidence: "still in the source log, while later records of the partition have arrived"}, &passed, scanned.PassedAt)
	}

	// Those that the source no longer holds, or that nobody looked for.
	rest = lost.Minus(&passed)
	if looked := s.in.LookedUp[key]; looked != nil {
		never := rest.Intersect(&looked.Absent)
		s.find(sent, key, Finding{Word: "lost", Attribution: BySource,
			Evidence: "acknowledged, but not in the source log when it was looked up"}, &never, nil)
		rest = rest.Minus(&never)
		if sent.Ordered {
			found := rest.Intersect(&looked.Present)
			s.find(sent, key, Finding{Word: "lost", Attribution: ByReplicator,
				Evidence: "it was looked up and found in the source log after a later record had arrived"}, &found, nil)
			rest = rest.Minus(&found)
		}
	}
	by := map[Attribution]*intervals.Set{}
	why := map[Attribution]string{}
	for r := range rest.All() {
		for r.From < r.To {
			to := s.piece(key, r.From, r.To)
			who, evidence := s.attribute(sent, st, source, r.From, to)
			if by[who] == nil {
				by[who] = &intervals.Set{}
				why[who] = evidence
			}
			by[who].AddRange(r.From, to)
			r.From = to
		}
	}
	for _, who := range slices.Sorted(maps.Keys(by)) {
		s.find(sent, key, Finding{Word: "lost", Attribution: who, Evidence: why[who]}, by[who], nil)
	}
}

const notReadBack = "the source log could not be read back, so whose fault it is stays open"

// piece returns the end of the part of [from, to), of which nothing has
// arrived, that begins at from and of which the same is known: no sample
// divides it.
func (s *state) piece(key ledger.Stream, from, to uint64) uint64 {
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
// source no longer holds.
func (s *state) attribute(sent *ledger.Sent, st *ledger.SentStream, source *SourceLog, from, to uint64) (Attribution, string) {
	if source.scanned(st.Stream) == nil {
		return ByUnknown, notReadBack
	}
	if covers(sent, st, s.in.Samples[st.Stream], source, from) {
		return BySource, fmt.Sprintf("acknowledged, but not in the source log, which was read from offset %d on", source.Scan.From)
	}
	lowest := LowestOffset(sent, st, s.in.Samples[st.Stream], from)
	highest := s.highestOffset(st.Stream, to-1)
	if source.Cut != nil && highest >= *source.Cut {
		return ByUnknown, fmt.Sprintf("the source's log was truncated at offset %d, and its retention has removed what could tell who lost it", *source.Cut)
	}
	// It was there until retention took it: not before the log start had passed
	// the lowest offset, at the latest when it had passed the highest.
	takenAfter, takenBy := int64(math.MinInt64), int64(math.MaxInt64)
	if i := slices.IndexFunc(source.Starts, func(x LogStart) bool { return x.Offset > lowest }); i >= 0 {
		takenAfter = source.Starts[i].After
	}
	if i := slices.IndexFunc(source.Starts, func(x LogStart) bool { return x.Offset > highest }); i >= 0 {
		takenBy = source.Starts[i].At
	}
	overtakenAfter, overtakenBy := s.overtaken(sent, st.Stream, lowest, highest, from)
	switch {
	case takenBy <= overtakenAfter && takenBy != math.MaxInt64:
		return ByRetention, "the source's retention removed it before the replicator went past it"
	case overtakenBy <= takenAfter:
		return ByReplicator, "later records had arrived before the source's retention removed it"
	default:
		return ByUnknown, "the source no longer holds it, and whether retention or the replicator was first was not seen"
	}
}

// overtaken says when the replicator went past a sequence that lies in the
// source log between the offsets lowest and highest: not before the time after,
// at the latest at the time by.
func (s *state) overtaken(sent *ledger.Sent, stream ledger.Stream, lowest, highest int64, sequence uint64) (after, by int64) {
	after, by = math.MaxInt64, math.MaxInt64
	for key, seen := range s.undated {
		if key.Topic != stream.Topic || key.Partition != stream.Partition {
			continue
		}
		highest, ok := seen.Max()
		if other := s.streams[key]; other != nil {
			highest, ok = Reached(s.sent[key.Run], other, seen)
		} else if s.sent[key.Run] != nil {
			continue // made up
		}
		if ok && (key == stream && sent.Ordered && highest > sequence ||
			(key != stream || !sent.Ordered) && s.highestOffset(key, highest) > lowest) {
			after = math.MinInt64
		}
	}
	for key, notices := range s.in.Noticed {
		if key.Topic != stream.Topic || key.Partition != stream.Partition {
			continue
		}
		own := key == stream && sent.Ordered
		other := s.streams[key]
		// Both hold for all notices from a certain one on.
		perhaps := sort.Search(len(notices), func(i int) bool {
			if own {
				return notices[i].Below > sequence
			}
			return s.highestOffset(key, notices[i].Below) > lowest
		})
		surely := sort.Search(len(notices), func(i int) bool {
			if own {
				return notices[i].Below > sequence
			}
			return other != nil && LowestOffset(s.sent[key.Run], other, s.in.Samples[key], notices[i].Below) > highest
		})
		if perhaps < len(notices) {
			after = min(after, notices[perhaps].After)
		}
		if surely < len(notices) {
			by = min(by, notices[surely].At)
		}
	}
	return after, by
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
		s.find(s.sent[key.Run], key, Finding{Word: "phantom", Evidence: "no ledger has reserved anything for this stream"}, seen, nil)
		if s.sent[key.Run] != nil {
			s.madeUp += c.Phantom // a ledger names all streams of its run
			continue
		}
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
		// Each record that cannot be identified, and each offset that nobody read,
		// may be one of those that are missing.
		var hidden uint64
		for _, u := range s.unread[name] {
			hidden = min(hidden+u.offsets, math.MaxInt64)
		}
		missing := t.Counts.Lost + t.Counts.Unobserved - min(t.Counts.Unobserved, hidden)
		t.Counts.LostAtLeast = missing - min(missing, t.Counts.Corrupt+t.Counts.Malformed)
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
		s.doubtUnread()
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

// doubtUnread says what nobody read at the destination: it may hold anything.
func (s *state) doubtUnread() {
	for _, topic := range slices.Sorted(maps.Keys(s.unread)) {
		for _, u := range s.unread[topic] {
			relevant := slices.ContainsFunc(s.in.Sent, func(sent *ledger.Sent) bool {
				return (u.before == 0 || sent.Started <= u.before+s.in.ClockBound) &&
					slices.ContainsFunc(sent.Streams, func(st *ledger.SentStream) bool { return st.Stream.Topic == topic })
			})
			if relevant {
				s.doubt("%s: what is there is not known", u.why)
			}
		}
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
