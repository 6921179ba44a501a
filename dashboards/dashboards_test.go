package dashboards_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/AppsFlyer/kafka-mirror-tester/dashboards"
)

func TestGeneratedFilesAreFresh(t *testing.T) {
	want, err := dashboards.Files()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("generated")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if want[e.Name()] == nil {
			t.Errorf("generated/%s is of nothing any more: run go generate ./dashboards", e.Name())
		}
	}
	for name, text := range want {
		if got, err := os.ReadFile(filepath.Join("generated", name)); err != nil || !bytes.Equal(got, text) {
			t.Errorf("generated/%s is stale (%v): run go generate ./dashboards", name, err)
		}
	}
	again, err := dashboards.Files()
	if err != nil {
		t.Fatal(err)
	}
	for name := range want {
		if !bytes.Equal(again[name], want[name]) {
			t.Errorf("%s differs each time: each update would change its object", name)
		}
	}
}

// used are the metrics of an expression, each with the function that takes a range of it, if one does.
func used(t *testing.T, expr string) map[string]string {
	t.Helper()
	parsed, err := parser.ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %v", expr, err)
		return nil
	}
	out := map[string]string{}
	parser.Inspect(parsed, func(n parser.Node, path []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		function := ""
		for i := len(path) - 1; i >= 0; i-- {
			if call, ok := path[i].(*parser.Call); ok {
				if _, ranged := call.Args[0].(*parser.MatrixSelector); ranged {
					function = call.Func.Name
				}
				break
			}
		}
		if function == "rate" || function == "increase" || out[v.Name] == "" {
			out[v.Name] = function
		}
		return nil
	})
	return out
}

// checkExpression says what is wrong with the metrics of an expression.
func checkExpression(t *testing.T, names map[string]string, where, expr string) map[string]string {
	t.Helper()
	metrics := used(t, expr)
	if len(metrics) == 0 {
		t.Errorf("%s: %s uses no metric", where, expr)
	}
	for name, function := range metrics {
		base, kind := name, names[name]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if before, ok := strings.CutSuffix(name, suffix); ok && kind == "" && (names[before] == "histogram" || names[before] == "summary") {
				base, kind = before, "counter"
				if suffix == "_bucket" && (function != "rate" || !strings.Contains(expr, "le")) {
					t.Errorf("%s: %s: quantiles come from rates of %s that are merged by le", where, expr, name)
				}
			}
		}
		switch {
		case kind == "":
			t.Errorf("%s: %s: nobody exports %s", where, expr, base)
		case (function == "rate" || function == "increase") && kind != "counter" && kind != "untyped":
			t.Errorf("%s: %s: %s of %s, a %s", where, expr, function, name, kind)
		case (function == "deriv" || function == "predict_linear") && kind != "gauge":
			t.Errorf("%s: %s: %s of %s, a %s", where, expr, function, name, kind)
		case kind == "histogram":
			t.Errorf("%s: %s: %s is a histogram", where, expr, name)
		}
	}
	return metrics
}

func TestExpressionsUseMetricsThatExistOnTheSideThatHasThem(t *testing.T) {
	names := known(t)
	total := 0
	for _, b := range dashboards.Boards() {
		for _, p := range b.Panels() {
			for _, q := range p.Queries {
				total++
				where := b.Name + ": " + p.Title
				expr := b.Interpolate(q.Expr, "1m", nil)
				if i := strings.IndexAny(expr, "$"); i >= 0 {
					t.Errorf("%s: %s has a variable that the dashboard has not", where, q.Expr)
				}
				for name := range checkExpression(t, names, where, expr) {
					side := ""
					switch {
					case strings.HasPrefix(name, "kmt_producer_"):
						side = dashboards.Source
					case strings.HasPrefix(name, "kmt_consumer_"), strings.HasPrefix(name, "kmt_auditor_"),
						strings.HasPrefix(name, "kafka_connect_"), strings.HasPrefix(name, "brooklin_"), strings.HasPrefix(name, "ureplicator_"):
						side = dashboards.Destination
					}
					if side != "" && q.Side != side || q.Side != dashboards.Source && q.Side != dashboards.Destination {
						t.Errorf("%s: %s asks the side %q, and %s is at the %s", where, expr, q.Side, name, side)
					}
				}
			}
		}
	}
	for _, g := range dashboards.Rules(dashboards.Retention) {
		for _, r := range g.Rules {
			total++
			checkExpression(t, names, r.Alert+r.Record, r.Expr)
		}
	}
	if total < 250 {
		t.Errorf("only %d expressions", total)
	}
	t.Logf("%d expressions", total)
}

func TestPanelsSayWhatTheyShow(t *testing.T) {
	uids := map[string]bool{}
	for _, b := range dashboards.Boards() {
		if uids[b.Name] || b.Title == "" || b.Description == "" {
			t.Errorf("%s: a name twice, or neither title nor description", b.Name)
		}
		uids[b.Name] = true
		titles := map[string]bool{}
		for _, p := range b.Panels() {
			if titles[p.Title] {
				t.Errorf("%s: %s is there twice", b.Name, p.Title)
			}
			titles[p.Title] = true
			if p.Title == "" || p.Unit == "" || !strings.HasSuffix(p.Description, ".") || len(p.Queries) == 0 {
				t.Errorf("%s: %q: unit %q, description %q, %d queries", b.Name, p.Title, p.Unit, p.Description, len(p.Queries))
			}
			legends := map[string]bool{}
			for _, q := range p.Queries {
				if len(p.Queries) > 1 && (q.Legend == "" || legends[q.Legend]) {
					t.Errorf("%s: %s: legend %q", b.Name, p.Title, q.Legend)
				}
				legends[q.Legend] = true
			}
			if (p.Kind == dashboards.States) != (len(p.States) > 0) {
				t.Errorf("%s: %s: kind %d with the states %v", b.Name, p.Title, p.Kind, p.States)
			}
			for i := 1; i < len(p.Steps); i++ {
				if p.Steps[i].From <= p.Steps[i-1].From {
					t.Errorf("%s: %s: thresholds %v", b.Name, p.Title, p.Steps)
				}
			}
		}
	}
}

