//go:build !race

package verdict_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mistake is a change to our own source that makes verdicts wrong: each
// occurrence of was becomes is.
type mistake struct {
	name, file, was, is string
}

const (
	inVerdict   = "verdict/verdict.go"
	inJudge     = "verdict/expectation.go"
	inReceived  = "ledger/received.go"
	inLedger    = "ledger/ledger.go"
	inIntervals = "intervals/intervals.go"
)

var mistakes = []mistake{
	// What is missing.
	{"gaps are one too short", inVerdict, "skipped := missing.Below(highest)", "skipped := missing.Below(max(highest, 1) - 1)"},
	{"gaps are one too long", inVerdict, "missing := expected.Minus(seen)", "missing := expected.Minus(seen)\n\tmissing.Add(missing.Len())"},
	{"a lost head is not seen", inVerdict, "missing = missing.Minus(&control)",
		"missing = missing.Minus(&control)\n\tif first := seen.Ranges(1); len(first) > 0 {\n\t\thead := missing.Below(first[0].From)\n\t\tmissing = missing.Minus(&head)\n\t}"},
	{"a lost tail is not seen", inVerdict, "c.Undelivered, c.Lost = tail.Len(), lost.Len()", "c.Lost = lost.Len()"},
	{"a stream of which nothing arrived is not seen", inVerdict, "case !missing.Empty():", "case !missing.Empty() && !seen.Empty():"},
	{"the control counts as lost", inVerdict, "missing = missing.Minus(&control)", ""},
	{"the control is not checked", inJudge, "case !v.Control.OK:", "case false:"},
	{"what the destination lost is not seen", inVerdict, "gone:     once(in, seen),", "gone:     map[ledger.Stream]*intervals.Set{},"},
	{"a deleted topic is forgotten", inVerdict, "out := Seen(in.Former)", "out := Seen(nil)"},
	{"what the source log proves is not taken for sent", inVerdict, "present := scanned.Present.Intersect(&all)\n\t\texpected.Union(&present)", ""},
	{"failed records are waited for", inVerdict, "unknown = unknown.Minus(&failed)", ""},
	{"unknown outcomes are passed over", inVerdict, "c.Indeterminate = indeterminate.Len()", "c.Indeterminate = 0"},
	{"unknown outcomes leave no doubt", inVerdict, "if n := s.out.Total.Indeterminate; n > 0 {", "if n := s.out.Total.Indeterminate; n > 1<<40 {"},
	{"a short scan is taken for a complete one", inVerdict, "if l == nil || l.Scan == nil || l.Scan.To < l.End {", "if l == nil || l.Scan == nil {"},
	{"the tail is looked for by stream", inVerdict, "for _, other := range s.Streams {\n\t\tif !other.Tail.Empty() {", "for _, other := range s.Streams {\n\t\tif other == st && !other.Tail.Empty() {"},
	{"what was rolled back has not arrived", inVerdict, "\tfor key, seen := range once(in, out) {\n\t\tadd(out, key, seen)\n\t}\n\treturn out", "\treturn out"},
	{"running producers have unsent records", inVerdict, "if !running && covers(", "if covers("},
	{"an early stop leaves reserved records open", inVerdict, "all = all.Below(st.Next)", "all = all.Below(st.Next + 1)"},

	// What was not read.
	{"an unread end is taken as read", inVerdict, "case r.Next < bounds.End:", "case r.Next+1 < bounds.End:"},
	{"an unread partition is taken as empty", inVerdict, "case r == nil && known && bounds.End > 0:", "case r == nil && known && bounds.End < 0:"},
	{"a partition that is not there is waited for", inVerdict, "case r == nil && known && bounds.End > 0:", "case r == nil && known:"},
	{"what retention removed before it was read is passed over", inVerdict, "if !gaps.Empty() {", "if false {"},
	{"what was there before the consumer is passed over", inVerdict, "if !began.Empty() {", "if false {"},
	{"clocks are taken as equal", inVerdict, "sent.Started <= u.before+s.in.ClockBound", "sent.Started <= u.before"},
	{"only missing records make a partition unread", inVerdict, "s.doubtUnread()\n\t\tif n", "if n"},
	{"only the home partition has to be read", inVerdict, "for _, u := range s.unread[topic] {\n\t\t// What", "for i, u := range s.unread[topic] {\n\t\tif i > 0 {\n\t\t\tbreak\n\t\t}\n\t\t// What"},
	{"unread offsets excuse any number of missing records", inVerdict, "missing := t.Counts.Lost + t.Counts.Unobserved - min(t.Counts.Unobserved, hidden)", "_ = hidden\n\t\tmissing := t.Counts.Lost"},
	{"damaged records bound nothing", inVerdict, "min(missing, t.Counts.Corrupt+t.Counts.Malformed)", "0"},

	// What arrived.
	{"duplicates over partitions count once", inVerdict, "s.arrivals[st.Stream] += st.Arrivals", "s.arrivals[st.Stream] = max(s.arrivals[st.Stream], st.Arrivals)"},
	{"partitions are added up instead of united", inVerdict, "Received: seen.Len(),", "Received: s.arrivals[key],"},
	{"a phantom just above the reservation is not seen", inVerdict, "all.AddRange(0, st.Reserved)", "all.AddRange(0, st.Reserved+1)"},
	{"a phantom counts as progress", inVerdict, "reached := arrived.Intersect(&all)", "_, reached := all, arrived"},
	{"a phantom of a known run is excused", inVerdict, "s.madeUp += c.Phantom // a ledger names all streams of its run", "// a ledger names all streams of its run"},
	{"an unknown run leaves no doubt", inVerdict, "\t\ts.doubt(\"%d records arrived of run", "\t\t_ = fmt.Sprintf(\"%d records arrived of run"},
	{"phantoms of unknown runs break the verdict", inJudge, "case e.Quantity == \"phantom\" && s.madeUp == 0:", "case false:"},
	{"corrupt records count as received", inReceived, "if o.Kind != message.OK {", "if o.Kind != message.OK && o.Kind != message.Corrupt {"},
	{"foreign records count as ours", inReceived, "if o.Kind != message.OK {", "if o.Kind != message.OK && o.Kind != message.Foreign {"},
	{"corrupt records are called malformed", inVerdict, "case message.Corrupt:", "case message.TooShort:"},
	{"records are counted again when a fetch begins early", inReceived, "if o.Offset < r.Next {", "if o.Offset+2 < r.Next {"},
	{"the maximum follows the last record", inReceived, "\t\tr.note(WordReordered, o, st)\n\t} else {\n\t\tst.Highest = o.ID.Sequence\n\t}", "\t\tr.note(WordReordered, o, st)\n\t}\n\tst.Highest = o.ID.Sequence"},
	{"duplicates are called reordered", inReceived, "if !st.Seen.Add(o.ID.Sequence) {", "if !st.Seen.Add(o.ID.Sequence) && o.ID.Sequence >= st.Highest {"},
	{"replays run together", inReceived, "\tr.Replaying = 0\n", ""},
	{"a replay is one too long", inReceived, "r.Longest = max(r.Longest, r.Replaying)", "r.Longest = max(r.Longest, r.Replaying+1)"},
	{"misplaced records are in place", inReceived, "\t\tr.Misplaced++\n", ""},
	{"streams of two epochs are one", inReceived, "s.Stream.Run == id.Run && s.Stream.Epoch == id.Epoch && s.Stream", "s.Stream.Run == id.Run && s.Stream"},
	{"an outage begins with the record's own intended time", inReceived, "from := max(r.LastArrival, o.ID.Intended)", "from := o.ID.Intended"},

	// Crashes, truncations, zombies.
	{"missed offsets are forgotten", inReceived, "\t\tr.Unobserved.AddRange(uint64(r.Next), uint64(offset))\n", ""},
	{"offsets before the first are forgotten", inReceived, "\tr.Unobserved.AddRange(0, uint64(start))\n", ""},
	{"a rollback forgets what was seen", inReceived, "\tfor _, s := range r.Streams {\n\t\ttake(s.Stream, &s.Seen)\n\t}\n", ""},
	{"a second rollback forgets the first", inReceived, "\tfor _, g := range r.Gone {\n\t\ttake(g.Stream, &g.Seen)\n\t}\n", ""},
	{"a zombie beats who rolled back", inReceived, "base.Generation = r.Generation + 1", "base.Generation = r.Generation"},
	{"the shorter state wins", inReceived, "return r.Next > other.Next", "return r.Next < other.Next"},
	{"what a damaged record claims is stored as it is", inReceived, "strings.ToValidUTF8(string(b), \"\\uFFFD\")", "strings.Clone(string(b))"},

	// Whose fault it was.
	{"the replicator is blamed for retention", inVerdict, "return ByRetention, \"the source's", "return ByReplicator, \"the source's"},
	{"the source cluster is never blamed", inVerdict, "return BySource, fmt.Sprintf(", "return ByUnknown, fmt.Sprintf("},
	{"a record may stand where a later one stands", inVerdict, "return offset - 1", "return offset"},
	{"retention is blamed for what was passed before", inVerdict, "case takenBy <= overtakenAfter && takenBy", "case overtakenAfter > 0 && takenBy"},
	{"the replicator is blamed for what was taken before", inVerdict, "case overtakenBy <= takenAfter:", "case takenAfter > 0 && overtakenBy <= takenBy:"},
	{"a log start at the record has removed it", inVerdict, "return x.Offset > highest })", "return x.Offset >= highest })"},
	{"other streams do not pass", inVerdict, "return s.highestOffset(key, notices[i].Below) > lowest", "return false"},
	{"whatever arrives from another stream passes", inVerdict, "s.in.Samples[key], notices[i].Below) > highest", "s.in.Samples[key], notices[i].Below) > 0"},
	{"what vanished is taken to have arrived when it was seen", inVerdict, "\t\t\tafter = math.MinInt64\n", "\t\t\t_ = after\n"},
	{"a truncated source is trusted", inVerdict, "if source.Cut != nil && highest >= *source.Cut {", "if source.Cut != nil && highest >= 1<<60 {"},
	{"offsets are trusted after a truncation", inVerdict, "\t\tcut = *source.Cut\n", "\t\tcut = max(cut, *source.Cut)\n"},
	{"an unordered producer is taken as ordered", inVerdict, "if !sent.Ordered {\n\t\treturn false", "if false {\n\t\treturn false"},
	{"look-ups are forgotten", inVerdict, "if looked := s.in.LookedUp[key]; looked != nil {", "if looked := s.in.LookedUp[key]; looked == nil {\n\t\tlooked = &Lookup{}"},
	{"acknowledgements are not kept", inLedger, "\ts.Acked.Add(sequence)\n", ""},

	// Sets.
	{"a difference begins one too late", inIntervals, "r.From = max(r.From, min(cut.To, r.To))", "r.From = max(r.From, min(cut.To+1, r.To))"},
	{"a difference forgets a cut that goes on", inIntervals, "\t\t\t\tbreak // it may also cut the next range of s\n", ""},
	{"a limit is included", inIntervals, "out.push(r.From, min(r.To, limit))", "out.push(r.From, min(r.To, limit+1))"},
	{"a range above all others is counted one short", inIntervals, "s.count += to - from // above", "s.count += to - from - 1 // above"},
	{"ranges that touch stay apart", inIntervals, "for hi < len(s.ranges) && s.ranges[hi].From <= r.To {", "for hi < len(s.ranges) && s.ranges[hi].From < r.To {"},
	{"merging forgets the longer range", inIntervals, "r.To = max(r.To, s.ranges[hi].To)", "r.To = max(r.To, s.ranges[hi].From)"},
	{"stored ranges lose their gaps", inIntervals, "out.Ranges = append(out.Ranges, r.From-end, r.Len())", "out.Ranges = append(out.Ranges, max(r.From-end, 1)-1, r.Len())"},
}

