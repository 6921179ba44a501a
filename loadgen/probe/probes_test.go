package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// mistake is a copier that does one thing wrong, and what a probe says of it.
type mistake struct {
	name   string
	cfg    func(*Config)
	copier copier
	want   []string // beginnings of check and word of all findings, once each
	says   string   // in one of them
	notes  string
	ends   verdict.Outcome
	alone  bool // with clusters of its own
	seen   func(t *testing.T, d *Document)
}

// judge has a probe look at each of the copiers.
func judge(t *testing.T, probe string, mistakes []mistake) {
	t.Helper()
	p := clusters(t)
	results := make([]func(*testing.T) *Document, len(mistakes))
	for i, m := range mistakes {
		cfg := defaults(probe, fmt.Sprintf("probe-%s-%d", probe, i))
		if m.cfg != nil {
			m.cfg(&cfg)
		}
		on := p
		if m.alone {
			on = clusters(t)
		}
		results[i] = begin(t, on, cfg, m.copier)
	}
	for i, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			d := results[i](t)
			if m.ends == "" {
				m.ends = verdict.Broken
			}
			if d.Outcome != m.ends {
				t.Errorf("outcome %q, want %q: %v", d.Outcome, m.ends, d.Reasons)
			}
			got := map[string]bool{}
			said := false
			for i := range d.Findings {
				f := &d.Findings[i]
				said = said || strings.Contains(f.String(), m.says)
				known := false
				for _, w := range m.want {
					if strings.HasPrefix(f.Check+" "+f.Word, w) {
						got[w], known = true, true
					}
				}
				if !known {
					t.Errorf("also found %s: %s", f.Check, f.String())
				}
			}
			if len(got) != len(m.want) {
				t.Errorf("found %s\nwant %q", lines(d), m.want)
			}
			if !said && len(m.want) > 0 {
				t.Errorf("%s\nsay nowhere %q", lines(d), m.says)
			}
			if !strings.Contains(strings.Join(d.Notes, "\n"), m.notes) {
				t.Errorf("the notes %q say nowhere %q", d.Notes, m.notes)
			}
			if m.seen != nil {
				m.seen(t, d)
			}
			var b bytes.Buffer
			if err := d.Summary(&b); err != nil || !strings.Contains(b.String(), strings.ToUpper(string(m.ends))) {
				t.Errorf("%v, %s", err, b.String())
			}
		})
	}
}

// version matches a version of the i-th key.
func version(i, v int) func(r *kgo.Record) bool {
	return func(r *kgo.Record) bool {
		return strings.HasSuffix(string(r.Key), fmt.Sprintf(" key %d of partition %d", i, r.Partition)) && versionOf(r) == v
	}
}

func drop(*kgo.Record) []*kgo.Record { return nil }

