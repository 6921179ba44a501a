package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	checkTranslated = "translated"
	checkSkipped    = "skipped"
	checkReread     = "reread"
)

// offsets has a consumer group move from the source to the destination.
func offsets() kind {
	return kind{
		name:  Offsets,
		about: "a consumer group that stops in the middle at the source, and goes on at the destination",
		checks: []check{
			{name: checkTranslated, about: "the group has an offset at the destination for every partition"},
			{name: checkSkipped, about: "no record that the group had not read is skipped"},
			{name: checkReread, about: "records are read twice by no more than --max-reread"},
		},
		settings: map[string]string{"message.timestamp.type": "CreateTime"},
		run:      (*run).runOffsets,
	}
}

// serial is a record's number in its partition, -1 for one that has none.
func (r *run) serial(rec *kgo.Record) int {
	n, found := strings.CutPrefix(string(rec.Value), fmt.Sprintf("probe %s record ", r.id))
	if !found {
		return -1
	}
	i, err := strconv.Atoi(n)
	if err != nil {
		return -1
	}
	return i
}

func (r *run) runOffsets(ctx context.Context) error {
	client, err := r.writer()
	if err != nil {
		return err
	}
	defer client.Close()
	var all []*kgo.Record
	for p := range r.partitions {
		for i := range r.cfg.Records {
			all = append(all, &kgo.Record{Topic: r.cfg.Topic, Partition: p, Key: fmt.Appendf(nil, "%d", i), Value: fmt.Appendf(nil, "probe %s record %d", r.id, i), Timestamp: time.UnixMilli(time.Now().UnixMilli())})
		}
	}
	// Several batches, as of a producer that goes on: a replicator may know offsets
	// of both sides by the batch.
	for chunk := range slices.Chunk(all, max(1, len(all)/20)) {
		if err := r.write(ctx, client, chunk...); err != nil {
			return err
		}
	}
	// The middle is another one in each partition.
	middle := make([]int, r.partitions)
	for p := range middle {
		middle[p] = max(1, r.cfg.Records/2-p)
	}
	committed, err := r.readHalf(ctx, middle)
	if err != nil {
		return err
	}
	since := time.Now()
	r.log.Info("the group has committed its offsets at the source", "group", r.cfg.Group)
	if err := r.write(ctx, client, r.sentinels(1)...); err != nil {
		return err
	}
	destination := r.tail(r.destination, false)
	complete, err := r.arrive(ctx, destination, 1, len(all)+int(r.partitions))
	if err != nil {
		return err
	}
	translated, err := r.translation(ctx, since, committed)
	if err != nil {
		return err
	}
	source, err := r.readAll(ctx, "source", r.source, false)
	if err != nil {
		return err
	}
	r.report(source, destination, complete)
	for p := range r.partitions {
		if !complete[p] {
			r.unknown(checkSkipped, "the replicator did not come to the end of partition %d within %s without progress: whether a record is skipped or has not arrived is not known", p, r.cfg.Idle)
			r.unknown(checkReread, "the replicator did not come to the end of partition %d", p)
		}
	}
	r.fallback(destination, committed, middle)
	if len(translated) == 0 {
		r.unknown(checkSkipped, "the group has no offsets at the destination: where it goes on there is for its auto.offset.reset to say")
		r.unknown(checkReread, "the group has no offsets at the destination")
		return nil
	}
	if slices.Contains(complete, false) {
		return nil
	}
	return r.goOn(ctx, destination, translated, middle)
}

