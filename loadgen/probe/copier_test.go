package probe

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// pairOf is two clusters that a copier joins.
type pairOf struct {
	from, to            *kfake.Cluster
	source, destination []kgo.Opt
}

func clusters(t *testing.T, opts ...kfake.Opt) *pairOf {
	t.Helper()
	var p pairOf
	for _, side := range []struct {
		cluster **kfake.Cluster
		opts    *[]kgo.Opt
	}{{&p.from, &p.source}, {&p.to, &p.destination}} {
		c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		*side.cluster, *side.opts = c, []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}
	}
	return &p
}

// copier copies one topic as a replicator should, but for what its fields say.
type copier struct {
	uncommitted bool                              // copies what was not committed
	change      func(r *kgo.Record) []*kgo.Record // what is written in a record's place
	creates     map[string]string                 // makes the destination's topic, with these settings
	refused     func(topic string, r *kgo.Record) (goOn bool)
	limit       int32 // of the producer
	beside      func(ctx context.Context, p *pairOf, topic string)
}

// start runs the copier until the test ends. It stops where the destination
// refuses a record, unless it is told to go on.
func (c copier) start(t *testing.T, p *pairOf, topic string) {
	t.Helper()
	level := kgo.ReadCommitted()
	if c.uncommitted {
		level = kgo.ReadUncommitted()
	}
	if c.limit == 0 {
		c.limit = 1 << 20
	}
	in, err := kgo.NewClient(append([]kgo.Opt{
		kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(level),
		kgo.MetadataMinAge(50 * time.Millisecond), kgo.MetadataMaxAge(100 * time.Millisecond), kgo.FetchMaxWait(100 * time.Millisecond),
	}, p.source...)...)
	if err != nil {
		t.Fatal(err)
	}
	out, err := kgo.NewClient(append([]kgo.Opt{
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.UnknownTopicRetries(-1), kgo.ProducerBatchMaxBytes(c.limit), kgo.BrokerMaxWriteBytes(100 << 20),
		kgo.MetadataMinAge(50 * time.Millisecond), kgo.ProducerLinger(0),
	}, p.destination...)...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		in.Close()
		out.Close()
	})
	if c.beside != nil {
		wg.Go(func() { c.beside(ctx, p, topic) })
	}
	wg.Go(func() {
		made := c.creates == nil
		for ctx.Err() == nil {
			for _, r := range in.PollFetches(ctx).Records() {
				if !made {
					made = true
					settings := map[string]*string{}
					for k, v := range c.creates {
						settings[k] = &v
					}
					// Its answer shows in what follows.
					_, _ = kadm.NewClient(out).CreateTopics(ctx, 3, 1, settings, topic)
				}
				send := []*kgo.Record{r}
				if c.change != nil {
					send = c.change(r)
				}
				for _, s := range send {
					w := &kgo.Record{Topic: topic, Partition: s.Partition, Key: s.Key, Value: s.Value, Headers: s.Headers, Timestamp: s.Timestamp}
					if err := out.ProduceSync(ctx, w).FirstErr(); err != nil && (c.refused == nil || !c.refused(topic, r)) {
						return
					}
				}
			}
		}
	})
}

// only changes the first record of partition 1 that matches.
func only(match func(r *kgo.Record) bool, change func(r *kgo.Record) []*kgo.Record) func(r *kgo.Record) []*kgo.Record {
	done := false
	return func(r *kgo.Record) []*kgo.Record {
		if done || r.Partition != 1 || !match(r) {
			return []*kgo.Record{r}
		}
		done = true
		return change(r)
	}
}

// about matches the record that the probe wrote for this.
func about(what string) func(r *kgo.Record) bool {
	return func(r *kgo.Record) bool {
		text := []byte(", " + what + ", ")
		for _, h := range r.Headers {
			if bytes.Contains(h.Value, text) {
				return true
			}
		}
		return bytes.Contains(r.Value, text) || bytes.Contains(r.Key, text)
	}
}

// with is a changed copy.
func with(change func(r *kgo.Record)) func(r *kgo.Record) []*kgo.Record {
	return func(r *kgo.Record) []*kgo.Record {
		c := *r
		change(&c)
		return []*kgo.Record{&c}
	}
}

func defaults(name, topic string) Config {
	var c Config
	c.SetDefaults()
	c.Probe, c.Topic, c.Settle = name, topic, 300*time.Millisecond
	return c
}

// probing runs a probe over a copier.
func probing(t *testing.T, p *pairOf, cfg Config, c copier) *Document {
	t.Helper()
	return begin(t, p, cfg, c)(t)
}

// begin starts a probe over a copier, and returns what waits for its result: the
// probes of a test mostly wait, so they may do so at the same time.
func begin(t *testing.T, p *pairOf, cfg Config, c copier) func(t *testing.T) *Document {
	t.Helper()
	c.start(t, p, cfg.Topic)
	type result struct {
		doc *Document
		err error
	}
	ended := make(chan result, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	go func() {
		defer cancel()
		doc, err := Run(ctx, cfg, Deps{Source: p.source, Destination: p.destination, Logger: slog.New(slog.DiscardHandler)})
		ended <- result{doc, err}
	}()
	return func(t *testing.T) *Document {
		t.Helper()
		r := <-ended
		if r.err != nil {
			t.Fatal(r.err)
		}
		return r.doc
	}
}

// found writes check and word of every finding, once each.
func found(d *Document) string {
	var out []string
	seen := map[string]bool{}
	for _, f := range d.Findings {
		s := f.Check + " " + f.Word
		if f.Record != "" {
			s += " [" + f.Record + "]"
		}
		if !seen[s] {
			out = append(out, s)
		}
		seen[s] = true
	}
	return strings.Join(out, "; ")
}

// right expects that a probe found nothing.
func right(t *testing.T, d *Document) {
	t.Helper()
	if d.Outcome != verdict.Holds || len(d.Findings) > 0 {
		t.Errorf("the copier is right, and the outcome is %q: %v\nfindings: %s", d.Outcome, d.Reasons, lines(d))
	}
}

func lines(d *Document) string {
	var b strings.Builder
	for i := range d.Findings {
		fmt.Fprintf(&b, "\n  %s: %s", d.Findings[i].Check, d.Findings[i].String())
	}
	return b.String()
}
