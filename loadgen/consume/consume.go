package consume

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/settings"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/wallclock"
)

// Deps are what a consumer works with.
type Deps struct {
	// Options say how to reach the destination cluster.
	Options []kgo.Opt
	Logger  *slog.Logger
	// Registerer takes the metrics; nil means none.
	Registerer prometheus.Registerer
	// Clock is where the times come from that are recorded. Nil: the machine's.
	Clock *wallclock.Clock
}

// Consumer verifies what arrives at the destination cluster.
//
// Three goroutines share the work. The poll loop alone tells the client what
// to fetch, and hands what was fetched to as many goroutines as there are
// processors, a partition to one of them; between two polls none of them runs.
// The manager finds out which partitions to read, and from where. The third
// stores snapshots.
type Consumer struct {
	cfg     Config
	opts    []kgo.Opt
	log     *slog.Logger
	clock   *wallclock.Clock
	writer  string // names this life of the consumer in the ledger
	decoder *message.Decoder
	metrics *collector
	watcher *settings.File // nil: no settings file
	reread  time.Duration  // how often it is read

	client *kgo.Client
	admin  *kadm.Client
	store  *ledger.Store
	index  *index
	group  *members // nil: no group

	// By the poll loop alone: what the client reads, and when the first and the last records came.
	active      map[topicPartition]*partition
	first, last time.Time

	kick chan struct{} // wakes the manager

	mu       sync.Mutex
	topics   map[string]*topicStats        // that are read; replaced by a larger one when there are more
	wanted   []string                      // those of them that flags or settings name
	parts    map[topicPartition]*partition // that this consumer is to read
	taken    int                           // how many it ever was to read
	retired  []*partition                  // whose topic is gone, until their last state is stored
	assigned map[topicPartition]bool       // by the group
	pending  string                        // why the consumer is not ready; empty: it is
	ops      []func()                      // for the poll loop to do between two polls
	wake     context.CancelFunc            // ends the present poll
	stopped  bool                          // the poll loop has ended

	lastStored atomic.Int64 // Unix microseconds
	interval   atomic.Int64 // between snapshots

	// abandon makes Run end as a kill would: without last snapshots. For tests.
	abandon atomic.Bool
}

// New returns a consumer that is not running yet.
func New(cfg Config, deps Deps) (*Consumer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	var life [4]byte
	if _, err := rand.Read(life[:]); err != nil {
		return nil, fmt.Errorf("consumer %s: %w", cfg.ID, err)
	}
	c := &Consumer{
		cfg:      cfg,
		opts:     deps.Options,
		log:      deps.Logger,
		clock:    deps.Clock,
		writer:   cfg.ID + "-" + hex.EncodeToString(life[:]),
		decoder:  message.NewDecoder(cfg.TestID),
		active:   map[topicPartition]*partition{},
		kick:     make(chan struct{}, 1),
		parts:    map[topicPartition]*partition{},
		assigned: map[topicPartition]bool{},
		pending:  "starting",
	}
	c.read(cfg.Topics)
	c.wanted = cfg.Topics
	if cfg.SettingsFile != "" {
		c.watcher, c.reread = &settings.File{Path: cfg.SettingsFile}, settings.Every
		if err := c.watcher.Reload(c.apply); err != nil {
			return nil, fmt.Errorf("consumer %s: %w", cfg.ID, err)
		}
	}
	c.interval.Store(int64(cfg.SnapshotInterval))
	c.metrics = newCollector(c)
	if deps.Registerer != nil {
		if err := deps.Registerer.Register(c.metrics); err != nil {
			return nil, fmt.Errorf("consumer %s: %w", cfg.ID, err)
		}
	}
	return c, nil
}

// apply takes over which topics a settings file names.
func (c *Consumer) apply(s *settings.Settings) error {
	names, err := s.With(c.cfg.Topics)
	if err != nil {
		return err
	}
	c.read(names)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = names
	return nil
}

// read has the topics read from now on, those that are not already. None is ever
// given up: what was sent to it counts.
func (c *Consumer) read(names []string) {
	c.mu.Lock()
	all := maps.Clone(c.topics)
	if all == nil {
		all = map[string]*topicStats{}
	}
	var added []string
	for _, name := range names {
		if all[name] == nil {
			all[name] = &topicStats{name: name}
			added = append(added, name)
		}
	}
	c.topics = all
	c.mu.Unlock()
	if len(added) == 0 {
		return
	}
	c.group.read(added)
	c.wakeManager()
}