func TestCompaction(t *testing.T) {
	t.Parallel()
	var old *kgo.Record
	keep := func(match func(*kgo.Record) bool, kept **kgo.Record, then func(r *kgo.Record) []*kgo.Record) func(r *kgo.Record) []*kgo.Record {
		return func(r *kgo.Record) []*kgo.Record {
			if r.Partition == 1 && match(r) {
				*kept = r
			}
			return then(r)
		}
	}
	few := func(c *Config) { c.Records = 20 }
	judge(t, Compaction, []mistake{
		{name: "right", cfg: few, ends: verdict.Holds},
		{name: "right, and both sides compact all the time", alone: true, ends: verdict.Holds, copier: copier{
			beside: func(ctx context.Context, p *pairOf, _ string) {
				for ctx.Err() == nil {
					p.from.Compact()
					p.to.Compact()
					wait(ctx)
				}
			},
		}},
		{name: "right, and comes to a log that is compacted", alone: true, ends: verdict.Holds, cfg: func(c *Config) { few(c); c.CompactFirst = true },
			copier: copier{beside: func(ctx context.Context, p *pairOf, _ string) {
				for ; ctx.Err() == nil; wait(ctx) {
					p.from.Compact()
				}
			}}, seen: func(t *testing.T, d *Document) {
				for _, m := range d.Measures {
					if m.Name == "until the source was compacted" {
						return
					}
				}
				t.Errorf("the source was not compacted: %+v, %q", d.Measures, d.Notes)
			}},
		{name: "loses a tombstone", cfg: few, copier: copier{change: only(version(1, 4), drop)},
			want: []string{"tombstones lost"}, says: "key 1 of partition 1, version 4"},
		{name: "tombstone becomes empty", cfg: few, copier: copier{change: only(version(1, 4), with(func(r *kgo.Record) { r.Value = []byte{} }))},
			want: []string{"tombstones lost"}, says: `was null, is ""`},
		{name: "resurrects", cfg: few, copier: copier{change: keep(version(1, 3), &old, only(version(1, 4), func(r *kgo.Record) []*kgo.Record { return []*kgo.Record{r, old} }))},
			want: []string{"state resurrected", "order reordered", "once duplicate"}, says: "a value came after it"},
		{name: "loses the last version", cfg: few, copier: copier{change: only(version(0, 5), drop)},
			want: []string{"state stale"}, says: "the last at the destination is version 4"},
		{name: "loses a key", cfg: few, copier: copier{change: only(version(3, 1), drop)},
			want: []string{"state lost"}, says: "key 3 of partition 1"},
		{name: "loses a new life", cfg: few, copier: copier{change: only(version(2, 4), drop)},
			want: []string{"state stale"}, says: "is null"},
		{name: "changes a value", cfg: few, copier: copier{change: only(version(0, 5), with(func(r *kgo.Record) { r.Value = []byte("x") }))},
			want: []string{"state corrupt"}, says: `is "x"`},
		{name: "writes twice", cfg: few, ends: verdict.Holds, copier: copier{change: only(version(0, 5), func(r *kgo.Record) []*kgo.Record { return []*kgo.Record{r, r} })},
			want: []string{"once duplicate"}, notes: "does not count: once"},
		{name: "stops", cfg: func(c *Config) { few(c); c.Idle = 10 * time.Second }, copier: copier{change: func(r *kgo.Record) []*kgo.Record {
			if r.Partition == 1 && versionOf(r) != 1 {
				return nil
			}
			return []*kgo.Record{r}
		}}, want: []string{"state undelivered", "tombstones undelivered"}, says: "did not come to the end"},
	})
}

// wait is the pause of what goes on beside a copier.
func wait(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(50 * time.Millisecond):
	}
}

func large(r *kgo.Record) bool { return len(r.Value) > 900_000 }

func TestSizes(t *testing.T) {
	t.Parallel()
	goOn := func(string, *kgo.Record) bool { return true }
	soon := func(c *Config) { c.Idle = 10 * time.Second }
	judge(t, Sizes, []mistake{
		{name: "right, and skips what the destination refuses", ends: verdict.Holds, copier: copier{limit: 100 << 20, refused: goOn},
			notes: "did not arrive, and did not have to: just above the destination's limit (a batch of 1048589 bytes)"},
		{name: "right, and raises the destination's limit", ends: verdict.Holds, copier: copier{limit: 100 << 20, refused: goOn, beside: following(func(string, bool) bool { return true })},
			notes: "the destination's limit was changed to 2097164 bytes meanwhile"},
		{name: "stops at its producer's limit", cfg: soon, copier: copier{limit: 1 << 20}, // kgo counts as the broker does, and Java some bytes more
			want: []string{"flow stalled", "arrives undelivered"}, says: "stalled at offset 6:", notes: "not tried"},
		{name: "stops at the destination's limit", cfg: soon, copier: copier{limit: 100 << 20},
			want: []string{"flow stalled"}, says: "just above the destination's limit (a batch of 1048589 bytes)"},
		{name: "and may", cfg: func(c *Config) { soon(c); c.Allow = []string{checkFlow} }, copier: copier{limit: 100 << 20}, ends: verdict.Holds,
			want: []string{"flow stalled"}},
		{name: "loses what is large", copier: copier{limit: 100 << 20, refused: goOn, change: func(r *kgo.Record) []*kgo.Record {
			if large(r) {
				return nil
			}
			return []*kgo.Record{r}
		}}, want: []string{"arrives lost"}, says: "below the producer's limit"},
		{name: "and may", cfg: func(c *Config) { c.MustArrive = 10_000 }, ends: verdict.Holds, copier: copier{limit: 100 << 20, refused: goOn, change: func(r *kgo.Record) []*kgo.Record {
			if large(r) {
				return nil
			}
			return []*kgo.Record{r}
		}}},
		{name: "cuts off", copier: copier{limit: 100 << 20, refused: goOn, change: func(r *kgo.Record) []*kgo.Record {
			if large(r) {
				return with(func(r *kgo.Record) { r.Value = r.Value[:900_000] })(r)
			}
			return []*kgo.Record{r}
		}}, want: []string{"intact corrupt"}, says: "(900000 bytes)"},
	})
}

