// Package oracle says what is true of a replication test, from the raw logs of
// both clusters and the producers' own books. It exists to check the verdict
// and so shares nothing with it: no sets of ranges, no ledgers, no decoder of
// ours; only maps and loops over every record. It is slow and wants everything
// in memory.
//
// The words are those of the design. Where nobody could know, because a log
// was not read or retention was faster, the oracle knows just as little: it
// looks at no more than what Input holds.
package oracle

import (
	"fmt"
	"math"
	"slices"
)

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record as it lies in a log.
type Record struct {
	Offset     int64
	Epoch      int32 // of the leader that wrote it
	Timestamp  int64 // Unix microseconds; at the destination: the time of arrival
	Key, Value []byte
	Headers    []Header
}

// Place names a partition. The topic is always the one at the source.
type Place struct {
	Topic     string
	Partition int32
}

func (p Place) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Partition) }

// Source is a source partition's log as it is at the end of the test.
type Source struct {
	Place
	// Start and End are the log's first offset and the one after its last.
	Start, End int64
	// Read up to, from Start: less than End if reading was cut short. Records
	// holds what was read.
	To      int64
	Records []Record
	// Starts tells how the log start moved, in order of time.
	Starts []Moved
	// Cut is the lowest offset to which the log is known to have been truncated;
	// nil: never.
	Cut *int64
}

// Moved says that a log start was at Offset at time At and still at the one
// before it at time After.
type Moved struct{ After, At, Offset int64 }

// Destination is what the tester read of a destination partition, in the log
// as it is at the end: records that retention removed after they had been read
// are part of it.
type Destination struct {
	Place
	Records []Record
	// Unread are the offsets that nobody read, of those below the log's end.
	Unread []Unread
	// Replaced, of a former log: records of it are certainly no more. Otherwise it
	// is what an earlier reader read, perhaps of the very same log.
	Replaced bool
}

// Unread is a range of offsets, To excluded.
type Unread struct {
	From, To int64
	// Before: all that lay there was written before this time; 0: not known.
	Before int64
}

// States of a life.
const (
	Running = "running"
	Closed  = "closed" // it ended, and said so
	Dead    = "dead"
)

// Life is one life of a producer, with its own book.
type Life struct {
	Producer  string
	Run       uint64
	Started   int64 // Unix microseconds
	State     string
	Ordered   bool // idempotent: a stream's records lie in the source log in order
	Scheduled uint64
	Shed      uint64
	Streams   []Stream
}

// Stream is a numbered sequence of records of one life for one source
// partition.
type Stream struct {
	Topic     string
	Epoch     uint32
	Partition int32
	// Base is an offset of the source partition below which no record of the
	// stream lies, unless the log was cut.
	Base int64
	// Reserved: sequences from 0 up to it, not included, may have been handed
	// out. For a closed life: were handed out.
	Reserved uint64
	// Control is reserved and never handed out; nil: there is none.
	Control *uint64
	// Acked and Failed (certainly not written) are what the producer told before
	// it ended. Of all other sequences the outcome is not known.
	Acked, Failed []uint64
	// Found and NotThere were looked up in the source log while the test ran,
	// after a later record of the stream had arrived.
	Found, NotThere []uint64
	// Placed ties sequences to source offsets.
	Placed []Placed
	// Overtaken tells of the highest sequence that had arrived.
	Overtaken []Overtaken
}

// Placed says at which source offset a sequence was when it was acknowledged.
type Placed struct {
	Sequence uint64
	Offset   int64
}

// Overtaken says that the sequence Highest had arrived at time At, and no
// sequence above the Highest of the entry before had at time After.
type Overtaken struct {
	Highest   uint64
	After, At int64
}

// Input is all that can be known.
type Input struct {
	Test        string
	Final       bool
	Producers   int      // how many are expected; 0: not known
	Topics      []string // that records are expected in
	Lives       []Life
	Source      []Source // those that could be read
	Destination []Destination
	// Former are logs that were read and then truncated or deleted: the records
	// that are not part of Destination any more.
	Former []Destination
	// Strangers tells when records of lives that have no book arrived: where they
	// lie in the source is not known.
	Strangers map[StreamID][]Overtaken
	// ClockBound is by how much clocks differ at most, in microseconds.
	ClockBound int64
	// Limits bound counts by their name in the JSON document, beside lost,
	// undelivered, destination_lost, reordered, corrupt, misplaced and phantom,
	// which are bound to 0 unless they are named here.
	Limits map[string]uint64
}

