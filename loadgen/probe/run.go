package probe

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/rawlog"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/topics"
)

const (
	// round bounds one look at a cluster, so that a partition without a leader
	// does not hide that the others move.
	round = 15 * time.Second
	// between is the pause between two looks where the look itself does not wait.
	between = 200 * time.Millisecond
	// tidying bounds the removal of what the probe made.
	tidying = 30 * time.Second
	// shown is how many findings of a check are in the document.
	shown = 50
	// flood is how many records more than the source has the destination may get
	// before the probe stops to wait for an end.
	flood = 100_000
)

// run is a probe that is being made.
type run struct {
	cfg  Config
	kind kind
	deps Deps
	log  *slog.Logger
	id   string // of this run, in every record's text
	doc  *Document

	partitions          int32
	source, destination *kgo.Client // for reading and asking; each writer has its own
	limit               int         // of a batch at the destination, for the probe sizes
	madeSource          bool
	madeDestination     bool
}

func (r *run) open() error {
	var err error
	if r.source, err = kgo.NewClient(r.clientOptions(r.deps.Source)...); err != nil {
		return fmt.Errorf("source: client options: %w", err)
	}
	if r.destination, err = kgo.NewClient(r.clientOptions(r.deps.Destination)...); err != nil {
		r.source.Close()
		return fmt.Errorf("destination: client options: %w", err)
	}
	return nil
}

func (r *run) close() {
	r.source.Close()
	r.destination.Close()
}

// makeTopics makes the topic at the destination, and only then at the source,
// since the replicator may be quick to make it there itself.
func (r *run) makeTopics(ctx context.Context) error {
	r.partitions = int32(r.cfg.Partitions)
	settings := maps.Clone(r.kind.settings)
	if settings == nil {
		settings = map[string]string{}
	}
	maps.Copy(settings, r.cfg.TopicConfig)
	if !r.cfg.ReplicatorCreates {
		n, made, err := r.ensure(ctx, r.destination, r.cfg.DestinationReplicas, settings)
		if err != nil {
			return fmt.Errorf("destination: %w", err)
		}
		r.madeDestination = made
		if n != r.partitions {
			r.note("the topic existed at the destination with %d partitions, and was used so", n)
			r.partitions = n
		}
	}
	if r.kind.atSource != nil {
		more, err := r.kind.atSource(r, ctx)
		if err != nil {
			return err
		}
		maps.Copy(settings, more)
	}
	n, made, err := r.ensure(ctx, r.source, r.cfg.Replicas, settings)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	r.madeSource = made
	if n != r.partitions {
		return fmt.Errorf("topic %q has %d partitions at the source, not %d: use a topic that has the same on both sides, or one that does not exist yet", r.cfg.Topic, n, r.partitions)
	}
	return nil
}

// ensure makes the topic if it is not there, and refuses one with records.
func (r *run) ensure(ctx context.Context, client *kgo.Client, replicas int, settings map[string]string) (partitions int32, made bool, err error) {
	admin := kadm.NewClient(client)
	if replicas == 0 {
		cluster, err := admin.BrokerMetadata(ctx)
		if err != nil {
			return 0, false, fmt.Errorf("ask for the cluster's brokers: %w", err)
		}
		replicas = min(3, len(cluster.Brokers))
	}
	values := map[string]*string{}
	for name, value := range settings {
		values[name] = &value
	}
	answers, err := admin.CreateTopics(ctx, r.partitions, int16(replicas), values, r.cfg.Topic)
	if err == nil {
		err = answers[r.cfg.Topic].Err
	}
	switch {
	case errors.Is(err, kerr.TopicAlreadyExists):
	case connect.Denied(err):
		return 0, false, fmt.Errorf("no permission to create topic %q: grant this user CREATE on it, or have someone create it: %w", r.cfg.Topic, err)
	case err != nil:
		if said := answers[r.cfg.Topic].ErrMessage; said != "" {
			err = fmt.Errorf("%w (%s)", err, said)
		}
		return 0, false, fmt.Errorf("create topic %q: %w", r.cfg.Topic, err)
	default:
		made = true
	}
	// Brokers learn of a new topic one after another.
	var last error
	err = r.until(ctx, func(ctx context.Context) (done, moved bool) {
		found, err := topics.Describe(ctx, client, []string{r.cfg.Topic})
		if err != nil {
			last = err
			return false, false
		}
		partitions = int32(found[0].Partitions)
		last = fmt.Errorf("%d partitions of topic %q have no leader", found[0].Leaderless, r.cfg.Topic)
		return found[0].Leaderless == 0, false
	})
	if err != nil {
		return 0, made, errors.Join(err, last)
	}
	if made {
		return partitions, true, nil
	}
	ends, err := admin.ListEndOffsets(ctx, r.cfg.Topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, false, fmt.Errorf("ask for the ends of topic %q: %w", r.cfg.Topic, err)
	}
	var held int64
	ends.Each(func(o kadm.ListedOffset) { held += o.Offset })
	if held > 0 {
		return 0, false, fmt.Errorf("topic %q has had records already (its partitions end at offsets that sum up to %d): name one that is empty or does not exist, or none for a fresh one", r.cfg.Topic, held)
	}
	return partitions, false, nil
}

