package consume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
)

// logOf names one destination partition of one topic id.
type logOf struct {
	topicPartition
	id [16]byte
}

// index holds the snapshots in the ledger, those of all writers, as far as
// this consumer may need them.
type index struct {
	reader *ledger.Reader
	log    *slog.Logger
	wants  func(topicPartition) bool
	logs   map[logOf]*lineages
	topics map[string]bool // of all snapshots of the test
}

// lineages are the snapshots of one partition. Each of them is whole by
// itself; they are never added up.
type lineages struct {
	best  head
	at    checkpoint // of best
	older ladder     // in case the log was truncated since
}

// head is what of a Received decides which snapshot to use.
type head struct {
	Topic       string
	TopicID     [16]byte
	Partition   int32
	Generation  uint32
	Next        int64
	Updated     int64
	LeaderEpoch int32
}

func (h *head) supersedes(other *head) bool {
	a := ledger.Received{Generation: h.Generation, Next: h.Next, Updated: h.Updated}
	return a.Supersedes(&ledger.Received{Generation: other.Generation, Next: other.Next, Updated: other.Updated})
}

func newIndex(c *Consumer) (*index, error) {
	reader, err := ledger.NewReader(ledger.ReaderConfig{Opts: c.opts, Topic: ledger.DestinationTopic, Test: c.cfg.TestID, Kinds: []string{ledger.KindReceived}})
	if err != nil {
		return nil, err
	}
	return &index{
		reader: reader,
		log:    c.log,
		wants:  func(tp topicPartition) bool { return c.cfg.Group != "" || c.owns(tp) },
		logs:   map[logOf]*lineages{},
		topics: map[string]bool{},
	}, nil
}

// read takes in what is new in the ledger. Damaged snapshots are no error:
// older ones, or the log itself, hold the same.
func (x *index) read(ctx context.Context) error {
	err := x.reader.ReadToEnd(ctx, func(e ledger.Entry) error {
		var h head
		if err := ledger.Decode(e.Payload, &h); err != nil {
			x.log.Warn("a snapshot in the ledger cannot be used", "key", e.Key, "offset", e.Offset, "error", err)
			return nil
		}
		x.topics[h.Topic] = true
		tp := topicPartition{h.Topic, h.Partition}
		if !x.wants(tp) {
			return nil
		}
		at := checkpoint{next: h.Next, epoch: h.LeaderEpoch, generation: h.Generation, payload: e.Payload}
		l := x.logs[logOf{tp, h.TopicID}]
		switch {
		case l == nil:
			x.logs[logOf{tp, h.TopicID}] = &lineages{best: h, at: at}
		case h.supersedes(&l.best):
			l.older.add(l.at)
			l.best, l.at = h, at
		}
		return nil
	})
	var damaged *ledger.EntryError
	switch {
	case errors.Is(err, ledger.ErrReplaced):
		x.log.Warn("the ledger was deleted or truncated", "error", err)
		return x.read(ctx)
	case errors.As(err, &damaged):
		x.log.Warn("the ledger has damaged snapshots, older ones are used", "error", err)
		return nil
	}
	return err
}

// restore returns the best state of the partition, nil if there is none, and
// those to go back to if the log was truncated since.
func (x *index) restore(of logOf) (*ledger.Received, ladder) {
	l := x.logs[of]
	if l == nil {
		return nil, ladder{}
	}
	older := l.older
	for _, at := range append([]checkpoint{l.at}, older.newest()...) {
		state, err := ledger.Restore(at.payload)
		if err == nil {
			return state, older
		}
		x.log.Warn("a snapshot in the ledger cannot be used", "partition", of.topicPartition, "next", at.next, "error", err)
	}
	return nil, older
}

// String names the log for messages.
func (of logOf) String() string { return fmt.Sprintf("%s (topic id %x)", of.topicPartition, of.id) }
