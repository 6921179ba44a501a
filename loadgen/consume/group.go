package consume

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// members is this consumer's membership of its group. A client of its own
// takes part in the group and fetches nothing: the group only says which
// partitions to read. Where to read them from, the ledger says, and no
// committed offset.
type members struct {
	client *kgo.Client
}

// join joins the group. A denial ends the consumer by fatal.
func (c *Consumer) join(ctx context.Context, fatal context.CancelCauseFunc, wg *sync.WaitGroup) (*members, error) {
	names := c.names()
	client, err := kgo.NewClient(append(slices.Clone(c.opts),
		kgo.ConsumerGroup(c.cfg.Group),
		kgo.ConsumeTopics(names...),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.DisableAutoCommit(),
		kgo.MetadataMinAge(min(250*time.Millisecond, c.cfg.MetadataInterval)),
		kgo.MetadataMaxAge(c.cfg.MetadataInterval), // new topics and partitions
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, added map[string][]int32) { c.assign(added) }),
		kgo.OnPartitionsRevoked(func(ctx context.Context, _ *kgo.Client, taken map[string][]int32) { c.release(ctx, taken, true) }),
		// Another member reads them already: what is known here is not stored.
		kgo.OnPartitionsLost(func(ctx context.Context, _ *kgo.Client, lost map[string][]int32) { c.release(ctx, lost, false) }),
	)...)
	if err != nil {
		return nil, fmt.Errorf("client options: %w", err)
	}
	client.PauseFetchTopics(names...)
	wg.Go(func() {
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachError(func(_ string, _ int32, err error) {
				switch {
				case ctx.Err() != nil || errors.Is(err, kgo.ErrClientClosed):
				case errors.Is(err, kerr.GroupAuthorizationFailed), errors.Is(err, kerr.TopicAuthorizationFailed):
					fatal(fmt.Errorf("group %s: this user has no permission: grant it READ on the group and on the topics: %w", c.cfg.Group, err))
				default:
					c.log.Warn("the consumer group", "group", c.cfg.Group, "error", err)
				}
			})
		}
	})
	return &members{client}, nil
}

// read has the group share out further topics.
func (m *members) read(names []string) {
	if m == nil {
		return
	}
	m.client.PauseFetchTopics(names...)
	m.client.AddConsumeTopics(names...)
}

// leave gives the partitions to the others.
func (m *members) leave(ctx context.Context) {
	if m == nil {
		return
	}
	// Closing would do it too, but without a bound.
	_ = m.client.LeaveGroupContext(ctx)
	m.client.Close()
}

// abandon is how a killed process leaves: it does not.
func (m *members) abandon() {
	if m == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = m.client.LeaveGroupContext(ctx)
	m.client.Close()
}

func (c *Consumer) assign(added map[string][]int32) {
	c.mu.Lock()
	for topic, partitions := range added {
		for _, p := range partitions {
			c.assigned[topicPartition{topic, p}] = true
		}
	}
	c.mu.Unlock()
	c.wakeManager()
}

// release gives partitions up: their state is stored, unless they were lost,
// and then forgotten. When it returns the next owner may begin.
func (c *Consumer) release(ctx context.Context, taken map[string][]int32, store bool) {
	if c.abandon.Load() {
		return
	}
	var parts []*partition
	c.mu.Lock()
	for topic, partitions := range taken {
		for _, i := range partitions {
			tp := topicPartition{topic, i}
			delete(c.assigned, tp)
			if p := c.parts[tp]; p != nil {
				parts = append(parts, p)
				delete(c.parts, tp)
			}
		}
	}
	c.mu.Unlock()
	if len(parts) == 0 {
		return
	}
	if !c.do(func() { c.stopReading(parts, false) }) || !store {
		return // when the consumer stops, it stores its state before it leaves
	}
	ctx, cancel := context.WithTimeout(ctx, min(c.cfg.ShutdownTimeout, 20*time.Second))
	defer cancel()
	var wg sync.WaitGroup
	for _, p := range parts {
		wg.Go(func() {
			if _, err := c.storePartition(ctx, p); err != nil {
				c.log.Warn("a partition was handed over without its last snapshot: the next consumer reads the last records again", "partition", p.topicPartition, "error", err)
			}
		})
	}
	wg.Wait()
}
