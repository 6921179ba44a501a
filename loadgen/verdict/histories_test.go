package verdict_test

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/message"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/oracle"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// history plays one history and returns what is wrong with it.
func history(seed uint64, filler *message.Filler, st *statistics, log func(string, ...any)) []string {
	w := newWorld(seed, filler, log)
	looks := 0
	for w.busy() && w.step < 20_000 {
		w.act()
		if w.chance(0.03) {
			w.sampleStarts(false)
		}
		if w.chance(0.02) {
			v := w.look()
			looks++
			if w.chance(0.5) {
				w.lookUp(v)
			}
			if looks < 6 && w.chance(0.2) {
				w.midRun(v)
			}
		}
		if len(w.problems) > 0 {
			return w.problems
		}
	}
	v, t, last := w.conclude()
	if len(w.problems) == 0 {
		w.sound(v, t, last)
		st.count(w, v, t)
	}
	return w.problems
}

// busy says whether the load goes on.
func (w *world) busy() bool {
	for _, p := range w.producers {
		if p.lives > 0 || p.life != nil && !p.life.over && (p.life.left > 0 || w.chance(0.98)) {
			return true
		}
	}
	return false
}

// sound compares the verdict with what really happened, of which the oracle
// sees only what is left.
func (w *world) sound(v *verdict.Verdict, t *oracle.Truth, last *look) {
	there := map[*send]bool{}  // at the destination as it is now
	clean := true              // nothing there that should not be
	first := map[*send]int64{} // when it first came to the destination, for all to see
	for _, topic := range w.topics {
		for _, l := range topic.dst.logs {
			highest := map[*stream]uint64{}
			for _, x := range l.lineage {
				if x.src == nil || x.src.send == nil || !x.intact {
					_, _, ok := w.identify(x.rec, topic)
					clean = clean && !ok // phantoms
					var id message.Identity
					clean = clean && w.dec.Decode(x.rec, topic.name, &id) != message.Corrupt
					continue
				}
				s := x.src.send
				there[s] = true
				clean = clean && l.partition == s.stream.log.partition
				if h, ok := highest[s.stream]; ok && s.sequence < h {
					clean = clean && slices.ContainsFunc(l.lineage, func(y *dstRecord) bool { return y != x && y.offset < x.offset && y.src != nil && y.src.send == s })
				}
				highest[s.stream] = max(highest[s.stream], s.sequence)
			}
		}
		for _, l := range topic.source {
			for _, x := range l.all {
				for _, c := range x.copies {
					if x.send != nil && (!c.cut || c.told) && (first[x.send] == 0 || c.at < first[x.send]) {
						first[x.send] = c.at
					}
				}
			}
		}
	}
	fate := func(s *send) (oracle.Fate, bool) {
		key := s.stream.st.Stream
		f, ok := t.Fates[oracle.StreamID{Topic: key.Topic, Partition: key.Partition, Run: key.Run, Epoch: key.Epoch}][s.sequence]
		return f, ok
	}
	for _, l := range last.lives {
		for _, st := range l.streams {
			for n, s := range st.sends {
				f, missing := fate(s)
				switch f.Word {
				case "lost", "undelivered", "destination-lost":
					if there[s] {
						w.problem("%d of %v is called %s and is there", n, st.st.Stream, f.Word)
					}
				}
				inSource := slices.ContainsFunc(s.copies, func(x *sourceRecord) bool { return x.takenAt == 0 && x.cutAt == 0 })
				if f.Word == "unsent" && inSource {
					w.problem("%d of %v is called unsent and is in the source", n, st.st.Stream)
				}
				if missing && (f.Word == "lost" || f.Word == "undelivered") && first[s] != 0 {
					w.problem("%d of %v is called %s by %s and had arrived", n, st.st.Stream, f.Word, f.By)
				}
				if missing && f.Word == "lost" {
					w.blame(s, f.By, first, there)
				}
				if v.Outcome == verdict.Holds && w.c.limit == 0 && inSource && !there[s] {
					w.problem("%d of %v is in the source only, and the verdict holds", n, st.st.Stream)
				}
				if v.Outcome == verdict.Holds && w.c.limit == 0 && s.acked && s.ackedIn <= l.version && !there[s] {
					w.problem("%d of %v was acknowledged and is not there, and the verdict holds", n, st.st.Stream)
				}
			}
		}
	}
	w.age(v, last, fate)
	if v.Outcome == verdict.Holds && !clean && w.c.limit == 0 {
		w.problem("the verdict holds, though the destination is not as it should be")
	}
}

