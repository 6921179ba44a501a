package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The checks of the probe fidelity, and those of others that are of the same kind.
const (
	checkSource     = "source"
	checkDelivered  = "delivered"
	checkOnce       = "once"
	checkOrder      = "order"
	checkPartition  = "partition"
	checkKeys       = "keys"
	checkValues     = "values"
	checkHeaders    = "headers"
	checkTimestamps = "timestamps"
	checkNegative   = "negative timestamps"
)

// fidelity copies one record of every kind there is.
func fidelity() kind {
	return kind{
		name:  Fidelity,
		about: "keys, values, headers, timestamps, partitions and order of every kind of record, under every compression",
		checks: []check{
			{name: checkSource, about: "the source holds what was written"},
			{name: checkDelivered, about: "every record arrives"},
			{name: checkOnce, about: "and once, and nothing else does"},
			{name: checkPartition, about: "on the partition that it had"},
			{name: checkOrder, about: "in the order that it had"},
			{name: checkKeys, about: "keys are the same: null, empty, binary"},
			{name: checkValues, about: "values are the same: null, empty, binary"},
			{name: checkHeaders, about: "headers are the same, in their order, duplicate keys too"},
			{name: checkTimestamps, about: "timestamps are the same, and CreateTime"},
			{name: checkNegative, about: "a record from before 1970 arrives too, and what comes after it", asked: func(c *Config) bool { return c.Negative }},
		},
		// Nothing that is written here is to be too old to be kept.
		settings: map[string]string{"retention.ms": "-1", "message.timestamp.type": "CreateTime"},
		run:      (*run).runFidelity,
	}
}

// sample is a record of the probe with what it is there for.
type sample struct {
	about  string
	record *kgo.Record
}

// codec is a compression that Kafka has.
type codec struct {
	name, label string
	kgo.CompressionCodec
}

func codecs() []codec {
	return []codec{
		{"none", "no compression", kgo.NoCompression()}, {"gzip", "gzip", kgo.GzipCompression()},
		{"snappy", "snappy", kgo.SnappyCompression()}, {"lz4", "lz4", kgo.Lz4Compression()}, {"zstd", "zstd", kgo.ZstdCompression()},
	}
}

// Compressions are the names of all that the probe fidelity can write with, as Kafka's compression.type has them.
func Compressions() []string {
	var names []string
	for _, c := range codecs() {
		names = append(names, c.name)
	}
	return names
}

