package dashboards_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/AppsFlyer/kafka-mirror-tester/dashboards"
)

// ofNodes says whether a metric comes from an exporter that only Kubernetes has.
func ofNodes(name string) bool {
	return strings.HasPrefix(name, "node_") || strings.HasPrefix(name, "container_") || strings.HasPrefix(name, "kube_")
}

// missingLabels are labels that an expression and its legend ask for, and that the exporters have not, by the
// names of their metrics. Prometheus adds instance and job.
func missingLabels(t *testing.T, labels map[string][]string, expr, legend string) []string {
	t.Helper()
	parsed, err := parser.ParseExpr(expr)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	var wrong []string
	check := func(metric, label string) {
		if ofNodes(metric) && !slices.Contains(append(labels[metric], "instance", "job", "__name__"), label) {
			wrong = append(wrong, metric+" has no label "+label)
		}
	}
	legendLabels := regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(legend, -1)
	parser.Inspect(parsed, func(n parser.Node, path []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		for _, m := range v.LabelMatchers {
			check(v.Name, m.Name)
		}
		var kept []string // by the outermost aggregation
		aggregated := false
		for _, above := range slices.Backward(path) {
			switch above := above.(type) {
			case *parser.AggregateExpr:
				for _, label := range above.Grouping {
					check(v.Name, label)
				}
				kept, aggregated = above.Grouping, true
			case *parser.BinaryExpr:
				if above.VectorMatching != nil {
					for _, label := range above.VectorMatching.MatchingLabels {
						check(v.Name, label)
					}
				}
			}
		}
		for _, m := range legendLabels {
			if aggregated && !slices.Contains(kept, m[1]) {
				wrong = append(wrong, "the legend's "+m[1]+" is aggregated away")
			} else if !aggregated {
				check(v.Name, m[1])
			}
		}
		return nil
	})
	return wrong
}

// TestLabelsOfNodesAndPodsExist is for what no lab can show: that selectors, groupings and legends ask for
// labels that the node exporter, cAdvisor and kube-state-metrics have.
func TestLabelsOfNodesAndPodsExist(t *testing.T) {
	_, labels := recorded(t)
	checked := 0
	look := func(where, expr, legend string) {
		if strings.Contains(expr, "node_") || strings.Contains(expr, "container_") || strings.Contains(expr, "kube_") {
			checked++
		}
		for _, wrong := range missingLabels(t, labels, expr, legend) {
			t.Errorf("%s: %s: %s", where, expr, wrong)
		}
	}
	for _, b := range dashboards.Boards() {
		for _, p := range b.Panels() {
			for _, q := range p.Queries {
				look(b.Name+": "+p.Title, b.Interpolate(q.Expr, "1m", nil), q.Legend)
			}
		}
	}
	for _, g := range dashboards.Rules(dashboards.Retention) {
		for _, r := range g.Rules {
			look(r.Record+r.Alert, r.Expr, "")
		}
	}
	if checked < 40 {
		t.Errorf("only %d expressions are about nodes and pods", checked)
	}

	for expr, want := range map[string]string{
		`node_load1{device="a"}`: "node_load1 has no label device",
		`sum by (pod_name) (rate(container_cpu_usage_seconds_total[1m]))`: "container_cpu_usage_seconds_total has no label pod_name",
		`node_load1 / on (node) node_load1`:                               "node_load1 has no label node",
		`sum by (instance) (node_load1)`:                                  "the legend's pod is aggregated away",
	} {
		if got := missingLabels(t, labels, expr, "{{pod}}"); !slices.Contains(got, want) {
			t.Errorf("%s: found %v, want %s", expr, got, want)
		}
	}
}
