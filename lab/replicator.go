package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// replicatorTasks is MirrorMaker 2's tasks.max where nothing else is said: as many nodes can share the
// work. A fixed number, or a worker more would be another configuration of all.
const replicatorTasks = 8

// workerPort is where the nodes of MirrorMaker 2 reach each other.
const workerPort = 8083

// workerPause is how long a worker that has ended by itself stays down, as a container that is restarted.
const workerPause = 5 * time.Second

// tasksKey is the replicator's setting for its tasks.
const tasksKey = "tasks.max"

// worker is one node of MirrorMaker 2.
type worker struct {
	index   int
	op      sync.Mutex // held by whoever starts or stops it, and guards the rest
	seat    seat
	removed bool
	held    bool // down on purpose
	proc    *process
}

func (w *worker) running() bool { return w.proc != nil && w.proc.alive() }

// describe says what MirrorMaker 2 is to do now, by the worker at an address.
func (l *Lab) describe(c scenario.Config, address string) replicators.MirrorMaker2 {
	var m replicators.MirrorMaker2
	m.SetDefaults()
	m.Topics = []string{selfTestTopic, c.TopicPattern}
	m.ExcludeTopics = []string{ledger.SourceTopic, ledger.DestinationTopic}
	m.Tasks, m.Replicas = replicatorTasks, c.Destination.ReplicationFactor
	m.Listener = "http://" + address
	m.Overrides = maps.Clone(c.Destination.ReplicatorConfig)
	if l.Source != nil {
		m.Source, m.Destination = l.Source.BootstrapServers(Destination), l.Destination.BootstrapServers(Destination)
		m.SourceCredentials, m.DestinationCredentials = l.security.credentials(), l.security.credentials()
	}
	return m
}

// startReplicator starts MirrorMaker 2 and returns when a record of the lab's own has crossed.
func (l *Lab) startReplicator(ctx context.Context) error {
	for _, c := range []*Cluster{l.Source, l.Destination} {
		if err := c.applyTopics(ctx, []string{selfTestTopic}, 1, makeTopics); err != nil {
			return err
		}
	}
	if err := l.addWorkers(ctx, l.config().Destination.Workers); err != nil {
		return err
	}
	record := &kgo.Record{Topic: selfTestTopic, Value: []byte(l.config().TestID)}
	if err := l.Source.client.ProduceSync(ctx, record).FirstErr(); err != nil {
		return fmt.Errorf("write the self-test's record: %w", err)
	}
	l.Destination.client.AddConsumeTopics(selfTestTopic)
	defer l.Destination.client.PauseFetchTopics(selfTestTopic)
	return await(ctx, l.cfg.StartTimeout, "the first record through MirrorMaker 2", func(ctx context.Context) error {
		fetches := l.Destination.client.PollFetches(ctx)
		for _, r := range fetches.Records() {
			if string(r.Value) == l.config().TestID {
				return nil
			}
		}
		return fmt.Errorf("nothing has arrived in %s; the log of MirrorMaker 2 is %s", selfTestTopic, filepath.Join(l.logs, "mirrormaker2-0.log"))
	})
}

// pod is what its pod would be called.
func (w *worker) pod() string { return fmt.Sprintf("mirrormaker2-worker-%d", w.index) }

// addWorkers starts workers until there are so many.
func (l *Lab) addWorkers(ctx context.Context, count int) error {
	for i := len(l.workers); i < count; i++ {
		w := &worker{index: i}
		l.workers = append(l.workers, w)
		if err := l.moveWorker(w); err != nil {
			return err
		}
		if err := l.bringUpWorker(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// removeWorkers stops the workers with the highest numbers until there are so many.
func (l *Lab) removeWorkers(count int) error {
	for len(l.workers) > count {
		w := l.workers[len(l.workers)-1]
		l.workers = l.workers[:len(l.workers)-1]
		w.op.Lock()
		w.removed = true
		if w.running() {
			w.proc.terminate(brokerStop)
		}
		err := errors.Join(w.seat.close(), l.jvm.watch.forget(Destination, w.pod()))
		w.op.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// restartWorkers has the workers follow the replicator's configuration, one after another.
func (l *Lab) restartWorkers(ctx context.Context) error {
	for _, w := range l.workers {
		w.op.Lock()
		if w.running() {
			w.proc.terminate(brokerStop)
		}
		w.op.Unlock()
		if err := l.bringUpWorker(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// moveWorker gives a worker an address. It must not run.
func (l *Lab) moveWorker(w *worker) (err error) {
	w.op.Lock()
	defer w.op.Unlock()
	if w.seat != nil {
		if err := w.seat.close(); err != nil {
			return err
		}
	}
	w.seat, err = l.net.place(Destination, "worker-"+strconv.Itoa(w.index), workerPort)
	return err
}

// bringUpWorker starts a worker that is down, and returns when it listens. One that is no more meant to
// be there is left alone.
func (l *Lab) bringUpWorker(ctx context.Context, w *worker) error {
	w.op.Lock()
	defer w.op.Unlock()
	w.held = false
	if w.removed || w.running() {
		return nil
	}
	m := l.describe(l.config(), w.seat.listen())
	if l.cfg.existing() {
		more, err := replicatorSecurity(l.Source.access, filepath.Join(l.work.path, "security"))
		if err != nil {
			return err
		}
		if m.Overrides == nil {
			m.Overrides = map[string]string{}
		}
		maps.Copy(m.Overrides, more)
	}
	if err := m.Validate(); err != nil {
		return err
	}
	config := filepath.Join(l.configs(), fmt.Sprintf("mirrormaker2-%d.properties", w.index))
	if err := os.WriteFile(config, m.Properties(), 0o644); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	start := l.jvm.command(fmt.Sprintf("mirrormaker2 %d", w.index), replicatorHeap, replicators.MirrorMaker2Class, config)
	start.in = w.seat.start()
	if err := l.jvm.watch.java(&start, replicators.MirrorMaker2Process, Destination, w.pod(), w.seat); err != nil {
		return err
	}
	start.unasked = func(p *process) { l.workerEnded(w, p) }
	var err error
	if w.proc, err = l.sup.start(start); err != nil {
		return err
	}
	proc, address := w.proc, w.seat.listen()
	return await(ctx, l.cfg.StartTimeout, proc.name, func(ctx context.Context) error {
		if !proc.alive() {
			return fmt.Errorf("%w: %w", errWorkerEnded, proc.ended())
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp4", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}, func(err error) bool { return errors.Is(err, errWorkerEnded) })
}

var errWorkerEnded = errors.New("it has ended")

// revive is bringUpWorker for one that was down under load: that it ends again is told as it was the first
// time, and not a failure of the lab.
func (l *Lab) revive(ctx context.Context, w *worker) error {
	if err := l.bringUpWorker(ctx, w); !errors.Is(err, errWorkerEnded) {
		return err
	}
	return nil
}

// workerEnded hears of a worker that ended unasked: while the lab starts that is a failure, and under
// load a finding. Then it is started again, as a container would be.
func (l *Lab) workerEnded(w *worker, p *process) {
	if !l.carries.Load() {
		l.sup.fail(p.unasked())
		return
	}
	l.keepLogs.Store(true)
	l.background(func(ctx context.Context) error {
		l.out.say("%v", p.unasked())
		told := l.event(ctx, time.Now(), "worker-died", Destination, fmt.Sprintf("worker %d ended by itself: %v", w.index, p.err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(workerPause):
		}
		w.op.Lock()
		held := w.held
		w.op.Unlock()
		if held {
			return told
		}
		return errors.Join(told, l.revive(ctx, w))
	})
}
