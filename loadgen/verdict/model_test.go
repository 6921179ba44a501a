package verdict_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
)

// The model: producers, two clusters, a replicator, consumers and an auditor,
// in memory and on a clock of its own, with everything that may go wrong.
// Records are really encoded and decoded, states really stored and restored;
// only Kafka is played.

// chances are how likely each fault is, per opportunity; 0 in most histories.
type chances struct {
	// The replicator.
	drop, duplicate, replay, reorder, corrupt, misplace, stall, phantom, foreign, junk float64
	// The clusters.
	sourceRetention, sourceCut, sourceOther                         float64
	retention, cut, election, recreate, markers                     float64
	producerCrash, sendFails, sendLost, ackLost, twice              float64
	consumerCrash, pause, rebalance, snapshot, checkpoint           float64
	unordered, acks0, lostLedger, noScan, shortScan, lazy, noBounds float64
	noConsumer, stillRunning, producerMissing, growth, limit        float64
}

func drawChances(r *rand.Rand) chances {
	c := chances{snapshot: 0.02 + 0.1*r.Float64(), checkpoint: r.Float64()}
	level := []float64{0, 0.05, 0.12, 0.3}[r.IntN(4)]
	draw := func(p *float64, most float64) {
		if r.Float64() < level {
			*p = most * r.Float64()
		}
	}
	for _, p := range []*float64{&c.drop, &c.duplicate, &c.reorder, &c.corrupt, &c.misplace} {
		draw(p, 0.15)
	}
	for _, p := range []*float64{&c.replay, &c.phantom, &c.foreign, &c.junk, &c.sourceOther, &c.markers} {
		draw(p, 0.05)
	}
	for _, p := range []*float64{&c.sendFails, &c.sendLost, &c.ackLost, &c.twice} {
		draw(p, 0.1)
	}
	draw(&c.stall, 0.01)
	for _, p := range []*float64{&c.sourceRetention, &c.sourceCut, &c.retention, &c.cut, &c.election, &c.pause, &c.consumerCrash, &c.rebalance} {
		draw(p, 0.06)
	}
	draw(&c.recreate, 0.008)
	draw(&c.producerCrash, 0.1)
	// Some troubles show only together.
	switch r.IntN(12) {
	case 0:
		c.sourceRetention, c.drop = 0.03+0.05*r.Float64(), 0.1*r.Float64()
		if r.IntN(4) > 0 {
			c.sourceCut = 0.05 + 0.15*r.Float64()
		}
	case 1:
		c.cut, c.pause, c.consumerCrash = 0.02+0.05*r.Float64(), 0.05*r.Float64(), 0.05*r.Float64()
	case 2:
		c.sourceRetention, c.cut, c.snapshot = 0.04+0.06*r.Float64(), 0.05+0.1*r.Float64(), 0.3
		c.replay, c.pause, c.rebalance = 0.05*r.Float64(), 0.05*r.Float64(), 0.05*r.Float64()
	case 3:
		c.producerCrash, c.noScan = 0.1*r.Float64(), 0.5
	}
	// These are drawn once in a history or once for each partition.
	for _, p := range []*float64{&c.unordered, &c.acks0, &c.noScan, &c.shortScan, &c.lazy, &c.noBounds, &c.noConsumer} {
		draw(p, 0.5)
	}
	for _, p := range []*float64{&c.lostLedger, &c.stillRunning, &c.producerMissing} {
		draw(p, 0.2)
	}
	if r.Float64() < 0.25 {
		c.growth = 1
	}
	if r.Float64() < 0.3 {
		c.limit = 1
	}
	return c
}

// place names a partition of a topic, at either side.
type place struct {
	topic     *topic
	partition int32
}

func (p place) String() string { return fmt.Sprintf("%s/%d", p.topic.name, p.partition) }

// topic is a topic at both sides.
type topic struct {
	name    string
	source  []*sourceLog
	dst     *dstTopic
	growAt  int // step in which the source grows; 0: never
	follow  int // step in which the destination does; 0: never
	onNone  int // what the replicator does when the destination lacks the partition: 0 waits, 1 drops, 2 misplaces
	encoder [2]*message.Encoder
}

// sourceRecord is one record in a source log.
type sourceRecord struct {
	offset  int64
	order   int // of appending, in the partition
	rec     *kgo.Record
	send    *send // nil: not of this test
	takenAt int64 // by retention; 0: not
	cutAt   int64 // by a truncation; 0: not
	copies  []*dstRecord
}

type sourceLog struct {
	place
	start, end int64
	all        []*sourceRecord // ever appended, in order
	live       []*sourceRecord
	cut        *int64 // lowest truncation

	// The replicator's reader of this partition.
	position int64
	held     []heldRecord
	stalled  bool
}

type heldRecord struct {
	due int
	src *sourceRecord
	to  int32
}

func (l *sourceLog) append(rec *kgo.Record, s *send) {
	x := &sourceRecord{offset: l.end, order: len(l.all), rec: rec, send: s}
	l.end++
	l.all = append(l.all, x)
	l.live = append(l.live, x)
	if s != nil {
		s.copies = append(s.copies, x)
	}
}

