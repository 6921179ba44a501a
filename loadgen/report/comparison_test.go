package report_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/report"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// played makes up results of two scenarios with two replicators, below dir, and of one that was not played.
func played(t *testing.T, dir string) []*scenario.Result {
	t.Helper()
	var out []*scenario.Result
	for _, name := range []string{"add-partitions-right-order", "add-partitions-wrong-order"} {
		for _, replicator := range []string{"brooklin", "mirrormaker2"} {
			doc := brokerFailure(12, 120)
			ms, seconds := 812.0, 13.2
			r := &scenario.Result{
				Schema: scenario.ResultSchema, Scenario: name, About: "A topic grows from 6 to 12 partitions <b>while</b> the load runs.", Reported: "Brooklin: takes minutes",
				Target: "lab", Replicator: replicator, Run: 1, Test: name, State: scenario.Finished, Outcome: verdict.Holds,
				Started: start * 1e6, Ended: (start + 160) * 1e6, Machine: "linux/amd64, 2 CPUs, 24 GiB", Versions: map[string]string{"kafka": "3.9.2", "loadgen": "v1"},
				Dir: filepath.Join(dir, name, replicator, "run-1"),
				Steps: []scenario.StepResult{{Title: "grow the source", Changes: []string{"source.partitions"}, Asked: (start + 40) * 1e6, Done: (start+41)*1e6 + 500_000,
					Events: []verdict.Event{{Time: (start+40)*1e6 + 1000, Kind: "partitions", Side: "source", Detail: "6 -> 12"}}}},
				Discoveries: []scenario.Discovery{{Step: 1, What: "partitions", Complete: true, Seconds: 12.5}},
				Expectations: []scenario.ExpectationResult{
					{Expectation: "lost == 0", Why: "nothing stands in the way", Actual: "0", Outcome: verdict.Holds},
					{Expectation: "discovery.partitions <= 1m0s", Why: "the newest data is not protected", Actual: "12.5s", Outcome: verdict.Holds},
				},
				Figures: &scenario.Figures{Expected: 120_000, Received: 120_000, Duplicates: 312, RPOSeconds: 9.1, RPORecords: 9100, RecoverySeconds: &seconds, SteadyP99Millis: &ms, P99Millis: &ms},
			}
			if name == "add-partitions-wrong-order" && replicator == "brooklin" {
				r.Outcome, r.Reasons = verdict.Broken, []string{"expected lost == 0, found 4021"}
				r.Figures.Lost = 4021
				r.Discoveries = append(r.Discoveries, scenario.Discovery{Step: 1, What: "topics", Seconds: 90})
				r.Expectations[0].Actual, r.Expectations[0].Outcome = "4021", verdict.Broken
			}
			if err := os.MkdirAll(r.Dir, 0o755); err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			if err := doc.Write(&text); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(r.Dir, scenario.VerdictFile), text.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			out = append(out, r)
		}
	}
	return append(out, &scenario.Result{Schema: scenario.ResultSchema, Scenario: "controllers-add", About: "A second controller joins.", Target: "lab", Replicator: "mirrormaker2", Run: 1,
		Outcome: scenario.NotPlayed, State: scenario.Finished, Reasons: []string{"only ureplicator has what is tested"}, Dir: filepath.Join(dir, "controllers-add")})
}

func comparison(t *testing.T, dir string, results []*scenario.Result) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.Comparison(&b, dir, results); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "ZgotmplZ") {
		t.Fatal("the template refused a value (ZgotmplZ)")
	}
	return b.String()
}