// every is all 256 bytes, which is no text.
func every() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// samples are the records of one batch. Each says in key, value or headers who it
// is, and has a time of its own.
func (r *run) samples(partition int32, compression string, base time.Time, old bool) []sample {
	var out []sample
	n := 0
	add := func(about string, change func(rec *kgo.Record, id []byte)) {
		n++
		id := fmt.Appendf(nil, "probe %s, %s, %s, partition %d, %d", r.id, about, compression, partition, n)
		rec := &kgo.Record{
			Topic: r.cfg.Topic, Partition: partition, Timestamp: base.Add(time.Duration(n) * time.Millisecond),
			Key: fmt.Appendf(nil, "key %d", n), Value: id,
		}
		change(rec, id)
		out = append(out, sample{about + " (" + compression + ")", rec})
	}
	header := func(keysAndValues ...string) []kgo.RecordHeader {
		var hs []kgo.RecordHeader
		for i := 0; i < len(keysAndValues); i += 2 {
			hs = append(hs, kgo.RecordHeader{Key: keysAndValues[i], Value: []byte(keysAndValues[i+1])})
		}
		return hs
	}

	add("plain", func(*kgo.Record, []byte) {})
	add("null key", func(rec *kgo.Record, _ []byte) { rec.Key = nil })
	add("empty key", func(rec *kgo.Record, _ []byte) { rec.Key = []byte{} })
	add("binary key", func(rec *kgo.Record, _ []byte) { rec.Key = every() })
	add("long key", func(rec *kgo.Record, _ []byte) { rec.Key = bytes.Repeat([]byte("k"), 4096) })
	add("null value (tombstone)", func(rec *kgo.Record, id []byte) { rec.Key, rec.Value = id, nil })
	add("empty value", func(rec *kgo.Record, id []byte) { rec.Key, rec.Value = id, []byte{} })
	add("binary value", func(rec *kgo.Record, id []byte) { rec.Key, rec.Value = id, every() })
	add("long value", func(rec *kgo.Record, id []byte) { rec.Key, rec.Value = id, bytes.Repeat(every(), 256) })
	add("null key and null value", func(rec *kgo.Record, id []byte) {
		rec.Key, rec.Value, rec.Headers = nil, nil, header("id", string(id))
	})
	add("empty key and empty value", func(rec *kgo.Record, id []byte) {
		rec.Key, rec.Value, rec.Headers = []byte{}, []byte{}, header("id", string(id))
	})
	add("one header", func(rec *kgo.Record, _ []byte) { rec.Headers = header("a", "1") })
	add("100 headers", func(rec *kgo.Record, _ []byte) {
		for i := range 100 {
			rec.Headers = append(rec.Headers, header(fmt.Sprintf("h%d", i), fmt.Sprint(i))...)
		}
	})
	add("headers out of alphabetical order", func(rec *kgo.Record, _ []byte) { rec.Headers = header("z", "1", "a", "2", "m", "3") })
	add("duplicate headers", func(rec *kgo.Record, _ []byte) {
		rec.Headers = header("same", "2", "other", "x", "same", "1", "same", "2")
	})
	add("null header value", func(rec *kgo.Record, _ []byte) {
		rec.Headers = append(header("before", "1"), kgo.RecordHeader{Key: "null"})
	})
	add("empty header value", func(rec *kgo.Record, _ []byte) { rec.Headers = header("empty", "", "after", "1") })
	add("empty header key", func(rec *kgo.Record, _ []byte) { rec.Headers = header("", "nameless") })
	add("binary header value", func(rec *kgo.Record, _ []byte) { rec.Headers = header("binary", string(every())) })
	add("non-ASCII headers", func(rec *kgo.Record, _ []byte) {
		rec.Headers = header("größe", "ß", "日本", "語", "🦀", "🐟")
	})
	// A replicator that goes through a typed form may read these as something else.
	add("headers that look like numbers and JSON", func(rec *kgo.Record, _ []byte) {
		rec.Headers = header("number", "007", "float", "1.0", "truth", "true", "json", `{"a": 1}`, "null", "null")
	})
	add("long header", func(rec *kgo.Record, _ []byte) {
		rec.Headers = header("long", string(bytes.Repeat([]byte("h"), 10_000)))
	})
	add("value that looks like JSON", func(rec *kgo.Record, id []byte) {
		rec.Value = fmt.Appendf(nil, `{"schema": null, "payload": "%s"}`, id)
	})
	if old {
		add("timestamp 0 (1970)", func(rec *kgo.Record, _ []byte) { rec.Timestamp = time.UnixMilli(0) })
		add("timestamp 1", func(rec *kgo.Record, _ []byte) { rec.Timestamp = time.UnixMilli(1) })
		add("timestamp of 2001", func(rec *kgo.Record, _ []byte) { rec.Timestamp = time.UnixMilli(999_999_999_999) })
	}
	add("timestamp back at now", func(*kgo.Record, []byte) {})
	add("last plain", func(*kgo.Record, []byte) {})
	return out
}

