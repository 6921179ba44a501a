package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/intervals"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/report"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

func render(t *testing.T, d *verdict.Document) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.HTML(&b, d); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "ZgotmplZ") {
		t.Fatal("the template refused a value (ZgotmplZ)")
	}
	return b.String()
}

func parse(t *testing.T, page string) *html.Node {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func byID(root *html.Node, id string) *html.Node {
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && attr(n, "id") == id {
			return n
		}
	}
	return nil
}

func byClass(root *html.Node, class string) []*html.Node {
	var out []*html.Node
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && slices.Contains(strings.Fields(attr(n, "class")), class) {
			out = append(out, n)
		}
	}
	return out
}

// textOf returns the text of a node as one reads it.
func textOf(n *html.Node) string {
	if n == nil {
		return ""
	}
	var b strings.Builder
	for x := range n.Descendants() {
		if x.Type == html.TextNode && x.Parent.Data != "script" && x.Parent.Data != "style" {
			b.WriteString(x.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func documents() map[string]*verdict.Document {
	return map[string]*verdict.Document{
		"holds":      brokerFailure(150, 300),
		"broken":     withLoss(brokerFailure(150, 300)),
		"cannot say": withDoubt(brokerFailure(150, 300)),
		"running":    running(),
		"empty":      {},
		"computed":   {Schema: verdict.Schema, Verdict: verdict.Compute(&verdict.Input{Test: "t", Final: true, Expectations: verdict.Defaults()})},
	}
}

func TestPageNeedsNothingElse(t *testing.T) {
	address := regexp.MustCompile(`(?i)(https?:)?//[a-z0-9]|url\s*\(|@import`)
	for name, d := range documents() {
		root := parse(t, render(t, d))
		for n := range root.Descendants() {
			if n.Type == html.TextNode && (n.Parent.Data == "style" || n.Parent.Data == "script") && address.MatchString(strings.ReplaceAll(n.Data, "// ", "")) {
				t.Errorf("%s: a <%s> refers to something else", name, n.Parent.Data)
			}
			for _, a := range n.Attr {
				refers := slices.Contains([]string{"src", "href", "srcset", "data", "action", "poster", "xlink:href", "formaction", "background"}, a.Key)
				if refers && !strings.HasPrefix(a.Val, "#") && a.Val != "data:," {
					t.Errorf("%s: <%s %s=%q> refers to something else", name, n.Data, a.Key, a.Val)
				}
			}
			if slices.Contains([]string{"iframe", "object", "embed", "base", "form"}, n.Data) && n.Type == html.ElementNode {
				t.Errorf("%s: there is a <%s>", name, n.Data)
			}
		}
	}
}

func TestVerdictComesFirst(t *testing.T) {
	docs := documents()
	for name, want := range map[string]struct{ class, word, why string }{
		"holds":      {"holds", "holds", "arrived, intact and in order, some of them more than once; every expectation is met."},
		"broken":     {"broken", "broken", "431 records are lost (replicator 412, retention 19); 17 records arrived out of order; 2 records arrived corrupted; recovery is 1m45s, expected <= 30s."},
		"cannot say": {"unknown", "cannot say", "The evidence does not suffice: 120 records of orders/0 may have arrived unseen"},
		"running":    {"holds", "holds so far", "So far: nothing is lost; 181,204 of 5,9"},
		"empty":      {"unknown", "cannot say", "Nothing is known to have been sent."},
		"computed":   {"unknown", "cannot say", "no sequence was planted"},
	} {
		root := parse(t, render(t, docs[name]))
		box := byID(root, "verdict")
		if box == nil {
			t.Fatalf("%s: no verdict", name)
		}
		for n := range byID(root, "verdict").Parent.ChildNodes() {
			if n.Type == html.ElementNode {
				if n != box {
					t.Errorf("%s: <%s> stands before the verdict", name, n.Data)
				}
				break
			}
		}
		if got := attr(box, "class"); got != want.class {
			t.Errorf("%s: class %q, want %q", name, got, want.class)
		}
		if got := textOf(byID(root, "word")); !strings.HasPrefix(got, want.word) {
			t.Errorf("%s: says %q, want %q", name, got, want.word)
		}
		if len(byClass(box, "icon")) != 1 {
			t.Errorf("%s: no symbol beside the colour", name)
		}
		if got := textOf(box); !strings.Contains(got, want.why) {
			t.Errorf("%s: why is %q, want it to contain %q", name, got, want.why)
		}
	}
}

func TestFiguresAreThere(t *testing.T) {
	root := parse(t, render(t, withLoss(brokerFailure(150, 300))))
	tiles := textOf(byID(root, "figures"))
	for _, want := range []string{"Received 29,993,689 99.9985 %", "Lost 431 at least 429", "Duplicates 312 2 replays, longest 180", "Reordered 17", "Corrupt 2", "Latency p50 92 ms clocks ± 1.2 ms", "p99 14.7 s", "p99.99 21.4 s",
		"Longest outage 12.9 s orders/40", "Recovery 1 min 45 s after broker-kill", "Worst RPO"} {
		if !strings.Contains(tiles, want) {
			t.Errorf("key figures lack %q: %s", want, tiles)
		}
	}
	for id, wants := range map[string][]string{
		"expectations": {"lost == 0 431 ✕ broken", "duplicates <= 1000 312 ✓ holds"},
		"timelines":    {"16:02:00.412 +2:00 broker-kill source broker 2, kill -9 of process 41822", "Throughput", "Records", "Latency", "Pending", "RPO", "Anomalies", "Consumer lag"},
		"findings": {"lost 400 replicator orders/4 Still in the source log, while later records of the partition have arrived sequences 61204-61589, 61604-61617 source offsets 122410, 122411, 122412",
			"122417, … producer producer-1, run 02c55e9b7741aa10, epoch 0", "lost 19 retention clicks/1"},
		"latency":    {"broker-return LogAppendTime", "310 µs ± 1.2 ms"},
		"recoveries": {"broker-kill 16:02:00.412 1 min 45 s"},
		"outages":    {"of 150 partitions stood still at once", "Showing 40 of 50 partitions with outages"},
		"topics":     {"75 partitions", "orders", "412 lost", "02c55e9b7741aa10"},
		"producers":  {"producer-1 02c55e9b7741aa10 closed"},
		"trust":      {"4 of 4 losses planted on purpose were reported", "none: producers kept to their schedule"},
		"config":     {"message-size 1kB", "franz-go v1.22.2"},
	} {
		got := textOf(byID(root, id))
		for _, want := range wants {
			if !strings.Contains(got, want) {
				t.Errorf("section %s lacks %q: %s", id, want, got)
			}
		}
	}
}

func TestOrderOfSections(t *testing.T) {
	root := parse(t, render(t, brokerFailure(4, 60)))
	var got []string
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && n.Data == "section" {
			got = append(got, attr(n, "id"))
		}
	}
	want := []string{"verdict", "figures", "expectations", "trust", "timelines", "findings", "latency", "recoveries", "outages", "topics", "producers", "config"}
	if !slices.Equal(got, want) {
		t.Errorf("sections are %v, want %v", got, want)
	}
}

// Every string of a document may come from somebody else.
func TestHostileStringsAreText(t *testing.T) {
	const evil = `</script></style><script>alert("x")</script><img src=x onerror='alert(1)'>"'` + "`" + `{{.}}&lt;`
	d := withLoss(brokerFailure(6, 60))
	d.Schema = evil
	v := &d.Verdict
	v.Test, v.Reasons, v.Notes = evil, []string{evil}, []string{evil}
	v.Expectations = append(v.Expectations, verdict.ExpectationResult{Expectation: evil, Actual: evil, Outcome: verdict.Outcome(evil)})
	v.Findings = append(v.Findings, verdict.Finding{Word: evil, Attribution: verdict.Attribution(evil), Topic: evil, Producer: evil, Run: evil, Evidence: evil, Sequences: []intervals.Range{{From: 1, To: 2}}})
	v.Topics[0].Name = evil
	v.Topics[0].Partitions[1].Streams[0].Producer, v.Topics[0].Partitions[1].Streams[0].Run = evil, evil
	v.Control.Detail, v.Bottleneck.Component, v.Bottleneck.Evidence = evil, evil, evil
	v.Producers[0].ID, v.Producers[0].Run, v.Producers[0].State = evil, evil, evil
	v.Latency[1].Phase, v.Latency[1].Source = evil, evil
	v.Recoveries[0].Event = evil
	v.Clock.Detail = evil
	d.Events[0].Kind, d.Events[0].Side, d.Events[0].Detail = evil, evil, evil
	d.Config[evil], d.Versions["x"] = evil, evil

	for _, outcome := range []verdict.Outcome{verdict.Broken, verdict.Outcome(evil)} {
		v.Outcome = outcome
		root := parse(t, render(t, d))
		scripts := 0
		for n := range root.Descendants() {
			if n.Type != html.ElementNode {
				continue
			}
			if n.Data == "script" {
				scripts++
			}
			if n.Data == "img" {
				t.Errorf("an <img> got into <%s>", n.Parent.Data)
			}
			for _, a := range n.Attr {
				if strings.HasPrefix(a.Key, "on") {
					t.Errorf("<%s> got the handler %s", n.Data, a.Key)
				}
			}
		}
		if scripts != 2 { // the data and the page's own
			t.Errorf("there are %d scripts", scripts)
		}
		body := textOf(root)
		if n := strings.Count(body, `<script>alert("x")</script>`); n < 20 {
			t.Errorf("the strings are to be shown as they are; they appear %d times", n)
		}
		if !json.Valid([]byte(byID(root, "data").FirstChild.Data)) {
			t.Error("the charts' data is not JSON")
		}
	}
}

func TestTablesHaveHeaders(t *testing.T) {
	root := parse(t, render(t, withLoss(brokerFailure(6, 60))))
	tables := 0
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "table":
			tables++
			caption := false
			for x := range n.Descendants() {
				caption = caption || x.Data == "caption" && textOf(x) != ""
			}
			if !caption {
				t.Error("a table has no caption")
			}
		case "th":
			if s := attr(n, "scope"); s != "row" && s != "col" {
				t.Errorf("header %q has scope %q", textOf(n), s)
			}
		case "svg":
			if attr(n, "aria-hidden") == "" {
				titled := false
				for x := range n.ChildNodes() {
					titled = titled || x.Data == "title" && textOf(x) != ""
				}
				if !titled {
					t.Error("a chart has no title")
				}
			}
		}
	}
	if tables < 12 {
		t.Errorf("only %d tables", tables)
	}
}

var numbers = regexp.MustCompile(`-?\d+`)

// heights returns the smallest and the largest y of a path.
func heights(t *testing.T, d string) (low, high int) {
	t.Helper()
	low, high = math.MaxInt, math.MinInt
	for i, s := range numbers.FindAllString(d, -1) {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 {
			low, high = min(low, n), max(high, n)
		}
	}
	return low, high
}

func path(t *testing.T, root *html.Node, chart, class, kind string) string {
	t.Helper()
	for _, figure := range byClass(root, "chart") {
		if !strings.HasPrefix(textOf(figure), chart+" ") {
			continue
		}
		for _, n := range byClass(figure, kind) {
			if n.Data == "path" && slices.Contains(strings.Fields(attr(n, "class")), "c-"+class) {
				return attr(n, "d")
			}
		}
	}
	t.Fatalf("chart %s has no %s of %s", chart, kind, class)
	return ""
}

// A single second stands out of a day's line, upwards and downwards.
func TestDownsamplingKeepsPeaks(t *testing.T) {
	const day = 86_400
	d := &verdict.Document{}
	for s := range day {
		d.Timeline = append(d.Timeline, verdict.Point{Second: start + int64(s), Sent: 1000, SentBytes: 1_000_000, Received: 1000, ReceivedBytes: 1_000_000, P50: 80, P99: 100, Max: 110})
	}
	d.Timeline[40_000].ReceivedBytes = 0
	d.Timeline[50_000].ReceivedBytes = 2_000_000
	d.Timeline[60_000].Max = 90_000
	d.Timeline[70_000].Corrupt = 1
	d.Timeline[75_000].Corrupt = 1_000_000
	page := render(t, d)
	root := parse(t, page)
	if low, high := heights(t, path(t, root, "Throughput", "out", "line")); low != 0 || high != 1000 {
		t.Errorf("throughput is drawn from %d to %d, want 0 to 1000 (the peak and the hole)", low, high)
	}
	if low, high := heights(t, path(t, root, "Throughput", "in", "line")); low != 500 || high != 500 {
		t.Errorf("the flat line is drawn from %d to %d, want 500", low, high)
	}
	low, _ := heights(t, path(t, root, "Latency", "max", "line"))
	if want := 20; low > want {
		t.Errorf("the latency's peak is at %d of 1000, want at most %d", low, want)
	}
	for _, bar := range strings.Split(path(t, root, "Anomalies", "corrupt", "bars"), "M")[1:] {
		if low, high := heights(t, bar); high-low < 20 {
			t.Errorf("one corrupt record beside a million is drawn %d of 1000 high", high-low)
		}
	}
	if n := len(numbers.FindAllString(path(t, root, "Throughput", "out", "line"), -1)); n > 4*500 {
		t.Errorf("a line has %d points", n/2)
	}
	if len(page) > 1<<20 {
		t.Errorf("a page without tables takes %d bytes", len(page))
	}
}

// Everything stands at its time on the common axis.
func TestPlacesOnTheAxis(t *testing.T) {
	second := func(s float64) int64 { return start*1e6 + int64(s*1e6) }
	d := &verdict.Document{
		Events: []verdict.Event{{Time: second(25), Kind: "broker-kill"}, {Time: second(500), Kind: "late"}},
		Verdict: verdict.Verdict{
			Recoveries: []verdict.Recovery{{Event: "broker-kill", At: second(20), Recovered: true, Seconds: 15}, {Event: "other", At: second(30), Recovered: true, Seconds: 10}, {Event: "third", At: second(90)}},
			Topics: []verdict.Topic{{Name: "a", Partitions: []verdict.Partition{
				{Partition: 0, OutageSeconds: 50, Outages: []verdict.Outage{{From: second(25), To: second(75)}}},
				{Partition: 1, OutageSeconds: 2, Outages: []verdict.Outage{{From: second(60), To: second(60.4)}, {From: second(60.5), To: second(60.9)}}},
				{Partition: 2},
			}}},
		},
	}
	for s := range 100 {
		d.Timeline = append(d.Timeline, verdict.Point{Second: start + int64(s), Received: 1})
	}
	d.Timeline[50].Received, d.Timeline[50].Duplicates = 100, 3
	root := parse(t, render(t, d))
	if got, want := path(t, root, "Records", "out", "line"), "L990 990L1010 0L1030 990"; !strings.Contains(got, want) {
		t.Errorf("the peak is not at %s: %s", want, got)
	}
	if got, want := path(t, root, "Anomalies", "duplicates", "bars"), "M1010 400L1010 240"; got != want {
		t.Errorf("the duplicates are at %s, want %s", got, want)
	}
	flags := byClass(root, "flag")
	if len(flags) != 1 || attr(flags[0], "style") != "left:25%" {
		t.Errorf("%d events are marked, want one at 25 %%", len(flags))
	}
	if got := textOf(byClass(root, "events")[0]); !strings.Contains(got, "late outside the time line") {
		t.Errorf("events: %s", got)
	}
	var bands []string
	for _, b := range byClass(byClass(root, "chart")[0], "band") {
		bands = append(bands, attr(b, "x")+"+"+attr(b, "width"))
	}
	if want := []string{"400+400", "1800+200"}; !slices.Equal(bands, want) {
		t.Errorf("shaded are %v, want %v", bands, want)
	}
	var bars []string
	strips := byID(root, "outages")
	for n := range strips.Descendants() {
		if n.Data == "i" {
			bars = append(bars, attr(n, "style"))
		}
	}
	if want := []string{"left:25%;width:50%", "left:60%;width:0.4%", "left:60.5%;width:0.4%"}; !slices.Equal(bars, want) {
		t.Errorf("outages are drawn at %v, want %v", bars, want)
	}
	if got := textOf(strips); !strings.Contains(got, "At most 2 of 3 partitions stood still at once") {
		t.Errorf("outages: %s", got)
	}
}

func TestGapsAreNotDrawnOver(t *testing.T) {
	d := brokerFailure(4, 120)
	d.Timeline = slices.Delete(d.Timeline, 50, 70)
	for i := range 10 {
		d.Timeline[20+i].P50 = 0 // nothing arrived
	}
	root := parse(t, render(t, d))
	if n := strings.Count(path(t, root, "Throughput", "out", "line"), "M"); n != 2 {
		t.Errorf("throughput is drawn in %d pieces, want 2", n)
	}
	if n := strings.Count(path(t, root, "Latency", "p50", "line"), "M"); n != 3 {
		t.Errorf("p50 is drawn in %d pieces, want 3", n)
	}
}

func TestSizeIsBounded(t *testing.T) {
	d := brokerFailure(3000, 3600)
	for i := range 5000 {
		d.Verdict.Findings = append(d.Verdict.Findings, verdict.Finding{Word: "lost", Topic: "orders", Partition: int32(i), Count: uint64(i), Evidence: strings.Repeat("x", 5000)})
		d.Verdict.Reasons = append(d.Verdict.Reasons, strings.Repeat("y", 5000))
		d.Events = append(d.Events, verdict.Event{Time: (start + int64(i)) * 1e6, Kind: "e"})
		d.Config[fmt.Sprintf("k%05d", i)] = strings.Repeat("z", 5000)
		d.Verdict.Producers = append(d.Verdict.Producers, verdict.Producer{ID: fmt.Sprint(i)})
		d.Verdict.Latency = append(d.Verdict.Latency, phase(fmt.Sprint(i), 0, 1, latency.Percentiles{Count: 1, P50: 1, P90: 1, P99: 1, P999: 1, P9999: 1, Max: 1}))
		d.Verdict.Recoveries = append(d.Verdict.Recoveries, verdict.Recovery{Event: "e", At: (start + int64(i)) * 1e6})
	}
	d.Verdict.Outcome = verdict.Broken
	d.Verdict.Topics[0].Partitions[1400].Counts.Lost = 7
	page := render(t, d)
	if len(page) > 4<<20 {
		t.Errorf("the page takes %d bytes", len(page))
	}
	root := parse(t, page)
	text := textOf(root)
	for _, want := range []string{"Showing 100 of 1,500 partitions", "Showing 40 of 1,000 partitions with outages", "Showing 200 of 5,001 findings", "Showing 300 of 5,012 settings",
		"Showing 300 of 5,002 producers", "Showing 100 of 5,003 events", "Showing 300 of 5,002 recoveries", "And 4790 more in verdict.json", "(3000 bytes more)"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if !strings.Contains(textOf(byID(root, "topics")), "1400 ") {
		t.Error("the one partition with a loss is left out")
	}

	small := brokerFailure(3000, 3600)
	if n := len(render(t, small)); n > 2<<20 {
		t.Errorf("3,000 partitions over an hour take %d bytes", n)
	}
}

// Whatever a document holds, there is a page.
func TestOddDocuments(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for name, d := range map[string]*verdict.Document{
		"not a number": {Timeline: []verdict.Point{{Second: 1, P50: nan, P99: inf, Max: -inf, RPOSeconds: nan}, {Second: 2, RPOSeconds: inf}}},
		"far apart":    {Timeline: []verdict.Point{{Second: math.MinInt64 / 2}, {Second: math.MaxInt64 / 2}}},
		"one second":   {Timeline: []verdict.Point{{Second: start, P50: -3, P99: latency.OverRange, Max: latency.OverRange}}},
		"backwards":    {Timeline: []verdict.Point{{Second: start + 5}, {Second: start}}, Events: []verdict.Event{{Time: 0, Kind: "x"}, {Time: math.MaxInt64}}},
		"huge counts":  {Verdict: verdict.Verdict{Total: verdict.Counts{Expected: math.MaxUint64, Received: math.MaxUint64 - 1, Lost: 1}}},
		"outage": {Verdict: verdict.Verdict{Started: start * 1e6, At: start*1e6 + 1e7, Topics: []verdict.Topic{{Name: "a", Partitions: []verdict.Partition{{Outages: []verdict.Outage{
			{From: 5, To: 1}, {From: start * 1e6, To: start*1e6 + 3e6}, {From: math.MinInt64, To: math.MaxInt64}}}}}}}},
	} {
		page := render(t, d)
		if strings.Contains(page, "NaN") || strings.Contains(page, "Inf") {
			t.Errorf("%s: the page shows NaN or Inf", name)
		}
	}
}

// disk is full after so many bytes.
type disk struct{ left int }

var errFull = errors.New("no space left on device")

func (d *disk) Write(b []byte) (int, error) {
	if d.left -= len(b); d.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestDiskFull(t *testing.T) {
	d := brokerFailure(4, 60)
	for _, room := range []int{0, len(render(t, d)) - 1} {
		if err := report.HTML(&disk{room}, d); !errors.Is(err, errFull) {
			t.Errorf("HTML on a disk with room for %d bytes: %v", room, err)
		}
	}
	if err := report.Summary(&disk{0}, d); !errors.Is(err, errFull) {
		t.Errorf("Summary on a full disk: %v", err)
	}
}

// What is not complete is not rounded up to 100 %.
func TestSharesAreNotRoundedUp(t *testing.T) {
	for _, expected := range []uint64{3, 1000, 29_994_120, 1e12, math.MaxUint64} {
		d := &verdict.Document{Verdict: verdict.Verdict{Total: verdict.Counts{Expected: expected, Received: expected - 1, Lost: 1, LostAtLeast: 1}}}
		got := textOf(byID(parse(t, render(t, d)), "figures"))
		if !strings.Contains(got, "% Lost 1") || strings.Contains(got, "100 %") || strings.Contains(got, "100.0") {
			t.Errorf("1 of %d is missing: %s", expected, got)
		}
	}
}

func TestSummary(t *testing.T) {
	docs := documents()
	for name, wants := range map[string][]string{
		"holds":      {"✓ HOLDS", "atlantic-2026-11-22", "All ", "✓ lost == 0", "/tmp/x/report.html"},
		"broken":     {"✕ BROKEN", "431 records are lost (replicator 412, retention 19)", "at least 429", "✕ lost == 0", "found 431", "p99.99 21.4 s", "4 of 4"},
		"cannot say": {"? CANNOT SAY", "… and 31 more", "? lost == 0"},
		"running":    {"✓ HOLDS so far", "pending"},
		"empty":      {"? CANNOT SAY", "Nothing is known to have been sent."},
	} {
		var b bytes.Buffer
		if err := report.Summary(&b, docs[name], "/tmp/x/report.html"); err != nil {
			t.Fatal(err)
		}
		out := b.String()
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("%s: the summary lacks %q:\n%s", name, want, out)
			}
		}
		if n := strings.Count(out, "\n"); n > 32 {
			t.Errorf("%s: the summary has %d lines:\n%s", name, n, out)
		}
		if strings.Contains(out, "\x1b") {
			t.Errorf("%s: colours where there is no terminal", name)
		}
	}
}

// Text of others must not drive the reader's terminal.
func TestSummaryKeepsControlCharactersOut(t *testing.T) {
	d := withLoss(brokerFailure(4, 200))
	d.Verdict.Test = "a\x1b[2Jb\r\nc\u202e"
	d.Verdict.Bottleneck.Evidence = "\x1b]0;title\x07"
	var b bytes.Buffer
	if err := report.Summary(&b, d); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\r\x07\u202e") {
		t.Errorf("control characters in %q", b.String())
	}
}
