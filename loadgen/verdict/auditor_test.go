package verdict_test

import (
	"encoding/json"
	"math"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/oracle"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// auditor plays the auditor: what it knows, and how it comes to know it.
type auditor struct {
	starts  map[place][]verdict.LogStart
	asked   map[place]int64 // when the log start was asked for the last time
	samples map[ledger.Stream][]ledger.Sample
	notices map[ledger.Stream][]verdict.Notice
	polls   map[*topic][]poll
	covered map[*topic]int64 // up to when the states of the look before this one hold all that had arrived
	found   map[ledger.Stream]map[uint64]bool
	absent  map[ledger.Stream]map[uint64]bool
	newest  bool // of samples: those that a cut contradicts are dropped, not kept
}

// poll is one answer to how far the destination's logs reach.
type poll struct {
	at   int64
	id   [16]byte
	ends []int64
}

func newAuditor(w *world) *auditor {
	return &auditor{
		starts: map[place][]verdict.LogStart{}, asked: map[place]int64{}, samples: map[ledger.Stream][]ledger.Sample{},
		notices: map[ledger.Stream][]verdict.Notice{}, polls: map[*topic][]poll{}, covered: map[*topic]int64{},
		found: map[ledger.Stream]map[uint64]bool{}, absent: map[ledger.Stream]map[uint64]bool{}, newest: w.chance(0.5),
	}
}

// look is what one look at everything yields.
type look struct {
	polls  map[*topic]poll
	best   map[place]*entry
	states []*ledger.Received
	former []*ledger.Received
	gone   []*entry // those that former was made of
	lives  []*life
	sent   []*ledger.Sent
	ever   map[ledger.Stream]map[uint64]bool // all that was ever read
}

// identify reads a record as the consumer does.
func (w *world) identify(rec *kgo.Record, t *topic) (ledger.Stream, message.Identity, bool) {
	var id message.Identity
	if w.dec.Decode(rec, t.name, &id) != message.OK {
		return ledger.Stream{}, id, false
	}
	return ledger.Stream{Run: id.Run, Topic: t.name, Epoch: id.Epoch, Partition: id.Partition}, id, true
}

func mark(m map[ledger.Stream]map[uint64]bool, key ledger.Stream, sequence uint64) {
	if m[key] == nil {
		m[key] = map[uint64]bool{}
	}
	m[key][sequence] = true
}

// look looks in the order that lets every arrival find its reservation; the
// world goes on meanwhile.
func (w *world) look() *look {
	v := &look{polls: map[*topic]poll{}, best: map[place]*entry{}, ever: map[ledger.Stream]map[uint64]bool{}}
	meanwhile := func() {
		for range w.r.IntN(4) {
			w.act()
		}
	}
	for _, t := range w.topics {
		p := poll{at: w.now, id: t.dst.id}
		for _, l := range t.dst.logs {
			p.ends = append(p.ends, l.end)
		}
		v.polls[t] = p
		w.aud.polls[t] = append(w.aud.polls[t], p)
	}
	meanwhile()
	keys := make([]entryKey, 0, len(w.ledger))
	for k := range w.ledger {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b entryKey) int {
		if a.place != b.place {
			return slices.Compare([]byte(a.String()), []byte(b.String()))
		}
		return a.writer - b.writer
	})
	current := map[place][]*entry{}
	for _, k := range keys {
		e := w.ledger[k]
		t := k.place.topic
		// A state from before the log was cut is of the past, though nobody has
		// rolled it back yet.
		if k.id == t.dst.id && e.has.next <= t.dst.logs[k.partition].endOf(e.has.epoch) {
			current[k.place] = append(current[k.place], e)
		} else {
			v.gone = append(v.gone, e)
		}
	}
	for _, t := range w.topics {
		for p := range t.dst.logs {
			at := place{t, int32(p)}
			if len(current[at]) == 0 {
				continue
			}
			e, st := w.best(current[at])
			if e == nil {
				continue
			}
			v.best[at] = e
			v.states = append(v.states, st)
			for _, x := range current[at] {
				if x != e {
					v.gone = append(v.gone, x)
				}
			}
		}
	}
	for _, e := range v.gone {
		r, err := ledger.Restore(e.data)
		if err != nil {
			w.problem("restore the state of %v: %v", e.key.place, err)
			continue
		}
		v.former = append(v.former, r)
	}
	note := func(to map[ledger.Stream]map[uint64]bool, t *topic, recs []*dstRecord) {
		for _, x := range recs {
			if x.is == nil {
				key, id, ok := w.identify(x.rec, t)
				x.is = &readAs{key, id.Sequence, ok}
			}
			if x.is.ok {
				mark(to, x.is.key, x.is.sequence)
			}
		}
	}
	for at, e := range v.best {
		note(v.ever, at.topic, e.has.read)
		note(v.ever, at.topic, e.has.gone)
	}
	for _, e := range v.gone {
		note(v.ever, e.key.topic, e.has.read)
		note(v.ever, e.key.topic, e.has.gone)
	}
	meanwhile()
	for _, l := range w.lives {
		if l.lost || l.data == nil {
			continue
		}
		var s ledger.Sent
		if err := ledger.Decode(l.data, &s); err != nil {
			w.problem("read the ledger of life %016x: %v", l.sent.Run, err)
			continue
		}
		v.lives, v.sent = append(v.lives, l), append(v.sent, &s)
		for _, st := range s.Streams {
			if st.Last != nil {
				w.aud.sample(st.Stream, *st.Last)
			}
		}
	}
	w.notice(v)
	return v
}