func TestTransactions(t *testing.T) {
	t.Parallel()
	text := func(s string) func(r *kgo.Record) bool {
		return func(r *kgo.Record) bool { return bytes.Contains(r.Value, []byte(s)) }
	}
	var held *kgo.Record
	// A read_committed copier waits behind an open transaction, and the probe for it.
	soon := func(c *Config) { c.Idle = 10 * time.Second }
	judge(t, Transactions, []mistake{
		{name: "right", cfg: soon, ends: verdict.Holds, notes: "waits for the transaction to end"},
		{name: "copies what was not committed", copier: copier{uncommitted: true},
			want: []string{"aborted aborted", "open open"}, says: "plain to read while its transaction was open", notes: "does not wait for it to end"},
		{name: "copies what was aborted only", copier: copier{uncommitted: true, change: func(r *kgo.Record) []*kgo.Record {
			if text("left open")(r) {
				return nil
			}
			return []*kgo.Record{r}
		}}, want: []string{"aborted aborted"}, says: "aborted record 1,"},
		{name: "loses a committed one", cfg: soon, copier: copier{change: only(text("after an abort"), drop)},
			want: []string{"committed lost"}, says: "after an abort"},
		{name: "writes one twice", cfg: soon, ends: verdict.Holds, copier: copier{change: only(text("interleaved"), func(r *kgo.Record) []*kgo.Record { return []*kgo.Record{r, r} })},
			want: []string{"once duplicate"}, says: "interleaved"},
		{name: "swaps two", cfg: soon, copier: copier{change: func(r *kgo.Record) []*kgo.Record {
			switch {
			case r.Partition == 1 && held == nil && text("before")(r):
				held = r
				return nil
			case r.Partition == 1 && held != nil && len(held.Value) > 0:
				both := []*kgo.Record{r, held}
				held = &kgo.Record{}
				return both
			}
			return []*kgo.Record{r}
		}}, want: []string{"order reordered"}, says: "after the record of source offset 1"},
	})
}

// syncing commits the group's offsets of the source at the destination, changed.
func syncing(change func(partition int32, at int64) (int64, bool)) func(ctx context.Context, p *pairOf, topic string) {
	return func(ctx context.Context, p *pairOf, topic string) {
		from, err := kgo.NewClient(p.source...)
		if err != nil {
			return
		}
		defer from.Close()
		to, err := kgo.NewClient(p.destination...)
		if err != nil {
			return
		}
		defer to.Close()
		var done kadm.Offsets
		for ; ctx.Err() == nil; wait(ctx) {
			stored, err := kadm.NewClient(from).FetchOffsetsForTopics(ctx, topic, topic)
			if err != nil {
				continue
			}
			commit := kadm.Offsets{}
			stored.Each(func(o kadm.OffsetResponse) {
				if o.At < 0 {
					return
				}
				if at, ok := change(o.Partition, o.At); ok {
					commit.AddOffset(topic, o.Partition, at, -1)
				}
			})
			if len(commit) == 0 || fmt.Sprint(commit.Sorted()) == fmt.Sprint(done.Sorted()) {
				continue // once: a group that reads must not be disturbed
			}
			if err := kadm.NewClient(to).CommitAllOffsets(ctx, topic, commit); err == nil {
				done = commit
			}
		}
	}
}

