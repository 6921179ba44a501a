package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// replicator is what copies, as the lab runs it. In what one differs from the others is in a file of its
// own.
type replicator interface {
	// title is its name for people.
	title() string
	// check reports what of a Config is wrong with it, or more than the lab has the means for.
	check(c scenario.Config) error
	// port is the one that its processes are known by.
	port() int
	// prepare starts what it needs beside its own processes.
	prepare(ctx context.Context) error
	// program is what a node is to run now.
	program(n *node) (program, error)
	// ready returns nil when a node that runs can work.
	ready(ctx context.Context, n *node) error
	// patience is how long it may stand still and still go on by itself.
	patience() time.Duration
	// adopt returns when it will copy a topic that is new on both sides, and that the lab's configuration does not
	// name; at once where it finds one within seconds.
	adopt(ctx context.Context, topic string, partitions int) error
}

// Adopt has the replicator copy a topic of somebody else, such as a probe's, and returns when it will.
func (l *Lab) Adopt(ctx context.Context, topic string, partitions int) error {
	if l.replicator == nil {
		return nil
	}
	if err := l.replicator.adopt(ctx, topic, partitions); err != nil {
		return fmt.Errorf("%s does not copy %s: %w", l.replicator.title(), topic, err)
	}
	return nil
}

// registrar is a replicator that has to be told what to copy.
type registrar interface {
	register(ctx context.Context) error
	// concerns says whether it has to be told of a change.
	concerns(was, next scenario.Config) bool
}

// newReplicator returns the one of that name, nil for none.
func (l *Lab) newReplicator(name string) replicator {
	switch name {
	case scenario.MirrorMaker2:
		return &mirrorMaker2{l}
	case scenario.UReplicator:
		return &uReplicator{lab: l}
	case scenario.Brooklin:
		return &brooklin{lab: l}
	}
	return nil
}

// program is a Java program and its configuration.
type program struct {
	process   replicators.Process
	classPath string // empty: Kafka's
	options   []string
	class     string
	arguments []string
	files     map[string][]byte // by path
}

// What a node is.
const (
	workerRole     = "worker"
	controllerRole = "controller"
)

// workerPause is how long a node that has ended by itself stays down, as a container that is restarted.
const workerPause = 5 * time.Second

// node is one process of the replicator: a worker, or one of uReplicator's controllers.
type node struct {
	replicator, role string
	index            int
	op               sync.Mutex // held by whoever starts or stops it, and guards the rest
	seat             seat
	removed          bool
	held             bool // down on purpose
	proc             *process
}

func (n *node) running() bool { return n.proc != nil && n.proc.alive() }

// pod is what its pod would be called.
func (n *node) pod() string { return fmt.Sprintf("%s-%s-%d", n.replicator, n.role, n.index) }

// name is what its log is called after. A worker is the replicator itself.
func (n *node) name() string {
	if n.role == workerRole {
		return fmt.Sprintf("%s %d", n.replicator, n.index)
	}
	return fmt.Sprintf("%s-%s %d", n.replicator, n.role, n.index)
}

// nodes returns the workers or the controllers there are meant to be.
func (l *Lab) nodes(role string) []*node {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.copiers[role])
}

func (l *Lab) setNodes(role string, nodes []*node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.copiers[role] = nodes
}

// startReplicator starts the replicator and returns when a record of the lab's own has crossed.
func (l *Lab) startReplicator(ctx context.Context) error {
	for _, c := range []*Cluster{l.Source, l.Destination} {
		if err := c.applyTopics(ctx, []string{selfTestTopic}, 1, makeTopics); err != nil {
			return err
		}
	}
	if err := l.replicator.prepare(ctx); err != nil {
		return err
	}
	d := l.config().Destination
	if err := l.resizeNodes(ctx, controllerRole, l.controllers(d)); err != nil {
		return err
	}
	if err := l.resizeNodes(ctx, workerRole, d.Workers); err != nil {
		return err
	}
	if r, ok := l.replicator.(registrar); ok {
		if err := r.register(ctx); err != nil {
			return err
		}
	}
	record := &kgo.Record{Topic: selfTestTopic, Value: []byte(l.config().TestID)}
	if err := l.Source.client.ProduceSync(ctx, record).FirstErr(); err != nil {
		return fmt.Errorf("write the self-test's record: %w", err)
	}
	l.Destination.client.AddConsumeTopics(selfTestTopic)
	defer l.Destination.client.PauseFetchTopics(selfTestTopic)
	return await(ctx, l.cfg.StartTimeout, "the first record through "+l.replicator.title(), func(ctx context.Context) error {
		fetches := l.Destination.client.PollFetches(ctx)
		for _, r := range fetches.Records() {
			if string(r.Value) == l.config().TestID {
				return nil
			}
		}
		return fmt.Errorf("nothing has arrived in %s; the logs of %s are %s", selfTestTopic, l.replicator.title(), filepath.Join(l.logs, l.config().Destination.Replicator+"-*.log"))
	})
}

