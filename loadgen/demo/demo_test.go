package demo

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/mirror"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/progress"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// short is a demonstration for tests.
func short() Config {
	var c Config
	c.SetDefaults()
	c.Duration = 4 * time.Second
	c.Throughput = units.Rate{Kind: units.Records, PerSecond: 500}
	c.MessageSize = 200
	return c
}

func expectation(t *testing.T, text string) verdict.Expectation {
	t.Helper()
	e, err := verdict.ParseExpectation(text)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEachMirrorFaultIsCaught(t *testing.T) {
	t.Parallel()
	type counts = verdict.Counts
	tests := []struct {
		fault, expect string
		want          verdict.Outcome
		broken        string // the quantity that must break the verdict
		seen          func(c *counts) uint64
	}{
		{fault: "", want: verdict.Holds, seen: func(c *counts) uint64 { return c.Received }},
		{fault: mirror.Drop, want: verdict.Broken, broken: "lost", seen: func(c *counts) uint64 { return c.Lost }},
		{fault: mirror.Reorder, want: verdict.Broken, broken: "reordered", seen: func(c *counts) uint64 { return c.Reordered }},
		{fault: mirror.Corrupt, want: verdict.Broken, broken: "corrupt", seen: func(c *counts) uint64 { return c.Corrupt }},
		{fault: mirror.Stall, want: verdict.Broken, broken: "undelivered", seen: func(c *counts) uint64 { return c.Undelivered }},
		{fault: mirror.Misplace, want: verdict.Broken, broken: "misplaced", seen: func(c *counts) uint64 { return c.Misplaced }},
		{fault: mirror.Duplicate, want: verdict.Holds, seen: func(c *counts) uint64 { return c.Duplicates }},
		{fault: mirror.Duplicate, expect: "duplicates <= 0", want: verdict.Broken, broken: "duplicates", seen: func(c *counts) uint64 { return c.Duplicates }},
		{fault: mirror.Replay, want: verdict.Holds, seen: func(c *counts) uint64 { return c.Replays }},
		{fault: mirror.Replay, expect: "longest_replay <= 5", want: verdict.Broken, broken: "longest_replay", seen: func(c *counts) uint64 { return c.Replays }},
		{fault: mirror.Delay, want: verdict.Holds, seen: func(c *counts) uint64 { return c.Received }},
		{fault: mirror.Delay, expect: "latency.max <= 100ms", want: verdict.Broken, broken: "latency.max", seen: func(c *counts) uint64 { return c.Received }},
	}
	// Mostly they wait, so more than there are processors go on at once.
	var all sync.WaitGroup
	turns := make(chan struct{}, 6)
	for _, test := range tests {
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			t.Run(fmt.Sprintf("%q %s", test.fault, test.expect), func(t *testing.T) {
				c := short()
				c.MirrorFault = test.fault
				if test.expect != "" {
					c.Expectations = append(c.Expectations, expectation(t, test.expect))
				}
				doc, err := Run(context.Background(), c, Deps{Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				v := &doc.Verdict
				if v.Outcome != test.want {
					t.Errorf("the outcome is %q (%v), want %q", v.Outcome, v.Reasons, test.want)
				}
				if test.seen(&v.Total) == 0 {
					t.Errorf("the verdict does not show it: %+v", v.Total)
				}
				if v.Total.Expected < uint64(500*4*9/10) {
					t.Errorf("only %d records were sent", v.Total.Expected)
				}
				for _, e := range v.Expectations {
					quantity, _, _ := strings.Cut(e.Expectation, " ")
					// What is corrupt did not arrive.
					if broken := e.Outcome == verdict.Broken; broken != (quantity == test.broken) && !(test.fault == mirror.Corrupt && quantity == "lost") {
						t.Errorf("%s: %s, found %s", e.Expectation, e.Outcome, e.Actual)
					}
				}
				var kinds []string
				for _, e := range doc.Events {
					kinds = append(kinds, e.Kind+" "+e.Side)
				}
				if !slices.Equal(kinds, []string{"broker-kill source", "broker-return source"}) {
					t.Errorf("the events are %v", kinds)
				}
				if len(v.Recoveries) == 0 || len(doc.Timeline) < 3 || len(v.Producers) != producers {
					t.Errorf("%d recoveries, %d seconds, %d producers: the report would be empty", len(v.Recoveries), len(doc.Timeline), len(v.Producers))
				}
			})
		})
	}
	all.Wait()
}

func TestBrokerFailureIsFelt(t *testing.T) {
	t.Parallel()
	c := short()
	c.Duration = 9 * time.Second // so that nobody leads the partitions for 0.6 s
	doc, err := Run(context.Background(), c, Deps{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := c.script()
	for _, l := range doc.Verdict.Latency {
		if l.Phase == verdict.AllPhases {
			if least := float64((s.elect - s.kill).Milliseconds()); l.Latency.Max < least {
				t.Errorf("the largest latency is %v ms; who was sent when nobody led its partition waited %v ms", l.Latency.Max, least)
			}
			return
		}
	}
	t.Error("no latency over all phases")
}

func TestInterruptedDemonstrationHasAVerdict(t *testing.T) {
	t.Parallel()
	c := short()
	c.Duration = time.Minute
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var out lines
	shown := progress.New(&out, progress.Config{Every: time.Millisecond})
	go func() {
		for !strings.Contains(out.String(), "baseline") {
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
	}()
	doc, err := Run(ctx, c, Deps{Logger: slog.New(slog.NewTextHandler(shown.Writer(), nil)), Progress: shown})
	if err != nil {
		t.Fatal(err)
	}
	if doc.Verdict.Outcome != verdict.CannotSay || doc.Verdict.Total.Expected == 0 || !strings.Contains(strings.Join(doc.Verdict.Reasons, " "), "stopped early") {
		t.Errorf("the outcome is %q (%v) with %d records, want to be told that it was stopped early", doc.Verdict.Outcome, doc.Verdict.Reasons, doc.Verdict.Total.Expected)
	}
	if !strings.Contains(out.String(), "Two embedded clusters") {
		t.Errorf("it does not say what happens:\n%s", out.String())
	}
}

func TestConfigMistakes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		change func(c *Config)
		want   string // empty: no mistake
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.Partitions = 0 }, "0 partitions"},
		{func(c *Config) { c.Duration = time.Second }, "duration 1s is too short"},
		{func(c *Config) { c.MirrorFault = "explode" }, `mirror fault "explode" is unknown: use one of corrupt, delay, drop`},
		{func(c *Config) { c.MirrorFault, c.Partitions = mirror.Misplace, 1 }, "needs more than 1 partition"},
		{func(c *Config) { c.Throughput = units.Rate{Kind: units.Unlimited} }, "throughput max"},
		{func(c *Config) { c.Throughput.PerSecond = 0 }, "not a load"},
		{func(c *Config) { c.Throughput.PerSecond = 1e6 }, "of memory"},
		{func(c *Config) { c.MessageSize = 10 }, "too small"},
	} {
		c := short()
		test.change(&c)
		err := c.Validate()
		switch {
		case test.want == "" && err != nil:
			t.Errorf("the default is refused: %v", err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("the error is %v, want one with %q", err, test.want)
		}
	}
}

// lines is a buffer that can be read while it is written to.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
