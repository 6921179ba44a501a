//go:build dashboards

package lab

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"

	"github.com/AppsFlyer/kafka-mirror-tester/dashboards"
	"github.com/AppsFlyer/kafka-mirror-tester/dashboards/live"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// soon is how long any of this may take on a machine that has other things to do.
const soon = 10 * time.Minute

// TestEveryExpressionHasDataOfARealRun has a Prometheus watch a run, in which a broker is killed and returns,
// until every expression of every panel and rule has data. Alerts must fire while the broker is away, those
// that say so, and no longer when it is back. Then it draws the dashboards: before the fault, and all of it.
// It takes some minutes, so it has a tag of its own: make test-dashboards.
func TestEveryExpressionHasDataOfARealRun(t *testing.T) {
	output := os.Getenv("DASHBOARDS_OUTPUT") // to look at the pictures; else they go with the test
	if output == "" {
		output = t.TempDir()
	}
	var cfg Config
	cfg.SetDefaults()
	cfg.StartTimeout = soon
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
	p, err := live.Open(l.Prometheus(), l.Prometheus())
	if err != nil {
		t.Fatal(err)
	}
	// until waits for a condition, which names what is missing. Prometheus learns something each 15 s.
	until := func(what string, missing func() string) {
		t.Helper()
		for deadline := time.Now().Add(soon); ; {
			still := missing()
			if still == "" {
				t.Logf("%s: %s after the start", what, time.Since(began).Round(time.Second))
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: after %s still\n%s", what, soon, still)
			}
			if err := l.sleep(t.Context(), time.Now().Add(15*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var result *live.Result
	summary := func() string {
		var text bytes.Buffer
		if result, err = live.Check(t.Context(), p, live.Range{From: began, To: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if err := result.Write(&text); err != nil {
			t.Fatal(err)
		}
		return text.String()
	}
	everything := func() string {
		if text := summary(); len(result.Problems) > 0 {
			return text
		}
		return ""
	}
	until("every expression has data", everything)
	t.Log(summary())
	calm := time.Now()
	if firing := firingAlerts(t, l.Prometheus()); len(firing) > 0 {
		t.Logf("alerts before anything is broken: %v", firing) // on a busy machine the load may be late
	}

	next := b
	next.Source.Fault = scenario.Fault{Kind: "broker-outage", Victims: []int{1}, Duration: scenario.Duration(3 * soon), Run: 1}
	if err := l.Converge(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	of := []string{"KafkaBrokerDown of source", "KafkaUnderReplicated of source", "ExporterDown of source"}
	until("alerts fire", func() string {
		var silent []string
		firing := firingAlerts(t, l.Prometheus())
		for _, a := range of {
			if !firing[a] {
				silent = append(silent, a+" does not fire")
			}
		}
		return strings.Join(silent, ", ")
	})
	if err := l.healSide(t.Context(), Source); err != nil {
		t.Fatal(err)
	}
	until("alerts are over", func() string {
		var loud []string
		firing := firingAlerts(t, l.Prometheus())
		for _, a := range of {
			if firing[a] {
				loud = append(loud, a+" fires")
			}
		}
		return strings.Join(loud, ", ")
	})
	for a := range firingAlerts(t, l.Prometheus()) {
		if strings.HasPrefix(a, "KmtRecordsLost") || strings.HasPrefix(a, "KmtRecordsWrong") {
			t.Errorf("%s fires, and nothing is lost when one of three brokers is away", a)
		}
	}
	until("every expression still has data", everything)
	t.Log(summary())

	end := time.Now()
	for _, board := range dashboards.Boards() {
		switch board.Name {
		case "brooklin", "ureplicator", "nodes":
			continue // nothing of them is here
		}
		for name, period := range map[string]live.Range{board.Name: {From: began, To: end}, board.Name + "-before": {From: began, To: calm}} {
			var picture bytes.Buffer
			if err := live.Render(t.Context(), p, board, period, &picture); err != nil {
				t.Error(err)
				continue
			}
			if err := os.WriteFile(filepath.Join(output, name+".png"), picture.Bytes(), 0o644); err != nil {
				t.Error(err)
			}
		}
	}
}

// firingAlerts are those that fire now, by name and namespace.
func firingAlerts(t *testing.T, url string) map[string]bool {
	t.Helper()
	client, err := api.NewClient(api.Config{Address: url})
	if err != nil {
		t.Fatal(err)
	}
	all, err := prometheus.NewAPI(client).Alerts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, a := range all.Alerts {
		if a.State == prometheus.AlertStateFiring {
			out[fmt.Sprintf("%s of %s", a.Labels["alertname"], a.Labels["namespace"])] = true
		}
	}
	return out
}
