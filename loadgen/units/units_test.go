package units

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human/mistakestest"
)

func TestParseSize(t *testing.T) {
	for _, test := range []struct {
		text string
		want Size
	}{
		{"0", 0}, {"1000", 1000}, {"1000B", 1000}, {"1k", 1000}, {"1kB", 1000}, {"1KB", 1000}, {"1KiB", 1024}, {"1Ki", 1024},
		{"1MB", 1e6}, {"1MiB", 1 << 20}, {"3GB", 3e9}, {"2GiB", 2 << 30}, {"1TB", 1e12}, {"1TiB", 1 << 40},
		{"1.1kB", 1100}, {"0.001kB", 1}, {"1.5KiB", 1536}, {" 1 kB ", 1000}, {"007", 7}, {".5k", 500}, {"2.", 2},
		{"9223372036854775807", math.MaxInt64},
	} {
		got, err := ParseSize(test.text)
		if err != nil || got != test.want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", test.text, int64(got), err, int64(test.want))
		}
	}
}

func TestParseRate(t *testing.T) {
	for _, test := range []struct {
		text string
		want Rate
	}{
		{"20000", Rate{Records, 20000}}, {"20k", Rate{Records, 20000}}, {"20k/s", Rate{Records, 20000}},
		{"1.5M/s", Rate{Records, 1.5e6}}, {"0.5/s", Rate{Records, 0.5}}, {"30/min", Rate{Records, 0.5}}, {"10/h", Rate{Records, 1.0 / 360}},
		{"1Ki/s", Rate{Records, 1024}}, {" 20 k / s ", Rate{Records, 20000}},
		{"100MB/s", Rate{Bytes, 100e6}}, {"1MiB/s", Rate{Bytes, 1 << 20}}, {"60B/min", Rate{Bytes, 1}}, {"0.1kB/s", Rate{Bytes, 100}},
		{"max", Rate{Unlimited, 0}}, {" max ", Rate{Unlimited, 0}},
	} {
		got, err := ParseRate(test.text)
		if err != nil || got != test.want {
			t.Errorf("ParseRate(%q) = %v, %v; want %v", test.text, got, err, test.want)
		}
	}
}

var update = flag.Bool("update", false, "write this package's section of docs/mistakes.md anew")

// An error names the value, what is wrong with it, and what would be right.
func TestMistakes(t *testing.T) {
	var rows []mistakestest.Row
	note := func(kind, text string, err error) {
		if err != nil && len(text) < 100 {
			rows = append(rows, mistakestest.Row{Input: fmt.Sprintf("%s `%s`", kind, text), Message: err.Error()})
		}
	}
	for _, test := range []struct{ text, want string }{
		{"", "is empty"}, {"  ", "is empty"}, {"-1", "is negative"}, {"-5kB", "is negative"}, {"kB", "number"}, {"x", "number"}, {".", "number"},
		{"1.2.3", "number"}, {"1..2", "number"}, {"1kb", "bits"}, {"1mB", `"mB"`}, {"1e3", `"e3"`}, {"0x10", `"x10"`}, {"1,5kB", `",5kB"`}, {"1_000", `"_000"`},
		{"1kBB", `"kBB"`}, {"1k k", `"k k"`}, {"1PB", `"PB"`}, {"1iB", `"iB"`}, {"+1", "number"}, {"0.5", "whole"}, {"1.0001kB", "whole"},
		{"9223372036854775808", "large"}, {"9000000TiB", "large"}, {"1kB/s", `"kB/s"`}, {strings.Repeat("9", 5000), "digits"}, {"max", "number"}, {"١", "number"},
	} {
		_, err := ParseSize(test.text)
		checkError(t, "ParseSize", test.text, err, test.want, "1MiB")
		note("size", test.text, err)
	}
	for _, test := range []struct{ text, want string }{
		{"", "is empty"}, {"/s", "is empty"}, {"-1/s", "is negative"}, {"0", "is zero"}, {"0/s", "is zero"}, {"0MB/s", "is zero"}, {"100MB", "is a size"},
		{"100Mb/s", "bits"}, {"20x/s", `"x"`}, {"20k/d", `"d"`}, {"20k/", `time ""`}, {"20k/s/s", `"s/s"`}, {"20m/s", `"m"`},
		{"Max", "number"}, {"unlimited", "number"}, {"NaN", "number"}, {"Inf", "number"}, {"1e9/s", `"e9"`},
		{"1001T/s", "too large"}, {"1001TB/s", "too large"}, {"0.0000000001/s", "too small"}, {"0.000001/h", "too small"},
	} {
		_, err := ParseRate(test.text)
		checkError(t, "ParseRate", test.text, err, test.want, "20k/s")
		note("rate", test.text, err)
	}
	mistakestest.Section(t, "../../docs/mistakes.md", "Sizes and rates", "In flags, in scenario files and in the stacks' configuration.", rows, *update)
}

