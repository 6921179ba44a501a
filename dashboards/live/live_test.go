package live_test

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/dashboards"
	"github.com/AppsFlyer/kafka-mirror-tester/dashboards/live"
)

// begin of the recorded data, in the past: Prometheus takes no future.
var begin = time.Now().Add(-time.Hour).Truncate(time.Minute)

// recorded is ten minutes of a test in OpenMetrics, a sample every 15 s: 100 records a second, and a broker
// killed after four minutes.
func recorded() string {
	var b strings.Builder
	family := func(name, kind string, value func(i int) float64, labels ...string) {
		fmt.Fprintf(&b, "# TYPE %s %s\n", strings.TrimSuffix(name, "_total"), kind)
		for _, l := range labels {
			for i := range 41 {
				if math.IsNaN(value(i)) {
					continue
				}
				fmt.Fprintf(&b, "%s{%s} %g %d\n", name, l, value(i), begin.Unix()+int64(15*i))
			}
		}
	}
	load := `test="t1",topic="load"`
	steady := func(i int) float64 { return float64(1500 * i) }
	family("kmt_producer_scheduled_records_total", "counter", steady, load)
	family("kmt_producer_records_total", "counter", steady, load)
	family("kmt_consumer_first_total", "counter", steady, load)
	family("kmt_auditor_rpo_seconds", "gauge", func(i int) float64 { return float64(i % 7) }, load+`,partition="0"`, load+`,partition="1"`)
	family("kmt_auditor_event_timestamp_seconds", "gauge", func(int) float64 { return float64(begin.Unix() + 240) }, `kind="broker-kill",side="source",test="t1"`)
	from := func(first int) func(int) float64 {
		return func(i int) float64 {
			if i < first || i >= first+12 {
				return math.NaN()
			}
			return 1
		}
	}
	family("ALERTS", "gauge", from(17), `alertname="KafkaBrokerDown",alertstate="firing",severity="warning",namespace="source"`)
	b.WriteString("# EOF\n")
	return b.String()
}

// prometheus runs a real one on the recorded data and returns its URL.
func prometheus(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"prometheus", "promtool"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v: it is in Debian's package prometheus: run make setup", err)
		}
	}
	dir := t.TempDir()
	file, config, data := filepath.Join(dir, "metrics"), filepath.Join(dir, "prometheus.yml"), filepath.Join(dir, "data")
	for path, text := range map[string]string{file: recorded(), config: ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "promtool", "tsdb", "create-blocks-from", "openmetrics", file, data).CombinedOutput(); err != nil {
		t.Fatalf("promtool: %v\n%s", err, out)
	}
	return serve(t, config, data)
}

// serve runs a real Prometheus until the test ends, and returns its URL.
func serve(t *testing.T, config, data string) string {
	t.Helper()
	if _, err := exec.LookPath("prometheus"); err != nil {
		t.Fatalf("%v: it is in Debian's package prometheus: run make setup", err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+data, "--storage.tsdb.retention.time=3650d", "--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/-/ready", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return "http://" + address
			}
		}
		if ctx.Err() != nil {
			t.Fatal("Prometheus is not ready after a minute")
		}
		time.Sleep(20 * time.Millisecond) // until the condition above
	}
}

func board(t *testing.T, name string) dashboards.Board {
	t.Helper()
	all := dashboards.Boards()
	i := slices.IndexFunc(all, func(b dashboards.Board) bool { return b.Name == name })
	if i < 0 {
		t.Fatalf("no dashboard %s", name)
	}
	return all[i]
}

