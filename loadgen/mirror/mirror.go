// Package mirror is a replicator in the same process: it copies topics from one
// cluster to another, partition by partition, and can be told to make the
// mistakes that real replicators make. It serves to show that the verdict sees
// each of them, and needs nothing but two clusters.
package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/topics"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
)

// Config says what a mirror copies, and what it does wrong.
type Config struct {
	// Topics to copy; none means every topic of the source but internal ones.
	// The ledger topics are never copied.
	Topics []string
	// Group names the positions. They are kept at the destination, so that a
	// failing source does not keep the mirror from storing them.
	Group string
	// RefreshInterval is how often topics and partitions are looked for.
	RefreshInterval time.Duration
	// CommitInterval is how often positions are stored. What was copied since is
	// copied again after a crash.
	CommitInterval time.Duration
	// ShutdownTimeout bounds how long Run goes on after its context has ended, to
	// finish what is under way and store positions. With 0 it does neither, as
	// after a kill -9.
	ShutdownTimeout time.Duration
	// LogAppendTime makes destination topics that the mirror creates carry the
	// broker's time.
	LogAppendTime bool
	// Faults are what goes wrong, each taking the records as the one before it
	// passed them on.
	Faults []FaultConfig
}

// SetDefaults sets every field to its default. Call it before the user's
// settings are read; faults have defaults of their own.
func (c *Config) SetDefaults() {
	*c = Config{
		Group:           "kmt-mirror",
		RefreshInterval: 500 * time.Millisecond,
		CommitInterval:  time.Second,
		ShutdownTimeout: 10 * time.Second,
	}
}

// Validate reports every mistake in c at once.
func (c *Config) Validate() error {
	var errs []error
	if len(c.Topics) > 0 {
		errs = append(errs, topics.ValidateNames(c.Topics))
	}
	for _, name := range c.Topics {
		if excluded(name) {
			errs = append(errs, fmt.Errorf("topic %q is a ledger or internal and is never copied: leave it out", name))
		}
	}
	if c.Group == "" {
		errs = append(errs, errors.New("no group: name one, under which positions are stored"))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"refresh interval", c.RefreshInterval}, {"commit interval", c.CommitInterval}} {
		if d.value <= 0 {
			errs = append(errs, fmt.Errorf("%s %s: use more than 0", d.name, d.value))
		}
	}
	if c.ShutdownTimeout < 0 {
		errs = append(errs, fmt.Errorf("shutdown timeout %s: use 0 or more", c.ShutdownTimeout))
	}
	for i := range c.Faults {
		if err := c.Faults[i].Validate(); err != nil {
			errs = append(errs, fmt.Errorf("fault %d: %w", i+1, err))
		}
	}
	return errors.Join(errs...)
}

// defaultLimit is Kafka's own max.message.bytes.
const defaultLimit = 1_048_588

// excluded says whether a topic is none that a test writes to.
func excluded(topic string) bool {
	return topic == ledger.SourceTopic || topic == ledger.DestinationTopic || strings.HasPrefix(topic, "__")
}

// Deps are what a Mirror works with.
type Deps struct {
	Source, Destination []kgo.Opt // seeds and security; no consuming options
	Logger              *slog.Logger
}

// Mirror copies records until it is stopped.
type Mirror struct {
	cfg   Config
	deps  Deps
	log   *slog.Logger
	truth *Truth
	start time.Time

	source, admin *kgo.Client // admin: destination
	produce       *kgo.Client
	produceOpts   []kgo.Opt

	mu    sync.Mutex
	parts map[place]*partition
	sizes map[string]int32 // partitions of each topic, the same on both sides
	limit map[string]int32 // largest batch that the destination takes, by topic
	grown bool             // since the producing client was made
}

type place struct {
	topic     string
	partition int32
}

// partition is a source partition on its way.
type partition struct {
	faults []Fault // used by copy alone

	next   int64 // source offset of the record that is read next
	held   int64 // lowest offset that a fault holds back; -1: none
	flying []*flight
	// position: everything below has been dealt with. committed is what of it is
	// stored. Both are -1 before the first record.
	position, committed int64
}

// flight is a record handed to the client.
type flight struct {
	offset int64
	landed bool
}

// New makes a mirror that does nothing yet.
func New(cfg Config, deps Deps) (*Mirror, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Mirror{cfg: cfg, deps: deps, log: deps.Logger, truth: &Truth{}, parts: map[place]*partition{}, sizes: map[string]int32{}, limit: map[string]int32{}}, nil
}

