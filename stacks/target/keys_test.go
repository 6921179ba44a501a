package target

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// newTarget is on the repository's own stacks; more is further configuration of them.
func newTarget(t *testing.T, more string) *Target {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"Pulumi.yaml", "Pulumi.us-east-1.yaml", "Pulumi.eu-west-1.yaml"} {
		text, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		if name != "Pulumi.yaml" {
			text = append(text, more...)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := Config{Project: dir, SourceStack: "us-east-1", DestinationStack: "eu-west-1"}
	made, err := New(c, Deps{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range made.sides() {
		s.file.path = filepath.Join(dir, "copy-"+s.name+".yaml")
	}
	return made
}

// Every scenario of the catalogue can be said in the stacks' keys, or is refused for what the stacks have
// not the means for.
func TestTheCatalogueOnTheStacks(t *testing.T) {
	names, err := scenario.Names()
	if err != nil {
		t.Fatal(err)
	}
	tgt := newTarget(t, "")
	played := 0
	for _, name := range names {
		s, err := scenario.Load(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		switch err := tgt.Check(s.Configs()); {
		case err == nil:
			played++
		case !errors.Is(err, scenario.ErrCannotPlay):
			t.Errorf("%s: %v", name, err)
		case !strings.Contains(err.Error(), "lab alone") && !strings.Contains(err.Error(), "no image"):
			t.Errorf("%s is refused: %v", name, err)
		}
	}
	if played < len(names)/2 {
		t.Errorf("only %d of %d can be played", played, len(names))
	}
}

func TestWhatTheStacksCannotPlayIsRefused(t *testing.T) {
	tgt := newTarget(t, "")
	for name, test := range map[string]struct {
		change func(*scenario.Config)
		cannot bool
		want   string
	}{
		"fault of the lab": {func(c *scenario.Config) {
			c.Source.Fault = scenario.Fault{Kind: "broker-pause", Victims: []int{0}, Duration: scenario.Duration(time.Minute), Run: 1}
		}, true, "source: fault.kind: broker-pause is played by the lab alone"},
		"no image": {func(c *scenario.Config) { c.Destination.Replicator = scenario.Brooklin }, true, "images.brooklin: the stack eu-west-1 names no image"},
		"run 0": {func(c *scenario.Config) {
			c.Source.Fault = scenario.Fault{Kind: "broker-kill", Victims: []int{0}}
		}, false, "source: fault.run: 0"},
		"more brokers than the stack's nodes": {func(c *scenario.Config) { c.Source.Brokers = 41 }, false, "41 do not fit on 40 nodes"},
	} {
		t.Run(name, func(t *testing.T) {
			var c scenario.Config
			c.SetSmallDefaults()
			test.change(&c)
			err := tgt.Check([]scenario.Config{c, c})
			if err == nil || errors.Is(err, scenario.ErrCannotPlay) != test.cannot || strings.Count(err.Error(), test.want) != 1 {
				t.Errorf("%v, want %q once", err, test.want)
			}
		})
	}
}

// The user's own values stay but for what the scenario says; a step sets what it changes and no more.
func TestOnlyTheScenariosKeysAreSet(t *testing.T) {
	tgt := newTarget(t, `  kafka-mirror-tester:kafkaConfig: {num.io.threads: 16}
  kafka-mirror-tester:kafkaHeap: 1GiB
  kafka-mirror-tester:secure: "true"
  kafka-mirror-tester:fault: {kind: broker-kill, victims: [0], run: 3}
`)
	tgt.loaded, tgt.baseline = true, map[string]int{source: 2}
	var c scenario.Config
	c.SetSmallDefaults()
	set := func(c scenario.Config) []string {
		t.Helper()
		v, err := tgt.valuesOf(tgt.source, c)
		if err != nil {
			t.Fatal(err)
		}
		changed, err := tgt.source.file.set(v)
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
	first := set(c)
	for _, want := range []string{"brokers: 30 -> 3", "partitions: 150 -> 6", "throughput: 20k/s -> 1k/s"} {
		if !slices.Contains(first, want) {
			t.Errorf("%q does not set %q", first, want)
		}
	}
	for _, line := range first {
		if key, _, _ := strings.Cut(line, ":"); slices.Contains([]string{"nodes", "kafkaHeap", "secure", "quorumSize", "kafkaConfig", "messageSize"}, key) {
			t.Errorf("sets %q, of which the scenario says nothing", line)
		}
	}
	if !slices.ContainsFunc(first, func(line string) bool {
		return strings.HasPrefix(line, "fault: ") && strings.HasSuffix(line, "-> none")
	}) {
		t.Errorf("the user's fault stays: %q", first)
	}

	if again := set(c); len(again) > 0 {
		t.Errorf("the same again sets %q", again)
	}
	c.Source.Fault = scenario.Fault{Kind: "broker-kill", Victims: []int{0}, Run: 1}
	if got := set(c); len(got) != 1 || !strings.Contains(got[0], `"run":3`) {
		t.Errorf("the first fault of a stack that began with run 2 sets %q", got)
	}
	c.Source.KafkaConfig = map[string]string{"log.segment.bytes": "1048576"}
	if got := set(c); len(got) != 1 || !strings.Contains(got[0], "num.io.threads") || !strings.Contains(got[0], "log.segment.bytes") {
		t.Errorf("a broker setting more sets %q", got)
	}
	file, err := openStackFile(tgt.cfg.Project, "us-east-1", "")
	if err != nil || file.own["brokers"].text != "30" {
		t.Errorf("the user's file has brokers %q: %v", file.own["brokers"].text, err)
	}
}

func TestWhenAFaultWas(t *testing.T) {
	const list = `{"items":[{"metadata":{"name":"broker-outage-1"},"status":{
		"conditions":[{"type":"AllInjected","status":"True"},{"type":"AllRecovered","status":"False"}],
		"experiment":{"containerRecords":[
			{"events":[{"type":"Failed","operation":"Apply","timestamp":"2026-01-01T10:00:00Z"},{"type":"Succeeded","operation":"Apply","timestamp":"2026-01-01T10:00:05Z"}]},
			{"events":[{"type":"Succeeded","operation":"Apply","timestamp":"2026-01-01T10:00:03Z"},{"type":"Succeeded","operation":"Recover","timestamp":"2026-01-01T10:01:03Z"}]}]}}}]}`
	at, err := faultTime([]byte(list), "broker-outage-1", false)
	if want := time.Date(2026, 1, 1, 10, 0, 3, 0, time.UTC); err != nil || !at.Equal(want) {
		t.Errorf("began at %v (%v), want %v", at, err, want)
	}
	if _, err := faultTime([]byte(list), "broker-outage-1", true); err == nil || !strings.Contains(err.Error(), "not yet AllRecovered") {
		t.Errorf("one of two victims is back, and the fault is over: %v", err)
	}
	if _, err := faultTime([]byte(list), "broker-outage-2", false); err == nil {
		t.Error("another run's fault is found")
	}
}

func TestMistakesInTheFlagsAreNamed(t *testing.T) {
	for _, test := range []struct {
		c    Config
		want string
	}{
		{Config{SourceStack: "a", DestinationStack: "a"}, "name two stacks"},
		{Config{SourceStack: "a", DestinationStack: "b", TTL: time.Second}, "--ttl 1s"},
		{Config{Project: t.TempDir(), SourceStack: "a", DestinationStack: "b"}, "--project"},
		{Config{Project: "../..", SourceStack: "a", DestinationStack: "eu-west-1"}, "--source-stack"},
		{Config{Project: "../..", SourceStack: "eu-west-1", DestinationStack: "us-east-1"}, `stack eu-west-1: its role is "destination"`},
	} {
		if _, err := New(test.c, Deps{Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.c, err, test.want)
		}
	}
}

func TestAStateIsKeptWithoutSecrets(t *testing.T) {
	state := map[string]any{
		"secrets_providers": map[string]any{"state": "salt"},
		"resources":         []any{map[string]any{"outputs": map[string]any{"a": map[string]any{signature: secretSignature, "ciphertext": "x"}, "b": "y"}}},
	}
	outputs := without(state).(map[string]any)["resources"].([]any)[0].(map[string]any)["outputs"].(map[string]any)
	if _, there := state["secrets_providers"]; there || outputs["a"] != hidden || outputs["b"] != "y" {
		t.Errorf("%v", state)
	}
}
