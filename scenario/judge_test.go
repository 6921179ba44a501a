package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// document is the verdict of a test of 60 s with a fault at second 20 and its end at 40.
func document() *verdict.Document {
	d := &verdict.Document{Verdict: verdict.Verdict{Outcome: verdict.Holds, Final: true, At: 60e6}}
	for s := range int64(60) {
		p := verdict.Point{Second: s, Sent: 100, Received: 100, P99: 100, RPOSeconds: 1, Pending: 50}
		if s >= 20 && s < 40 {
			p.RPOSeconds, p.Pending, p.Duplicates = 12, 1200, 2
		}
		d.Timeline = append(d.Timeline, p)
	}
	v := &d.Verdict
	v.Latency = []verdict.PhaseLatency{
		{Phase: verdict.AllPhases, To: 60e6, Latency: latency.Percentiles{Count: 6000, P99: 9000}},
		{Phase: "steady", From: 0, To: 20e6, Latency: latency.Percentiles{Count: 2000, P99: 100, Max: 300}},
		{Phase: "fault", From: 20e6, To: 40e6, Latency: latency.Percentiles{Count: 2000, P99: 9000, Max: latency.OverRange}},
		{Phase: "recovered", From: 40e6, To: 60e6},
	}
	v.Recoveries = []verdict.Recovery{{Event: "broker-outage (source)", Recovered: true, Seconds: 25}, {Event: "broker-outage-end (source)", Recovered: true, Seconds: 5}, {Event: "workers (destination)"}}
	v.Topics = []verdict.Topic{{Name: "load", Partitions: []verdict.Partition{{Outages: []verdict.Outage{{From: 18e6, To: 31e6}}}}}}
	v.Findings = []verdict.Finding{{Word: "lost", Attribution: verdict.ByRetention, Count: 7}, {Word: "lost", Attribution: verdict.BySource, Count: 2}, {Word: "duplicate", Attribution: verdict.ByReplicator, Count: 9}}
	v.Expectations = []verdict.ExpectationResult{{Expectation: "lost == 0", Actual: "9", Outcome: verdict.Broken}}
	return d
}

// What runs are compared by is what expectations are judged by: what was before the steady state is the start of the target.
func TestFiguresCountFromTheSteadyState(t *testing.T) {
	d := document()
	d.Verdict.Latency[1].From = 10e6
	p := &d.Verdict.Topics[0].Partitions[0]
	p.Outages = []verdict.Outage{{From: 1e6, To: 12e6}, {From: 18e6, To: 23e6}}
	d.Timeline[3].RPOSeconds = 30
	if f := figures(d); f.OutageSeconds != 5 || f.RPOSeconds != 12 {
		t.Errorf("the longest outage is of %v s and the worst RPO of %v s, not 5 and 12", f.OutageSeconds, f.RPOSeconds)
	}
	d.Verdict.Latency = d.Verdict.Latency[:1] // the state was never steady
	if f := figures(d); f.OutageSeconds != 11 || f.RPOSeconds != 30 {
		t.Errorf("without a steady state the longest outage is of %v s and the worst RPO of %v s, not 11 and 30", f.OutageSeconds, f.RPOSeconds)
	}
}

