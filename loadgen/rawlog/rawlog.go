// Package rawlog reads a partition's log at exact offsets, one request at a
// time. Unlike a consumer it never moves by itself, and it says up to which
// offset the log was looked at, also where transactions or compaction left no
// record behind.
package rawlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ErrTopicID is wrapped by Fetch when the topic is not the one that was asked
// for: it was deleted and made anew.
var ErrTopicID = errors.New("the topic was deleted and made anew")

// ErrDamaged is wrapped by Fetch when the log holds something that cannot be
// read, such as a batch with a wrong checksum.
var ErrDamaged = errors.New("the log is damaged")

// Part is what one fetch returned.
type Part struct {
	// Records in rising order of offset, with the markers of transactions.
	Records []*kgo.Record
	// Next is the first offset that was not looked at: what lies between the
	// offset asked for and Next is either in Records or does not exist.
	Next int64
	// LogStart is the log's first offset, HighWatermark the one after the last
	// that may be read.
	LogStart, HighWatermark int64
	// LastStable is the offset up to which every transaction has ended: FetchCommitted
	// reads no further.
	LastStable int64
}

const (
	maxBytes = 8 << 20 // of an answer to Fetch; a larger batch is returned whole
	maxWait  = 250 * time.Millisecond
	// spread is how long the news of a new topic may take to reach all brokers.
	spread = 3 * time.Second
)

// Fetch reads from offset on. It answers after at most a quarter of a second,
// with no records if there are none. id is the topic that is meant; all zero
// stands for whichever has the name. Moving leaders and unreachable brokers are
// retried until ctx ends. Other errors are returned as they are, among them
// kerr.OffsetOutOfRange.
func Fetch(ctx context.Context, client *kgo.Client, topic string, id [16]byte, partition int32, offset int64) (Part, error) {
	return retry(ctx, client, topic, id, partition, offset, kgo.ReadUncommitted(), maxBytes)
}

// FetchSome is Fetch of about limit bytes at most. A batch that is larger is returned whole.
func FetchSome(ctx context.Context, client *kgo.Client, topic string, id [16]byte, partition int32, offset int64, limit int32) (Part, error) {
	return retry(ctx, client, topic, id, partition, offset, kgo.ReadUncommitted(), limit)
}

// FetchCommitted is Fetch for a reader that is not to see what was never
// committed: it leaves out the records of aborted transactions, and reads no
// further than the first record of a transaction that is open.
func FetchCommitted(ctx context.Context, client *kgo.Client, topic string, id [16]byte, partition int32, offset int64) (Part, error) {
	return retry(ctx, client, topic, id, partition, offset, kgo.ReadCommitted(), maxBytes)
}

func retry(ctx context.Context, client *kgo.Client, topic string, id [16]byte, partition int32, offset int64, level kgo.IsolationLevel, limit int32) (Part, error) {
	// A leader that is remembered is good enough until it answers otherwise.
	cached := time.Minute
	started := time.Now()
	for backoff := 20 * time.Millisecond; ; backoff = min(2*backoff, time.Second) {
		part, err := fetch(ctx, client, topic, id, partition, offset, level, limit, cached)
		if err == nil || !retriable(err) || errors.Is(err, kerr.UnknownTopicOrPartition) && time.Since(started) > spread {
			return part, err
		}
		cached = time.Nanosecond
		select {
		case <-ctx.Done():
			return Part{}, fmt.Errorf("read %s/%d at offset %d: %w (%w)", topic, partition, offset, ctx.Err(), err)
		case <-time.After(backoff):
		}
	}
}

// retriable says whether asking again, of another broker perhaps, may help.
func retriable(err error) bool {
	var answer *kerr.Error
	switch {
	case errors.Is(err, ErrTopicID), errors.Is(err, ErrDamaged), errors.Is(err, errPartition), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	case errors.As(err, &answer):
		return answer.Retriable
	}
	return true // of the connection
}

var errPartition = errors.New("there is no such partition")

func fetch(ctx context.Context, client *kgo.Client, topic string, id [16]byte, partition int32, offset int64, level kgo.IsolationLevel, limit int32, cached time.Duration) (Part, error) {
	wrap := func(err error) error {
		return fmt.Errorf("read %s/%d at offset %d: %w", topic, partition, offset, err)
	}
	leader, now, err := locate(ctx, client, topic, partition, cached)
	if err != nil {
		return Part{}, wrap(err)
	}
	if id != ([16]byte{}) && now != id {
		return Part{}, wrap(fmt.Errorf("%w: its id is %x, not %x", ErrTopicID, now, id))
	}

	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis = int32(maxWait.Milliseconds())
	req.MinBytes = 1
	req.MaxBytes = limit
	req.SessionEpoch = -1 // no session
	if level == kgo.ReadCommitted() {
		req.IsolationLevel = 1
	}
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID = topic, now
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition = partition
	rp.FetchOffset = offset
	rp.PartitionMaxBytes = limit
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)

	kresp, err := client.Broker(int(leader)).Request(ctx, req)
	if err != nil {
		return Part{}, wrap(err)
	}
	resp := kresp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return Part{}, wrap(err)
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return Part{}, wrap(errors.New("the broker answered something else than what it was asked"))
	}
	noCRC, _ := client.OptValue(kgo.DisableFetchCRCValidation).(bool)
	fp, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		KeepControlRecords:   true,
		DisableCRCValidation: noCRC,
		IsolationLevel:       level,
		Offset:               offset,
		Topic:                topic,
		Partition:            partition,
	}, &resp.Topics[0].Partitions[0], kgo.DefaultDecompressor(), nil)
	// What was read before a damaged batch counts; the next fetch meets the
	// damage first.
	if fp.Err != nil && next <= offset {
		if answer := (*kerr.Error)(nil); !errors.As(fp.Err, &answer) {
			fp.Err = fmt.Errorf("%w: %w", ErrDamaged, fp.Err)
		}
		return Part{}, wrap(fp.Err)
	}
	return Part{Records: fp.Records, Next: max(next, offset), LogStart: fp.LogStartOffset, HighWatermark: fp.HighWatermark, LastStable: fp.LastStableOffset}, nil
}

// locate returns the partition's leader and the topic's id.
func locate(ctx context.Context, client *kgo.Client, topic string, partition int32, cached time.Duration) (leader int32, id [16]byte, err error) {
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = kmsg.StringPtr(topic)
	req.Topics = append(req.Topics, t)
	resp, err := client.RequestCachedMetadata(ctx, req, cached)
	if err != nil {
		return 0, id, fmt.Errorf("find the leader: %w", err)
	}
	for _, t := range resp.Topics {
		if t.Topic == nil || *t.Topic != topic {
			continue
		}
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return 0, id, fmt.Errorf("find the leader: %w", err)
		}
		for _, p := range t.Partitions {
			if p.Partition != partition {
				continue
			}
			if p.Leader < 0 {
				return 0, id, fmt.Errorf("find the leader: %w", kerr.LeaderNotAvailable)
			}
			return p.Leader, t.TopicID, nil
		}
		return 0, id, fmt.Errorf("%w: the topic has %d", errPartition, len(t.Partitions))
	}
	return 0, id, fmt.Errorf("find the leader: %w", kerr.UnknownTopicOrPartition)
}