// age checks that no missing record that none of its stream has overtaken is
// older than the RPO says.
func (w *world) age(v *verdict.Verdict, last *look, fate func(*send) (oracle.Fate, bool)) {
	rpo := map[oracle.Place]float64{}
	for _, t := range v.Topics {
		for _, p := range t.Partitions {
			rpo[oracle.Place{Topic: t.Name, Partition: p.Partition}] = p.RPOSeconds
		}
	}
	for _, l := range last.lives {
		for _, st := range l.streams {
			highest, _ := last.highest(st.st.Stream, last.ever[st.st.Stream])
			for n, s := range st.sends {
				if n < highest {
					continue
				}
				switch f, _ := fate(s); f.Word {
				case "lost", "undelivered", "destination-lost", "unobserved":
					age := float64(v.At-s.intended) / 1e6
					if got := rpo[oracle.Place{Topic: st.log.topic.name, Partition: st.log.partition}]; got < age {
						w.problem("%d of %v is missing for %.6f s, RPO says %.6f s", n, st.st.Stream, age, got)
					}
				}
			}
		}
	}
}

// blame checks whose fault a loss is said to be.
func (w *world) blame(s *send, by string, first map[*send]int64, there map[*send]bool) {
	key := s.stream.st.Stream
	inSource, cut := false, false
	taken := int64(math.MaxInt64)
	overtaken := int64(math.MaxInt64)
	for _, c := range s.copies {
		inSource = inSource || c.takenAt == 0 && c.cutAt == 0
		cut = cut || c.cutAt != 0
		if c.takenAt != 0 {
			taken = min(taken, c.takenAt)
		}
		for _, later := range s.stream.log.all[c.order+1:] {
			if later.send != nil && first[later.send] != 0 {
				overtaken = min(overtaken, first[later.send])
			}
		}
	}
	switch by {
	case "source cluster":
		if !cut || inSource {
			w.problem("%d of %v is called lost by the source cluster, which had it", s.sequence, key)
		}
	case "retention":
		if taken == math.MaxInt64 || inSource {
			w.problem("%d of %v is called lost by retention, which did not take it", s.sequence, key)
		} else if overtaken < taken {
			w.problem("%d of %v is called lost by retention, which took it at %d, and it was passed at %d", s.sequence, key, taken, overtaken)
		}
	case "replicator":
		if overtaken == math.MaxInt64 || !inSource && (taken < overtaken) {
			w.problem("%d of %v is called lost by the replicator (in source %v, taken at %d, passed at %d)", s.sequence, key, inSource, taken, overtaken)
		}
	}
}

// statistics count what histories consisted of.
type statistics struct {
	mu       sync.Mutex
	records  uint64
	outcomes map[string]uint64
	words    map[string]uint64
	doubts   map[string]uint64
	faults   map[string]uint64
}

func (s *statistics) count(w *world, v *verdict.Verdict, t *oracle.Truth) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcomes[string(v.Outcome)]++
	s.records += t.Total.Expected
	for _, name := range words {
		n, _ := t.Total.Get(name)
		s.words[name] += n
	}
	for _, fates := range t.Fates {
		for _, f := range fates {
			if f.By != "" {
				s.words[f.Word+" by "+f.By]++
			}
		}
	}
	for what, n := range w.faults {
		s.faults[what] += n
	}
	if v.Outcome == verdict.CannotSay {
		for _, r := range v.Reasons {
			s.doubts[doubtKind(r)]++
		}
	}
}

