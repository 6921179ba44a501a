package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

func recorded(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What the contenders print is read right: the files are what they did print.
func TestOutputsAreRead(t *testing.T) {
	reader := func(all []contender, name string) func(string) (said, error) {
		for _, c := range all {
			if c.name == name {
				return c.read
			}
		}
		t.Fatal(name)
		return nil
	}
	for _, c := range []struct {
		file string
		read func(string) (said, error)
		want said
	}{
		{"ours-produce.txt", reader(producers(), ours), said{Records: 20000}},
		{"java-produce.txt", reader(producers(), javaTool), said{Records: 100000, Seconds: 100000 / 12131.505520}},
		{"rdkafka.txt", reader(producers(), rdkafka), said{Records: 1000, Bytes: 1_000_000, Seconds: 0.014705, Version: "2.0.2"}},
		{"ours-consume.txt", reader(consumers(), ours), said{Records: 20000, Seconds: 0.031043004}},
		{"java-consume.txt", reader(consumers(), javaTool), said{Records: 100000, Seconds: 1.608}},
	} {
		got, err := c.read(recorded(t, c.file))
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v, want %+v", c.file, got, err, c.want)
		}
		// A contender that died early must not count as one that was fast.
		if got, err := c.read("Exception in thread main\n"); err == nil {
			t.Errorf("%s: an exception reads as %+v", c.file, got)
		}
	}
	bad := strings.Replace(recorded(t, "ours-produce.txt"), `"failed":0`, `"failed":3`, 1)
	if _, err := reader(producers(), ours)(bad); err == nil || !strings.Contains(err.Error(), "failed") {
		t.Errorf("records that failed: %v", err)
	}
	if n, err := sumOf(recorded(t, "ours-metrics.txt"), metrics.ConsumerRecords); err != nil || n != 20000 {
		t.Errorf("metrics show %v records, %v", n, err)
	}
}

func TestProcessStatus(t *testing.T) {
	got, err := parseStat([]byte("17 (a (b) c) S 1 17 17 0 -1 4194560 100 0 0 0 250 50 7 7 20 0 1 0"))
	if err != nil || got != 3*time.Second {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := parseStat([]byte("17 (a")); err == nil {
		t.Error("half a line is accepted")
	}
}

// A child is accounted for by the kernel, and its failure tells what it said.
func TestChild(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Fatal(err)
	}
	c, err := start(t.TempDir(), "busy", []string{"sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo said"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.wait(context.Background(), time.Minute); err != nil {
		t.Fatal(err)
	}
	if cpu, peak := c.used(); cpu <= 0 || peak < 100_000 || c.stdout.String() != "said\n" {
		t.Errorf("%v of CPU, %d B, %q", cpu, peak, c.stdout.String())
	}
	c, err = start(t.TempDir(), "broken", []string{"sh", "-c", "echo the reason >&2; exit 3"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.wait(context.Background(), time.Minute); err == nil || !strings.Contains(err.Error(), "the reason") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("%v", err)
	}
}

// Ratios are of what ran side by side.
func TestFigures(t *testing.T) {
	runs := []measured{{Repetition: 0, Size: 1, CPU: 2, Records: 1e9}, {Repetition: 1, Size: 1, CPU: 8, Records: 1e9}, {Repetition: 2, Size: 1, CPU: 3, Records: 1e9}}
	others := []measured{{Repetition: 1, Size: 1, CPU: 4, Records: 1e9}, {Repetition: 0, Size: 1, CPU: 1, Records: 1e9}, {Repetition: 2, Size: 2, CPU: 1, Records: 1e9}}
	if got := ratios(runs, others, measured.cpuPerGB); got != (spread{2, 2, 2}) {
		t.Errorf("ratios %+v", got)
	}
	if got := figures(runs, measured.cpuPerGB).String(); got != "3.00 (2.00-8.00)" {
		t.Errorf("figures %s", got)
	}
}

func TestFlags(t *testing.T) {
	var out, errs bytes.Buffer
	err := run(t.Context(), []string{"--only", "produce,consum", "--records", "10", "--sizes", "50"}, &out, &errs)
	for _, want := range []string{`"consum" is unknown: use produce, consume`, "--records 10", "--sizes 50"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not tell of %s", err, want)
		}
	}
}
