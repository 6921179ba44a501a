package probe

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

func TestFidelityOfARightCopier(t *testing.T) {
	t.Parallel()
	p := clusters(t)
	d := probing(t, p, defaults(Fidelity, "probe-right"), copier{})
	right(t, d)
	if c := d.Check(checkHeaders); c.Compared < 400 {
		t.Errorf("%d records compared", c.Compared)
	}
	for _, part := range d.Partitions {
		if !part.Complete || part.SourceRecords != part.DestinationRecords || part.SourceRecords == 0 {
			t.Errorf("%+v", part)
		}
	}
	// The replicator makes the topic.
	cfg := defaults(Fidelity, "probe-created")
	cfg.ReplicatorCreates = true
	right(t, probing(t, p, cfg, copier{creates: map[string]string{"retention.ms": "-1"}}))
}

// A replicator that does not know one compression can be asked about the others.
func TestFidelityWithoutACompression(t *testing.T) {
	t.Parallel()
	p := clusters(t)
	old := copier{change: func(r *kgo.Record) []*kgo.Record {
		if bytes.Contains(r.Value, []byte("zstd")) {
			return nil
		}
		return []*kgo.Record{r}
	}}
	cfg := defaults(Fidelity, "probe-with-zstd")
	cfg.Idle = time.Second
	if doc := probing(t, p, cfg, old); doc.Outcome == verdict.Holds {
		t.Error("a copier without zstd holds with zstd")
	}
	cfg = defaults(Fidelity, "probe-without-zstd")
	cfg.Compressions = []string{"none", "gzip", "snappy", "lz4"}
	right(t, probing(t, p, cfg, old))
}

// Every mistake a copier can make is found, and named.
func TestFidelityOfWrongCopiers(t *testing.T) {
	t.Parallel()
	p := clusters(t)
	var held *kgo.Record
	tests := []struct {
		name   string
		change func(r *kgo.Record) []*kgo.Record
		want   string // check, word and record; no others are found
		field  string
	}{
		{"null key becomes empty", only(about("null key"), with(func(r *kgo.Record) { r.Key = []byte{} })),
			"keys corrupt [null key (no compression)]", `key was null, is ""`},
		{"empty key becomes null", only(about("empty key"), with(func(r *kgo.Record) { r.Key = nil })),
			"keys corrupt [empty key (no compression)]", `key was "", is null`},
		{"tombstone becomes empty", only(about("null value (tombstone)"), with(func(r *kgo.Record) { r.Value = []byte{} })),
			"values corrupt [null value (tombstone) (no compression)]", `value was null, is ""`},
		{"empty value becomes null", only(about("empty value"), with(func(r *kgo.Record) { r.Value = nil })),
			"values corrupt [empty value (no compression)]", `value was "", is null`},
		{"binary value through text", only(about("binary value"), with(func(r *kgo.Record) { r.Value = []byte(strings.ToValidUTF8(string(r.Value), "?")) })),
			"values corrupt [binary value (no compression)]", "value was"},
		{"loses a header", only(about("100 headers"), with(func(r *kgo.Record) { r.Headers = slices.Delete(slices.Clone(r.Headers), 50, 51) })),
			"headers corrupt [100 headers (no compression)]", `headers[50].key was "h50"="50", is "h51"="51"`},
		{"loses all headers", only(about("one header"), with(func(r *kgo.Record) { r.Headers = nil })),
			"headers corrupt [one header (no compression)]", `headers[0] of 1, 0 arrived was "a"="1", is absent`},
		{"swaps duplicate headers", only(about("duplicate headers"), with(func(r *kgo.Record) {
			r.Headers = slices.Clone(r.Headers)
			r.Headers[0], r.Headers[2] = r.Headers[2], r.Headers[0]
		})), "headers corrupt [duplicate headers (no compression)]", `headers[0].value was "same"="2", is "same"="1"`},
		{"null header value becomes empty", only(about("null header value"), with(func(r *kgo.Record) {
			r.Headers = slices.Clone(r.Headers)
			r.Headers[1].Value = []byte{}
		})), "headers corrupt [null header value (no compression)]", `headers[1].value was "null"=null, is "null"=""`},
		{"adds a header", only(about("plain"), with(func(r *kgo.Record) { r.Headers = []kgo.RecordHeader{{Key: "origin", Value: []byte("a")}} })),
			"headers corrupt [plain (no compression)]", `headers[0] of 0, 1 arrived was absent, is "origin"="a"`},
		{"sets the time", only(about("timestamp 0 (1970)"), with(func(r *kgo.Record) { r.Timestamp = time.UnixMilli(1_700_000_000_000) })),
			"timestamps corrupt [timestamp 0 (1970) (no compression)]", "timestamp was CreateTime 0 (1970-01-01T00:00:00Z), is CreateTime 1700000000000"},
		{"only the time of zstd's", only(func(r *kgo.Record) bool {
			return about("timestamp of 2001")(r) && strings.Contains(string(r.Value), "zstd")
		},
			with(func(r *kgo.Record) { r.Timestamp = r.Timestamp.Add(time.Millisecond) })),
			"timestamps corrupt [timestamp of 2001 (zstd)]", "is CreateTime 1000000000000"},
		{"loses a record", only(about("long value"), func(*kgo.Record) []*kgo.Record { return nil }),
			"delivered lost [long value (no compression)]", ""},
		{"loses one without key and value", only(about("null key and null value"), func(*kgo.Record) []*kgo.Record { return nil }),
			"delivered lost [null key and null value (no compression)]", ""},
		{"writes one twice", only(about("one header"), func(r *kgo.Record) []*kgo.Record { return []*kgo.Record{r, r} }),
			`once duplicate [key "key 12", value `, ""},
		{"writes what nobody sent", only(about("plain"), func(r *kgo.Record) []*kgo.Record {
			return []*kgo.Record{r, {Partition: 1, Key: []byte("who"), Value: []byte("me"), Headers: []kgo.RecordHeader{{Key: "x"}}, Timestamp: time.UnixMilli(5)}}
		}), `once phantom [key "who", value "me"]`, ""},
		{"takes another partition", only(about("binary key"), with(func(r *kgo.Record) { r.Partition = 2 })),
			"partition misplaced [binary key (no compression)]", "partition was 1, is 2"},
		{"swaps two", func(r *kgo.Record) []*kgo.Record {
			switch {
			case r.Partition == 1 && about("null key")(r) && held == nil:
				held = r
				return nil
			case r.Partition == 1 && about("binary key")(r) && strings.Contains(string(held.Value), "no compression"):
				both := []*kgo.Record{r, held}
				held = &kgo.Record{}
				return both
			}
			return []*kgo.Record{r}
		}, "order reordered", ""},
	}
	results := make([]func(*testing.T) *Document, len(tests))
	for i, test := range tests {
		results[i] = begin(t, p, defaults(Fidelity, fmt.Sprintf("probe-wrong-%d", i)), copier{change: test.change})
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := results[i](t)
			if d.Outcome != verdict.Broken {
				t.Errorf("outcome %q", d.Outcome)
			}
			if got := found(d); !strings.HasPrefix(got, test.want) || strings.Contains(got, "; ") {
				t.Errorf("found %s\nwant only %s", lines(d), test.want)
			}
			if len(d.Findings) > 0 && !strings.Contains(d.Findings[0].String(), test.field) {
				t.Errorf("%s\ndoes not say %s", d.Findings[0].String(), test.field)
			}
		})
	}
}

