package probe

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// Summary writes the result for a terminal: the outcome, a table of the checks,
// the first findings, the figures and the notes.
func (d *Document) Summary(w io.Writer) error {
	const most = 12
	var b bytes.Buffer
	clean := func(s string) string { return human.Printable(s) }
	fmt.Fprintf(&b, "%s %s  probe %s on topic %s, %s\n\n", d.Outcome.Symbol(), strings.ToUpper(string(d.Outcome)), clean(d.Probe), clean(d.Topic),
		human.Seconds(float64(d.Ended-d.Started)/1e6))
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range d.Checks {
		found := fmt.Sprintf("%s right", human.Count(c.Compared))
		switch {
		case c.Wrong > 0:
			found = fmt.Sprintf("%s wrong of %s", human.Count(c.Wrong), human.Count(c.Compared))
		case c.Outcome == verdict.CannotSay:
			found = c.Detail
		}
		if !c.Counts {
			found += " (does not count)"
		}
		fmt.Fprintf(t, "  %s %s\t%s\t%s\n", c.Outcome.Symbol(), clean(c.Name), clean(c.About), clean(found))
	}
	_ = t.Flush() // into memory
	if len(d.Measures) > 0 {
		b.WriteByte('\n')
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, m := range d.Measures {
			fmt.Fprintf(t, "  %s\t%s\t%s\n", clean(m.Name), clean(m.value()), clean(m.Detail))
		}
		_ = t.Flush()
	}
	if len(d.Findings) > 0 {
		fmt.Fprintf(&b, "\n  %s:\n", human.Plural(d.FindingCount, "finding", "findings"))
	}
	for i := range d.Findings {
		if i == most {
			fmt.Fprintf(&b, "  … the others are in the JSON\n")
			break
		}
		fmt.Fprintf(&b, "  - %s: %s\n", clean(d.Findings[i].Check), clean(d.Findings[i].String()))
	}
	if len(d.Notes) > 0 {
		b.WriteByte('\n')
	}
	for _, n := range d.Notes {
		fmt.Fprintf(&b, "  note  %s\n", clean(n))
	}
	for _, l := range d.Left {
		fmt.Fprintf(&b, "  left  %s\n", clean(l))
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write the probe's summary: %w", err)
	}
	return nil
}

// value writes the figure with its unit.
func (m *Measure) value() string {
	switch m.Unit {
	case "s":
		return human.Seconds(m.Number)
	case "bytes":
		return human.Bytes(m.Number)
	case "records":
		return human.Plural(uint64(max(m.Number, 0)), "record", "records")
	}
	return fmt.Sprintf("%g %s", m.Number, m.Unit)
}