func TestComparison(t *testing.T) {
	dir := t.TempDir()
	results := played(t, dir)
	page := comparison(t, dir, results)
	for _, want := range []string{
		`href="./add-partitions-right-order/mirrormaker2/run-1/report.html"`, `href="#s-add-partitions-wrong-order"`, "4,021 lost", "expected lost == 0, found 4021",
		"nothing stands in the way", "only ureplicator has what is tested", "Brooklin: takes minutes", "&lt;b&gt;while&lt;/b&gt;", "partitions at &#43;1 ms", "took 1.5 s", "3.9.2", "24 GiB",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %s", want)
		}
	}
	// Two scenarios that differ in one thing stand in one table, with what a reader compares.
	_, figures, _ := strings.Cut(page, `<table id="figures-table">`)
	figures, _, _ = strings.Cut(figures, "</table>")
	for _, want := range []string{"New found after", "Longest outage", "Waiting at most", "add-partitions-right-order", "add-partitions-wrong-order", "12.5 s", "9,100", "not within 1 min 30 s"} {
		if !strings.Contains(figures, want) {
			t.Errorf("the table of figures does not say %s:\n%s", want, figures)
		}
	}
	if strings.Contains(figures, "controllers-add") {
		t.Error("the table of figures has a run without any")
	}
	if n := strings.Count(page, `class="multiple"`); n != 4 {
		t.Errorf("%d charts of four runs with a time line", n)
	}
	if strings.Contains(page, "controllers-add/report.html") {
		t.Error("a link to a report that is not there")
	}
	if empty := comparison(t, dir, nil); !strings.Contains(empty, "not played") {
		t.Error("without results it does not say that nothing was played")
	}
	var text bytes.Buffer
	if err := report.ComparisonMarkdown(&text, filepath.Join(dir, "elsewhere"), results); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| add-partitions-wrong-order | brooklin | 1 | [✕ broken](../add-partitions-wrong-order/brooklin/run-1/report.html) | 120,000 | 4,021 | 312 |",
		"new partitions found in 12.5 s", "| controllers-add | mirrormaker2 | 1 | – not played |", "On linux/amd64, 2 CPUs, 24 GiB, target lab.",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the table does not say %s:\n%s", want, text.String())
		}
	}
}

func TestComparisonInChromium(t *testing.T) {
	ctx := browser(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "index.html")
	results := played(t, dir)
	bad := results[2] // figures as wide as real ones come, and a reason with the end of a log
	minutes := 114.0
	bad.Figures = &scenario.Figures{Expected: 2_000_000, Received: 900_000, Lost: 1_149_081, Duplicates: 131_867, OutageSeconds: 117, RPOSeconds: 118, RPORecords: 1_233_912, RecoverySeconds: &minutes, SteadyP99Millis: &minutes, P99Millis: &minutes}
	bad.Reasons = append(bad.Reasons, "the target did not start: its log ends:\n    one line\n    another one\n    the last")
	if err := os.WriteFile(file, []byte(comparison(t, dir, results)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, screen := range []struct {
		scheme        string
		width, height int64
	}{{"light", 1280, 900}, {"dark", 390, 844}} {
		tab, cancel := chromedp.NewContext(ctx)
		self := "file://" + file
		w := watch(tab, self)
		var wide, hidden, lines float64
		var faint []string
		var shot []byte
		err := chromedp.Run(tab, network.Enable(), log.Enable(), runtime.Enable(),
			emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: screen.scheme}}),
			emulation.SetDeviceMetricsOverride(screen.width, screen.height, 1, screen.width < 500),
			chromedp.Navigate(self), chromedp.WaitVisible("#verdict", chromedp.ByQuery),
			chromedp.Evaluate(`document.documentElement.scrollWidth`, &wide),
			chromedp.Evaluate(`(s => s.scrollWidth - s.clientWidth)(document.querySelector('#figures .scroll'))`, &hidden),
			chromedp.Evaluate(`(li => li.offsetHeight / parseFloat(getComputedStyle(li).lineHeight))([...document.querySelectorAll('.because li')].find(li => li.textContent.includes('its log')))`, &lines),
			chromedp.Evaluate(pale, &faint), chromedp.Sleep(50*time.Millisecond), whole(&shot))
		if err != nil {
			t.Fatal(err)
		}
		if wide > float64(screen.width) {
			t.Errorf("the page is %.0f px wide on a screen of %d", wide, screen.width)
		}
		if hidden > 0 && screen.width > 1000 {
			t.Errorf("%.0f px of the figures are out of sight on a screen of %d", hidden, screen.width)
		}
		if lines < 4 {
			t.Errorf("a reason of 4 lines takes %.1f", lines)
		}
		for _, problem := range append(w.take(), faint...) {
			t.Errorf("%s: %s", screen.scheme, problem)
		}
		if *pictures != "" {
			if err := os.WriteFile(filepath.Join(*pictures, "comparison-"+screen.scheme+".png"), shot, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
	}
}
