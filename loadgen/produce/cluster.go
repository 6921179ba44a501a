package produce

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

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
		ensured, err := topics.Ensure(ctx, p.client, p.cfg.topicsConfig(p.cfg.Topics))
		if err != nil {
			return err
		}
		for _, difference := range ensured.Differences {
			p.log.Warn(difference)
		}
	}
	if err := topics.Check(ctx, p.client, p.cfg.Topics, topics.Write); err != nil {
		return err
	}
	if p.cfg.Idempotent {
		if _, _, err := p.client.ProducerID(ctx); connect.Denied(err) {
			return fmt.Errorf("no permission for an idempotent producer: grant this user WRITE on the topics (before Kafka 2.8 IDEMPOTENT_WRITE on the cluster), or use --idempotent=false: %w", err)
		} else if err != nil {
			return fmt.Errorf("ask for a producer id: %w", err)
		}
	}
	var errs []error
	for _, t := range p.topics {
		errs = append(errs, p.prepareTopic(ctx, admin, t))
	}
	return errors.Join(errs...)
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
			return nil, fmt.Errorf("ask for the end of topic %q: partition %d is missing", name, i)
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
	for _, t := range p.topics {
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
	for _, t := range p.topics {
		latest[t] = t.current.Load()
	}
	ticker := time.NewTicker(p.cfg.MetadataInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, t := range p.topics {
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