func (a *auditor) sample(key ledger.Stream, x ledger.Sample) {
	all := a.samples[key]
	if n := len(all); n > 0 && (all[n-1].Sequence >= x.Sequence || all[n-1].Offset >= x.Offset && !a.newest) {
		return
	}
	a.samples[key] = append(slices.Clip(all), x)
}

// highest is how far the stream has come; what is made up does not count.
func (v *look) highest(key ledger.Stream, seen map[uint64]bool) (highest uint64, any bool) {
	limit, control := uint64(math.MaxUint64), uint64(math.MaxUint64)
	for _, s := range v.sent {
		if s.Run != key.Run {
			continue
		}
		limit = 0 // a known life never had the stream, unless it is among its streams
		for _, st := range s.Streams {
			if st.Stream != key {
				continue
			}
			limit = st.Reserved
			if s.Closed {
				limit = st.Next
			}
			if st.Control != nil {
				control = *st.Control
			}
		}
	}
	for n := range seen {
		if n < limit && n != control {
			highest, any = max(highest, n), true
		}
	}
	return highest, any
}

// notice notes how far each stream has come.
func (w *world) notice(v *look) {
	for _, t := range w.topics {
		for key, seen := range v.ever {
			if key.Topic != t.name {
				continue
			}
			highest, any := v.highest(key, seen)
			last := w.aud.notices[key]
			if !any || len(last) > 0 && last[len(last)-1].Below >= highest {
				continue
			}
			after, ok := w.aud.covered[t]
			if !ok {
				after = math.MinInt64
			}
			w.aud.notices[key] = append(slices.Clip(last), verdict.Notice{Below: highest, After: after, At: w.now})
		}
	polls:
		for _, p := range w.aud.polls[t] {
			for i, end := range p.ends {
				e := v.best[place{t, int32(i)}]
				switch {
				case e == nil && end > 0, e != nil && (e.has.next < end || e.has.start > 0 || len(e.has.unread) > 0):
					continue polls
				}
			}
			w.aud.covered[t] = max(p.at, w.aud.covered[t])
		}
	}
}

// sampleStarts asks for the starts of source logs.
func (w *world) sampleStarts(all bool) {
	for _, t := range w.topics {
		for _, l := range t.source {
			if !all && w.chance(0.3) {
				continue
			}
			after, ok := w.aud.asked[l.place]
			if !ok {
				after = []int64{0, math.MinInt64}[w.r.IntN(2)]
			}
			starts := w.aud.starts[l.place]
			if n := len(starts); n == 0 && l.start > 0 || n > 0 && starts[n-1].Offset < l.start || w.chance(0.1) {
				w.aud.starts[l.place] = append(slices.Clip(starts), verdict.LogStart{After: after, At: w.now, Offset: l.start})
			}
			w.aud.asked[l.place] = w.now
		}
	}
}

