package dashboards_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/AppsFlyer/kafka-mirror-tester/dashboards"
)

// promtool runs Prometheus' own check, which is part of Debian's package prometheus (make setup).
func promtool(t *testing.T, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Fatalf("%v: it is in Debian's package prometheus: run make setup", err)
	}
	out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPrometheusAcceptsTheRules(t *testing.T) {
	promtool(t, "check", "rules", "--lint-fatal", "generated/rules.yml")
}

// Panels are checked by the same parser as rules.
func TestPrometheusAcceptsThePanels(t *testing.T) {
	var rules []map[string]string
	for _, b := range dashboards.Boards() {
		for _, p := range b.Panels() {
			for _, q := range p.Queries {
				rules = append(rules, map[string]string{"record": fmt.Sprintf("panel:n%d:q", len(rules)), "expr": b.Interpolate(q.Expr, "1m", nil)})
			}
		}
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "panels", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "panels.yml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", path)
}

func TestAlertsSayWhatToDo(t *testing.T) {
	for _, g := range dashboards.Rules(dashboards.Retention) {
		for _, r := range g.Rules {
			if r.Record != "" {
				if strings.Count(r.Record, ":") != 2 {
					t.Errorf("%s: recorded names are level:metric:operation", r.Record)
				}
				continue
			}
			if s := r.Labels["severity"]; s != "critical" && s != "warning" {
				t.Errorf("%s: severity %q", r.Alert, s)
			}
			for _, key := range []string{dashboards.Summary, dashboards.Description, dashboards.Action} {
				if len(r.Annotations[key]) < 20 {
					t.Errorf("%s: its %s is %q", r.Alert, key, r.Annotations[key])
				}
			}
		}
	}
}

func TestTheSpecIsTheRuleFile(t *testing.T) {
	spec, err := dashboards.RuleSpec(dashboards.Retention)
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "spec.yml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", path)
	var fromSpec, fromFile struct{ Groups []dashboards.Group }
	file, err := os.ReadFile("generated/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &fromSpec); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(file, &fromFile); err != nil {
		t.Fatal(err)
	}
	if len(fromSpec.Groups) != len(fromFile.Groups) || len(fromSpec.Groups) == 0 {
		t.Fatalf("%d and %d groups", len(fromSpec.Groups), len(fromFile.Groups))
	}
	for i, g := range fromSpec.Groups {
		if !slices.EqualFunc(g.Rules, fromFile.Groups[i].Rules, func(a, b dashboards.Rule) bool { return a.Expr == b.Expr && a.Alert == b.Alert && a.For == b.For }) {
			t.Errorf("group %s differs", g.Name)
		}
	}
}

// series are what Prometheus has: name{labels} and values every 15 s in promtool's notation.
type series map[string]string

// history is a case of an alert: whether it fires at a time, after series have been as they are.
type history struct {
	what   string
	input  series
	at     string
	firing bool
}

const of = `{namespace="destination",test="t",topic="load"}`

// counter grows by n every 15 s, for an hour.
func counter(n string) string { return "0+" + n + "x240" }

