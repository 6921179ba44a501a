package probe

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	checkState      = "state"
	checkTombstones = "tombstones"
)

// versions is how many versions of a key there may be.
const versions = 5

// compaction overwrites and deletes the keys of a compacted topic.
func compaction() kind {
	return kind{
		name:  Compaction,
		about: "a compacted topic: keys that are overwritten, deleted by tombstones, and written again",
		checks: []check{
			{name: checkSource, about: "the source's last record of each key is the last that was written"},
			{name: checkState, about: "the last record of each key is the same on both sides"},
			{name: checkTombstones, about: "keys that were deleted are deleted at the destination"},
			{name: checkOrder, about: "no version of a key comes after a newer one"},
			{name: checkOnce, about: "no version comes twice, which compaction will cure", measured: true},
		},
		settings: map[string]string{
			"cleanup.policy": "compact",
			// The logs are compacted while the probe runs, as far as it takes long enough.
			"segment.ms": "1000", "min.cleanable.dirty.ratio": "0.01", "message.timestamp.type": "CreateTime",
		},
		run: (*run).runCompaction,
	}
}

// lives says what the versions of the i-th key are: true for a value, false for a
// tombstone; a version may be left out.
func lives(i int) map[int]bool {
	switch i % 5 {
	case 0: // overwritten again and again
		return map[int]bool{1: true, 2: true, 3: true, 4: true, 5: true}
	case 1: // deleted for good
		return map[int]bool{1: true, 2: true, 3: true, 4: false}
	case 2: // deleted, and written again
		return map[int]bool{1: true, 2: false, 4: true}
	case 3: // written once
		return map[int]bool{1: true}
	default: // deleted twice
		return map[int]bool{1: true, 2: false, 5: false}
	}
}

// lastLife is the last version of the i-th key.
func lastLife(i int) (version int, value bool) {
	for v, is := range lives(i) {
		if v > version {
			version, value = v, is
		}
	}
	return version, value
}

const versionHeader = "version"

func (r *run) keyName(partition int32, i int) string {
	return fmt.Sprintf("probe %s key %d of partition %d", r.id, i, partition)
}

func versionText(key string, version int) string { return fmt.Sprintf("%s, version %d", key, version) }

// versionOf reads which version a record is; 0 where it does not say.
func versionOf(rec *kgo.Record) int {
	for _, h := range rec.Headers {
		if h.Key == versionHeader {
			n, _ := strconv.Atoi(string(h.Value))
			return n
		}
	}
	return 0
}

func (r *run) runCompaction(ctx context.Context) error {
	client, err := r.writer()
	if err != nil {
		return err
	}
	defer client.Close()
	expected := 0
	for version := 1; version <= versions; version++ {
		var batch []*kgo.Record
		for p := range r.partitions {
			for i := range r.cfg.Records {
				value, there := lives(i)[version]
				if !there {
					continue
				}
				key := r.keyName(p, i)
				rec := &kgo.Record{
					Topic: r.cfg.Topic, Partition: p, Key: []byte(key), Timestamp: time.UnixMilli(time.Now().UnixMilli()),
					Headers: []kgo.RecordHeader{{Key: versionHeader, Value: []byte(strconv.Itoa(version))}},
				}
				if value {
					rec.Value = []byte(versionText(key, version))
				}
				batch = append(batch, rec)
			}
		}
		if err := r.write(ctx, client, batch...); err != nil {
			return err
		}
		expected += len(batch)
	}
	r.log.Info("written", "records", expected)
	fillers := 0
	if r.cfg.CompactFirst {
		if fillers, err = r.awaitCompaction(ctx, client); err != nil {
			return err
		}
	}
	// The last of all, so that a replicator that was stopped has read all.
	if err := r.write(ctx, client, r.sentinels(1)...); err != nil {
		return err
	}
	destination := r.tail(r.destination, false)
	complete, err := r.arrive(ctx, destination, 1, expected+fillers)
	if err != nil {
		return err
	}
	// Once more from the start: what was compacted since is not part of what a new
	// reader sees, and what came late is.
	again, err := r.readAll(ctx, "destination", r.destination, false)
	if err != nil {
		return err
	}
	source, err := r.readAll(ctx, "source", r.source, false)
	if err != nil {
		return err
	}
	r.report(source, again, complete)
	r.measure("written", float64(expected), "records", "to keys of their own, all partitions")
	r.measure("left at the source", float64(source.count()), "records", "when the probe ended, with end markers")
	r.measure("left at the destination", float64(again.count()), "records", "when the probe ended, with end markers")

	for p := range r.partitions {
		r.compareKeys(p, source.parts[p].records, destination.parts[p].records, again.parts[p].records, complete[p])
	}
	return nil
}

