package ledger

import (
	"fmt"
	"slices"
	"strings"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
)

const (
	// MaxEvidence is how many examples of each kind of anomaly a partition keeps.
	MaxEvidence = 8
	// MaxOutages is how many outages a partition keeps, the longest ones.
	MaxOutages = 32
)

// Received is the ledger of one destination partition: the leg source ->
// destination. It is a pure function of the log between Start and Next, so
// whoever reads the same log comes to the same state, and of two snapshots the
// one that reaches further holds all that the other does.
type Received struct {
	Test      string
	Topic     string // name at the source
	TopicID   [16]byte
	Partition int32 // at the destination
	Writer    string
	Updated   int64

	Start       int64      // first offset that was looked at
	Started     int64      // when that was
	Next        int64      // all of [Start, Next) was looked at, but for Unobserved
	LeaderEpoch int32      // of the last record
	Epochs      []EpochEnd // in order
	Generation  uint32
	// Unobserved are offsets that existed or may have existed and could not be
	// read, because retention or a truncation took them first. [0, Start) is
	// among them if Start was above 0.
	Unobserved intervals.Set

	Streams []*ReceivedStream
	// Gone are sequences that an earlier generation of this log held and that
	// were rolled back by a truncation. They are lost only if they are not also
	// in Streams.
	Gone []*GoneStream

	Records   uint64                  // every record read, of whatever kind
	Bytes     uint64                  // keys and values of those
	Kinds     map[message.Kind]uint64 // records that are not of this test, or not readable
	Duplicate uint64                  // arrivals after the first, within this partition
	Reordered uint64                  // first arrivals below their stream's maximum
	Misplaced uint64                  // records on another partition than the mapping says
	Replays   uint64                  // maximal runs of duplicates
	Longest   uint64                  // length of the longest of them, in records
	Replaying uint64                  // length of the run that is open now; 0: none

	Outages     []Outage
	OutageCount uint64
	OutageTotal int64 // microseconds
	LastArrival int64 // of a first arrival; 0: none yet

	Window   Window // the open one
	Evidence []Evidence
	// Previous is the write of the snapshot before this one, a probe of the
	// destination cluster's clock.
	Previous *Probe

	// The rest is derived, and absent from the written form.
	lookup map[streamKey]*ReceivedStream
	last   *ReceivedStream
	open   *latency.Histogram
	closed []Window
}

// ReceivedStream is what one destination partition holds of one stream.
type ReceivedStream struct {
	Stream   Stream
	Producer string
	Seen     intervals.Set
	Arrivals uint64
	Highest  uint64 // largest sequence seen; valid once Arrivals > 0
}

// GoneStream holds sequences of a stream that were seen once.
type GoneStream struct {
	Stream Stream
	Seen   intervals.Set
}

// Outage is a time in which nothing arrived although something was due: from
// the last arrival, or the next record's intended time if that was later,
// until the next arrival.
type Outage struct {
	_        struct{} `cbor:",toarray"`
	From, To int64
}

// EpochEnd is the last record that was read of a leader epoch.
type EpochEnd struct {
	_      struct{} `cbor:",toarray"`
	Epoch  int32
	Offset int64
}

// Window is one second of arrivals on one partition.
type Window struct {
	Second   int64 // Unix seconds of the time of arrival
	Records  uint64
	First    uint64 // first arrivals
	Bytes    uint64
	Latency  latency.Sparse // of first arrivals
	CatchUp  bool           // the tester itself was behind: latencies are not the replicator's
	Appended bool           // times are the destination broker's LogAppendTime, not ours
}

// Evidence is one example of an anomaly.
type Evidence struct {
	Word     string // duplicate, reordered, misplaced, corrupt or the kind of a malformed record
	Offset   int64  // at the destination
	At       int64
	Stream   Stream // what the record claims, where it could be read
	Producer string
	Sequence uint64
}

type streamKey struct {
	run       uint64
	epoch     uint32
	partition int32
}

// Observation is one record of a destination partition.
type Observation struct {
	Offset      int64
	LeaderEpoch int32
	At          int64 // time of arrival: LogAppendTime if Appended, else the consumer's clock
	Appended    bool
	CatchUp     bool // read while the consumer was behind the end of the log
	Bytes       int
	Kind        message.Kind
	ID          message.Identity // valid if Kind is message.OK; what is claimed if message.Corrupt
	Misplaced   bool
}

// Words of the anomalies that a partition counts.
const (
	WordDuplicate = "duplicate"
	WordReordered = "reordered"
	WordMisplaced = "misplaced"
)

// NewReceived starts the ledger of a destination partition whose log begins at
// start.
func NewReceived(test, topic string, topicID [16]byte, partition int32, writer string, start, now int64) *Received {
	r := &Received{Test: test, Topic: topic, TopicID: topicID, Partition: partition, Writer: writer, Start: start, Started: now, Next: start, Updated: now}
	r.Unobserved.AddRange(0, uint64(start))
	return r
}

