package report

import (
	"bufio"
	"cmp"
	"fmt"
	"html/template"
	"io"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// comparison is what the page that compares runs shows.
type comparison struct {
	CSS    template.CSS
	Policy string

	When, Title, Class, Word, Why string
	Count                         []count
	Matrix                        *grid
	Figures                       *table
	Charts                        []small
	Scenarios                     []compared
	Machines, Versions            *table
	Schema                        string
}

type count struct {
	Class, Symbol, Name string
	N                   int
}

// grid has scenarios as rows and replicators as columns.
type grid struct {
	Columns []string
	Rows    []gridRow
}

type gridRow struct {
	Name, Anchor string
	Cells        [][]gridRun
}

type gridRun struct{ Class, Symbol, Text, Link, Title string }

// compared is a scenario, its runs side by side.
type compared struct {
	Name, About, Reported string
	Runs                  []gridRun
	Expectations          []sideBySide
	Figures               []sideBySide
	Steps                 []stepsOf
	Reasons               []reasonsOf
}

type sideBySide struct {
	Name, Why string
	Cells     []cell
}

type stepsOf struct {
	Name  string
	Steps []string
}

type reasonsOf struct {
	Name, Class string
	Reasons     list
}

// small is a chart among many of its kind.
type small struct {
	Name, Run, Class, Symbol, Anchor string
	Title                            string
	Sent, Received, RPO              string // SVG paths, 0 to 1000 both ways
	Rate, Age, Length                string // what the ends of the axes stand for
	Marks                            []mark
}

type mark struct {
	X, Number string
	Text      string
}

// Comparison writes a page that compares the results of scenarios, over replicators and runs. Like HTML
// it needs nothing else. Links lead from the directory base to the reports of the runs, where they are.
func Comparison(w io.Writer, base string, results []*scenario.Result) error {
	page, err := files.ReadFile("page.css")
	if err != nil {
		return fmt.Errorf("write comparison: %w", err)
	}
	own, err := files.ReadFile("comparison.css")
	if err != nil {
		return fmt.Errorf("write comparison: %w", err)
	}
	t, err := template.New("comparison.html").ParseFS(files, "comparison.html", "page.html")
	if err != nil {
		return fmt.Errorf("write comparison: %w", err)
	}
	c := newComparison(base, results)
	c.CSS = template.CSS(string(page) + string(own))
	c.Policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
	out := bufio.NewWriter(w)
	if err := t.Execute(out, c); err != nil {
		return fmt.Errorf("write comparison: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write comparison: %w", err)
	}
	return nil
}

// resultSymbol is symbol for results, of which some were not played.
func resultSymbol(o verdict.Outcome) string {
	if o == scenario.NotPlayed {
		return "–"
	}
	return o.Symbol()
}

func resultClass(o verdict.Outcome) string {
	if o == scenario.NotPlayed {
		return "zero"
	}
	return class(o)
}

// grouped returns results by scenario, in their order.
func grouped(results []*scenario.Result) (names []string, by map[string][]*scenario.Result) {
	by = map[string][]*scenario.Result{}
	for _, r := range results {
		if by[r.Scenario] == nil {
			names = append(names, r.Scenario)
		}
		by[r.Scenario] = append(by[r.Scenario], r)
	}
	return names, by
}

func replicatorsOf(results []*scenario.Result) []string {
	seen := map[string]bool{}
	for _, r := range results {
		seen[r.Replicator] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

func newComparison(base string, results []*scenario.Result) *comparison {
	worst := scenario.Worst(results)
	c := &comparison{Title: "Scenarios", Schema: scenario.ResultSchema, Class: class(worst), Word: string(worst), When: span(results)}
	n := map[verdict.Outcome]int{}
	for _, r := range results {
		n[r.Outcome]++
	}
	for _, o := range []verdict.Outcome{verdict.Holds, verdict.Broken, verdict.CannotSay, scenario.NotPlayed} {
		c.Count = append(c.Count, count{Class: resultClass(o), Symbol: resultSymbol(o), Name: capital(string(o)), N: n[o]})
	}
	names, by := grouped(results)
	c.Why = fmt.Sprintf("%s of %s with %s.", human.Plural(uint64(len(results)), "run", "runs"), human.Plural(uint64(len(names)), "scenario", "scenarios"),
		strings.Join(replicatorsOf(results), ", "))
	c.Matrix = &grid{Columns: replicatorsOf(results)}
	for _, name := range names {
		row := gridRow{Name: name, Anchor: anchor(name)}
		for _, replicator := range c.Matrix.Columns {
			var runs []gridRun
			for _, r := range by[name] {
				if r.Replicator == replicator {
					runs = append(runs, runLink(base, r))
				}
			}
			row.Cells = append(row.Cells, runs)
		}
		c.Matrix.Rows = append(c.Matrix.Rows, row)
		c.Scenarios = append(c.Scenarios, newCompared(base, by[name]))
	}
	c.Figures = figuresOf(results)
	for _, r := range results {
		if s, ok := newSmall(r); ok {
			c.Charts = append(c.Charts, s)
		}
	}
	c.Machines, c.Versions = environments(results)
	return c
}

// figuresOf has the figures of all runs that came to any, a row each: scenarios that differ in one thing can be
// compared line by line.
func figuresOf(results []*scenario.Result) *table {
	t := &table{ID: "figures-table", Caption: "Figures of all runs", Head: columns("Run", "", "#Missing", "#Duplicates", "#New found after", "#Longest outage", "#Recovery", "#Worst RPO", "#Waiting at most", "#p99 steady", "#p99 of all"),
		Note: "Missing: lost, undelivered, or gone again. New found after: from the change at the source until a record of each new topic or partition had arrived. Waiting at most: records that were due and had not arrived."}
	for _, r := range results {
		f := r.Figures
		if f == nil {
			continue
		}
		found := cell{Text: "–", Class: "zero"}
		if d := slowestDiscovery(r); d != nil && d.Complete {
			found = text(human.Seconds(d.Seconds))
		} else if d != nil {
			found = cell{Text: "not within " + human.Seconds(d.Seconds), Class: "marked"}
		}
		t.Rows = append(t.Rows, []cell{{Text: r.Scenario, Lines: []string{runName(r)}}, {Text: resultSymbol(r.Outcome), Class: resultClass(r.Outcome)},
			suspicious(f.Lost + f.Undelivered + f.DestinationLost), suspicious(f.Duplicates), found, text(human.Seconds(f.OutageSeconds)), text(recoveryText(f)),
			text(human.Seconds(f.RPOSeconds)), number(f.RPORecords), millisCell(f.SteadyP99Millis), millisCell(f.P99Millis)})
	}
	return t
}

// slowestDiscovery is the discovery that took longest, or was not made; nil where there was nothing to discover.
func slowestDiscovery(r *scenario.Result) *scenario.Discovery {
	var worst *scenario.Discovery
	for i := range r.Discoveries {
		if d := &r.Discoveries[i]; worst == nil || worst.Complete && (!d.Complete || d.Seconds > worst.Seconds) {
			worst = d
		}
	}
	return worst
}

func anchor(name string) string { return "s-" + url.PathEscape(name) }

// span is from when to when the runs were.
func span(results []*scenario.Result) string {
	var from, to int64
	for _, r := range results {
		if r.Started > 0 && (from == 0 || r.Started < from) {
			from = r.Started
		}
		to = max(to, r.Ended)
	}
	if from == 0 {
		return ""
	}
	return fmt.Sprintf("%s UTC, %s", date(from), human.Seconds(float64(max(to, from)-from)/1e6))
}

func runLink(base string, r *scenario.Result) gridRun {
	g := gridRun{Class: resultClass(r.Outcome), Symbol: resultSymbol(r.Outcome), Text: brief(r), Title: strings.Join(r.Reasons, "\n")}
	if rel, err := filepath.Rel(base, filepath.Join(r.Dir, scenario.ReportFile)); err == nil && r.Figures != nil {
		g.Link = (&url.URL{Path: filepath.ToSlash(rel)}).String()
		if !strings.HasPrefix(g.Link, ".") {
			g.Link = "./" + g.Link
		}
	}
	return g
}

// brief says in a few words what a run came to.
func brief(r *scenario.Result) string {
	if r.Figures == nil {
		return string(r.Outcome)
	}
	parts := []string{string(r.Outcome)}
	f := r.Figures
	for _, x := range []struct {
		n    uint64
		name string
	}{{f.Lost, "lost"}, {f.Undelivered, "undelivered"}, {f.DestinationLost, "gone again"}, {f.Reordered, "reordered"}, {f.Misplaced, "misplaced"}, {f.Duplicates, "duplicates"}} {
		if x.n > 0 {
			parts = append(parts, human.Count(x.n)+" "+x.name)
		}
	}
	if f.RecoverySeconds != nil && *f.RecoverySeconds != 0 {
		parts = append(parts, "recovery "+recoveryText(f))
	}
	return strings.Join(parts, ", ")
}

func recoveryText(f *scenario.Figures) string {
	switch {
	case f.RecoverySeconds == nil:
		return "–"
	case *f.RecoverySeconds < 0:
		return "never"
	default:
		return human.Seconds(*f.RecoverySeconds)
	}
}

func runName(r *scenario.Result) string { return fmt.Sprintf("%s, run %d", r.Replicator, r.Run) }

func newCompared(base string, runs []*scenario.Result) compared {
	c := compared{Name: runs[0].Scenario, About: runs[0].About, Reported: runs[0].Reported}
	index := map[string]int{}
	for i, r := range runs {
		link := runLink(base, r)
		link.Text = runName(r)
		c.Runs = append(c.Runs, link)
		for _, e := range r.Expectations {
			at, ok := index[e.Expectation]
			if !ok {
				at = len(c.Expectations)
				index[e.Expectation] = at
				c.Expectations = append(c.Expectations, sideBySide{Name: e.Expectation, Why: e.Why, Cells: make([]cell, len(runs))})
			}
			c.Expectations[at].Cells[i] = cell{Text: e.Outcome.Symbol() + " " + clip(e.Actual, 200), Class: class(e.Outcome)}
		}
		var steps []string
		for _, s := range r.Steps {
			steps = append(steps, stepText(s))
		}
		if len(steps) > 0 {
			c.Steps = append(c.Steps, stepsOf{Name: runName(r), Steps: steps})
		}
		if r.Outcome != verdict.Holds && len(r.Reasons) > 0 {
			c.Reasons = append(c.Reasons, reasonsOf{Name: runName(r), Class: resultClass(r.Outcome), Reasons: newList(r.Reasons)})
		}
	}
	for _, f := range figureRows() {
		row := sideBySide{Name: f.name}
		some := false
		for _, r := range runs {
			x := cell{Text: "–", Class: "zero"}
			if r.Figures != nil {
				x = f.value(r.Figures)
				some = true
			}
			row.Cells = append(row.Cells, x)
		}
		if some {
			c.Figures = append(c.Figures, row)
		}
	}
	return c
}

// stepText says when a step was asked for, and what really happened when.
func stepText(s scenario.StepResult) string {
	text := fmt.Sprintf("%s %s", clock(s.Asked), s.Title)
	if s.Done > s.Asked {
		text += fmt.Sprintf(" (took %s)", human.Seconds(float64(s.Done-s.Asked)/1e6))
	}
	for _, e := range s.Events {
		text += fmt.Sprintf("; %s at %s%s", e.Kind, sign(e.Time-s.Asked), human.Seconds(float64(e.Time-s.Asked)/1e6))
	}
	if s.Error != "" {
		text += "; failed: " + clip(s.Error, maxText)
	}
	return text
}

func sign(us int64) string {
	if us < 0 {
		return ""
	}
	return "+"
}

type figureRow struct {
	name  string
	value func(f *scenario.Figures) cell
}

func millisCell(ms *float64) cell {
	switch {
	case ms == nil:
		return cell{Text: "–", Class: "zero"}
	case *ms == latency.OverRange:
		return cell{Text: "over range", Class: "marked"}
	default:
		return text(human.Millis(*ms))
	}
}

func figureRows() []figureRow {
	return []figureRow{
		{"sent", func(f *scenario.Figures) cell { return number(f.Expected) }},
		{"received", func(f *scenario.Figures) cell { return number(f.Received) }},
		{"lost", func(f *scenario.Figures) cell { return suspicious(f.Lost) }},
		{"undelivered", func(f *scenario.Figures) cell { return suspicious(f.Undelivered) }},
		{"gone again", func(f *scenario.Figures) cell { return suspicious(f.DestinationLost) }},
		{"duplicates", func(f *scenario.Figures) cell { return suspicious(f.Duplicates) }},
		{"reordered", func(f *scenario.Figures) cell { return suspicious(f.Reordered) }},
		{"longest outage", func(f *scenario.Figures) cell { return text(human.Seconds(f.OutageSeconds)) }},
		{"longest recovery", func(f *scenario.Figures) cell { return text(recoveryText(f)) }},
		{"worst RPO", func(f *scenario.Figures) cell {
			return cell{Text: human.Seconds(f.RPOSeconds), Lines: []string{human.Plural(f.RPORecords, "record", "records")}}
		}},
		{"p99 while steady", func(f *scenario.Figures) cell { return millisCell(f.SteadyP99Millis) }},
		{"p99 of all", func(f *scenario.Figures) cell { return millisCell(f.P99Millis) }},
		{"bottleneck", func(f *scenario.Figures) cell { return text(cmp.Or(f.Bottleneck, "–")) }},
	}
}

// newSmall draws a run: what was sent and what arrived in each second, and how old the oldest record was
// that was due.
func newSmall(r *scenario.Result) (small, bool) {
	if r.Figures == nil {
		return small{}, false
	}
	doc, err := r.ReadVerdict()
	if err != nil || len(doc.Timeline) < 2 {
		return small{}, false // then there is nothing to draw; the figures are there all the same
	}
	points := doc.Timeline
	from, to := float64(points[0].Second), float64(points[len(points)-1].Second+1)
	var rate, age float64
	for _, p := range points {
		rate, age = max(rate, float64(p.Sent), float64(p.Received)), max(age, p.RPOSeconds)
	}
	rate, age = max(rate, 1), max(age, 1)
	x := func(second float64) float64 { return (second - from) / (to - from) * 1000 }
	path := func(top float64, value func(p *verdict.Point) float64) string {
		var b strings.Builder
		command := "M"
		for i := range points {
			fmt.Fprintf(&b, "%s%.1f %.1f", command, x(float64(points[i].Second)+.5), 1000-value(&points[i])/top*1000)
			command = "L"
		}
		return b.String()
	}
	s := small{
		Name: r.Scenario, Run: runName(r), Class: resultClass(r.Outcome), Symbol: resultSymbol(r.Outcome), Anchor: anchor(r.Scenario),
		Sent:     path(rate, func(p *verdict.Point) float64 { return float64(p.Sent) }),
		Received: path(rate, func(p *verdict.Point) float64 { return float64(p.Received) }),
		RPO:      path(age, func(p *verdict.Point) float64 { return p.RPOSeconds }),
		Rate:     human.Rounded(rate) + "/s", Age: human.Seconds(age), Length: human.Seconds(to - from),
	}
	s.Title = fmt.Sprintf("%s, %s: records sent and arrived per second, at most %s; age of the oldest record due, at most %s", s.Name, s.Run, s.Rate, s.Age)
	for i, step := range r.Steps {
		at := x(float64(step.Asked) / 1e6)
		if at < 0 || at > 1000 {
			continue
		}
		s.Marks = append(s.Marks, mark{X: fmt.Sprintf("%.2f", at/10), Number: fmt.Sprint(i + 1), Text: step.Title})
	}
	return s, true
}

// environments list on what, and with what, the runs were.
func environments(results []*scenario.Result) (machines, versions *table) {
	machines = &table{ID: "machines-table", Caption: "Machines", Head: columns("Machine", "#Runs", "Target", "Settings")}
	versions = &table{ID: "versions-table", Caption: "Versions", Head: columns("Name", "Value")}
	type key struct{ machine, target, settings string }
	runs := map[key]uint64{}
	all := map[string]map[string]bool{}
	for _, r := range results {
		runs[key{r.Machine, r.Target, strings.Join(r.Settings, " ")}]++
		for name, v := range r.Versions {
			if all[name] == nil {
				all[name] = map[string]bool{}
			}
			all[name][v] = true
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(runs), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.machine, b.machine), cmp.Compare(a.target, b.target), cmp.Compare(a.settings, b.settings))
	}) {
		machines.Rows = append(machines.Rows, []cell{text(k.machine), number(runs[k]), text(k.target), text(cmp.Or(k.settings, "–"))})
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		versions.Rows = append(versions.Rows, []cell{text(name), {Text: clip(strings.Join(slices.Sorted(maps.Keys(all[name])), "; "), maxText), Class: "value"}})
	}
	return machines, versions
}

// ComparisonMarkdown writes the same in short, as Markdown.
func ComparisonMarkdown(w io.Writer, base string, results []*scenario.Result) error {
	var b strings.Builder
	b.WriteString("# Results of scenarios\n\n")
	if s := span(results); s != "" {
		fmt.Fprintf(&b, "Played %s.\n", s)
	}
	machines, versions := environments(results)
	for _, row := range machines.Rows {
		fmt.Fprintf(&b, "On %s, target %s", row[0].Text, row[2].Text)
		if row[3].Text != "–" {
			fmt.Fprintf(&b, ", with %s", row[3].Text)
		}
		b.WriteString(".\n")
	}
	if len(versions.Rows) > 0 {
		b.WriteString("\nVersions: ")
		for i, row := range versions.Rows {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s %s", escape(row[0].Text), escape(row[1].Text))
		}
		b.WriteString(".\n")
	}
	b.WriteString("\n| scenario | replicator | run | outcome | sent | lost | duplicates | longest outage | recovery | worst RPO | waiting at most | p99 steady | why not, or what was found |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range results {
		outcome := fmt.Sprintf("%s %s", resultSymbol(r.Outcome), r.Outcome)
		if link := runLink(base, r).Link; link != "" {
			outcome = fmt.Sprintf("[%s](%s)", outcome, link)
		}
		figures := []string{"–", "–", "–", "–", "–", "–", "–", "–"}
		if f := r.Figures; f != nil {
			p99 := "–"
			if f.SteadyP99Millis != nil {
				p99 = millis(*f.SteadyP99Millis)
			}
			figures = []string{human.Count(f.Expected), human.Count(f.Lost), human.Count(f.Duplicates), human.Seconds(f.OutageSeconds), recoveryText(f), human.Seconds(f.RPOSeconds), human.Count(f.RPORecords), p99}
		}
		var found []string
		if r.Outcome != verdict.Holds {
			for _, reason := range r.Reasons[:min(len(r.Reasons), 3)] {
				found = append(found, clip(reason, 300))
			}
		}
		for _, d := range r.Discoveries {
			if d.Complete {
				found = append(found, fmt.Sprintf("new %s found in %s", d.What, human.Seconds(d.Seconds)))
			} else {
				found = append(found, fmt.Sprintf("new %s not found within %s", d.What, human.Seconds(d.Seconds)))
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %s | %s | %s |\n", escape(r.Scenario), escape(r.Replicator), r.Run, outcome, strings.Join(figures, " | "), escape(strings.Join(found, "; ")))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

// escape keeps text from ending a cell of a Markdown table.
func escape(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ", "\r", " ", "<", "&lt;").Replace(s)
}
