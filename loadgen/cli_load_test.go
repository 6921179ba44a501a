package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/mirror"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/oracle/oracletest"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// process is a load tool that runs beside the test.
type process struct {
	cmd    *exec.Cmd
	http   string        // its address
	log    string        // file with what it says
	exited chan struct{} // closed when it has
}

// tool starts a load tool and waits until GET path succeeds.
func tool(t *testing.T, path string, args ...string) *process {
	t.Helper()
	return toolIn(t, nil, path, args...)
}

// toolIn is tool, with variables in the environment.
func toolIn(t *testing.T, env []string, path string, args ...string) *process {
	t.Helper()
	p := &process{http: closedPort(t), log: filepath.Join(t.TempDir(), "log"), exited: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.CommandContext(t.Context(), binary, append(args, "--metrics-address", p.http)...)
	p.cmd.Env = environment(env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			said, _ := os.ReadFile(p.log)
			t.Logf("loadgen %s said:\n%s", strings.Join(args, " "), said)
		}
	})
	p.await(t, path, func() bool {
		resp, err := http.Get("http://" + p.http + path)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return p
}

// await returns when done is true, which must be before the process ends.
func (p *process) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); {
		select {
		case <-p.exited:
			t.Fatalf("it exited with %d before: %s", p.cmd.ProcessState.ExitCode(), what)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// exit returns the exit code, once the process has ended.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(time.Minute):
		t.Fatal("it did not end within a minute")
		return -1
	}
}

// records returns how many records a topic has, and in how many partitions.
func records(t *testing.T, address, topic string) (n int64, partitions int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		n += o.Offset
		partitions++
	})
	return n, partitions
}

