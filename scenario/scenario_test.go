package scenario_test

import (
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human/mistakestest"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

func TestCatalogueIsValid(t *testing.T) {
	names, err := scenario.Names()
	if err != nil || len(names) < 20 {
		t.Fatalf("%d scenarios, %v", len(names), err)
	}
	for _, name := range names {
		s, err := scenario.Load(name, nil)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, c := range s.Configs() {
			if err := c.Validate(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	// Every row of the talk's table.
	for _, name := range strings.Fields(`long-haul kill-source-broker kill-destination-broker shrink-source shrink-destination add-worker remove-worker
		under-capacity add-topic add-partitions-wrong-order add-partitions-right-order add-partitions-cure controllers-add controllers-remove
		controllers-lose-all packet-loss-brokers packet-loss-workers`) {
		if s, err := scenario.Load(name, nil); err != nil || s.Reported == "" {
			t.Errorf("%s: %v; want it, with what the talk reported", name, err)
		}
	}
}

// What a scenario sends is what each of its steps asks for, and the wait before them.
func TestWhatAScenarioSends(t *testing.T) {
	text := strings.NewReplacer("{partitions: 12, kafkaConfig: {num.io.threads: 2}}", "{throughput: 2k/s, producers: 2, messageSize: 500B}",
		"workers: 3", "workers: 3\n  - at: 40s\n    side: source\n    change: {throughput: 6MB/s, topics: [load, load-2]}\n    phase: more").Replace(good)
	s, err := scenario.Parse("good", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	// 2 MB/s for a minute before and 40 s, and for the wait of the last step 24 MB/s, as for the 20 s.
	if got, want := s.Sends(time.Minute), 2e6*100+24e6*80; got != want {
		t.Errorf("%.0f bytes, want %.0f", got, want)
	}
}

const good = `name: good
about: A broker is killed.
baseline:
  source: {partitions: 12, kafkaConfig: {num.io.threads: 2}}
duration: 60s
steps:
  - after: 10s
    phase: fault
    side: source
    change: {fault: {kind: broker-outage, victims: [1], duration: 10s, run: 1}}
  - at: 30s
    side: destination
    change:
      workers: 3
  - when: steady
    phase: recovered
expectations:
  - expect: lost == 0
    why: of course
  - {expect: "latency.p99[recovered] <= 2s", why: of course}
`

func TestParse(t *testing.T) {
	s, err := scenario.Parse("good", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if s.Baseline.Source.Partitions != 12 || s.Baseline.Source.Brokers != 3 || s.Baseline.Source.KafkaConfig["num.io.threads"] != "2" {
		t.Errorf("baseline %+v", s.Baseline.Source)
	}
	if f := s.Steps[0].Config.Source.Fault; f.Kind != "broker-outage" || f.Victims[0] != 1 || s.Baseline.Source.Fault.Kind != "" {
		t.Errorf("step 1 makes %+v", f)
	}
	if c := s.Steps[2].Config; c.Destination.Workers != 3 || c.Source.Fault.Kind == "" {
		t.Errorf("steps do not build on each other: %+v", c)
	}
	if got := strings.Join(s.Phases(), " "); got != "steady fault recovered drain" {
		t.Errorf("phases %s", got)
	}
	if len(s.Configs()) != 3 {
		t.Errorf("%d configurations", len(s.Configs()))
	}
}

func TestSettingsChangeTheBaseline(t *testing.T) {
	s, err := scenario.ParseWith("good", []byte(good), []string{"source.throughput=5k/s", "destination.replicatorConfig={tasks.max: 8}",
		"source.kafkaConfig.log.segment.bytes=1048576", "destination.topics=[load, load-2]", "duration=2m"})
	if err != nil {
		t.Fatal(err)
	}
	b := s.Baseline
	if b.Source.Throughput.PerSecond != 5000 || b.Destination.ReplicatorConfig["tasks.max"] != "8" || len(b.Destination.Topics) != 2 || s.Duration.String() != "2m0s" ||
		b.Source.KafkaConfig["log.segment.bytes"] != "1048576" || b.Source.KafkaConfig["num.io.threads"] != "2" || s.Steps[2].Config.Source.Throughput.PerSecond != 5000 {
		t.Errorf("%+v", b)
	}
	for setting, want := range map[string]string{
		"source.brokers":         "KEY=VALUE",
		"source.broker=2":        "did you mean brokers?",
		"source.brokers=many":    "whole number",
		"brokers=2":              "brokers is no key here: did you mean source.brokers or destination.brokers?",
		"workers=2":              "did you mean destination.workers?",
		"durations=2m":           "did you mean duration?",
		"steps=1":                "steps is no key here: there are duration, secure, testId, topicPattern, and the keys of both sides, such as source.throughput",
		"=2":                     "--set =2: write it as KEY=VALUE",
		"source.partitions=99":   "",
		"destination.workers=3":  "destination.workers is so already",
		"source.retention=5s":    "retention: 5s",
		"duration=1":             "duration",
		"source.kafkaConfig=yes": "want keys with values",
	} {
		_, err := scenario.ParseWith("good", []byte(good), []string{setting})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", setting, err, want)
		}
	}
}

var update = flag.Bool("update", false, "write this package's section of docs/mistakes.md anew")

// Each mistake alone is refused, in words that say where it is and what would be right.
func TestScenarioMistakes(t *testing.T) {
	var rows []mistakestest.Row
	for name, test := range map[string]struct{ old, new, want string }{
		"unknown key":            {"about:", "abuot: x\nabout:", "line 2: abuot is no key here: did you mean about?"},
		"twice":                  {"duration: 60s", "duration: 60s\nduration: 60s", "line 6: duration is there twice"},
		"another name":           {"name: good", "name: bad", `name: "bad", and the file is called good.yaml`},
		"no name":                {"name: good\n", "", "name is missing"},
		"no about":               {"about: A broker is killed.\n", "", "about is missing"},
		"unknown feature":        {"baseline:", "needs: [sea]\nbaseline:", `needs: "sea" is not known: there are clock, ocean`},
		"unknown replicator":     {"baseline:", "replicators: [mm2]\nbaseline:", `replicators: "mm2"`},
		"replicator not tested":  {"baseline:", "replicators: [brooklin]\nbaseline:", "the baseline has mirrormaker2"},
		"baseline's key":         {"partitions: 12", "partition: 12", "line 4: baseline.source.partition is no key here: did you mean partitions?"},
		"baseline's value":       {"partitions: 12", "partitions: twelve", `line 4: baseline.source.partitions: "twelve": want a whole number`},
		"baseline's list":        {"partitions: 12", "topics: load", "line 4: baseline.source.topics: want a list"},
		"invalid baseline":       {"partitions: 12", "partitions: 0", "baseline: source: partitions: 0: use 1 to 10000"},
		"fault in the baseline":  {"partitions: 12", "fault: {kind: broker-kill, victims: [0]}", "never begins: put it into a step"},
		"expected twice":         {"baseline:\n", "baseline:\n  destination: {expectations: [lost == 0]}\n", "write them under expectations"},
		"no duration":            {"duration: 60s\n", "", "duration: 0s"},
		"bad duration":           {"duration: 60s", "duration: 60", `line 5: duration: duration "60"`},
		"empty value":            {"about: A broker is killed.", "about:", "line 2: about is empty"},
		"beyond the end":         {"at: 30s", "at: 90s", "line 11: step 2: is played at 1m30s, and the scenario ends after 1m0s"},
		"back in time":           {"at: 30s", "at: 5s", "at: 5s: the step before it is played at 10s"},
		"when":                   {"when: steady", "when: later", `when: "later": use steady`},
		"two times":              {"at: 30s", "at: 30s\n    after: 2s", "more than one of after, at and when"},
		"no time":                {"  - at: 30s\n    side", "  - side", "step 2: when it is played is missing"},
		"nothing to do":          {"    phase: recovered\n", "", "step 3: changes nothing and begins no phase"},
		"side and no change":     {"    phase: recovered", "    phase: recovered\n    side: source", "nothing to change"},
		"no side":                {"    side: destination\n", "", "step 2: side is missing"},
		"unknown side":           {"side: destination", "side: middle", `side: "middle"`},
		"key of the other side":  {"side: destination", "side: source", "workers is no key here: the destination has it: change the side"},
		"unknown key in a step":  {"workers: 3", "worker: 3", "line 14: step 2: change.worker is no key here: did you mean workers?"},
		"bad value in a step":    {"workers: 3", "workers: three", `line 14: step 2: change.workers: "three": want a whole number`},
		"no change":              {"workers: 3", "workers: 2", "destination.workers is so already"},
		"contradiction":          {"workers: 3", "partitions: 3", "contradicts what is there: partitions: 3, and there are 6: partitions cannot shrink"},
		"no replicator":          {"baseline:\n", "baseline:\n  destination: {replicator: none}\n", "step 2: destination.workers: the baseline has no replicator that it could change"},
		"other replicator":       {"workers: 3", "replicator: brooklin", "the test is of mirrormaker2"},
		"impossible":             {"victims: [1]", "victims: [7]", "there is no broker 7: use 0 to 2"},
		"endless fault":          {"duration: 10s", "duration: 55s", "source.fault.duration: 55s from 10s on, and the scenario ends after 1m0s"},
		"phase that is there":    {"phase: fault", "phase: steady", "is the name of one that is always there"},
		"phase twice":            {"phase: recovered", "phase: fault", `"fault" has begun before`},
		"no expectation":         {good[strings.Index(good, "expectations:"):], "expectations: []\n", "expectations: none"},
		"no reason":              {"    why: of course\n", "", "line 18: expectation 1: why is missing"},
		"unknown quantity":       {"lost == 0", "losses == 0", `there is no quantity "losses"`},
		"no expression":          {"lost == 0", "none lost", "want a quantity, one of"},
		"unknown phase":          {"[recovered]", "[after]", `there is no phase "after": there are steady, fault, recovered, drain`},
		"unknown event":          {"lost == 0", `"recovery[broker-kill] <= 3s"`, `there is no event "broker-kill": there are broker-outage, broker-outage-end, workers`},
		"unknown party":          {"lost == 0", `"lost[me] == 0"`, `there is no attribution "me": there are replicator, retention`},
		"no probe":               {"lost == 0", `"probe[order] == 0"`, "the scenario makes no probe"},
		"settings and no probe":  {"duration: 60s", "duration: 60s\nprobeSettings: {idle: 10s}", "there is no probe"},
		"brackets":               {"lost == 0", `"shed[fault] == 0"`, "shed takes nothing in brackets"},
		"loss never allowed":     {"lost == 0", `"lost[retention] >= 1"`, `"lost[retention] >= 1" cannot hold beside lost == 0`},
		"nothing to discover":    {"lost == 0", "discovery.topics <= 5s", "no step changes the source's topics"},
		"bad limit":              {"<= 2s", "<= 2", `"2" is not a duration`},
		"negative":               {"lost == 0", `"lost[tester] == -1"`, `"-1" is not a number of records`},
		"two documents":          {"duration: 60s", "duration: 60s\n---\n", "more than one document"},
		"not YAML":               {"duration: 60s", "duration: [", "line"},
		"a list for a text":      {"about: A broker is killed.", "about: [a]", "about: want text"},
		"not a list":             {"steps:\n", "steps: {a: 1}\nstep:\n", "steps: want a list"},
		"negative wait":          {"after: 10s", "after: -10s", "after: -10s: use 0s or more"},
		"expectation's key":      {"    why: of course\n", "    because: of course\n", "expectation 1.because is no key here"},
		"expectation of stretch": {"    change:\n      workers: 3", "    change: {expectations: [lost == 0]}", "they hold for the whole scenario"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(good, test.old, test.new, 1)
			if text == good {
				t.Fatal("the mistake is not made")
			}
			_, err := scenario.Parse("good", []byte(text))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%v\ndoes not say %q", err, test.want)
			}
			made := "`" + strings.TrimSpace(test.new) + "`"
			if test.new == "" {
				made = "without `" + strings.TrimSpace(test.old) + "`"
			}
			rows = append(rows, mistakestest.Row{Input: name + ": " + made, Message: strings.TrimPrefix(err.Error(), "scenario good:")})
		})
	}
	mistakestest.Section(t, "../docs/mistakes.md", "Scenario files", "One thing is wrong with a good file.", rows, *update)
	if _, err := scenario.Parse("good", nil); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("an empty file: %v", err)
	}
}

func TestScenarioMistakesAreReportedTogether(t *testing.T) {
	text := strings.NewReplacer("about:", "abuot:", "workers: 3", "worker: 3", "lost == 0", "losses == 0", "duration: 60s", "duration: 0s").Replace(good)
	_, err := scenario.Parse("good", []byte(text))
	for _, want := range []string{"abuot", "about is missing", "worker is no key", "losses", "duration: 0s"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestUnknownScenario(t *testing.T) {
	for name, want := range map[string]string{"kil-source-broker": "did you mean kill-source-broker?", "kill-": "did you mean kill-destination-broker or kill-source-broker?", "broker": "loadgen scenario list", "": "loadgen scenario list", "zzzzzzzzzz": "loadgen scenario list", "./missing.yaml": "missing.yaml"} {
		if _, err := scenario.Load(name, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}
