package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/mirror"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/probe"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
)

// mirroring runs a mirror between the clusters until the test ends.
func mirroring(t *testing.T, source, destination string, topics ...string) {
	t.Helper()
	var c mirror.Config
	c.SetDefaults()
	c.RefreshInterval, c.ShutdownTimeout, c.Topics = 100*time.Millisecond, 0, topics
	m, err := mirror.New(c, mirror.Deps{Source: []kgo.Opt{kgo.SeedBrokers(source)}, Destination: []kgo.Opt{kgo.SeedBrokers(destination)}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A probe ends with the exit code of its outcome, a table, and the JSON.
func TestProbe(t *testing.T) {
	source, destination := cluster(t), cluster(t)
	mirroring(t, source, destination)
	env := []string{"LOADGEN_SOURCE_BOOTSTRAP_SERVERS=" + source, "LOADGEN_DESTINATION_BOOTSTRAP_SERVERS=" + destination, "LOADGEN_SETTLE=100ms"}
	out := filepath.Join(t.TempDir(), "new", "fidelity.json")
	loadgen(t, env, "probe", "fidelity", "--topic", "probe-cli", "--output", out, "--replicator-creates").
		want(t, exitHolds, "✓ HOLDS  probe fidelity on topic probe-cli", "✓ headers", "left  topic probe-cli at the source")
	file, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	d, err := probe.Read(file)
	if err != nil || d.Outcome != verdict.Holds || d.Versions["franz-go"] == "" {
		t.Errorf("%+v, %v", d, err)
	}

	// The mirror makes topics at the destination with the source's retention, and
	// lets changes pass.
	r := loadgen(t, env, "probe", "topicconfig", "--json", "--idle", "2s", "--remove")
	if d = nil; json.Unmarshal([]byte(r.stdout), &d) != nil || r.code != exitBroken || d.Outcome != verdict.Broken {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	// It knows nothing of groups.
	r = loadgen(t, env, "probe", "offsets", "--json", "--idle", "2s", "--allow", "translated", "--records", "20")
	if r.code != exitCannotSay || !strings.Contains(r.stdout, `"outcome": "cannot say"`) {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}

	loadgen(t, env, "probe", "fidelity", "--allow", "tombstones,keys,keys", "--idle", "1ms", "--num-partitions", "0").
		want(t, exitTrouble, "has no such check", `allow "keys" is given twice`, "idle 1ms", "0 partitions", "See 'loadgen probe fidelity --help'.")
	loadgen(t, env, "probe").want(t, exitTrouble, "a command is missing: compaction, fidelity, offsets, sizes, topicconfig, transactions")
	loadgen(t, env, "probe", "fidelity", "--topic", "probe-cli").want(t, exitTrouble, `topic "probe-cli" has had records already`)
}
