package probe

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/topics"
)

const (
	checkArrives = "arrives"
	checkIntact  = "intact"
	checkFlow    = "flow"
)

// kafkaLimit is Kafka's own max.message.bytes.
const kafkaLimit = 1_048_588

// sizes sends larger and larger records.
func sizes() kind {
	return kind{
		name:  Sizes,
		about: "records of 1 byte up to above the limits of the replicator's producer and of the destination",
		checks: []check{
			{name: checkArrives, about: "every record arrives whose batch the destination takes, or --must-arrive says"},
			{name: checkIntact, about: "what arrives is as it was"},
			{name: checkFlow, about: "after each record, also one too large, the next ones arrive"},
		},
		atSource: func(r *run, ctx context.Context) (map[string]string, error) {
			// Once the topic is at the source too, the replicator may change it.
			limit, err := r.destinationLimit(ctx)
			if err != nil {
				return nil, err
			}
			r.limit = limit
			return map[string]string{"max.message.bytes": strconv.Itoa(max(limit, int(r.cfg.ProducerLimit)) + 1<<20)}, nil
		},
		run: (*run).runSizes,
	}
}

// destinationLimit is the largest batch that the destination's topic takes.
func (r *run) destinationLimit(ctx context.Context) (int, error) {
	found, err := topics.Describe(ctx, r.destination, []string{r.cfg.Topic})
	if err != nil {
		return 0, fmt.Errorf("destination: %w", err)
	}
	limit, err := strconv.Atoi(found[0].Settings["max.message.bytes"])
	if err != nil {
		r.note("the destination does not tell its max.message.bytes (%s): Kafka's default is taken for it", found[0].SettingsError)
		return kafkaLimit, nil
	}
	return limit, nil
}

// step is a size that is tried.
type step struct {
	about string
	batch int // bytes, as the source's broker counts them
}

// steps are the sizes in rising order, one that is two things named for both.
func (r *run) steps(limit int) []step {
	producer := int(r.cfg.ProducerLimit)
	// A Java producer adds what a record may cost at most, so it refuses one from
	// some bytes below its limit on.
	const below = 128
	out := []step{
		{"a value of 1 byte", 0}, {"1 kB", 1000},
		{"below the producer's limit", producer - below}, {"at the producer's limit", producer}, {"above the producer's limit", producer + 1},
		{"just below the destination's limit", limit - 1}, {"at the destination's limit", limit}, {"just above the destination's limit", limit + 1},
		{"far above both limits", max(limit, producer) + 1<<19},
	}
	slices.SortStableFunc(out, func(a, b step) int { return a.batch - b.batch })
	for i := len(out) - 1; i > 0; i-- {
		if out[i].batch == out[i-1].batch {
			out[i-1].about += ", " + out[i].about
			out = slices.Delete(out, i, i+1)
		}
	}
	return out
}

// batchSize is how many bytes a batch of one record without headers has.
func batchSize(key, value int) int {
	record := 1 + kbin.VarlongLen(0) + kbin.VarintLen(0) + kbin.VarintLen(int32(key)) + key + kbin.VarintLen(int32(value)) + value + kbin.VarintLen(0)
	return 61 + kbin.VarintLen(int32(record)) + record
}

// valueFor is how large a value makes the batch so large. A size may not be there,
// where the length of the length grows; then it is the next smaller.
func valueFor(key, batch int) int {
	value := max(1, batch-batchSize(key, 0))
	for value > 1 && batchSize(key, value) > batch {
		value--
	}
	return value
}

func (r *run) runSizes(ctx context.Context) error {
	limit := r.limit
	must := int(r.cfg.MustArrive)
	if must == 0 {
		must = limit
	}
	client, err := r.writer(kgo.ProducerBatchMaxBytes(256<<20), kgo.BrokerMaxWriteBytes(512<<20), kgo.MaxBufferedBytes(0))
	if err != nil {
		return err
	}
	defer client.Close()
	steps := r.steps(limit)
	r.measure("destination's limit", float64(limit), "bytes", "max.message.bytes of its topic, when the probe began")
	destination := r.tail(r.destination, false)
	complete := make([]bool, r.partitions)
	largest, expected := 0, 0
	for i, s := range steps {
		key := fmt.Appendf(nil, "probe %s size %d", r.id, i)
		value := make([]byte, valueFor(len(key), s.batch))
		_, _ = rand.Read(value) // it never fails, and cannot be compressed
		rec := &kgo.Record{Topic: r.cfg.Topic, Key: key, Value: value, Timestamp: time.UnixMilli(time.Now().UnixMilli())}
		size := batchSize(len(key), len(value))
		what := fmt.Sprintf("%s (a batch of %d bytes)", s.about, size)
		if err := r.write(ctx, client, rec); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if err := r.write(ctx, client, r.sentinels(i)...); err != nil {
			return err
		}
		expected += 1 + int(r.partitions)
		r.log.Info("written", "size", what)
		started := time.Now()
		if complete, err = r.arrive(ctx, destination, i, expected); err != nil {
			return err
		}
		var came *kgo.Record
		for _, d := range destination.parts[0].records {
			if string(d.Key) == string(key) {
				came = d
			}
		}
		f := Finding{Partition: 0, SourceOffset: &rec.Offset, Record: what}
		switch {
		case came != nil:
			largest = max(largest, size)
			r.compared(checkIntact, 1)
			if !sameBytes(came.Value, value) {
				g := f
				g.Check, g.Word, g.Field, g.DestinationOffset, g.Source, g.Destination = checkIntact, "corrupt", valueField, offset(came), shorten(value), shorten(came.Value)
				r.found(g)
			}
		case size > must:
			r.note("did not arrive, and did not have to: %s", what)
		case complete[0]:
			f.Check, f.Word, f.Detail = checkArrives, "lost", "later records of its partition have arrived"
			r.found(f)
		default:
			f.Check, f.Word, f.Detail = checkArrives, "undelivered", fmt.Sprintf("nor anything after it, for %s", r.cfg.Idle)
			r.found(f)
		}
		if size <= must {
			r.compared(checkArrives, 1)
		}
		r.compared(checkFlow, 1)
		if !slices.Contains(complete, false) {
			r.log.Info("arrived", "size", what, "record", came != nil, "after", time.Since(started).Round(time.Millisecond))
			continue
		}
		var stopped []string
		for p, ok := range complete {
			if !ok {
				stopped = append(stopped, strconv.Itoa(p))
			}
		}
		r.found(Finding{
			Check: checkFlow, Word: "stalled", Partition: 0, SourceOffset: &rec.Offset, Record: what,
			Detail: fmt.Sprintf("stalled at offset %d: for %s nothing came on partitions %s of %d, though a small record was written to each after it", rec.Offset, r.cfg.Idle, strings.Join(stopped, ", "), r.partitions),
		})
		for _, left := range steps[i+1:] {
			r.note("not tried, since the replicator had stalled: %s (a batch of %d bytes)", left.about, left.batch)
			if left.batch <= must {
				r.unknown(checkArrives, "the replicator stalled before sizes that have to arrive were tried")
			}
		}
		break
	}
	// A replicator that keeps topics' settings alike gives the destination the
	// source's higher limit.
	if now, err := r.destinationLimit(ctx); err == nil && now != limit {
		r.note("the destination's limit was changed to %d bytes meanwhile: what arrived above %d did so because of that", now, limit)
	}
	r.measure("largest batch that arrived", float64(largest), "bytes", "as the source's broker counts")
	source, err := r.readAll(ctx, "source", r.source, false)
	if err != nil {
		return err
	}
	r.report(source, destination, complete)
	return nil
}