// lookUp looks for what was skipped in the source logs as they are now.
func (w *world) lookUp(v *look) {
	for i, s := range v.sent {
		for _, st := range v.lives[i].streams {
			key := st.st.Stream
			if st.stored.version == 0 || w.chance(0.3) {
				continue
			}
			highest, _ := v.highest(key, v.ever[key])
			lowest, any := uint64(0), false
			present := map[uint64]bool{}
			for _, x := range st.log.live {
				if x.send != nil && x.send.stream == st {
					if !any || x.send.sequence < lowest {
						lowest, any = x.send.sequence, true
					}
					present[x.send.sequence] = true
				}
			}
			for n := range highest {
				x := st.sends[n]
				if x == nil || x.ackedIn == 0 || x.ackedIn > v.lives[i].version || v.ever[key][n] {
					continue
				}
				switch {
				case present[n]:
					mark(w.aud.found, key, n)
				case s.Ordered && any && lowest < n, st.st.Base >= st.log.start && (st.log.cut == nil || *st.log.cut >= st.log.start):
					mark(w.aud.absent, key, n)
				}
			}
		}
	}
}

// input puts the evidence together, once for the verdict and once for the
// oracle.
func (w *world) input(v *look, final bool, dead map[uint64]bool) (*verdict.Input, *oracle.Input) {
	in := &verdict.Input{
		Test: w.test, Now: w.now, Final: final, Manifest: verdict.Manifest{Topics: map[string]int32{}},
		Sent: v.sent, Dead: dead, Received: v.states, Former: v.former,
		Destination: map[verdict.TopicPartition]verdict.Bounds{}, Source: map[verdict.TopicPartition]*verdict.SourceLog{},
		Samples: map[ledger.Stream][]ledger.Sample{}, LookedUp: map[ledger.Stream]*verdict.Lookup{}, Noticed: map[ledger.Stream][]verdict.Notice{},
		ClockBound: clockBound,
	}
	truth := &oracle.Input{Test: w.test, Final: final, ClockBound: clockBound, Limits: map[string]uint64{}}
	in.Manifest.Producers = len(w.producers)
	if w.chance(w.c.producerMissing) {
		in.Manifest.Producers++
	} else {
		ids := map[string]bool{}
		for _, s := range v.sent {
			ids[s.Producer] = true
		}
		if w.chance(0.9) {
			in.Manifest.Producers = min(in.Manifest.Producers, len(ids))
		}
	}
	truth.Producers = in.Manifest.Producers
	in.Expectations = verdict.Defaults()
	if w.c.limit > 0 {
		var given []verdict.Expectation
		for _, q := range []string{"lost", "undelivered", "duplicates", "reordered", "corrupt", "malformed", "foreign", "misplaced", "replays", "longest_replay"} {
			if n := w.r.Uint64N(8); w.chance(0.3) {
				given = append(given, verdict.Expectation{Quantity: q, Op: "<=", Limit: float64(n)})
				truth.Limits[q] = n
			}
		}
		in.Expectations = verdict.Merge(given)
	}

	for i, s := range v.sent {
		truth.Lives = append(truth.Lives, w.book(v.lives[i], s, dead[s.Run]))
	}
	for key, x := range w.aud.samples {
		in.Samples[key] = x
	}
	truth.Strangers = map[oracle.StreamID][]oracle.Overtaken{}
	for key, x := range w.aud.notices {
		in.Noticed[key] = x
		if !slices.ContainsFunc(v.sent, func(s *ledger.Sent) bool { return s.Run == key.Run }) {
			truth.Strangers[oracle.StreamID{Topic: key.Topic, Partition: key.Partition, Run: key.Run, Epoch: key.Epoch}] = overtaken(x)
		}
	}
	for _, kinds := range []map[ledger.Stream]map[uint64]bool{w.aud.found, w.aud.absent} {
		for key, sequences := range kinds {
			if in.LookedUp[key] == nil {
				in.LookedUp[key] = &verdict.Lookup{}
			}
			for n := range sequences {
				if w.aud.found[key][n] {
					in.LookedUp[key].Present.Add(n)
				} else {
					in.LookedUp[key].Absent.Add(n)
				}
			}
		}
	}

	for _, t := range w.topics {
		in.Manifest.Topics[t.name] = int32(len(t.source))
		truth.Topics = append(truth.Topics, t.name)
		p := v.polls[t]
		for i := range max(len(t.source), len(t.dst.logs)) {
			at := place{t, int32(i)}
			key := verdict.TopicPartition{Topic: t.name, Partition: int32(i)}
			d := oracle.Destination{Place: oracle.Place{Topic: t.name, Partition: int32(i)}}
			e := v.best[at]
			next := int64(0)
			if e != nil {
				next = e.has.next
				d.Records = w.records(e.has.read)
				if e.has.start > 0 {
					d.Unread = append(d.Unread, oracle.Unread{To: e.has.start, Before: e.has.started})
				}
				for _, u := range e.has.unread {
					d.Unread = append(d.Unread, oracle.Unread{From: u[0], To: u[1]})
				}
			}
			switch {
			case i >= len(p.ends) || p.id != t.dst.id:
				// It was not there when the ends were asked for, or it is another topic
				// by now: that no record is there is known only of the former.
				if i >= len(p.ends) {
					in.Destination[key] = verdict.Bounds{}
				} else if e == nil {
					d.Unread = append(d.Unread, oracle.Unread{To: unlimited})
				} else {
					in.Destination[key] = verdict.Bounds{End: next}
				}
			case e != nil && final && w.chance(w.c.noBounds):
				d.Unread = append(d.Unread, oracle.Unread{From: next, To: next + unlimited})
			default:
				in.Destination[key] = verdict.Bounds{End: p.ends[i]}
				if next < p.ends[i] {
					d.Unread = append(d.Unread, oracle.Unread{From: next, To: p.ends[i]})
				}
			}
			truth.Destination = append(truth.Destination, d)
			if e != nil && len(e.has.gone) > 0 {
				truth.Former = append(truth.Former, oracle.Destination{Place: d.Place, Records: w.records(e.has.gone), Replaced: true})
			}
		}
		for _, l := range t.source {
			in.Source[verdict.TopicPartition{Topic: t.name, Partition: l.partition}] = &verdict.SourceLog{
				Bounds: verdict.Bounds{Start: l.start, End: l.end}, Starts: w.aud.starts[l.place], Cut: l.cut,
			}
		}
	}
	for _, e := range v.gone {
		at := oracle.Place{Topic: e.key.topic.name, Partition: e.key.partition}
		truth.Former = append(truth.Former,
			oracle.Destination{Place: at, Records: w.records(e.has.read), Replaced: e.key.id != e.key.topic.dst.id},
			oracle.Destination{Place: at, Records: w.records(e.has.gone), Replaced: true})
	}
	return in, truth
}