// Counts are in records; the words are those of the verdict's document.
type Counts struct {
	Scheduled       uint64 `json:"scheduled"`
	Shed            uint64 `json:"shed"`
	Acked           uint64 `json:"acked"`
	Failed          uint64 `json:"failed"`
	Unsent          uint64 `json:"unsent"`
	Expected        uint64 `json:"expected"`
	Received        uint64 `json:"received"`
	Arrivals        uint64 `json:"arrivals"`
	Lost            uint64 `json:"lost"`
	LostAtLeast     uint64 `json:"lost_at_least"`
	Undelivered     uint64 `json:"undelivered"`
	Skipped         uint64 `json:"skipped"`
	Pending         uint64 `json:"pending"`
	Indeterminate   uint64 `json:"indeterminate"`
	Unobserved      uint64 `json:"unobserved"`
	DestinationLost uint64 `json:"destination_lost"`
	Duplicates      uint64 `json:"duplicates"`
	Replays         uint64 `json:"replays"`
	LongestReplay   uint64 `json:"longest_replay"`
	Reordered       uint64 `json:"reordered"`
	Corrupt         uint64 `json:"corrupt"`
	Malformed       uint64 `json:"malformed"`
	Foreign         uint64 `json:"foreign"`
	Misplaced       uint64 `json:"misplaced"`
	Phantom         uint64 `json:"phantom"`
}

func (c *Counts) add(o *Counts) {
	to := c.fields()
	for i, p := range o.fields() {
		q := to[i]
		if p.name == "longest_replay" {
			*q.value = max(*q.value, *p.value)
		} else {
			*q.value += *p.value
		}
	}
}

type field struct {
	name  string
	value *uint64
}

func (c *Counts) fields() []field {
	return []field{
		{"scheduled", &c.Scheduled}, {"shed", &c.Shed}, {"acked", &c.Acked}, {"failed", &c.Failed}, {"unsent", &c.Unsent},
		{"expected", &c.Expected}, {"received", &c.Received}, {"arrivals", &c.Arrivals}, {"lost", &c.Lost},
		{"lost_at_least", &c.LostAtLeast}, {"undelivered", &c.Undelivered}, {"skipped", &c.Skipped}, {"pending", &c.Pending},
		{"indeterminate", &c.Indeterminate}, {"unobserved", &c.Unobserved}, {"destination_lost", &c.DestinationLost},
		{"duplicates", &c.Duplicates}, {"replays", &c.Replays}, {"longest_replay", &c.LongestReplay}, {"reordered", &c.Reordered},
		{"corrupt", &c.Corrupt}, {"malformed", &c.Malformed}, {"foreign", &c.Foreign}, {"misplaced", &c.Misplaced}, {"phantom", &c.Phantom},
	}
}

// Get returns the count with the given name in the JSON document.
func (c Counts) Get(name string) (uint64, bool) {
	for _, f := range c.fields() {
		if f.name == name {
			return *f.value, true
		}
	}
	return 0, false
}

// StreamID names a stream.
type StreamID struct {
	Topic     string
	Partition int32
	Run       uint64
	Epoch     uint32
}

func (id StreamID) String() string {
	return fmt.Sprintf("%s/%d run %016x epoch %d", id.Topic, id.Partition, id.Run, id.Epoch)
}

// Fate is what became of a record that did not arrive.
type Fate struct {
	Word string // lost, undelivered, destination-lost, unobserved, indeterminate, unsent, failed, control, pending, skipped
	By   string // attribution; empty where the word has none
}

// Truth is what is true.
type Truth struct {
	Outcome    string // holds, broken, cannot say
	Exceeded   map[string]bool
	Doubts     []string
	Control    bool // planted, and missing as it should
	Total      Counts
	Topics     map[string]*Counts
	Partitions map[Place]*Counts
	Streams    map[StreamID]*Counts
	// Missing are the records that the source holds or held and the destination
	// does not, by source partition.
	Missing map[Place]uint64
	// Fates of all reserved sequences that have not arrived.
	Fates map[StreamID]map[uint64]Fate
	// InSource are the source offsets at which each sequence lies; more than one: it was written more than once.
	InSource map[StreamID]map[uint64][]int64
	// Phantoms are sequences that arrived and were never reserved.
	Phantoms map[StreamID]map[uint64]bool
	// Anomalies are the destination offsets of duplicate, reordered, misplaced,
	// corrupt and malformed records, in rising order.
	Anomalies map[Place]map[string][]int64
	// Outages are the silences of a second and more at the destination partition
	// in which something was due.
	Outages map[Place][]Outage
}

