package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
)

var update = flag.Bool("update", false, "write docs/scenario-steps.md anew")

const stepsFile = "../docs/scenario-steps.md"

// step is one configuration change of a scenario, after those above it.
type step struct {
	what   string
	values map[string]string // key to value; an empty value removes the key
}

// steps are the scenarios' changes of one side, in an order in which each begins where the one before
// ended. "Again" and the like undo what was done.
var sourceSteps = []step{
	{"kill a broker", fault(`{"kind":"broker-kill","victims":[3],"run":1}`)},
	{"kill it again", fault(`{"kind":"broker-kill","victims":[3],"run":2}`)},
	{"packet loss on four brokers", fault(`{"kind":"broker-loss","victims":[0,1,2,3],"percent":10,"duration":"10m","run":3}`)},
	{"cut the region off", fault(`{"kind":"region-partition","duration":"2m","run":4}`)},
	{"remove the fault", fault("")},
	{"shrink the cluster by one", map[string]string{"brokers": "29"}},
	{"and back", map[string]string{"brokers": "30"}},
	{"change the throughput", map[string]string{"throughput": "10k/s"}},
	{"change the message size", map[string]string{"messageSize": "10kB"}},
	{"add a producer", map[string]string{"producers": "11"}},
	{"add partitions", map[string]string{"partitions": "300"}},
	{"add a topic", map[string]string{"topics": `["load","load-2"]`}},
	{"change the retention", map[string]string{"retention": "10m"}},
	{"tune the brokers", map[string]string{"kafkaConfig": `{"num.io.threads":"16"}`}},
	{"restart them one by one", map[string]string{"kafkaRestart": "1"}},
	{"add a node", map[string]string{"nodes": "41"}},
}

func destinationSteps(replicator string) []step {
	steps := []step{
		{"kill a broker", fault(`{"kind":"broker-kill","victims":[3],"run":1}`)},
		{"remove the fault", fault("")},
		{"shrink the cluster by one", map[string]string{"brokers": "29"}},
		{"and back", map[string]string{"brokers": "30"}},
		{"add a consumer", map[string]string{"consumers": "5"}},
		{"expect a latency", map[string]string{"expectations": `["latency.p99 <= 5s"]`}},
	}
	if replicator == "none" {
		return append(steps, step{"add partitions, destination first", map[string]string{"partitionGrowth": "destinationFirst", "partitions": "300"}})
	}
	steps = append(steps,
		step{"kill a worker", fault(`{"kind":"worker-kill","victims":[1],"run":2}`)},
		step{"packet loss on four workers", fault(`{"kind":"worker-loss","victims":[0,1,2,3],"percent":10,"duration":"10m","run":3}`)},
		step{"remove the fault", fault("")},
		step{"add a worker", map[string]string{"workers": "9"}},
		step{"remove two workers", map[string]string{"workers": "7"}},
	)
	if replicator == "ureplicator" {
		steps = append(steps,
			step{"add controllers", map[string]string{"controllers": "3"}},
			step{"lose all controllers", map[string]string{"controllers": "0"}},
			step{"and back", map[string]string{"controllers": "1"}},
		)
	}
	return append(steps,
		step{"add partitions, left to the replicator", map[string]string{"partitions": "300"}},
		step{"cure it", map[string]string{"partitionGrowth": "cure"}},
		step{"tune the replicator", map[string]string{"replicatorConfig": tuning[replicator]}},
		step{"change to no replicator", map[string]string{"replicator": "none", "replicatorConfig": ""}},
	)
}

var tuning = map[string]string{
	"mirrormaker2": `{"tasks.max":"64"}`,
	"ureplicator":  `{"consumer.fetch.max.bytes":"104857600"}`,
	"brooklin":     `{"brooklin.server.coordinator.heartbeatPeriodMs":"30000"}`,
}

func fault(value string) map[string]string { return map[string]string{"fault": value} }