func TestOffsets(t *testing.T) {
	t.Parallel()
	soon := func(c *Config) { c.Idle = 10 * time.Second }
	by := func(n int64) func(int32, int64) (int64, bool) {
		return func(p int32, at int64) (int64, bool) {
			if p == 1 {
				at += n
			}
			return at, true
		}
	}
	judge(t, Offsets, []mistake{
		{name: "right", ends: verdict.Holds, copier: copier{beside: syncing(by(0))}, cfg: func(c *Config) { c.MaxReread = 0 },
			notes: "with the source's own offsets the group would skip 0 records at the destination, and read 0 twice"},
		{name: "skips", cfg: soon, copier: copier{beside: syncing(by(5))}, want: []string{"skipped skipped"}, says: "the group had read up to record 98 at the source"},
		{name: "skips to the end", cfg: soon, copier: copier{beside: syncing(by(102))}, want: []string{"skipped skipped"}, says: "records 99 to 199 (probe-offsets-2/1, destination offset 99): the group had read up to record 98 at the source, and went on at offset 201"},
		{name: "reads again", cfg: soon, ends: verdict.Holds, copier: copier{beside: syncing(by(-20))}},
		{name: "and must not", cfg: func(c *Config) { soon(c); c.MaxReread = 19 }, copier: copier{beside: syncing(by(-20))}, want: []string{"reread duplicate"}, says: "20 records were read twice, 19 may be"},
		{name: "does not translate", cfg: soon, want: []string{"translated not translated"}, says: "had no offset at the destination"},
		{name: "and need not", cfg: func(c *Config) { soon(c); c.Allow = []string{checkTranslated} }, ends: verdict.CannotSay, want: []string{"translated not translated"}},
		{name: "translates one partition", cfg: soon, copier: copier{beside: syncing(func(p int32, at int64) (int64, bool) { return at, p == 0 })},
			want: []string{"translated not translated"}, says: "/2, source offset"},
		{name: "duplicates shift the log", cfg: soon, copier: copier{beside: syncing(by(0)), change: only(func(r *kgo.Record) bool { return string(r.Key) == "3" },
			func(r *kgo.Record) []*kgo.Record { return []*kgo.Record{r, r, r} })}, ends: verdict.Holds, notes: "skip 0 records at the destination, and read 2 twice"},
	})
}

// following keeps the settings that keep says like those at the source.
func following(keep func(name string, removal bool) bool) func(ctx context.Context, p *pairOf, topic string) {
	return func(ctx context.Context, p *pairOf, topic string) {
		from, err := kgo.NewClient(p.source...)
		if err != nil {
			return
		}
		defer from.Close()
		to, err := kgo.NewClient(p.destination...)
		if err != nil {
			return
		}
		defer to.Close()
		own := func(client *kgo.Client) map[string]string {
			found, err := kadm.NewClient(client).DescribeTopicConfigs(ctx, topic)
			if err != nil || len(found) == 0 || found[0].Err != nil {
				return nil
			}
			m := map[string]string{}
			for _, c := range found[0].Configs {
				if c.Source == dynamicTopicConfig && c.Value != nil {
					m[c.Key] = *c.Value
				}
			}
			return m
		}
		for ; ctx.Err() == nil; wait(ctx) {
			want, have := own(from), own(to)
			if want == nil || have == nil {
				continue
			}
			var changes []kadm.AlterConfig
			for name, value := range want {
				if have[name] != value && keep(name, false) {
					changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value})
				}
			}
			for name := range have {
				if _, there := want[name]; !there && keep(name, true) {
					changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: name})
				}
			}
			if len(changes) > 0 {
				_, _ = kadm.NewClient(to).AlterTopicConfigs(ctx, changes, topic)
			}
		}
	}
}