// controllers is how many there are to be: no replicator but uReplicator has any.
func (l *Lab) controllers(d scenario.Destination) int {
	if d.Replicator == scenario.UReplicator {
		return d.Controllers
	}
	return 0
}

// resizeNodes starts workers or controllers, or stops those with the highest numbers, until there are so
// many.
func (l *Lab) resizeNodes(ctx context.Context, role string, count int) error {
	all := l.nodes(role)
	for len(all) > count {
		n := all[len(all)-1]
		all = all[:len(all)-1]
		l.setNodes(role, all)
		n.op.Lock()
		n.removed = true
		if n.running() {
			n.proc.terminate(brokerStop)
		}
		err := errors.Join(n.seat.close(), l.jvm.watch.forget(Destination, n.pod()))
		n.op.Unlock()
		if err != nil {
			return err
		}
	}
	for i := len(all); i < count; i++ {
		n := &node{replicator: l.config().Destination.Replicator, role: role, index: i}
		if err := l.moveNode(n); err != nil {
			return err
		}
		all = append(all, n)
		l.setNodes(role, all)
		if err := l.bringUpNode(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// restartNodes has controllers and workers follow the replicator's configuration, one after another.
func (l *Lab) restartNodes(ctx context.Context) error {
	for _, n := range slices.Concat(l.nodes(controllerRole), l.nodes(workerRole)) {
		n.op.Lock()
		if n.running() {
			n.proc.terminate(brokerStop)
		}
		n.op.Unlock()
		if err := l.bringUpNode(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// moveNode gives a node an address. It must not run.
func (l *Lab) moveNode(n *node) (err error) {
	n.op.Lock()
	defer n.op.Unlock()
	if n.seat != nil {
		if err := n.seat.close(); err != nil {
			return err
		}
	}
	n.seat, err = l.net.place(Destination, n.role+"-"+strconv.Itoa(n.index), l.replicator.port())
	return err
}

// config is the path of one of its configuration files.
func (l *Lab) nodeConfig(n *node, file string) string {
	return filepath.Join(l.configs(), strings.ReplaceAll(n.name(), " ", "-")+file)
}

// bringUpNode starts a node that is down, and returns when it can work. One that is no more meant to be
// there is left alone.
func (l *Lab) bringUpNode(ctx context.Context, n *node) error {
	n.op.Lock()
	defer n.op.Unlock()
	n.held = false
	if n.removed || n.running() {
		return nil
	}
	p, err := l.replicator.program(n)
	if err != nil {
		return err
	}
	for path, text := range p.files {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	j := l.jvm
	if p.classPath != "" {
		j.classPath = p.classPath
	}
	start := j.command(n.name(), replicatorHeap, slices.Concat(p.options, []string{p.class}, p.arguments)...)
	start.in = n.seat.start()
	if err := l.jvm.watch.java(&start, p.process, Destination, n.pod(), n.seat); err != nil {
		return err
	}
	start.unasked = func(p *process) { l.nodeEnded(n, p) }
	if n.proc, err = l.sup.start(start); err != nil {
		return err
	}
	proc := n.proc
	return await(ctx, l.cfg.StartTimeout, proc.name, func(ctx context.Context) error {
		if !proc.alive() {
			return fmt.Errorf("%w: %w", errNodeEnded, proc.ended())
		}
		return l.replicator.ready(ctx, n)
	}, func(err error) bool { return errors.Is(err, errNodeEnded) })
}

// listens is the readiness of a node that opens its port when it can work.
func listens(ctx context.Context, n *node) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", n.seat.listen())
	if err != nil {
		return err
	}
	return conn.Close()
}

var errNodeEnded = errors.New("it has ended")

// revive is bringUpNode for one that was down under load: that it ends again is told as it was the first
// time, and not a failure of the lab.
func (l *Lab) revive(ctx context.Context, n *node) error {
	if err := l.bringUpNode(ctx, n); !errors.Is(err, errNodeEnded) {
		return err
	}
	return nil
}

// nodeEnded hears of a node that ended unasked: while the lab starts that is a failure, and under load a
// finding. Then it is started again, as a container would be.
func (l *Lab) nodeEnded(n *node, p *process) {
	if !l.carries.Load() {
		l.sup.fail(p.unasked())
		return
	}
	l.keepLogs.Store(true)
	l.background(func(ctx context.Context) error {
		l.out.say("%v", p.unasked())
		told := l.event(ctx, time.Now(), n.role+"-died", Destination, fmt.Sprintf("%s %d ended by itself: %v", n.role, n.index, p.err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(workerPause):
		}
		n.op.Lock()
		held := n.held
		n.op.Unlock()
		if held {
			return told
		}
		return errors.Join(told, l.revive(ctx, n))
	})
}
