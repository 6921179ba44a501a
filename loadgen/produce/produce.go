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
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/settings"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/wallclock"
)

// Deps are what a Producer works with.
type Deps struct {
	// Options reach the source cluster: seeds and security.
	Options []kgo.Opt
	Logger  *slog.Logger
	// Registerer takes the metrics. Each Producer needs one of its own, or one
	// that adds a label (prometheus.WrapRegistererWith). Nil: none.
	Registerer prometheus.Registerer
	// Clock is where the times come from that are sent and recorded. Nil: the
	// machine's.
	Clock *wallclock.Clock
}

// Producer puts load on the source cluster. One Producer is one life: it runs
// once.
type Producer struct {
	cfg     Config
	options []kgo.Opt
	log     *slog.Logger
	clock   *wallclock.Clock
	run     uint64
	buffer  buffer
	reserve reserve
	filler  *message.Filler
	metrics *collector
	keeper  *keeper
	// unanswered: nobody tells what became of a record, so it counts as
	// acknowledged when it was sent.
	unanswered bool
	watcher    *settings.File // nil: no settings file
	reread     time.Duration  // how often it is read

	mu     sync.Mutex
	topics []*topic // that get load; it only grows
	coming []*topic // that the settings file names, or has named, and that are not there yet

	client      *kgo.Client
	closeClient func()
	hand        func(context.Context, *kgo.Record, func(*kgo.Record, error))

	_       apart
	pending sync.WaitGroup // records without an outcome
	_       apart

	answered atomic.Int64 // when a broker last answered, in Unix microseconds
	_        apart

	lost    atomic.Uint64 // connections lost so far
	losses  atomic.Uint64 // times the client noticed that the cluster had lost data
	late    atomic.Int64  // most by which we were behind, in nanoseconds, since the last snapshot
	lateNow atomic.Int64  // likewise, in the last batch
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
		clock:   deps.Clock,
		run:     rand.Uint64N(math.MaxUint64) + 1,
		buffer:  buffer{max: int64(cfg.MaxBuffered)},
		reserve: reserve{seconds: 30, least: 1000, guess: 1e6},

		unanswered: cfg.Acks == AcksNone,
	}
	filler, err := message.NewFiller(p.run, cfg.Compressibility)
	if err != nil {
		return nil, err
	}
	p.filler = filler
	p.metrics = newCollector(p)
	for _, name := range cfg.Topics {
		p.topics = append(p.topics, p.newTopic(name))
	}
	if cfg.SettingsFile != "" {
		p.watcher, p.reread = &settings.File{Path: cfg.SettingsFile}, settings.Every
		if err := p.watcher.Reload(p.apply); err != nil {
			return nil, err
		}
	}
	p.keeper = newKeeper(p)
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

// newTopic returns the load on a topic, as the configuration has it.
func (p *Producer) newTopic(name string) *topic {
	t := &topic{
		p:       p,
		name:    name,
		encoder: message.NewEncoder(p.cfg.format(), name, p.filler),
		wake:    make(chan struct{}, 1),
		acks:    latency.New(),
		id:      message.Identity{Test: message.TestHash(p.cfg.TestID), Producer: []byte(p.cfg.ID), Run: p.run},
	}
	t.setting.Store(&Setting{Rate: p.cfg.Throughput, Size: p.cfg.MessageSize})
	t.limit.Store(defaultMaxMessageBytes)
	return t
}

// all returns the topics that get load.
func (p *Producer) all() []*topic {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.topics
}

// awaited returns the topics that are to get load once they exist.
func (p *Producer) awaited() []*topic {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.coming), func(t *topic) bool { return t.setting.Load().paused() })
}