const unlimited = int64(1) << 50

func overtaken(in []verdict.Notice) []oracle.Overtaken {
	out := make([]oracle.Overtaken, len(in))
	for i, x := range in {
		out[i] = oracle.Overtaken{Highest: x.Below, After: x.After, At: x.At}
	}
	return out
}

func (w *world) records(in []*dstRecord) []oracle.Record {
	out := make([]oracle.Record, len(in))
	for i, x := range in {
		out[i] = record(x.rec, x.offset, x.at)
		out[i].Epoch = x.epoch
	}
	return out
}

func record(rec *kgo.Record, offset, at int64) oracle.Record {
	r := oracle.Record{Offset: offset, Timestamp: at, Key: rec.Key, Value: rec.Value}
	for _, h := range rec.Headers {
		r.Headers = append(r.Headers, oracle.Header{Key: h.Key, Value: h.Value})
	}
	return r
}

// book is the producer's own book of a life, as far as it was stored.
func (w *world) book(l *life, s *ledger.Sent, dead bool) oracle.Life {
	out := oracle.Life{Producer: l.producer.id, Run: l.sent.Run, Started: l.sent.Started, State: oracle.Running, Ordered: l.producer.ordered,
		Scheduled: s.Scheduled, Shed: s.Shed}
	switch {
	case l.stored.Closed:
		out.State = oracle.Closed
	case dead:
		out.State = oracle.Dead
	}
	for _, st := range l.streams {
		if st.stored.version == 0 {
			continue
		}
		key := st.st.Stream
		b := oracle.Stream{Topic: key.Topic, Epoch: key.Epoch, Partition: key.Partition, Base: st.st.Base, Reserved: st.stored.reserved, Control: st.st.Control}
		if l.stored.Closed {
			b.Reserved = st.stored.next
		}
		for n, x := range st.sends {
			if x.ackedIn > 0 && x.ackedIn <= l.version {
				b.Acked = append(b.Acked, n)
			}
			if x.failedIn > 0 && x.failedIn <= l.version {
				b.Failed = append(b.Failed, n)
			}
		}
		for n := range w.aud.found[key] {
			b.Found = append(b.Found, n)
		}
		for n := range w.aud.absent[key] {
			if !w.aud.found[key][n] {
				b.NotThere = append(b.NotThere, n)
			}
		}
		for _, x := range w.aud.samples[key] {
			b.Placed = append(b.Placed, oracle.Placed{Sequence: x.Sequence, Offset: x.Offset})
		}
		b.Overtaken = overtaken(w.aud.notices[key])
		out.Streams = append(out.Streams, b)
	}
	return out
}