func checkError(t *testing.T, function, text string, err error, want, right string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s(%q) is accepted", function, text)
		return
	}
	for _, part := range []string{`"` + text + `"`, want, right} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s(%q) = %q, which lacks %q", function, text, err, part)
		}
	}
}

func TestRecordsPerSecond(t *testing.T) {
	for _, test := range []struct {
		rate Rate
		size Size
		want float64
	}{
		{Rate{Records, 20000}, 1000, 20000},
		{Rate{Bytes, 100e6}, 1000, 100000},
		{Rate{Bytes, 1}, 1000, 0.001},
		{Rate{Bytes, 1}, 0, math.Inf(1)},
		{Rate{Unlimited, 0}, 1000, math.Inf(1)},
		{Rate{}, 1000, 0},
	} {
		if got := test.rate.RecordsPerSecond(test.size); got != test.want {
			t.Errorf("%v of %v = %v records/s, want %v", test.rate, test.size, got, test.want)
		}
	}
}

func TestString(t *testing.T) {
	for want, size := range map[string]Size{"0B": 0, "1B": 1, "1kB": 1000, "1500B": 1500, "1KiB": 1024, "1MiB": 1 << 20, "100MB": 100e6, "1TB": 1e12} {
		if got := size.String(); got != want {
			t.Errorf("Size(%d) = %q, want %q", int64(size), got, want)
		}
	}
	for want, rate := range map[string]Rate{"max": {Unlimited, 0}, "20k/s": {Records, 20000}, "0.5/s": {Records, 0.5}, "100MB/s": {Bytes, 100e6}, "97656.25/s": {Records, 97656.25}, "0/s": {}} {
		if got := rate.String(); got != want {
			t.Errorf("%#v = %q, want %q", rate, got, want)
		}
	}
}

func TestStringIsReadBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		size := Size(rng.Int64() >> rng.IntN(63))
		if got, err := ParseSize(size.String()); got != size || err != nil {
			t.Fatalf("ParseSize(%q) = %d, %v; want %d", size.String(), int64(got), err, int64(size))
		}
		rate := Rate{Kind: RateKind(rng.IntN(2)), PerSecond: float64(1+rng.IntN(1e9)) / float64(1+rng.IntN(3600))}
		if got, err := ParseRate(rate.String()); got != rate || err != nil {
			t.Fatalf("ParseRate(%q) = %#v, %v; want %#v", rate.String(), got, err, rate)
		}
	}
}

func TestFlags(t *testing.T) {
	size, rate := Size(1000), Rate{Records, 20000}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.Var(&size, "message-size", "")
	flags.Var(&rate, "throughput", "")
	if usage := flags.FlagUsages(); !strings.Contains(usage, "default 1kB") || !strings.Contains(usage, "default 20k/s") {
		t.Errorf("usage does not show the defaults:\n%s", usage)
	}
	if err := flags.Parse([]string{"--message-size=1MiB", "--throughput", "100MB/s"}); err != nil {
		t.Fatal(err)
	}
	if size != 1<<20 || rate != (Rate{Bytes, 100e6}) {
		t.Errorf("got %v and %v", size, rate)
	}
	if err := flags.Parse([]string{"--message-size=big"}); err == nil || size != 1<<20 {
		t.Errorf("a wrong size: error %v, value %v", err, size)
	}
	if err := flags.Parse([]string{"--throughput=0"}); err == nil || rate != (Rate{Bytes, 100e6}) {
		t.Errorf("a wrong rate: error %v, value %v", err, rate)
	}
}

func TestJSON(t *testing.T) {
	type config struct {
		Size Size
		Rate Rate
	}
	in := config{1 << 20, Rate{Bytes, 100e6}}
	text, err := json.Marshal(in)
	if err != nil || string(text) != `{"Size":"1MiB","Rate":"100MB/s"}` {
		t.Fatalf("%s, %v", text, err)
	}
	var out config
	if err := json.Unmarshal(text, &out); err != nil || out != in {
		t.Fatalf("read back %+v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"Rate":"x"}`), &out); err == nil {
		t.Fatal("a wrong rate is accepted")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"1kB", "1MiB", "20k/s", "100MB/s", "max", "0.5/h", "-1", "1e9", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if size, err := ParseSize(s); err == nil {
			if again, err := ParseSize(size.String()); err != nil || again != size || size < 0 {
				t.Errorf("size %q reads as %v, then %v, %v", s, size, again, err)
			}
		}
		if rate, err := ParseRate(s); err == nil {
			if again, err := ParseRate(rate.String()); err != nil || again != rate || (rate.Kind != Unlimited) != (rate.PerSecond > 0) {
				t.Errorf("rate %q reads as %v, then %v, %v", s, rate, again, err)
			}
		}
	})
}