func TestTopicConfig(t *testing.T) {
	t.Parallel()
	soon := func(c *Config) { c.Idle = 10 * time.Second }
	judge(t, TopicConfig, []mistake{
		{name: "right", ends: verdict.Holds, copier: copier{beside: following(func(string, bool) bool { return true })}},
		{name: "never follows", cfg: soon, want: []string{"retention.ms drift", "max.message.bytes drift", "cleanup.policy drift"}, says: "was compact, is delete"},
		{name: "follows but for one", cfg: soon, copier: copier{beside: following(func(name string, _ bool) bool { return name != "max.message.bytes" })},
			want: []string{"max.message.bytes drift"}, says: "was 2000000, is 1000000"},
		{name: "keeps what was removed", cfg: soon, copier: copier{beside: following(func(_ string, removal bool) bool { return !removal })},
			want: []string{removed + " drift"}, says: "was unset, is 172800000"},
		{name: "and may", cfg: func(c *Config) {
			soon(c)
			c.Allow = []string{"retention.ms", "max.message.bytes", "cleanup.policy", removed}
		}, ends: verdict.Holds,
			want: []string{"retention.ms drift", "max.message.bytes drift", "cleanup.policy drift"}},
		{name: "sets others", cfg: soon, ends: verdict.Holds, copier: copier{beside: func(ctx context.Context, p *pairOf, topic string) {
			to, err := kgo.NewClient(p.destination...)
			if err != nil {
				return
			}
			defer to.Close()
			value := "77"
			for ; ctx.Err() == nil; wait(ctx) { // the topic comes in a moment
				done, err := kadm.NewClient(to).AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "min.insync.replicas", Value: &value}}, topic)
				if err == nil && len(done) == 1 && done[0].Err == nil {
					break
				}
			}
			following(func(name string, removal bool) bool { return name != "min.insync.replicas" })(ctx, p, topic)
		}}, want: []string{"unchanged drift"}, says: "min.insync.replicas"},
	})
}

func TestMistakesInTheConfiguration(t *testing.T) {
	var c Config
	c.SetDefaults()
	c.Probe, c.Topic, c.Partitions, c.Replicas, c.Idle, c.Settle = "fidelty", "a b", 0, -1, time.Millisecond, -1
	c.Records, c.MaxReread, c.ProducerLimit, c.MustArrive = 1, -2, 5, -1
	err := c.Validate()
	for _, want := range []string{"fidelty", "use one of fidelity, compaction", `"a b"`, "0 partitions", "-1 replicas", "idle 1ms", "settle -1ns", "1 records", "-2 records", "producer limit", "must arrive"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	for _, test := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Compressions = []string{"gzip", "brotli"} }, `compression "brotli": use some of none, gzip, snappy, lz4, zstd`},
		{func(c *Config) { c.Compressions = []string{"gzip", "gzip"} }, `compression "gzip" is given twice`},
		{func(c *Config) { c.Compressions = nil }, "no compressions: use some of none"},
		{func(c *Config) { c.Allow = []string{"tombstones"} }, "probe fidelity has no such check: use some of source, delivered"},
		{func(c *Config) { c.Allow = []string{"keys", "keys"} }, `allow "keys" is given twice`},
		{func(c *Config) { c.Probe, c.ReplicatorCreates = Sizes, true }, "it makes the topic there itself"},
		{func(c *Config) { c.Probe, c.TopicConfig = TopicConfig, map[string]string{"retention.ms": "1"} }, "changes it itself"},
	} {
		c := defaults(Fidelity, "")
		test.change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v, want %q", err, test.want)
		}
	}
}

