package live

import (
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-foundation-sdk/go/units"
)

func TestBarsLastAsLongAsTheirValue(t *testing.T) {
	begin := time.Unix(1_000_000, 0)
	r := Range{From: begin, To: begin.Add(10 * time.Minute)}
	at := func(seconds int, value float64) point {
		return point{begin.Add(time.Duration(seconds) * time.Second), value}
	}
	got := bars([]point{at(0, 1), at(15, 1), at(30, 2), at(45, 2), at(120, 2), at(600, 1)}, r)
	want := []bar{
		{at(0, 0).at, at(30, 0).at, 1},
		{at(30, 0).at, at(60, 0).at, 2},
		{at(120, 0).at, at(135, 0).at, 2}, // again, after a gap
		{at(600, 0).at, at(600, 0).at, 1}, // no longer than the picture
	}
	if len(got) != len(want) {
		t.Fatalf("%d bars: %v", len(got), got)
	}
	for i := range want {
		if !got[i].from.Equal(want[i].from) || !got[i].to.Equal(want[i].to) || got[i].value != want[i].value {
			t.Errorf("bar %d is %v, want %v", i, got[i], want[i])
		}
	}
}

func TestAxesHaveRoundValues(t *testing.T) {
	for unit, want := range map[string]string{units.BytesIEC: "0 B, 100 MiB, 200 MiB, 300 MiB", units.BytesPerSecondSI: "0 B/s, 100 MB/s, 200 MB/s, 300 MB/s"} {
		var got []string
		for _, tick := range (scale{unit}).Ticks(0, 320<<20) {
			got = append(got, tick.Label)
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: %q, want %q", unit, strings.Join(got, ", "), want)
		}
	}
}