// runFidelity writes, waits and compares.
func (r *run) runFidelity(ctx context.Context) error {
	written := make([][]sample, r.partitions)
	base := time.UnixMilli(time.Now().UnixMilli())
	old, future, err := r.times(ctx)
	if err != nil {
		return err
	}
	client, err := r.writer()
	if err != nil {
		return err
	}
	defer client.Close()
	for _, c := range codecs() {
		if !slices.Contains(r.cfg.Compressions, c.name) {
			continue
		}
		compressing, err := r.writer(kgo.ProducerBatchCompression(c.CompressionCodec))
		if err != nil {
			return err
		}
		var all []*kgo.Record
		for p := range r.partitions {
			for _, s := range r.samples(p, c.label, base, old) {
				written[p] = append(written[p], s)
				all = append(all, s.record)
			}
		}
		err = r.write(ctx, compressing, all...)
		compressing.Close()
		if err != nil {
			return fmt.Errorf("with compression %s: %w", c.name, err)
		}
	}
	// Batches of one record.
	for i := range 3 {
		for p := range r.partitions {
			s := sample{"batch of one", &kgo.Record{
				Topic: r.cfg.Topic, Partition: p, Key: fmt.Appendf(nil, "single %d", i), Value: fmt.Appendf(nil, "probe %s, single %d, partition %d", r.id, i, p),
				Timestamp: base.Add(time.Duration(i) * time.Second),
			}}
			written[p] = append(written[p], s)
			if err := r.write(ctx, client, s.record); err != nil {
				return err
			}
		}
	}
	for p := range r.partitions {
		const about = "timestamp of 2200"
		if !future {
			break
		}
		s := sample{about, &kgo.Record{
			Topic: r.cfg.Topic, Partition: p, Key: []byte(about), Value: fmt.Appendf(nil, "probe %s, %s, partition %d", r.id, about, p),
			Timestamp: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC),
		}}
		taken, err := r.try(ctx, s.record)
		switch {
		case err != nil:
			return err
		case taken:
			written[p] = append(written[p], s)
		case p == 0:
			r.note("the source does not take a record with a %s, so it was not tried", about)
		}
	}
	marks := r.sentinels(1)
	if err := r.write(ctx, client, marks...); err != nil {
		return err
	}
	expected := 0
	for p := range r.partitions {
		written[p] = append(written[p], sample{"end marker", marks[p]})
		expected += len(written[p])
	}
	r.log.Info("written", "records", expected)

	destination := r.tail(r.destination, false)
	started := time.Now()
	complete, err := r.arrive(ctx, destination, 1, expected)
	if err != nil {
		return err
	}
	r.measure("until all had arrived", time.Since(started).Seconds(), "s", "from the last write, with the time to settle")
	source, err := r.readAll(ctx, "source", r.source, false)
	if err != nil {
		return err
	}
	r.report(source, destination, complete)
	r.compareSource(written, source)
	abouts := map[*kgo.Record]string{}
	for p := range r.partitions {
		for i, rec := range source.parts[p].records {
			if i < len(written[p]) {
				abouts[rec] = written[p][i].about
			}
		}
	}
	r.compareLogs(source, destination, func(rec *kgo.Record) string { return abouts[rec] })
	if r.cfg.Negative {
		return r.negative(ctx, destination, expected)
	}
	return nil
}

// negative writes a record with a time before 1970 to partition 0. Kafka takes it,
// and Java's producer cannot send it, so it comes last: a replicator may stop at
// it for good.
func (r *run) negative(ctx context.Context, destination *tail, expected int) error {
	rec := &kgo.Record{Topic: r.cfg.Topic, Partition: 0, Key: []byte("before 1970"), Value: fmt.Appendf(nil, "probe %s, negative timestamp", r.id), Timestamp: time.UnixMilli(-1000)}
	taken, err := r.try(ctx, rec)
	if err != nil {
		return err
	}
	if !taken {
		r.unknown(checkNegative, "the source takes no record with a negative timestamp, so none was sent")
		return nil
	}
	if err := r.writeMarks(ctx, 2); err != nil {
		return err
	}
	complete, err := r.arrive(ctx, destination, 2, expected+1+int(r.partitions))
	if err != nil {
		return err
	}
	r.compared(checkNegative, 1)
	f := Finding{Check: checkNegative, Partition: 0, SourceOffset: &rec.Offset, Record: "record with timestamp -1000"}
	i := slices.IndexFunc(destination.parts[0].records, func(d *kgo.Record) bool { return bytes.Equal(d.Value, rec.Value) })
	var stopped []string
	for p, came := range complete {
		if !came {
			stopped = append(stopped, strconv.Itoa(p))
		}
	}
	switch {
	case len(stopped) > 0:
		f.Word = "stalled"
		f.Detail = fmt.Sprintf("stalled at offset %d: for %s nothing came on partitions %s of %d, though a record was written to each after it", rec.Offset, r.cfg.Idle, strings.Join(stopped, ", "), r.partitions)
	case i < 0:
		f.Word, f.Detail = "lost", "later records of its partition have arrived"
	case destination.parts[0].records[i].Timestamp.UnixMilli() != -1000:
		d := destination.parts[0].records[i]
		f.Word, f.Field, f.Source, f.Destination, f.DestinationOffset = "corrupt", timestampField, stamp(rec), stamp(d), offset(d)
	default:
		return nil
	}
	r.found(f)
	return nil
}