// A topic that has had records is not the probe's own.
func TestTopicThatIsInUse(t *testing.T) {
	t.Parallel()
	p := clusters(t)
	client, err := kgo.NewClient(p.source...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, topic := range []string{"probe-used", "probe-empty"} {
		if _, err := kadm.NewClient(client).CreateTopic(ctx, 3, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: "probe-used", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	_, err = Run(ctx, defaults(Fidelity, "probe-used"), Deps{Source: p.source, Destination: p.destination, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), `source: topic "probe-used" has had records already`) {
		t.Errorf("%v", err)
	}
	cfg := defaults(Fidelity, "probe-empty")
	cfg.Remove = true
	right(t, probing(t, p, cfg, copier{}))
	// What the probe made is gone, and what it found is not.
	for side, opts := range map[string][]kgo.Opt{"source": p.source, "destination": p.destination} {
		c, err := kgo.NewClient(opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		found, err := kadm.NewClient(c).ListTopics(ctx, "probe-empty")
		if err != nil {
			t.Fatal(err)
		}
		if found.Has("probe-empty") != (side == "source") {
			t.Errorf("%s: the topic is there: %t", side, found.Has("probe-empty"))
		}
	}
}

// A probe that is stopped while it waits says so, and what it leaves.
func TestStopped(t *testing.T) {
	t.Parallel()
	p := clusters(t)
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.MetadataMinAge(50 * time.Millisecond)}, p.source...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, name := range Names() {
		ctx, cancel := context.WithCancelCause(t.Context())
		cfg := defaults(name, "probe-stop-"+name)
		cfg.Idle = 10 * time.Minute
		var logged bytes.Buffer
		ended := make(chan error, 1)
		go func() {
			_, err := Run(ctx, cfg, Deps{Source: p.source, Destination: p.destination, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
			ended <- err
		}()
		// It waits for the replicator once it has written.
		for written := false; !written; wait(t.Context()) {
			ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), cfg.Topic)
			if err != nil && t.Context().Err() != nil {
				t.Fatal(err)
			}
			ends.Each(func(o kadm.ListedOffset) { written = written || o.Err == nil && o.Offset > 0 })
		}
		cancel(errors.New("Ctrl-C"))
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) || !strings.Contains(logged.String(), "topic probe-stop-"+name+" at the destination") {
				t.Errorf("%s: %v\n%s", name, err, logged.String())
			}
		case <-time.After(time.Minute):
			t.Errorf("%s does not stop", name)
		}
	}
}

func TestDocument(t *testing.T) {
	d := &Document{Schema: Schema, Probe: Fidelity, Checks: []*Check{
		{Name: checkSource, Counts: true, Compared: 1}, {Name: checkKeys, Counts: true}, {Name: checkValues, Counts: true, Compared: 2, unknown: "it is dark"},
	}}
	d.conclude()
	if d.Outcome != verdict.CannotSay || len(d.Reasons) != 2 {
		t.Errorf("%q, %q", d.Outcome, d.Reasons)
	}
	var b bytes.Buffer
	if err := d.Write(&b); err != nil {
		t.Fatal(err)
	}
	back, err := Read(bytes.NewReader(b.Bytes()))
	if err != nil || back.Outcome != d.Outcome || back.Check(checkValues).Detail != "it is dark" {
		t.Errorf("%+v, %v", back, err)
	}
	if _, err := Read(strings.NewReader(strings.Replace(b.String(), "probe/v1", "probe/v0", 1))); err == nil {
		t.Error("another schema was read")
	}
	// Where the source itself is wrong, nothing is the replicator's fault.
	d = &Document{Checks: []*Check{{Name: checkSource, Counts: true, Compared: 1, Wrong: 1}, {Name: checkKeys, Counts: true, Compared: 1, Wrong: 1}}}
	if d.conclude(); d.Outcome != verdict.CannotSay {
		t.Errorf("%q", d.Outcome)
	}
}

// A replicator that copies only what it has been told of is told before anything is written.
func TestReplicatorThatIsToldOfTheTopic(t *testing.T) {
	t.Parallel()
	p := clusters(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	deps := Deps{Source: p.source, Destination: p.destination, Logger: slog.New(slog.DiscardHandler)}
	told := 0
	deps.Made = func(_ context.Context, topic string, partitions int) error {
		told++
		if topic != "probe-told" || partitions != 3 {
			t.Errorf("told of %s with %d partitions", topic, partitions)
		}
		for side, opts := range map[string][]kgo.Opt{"source": p.source, "destination": p.destination} {
			c, err := kgo.NewClient(opts...)
			if err != nil {
				return err
			}
			defer c.Close()
			ends, err := kadm.NewClient(c).ListEndOffsets(ctx, topic)
			if err != nil {
				return err
			}
			if len(ends[topic]) != 3 {
				t.Errorf("%s: %v", side, ends)
			}
			ends.Each(func(o kadm.ListedOffset) {
				if o.Offset != 0 {
					t.Errorf("%s: partition %d has %d records already", side, o.Partition, o.Offset)
				}
			})
		}
		copier{}.start(t, p, topic)
		return nil
	}
	doc, err := Run(ctx, defaults(Fidelity, "probe-told"), deps)
	if err != nil || told != 1 {
		t.Fatalf("told %d times: %v", told, err)
	}
	right(t, doc)
	refused := errors.New("it will not")
	deps.Made = func(context.Context, string, int) error { return refused }
	if _, err := Run(ctx, defaults(Fidelity, "probe-refused"), deps); !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}
}