// Truth is what the faults did. It may be read at any time.
func (m *Mirror) Truth() *Truth { return m.truth }

// Run copies until ctx ends, which is no error. It returns an error if it
// cannot begin.
func (m *Mirror) Run(ctx context.Context) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	if err := m.open(); err != nil {
		return err
	}
	defer m.source.Close()
	defer m.admin.Close()
	defer func() { m.produce.Close() }()
	m.start = time.Now()
	if err := m.discover(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("mirror: %w", err)
	}

	var background sync.WaitGroup
	every := func(interval time.Duration, what string, do func(context.Context) error) {
		background.Go(func() {
			tick := time.NewTicker(interval)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				if err := do(ctx); err != nil && ctx.Err() == nil {
					m.log.Warn("mirror cannot "+what+", will try again", "error", err)
				}
			}
		})
	}
	every(m.cfg.RefreshInterval, "look for topics", m.discover)
	every(m.cfg.CommitInterval, "store positions", m.commit)
	// What has been handed to the client is still written after ctx has ended.
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		if m.cfg.ShutdownTimeout == 0 {
			cancel()
			return
		}
		time.AfterFunc(m.cfg.ShutdownTimeout, cancel)
	})()
	err := m.copy(ctx, last)
	end()
	background.Wait()
	if m.cfg.ShutdownTimeout == 0 {
		return err
	}
	// Some of the time is for the positions.
	flush, stop := context.WithTimeout(last, m.cfg.ShutdownTimeout*3/4)
	defer stop()
	if flushErr := m.produce.Flush(flush); flushErr != nil {
		m.log.Warn("mirror stops with records under way; they are copied again when it returns", "error", flushErr)
	}
	if commitErr := m.commit(last); commitErr != nil {
		m.log.Warn("mirror stops without storing positions; it will copy some records again when it returns", "error", commitErr)
	}
	return err
}

func (m *Mirror) open() error {
	common := []kgo.Opt{
		kgo.WithLogger(connect.Logger(m.log.With("component", "mirror"))),
		// A topic that grows or moves should be noticed soon.
		kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.MetadataMaxAge(5 * time.Second),
	}
	source := append(slices.Concat(m.deps.Source, common),
		// Retention may take what was not copied yet; then go on with what is left.
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(250*time.Millisecond),
	)
	destination := slices.Concat(m.deps.Destination, common)
	var err error
	if m.source, err = kgo.NewClient(source...); err != nil {
		return fmt.Errorf("mirror: source: %w", err)
	}
	if m.admin, err = kgo.NewClient(destination...); err != nil {
		m.source.Close()
		return fmt.Errorf("mirror: destination: %w", err)
	}
	m.produceOpts = append(slices.Clone(destination),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytesFn(func(topic string) int32 {
			m.mu.Lock()
			defer m.mu.Unlock()
			return cmp.Or(m.limit[topic], defaultLimit)
		}),
		kgo.BrokerMaxWriteBytes(1<<30),
		kgo.ProducerLinger(2*time.Millisecond),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	)
	if m.produce, err = kgo.NewClient(m.produceOpts...); err != nil {
		m.source.Close()
		m.admin.Close()
		return fmt.Errorf("mirror: destination: %w", err)
	}
	return nil
}