// mistakeHistories is how many histories each mistake has to hide in.
const mistakeHistories = "2000"

// TestHistoriesCatchMistakes tests the histories: each mistake planted in the
// source of verdict, ledger or intervals must make them fail.
func TestHistoriesCatchMistakes(t *testing.T) {
	t.Logf("%d mistakes are planted", len(mistakes))
	for _, m := range mistakes {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			t.Parallel() // as many at a time as there are cores
			m.plant(t)
		})
	}
}

// plant runs the histories on our source with the mistake in it.
func (m *mistake) plant(t *testing.T) {
	file, err := filepath.Abs(filepath.Join("..", filepath.FromSlash(m.file)))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(source, []byte(m.was)) {
		t.Fatalf("%s has no %q any more: plant it elsewhere", m.file, m.was)
	}
	// An overlay leaves the tree as it is and shares the build cache.
	dir := t.TempDir()
	wrong, overlay := filepath.Join(dir, "wrong.go"), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {file: wrong}})
	if err = errors.Join(err, os.WriteFile(wrong, bytes.ReplaceAll(source, []byte(m.was), []byte(m.is)), 0o600), os.WriteFile(overlay, replace, 0o600)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-vet=off", "-ldflags=-s -w", "-count=1", "-timeout=5m", "-run=^TestHistories$", ".")
	cmd.Env = append(os.Environ(), "HISTORIES="+mistakeHistories, "HISTORIES_SEED=1", "GOMAXPROCS=1")
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		t.Errorf("%s histories did not notice", mistakeHistories)
	case !bytes.Contains(out, []byte("--- FAIL: TestHistories")) && !bytes.Contains(out, []byte("panic: ")):
		t.Errorf("the histories did not run: %v\n%s", err, out)
	default:
		t.Logf("%s", firstProblem(out))
	}
}

// firstProblem returns what the histories noticed first.
func firstProblem(out []byte) string {
	lines := strings.Split(string(out), "\n")
	for i, line := range lines {
		if strings.Contains(line, ": seed ") && i+1 < len(lines) {
			return strings.TrimSpace(line[strings.Index(line, "seed "):]) + " " + strings.TrimSpace(lines[i+1])
		}
	}
	return "it crashed"
}