// Each step of a scenario does exactly what the documentation says it does.
func TestScenarioSteps(t *testing.T) {
	var doc strings.Builder
	doc.WriteString(`# What each scenario step does

Each row is a ` + "`pulumi config set` and a `pulumi up`" + ` after the rows above it, with the real Pulumi engine on the
talk's sizes (provider doubles tell an update from a replacement). Written by ` + "`go test ./stacks -run TestScenarioSteps -update`" + `, and compared
by every ` + "`make test`" + `. Objects and lists are shown whole; they are set piece by piece, such as
` + "`pulumi config set --path 'fault.victims[0]' 3`" + `. A Job is replaced, since its template is immutable: the new one is made and waited for before the old one goes.
`)
	// The destinations need the source as it was before its steps.
	before := newStack(t, source, nil)
	before.Up()
	type section struct {
		title string
		stack func(*testing.T) *enginetest.Stack
		steps []step
		table strings.Builder
		made  int // resources of the full-size stack
	}
	sections := []*section{{
		title: "us-east-1, the source", steps: sourceSteps,
		stack: func(t *testing.T) *enginetest.Stack { return newStack(t, source, nil) },
	}}
	for _, replicator := range []string{"mirrormaker2", "ureplicator", "brooklin", "none"} {
		sections = append(sections, &section{
			title: "eu-west-1, the destination, with replicator " + replicator, steps: destinationSteps(replicator),
			stack: func(t *testing.T) *enginetest.Stack {
				d := newStack(t, destination, map[string]string{"replicator": replicator})
				d.Peer("us-east-1", before)
				return d
			},
		})
	}
	t.Run("table", func(t *testing.T) { // returns when all of them have
		for _, c := range sections {
			t.Run(c.title, func(t *testing.T) {
				t.Parallel()
				s := c.stack(t)
				s.Up()
				c.made = len(s.Resources())
				table(t, &c.table, c.title, s, c.steps)
			})
		}
	})
	least, most := sections[1].made, 0
	for _, c := range sections {
		doc.WriteString(c.table.String())
		if c != sections[0] {
			least, most = min(least, c.made), max(most, c.made)
		}
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if numbers := fmt.Sprintf("%d and %d to %d resources", sections[0].made, least, most); !t.Failed() && !strings.Contains(string(readme), numbers) {
		t.Errorf("the stacks have %s, and the README does not say so", numbers)
	}
	if *update {
		if err := os.WriteFile(stepsFile, []byte(doc.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(stepsFile)
	if err != nil {
		t.Fatal(err)
	}
	if got := doc.String(); got != string(want) {
		t.Errorf("%s is not what happens; look at the difference, and then run go test ./stacks -run TestScenarioSteps -update:\n%s", stepsFile, firstDifference(string(want), got))
	}
}

func table(t *testing.T, doc *strings.Builder, title string, s *enginetest.Stack, steps []step) {
	t.Helper()
	fmt.Fprintf(doc, "\n## %s\n\n| step | configuration | operations |\n|---|---|---|\n", title)
	for _, step := range steps {
		var config []string
		for key, value := range step.values {
			if value == "" {
				s.UnsetConfig(key)
				config = append(config, "rm `"+key+"`")
				continue
			}
			s.SetConfig(key, value)
			config = append(config, "`"+key+" "+value+"`")
		}
		slices.Sort(config)
		r, err := s.TryUp()
		if err != nil {
			t.Errorf("%s: %s: %v", title, step.what, err)
			continue
		}
		var ops []string
		for _, c := range r.Changes() {
			ops = append(ops, short(c))
		}
		fmt.Fprintf(doc, "| %s | %s | %s |\n", step.what, strings.ReplaceAll(strings.Join(config, ", "), "|", "\\|"), strings.Join(ops, "<br>"))
		if again := s.Preview().Changes(); len(again) > 0 {
			t.Errorf("%s: %s: another up would change %q", title, step.what, again)
		}
	}
}

// short leaves out what is the same in every type token.
func short(change string) string {
	op, rest, _ := strings.Cut(change, " ")
	typ, name, _ := strings.Cut(rest, " ")
	parts := strings.Split(typ, ":")
	return op + " " + parts[len(parts)-1] + " " + name
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d\ndocumented: %s\nhappens:    %s", i+1, w[i], g[i])
		}
	}
	return fmt.Sprintf("%d lines documented, %d happen", len(w), len(g))
}