// times says whether both sides take records of long ago and of times to come. One
// that only the source takes could stop the replicator for good, so it is not sent.
func (r *run) times(ctx context.Context) (old, future bool, err error) {
	const century = 100 * 365 * 24 * 3600 * 1000 // milliseconds
	old, future = true, true
	for _, side := range []struct {
		name   string
		client *kgo.Client
		topic  bool // it is there
	}{{"source", r.source, true}, {"destination", r.destination, !r.cfg.ReplicatorCreates}} {
		bounded, cancel := context.WithTimeout(ctx, round)
		var values map[string]string
		prefix := ""
		if side.topic {
			values, _, err = r.describe(bounded, kadm.NewClient(side.client))
		} else {
			prefix = "log."
			values, err = brokerSettings(bounded, kadm.NewClient(side.client))
		}
		cancel()
		if err != nil && ctx.Err() != nil {
			return false, false, ctx.Err()
		}
		if err != nil {
			r.note("records of long ago and of times to come were not tried: whether the %s takes them could not be asked (%v)", side.name, err)
			return false, false, nil
		}
		for _, limit := range []struct {
			name string
			ok   *bool
			what string
		}{{"message.timestamp.before.max.ms", &old, "long ago"}, {"message.timestamp.after.max.ms", &future, "times to come"}} {
			// Before Kafka 3.6 there is no such setting.
			if ms, err := strconv.ParseInt(values[prefix+limit.name], 10, 64); err == nil && ms < 2*century {
				*limit.ok = false
				r.note("records of %s were not tried: the %s has %s%s %d", limit.what, side.name, prefix, limit.name, ms)
			}
		}
	}
	return old, future, nil
}

// brokerSettings are those of one broker, which a topic made there would have.
func brokerSettings(ctx context.Context, admin *kadm.Client) (map[string]string, error) {
	cluster, err := admin.BrokerMetadata(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the cluster's brokers: %w", err)
	}
	ids := cluster.Brokers.NodeIDs()
	if len(ids) == 0 {
		return nil, errors.New("the cluster names no broker")
	}
	found, err := admin.DescribeBrokerConfigs(ctx, ids[0])
	if err == nil && len(found) > 0 {
		err = found[0].Err
	}
	if err != nil {
		return nil, fmt.Errorf("read the settings of broker %d: %w", ids[0], err)
	}
	values := map[string]string{}
	for _, resource := range found {
		for _, c := range resource.Configs {
			if c.Value != nil {
				values[c.Key] = *c.Value
			}
		}
	}
	return values, nil
}

// try writes a record that the source may refuse.
func (r *run) try(ctx context.Context, rec *kgo.Record) (taken bool, err error) {
	client, err := r.writer(kgo.DisableIdempotentWrite())
	if err != nil {
		return false, err
	}
	defer client.Close()
	err = r.write(ctx, client, rec)
	if errors.Is(err, kerr.InvalidTimestamp) || errors.Is(err, kerr.InvalidRecord) || errors.Is(err, kerr.CorruptMessage) {
		return false, nil
	}
	return err == nil, err
}

// compareSource proves that the source holds what was written. Without that
// nothing can be said of the replicator: what is different at the destination
// may not be its doing.
func (r *run) compareSource(written [][]sample, source *tail) {
	for p := range r.partitions {
		have := source.parts[p].records
		r.compared(checkSource, len(written[p]))
		if len(have) != len(written[p]) {
			r.found(Finding{Check: checkSource, Word: "lost", Partition: p, Detail: fmt.Sprintf("%d records were written, and the source has %d", len(written[p]), len(have))})
			continue
		}
		for i, s := range written[p] {
			// What is written has no type of timestamp yet.
			sent := *s.record
			sent.Attrs = have[i].Attrs
			for _, d := range differences(&sent, have[i]) {
				if d.field == timestampField && have[i].Attrs.TimestampType() == 1 {
					continue // the topic was given LogAppendTime, by its owner or --topic-config
				}
				r.found(Finding{Check: checkSource, Word: "corrupt", Partition: p, SourceOffset: offset(have[i]), Record: s.about, Field: d.where, Source: d.source, Destination: d.destination, Detail: "as written, and as the source has it"})
			}
		}
	}
}

