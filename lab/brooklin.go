package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/register"
	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// brooklin is Brooklin: servers that meet in a ZooKeeper of their own, at the destination, and one
// datastream.
type brooklin struct {
	lab *Lab
	own *zooKeeper
}

func (*brooklin) title() string { return "Brooklin" }
func (*brooklin) port() int     { return replicators.BrooklinPort }

// patience is what its consumer, which looks for new topics every five minutes, may take to see one.
func (*brooklin) patience() time.Duration { return 6 * time.Minute }

func (*brooklin) ready(ctx context.Context, n *node) error { return listens(ctx, n) }

func (b *brooklin) check(c scenario.Config) error {
	d := b.describe(c)
	here := "127.0.0.1:1"
	d.Destination, d.ZooKeeper = []string{here}, here
	_, err := b.datastream(c, []string{here})
	return errors.Join(b.lab.cfg.brooklin().check(b.lab, c), d.Validate(), err)
}

// describe says what a server is to do, as the stacks say it.
func (b *brooklin) describe(c scenario.Config) replicators.Brooklin {
	l := b.lab
	var d replicators.Brooklin
	d.SetDefaults()
	d.Overrides = c.Destination.ReplicatorConfig
	if b.own != nil {
		d.Destination, d.DestinationZooKeeper = l.Destination.BootstrapServers(Destination), l.Destination.zooKeeper.listen()
		d.ZooKeeper = b.own.listen()
	}
	return d
}

// topics is what its one datastream copies: more topics are none of its business.
func (*brooklin) topics(c scenario.Config) string {
	return replicators.Patterns(c.TopicPattern, selfTestTopic)
}

func (b *brooklin) datastream(c scenario.Config, source []string) (replicators.Datastream, error) {
	var r register.Config
	r.SetDefaults()
	return replicators.NewDatastream(r.Datastream, source, b.topics(c))
}

// prepare starts its ZooKeeper.
func (b *brooklin) prepare(ctx context.Context) (err error) {
	b.own, err = b.lab.replicatorZooKeeper(ctx, scenario.Brooklin)
	return err
}

func (b *brooklin) program(n *node) (program, error) {
	l := b.lab
	d := b.describe(l.config())
	if err := d.Validate(); err != nil {
		return program{}, err
	}
	classPath, err := l.cfg.brooklin().classPath()
	if err != nil {
		return program{}, err
	}
	config := l.nodeConfig(n, ".properties")
	return program{
		process: replicators.BrooklinProcess, classPath: classPath, class: replicators.BrooklinClass, arguments: []string{config},
		files: map[string][]byte{config: d.Properties()},
	}, nil
}

// adopt waits until one of its consumers has the topic, which it looks for every five minutes only.
func (b *brooklin) adopt(ctx context.Context, topic string, partitions int) error {
	admin := kadm.NewClient(b.lab.Source.client)
	return await(ctx, b.patience(), "Brooklin's look for new topics", func(ctx context.Context) error {
		groups, err := admin.DescribeGroups(ctx)
		if err != nil {
			return err
		}
		if n := len(groups.AssignedPartitions()[topic]); n < partitions {
			return fmt.Errorf("%d of %d partitions have a consumer", n, partitions)
		}
		return nil
	})
}

// concerns: topics and partitions it finds by itself.
func (*brooklin) concerns(scenario.Config, scenario.Config) bool { return false }

// register makes the datastream.
func (b *brooklin) register(ctx context.Context) error {
	l := b.lab
	c := l.config()
	return l.tell(ctx, func(r *register.Config) {
		r.Replicator, r.URL = register.Brooklin, "http://"+l.nodes(workerRole)[0].seat.listen()
		r.Source, r.Pattern = l.Source.BootstrapServers(Destination), b.topics(c)
	})
}