func TestExpectationsAreJudged(t *testing.T) {
	s := &Scenario{Steps: []Step{{Phase: "fault"}, {Phase: "recovered"}}}
	for i := range s.Steps {
		s.Steps[i].Changes = []string{"source.fault", "destination.workers", "source.topics"}
		s.Steps[i].Config.Source.Fault.Kind = "broker-outage"
	}
	found := []Discovery{{What: "topics", Complete: true, Seconds: 12.5}, {What: "topics", Complete: true, Seconds: 3}}
	for text, want := range map[string]struct {
		actual  string
		outcome verdict.Outcome
	}{
		"lost == 0":                               {"9", verdict.Broken},
		"duplicates <= 5":                         {"0", verdict.Holds}, // the auditor was not asked
		"latency.p99[steady] <= 1s":               {"100ms", verdict.Holds},
		"latency.p99[fault] <= 5s":                {"9s", verdict.Broken},
		"latency.max[fault] <= 5s":                {"never", verdict.Broken},
		"latency.p99[recovered] <= 5s":            {"not measured", verdict.CannotSay},
		"latency.p99[drain] <= 5s":                {"not measured", verdict.CannotSay},
		"recovery[broker-outage] <= 30s":          {"25s", verdict.Holds},
		"recovery[broker-outage-end] <= 4s":       {"5s", verdict.Broken},
		"recovery[workers] <= 10h":                {"never", verdict.Broken},
		"recovery[topics] <= 10h":                 {"not measured", verdict.CannotSay},
		"outage[steady] <= 2s":                    {"2s", verdict.Holds},
		"outage[fault] <= 5s":                     {"11s", verdict.Broken},
		"outage[recovered] <= 0s":                 {"0s", verdict.Holds},
		"rpo <= 11s":                              {"12s", verdict.Broken},
		"rpo[steady] <= 1s":                       {"1s", verdict.Holds},
		"rpo_records[fault] <= 1200":              {"1200", verdict.Holds},
		"duplicates[fault] <= 39":                 {"40", verdict.Broken},
		"duplicates[steady] == 0":                 {"0", verdict.Holds},
		"lost[retention] <= 6":                    {"7", verdict.Broken},
		"lost[source] == 2":                       {"2", verdict.Holds},
		"lost[replicator] == 0":                   {"0", verdict.Holds},
		"undelivered[unknown] == 0":               {"0", verdict.Holds},
		"discovery.topics <= 12s":                 {"12.5s", verdict.Broken},
		"discovery.topics <= 13s":                 {"12.5s", verdict.Holds},
		"latency.p99 <= 10s":                      {"9s", verdict.Holds},
		"latency.p99[steady] >= 1s":               {"100ms", verdict.Broken},
		"  lost[retention]>=1 ":                   {"7", verdict.Holds},
		"recovery[broker-outage]<=24s":            {"25s", verdict.Broken},
		"rpo_records <= 1199":                     {"1200", verdict.Broken},
		"outage[drain] <= 1s":                     {"not measured", verdict.CannotSay},
		"rpo[drain] <= 1s":                        {"not measured", verdict.CannotSay},
		"latency.p50[recovered] >= 0s":            {"not measured", verdict.CannotSay},
		"discovery.topics >= 1s":                  {"12.5s", verdict.Holds},
		"undelivered[tester] >= 1":                {"0", verdict.Broken},
		"latency.max[steady] <= 300ms":            {"300ms", verdict.Holds},
		"recovery[broker-outage-end] == 5s":       {"5s", verdict.Holds},
		"recovery[broker-outage] >= 24s":          {"25s", verdict.Holds},
		fmt.Sprintf("lost[%s] == 0", "unknown"):   {"0", verdict.Holds},
		fmt.Sprintf("lost[%s] == 7", "retention"): {"7", verdict.Holds},
	} {
		e := Expectation{Expect: text, Why: "it is tested"}
		if err := e.parse(s); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := e.judge(document(), found, nil); got.Actual != want.actual || got.Outcome != want.outcome {
			t.Errorf("%s: found %s, %s; want %s, %s", text, got.Actual, got.Outcome, want.actual, want.outcome)
		}
		if got := e.judge(nil, nil, nil); got.Outcome != verdict.CannotSay {
			t.Errorf("%s without a verdict: %s", text, got.Outcome)
		}
	}
	// What is not final, or in doubt, is never said to hold.
	for _, change := range []func(v *verdict.Verdict){func(v *verdict.Verdict) { v.Final = false }, func(v *verdict.Verdict) { v.Outcome = verdict.CannotSay }} {
		d := document()
		change(&d.Verdict)
		for _, text := range []string{"latency.p99[steady] <= 1s", "lost[replicator] == 0", "duplicates <= 5"} {
			e := Expectation{Expect: text}
			if err := e.parse(s); err != nil {
				t.Fatal(err)
			}
			if got := e.judge(d, found, nil); got.Outcome != verdict.CannotSay {
				t.Errorf("%s: %s", text, got.Outcome)
			}
		}
	}
}

