package verdict

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
)

// Schema names the version of the JSON document. It changes when a field
// changes its meaning or goes; new fields alone do not change it.
const Schema = "kafka-mirror-tester/verdict/v1"

// Outcome is the verdict in one word.
type Outcome string

// The outcomes. CannotSay is used whenever the evidence does not suffice for
// one of the others.
const (
	Holds     Outcome = "holds"
	Broken    Outcome = "broken"
	CannotSay Outcome = "cannot say"
)

// Symbol stands for an outcome beside its colour, since not everyone sees
// colours.
func (o Outcome) Symbol() string {
	switch o {
	case Holds:
		return "✓"
	case Broken:
		return "✕"
	default:
		return "?"
	}
}

// Document is what a test leaves behind: verdict.json.
type Document struct {
	Schema   string            `json:"schema"`
	Verdict  Verdict           `json:"verdict"`
	Timeline []Point           `json:"timeline"`
	Events   []Event           `json:"events"`
	Config   map[string]string `json:"config"`   // settings of the test, secrets left out
	Versions map[string]string `json:"versions"` // of this program, its clients and the clusters
}

// ErrSchema is wrapped by Read when the document is of another version.
var ErrSchema = errors.New("unknown schema")

// Read reads a document and refuses other schemas.
func Read(r io.Reader) (*Document, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read verdict: %w", err)
	}
	var d Document
	if err := Decode(text, Schema, &d); err != nil {
		return nil, fmt.Errorf("read verdict: %w: want a verdict.json", err)
	}
	return &d, nil
}

// Decode reads a JSON document of this schema, such as kafka-mirror-tester/verdict/v1, into v. The schema is looked at
// first: what another version has of other types is no mistake in the document.
func Decode(text []byte, schema string, v any) error {
	var found struct {
		Schema json.RawMessage `json:"schema"`
	}
	if err := json.Unmarshal(text, &found); err != nil {
		return err
	}
	var is string
	if found.Schema == nil {
		return fmt.Errorf("it names no schema, and this program reads %q: %w", schema, ErrSchema)
	}
	if err := json.Unmarshal(found.Schema, &is); err != nil || is != schema {
		return fmt.Errorf("schema %s, this program reads %q%s: %w", found.Schema, schema, advice(is, schema), ErrSchema)
	}
	return json.Unmarshal(text, v)
}

// advice says which program reads another version of the same document.
func advice(is, want string) string {
	kind, version, _ := cutVersion(want)
	other, found, ok := cutVersion(is)
	switch {
	case !ok || other != kind:
		return ", which is another document"
	case found > version:
		return ": a newer loadgen wrote it: use that one, or a newer"
	default:
		return ": an older loadgen wrote it: use that one (loadgen version)"
	}
}

func cutVersion(schema string) (kind string, version int, ok bool) {
	i := strings.LastIndex(schema, "/v")
	if i < 0 {
		return schema, 0, false
	}
	version, err := strconv.Atoi(schema[i+2:])
	return schema[:i], version, err == nil
}

// Write writes the document, indented.
func (d *Document) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	if err := enc.Encode(d); err != nil {
		return fmt.Errorf("write verdict: %w", err)
	}
	return nil
}

// Verdict is the answer, with everything it rests on.
type Verdict struct {
	Test    string  `json:"test"`
	Outcome Outcome `json:"outcome"`
	// Final is false while the test runs: then the outcome speaks of what is
	// known so far.
	Final bool `json:"final"`
	// Reasons say in sentences why the outcome is not "holds".
	Reasons []string `json:"reasons,omitempty"`
	// Notes are worth knowing and do not change the outcome.
	Notes   []string `json:"notes,omitempty"`
	Started int64    `json:"started_unix_us"` // first producer
	At      int64    `json:"at_unix_us"`

	Total        Counts              `json:"total"`
	Topics       []Topic             `json:"topics"`
	Findings     []Finding           `json:"findings,omitempty"`
	Expectations []ExpectationResult `json:"expectations"`
	Control      Control             `json:"control"`
	Bottleneck   Bottleneck          `json:"bottleneck"`
	Producers    []Producer          `json:"producers"`
	Latency      []PhaseLatency      `json:"latency,omitempty"`
	Recoveries   []Recovery          `json:"recoveries,omitempty"`
	Clock        *Clock              `json:"clock,omitempty"`
}

