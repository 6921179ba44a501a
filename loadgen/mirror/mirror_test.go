package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/mirror"
)

const (
	topic    = "records"
	deadline = 30 * time.Second
)

// pair is two clusters and a client for each.
type pair struct {
	t           *testing.T
	from, to    *kfake.Cluster
	source      *kgo.Client
	destination *kgo.Client
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{t: t}
	for _, side := range []struct {
		cluster **kfake.Cluster
		client  **kgo.Client
	}{{&p.from, &p.source}, {&p.to, &p.destination}} {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(3))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cluster.Close)
		client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(10*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		*side.cluster, *side.client = cluster, client
	}
	return p
}

func (p *pair) config(faults ...mirror.FaultConfig) mirror.Config {
	var c mirror.Config
	c.SetDefaults()
	c.RefreshInterval = 20 * time.Millisecond
	c.CommitInterval = 50 * time.Millisecond
	c.Faults = faults
	return c
}

// start runs a mirror; stop ends it and waits.
func (p *pair) start(c mirror.Config) (m *mirror.Mirror, stop func()) {
	p.t.Helper()
	m, err := mirror.New(c, mirror.Deps{
		Source:      []kgo.Opt{kgo.SeedBrokers(p.from.ListenAddrs()...)},
		Destination: []kgo.Opt{kgo.SeedBrokers(p.to.ListenAddrs()...)},
		Logger:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			p.t.Errorf("Run: %v", err)
		}
	}
	p.t.Cleanup(stop)
	return m, stop
}

func (p *pair) createTopic(name string, partitions int32) {
	p.t.Helper()
	if err := p.from.CreateTopic(name, partitions, map[string]string{"retention.ms": "600000"}); err != nil {
		p.t.Fatal(err)
	}
}

// send writes n records to each partition, numbered from first.
func (p *pair) send(name string, partitions int32, first, n int) {
	p.t.Helper()
	var records []*kgo.Record
	for i := first; i < first+n; i++ {
		for partition := range partitions {
			records = append(records, &kgo.Record{
				Topic: name, Partition: partition,
				Key:       fmt.Appendf(nil, "key-%d", i),
				Value:     fmt.Appendf(nil, "value-%d-%d", partition, i),
				Headers:   []kgo.RecordHeader{{Key: "number", Value: fmt.Append(nil, i)}, {Key: "empty"}},
				Timestamp: time.UnixMilli(1_700_000_000_000 + int64(i)),
			})
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if err := p.source.ProduceSync(ctx, records...).FirstErr(); err != nil {
		p.t.Fatal(err)
	}
}

// read returns everything that a topic holds now, by partition.
func read(t *testing.T, cluster *kfake.Cluster, name string) [][]*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	out := make([][]*kgo.Record, len(ends[name]))
	missing := int64(0)
	ends.Each(func(o kadm.ListedOffset) { missing += o.Offset })
	for missing > 0 {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("read %s: %d records do not come: %v", name, missing, fetches.Err())
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset < ends[name][r.Partition].Offset {
				out[r.Partition] = append(out[r.Partition], r)
				missing--
			}
		})
	}
	return out
}

// count is how many records a topic holds.
func count(cluster *kfake.Cluster, name string) int {
	n := int64(0)
	for _, p := range cluster.PartitionInfos(name) {
		n += p.HighWatermark
	}
	return int(n)
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s in vain: %s", deadline, what)
		}
	}
}

func (p *pair) arrived(name string, n int) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("%d records of %s at the destination", n, name), func() bool { return count(p.to, name) >= n })
}

// same compares what a replicator must keep.
func same(a, b *kgo.Record) bool {
	return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) && a.Timestamp.Equal(b.Timestamp) &&
		slices.EqualFunc(a.Headers, b.Headers, func(x, y kgo.RecordHeader) bool { return x.Key == y.Key && bytes.Equal(x.Value, y.Value) })
}

