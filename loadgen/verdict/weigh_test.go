package verdict_test

import (
	"strings"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/latency"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// What compares the times of two clocks is judged by what it can be, not by what it seems.
func TestFiguresAreWeighedByTheClocks(t *testing.T) {
	for _, c := range []struct {
		name          string
		offset, bound float64 // of the clocks, milliseconds
		expect        string
		value         float64
		want          verdict.Outcome
		says          string
	}{
		{"a small bound changes nothing", 1, 45, "latency.p99 <= 5s", 4.5, verdict.Holds, ""},
		{"but close to the limit it does", 1, 45, "latency.p99 <= 5s", 4.97, verdict.CannotSay, "4.924s to 5.014s"},
		{"surely too late", 1, 45, "latency.p99 <= 5s", 5.1, verdict.Broken, ""},
		{"a producer's clock is ahead: late looks early", -4000, 45, "latency.p99 <= 5s", 1.5, verdict.Broken, "5.455s to 5.545s"},
		{"and its clock is behind: early looks late", 4000, 45, "latency.p99 <= 5s", 8, verdict.Holds, "3.955s to 4.045s"},
		{"a clock was set", -1000, 1000, "latency.p99 <= 5s", 3.5, verdict.CannotSay, "3.5s to 5.5s"},
		{"at least", -1000, 1000, "latency.p99 >= 5s", 3.5, verdict.CannotSay, ""},
		{"at least, surely", -1000, 1000, "latency.p99 >= 5s", 5.5, verdict.Holds, ""},
		{"never stays never", -1000, 1000, "latency.max <= 5s", float64(latency.MaxValue) / 1e6, verdict.Broken, ""},
		{"an outage may be longer than it looks", -4000, 45, "outage <= 5s", 2, verdict.CannotSay, "2s to 6.045s"},
		{"or shorter", 4000, 45, "outage <= 5s", 6, verdict.CannotSay, "1.955s to 6s"},
		{"recovery with clocks that agree", 1, 45, "recovery <= 5s", 4, verdict.Holds, ""},
		{"recovery with clocks that do not", -4000, 45, "recovery <= 5s", 4, verdict.CannotSay, "not known"},
		{"counts need no clock", -4000, 45, "lost == 0", 0, verdict.Holds, ""},
		{"what is known of the clocks is known", -1000, 1000, "clock.bound >= 900ms", 1, verdict.Holds, ""},
	} {
		e, err := verdict.ParseExpectation(c.expect)
		if err != nil {
			t.Fatal(err)
		}
		v := &verdict.Verdict{Clock: &verdict.Clock{OffsetMillis: c.offset, BoundMillis: c.bound}}
		got, actual := v.Weigh(e, e.Quantity, c.value, e.Format(c.value))
		if got != c.want || !strings.Contains(actual, c.says) {
			t.Errorf("%s: %s with %v: %s (%s), want %s (%s)", c.name, c.expect, c.value, got, actual, c.want, c.says)
		}
		v.Clock = &verdict.Clock{One: true}
		if got, actual := v.Weigh(e, e.Quantity, c.value, "x"); got == verdict.CannotSay || actual != "x" {
			t.Errorf("%s: with one clock %s (%s)", c.name, got, actual)
		}
	}
}