// OutageThreshold is from which length on, in microseconds, a silence in which
// something was due counts as an outage.
const OutageThreshold = int64(1_000_000)

// Observe takes in the next record of the partition. Records below Next were
// counted already and are ignored. It allocates only for a new stream, a new
// gap, a new leader epoch, or an anomaly.
func (r *Received) Observe(o *Observation) {
	if o.Offset < r.Next {
		return
	}
	r.Next = o.Offset + 1
	if n := len(r.Epochs); n > 0 && r.Epochs[n-1].Epoch == o.LeaderEpoch {
		r.Epochs[n-1].Offset = o.Offset
	} else {
		r.Epochs = append(r.Epochs, EpochEnd{Epoch: o.LeaderEpoch, Offset: o.Offset})
	}
	r.LeaderEpoch = o.LeaderEpoch
	r.Records++
	r.Bytes += uint64(o.Bytes)
	r.enter(o)

	if o.Kind != message.OK {
		if r.Kinds == nil {
			r.Kinds = map[message.Kind]uint64{}
		}
		r.Kinds[o.Kind]++
		if o.Kind != message.Foreign {
			r.note(o.Kind.String(), o, nil)
		}
		return
	}

	st := r.stream(&o.ID)
	st.Arrivals++
	if o.Misplaced {
		r.Misplaced++
		r.note(WordMisplaced, o, st)
	}
	if !st.Seen.Add(o.ID.Sequence) {
		r.Duplicate++
		if r.Replaying == 0 {
			r.Replays++
		}
		r.Replaying++
		r.Longest = max(r.Longest, r.Replaying)
		r.note(WordDuplicate, o, st)
		return
	}
	r.Replaying = 0
	if st.Arrivals > 1 && o.ID.Sequence < st.Highest {
		r.Reordered++
		r.note(WordReordered, o, st)
	} else {
		st.Highest = o.ID.Sequence
	}
	r.Window.First++
	r.open.Record(o.At - o.ID.Intended)
	if !o.CatchUp {
		r.outage(o)
	}
	r.LastArrival = o.At
}

// Skip notes that there is no record below offset any more to come: what lies
// between Next and it are markers of transactions or records that compaction
// removed.
func (r *Received) Skip(offset int64) { r.Next = max(r.Next, offset) }

// Miss notes that the offsets from Next to offset could not be read.
func (r *Received) Miss(offset int64) {
	if offset > r.Next {
		r.Unobserved.AddRange(uint64(r.Next), uint64(offset))
		r.Next = offset
	}
}

// outage notes the silence that the record ends, if it was one.
func (r *Received) outage(o *Observation) {
	from := max(r.LastArrival, o.ID.Intended)
	length := o.At - from
	if length < OutageThreshold {
		return
	}
	r.OutageCount++
	r.OutageTotal += length
	r.Outages = append(r.Outages, Outage{From: from, To: o.At})
	if len(r.Outages) > MaxOutages {
		shortest := 0
		for i, x := range r.Outages {
			if x.To-x.From < r.Outages[shortest].To-r.Outages[shortest].From {
				shortest = i
			}
		}
		r.Outages = slices.Delete(r.Outages, shortest, shortest+1)
	}
}

// enter puts the record into its window; a window ends when a record of a
// later second comes. Clocks of successive leaders may step back: such records
// count in the window that is open.
func (r *Received) enter(o *Observation) {
	if r.open == nil {
		r.open = latency.New()
		r.open.Merge(r.Window.Latency)
	}
	if second := o.At / 1_000_000; second > r.Window.Second {
		r.closeWindow()
		r.Window.Second = second
	}
	r.Window.Records++
	r.Window.Bytes += uint64(o.Bytes)
	r.Window.CatchUp = r.Window.CatchUp || o.CatchUp
	r.Window.Appended = o.Appended
}

func (r *Received) closeWindow() {
	if r.Window.Records > 0 {
		r.Window.Latency = r.open.Sparse()
		r.closed = append(r.closed, r.Window)
	}
	r.open.Reset()
	r.Window = Window{}
}

// TakeWindows returns the windows that ended since the last call. The one that
// is open stays part of the state.
func (r *Received) TakeWindows() []Window {
	out := r.closed
	r.closed = nil
	return out
}

// Snapshot returns the written form of the state.
func (r *Received) Snapshot(now int64) ([]byte, error) {
	if r.open != nil {
		r.Window.Latency = r.open.Sparse()
	}
	r.Updated = now
	return Encode(r)
}

// Restore reads a snapshot.
func Restore(data []byte) (*Received, error) {
	var r Received
	if err := Decode(data, &r); err != nil {
		return nil, fmt.Errorf("restore a partition's state: %w", err)
	}
	return &r, nil
}