// Outage is a silence, in Unix microseconds.
type Outage struct{ From, To int64 }

// The attributions.
const (
	byReplicator  = "replicator"
	byRetention   = "retention"
	bySource      = "source cluster"
	byDestination = "destination cluster"
	byTester      = "tester"
	byUnknown     = "unknown"
)

type sequences map[uint64]bool

// reading is a truth in the making.
type reading struct {
	in       *Input
	t        *Truth
	copies   map[StreamID]map[uint64]uint64 // arrivals by sequence
	once     map[StreamID]sequences         // read in a log that is no more
	vanished map[StreamID]sequences         // of those: nobody knows when they had arrived
	epochs   map[Place]map[int32]int64      // the last record of each leader epoch
	inSource map[StreamID]map[uint64][]int64
	source   map[Place]*Source
	passed   map[Place]int64 // the highest source offset of a record that has ever arrived; -1: none
}

// Read works out the truth.
func Read(in *Input) *Truth {
	r := &reading{
		in: in,
		t: &Truth{
			Exceeded: map[string]bool{}, Topics: map[string]*Counts{}, Partitions: map[Place]*Counts{}, Streams: map[StreamID]*Counts{},
			Missing: map[Place]uint64{}, Fates: map[StreamID]map[uint64]Fate{}, Phantoms: map[StreamID]map[uint64]bool{},
			Anomalies: map[Place]map[string][]int64{}, Outages: map[Place][]Outage{},
		},
		copies:   map[StreamID]map[uint64]uint64{},
		once:     map[StreamID]sequences{},
		vanished: map[StreamID]sequences{},
		epochs:   map[Place]map[int32]int64{},
		inSource: map[StreamID]map[uint64][]int64{},
		source:   map[Place]*Source{},
		passed:   map[Place]int64{},
	}
	for i := range in.Destination {
		r.destination(&in.Destination[i])
	}
	for i := range in.Former {
		r.former(&in.Former[i])
	}
	for id, all := range in.Strangers {
		r.noticed(id, all)
	}
	for i := range in.Lives {
		l := &in.Lives[i]
		for j := range l.Streams {
			r.noticed(l.Streams[j].id(l.Run), l.Streams[j].Overtaken)
		}
	}
	for i := range in.Source {
		r.readSource(&in.Source[i])
	}
	known := map[StreamID]bool{}
	runs := map[uint64]bool{}
	planted, reported := 0, 0
	for i := range in.Lives {
		l := &in.Lives[i]
		runs[l.Run] = true
		hasControl := false
		for j := range l.Streams {
			s := &l.Streams[j]
			known[s.id(l.Run)] = true
			if s.Control != nil {
				hasControl = true
				planted++
				if r.copies[s.id(l.Run)][*s.Control] == 0 {
					reported++
				}
			}
			r.stream(l, s)
		}
		if len(l.Streams) > 0 && !hasControl {
			r.doubt("life %016x planted no control", l.Run)
		}
		if in.Final && l.State == Running {
			r.doubt("life %016x may still be sending", l.Run)
		}
		r.t.Total.Scheduled += l.Scheduled
		r.t.Total.Shed += l.Shed
	}
	r.t.Control = planted > 0 && planted == reported
	sure := r.unknownStreams(known, runs)
	r.t.InSource = r.inSource
	r.sums()
	r.judge(sure)
	return r.t
}

func (s *Stream) id(run uint64) StreamID { return StreamID{s.Topic, s.Partition, run, s.Epoch} }

func put(m map[StreamID]sequences, id StreamID, sequence uint64) {
	if m[id] == nil {
		m[id] = sequences{}
	}
	m[id][sequence] = true
}

func (r *reading) doubt(format string, args ...any) {
	r.t.Doubts = append(r.t.Doubts, fmt.Sprintf(format, args...))
}

