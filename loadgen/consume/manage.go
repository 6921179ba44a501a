package consume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/rawlog"
)

// requestTimeout bounds each of the manager's requests, so that a broker that
// does not answer does not keep it from the partitions of others.
const requestTimeout = 10 * time.Second

// topicNow is a topic as the cluster describes it.
type topicNow struct {
	id         [16]byte
	partitions int32
	err        error
}

// owns says whether the partition is in this consumer's fixed share.
func (c *Consumer) owns(tp topicPartition) bool {
	n := uint64(c.cfg.Instances)
	return (xxhash.Sum64String(tp.topic)%n+uint64(tp.partition))%n == uint64(c.cfg.Index)
}

// describe asks for the topics as they are now; kadm may answer from memory.
func (c *Consumer) describe(ctx context.Context) (map[string]topicNow, map[string]int32, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	req.IncludeTopicAuthorizedOperations = true
	req.Topics = []kmsg.MetadataRequestTopic{} // nil would be all
	for _, name := range c.names() {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, c.client)
	if err != nil {
		return nil, nil, fmt.Errorf("ask for the topics: %w", err)
	}
	topics, operations := map[string]topicNow{}, map[string]int32{}
	for _, t := range resp.Topics {
		if t.Topic == nil {
			continue
		}
		now := topicNow{id: t.TopicID, err: kerr.ErrorForCode(t.ErrorCode)}
		for _, p := range t.Partitions {
			now.partitions = max(now.partitions, p.Partition+1)
		}
		topics[*t.Topic] = now
		operations[*t.Topic] = t.AuthorizedOperations
	}
	return topics, operations, nil
}

// checkTopics refuses topics that this user may not read.
func (c *Consumer) checkTopics(ctx context.Context) error {
	topics, operations, err := c.describe(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range c.names() {
		t := topics[name]
		denied := errors.Is(t.err, kerr.TopicAuthorizationFailed)
		// Brokers that do not tell answer with the smallest number.
		if ops := operations[name]; t.err == nil && ops != math.MinInt32 && ops&(1<<kmsg.ACLOperationRead) == 0 {
			denied = true
		}
		switch {
		case denied:
			errs = append(errs, fmt.Errorf("topic %s: this user has no permission for it: grant it READ on the topic: %w", name, kerr.TopicAuthorizationFailed))
		case t.err != nil && !kerr.IsRetriable(t.err):
			errs = append(errs, fmt.Errorf("topic %s: %w", name, t.err))
		}
	}
	return errors.Join(errs...)
}

// manage keeps the partitions that are read as they should be, until ctx ends.
func (c *Consumer) manage(ctx context.Context) {
	waiting := map[string]bool{} // topics that do not exist
	resumed := c.watcher == nil
	for ctx.Err() == nil {
		if !resumed {
			resumed = c.resume(ctx)
		}
		c.manageOnce(ctx, waiting)
		wait := c.cfg.MetadataInterval
		c.mu.Lock()
		for _, p := range c.parts {
			if !p.placed {
				wait = min(wait, max(0, time.Until(p.retryAt)))
			}
		}
		c.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-c.kick:
		case <-time.After(wait):
		}
	}
}

// resume has those topics read that the settings file named before this consumer
// was started: what was sent to them counts.
func (c *Consumer) resume(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*requestTimeout)
	defer cancel()
	if err := c.index.read(ctx); err != nil {
		c.log.Warn("the ledger cannot be read at the moment", "error", err)
		return false
	}
	c.read(slices.Sorted(maps.Keys(c.index.topics)))
	return true
}

func (c *Consumer) manageOnce(ctx context.Context, waiting map[string]bool) {
	topics, _, err := c.describe(ctx)
	if err != nil {
		if ctx.Err() == nil {
			c.log.Warn("the destination's topics are not known at the moment", "error", err)
		}
		return
	}
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		switch t := topics[name]; {
		case t.err == nil:
			delete(waiting, name)
		case !waiting[name]:
			waiting[name] = true
			if errors.Is(t.err, kerr.UnknownTopicOrPartition) {
				c.log.Info("waiting for a topic: it does not exist at the destination (yet)", "topic", name)
			} else {
				c.log.Warn("waiting for a topic", "topic", name, "error", t.err)
			}
		}
	}
	c.follow(topics)

	var due []*partition
	for _, p := range c.unplaced() {
		if topics[p.topic].err == nil && !time.Now().Before(p.retryAt) {
			due = append(due, p)
		}
	}
	if len(due) > 0 {
		c.place(ctx, due)
	}
	c.closeGaps(ctx)

	reason := ""
	if n := len(c.unplaced()); n > 0 {
		reason = fmt.Sprintf("%d partitions are not being read yet", n)
	}
	c.mu.Lock()
	// One that is not wanted any more may be gone for good.
	if missing := slices.DeleteFunc(slices.Clone(c.wanted), func(name string) bool { return !waiting[name] }); len(missing) > 0 {
		reason = fmt.Sprintf("waiting for topics %v", missing)
	}
	c.pending = reason
	c.mu.Unlock()
}