// Counts are in records. The words are defined in the README.
type Counts struct {
	// Leg producer -> source.
	Scheduled uint64 `json:"scheduled"` // asked for by the schedule
	Shed      uint64 `json:"shed"`      // of those, never sent: the buffer was full
	Acked     uint64 `json:"acked"`     // acknowledged by the source cluster
	Failed    uint64 `json:"failed"`    // certainly not written
	Unsent    uint64 `json:"unsent"`    // reserved, and proven absent from the source log
	// Expected is how many records the source holds or held, by
	// acknowledgement or by its log: what the replicator has to carry.
	Expected uint64 `json:"expected"`

	// Leg source -> destination.
	Received        uint64 `json:"received"` // distinct records
	Arrivals        uint64 `json:"arrivals"` // all copies of them
	Lost            uint64 `json:"lost"`
	LostAtLeast     uint64 `json:"lost_at_least"` // with unobserved ones; less unidentifiable records and unread offsets, which may be them
	Undelivered     uint64 `json:"undelivered"`
	Skipped         uint64 `json:"skipped"` // while running: a later record has arrived
	Pending         uint64 `json:"pending"` // while running: not yet at the destination, skipped ones included
	Indeterminate   uint64 `json:"indeterminate"`
	Unobserved      uint64 `json:"unobserved"`
	DestinationLost uint64 `json:"destination_lost"`
	Duplicates      uint64 `json:"duplicates"`
	Replays         uint64 `json:"replays"`
	LongestReplay   uint64 `json:"longest_replay"`
	Reordered       uint64 `json:"reordered"`
	Corrupt         uint64 `json:"corrupt"`
	Malformed       uint64 `json:"malformed"`
	Foreign         uint64 `json:"foreign"`
	Misplaced       uint64 `json:"misplaced"`
	Phantom         uint64 `json:"phantom"`
}

// Topic holds the counts of a topic.
type Topic struct {
	Name       string      `json:"name"`
	Counts     Counts      `json:"counts"`
	Partitions []Partition `json:"partitions"`
}

// Partition holds the counts of a partition. Those of the leg producer ->
// source, and what is missing, go by the source partition; anomalies of
// arrivals by the destination partition.
type Partition struct {
	Partition int32  `json:"partition"`
	Counts    Counts `json:"counts"`
	// RPO: what a loss of the source at this moment would cost. Seconds are the
	// age of the oldest record that is due and that no later one has overtaken.
	RPORecords uint64   `json:"rpo_records"`
	RPOSeconds float64  `json:"rpo_seconds"`
	Outages    []Outage `json:"outages,omitempty"`
	// OutageCount and OutageSeconds count all outages, Outages lists the longest.
	OutageCount   uint64   `json:"outage_count,omitempty"`
	OutageSeconds float64  `json:"outage_seconds,omitempty"`
	Streams       []Stream `json:"streams,omitempty"`
}

// Stream holds the counts of one stream of a source partition.
type Stream struct {
	Producer string `json:"producer"`
	Run      string `json:"run"` // hexadecimal
	Epoch    uint32 `json:"epoch"`
	Reserved uint64 `json:"reserved"`
	Counts   Counts `json:"counts"`
}

// Outage is a time in which nothing arrived although something was due.
type Outage struct {
	From int64 `json:"from_unix_us"`
	To   int64 `json:"to_unix_us"`
}

// Attribution says whose fault a finding is.
type Attribution string

// The attributions.
const (
	ByReplicator  Attribution = "replicator"
	ByRetention   Attribution = "retention"
	BySource      Attribution = "source cluster"
	ByDestination Attribution = "destination cluster"
	ByTester      Attribution = "tester"
	ByUnknown     Attribution = "unknown"
)

// Finding is one kind of anomaly on one stream, with its evidence.
type Finding struct {
	Word        string      `json:"word"`
	Attribution Attribution `json:"attribution,omitempty"`
	Topic       string      `json:"topic"`
	Partition   int32       `json:"partition"`
	Producer    string      `json:"producer,omitempty"`
	Run         string      `json:"run,omitempty"`
	Epoch       uint32      `json:"epoch,omitempty"`
	Count       uint64      `json:"count"`
	// Sequences are the first ranges, To excluded.
	Sequences []intervals.Range `json:"sequences,omitempty"`
	// SourceOffsets are those of the first records, where the source still held
	// them when we looked.
	SourceOffsets []int64 `json:"source_offsets,omitempty"`
	// DestinationOffsets are those of the first records of an anomaly of arrival.
	DestinationOffsets []int64 `json:"destination_offsets,omitempty"`
	Evidence           string  `json:"evidence"` // a sentence
}