func (r *Received) check() error {
	if r.Start < 0 || r.Next < 0 || r.Partition < 0 {
		return fmt.Errorf("%w: partition %d from offset %d to %d", ErrImpossible, r.Partition, r.Start, r.Next)
	}
	for i, s := range r.Streams {
		if s == nil {
			return fmt.Errorf("%w: stream %d is missing", ErrImpossible, i)
		}
	}
	for i, g := range r.Gone {
		if g == nil {
			return fmt.Errorf("%w: stream %d of those that are gone is missing", ErrImpossible, i)
		}
	}
	return nil
}

// RollBack returns the state to go on with after the log was truncated or
// replaced: base, an earlier snapshot that ends at or below the truncation (or
// a fresh one), with what r had seen beyond noted as gone.
func (r *Received) RollBack(base *Received) *Received {
	base.Generation = r.Generation + 1
	base.Writer = r.Writer
	gone := map[Stream]*GoneStream{}
	take := func(stream Stream, seen *intervals.Set) {
		g := gone[stream]
		if g == nil {
			g = &GoneStream{Stream: stream}
			gone[stream] = g
			base.Gone = append(base.Gone, g)
		}
		g.Seen.Union(seen)
	}
	base.Gone = nil
	for _, g := range r.Gone {
		take(g.Stream, &g.Seen)
	}
	for _, s := range r.Streams {
		take(s.Stream, &s.Seen)
	}
	return base
}

// Supersedes reports whether r is the snapshot to use of the two, which are of
// the same partition of the same topic id: the later generation, and within it
// the one that reaches further.
func (r *Received) Supersedes(other *Received) bool {
	if other == nil || r.Generation != other.Generation {
		return other == nil || r.Generation > other.Generation
	}
	if r.Next != other.Next {
		return r.Next > other.Next
	}
	return r.Updated > other.Updated
}

// Continues reports whether all that other has read is certainly part of the log
// that r has read. Two logs of a partition that both have records of a leader
// epoch are the same up to the first of the two that ends in it: a truncation is
// followed by a new epoch.
func (r *Received) Continues(other *Received) bool {
	if r.TopicID != other.TopicID || r.Topic != other.Topic || r.Partition != other.Partition {
		return false
	}
	n := len(other.Epochs)
	if n == 0 {
		return other.Records == 0
	}
	last := other.Epochs[n-1]
	return last.Epoch >= 0 && slices.ContainsFunc(r.Epochs, func(e EpochEnd) bool { return e.Epoch == last.Epoch && e.Offset >= last.Offset })
}

// Covers reports whether r certainly tells of every arrival that other tells of.
func (r *Received) Covers(other *Received) bool {
	if !r.Continues(other) {
		return false
	}
	for _, o := range other.Streams {
		if !slices.ContainsFunc(r.Streams, func(s *ReceivedStream) bool { return s.Stream == o.Stream && within(&o.Seen, &s.Seen) }) {
			return false
		}
	}
	for _, o := range other.Gone {
		if !slices.ContainsFunc(r.Gone, func(g *GoneStream) bool { return g.Stream == o.Stream && within(&o.Seen, &g.Seen) }) {
			return false
		}
	}
	return true
}

func within(part, whole *intervals.Set) bool {
	rest := part.Minus(whole)
	return rest.Empty()
}

func (r *Received) stream(id *message.Identity) *ReceivedStream {
	if s := r.last; s != nil && s.Stream.Run == id.Run && s.Stream.Epoch == id.Epoch && s.Stream.Partition == id.Partition {
		return s
	}
	if r.lookup == nil {
		r.lookup = make(map[streamKey]*ReceivedStream, len(r.Streams))
		for _, s := range r.Streams {
			r.lookup[streamKey{s.Stream.Run, s.Stream.Epoch, s.Stream.Partition}] = s
		}
	}
	key := streamKey{id.Run, id.Epoch, id.Partition}
	s := r.lookup[key]
	if s == nil {
		s = &ReceivedStream{
			Stream:   Stream{Run: id.Run, Topic: r.Topic, Epoch: id.Epoch, Partition: id.Partition},
			Producer: text(id.Producer),
		}
		r.lookup[key] = s
		r.Streams = append(r.Streams, s)
	}
	r.last = s
	return s
}

// text returns what a record claims as a string that can be stored: the ledger's
// written form has no room for what is not UTF-8, and a damaged record may hold
// anything.
func text(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

func (r *Received) note(word string, o *Observation, st *ReceivedStream) {
	n := 0
	for i := range r.Evidence {
		if r.Evidence[i].Word == word {
			n++
		}
	}
	if n >= MaxEvidence {
		return
	}
	e := Evidence{Word: word, Offset: o.Offset, At: o.At, Sequence: o.ID.Sequence}
	switch {
	case st != nil:
		e.Stream, e.Producer = st.Stream, st.Producer
	case o.Kind == message.Corrupt:
		e.Stream = Stream{Run: o.ID.Run, Topic: r.Topic, Epoch: o.ID.Epoch, Partition: o.ID.Partition}
		e.Producer = text(o.ID.Producer)
	}
	r.Evidence = append(r.Evidence, e)
}
