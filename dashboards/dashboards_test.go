package dashboards_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/dashboards"
)

// known reads the names of all metrics from their declarations, with the comment that says of which
// type each is.
func known(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../metrics/metrics.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		if value, ok := v.Values[0].(*ast.BasicLit); ok && value.Kind == token.STRING {
			if name, err := strconv.Unquote(value.Value); err == nil && strings.HasPrefix(name, "kmt_") {
				names[name] = v.Comment.Text()
			}
		}
		return true
	})
	if len(names) < 50 {
		t.Fatalf("found only %d metrics", len(names))
	}
	return names
}

// target is a query of a panel.
type target struct {
	Expr       string
	Datasource struct{ Type, UID string }
}

func targets(t *testing.T, text string) []target {
	t.Helper()
	var d struct {
		UID    string
		Panels []struct {
			Type    string
			GridPos struct{ W, X int }
			Targets []target
		}
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	var out []target
	for _, p := range d.Panels {
		out = append(out, p.Targets...)
	}
	if d.UID == "" || len(out) == 0 {
		t.Fatalf("a dashboard with uid %q and %d queries", d.UID, len(out))
	}
	return out
}

var metric = regexp.MustCompile(`kmt_[a-z0-9_]+`)

func TestQueriesUseMetricsThatExistOnTheSideThatHasThem(t *testing.T) {
	names := known(t)
	all, err := dashboards.All()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range all {
		for _, q := range targets(t, text) {
			used := metric.FindAllString(q.Expr, -1)
			if len(used) == 0 {
				t.Errorf("%s: %q uses no metric", name, q.Expr)
			}
			for _, m := range used {
				base := m
				for _, suffix := range []string{"_bucket", "_sum", "_count"} {
					base = strings.TrimSuffix(base, suffix)
				}
				kind, ok := names[base]
				if !ok {
					t.Errorf("%s: %q: nobody exports %s", name, q.Expr, m)
					continue
				}
				rated := strings.Contains(q.Expr, "rate("+m+"[$__rate_interval])")
				if (strings.HasPrefix(kind, "counter") || strings.HasPrefix(kind, "histogram")) != rated {
					t.Errorf("%s: %q: of %s, a %s", name, q.Expr, m, strings.TrimSpace(kind))
				}
				if strings.HasPrefix(kind, "histogram") != strings.HasSuffix(m, "_bucket") {
					t.Errorf("%s: %q: %s of a %s", name, q.Expr, m, strings.TrimSpace(kind))
				}
				side := dashboards.Destination
				if strings.HasPrefix(m, "kmt_producer_") {
					side = dashboards.Source
				}
				ledger := strings.HasPrefix(m, "kmt_ledger_") // on both sides
				if q.Datasource.Type != "prometheus" || q.Datasource.UID != side && !(ledger && q.Datasource.UID == dashboards.Source) {
					t.Errorf("%s: %q asks %v, and %s is at the %s", name, q.Expr, q.Datasource, m, side)
				}
			}
		}
	}
}

func TestDashboardsAreTheSameEachTime(t *testing.T) {
	first, err := dashboards.All()
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		again, err := dashboards.All()
		if err != nil {
			t.Fatal(err)
		}
		for name := range first {
			if again[name] != first[name] {
				t.Fatalf("%s differs: each update would change its ConfigMap", name)
			}
		}
	}
}
