package live

import (
	"image"
	"image/color"
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

func TestAPictureKeepsTheColoursThatItIsDrawnWith(t *testing.T) {
	// Hundreds of shades, each more often there than the colours of lines.
	from := image.NewRGBA(image.Rect(0, 0, 300, 20))
	for x := range 300 {
		for y := range 20 {
			from.Set(x, y, color.RGBA{uint8(x), uint8(x / 2), 77, 255})
		}
	}
	drawn := append([]color.Color{ink, faint, eventInk, named["green"], named["orange"], named["red"]}, colours...)
	for i, c := range drawn {
		from.Set(i, 0, c)
	}
	to := fewColours(from)
	for i, c := range drawn {
		if rgba(to.At(i, 0)) != rgba(c) {
			t.Errorf("%v has become %v", c, to.At(i, 0))
		}
	}
	if n := len(to.ColorModel().(color.Palette)); n != mostColours {
		t.Errorf("%d colours", n)
	}
}
