package lab

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/mirror"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/topics"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// Clusters that exist, with a replicator that exists: the lab puts the load on and verifies, topics grow,
// and what is done by hand is marked.
func TestClustersThatExist(t *testing.T) {
	r := newReal(t)
	cfg := r.lab.cfg
	cfg.DrainIdle, cfg.Ocean = 3*time.Second, OceanAuto
	cfg.SourceServers, cfg.DestinationServers = embedded(t), embedded(t)
	cfg.LoadgenBinary = r.lab.cfg.LoadgenBinary
	cfg.Java = "/nonexistent/java" // is not needed
	l, err := New(cfg, slog.New(slog.DiscardHandler), testOutput{t})
	r.must(err)
	r.lab = l
	t.Cleanup(func() {
		if err := l.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	base := small()
	base.Destination.Replicator, base.Destination.ReplicatorConfig = scenario.NoReplicator, nil
	broken := base.Config
	broken.Source.Fault = scenario.Fault{Kind: "broker-kill", Victims: []int{0}, Run: 1}
	more := base.Config
	more.Destination.Brokers++
	for _, next := range []scenario.Config{broken, more} {
		if err := l.Check([]scenario.Config{base.Config, next}); !errors.Is(err, scenario.ErrCannotPlay) {
			t.Errorf("clusters of somebody else's are to be changed: %v", err)
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(cfg.SourceServers...))
	r.must(err)
	defer client.Close()
	// One that is there, and otherwise than the lab would make it.
	theirs := topics.Config{Names: []string{"lab"}, Partitions: 6, Replicas: 1, Retention: time.Hour}
	r.must(topics.Create(t.Context(), client, theirs))
	replicate(t, cfg.SourceServers, cfg.DestinationServers)
	r.must(l.Start(t.Context(), base.Config))
	if n := len(leftovers(t, l.work.path)); n != 3 {
		t.Errorf("%d processes run, want producer, consumer and auditor", n)
	}
	out, err := exec.Command(l.binary, "mark", "a cable is pulled", "--auditor", l.auditor.url, "--kind", "cut", "--side", "source").CombinedOutput()
	if err != nil {
		t.Errorf("mark: %v\n%s", err, out)
	}
	next := base.Config
	next.Source.Topics, next.Destination.Topics, next.TopicPattern = []string{"lab", "lab2"}, []string{"lab", "lab2"}, "lab.*"
	contains(t, l.Converge(t.Context(), next), "topicPattern: lab.*")
	next = base.Config
	next.Source.Partitions, next.Destination.Partitions, next.Destination.PartitionGrowth = 8, 8, scenario.GrowthCure
	next.Source.Producers = 2
	// One that fails is not one that has been reached: the next does it all.
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := l.Converge(stopped, next); !errors.Is(err, context.Canceled) {
		t.Errorf("converging when stopped: %v", err)
	}
	if got := l.config().Source.Partitions; got != base.Source.Partitions {
		t.Errorf("after a step that failed the lab takes itself to have %d partitions", got)
	}
	r.converge(next)
	described, err := topics.Describe(t.Context(), client, []string{"lab"})
	if r.must(err); described[0].Partitions != 8 || described[0].Settings["retention.ms"] != "3600000" {
		t.Errorf("somebody else's topic is now %+v, want 8 partitions and all else as it was", described[0])
	}
	doc := r.drain(next)
	if i := slices.IndexFunc(doc.Events, func(e verdict.Event) bool { return e.Kind == "cut" && e.Detail == "a cable is pulled" }); i < 0 {
		t.Errorf("what was marked is not in the report: %v", doc.Events)
	}
	r.stop()
}

// embedded is a cluster in this process.
func embedded(t *testing.T) []string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(3))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()
}

func replicate(t *testing.T, source, destination []string) {
	t.Helper()
	var c mirror.Config
	c.SetDefaults()
	m, err := mirror.New(c, mirror.Deps{
		Source: []kgo.Opt{kgo.SeedBrokers(source...)}, Destination: []kgo.Opt{kgo.SeedBrokers(destination...)}, Logger: slog.New(slog.DiscardHandler),
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