// tidy removes what the probe made, or tells of it.
func (r *run) tidy(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidying)
	defer cancel()
	for _, side := range []struct {
		name   string
		made   bool
		client *kgo.Client
	}{
		{"source", r.madeSource, r.source}, {"destination", r.madeDestination || r.cfg.ReplicatorCreates, r.destination},
	} {
		if !side.made {
			continue
		}
		admin := kadm.NewClient(side.client)
		if r.cfg.Remove {
			answers, err := admin.DeleteTopics(ctx, r.cfg.Topic)
			if err == nil {
				err = answers[r.cfg.Topic].Err
			}
			if err == nil || errors.Is(err, kerr.UnknownTopicOrPartition) {
				continue
			}
			r.log.Warn("the probe's topic could not be removed", "side", side.name, "error", err)
		}
		r.doc.Left = append(r.doc.Left, fmt.Sprintf("topic %s at the %s", r.cfg.Topic, side.name))
	}
	if r.cfg.Probe != Offsets {
		return
	}
	for _, side := range []struct {
		name   string
		client *kgo.Client
	}{{"source", r.source}, {"destination", r.destination}} {
		if r.cfg.Remove {
			_, err := kadm.NewClient(side.client).DeleteGroup(ctx, r.cfg.Group)
			if err == nil || errors.Is(err, kerr.GroupIDNotFound) {
				continue
			}
			r.log.Warn("the probe's group could not be removed", "side", side.name, "error", err)
		}
		r.doc.Left = append(r.doc.Left, fmt.Sprintf("group %s at the %s", r.cfg.Group, side.name))
	}
}

func (r *run) note(format string, args ...any) {
	r.doc.Notes = append(r.doc.Notes, fmt.Sprintf(format, args...))
}

func (r *run) measure(name string, number float64, unit, detail string) {
	r.doc.Measures = append(r.doc.Measures, Measure{name, number, unit, detail})
}

// compared adds to what a check has looked at.
func (r *run) compared(check string, n int) { r.doc.Check(check).Compared += uint64(n) }

// unknown says why a check cannot say anything, if it finds nothing wrong.
func (r *run) unknown(check, format string, args ...any) {
	if c := r.doc.Check(check); c.unknown == "" {
		c.unknown = fmt.Sprintf(format, args...)
	}
}

// found notes a finding.
func (r *run) found(f Finding) {
	c := r.doc.Check(f.Check)
	c.Wrong += max(1, f.Count)
	r.doc.FindingCount++
	f.Topic = cmp.Or(f.Topic, r.cfg.Topic)
	if c.findings++; c.findings <= shown {
		r.doc.Findings = append(r.doc.Findings, f)
	}
}

func offset(r *kgo.Record) *int64 {
	if r == nil {
		return nil
	}
	return &r.Offset
}

// errIdle is why waiting has ended.
var errIdle = errors.New("no progress")

// until calls look until it is done, or has seen nothing move for as long as
// the configuration says (errIdle), or ctx ends.
func (r *run) until(ctx context.Context, look func(context.Context) (done, moved bool)) error {
	last := time.Now()
	for {
		bounded, cancel := context.WithTimeout(ctx, round)
		done, moved := look(bounded)
		cancel()
		switch {
		case done:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case moved:
			last = time.Now()
			continue
		case time.Since(last) > r.cfg.Idle:
			return fmt.Errorf("%w for %s", errIdle, r.cfg.Idle)
		}
		select {
		case <-ctx.Done():
		case <-time.After(between):
		}
	}
}

