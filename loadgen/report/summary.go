package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// Summary writes the verdict for a terminal, in about 25 lines: the outcome,
// why, the figures, the expectations, and where the whole report is, if paths
// are given. Colour is used only where w is a terminal and NO_COLOR is not set.
func Summary(w io.Writer, d *verdict.Document, reports ...string) error {
	v, c := &d.Verdict, &d.Verdict.Total
	var b bytes.Buffer
	paint := func(o verdict.Outcome, s string) string {
		if !human.Colour(w) {
			return s
		}
		colour := map[string]string{"holds": "32", "broken": "31", "unknown": "33"}[class(o)]
		return "\x1b[1;" + colour + "m" + s + "\x1b[0m"
	}

	outcome := v.Outcome
	if outcome == "" {
		outcome = verdict.CannotSay
	}
	head := outcome.Symbol() + " " + strings.ToUpper(human.Printable(string(outcome)))
	if !v.Final {
		head += " so far"
	}
	fmt.Fprintf(&b, "%s  %s\n", paint(outcome, head), human.Printable(v.Test))
	fmt.Fprintf(&b, "  %s\n", human.Printable(why(v)))
	// What the sentence or the expectations below do not say already.
	var reasons []string
	if outcome != verdict.Holds {
		for _, r := range v.Reasons {
			if !strings.HasPrefix(r, "expected ") && !strings.Contains(why(v), r) {
				reasons = append(reasons, r)
			}
		}
	}
	const most = 5
	for i, r := range reasons {
		if i == most {
			fmt.Fprintf(&b, "    … and %d more\n", len(reasons)-most)
			break
		}
		fmt.Fprintf(&b, "    - %s\n", human.Printable(clip(r, 300)))
	}
	b.WriteByte('\n')

	missing, waiting := "undelivered", c.Undelivered
	if !v.Final {
		missing, waiting = "pending", c.Pending
	}
	lost := human.Count(c.Lost)
	if c.LostAtLeast < c.Lost {
		lost += " (at least " + human.Count(c.LostAtLeast) + ")"
	}
	duplicates := human.Count(c.Duplicates)
	if c.Replays > 0 {
		duplicates += fmt.Sprintf(" (%s, longest %s)", human.Plural(c.Replays, "replay", "replays"), human.Count(c.LongestReplay))
	}
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "  sent\t%s\tduplicates\t%s\n", human.Count(c.Expected), duplicates)
	fmt.Fprintf(t, "  received\t%s\treordered\t%s\n", human.Count(c.Received), human.Count(c.Reordered))
	fmt.Fprintf(t, "  lost\t%s\tcorrupt\t%s\n", lost, human.Count(c.Corrupt))
	fmt.Fprintf(t, "  %s\t%s\tindeterminate\t%s\n", missing, human.Count(waiting), human.Count(c.Indeterminate))
	_ = t.Flush() // into memory

	b.WriteByte('\n')
	if l := whole(v); l == nil {
		b.WriteString("  latency     not measured\n")
	} else {
		q := &l.Latency
		fmt.Fprintf(&b, "  latency     p50 %s, p99 %s, p99.99 %s, max %s (%s)\n", millis(q.P50), millis(q.P99), millis(q.P9999), millis(q.Max), clocks(l))
	}
	if o, topic, partition := longest(v); o == nil {
		b.WriteString("  outage      none\n")
	} else {
		fmt.Fprintf(&b, "  outage      longest %s, on %s/%d\n", human.Seconds(float64(o.To-o.From)/1e6), human.Printable(topic), partition)
	}
	if r := slowest(v); r != nil && r.Recovered {
		fmt.Fprintf(&b, "  recovery    %s after %s\n", human.Seconds(r.Seconds), human.Printable(r.Event))
	} else if r != nil {
		fmt.Fprintf(&b, "  recovery    %s after %s\n", notRecovered(v), human.Printable(r.Event))
	}
	seconds, records := worstRPO(d)
	fmt.Fprintf(&b, "  worst RPO   %s, %s\n", human.Seconds(seconds), human.Plural(records, "record", "records"))
	fmt.Fprintf(&b, "  control     %d of %d planted losses reported\n", v.Control.Reported, v.Control.Planted)
	if v.Bottleneck.Component != "" {
		fmt.Fprintf(&b, "  bottleneck  %s: %s\n", human.Printable(v.Bottleneck.Component), human.Printable(clip(v.Bottleneck.Evidence, 300)))
	}

	if len(v.Expectations) > 0 {
		b.WriteString("\n")
		widest := 0
		for _, e := range v.Expectations {
			widest = max(widest, len(e.Expectation))
		}
		for _, e := range gravestFirst(v.Expectations) {
			line := fmt.Sprintf("%s %-*s", e.Outcome.Symbol(), min(widest, 60), human.Printable(e.Expectation))
			if e.Outcome != verdict.Holds {
				line = paint(e.Outcome, line)
			}
			fmt.Fprintf(&b, "  %s  found %s\n", line, human.Printable(e.Actual))
		}
	}
	if len(reports) > 0 {
		b.WriteString("\n")
	}
	for _, r := range reports {
		fmt.Fprintf(&b, "  report      %s\n", human.Printable(r))
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	return nil
}
