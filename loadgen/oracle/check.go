package oracle

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// document is what the oracle reads of a verdict: the JSON that users get.
type document struct {
	Outcome string `json:"outcome"`
	Total   Counts `json:"total"`
	Topics  []struct {
		Name       string `json:"name"`
		Counts     Counts `json:"counts"`
		Partitions []struct {
			Partition  int32  `json:"partition"`
			Counts     Counts `json:"counts"`
			RPORecords uint64 `json:"rpo_records"`
			Outages    []struct {
				From int64 `json:"from_unix_us"`
				To   int64 `json:"to_unix_us"`
			} `json:"outages"`
			OutageCount uint64 `json:"outage_count"`
			Streams     []struct {
				Run    string `json:"run"`
				Epoch  uint32 `json:"epoch"`
				Counts Counts `json:"counts"`
			} `json:"streams"`
		} `json:"partitions"`
	} `json:"topics"`
	Findings []struct {
		Word        string `json:"word"`
		Attribution string `json:"attribution"`
		Topic       string `json:"topic"`
		Partition   int32  `json:"partition"`
		Run         string `json:"run"`
		Epoch       uint32 `json:"epoch"`
		Count       uint64 `json:"count"`
		Sequences   []struct {
			From uint64 `json:"from"`
			To   uint64 `json:"to"`
		} `json:"sequences"`
		SourceOffsets      []int64 `json:"source_offsets"`
		DestinationOffsets []int64 `json:"destination_offsets"`
	} `json:"findings"`
	Expectations []struct {
		Expectation string `json:"expectation"`
		Outcome     string `json:"outcome"`
	} `json:"expectations"`
	Control struct {
		OK bool `json:"ok"`
	} `json:"control"`
}

// Limits of what a verdict lists: ranges of a finding, and examples of an
// anomaly of arrivals.
const (
	listedRanges   = 16
	listedExamples = 8
	listedOutages  = 32
)

// checker collects where verdict and truth differ.
type checker struct {
	truth *Truth
	doc   document
	diffs []string
}

func (c *checker) diff(format string, args ...any) {
	c.diffs = append(c.diffs, fmt.Sprintf(format, args...))
}

// Check works out the truth and compares a verdict with it, given as the JSON
// of the document's field "verdict". It returns one sentence for each
// difference; none: the verdict is exact.
func Check(in *Input, verdict []byte) (*Truth, []string) {
	c := &checker{truth: Read(in)}
	if err := json.Unmarshal(verdict, &c.doc); err != nil {
		return c.truth, []string{fmt.Sprintf("the verdict is not readable: %v", err)}
	}
	c.counts()
	c.fates()
	c.sourceOffsets(in)
	c.anomalies()
	c.outcome()
	return c.truth, c.diffs
}

func (c *checker) compare(where string, got, want *Counts) {
	if *got == *want {
		return
	}
	have := got.fields()
	for i, f := range want.fields() {
		if g := *have[i].value; g != *f.value {
			c.diff("%s: %s is %d, the verdict says %d", where, f.name, *f.value, g)
		}
	}
}