func (r *reading) partition(p Place) *Counts {
	if r.t.Partitions[p] == nil {
		r.t.Partitions[p] = &Counts{}
	}
	return r.t.Partitions[p]
}

// destination reads one destination partition, in order.
func (r *reading) destination(d *Destination) {
	c := r.partition(d.Place)
	anomalies := map[string][]int64{}
	r.t.Anomalies[d.Place] = anomalies
	// A later record of a stream may have come over another partition: between
	// partitions there is no order, so first arrivals, replays and reorders are
	// those within this one.
	first := map[StreamID]sequences{}
	highest := map[StreamID]uint64{}
	replay := uint64(0)
	lastFirst := int64(0)
	r.epochs[d.Place] = map[int32]int64{}
	for i := range d.Records {
		rec := &d.Records[i]
		r.epochs[d.Place][rec.Epoch] = rec.Offset
		id, kind := parse(rec, d.Topic, r.in.Test)
		switch kind {
		case foreign:
			c.Foreign++
			continue
		case corrupt:
			c.Corrupt++
			anomalies["corrupt"] = append(anomalies["corrupt"], rec.Offset)
			continue
		case malformed:
			c.Malformed++
			anomalies["malformed"] = append(anomalies["malformed"], rec.Offset)
			continue
		}
		stream := id.stream(d.Topic)
		if r.copies[stream] == nil {
			r.copies[stream] = map[uint64]uint64{}
		}
		r.copies[stream][id.sequence]++
		if id.partition != d.Partition {
			c.Misplaced++
			anomalies["misplaced"] = append(anomalies["misplaced"], rec.Offset)
		}
		if first[stream][id.sequence] {
			anomalies["duplicate"] = append(anomalies["duplicate"], rec.Offset)
			if replay == 0 {
				c.Replays++
			}
			replay++
			c.LongestReplay = max(c.LongestReplay, replay)
			continue
		}
		replay = 0
		if len(first[stream]) > 0 && id.sequence < highest[stream] {
			c.Reordered++
			anomalies["reordered"] = append(anomalies["reordered"], rec.Offset)
		}
		put(first, stream, id.sequence)
		highest[stream] = max(highest[stream], id.sequence)
		if since := max(lastFirst, id.intended); rec.Timestamp-since >= 1_000_000 {
			r.t.Outages[d.Place] = append(r.t.Outages[d.Place], Outage{since, rec.Timestamp})
		}
		lastFirst = rec.Timestamp
	}
}

// former reads a log that is not the one that is there now, or an earlier
// reading of that: then a record of the same epoch lies where it ended or behind.
func (r *reading) former(d *Destination) {
	if len(d.Records) == 0 {
		return
	}
	last := &d.Records[len(d.Records)-1]
	end, ok := r.epochs[d.Place][last.Epoch]
	replaced := d.Replaced || !ok || end < last.Offset
	for i := range d.Records {
		id, kind := parse(&d.Records[i], d.Topic, r.in.Test)
		if kind != ours {
			continue
		}
		put(r.once, id.stream(d.Topic), id.sequence)
		if replaced {
			put(r.vanished, id.stream(d.Topic), id.sequence)
		}
	}
}

// noticed takes in what had arrived at some time, though nothing that was read
// may tell of it any more.
func (r *reading) noticed(id StreamID, all []Overtaken) {
	for _, x := range all {
		put(r.once, id, x.Highest)
		if r.copies[id][x.Highest] == 0 {
			put(r.vanished, id, x.Highest)
		}
	}
}

// readSource reads a source partition.
func (r *reading) readSource(s *Source) {
	if s.To < s.End {
		return // what was not read cannot be told from what is not there
	}
	r.source[s.Place] = s
	r.passed[s.Place] = -1
	for i := range s.Records {
		rec := &s.Records[i]
		id, kind := parse(rec, s.Topic, r.in.Test)
		if kind != ours || id.partition != s.Partition {
			continue
		}
		stream := id.stream(s.Topic)
		if r.inSource[stream] == nil {
			r.inSource[stream] = map[uint64][]int64{}
		}
		r.inSource[stream][id.sequence] = append(r.inSource[stream][id.sequence], rec.Offset)
		if r.copies[stream][id.sequence] > 0 || r.once[stream][id.sequence] {
			r.passed[s.Place] = rec.Offset
		}
	}
}