func TestCopiesEverythingAsItIs(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	for name, partitions := range map[string]int32{topic: 4, ledger.SourceTopic: 1} {
		p.createTopic(name, partitions)
		p.send(name, partitions, 0, 200)
	}
	_, stop := p.start(p.config())
	p.arrived(topic, 800)
	// A topic that comes later, and partitions that come later.
	p.createTopic("late", 1)
	p.send("late", 1, 0, 10)
	p.arrived("late", 10)
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if _, err := kadm.NewClient(p.source).UpdatePartitions(ctx, 6, topic); err != nil {
		t.Fatal(err)
	}
	fresh, err := kgo.NewClient(kgo.SeedBrokers(p.from.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	p.source = fresh
	p.send(topic, 6, 200, 100)
	p.arrived(topic, 800+600)
	stop()

	from, to := read(t, p.from, topic), read(t, p.to, topic)
	if len(to) != 6 {
		t.Fatalf("%d partitions at the destination, want 6", len(to))
	}
	for i := range from {
		if !slices.EqualFunc(from[i], to[i], same) {
			t.Errorf("partition %d differs: %d records at the source, %d at the destination", i, len(from[i]), len(to[i]))
		}
	}
	if got := p.to.TopicInfo(ledger.SourceTopic); got != nil {
		t.Error("the ledger was copied")
	}
	if got := p.to.TopicInfo(topic).Configs["retention.ms"]; got == nil || *got != "600000" {
		t.Errorf("retention.ms at the destination is %v, want the source's 600000", got)
	}
}

// A topic may be made by somebody else between the mirror's look and its own attempt.
func TestTakesATopicThatSomebodyElseMakes(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.createTopic(topic, 3)
	p.send(topic, 3, 0, 50)
	var made atomic.Bool
	p.to.ControlKey(int16(kmsg.CreateTopics), func(kmsg.Request) (kmsg.Response, error, bool) {
		p.to.KeepControl()
		if made.CompareAndSwap(false, true) {
			p.to.SleepControl(func() {
				if err := p.to.CreateTopic(topic, 2, nil); err != nil {
					t.Error(err)
				}
			})
		}
		return nil, nil, false
	})
	_, stop := p.start(p.config())
	p.arrived(topic, 150)
	stop()
	if n := len(p.to.PartitionInfos(topic)); !made.Load() || n != 3 {
		t.Errorf("it has %d partitions, want 3; made by somebody else: %t", n, made.Load())
	}
}

func TestGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.createTopic(topic, 2)
	p.send(topic, 2, 0, 500)
	_, stop := p.start(p.config())
	p.arrived(topic, 1000)
	stop()
	p.send(topic, 2, 500, 500)
	_, stop = p.start(p.config())
	p.arrived(topic, 2000)
	stop()
	if got := count(p.to, topic); got != 2000 {
		t.Errorf("%d records after a clean stop and a return, want 2000", got)
	}
}

func TestLosesNothingThatAFaultHoldsBack(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.createTopic(topic, 2)
	stall := mirror.FaultConfig{Kind: mirror.Stall}
	stall.SetDefaults()
	stall.After = 101
	m, stop := p.start(p.config(stall))
	p.send(topic, 2, 0, 300)
	eventually(t, "all held back or copied", func() bool { return len(m.Truth().Of(mirror.Stall)) == 400 && count(p.to, topic) == 200 })
	stop()
	_, stop = p.start(p.config())
	p.arrived(topic, 600)
	stop()
	if got := count(p.to, topic); got != 600 {
		t.Errorf("%d records, want 600: the position was not where the fault held on", got)
	}
}

func TestLosesNothingThatWasNotAcknowledged(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.createTopic(topic, 2)
	p.send(topic, 2, 0, 300)
	var tried, healed atomic.Bool
	p.to.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		p.to.KeepControl()
		tried.Store(true)
		return nil, errors.New("the destination is ill"), !healed.Load()
	})
	c := p.config()
	c.ShutdownTimeout = 400 * time.Millisecond
	_, stop := p.start(c)
	eventually(t, "an attempt to write", tried.Load)
	stop()
	healed.Store(true)
	_, stop = p.start(p.config())
	p.arrived(topic, 600)
	stop()
}

func TestLosesNothingWhenKilled(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.createTopic(topic, 3)
	c := p.config()
	c.ShutdownTimeout = 0
	c.CommitInterval = 2 * time.Millisecond
	for i := range 8 {
		before := count(p.to, topic)
		_, stop := p.start(c)
		p.send(topic, 3, i*300, 300)
		p.arrived(topic, before+i*37+1)
		stop()
	}
	_, stop := p.start(p.config())
	defer stop()
	eventually(t, "every record at the destination", func() bool {
		for _, records := range read(t, p.to, topic) {
			seen := map[string]bool{}
			for _, r := range records {
				seen[string(r.Value)] = true
			}
			if len(seen) < 2400 {
				return false
			}
		}
		return true
	})
}