// discover takes up topics and partitions that are new at the source, after
// making them at the destination.
func (m *Mirror) discover(ctx context.Context) error {
	want, err := m.sourceTopics(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, topic := range slices.Sorted(maps.Keys(want)) {
		m.mu.Lock()
		known := m.sizes[topic]
		m.mu.Unlock()
		if n := want[topic]; n > known {
			if err := m.take(ctx, topic, known, n); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// sourceTopics returns the number of partitions of each topic to copy.
func (m *Mirror) sourceTopics(ctx context.Context) (map[string]int32, error) {
	all, err := partitions(ctx, m.source, m.cfg.Topics)
	if err != nil {
		return nil, fmt.Errorf("look for topics at the source: %w", err)
	}
	maps.DeleteFunc(all, func(topic string, _ int32) bool { return excluded(topic) })
	return all, nil
}

// partitions asks the cluster itself for the number of partitions of the named
// topics, or of all. Those that do not exist are left out.
func partitions(ctx context.Context, client *kgo.Client, names []string) (map[string]int32, error) {
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	out := map[string]int32{}
	for _, t := range resp.Topics {
		if t.Topic != nil && (t.ErrorCode == 0 || t.ErrorCode == kerr.LeaderNotAvailable.Code) && len(t.Partitions) > 0 {
			out[*t.Topic] = int32(len(t.Partitions))
		}
	}
	return out, nil
}

// take begins to copy the partitions from known up to n of a topic.
func (m *Mirror) take(ctx context.Context, topic string, known, n int32) error {
	at, err := partitions(ctx, m.admin, []string{topic})
	if err != nil {
		return fmt.Errorf("look for topic %q at the destination: %w", topic, err)
	}
	switch have := at[topic]; {
	case have == 0:
		if err := m.create(ctx, topic, n); err != nil {
			if at, lookErr := partitions(ctx, m.admin, []string{topic}); lookErr != nil || at[topic] == 0 {
				return err
			}
			return m.take(ctx, topic, known, n) // somebody else has just made it
		}
	case have < n:
		if err := topics.Grow(ctx, m.admin, topics.Growth{Names: []string{topic}, Partitions: int(n)}); err != nil {
			return fmt.Errorf("at the destination: %w", err)
		}
	}
	settings, err := topics.Describe(ctx, m.admin, []string{topic})
	if err != nil {
		return fmt.Errorf("at the destination: %w", err)
	}
	limit := int32(defaultLimit)
	if n, err := strconv.ParseInt(settings[0].Settings["max.message.bytes"], 10, 32); err == nil {
		limit = int32(min(max(n, 512), 1<<29)) // what the client can do
	}
	stored, err := kadm.NewClient(m.admin).FetchOffsetsForTopics(ctx, m.cfg.Group, topic)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // the word for a group that never stored anything
		return fmt.Errorf("read positions of group %q: %w", m.cfg.Group, err)
	}
	begin := map[int32]kgo.Offset{}
	m.mu.Lock()
	for p := known; p < n; p++ {
		part := &partition{held: -1, position: -1, committed: -1}
		begin[p] = kgo.NewOffset().AtStart()
		if o, ok := stored.Lookup(topic, p); ok && o.Err == nil && o.At >= 0 {
			part.position, part.committed, part.next = o.At, o.At, o.At
			begin[p] = kgo.NewOffset().At(o.At)
		}
		for i := range m.cfg.Faults {
			f := m.cfg.Faults[i]
			if len(f.Partitions) > 0 && !slices.Contains(f.Partitions, p) {
				continue
			}
			part.faults = append(part.faults, newFault(f, i, Site{Topic: topic, Partition: p, Truth: m.truth, Partitions: func() int32 {
				m.mu.Lock()
				defer m.mu.Unlock()
				return m.sizes[topic]
			}}))
		}
		m.parts[place{topic, p}] = part
	}
	m.sizes[topic], m.limit[topic] = n, limit
	m.grown = m.grown || known > 0
	m.mu.Unlock()
	m.source.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: begin})
	m.log.Info("mirror copies partitions", "topic", topic, "from", known, "to", n-1)
	return nil
}

// create makes a topic at the destination like the one at the source.
func (m *Mirror) create(ctx context.Context, topic string, n int32) error {
	var c topics.Config
	c.SetDefaults()
	c.Names, c.Partitions, c.Retention, c.LogAppendTime = []string{topic}, int(n), 0, m.cfg.LogAppendTime
	like, err := topics.Describe(ctx, m.source, []string{topic})
	if err != nil {
		return fmt.Errorf("at the source: %w", err)
	}
	if ms, err := strconv.ParseInt(like[0].Settings["retention.ms"], 10, 64); err == nil && ms >= 1000 {
		c.Retention = time.Duration(ms) * time.Millisecond
	}
	if size, err := strconv.ParseInt(like[0].Settings["max.message.bytes"], 10, 64); err == nil && size > 0 {
		c.MaxMessageBytes = units.Size(size)
	}
	if err := topics.Create(ctx, m.admin, c); err != nil {
		return fmt.Errorf("at the destination: %w", err)
	}
	return nil
}

// copy reads, lets the faults have their way, and writes, until ctx ends; what
// is being written then goes on until last ends.
func (m *Mirror) copy(ctx, last context.Context) error {
	const (
		atMost  = 5000
		idle    = 100 * time.Millisecond
		holding = 5 * time.Millisecond // how exactly a record that is held back leaves in time
	)
	wait := idle
	for ctx.Err() == nil {
		poll, cancel := context.WithTimeout(ctx, wait)
		fetches := m.source.PollRecords(poll, atMost)
		cancel()
		if err := m.renew(ctx); err != nil {
			return err
		}
		came := map[place][]*kgo.Record{}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if p.Err != nil && !errors.Is(p.Err, context.DeadlineExceeded) && !errors.Is(p.Err, context.Canceled) {
				m.log.Warn("mirror cannot read, will try again", "topic", p.Topic, "partition", p.Partition, "error", p.Err)
			}
			if len(p.Records) > 0 {
				at := place{p.Topic, p.Partition}
				came[at] = append(came[at], p.Records...)
			}
		})
		wait = idle
		m.mu.Lock()
		parts := maps.Clone(m.parts)
		m.mu.Unlock()
		for at, part := range parts {
			if m.pass(last, at, part, came[at]) {
				wait = holding
			}
		}
	}
	return nil
}

