// Package dashboards holds Grafana's dashboards and Prometheus' rules as Go, so that they name metrics by
// their constants and a change of one shows in review. Grafana's JSON and the rule file, as they are
// deployed, lie in generated/; `go generate ./dashboards` writes them.
package dashboards

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

//go:generate go run ./generate

// Uids of the data sources that dashboards take at first: each side's Prometheus. Producers are on the
// source's; consumers, the auditor and the replicator on the destination's. Whoever has others, or one for
// both, chooses them at the top of the dashboard.
const (
	Source      = "source"
	Destination = "destination"
)

// Board is a dashboard.
type Board struct {
	Name        string // lower-case letters, digits and dashes; its uid is kmt-NAME
	Title       string
	Description string
	Rows        []Row
	Variables   []Variable // besides the data sources
}

// Row is a headline with panels below.
type Row struct {
	Title  string
	Panels []Panel
}

// Kind is how a panel shows its queries.
type Kind int

// Kinds of panels.
const (
	Graph  Kind = iota // lines over time
	Number             // the present value of each query, over its line
	States             // a bar for each series, from when to when it has which state
)

// Panel is a graph, a number or states. Its title is unique in its dashboard.
type Panel struct {
	Kind        Kind
	Title       string
	Description string
	Unit        string // Grafana's name of it
	Width       uint32 // of 24
	Queries     []Query
	Steps       []Step   // colours from a value on
	Min, Max    *float64 // of the axis
	ByName      bool     // a Number that shows its legend in place of its value
	States      []State  // of States: what values stand for

	// Elsewhere says why a lab with MirrorMaker 2 and Prometheus has no data for it. Empty: it has.
	Elsewhere string
}

// Step is a threshold: this colour from this value on.
type Step struct {
	From  float64
	Color string
}

// State is what a value stands for.
type State struct {
	Value float64
	Name  string
	Color string
}

// Query is an expression that is asked on one side.
type Query struct {
	Side   string // Source or Destination
	Expr   string // PromQL with Grafana's variables
	Legend string // {{label}} stands for a label's value

	// Rare says why a run in which nothing goes wrong has no data for it. Empty: it has.
	Rare string
}

// Variable is a choice at the top of a dashboard: the values of a label.
type Variable struct {
	Name, Label, Description string
	Side                     string // whose Prometheus is asked
	Metric                   string // with a selector, if only some of its series count
	Of                       string // the label
	Default                  string // the value at first; empty: all of them
}

// Boards returns every dashboard.
func Boards() []Board {
	return []Board{replication(), loadTools(), kafka(), mirrorMaker2(), uReplicator(), brooklin(), nodes()}
}

// All returns every dashboard as JSON, by name, as Grafana takes it. It is short: it becomes a ConfigMap, and
// part of a stack's state.
func All() (map[string]string, error) {
	out := map[string]string{}
	for _, b := range Boards() {
		text, err := b.json()
		if err != nil {
			return nil, fmt.Errorf("dashboard %s: %w", b.Name, err)
		}
		out[b.Name] = string(text)
	}
	return out, nil
}

// Files returns what lies in generated/, by name, for people to read.
func Files() (map[string][]byte, error) {
	boards, err := All()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for name, text := range boards {
		var indented bytes.Buffer
		if err := json.Indent(&indented, []byte(text), "", "  "); err != nil {
			return nil, fmt.Errorf("dashboard %s: %w", name, err)
		}
		files[name+".json"] = append(indented.Bytes(), '\n')
	}
	files["rules.yml"], err = RuleFile(Retention)
	return files, err
}

// Quiet says that a panel is empty when all is well: it shows what is rare, and nothing else.
func (p *Panel) Quiet() bool {
	for _, q := range p.Queries {
		if q.Rare == "" {
			return false
		}
	}
	return true
}

// Panels returns the panels of all rows.
func (b *Board) Panels() []Panel {
	var out []Panel
	for _, r := range b.Rows {
		out = append(out, r.Panels...)
	}
	return out
}

// Interpolate replaces Grafana's variables in an expression: each variable of the board by values[name],
// or, without a value, by its default or anything; and Grafana's interval by interval.
func (b *Board) Interpolate(expr, interval string, values map[string]string) string {
	expr = strings.ReplaceAll(expr, "$__rate_interval", interval)
	for _, v := range b.Variables {
		value := values[v.Name]
		if value == "" {
			value = v.Default
		}
		if value == "" {
			value = ".*"
		}
		expr = strings.ReplaceAll(expr, "$"+v.Name, value)
	}
	return expr
}

// Variables that several dashboards share.

func testVariable() Variable {
	return Variable{Name: "test", Label: "Test", Description: "Id of the test. Another run under the same id is told apart by its time.",
		Side: Destination, Metric: consumed, Of: "test"}
}

func topicVariable() Variable {
	return Variable{Name: "topic", Label: "Topic", Description: "Topics under load.",
		Side: Destination, Metric: consumed + `{test=~"$test"}`, Of: "topic"}
}

func clusterVariables() []Variable {
	return []Variable{
		{Name: "from_cluster", Label: "Source cluster", Description: "Namespace of the source cluster.",
			Side: Source, Metric: brokerState, Of: "namespace", Default: "source"},
		{Name: "to_cluster", Label: "Destination cluster", Description: "Namespace of the destination cluster and of the replicator.",
			Side: Destination, Metric: brokerState, Of: "namespace", Default: "destination"},
	}
}