// stream decides on every sequence that was reserved.
func (r *reading) stream(l *Life, s *Stream) {
	id := s.id(l.Run)
	place := Place{s.Topic, s.Partition}
	c := &Counts{Acked: uint64(len(s.Acked)), Failed: uint64(len(s.Failed))}
	r.t.Streams[id] = c
	fates := map[uint64]Fate{}
	r.t.Fates[id] = fates
	reserved := sequences{}
	for n := range s.Reserved {
		reserved[n] = true
	}
	if s.Control != nil {
		reserved[*s.Control] = true
	}

	var highest uint64 // of those that have ever arrived
	for n, copies := range r.copies[id] {
		c.Received++
		c.Arrivals += copies
		c.Duplicates += copies - 1
		if !reserved[n] {
			c.Phantom++
			if r.t.Phantoms[id] == nil {
				r.t.Phantoms[id] = map[uint64]bool{}
			}
			r.t.Phantoms[id][n] = true
			continue
		}
		if s.Control == nil || n != *s.Control {
			highest = max(highest, n)
		}
	}
	for n := range r.once[id] {
		if reserved[n] && (s.Control == nil || n != *s.Control) {
			highest = max(highest, n)
		}
	}

	acked, failed, found, notThere := sequences{}, sequences{}, sequences{}, sequences{}
	for _, x := range []struct {
		to   sequences
		from []uint64
	}{{acked, s.Acked}, {failed, s.Failed}, {found, s.Found}, {notThere, s.NotThere}} {
		for _, n := range x.from {
			x.to[n] = true
		}
	}
	unread := r.unread(l, s)
	for n := range reserved {
		control := s.Control != nil && *s.Control == n
		arrived := r.copies[id][n] > 0
		inSource := r.inSource[id][n]
		switch {
		case control:
			fates[n] = Fate{Word: "control"}
			continue
		case arrived:
			c.Expected++
			continue
		case acked[n] || found[n] || len(inSource) > 0 || r.once[id][n]:
			c.Expected++
		case failed[n]:
			fates[n] = Fate{Word: "failed"}
			continue
		case l.State == Running:
			continue // its outcome is on its way
		case r.absent(l, s, n):
			c.Unsent++
			fates[n] = Fate{Word: "unsent"}
			continue
		default:
			c.Indeterminate++
			fates[n] = Fate{Word: "indeterminate", By: byTester}
			continue
		}

		// The source holds it or held it, and the destination does not.
		r.t.Missing[place]++
		if !r.in.Final || l.State == Running {
			c.Pending++
		}
		if !r.in.Final {
			fates[n] = Fate{Word: "pending"}
			if n < highest {
				c.Skipped++
				fates[n] = Fate{Word: "skipped"}
			}
			continue
		}
		var f Fate
		_, read := r.source[place]
		switch {
		case unread:
			f = Fate{"unobserved", byTester}
		case r.once[id][n]:
			f = Fate{"destination-lost", byDestination}
		case !read && n >= highest:
			f = Fate{"undelivered", byUnknown}
		case len(inSource) > 0 && slices.Max(inSource) > r.passed[place]:
			f = Fate{"undelivered", byReplicator}
		case len(inSource) > 0:
			f = Fate{"lost", byReplicator}
		case notThere[n]:
			f = Fate{"lost", bySource}
		case found[n] && l.Ordered:
			f = Fate{"lost", byReplicator} // it was there, and later ones had arrived already
		case !read:
			f = Fate{"lost", byUnknown}
		default:
			f = Fate{"lost", r.who(l, s, n)}
		}
		fates[n] = f
		switch f.Word {
		case "unobserved":
			c.Unobserved++
		case "destination-lost":
			c.DestinationLost++
		case "lost":
			c.Lost++
		case "undelivered":
			c.Undelivered++
		}
	}
}

// unread says whether records of the stream may lie at the destination where
// nobody read: on any partition, since it may have been misplaced.
func (r *reading) unread(l *Life, s *Stream) bool {
	home := false
	for i := range r.in.Destination {
		d := &r.in.Destination[i]
		if d.Topic != s.Topic {
			continue
		}
		home = home || d.Partition == s.Partition
		for _, u := range d.Unread {
			if u.From < u.To && !r.before(l, u) {
				return true
			}
		}
	}
	return !home
}