// alertCases are histories in which each alert fires, and ones in which it must not.
var alertCases = map[string][]history{
	"KmtRecordsLost": {
		{"one is lost", series{"kmt_auditor_lost_records" + of: "0x4 1x20", "kmt_auditor_destination_lost_records" + of: "0x30"}, "2m", true},
		{"one is gone from the destination", series{"kmt_auditor_lost_records" + of: "0x30", "kmt_auditor_destination_lost_records" + of: "0x4 1x20"}, "2m", true},
		{"none", series{"kmt_auditor_lost_records" + of: "0x30", "kmt_auditor_destination_lost_records" + of: "0x30"}, "5m", false},
	},
	"KmtRecordsSkipped": {
		{"they stay away", series{"kmt_auditor_skipped_records" + of: "0x4 7x20"}, "3m", true},
		{"they come", series{"kmt_auditor_skipped_records" + of: "0x4 7x2 0x20"}, "3m", false},
	},
	"KmtRecordsWrong": {
		{"misplaced", series{"kmt_auditor_reordered_records" + of: "0x20", "kmt_auditor_corrupt_records" + of: "0x20", "kmt_auditor_misplaced_records" + of: "0x4 2x16", "kmt_auditor_phantom_records" + of: "0x20"}, "2m", true},
		{"all well", series{"kmt_auditor_reordered_records" + of: "0x20", "kmt_auditor_corrupt_records" + of: "0x20", "kmt_auditor_misplaced_records" + of: "0x20", "kmt_auditor_phantom_records" + of: "0x20"}, "2m", false},
	},
	"KmtLatencyHigh": {
		{"a tenth is later than a minute, in one of two consumers", latencies(counter("1"), counter("20")), "10m", true},
		{"nothing is later than 30 s", latencies(counter("20"), counter("20")), "10m", false},
		{"late ones once, long ago", latencies("0x4 0+20x200", "0+20x4 80+20x200"), "20m", false},
		{"nothing arrives", latencies("0x240", "0x240"), "10m", false},
	},
	"KmtPartitionStalled": {
		{"one of two grows older", series{rpo("0"): "0x4 0+15x20", rpo("1"): "2x30"}, "4m", true},
		{"late, and on the move", series{rpo("0"): "40x30", rpo("1"): "2x30"}, "4m", false},
		{"older, and still young", series{rpo("0"): "0x4 0+15x2 1x20"}, "4m", false},
	},
	"KmtThroughputNotHeld": {
		{"a tenth is missing", series{"kmt_producer_target_records_rate" + of: "1000x240", "kmt_producer_records_total" + of: counter("13500")}, "10m", true},
		{"held", series{"kmt_producer_target_records_rate" + of: "1000x240", "kmt_producer_records_total" + of: counter("15000")}, "10m", false},
		{"as fast as possible", series{"kmt_producer_target_records_rate" + of: "0x240", "kmt_producer_records_total" + of: counter("100")}, "10m", false},
		{"a hiccup of half a minute", series{"kmt_producer_target_records_rate" + of: "1000x240", "kmt_producer_records_total" + of: "0+15000x20 300000x1 315000+15000x60"}, "7m", false},
	},
	"KmtReplicatorFallsBehind": {
		{"a tenth stays behind", series{"kmt_auditor_pending_records" + of: "0+1500x60", "kmt_consumer_first_total" + of: counter("13500")}, "12m", true},
		{"it keeps up", series{"kmt_auditor_pending_records" + of: "500x60", "kmt_consumer_first_total" + of: counter("15000")}, "12m", false},
		{"it catches up", series{"kmt_auditor_pending_records" + of: "90000-1500x60", "kmt_consumer_first_total" + of: counter("16500")}, "12m", false},
	},
	"KmtReplicatorLag": {
		{"more than a minute", series{rpo("0"): "3x30", rpo("1"): "90x30"}, "3m", true},
		{"some seconds", series{rpo("0"): "3x30", rpo("1"): "9x30"}, "3m", false},
	},
	"KmtClockErrorTooLarge": {
		{"behind", series{`kmt_auditor_clock_offset_seconds{namespace="destination",test="t"}`: "-0.4x30", `kmt_auditor_clock_bound_seconds{namespace="destination",test="t"}`: "0.01x30"}, "4m", true},
		{"a wide bound", series{`kmt_auditor_clock_offset_seconds{namespace="destination",test="t"}`: "0x30", `kmt_auditor_clock_bound_seconds{namespace="destination",test="t"}`: "0.5x30"}, "4m", true},
		{"exact", series{`kmt_auditor_clock_offset_seconds{namespace="destination",test="t"}`: "-0.01x30", `kmt_auditor_clock_bound_seconds{namespace="destination",test="t"}`: "0.05x30"}, "4m", false},
	},
	"KmtLedgerOld": {
		{"a minute", series{`kmt_ledger_age_seconds{namespace="destination",test="t",job="consumer"}`: "60x10"}, "2m", true},
		{"a second", series{`kmt_ledger_age_seconds{namespace="destination",test="t",job="consumer"}`: "1x10"}, "2m", false},
	},
	"KafkaBrokerDown": {
		{"one of three does not answer", series{up("kafka", "a"): "1x40", up("kafka", "b"): "1x40", up("kafka", "c"): "1x10 0x30"}, "5m", true},
		{"the pod of one is gone", series{up("kafka", "a"): "1x40", up("kafka", "b"): "1x40", up("kafka", "c"): "1x10 _x30"}, "10m", true},
		{"one answers, and its controller misses it", series{up("kafka", "a"): "1x40", up("kafka", "b"): "1x40", `kafka_controller_activebrokercount{namespace="source",pod="a"}`: "2x10 1x30", `kafka_controller_activebrokercount{namespace="source",pod="b"}`: "0x40"}, "5m", true},
		{"all are there", series{up("kafka", "a"): "1x40", up("kafka", "b"): "1x40", `kafka_controller_activebrokercount{namespace="source",pod="a"}`: "2x40", `kafka_controller_activebrokercount{namespace="source",pod="b"}`: "0x40"}, "5m", false},
		{"one more than before", series{up("kafka", "a"): "1x40", up("kafka", "b"): "_x10 1x30"}, "5m", false},
	},
	"KafkaUnderReplicated": {
		{"for minutes", series{`kafka_server_replicamanager_underreplicatedpartitions{namespace="source",pod="a"}`: "0x4 3x20"}, "4m", true},
		{"for a moment", series{`kafka_server_replicamanager_underreplicatedpartitions{namespace="source",pod="a"}`: "0x4 3x1 0x20"}, "4m", false},
	},
	"KafkaPartitionsOffline": {
		{"one", series{`kafka_controller_offlinepartitionscount{namespace="source",pod="a"}`: "0x4 1x20"}, "4m", true},
		{"none", series{`kafka_controller_offlinepartitionscount{namespace="source",pod="a"}`: "0x24"}, "4m", false},
	},
	"KafkaDiskFillsBeforeRetention": {
		{"full in two minutes", series{disk: "300e9-12e8x249"}, "60m", true},
		{"full in an hour, and records are deleted after five minutes", series{disk: "300e9-1e9x60"}, "14m", false},
		{"level", series{disk: "20e9x280"}, "50m", false},
	},
	"ReplicatorProducerErrors": {
		{"three", series{`kafka_producer_record_error_total{namespace="destination",job="brooklin",pod="a",client="x"}`: "0x10 5x10"}, "4m", true},
		{"MirrorMaker 2's offset syncs, as recorded when a source broker died", series{`kafka_producer_record_error_total{namespace="destination",job="mirrormaker2",pod="a",client="source->destination|MirrorSourceConnector-2|offset-syncs-source-producer"}`: "0x10 21x10"}, "4m", false},
		{"of another program", series{`kafka_producer_record_error_total{namespace="destination",job="other",pod="a",client="x"}`: "0x10 5x10"}, "4m", false},
		{"none", series{`kafka_producer_record_error_total{namespace="destination",job="brooklin",pod="a",client="x"}`: "0x20"}, "4m", false},
	},
	"ExporterDown": {
		{"a consumer's", series{up("consumer", "a"): "1x4 0x20"}, "4m", true},
		{"none of ours", series{up("node-exporter", "a"): "0x24"}, "4m", false},
		{"for a moment", series{up("consumer", "a"): "1x4 0x1 1x20"}, "4m", false},
	},
}

