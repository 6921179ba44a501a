package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/rawlog"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// cluster is one of the two clusters, with its ledger.
type cluster struct {
	side   string
	test   string
	client *kgo.Client
	admin  *kadm.Client
	store  *ledger.Store
	reader *ledger.Reader
	last   map[verdict.TopicPartition]reach
}

func openCluster(ctx context.Context, side string, opts []kgo.Opt, topic string, cfg Config, log *slog.Logger) (*cluster, error) {
	// After a leader has moved, looking must go on soon.
	opts = append([]kgo.Opt{kgo.MetadataMinAge(250 * time.Millisecond)}, opts...)
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("%s cluster: %w", side, err)
	}
	c := &cluster{side: side, test: cfg.TestID, client: client, admin: kadm.NewClient(client), last: map[verdict.TopicPartition]reach{}}
	store, err := ledger.Open(ctx, ledger.StoreConfig{Opts: opts, Topic: topic, Replicas: cfg.LedgerReplicas}, log)
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("%s cluster: %w", side, err)
	}
	c.store = store
	if c.reader, err = ledger.NewReader(ledger.ReaderConfig{Opts: opts, Topic: topic, Test: cfg.TestID}); err != nil {
		c.close()
		return nil, fmt.Errorf("%s cluster: %w", side, err)
	}
	return c, nil
}

func (c *cluster) close() {
	if c.reader != nil {
		c.reader.Close()
	}
	if c.store != nil {
		c.store.Close()
	}
	c.client.Close()
}

// epochEnds asks where the log of the given leader epochs ends. Partitions whose
// epoch the cluster does not know are left out.
func (c *cluster) epochEnds(ctx context.Context, epochs map[verdict.TopicPartition]int32) (map[verdict.TopicPartition]int64, error) {
	if len(epochs) == 0 {
		return nil, nil
	}
	var req kadm.OffsetForLeaderEpochRequest
	for tp, epoch := range epochs {
		req.Add(tp.Topic, tp.Partition, epoch)
	}
	resp, err := c.admin.OffsetForLeaderEpoch(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("ask the %s cluster where leader epochs end: %w", c.side, err)
	}
	out := map[verdict.TopicPartition]int64{}
	for topic, parts := range resp {
		for p, r := range parts {
			if r.Err != nil || r.EndOffset < 0 {
				continue // asked again at the next look
			}
			out[verdict.TopicPartition{Topic: topic, Partition: p}] = r.EndOffset
		}
	}
	return out, nil
}

// findCuts calls cut for every partition whose log was truncated since the last
// call: where the leader epoch of then ends below the end of then.
func (c *cluster) findCuts(ctx context.Context, now map[string]topicBounds, cut func(verdict.TopicPartition, int64)) error {
	ask := map[verdict.TopicPartition]int32{}
	for topic, b := range now {
		for p, epoch := range b.epochs {
			tp := verdict.TopicPartition{Topic: topic, Partition: p}
			if last, ok := c.last[tp]; ok && last.epoch != epoch && last.epoch >= 0 {
				ask[tp] = last.epoch
			}
		}
	}
	ends, err := c.epochEnds(ctx, ask)
	if err != nil {
		return err
	}
	for tp, end := range ends {
		if end < c.last[tp].end {
			cut(tp, end)
		}
	}
	for topic, b := range now {
		for p, epoch := range b.epochs {
			tp := verdict.TopicPartition{Topic: topic, Partition: p}
			_, asked := ask[tp]
			if _, answered := ends[tp]; !asked || answered {
				c.last[tp] = reach{epoch: epoch, end: b.partitions[p].End}
			}
		}
	}
	return nil
}

// reach is how far a log reached, and in which leader epoch.
type reach struct {
	epoch int32
	end   int64
}

// topicBounds are the bounds of all partitions of a topic as it is now.
type topicBounds struct {
	id         [16]byte
	partitions map[int32]verdict.Bounds
	epochs     map[int32]int32 // the leader epoch in which the log ends; -1: not known
}