// before says whether what nobody read was there before the life began.
func (r *reading) before(l *Life, u Unread) bool {
	return u.Before != 0 && l.Started > u.Before+r.in.ClockBound
}

// bounds returns the lowest and the highest offset at which the sequence can
// be or have been.
func (r *reading) bounds(l *Life, s *Stream, n uint64) (lowest, highest int64) {
	lowest, highest = s.Base, math.MaxInt64
	cut := int64(math.MaxInt64)
	if log := r.source[Place{s.Topic, s.Partition}]; log != nil && log.Cut != nil {
		cut = *log.Cut
	}
	if l.Ordered {
		for _, p := range s.Placed {
			switch {
			case p.Sequence == n:
				return p.Offset, p.Offset
			case p.Sequence < n:
				lowest = max(lowest, p.Offset+1)
			case p.Sequence > n:
				highest = min(highest, p.Offset)
				if p.Offset < cut { // else it may stand where this one stood
					highest = min(highest, p.Offset-1)
				}
			}
		}
	}
	return lowest, highest
}

// absent says whether the source log proves that the sequence is not in it and
// retention has not removed it.
func (r *reading) absent(l *Life, s *Stream, n uint64) bool {
	log := r.source[Place{s.Topic, s.Partition}]
	if log == nil {
		return false
	}
	if l.Ordered {
		for lower := range r.inSource[s.id(l.Run)] {
			if lower < n {
				return true // it would have to be behind
			}
		}
	}
	cut := int64(math.MaxInt64)
	if log.Cut != nil {
		cut = *log.Cut
	}
	if min(s.Base, cut) >= log.Start {
		return true
	}
	// A place of which retention has removed everything before, it included.
	for _, p := range s.Placed {
		if l.Ordered && p.Sequence <= n && p.Offset == log.Start-1 && p.Offset < cut {
			return p.Sequence < n
		}
	}
	return false
}

// who says who lost a record that the source does not hold any more.
func (r *reading) who(l *Life, s *Stream, n uint64) string {
	place := Place{s.Topic, s.Partition}
	log := r.source[place]
	if r.absent(l, s, n) {
		return bySource
	}
	lowest, highest := r.bounds(l, s, n)
	if log.Cut != nil && highest >= *log.Cut {
		return byUnknown
	}
	// When did retention take it, and when did something behind it arrive? Both
	// are known to lie between two times.
	takenAfter, takenBy := int64(math.MinInt64), int64(math.MaxInt64)
	for _, m := range log.Starts {
		if m.Offset > lowest {
			takenAfter = m.After
			break
		}
	}
	for _, m := range log.Starts {
		if m.Offset > highest {
			takenBy = m.At
			break
		}
	}
	passedAfter, passedBy := int64(math.MaxInt64), int64(math.MaxInt64)
	seen := map[*Stream]bool{}
	for id, all := range r.in.Strangers {
		for _, x := range all {
			if (Place{id.Topic, id.Partition}) == place {
				passedAfter = min(passedAfter, x.After) // wherever they lie
			}
		}
	}
	lives := map[uint64]bool{}
	for i := range r.in.Lives {
		other := &r.in.Lives[i]
		lives[other.Run] = true
		for j := range other.Streams {
			o := &other.Streams[j]
			if o.Topic != s.Topic || o.Partition != s.Partition {
				continue
			}
			for v := range r.vanished[o.id(other.Run)] {
				if v >= o.Reserved || o.Control != nil && v == *o.Control {
					continue // made up
				}
				_, to := r.bounds(other, o, v)
				if own := o.id(other.Run) == s.id(l.Run) && l.Ordered; own && v > n || !own && to > lowest {
					passedAfter = math.MinInt64
				}
			}
			for _, x := range o.Overtaken {
				from, to := r.bounds(other, o, x.Highest)
				perhaps, surely := to > lowest, from > highest
				if o.id(other.Run) == s.id(l.Run) && l.Ordered {
					perhaps, surely = x.Highest > n, x.Highest > n
				}
				if surely {
					passedBy = min(passedBy, x.At)
				}
				if perhaps && !seen[o] {
					seen[o] = true // of each stream the first one that was behind
					passedAfter = min(passedAfter, x.After)
				}
			}
		}
	}
	for id := range r.vanished {
		if (Place{id.Topic, id.Partition}) == place && !lives[id.Run] {
			passedAfter = math.MinInt64
		}
	}
	switch {
	case takenBy != math.MaxInt64 && takenBy <= passedAfter:
		return byRetention
	case passedBy != math.MaxInt64 && passedBy <= takenAfter:
		return byReplicator
	}
	return byUnknown
}

