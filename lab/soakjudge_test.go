package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/mirror"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/oracle"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/oracle/oracletest"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// maxLedgerLog is the most that a broker's copy of a ledger may take, in bytes: compaction leaves two segments of 32 MiB
// alone.
const maxLedgerLog = 128 << 20

// soakSchema is the version of soak.json.
const soakSchema = "kafka-mirror-tester/soak/v1"

// soakResult is what soak.json has.
type soakResult struct {
	Schema    string                       `json:"schema"`
	Seed      uint64                       `json:"seed"`
	Duration  scenario.Duration            `json:"duration"` // for how long things were to be broken
	Took      map[string]scenario.Duration `json:"took"`     // each part of the whole
	Faults    map[string]int               `json:"faults"`
	NotPlayed string                       `json:"not_played,omitempty"` // kinds of faults, and why
	// Mirror is what our mirror did to records, and what the destination refused to take from it.
	Mirror       map[string]int `json:"mirror"`
	Outcome      string         `json:"outcome"` // of the verdict
	Verdict      oracle.Counts  `json:"verdict"`
	Truth        oracle.Counts  `json:"truth"`
	TruthOutcome string         `json:"truth_outcome"`
	Differences  []string       `json:"differences"` // of verdict and truth
	Ledgers      []string       `json:"ledgers"`     // what they have forgotten
	LedgerBytes  int64          `json:"ledger_bytes"`
	Growth       []growth       `json:"growth"`
	Plants       []planted      `json:"plants,omitempty"`
	Mistakes     []string       `json:"mistakes"`
	Ended        bool           `json:"ended"` // false: it failed before it could be judged
}

func newSoakResult() *soakResult {
	return &soakResult{
		Schema: soakSchema, Took: map[string]scenario.Duration{}, Faults: map[string]int{}, Mirror: map[string]int{},
		Differences: []string{}, Ledgers: []string{}, Growth: []growth{}, Mistakes: []string{},
	}
}