// A replicator, or a destination with LogAppendTime (which kfake has not), may
// set times of its own. All are found, and nothing else is taken for wrong
// because of them.
func TestFidelityWithOtherTimes(t *testing.T) {
	t.Parallel()
	p := clusters(t)
	cfg := defaults(Fidelity, "probe-times")
	later := with(func(r *kgo.Record) { r.Timestamp = r.Timestamp.Add(time.Hour) })
	c := copier{change: func(r *kgo.Record) []*kgo.Record {
		if r.Partition == 1 && about("binary key")(r) && about("no compression")(r) {
			return nil
		}
		return later(r)
	}}
	d := probing(t, p, cfg, c)
	if w := d.Check(checkTimestamps); w.Wrong != w.Compared || w.Wrong == 0 {
		t.Errorf("%+v", w)
	}
	var others []string
	for _, f := range d.Findings {
		if f.Check != checkTimestamps {
			others = append(others, f.Check+" "+f.Word+" "+f.Record)
		}
	}
	if got := strings.Join(others, "; "); got != "delivered lost binary key (no compression)" {
		t.Errorf("also found %s", got)
	}
	// It may be so where the user says so.
	cfg.Topic, cfg.Allow, c.change = "probe-times-allowed", []string{checkTimestamps}, later
	d = probing(t, p, cfg, c)
	if d.Outcome != verdict.Holds || d.FindingCount == 0 || !strings.Contains(strings.Join(d.Notes, "\n"), "does not count: timestamps") {
		t.Errorf("outcome %q, %d findings, notes %q", d.Outcome, d.FindingCount, d.Notes)
	}
}

