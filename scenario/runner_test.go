package scenario_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// nothing is a target that can play nothing, and says what it was asked for.
type nothing struct{ checked *[]scenario.Config }

func (nothing) Name() string { return "nothing" }

func (n nothing) Check(configs []scenario.Config) error {
	*n.checked = append(*n.checked, configs...)
	return scenario.ErrCannotPlay
}

var errNotCalled = errors.New("it is not to be called")

func (nothing) Start(context.Context, scenario.Config) error      { return errNotCalled }
func (nothing) Converge(context.Context, scenario.Config) error   { return errNotCalled }
func (nothing) Mark(context.Context, verdict.Event) error         { return errNotCalled }
func (nothing) Status(context.Context) (*verdict.Document, error) { return nil, errNotCalled }
func (nothing) Drain(context.Context) (*verdict.Document, error)  { return nil, errNotCalled }
func (nothing) Stop(context.Context) error                        { return errNotCalled }

func TestReplicatorsAndVariants(t *testing.T) {
	var checked []scenario.Config
	var c scenario.RunConfig
	c.SetDefaults()
	c.Output = filepath.Join(t.TempDir(), "results")
	c.Replicators = []string{"mirrormaker2", "small", "brooklin"}
	deps := scenario.RunDeps{
		Logger:   slog.New(slog.DiscardHandler),
		Target:   func(string) (scenario.Target, error) { return nothing{&checked}, nil },
		Variants: map[string]scenario.Variant{"small": {Replicator: scenario.MirrorMaker2, Config: map[string]string{"tasks.max": "1", "source.consumer.receive.buffer.bytes": "8"}}},
	}
	r, err := scenario.NewRunner(c, deps)
	if err != nil {
		t.Fatal(err)
	}
	results, err := r.Run(t.Context(), []string{"control", "under-capacity"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range results {
		got = append(got, r.Scenario+" "+r.Replicator+" "+string(r.Outcome)+" "+r.Reasons[0])
	}
	want := "control mirrormaker2 not played cannot be played here; control small not played cannot be played here; control brooklin not played cannot be played here; " +
		"under-capacity mirrormaker2 not played cannot be played here; under-capacity small not played cannot be played here; under-capacity brooklin not played only mirrormaker2 has what is tested"
	if s := strings.Join(got, "; "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	d := checked[1].Destination // control with the variant
	if d.Replicator != scenario.MirrorMaker2 || d.ReplicatorConfig["tasks.max"] != "1" || d.ReplicatorConfig["source.consumer.receive.buffer.bytes"] != "8" {
		t.Errorf("the variant is played with %s, %v", d.Replicator, d.ReplicatorConfig)
	}
	if checked[2].Destination.Replicator != scenario.Brooklin || len(checked[0].Destination.Expectations) == 0 {
		t.Errorf("checked %+v", checked[2].Destination)
	}
	c.Replicators = []string{"mm2", "small", "small"}
	if _, err := scenario.NewRunner(c, deps); err == nil || !strings.Contains(err.Error(), `--replicator: "mm2" is not known: use one of small, ureplicator`) || !strings.Contains(err.Error(), "named twice") {
		t.Errorf("%v", err)
	}
}

// Where somebody else runs the replicator, what is done to it is for somebody else too: a step that would do nothing
// must not come to hold.
func TestReplicatorOfSomebodyElse(t *testing.T) {
	var c scenario.RunConfig
	c.SetDefaults()
	c.Output = filepath.Join(t.TempDir(), "results")
	c.Replicators = []string{scenario.NoReplicator}
	r, err := scenario.NewRunner(c, scenario.RunDeps{
		Logger: slog.New(slog.DiscardHandler),
		Target: func(string) (scenario.Target, error) { return nothing{&[]scenario.Config{}}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	results, err := r.Run(t.Context(), []string{"control", "add-worker", "paused-worker", "add-topic"})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"cannot be played here", "the replicator is not ours", "the replicator is not ours", "cannot be played here"} {
		if got := results[i]; got.Replicator != scenario.NoReplicator || got.Outcome != scenario.NotPlayed || !strings.HasPrefix(got.Reasons[0], want) {
			t.Errorf("%s with %s: %s, %q, want %q", got.Scenario, got.Replicator, got.Outcome, got.Reasons, want)
		}
	}
}

// A probe that cannot be made is told of before anything is started, which may cost.
func TestWhereNoProbeCanBeMade(t *testing.T) {
	var c scenario.RunConfig
	c.SetDefaults()
	c.Output = filepath.Join(t.TempDir(), "results")
	r, err := scenario.NewRunner(c, scenario.RunDeps{
		Logger: slog.New(slog.DiscardHandler),
		Target: func(string) (scenario.Target, error) { return nothing{&[]scenario.Config{}}, nil },
		Probe: func(context.Context, scenario.Target, string, map[string]string) (*scenario.ProbeResult, error) {
			return nil, errNotCalled
		},
		CanProbe: func(t scenario.Target) error {
			return fmt.Errorf("%w: %s is out of reach", scenario.ErrCannotPlay, t.Name())
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	results, err := r.Run(t.Context(), []string{"fidelity"})
	if err != nil {
		t.Fatal(err)
	}
	if got := results[0]; got.Outcome != scenario.NotPlayed || !strings.Contains(got.Reasons[0], "probe: fidelity: cannot be played here: nothing is out of reach") {
		t.Errorf("%s: %q", got.Outcome, got.Reasons)
	}
}

// late is a target whose replicator finds a new topic only when the load is over, as Brooklin may.
type late struct {
	nothing
	draining chan struct{} // closed when the drain has begun
	asked    atomic.Int32  // how often it was asked since
}

func (*late) Check([]scenario.Config) error                   { return nil }
func (*late) Start(context.Context, scenario.Config) error    { return nil }
func (*late) Converge(context.Context, scenario.Config) error { return nil }
func (*late) Mark(context.Context, verdict.Event) error       { return nil }
func (*late) Stop(context.Context) error                      { return nil }
func (l *late) document(final bool, found bool) *verdict.Document {
	topics := []verdict.Topic{{Name: "load", Partitions: []verdict.Partition{{Counts: verdict.Counts{Received: 1}}}}, {Name: "load-2", Partitions: []verdict.Partition{{}}}}
	if found {
		topics[1].Partitions[0].Counts.Received = 1
	}
	return &verdict.Document{Verdict: verdict.Verdict{At: time.Now().UnixMicro(), Final: final, Outcome: verdict.Holds, Topics: topics}}
}

func (l *late) Status(ctx context.Context) (*verdict.Document, error) {
	select {
	case <-l.draining:
		return l.document(false, l.asked.Add(1) > 3), ctx.Err()
	default:
		return l.document(false, false), ctx.Err()
	}
}

func (l *late) Drain(context.Context) (*verdict.Document, error) {
	close(l.draining)
	time.Sleep(6 * time.Minute)
	return l.document(true, true), nil
}

// The drain may take minutes: what arrives in it is told, and what is found in it has been found then, not at its end.
func TestTheDrainIsWatched(t *testing.T) {
	file := filepath.Join(t.TempDir(), "late.yaml")
	text := "name: late\nabout: a topic\nduration: 20s\nsteps:\n  - after: 10s\n    side: destination\n    change: {topics: [load, load-2]}\n  - after: 0s\n    side: source\n    phase: change\n    change: {topics: [load, load-2]}\n" +
		"expectations:\n  - {expect: discovery.topics <= 10m, why: it is found}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	output := filepath.Join(t.TempDir(), "results")
	synctest.Test(t, func(t *testing.T) {
		var c scenario.RunConfig
		c.SetDefaults()
		c.Output = output
		l := &late{draining: make(chan struct{})}
		told := 0
		r, err := scenario.NewRunner(c, scenario.RunDeps{
			Logger: slog.New(slog.DiscardHandler),
			Target: func(string) (scenario.Target, error) { return l, nil },
			Progress: func(p scenario.Progress) {
				if p.Phase == scenario.PhaseDrain && p.Message == "" && p.Document != nil {
					told++
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		results, err := r.Run(t.Context(), []string{file})
		if err != nil {
			t.Fatal(err)
		}
		if told < 300 {
			t.Errorf("in six minutes of drain what arrives was told %d times", told)
		}
		// Ten seconds of load are left after the change, and the fourth look of the drain finds it.
		if d := results[0].Discoveries; len(d) != 1 || !d[0].Complete || d[0].Seconds < 10 || d[0].Seconds > 20 {
			t.Errorf("found: %+v", d)
		}
	})
}
