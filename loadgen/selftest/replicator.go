package selftest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/topics"
)

// ReplicatorTopic is the topic whose records must cross, unless another is
// named. It exists at the source and is one of those that the replicator copies.
const ReplicatorTopic = "kmt-selftest"

// again is how often another record is written: a replicator that begins at the
// end of a topic does not see those that were there before.
const again = 2 * time.Second

// Replicator writes records with a fresh id to the topic at the source until
// one of them is read at the destination, and tells out how long that took. The
// error says where the way ends as far as can be seen; ctx, which should have a
// deadline, bounds it.
func Replicator(ctx context.Context, source, destination []kgo.Opt, topic string, out io.Writer, log *slog.Logger) error {
	logger := kgo.WithLogger(connect.Logger(log))
	from, err := kgo.NewClient(append(slices.Clone(source), logger, kgo.UnknownTopicRetries(-1), kgo.DisableIdempotentWrite())...)
	if err != nil {
		return fmt.Errorf("Kafka client options: %w", err)
	}
	defer from.Close()
	to, err := kgo.NewClient(append(slices.Clone(destination), logger,
		kgo.ConsumeTopics(topic), // it may come later
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.MetadataMinAge(time.Second), kgo.MetadataMaxAge(5*time.Second),
	)...)
	if err != nil {
		return fmt.Errorf("Kafka client options: %w", err)
	}
	defer to.Close()
	if err := isThere(ctx, from, topic); err != nil {
		return err
	}

	id := random()
	started := time.Now()
	w := &writer{client: from, topic: topic, id: id}
	writing, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run(writing)
	}()
	sent, err := arrival(ctx, to, id)
	stop()
	<-ended
	if err != nil {
		return w.explain(ctx, to, err)
	}
	_, err = fmt.Fprintf(out, "a record crossed in %.1f s; the way was open %.1f s after the first of %d was written\n",
		time.Since(sent).Seconds(), time.Since(started).Seconds(), w.written)
	return err
}

// isThere returns when the source has the topic.
func isThere(ctx context.Context, client *kgo.Client, topic string) error {
	var last error
	for {
		err := topics.Check(ctx, client, []string{topic}, topics.Write)
		if err == nil || topics.Refused(err) {
			return err
		}
		if ctx.Err() == nil {
			last = fmt.Errorf("source: %w", err)
		}
		if ended := pause(ctx, every); ended != nil {
			return reason(ctx, last, ended)
		}
	}
}

// arrival waits for a record with the id, and returns when it was sent.
func arrival(ctx context.Context, client *kgo.Client, id string) (time.Time, error) {
	var last error
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return time.Time{}, reason(ctx, last, ctx.Err())
		}
		fetches.EachError(func(_ string, _ int32, err error) { last = err })
		var found *kgo.Record
		fetches.EachRecord(func(r *kgo.Record) {
			if string(r.Key) == id && found == nil {
				found = r
			}
		})
		if found == nil {
			continue
		}
		var sent time.Time
		if err := sent.UnmarshalText(found.Value); err != nil {
			return time.Time{}, fmt.Errorf("a record arrived at the destination with its key and another value (%q): the replicator changes records: %w", found.Value, err)
		}
		return sent, nil
	}
}

// writer writes a record every so often.
type writer struct {
	client    *kgo.Client
	topic, id string
	written   int
	err       error // of the last attempt
}

func (w *writer) run(ctx context.Context) {
	for {
		now, err := time.Now().MarshalText()
		if err == nil {
			err = w.client.ProduceSync(ctx, &kgo.Record{Topic: w.topic, Key: []byte(w.id), Value: now}).FirstErr()
		}
		switch {
		case err == nil:
			w.written++
			w.err = nil
		case ctx.Err() == nil:
			w.err = err
		}
		if pause(ctx, again) != nil {
			return
		}
	}
}

// explain says how far the records came.
func (w *writer) explain(ctx context.Context, destination *kgo.Client, err error) error {
	if w.written == 0 {
		return fmt.Errorf("no record could be written to topic %q at the source: look at the source's brokers: %w", w.topic, errors.Join(w.err, err))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	var state string
	switch ends, asked := kadm.NewClient(destination).ListEndOffsets(ctx, w.topic); {
	case asked != nil:
		state = fmt.Sprintf("the destination does not answer (%v): look at its brokers", asked)
	case len(ends[w.topic]) == 0 || ends.Error() != nil:
		state = "the topic does not exist there: look whether the replicator copies it (its list of topics) and may create topics, and at its log"
	default:
		var n int64
		ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
		if n == 0 {
			state = "the topic is there and empty: look at the replicator's log, whether it has taken up the topic, and whether it reaches the source"
		} else {
			state = fmt.Sprintf("the topic is there, with %d records of other times: look at the replicator's log and for its lag", n)
		}
	}
	return fmt.Errorf("none of %d records that were written to topic %q at the source arrived at the destination: %s: %w", w.written, w.topic, state, err)
}
