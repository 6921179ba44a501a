package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// replicatorTasks is MirrorMaker 2's tasks.max where nothing else is said: as many nodes can share the
// work. A fixed number, or a worker more would be another configuration of all.
const replicatorTasks = 8

// mirrorMaker2Port is where the nodes of MirrorMaker 2 reach each other.
const mirrorMaker2Port = 8083

// tasksKey is the replicator's setting for its tasks.
const tasksKey = "tasks.max"

// mirrorMaker2 is MirrorMaker 2, which comes with Kafka.
type mirrorMaker2 struct{ lab *Lab }

func (*mirrorMaker2) title() string                 { return "MirrorMaker 2" }
func (*mirrorMaker2) port() int                     { return mirrorMaker2Port }
func (*mirrorMaker2) prepare(context.Context) error { return nil }
func (*mirrorMaker2) patience() time.Duration       { return 0 }

// adopt: it looks for topics every few seconds.
func (*mirrorMaker2) adopt(context.Context, string, int) error { return nil }

func (*mirrorMaker2) ready(ctx context.Context, n *node) error { return listens(ctx, n) }

func (m *mirrorMaker2) check(c scenario.Config) error {
	d := c.Destination
	var errs []error
	tasks := strconv.Itoa(replicatorTasks)
	if own, said := d.ReplicatorConfig[tasksKey]; said {
		tasks = own
	}
	if n, err := strconv.Atoi(tasks); err != nil || n < d.Workers {
		errs = append(errs, fmt.Errorf("workers: %d: MirrorMaker 2 gives work to %s of them only: set replicatorConfig %s to at least %d", d.Workers, tasks, tasksKey, d.Workers))
	}
	mm := m.describe(c, "")
	mm.Source, mm.Destination = []string{outside}, []string{outside}
	return errors.Join(append(errs, mm.Validate(), mm.ValidateOverrides())...)
}

// describe says what MirrorMaker 2 is to do, by the node at an address.
func (m *mirrorMaker2) describe(c scenario.Config, address string) replicators.MirrorMaker2 {
	l := m.lab
	var mm replicators.MirrorMaker2
	mm.SetDefaults()
	mm.Topics = []string{selfTestTopic, c.TopicPattern}
	mm.ExcludeTopics = []string{ledger.SourceTopic, ledger.DestinationTopic}
	mm.Tasks, mm.Replicas = replicatorTasks, c.Destination.ReplicationFactor
	mm.Listener = "http://" + address
	mm.Overrides = maps.Clone(c.Destination.ReplicatorConfig)
	if l.Source != nil {
		mm.Source, mm.Destination = l.Source.BootstrapServers(Destination), l.Destination.BootstrapServers(Destination)
		mm.SourceCredentials, mm.DestinationCredentials = l.security.credentials(), l.security.credentials()
	}
	return mm
}

func (m *mirrorMaker2) program(n *node) (program, error) {
	l := m.lab
	mm := m.describe(l.config(), n.seat.listen())
	if l.cfg.existing() {
		more, err := replicatorSecurity(l.Source.access, filepath.Join(l.work.path, "security"))
		if err != nil {
			return program{}, err
		}
		if mm.Overrides == nil {
			mm.Overrides = map[string]string{}
		}
		maps.Copy(mm.Overrides, more)
	}
	if err := mm.Validate(); err != nil {
		return program{}, err
	}
	config := l.nodeConfig(n, ".properties")
	return program{
		process: replicators.MirrorMaker2Process, class: replicators.MirrorMaker2Class, arguments: []string{config},
		files: map[string][]byte{config: mm.Properties()},
	}, nil
}
