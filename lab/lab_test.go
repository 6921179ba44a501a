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
)

// testOutput passes the lab's lines on to the test's log.
type testOutput struct{ t *testing.T }

func (o testOutput) Write(p []byte) (int, error) {
	o.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// TestRealKafka has 3 + 3 real brokers and a real MirrorMaker 2 carry records while a source broker
// that leads is killed and returns, and sees that a cancelled lab leaves nothing.
func TestRealKafka(t *testing.T) {
	temp, output := t.TempDir(), filepath.Join(t.ArtifactDir(), "report")
	t.Setenv("TMPDIR", temp)
	cfg := defaults()
	cfg.Topics = []string{"lab.test"} // the dot is an expression's, if not quoted
	cfg.Partitions = 6
	cfg.RefreshInterval = time.Second
	cfg.Output = output
	cfg.StartTimeout = time.Minute
	cfg.LoadgenBinary = loadgen(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l, err := New(ctx, cfg, slog.New(slog.DiscardHandler), testOutput{t})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	}()
	if err := l.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if n := len(leftovers(t, l.work.path)); n != 9 {
		t.Errorf("%d processes run, want 3 + 3 brokers, 2 ZooKeepers, 1 replicator", n)
	}

	t.Log("a record crosses with its name, partition and key, and gets the destination's time")
	arrived := destinationRecords(t, l)
	sent := send(t, l, 0, "before")
	got := <-arrived
	if got.Topic != "lab.test" || string(got.Value) != "before" || string(got.Key) != "key" || got.Partition != 0 {
		t.Errorf("arrived as %s/%d %q: %q", got.Topic, got.Partition, got.Key, got.Value)
	}
	if got.Attrs.TimestampType() != 1 || got.Timestamp.Before(sent) {
		t.Errorf("timestamp type %d, %s, want LogAppendTime after %s", got.Attrs.TimestampType(), got.Timestamp, sent)
	}

	t.Log("a killed leader loses its partitions to others, which go on")
	victim, err := l.Source.Leader(ctx, "lab.test", 0)
	if err != nil {
		t.Fatal(err)
	}
	port := l.Source.BootstrapServers()[victim]
	if err := l.Kill(ctx, Source, victim); err != nil {
		t.Fatal(err)
	}
	if err := l.Source.Kill(victim); err == nil {
		t.Error("a dead broker was killed again")
	}
	if err := l.Source.WaitWithout(ctx, time.Minute, victim, "lab.test"); err != nil {
		t.Fatal(err)
	}
	m, err := metadata(ctx, l.Source.client, "lab.test")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Topics[0].Partitions {
		if len(p.Replicas) != 3 || len(p.ISR) != 2 {
			t.Errorf("partition %d: in sync %v of %v with broker %d dead", p.Partition, p.ISR, p.Replicas, victim)
		}
	}
	send(t, l, 0, "while it is dead")
	if got := <-arrived; string(got.Value) != "while it is dead" {
		t.Errorf("arrived: %q", got.Value)
	}

	t.Log("it returns on its old disk and address, in sync")
	if err := l.Return(ctx, Source, victim); err != nil {
		t.Fatal(err)
	}
	if now := l.Source.BootstrapServers()[victim]; now != port {
		t.Errorf("its address is %s, was %s", now, port)
	}
	send(t, l, 0, "after")
	if got := <-arrived; string(got.Value) != "after" {
		t.Errorf("arrived: %q", got.Value)
	}

	t.Log("a broker that is to return at once does so when the cluster has noticed its death")
	if err := l.Kill(ctx, Destination, 0); err != nil {
		t.Fatal(err)
	}
	if err := l.Return(ctx, Destination, 0); err != nil {
		t.Fatal(err)
	}
	send(t, l, 0, "after both")
	if got := <-arrived; string(got.Value) != "after both" {
		t.Errorf("arrived: %q", got.Value)
	}

	t.Log("a cancelled step ends, and stopping leaves nothing")
	cancel()
	if err := l.Return(ctx, Source, victim); err == nil {
		t.Error("a step went on without its context")
	}
	if err := l.Stop(); err != nil {
		t.Error(err)
	}
	waitNoLeftovers(t, l.work.path)
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left in the temporary directory: %v", left)
	}
	if exists(output) {
		t.Errorf("%s is still there", output)
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
	if text, err := os.ReadFile(filepath.Join(logs, "source-zookeeper.log")); !said || err != nil || string(text) != "no more memory\n" {
		t.Errorf("the log in %s says %q (%v); the lab said:\n%s", logs, text, err, out.String())
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

// send writes one record with a client of its own and returns when it was sent.
func send(t *testing.T, l *Lab, partition int32, value string) time.Time {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(l.Source.BootstrapServers()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	at := time.Now().Truncate(time.Millisecond) // Kafka's grain
	r := &kgo.Record{Topic: "lab.test", Partition: partition, Key: []byte("key"), Value: []byte(value)}
	if err := client.ProduceSync(ctx, r).FirstErr(); err != nil {
		t.Fatalf("send %q: %v", value, err)
	}
	return at
}

// destinationRecords delivers what arrives at the destination. It ends with an empty record when
// nothing arrives for a minute and a half.
func destinationRecords(t *testing.T, l *Lab) <-chan *kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(l.Destination.BootstrapServers()...), kgo.ConsumeTopics("lab.test"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	records := make(chan *kgo.Record)
	go func() {
		for t.Context().Err() == nil {
			ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
			fetches := client.PollFetches(ctx)
			cancel()
			if fetches.Empty() {
				select {
				case records <- &kgo.Record{Value: fmt.Appendf(nil, "nothing: %v", fetches.Err())}:
				case <-t.Context().Done():
				}
				continue
			}
			for _, r := range fetches.Records() {
				select {
				case records <- r:
				case <-t.Context().Done():
				}
			}
		}
	}()
	return records
}