// awaitCompaction waits until the source holds one record of each key. A segment
// is closed by a record that comes after its time, so some are written meanwhile:
// how many is returned.
func (r *run) awaitCompaction(ctx context.Context, client *kgo.Client) (fillers int, err error) {
	const first = 1000 // of their numbers, so that they end nothing
	started := time.Now()
	keys, left := int(r.partitions)*r.cfg.Records, -1
	var last error
	err = r.until(ctx, func(ctx context.Context) (done, moved bool) {
		if last = r.write(ctx, client, r.sentinels(first+fillers)...); last != nil {
			return false, false
		}
		fillers++
		var source *tail
		if source, last = r.readAll(ctx, "source", r.source, false); last != nil {
			return false, false
		}
		now := 0
		for p := range source.parts {
			for _, rec := range source.parts[p].records {
				if !r.isMark(rec) {
					now++
				}
			}
		}
		moved = now != left
		if left = now; left <= keys {
			return true, true
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
		return false, moved
	})
	switch {
	case errors.Is(err, errIdle) && last == nil:
		r.note("the source's log was not compacted: for %s it held %d records of %d keys", r.cfg.Idle, left, keys)
	case err != nil:
		return 0, fmt.Errorf("wait for the source's log to be compacted: %w", errors.Join(err, last))
	default:
		r.measure("until the source was compacted", time.Since(started).Seconds(), "s", "from the last write")
	}
	return fillers * int(r.partitions), nil
}

// compareKeys compares a partition: what its keys came to be at the source, all
// records that were seen to arrive, and those of the destination's log now.
func (r *run) compareKeys(p int32, source, arrived, now []*kgo.Record, complete bool) {
	last := func(records []*kgo.Record) map[string]*kgo.Record {
		m := map[string]*kgo.Record{}
		for _, rec := range records {
			if !r.isMark(rec) {
				m[string(rec.Key)] = rec
			}
		}
		return m
	}
	atSource, atDestination := last(source), last(now)
	newest := map[string]*kgo.Record{} // that ever arrived
	seen := map[string]bool{}
	for _, rec := range arrived {
		if r.isMark(rec) {
			continue
		}
		key, version := string(rec.Key), versionOf(rec)
		r.compared(checkOrder, 1)
		r.compared(checkOnce, 1)
		f := Finding{Partition: p, DestinationOffset: offset(rec), Record: shorten(rec.Key), Field: "version"}
		if before := newest[key]; before != nil && version < versionOf(before) {
			f.Check, f.Word, f.Source, f.Destination = checkOrder, "reordered", fmt.Sprint(versionOf(before)), fmt.Sprint(version)
			f.Detail = fmt.Sprintf("an older version after the newer at offset %d", before.Offset)
			r.found(f)
		} else {
			newest[key] = rec
		}
		if id := fmt.Sprint(key, "/", version); seen[id] {
			f.Check, f.Word, f.Source, f.Destination, f.Detail = checkOnce, "duplicate", "", fmt.Sprint(version), ""
			r.found(f)
		} else {
			seen[id] = true
		}
	}

	for i := range r.cfg.Records {
		key := r.keyName(p, i)
		version, lives := lastLife(i)
		want := &kgo.Record{Value: []byte(versionText(key, version))}
		if !lives {
			want.Value = nil
		}
		s, d := atSource[key], atDestination[key]
		r.compared(checkSource, 1)
		if s == nil || !sameBytes(s.Value, want.Value) || versionOf(s) != version {
			r.found(Finding{Check: checkSource, Word: "stale", Partition: p, SourceOffset: offset(s), Record: key, Source: shorten(want.Value), Destination: valueOf(s), Detail: "as written, and as the source has it"})
		}
		r.compared(checkState, 1)
		if !lives {
			r.compared(checkTombstones, 1)
		}
		if d != nil && sameBytes(d.Value, want.Value) {
			continue
		}
		f := Finding{Check: checkState, Partition: p, SourceOffset: offset(s), DestinationOffset: offset(d), Record: fmt.Sprintf("%s, version %d", key, version), Source: shorten(want.Value), Destination: valueOf(d)}
		deleted := newest[key] != nil && newest[key].Value == nil && versionOf(newest[key]) == version
		switch {
		case !lives && deleted && d != nil:
			f.Word, f.Detail = "resurrected", fmt.Sprintf("its tombstone had arrived at offset %d, and a value came after it", newest[key].Offset)
		case !lives && d != nil:
			f.Check, f.Word, f.Detail = checkTombstones, "lost", "its tombstone is not there, and the key lives on at the destination"
		case !lives:
			f.Check, f.Word, f.Detail = checkTombstones, "lost", "neither its tombstone nor an older value is there"
		case d == nil:
			f.Word, f.Detail = "lost", "no record of this key is there"
		case versionOf(d) == version:
			f.Word, f.Field = "corrupt", valueField
		default:
			f.Word, f.Detail = "stale", fmt.Sprintf("the last at the destination is version %d", versionOf(d))
		}
		if !complete && f.Word != "resurrected" {
			f.Word = "undelivered"
			f.Detail += fmt.Sprintf(" (the replicator did not come to the end of the partition: for %s nothing more came)", r.cfg.Idle)
		}
		r.found(f)
	}
}

// valueOf is a record's value for people.
func valueOf(rec *kgo.Record) string {
	if rec == nil {
		return "absent"
	}
	return shorten(rec.Value)
}