// scan reads a source log back from an offset.
func (w *world) scan(l *sourceLog, from int64, arrived map[ledger.Stream]*intervals.Set, short bool) *verdict.Scan {
	scan := verdict.NewScan(max(from, l.start))
	for _, x := range l.live {
		if x.offset < scan.From {
			continue
		}
		if short && w.chance(0.2) {
			return scan
		}
		if key, id, ok := w.identify(x.rec, l.topic); ok {
			set := arrived[key]
			scan.Observe(key, id.Sequence, x.offset, id.Intended, set != nil && set.Contains(id.Sequence))
		}
		scan.Reach(x.offset + 1)
	}
	if !short {
		scan.Reach(l.end)
	}
	return scan
}

// sourceFor is what the oracle gets of a source log.
func (w *world) sourceFor(l *sourceLog, from, to int64) oracle.Source {
	s := oracle.Source{Place: oracle.Place{Topic: l.topic.name, Partition: l.partition}, Start: max(from, l.start), End: l.end, To: to, Cut: l.cut}
	for _, x := range l.live {
		if x.offset >= s.Start && x.offset < to {
			s.Records = append(s.Records, record(x.rec, x.offset, 0))
		}
	}
	for _, x := range w.aud.starts[l.place] {
		s.Starts = append(s.Starts, oracle.Moved{After: x.After, At: x.At, Offset: x.Offset})
	}
	return s
}

// midRun computes a verdict while the test runs.
func (w *world) midRun(v *look) {
	dead := map[uint64]bool{}
	for _, l := range v.lives {
		if l.over && !l.stored.Closed && w.chance(0.5) {
			dead[l.sent.Run] = true
		}
	}
	in, truth := w.input(v, false, dead)
	if w.chance(0.4) {
		arrived := verdict.Arrived(in)
		for _, t := range w.topics {
			for _, l := range t.source {
				if w.chance(0.3) {
					continue
				}
				from := l.start
				if l.end > l.start {
					from += w.r.Int64N(l.end - l.start + 1)
				}
				scan := w.scan(l, from, arrived, w.chance(w.c.shortScan))
				in.Source[verdict.TopicPartition{Topic: t.name, Partition: l.partition}].Scan = scan
				truth.Source = append(truth.Source, w.sourceFor(l, scan.From, scan.To))
			}
		}
	}
	w.check("mid-run", in, truth)
}

