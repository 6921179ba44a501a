package produce

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
)

const (
	// maxSnapshotInterval keeps the ledger fresh however small the load is.
	maxSnapshotInterval = 5 * time.Second
	// ledgerShare of the load's bytes may go into the ledger.
	ledgerShare = 0.01
	// ledgerFloor, in bytes per second, may go there in any case.
	ledgerFloor = 16 << 10
	// retryStore is the pause after a snapshot that could not be stored.
	retryStore = 100 * time.Millisecond
)

// putter is the part of *ledger.Store that is needed.
type putter interface {
	Put(ctx context.Context, key ledger.Key, payload []byte) (ledger.Probe, error)
}

// keeper stores the ledger: every so often, and whenever a stream is about to
// run out of reserved sequences. A snapshot always reserves ahead, and what it
// reserves may be used once it is stored.
type keeper struct {
	p     *Producer
	store putter
	wake  chan struct{}
	ask   chan chan error

	mu      sync.Mutex
	streams []*stream

	// Only one goroutine writes at a time.
	previous *ledger.Probe
	updated  int64
	bytes    uint64 // of the load, at the last snapshot
	at       time.Time

	every  atomic.Int64 // nanoseconds between snapshots
	stored atomic.Int64 // when the last one was, in Unix nanoseconds
	errors atomic.Uint64
	volume atomic.Uint64 // bytes stored
}

func newKeeper(p *Producer) *keeper {
	k := &keeper{p: p, wake: make(chan struct{}, 1), ask: make(chan chan error)}
	k.every.Store(int64(p.cfg.SnapshotInterval))
	return k
}

// add takes in the streams of a new epoch.
func (k *keeper) add(streams []*stream) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.streams = append(k.streams, streams...)
}

func (k *keeper) all() []*stream {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.streams)
}

// hurry asks for a snapshot soon.
func (k *keeper) hurry() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// now asks for a snapshot and returns when it is stored.
func (k *keeper) now(ctx context.Context) error {
	reply := make(chan error, 1)
	select {
	case k.ask <- reply:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run writes snapshots until end is closed. ctx gives up a write that hangs.
func (k *keeper) run(ctx context.Context, end <-chan struct{}) {
	timer := time.NewTimer(time.Duration(k.every.Load()))
	defer timer.Stop()
	for {
		var reply chan error
		select {
		case <-end:
			return
		case <-timer.C:
		case <-k.wake:
		case reply = <-k.ask:
		}
		err := k.write(ctx, false)
		wait := time.Duration(k.every.Load())
		if err != nil {
			wait = retryStore
			k.p.log.Warn("the ledger could not be stored: what is not reserved will be shed", "error", err)
			if reply == nil {
				select { // a hurry must not make this a busy loop
				case <-end:
					return
				case <-time.After(retryStore):
				}
			}
		}
		if reply != nil {
			reply <- err
		}
		timer.Reset(wait)
	}
}

// write stores one snapshot, and then lets the senders use what it reserves.
func (k *keeper) write(ctx context.Context, closed bool) error {
	p := k.p
	now := time.Now()
	late := p.late.Swap(0)
	k.updated = max(k.updated+1, p.clock.Micros(now))
	sent := ledger.Sent{
		Test:     p.cfg.TestID,
		Producer: p.cfg.ID,
		Run:      p.run,
		Started:  p.started.UnixMicro(),
		Updated:  k.updated,
		Closed:   closed,
		// After a loss of data offsets may have started over below what was
		// acknowledged, and the client sends again what was on the way.
		Ordered:  p.cfg.Idempotent && p.losses.Load() == 0,
		Late:     late / int64(time.Microsecond),
		Full:     p.buffer.fullFor(now).Microseconds(),
		Previous: k.previous,
	}
	streams := k.all()
	aheads := make([]uint64, len(streams))
	for i, s := range streams {
		aheads[i] = s.topic.ahead(len(s.epoch.streams))
		sent.Streams = append(sent.Streams, s.snapshot(closed, aheads[i]))
	}
	for _, t := range p.all() {
		sent.Scheduled += t.counts.scheduled.Load()
		sent.Shed += t.counts.shed()
		sent.Bytes += t.counts.bytes.Load()
	}
	payload, err := ledger.Encode(&sent)
	if err != nil {
		return err
	}
	probe, err := k.store.Put(ctx, sent.Key(), payload)
	if err != nil {
		k.errors.Add(1)
		p.noteLate(time.Duration(late))
		return err
	}
	for i, s := range streams {
		s.publish(sent.Streams[i].Reserved, aheads[i])
	}
	k.previous = &probe
	k.stored.Store(time.Now().UnixNano())
	k.volume.Add(uint64(len(payload)))
	p.metrics.stored.Observe(time.Since(now).Seconds())

	// Adapt to the load, as it was since the last snapshot.
	budget := float64(ledgerFloor)
	if passed := now.Sub(k.at).Seconds(); !k.at.IsZero() && passed > 0 {
		budget = max(budget, ledgerShare*float64(sent.Bytes-k.bytes)/passed)
	}
	k.at, k.bytes = now, sent.Bytes
	every := time.Duration(float64(len(payload)) / budget * float64(time.Second))
	k.every.Store(int64(min(max(every, p.cfg.SnapshotInterval), maxSnapshotInterval)))
	return nil
}
