package remote_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario/remote"
)

const selfVariable = "KMT_TEST_REMOTE"

// TestMain is the other process, where it is asked for.
func TestMain(m *testing.M) {
	if os.Getenv(selfVariable) == "" {
		os.Exit(m.Run())
	}
	err := remote.Serve(context.Background(), os.Stdin, os.Stdout, func(say func(string)) (scenario.Target, error) {
		return &echo{say: say}, nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// echo is a target that answers with what it was given.
type echo struct {
	say  func(string)
	seen scenario.Config
}

func (e *echo) Name() string { return "echo" }

func (e *echo) Check(configs []scenario.Config) error {
	if configs[0].Secure {
		return fmt.Errorf("%w: not with TLS", scenario.ErrCannotPlay)
	}
	return nil
}

func (e *echo) Start(_ context.Context, c scenario.Config) error {
	e.say("started")
	e.seen = c
	return nil
}

// Converge lasts until it is told to end.
func (e *echo) Converge(ctx context.Context, _ scenario.Config) error {
	e.say("converging")
	<-ctx.Done()
	_ = os.WriteFile(os.Getenv(selfVariable), []byte("ended in order"), 0o600)
	return errors.New("interrupted in good order")
}

func (e *echo) Mark(_ context.Context, event verdict.Event) error {
	if event.Kind == "die" {
		os.Exit(7)
	}
	return fmt.Errorf("marked %s at %d", event.Kind, event.Time)
}

func (e *echo) Status(context.Context) (*verdict.Document, error) {
	return &verdict.Document{Schema: verdict.Schema, Verdict: verdict.Verdict{
		Test: fmt.Sprint(e.seen.Source.Throughput, " ", e.seen.Source.Fault.Duration, " ", e.seen.Destination.ReplicatorConfig)}}, nil
}

func (e *echo) Drain(ctx context.Context) (*verdict.Document, error) { return e.Status(ctx) }

func (e *echo) Stop(context.Context) error { return nil }

func (e *echo) ReplicatorName(scenario.Config) string { return "parrot" }

func (e *echo) Versions() map[string]string { return map[string]string{"echo": "1"} }

func start(t *testing.T, said chan string) (tgt *remote.Target, left string) {
	left = filepath.Join(t.TempDir(), "left")
	tgt = remote.New("echo", func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), selfVariable+"="+left)
		cmd.Stderr = os.Stderr
		return cmd
	}, func(line string) { said <- line })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = tgt.Stop(ctx)
	})
	return tgt, left
}

func TestATargetInAnotherProcess(t *testing.T) {
	said := make(chan string, 10)
	tgt, _ := start(t, said)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var c scenario.Config
	c.SetSmallDefaults()
	c.Source.Fault = scenario.Fault{Kind: "broker-outage", Victims: []int{1}, Duration: scenario.Duration(90 * time.Second), Run: 1}
	c.Destination.ReplicatorConfig = map[string]string{"tasks.max": "8"}
	if err := tgt.Check([]scenario.Config{c}); err != nil {
		t.Error(err)
	}
	secure := c
	secure.Secure = true
	if err := tgt.Check([]scenario.Config{secure}); !errors.Is(err, scenario.ErrCannotPlay) || !strings.Contains(err.Error(), "not with TLS") {
		t.Errorf("what cannot be played: %v", err)
	}
	if err := tgt.Start(ctx, c); err != nil || <-said != "started" {
		t.Errorf("start: %v", err)
	}
	doc, err := tgt.Drain(ctx)
	if err != nil || doc.Verdict.Test != "1k/s 1m30s map[tasks.max:8]" {
		t.Errorf("a configuration comes across as %+v: %v", doc, err)
	}
	if err := tgt.Mark(ctx, verdict.Event{Kind: "x", Time: 5}); err == nil || errors.Is(err, scenario.ErrCannotPlay) || err.Error() != "marked x at 5" {
		t.Errorf("an event comes across as %v", err)
	}
	if got := tgt.ReplicatorName(c); got != "parrot" {
		t.Errorf("replicator %q", got)
	}
	if err := tgt.Stop(ctx); err != nil || tgt.Versions()["echo"] != "1" {
		t.Errorf("stop: %v, versions %v", err, tgt.Versions())
	}
}

// What lasts is told to end, and waited for.
func TestACallThatIsCancelledEndsInOrder(t *testing.T) {
	said := make(chan string, 10)
	tgt, left := start(t, said)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() {
		<-said
		cancel()
	}()
	var c scenario.Config
	c.SetSmallDefaults()
	err := tgt.Converge(ctx, c)
	if err == nil || !strings.Contains(err.Error(), "interrupted in good order") || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(left); err != nil {
		t.Error(err)
	}
}

func TestAProcessThatDiesIsNamed(t *testing.T) {
	tgt, _ := start(t, make(chan string, 10))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := tgt.Mark(ctx, verdict.Event{Kind: "die"})
	if err == nil || !strings.Contains(err.Error(), "of the target echo: exit status 7") {
		t.Errorf("%v", err)
	}
	missing := remote.New("none", func() *exec.Cmd { return exec.Command("/nonexistent") }, nil)
	if err := missing.Mark(ctx, verdict.Event{}); err == nil || !strings.Contains(err.Error(), "the program of the target none") {
		t.Errorf("%v", err)
	}
}