// stats returns the topics that are read.
func (c *Consumer) stats() map[string]*topicStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.topics
}

// names returns the topics that are read, sorted.
func (c *Consumer) names() []string { return slices.Sorted(maps.Keys(c.stats())) }

// Ready says why the consumer does not yet, or does not any more, read all of
// its partitions; nil if it does.
func (c *Consumer) Ready() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending != "" {
		return errors.New(c.pending)
	}
	return nil
}

// Run reads and verifies until ctx ends. Then it stores the last snapshots,
// within the shutdown timeout, and returns nil. It returns an error if it
// cannot begin, if it is denied what it needs, or if the last snapshots could
// not be stored.
func (c *Consumer) Run(ctx context.Context) error {
	if err := c.open(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("consumer %s: %w", c.cfg.ID, err)
	}
	defer c.close()
	c.lastStored.Store(time.Now().UnixMicro())

	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	if c.cfg.Group != "" {
		var err error
		if c.group, err = c.join(running, stop, &wg); err != nil {
			return fmt.Errorf("consumer %s: %w", c.cfg.ID, err)
		}
	}
	if c.watcher != nil {
		wg.Go(func() { c.watcher.Watch(running, c.reread, c.log, c.apply) })
	}
	wg.Go(func() { c.manage(running) })
	wg.Go(func() { c.keep(running) })
	c.poll(running)
	wg.Wait()

	var fatal error
	if ctx.Err() == nil {
		fatal = context.Cause(running)
	}
	if c.abandon.Load() {
		c.group.abandon()
		return fatal
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.ShutdownTimeout)
	defer cancel()
	_, err := c.storeAll(last)
	// Only now may others take the partitions over: they go on where we ended.
	c.group.leave(last)
	if err != nil {
		err = fmt.Errorf("what arrived since the last snapshot will have to be read again: %w", err)
	}
	sum := c.Progress()
	c.log.Info("reading ended", "records", sum.Records, "first", sum.First, "duplicates", sum.Duplicates, "reordered", sum.Reordered,
		"misplaced", sum.Misplaced, "rejected", sum.Rejected, "unobserved", sum.Unobserved, "reading", c.last.Sub(c.first))
	if err = errors.Join(fatal, err); err != nil {
		return fmt.Errorf("consumer %s: %w", c.cfg.ID, err)
	}
	return nil
}

// open connects, and refuses what cannot work before anything is started.
func (c *Consumer) open(ctx context.Context) error {
	client, err := kgo.NewClient(append(slices.Clone(c.opts),
		// The client must never choose a place in the log by itself. What it says
		// instead is dealt with by the manager.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.KeepControlRecords(),
		kgo.FetchMaxBytes(16<<20),
		kgo.FetchMaxPartitionBytes(2<<20),
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.MetadataMinAge(250*time.Millisecond),
	)...)
	if err != nil {
		return fmt.Errorf("client options: %w", err)
	}
	c.client, c.admin = client, kadm.NewClient(client)
	if err := c.checkTopics(ctx); err != nil {
		return err
	}
	if c.store, err = ledger.Open(ctx, ledger.StoreConfig{Opts: c.opts, Topic: ledger.DestinationTopic, Replicas: c.cfg.LedgerReplicas, Clock: c.clock}, c.log); err != nil {
		return err
	}
	if c.index, err = newIndex(c); err != nil {
		return err
	}
	return nil
}

func (c *Consumer) close() {
	if c.index != nil {
		c.index.reader.Close()
	}
	if c.store != nil {
		c.store.Close()
	}
	if c.client != nil {
		c.client.Close()
	}
}

// owned returns the partitions that this consumer is to read.
func (c *Consumer) owned() []*partition {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.parts))
}

// do has the poll loop run fn between two polls, and waits for it. It returns
// false if the loop has ended.
func (c *Consumer) do(fn func()) bool {
	ran, ended := false, make(chan struct{})
	c.mu.Lock()
	if c.stopped {
		c.mu.Unlock()
		return false
	}
	c.ops = append(c.ops, func() {
		defer close(ended)
		if !c.stopped {
			fn()
			ran = true
		}
	})
	if c.wake != nil {
		c.wake()
	}
	c.mu.Unlock()
	<-ended
	return ran
}