// doubtKind is a reason without its figures and names.
func doubtKind(reason string) string {
	for _, kind := range []string{"what is there is not known", "neither closed nor silent", "there is no ledger", "were expected", "nothing was sent", "the outcome of", "planted", "not to be trusted", "could not be identified"} {
		if strings.Contains(reason, kind) {
			return kind
		}
	}
	return "other"
}

var words = []string{
	"expected", "failed", "unsent", "lost", "undelivered", "indeterminate", "unobserved", "destination_lost", "duplicates", "replays",
	"reordered", "corrupt", "malformed", "foreign", "misplaced", "phantom",
}

func (s *statistics) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d records; outcomes", s.records)
	for _, o := range []string{"holds", "broken", "cannot say"} {
		fmt.Fprintf(&b, ", %s %d", o, s.outcomes[o])
	}
	for _, part := range []struct {
		title  string
		counts map[string]uint64
	}{{"what struck", s.faults}, {"words", s.words}, {"reasons for cannot say", s.doubts}} {
		fmt.Fprintf(&b, "\n%s", part.title)
		for _, k := range slices.Sorted(maps.Keys(part.counts)) {
			fmt.Fprintf(&b, "\n  %s: %d", k, part.counts[k])
		}
	}
	return b.String()
}

func setting(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q: want a number", name, text)
	}
	return n
}

// TestHistories plays random histories and compares every verdict, word by
// word, with the oracle's reading of the raw logs, and with what really
// happened.
//
// HISTORIES is how many, HISTORIES_SEED the first one's seed; HISTORIES=1 with
// the seed of a failure plays it again and tells what happened.
func TestHistories(t *testing.T) {
	n := setting(t, "HISTORIES", defaultHistories)
	base := setting(t, "HISTORIES_SEED", rand.Uint64N(1<<40))
	t.Logf("%d histories from seed %d", n, base)
	filler, err := message.NewFiller(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	// What is alive at a time is small.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	log := func(string, ...any) {}
	if n == 1 {
		log = t.Logf
	}
	st := &statistics{outcomes: map[string]uint64{}, words: map[string]uint64{}, doubts: map[string]uint64{}, faults: map[string]uint64{}}
	var next, failures atomic.Uint64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= n || failures.Load() >= 5 {
					return
				}
				if problems := history(base+i, filler, st, log); len(problems) > 0 {
					failures.Add(1)
					t.Errorf("seed %d:\n  %s", base+i, strings.Join(problems[:min(len(problems), 12+100*int(1/n))], "\n  "))
				}
			}
		})
	}
	wg.Wait()
	t.Log(st)
	if n >= 1000 && !t.Failed() {
		st.suffice(t, n)
	}
}

// suffice checks that the histories had something of everything, and that they
// are not mostly such that nothing can be said.
func (s *statistics) suffice(t *testing.T, n uint64) {
	t.Helper()
	want := func(counts map[string]uint64, names ...string) {
		for _, name := range names {
			if counts[name] == 0 {
				t.Errorf("%d histories had nothing of: %s", n, name)
			}
		}
	}
	want(s.outcomes, string(verdict.Holds), string(verdict.Broken), string(verdict.CannotSay))
	want(s.words, words...)
	want(s.words, "lost by replicator", "lost by retention", "lost by source cluster", "lost by unknown", "undelivered by unknown")
	want(s.faults, "source retention", "source truncated", "destination retention", "destination truncated", "destination made anew", "replicator stalled",
		"producer crashed", "producer followed growth", "consumer crashed", "consumer became a zombie", "consumer rolled back", "partition moved")
	if n := s.outcomes[string(verdict.CannotSay)]; n*4 > n+s.outcomes[string(verdict.Holds)]+s.outcomes[string(verdict.Broken)] {
		t.Errorf("nothing can be said of more than a quarter of the histories: the faults are drawn too often together")
	}
}