func (c *Consumer) unplaced() []*partition {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*partition
	for _, p := range c.parts {
		if !p.placed {
			out = append(out, p)
		}
	}
	return out
}

// follow brings c.parts up to what the cluster has: new topics and partitions,
// and topics that were made anew.
func (c *Consumer) follow(topics map[string]topicNow) {
	var gone []*partition
	c.mu.Lock()
	for name, t := range topics {
		if t.err != nil {
			continue
		}
		for i := range t.partitions {
			tp := topicPartition{name, i}
			if c.cfg.Group == "" && !c.owns(tp) || c.cfg.Group != "" && !c.assigned[tp] {
				continue
			}
			p := c.parts[tp]
			if p != nil && p.id == t.id {
				continue
			}
			if p != nil {
				gone = append(gone, p)
			}
			// A partition that comes back may be read on from another's state: what was
			// stored of it here before is not to be replaced by that.
			c.taken++
			c.parts[tp] = &partition{topicPartition: tp, id: t.id, stats: c.topics[name], clock: c.clock, writer: fmt.Sprintf("%s.%d", c.writer, c.taken)}
		}
		// A topic made anew may have fewer partitions.
		for tp, p := range c.parts {
			if tp.topic == name && p.id != t.id {
				gone = append(gone, p)
				delete(c.parts, tp)
			}
		}
	}
	// What is known of the old topic remains evidence.
	c.retired = append(c.retired, gone...)
	c.mu.Unlock()
	if len(gone) == 0 {
		return
	}
	for _, p := range gone {
		c.log.Warn("a topic was deleted and made anew: its partition is read from the start", "partition", p.topicPartition, "old_topic_id", fmt.Sprintf("%x", p.id))
		p.stats.addRollback()
	}
	c.do(func() { c.stopReading(gone, true) })
}

