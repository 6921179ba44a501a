package scenario_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime/metrics"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// everything is all that a scenario says, but for the text and the lines that it was read from.
func everything(t *testing.T, s *scenario.Scenario) string {
	t.Helper()
	all := []any{s.Version, s.Name, s.About, s.Reported, s.Needs, s.Replicators, s.Baseline, s.Probe, s.ProbeSettings, s.Duration}
	for _, step := range s.Steps {
		all = append(all, step, step.Changes, step.Config, step.Start)
	}
	for _, e := range s.Expectations {
		all = append(all, e)
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	// No entries are none, whether they are said to be none or not.
	return strings.NewReplacer(":null", ":", ":{}", ":", ":[]", ":").Replace(string(text))
}

// difference is where two texts part.
func difference(a, b string) string {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	from := max(0, i-60)
	return fmt.Sprintf("…%.160s\nand\n…%.160s", a[from:], b[from:])
}

// allocated is how many bytes of the heap this process has ever taken.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// A file is refused in words that can be shown, each mistake on a line of its own, or it means the same when it is
// written in another way: with its baseline spelt out, and formatted anew.
func FuzzParse(f *testing.F) {
	names, err := scenario.Names()
	if err != nil || len(names) == 0 {
		f.Fatal(names, err)
	}
	for _, name := range names {
		s, err := scenario.Load(name, nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(name, s.Source, "")
	}
	for _, setting := range []string{"source.throughput=5k/s", "duration=2h", "destination.replicatorConfig={tasks.max: 8}", "source.kafkaConfig.a.b=c", "=", "x=[", "source.topics=[a, b]"} {
		f.Add("good", []byte(good), setting)
	}
	for _, text := range []string{"", "# nothing", "---", "[]", "version: 2", "version: 1", "a: &a [*a]", "name: &n good\nabout: *n", "? [a]\n: b", "<<: {name: good}", "steps: [null]\nexpectations: [1, ]",
		"\"a\\nb\": c", "baseline: {source: {fault: {victims: [x]}}}", "a: &a [b,b]\nb: &b [*a,*a]\nc: [*b,*b]", "name: \"\\e[2J\"", "%YAML 1.2\n---\nname: 1"} {
		f.Add("good", []byte(text), "")
	}
	f.Fuzz(func(t *testing.T, name string, text []byte, setting string) {
		var settings []string
		if setting != "" {
			settings = []string{setting}
		}
		before := allocated()
		s, err := scenario.ParseWith(name, text, settings)
		if grown := allocated() - before; grown > uint64(32<<20+10_000*(len(text)+len(setting))) {
			t.Fatalf("%d bytes take %d of memory to read", len(text), grown)
		}
		if err != nil {
			message := err.Error()
			if len(message) > 2000+500*(len(name)+len(text)+len(setting)) {
				t.Fatalf("%d bytes are refused in %d", len(text), len(message))
			}
			if !utf8.ValidString(message) || strings.ContainsFunc(message, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
				t.Fatalf("cannot be shown: %q", message)
			}
			for _, line := range strings.Split(message, "\n") {
				if strings.TrimSpace(line) == "" {
					t.Fatalf("a mistake without words: %q", message)
				}
			}
			return
		}
		want := everything(t, s)

		// Formatted anew.
		var root yaml.Node
		if err := yaml.Unmarshal(text, &root); err != nil {
			t.Fatal(err)
		}
		plainBlocks(&root)
		var again bytes.Buffer
		out := yaml.NewEncoder(&again)
		out.SetIndent(7)
		if err := out.Encode(&root); err != nil {
			t.Fatal(err)
		}
		if s, err := scenario.ParseWith(name, again.Bytes(), settings); err != nil {
			t.Fatalf("formatted anew it is refused: %v\n%s", err, again.Bytes())
		} else if got := everything(t, s); got != want {
			t.Fatalf("formatted anew it is another: %s", difference(got, want))
		}

		// With its baseline and its duration spelt out, and no settings.
		var file map[string]any
		if err := yaml.Unmarshal(text, &file); err != nil {
			return // the library's own decoding knows more types than we read
		}
		spelt, err := json.Marshal(s.Baseline)
		if err != nil {
			t.Fatal(err)
		}
		var baseline map[string]any
		if err := json.Unmarshal(spelt, &baseline); err != nil {
			t.Fatal(err)
		}
		// A fault that is not there is left out: it has no kind that could be named.
		for _, side := range []string{"source", "destination"} {
			delete(baseline[side].(map[string]any), "fault")
		}
		delete(baseline["destination"].(map[string]any), "expectations")
		if spelt, err = json.Marshal(baseline); err != nil {
			t.Fatal(err)
		}
		var whole strings.Builder
		fmt.Fprintf(&whole, "baseline: %s\nduration: %s\n", spelt, s.Duration)
		for i := 0; i+1 < len(root.Content[0].Content); i += 2 {
			key, value := root.Content[0].Content[i], root.Content[0].Content[i+1]
			if key.Value == "baseline" || key.Value == "duration" {
				if hasAnchor(value) {
					return // what is left out may be what another part refers to
				}
				continue
			}
			part, err := yaml.Marshal(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{key, value}})
			if err != nil {
				t.Fatal(err)
			}
			whole.Write(part)
		}
		if s, err := scenario.Parse(name, []byte(whole.String())); err != nil {
			t.Fatalf("spelt out it is refused: %v\n%s", err, whole.String())
		} else if got := everything(t, s); got != want {
			t.Fatalf("spelt out it is another: %s", difference(got, want))
		}
	})
}

// plainBlocks turns blocks of text into quoted ones: the library writes some blocks in a way that it reads otherwise.
func plainBlocks(n *yaml.Node) {
	if n.Style&(yaml.FoldedStyle|yaml.LiteralStyle) != 0 {
		n.Style = yaml.DoubleQuotedStyle
	}
	for _, c := range n.Content {
		plainBlocks(c)
	}
}

func hasAnchor(n *yaml.Node) bool {
	if n.Anchor != "" {
		return true
	}
	for _, c := range n.Content {
		if hasAnchor(c) {
			return true
		}
	}
	return false
}