// readHalf has the group read up to the middle of each partition at the source
// and commit that. It returns the offsets.
func (r *run) readHalf(ctx context.Context, middle []int) (map[int32]int64, error) {
	client, err := kgo.NewClient(r.clientOptions(r.deps.Source, kgo.ConsumerGroup(r.cfg.Group), kgo.ConsumeTopics(r.cfg.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())...)
	if err != nil {
		return nil, fmt.Errorf("source: client options: %w", err)
	}
	defer client.Close()
	last := map[int32]*kgo.Record{}
	err = r.until(ctx, func(ctx context.Context) (done, moved bool) {
		for _, rec := range client.PollFetches(ctx).Records() {
			if r.serial(rec) < middle[rec.Partition] {
				last[rec.Partition] = rec
				moved = true
			}
		}
		done = len(last) == len(middle)
		for p, rec := range last {
			done = done && r.serial(rec) == middle[p]-1
		}
		return done, moved
	})
	if err != nil {
		return nil, fmt.Errorf("group %q reads at the source: %w", r.cfg.Group, err)
	}
	if err := client.CommitRecords(ctx, slices.Collect(maps.Values(last))...); err != nil {
		return nil, fmt.Errorf("group %q commits at the source: %w", r.cfg.Group, err)
	}
	at := map[int32]int64{}
	for p, rec := range last {
		at[p] = rec.Offset + 1
	}
	return at, nil
}

// translation waits until the group's offsets are at the destination, and do not
// change any more: a replicator may have rough ones first.
func (r *run) translation(ctx context.Context, since time.Time, committed map[int32]int64) (map[int32]int64, error) {
	admin := kadm.NewClient(r.destination)
	found := map[int32]int64{}
	var last error
	whole := false
	err := r.until(ctx, func(ctx context.Context) (done, moved bool) {
		stored, err := admin.FetchOffsetsForTopics(ctx, r.cfg.Group, r.cfg.Topic)
		if err != nil {
			if !errors.Is(err, kerr.GroupIDNotFound) { // the word for one that never stored anything
				last = err
			}
			return false, false
		}
		exact := true
		for p := range r.partitions {
			o, ok := stored.Lookup(r.cfg.Topic, p)
			if ok && o.Err == nil && o.At >= 0 && (found[p] != o.At || !has(found, p)) {
				found[p], moved = o.At, true
			}
			exact = exact && has(found, p) && found[p] == committed[p]
		}
		if len(found) == int(r.partitions) && !whole {
			whole = true
			r.measure("until the offsets were there", time.Since(since).Seconds(), "s", "from the commit at the source to an offset for every partition at the destination")
		}
		// The source's own offsets are as good as it gets where both logs are the same.
		return exact, moved
	})
	if err != nil && !errors.Is(err, errIdle) {
		return nil, fmt.Errorf("the offsets of group %q at the destination: %w", r.cfg.Group, errors.Join(err, last))
	}
	r.compared(checkTranslated, int(r.partitions))
	for p := range r.partitions {
		if has(found, p) {
			continue
		}
		at := committed[p]
		detail := fmt.Sprintf("for %s the group had no offset at the destination", r.cfg.Idle)
		if last != nil {
			detail += fmt.Sprintf(" (the last error: %v)", last)
		}
		r.found(Finding{Check: checkTranslated, Word: "not translated", Partition: p, SourceOffset: &at, Record: "group " + r.cfg.Group, Detail: detail})
	}
	return found, nil
}

func has[V any](m map[int32]V, p int32) bool {
	_, ok := m[p]
	return ok
}

// outcome is what a reader that goes on at an offset of the destination reads
// twice, and what it never reads.
func (r *run) outcome(records []*kgo.Record, at int64, middle int) (reread int, skipped []int) {
	sees := map[int]bool{}
	for _, rec := range records {
		n := r.serial(rec)
		if n < 0 || rec.Offset < at {
			continue
		}
		if n < middle {
			reread++
		}
		sees[n] = true
	}
	for n := middle; n < r.cfg.Records; n++ {
		if !sees[n] {
			skipped = append(skipped, n)
		}
	}
	return reread, skipped
}

// fallback tells what the source's own offsets would do at the destination, for a
// team that has no translation.
func (r *run) fallback(destination *tail, committed map[int32]int64, middle []int) {
	reread, skipped := 0, 0
	for p := range r.partitions {
		n, s := r.outcome(destination.parts[p].records, committed[p], middle[p])
		reread, skipped = reread+n, skipped+len(s)
	}
	r.note("with the source's own offsets the group would skip %d records at the destination, and read %d twice", skipped, reread)
}

// goOn has the group read at the destination to the end, and counts.
func (r *run) goOn(ctx context.Context, destination *tail, translated map[int32]int64, middle []int) error {
	client, err := kgo.NewClient(r.clientOptions(r.deps.Destination, kgo.ConsumerGroup(r.cfg.Group), kgo.ConsumeTopics(r.cfg.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), // as Java's consumers do
		kgo.DisableAutoCommit(), kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	if err != nil {
		return fmt.Errorf("destination: client options: %w", err)
	}
	defer client.Close()
	read := make([][]*kgo.Record, r.partitions)
	next := map[int32]int64{} // of each partition, after what was read
	err = r.until(ctx, func(ctx context.Context) (done, moved bool) {
		poll, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		for _, rec := range client.PollFetches(poll).Records() {
			if rec.Partition < r.partitions {
				read[rec.Partition] = append(read[rec.Partition], rec)
				next[rec.Partition], moved = rec.Offset+1, true
			}
		}
		done = true
		for p := range r.partitions {
			records := destination.parts[p].records
			end := records[len(records)-1].Offset + 1
			// Where there is no offset the group begins at the end, and where the offset
			// is the end, nothing comes.
			done = done && (next[p] >= end || !has(translated, p) || translated[p] >= end)
		}
		return done, moved
	})
	if err != nil && !errors.Is(err, errIdle) {
		return fmt.Errorf("group %q reads at the destination: %w", r.cfg.Group, err)
	}
	total := 0
	for p := range r.partitions {
		if !has(translated, p) {
			r.unknown(checkSkipped, "the group has no offset for partition %d at the destination", p)
			r.unknown(checkReread, "the group has no offset for partition %d at the destination", p)
			continue
		}
		records := destination.parts[p].records
		if end := records[len(records)-1].Offset + 1; err != nil && next[p] < end {
			r.unknown(checkSkipped, "the group did not get to the end of partition %d at the destination", p)
			r.unknown(checkReread, "the group did not get to the end of partition %d at the destination", p)
			continue
		}
		reread, skipped := r.outcome(read[p], 0, middle[p])
		missed := len(skipped)
		total += reread
		r.compared(checkSkipped, r.cfg.Records-middle[p])
		at := translated[p]
		for len(skipped) > 0 {
			run := 1
			for run < len(skipped) && skipped[run] == skipped[0]+run {
				run++
			}
			what := fmt.Sprintf("record %d", skipped[0])
			if run > 1 {
				what = fmt.Sprintf("records %d to %d", skipped[0], skipped[run-1])
			}
			r.found(Finding{
				Check: checkSkipped, Word: "skipped", Partition: p, Record: what, Count: uint64(run), DestinationOffset: destinationOffset(r, records, skipped[0]),
				Detail: fmt.Sprintf("the group had read up to record %d at the source, and went on at offset %d of the destination", middle[p]-1, at),
			})
			skipped = skipped[run:]
		}
		r.log.Info("the group went on at the destination", "partition", p, "at", at, "reread", reread, "skipped", missed)
	}
	r.measure("read twice", float64(total), "records", fmt.Sprintf("of %d that the group had read at the source", sum(middle)))
	r.compared(checkReread, sum(middle))
	if r.cfg.MaxReread >= 0 && total > r.cfg.MaxReread {
		r.found(Finding{Check: checkReread, Word: "duplicate", Detail: fmt.Sprintf("%d records were read twice, %d may be", total, r.cfg.MaxReread)})
	}
	return nil
}

func sum(of []int) int {
	n := 0
	for _, i := range of {
		n += i
	}
	return n
}

// destinationOffset is where the n-th record is, nil where it is not.
func destinationOffset(r *run, records []*kgo.Record, n int) *int64 {
	for _, rec := range records {
		if r.serial(rec) == n {
			return &rec.Offset
		}
	}
	return nil
}