// conclude ends the test and computes the final verdict.
func (w *world) conclude() (*verdict.Verdict, *oracle.Truth, *look) {
	w.drained = true
	for _, p := range w.producers {
		if l := p.life; l != nil && !l.over {
			switch {
			case w.chance(w.c.stillRunning):
				w.log("life %016x goes on", l.sent.Run)
			case w.chance(w.c.producerCrash * 3):
				l.crash(w)
			default:
				l.close(w)
			}
		}
	}
	w.drain()
	w.sampleStarts(true)
	v := w.look()
	dead := map[uint64]bool{}
	for _, l := range v.lives {
		if l.over && !l.stored.Closed {
			dead[l.sent.Run] = true
		}
	}
	in, truth := w.input(v, true, dead)
	unread := map[verdict.TopicPartition]int{} // 1: not at all, 2: not completely
	for _, t := range w.topics {
		for _, l := range t.source {
			switch {
			case w.chance(w.c.noScan * 0.3):
				unread[verdict.TopicPartition{Topic: t.name, Partition: l.partition}] = 1
			case l.end > l.start && w.chance(w.c.shortScan*0.3):
				unread[verdict.TopicPartition{Topic: t.name, Partition: l.partition}] = 2
				truth.Source = append(truth.Source, w.sourceFor(l, l.start, l.end-1))
			default:
				truth.Source = append(truth.Source, w.sourceFor(l, l.start, l.end))
			}
		}
	}
	arrived := verdict.Arrived(in)
	for round := 0; ; round++ {
		due := 0
		need := verdict.ScanFrom(in)
		for _, t := range w.topics {
			for _, l := range t.source {
				tp := verdict.TopicPartition{Topic: t.name, Partition: l.partition}
				from, ok := need[tp]
				if !ok || unread[tp] == 1 || unread[tp] == 2 && round > 0 {
					continue
				}
				due++
				scan := w.scan(l, from, arrived, unread[tp] == 2)
				scan.To = min(scan.To, l.end-int64(unread[tp]/2))
				in.Source[tp].Scan = scan
			}
		}
		if due == 0 {
			break
		}
		if round > 2 {
			w.problem("the source log is to be read again and again")
			break
		}
	}
	out, t := w.check("final", in, truth)
	return out, t, v
}

// drain lets replicator and consumers come to an end.
func (w *world) drain() {
	w.drained = true
	for _, c := range w.consumers {
		c.paused = 0
		if c.zombie != 0 {
			c.zombie = w.step + w.r.IntN(20)
		}
	}
	for {
		busy := false
		for _, t := range w.topics {
			for _, l := range t.source {
				if !l.idle() {
					busy = true
					w.tick()
					w.replicate(l)
				}
			}
		}
		if !busy {
			break
		}
		if w.step > 200_000 {
			w.problem("the replicator comes to no end")
			break
		}
		w.act()
	}
	w.over = true
	for _, t := range w.topics {
		w.owners(t)
		for _, l := range t.dst.logs {
			c := w.owner[l.place]
			if w.lazy[l.place] {
				if s := c.states[l.place]; s != nil && s.id == l.id && !w.chance(w.c.noConsumer) {
					c.store(w, l.place, s)
				}
				continue
			}
			for {
				w.tick()
				if s := c.read(w, l.place); s.has.next >= l.end {
					c.store(w, l.place, s)
					break
				}
			}
		}
	}
}

// check computes the verdict and compares it with the truth.
func (w *world) check(when string, in *verdict.Input, truth *oracle.Input) (*verdict.Verdict, *oracle.Truth) {
	w.faults["verdict "+when]++
	v := verdict.Compute(in)
	data, err := json.Marshal(v)
	if err != nil {
		w.problem("%s: %v", when, err)
		return &v, nil
	}
	t, diffs := oracle.Check(truth, data)
	for _, d := range diffs {
		w.problem("%s at step %d: %s", when, w.step, d)
	}
	return &v, t
}