// Control is the positive control: sequences reserved and deliberately never
// sent, all of which the verdict must report as missing.
type Control struct {
	Planted  int    `json:"planted"`
	Reported int    `json:"reported"`
	OK       bool   `json:"ok"`
	Detail   string `json:"detail,omitempty"`
}

// Bottleneck says what bounded the throughput.
type Bottleneck struct {
	Component string `json:"component"` // none, tester, source cluster, replicator
	Evidence  string `json:"evidence"`
}

// Producer is one life of a producer.
type Producer struct {
	ID      string `json:"id"`
	Run     string `json:"run"`
	Started int64  `json:"started_unix_us"`
	Updated int64  `json:"updated_unix_us"`
	State   string `json:"state"` // closed, running, dead
	Counts  Counts `json:"counts"`
}

// PhaseLatency holds latencies of the records intended in one phase: from one
// event to the next.
type PhaseLatency struct {
	Phase       string              `json:"phase"`
	From        int64               `json:"from_unix_us"`
	To          int64               `json:"to_unix_us"`
	Latency     latency.Percentiles `json:"latency"`
	Shed        uint64              `json:"shed"`                   // counted as over range
	CatchUp     int64               `json:"tester_catching_up"`     // records left out, since the tester was behind
	ClockKnown  bool                `json:"clock_known"`            // whether the next two were measured
	ClockBound  float64             `json:"clock_bound_ms"`         // plus or minus
	ClockOffset float64             `json:"clock_offset_ms"`        // of the clock of arrivals against the producers'; not subtracted
	Source      string              `json:"destination_time_stamp"` // LogAppendTime or arrival
}

// Recovery says how long it took after an event until everything due had
// arrived and latency was back at what it was before.
type Recovery struct {
	Event     string  `json:"event"`
	At        int64   `json:"at_unix_us"`
	Recovered bool    `json:"recovered"`
	Seconds   float64 `json:"seconds"`
}

// Clock is the offset between the clocks at the two ends of a latency.
type Clock struct {
	OffsetMillis float64 `json:"offset_ms"` // destination broker minus producer
	BoundMillis  float64 `json:"bound_ms"`  // plus or minus
	Probes       int     `json:"probes"`
	// Moved: one of the clocks was set, or drifts. The bound covers all that the
	// offset was.
	Moved bool `json:"moved,omitempty"`
	// One: everything ran on one machine and has one clock, so there was nothing
	// to probe.
	One    bool   `json:"one_clock,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Point is one second of the test, all topics together. Rates are records or
// bytes in that second; the rest is the state at its end.
type Point struct {
	Second        int64   `json:"t"` // Unix seconds
	Scheduled     uint64  `json:"scheduled"`
	Sent          uint64  `json:"sent"` // acknowledged
	SentBytes     uint64  `json:"sent_bytes"`
	Received      uint64  `json:"received"` // arrivals
	ReceivedBytes uint64  `json:"received_bytes"`
	Pending       uint64  `json:"pending"`
	RPOSeconds    float64 `json:"rpo_s"`
	P50           float64 `json:"p50_ms"`
	P99           float64 `json:"p99_ms"`
	Max           float64 `json:"max_ms"`
	Shed          uint64  `json:"shed"`
	Skipped       uint64  `json:"skipped"` // at present; the next three are counts of this second
	Duplicates    uint64  `json:"duplicates"`
	Reordered     uint64  `json:"reordered"`
	Corrupt       uint64  `json:"corrupt"`
	ConsumerLag   uint64  `json:"consumer_lag"` // records at the destination that are not in a consumer's snapshot yet
}

// PhaseEvent is the kind of an event by which nothing happened: it begins a phase of the test whose name
// is its Detail. Latencies are told apart by these phases too, and nothing is measured to have recovered
// from one.
const PhaseEvent = "phase"

// EndSuffix stands behind the kind of a lasting fault in the event that says that it has ended.
const EndSuffix = "-end"

// Event is something that happened to the system under test, told to the
// auditor by whoever did it.
type Event struct {
	Time   int64  `json:"time_unix_us"`
	Kind   string `json:"kind"` // broker-kill, broker-return, …
	Side   string `json:"side"` // source, destination or shared
	Detail string `json:"detail,omitempty"`
}