func TestCopiesWhatIsLarge(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	limit := "4000000"
	if err := p.from.CreateTopic(topic, 1, map[string]string{"max.message.bytes": limit}); err != nil {
		t.Fatal(err)
	}
	large, err := kgo.NewClient(kgo.SeedBrokers(p.from.ListenAddrs()...), kgo.ProducerBatchMaxBytes(4_000_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer large.Close()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	// The largest there can be, and many that would make too large a batch.
	records := []*kgo.Record{{Topic: topic, Value: make([]byte, 4_000_000-100)}}
	for i := range 12 {
		records = append(records, &kgo.Record{Topic: topic, Value: bytes.Repeat([]byte{byte(i)}, 900_000)})
	}
	if err := large.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	m, stop := p.start(p.config())
	p.arrived(topic, len(records))
	stop()
	if refused := m.Truth().Of(mirror.Refused); len(refused) > 0 {
		t.Errorf("refused: %v", refused)
	}
	if !slices.EqualFunc(read(t, p.from, topic)[0], read(t, p.to, topic)[0], same) {
		t.Error("the destination differs")
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	const partitions, each = 3, 2000
	type log = [][]*kgo.Record
	// position of each source offset in the destination's partition.
	places := func(to []*kgo.Record) map[string][]int {
		out := map[string][]int{}
		for i, r := range to {
			out[string(r.Value)] = append(out[string(r.Value)], i)
		}
		return out
	}
	for _, test := range []struct {
		kind   string
		change func(c *mirror.FaultConfig)
		// want is how many records are at the destination in the end.
		want  func(truth []mirror.Place) int
		check func(t *testing.T, truth []mirror.Place, from, to log)
	}{
		{kind: mirror.Drop, change: func(c *mirror.FaultConfig) { c.Probability = 0.02 },
			want: func(truth []mirror.Place) int { return partitions*each - len(truth) },
			check: func(t *testing.T, truth []mirror.Place, from, to log) {
				for _, at := range truth {
					value := from[at.Partition][at.Offset].Value
					if len(places(to[at.Partition])[string(value)]) != 0 {
						t.Errorf("%v was not dropped", at)
					}
				}
			}},
		{kind: mirror.Duplicate, change: func(c *mirror.FaultConfig) { c.Probability, c.Count = 0.02, 2 },
			want: func(truth []mirror.Place) int { return partitions*each + len(truth) },
			check: func(t *testing.T, truth []mirror.Place, from, to log) {
				for _, at := range truth {
					value := from[at.Partition][at.Offset].Value
					if n := len(places(to[at.Partition])[string(value)]); n != 3 {
						t.Errorf("%v is there %d times, want 3", at, n)
					}
				}
			}},
		{kind: mirror.Reorder, change: func(c *mirror.FaultConfig) { c.Probability, c.Count = 0.02, 5 },
			want: func([]mirror.Place) int { return partitions * each },
			check: func(t *testing.T, truth []mirror.Place, from, to log) {
				disorder := 0
				for p := range to {
					highest := int64(-1)
					at := places(from[p])
					for _, r := range to[p] {
						offset := int64(at[string(r.Value)][0])
						if offset < highest {
							disorder++
						}
						highest = max(highest, offset)
					}
				}
				if disorder != len(truth) {
					t.Errorf("%d records out of order, the mirror says %d", disorder, len(truth))
				}
			}},
		{kind: mirror.Corrupt, change: func(c *mirror.FaultConfig) { c.Probability = 0.02 },
			want: func([]mirror.Place) int { return partitions * each },
			check: func(t *testing.T, truth []mirror.Place, from, to log) {
				differ := 0
				for p := range to {
					for i := range to[p] {
						if !same(from[p][i], to[p][i]) {
							differ++
						}
					}
				}
				for _, at := range truth {
					if same(from[at.Partition][at.Offset], to[at.Partition][at.Offset]) {
						t.Errorf("%v is as it was", at)
					}
				}
				if differ != len(truth) {
					t.Errorf("%d records differ, the mirror says %d", differ, len(truth))
				}
			}},
		{kind: mirror.Delay, change: func(c *mirror.FaultConfig) { c.Probability, c.Hold = 0.01, 100*time.Millisecond },
			want: func([]mirror.Place) int { return partitions * each },
			check: func(t *testing.T, truth []mirror.Place, from, to log) {
				for p := range to {
					if !slices.EqualFunc(from[p], to[p], same) {
						t.Errorf("partition %d differs", p)
					}
				}
			}},
		{kind: mirror.Stall, change: func(c *mirror.FaultConfig) { c.Probability, c.After, c.Partitions = 0, 1500, []int32{1} },
			want: func([]mirror.Place) int { return partitions*each - 501 },
			check: func(t *testing.T, truth []mirror.Place, from, to log) {
				if len(truth) != 501 || len(to[1]) != 1499 {
					t.Errorf("%d records held and %d passed, want 501 and 1499", len(truth), len(to[1]))
				}
			}},
		{kind: mirror.Misplace, change: func(c *mirror.FaultConfig) { c.Probability = 0.02 },
			want: func([]mirror.Place) int { return partitions * each },
			check: func(t *testing.T, truth []mirror.Place, from, to log) {
				elsewhere := 0
				for p := range to {
					for _, r := range to[p] {
						if !strings.HasPrefix(string(r.Value), fmt.Sprintf("value-%d-", p)) {
							elsewhere++
						}
					}
				}
				if elsewhere != len(truth) {
					t.Errorf("%d records on another partition, the mirror says %d", elsewhere, len(truth))
				}
			}},
		{kind: mirror.Replay, change: func(c *mirror.FaultConfig) { c.After, c.Count = 1000, 300 },
			want: func([]mirror.Place) int { return partitions * (each + 300) },
			check: func(t *testing.T, truth []mirror.Place, from, to log) {
				for p := range to {
					want := slices.Concat(from[p][:1000], from[p][700:])
					if !slices.EqualFunc(to[p], want, same) {
						t.Errorf("partition %d is not 0-999, then 700-1999", p)
					}
				}
			}},
	} {
		t.Run(test.kind, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			p.createTopic(topic, partitions)
			c := mirror.FaultConfig{Kind: test.kind}
			c.SetDefaults()
			test.change(&c)
			m, stop := p.start(p.config(c))
			p.send(topic, partitions, 0, each)
			// Those that know no more of a fault than that it happened must have had
			// the chance to.
			eventually(t, "all records dealt with", func() bool {
				truth := m.Truth().Of(test.kind)
				return len(truth) > 0 && count(p.to, topic) == test.want(truth)
			})
			stop()
			truth := m.Truth().Of(test.kind)
			if got, want := count(p.to, topic), test.want(truth); got != want {
				t.Errorf("%d records in the end, want %d", got, want)
			}
			test.check(t, truth, read(t, p.from, topic), read(t, p.to, topic))
			if refused := m.Truth().Of(mirror.Refused); len(refused) > 0 {
				t.Errorf("the destination refused %v", refused)
			}
		})
	}
}

func TestFaultHitsTheSameRecordsAgain(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.createTopic(topic, 2)
	p.send(topic, 2, 0, 2000)
	hit := func(seed uint64) []mirror.Place {
		c := mirror.FaultConfig{Kind: mirror.Duplicate}
		c.SetDefaults()
		c.Probability, c.Seed = 0.01, seed
		conf := p.config(c)
		conf.Group = fmt.Sprint("group-", time.Now().UnixNano()) // from the start
		before := count(p.to, topic)
		m, stop := p.start(conf)
		eventually(t, "all records copied", func() bool { return count(p.to, topic) == before+4000+len(m.Truth().Of(mirror.Duplicate)) })
		stop()
		places := m.Truth().Of(mirror.Duplicate)
		slices.SortFunc(places, func(a, b mirror.Place) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		return places
	}
	if p.to.TopicInfo(topic) == nil {
		if err := p.to.CreateTopic(topic, 2, nil); err != nil {
			t.Fatal(err)
		}
	}
	first, again, other := hit(1), hit(1), hit(2)
	if len(first) == 0 || !slices.Equal(first, again) {
		t.Errorf("one seed hit %v, then %v", first, again)
	}
	if slices.Equal(first, other) {
		t.Errorf("another seed hit the same: %v", other)
	}
}

func TestConfigMistakesAreReportedTogether(t *testing.T) {
	t.Parallel()
	var c mirror.Config
	c.SetDefaults()
	c.Topics = []string{ledger.SourceTopic}
	c.Group = ""
	c.CommitInterval = 0
	c.Faults = []mirror.FaultConfig{{Kind: "explode"}}
	err := c.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{ledger.SourceTopic, "no group", "commit interval 0s", `unknown kind "explode"`, "probability 0"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not mention %q:\n%v", want, err)
		}
	}
}