// poll is the poll loop.
func (c *Consumer) poll(ctx context.Context) {
	workers := runtime.GOMAXPROCS(0)
	for ctx.Err() == nil {
		polling, cancel := context.WithCancel(ctx)
		c.mu.Lock()
		ops := c.ops
		c.ops = nil
		if len(ops) == 0 {
			c.wake = cancel
		}
		c.mu.Unlock()
		if len(ops) == 0 {
			fetches := c.client.PollFetches(polling)
			c.mu.Lock()
			c.wake = nil
			c.mu.Unlock()
			c.take(fetches, workers, time.Now())
		}
		cancel()
		for _, op := range ops {
			op()
		}
	}
	c.mu.Lock()
	c.stopped = true
	ops := c.ops
	c.ops = nil
	c.mu.Unlock()
	for _, op := range ops {
		op() // which does nothing any more but to release who waits for it
	}
}

// take verifies what was fetched.
func (c *Consumer) take(fetches kgo.Fetches, workers int, now time.Time) {
	var work []*partition
	fetches.EachPartition(func(fetched kgo.FetchTopicPartition) {
		p := c.active[topicPartition{fetched.Topic, fetched.Partition}]
		if p == nil {
			return // not a partition at all, but the word that the poll was ended
		}
		if len(p.fetched) == 0 {
			work = append(work, p)
		}
		p.fetched = append(p.fetched, fetched.FetchPartition)
	})
	if len(work) == 0 {
		return
	}
	if c.first.IsZero() {
		c.first = now
	}
	defer func() { c.last = time.Now() }()
	errs := make([]error, len(work))
	var next atomic.Int32
	var wg sync.WaitGroup
	for range min(workers, len(work)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(work); i = int(next.Add(1)) - 1 {
				errs[i] = work[i].takeAll(c.decoder, now)
			}
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			c.park(work[i], err)
		}
	}
}

// takeAll verifies what was fetched of the partition in one poll.
func (p *partition) takeAll(decoder *message.Decoder, now time.Time) error {
	fetched := p.fetched
	p.fetched = p.fetched[:0]
	defer clear(fetched) // else the records would stay in memory until the next fetch
	for i := range fetched {
		if err := p.take(&fetched[i], decoder, now); err != nil {
			return err
		}
		if len(fetched[i].Records) > 0 {
			p.took = true
		}
		if err := fetched[i].Err; err != nil {
			return err
		}
	}
	return nil
}

// park stops reading a partition until the manager has found its place in the
// log anew. It runs in the poll loop.
func (c *Consumer) park(p *partition, reason error) {
	c.log.Warn("reading a partition was interrupted, its place in the log is checked", "partition", p.topicPartition, "reason", reason)
	drop := []*partition{p}
	if errors.Is(reason, kerr.UnknownTopicID) || errors.Is(reason, kerr.UnknownTopicOrPartition) {
		// The client reads the topic no more until it has forgotten it.
		for tp, other := range c.active {
			if tp.topic == p.topic && other != p {
				drop = append(drop, other)
			}
		}
	}
	c.stopReading(drop, len(drop) > 1 || errors.Is(reason, kerr.UnknownTopicID))
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range drop {
		if p.took {
			p.failures = 0
		}
		p.took, p.placed = false, false
		c.later(p)
	}
	c.wakeManager()
}

// later has the manager try the partition again, after a while that grows.
// Consumer.mu is held.
func (c *Consumer) later(p *partition) {
	p.retryAt = time.Now().Add(min(20*time.Millisecond<<min(p.failures, 10), 5*time.Second))
	p.failures++
}

func (c *Consumer) wakeManager() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// stopReading takes partitions from the client, with all that it has fetched
// of them. It runs in the poll loop. With forget, the client also forgets
// their topics, which it must when they were made anew.
func (c *Consumer) stopReading(parts []*partition, forget bool) {
	remove := map[string][]int32{}
	for _, p := range parts {
		if c.active[p.topicPartition] == p {
			delete(c.active, p.topicPartition)
			remove[p.topic] = append(remove[p.topic], p.partition)
		}
	}
	c.client.RemoveConsumePartitions(remove)
	if forget {
		topics := map[string]bool{}
		for _, p := range parts {
			topics[p.topic] = true
		}
		c.client.PurgeTopicsFromConsuming(slices.Collect(maps.Keys(topics))...)
	}
}