// A replicator that stops is not waited for without end, and what it did not
// bring is not called lost.
func TestFidelityOfAStoppedCopier(t *testing.T) {
	t.Parallel()
	cfg := defaults(Fidelity, "probe-stopped")
	cfg.Idle = 10 * time.Second
	stopped := false
	d := probing(t, clusters(t), cfg, copier{change: func(r *kgo.Record) []*kgo.Record {
		stopped = stopped || r.Partition == 1 && about("binary value")(r)
		if stopped && r.Partition == 1 {
			return nil
		}
		return []*kgo.Record{r}
	}})
	if got := found(d); d.Outcome != verdict.Broken || !strings.HasPrefix(got, "delivered undelivered [binary value (no compression)]") || strings.Contains(got, " lost") {
		t.Errorf("outcome %q, found %s", d.Outcome, lines(d))
	}
	for _, part := range d.Partitions {
		if part.Complete != (part.Partition != 1) {
			t.Errorf("%+v", part)
		}
	}
}

// A record from before 1970 is sent only to who asks for it, and after all others.
func TestNegativeTimestamp(t *testing.T) {
	t.Parallel()
	p := clusters(t)
	before := func(r *kgo.Record) bool { return r.Timestamp.UnixMilli() < 0 }
	tests := []struct {
		name   string
		change func(r *kgo.Record) []*kgo.Record
		want   string
	}{
		{"right", nil, ""},
		{"stops", func() func(r *kgo.Record) []*kgo.Record {
			stopped := false
			return func(r *kgo.Record) []*kgo.Record {
				if stopped = stopped || before(r); stopped {
					return nil
				}
				return []*kgo.Record{r}
			}
		}(), "negative timestamps stalled [record with timestamp -1000]"},
		{"skips", func(r *kgo.Record) []*kgo.Record {
			if before(r) {
				return nil
			}
			return []*kgo.Record{r}
		}, "negative timestamps lost [record with timestamp -1000]"},
		{"sets the time", func(r *kgo.Record) []*kgo.Record {
			if before(r) {
				return with(func(r *kgo.Record) { r.Timestamp = time.UnixMilli(0) })(r)
			}
			return []*kgo.Record{r}
		}, "negative timestamps corrupt [record with timestamp -1000]"},
	}
	results := make([]func(*testing.T) *Document, len(tests))
	for i, test := range tests {
		cfg := defaults(Fidelity, fmt.Sprintf("probe-negative-%d", i))
		cfg.Negative = true
		if test.name == "stops" {
			cfg.Idle = 10 * time.Second
		}
		results[i] = begin(t, p, cfg, copier{change: test.change})
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := results[i](t)
			if got := found(d); got != test.want || (d.Outcome == verdict.Holds) != (test.want == "") {
				t.Errorf("outcome %q, found %s, want %s", d.Outcome, lines(d), test.want)
			}
		})
	}
}

// What only the source takes is not sent: the replicator could not get rid of it.
func TestTimesThatTheDestinationDoesNotTake(t *testing.T) {
	t.Parallel()
	p := clusters(t)
	p.to.ControlKey(int16(kmsg.DescribeConfigs), func(req kmsg.Request) (kmsg.Response, error, bool) {
		p.to.KeepControl()
		resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
		for _, asked := range req.(*kmsg.DescribeConfigsRequest).Resources {
			r := kmsg.NewDescribeConfigsResponseResource()
			r.ResourceType, r.ResourceName = asked.ResourceType, asked.ResourceName
			name := "message.timestamp.after.max.ms"
			if asked.ResourceType == kmsg.ConfigResourceTypeBroker {
				name = "log." + name
			}
			c := kmsg.NewDescribeConfigsResponseResourceConfig()
			c.Name, c.Value = name, kmsg.StringPtr("3600000") // as Kafka 4 has it
			r.Configs = append(r.Configs, c)
			resp.Resources = append(resp.Resources, r)
		}
		return resp, nil, true
	})
	for _, creates := range []bool{false, true} {
		cfg := defaults(Fidelity, fmt.Sprintf("probe-future-%t", creates))
		c := copier{change: func(r *kgo.Record) []*kgo.Record {
			if r.Timestamp.Year() > 2100 {
				t.Errorf("a record of %s was sent", r.Timestamp)
			}
			return []*kgo.Record{r}
		}}
		if cfg.ReplicatorCreates = creates; creates {
			c.creates = map[string]string{"retention.ms": "-1"}
		}
		d := probing(t, p, cfg, c)
		right(t, d)
		if want := "records of times to come were not tried: the destination has "; !strings.Contains(strings.Join(d.Notes, "\n"), want) {
			t.Errorf("the notes %q say nowhere %q", d.Notes, want)
		}
	}
}