// place finds for each partition the state to go on with and its place in the
// log, and has the client read from there.
func (c *Consumer) place(ctx context.Context, due []*partition) {
	logs, err := c.look(ctx, due)
	if err != nil {
		if ctx.Err() == nil {
			c.log.Warn("partitions cannot be read at the moment", "partitions", len(due), "error", err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, p := range due {
			c.later(p)
		}
		return
	}
	var ready []*partition
	for _, p := range due {
		if err := c.placeOne(ctx, p, logs[p.topicPartition]); err != nil {
			if ctx.Err() == nil {
				c.log.Warn("a partition cannot be read at the moment", "partition", p.topicPartition, "error", err)
			}
			c.mu.Lock()
			c.later(p)
			c.mu.Unlock()
			continue
		}
		ready = append(ready, p)
	}
	c.do(func() {
		add := map[string]map[int32]kgo.Offset{}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, p := range ready {
			if c.parts[p.topicPartition] != p {
				continue // it was taken away in the meantime
			}
			p.placed = true
			c.active[p.topicPartition] = p
			if add[p.topic] == nil {
				add[p.topic] = map[int32]kgo.Offset{}
			}
			// With the epoch the client sees a truncation that happens from now on,
			// also before it has read anything.
			at := kgo.NewOffset().At(p.state.Next)
			if p.state.LeaderEpoch >= 0 && p.state.Records > 0 {
				at = at.WithEpoch(p.state.LeaderEpoch)
			}
			add[p.topic][p.partition] = at
		}
		c.client.AddConsumePartitions(add)
	})
}

// bounds of a partition's log, and where the leader epoch ends that was last
// read there.
type logNow struct {
	start, end int64
	epoch      int32 // -1: not known
	epochEnd   int64 // -1: not known
	err        error
}

// look asks for the state of the partitions' logs and restores what is known
// of those that are new here.
func (c *Consumer) look(ctx context.Context, due []*partition) (map[topicPartition]logNow, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*requestTimeout) // reading the ledger may take a while
	defer cancel()
	if slices.ContainsFunc(due, func(p *partition) bool { return p.state == nil }) {
		// A log start is no substitute for the ledger: retention may have moved it.
		if err := c.index.read(ctx); err != nil {
			return nil, err
		}
	}
	names := map[string]bool{}
	var epochs kadm.OffsetForLeaderEpochRequest
	for _, p := range due {
		names[p.topic] = true
		p.mu.Lock()
		if p.state == nil {
			p.restored, p.checkpoints = c.index.restore(logOf{p.topicPartition, p.id})
		}
		if s := p.known(); s != nil && s.Records > 0 && s.LeaderEpoch >= 0 {
			epochs.Add(p.topic, p.partition, s.LeaderEpoch)
		}
		p.mu.Unlock()
	}
	topics := slices.Sorted(maps.Keys(names))
	starts, err := c.admin.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("ask where the logs start: %w", err)
	}
	// The end before the epoch's end: what is read up to it must be there.
	ends, err := c.admin.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("ask where the logs end: %w", err)
	}
	var epochEnds kadm.OffsetsForLeaderEpochs
	if len(epochs) > 0 {
		if epochEnds, err = c.admin.OffsetForLeaderEpoch(ctx, epochs); err != nil {
			return nil, fmt.Errorf("ask where leader epochs end: %w", err)
		}
	}
	out := map[topicPartition]logNow{}
	for _, p := range due {
		log := logNow{epoch: -1, epochEnd: -1}
		start, ok1 := starts.Lookup(p.topic, p.partition)
		end, ok2 := ends.Lookup(p.topic, p.partition)
		if log.err = errors.Join(start.Err, end.Err); log.err == nil && !(ok1 && ok2) {
			log.err = kerr.UnknownTopicOrPartition
		}
		log.start, log.end = start.Offset, end.Offset
		if _, asked := epochs[p.topic][p.partition]; asked {
			e, ok := epochEnds[p.topic][p.partition]
			switch {
			case !ok:
				log.err = errors.Join(log.err, errors.New("no answer where its leader epoch ends"))
			case e.Err != nil:
				log.err = errors.Join(log.err, e.Err)
			default:
				log.epoch, log.epochEnd = e.LeaderEpoch, e.EndOffset
			}
		}
		out[p.topicPartition] = log
	}
	return out, nil
}

// known is the state that is to be gone on with. p.mu is held.
func (p *partition) known() *ledger.Received {
	if p.state != nil {
		return p.state
	}
	return p.restored
}

// placeOne determines the state to go on with.
func (c *Consumer) placeOne(ctx context.Context, p *partition, log logNow) error {
	if log.err != nil {
		return log.err
	}
	now := c.clock.Micros(time.Now())
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.known()
	switch {
	case s == nil:
		s = ledger.NewReceived(c.cfg.TestID, p.topic, p.id, p.partition, p.writer, log.start, now)
		s.LeaderEpoch = -1
		c.log.Info("reading a partition from its start", "partition", p.topicPartition, "offset", log.start)
	default:
		intact, err := c.intact(ctx, p, s.Next, s.LeaderEpoch, s.Records > 0, log)
		if err != nil {
			return err
		}
		if !intact {
			if s, err = c.rollBack(ctx, p, s, log, now); err != nil {
				return err
			}
		} else if p.state == nil {
			c.log.Info("reading a partition on from its last snapshot", "partition", p.topicPartition, "offset", s.Next, "writer", s.Writer)
		}
	}
	s.Writer = p.writer
	p.state, p.restored = s, nil
	if s.Next < log.start {
		c.log.Warn("records were removed before they could be read", "partition", p.topicPartition, "from", s.Next, "to", log.start)
		p.miss(log.start)
	}
	p.end, p.watermark, p.behindSince = log.end, log.end, time.Time{}
	return nil
}

