package verdict_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := verdict.JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("verdict.json", parsed); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("verdict.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// full has something in every field that a document can have.
func full() *verdict.Document {
	counts := verdict.Counts{Expected: 10, Received: 8, Arrivals: 9, Lost: 2, LostAtLeast: 1, Duplicates: 1}
	return &verdict.Document{
		Schema: verdict.Schema,
		Verdict: verdict.Verdict{
			Test: "t", Outcome: verdict.Broken, Final: true, Reasons: []string{"r"}, Notes: []string{"n"}, Started: 1, At: 2, Total: counts,
			Topics: []verdict.Topic{{Name: "a", Counts: counts, Partitions: []verdict.Partition{{
				Counts: counts, Outages: []verdict.Outage{{From: 1, To: 2}}, OutageCount: 1, OutageSeconds: 1,
				Streams: []verdict.Stream{{Producer: "p", Run: "1", Reserved: 10, Counts: counts}},
			}}}},
			Findings: []verdict.Finding{{Word: "lost", Attribution: verdict.ByReplicator, Topic: "a", Producer: "p", Run: "1", Epoch: 1, Count: 2,
				Sequences: []intervals.Range{{From: 3, To: 5}}, SourceOffsets: []int64{3, 4}, DestinationOffsets: []int64{5}, Evidence: "e"}},
			Expectations: []verdict.ExpectationResult{{Expectation: "lost == 0", Actual: "2", Outcome: verdict.Broken}},
			Control:      verdict.Control{Planted: 1, Reported: 1, OK: true, Detail: "d"},
			Bottleneck:   verdict.Bottleneck{Component: "none", Evidence: "e"},
			Producers:    []verdict.Producer{{ID: "p", Run: "1", State: "closed", Counts: counts}},
			Latency:      []verdict.PhaseLatency{{Phase: verdict.AllPhases, Latency: latency.Percentiles{Count: 1, P9999: latency.OverRange}, Source: "arrival"}},
			Recoveries:   []verdict.Recovery{{Event: "broker-kill", At: 1, Recovered: true, Seconds: 2}},
			Clock:        &verdict.Clock{OffsetMillis: -1, BoundMillis: 1, Probes: 3, Detail: "d"},
		},
		Timeline: []verdict.Point{{Second: 1, P50: -0.5}},
		Events:   []verdict.Event{{Time: 1, Kind: "broker-kill", Side: "source", Detail: "d"}},
		Config:   map[string]string{"k": "v"},
		Versions: map[string]string{"k": "v"},
	}
}

func written(t *testing.T, d *verdict.Document) any {
	t.Helper()
	var b bytes.Buffer
	if err := d.Write(&b); err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(&b)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSchemaTakesWrittenDocuments(t *testing.T) {
	schema := compiledSchema(t)
	computed := verdict.Compute(&verdict.Input{Test: "t", Final: true, Expectations: verdict.Defaults()})
	for name, d := range map[string]*verdict.Document{
		"full":     full(),
		"computed": {Schema: verdict.Schema, Verdict: computed},
	} {
		if err := schema.Validate(written(t, d)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every field that a document holds, at any depth, is in the schema, and each
// that is always written is required.
func TestSchemaRefusesWhatIsMissingOrWrong(t *testing.T) {
	schema := compiledSchema(t)
	optional := map[string]bool{}
	for _, path := range strings.Fields(`verdict.reasons verdict.notes verdict.findings verdict.latency verdict.recoveries verdict.clock verdict.clock.detail
		verdict.control.detail events.detail verdict.findings.attribution verdict.findings.producer verdict.findings.run verdict.findings.epoch
		verdict.findings.sequences verdict.findings.source_offsets verdict.findings.destination_offsets verdict.topics.partitions.outages
		verdict.topics.partitions.outage_count verdict.topics.partitions.outage_seconds verdict.topics.partitions.streams config.k versions.k`) {
		optional["."+path] = true
	}
	tried := 0
	var walk func(at any, path string, root any)
	walk = func(at any, path string, root any) {
		switch at := at.(type) {
		case map[string]any:
			for name, value := range at {
				here := path + "." + name
				delete(at, name)
				tried++
				err := schema.Validate(root)
				if (err == nil) != optional[here] {
					t.Errorf("without %s: may be missing is %v, and validation says %v", here, optional[here], err)
				}
				at[name] = map[string]any{"wrong": []any{true}}
				if err := schema.Validate(root); err == nil {
					t.Errorf("an object of another kind as %s is taken", here)
				}
				at[name] = value
				walk(value, here, root)
			}
		case []any:
			for _, item := range at {
				walk(item, path, root)
			}
		}
	}
	root := written(t, full())
	walk(root, "", root)
	if tried < 200 {
		t.Errorf("only %d fields were tried", tried)
	}

	d := full()
	d.Verdict.Outcome = "perhaps"
	if schema.Validate(written(t, d)) == nil {
		t.Error("an unknown outcome is taken")
	}
	d = full()
	d.Schema = "other/v9"
	if schema.Validate(written(t, d)) == nil {
		t.Error("another schema is taken")
	}
	d = full()
	doc := written(t, d).(map[string]any)
	doc["added_later"] = json.Number("1")
	if err := schema.Validate(doc); err != nil {
		t.Errorf("a field of a later program is refused: %v", err)
	}
}

func TestSchemaExplainsItself(t *testing.T) {
	text, err := verdict.JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Counts are in records.", "of those, never sent: the buffer was full", `"cannot say"`, `"source cluster"`} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the schema does not hold %q", want)
		}
	}
}
