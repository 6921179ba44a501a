package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// benchmark is one line of one of Go's benchmarks.
type benchmark struct {
	Package string             `json:"package"`
	Name    string             `json:"name"`   // without Benchmark and the number of processors
	Values  map[string]float64 `json:"values"` // by unit: ns/op, B/op and what it reports itself
	PeakRSS int64              `json:"peak_rss_bytes,omitempty"`
	CPU     float64            `json:"cpu_seconds,omitempty"`
}

// suite is a package's benchmarks, as one process.
type suite struct {
	pkg     string
	pattern string
	time    string // as -test.benchtime
}

// alone measures what needs no network.
func (b *bench) alone(ctx context.Context) error {
	count, each := b.repetitions, "1s"
	if b.quick {
		each = "200ms"
	}
	out := b.newResult(partAlone, "one goroutine; records of 1000 B where a checksum is part of it")
	for _, s := range []suite{
		{"loadgen/message", "Encode|Decode", each},
		{"loadgen/produce", "OwnPart", each},
		{"loadgen/consume", "Take", each},
		{"loadgen/ledger", "Verify", each},
		{"loadgen/verdict", "Ledger", each},
	} {
		if err := b.goBench(ctx, out, s, count); err != nil {
			return err
		}
	}
	if err := b.save(out); err != nil {
		return err
	}
	return b.print(out)
}

// stacks measures the Pulumi program, each size in a process of its own: the peak of memory is the
// process's.
func (b *bench) stacks(ctx context.Context) error {
	out := b.newResult(partStacks, "both stacks on AWS by the real engine, with doubles of the providers: preview and update")
	sizes, count := []int{3, 30, 100, 300}, "3x"
	if b.quick {
		sizes, count = []int{30, 300}, "1x"
	}
	for _, size := range sizes {
		if err := b.goBench(ctx, out, suite{"stacks", fmt.Sprintf("Stacks/size=%d$", size), count}, 1); err != nil {
			return err
		}
	}
	if err := b.save(out); err != nil {
		return err
	}
	return b.print(out)
}

// goBench runs a suite some times and adds what it says to the result.
func (b *bench) goBench(ctx context.Context, out *result, s suite, count int) error {
	source, err := moduleDir(ctx)
	if err != nil {
		return err
	}
	binary := filepath.Join(b.temp, strings.ReplaceAll(s.pkg, "/", "-")+".test")
	if !b.compiled[s.pkg] {
		b.say("compiling the benchmarks of %s", s.pkg)
		if err := build(ctx, "go", "test", "-vet=off", "-c", "-o", binary, module+"/"+s.pkg); err != nil {
			return err
		}
		if b.compiled == nil {
			b.compiled = map[string]bool{}
		}
		b.compiled[s.pkg] = true
	}
	proc, err := start(filepath.Join(source, s.pkg), s.pkg, []string{binary, "-test.run", "^$", "-test.bench", s.pattern,
		"-test.benchtime", s.time, "-test.count", strconv.Itoa(count), "-test.benchmem", "-test.cpu", "1"}, nil)
	if err != nil {
		return err
	}
	if err := proc.wait(ctx, 10*time.Minute); err != nil {
		return err
	}
	found, err := parseBenchmarks(s.pkg, proc.stdout.String())
	if err != nil {
		return fmt.Errorf("%s: %w", s.pkg, err)
	}
	cpu, peak := proc.used()
	for i := range found {
		found[i].PeakRSS, found[i].CPU = peak, cpu.Seconds()
		b.say("%s: %s", s.pkg, found[i].line())
	}
	out.Benchmarks = append(out.Benchmarks, found...)
	return nil
}

func (m benchmark) line() string {
	return fmt.Sprintf("%-45s %10s ns", m.Name, number(m.Values["ns/op"]))
}

// parseBenchmarks reads what go test -bench prints.
func parseBenchmarks(pkg, output string) ([]benchmark, error) {
	var out []benchmark
	lines := bufio.NewScanner(strings.NewReader(output))
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), "Benchmark")
		fields := strings.Fields(rest)
		if !ok || len(fields) < 4 {
			continue
		}
		m := benchmark{Package: pkg, Name: fields[0], Values: map[string]float64{}}
		for i := 2; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", lines.Text(), err)
			}
			m.Values[fields[i+1]] = v
		}
		out = append(out, m)
	}
	if len(out) == 0 {
		return nil, errors.New("no benchmark ran")
	}
	return out, nil
}
