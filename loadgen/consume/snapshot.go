package consume

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
)

const (
	// share of the load that snapshots may take, or floor bytes per second if
	// that is more: at a trickle of a load the ledger must still be fresh.
	share = 0.01
	floor = 64 << 10
	// writes is how many entries are stored at the same time.
	writes = 64
	// roundTimeout bounds one round of snapshots, so that a ledger that does not
	// answer is noticed.
	roundTimeout = 10 * time.Second
)

// keep stores snapshots until ctx ends.
func (c *Consumer) keep(ctx context.Context) {
	var read uint64
	interval := c.cfg.SnapshotInterval
	last := time.Now()
	for {
		c.interval.Store(int64(interval))
		select {
		case <-ctx.Done():
			return
		case <-time.After(interval):
		}
		round, cancel := context.WithTimeout(ctx, roundTimeout)
		stored, err := c.storeAll(round)
		cancel()
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			c.metrics.ledgerErrors.Inc()
			c.log.Warn("snapshots could not be stored, they are tried again; verification goes on", "error", err)
		}
		now, progress := time.Now(), c.Progress().Bytes
		interval = c.pace(stored, float64(progress-read)/now.Sub(last).Seconds())
		read, last = progress, now
	}
}

// pace returns how long to wait so that rounds of this many bytes stay within
// their share of a load of so many bytes per second.
func (c *Consumer) pace(stored int, load float64) time.Duration {
	seconds := float64(stored) / max(share*load, floor)
	return min(max(time.Duration(seconds*float64(time.Second)), c.cfg.SnapshotInterval), maxSnapshotInterval)
}

// storeAll stores all that is not stored yet, and returns how many bytes that
// were.
func (c *Consumer) storeAll(ctx context.Context) (int, error) {
	c.mu.Lock()
	retired := c.retired
	c.mu.Unlock()
	started := time.Now()
	var (
		total atomic.Int64
		wg    sync.WaitGroup
		slots = make(chan struct{}, writes)
		mu    sync.Mutex
		errs  []error
	)
	for _, p := range append(c.owned(), retired...) {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			n, err := c.storePartition(ctx, p)
			total.Add(int64(n))
			if err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(errs) == 0 {
		c.mu.Lock()
		c.retired = c.retired[len(retired):]
		c.mu.Unlock()
		c.lastStored.Store(started.UnixMicro())
	}
	c.metrics.ledgerBytes.Add(float64(total.Load()))
	if total.Load() > 0 {
		c.metrics.ledgerTime.Observe(time.Since(started).Seconds())
	}
	if len(errs) > 3 {
		errs = append(errs[:3], fmt.Errorf("and %d partitions more", len(errs)-3))
	}
	return int(total.Load()), errors.Join(errs...)
}

// storePartition stores the partition's news: first the windows that are
// closed, then the state, which does not hold them any more.
func (c *Consumer) storePartition(ctx context.Context, p *partition) (int, error) {
	p.storing.Lock()
	defer p.storing.Unlock()
	windows, payload, at, err := p.snapshot(time.Now())
	if err != nil || payload == nil {
		return 0, err
	}
	p.mu.Lock()
	if p.dropped > 0 {
		c.log.Warn("the ledger did not take windows for so long that some had to be given up: latencies and rates of that time are lost, counts are not", "partition", p.topicPartition, "windows", p.dropped)
		p.dropped = 0
	}
	key := p.state.Key()
	p.mu.Unlock()

	size := len(payload)
	var wg sync.WaitGroup
	errs := make([]error, len(windows))
	slots := make(chan struct{}, writes)
	for i := range windows {
		slots <- struct{}{}
		data, err := ledger.Encode(&windows[i])
		if err != nil {
			return 0, fmt.Errorf("%s: %w", p.topicPartition, err)
		}
		size += len(data)
		wg.Go(func() {
			defer func() { <-slots }()
			_, errs[i] = c.store.Put(ctx, windows[i].Key(c.cfg.TestID), data)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	p.stored(len(windows), nil)
	probe, err := c.store.Put(ctx, key, payload)
	if err != nil {
		return 0, err
	}
	p.probed(probe)
	p.stored(0, &at)
	return size, nil
}
