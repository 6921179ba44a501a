package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/register"
	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// uReplicator is uReplicator: controllers and workers that meet in a ZooKeeper of their own, at the
// destination, as in the stacks.
type uReplicator struct {
	lab   *Lab
	helix *zooKeeper
}

func (*uReplicator) title() string { return "uReplicator" }
func (*uReplicator) port() int     { return replicators.UReplicatorPort }

// patience is twice as long as a worker that is gone may be waited for: two minutes, and what comes after.
func (u *uReplicator) patience() time.Duration {
	return 2 * u.describe(scenario.Config{}).RebalanceDelay
}

func (u *uReplicator) check(c scenario.Config) error {
	d := u.describe(c)
	here := "127.0.0.1:1"
	d.Source, d.Destination, d.SourceZooKeeper, d.DestinationZooKeeper, d.HelixZooKeeper = []string{here}, []string{here}, here, here, here
	return errors.Join(u.lab.cfg.uReplicator().check(u.lab, c), d.Validate())
}

// describe says what uReplicator is to do, as the stacks say it.
func (u *uReplicator) describe(c scenario.Config) replicators.UReplicator {
	l := u.lab
	var d replicators.UReplicator
	d.SetDefaults()
	d.Overrides = c.Destination.ReplicatorConfig
	if u.helix != nil {
		d.Source, d.Destination = l.Source.BootstrapServers(Destination), l.Destination.BootstrapServers(Destination)
		d.SourceZooKeeper, d.DestinationZooKeeper = l.Source.zooKeeper.listen(), l.Destination.zooKeeper.listen()
		d.HelixZooKeeper = u.helix.listen()
	}
	return d
}

// prepare starts its ZooKeeper.
func (u *uReplicator) prepare(ctx context.Context) (err error) {
	u.helix, err = u.lab.replicatorZooKeeper(ctx, scenario.UReplicator)
	return err
}

func (u *uReplicator) program(n *node) (program, error) {
	l := u.lab
	d := u.describe(l.config())
	if err := d.Validate(); err != nil {
		return program{}, err
	}
	classPath, err := l.cfg.uReplicator().classPath()
	if err != nil {
		return program{}, err
	}
	p := program{process: replicators.UReplicatorProcess, classPath: classPath, options: []string{replicators.UReplicatorJavaOption}}
	if n.role == controllerRole {
		backup := filepath.Join(l.work.path, n.pod())
		if err := os.MkdirAll(backup, 0o755); err != nil {
			return program{}, fmt.Errorf("directory of %s: %w", n.pod(), err)
		}
		// Without a name it takes the host's, which pods have one each of, and processes do not.
		p.class, p.arguments = replicators.UReplicatorControllerClass, append(d.ControllerArgs(backup), "-instanceId", n.pod())
		return p, nil
	}
	consumer, producer, helix := l.nodeConfig(n, "-consumer.properties"), l.nodeConfig(n, "-producer.properties"), l.nodeConfig(n, "-helix.properties")
	p.files = map[string][]byte{consumer: d.ConsumerProperties(), producer: d.ProducerProperties(), helix: d.HelixProperties(n.pod())}
	p.class, p.arguments = replicators.UReplicatorWorkerClass, d.WorkerArgs(consumer, producer, helix)
	return p, nil
}

// errNoController says that there is nobody who could be asked.
var errNoController = errors.New("uReplicator has no controller")

// controller returns the address of a controller that is well, and a client for it.
func (u *uReplicator) controller(ctx context.Context) (string, *replicators.UReplicatorClient, error) {
	errs := []error{errNoController}
	for _, n := range u.lab.nodes(controllerRole) {
		url := "http://" + n.seat.listen()
		client, err := replicators.NewUReplicatorClient(url)
		if err == nil {
			err = client.Healthy(ctx)
		}
		if err == nil {
			return url, client, nil
		}
		errs = append(errs, err)
	}
	return "", nil, errors.Join(errs...)
}

// ready: a controller answers; a worker is one of those that a controller knows, if there is one.
func (u *uReplicator) ready(ctx context.Context, n *node) error {
	if n.role == controllerRole {
		client, err := replicators.NewUReplicatorClient("http://" + n.seat.listen())
		if err != nil {
			return err
		}
		return client.Healthy(ctx)
	}
	if len(u.lab.nodes(controllerRole)) == 0 {
		return nil
	}
	_, client, err := u.controller(ctx)
	if err != nil {
		return err
	}
	alive, err := client.Instances(ctx)
	if err == nil && !slices.Contains(alive, n.pod()) {
		err = fmt.Errorf("the controller knows of workers %v", alive)
	}
	return err
}

// concerns: of other topics, of more partitions, and of what there was to be told while nobody was there.
func (u *uReplicator) concerns(was, next scenario.Config) bool {
	from, to := was.Destination, next.Destination
	if to.Controllers == 0 {
		return false
	}
	return !slices.Equal(from.Topics, to.Topics) || from.Partitions != to.Partitions || from.PartitionGrowth != to.PartitionGrowth ||
		from.Controllers == 0
}

// register tells a controller of the topics and their partitions at the destination, as the stacks' Job
// does. A test that begins without a controller tells nobody.
func (u *uReplicator) register(ctx context.Context) error {
	l := u.lab
	d := l.config().Destination
	if d.Controllers == 0 {
		l.out.say("uReplicator has no controller, and is told of nothing")
		return nil
	}
	url, _, err := u.controller(ctx)
	if err != nil {
		return err
	}
	return l.tell(ctx, func(r *register.Config) {
		r.Replicator, r.URL = register.UReplicator, url
		r.Topics, r.Partitions, r.Growth = append(slices.Clone(d.Topics), selfTestTopic+":1"), d.Partitions, d.PartitionGrowth
	})
}

// adopt tells a controller of the topic: it copies none of which it has not been told.
func (u *uReplicator) adopt(ctx context.Context, topic string, partitions int) error {
	url, _, err := u.controller(ctx)
	if err != nil {
		return err
	}
	return u.lab.tell(ctx, func(r *register.Config) {
		r.Replicator, r.URL = register.UReplicator, url
		r.Topics, r.Partitions = []string{topic}, partitions
	})
}

// tell registers what the replicator is to copy, and says what has come of it.
func (l *Lab) tell(ctx context.Context, of func(*register.Config)) error {
	var r register.Config
	r.SetDefaults()
	// Whoever is to be there is there: each has been waited for.
	r.Settle, r.Timeout = 0, l.cfg.StartTimeout
	of(&r)
	if err := r.Validate(); err != nil {
		return err
	}
	done, err := register.Register(ctx, r, l.logger)
	for _, line := range slices.Concat(done.Changed, done.Left) {
		l.out.say("%s", strings.TrimSpace(line))
	}
	return err
}