// write writes soak.json, and soak.md for people.
func (r *soakResult) write(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("the soak's result: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("the soak's report: %w", err)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "soak.json"), append(text, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "soak.md"), []byte(r.markdown()), 0o644))
}

// evidence is all that a soak is judged by.
type evidence struct {
	Verdict *verdict.Document
	Logs    *oracle.Input // both raw logs, of which nothing was removed, and the producers' books
	// Mirrored are the source records that our mirror dropped, sent twice, and was not allowed to write, by those words.
	Mirrored map[string][]mirror.Place
	Ledgers  []ledgerEvidence
	Tools    []toolEvidence
	// LedgerBytes is what the largest copy of a ledger takes of a broker's disk.
	LedgerBytes int64
	// Wanted is how many seconds the longest life of each tool that is to live long must have lasted.
	Wanted float64
}

// ledgerEvidence is what a ledger has said while the test ran, and what it said to one who read all of it in the end.
type ledgerEvidence struct{ Before, After *ledgerMemory }

// toolEvidence is a load tool's longest life.
type toolEvidence struct {
	Name    string
	Long    bool // it is to live long; others are killed now and then
	Life    []sample
	Crashed string // how its log says so
}

// judge holds everything against what is right.
func (e *evidence) judge(r *soakResult) error {
	mistake := func(format string, args ...any) { r.Mistakes = append(r.Mistakes, fmt.Sprintf(format, args...)) }
	truth, differences, err := oracletest.Check(e.Verdict, e.Logs)
	if err != nil {
		return err
	}
	total, err := json.Marshal(e.Verdict.Verdict.Total)
	if err == nil {
		err = json.Unmarshal(total, &r.Verdict)
	}
	if err != nil {
		return fmt.Errorf("the verdict's counts: %w", err)
	}
	r.Outcome, r.Truth, r.TruthOutcome = string(e.Verdict.Verdict.Outcome), truth.Total, truth.Outcome
	for _, d := range differences {
		r.Differences = append(r.Differences, d)
		mistake("verdict and truth differ: %s", d)
	}
	r.Mistakes = append(r.Mistakes, e.losses(truth)...)
	r.Mistakes = append(r.Mistakes, anomalies(truth)...)
	for word, places := range e.Mirrored {
		r.Mirror[word] = len(distinct(places))
	}
	for _, l := range e.Ledgers {
		r.Ledgers = append(r.Ledgers, l.After.forgotten(l.Before)...)
	}
	r.Mistakes = append(r.Mistakes, r.Ledgers...)
	r.LedgerBytes = e.LedgerBytes
	if r.LedgerBytes > maxLedgerLog || r.LedgerBytes == 0 {
		mistake("a ledger takes %d bytes of a broker's disk, which must be above 0 and at most %d", r.LedgerBytes, maxLedgerLog)
	}
	for _, tool := range e.Tools {
		if tool.Crashed != "" {
			mistake("%s has crashed: %s", tool.Name, tool.Crashed)
		}
		switch {
		case span(tool.Life) >= e.Wanted:
			for _, g := range growths(tool.Name, tool.Life) {
				r.Growth = append(r.Growth, g)
				if g.TooMuch {
					mistake("%s", g)
				}
			}
		case tool.Long:
			mistake("%s lived for %.0f s at most: whether it grows cannot be told", tool.Name, span(tool.Life))
		}
	}
	r.Ended = true
	return nil
}

// distinct are the records of a list, each once: a mirror that is killed deals with some again when it returns.
func distinct(places []mirror.Place) map[mirror.Place]bool {
	out := map[mirror.Place]bool{}
	for _, p := range places {
		out[p] = true
	}
	return out
}

// losses holds what is missing against what the mirror left out: nobody else may lose anything, and what it left out
// cannot have arrived. Whether it drops a record depends on the seed and the record alone, so one that is killed and
// returns drops the same again.
func (e *evidence) losses(truth *oracle.Truth) (said []string) {
	left := distinct(slices.Concat(e.Mirrored[mirror.Drop], e.Mirrored[mirror.Refused]))
	dropped := distinct(e.Mirrored[mirror.Drop])
	missing := 0
	for id, fates := range truth.Fates {
		for n, fate := range fates {
			switch fate.Word {
			case "lost", "undelivered":
			case "destination-lost", "unobserved", "indeterminate":
				said = append(said, fmt.Sprintf("%v: sequence %d is %s, though nothing was removed from either log", id, n, fate.Word))
				continue
			default:
				continue
			}
			missing++
			offsets := truth.InSource[id][n]
			if len(offsets) == 0 {
				said = append(said, fmt.Sprintf("%v: sequence %d was acknowledged, and is not in the source's log", id, n))
			}
			for _, offset := range offsets {
				if !left[mirror.Place{Topic: id.Topic, Partition: id.Partition, Offset: offset}] {
					said = append(said, fmt.Sprintf("%v: sequence %d, source offset %d, is %s, and the mirror has not dropped it: Kafka or the tester lost it", id, n, offset, fate.Word))
				}
			}
		}
	}
	for id, sequences := range truth.InSource {
		for n, offsets := range sequences {
			missed := true
			for _, offset := range offsets {
				missed = missed && dropped[mirror.Place{Topic: id.Topic, Partition: id.Partition, Offset: offset}]
			}
			if word := truth.Fates[id][n].Word; missed && word != "lost" && word != "undelivered" {
				said = append(said, fmt.Sprintf("%v: sequence %d, source offset %d, was dropped by the mirror, and is not missing (%s)", id, n, offsets[0], word))
			}
		}
	}
	slices.Sort(said)
	if missing == 0 {
		said = append(said, "nothing is missing: whether a loss would have been seen cannot be told")
	}
	return said
}

// anomalies are what nobody does to records in a soak.
func anomalies(truth *oracle.Truth) (said []string) {
	for _, word := range []string{"corrupt", "malformed", "foreign", "misplaced", "phantom"} {
		if n, _ := truth.Total.Get(word); n > 0 {
			said = append(said, fmt.Sprintf("%s: %d records, and nothing in this test makes one so", word, n))
		}
	}
	return said
}

// ledgerMemory is what a ledger has said so far. It may never say less.
type ledgerMemory struct {
	topic string

	mu       sync.Mutex
	acked    map[ledger.Stream]*intervals.Set
	received map[string]*ledger.Received // by topic id, partition and writer
	said     []string
}

func newLedgerMemory(topic string) *ledgerMemory {
	return &ledgerMemory{topic: topic, acked: map[ledger.Stream]*intervals.Set{}, received: map[string]*ledger.Received{}}
}

func (m *ledgerMemory) say(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.said = append(m.said, m.topic+fmt.Sprintf(format, args...))
}

// take takes in an entry.
func (m *ledgerMemory) take(e ledger.Entry) error {
	switch e.Key.Kind {
	case ledger.KindSent:
		var sent ledger.Sent
		if err := ledger.Decode(e.Payload, &sent); err != nil {
			m.say(" at offset %d: %s: %v", e.Offset, e.Key, err)
			return nil
		}
		for _, st := range sent.Streams {
			m.mu.Lock()
			before := m.acked[st.Stream]
			m.acked[st.Stream] = &st.Acked
			m.mu.Unlock()
			if gone := less(before, &st.Acked); gone != "" {
				m.say(" at offset %d: %v: acknowledged before, and not any more: %s", e.Offset, streamID(st.Stream), gone)
			}
		}
	case ledger.KindReceived:
		r, err := ledger.Restore(e.Payload)
		if err != nil {
			m.say(" at offset %d: %s: %v", e.Offset, e.Key, err)
			return nil
		}
		key := fmt.Sprintf("%s/%d (topic id %x) by %s", r.Topic, r.Partition, r.TopicID, r.Writer)
		m.mu.Lock()
		before := m.received[key]
		m.received[key] = r
		m.mu.Unlock()
		if before != nil && !r.Covers(before) {
			m.say(" at offset %d: %s: arrived before, and not any more: %s", e.Offset, key, unseen(before, r))
		}
	}
	return nil
}

func streamID(s ledger.Stream) oracle.StreamID {
	return oracle.StreamID{Topic: s.Topic, Partition: s.Partition, Run: s.Run, Epoch: s.Epoch}
}

// less says which sequences of a set are not in the one after it; none: "".
func less(before, after *intervals.Set) string {
	if before == nil {
		return ""
	}
	gone := before.Minus(after)
	if gone.Empty() {
		return ""
	}
	return fmt.Sprintf("%d sequences: %v", gone.Len(), gone.Ranges(4))
}

// unseen says what had arrived and is not known any more.
func unseen(before, after *ledger.Received) string {
	var gone []string
	for _, old := range before.Streams {
		now := &intervals.Set{}
		for _, s := range after.Streams {
			if s.Stream == old.Stream {
				now = &s.Seen
			}
		}
		if which := less(&old.Seen, now); which != "" {
			gone = append(gone, fmt.Sprintf("of %v %s", streamID(old.Stream), which))
		}
	}
	if len(gone) == 0 {
		return fmt.Sprintf("read up to offset %d, and up to %d before", after.Next, before.Next)
	}
	return strings.Join(gone, "; ")
}

// forgotten is all that the ledger, as it was read in the end, has forgotten.
func (m *ledgerMemory) forgotten(before *ledgerMemory) []string {
	before.mu.Lock()
	defer before.mu.Unlock()
	said := slices.Concat(before.said, m.said)
	if len(before.acked)+len(before.received) == 0 {
		said = append(said, m.topic+": nothing was ever read of it: whether it forgets cannot be told")
	}
	for stream, old := range before.acked {
		now := m.acked[stream]
		if now == nil {
			now = &intervals.Set{}
		}
		if gone := less(old, now); gone != "" {
			said = append(said, fmt.Sprintf("%s: in the end it does not know that of %v were acknowledged %s", m.topic, streamID(stream), gone))
		}
	}
	for key, old := range before.received {
		now := m.received[key]
		if now == nil {
			said = append(said, fmt.Sprintf("%s: in the end it knows nothing of %s", m.topic, key))
		} else if !now.Covers(old) {
			said = append(said, fmt.Sprintf("%s: in the end it does not know what had arrived at %s: %s", m.topic, key, unseen(old, now)))
		}
	}
	slices.Sort(said)
	return said
}

// markdown is the result for people.
func (r *soakResult) markdown() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	outcome := "passed"
	switch {
	case !r.Ended:
		outcome = "FAILED before it could be judged"
	case len(r.Mistakes) > 0:
		outcome = fmt.Sprintf("FAILED: %s", human.Plural(uint64(len(r.Mistakes)), "mistake", "mistakes"))
	}
	line("# Soak: %s\n", outcome)
	var took []string
	for _, part := range slices.Sorted(maps.Keys(r.Took)) {
		took = append(took, fmt.Sprintf("%s %s", part, r.Took[part]))
	}
	faults := 0
	for _, n := range r.Faults {
		faults += n
	}
	line("- seed %d, which breaks the same again: `make soak ARGS='--duration %s --seed %d'`", r.Seed, r.Duration, r.Seed)
	line("- it took: %s", strings.Join(took, ", "))
	line("- %s", human.Plural(uint64(faults), "fault", "faults"))
	if r.NotPlayed != "" {
		line("- not played: %s", r.NotPlayed)
	}
	line("\n## Faults\n\n| kind | times |\n|---|---:|")
	for _, kind := range slices.Sorted(maps.Keys(r.Faults)) {
		line("| %s | %d |", kind, r.Faults[kind])
	}
	if r.Ended {
		line("\n## Verdict against truth\n")
		line("The truth is what the oracle reads in both raw logs, from which nothing was removed. %s.\n", human.Plural(uint64(len(r.Differences)), "difference", "differences"))
		line("| | verdict | truth |\n|---|---:|---:|\n| outcome | %s | %s |", r.Outcome, r.TruthOutcome)
		for _, word := range []string{"expected", "received", "arrivals", "lost", "undelivered", "indeterminate", "unobserved", "destination_lost", "duplicates", "reordered", "corrupt", "malformed", "foreign", "misplaced", "phantom"} {
			says, _ := r.Verdict.Get(word)
			is, _ := r.Truth.Get(word)
			line("| %s | %s | %s |", word, human.Count(says), human.Count(is))
		}
		line("\nOur mirror dropped %s and sent %s twice; the destination refused %s. What a killed mirror copied again is among the duplicates.",
			human.Plural(uint64(r.Mirror[mirror.Drop]), "record", "records"), human.Count(uint64(r.Mirror[mirror.Duplicate])), human.Count(uint64(r.Mirror[mirror.Refused])))
		line("\n## Ledgers\n\n%s forgotten; at most %s of a broker's disk, of %s allowed.", human.Plural(uint64(len(r.Ledgers)), "thing", "things"), human.Bytes(float64(r.LedgerBytes)), human.Bytes(maxLedgerLog))
		line("\n## Growth\n\nMedians of the first and the last quarter of a tool's longest life, after it had warmed up.\n")
		line("| tool | of | life | first | last | grown | allowed | |\n|---|---|---:|---:|---:|---:|---:|---|")
		for _, g := range r.Growth {
			show := func(v float64) string { return fmt.Sprintf("%.0f", v) }
			if g.Of == memory || g.Of == heap || g.Of == disk {
				show = func(v float64) string {
					if v < 0 {
						return "-" + human.Bytes(-v)
					}
					return human.Bytes(v)
				}
			}
			what := "flat"
			if g.TooMuch {
				what = "**TOO MUCH**"
			}
			if g.Samples < fewest {
				what = "**not measured**"
			}
			line("| %s | %s | %.0f s | %s | %s | %s | %s | %s |", g.Tool, g.Of, g.Seconds, show(g.First), show(g.Last), show(g.Grown), show(g.Allowed), what)
		}
	}
	if len(r.Plants) > 0 {
		line("\n## Planted on purpose\n")
		for _, p := range r.Plants {
			found := "found"
			if !p.Found {
				found = "NOT FOUND"
			}
			line("- %s: %s: %s", p.Plant, p.What, found)
		}
	}
	line("\n## Mistakes\n")
	for _, m := range r.Mistakes {
		line("- %s", m)
	}
	switch {
	case !r.Ended:
		line("- it did not come to its end: see what go test says")
	case len(r.Mistakes) == 0:
		line("none")
	}
	return b.String()
}
