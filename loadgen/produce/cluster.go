package produce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/topics"
)

// defaultMaxMessageBytes is Kafka's default for max.message.bytes.
const defaultMaxMessageBytes = 1_048_588

// prepare makes the topics if it is to, and checks everything that could make
// the load fail.
func (p *Producer) prepare(ctx context.Context) error {
	admin := kadm.NewClient(p.client)
	if p.cfg.CreateTopics {
		if err := p.ensure(ctx, p.all()); err != nil {
			return err
		}
	}
	if len(p.cfg.Topics) > 0 {
		if err := topics.Check(ctx, p.client, p.cfg.Topics, topics.Write); err != nil {
			return err
		}
	}
	if p.cfg.Idempotent {
		if _, _, err := p.client.ProducerID(ctx); connect.Denied(err) {
			return fmt.Errorf("no permission for an idempotent producer: grant this user WRITE on the topics (before Kafka 2.8 IDEMPOTENT_WRITE on the cluster), or use --idempotent=false: %w", err)
		} else if err != nil {
			return fmt.Errorf("ask for a producer id: %w", err)
		}
	}
	var errs []error
	var away error
	for _, t := range p.all() {
		if t.current.Load() != nil {
			continue // before something else failed
		}
		switch err := p.prepareTopic(ctx, admin, t); {
		case transient(err):
			away = err
		default:
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return away
}

// ensure makes those topics that do not exist.
func (p *Producer) ensure(ctx context.Context, wanted []*topic) error {
	for _, t := range wanted {
		ensured, err := topics.Ensure(ctx, p.client, p.cfg.topicsConfig([]string{t.name}, t.setting.Load().Size))
		if err != nil {
			return err
		}
		for _, difference := range ensured.Differences {
			p.log.Warn(difference)
		}
	}
	return nil
}

// startAgain is the pause after a start that failed because of brokers that are
// away.
const startAgain = 500 * time.Millisecond

// insist calls do until it succeeds, ctx ends, or its error is one that lasts:
// producers start while brokers are down, since that is what tests are made of.
func (p *Producer) insist(ctx context.Context, do func() error) error {
	said := ""
	for {
		err := do()
		if err == nil || ctx.Err() != nil || !transient(err) {
			return err
		}
		if err.Error() != said {
			said = err.Error()
			p.log.Warn("the load cannot start yet; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(startAgain):
		}
	}
}

// transient reports whether an error is of brokers that are away at the moment,
// or do not know yet what others know.
func transient(err error) bool {
	var answer *kerr.Error
	if errors.As(err, &answer) {
		return answer.Retriable
	}
	return err != nil && kgo.IsRetryableBrokerErr(err)
}

// startComing starts the load on topics that the settings file names and that
// did not exist when the producer started, until ctx ends.
func (p *Producer) startComing(ctx context.Context, started chan<- *topic) {
	admin := kadm.NewClient(p.client)
	ticker := time.NewTicker(p.cfg.MetadataInterval)
	defer ticker.Stop()
	said := map[*topic]string{}
	for {
		var ready []*topic
		for _, t := range p.awaited() {
			err := p.startOne(ctx, admin, t)
			switch {
			case err == nil:
				ready = append(ready, t)
			case ctx.Err() == nil && said[t] != err.Error():
				said[t] = err.Error()
				p.log.Warn("waiting for a topic", "topic", t.name, "error", err)
			}
		}
		if len(ready) > 0 && !p.admit(ctx, ready, started) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// startOne makes a topic ready for load, except that nothing is reserved yet.
func (p *Producer) startOne(ctx context.Context, admin *kadm.Client, t *topic) error {
	if p.cfg.CreateTopics {
		if err := p.ensure(ctx, []*topic{t}); err != nil {
			return err
		}
	}
	if err := topics.Check(ctx, p.client, []string{t.name}, topics.Write); err != nil {
		return err
	}
	return p.prepareTopic(ctx, admin, t)
}

// admit has the first sequences of topics reserved and then the load begin; it
// returns false if ctx ended before.
func (p *Producer) admit(ctx context.Context, ready []*topic, started chan<- *topic) bool {
	for err := p.keeper.now(ctx); err != nil; err = p.keeper.now(ctx) {
		if ctx.Err() != nil {
			return false
		}
	}
	p.mu.Lock()
	p.topics = append(p.topics[:len(p.topics):len(p.topics)], ready...)
	p.mu.Unlock()
	for _, t := range ready {
		p.log.Info("load begins", "topic", t.name, "partitions", len(t.current.Load().streams))
		select {
		case started <- t:
		case <-ctx.Done():
			return false
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.coming = slices.DeleteFunc(p.coming, func(t *topic) bool { return slices.Contains(ready, t) })
	return true
}

func (p *Producer) prepareTopic(ctx context.Context, admin *kadm.Client, t *topic) error {
	known, err := t.readLimit(ctx, admin)
	if err != nil {
		return err
	}
	if size := t.setting.Load().Size; largestBatch(size) > t.limit.Load() {
		if known {
			return fmt.Errorf("message size %s is too large for topic %q, which takes %d bytes: use a smaller size, or raise the topic's max.message.bytes to %d", size, t.name, t.limit.Load(), largestBatch(size))
		}
		t.limit.Store(largestBatch(size)) // the broker will tell
	}
	ends, err := endOffsets(ctx, admin, t.name)
	if err != nil {
		return err
	}
	e, err := p.newEpoch(t, 0, ends)
	if err != nil {
		return err
	}
	// The first record of the load goes to this stream, so the control is in its
	// place soon.
	partition, _ := e.keys.Pick(0)
	e.streams[partition].control = int64(p.run & 3)
	t.current.Store(e)
	p.keeper.add(e.streams)
	return nil
}

// newEpoch returns the streams of a topic with as many partitions as there are
// end offsets.
func (p *Producer) newEpoch(t *topic, number uint32, ends []int64) (*epoch, error) {
	keys, err := message.NewKeys(p.cfg.Keys, int32(len(ends)), message.DefaultKeysPerPartition)
	if err != nil {
		return nil, fmt.Errorf("topic %q: %w", t.name, err)
	}
	e := &epoch{number: number, keys: keys}
	for i, end := range ends {
		e.streams = append(e.streams, newStream(t, e, int32(i), end, p.run))
	}
	return e, nil
}

// endOffsets returns those of all partitions of a topic.
func endOffsets(ctx context.Context, admin *kadm.Client, name string) ([]int64, error) {
	listed, err := admin.ListEndOffsets(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("ask for the end of topic %q: %w", name, err)
	}
	found := listed[name]
	ends := make([]int64, len(found))
	for i := range ends {
		o, ok := found[int32(i)]
		switch {
		case !ok:
			return nil, fmt.Errorf("ask for the end of topic %q: partition %d is missing: %w", name, i, kerr.UnknownTopicOrPartition)
		case connect.Denied(o.Err):
			return nil, fmt.Errorf("no permission to see topic %q: grant this user DESCRIBE on it: %w", name, o.Err)
		case o.Err != nil:
			return nil, fmt.Errorf("ask for the end of partition %d of topic %q (has it a leader?): %w", i, name, o.Err)
		}
		ends[i] = o.Offset
	}
	return ends, nil
}

// readLimit asks how large a batch the topic takes. known is false if this user
// may not ask; then the limit is left as it is.
func (t *topic) readLimit(ctx context.Context, admin *kadm.Client) (known bool, err error) {
	configs, err := admin.DescribeTopicConfigs(ctx, t.name)
	var found kadm.ResourceConfig
	if err == nil {
		found, err = configs.On(t.name, nil)
	}
	if err == nil {
		err = found.Err
	}
	if connect.Denied(err) {
		t.p.log.Warn("no permission to ask for the largest message of the topic (DESCRIBE_CONFIGS): Kafka's default is assumed", "topic", t.name)
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask for the settings of topic %q: %w", t.name, err)
	}
	for _, c := range found.Configs {
		if c.Key != "max.message.bytes" || c.Value == nil {
			continue
		}
		limit, err := strconv.ParseInt(*c.Value, 10, 64)
		if err != nil {
			return false, fmt.Errorf("max.message.bytes %q of topic %q is not a number: %w", *c.Value, t.name, err)
		}
		t.limit.Store(min(limit, largestBatch(maxMessageSize)))
		return true, nil
	}
	return false, nil
}

// batchMax is asked by the client when it first sees a partition.
func (p *Producer) batchMax(name string) int32 {
	const least = 512 // for the client
	for _, t := range p.all() {
		if t.name == name {
			return int32(max(least, t.limit.Load()))
		}
	}
	return defaultMaxMessageBytes
}

// watchPartitions follows topics that grow.
func (p *Producer) watchPartitions(ctx context.Context) {
	admin := kadm.NewClient(p.client)
	latest := map[*topic]*epoch{}
	ticker := time.NewTicker(p.cfg.MetadataInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, t := range p.all() {
			if latest[t] == nil {
				latest[t] = t.current.Load()
			}
			if !p.hasGrown(t, len(latest[t].streams)) {
				continue
			}
			e, err := p.grow(ctx, admin, t, latest[t])
			if err != nil {
				if ctx.Err() == nil {
					p.log.Warn("the topic has more partitions and cannot be followed yet", "topic", t.name, "error", err)
				}
				continue
			}
			latest[t] = e
		}
	}
}

// hasGrown says whether the client, which refreshes its metadata by itself,
// knows of more partitions than there were, each with a leader.
func (p *Producer) hasGrown(t *topic, were int) bool {
	for n := were; ; n++ {
		leader, _, err := p.client.PartitionLeader(t.name, int32(n))
		if err != nil {
			return false
		}
		if leader < 0 {
			return n > were
		}
	}
}

// grow starts a new epoch: new streams for all partitions, since the keys are
// spread anew. The sender goes over to it once its first sequences are reserved.
func (p *Producer) grow(ctx context.Context, admin *kadm.Client, t *topic, old *epoch) (*epoch, error) {
	ends, err := endOffsets(ctx, admin, t.name)
	if err != nil {
		return nil, err
	}
	// The broker that was asked may know less or more than the client.
	if leader, _, err := p.client.PartitionLeader(t.name, int32(len(ends)-1)); err != nil || leader < 0 || len(ends) <= len(old.streams) {
		return nil, fmt.Errorf("brokers do not agree on it yet: %w", errors.Join(err, kerr.UnknownTopicOrPartition))
	}
	e, err := p.newEpoch(t, old.number+1, ends)
	if err != nil {
		return nil, err
	}
	p.keeper.add(e.streams)
	for err = p.keeper.now(ctx); err != nil; err = p.keeper.now(ctx) {
		if ctx.Err() != nil {
			return nil, err
		}
	}
	if _, err := t.readLimit(ctx, admin); err != nil {
		p.log.Warn("the topic's largest message is unknown", "topic", t.name, "error", err)
	}
	if unused := t.upcoming.Swap(e); unused != nil {
		unused.retired.Store(true)
	}
	t.nudge()
	p.log.Info("the topic has more partitions", "topic", t.name, "partitions", len(ends), "epoch", e.number)
	return e, nil
}