// unknownStreams deals with arrivals of streams that no book has, and returns
// how many phantoms are proven: those of lives whose book is there.
func (r *reading) unknownStreams(known map[StreamID]bool, runs map[uint64]bool) (sure uint64) {
	for id, copies := range r.copies {
		if known[id] {
			continue
		}
		c := &Counts{}
		r.t.Streams[id] = c
		r.t.Phantoms[id] = map[uint64]bool{}
		for n, times := range copies {
			r.t.Phantoms[id][n] = true
			c.Received++
			c.Phantom++
			c.Arrivals += times
			c.Duplicates += times - 1
		}
		if runs[id.Run] {
			sure += c.Phantom
		} else {
			r.doubt("life %016x has no book", id.Run)
		}
	}
	for id := range known {
		sure += r.t.Streams[id].Phantom
	}
	return sure
}

// sums adds up streams to partitions, topics and the total.
func (r *reading) sums() {
	for id, c := range r.t.Streams {
		r.partition(Place{id.Topic, id.Partition}).add(c)
	}
	for p, c := range r.t.Partitions {
		if r.t.Topics[p.Topic] == nil {
			r.t.Topics[p.Topic] = &Counts{}
		}
		r.t.Topics[p.Topic].add(c)
	}
	for topic, c := range r.t.Topics {
		// Each record that cannot be identified, and each offset that nobody read,
		// may be one of those that are missing.
		hidden := uint64(0)
		for i := range r.in.Destination {
			if r.in.Destination[i].Topic == topic {
				for _, u := range r.in.Destination[i].Unread {
					hidden += uint64(max(0, u.To-u.From))
				}
			}
		}
		n := c.Lost + c.Unobserved - min(c.Unobserved, hidden)
		c.LostAtLeast = n - min(n, c.Corrupt+c.Malformed)
		r.t.Total.add(c)
	}
}

// judge comes to the outcome.
func (r *reading) judge(sure uint64) {
	in, t := r.in, r.t
	ids := map[string]bool{}
	for i := range in.Lives {
		ids[in.Lives[i].Producer] = true
	}
	if len(ids) < in.Producers {
		r.doubt("%d producers were expected, %d have a book", in.Producers, len(ids))
	}
	for _, topic := range in.Topics {
		if t.Topics[topic] == nil || t.Topics[topic].Expected == 0 {
			r.doubt("nothing was sent to %s", topic)
		}
	}
	if in.Final {
		if t.Total.Indeterminate > 0 {
			r.doubt("%d outcomes are not known", t.Total.Indeterminate)
		}
		for i := range in.Lives {
			for j := range in.Lives[i].Streams {
				if r.unread(&in.Lives[i], &in.Lives[i].Streams[j]) {
					r.doubt("%s was not read completely", in.Lives[i].Streams[j].Topic)
				}
			}
		}
	}
	limits := map[string]uint64{"lost": 0, "undelivered": 0, "destination_lost": 0, "reordered": 0, "corrupt": 0, "misplaced": 0, "phantom": 0}
	for name, n := range in.Limits {
		limits[name] = n
	}
	for name, limit := range limits {
		value, _ := t.Total.Get(name)
		switch {
		case name == "phantom" && sure <= limit:
			value = min(value, limit) // the rest may be of books that were lost
		case name == "lost" && t.Total.LostAtLeast > limit:
			value = t.Total.LostAtLeast
		case name == "lost" && limit > 0 && value > limit:
			r.doubt("%d to %d are lost", t.Total.LostAtLeast, value)
			value = limit
		}
		if value > limit {
			t.Exceeded[name] = true
		}
	}
	switch {
	case !t.Control:
		t.Outcome = "cannot say"
	case len(t.Exceeded) > 0:
		t.Outcome = "broken"
	case len(t.Doubts) > 0:
		t.Outcome = "cannot say"
	default:
		t.Outcome = "holds"
	}
}