// What has not been found is broken when the limit has passed, and open before.
func TestDiscovery(t *testing.T) {
	var from, to Config
	from.SetSmallDefaults()
	to = from.clone()
	to.Source.Topics, to.Source.Partitions = []string{"load", "load-2"}, 8
	found := discoveries(3, from, to, time.Unix(100, 0))
	if len(found) != 2 || found[0].What != "topics" || found[1].What != "partitions" {
		t.Fatalf("%+v", found)
	}
	doc := func(second int64, arrived map[string][]int32) *verdict.Document {
		d := &verdict.Document{Verdict: verdict.Verdict{At: second * 1e6, Final: true, Outcome: verdict.Holds}}
		for topic, partitions := range arrived {
			t := verdict.Topic{Name: topic}
			for _, p := range partitions {
				t.Partitions = append(t.Partitions, verdict.Partition{Partition: p, Counts: verdict.Counts{Received: 1}})
			}
			d.Verdict.Topics = append(d.Verdict.Topics, t)
		}
		return d
	}
	look := func(d *verdict.Document) {
		for i := range found {
			found[i].look(d)
		}
	}
	look(doc(110, map[string][]int32{"load": {0, 1, 6}}))
	if found[0].Complete || found[1].Complete || strings.Join(found[1].Missing, " ") != "load/7" || found[0].Missing[0] != "load-2" {
		t.Errorf("after 10 s: %+v", found)
	}
	s := &Scenario{Steps: []Step{{Changes: []string{"source.topics", "source.partitions"}}}}
	for text, want := range map[string]verdict.Outcome{"discovery.partitions <= 9s": verdict.Broken, "discovery.partitions <= 11s": verdict.CannotSay, "discovery.topics <= 10s": verdict.Broken} {
		e := Expectation{Expect: text}
		if err := e.parse(s); err != nil {
			t.Fatal(err)
		}
		if got := e.judge(doc(110, nil), found, nil); got.Outcome != want || !strings.Contains(got.Actual, "not within 10s") {
			t.Errorf("%s: %+v, want %s", text, got, want)
		}
	}
	look(doc(112, map[string][]int32{"load": {6, 7}, "load-2": {0}}))
	look(doc(140, map[string][]int32{"load": {6, 7}, "load-2": {0}}))
	if !found[0].Complete || !found[1].Complete || found[1].Seconds != 12 {
		t.Errorf("in the end: %+v", found)
	}
}

func TestSteady(t *testing.T) {
	for name, test := range map[string]struct {
		change func(p []verdict.Point)
		want   string // empty: steady
	}{
		"steady":        {func([]verdict.Point) {}, ""},
		"early":         {func(p []verdict.Point) { p[2].Received = 0 }, ""},
		"halt":          {func(p []verdict.Point) { p[55].Received = 0 }, "nothing was sent, or nothing arrived, in 1 of the last 5 seconds"},
		"no load":       {func(p []verdict.Point) { zero(p[50:]) }, "nothing was sent"},
		"falls behind":  {func(p []verdict.Point) { slow(p[50:]) }, "records arrived of"},
		"backlog":       {func(p []verdict.Point) { p[58].Pending = 900 }, "the records that wait grew from 50 to 900"},
		"behind":        {func(p []verdict.Point) { p[54].RPOSeconds = 18 }, "there is a backlog: a record was due for 18.0 s"},
		"late":          {func(p []verdict.Point) { p[56].P99 = 5000 }, "the latency's 99th percentile was 5000 ms in one second and 100 ms in most"},
		"as late":       {func(p []verdict.Point) { late(p) }, ""},
		"not told yet":  {func(p []verdict.Point) { p[59].Received = 0 }, ""},
		"too few":       {func(p []verdict.Point) { copy(p, make([]verdict.Point, 56)) }, "only"},
		"small backlog": {func(p []verdict.Point) { p[58].Pending = 200 }, ""},
	} {
		d := document()
		for i := range d.Timeline {
			d.Timeline[i].RPOSeconds, d.Timeline[i].Pending = 1, 50
		}
		d.Verdict.At = 60e6
		test.change(d.Timeline)
		ok, why := steady(d, 0, 5)
		if ok != (test.want == "") || !strings.Contains(why, test.want) {
			t.Errorf("%s: %v, %q; want %q", name, ok, why, test.want)
		}
	}
	if ok, _ := steady(document(), 56, 5); ok {
		t.Error("steady from before it was asked for")
	}
}

func zero(p []verdict.Point) {
	for i := range p {
		p[i].Sent = 0
	}
}

func slow(p []verdict.Point) {
	for i := range p {
		p[i].Received = 80
	}
}

func late(p []verdict.Point) {
	for i := range p {
		p[i].P99 = 8000
	}
}

