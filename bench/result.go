package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// result is what one part has measured, as it is kept.
type result struct {
	Part        string            `json:"part"`
	Began       time.Time         `json:"began"`
	Took        float64           `json:"took_seconds"`
	Machine     machine           `json:"machine"`
	Versions    map[string]string `json:"versions,omitempty"`
	Settings    string            `json:"settings,omitempty"`
	Repetitions int               `json:"repetitions,omitempty"`
	Runs        []measured        `json:"runs,omitempty"`
	Benchmarks  []benchmark       `json:"benchmarks,omitempty"`
	Trials      []trial           `json:"trials,omitempty"`
}

// machine is where it was measured.
type machine struct {
	CPU      string  `json:"cpu"`
	Cores    int     `json:"cores"`
	MemoryGB float64 `json:"memory_gb"`
	Kernel   string  `json:"kernel"`
	Go       string  `json:"go"`
	Load     string  `json:"load_average"` // before
}

// measured is one run of one contender.
type measured struct {
	Contender  string  `json:"contender"`
	Repetition int     `json:"repetition"`
	Size       int     `json:"size"`
	Records    int64   `json:"records"`
	Shed       int64   `json:"shed,omitempty"`
	Partitions int     `json:"partitions"`
	Topics     int     `json:"topics,omitempty"`
	Processes  int     `json:"processes,omitempty"`
	Series     string  `json:"series,omitempty"` // of growth
	Seconds    float64 `json:"seconds"`          // of moving the records
	Said       float64 `json:"said_seconds,omitempty"`
	CPU        float64 `json:"cpu_seconds"` // of the contender, start and end included
	BrokerCPU  float64 `json:"broker_cpu_seconds"`
	PeakRSS    int64   `json:"peak_rss_bytes"`
	Wall       float64 `json:"wall_seconds"` // of the process
}

func (m measured) gigabytes() float64 { return float64(m.Records) * float64(m.Size) / 1e9 }

// The figures that tables show.
func (m measured) mbPerSecond() float64 {
	if m.Seconds == 0 {
		return 0
	}
	return m.gigabytes() * 1000 / m.Seconds
}
func (m measured) cpuPerGB() float64       { return m.CPU / m.gigabytes() }
func (m measured) brokerCPUPerGB() float64 { return m.BrokerCPU / m.gigabytes() }
func (m measured) peakMB() float64         { return float64(m.PeakRSS) / 1e6 }

// spread is a median with what lies around it.
type spread struct{ median, least, most float64 }

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return spread{median: (v[(n-1)/2] + v[n/2]) / 2, least: v[0], most: v[n-1]}
}

// String writes the median, and the extremes behind it where there is more than one value.
func (s spread) String() string {
	if s.least == s.most {
		return number(s.median)
	}
	return fmt.Sprintf("%s (%s-%s)", number(s.median), number(s.least), number(s.most))
}

// number writes three digits that count.
func number(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 100 || v <= -100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10 || v <= -10:
		return fmt.Sprintf("%.1f", v)
	case v >= 0.1 || v <= -0.1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.2g", v)
}

func figures(runs []measured, figure func(measured) float64) spread {
	var v []float64
	for _, r := range runs {
		v = append(v, figure(r))
	}
	return spreadOf(v)
}

// ratios compares two contenders repetition by repetition, since what they ran beside each other is
// what can be compared on a machine whose speed drifts.
func ratios(runs, others []measured, figure func(measured) float64) spread {
	var v []float64
	for _, r := range runs {
		for _, o := range others {
			if o.Repetition == r.Repetition && o.Size == r.Size && figure(o) > 0 {
				v = append(v, figure(r)/figure(o))
			}
		}
	}
	return spreadOf(v)
}

func of(runs []measured, match func(measured) bool) []measured {
	return slices.DeleteFunc(slices.Clone(runs), func(m measured) bool { return !match(m) })
}

// save keeps the result of a part.
func (b *bench) save(r *result) error {
	r.Machine, r.Took = b.machine, time.Since(r.Began).Seconds()
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.output, r.Part+".json"), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("keep the result: %w", err)
	}
	return nil
}

// readResults reads those parts that are in a directory, in their usual order.
func readResults(dir string) ([]*result, error) {
	var out []*result
	for _, name := range partNames() {
		data, err := os.ReadFile(filepath.Join(dir, name+".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read results: %w", err)
		}
		var r result
		if err := json.Unmarshal(data, &r); err != nil {
			return nil, fmt.Errorf("%s is not a result of bench: %w", filepath.Join(dir, name+".json"), err)
		}
		out = append(out, &r)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no results of bench in %s: run go run ./bench --output %s", dir, dir)
	}
	return out, nil
}

func thisMachine() machine {
	m := machine{Cores: runtime.NumCPU(), Go: runtime.Version(), CPU: runtime.GOARCH}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = cmp.Or(field(string(text), "model name"), m.CPU)
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib float64
		if _, err := fmt.Sscan(field(string(text), "MemTotal"), &kib); err == nil {
			m.MemoryGB = float64(int(kib/1e5)) / 10
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(text))
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load = strings.Join(strings.Fields(string(text))[:3], " ")
	}
	return m
}

// field finds "name : value".
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// clientVersion is that of the franz-go that is built in.
func clientVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "github.com/twmb/franz-go" {
				return d.Version
			}
		}
	}
	return "unknown"
}