// compareLogs compares two whole logs and files what differs under the checks of
// fidelity. about names a record of the source.
func (r *run) compareLogs(source, destination *tail, about func(*kgo.Record) string) {
	var alone []*kgo.Record // at the destination, with no counterpart
	missing := map[string][]*kgo.Record{}
	arrived := map[string]int32{}
	lastPaired := make([]int64, r.partitions) // of the source
	for p := range r.partitions {
		s, d := source.parts[p].records, destination.parts[p].records
		// What goes far beyond the source cannot be anything but too much.
		if most := 8*len(s) + 1000; len(d) > most {
			alone = append(alone, d[most:]...)
			d = d[:most]
		}
		lastPaired[p] = -1
		r.compared(checkDelivered, len(s))
		r.compared(checkOnce, len(d))
		for _, pair := range align(s, d) {
			switch {
			case pair.destination == nil:
				missing[content(pair.source)] = append(missing[content(pair.source)], pair.source)
			case pair.source == nil:
				alone = append(alone, pair.destination)
			default:
				lastPaired[p] = pair.source.Offset
				arrived[content(pair.source)] = p
				r.comparePair(pair, about(pair.source))
			}
		}
		r.compared(checkPartition, len(d))
		r.compared(checkOrder, len(d))
	}
	for _, rec := range alone {
		f := Finding{Partition: rec.Partition, DestinationOffset: offset(rec)}
		key := content(rec)
		was := missing[key]
		// Its own partition first: then it only came at another time.
		i := slices.IndexFunc(was, func(s *kgo.Record) bool { return s.Partition == rec.Partition })
		switch _, known := arrived[key]; {
		case i >= 0:
			f.Check, f.Word, f.Record, f.SourceOffset = checkOrder, "reordered", about(was[i]), offset(was[i])
			f.Detail = "it arrived at another place in its partition"
			r.comparePair(pair{was[i], rec}, f.Record)
			missing[key] = slices.Delete(slices.Clone(was), i, i+1)
		case len(was) > 0:
			f.Check, f.Word, f.Record, f.SourceOffset = checkPartition, "misplaced", about(was[0]), offset(was[0])
			f.Field, f.Source, f.Destination = "partition", fmt.Sprint(was[0].Partition), fmt.Sprint(rec.Partition)
			r.comparePair(pair{was[0], rec}, f.Record)
			missing[key] = was[1:]
		case known:
			f.Check, f.Word, f.Record = checkOnce, "duplicate", "key "+shorten(rec.Key)+", value "+shorten(rec.Value)
		default:
			f.Check, f.Word, f.Record = checkOnce, "phantom", "key "+shorten(rec.Key)+", value "+shorten(rec.Value)
			f.Detail = "nothing like it is in the source"
		}
		r.found(f)
	}
	var lost []*kgo.Record
	for _, records := range missing {
		lost = append(lost, records...)
	}
	slices.SortFunc(lost, func(a, b *kgo.Record) int {
		if a.Partition != b.Partition {
			return int(a.Partition - b.Partition)
		}
		return int(a.Offset - b.Offset)
	})
	for _, rec := range lost {
		f := Finding{Check: checkDelivered, Word: "lost", Partition: rec.Partition, SourceOffset: offset(rec), Record: about(rec), Detail: "later records of its partition have arrived"}
		if rec.Offset > lastPaired[rec.Partition] {
			f.Word, f.Detail = "undelivered", fmt.Sprintf("nothing after it has arrived either, and for %s nothing more came", r.cfg.Idle)
		}
		r.found(f)
	}
}

// comparePair compares the fields of a record that arrived.
func (r *run) comparePair(p pair, about string) {
	checks := map[string]string{keyField: checkKeys, valueField: checkValues, headersField: checkHeaders, timestampField: checkTimestamps}
	for _, c := range checks {
		r.compared(c, 1)
	}
	for _, d := range differences(p.source, p.destination) {
		r.found(Finding{
			Check: checks[d.field], Word: "corrupt", Partition: p.source.Partition, SourceOffset: offset(p.source), DestinationOffset: offset(p.destination),
			Record: about, Field: d.where, Source: d.source, Destination: d.destination,
		})
	}
}
