package produce

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
)

// Deps are what a Producer works with.
type Deps struct {
	// Options reach the source cluster: seeds and security.
	Options []kgo.Opt
	Logger  *slog.Logger
	// Registerer takes the metrics. Each Producer needs one of its own, or one
	// that adds a label (prometheus.WrapRegistererWith). Nil: none.
	Registerer prometheus.Registerer
}

// Producer puts load on the source cluster. One Producer is one life: it runs
// once.
type Producer struct {
	cfg     Config
	options []kgo.Opt
	log     *slog.Logger
	run     uint64
	topics  []*topic
	buffer  buffer
	reserve reserve
	metrics *collector
	keeper  *keeper
	watcher *settingsFile // nil: no settings file

	client      *kgo.Client
	closeClient func()
	hand        func(context.Context, *kgo.Record, func(*kgo.Record, error))

	pending sync.WaitGroup // records without an outcome
	lost    atomic.Uint64  // connections lost so far
	losses  atomic.Uint64  // times the client noticed that the cluster had lost data
	late    atomic.Int64   // most by which we were behind, in nanoseconds, since the last snapshot
	lateNow atomic.Int64   // likewise, in the last batch
	started time.Time
	ready   atomic.Bool
	cancel  atomic.Pointer[context.CancelCauseFunc]
}

// New checks the configuration and reads the settings file. It does not reach
// out to the cluster.
func New(cfg Config, deps Deps) (*Producer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &Producer{
		cfg:     cfg,
		options: deps.Options,
		log:     deps.Logger.With("producer", cfg.ID),
		run:     rand.Uint64N(math.MaxUint64) + 1,
		buffer:  buffer{max: int64(cfg.MaxBuffered)},
		reserve: reserve{seconds: 30, least: 1000, guess: 1e6},
	}
	filler, err := message.NewFiller(p.run, cfg.Compressibility)
	if err != nil {
		return nil, err
	}
	for _, name := range cfg.Topics {
		t := &topic{
			p:       p,
			name:    name,
			encoder: message.NewEncoder(cfg.format(), name, filler),
			wake:    make(chan struct{}, 1),
			acks:    latency.New(),
			id:      message.Identity{Test: message.TestHash(cfg.TestID), Producer: []byte(cfg.ID), Run: p.run},
		}
		t.setting.Store(&Setting{Rate: cfg.Throughput, Size: cfg.MessageSize})
		t.limit.Store(defaultMaxMessageBytes)
		p.topics = append(p.topics, t)
	}
	if cfg.SettingsFile != "" {
		p.watcher = &settingsFile{path: cfg.SettingsFile, every: time.Second}
		if _, err := p.watcher.reload(p); err != nil {
			return nil, err
		}
	}
	p.keeper = newKeeper(p)
	p.metrics = newCollector(p)
	if deps.Registerer != nil {
		if err := deps.Registerer.Register(p.metrics); err != nil {
			return nil, fmt.Errorf("register the producer's metrics: %w", err)
		}
	}
	return p, nil
}

// RunID tells this life of the producer from its others, as in the ledger and
// in every record.
func (p *Producer) RunID() uint64 { return p.run }

// Ready returns nil while the load runs, and otherwise what is missing.
func (p *Producer) Ready() error {
	if !p.ready.Load() {
		return errors.New("the load does not run")
	}
	return nil
}

// SetRate changes the rate of one topic. What was due before stays due.
func (p *Producer) SetRate(topic string, rate units.Rate) error {
	return p.change(topic, func(s *Setting) { s.Rate = rate })
}

// SetMessageSize changes the size of one topic's messages. A rate in bytes
// stays as it is.
func (p *Producer) SetMessageSize(topic string, size units.Size) error {
	return p.change(topic, func(s *Setting) { s.Size = size })
}

func (p *Producer) change(name string, f func(*Setting)) error {
	i := slices.IndexFunc(p.topics, func(t *topic) bool { return t.name == name })
	if i < 0 {
		return fmt.Errorf("topic %q is not one that this producer writes to", name)
	}
	t := p.topics[i]
	for {
		old := t.setting.Load()
		s := *old
		f(&s)
		if err := p.cfg.checkSetting(s); err != nil {
			return fmt.Errorf("topic %q: %w", name, err)
		}
		if t.setting.CompareAndSwap(old, &s) {
			t.changed()
			return nil
		}
	}
}

// changed makes a new setting take effect at once.
func (t *topic) changed() {
	s := t.setting.Load()
	t.p.log.Info("load set", "topic", t.name, "rate", s.Rate.String(), "size", s.Size.String())
	if limit := t.limit.Load(); t.p.ready.Load() && largestBatch(s.Size) > limit {
		t.p.log.Warn("messages of this size are too large for the topic: each will count as failed", "topic", t.name, "size", s.Size.String(), "max.message.bytes", limit)
	}
	t.nudge()
	t.p.keeper.hurry() // another rate needs another reserve
}

