package lab

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/topics"
)

// WaitWithout returns when every partition of the topics has a leader and none is led by or in sync
// with that broker: the cluster has noticed that it is dead. With -1, leaders are enough.
func (c *Cluster) WaitWithout(ctx context.Context, limit time.Duration, id int, topics ...string) error {
	return c.waitPartitions(ctx, func(ctx context.Context) (*kmsg.MetadataResponse, error) { return metadata(ctx, c.client, topics...) }, limit, "leaders", func(p kmsg.MetadataResponseTopicPartition) bool {
		return p.Leader >= 0 && p.Leader != int32(id) && !slices.Contains(p.ISR, int32(id))
	})
}

// WaitInSync returns when all replicas of every partition of the topics are in sync, as that broker
// sees it. One that has just returned is the one to ask: it has no memory of before.
func (c *Cluster) WaitInSync(ctx context.Context, limit time.Duration, id int, topics ...string) error {
	b, err := c.broker(id)
	if err != nil {
		return err
	}
	return c.waitPartitions(ctx, func(ctx context.Context) (*kmsg.MetadataResponse, error) { return c.view(ctx, b, topics...) }, limit, "all replicas in sync", func(p kmsg.MetadataResponseTopicPartition) bool {
		return p.Leader >= 0 && len(p.ISR) == len(p.Replicas)
	})
}

func (c *Cluster) waitPartitions(ctx context.Context, look func(context.Context) (*kmsg.MetadataResponse, error), limit time.Duration, what string, good func(kmsg.MetadataResponseTopicPartition) bool) error {
	ctx, end := c.sup.during(ctx)
	defer end()
	return await(ctx, limit, fmt.Sprintf("%s cluster: %s", c.side, what), func(ctx context.Context) error {
		m, err := look(ctx)
		if err != nil {
			return err
		}
		var bad []string
		for _, t := range m.Topics {
			for _, p := range t.Partitions {
				if !good(p) {
					bad = append(bad, fmt.Sprintf("%s/%d (leader %d, in sync %v of %v)", *t.Topic, p.Partition, p.Leader, p.ISR, p.Replicas))
				}
			}
		}
		if len(bad) > 0 {
			return fmt.Errorf("%d partitions are not so, one is %s", len(bad), bad[0])
		}
		return nil
	})
}

// Leader returns the broker that leads a partition.
func (c *Cluster) Leader(ctx context.Context, topic string, partition int32) (int, error) {
	m, err := metadata(ctx, c.client, topic)
	if err != nil {
		return -1, fmt.Errorf("leader of %s/%d in the %s cluster: %w", topic, partition, c.side, err)
	}
	for _, p := range m.Topics[0].Partitions {
		if p.Partition == partition && p.Leader >= 0 {
			return int(p.Leader), nil
		}
	}
	return -1, fmt.Errorf("%s/%d in the %s cluster has no leader", topic, partition, c.side)
}

// topicWork is what is to be done about topics.
type topicWork int

const (
	makeTopics topicWork = iota // that do not exist
	setTopics                   // to the settings that are wanted now
	growTopics                  // to the partitions that are wanted now
)

// applyTopics does something about topics. Those of the lab's own clusters get all settings every time;
// those of others that exist keep what nobody has asked to change.
func (c *Cluster) applyTopics(ctx context.Context, names []string, partitions int, work topicWork) error {
	if len(names) == 0 {
		return nil
	}
	c.mu.Lock()
	want := c.config
	c.mu.Unlock()
	return await(ctx, c.limit, fmt.Sprintf("topics %s in the %s cluster", strings.Join(names, ", "), c.side), func(context.Context) error {
		// A bound of its own: making a topic takes longer than one look.
		ctx, cancel := context.WithTimeout(ctx, c.limit)
		defer cancel()
		for _, name := range names {
			have, err := c.partitions(ctx, name)
			if err != nil {
				return err
			}
			t := topics.Config{
				Names: []string{name}, Partitions: max(have, partitions), Replicas: want.ReplicationFactor,
				Retention: time.Duration(want.Retention), MinInSyncReplicas: want.MinInsyncReplicas,
				LogAppendTime: c.side == Destination, // the arrival time that latency is measured to
			}
			if c.ours() {
				_, err = topics.Apply(ctx, c.client, t, work == growTopics)
			} else {
				t.Replicas, t.MinInSyncReplicas = 0, 0 // as the cluster allows
				err = c.applyForeign(ctx, t, have, work)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}, topics.Refused)
}

// applyForeign is about a topic of a cluster that is not the lab's, which has so many partitions now.
func (c *Cluster) applyForeign(ctx context.Context, t topics.Config, have int, work topicWork) error {
	switch {
	case work == makeTopics && have == 0:
		_, err := topics.Ensure(ctx, c.client, t)
		return err
	case work == setTopics:
		t.Partitions, t.LogAppendTime = have, false
		_, err := topics.Apply(ctx, c.client, t, false)
		return err
	case work == growTopics:
		return topics.Grow(ctx, c.client, topics.Growth{Names: t.Names, Partitions: t.Partitions})
	}
	return nil
}

// partitions returns how many a topic has, 0 where it does not exist.
func (c *Cluster) partitions(ctx context.Context, topic string) (int, error) {
	req := kmsg.NewPtrMetadataRequest()
	one := kmsg.NewMetadataRequestTopic()
	one.Topic = &topic
	req.Topics = append(req.Topics, one)
	m, err := req.RequestWith(ctx, c.client)
	if err != nil {
		return 0, fmt.Errorf("partitions of %s in the %s cluster: %w", topic, c.side, err)
	}
	return len(m.Topics[0].Partitions), nil
}