// intact says whether the log still holds what a state that reaches to next
// has seen, as far as retention has not removed it. Two logs that have a
// record of the same leader epoch at the same offset are the same up to it.
func (c *Consumer) intact(ctx context.Context, p *partition, next int64, epoch int32, any bool, log logNow) (bool, error) {
	if !any || epoch < 0 {
		return next <= log.end || next <= log.start, nil // no epoch to go by
	}
	if log.epochEnd >= 0 && log.epochEnd < next {
		return false, nil
	}
	if log.epochEnd >= 0 && log.epoch == epoch {
		return true, nil
	}
	// The leader does not know the epoch, or had no record of it. The record
	// itself decides.
	if next-1 < log.start {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	part, err := rawlog.Fetch(ctx, c.client, p.topic, p.id, p.partition, next-1)
	switch {
	case errors.Is(err, kerr.OffsetOutOfRange):
		return false, nil
	case err != nil:
		return false, err
	}
	return len(part.Records) > 0 && part.Records[0].Offset == next-1 && part.Records[0].LeaderEpoch == epoch, nil
}

// rollBack returns the state to go on with after the log was truncated: the
// newest checkpoint of which the log still holds everything, or one from the
// log's start.
func (c *Consumer) rollBack(ctx context.Context, p *partition, s *ledger.Received, log logNow, now int64) (*ledger.Received, error) {
	p.stats.addRollback()
	for _, at := range p.checkpoints.newest() {
		if at.next >= s.Next && at.generation == s.Generation {
			continue
		}
		base, err := ledger.Restore(at.payload)
		if err != nil {
			return nil, err
		}
		if base.Records > 0 && base.LeaderEpoch >= 0 {
			if log.epoch, log.epochEnd, err = c.epochEnd(ctx, p, base.LeaderEpoch); err != nil {
				return nil, err
			}
		}
		intact, err := c.intact(ctx, p, base.Next, base.LeaderEpoch, base.Records > 0, log)
		if err != nil {
			return nil, err
		}
		if intact {
			c.log.Warn("the log was truncated: going back to a snapshot from before", "partition", p.topicPartition, "from", s.Next, "to", base.Next, "log_end", log.end)
			return s.RollBack(base), nil
		}
	}
	c.log.Warn("the log was truncated: reading it from its start", "partition", p.topicPartition, "from", s.Next, "log_start", log.start, "log_end", log.end)
	base := ledger.NewReceived(c.cfg.TestID, p.topic, p.id, p.partition, p.writer, log.start, now)
	base.LeaderEpoch = -1
	if log.start > s.Start {
		// Retention has removed records that had been seen. Which of them, and
		// which the truncation took, cannot be told any more: they are unobserved.
		base.Generation = s.Generation + 1
		return base, nil
	}
	return s.RollBack(base), nil
}

func (c *Consumer) epochEnd(ctx context.Context, p *partition, epoch int32) (int32, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var req kadm.OffsetForLeaderEpochRequest
	req.Add(p.topic, p.partition, epoch)
	ends, err := c.admin.OffsetForLeaderEpoch(ctx, req)
	if err != nil {
		return 0, 0, fmt.Errorf("ask where leader epoch %d ends: %w", epoch, err)
	}
	e, ok := ends[p.topic][p.partition]
	if !ok {
		return 0, 0, fmt.Errorf("ask where leader epoch %d ends: %w", epoch, kerr.UnknownTopicOrPartition)
	}
	return e.LeaderEpoch, e.EndOffset, e.Err
}

// closeGaps looks after partitions that are short of the end of their log
// without anything coming: the client does not say so when all that remains
// are offsets without a record, which compaction has left.
func (c *Consumer) closeGaps(ctx context.Context) {
	c.mu.Lock()
	topics := map[string]bool{}
	for _, p := range c.parts {
		if p.placed {
			topics[p.topic] = true
		}
	}
	c.mu.Unlock()
	if len(topics) == 0 {
		return
	}
	timeout, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	ends, err := c.admin.ListEndOffsets(timeout, slices.Sorted(maps.Keys(topics))...)
	if err != nil {
		return // the next time, then
	}
	for _, p := range c.owned() {
		end, ok := ends.Lookup(p.topic, p.partition)
		if !ok || end.Err != nil {
			continue
		}
		p.mu.Lock()
		if p.state == nil {
			p.mu.Unlock()
			continue
		}
		next := p.state.Next
		p.watermark = max(p.watermark, end.Offset)
		stuck := next < end.Offset && next == p.lastNext
		p.lastNext = next
		p.mu.Unlock()
		if !stuck {
			continue
		}
		part, err := rawlog.Fetch(timeout, c.client, p.topic, p.id, p.partition, next)
		if err != nil || len(part.Records) > 0 || part.Next <= next {
			continue // the client will say what is wrong
		}
		c.do(func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if c.active[p.topicPartition] == p && p.state.Next == next {
				p.jump(part.Next, part.LogStart)
			}
		})
	}
}