// tail follows all partitions of the probe's topic on one side.
type tail struct {
	client    *kgo.Client
	topic     string
	committed bool // see what a read_committed reader does
	parts     []tailPart
}

type tailPart struct {
	records []*kgo.Record // without the markers of transactions
	next    int64
	end     int64
	start   int64 // the log's
	err     error
}

func (r *run) tail(client *kgo.Client, committed bool) *tail {
	return &tail{client: client, topic: r.cfg.Topic, committed: committed, parts: make([]tailPart, r.partitions)}
}

// advance reads a piece of each partition and says whether anything came.
func (t *tail) advance(ctx context.Context) (moved bool) {
	var wg sync.WaitGroup
	from := make([]int64, len(t.parts))
	for p := range t.parts {
		from[p] = t.parts[p].next
		wg.Go(func() { t.parts[p].advance(ctx, t, int32(p)) })
	}
	wg.Wait()
	for p := range t.parts {
		moved = moved || t.parts[p].next > from[p]
	}
	return moved
}

func (p *tailPart) advance(ctx context.Context, t *tail, partition int32) {
	fetch := rawlog.Fetch
	if t.committed {
		fetch = rawlog.FetchCommitted
	}
	part, err := fetch(ctx, t.client, t.topic, [16]byte{}, partition, p.next)
	if errors.Is(err, kerr.OffsetOutOfRange) {
		// Retention or compaction has taken the log's beginning.
		starts, asked := kadm.NewClient(t.client).ListStartOffsets(ctx, t.topic)
		if start, ok := starts.Lookup(t.topic, partition); asked == nil && ok && start.Err == nil && start.Offset > p.next {
			p.next = start.Offset
			part, err = fetch(ctx, t.client, t.topic, [16]byte{}, partition, p.next)
		}
	}
	if p.err = err; err != nil {
		return
	}
	for _, rec := range part.Records {
		if !rec.Attrs.IsControl() {
			p.records = append(p.records, rec)
		}
	}
	p.next, p.end, p.start = part.Next, part.HighWatermark, part.LogStart
	if t.committed {
		p.end = part.LastStable
	}
}

// err is the first error of the last look.
func (t *tail) err() error {
	for p := range t.parts {
		if err := t.parts[p].err; err != nil {
			return err
		}
	}
	return nil
}

// count is how many records have been read.
func (t *tail) count() int {
	n := 0
	for p := range t.parts {
		n += len(t.parts[p].records)
	}
	return n
}

// has says whether a partition has a record that holds the text, in key or value.
func (t *tail) has(partition int32, text []byte) bool {
	return slices.ContainsFunc(t.parts[partition].records, func(rec *kgo.Record) bool {
		return bytes.Contains(rec.Value, text) || bytes.Contains(rec.Key, text)
	})
}

// readAll reads a log up to the end that it has now.
func (r *run) readAll(ctx context.Context, side string, client *kgo.Client, committed bool) (*tail, error) {
	t := r.tail(client, committed)
	seen := make([]bool, r.partitions)
	err := r.until(ctx, func(ctx context.Context) (done, moved bool) {
		moved = t.advance(ctx)
		done = true
		for p := range t.parts {
			seen[p] = seen[p] || t.parts[p].err == nil
			done = done && seen[p] && t.parts[p].next >= t.parts[p].end
		}
		return done, moved
	})
	if err != nil {
		return nil, fmt.Errorf("read topic %q at the %s: %w", r.cfg.Topic, side, errors.Join(err, t.err()))
	}
	return t, nil
}

// mark is the text of the n-th end marker of a partition.
func (r *run) mark(n int, partition int32) []byte {
	return fmt.Appendf(nil, "kmt-probe-end %s/%d/%d", r.id, n, partition)
}

// isMark says whether a record is an end marker of this run.
func (r *run) isMark(rec *kgo.Record) bool {
	prefix := fmt.Appendf(nil, "kmt-probe-end %s/", r.id)
	return bytes.HasPrefix(rec.Value, prefix) || bytes.HasPrefix(rec.Key, prefix)
}

