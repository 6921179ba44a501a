package consume

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/wallclock"
)

type topicPartition struct {
	topic     string
	partition int32
}

func (tp topicPartition) String() string { return fmt.Sprintf("%s/%d", tp.topic, tp.partition) }

// partition is one destination partition, of one id of its topic.
type partition struct {
	topicPartition
	id     [16]byte
	stats  *topicStats
	clock  *wallclock.Clock
	writer string // names what is read from now on in the ledger

	// Of the poll loop alone.
	fetched []kgo.FetchPartition
	took    bool // since it was placed

	// Guarded by Consumer.mu.
	placed   bool // its place in the log is known, the client reads it
	retryAt  time.Time
	failures int

	storing sync.Mutex // held while a snapshot is made and stored; before mu

	mu          sync.Mutex // held for a whole fetch, not for each record
	state       *ledger.Received
	restored    *ledger.Received // from the ledger, while the place in the log is not known
	lastNext    int64            // when closeGaps last looked
	checkpoints ladder
	end         int64 // of the log, when it was placed
	watermark   int64 // end of the log as of the last fetch
	behindSince time.Time
	windows     []ledger.WindowEntry // closed, to be stored
	dropped     int                  // windows that were too many to be kept
	storedNext  int64
	storedGen   uint32

	// Scratch space, so that nothing is allocated for a record.
	obs   ledger.Observation
	batch batchStats
}

// Reasons for which a partition's place in the log is determined anew.
var (
	errBackwards = errors.New("the log was read from an earlier place than asked for")
	errDiverged  = errors.New("the log goes on with an earlier leader epoch than before")
)

// lagging is for how long a partition may be short of the end of its log
// before the latencies of what is read then are the tester's own.
const lagging = time.Second

// take verifies one fetch. An error means that the place in the log must be
// determined anew; what came before the error is taken in.
func (p *partition) take(fp *kgo.FetchPartition, decoder *message.Decoder, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.state
	p.batch = batchStats{}
	before := countsOf(s)
	behind := !p.behindSince.IsZero() && now.Sub(p.behindSince) > lagging
	arrived := p.clock.Micros(now)
	var err error
	for _, rec := range fp.Records {
		if rec.Offset != s.Next {
			if rec.Offset < s.Next {
				err = errBackwards
				break
			}
			p.jump(rec.Offset, fp.LogStartOffset)
		}
		if rec.LeaderEpoch >= 0 && rec.LeaderEpoch < s.LeaderEpoch {
			err = errDiverged
			break
		}
		if rec.Attrs.IsControl() {
			s.Skip(rec.Offset + 1)
			s.LeaderEpoch = rec.LeaderEpoch
			continue
		}
		p.observe(rec, decoder, arrived, behind)
	}
	p.watermark = max(fp.HighWatermark, s.Next)
	switch {
	case s.Next >= fp.HighWatermark:
		p.behindSince = time.Time{}
	case p.behindSince.IsZero():
		p.behindSince = now
	}
	p.obs.ID.Producer = nil // which is the record's memory, and keeps a whole fetch
	p.batch.counts = countsOf(s).minus(before)
	p.stats.add(&p.batch)
	return err
}

// observe takes in one record.
func (p *partition) observe(rec *kgo.Record, decoder *message.Decoder, arrived int64, behind bool) {
	o := &p.obs
	o.Offset, o.LeaderEpoch, o.Bytes = rec.Offset, rec.LeaderEpoch, len(rec.Key)+len(rec.Value)
	// With the broker's stamp it does not matter when we read the record.
	o.Appended = rec.Attrs.TimestampType() == 1
	if o.Appended {
		o.At, o.CatchUp = rec.Timestamp.UnixMicro(), false
	} else {
		o.At, o.CatchUp = arrived, behind || rec.Offset < p.end
	}
	o.Kind = decoder.Decode(rec, p.topic, &o.ID)
	o.Misplaced = o.Kind == message.OK && o.ID.Partition != rec.Partition

	duplicates := p.state.Duplicate
	p.state.Observe(o)
	if o.Kind != message.OK {
		p.batch.rejected[o.Kind]++
	} else if p.state.Duplicate == duplicates {
		p.batch.first++
		if !o.CatchUp {
			p.batch.latency.Observe(o.At - o.ID.Intended)
		}
	}
}

// jump goes over offsets that hold no record: what lies below the log's start
// was removed before we could read it, the rest never was one, or compaction
// removed it.
func (p *partition) jump(to, logStart int64) {
	if logStart > p.state.Next {
		p.miss(min(to, logStart))
	}
	p.state.Skip(to)
}

func (p *partition) miss(to int64) {
	p.stats.addUnobserved(uint64(max(0, to-p.state.Next)))
	p.state.Miss(to)
}

// maxWindows bounds the closed windows that wait for the ledger: a quarter of
// an hour's.
const maxWindows = 900

// snapshot returns what there is to store: nothing if there is no news.
func (p *partition) snapshot(now time.Time) (windows []ledger.WindowEntry, payload []byte, at checkpoint, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == nil {
		return nil, nil, checkpoint{}, nil
	}
	for _, w := range p.state.TakeWindows() {
		p.windows = append(p.windows, ledger.WindowEntry{Topic: p.state.Topic, TopicID: p.id, Partition: p.partition, Window: w})
	}
	if n := len(p.windows) - maxWindows; n > 0 {
		p.windows = slices.Delete(p.windows, 0, n)
		p.dropped += n
	}
	if len(p.windows) == 0 && p.state.Next == p.storedNext && p.state.Generation == p.storedGen {
		return nil, nil, checkpoint{}, nil
	}
	if payload, err = p.state.Snapshot(p.clock.Micros(now)); err != nil {
		return nil, nil, checkpoint{}, fmt.Errorf("%s: %w", p.topicPartition, err)
	}
	at = checkpoint{next: p.state.Next, epoch: p.state.LeaderEpoch, generation: p.state.Generation, payload: payload}
	p.checkpoints.add(at)
	return slices.Clone(p.windows), payload, at, nil
}

// probed notes the write of the state, which the next one tells of.
func (p *partition) probed(probe ledger.Probe) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != nil {
		p.state.Previous = &probe
	}
}

// stored notes that the first n windows, and perhaps the state, are stored.
func (p *partition) stored(n int, at *checkpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.windows = slices.Delete(p.windows, 0, n)
	if at != nil {
		p.storedNext, p.storedGen = at.next, at.generation
	}
}

// lag is how many offsets there are that were not read.
func (p *partition) lag() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == nil {
		return 0
	}
	return max(0, p.watermark-p.state.Next)
}

func (p *partition) streams() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == nil {
		return 0
	}
	return len(p.state.Streams)
}

// checkpoint is a snapshot to which a truncated partition can go back.
type checkpoint struct {
	next       int64
	epoch      int32
	generation uint32
	payload    []byte
}

// ladder keeps a few of many checkpoints: the last ones, and with growing
// distance older ones, back to 64 to 128 snapshots ago.
type ladder struct {
	n     uint
	rungs [8]checkpoint
}

func (l *ladder) add(c checkpoint) {
	l.n++
	l.rungs[min(bits.TrailingZeros(l.n), len(l.rungs)-1)] = c
}

// newest returns the checkpoints, those that reach furthest first.
func (l *ladder) newest() []checkpoint {
	var out []checkpoint
	for _, c := range l.rungs {
		if c.payload != nil {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b checkpoint) int { return int(b.next - a.next) })
	return out
}
