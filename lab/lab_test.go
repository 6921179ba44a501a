package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/oracle/oracletest"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// testOutput passes the lab's lines on to the test's log.
type testOutput struct{ t *testing.T }

func (o testOutput) Write(p []byte) (int, error) {
	o.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// TestRealKafka has 3 + 3 real brokers and a real MirrorMaker 2 carry the load tools' records while a
// source broker that leads is killed and returns.
func TestRealKafka(t *testing.T) {
	temp, output := t.TempDir(), filepath.Join(t.ArtifactDir(), "report")
	t.Setenv("TMPDIR", temp)
	cfg := defaults()
	cfg.Topics = []string{"lab.test"} // the dot would be an expression's, if it were not quoted
	cfg.Partitions = 6
	cfg.Throughput = "200/s"
	cfg.RefreshInterval = time.Second
	cfg.DrainIdle = 10 * time.Second
	cfg.Output = output
	cfg.LoadgenBinary = loadgen(t)
	ctx := t.Context()
	l, err := New(ctx, cfg, slog.New(slog.DiscardHandler), testOutput{t})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	}()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(l.Start(ctx))
	must(l.Load(ctx))
	if n := len(leftovers(t, l.work.path)); n != 12 {
		t.Errorf("%d processes run, want 3 + 3 brokers, 2 ZooKeepers, the replicator, producer, consumer and auditor", n)
	}

	t.Log("a record that crossed has the destination's time")
	arrived, err := kgo.NewClient(kgo.SeedBrokers(l.Destination.BootstrapServers()...), kgo.ConsumeTopics("lab.test"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	must(err)
	defer arrived.Close()
	polling, stop := context.WithTimeout(ctx, 3*time.Minute)
	defer stop()
	fetches := arrived.PollRecords(polling, 1)
	must(fetches.Err())
	if r := fetches.Records()[0]; r.Attrs.TimestampType() != 1 {
		t.Errorf("timestamp type %d, want 1, LogAppendTime", r.Attrs.TimestampType())
	}

	t.Log("a killed leader loses its partitions to others, and gets in sync when it returns")
	victim, err := l.Source.Leader(ctx, "lab.test", 0)
	must(err)
	must(l.Kill(ctx, Source, victim))
	if err := l.Source.Kill(victim); err == nil {
		t.Error("a dead broker was killed again")
	}
	must(l.Source.WaitWithout(ctx, cfg.StartTimeout, victim, "lab.test"))
	must(l.Return(ctx, Source, victim))
	if err := l.Source.Start(ctx, victim); err == nil {
		t.Error("a running broker was started again")
	}
	must(l.Source.WaitInSync(ctx, cfg.StartTimeout, victim, "lab.test"))

	t.Log("the verdict knows of both, and holds")
	code, err := l.Drain(ctx)
	must(err)
	if code != 0 {
		t.Errorf("the verdict's exit code is %d", code)
	}
	file, err := os.Open(filepath.Join(output, "verdict.json"))
	must(err)
	defer file.Close()
	doc, err := verdict.Read(file)
	must(err)
	var events []string
	for _, e := range doc.Events {
		events = append(events, e.Kind+" "+e.Side)
	}
	if got := strings.Join(events, ", "); got != "broker-kill source, broker-return source" {
		t.Errorf("events %s", got)
	}

	t.Log("the verdict is what the oracle reads in both raw logs")
	reading, end := context.WithTimeout(ctx, 3*time.Minute)
	defer end()
	truth, differences := oracletest.Compare(reading, t, doc,
		[]kgo.Opt{kgo.SeedBrokers(l.Source.BootstrapServers()...)}, []kgo.Opt{kgo.SeedBrokers(l.Destination.BootstrapServers()...)}, cfg.Topics, cfg.Producers)
	for _, d := range differences {
		t.Errorf("verdict and oracle differ: %s", d)
	}
	t.Logf("the oracle: %+v", truth.Total)
	if !exists(filepath.Join(output, "report.html")) {
		t.Error("there is no report")
	}

	t.Log("a broker that is to return at once does so when the cluster has noticed its death")
	must(l.Destination.Kill(0))
	must(l.Destination.Start(ctx, 0))
	must(l.Destination.WaitInSync(ctx, cfg.StartTimeout, 0, "lab.test"))

	t.Log("stopping leaves nothing but verdict and report")
	must(l.Stop())
	waitNoLeftovers(t, l.work.path)
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left in the temporary directory: %v", left)
	}
	left, err := os.ReadDir(output)
	must(err)
	for _, file := range left {
		if file.IsDir() && code == 0 {
			t.Errorf("left in the output directory: %v", left)
		}
	}
}

// TestRunThatDiesKeepsItsLogs has a Java that is new enough and yet runs nothing.
func TestRunThatDiesKeepsItsLogs(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	cfg := defaults()
	cfg.Output = filepath.Join(t.TempDir(), "report")
	cfg.Java = script(t, t.TempDir(), "java", `case "$*" in *-version*) echo 'openjdk version "17"';; *) echo no more memory; exit 9;; esac`)
	var out bytes.Buffer
	code, err := Run(t.Context(), cfg, slog.New(slog.DiscardHandler), &out)
	if code != 2 || err == nil {
		t.Fatalf("exit code %d, error %v", code, err)
	}
	for _, want := range []string{"zookeeper ended unasked", "exit status 9", "no more memory", cfg.Output} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	_, logs, said := strings.Cut(out.String(), "logs are kept in ")
	logs = strings.TrimSpace(logs)
	// Either side's may have been the first; the other is killed, perhaps before it said anything.
	var kept []byte
	for _, side := range []string{Source, Destination} {
		text, _ := os.ReadFile(filepath.Join(logs, side+"-zookeeper.log"))
		kept = append(kept, text...)
	}
	if !said || !strings.Contains(string(kept), "no more memory") {
		t.Errorf("the logs in %s say %q; the lab said:\n%s", logs, kept, out.String())
	}
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left in the temporary directory: %v", left)
	}
}

// TestInterruptedRunLeavesNothing ends the context while real brokers start.
func TestInterruptedRunLeavesNothing(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	cfg := defaults()
	cfg.Brokers = 1
	cfg.Output = filepath.Join(t.TempDir(), "report")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	ended := make(chan error, 1)
	go func() {
		code, err := Run(ctx, cfg, slog.New(slog.DiscardHandler), testOutput{t})
		if code != 2 {
			err = fmt.Errorf("exit code %d, error %w", code, err)
		}
		ended <- err
	}()
	err := await(t.Context(), time.Minute, "the lab's processes", func(context.Context) error {
		select {
		case err := <-ended:
			t.Fatalf("the lab ended before it was told to: %v", err)
		default:
		}
		if n := len(leftovers(t, temp)); n < 4 {
			return fmt.Errorf("%d processes run, want 2 brokers and 2 ZooKeepers", n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	cancel(errors.New("Ctrl-C"))
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	waitNoLeftovers(t, temp)
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left in the temporary directory: %v", left)
	}
	if exists(cfg.Output) {
		t.Errorf("%s is still there", cfg.Output)
	}
}

// loadgen builds the load tools.
func loadgen(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "loadgen")
	if out, err := exec.Command("go", "build", "-o", path, "../loadgen").CombinedOutput(); err != nil {
		t.Fatalf("build the load tools: %v\n%s", err, out)
	}
	return path
}
