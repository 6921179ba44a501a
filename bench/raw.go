package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

// raw are the bare clients, which do nothing with a record.
type raw struct {
	brokers    []string
	topic      string
	partitions int
	records    int64
	size       int
	stdout     io.Writer
}

func rawCommands(stdout io.Writer) []*cobra.Command {
	command := func(name, short string, run func(*raw, context.Context) (said, error)) *cobra.Command {
		r := &raw{stdout: stdout}
		cmd := &cobra.Command{
			Use: name, Short: short, Args: cobra.NoArgs, Hidden: true,
			RunE: func(cmd *cobra.Command, _ []string) error {
				s, err := run(r, cmd.Context())
				if err != nil {
					return err
				}
				return json.NewEncoder(stdout).Encode(s)
			},
		}
		f := cmd.Flags()
		f.StringSliceVar(&r.brokers, "brokers", nil, "addresses")
		f.StringVar(&r.topic, "topic", "", "topic")
		f.IntVar(&r.partitions, "partitions", partitions, "of the topic")
		f.Int64Var(&r.records, "records", 0, "how many")
		f.IntVar(&r.size, "size", 1000, "of a value")
		return cmd
	}
	return []*cobra.Command{
		command("raw-produce", "A bare franz-go producer", (*raw).produce),
		command("raw-consume", "A bare franz-go consumer", (*raw).consume),
		command("map-consume", "A consumer that counts as the original kafka-mirror-tester did", (*raw).countInMap),
	}
}

// produce sends records as cheaply as the client allows: they are used again, each with a value of its
// own that was made once, and their keys are made beforehand. (Values that records share would stay
// in the processor's cache, which those of records that differ cannot.)
func (r *raw) produce(ctx context.Context) (said, error) {
	var failed atomic.Pointer[error]
	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...), kgo.DefaultProduceTopic(r.topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(5*time.Millisecond), kgo.ProducerBatchMaxBytes(maxMessageBytes), kgo.MaxBufferedRecords(math.MaxInt32))
	if err != nil {
		return said{}, err
	}
	defer client.Close()
	random := rand.NewChaCha8([32]byte{1})
	var keys [16][]byte
	for i := range keys {
		keys[i] = strconv.AppendInt(nil, int64(i), 10)
	}

	// As many records as the buffer has room for, by the load tools' own reckoning.
	all := make([]kgo.Record, max(2, bufferBytes/(r.size+512)))
	own := make([]*kgo.Record, 0, len(all))
	for i := range all {
		all[i].Value = make([]byte, r.size)
		_, _ = random.Read(all[i].Value) // cannot fail
		own = append(own, &all[i])
	}
	var mu sync.Mutex
	freed := make([]*kgo.Record, 0, len(all))
	back := make(chan struct{}, 1)
	promise := func(rec *kgo.Record, err error) {
		if err != nil {
			failed.CompareAndSwap(nil, &err)
		}
		mu.Lock()
		freed = append(freed, rec)
		mu.Unlock()
		select {
		case back <- struct{}{}:
		default:
		}
	}
	begun := time.Now()
	for i := range r.records {
		for len(own) == 0 {
			mu.Lock()
			own, freed = freed, own
			mu.Unlock()
			if len(own) == 0 {
				<-back
			}
		}
		rec := own[len(own)-1]
		own = own[:len(own)-1]
		*rec = kgo.Record{Key: keys[i/int64(r.partitions)%int64(len(keys))], Value: rec.Value, Partition: int32(i % int64(r.partitions))}
		client.Produce(ctx, rec, promise)
	}
	if err := client.Flush(ctx); err != nil {
		return said{}, err
	}
	if err := failed.Load(); err != nil {
		return said{}, *err
	}
	return said{Records: r.records, Bytes: r.records * int64(r.size), Seconds: time.Since(begun).Seconds()}, nil
}

// read polls until it has all records. It counts the time from the first fetch on.
func (r *raw) read(ctx context.Context, take func(*kgo.Record) error) (said, error) {
	from := map[int32]kgo.Offset{}
	for p := range r.partitions {
		from[int32(p)] = kgo.NewOffset().AtStart()
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.topic: from}),
		kgo.FetchMaxBytes(fetchBytes), kgo.FetchMaxPartitionBytes(fetchPartition))
	if err != nil {
		return said{}, err
	}
	defer client.Close()
	var s said
	var begun time.Time
	for s.Records < r.records {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return s, err
		}
		if begun.IsZero() {
			begun = time.Now()
		}
		var bad error
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			bad = errors.Join(bad, p.Err)
			for _, rec := range p.Records {
				s.Records++
				s.Bytes += int64(len(rec.Value))
				if take != nil && bad == nil {
					bad = take(rec)
				}
			}
		})
		if bad != nil {
			return s, bad
		}
	}
	s.Seconds = time.Since(begun).Seconds()
	return s, nil
}

func (r *raw) consume(ctx context.Context) (said, error) { return r.read(ctx, nil) }

// countInMap counts as the original did: the value is split as a string, and a map from a formatted
// key to the last sequence tells what is in order, the same, old or skipped.
func (r *raw) countInMap(ctx context.Context) (said, error) {
	last := map[string]int64{}
	var inOrder, same, old, skipped int64
	var late time.Duration
	s, err := r.read(ctx, func(rec *kgo.Record) error {
		fields := strings.SplitN(string(rec.Value), ";", 4)
		if len(fields) != 4 {
			return fmt.Errorf("not a message: %q", rec.Value[:min(len(rec.Value), 60)])
		}
		sequence, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return err
		}
		sent, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return err
		}
		late = max(late, time.Since(time.UnixMicro(sent)))
		key := fmt.Sprintf("%s-%s-%d", fields[0], rec.Topic, rec.Partition) // its own were numbered by key, ours are by partition
		switch before, seen := last[key]; {
		case !seen || sequence == before+1:
			inOrder++
		case sequence == before:
			same++
		case sequence < before:
			old++
		default:
			skipped += sequence - before - 1
		}
		last[key] = max(last[key], sequence)
		return nil
	})
	if err == nil && inOrder+same+old+skipped == 0 {
		err = errors.New("nothing was counted")
	}
	return s, err
}