func TestAgainstARealPrometheus(t *testing.T) {
	url := prometheus(t)
	p, err := live.Open(url, url)
	if err != nil {
		t.Fatal(err)
	}
	whole := live.Range{From: begin, To: begin.Add(10 * time.Minute)}

	t.Run("a picture has lines where there are data", func(t *testing.T) {
		picture := func(r live.Range) []byte {
			var b bytes.Buffer
			if err := live.Render(t.Context(), p, board(t, "replication"), r, &b); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		}
		full := picture(whole)
		image, err := png.Decode(bytes.NewReader(full))
		if err != nil {
			t.Fatal(err)
		}
		if len(full) > 150<<10 {
			t.Errorf("it takes %d bytes", len(full))
		}
		if size := image.Bounds().Size(); size.X < 1200 || size.Y < 1500 {
			t.Errorf("size %v", size)
		}
	})
	t.Run("a test that is not there, or another time", func(t *testing.T) {
		other := whole
		other.Values = map[string]string{"test": "t2"}
		one := board(t, "load-tools") // has nothing but the test's
		var b bytes.Buffer
		err := live.Render(t.Context(), p, one, other, &b)
		if err == nil || !strings.Contains(err.Error(), "test=t2: Prometheus knows only t1 between") || b.Len() > 0 {
			t.Errorf("%v, and %d bytes", err, b.Len())
		}
		other.Values["test"] = "t[0-9]"
		if err := live.Render(t.Context(), p, one, other, io.Discard); err != nil {
			t.Errorf("a pattern: %v", err)
		}
		err = live.Render(t.Context(), p, one, live.Range{From: begin.Add(-time.Hour), To: begin.Add(-30 * time.Minute)}, &b)
		if err == nil || !strings.Contains(err.Error(), "no data for any panel") || !strings.Contains(err.Error(), "it knows no test and no cluster of this time") || b.Len() > 0 {
			t.Errorf("%v, and %d bytes", err, b.Len())
		}
	})
	t.Run("nobody answers", func(t *testing.T) {
		nobody, err := live.Open(url, "http://127.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		_, err = live.Check(t.Context(), nobody, whole)
		if err == nil || !strings.Contains(err.Error(), "no Prometheus answers at http://127.0.0.1:1, which is to be the destination's") {
			t.Error(err)
		}
		if err := live.Render(t.Context(), nobody, board(t, "replication"), whole, io.Discard); err == nil || !strings.Contains(err.Error(), "no Prometheus answers") {
			t.Error(err)
		}
	})
	t.Run("an alert is a bar as long as it fires, on its side", func(t *testing.T) {
		// The colour of a warning; there is nothing else so large in it.
		warnings := func(from, to time.Duration, values map[string]string) int {
			one := board(t, "replication")
			few := slices.DeleteFunc(one.Panels(), func(p dashboards.Panel) bool { return p.Title != "Alerts" && p.Title != "Records sent and received" })
			one.Rows = []dashboards.Row{{Title: "Alerts, and what has data without them", Panels: few}}
			var b bytes.Buffer
			if err := live.Render(t.Context(), p, one, live.Range{From: begin.Add(from), To: begin.Add(to), Values: values}, &b); err != nil {
				t.Fatal(err)
			}
			image, err := png.Decode(&b)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for y := range image.Bounds().Dy() {
				for x := range image.Bounds().Dx() {
					if r, g, b, _ := image.At(x, y).RGBA(); r>>8 == 200 && g>>8 == 120 && b == 0 {
						n++
					}
				}
			}
			return n
		}
		whole, half := warnings(0, 10*time.Minute, nil), warnings(0, 5*time.Minute, nil)
		if whole < 500 || half < 500 || half > whole {
			t.Errorf("of three minutes in ten %d pixels are a warning, of less than one in five %d", whole, half)
		}
		if n := warnings(0, 3*time.Minute, nil); n > 0 {
			t.Errorf("before it fires %d pixels are a warning", n)
		}
		if n := warnings(0, 10*time.Minute, map[string]string{"from_cluster": "another", "to_cluster": "one"}); n > 0 {
			t.Errorf("an alert of a cluster that is not chosen has %d pixels", n)
		}
		if both := warnings(0, 10*time.Minute, map[string]string{"to_cluster": "another"}); both != whole {
			t.Errorf("the source's alert has %d pixels, and %d when the destination is not there", whole, both)
		}
	})
	t.Run("no picture of nothing", func(t *testing.T) {
		var b bytes.Buffer
		err := live.Render(t.Context(), p, board(t, "nodes"), whole, &b)
		if err == nil || !strings.Contains(err.Error(), "no data for any panel") || b.Len() > 0 {
			t.Errorf("%v, and %d bytes", err, b.Len())
		}
	})
	t.Run("what has no data is a problem unless the dashboard says why", func(t *testing.T) {
		result, err := live.Check(t.Context(), p, whole)
		if err != nil {
			t.Fatal(err)
		}
		if n := result.WithData + len(result.Problems) + len(result.Excused); n != result.Expressions || n < 300 {
			t.Errorf("%d of %d expressions", n, result.Expressions)
		}
		problem := func(where string) bool {
			return slices.ContainsFunc(result.Problems, func(f live.Finding) bool { return strings.HasPrefix(f.Where, where) && f.Why == "no data" })
		}
		excused := func(where string) bool {
			return slices.ContainsFunc(result.Excused, func(f live.Finding) bool { return strings.HasPrefix(f.Where, where) && f.Why != "" })
		}
		for where, want := range map[string][2]bool{
			"Replication test: Records sent":   {false, false},
			"Replication test: Lost":           {true, false}, // not recorded above
			"Nodes and pods: CPU util":         {false, true},
			"Brooklin: Event rate":             {false, true},
			"Replication test: Alerts":         {false, true},
			"rule namespace_test:kmt_consumer": {true, false}, // nobody evaluated it
			"alert KmtRecordsLost":             {false, true},
		} {
			if got := [2]bool{problem(where), excused(where)}; got != want {
				t.Errorf("%s: problem, excused: %v, want %v", where, got, want)
			}
		}
		var text strings.Builder
		if err := result.Write(&text); err != nil || !strings.Contains(text.String(), "Replication test: Lost: no data") {
			t.Errorf("summary: %v\n%s", err, text.String())
		}
	})
	t.Run("an answer that is an error is a problem", func(t *testing.T) {
		bad := whole
		bad.Values = map[string]string{"test": `"`}
		result, err := live.Check(t.Context(), p, bad)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(result.Problems, func(f live.Finding) bool { return strings.Contains(f.Why, "parse error") }) {
			t.Errorf("no parse error among %d problems", len(result.Problems))
		}
	})
}