// sentinels are the n-th end markers, one for each partition. Their keys are
// their own, since the topic may be compacted.
func (r *run) sentinels(n int) []*kgo.Record {
	var out []*kgo.Record
	for p := range r.partitions {
		out = append(out, &kgo.Record{Topic: r.cfg.Topic, Partition: p, Key: r.mark(n, p), Value: r.mark(n, p), Timestamp: time.UnixMilli(time.Now().UnixMilli())})
	}
	return out
}

// arrive follows the destination until the n-th end marker has arrived in each
// partition, and then until nothing comes any more. A replicator that makes no
// progress is not waited for: complete says which partitions got theirs.
func (r *run) arrive(ctx context.Context, t *tail, n, expected int) (complete []bool, err error) {
	complete = make([]bool, r.partitions)
	limit := 2*expected + flood
	started, first := time.Now(), false
	err = r.until(ctx, func(ctx context.Context) (done, moved bool) {
		moved = t.advance(ctx)
		if moved && !first {
			first = true
			r.log.Info("the first records have arrived", "after", time.Since(started).Round(time.Millisecond))
		}
		done = true
		for p := range r.partitions {
			complete[p] = complete[p] || t.has(p, r.mark(n, p))
			done = done && complete[p]
		}
		return done || t.count() > limit, moved
	})
	switch {
	case errors.Is(err, errIdle):
		// What did not come is for the caller to find.
		r.log.Warn("the replicator makes no progress", "for", r.cfg.Idle, "arrived", t.count(), "of", expected, "error", t.err())
		return complete, nil
	case err != nil:
		return nil, err
	case t.count() > limit:
		r.note("the destination got %d records where %d were sent, and no end was in sight: it was not read any further", t.count(), expected)
		return complete, nil
	}
	r.log.Info("all end markers have arrived", "after", time.Since(started).Round(time.Millisecond))
	quiet := time.Now()
	for time.Since(quiet) < r.cfg.Settle && t.count() <= limit {
		bounded, cancel := context.WithTimeout(ctx, round)
		moved := t.advance(bounded)
		cancel()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if moved {
			quiet = time.Now()
			continue
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(min(between, r.cfg.Settle)):
		}
	}
	return complete, nil
}

// writer makes a client that writes to the source.
func (r *run) writer(more ...kgo.Opt) (*kgo.Client, error) {
	client, err := kgo.NewClient(r.clientOptions(r.deps.Source, append([]kgo.Opt{
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(20 * time.Millisecond), // what is written together is a batch
		kgo.UnknownTopicRetries(-1),
	}, more...)...)...)
	if err != nil {
		return nil, fmt.Errorf("source: client options: %w", err)
	}
	return client, nil
}

// write writes records to the source and returns when all are acknowledged. The
// client's own bound (RecordDeliveryTimeout) goes by the records' timestamps,
// which may be anything here.
func (r *run) write(ctx context.Context, client *kgo.Client, records ...*kgo.Record) error {
	limit := max(r.cfg.Idle, 30*time.Second)
	bounded, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not acknowledged within %s", limit))
	defer cancel()
	if err := client.ProduceSync(bounded, records...).FirstErr(); err != nil {
		if bounded.Err() != nil {
			err = fmt.Errorf("%w: %w", err, context.Cause(bounded))
		}
		return fmt.Errorf("write to topic %q at the source: %w", r.cfg.Topic, err)
	}
	return nil
}

// writeMarks writes the n-th end markers.
func (r *run) writeMarks(ctx context.Context, n int) error {
	client, err := r.writer()
	if err != nil {
		return err
	}
	defer client.Close()
	return r.write(ctx, client, r.sentinels(n)...)
}

// report tells of both logs.
func (r *run) report(source, destination *tail, complete []bool) {
	r.doc.Partitions = nil
	for p := range r.partitions {
		s, d := &source.parts[p], &destination.parts[p]
		r.doc.Partitions = append(r.doc.Partitions, Partition{
			Partition: p, SourceRecords: len(s.records), SourceEnd: s.next,
			DestinationRecords: len(d.records), DestinationEnd: d.next, Complete: complete[p],
		})
	}
}