// retain moves the log start.
func (l *sourceLog) retain(start, now int64) {
	l.start = start
	for len(l.live) > 0 && l.live[0].offset < start {
		l.live[0].takenAt = now
		l.live = l.live[1:]
	}
}

// truncate cuts the log back.
func (l *sourceLog) truncate(end, now int64) {
	for n := len(l.live); n > 0 && l.live[n-1].offset >= end; n-- {
		l.live[n-1].cutAt = now
		l.live = l.live[:n-1]
	}
	l.end = end
	if l.cut == nil || end < *l.cut {
		l.cut = &end
	}
}

// dstTopic is one life of the destination's topic.
type dstTopic struct {
	id   [16]byte
	logs []*dstLog
}

// dstRecord is one record in a destination log.
type dstRecord struct {
	offset int64
	epoch  int32
	at     int64
	rec    *kgo.Record
	src    *sourceRecord // nil: made up by the replicator or not of this test
	intact bool          // as it was sent
	cut    bool
	told   bool // some stored state has it
	is     *readAs
}

// readAs is what the consumer makes of a record.
type readAs struct {
	key      ledger.Stream
	sequence uint64
	ok       bool
}

type epochStart struct {
	epoch int32
	start int64
}

type dstLog struct {
	place
	id         [16]byte
	start, end int64
	lineage    []*dstRecord // all that belongs to the log as it is, with what retention took
	epochs     []epochStart
}

func (l *dstLog) epoch() int32 { return l.epochs[len(l.epochs)-1].epoch }

func (l *dstLog) append(x *dstRecord) {
	x.offset, x.epoch = l.end, l.epoch()
	l.end++
	l.lineage = append(l.lineage, x)
	if x.src != nil && x.intact {
		x.src.copies = append(x.src.copies, x)
	}
}

func (l *dstLog) elect() { l.epochs = append(l.epochs, epochStart{l.epoch() + 1, l.end}) }

func (l *dstLog) truncate(end int64) {
	for n := len(l.lineage); n > 0 && l.lineage[n-1].offset >= end; n-- {
		l.lineage[n-1].cut = true
		l.lineage = l.lineage[: n-1 : n-1]
	}
	next := l.epoch() + 1
	for len(l.epochs) > 0 && l.epochs[len(l.epochs)-1].start >= end {
		l.epochs = l.epochs[:len(l.epochs)-1]
	}
	l.epochs = append(l.epochs, epochStart{next, end})
	l.end = end
}

// endOf is where the leader epoch ended, as a broker tells a consumer that
// asks whether its position is still good.
func (l *dstLog) endOf(epoch int32) int64 {
	for _, e := range l.epochs {
		if e.epoch > epoch {
			return e.start
		}
	}
	return l.end
}

// world is one history.
type world struct {
	seed uint64
	r    *rand.Rand
	c    chances
	now  int64
	step int
	test string
	dec  *message.Decoder

	topics    []*topic
	producers []*producer
	lives     []*life
	consumers []*consumer // alive, owners and zombies
	owner     map[place]*consumer
	ledger    map[entryKey]*entry
	lazy      map[place]bool // nobody reads it to its end
	born      int            // consumers so far
	writers   int            // of their states so far: a new one whenever a partition is taken over
	aud       *auditor
	drained   bool // the load has ended: nothing breaks any more
	over      bool // and the replicator has come to its end
	log       func(format string, args ...any)
	problems  []string
	faults    map[string]uint64 // how often each trouble struck
}

func (w *world) chance(p float64) bool { return p > 0 && w.r.Float64() < p }