func TestSecretsAreRemovedFromEvidence(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "logs", "worker.properties")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	text := `bootstrap.servers=10.0.0.1:9092
ssl.keystore.password=hunter2
  sasl.jaas.config = org.apache.kafka.common.security.plain.PlainLoginModule required username="u" password="hunter2";
listener.name.external.ssl.key.password: hunter2
-----BEGIN PRIVATE KEY-----
aHVudGVyMg==
-----END PRIVATE KEY-----
tasks.max=8
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := redact(dir); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(got); strings.Contains(s, "hunter2") || strings.Contains(s, "aHVudGVyMg") || strings.Count(s, Removed) != 4 ||
		!strings.HasPrefix(s, "bootstrap.servers=10.0.0.1:9092\n") || !strings.HasSuffix(s, "\ntasks.max=8\n") {
		t.Errorf("left:\n%s", s)
	}
}

// What the scenario says of a check counts; of the others those that the probe counts must hold.
func TestProbesAreJudged(t *testing.T) {
	s := &Scenario{Probe: "fidelity", Expectations: []Expectation{{Expect: "probe[headers] >= 0", Why: "known"}, {Expect: "probe[order] == 0", Why: "all"}, {Expect: "lost <= 9", Why: "other"}}}
	for i := range s.Expectations {
		if err := s.Expectations[i].parse(s); err != nil {
			t.Fatal(err)
		}
	}
	checks := func() []ProbeCheck {
		return []ProbeCheck{
			{Name: "headers", Counts: true, Outcome: verdict.Broken, Compared: 10, Wrong: 3}, {Name: "order", Counts: true, Outcome: verdict.Holds, Compared: 10},
			{Name: "keys", About: "keys are the same", Counts: true, Outcome: verdict.Holds, Compared: 10}, {Name: "once", Outcome: verdict.Broken, Compared: 10, Wrong: 1},
		}
	}
	for name, test := range map[string]struct {
		change func(p *ProbeResult)
		want   verdict.Outcome
		reason string
	}{
		"holds":       {func(*ProbeResult) {}, verdict.Holds, ""},
		"said":        {func(p *ProbeResult) { p.Checks[1].Wrong = 1 }, verdict.Broken, "expected probe[order] == 0, found 1 of 10"},
		"not said":    {func(p *ProbeResult) { p.Checks[2].Wrong = 2 }, verdict.Broken, "expected probe[keys] == 0, found 2 of 10"},
		"cannot say":  {func(p *ProbeResult) { p.Checks[2].Outcome, p.Checks[2].Detail = verdict.CannotSay, "nothing came" }, verdict.CannotSay, "nothing came"},
		"not there":   {func(p *ProbeResult) { p.Checks = p.Checks[:1] }, verdict.CannotSay, "expected probe[order] == 0, found not measured"},
		"not made":    {func(p *ProbeResult) { *p = ProbeResult{Name: "fidelity", Error: "no permission"} }, verdict.CannotSay, "could not be made: no permission"},
		"only a note": {func(p *ProbeResult) { p.Checks[3].Wrong = 5 }, verdict.Holds, ""},
	} {
		r := &Result{Probe: &ProbeResult{Name: "fidelity", Checks: checks()}}
		test.change(r.Probe)
		d := document()
		d.Verdict.Expectations = nil
		r.conclude(s, d)
		if reasons := strings.Join(r.Reasons, "; "); r.Outcome != test.want || !strings.Contains(reasons, test.reason) {
			t.Errorf("%s: %s (%s), want %s, %s", name, r.Outcome, reasons, test.want, test.reason)
		}
	}
}

// A fault may end when the next step has been played already.
func TestEventsGoToTheirSteps(t *testing.T) {
	r := &Result{Steps: []StepResult{{Asked: 10}, {Asked: 20}, {Asked: 30}}}
	r.assign([]verdict.Event{
		{Time: 5, Kind: "other"}, {Time: 11, Kind: "broker-outage", Side: "source"}, {Time: 20, Kind: verdict.PhaseEvent, Detail: "x"}, {Time: 21, Kind: "workers", Side: "destination"},
		{Time: 22, Kind: "broker-outage-end", Side: "destination"}, {Time: 35, Kind: "broker-outage-end", Side: "source"},
	})
	var got []string
	for _, s := range r.Steps {
		for _, e := range s.Events {
			got = append(got, fmt.Sprintf("%d:%s", s.Asked, e.Kind))
		}
	}
	if s := strings.Join(got, " "); s != "10:broker-outage 10:broker-outage-end 20:workers" {
		t.Error(s)
	}
}