const disk = `node_filesystem_avail_bytes{namespace="monitoring",instance="n1",mountpoint="/",fstype="ext4"}`

func up(job, pod string) string {
	return `up{namespace="source",job="` + job + `",pod="` + pod + `",instance="` + pod + `"}`
}

func rpo(partition string) string {
	return `kmt_auditor_rpo_seconds{namespace="destination",test="t",topic="load",partition="` + partition + `"}`
}

// latencies are histograms of two consumers: how many arrived within 30 s, and at all, of the first.
func latencies(timely, all string) series {
	s := series{}
	for pod, counts := range map[string][2]string{"a": {timely, all}, "b": {"0x240", "0x240"}} {
		labels := `{namespace="destination",test="t",topic="load",pod="` + pod + `",le="`
		s["kmt_consumer_latency_seconds_bucket"+labels+`1"}`] = counts[0]
		s["kmt_consumer_latency_seconds_bucket"+labels+`30"}`] = counts[0]
		s["kmt_consumer_latency_seconds_bucket"+labels+`60"}`] = counts[1]
		s["kmt_consumer_latency_seconds_bucket"+labels+`+Inf"}`] = counts[1]
	}
	return s
}

var labelOf = regexp.MustCompile(`\$labels\.(\w+)`)

// labelsOf are the labels that an alert must have.
func labelsOf(r dashboards.Rule) []string {
	labels := map[string]bool{"namespace": r.Alert != "KafkaDiskFillsBeforeRetention"}
	for _, text := range r.Annotations {
		for _, m := range labelOf.FindAllStringSubmatch(text, -1) {
			labels[m[1]] = true
		}
	}
	maps.DeleteFunc(labels, func(_ string, needed bool) bool { return !needed })
	return slices.Sorted(maps.Keys(labels))
}

