package human_test

import (
	"bytes"
	"math"
	"os"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
)

func TestFigures(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{human.Count(0), "0"},
		{human.Count(999), "999"},
		{human.Count(1000), "1,000"},
		{human.Count(math.MaxUint64), "18,446,744,073,709,551,615"},
		{human.Plural(1, "record", "records"), "1 record"},
		{human.Plural(2000, "record", "records"), "2,000 records"},
		{human.Rounded(0), "0"},
		{human.Rounded(7), "7"},
		{human.Rounded(-0.001), "0"},
		{human.Rounded(999.4), "999"},
		{human.Rounded(999.6), "1k"},
		{human.Rounded(99_800), "99.8k"},
		{human.Rounded(12_345_678), "12.3M"},
		{human.Rounded(2e15), "2000T"},
		{human.Rounded(math.NaN()), "–"},
		{human.Bytes(99.8e6), "99.8 MB"},
		{human.Bytes(12), "12 B"},
		{human.Seconds(0), "0 s"},
		{human.Seconds(0.00084), "840 µs"},
		{human.Seconds(0.0008), "800 µs"},
		{human.Millis(84), "84 ms"},
		{human.Millis(999.7), "1 s"},
		{human.Millis(-84), "-84 ms"},
		{human.Seconds(2.144), "2.14 s"},
		{human.Seconds(59.96), "1 min"},
		{human.Seconds(185), "3 min 5 s"},
		{human.Seconds(3599.6), "1 h"},
		{human.Seconds(3720), "1 h 2 min"},
		{human.Seconds(2*86400 + 3*3600), "2 d 3 h"},
		{human.Seconds(math.Inf(1)), "–"},
		{human.Elapsed(156.9), "2:36"},
		{human.Elapsed(-5), "-0:05"},
		{human.Elapsed(3723), "1:02:03"},
		{human.Printable("a\x1b[2J\r\n\u202eé✓"), "a·[2J···é✓"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestWhatIsNotATerminal(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, ok := human.Terminal(file); ok {
		t.Error("a file is taken for a terminal")
	}
	if human.Colour(&bytes.Buffer{}) {
		t.Error("a buffer is written to in colour")
	}
}