// counts compares every word on every level.
func (c *checker) counts() {
	t := c.truth
	c.compare("total", &c.doc.Total, &t.Total)
	there, streams := map[Place]bool{}, 0
	for i := range c.doc.Topics {
		topic := &c.doc.Topics[i]
		want := t.Topics[topic.Name]
		if want == nil {
			c.diff("topic %s is not part of the test", topic.Name)
			continue
		}
		c.compare("topic "+topic.Name, &topic.Counts, want)
		for j := range topic.Partitions {
			p := &topic.Partitions[j]
			place := Place{topic.Name, p.Partition}
			where := fmt.Sprintf("%s/%d", topic.Name, p.Partition)
			there[place] = true
			want := t.Partitions[place]
			if want == nil {
				want = &Counts{}
			}
			c.compare(where, &p.Counts, want)
			if p.RPORecords != t.Missing[place] {
				c.diff("%s: %d are missing, the verdict says RPO %d", where, t.Missing[place], p.RPORecords)
			}
			outages := t.Outages[place]
			if p.OutageCount != uint64(len(outages)) {
				c.diff("%s: %d outages, the verdict says %d", where, len(outages), p.OutageCount)
			}
			if len(outages) <= listedOutages {
				for k, o := range p.Outages {
					if len(p.Outages) != len(outages) || outages[k] != (Outage{o.From, o.To}) {
						c.diff("%s: outages %v, the verdict lists %v", where, outages, p.Outages)
						break
					}
				}
			}
			for k := range p.Streams {
				s := &p.Streams[k]
				id := StreamID{topic.Name, p.Partition, runOf(s.Run), s.Epoch}
				want := t.Streams[id]
				if want == nil {
					c.diff("stream %v does not exist", id)
					continue
				}
				streams++
				c.compare(fmt.Sprintf("stream %v", id), &s.Counts, want)
			}
		}
	}
	for place, want := range t.Partitions {
		if *want != (Counts{}) && !there[place] {
			c.diff("%v is not in the verdict", place)
		}
	}
	books := 0
	for id := range t.Streams {
		if _, ok := t.Fates[id]; ok {
			books++
		}
	}
	if streams != books {
		c.diff("%d streams have a book, the verdict has %d", books, streams)
	}
}

func runOf(name string) uint64 {
	run, err := strconv.ParseUint(name, 16, 64)
	if err != nil {
		return 0
	}
	return run
}

// finding names a set of sequences.
type finding struct {
	StreamID
	word, by string
}

// fates compares which sequences have which fate, and whose fault it is.
func (c *checker) fates() {
	want := map[finding]sequences{}
	note := func(id StreamID, word, by string, n uint64) {
		f := finding{id, word, by}
		if want[f] == nil {
			want[f] = sequences{}
		}
		want[f][n] = true
	}
	for id, fates := range c.truth.Fates {
		for n, f := range fates {
			switch f.Word {
			case "lost", "undelivered", "destination-lost", "unobserved", "indeterminate":
				note(id, f.Word, f.By, n)
			}
		}
	}
	for id, ns := range c.truth.Phantoms {
		for n := range ns {
			note(id, "phantom", "", n)
		}
	}
	type listed struct {
		count     uint64
		sequences sequences
		all       bool
	}
	got := map[finding]listed{}
	for i := range c.doc.Findings {
		f := &c.doc.Findings[i]
		switch f.Word {
		case "lost", "undelivered", "destination-lost", "unobserved", "indeterminate", "phantom":
		default:
			continue
		}
		key := finding{StreamID{f.Topic, f.Partition, runOf(f.Run), f.Epoch}, f.Word, f.Attribution}
		g, again := got[key]
		if !again {
			g.sequences = sequences{}
		}
		g.count += f.Count
		g.all = (g.all || !again) && len(f.Sequences) < listedRanges
		for _, r := range f.Sequences {
			for n := r.From; n < r.To; n++ {
				g.sequences[n] = true
				if !want[key][n] {
					c.diff("sequence %d of %v is not %s by %q, as the verdict says", n, key.StreamID, key.word, key.by)
				}
			}
		}
		got[key] = g
	}
	for key, g := range got {
		if n := uint64(len(want[key])); g.count != n || g.all && uint64(len(g.sequences)) != n {
			c.diff("%s by %q on %v: %d, the verdict finds %d and lists %d", key.word, key.by, key.StreamID, n, g.count, len(g.sequences))
		}
		if g.all {
			for _, n := range sorted(want[key]) {
				if !g.sequences[n] {
					c.diff("sequence %d of %v is %s by %q, and the verdict does not list it", n, key.StreamID, key.word, key.by)
				}
			}
		}
		delete(want, key)
	}
	for key, truth := range want {
		c.diff("%s by %q on %v: %d (%v), not found by the verdict", key.word, key.by, key.StreamID, len(truth), sorted(truth))
	}
}

