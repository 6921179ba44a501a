package probe

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// Schema names the version of the JSON document. It changes when a field
// changes its meaning or goes; new fields alone do not change it.
const Schema = "kafka-mirror-tester/probe/v1"

// Document is what a probe leaves behind.
type Document struct {
	Schema  string          `json:"schema"`
	Probe   string          `json:"probe"`
	Topic   string          `json:"topic"`
	Outcome verdict.Outcome `json:"outcome"`
	// Reasons say in sentences why the outcome is not "holds".
	Reasons []string `json:"reasons,omitempty"`
	// Notes are worth knowing and do not change the outcome.
	Notes      []string    `json:"notes,omitempty"`
	Started    int64       `json:"started_unix_us"`
	Ended      int64       `json:"ended_unix_us"`
	Checks     []*Check    `json:"checks"`
	Measures   []Measure   `json:"measures,omitempty"`
	Partitions []Partition `json:"partitions,omitempty"`
	// FindingCount counts all findings, Findings are the first of each check.
	FindingCount uint64            `json:"finding_count"`
	Findings     []Finding         `json:"findings,omitempty"`
	Config       map[string]string `json:"config"`         // settings of the probe
	Versions     map[string]string `json:"versions"`       // of this program and its clients; the caller fills them in
	Left         []string          `json:"left,omitempty"` // topics and groups that the probe made and did not remove
}

// Check is one thing that must hold.
type Check struct {
	Name  string `json:"name"`
	About string `json:"about"` // what must hold
	// Counts is false for a check that was allowed to fail: it is measured, and
	// does not change the outcome.
	Counts   bool            `json:"counts"`
	Outcome  verdict.Outcome `json:"outcome"`
	Compared uint64          `json:"compared"` // of what must hold, how many were looked at
	Wrong    uint64          `json:"wrong"`
	Detail   string          `json:"detail,omitempty"` // a sentence

	findings int
	unknown  string // why nothing can be said, although something was compared
}

// Measure is a figure without a judgement.
type Measure struct {
	Name   string  `json:"name"`
	Number float64 `json:"number"`
	Unit   string  `json:"unit"` // s, records, bytes
	Detail string  `json:"detail,omitempty"`
}

// Partition says how far both logs were read.
type Partition struct {
	Partition          int32 `json:"partition"`
	SourceRecords      int   `json:"source_records"` // without the markers of transactions
	SourceEnd          int64 `json:"source_end"`
	DestinationRecords int   `json:"destination_records"`
	DestinationEnd     int64 `json:"destination_end"`
	// Complete: the record that ends the probe has arrived, so everything before
	// it had its chance.
	Complete bool `json:"complete"`
}

// Finding is one thing that is not as it must be. Values are shortened.
type Finding struct {
	Check string `json:"check"`
	// Word is one of those of the README's table: lost, undelivered, duplicate,
	// reordered, misplaced, phantom, corrupt (which here means that a field is
	// otherwise than it was sent); or one that only a probe has: resurrected,
	// stale, aborted, open, skipped, stalled, not translated, drift.
	Word              string `json:"word"`
	Topic             string `json:"topic"`
	Partition         int32  `json:"partition"`
	SourceOffset      *int64 `json:"source_offset,omitempty"`
	DestinationOffset *int64 `json:"destination_offset,omitempty"`
	Record            string `json:"record,omitempty"` // which of the probe's records
	Field             string `json:"field,omitempty"`
	Source            string `json:"source,omitempty"`
	Destination       string `json:"destination,omitempty"`
	Count             uint64 `json:"count,omitempty"` // of what is wrong, where it is more than one
	Detail            string `json:"detail,omitempty"`
}

// Read reads a document and refuses other schemas.
func Read(r io.Reader) (*Document, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read the probe's result: %w", err)
	}
	var d Document
	if err := verdict.Decode(text, Schema, &d); err != nil {
		return nil, fmt.Errorf("read the probe's result: %w: want the JSON that a probe wrote", err)
	}
	return &d, nil
}

// Write writes the document, indented.
func (d *Document) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	if err := enc.Encode(d); err != nil {
		return fmt.Errorf("write the probe's result: %w", err)
	}
	return nil
}

// Check returns the check of that name, nil if there is none.
func (d *Document) Check(name string) *Check {
	for _, c := range d.Checks {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// conclude gives every check and the whole its outcome.
func (d *Document) conclude() {
	d.Outcome = verdict.Holds
	for _, c := range d.Checks {
		var reason string
		switch {
		case c.Wrong > 0:
			c.Outcome = verdict.Broken
			reason = fmt.Sprintf("%s: %d wrong of %d", c.Name, c.Wrong, c.Compared)
			if first := d.first(c.Name); first != nil {
				reason += ", the first: " + first.String()
			}
		case c.unknown != "":
			c.Outcome, c.Detail = verdict.CannotSay, c.unknown
			reason = c.Name + ": cannot say: " + c.unknown
		case c.Compared == 0:
			c.Outcome, c.Detail = verdict.CannotSay, "there was nothing to compare"
			reason = c.Name + ": cannot say: there was nothing to compare"
		default:
			c.Outcome = verdict.Holds
			continue
		}
		if !c.Counts {
			d.Notes = append(d.Notes, "does not count: "+reason)
			continue
		}
		d.Reasons = append(d.Reasons, reason)
		if d.Outcome != verdict.Broken {
			d.Outcome = c.Outcome
		}
	}
	// What the source itself has otherwise is no fault of the replicator, and then
	// nothing else can be laid at its door either.
	if c := d.Check(checkSource); c != nil && c.Outcome == verdict.Broken {
		c.Outcome, d.Outcome = verdict.CannotSay, verdict.CannotSay
		c.Detail = "the source does not hold what was written: something else writes to the topic, or the source cluster changes records"
	}
}

func (d *Document) first(check string) *Finding {
	for i := range d.Findings {
		if d.Findings[i].Check == check {
			return &d.Findings[i]
		}
	}
	return nil
}

// String tells of the finding in one line.
func (f *Finding) String() string {
	s := f.Word
	if f.Record != "" {
		s += " " + f.Record
	}
	s += fmt.Sprintf(" (%s/%d", f.Topic, f.Partition)
	if f.SourceOffset != nil {
		s += fmt.Sprintf(", source offset %d", *f.SourceOffset)
	}
	if f.DestinationOffset != nil {
		s += fmt.Sprintf(", destination offset %d", *f.DestinationOffset)
	}
	s += ")"
	if f.Field != "" {
		s += ": " + f.Field
	}
	if f.Source != "" || f.Destination != "" {
		s += fmt.Sprintf(" was %s, is %s", f.Source, f.Destination)
	}
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	return s
}
