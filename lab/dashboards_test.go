//go:build dashboards

package lab

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/dashboards"
	"github.com/AppsFlyer/kafka-mirror-tester/dashboards/live"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// TestEveryExpressionHasDataOfARealRun has a Prometheus watch a run in which a broker is killed and returns,
// asks it for every expression of every panel and rule, and draws the dashboards. It takes some minutes, so
// it has a tag of its own: make test-dashboards.
func TestEveryExpressionHasDataOfARealRun(t *testing.T) {
	output := os.Getenv("DASHBOARDS_OUTPUT") // to look at the pictures; else they go with the test
	if output == "" {
		output = t.TempDir()
	}
	var cfg Config
	cfg.SetDefaults()
	cfg.Output, cfg.Prometheus, cfg.LoadgenBinary = output, true, loadgen(t)
	l, err := New(cfg, slog.New(slog.DiscardHandler), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	var test Test
	test.SetDefaults()
	b := test.Baseline
	b.TopicPattern = PatternOf(b.Source.Topics)
	b.Source.ReplicationFactor, b.Source.MinInsyncReplicas = 3, 2
	b.Destination.ReplicationFactor, b.Destination.MinInsyncReplicas = 2, 1
	b.Source.Throughput.PerSecond = 500
	began := time.Now()
	if err := l.Start(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	// Rates over a minute need some before the fault.
	if err := l.sleep(t.Context(), time.Now().Add(90*time.Second)); err != nil {
		t.Fatal(err)
	}
	next := b
	next.Source.Fault = scenario.Fault{Kind: "broker-outage", Victims: []int{1}, Duration: scenario.Duration(45 * time.Second), Run: 1}
	if err := l.Converge(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if err := l.sleep(t.Context(), time.Now().Add(100*time.Second)); err != nil {
		t.Fatal(err)
	}
	p, err := live.Open(l.Prometheus(), l.Prometheus())
	if err != nil {
		t.Fatal(err)
	}
	period := live.Range{From: began, To: time.Now()}
	result, err := live.Check(t.Context(), p, period)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := result.Write(&text); err != nil {
		t.Fatal(err)
	}
	t.Log(text.String())
	if len(result.Problems) > 0 {
		t.Error("not every expression has data")
	}
	for _, board := range dashboards.Boards() {
		switch board.Name {
		case "brooklin", "ureplicator", "nodes":
			continue // nothing of them is here
		}
		var picture bytes.Buffer
		if err := live.Render(t.Context(), p, board, period, &picture); err != nil {
			t.Error(err)
			continue
		}
		if err := os.WriteFile(filepath.Join(output, board.Name+".png"), picture.Bytes(), 0o644); err != nil {
			t.Error(err)
		}
	}
}