// pass sends a partition's records through its faults and on. It reports
// whether any are held back.
func (m *Mirror) pass(ctx context.Context, at place, part *partition, came []*kgo.Record) bool {
	if len(came) == 0 && len(part.faults) == 0 {
		return false
	}
	records := make([]Record, len(came))
	for i, r := range came {
		records[i] = Record{Record: r, To: at.partition}
	}
	now := time.Since(m.start)
	held := int64(-1)
	for _, f := range part.faults {
		records = f.Pass(now, records)
		if h, ok := f.(Holder); ok {
			if offset, ok := h.Lowest(); ok && (held < 0 || offset < held) {
				held = offset
			}
		}
	}
	flights := make([]*flight, len(records))
	for i, r := range records {
		flights[i] = &flight{offset: r.Offset}
	}
	m.mu.Lock()
	part.flying = append(part.flying, flights...)
	part.held = held
	if len(came) > 0 {
		part.next = came[len(came)-1].Offset + 1
	}
	m.mu.Unlock()
	for i, r := range records {
		f := flights[i]
		out := &kgo.Record{Topic: r.Topic, Partition: r.To, Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp}
		m.produce.Produce(ctx, out, func(_ *kgo.Record, err error) {
			if err != nil {
				if ctx.Err() != nil || errors.Is(err, kgo.ErrClientClosed) {
					return // not landed: it is copied again after a restart
				}
				m.log.Error("mirror loses a record that the destination refuses", "topic", at.topic, "partition", at.partition, "offset", f.offset, "error", err)
				m.truth.add(Refused, at.topic, at.partition, f.offset)
			}
			m.mu.Lock()
			f.landed = true
			m.mu.Unlock()
		})
	}
	return held >= 0
}

// settle moves the position to the lowest offset that is held back or under
// way. It goes forward only: a copy of what was settled before changes nothing.
func (p *partition) settle() {
	p.flying = slices.DeleteFunc(p.flying, func(f *flight) bool { return f.landed })
	position := p.next
	for _, f := range p.flying {
		position = min(position, f.offset)
	}
	if p.held >= 0 {
		position = min(position, p.held)
	}
	p.position = max(p.position, position)
}

// renew makes a new producing client after partitions were added: the old one
// may not know them yet, and would refuse the records.
func (m *Mirror) renew(ctx context.Context) error {
	m.mu.Lock()
	grown := m.grown
	m.grown = false
	m.mu.Unlock()
	if !grown {
		return nil
	}
	if err := m.produce.Flush(ctx); err != nil {
		return nil // ctx has ended
	}
	m.produce.Close()
	var err error
	if m.produce, err = kgo.NewClient(m.produceOpts...); err != nil {
		return fmt.Errorf("mirror: destination: %w", err)
	}
	return nil
}

// commit stores the positions that have moved.
func (m *Mirror) commit(ctx context.Context) error {
	offsets := kadm.Offsets{}
	moved := map[*partition]int64{}
	m.mu.Lock()
	for at, part := range m.parts {
		if part.settle(); part.position > part.committed {
			offsets.AddOffset(at.topic, at.partition, part.position, -1)
			moved[part] = part.position
		}
	}
	m.mu.Unlock()
	if len(moved) == 0 {
		return nil
	}
	if err := kadm.NewClient(m.admin).CommitAllOffsets(ctx, m.cfg.Group, offsets); err != nil {
		return err
	}
	m.mu.Lock()
	for part, position := range moved {
		part.committed = position
	}
	m.mu.Unlock()
	return nil
}
