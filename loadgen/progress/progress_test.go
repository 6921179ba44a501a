package progress_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/progress"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

var begin = time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC)

func sample(second int) progress.Sample {
	return progress.Sample{At: begin.Add(time.Duration(second) * time.Second), Phase: "loading", RecordsIn: 100_400, RecordsOut: float64(1000 * second), BytesIn: 100.4e6, BytesOut: 64e6,
		P50: 84, P99: 2140, Pending: 1_583_000, RPOSeconds: 15.8, Sent: 3_000_000, Received: 2_999_000, Skipped: 43}
}

func TestPlainLines(t *testing.T) {
	var b bytes.Buffer
	p := progress.New(&b, progress.Config{Every: 5 * time.Second})
	for s := range 13 {
		p.Show(sample(s))
		if s == 7 {
			p.Event(verdict.Event{Time: begin.Add(7 * time.Second).UnixMicro(), Kind: "broker-kill", Side: "source", Detail: "broker 2"})
		}
	}
	p.Close()
	p.Show(sample(99)) // too late
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	starts := []string{"16:00:00  +0:00", "16:00:05  +0:05", "16:00:07  broker-kill (source): broker 2", "16:00:10  +0:10", "16:00:12  +0:12"}
	if len(lines) != len(starts) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(starts), b.String())
	}
	for i, want := range starts {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d is %q, want it to begin with %q", i, lines[i], want)
		}
	}
	for _, want := range []string{"loading", "in 100 MB/s, 100k/s", "out 64 MB/s, 5k/s", "p50 84 ms", "p99 2.14 s", "pending 1,583,000 (15.8 s)", "lost 0", "skipped 43", "duplicates 0"} {
		if !strings.Contains(lines[1], want) {
			t.Errorf("the line lacks %q: %s", want, lines[1])
		}
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Error("escapes where there is no terminal")
	}
}

func TestWhatIsNotMeasured(t *testing.T) {
	var b bytes.Buffer
	p := progress.New(&b, progress.Config{})
	p.Show(progress.Sample{At: begin, P50: math.NaN(), P99: latency.OverRange})
	if got := b.String(); !strings.Contains(got, "p50 –  p99 never") {
		t.Errorf("got %q", got)
	}
}

func TestSampleFromVerdict(t *testing.T) {
	v := &verdict.Verdict{At: begin.UnixMicro(), Total: verdict.Counts{Expected: 10, Received: 7, Lost: 1, Undelivered: 1, DestinationLost: 1, Skipped: 2, Duplicates: 3, Reordered: 4, Corrupt: 5, Malformed: 1}}
	s := progress.NewSample(v, &verdict.Point{Sent: 6, Received: 5, SentBytes: 60, ReceivedBytes: 50, Pending: 4, RPOSeconds: 1.5, P50: 2, P99: 3})
	want := progress.Sample{At: s.At, RecordsIn: 6, RecordsOut: 5, BytesIn: 60, BytesOut: 50, P50: 2, P99: 3, Pending: 4, RPOSeconds: 1.5,
		Sent: 10, Received: 7, Missing: 3, Skipped: 2, Duplicates: 3, Reordered: 4, Corrupt: 6}
	if s != want || !s.At.Equal(begin) {
		t.Errorf("got %+v, want %+v", s, want)
	}
}

// While the auditor learns nothing, as when the ocean is cut, its last figures are not shown as those of now.
func TestWhatIsOldIsSaidToBe(t *testing.T) {
	for known, want := range map[time.Duration]string{time.Hour: "cut", -90 * time.Minute: "cut, as of 1:30:"} {
		doc := verdict.Document{Verdict: verdict.Verdict{At: time.Now().Add(known).UnixMicro()}}
		s, ok := progress.FromDocument(&doc, "cut")
		if !ok || !strings.HasPrefix(s.Phase, want) || strings.HasSuffix(s.Phase, " ago") != (known < 0) {
			t.Errorf("known at %s from now: phase %q, want %q", known, s.Phase, want)
		}
	}
}

func TestEventsCannotDriveTheTerminal(t *testing.T) {
	var b bytes.Buffer
	p := progress.New(&b, progress.Config{})
	p.Event(verdict.Event{Kind: "a\x1b[2J", Side: "b\n", Detail: "c\r"})
	if got := strings.TrimSuffix(b.String(), "\n"); strings.ContainsAny(got, "\x1b\n\r") {
		t.Errorf("got %q", got)
	}
}

func TestConfig(t *testing.T) {
	c := progress.Config{Every: -time.Second}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "-1s") {
		t.Errorf("a negative interval: %v", err)
	}
	c = progress.Config{}
	c.SetDefaults()
	if err := c.Validate(); err != nil || c.Every <= 0 {
		t.Errorf("defaults: %+v, %v", c, err)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("gone") }

// Many tell the printer things at once, and nobody may be there to read.
func TestConcurrentUse(t *testing.T) {
	p := progress.New(broken{}, progress.Config{})
	log := slog.New(slog.NewTextHandler(p.Writer(), nil))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for s := range 50 {
				p.Show(sample(s))
				p.Event(verdict.Event{Kind: fmt.Sprint(i)})
				log.Info("hello")
			}
		})
	}
	wg.Wait()
	p.Close()
	p.Close()
}

// What is shown is of the last seconds that ledgers have told of, and each
// event is shown once.
func TestWatch(t *testing.T) {
	doc := verdict.Document{
		Verdict: verdict.Verdict{At: 100_500_000},
		Events:  []verdict.Event{{Time: 97_000_000, Kind: "broker-kill", Side: "source"}},
	}
	for second := int64(80); second <= 100; second++ {
		doc.Timeline = append(doc.Timeline, verdict.Point{Second: second, Sent: 1000, Received: 500, P99: float64(second)})
	}
	for i := range doc.Timeline[19:] {
		doc.Timeline[19+i].Sent = 0 // seconds 99 and 100 are not told of yet
	}
	var out bytes.Buffer
	p := progress.New(&out, progress.Config{Every: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	shown := 0
	p.Watch(ctx, func() verdict.Document { return doc }, func() string {
		if shown++; shown == 2 {
			cancel()
		}
		return "under load"
	})
	p.Close()
	for _, want := range []string{"under load", "1k/s", "500/s", "98 ms"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in:\n%s", want, out.String())
		}
	}
	if n := strings.Count(out.String(), "broker-kill"); n != 1 {
		t.Errorf("the event is shown %d times:\n%s", n, out.String())
	}
}