// ofGrafana are the fields of an annotation of Prometheus that the SDK's schema lacks.
var ofGrafana = []string{"useValueForTime", "titleFormat", "textFormat", "tagKeys", "step"}

func TestDashboardsAreAsGrafanaWantsThem(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	all, err := dashboards.All()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range all {
		var raw map[string]any
		if err := json.Unmarshal([]byte(text), &raw); err != nil {
			t.Fatal(err)
		}
		for _, a := range raw["annotations"].(map[string]any)["list"].([]any) {
			if a := a.(map[string]any); a["useValueForTime"] != true || !strings.Contains(a["expr"].(string), "kmt_auditor_event_timestamp_seconds") {
				t.Errorf("%s: faults and steps are no annotations: %v", name, a)
			}
			for _, field := range ofGrafana {
				delete(a.(map[string]any), field)
			}
		}
		plain, err := json.Marshal(raw)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard.Dashboard
		if err := d.UnmarshalJSONStrict(plain); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := d.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		// Grafana takes 8 to 40 characters.
		if d.Id != nil || d.Uid == nil || len(*d.Uid) < 8 || len(*d.Uid) > 40 || d.SchemaVersion == 0 {
			t.Errorf("%s: id %v, uid %v, schema %d", name, d.Id, d.Uid, d.SchemaVersion)
		}
		if d.Refresh == nil || *d.Refresh != "15s" || d.Time == nil || d.Time.From != "now-30m" || d.Time.To != "now" {
			t.Errorf("%s: refresh %v, time %+v", name, d.Refresh, d.Time)
		}
		if len(d.Links) != 1 || !slices.Contains(d.Tags, d.Links[0].Tags[0]) {
			t.Errorf("%s: links to others: %+v, tags %v", name, d.Links, d.Tags)
		}
		checkGrid(t, name, d.Panels)
		sources := regexp.MustCompile(`"uid": ?"([^"]*)"`).FindAllStringSubmatch(text, -1)
		for _, m := range sources {
			if u := m[1]; u != "${source}" && u != "${destination}" && u != "-- Mixed --" && u != *d.Uid {
				t.Errorf("%s: a data source by its uid %s", name, u)
			}
		}
		variables := map[string]bool{}
		for _, v := range d.Templating.List {
			variables[v.Name] = true
		}
		if !variables["source"] || !variables["destination"] {
			t.Errorf("%s: variables %v", name, slices.Collect(maps.Keys(variables)))
		}
	}
}

// checkGrid looks for panels with the same id, that overlap or leave the screen.
func checkGrid(t *testing.T, name string, panels []dashboard.PanelOrRowPanel) {
	t.Helper()
	ids := map[uint32]bool{}
	taken := map[[2]uint32]string{}
	for _, p := range panels {
		var id *uint32
		var at *dashboard.GridPos
		var title *string
		if p.Panel != nil {
			id, at, title = p.Panel.Id, p.Panel.GridPos, p.Panel.Title
		} else {
			id, at, title = &p.RowPanel.Id, p.RowPanel.GridPos, p.RowPanel.Title
		}
		if id == nil || *id == 0 || ids[*id] {
			t.Errorf("%s: %s has the id %v of another, or none", name, *title, id)
			continue
		}
		ids[*id] = true
		if at.X+at.W > 24 {
			t.Errorf("%s: %s leaves the screen: %+v", name, *title, at)
		}
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				if other := taken[[2]uint32{x, y}]; other != "" {
					t.Fatalf("%s: %s lies on %s", name, *title, other)
				}
				taken[[2]uint32{x, y}] = *title
			}
		}
	}
}

// TestEveryPanelOfTheTalkHasASuccessor reads the table of docs/dashboards.md.
func TestEveryPanelOfTheTalkHasASuccessor(t *testing.T) {
	text, err := os.ReadFile("../docs/dashboards.md")
	if err != nil {
		t.Fatal(err)
	}
	titles := map[string]map[string]bool{}
	for _, b := range dashboards.Boards() {
		titles[b.Title] = map[string]bool{}
		for _, p := range b.Panels() {
			title, _, _ := strings.Cut(p.Title, ": "+dashboards.Source)
			title, _, _ = strings.Cut(title, ": "+dashboards.Destination)
			titles[b.Title][title] = true
		}
	}
	_, table, found := strings.Cut(string(text), "## From the talk's dashboard")
	rows := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 || strings.HasPrefix(strings.TrimSpace(cells[0]), "-") || strings.TrimSpace(cells[1]) == "dashboard" {
			continue
		}
		rows++
		board := titles[strings.TrimSpace(cells[1])]
		for _, title := range strings.Split(cells[2], ";") {
			if title = strings.TrimSpace(title); !board[title] {
				t.Errorf("%s: %s has no panel %q", strings.TrimSpace(cells[0]), strings.TrimSpace(cells[1]), title)
			}
		}
	}
	if !found || rows != 56 {
		t.Errorf("the table has %d rows, and the talk's dashboard had 56 panels", rows)
	}
}