func (w *world) problem(format string, args ...any) {
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

const testID = "histories"

func newWorld(seed uint64, filler *message.Filler, log func(string, ...any)) *world {
	r := rand.New(rand.NewPCG(seed, 0x5eed))
	w := &world{
		seed: seed, r: r, c: drawChances(r), now: 1_700_000_000_000_000 + r.Int64N(1_000_000), test: testID,
		dec:    message.NewDecoder(testID),
		faults: map[string]uint64{},
		owner:  map[place]*consumer{}, ledger: map[entryKey]*entry{}, lazy: map[place]bool{}, log: log,
	}
	w.aud = newAuditor(w)
	for i := range 1 + r.IntN(10)/8 {
		t := &topic{name: fmt.Sprintf("topic-%d", i), onNone: r.IntN(3)}
		t.encoder[0] = message.NewEncoder(message.FormatValue, t.name, filler)
		t.encoder[1] = message.NewEncoder(message.FormatHeaders, t.name, filler)
		n := 1 + r.IntN(4)
		w.growSource(t, n)
		w.makeDestination(t)
		lacking := 0
		if w.chance(0.05) {
			lacking = 1 + r.IntN(n) // perhaps the topic is not there at all
		}
		w.growDestination(t, n-lacking)
		if w.c.growth > 0 || lacking > 0 {
			t.growAt, t.follow = 1+r.IntN(150), 1+r.IntN(250)
			if w.c.growth == 0 {
				t.growAt = 0
			}
			if w.chance(0.3) {
				t.follow = 0
			}
		}
		w.topics = append(w.topics, t)
	}
	for i := range 1 + r.IntN(3) {
		p := &producer{id: fmt.Sprintf("p%d", i), lives: 1 + r.IntN(3), format: r.IntN(2)}
		p.acks0 = w.chance(w.c.acks0)
		p.ordered = !p.acks0 && !w.chance(w.c.unordered)
		w.producers = append(w.producers, p)
	}
	for range 1 + r.IntN(3) {
		w.addConsumer()
	}
	return w
}

func (w *world) growSource(t *topic, n int) {
	for len(t.source) < n {
		l := &sourceLog{place: place{t, int32(len(t.source))}}
		if w.chance(0.2) { // the topic has a past
			l.start = w.r.Int64N(50)
			l.end, l.position = l.start, l.start
		}
		t.source = append(t.source, l)
		if w.chance(w.c.lazy) {
			w.lazy[l.place] = true
		}
	}
}

func (w *world) makeDestination(t *topic) {
	t.dst = &dstTopic{}
	binary.BigEndian.PutUint64(t.dst.id[:], w.r.Uint64())
}

func (w *world) growDestination(t *topic, n int) {
	for len(t.dst.logs) < n {
		l := &dstLog{place: place{t, int32(len(t.dst.logs))}, id: t.dst.id, epochs: []epochStart{{0, 0}}}
		if w.chance(0.1) {
			l.end = w.r.Int64N(20)
			l.start = l.end
			l.elect()
		}
		t.dst.logs = append(t.dst.logs, l)
	}
}

// tick lets time pass.
func (w *world) tick() {
	w.step++
	w.now += 1 + w.r.Int64N(30_000)
	if w.chance(0.004) {
		w.now += w.r.Int64N(4_000_000)
	}
}

// act lets one of the parts, drawn at random, do something.
func (w *world) act() {
	w.tick()
	if w.over {
		return
	}
	for _, t := range w.topics {
		if t.growAt > 0 && w.step >= t.growAt {
			t.growAt = 0
			w.growSource(t, len(t.source)+1+w.r.IntN(2))
			w.log("%d source of %s has %d partitions", w.step, t.name, len(t.source))
		}
		if t.follow > 0 && w.step >= t.follow && (t.growAt == 0 || w.chance(0.5)) {
			t.follow = 0
			w.growDestination(t, len(t.source)+w.r.IntN(2))
			w.log("%d destination of %s has %d partitions", w.step, t.name, len(t.dst.logs))
		}
	}
	switch n := w.r.IntN(100); {
	case n < 40 && !w.drained:
		w.producers[w.r.IntN(len(w.producers))].act(w)
	case n < 65:
		t := w.topics[w.r.IntN(len(w.topics))]
		w.replicate(t.source[w.r.IntN(len(t.source))])
	case n < 95:
		w.consumers[w.r.IntN(len(w.consumers))].act(w)
	case !w.drained:
		w.disturb()
	}
}

// disturb lets a cluster do something.
func (w *world) disturb() {
	t := w.topics[w.r.IntN(len(w.topics))]
	if w.chance(w.c.sourceRetention * 5) {
		l := t.source[w.r.IntN(len(t.source))]
		if l.end > l.start {
			l.retain(l.start+1+w.r.Int64N(l.end-l.start), w.now)
			w.faults["source retention"]++
			w.log("%d source %v begins at %d", w.step, l.place, l.start)
		}
	}
	if w.chance(w.c.sourceCut) {
		l := t.source[w.r.IntN(len(t.source))]
		if l.end > l.start {
			l.truncate(l.end-1-w.r.Int64N(min(6, l.end-l.start)), w.now)
			w.faults["source truncated"]++
			w.log("%d source %v is cut to %d", w.step, l.place, l.end)
		}
	}
	if len(t.dst.logs) == 0 {
		return
	}
	l := t.dst.logs[w.r.IntN(len(t.dst.logs))]
	if w.chance(w.c.retention*2) && l.end > l.start {
		l.start += 1 + w.r.Int64N(l.end-l.start)
		w.faults["destination retention"]++
		w.log("%d destination %v begins at %d", w.step, l.place, l.start)
	}
	if w.chance(w.c.election * 3) {
		l.elect()
	}
	if w.chance(w.c.cut*2) && l.end > l.start {
		l.truncate(l.end - 1 - w.r.Int64N(min(12, l.end-l.start)))
		w.faults["destination truncated"]++
		w.log("%d destination %v is cut to %d", w.step, l.place, l.end)
	}
	if w.chance(w.c.recreate * 2) {
		n := len(t.dst.logs)
		for _, l := range t.dst.logs {
			for _, x := range l.lineage {
				x.cut = true
			}
		}
		w.makeDestination(t)
		w.growDestination(t, n)
		if w.chance(0.4) { // the replicator begins again
			for _, l := range t.source {
				l.position = l.start
			}
		}
		w.faults["destination made anew"]++
		w.log("%d destination of %s is made anew", w.step, t.name)
	}
}

// replicate lets the replicator do its work on one source partition.
func (w *world) replicate(l *sourceLog) {
	for i := 0; i < len(l.held); {
		if h := l.held[i]; h.due <= w.step {
			l.held = slices.Delete(l.held, i, i+1)
			w.write(h.src, h.to)
			continue
		}
		i++
	}
	if l.stalled {
		return
	}
	for range 1 + w.r.IntN(8) {
		if l.position < l.start {
			l.position = l.start
		}
		if l.position > l.end {
			if w.chance(0.5) {
				return // waits until the log is as long again
			}
			l.position = l.end
		}
		i, _ := slices.BinarySearchFunc(l.live, l.position, func(x *sourceRecord, o int64) int { return int(x.offset - o) })
		if i == len(l.live) {
			l.position = l.end
			return
		}
		src := l.live[i]
		to := l.partition
		if int(to) >= len(l.topic.dst.logs) {
			if l.topic.onNone == 0 || len(l.topic.dst.logs) == 0 {
				return
			}
			if l.topic.onNone == 1 {
				l.position = src.offset + 1
				continue
			}
			to %= int32(len(l.topic.dst.logs))
		}
		l.position = src.offset + 1
		if w.chance(w.c.misplace) {
			to = int32(w.r.IntN(len(l.topic.dst.logs)))
		}
		switch {
		case w.chance(w.c.drop):
			continue
		case w.chance(w.c.reorder):
			l.held = append(l.held, heldRecord{w.step + w.r.IntN(30), src, to})
			continue
		case w.chance(w.c.corrupt):
			w.writeRaw(l.topic, to, w.tamper(src.rec))
		default:
			w.write(src, to)
		}
		if w.chance(w.c.duplicate) {
			for range 1 + w.r.IntN(3) {
				w.write(src, to)
			}
		}
		if w.chance(w.c.replay) {
			l.position = max(l.start, l.position-1-w.r.Int64N(20))
		}
		if w.chance(w.c.stall) {
			l.stalled, l.held = true, nil
			w.faults["replicator stalled"]++
			w.log("%d the replicator stalls on %v at %d", w.step, l.place, l.position)
			return
		}
		w.makeUp(l.topic)
	}
}

// idle says whether the replicator has nothing left to do on the partition.
func (l *sourceLog) idle() bool {
	if len(l.held) > 0 {
		return false
	}
	if l.stalled || l.position >= l.end {
		return true
	}
	return int(l.partition) >= len(l.topic.dst.logs) && (l.topic.onNone == 0 || len(l.topic.dst.logs) == 0)
}

// write writes a record as it was read.
func (w *world) write(src *sourceRecord, to int32) {
	logs := src2logs(src, w)
	if int(to) >= len(logs) {
		return // the topic was made anew with fewer partitions meanwhile
	}
	rec := src.rec
	if w.chance(0.02) { // headers of the replicator's own are allowed
		clone := *rec
		clone.Headers = append(slices.Clone(rec.Headers), kgo.RecordHeader{Key: "replicated-by", Value: []byte("model")})
		rec = &clone
	}
	logs[to].append(&dstRecord{at: w.now, rec: rec, src: src, intact: true})
	if w.chance(w.c.markers) {
		logs[to].end++
	}
}

func src2logs(src *sourceRecord, w *world) []*dstLog {
	for _, t := range w.topics {
		if t.name == src.rec.Topic {
			return t.dst.logs
		}
	}
	return nil
}

// writeRaw writes what was never sent like that.
func (w *world) writeRaw(t *topic, to int32, rec *kgo.Record) {
	if int(to) < len(t.dst.logs) {
		t.dst.logs[to].append(&dstRecord{at: w.now, rec: rec})
	}
}

// makeUp writes records of other origin to the destination.
func (w *world) makeUp(t *topic) {
	if w.chance(w.c.foreign) {
		w.writeRaw(t, w.anyPartition(t), w.foreignRecord(t))
	}
	if w.chance(w.c.junk) {
		w.writeRaw(t, w.anyPartition(t), w.junk(t))
	}
	if w.chance(w.c.phantom) {
		w.phantom(t)
	}
}

func (w *world) anyPartition(t *topic) int32 { return int32(w.r.IntN(max(1, len(t.dst.logs)))) }

func (w *world) encode(t *topic, test string, producer string, run uint64, epoch uint32, partition int32, sequence uint64, intended int64, format int) *kgo.Record {
	rec := &kgo.Record{}
	id := message.Identity{Test: message.TestHash(test), Producer: []byte(producer), Run: run, Epoch: epoch, Partition: partition, Sequence: sequence, Intended: intended}
	var key []byte
	switch w.r.IntN(8) {
	case 0:
	case 1:
		key = []byte{}
	default:
		key = []byte(fmt.Sprint("key-", sequence%7))
	}
	t.encoder[format].Encode(rec, &id, key, w.r.IntN(100))
	return rec
}

func (w *world) foreignRecord(t *topic) *kgo.Record {
	return w.encode(t, "another test", "p0", w.r.Uint64(), 0, 0, w.r.Uint64N(100), w.now, w.r.IntN(2))
}

func (w *world) junk(t *topic) *kgo.Record {
	rec := &kgo.Record{Topic: t.name}
	switch w.r.IntN(4) {
	case 0: // a tombstone
	case 1:
		rec.Value = []byte("hello")
	case 2:
		rec.Value = make([]byte, w.r.IntN(200))
		for i := range rec.Value {
			rec.Value[i] = byte(w.r.Uint32())
		}
	default:
		rec.Headers = []kgo.RecordHeader{{Key: message.HeaderID, Value: []byte("p0")}}
	}
	return rec
}

// phantom makes a record up that no producer sent, with a good checksum.
func (w *world) phantom(t *topic) {
	run, epoch, partition, sequence, producer := w.r.Uint64()|1, uint32(0), int32(w.r.IntN(len(t.source))), w.r.Uint64N(50), "nobody"
	if len(w.lives) > 0 && w.chance(0.8) {
		l := w.lives[w.r.IntN(len(w.lives))]
		run, producer = l.sent.Run, l.producer.id
		if s := l.anyStream(w); s != nil && w.chance(0.7) {
			if s.st.Stream.Topic != t.name {
				return
			}
			epoch, partition = s.st.Stream.Epoch, s.st.Stream.Partition
			sequence += 1 << 40
			if s.st.Control != nil && w.chance(0.05) {
				sequence = *s.st.Control
			} else if l.over && w.chance(0.7) { // the very first that was not reserved
				sequence = s.stored.reserved
				if l.stored.Closed {
					sequence = s.stored.next
				}
				if s.st.Control != nil && *s.st.Control >= sequence {
					return
				}
			}
		} else {
			epoch = 77 // a stream that the life never had
		}
	}
	w.writeRaw(t, w.anyPartition(t), w.encode(t, w.test, producer, run, epoch, partition, sequence, w.now, w.r.IntN(2)))
}

// tamper returns the record damaged.
func (w *world) tamper(rec *kgo.Record) *kgo.Record {
	out := &kgo.Record{Key: slices.Clone(rec.Key), Value: slices.Clone(rec.Value), Topic: rec.Topic}
	for _, h := range rec.Headers {
		out.Headers = append(out.Headers, kgo.RecordHeader{Key: h.Key, Value: slices.Clone(h.Value)})
	}
	flip := func(b []byte) bool {
		if len(b) == 0 {
			return false
		}
		b[w.r.IntN(len(b))] ^= 1 << w.r.IntN(8)
		return true
	}
	for {
		switch w.r.IntN(8) {
		case 0:
			if flip(out.Key) {
				return out
			}
		case 1, 2, 3:
			if flip(out.Value) {
				return out
			}
		case 4:
			if n := len(out.Value); n > 0 {
				out.Value = out.Value[:w.r.IntN(n)]
				return out
			}
		case 5:
			out.Value = append(out.Value, 'x')
			return out
		case 6:
			if n := len(out.Headers); n > 0 && flip(out.Headers[w.r.IntN(min(4, n))].Value) {
				return out
			}
		case 7:
			if n := len(out.Headers); n > 0 {
				out.Headers = slices.Delete(out.Headers, 0, 1)
				return out
			}
			if out.Value != nil {
				out.Value = nil
				return out
			}
		}
	}
}

// producer is one producer in all its lives.
type producer struct {
	id             string
	lives          int // still to come
	format         int
	acks0, ordered bool
	life           *life
}

// send is one record that was handed to the client.
type send struct {
	stream   *stream
	sequence uint64
	intended int64
	rec      *kgo.Record
	copies   []*sourceRecord
	acked    bool
	ackedIn  int // the first stored ledger that has it; 0: none
	failedIn int
}

type stream struct {
	st       *ledger.SentStream
	log      *sourceLog
	sends    map[uint64]*send
	inFlight []*send
	unacked  []*sourceRecord // appended, the acknowledgement is on its way
	stored   struct {
		reserved, next uint64
		version        int
	}
}

// life is one life of a producer.
type life struct {
	producer *producer
	sent     *ledger.Sent // in memory
	streams  []*stream
	epochs   map[string]uint32
	parts    map[string]int // partitions that it knows of
	skew     int64          // of its clock
	intended int64          // of the last record
	left     int
	version  int // how many ledgers it has stored
	data     []byte
	stored   ledger.Sent // shallow: what of it the model looks at
	over     bool        // closed or crashed
	lost     bool        // its ledger is
}

func (p *producer) act(w *world) {
	if p.life == nil || p.life.over {
		if p.lives == 0 {
			return
		}
		p.lives--
		size := 5 + w.r.IntN(36)
		if w.chance(0.1) {
			size = 5 + w.r.IntN(196)
		}
		p.life = &life{producer: p, left: size, epochs: map[string]uint32{}, parts: map[string]int{}}
		p.life.skew = w.r.Int64N(clockBound) - clockBound/2
		p.life.intended = w.now + p.life.skew
		p.life.sent = &ledger.Sent{Test: w.test, Producer: p.id, Run: w.r.Uint64() | 1, Started: p.life.intended, Ordered: p.ordered}
		for _, t := range w.topics {
			p.life.parts[t.name] = len(t.source)
		}
		p.life.lost = w.chance(w.c.lostLedger)
		w.lives = append(w.lives, p.life)
		w.log("%d life %016x of %s begins", w.step, p.life.sent.Run, p.id)
		return
	}
	l := p.life
	switch n := w.r.IntN(100); {
	case n < 45:
		l.send(w)
	case n < 70:
		for range 1 + w.r.IntN(6) {
			if s := l.anyStream(w); s != nil {
				s.arrive(w, l)
			}
		}
	case n < 85:
		for range 1 + w.r.IntN(6) {
			if s := l.anyStream(w); s != nil {
				s.ack(l)
			}
		}
	case n < 93:
		l.store(w)
	case w.chance(w.c.producerCrash):
		l.crash(w)
	case l.left <= 0 && w.chance(0.4):
		l.close(w)
	}
}

func (l *life) anyStream(w *world) *stream {
	if len(l.streams) == 0 {
		return nil
	}
	return l.streams[w.r.IntN(len(l.streams))]
}

// stream returns the stream for the partition in the epoch as it is now.
func (l *life) stream(w *world, t *topic, partition int32) *stream {
	key := ledger.Stream{Run: l.sent.Run, Topic: t.name, Epoch: l.epochs[t.name], Partition: partition}
	first := true
	for _, s := range l.streams {
		if s.st.Stream == key {
			return s
		}
		first = first && s.st.Stream.Topic != t.name
	}
	s := &stream{st: &ledger.SentStream{Stream: key, Base: t.source[partition].end}, log: t.source[partition], sends: map[uint64]*send{}}
	if first {
		control := w.r.Uint64N(4)
		s.st.Control = &control
		s.st.Reserved = control + 1 // it is stored below
	}
	l.streams = append(l.streams, s)
	l.sent.Streams = append(l.sent.Streams, s.st)
	return s
}

// send hands out some records, for which it first reserves sequences.
func (l *life) send(w *world) {
	t := w.topics[w.r.IntN(len(w.topics))]
	if n := len(t.source); n > l.parts[t.name] && w.chance(0.5) {
		l.parts[t.name] = n
		l.epochs[t.name]++
		w.faults["producer followed growth"]++
	}
	s := l.stream(w, t, int32(w.r.IntN(l.parts[t.name])))
	for range 1 + w.r.IntN(5) {
		if l.left <= 0 {
			return
		}
		l.left--
		l.sent.Scheduled++
		if w.chance(0.01) {
			l.sent.Shed++
			continue
		}
		if s.st.Control != nil && *s.st.Control == s.st.Next {
			s.st.Next++
		}
		if s.st.Next >= s.st.Reserved || s.stored.reserved < s.st.Reserved {
			s.st.Reserved = max(s.st.Reserved, s.st.Next) + 1 + w.r.Uint64N(20)
			if w.chance(w.c.producerCrash / 5) {
				l.crash(w) // before it is stored
				return
			}
			l.store(w)
			if w.chance(w.c.producerCrash / 5) {
				l.crash(w) // between store and send
				return
			}
		}
		l.intended = max(l.intended, w.now+l.skew-w.r.Int64N(20_000))
		x := &send{stream: s, sequence: s.st.Next, intended: l.intended}
		if s.st.Began == 0 {
			s.st.Began = x.intended
		}
		x.rec = w.encode(t, w.test, l.producer.id, l.sent.Run, s.st.Stream.Epoch, s.st.Stream.Partition, x.sequence, x.intended, l.producer.format)
		s.sends[x.sequence] = x
		s.st.Next++
		s.inFlight = append(s.inFlight, x)
	}
}

// arrive lets the source cluster deal with what is on its way.
func (s *stream) arrive(w *world, l *life) {
	if len(s.inFlight) == 0 {
		return
	}
	i := 0
	if !l.producer.ordered {
		i = w.r.IntN(min(4, len(s.inFlight)))
	}
	x := s.inFlight[i]
	s.inFlight = slices.Delete(s.inFlight, i, i+1)
	switch {
	case w.chance(w.c.sendFails):
		s.st.Fail(x.sequence, []string{"too large", "invalid record"}[w.r.IntN(2)])
		x.failedIn = l.version + 1
		return
	case w.chance(w.c.sendLost):
		return
	}
	if w.chance(w.c.sourceOther) {
		s.log.append(w.foreignRecord(s.log.topic), nil)
	}
	if w.chance(w.c.sourceOther) {
		s.log.append(w.junk(s.log.topic), nil)
	}
	s.log.append(x.rec, x)
	where := s.log.all[len(s.log.all)-1]
	if !l.producer.ordered && w.chance(w.c.twice) {
		s.log.append(x.rec, x) // a retry of what had arrived
	}
	if !l.producer.acks0 && !w.chance(w.c.ackLost) {
		s.unacked = append(s.unacked, where)
	}
}

// ack delivers acknowledgements.
func (s *stream) ack(l *life) {
	for range min(len(s.unacked), 4) {
		x := s.unacked[0]
		s.unacked = s.unacked[1:]
		s.st.Ack(x.send.sequence, x.offset, x.send.intended)
		x.send.acked = true
		x.send.ackedIn = l.version + 1
	}
}

// store stores the ledger.
func (l *life) store(w *world) {
	l.version++
	l.sent.Updated = w.now
	data, err := ledger.Encode(l.sent)
	if err != nil {
		w.problem("store the ledger of life %016x: %v", l.sent.Run, err)
	}
	l.data, l.stored = data, *l.sent
	for _, s := range l.streams {
		s.stored.reserved, s.stored.next, s.stored.version = s.st.Reserved, s.st.Next, l.version
	}
}

// crash ends the life without a word. What is on its way may still arrive.
func (l *life) crash(w *world) {
	for _, s := range l.streams {
		for range w.r.IntN(len(s.inFlight) + 1) {
			s.arrive(w, l)
		}
	}
	l.over = true
	w.faults["producer crashed"]++
	w.log("%d life %016x crashes", w.step, l.sent.Run)
}

// close ends the life cleanly, though some outcomes may remain unknown.
func (l *life) close(w *world) {
	for _, s := range l.streams {
		for range len(s.inFlight) {
			s.arrive(w, l)
		}
		for len(s.unacked) > 0 && !w.chance(w.c.ackLost) {
			s.ack(l)
		}
	}
	if w.chance(w.c.producerCrash) {
		l.crash(w)
		return
	}
	l.sent.Closed = true
	l.store(w)
	l.over = true
	w.log("%d life %016x closes", w.step, l.sent.Run)
}

// clockBound is by how much the clocks of the model differ at most, in
// microseconds.
const clockBound = int64(1_000_000)

// entryKey is the key of a consumer's state in the ledger.
type entryKey struct {
	place
	id     [16]byte
	writer int
}

// entry is a stored state, with what the model knows it must hold.
type entry struct {
	key  entryKey
	data []byte
	has  reading
}

// reading is what a state was made from.
type reading struct {
	start, started, next int64
	generation           uint32
	epoch                int32
	updated              int64
	read                 []*dstRecord // in the lineage that it follows
	gone                 []*dstRecord // read before it was rolled back
	unread               [][2]int64
}

func (r *reading) clone() reading {
	c := *r
	c.read, c.gone, c.unread = slices.Clip(r.read), slices.Clip(r.gone), slices.Clip(r.unread)
	return c
}

// partitionState is a consumer's state of one partition.
type partitionState struct {
	id          [16]byte
	writer      int
	st          *ledger.Received
	has         reading
	checkpoints []entry
}

// consumer is one life of a consumer process.
type consumer struct {
	name   string
	states map[place]*partitionState
	paused int // step until which it sleeps
	zombie int // step until which it works on although others own its partitions; 0: it is none
}

func (w *world) addConsumer() *consumer {
	w.born++
	c := &consumer{name: fmt.Sprintf("consumer-%d", w.born), states: map[place]*partitionState{}}
	w.consumers = append(w.consumers, c)
	return c
}

// owners assigns partitions that nobody owns.
func (w *world) owners(t *topic) {
	var alive []*consumer
	for _, c := range w.consumers {
		if c.zombie == 0 && c.paused < w.step {
			alive = append(alive, c)
		}
	}
	if len(alive) == 0 {
		alive = append(alive, w.addConsumer())
	}
	for _, l := range t.dst.logs {
		if o := w.owner[l.place]; o == nil {
			w.owner[l.place] = alive[w.r.IntN(len(alive))]
		}
	}
}

func (c *consumer) act(w *world) {
	if c.paused > w.step {
		return
	}
	if c.zombie != 0 && w.step > c.zombie {
		w.consumers = slices.DeleteFunc(w.consumers, func(x *consumer) bool { return x == c })
		return
	}
	for _, t := range w.topics {
		w.owners(t)
	}
	var mine []place
	for _, t := range w.topics {
		for p := range int32(64) {
			at := place{t, p}
			if int(p) >= len(t.dst.logs) {
				break
			}
			if w.owner[at] == c || c.zombie != 0 && c.states[at] != nil {
				mine = append(mine, at)
			}
		}
	}
	if len(mine) == 0 {
		return
	}
	at := mine[w.r.IntN(len(mine))]
	switch {
	case w.drained || !w.chance(0.5):
	case w.chance(w.c.consumerCrash):
		w.leave(c)
		w.consumers = slices.DeleteFunc(w.consumers, func(x *consumer) bool { return x == c })
		w.addConsumer()
		w.faults["consumer crashed"]++
		w.log("%d %s crashes", w.step, c.name)
		return
	case c.zombie == 0 && w.chance(w.c.pause):
		w.leave(c)
		c.paused = w.step + w.r.IntN(60)
		c.zombie = c.paused + 1 + w.r.IntN(30)
		w.addConsumer()
		w.faults["consumer became a zombie"]++
		w.log("%d %s is paused until %d", w.step, c.name, c.paused)
		return
	case c.zombie == 0 && w.chance(w.c.rebalance):
		if s := c.states[at]; s != nil && w.chance(0.5) {
			c.store(w, at, s)
		}
		delete(c.states, at)
		delete(w.owner, at)
		w.faults["partition moved"]++
		return
	}
	if w.lazy[at] && (w.chance(0.9) || w.chance(w.c.noConsumer)) {
		return
	}
	s := c.read(w, at)
	if s != nil && w.chance(w.c.snapshot) {
		c.store(w, at, s)
	}
}

// leave gives up all that the consumer owns.
func (w *world) leave(c *consumer) {
	for at, o := range w.owner {
		if o == c {
			delete(w.owner, at)
		}
	}
}

// store stores the state of a partition.
func (c *consumer) store(w *world, at place, s *partitionState) {
	s.st.Writer = fmt.Sprint(s.writer)
	data, err := s.st.Snapshot(w.now)
	if err != nil {
		w.problem("store the state of %v: %v", at, err)
	}
	s.has.updated = w.now
	e := &entry{key: entryKey{at, s.id, s.writer}, data: data, has: s.has.clone()}
	w.ledger[e.key] = e
	for _, read := range [][]*dstRecord{s.has.read, s.has.gone} {
		for _, x := range read {
			x.told = true
		}
	}
	if w.chance(w.c.checkpoint) {
		s.checkpoints = append(s.checkpoints, *e)
	}
}

// entries returns the stored states of the partition, of one topic id.
func (w *world) entries(at place, id [16]byte) []*entry {
	var out []*entry
	for i := range w.writers {
		if e := w.ledger[entryKey{at, id, i + 1}]; e != nil {
			out = append(out, e)
		}
	}
	return out
}

// best returns the entry to use of several, as Supersedes says.
func (w *world) best(entries []*entry) (*entry, *ledger.Received) {
	var (
		best  *entry
		state *ledger.Received
	)
	for _, e := range entries {
		r, err := ledger.Restore(e.data)
		if err != nil {
			w.problem("restore the state of %v: %v", e.key.place, err)
			continue
		}
		if r.Supersedes(state) {
			best, state = e, r
		}
	}
	for _, e := range entries {
		if best == nil {
			break
		}
		if e.has.generation > best.has.generation || e.has.generation == best.has.generation && e.has.next > best.has.next {
			w.problem("of %v the state up to %d of generation %d was preferred to that up to %d of %d",
				e.key.place, best.has.next, best.has.generation, e.has.next, e.has.generation)
		}
	}
	return best, state
}

// read reads some records of a partition.
func (c *consumer) read(w *world, at place) *partitionState {
	log := at.topic.dst.logs[at.partition]
	s := c.states[at]
	if s == nil || s.id != log.id {
		s = c.take(w, log)
		c.states[at] = s
	}
	if end := log.endOf(s.has.epoch); s.has.next > end {
		c.rollBack(w, log, s, end)
	}
	if s.has.next < log.start {
		s.st.Miss(log.start)
		s.has.unread = append(s.has.unread, [2]int64{s.has.next, log.start})
		s.has.next, s.has.epoch = log.start, log.epoch()
	}
	i, _ := slices.BinarySearchFunc(log.lineage, s.has.next, func(x *dstRecord, o int64) int { return int(x.offset - o) })
	if w.chance(0.1) { // a fetch begins with the batch, not with the record
		i = max(0, i-w.r.IntN(5))
	}
	for range 1 + w.r.IntN(20) {
		if i == len(log.lineage) {
			if s.has.next < log.end { // markers of transactions
				s.st.Skip(log.end)
				s.has.next, s.has.epoch = log.end, log.epoch()
			}
			break
		}
		x := log.lineage[i]
		i++
		o := ledger.Observation{Offset: x.offset, LeaderEpoch: x.epoch, At: x.at, Appended: true, Bytes: len(x.rec.Value)}
		o.Kind = w.dec.Decode(x.rec, at.topic.name, &o.ID)
		o.Misplaced = o.Kind == message.OK && o.ID.Partition != at.partition
		s.st.Observe(&o)
		if x.offset < s.has.next {
			continue
		}
		s.has.next, s.has.epoch = x.offset+1, x.epoch
		s.has.read = append(s.has.read, x)
	}
	if s.st.Next != s.has.next {
		w.problem("the state of %v is at %d, not at %d", at, s.st.Next, s.has.next)
	}
	return s
}

// take starts with the best state there is. What it stores replaces nothing that
// was read before, not even by the same consumer.
func (c *consumer) take(w *world, log *dstLog) *partitionState {
	var s *partitionState
	if e, st := w.best(w.entries(log.place, log.id)); e != nil {
		s = &partitionState{id: log.id, st: st, has: e.has.clone()}
	} else {
		s = c.fresh(w, log)
	}
	w.writers++
	s.writer = w.writers
	return s
}

// fresh starts at the beginning of the log.
func (c *consumer) fresh(w *world, log *dstLog) *partitionState {
	now := w.now + w.r.Int64N(clockBound) - clockBound/2
	s := &partitionState{id: log.id, has: reading{start: log.start, started: now, next: log.start, epoch: log.epoch()}}
	s.st = ledger.NewReceived(w.test, log.topic.name, log.id, log.partition, c.name, log.start, now)
	return s
}

// rollBack goes back to before the log was cut at offset end.
func (c *consumer) rollBack(w *world, log *dstLog, s *partitionState, end int64) {
	s.checkpoints = slices.DeleteFunc(s.checkpoints, func(e entry) bool { return e.has.next > end })
	base := c.fresh(w, log)
	if n := len(s.checkpoints); n > 0 {
		st, err := ledger.Restore(s.checkpoints[n-1].data)
		if err != nil {
			w.problem("restore a checkpoint of %v: %v", log.place, err)
			return
		}
		base.st, base.has = st, s.checkpoints[n-1].has.clone()
	}
	w.faults["consumer rolled back"]++
	w.log("%d %s rolls %v back from %d to %d", w.step, c.name, log.place, s.has.next, base.has.next)
	st := s.st.RollBack(base.st)
	base.has.generation = s.has.generation + 1
	base.has.gone = append(slices.Clip(s.has.gone), s.has.read...)
	s.st, s.has = st, base.has
}
