package live_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/dashboards"
	"github.com/AppsFlyer/kafka-mirror-tester/dashboards/live"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/audit"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/consume"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/mirror"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/produce"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

// exporter is what a load tool serves: its own metrics, with the test, and those of every process.
func exporter(t *testing.T) (tool client.Registerer, address string) {
	t.Helper()
	registry := client.NewRegistry()
	info := client.NewGauge(client.GaugeOpts{Name: metrics.BuildInfo, ConstLabels: client.Labels{metrics.LabelVersion: "test"}})
	info.Set(1)
	registry.MustRegister(info, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	t.Cleanup(server.Close)
	return client.WrapRegistererWith(client.Labels{metrics.LabelTest: "t1"}, registry), strings.TrimPrefix(server.URL, "http://")
}

// tools runs a load through a mirror between two embedded clusters until the test ends, and returns the
// addresses of the load tools' metrics by job.
func tools(t *testing.T) map[string]string {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	cluster := func() []kgo.Opt {
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "load"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}
	}
	source, destination := cluster(), cluster()
	addresses := map[string]string{}
	registry := func(job string) client.Registerer {
		r, address := exporter(t)
		addresses[job] = address
		return r
	}

	var p produce.Config
	p.SetDefaults()
	p.TestID, p.ID, p.Topics, p.MessageSize = "t1", "producer-1", []string{"load"}, 200
	if err := p.Throughput.Set("200/s"); err != nil {
		t.Fatal(err)
	}
	producer, err := produce.New(p, produce.Deps{Options: source, Logger: log, Registerer: registry("producer")})
	if err != nil {
		t.Fatal(err)
	}
	var c consume.Config
	c.SetDefaults()
	c.TestID, c.ID, c.Topics = "t1", "consumer-1", []string{"load"}
	consumer, err := consume.New(c, consume.Deps{Options: destination, Logger: log, Registerer: registry("consumer")})
	if err != nil {
		t.Fatal(err)
	}
	var m mirror.Config
	m.SetDefaults()
	m.Topics = []string{"load"}
	copier, err := mirror.New(m, mirror.Deps{Source: source, Destination: destination, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	var a audit.Config
	a.SetDefaults()
	a.TestID, a.Topics, a.Producers = "t1", []string{"load"}, 1
	auditor, err := audit.New(t.Context(), a, audit.Deps{Source: source, Destination: destination, Logger: log, Registerer: registry("auditor")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(auditor.Close)
	auditor.AddEvent(verdict.Event{Kind: "broker-kill", Side: "source"})

	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for name, run := range map[string]func(context.Context) error{
		"producer": producer.Run, "consumer": consumer.Run, "mirror": copier.Run,
		"auditor": func(ctx context.Context) error { _, err := auditor.Run(ctx); return err },
	} {
		running.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	t.Cleanup(func() { cancel(); running.Wait() })
	return addresses
}

// TestEveryExpressionOfTheLoadToolsHasData asks a real Prometheus that reads real load tools. What brokers
// and the replicator export is asked of real Kafka by make test-dashboards.
func TestEveryExpressionOfTheLoadToolsHasData(t *testing.T) {
	rules, err := filepath.Abs("../generated/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	config := "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [" + rules + "]\nscrape_configs:\n"
	for job, address := range tools(t) {
		side := dashboards.Destination
		if job == "producer" {
			side = dashboards.Source
		}
		config += fmt.Sprintf("  - {job_name: %s, static_configs: [{targets: [%s], labels: {namespace: %s, pod: %s-0}}]}\n", job, address, side, job)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	url := serve(t, path, filepath.Join(dir, "data"))
	p, err := live.Open(url, url)
	if err != nil {
		t.Fatal(err)
	}
	// Of brokers and the replicator there are no processes here.
	ofKafka := func(f live.Finding) bool {
		return strings.Contains(f.Expr, "kafka") || strings.Contains(f.Expr, "zookeeper") || strings.Contains(f.Expr, "mirrormaker2")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for {
		now := time.Now()
		if now.Sub(begin) > 16*time.Second { // samples are asked for every 15 s
			result, err := live.Check(ctx, p, live.Range{From: begin, To: now})
			if err != nil {
				t.Fatal(err)
			}
			var missing []string
			for _, f := range result.Problems {
				if !ofKafka(f) {
					missing = append(missing, fmt.Sprintf("%s: %s: %s", f.Where, f.Expr, f.Why))
				}
			}
			if len(missing) == 0 {
				if result.WithData < 80 {
					t.Errorf("only %d expressions have data", result.WithData)
				}
				t.Logf("%d of %d expressions have data, %d are about Kafka", result.WithData, result.Expressions, len(result.Problems))
				break
			}
			if ctx.Err() != nil || now.Sub(begin) > 2*time.Minute {
				t.Fatalf("after %s these have no data:\n%s", now.Sub(begin).Round(time.Second), strings.Join(missing, "\n"))
			}
		}
		time.Sleep(500 * time.Millisecond) // until the condition above
	}
	b := board(t, "load-tools")
	if err := live.Render(t.Context(), p, b, live.Range{From: begin, To: time.Now()}, io.Discard); err != nil {
		t.Error(err)
	}
}