func sorted(s sequences) []uint64 {
	var out []uint64
	for n := range s {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// sourceOffsets checks that the records named are where the verdict says.
func (c *checker) sourceOffsets(in *Input) {
	at := map[Place]map[int64]*Record{}
	for i := range in.Source {
		s := &in.Source[i]
		at[s.Place] = map[int64]*Record{}
		for j := range s.Records {
			at[s.Place][s.Records[j].Offset] = &s.Records[j]
		}
	}
	for i := range c.doc.Findings {
		f := &c.doc.Findings[i]
		if f.Attribution == byReplicator && (f.Word == "undelivered") && len(f.SourceOffsets) == 0 && f.Count < listedRanges {
			c.diff("%s on %s/%d: the source offsets are not given", f.Word, f.Topic, f.Partition)
		}
		for _, offset := range f.SourceOffsets {
			rec := at[Place{f.Topic, f.Partition}][offset]
			if rec == nil {
				c.diff("there is no record at source offset %d of %s/%d", offset, f.Topic, f.Partition)
				continue
			}
			id, kind := parse(rec, f.Topic, in.Test)
			listed := false
			for _, r := range f.Sequences {
				listed = listed || id.sequence >= r.From && id.sequence < r.To
			}
			if kind != ours || id.run != runOf(f.Run) || id.epoch != f.Epoch || !listed && len(f.Sequences) < listedRanges {
				c.diff("the record at source offset %d of %s/%d is not %s", offset, f.Topic, f.Partition, f.Word)
			}
		}
	}
}

// anomalies compares the examples of what is wrong with arrivals.
func (c *checker) anomalies() {
	got := map[Place]map[string][]int64{}
	for i := range c.doc.Findings {
		f := &c.doc.Findings[i]
		word := f.Word
		switch word {
		case "duplicate", "reordered", "misplaced", "corrupt":
		case "no_value", "too_short", "not_ours", "unknown_version", "bad_fields", "missing_headers":
			word = "malformed"
		default:
			continue
		}
		place := Place{f.Topic, f.Partition}
		if got[place] == nil {
			got[place] = map[string][]int64{}
		}
		got[place][word] = append(got[place][word], f.DestinationOffsets...)
		if word != "malformed" && f.Count != uint64(len(c.truth.Anomalies[place][word])) {
			c.diff("%s on %v: %d, the verdict finds %d", word, place, len(c.truth.Anomalies[place][word]), f.Count)
		}
	}
	for place, words := range c.truth.Anomalies {
		for word, want := range words {
			have := got[place][word]
			slices.Sort(have)
			switch {
			case word == "malformed":
				// Examples are kept for each kind of malformed record.
				for _, offset := range have {
					if !slices.Contains(want, offset) {
						c.diff("the record at offset %d of %v is not malformed", offset, place)
					}
				}
				if len(have) < min(len(want), listedExamples) {
					c.diff("malformed on %v at %v, the verdict shows %v", place, want, have)
				}
			case !slices.Equal(have, want[:min(len(want), listedExamples)]):
				c.diff("%s on %v at %v, the verdict shows %v", word, place, want, have)
			}
			delete(got[place], word)
		}
		for word, offsets := range got[place] {
			c.diff("%s on %v at %v: made up by the verdict", word, place, offsets)
		}
	}
}

// outcome compares the outcome and which expectations are broken.
func (c *checker) outcome() {
	t := c.truth
	if c.doc.Control.OK != t.Control {
		c.diff("the control is %v, the verdict says %v", t.Control, c.doc.Control.OK)
	}
	for _, e := range c.doc.Expectations {
		name, _, _ := strings.Cut(e.Expectation, " ")
		if broken := e.Outcome == "broken"; broken != t.Exceeded[name] {
			c.diff("%q is broken: %v, the verdict says %q", e.Expectation, t.Exceeded[name], e.Outcome)
		}
	}
	if c.doc.Outcome != t.Outcome {
		c.diff("the outcome is %q (%v), the verdict says %q", t.Outcome, t.Doubts, c.doc.Outcome)
	}
}