// bounds asks for the bounds of the topics' logs. Topics that do not exist are
// left out.
func (c *cluster) bounds(ctx context.Context, topics []string) (map[string]topicBounds, error) {
	if len(topics) == 0 {
		return nil, nil // to ask for none is to ask for all
	}
	meta, err := c.admin.Metadata(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("ask the %s cluster for its topics: %w", c.side, err)
	}
	out := map[string]topicBounds{}
	var exist []string
	for _, t := range meta.Topics {
		if errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
			continue
		}
		if t.Err != nil {
			return nil, fmt.Errorf("ask the %s cluster for topic %s: %w", c.side, t.Topic, t.Err)
		}
		exist = append(exist, t.Topic)
		out[t.Topic] = topicBounds{id: t.ID, partitions: map[int32]verdict.Bounds{}, epochs: map[int32]int32{}}
	}
	if len(exist) == 0 {
		return out, nil
	}
	starts, err := c.admin.ListStartOffsets(ctx, exist...)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask the %s cluster where its logs start: %w", c.side, err)
	}
	ends, err := c.admin.ListEndOffsets(ctx, exist...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask the %s cluster where its logs end: %w", c.side, err)
	}
	starts.Each(func(o kadm.ListedOffset) {
		b := out[o.Topic].partitions[o.Partition]
		b.Start = o.Offset
		out[o.Topic].partitions[o.Partition] = b
	})
	ends.Each(func(o kadm.ListedOffset) {
		b := out[o.Topic].partitions[o.Partition]
		b.End = o.Offset
		out[o.Topic].partitions[o.Partition] = b
		out[o.Topic].epochs[o.Partition] = o.LeaderEpoch
	})
	return out, nil
}

// scanned is one record of this test in the source log.
type scanned struct {
	stream           ledger.Stream
	sequence         uint64
	offset, intended int64
}

// scan reads the partition's log in [from, to), to its present end if to is
// negative, and calls fn for each record of this test. It returns from which
// offset on the log was really there, and to which it was read.
func (c *cluster) scan(ctx context.Context, tp verdict.TopicPartition, from, to int64, fn func(*scanned)) (begin, end int64, err error) {
	all, err := c.bounds(ctx, []string{tp.Topic})
	if err != nil {
		return 0, 0, err
	}
	b, ok := all[tp.Topic].partitions[tp.Partition]
	if !ok {
		return 0, 0, fmt.Errorf("the %s cluster has no partition %d of %s", c.side, tp.Partition, tp.Topic)
	}
	if to < 0 || to > b.End {
		to = b.End
	}
	from = max(from, b.Start)
	if from >= to {
		return from, from, nil
	}
	var (
		dec  = message.NewDecoder(c.test)
		rec  scanned
		next = from
	)
	for next < to {
		part, err := rawlog.Fetch(ctx, c.client, tp.Topic, all[tp.Topic].id, tp.Partition, next)
		if errors.Is(err, kerr.OffsetOutOfRange) {
			// Retention has gone ahead of us: what it took is not proven absent.
			all, err := c.bounds(ctx, []string{tp.Topic})
			if err != nil {
				return 0, 0, err
			}
			if start := all[tp.Topic].partitions[tp.Partition].Start; start > next {
				from, next = start, start
				continue
			}
			return 0, 0, fmt.Errorf("read the %s log: the end of %s/%d has moved back below offset %d", c.side, tp.Topic, tp.Partition, next)
		}
		if err != nil {
			return 0, 0, fmt.Errorf("read the %s log: %w", c.side, err)
		}
		for _, r := range part.Records {
			if r.Offset < to && c.decode(dec, r, tp.Topic, &rec) {
				fn(&rec)
			}
		}
		next = part.Next
	}
	return from, next, nil
}

// decode says whether r is a record of this test, and writes which one it is to rec.
func (c *cluster) decode(dec *message.Decoder, r *kgo.Record, topic string, rec *scanned) bool {
	var id message.Identity
	if r.Attrs.IsControl() || dec.Decode(r, topic, &id) != message.OK {
		return false
	}
	*rec = scanned{
		stream:   ledger.Stream{Run: id.Run, Topic: topic, Epoch: id.Epoch, Partition: id.Partition},
		sequence: id.Sequence, offset: r.Offset, intended: id.Intended,
	}
	return true
}

// firstsBytes is how much of a log is read for the first record of each stream in it: at 1 MB/s of a partition
// a second of load.
const firstsBytes = 1 << 20

// firsts reads the log at its start, and returns the first record of each stream that stands there.
func (c *cluster) firsts(ctx context.Context, tp verdict.TopicPartition, id [16]byte, start int64) (map[ledger.Stream]ledger.Sample, error) {
	part, err := rawlog.FetchSome(ctx, c.client, tp.Topic, id, tp.Partition, start, firstsBytes)
	if err != nil {
		return nil, fmt.Errorf("read the start of the %s log: %w", c.side, err)
	}
	var (
		dec = message.NewDecoder(c.test)
		rec scanned
		out = map[ledger.Stream]ledger.Sample{}
	)
	for _, r := range part.Records {
		if !c.decode(dec, r, tp.Topic, &rec) {
			continue
		}
		if _, ok := out[rec.stream]; !ok {
			out[rec.stream] = ledger.Sample{Sequence: rec.sequence, Offset: rec.offset, Intended: rec.intended}
		}
	}
	return out, nil
}