func (t *topic) nudge() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (p *Producer) noteLate(d time.Duration) {
	p.lateNow.Store(int64(d))
	for {
		old := p.late.Load()
		if int64(d) <= old || p.late.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// stop ends the load because of an error.
func (p *Producer) stop(err error) {
	if cancel := p.cancel.Load(); cancel != nil {
		(*cancel)(err)
	}
}

// Run makes the topics if it is to, checks that all is as it should be, and
// puts the load on them until ctx ends, the duration is over, or every topic
// has had its records. Then it waits for what was sent, as long as the shutdown
// timeout allows, and stores the ledger as closed; what has no outcome by then
// stays open in it.
//
// An error means that the load did not start, could not go on, or that the
// ledger could not be closed.
func (p *Producer) Run(ctx context.Context) error {
	opts, err := p.clientOptions()
	if err != nil {
		return err
	}
	p.client, err = kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("Kafka client options: %w", err)
	}
	p.closeClient = sync.OnceFunc(p.client.Close)
	defer p.closeClient()
	p.hand = p.client.Produce
	if err := p.prepare(ctx); err != nil {
		return err
	}
	store, err := ledger.Open(ctx, ledger.StoreConfig{Opts: p.options, Topic: ledger.SourceTopic, Replicas: p.cfg.LedgerReplicas}, p.log)
	if err != nil {
		return err
	}
	defer store.Close()
	return p.load(ctx, store)
}

// load runs everything that runs while there is load. The client and the
// streams are ready.
func (p *Producer) load(ctx context.Context, store putter) error {
	p.keeper.store = store
	p.started = time.Now()
	if err := p.keeper.write(ctx, false); err != nil {
		return fmt.Errorf("reserve the first sequences: %w", err)
	}

	// The keeper and the rates outlive the senders.
	background, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	keeping, rating := make(chan struct{}), make(chan struct{})
	var helpers sync.WaitGroup
	helpers.Go(func() { p.keeper.run(background, keeping) })
	helpers.Go(func() { p.tellRates(background, store, rating) })

	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.cancel.Store(&cancel)
	var watchers sync.WaitGroup
	watchers.Go(func() { p.watchPartitions(work) })
	if p.watcher != nil {
		watchers.Go(func() { p.watcher.watch(work, p) })
	}

	start := time.Now()
	var end time.Time
	if p.cfg.Duration > 0 {
		end = start.Add(p.cfg.Duration)
	}
	p.ready.Store(true)
	p.log.Info("load runs", "run", fmt.Sprintf("%016x", p.run), "topics", len(p.topics))
	var senders sync.WaitGroup
	for _, t := range p.topics {
		senders.Go(func() {
			if err := t.run(work, start, end); err != nil {
				cancel(fmt.Errorf("topic %q: %w", t.name, err))
			}
		})
	}
	senders.Wait()
	p.ready.Store(false)
	failed := context.Cause(work)
	if ctx.Err() != nil {
		failed = nil // asked to stop
	}
	cancel(nil)
	watchers.Wait()

	// Most of the time is for the records, the rest for the ledger.
	deadline := time.Now().Add(p.cfg.ShutdownTimeout)
	time.AfterFunc(p.cfg.ShutdownTimeout, abandon)
	flush, done := context.WithDeadline(background, deadline.Add(-p.cfg.ShutdownTimeout/5))
	defer done()
	if err := p.client.Flush(flush); err != nil {
		p.log.Warn("records without an outcome are given up: the ledger leaves them open, and the source log will tell", "records", p.inFlight())
	}
	// Before the ledger says that nothing will be sent any more.
	p.closeClient()
	p.pending.Wait()
	close(rating)
	close(keeping)
	helpers.Wait()
	if err := p.keeper.write(background, true); err != nil {
		return errors.Join(failed, fmt.Errorf("store the closed ledger: the verdict will take this producer for dead: %w", err))
	}
	sum := p.Progress()
	p.log.Info("load ended", "scheduled", sum.Scheduled, "acked", sum.Acked, "shed", sum.Shed, "failed", sum.Failed, "unresolved", sum.Unresolved)
	return failed
}

func (p *Producer) clientOptions() ([]kgo.Opt, error) {
	compression, err := codec(p.cfg.Compression)
	if err != nil {
		return nil, err
	}
	opts := append(slices.Clone(p.options),
		kgo.WithLogger(connect.Logger(p.log)),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(p.cfg.Linger),
		kgo.ProducerBatchCompression(compression),
		kgo.ProducerBatchMaxBytesFn(p.batchMax),
		// Our own buffer bounds what the client holds, so Produce never blocks.
		kgo.MaxBufferedRecords(math.MaxInt32),
		kgo.UnknownTopicRetries(-1),
		kgo.MetadataMinAge(min(500*time.Millisecond, p.cfg.MetadataInterval)), // a moved leader is found soon
		kgo.MetadataMaxAge(p.cfg.MetadataInterval),
		kgo.ProducerOnDataLossDetected(p.dataLost),
		kgo.WithHooks(hooks{p}),
	)
	if p.cfg.DeliveryTimeout > 0 {
		opts = append(opts, kgo.RecordDeliveryTimeout(p.cfg.DeliveryTimeout))
	}
	switch p.cfg.Acks {
	case AcksLeader:
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()))
	case AcksNone:
		opts = append(opts, kgo.RequiredAcks(kgo.NoAck()))
	default:
		opts = append(opts, kgo.RequiredAcks(kgo.AllISRAcks()))
	}
	if !p.cfg.Idempotent {
		opts = append(opts, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(max(1, p.cfg.MaxInFlight)))
	}
	return opts, nil
}

// dataLost is told by the client when a partition no longer has what it had
// acknowledged.
func (p *Producer) dataLost(name string, partition int32) {
	p.log.Error("the source cluster lost acknowledged data", "topic", name, "partition", partition)
	p.losses.Add(1)
	for _, s := range p.keeper.all() {
		if s.topic.name == name && s.state.Stream.Partition == partition {
			s.suspect()
		}
	}
}

// hooks hear from the client what its promises do not tell.
type hooks struct{ p *Producer }

// OnBrokerDisconnect counts lost connections.
func (h hooks) OnBrokerDisconnect(kgo.BrokerMetadata, net.Conn) { h.p.lost.Add(1) }