func TestProduceCounts(t *testing.T) {
	address := cluster(t, kfake.NumBrokers(3))
	args := func(more ...string) []string {
		return append([]string{"produce", "--test-id", "t1", "--id", "p1", "--topics", "a,b", "--bootstrap-servers", address, "--metrics-address", ""}, more...)
	}
	r := loadgen(t, nil, args("--records", "1000", "--throughput", "max", "--num-partitions", "4")...)
	if r.code != exitHolds {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	for _, topic := range []string{"a", "b"} {
		if n, partitions := records(t, address, topic); n != 1000 || partitions != 4 {
			t.Errorf("topic %s has %d records in %d partitions", topic, n, partitions)
		}
	}
	r = loadgen(t, nil, args("--num-partitions", "6")...)
	if r.code != exitTrouble || !strings.Contains(r.stderr, `"a" has 4 partitions, not 6`) {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
	r = loadgen(t, nil, append(args(), "--topics", "gone")...)
	if r.code != exitTrouble || !strings.Contains(r.stderr, `"gone" does not exist`) {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
}

func TestProduceTrouble(t *testing.T) {
	loadgen(t, nil, "produce", "--test-id", "t1", "--id", "a;b", "--topics", "a", "--bootstrap-servers", "k:1", "--num-partitions", "0",
		"--message-size", "1", "--acks", "2", "--compressibility", "1.5").want(t, exitTrouble,
		`producer id "a;b"`, "0 partitions", "too small", "acks \"2\"", "compressibility 1.5", "See 'loadgen produce --help'.")
	for _, rate := range []string{"0", "-5/s", "fast"} {
		loadgen(t, nil, "produce", "--throughput", rate).want(t, exitTrouble, "--throughput")
	}
}

// A signal ends the load, and that is no failure.
func TestProduceStops(t *testing.T) {
	address := cluster(t)
	p := tool(t, "/readyz", "produce", "--test-id", "t1", "--id", "p1", "--topics", "a", "--num-partitions", "1", "--bootstrap-servers", address, "--throughput", "500/s")
	p.await(t, "records arrive", func() bool { n, _ := records(t, address, "a"); return n > 100 })
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.exit(t); code != exitHolds {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	said, err := os.ReadFile(p.log)
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := records(t, address, "a"); !strings.Contains(string(said), fmt.Sprintf("acked=%d ", n)) {
		t.Errorf("the source has %d records, but it says\n%s", n, said)
	}
}

// The programs as a user runs them, on two clusters and a mirror between them:
// nothing is lost, and the verdict and the report are there.
func TestTogether(t *testing.T) {
	source, destination := cluster(t, kfake.NumBrokers(3)), cluster(t, kfake.NumBrokers(3))
	replicate(t, source, destination)
	output := filepath.Join(t.TempDir(), "report")
	test := []string{"--test-id", "t1", "--topics", "a"}
	tool(t, "/healthz", append([]string{"consume", "--bootstrap-servers", destination}, test...)...)
	auditor := tool(t, "/healthz", append([]string{"audit", "--source-bootstrap-servers", source, "--destination-bootstrap-servers", destination,
		"--producers", "1", "--until-closed", "--output", output, "--interval", "100ms", "--expect", "duplicates<=0", "--expect", "expected>=2000"}, test...)...)
	r := loadgen(t, nil, append([]string{"produce", "--id", "p1", "--bootstrap-servers", source, "--num-partitions", "4",
		"--records", "2000", "--throughput", "2k/s", "--metrics-address", ""}, test...)...)
	if r.code != exitHolds {
		t.Fatalf("the producer's exit code is %d:\n%s", r.code, r.stderr)
	}
	if code := auditor.exit(t); code != exitHolds {
		t.Errorf("the auditor's exit code is %d", code)
	}
	r = loadgen(t, nil, "verdict", "--file", filepath.Join(output, "verdict.json"))
	r.want(t, exitHolds, "HOLDS")
	if page, err := os.ReadFile(filepath.Join(output, "report.html")); err != nil || !strings.Contains(string(page), "</html>") {
		t.Errorf("the report has %d bytes (%v)", len(page), err)
	}
}

// replicate runs a mirror until the test ends.
func replicate(t *testing.T, source, destination string) {
	t.Helper()
	var c mirror.Config
	c.SetDefaults()
	for _, address := range []string{source, destination} {
		loadgen(t, nil, "topics", "create", "--bootstrap-servers", address, "--topics", "a", "--num-partitions", "4").want(t, exitHolds)
	}
	m, err := mirror.New(c, mirror.Deps{
		Source: []kgo.Opt{kgo.SeedBrokers(source)}, Destination: []kgo.Opt{kgo.SeedBrokers(destination)}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("mirror: %v", err)
		}
	})
}

// A day in the life of a test whose load changes by its settings file alone:
// topics come, grow and go, and producers, consumers and the auditor follow
// without being started again. Those that are killed and do start again change
// no count: the verdict is what the raw logs say. As in the pods of a cluster,
// identity comes by the environment.
func TestLoadChangesBySettings(t *testing.T) {
	source, destination := cluster(t, kfake.NumBrokers(3)), cluster(t, kfake.NumBrokers(3))
	replicate(t, source, destination)
	dir := t.TempDir()
	file, output := filepath.Join(dir, "load.yaml"), filepath.Join(dir, "report")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".next", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".next", file); err != nil {
			t.Fatal(err)
		}
	}
	apply := func(topic, partitions string) {
		t.Helper()
		for _, address := range []string{destination, source} {
			loadgen(t, nil, "topics", "apply", "--bootstrap-servers", address, "--topics", topic, "--num-partitions", partitions).want(t, exitHolds)
		}
	}
	test := []string{"--test-id", "t1", "--settings-file", file}
	produce := func(i string) *process {
		return toolIn(t, []string{"LOADGEN_ID=producer-" + i}, "/healthz", append([]string{"produce", "--bootstrap-servers", source, "--metadata-interval", "100ms"}, test...)...)
	}
	consume := func(i string) *process {
		return toolIn(t, []string{"LOADGEN_ID=consumer-" + i, "LOADGEN_INDEX=" + i}, "/readyz",
			append([]string{"consume", "--bootstrap-servers", destination, "--instances", "2", "--metadata-interval", "100ms"}, test...)...)
	}
	audit := func() *process {
		return tool(t, "/readyz", append([]string{"audit", "--source-bootstrap-servers", source, "--destination-bootstrap-servers", destination,
			"--until-closed", "--dead-after", "6s", "--output", output, "--interval", "100ms", "--expect", "duplicates<=0"}, test...)...)
	}
	// arrive waits until so many more records are at the destination, in so many partitions.
	arrive := func(p *process, topic string, more int64, partitions int) {
		t.Helper()
		before, _ := records(t, destination, topic)
		p.await(t, fmt.Sprintf("%d more records of %s in %d partitions", more, topic, partitions), func() bool {
			n, in := records(t, destination, topic)
			return n >= before+more && in == partitions
		})
	}

	write("a: {rate: 500/s}\n'*': {size: 300, producers: 2}")
	producers := []*process{produce("0"), produce("1")}
	consumers := []*process{consume("0"), consume("1")}
	auditor := audit()
	arrive(auditor, "a", 500, 4)
	page, err := http.Get("http://" + auditor.http + "/report")
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	if text, err := io.ReadAll(page.Body); err != nil || !strings.Contains(string(text), "</html>") {
		t.Errorf("the report has %d bytes (%v)", len(text), err)
	}

	write("a: {rate: 1k/s}\nb: {rate: 400/s, size: 500}\n'*': {size: 300, producers: 2}")
	apply("b", "3")
	arrive(auditor, "b", 300, 3)
	apply("b", "5")
	arrive(auditor, "b", 300, 5)

	write("b: {rate: 600/s, size: 500}\n'*': {size: 300, producers: 2}")
	for _, p := range []*process{producers[1], consumers[0], auditor} {
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-p.exited
	}
	producers[1], consumers[0], auditor = produce("1"), consume("0"), audit()
	arrive(auditor, "b", 500, 5)

	for _, p := range producers {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	if code := auditor.exit(t); code != exitHolds {
		t.Errorf("the auditor's exit code is %d", code)
	}
	opened, err := os.Open(filepath.Join(output, "verdict.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	doc, err := verdict.Read(opened)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	at := func(address string) []kgo.Opt { return []kgo.Opt{kgo.SeedBrokers(address)} }
	truth, differences := oracletest.Compare(ctx, t, doc, at(source), at(destination), []string{"a", "b"}, 2)
	for _, d := range differences {
		t.Error(d)
	}
	if truth.Outcome != string(verdict.Holds) || doc.Verdict.Outcome != verdict.Holds {
		t.Errorf("the verdict is %s, the truth %s: %v", doc.Verdict.Outcome, truth.Outcome, truth.Doubts)
	}
	for _, topic := range doc.Verdict.Topics {
		if n, _ := records(t, source, topic.Name); uint64(n) != topic.Counts.Expected || topic.Counts.Lost > 0 {
			t.Errorf("topic %s has %d records, and the verdict expects %d, of which %d are lost", topic.Name, n, topic.Counts.Expected, topic.Counts.Lost)
		}
	}
}