// Ready returns nil while the load runs on every topic, and otherwise what is
// missing.
func (p *Producer) Ready() error {
	if !p.ready.Load() {
		return errors.New("the load does not run")
	}
	if waiting := p.awaited(); len(waiting) > 0 {
		return fmt.Errorf("waiting for topic %s", waiting[0].name)
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
	topics := p.all()
	i := slices.IndexFunc(topics, func(t *topic) bool { return t.name == name })
	if i < 0 {
		return fmt.Errorf("topic %q is not one that this producer writes to", name)
	}
	t := topics[i]
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
	if s.paused() {
		t.p.log.Info("nothing more is sent to a topic", "topic", t.name)
	} else {
		t.p.log.Info("load set", "topic", t.name, "rate", s.Rate.String(), "size", s.Size.String())
	}
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

// Run makes the topics if it is to, checks that all is as it should be, waiting
// for brokers that are away at the moment, and puts the load on them until ctx
// ends, the duration is over, or every topic has had its records. Then it waits for what was sent, as long as the shutdown
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
	var store *ledger.Store
	if err := p.insist(ctx, func() error {
		err := p.prepare(ctx)
		if err == nil {
			store, err = ledger.Open(ctx, ledger.StoreConfig{Opts: p.options, Topic: ledger.SourceTopic, Replicas: p.cfg.LedgerReplicas, Clock: p.clock}, p.log)
		}
		return err
	}); err != nil {
		return err
	}
	defer store.Close()
	return p.load(ctx, store)
}

// load runs everything that runs while there is load. The client and the
// streams are ready.
func (p *Producer) load(ctx context.Context, store putter) error {
	p.keeper.store = store
	p.started = p.clock.At(time.Now())
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
	started := make(chan *topic)
	if p.watcher != nil {
		watchers.Go(func() { p.watcher.Watch(work, p.reread, p.log, p.apply) })
		watchers.Go(func() { p.startComing(work, started) })
	}

	start := time.Now()
	var end time.Time
	if p.cfg.Duration > 0 {
		end = start.Add(p.cfg.Duration)
	}
	p.ready.Store(true)
	p.log.Info("load runs", "run", fmt.Sprintf("%016x", p.run), "topics", len(p.all()))
	p.send(work, cancel, start, end, started)
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

// send puts the load on all topics, and on each that comes out of started, until
// ctx ends, it is end (if that is not zero), or all have had their records.
func (p *Producer) send(ctx context.Context, cancel context.CancelCauseFunc, start, end time.Time, started <-chan *topic) {
	running := 0
	ended := make(chan struct{})
	run := func(t *topic, from time.Time) {
		running++
		go func() {
			if err := t.run(ctx, from, end); err != nil {
				cancel(fmt.Errorf("topic %q: %w", t.name, err))
			}
			ended <- struct{}{}
		}()
	}
	for _, t := range p.all() {
		run(t, start)
	}
	over, stop := ctx, context.CancelFunc(func() {})
	if !end.IsZero() {
		over, stop = context.WithDeadline(ctx, end)
	}
	defer stop()
	look := time.NewTicker(p.cfg.MetadataInterval)
	defer look.Stop()
	// With a settings file there may be nothing to send to at the moment.
	more := func() bool {
		return p.watcher != nil && over.Err() == nil && (p.cfg.Records == 0 || len(p.awaited()) > 0)
	}
	for running > 0 || more() {
		done := over.Done()
		if over.Err() != nil {
			done = nil
		}
		select {
		case t := <-started:
			run(t, time.Now())
		case <-ended:
			running--
		case <-done:
		case <-look.C:
		}
	}
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

// OnBrokerRead notes when an answer came: what it acknowledges is told right after, record by record,
// and need not ask for the time each time.
func (h hooks) OnBrokerRead(kgo.BrokerMetadata, int16, int, time.Duration, time.Duration, error) {
	h.p.answered.Store(time.Now().UnixMicro())
}

// OnBrokerDisconnect counts lost connections.
func (h hooks) OnBrokerDisconnect(kgo.BrokerMetadata, net.Conn) { h.p.lost.Add(1) }
