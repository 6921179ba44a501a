package lab

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/oracle/oracletest"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/report"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// Two scenarios that are like those of the catalogue, and smaller. Nothing in them depends on speed.
const (
	killScenario = `name: kill-a-leader
about: A source broker dies and returns. The topic's dot is no expression's.
baseline:
  topicPattern: lab[.]test
  source: {brokers: 3, topics: [lab.test], partitions: 6, throughput: 200/s}
  destination: {brokers: 2, topics: [lab.test], partitions: 6, workers: 1, replicatorConfig: {tasks.max: 2, refresh.topics.interval.seconds: 1}}
duration: 30s
steps:
  - after: 5s
    phase: fault
    side: source
    change: {fault: {kind: broker-outage, victims: [0], duration: 10s, run: 1}}
  - after: 20s
    phase: recovered
expectations:
  - {expect: lost == 0, why: every record is on another broker}
  - {expect: "recovery[broker-outage] <= 1h", why: it recovers}
  - {expect: "latency.max[recovered] <= 1h", why: records go on}
`
	growScenario = `name: grow
about: Partitions and a topic are added.
baseline:
  source: {brokers: 1, replicationFactor: 1, minInsyncReplicas: 1, partitions: 2, throughput: 100/s}
  destination: {brokers: 1, replicationFactor: 1, partitions: 2, workers: 1, partitionGrowth: destinationFirst, replicatorConfig: {tasks.max: 2, refresh.topics.interval.seconds: 1}}
duration: 30s
steps:
  - after: 1s
    side: destination
    change: {partitions: 4, topics: [load, load-2]}
  - after: 1s
    phase: change
    side: source
    change: {partitions: 4, topics: [load, load-2]}
expectations:
  - {expect: discovery.partitions <= 1h, why: MirrorMaker 2 finds them}
  - {expect: discovery.topics <= 1h, why: and topics}
`
)

// judged is a lab whose verdict is compared with what the oracle reads in both raw logs.
type judged struct {
	*Lab
	t        *testing.T
	compared *int
}

func (j judged) Drain(ctx context.Context) (*verdict.Document, error) {
	doc, err := j.Lab.Drain(ctx)
	if err != nil {
		return nil, err
	}
	reading, end := context.WithTimeout(ctx, 3*time.Minute)
	defer end()
	truth, differences := oracletest.Compare(reading, j.t, doc, j.Source.Options(), j.Destination.Options(), verified(j.now), j.expected)
	for _, d := range differences {
		j.t.Errorf("verdict and oracle differ: %s", d)
	}
	j.t.Logf("the oracle: %+v", truth.Total)
	for _, l := range doc.Verdict.Latency {
		if l.Latency.Count > 0 && l.Source != "LogAppendTime" {
			j.t.Errorf("%s: latency to %s, want the destination's LogAppendTime", l.Phase, l.Source)
		}
	}
	*j.compared++
	return doc, nil
}

// TestRealKafkaScenarios has the runner play two scenarios on real Kafka with MirrorMaker 2.
func TestRealKafkaScenarios(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	binary := loadgen(t)
	compared := 0
	var c scenario.RunConfig
	c.SetDefaults()
	c.Output = filepath.Join(t.ArtifactDir(), "results")
	c.SteadyFor, c.SteadyWithin = 3*time.Second, 5*time.Minute
	runner, err := scenario.NewRunner(c, scenario.RunDeps{
		Logger: slog.New(slog.DiscardHandler),
		Target: func(scratch string) (scenario.Target, error) {
			cfg := defaults()
			cfg.DrainIdle, cfg.Output, cfg.LoadgenBinary = 10*time.Second, scratch, binary
			l, err := New(cfg, slog.New(slog.DiscardHandler), io.Discard)
			return judged{l, t, &compared}, err
		},
		Progress: func(p scenario.Progress) {
			if p.Message != "" {
				t.Logf("%s: %s", p.Scenario, p.Message)
			}
		},
		Report: report.HTML,
	})
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, text := range []string{killScenario, growScenario} {
		name, _, _ := strings.Cut(strings.TrimPrefix(text, "name: "), "\n")
		path := filepath.Join(t.TempDir(), name+".yaml")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, path)
	}
	results, err := runner.Run(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	if compared != 2 {
		t.Errorf("%d verdicts were compared with the oracle", compared)
	}
	for _, r := range results {
		if r.Outcome != verdict.Holds || r.Replicator != scenario.MirrorMaker2 || r.Versions["kafka"] != kafkaVersion {
			t.Errorf("%s by %s on Kafka %s: %s: %v", r.Scenario, r.Replicator, r.Versions["kafka"], r.Outcome, r.Reasons)
		}
		for _, name := range []string{"logs/mirrormaker2-0.log", "logs/config/source-broker-0.properties", "metrics/auditor.prom", "metrics/producer-0.prom"} {
			if info, err := os.Stat(filepath.Join(r.Dir, scenario.EvidenceDir, name)); err != nil || info.Size() == 0 {
				t.Errorf("%s: no evidence %s: %v", r.Scenario, name, err)
			}
		}
		if _, err := os.Stat(filepath.Join(r.Dir, "scratch")); !os.IsNotExist(err) {
			t.Errorf("%s: something is left: %v", r.Scenario, err)
		}
	}
	kill := results[0]
	kinds := []string{}
	for _, e := range kill.Steps[0].Events {
		kinds = append(kinds, e.Kind)
	}
	if !slices.Equal(kinds, []string{"broker-outage", "broker-outage-end"}) {
		t.Errorf("events %v", kinds)
	}
	if found := results[1].Discoveries; len(found) != 2 || !found[0].Complete || !found[1].Complete {
		t.Errorf("discoveries %+v", found)
	}
	waitNoLeftovers(t, temp)
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left in the temporary directory: %v", left)
	}
}
