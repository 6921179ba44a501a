package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A run's results come into the document between its marks, with plots and raw results beside it;
// what was not measured stays.
func TestReport(t *testing.T) {
	from, docs := t.TempDir(), t.TempDir()
	keep := func(r *result) {
		r.Began = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(from, r.Part+".json"), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	keep(&result{Part: partProduce, Repetitions: 2, Settings: "acks=all", Versions: map[string]string{"Kafka": "3.9.2"}, Runs: []measured{
		{Contender: ours, Size: 1000, Records: 1_000_000, Seconds: 10, CPU: 1.5, PeakRSS: 80e6},
		{Contender: bare, Size: 1000, Records: 1_000_000, Seconds: 8, CPU: 1, PeakRSS: 60e6},
	}})
	keep(&result{Part: partGrowth, Runs: []measured{
		{Series: seriesPartitions, Contender: jobProduce, Partitions: 10, Size: 1000, Records: 1000, Seconds: 1, CPU: 1},
		{Series: seriesPartitions, Contender: jobProduce, Partitions: 100, Size: 1000, Records: 1000, Seconds: 1, CPU: 2},
	}})
	document := filepath.Join(docs, "performance.md")
	text := "# Title\n"
	for _, name := range partNames() {
		text += "<!-- bench:" + name + " -->\nold " + name + "\n<!-- bench:end -->\nprose\n"
	}
	if err := os.WriteFile(document, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time finds what the first one wrote
		if err := report(from, document, &strings.Builder{}); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	got := string(data)
	for _, want := range []string{
		"# Title\n", "2026-11-30 12:00", "Kafka 3.9.2", "medians of 2 repetitions", "Settings: acks=all.",
		"| 1000 B | ours | 100 | 0.80 | 1.50 | 1.50 | 0 | 80.0 |",
		"| 1000 B | franz-go (the limit) | 125 | 1.00 | 1.00 | 1.00 |",
		"| 100 | produce | 1.00 | 2000 |", "performance/growth-partitions.svg", "old consume\n", "old stacks\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	for _, no := range []string{"old produce", "old growth"} {
		if strings.Contains(got, no) {
			t.Errorf("%q is still there", no)
		}
	}
	if n := strings.Count(got, "prose"); n != len(partNames()) {
		t.Errorf("%d pieces of prose", n)
	}
	for _, name := range []string{"produce.json", "growth.json", "growth-partitions.svg"} {
		if data, err := os.ReadFile(filepath.Join(docs, "performance", name)); err != nil || len(data) == 0 {
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
		}
	}
	if err := os.WriteFile(document, []byte("nothing"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := report(from, document, &strings.Builder{}); err == nil || !strings.Contains(err.Error(), "<!-- bench:produce -->") {
		t.Errorf("a document without marks: %v", err)
	}
	if err := report(docs, document, &strings.Builder{}); err == nil {
		t.Error("a directory without results is accepted")
	}
}

func TestGoBenchmarksAreRead(t *testing.T) {
	const text = "goos: linux\ncpu: x\nBenchmarkVerify/streams=1000/loss=1%-2   \t 100\t 29.55 ns/op\t 33.84 M/s\t 3105912 heap-B\t 0 B/op\t 0 allocs/op\nPASS\n"
	got, err := parseBenchmarks("p", text)
	if err != nil || len(got) != 1 || got[0].Name != "Verify/streams=1000/loss=1%-2" || got[0].Values["M/s"] != 33.84 || got[0].Values["ns/op"] != 29.55 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := parseBenchmarks("p", "PASS\n"); err == nil {
		t.Error("no benchmark is accepted")
	}
	text2 := tables(&result{Part: partAlone, Benchmarks: append(got, benchmark{Package: "loadgen/consume", Name: "Take", Values: map[string]float64{"ns/op": 200}})})
	for _, want := range []string{"| streams=1000, loss=1%-2 | 33.8 |", "| loadgen/consume | Take | 200 |"} {
		if !strings.Contains(text2, want) {
			t.Errorf("no %q in:\n%s", want, text2)
		}
	}
}

// The search comes close to the highest rate that is held, from either side.
func TestSearch(t *testing.T) {
	for _, limit := range []float64{0.3, 3, 11, 50} {
		best := 0.0
		err := search(2, 8, func(rate float64) (bool, error) {
			if rate <= limit {
				best = max(best, rate)
			}
			return rate <= limit, nil
		})
		if err != nil || best > limit || best < limit*0.8 {
			t.Errorf("limit %v: found %v, %v", limit, best, err)
		}
	}
}

func TestVerdictsAreRead(t *testing.T) {
	got, err := readVerdict([]byte(`{"verdict":{"outcome":"broken","total":{"shed":3},"bottleneck":{"component":"replicator","evidence":"late"},` +
		`"latency":[{"phase":"all","latency":{"count":5,"p50_ms":10,"p99_ms":-1}}]}}`))
	if want := (trial{Outcome: "broken", P50: 10, P99: -1, Shed: 3, Bottleneck: "replicator", Evidence: "late"}); err != nil || got != want || got.held() {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := readVerdict([]byte(`{}`)); err == nil {
		t.Error("no verdict is accepted")
	}
}