func TestEveryAlertFiresWhenItShouldAndOnlyThen(t *testing.T) {
	rules, err := filepath.Abs("generated/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	type sample struct {
		Labels string `yaml:"labels"`
		Value  int    `yaml:"value"`
	}
	type expectation struct {
		Expr    string   `yaml:"expr"`
		At      string   `yaml:"eval_time"`
		Samples []sample `yaml:"exp_samples"`
	}
	type input struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	}
	type test struct {
		Name     string        `yaml:"name"`
		Interval string        `yaml:"interval"`
		Input    []input       `yaml:"input_series"`
		Expected []expectation `yaml:"promql_expr_test"`
	}
	file := struct {
		Rules    []string `yaml:"rule_files"`
		Interval string   `yaml:"evaluation_interval"`
		Tests    []test   `yaml:"tests"`
	}{[]string{rules}, "15s", nil}
	for _, g := range dashboards.Rules(dashboards.Retention) {
		for _, r := range g.Rules {
			if r.Alert == "" {
				continue
			}
			cases := alertCases[r.Alert]
			for _, firing := range []bool{true, false} {
				if !slices.ContainsFunc(cases, func(h history) bool { return h.firing == firing }) {
					t.Errorf("%s: no history with firing = %v", r.Alert, firing)
				}
			}
			for _, h := range cases {
				// By kind of alert: whether it fires is the question here, and that it has every label that
				// its annotations name, and the namespace by which dashboards know the side.
				selector := `alertname="` + r.Alert + `",alertstate="firing"`
				for _, label := range labelsOf(r) {
					selector += "," + label + `!=""`
				}
				want := expectation{Expr: `group by (alertname) (ALERTS{` + selector + `})`, At: h.at}
				if h.firing {
					want.Samples = []sample{{`{alertname="` + r.Alert + `"}`, 1}}
				}
				one := test{Name: r.Alert + ": " + h.what, Interval: "15s", Expected: []expectation{want}}
				for name, values := range h.input {
					one.Input = append(one.Input, input{name, values})
				}
				file.Tests = append(file.Tests, one)
			}
		}
	}
	text, err := yaml.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "alerts.yml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "test", "rules", path)
}
