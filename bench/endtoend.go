package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// trial is one test in the lab at one rate.
type trial struct {
	MBPerSecond float64 `json:"mb_per_second"` // asked for
	Outcome     string  `json:"outcome"`
	P50         float64 `json:"p50_ms"`
	P99         float64 `json:"p99_ms"` // -1: shed records are above every value
	Shed        uint64  `json:"shed"`
	Bottleneck  string  `json:"bottleneck"`
	Evidence    string  `json:"evidence"`
}

// held is whether the replicator kept up: all arrived, and 99 of 100 within a second.
func (t trial) held() bool { return t.Outcome == "holds" && t.P99 >= 0 && t.P99 <= 1000 }

// search looks for the highest rate that is held: doubled until it is not, then halved in between.
func search(first float64, tries int, try func(rate float64) (bool, error)) error {
	low, high := 0.0, 0.0
	for rate := first; tries > 0; tries-- {
		held, err := try(rate)
		if err != nil {
			return err
		}
		if held {
			low = rate
		} else {
			high = rate
		}
		switch {
		case high == 0:
			rate *= 2
		default:
			rate = (low + high) / 2
		}
	}
	return nil
}

// endToEnd searches for the highest rate that MirrorMaker 2 holds in the lab, by whole tests with
// verdicts.
func (b *bench) endToEnd(ctx context.Context) error {
	t, err := b.needTools(ctx)
	if err != nil {
		return err
	}
	b.broker.stop() // the lab needs the processors
	b.broker = nil
	duration, tries := 45*time.Second, 6
	if b.quick {
		duration, tries = 20*time.Second, 3
	}
	out := b.newResult(partEndToEnd, fmt.Sprintf("loadgen lab: one broker a side, 12 partitions, records of 1000 B, %s of load, MirrorMaker 2 with the lab's settings, no faults", duration))
	err = search(2, tries, func(rate float64) (bool, error) {
		dir := filepath.Join(b.temp, fmt.Sprintf("lab-%d", len(out.Trials)))
		argv := []string{t.loadgen, "lab", "--brokers", "1", "--kill", "none", "--duration", duration.String(), "--drain-idle", "10s",
			"--message-size", "1000", "--throughput", strconv.Itoa(int(rate*1000)) + "/s", "--output", dir}
		for flag, value := range map[string]string{"--java": b.java, "--cache-dir": b.cacheDir} {
			if value != "" {
				argv = append(argv, flag, value)
			}
		}
		proc, err := start(b.temp, "lab", argv, nil)
		if err != nil {
			return false, err
		}
		waitErr := proc.wait(ctx, duration+8*time.Minute)
		text, err := os.ReadFile(filepath.Join(dir, "verdict.json")) // a verdict that does not hold is an answer
		if err != nil {
			return false, fmt.Errorf("the lab gave no verdict: %w", waitErr)
		}
		tr, err := readVerdict(text)
		if err != nil {
			return false, err
		}
		tr.MBPerSecond = rate
		out.Trials = append(out.Trials, tr)
		b.say("%5.1f MB/s: %s, p99 %s ms, bottleneck %s", rate, tr.Outcome, number(tr.P99), tr.Bottleneck)
		return tr.held(), nil
	})
	if err != nil {
		return err
	}
	if err := b.save(out); err != nil {
		return err
	}
	return b.print(out)
}

// readVerdict takes what is needed out of verdict.json.
func readVerdict(text []byte) (trial, error) {
	var d struct {
		Verdict struct {
			Outcome    string
			Total      struct{ Shed uint64 }
			Bottleneck struct{ Component, Evidence string }
			Latency    []struct {
				Latency struct {
					Count int64
					P50   float64 `json:"p50_ms"`
					P99   float64 `json:"p99_ms"`
				}
			}
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return trial{}, fmt.Errorf("read the verdict: %w", err)
	}
	if d.Verdict.Outcome == "" || len(d.Verdict.Latency) == 0 {
		return trial{}, fmt.Errorf("the verdict has no outcome or no latencies: %.200s", text)
	}
	first := d.Verdict.Latency[0].Latency // without faults there is one phase
	return trial{Outcome: d.Verdict.Outcome, P50: first.P50, P99: first.P99, Shed: d.Verdict.Total.Shed,
		Bottleneck: d.Verdict.Bottleneck.Component, Evidence: d.Verdict.Bottleneck.Evidence}, nil
}

func endToEndTable(r *result) string {
	var rows [][]string
	for _, t := range r.Trials {
		p99 := number(t.P99)
		if t.P99 < 0 {
			p99 = "never"
		}
		held := "no"
		if t.held() {
			held = "yes"
		}
		rows = append(rows, []string{number(t.MBPerSecond), held, t.Outcome, number(t.P50), p99, fmt.Sprint(t.Shed), t.Bottleneck, t.Evidence})
	}
	return table([]string{"MB/s", "held with p99 below 1 s", "verdict", "p50 ms", "p99 ms", "shed", "bottleneck", "evidence"}, rows)
}
