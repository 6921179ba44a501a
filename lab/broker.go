package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// down kills a broker as kill -9 does, and returns when its process has ended. The cluster notices some
// seconds later. Disk and address stay. One that is just being started is waited for.
func (c *Cluster) down(b *broker) error {
	b.op.Lock()
	defer b.op.Unlock()
	p := c.running(b)
	if p == nil {
		return fmt.Errorf("kill %s broker %d: it does not run", c.side, b.id)
	}
	p.kill()
	return nil
}

// returns starts a broker that is down, and returns when the controller has taken it in again.
func (c *Cluster) returns(ctx context.Context, b *broker) error {
	b.op.Lock()
	defer b.op.Unlock()
	return c.bringUp(ctx, b)
}

// replace starts a broker that is down anew: with an empty disk and another address, as a pod that is
// replaced.
func (c *Cluster) replace(ctx context.Context, b *broker) error {
	b.op.Lock()
	defer b.op.Unlock()
	if b.removed {
		return nil
	}
	if err := c.wipe(b); err != nil {
		return err
	}
	if err := c.move(b); err != nil {
		return err
	}
	return c.bringUp(ctx, b)
}

// freeze stops a broker's process as SIGSTOP does.
func (c *Cluster) freeze(b *broker) error {
	b.op.Lock()
	defer b.op.Unlock()
	p := c.running(b)
	if p == nil {
		return fmt.Errorf("pause %s broker %d: it does not run", c.side, b.id)
	}
	return p.freeze()
}

// thaw has a broker's process run on, if it is still there.
func (c *Cluster) thaw(b *broker) error {
	b.op.Lock()
	defer b.op.Unlock()
	if p := c.running(b); p != nil {
		return p.thaw()
	}
	return nil
}

// bringUp starts a broker that does not run on its disk and address, and returns when the controller has
// taken it in. It waits first until the cluster has noticed its end: a broker that returns earlier finds
// its own id still taken, and ends. One that ends before it is taken in is started again, as a container would be: on a
// machine that is too busy its session with ZooKeeper runs out while it starts. One that is no more meant to be there is
// left alone. Call it with b.op held.
func (c *Cluster) bringUp(ctx context.Context, b *broker) error {
	ctx, end := c.sup.during(ctx)
	defer end()
	if b.removed || c.running(b) != nil {
		return nil
	}
	for try := 1; ; try++ {
		err := c.bringUpOnce(ctx, b)
		if !errors.Is(err, errBrokerEnded) || try == brokerStarts {
			return err
		}
		c.dirs.logger.Warn("a broker ended while it started, and is started again", "error", err)
	}
}

// brokerStarts is how often a broker may be started until it is taken in.
const brokerStarts = 5

var errBrokerEnded = errors.New("it ended while it started")

func (c *Cluster) bringUpOnce(ctx context.Context, b *broker) error {
	if err := c.waitUnregistered(ctx, b.id); err != nil {
		return err
	}
	var taken atomic.Bool
	p, err := c.startProcess(b, func(p *process) {
		if taken.Load() {
			c.sup.fail(p.unasked())
		}
	})
	if err != nil {
		return err
	}
	ask, err := c.ask(b)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%s broker %d", c.side, b.id)
	err = await(ctx, c.limit, what, func(ctx context.Context) error {
		if !p.alive() {
			return fmt.Errorf("%w: %w", errBrokerEnded, p.ended())
		}
		// Its own view: it knows nothing until the controller has told it, where others may not have
		// heard of its death yet.
		m, err := metadata(ctx, ask)
		if err != nil {
			return err
		}
		if !slices.Contains(brokerIDs(m), int32(b.id)) {
			return errors.New("the controller has not taken it in yet")
		}
		return nil
	}, func(err error) bool { return errors.Is(err, errBrokerEnded) })
	taken.Store(true)
	if err == nil && !p.alive() { // before the end of it was a failure
		return fmt.Errorf("%s: %w: %w", what, errBrokerEnded, p.ended())
	}
	return err
}

// unmount has a broker that has ended give its disk up.
func (c *Cluster) unmount(b *broker) error {
	if b.disk == nil {
		return nil
	}
	err := b.disk.Close()
	if err == nil {
		err = os.RemoveAll(c.data(b) + ".disk")
	}
	if err == nil {
		err = os.RemoveAll(c.data(b))
	}
	return err
}

// wipe empties a broker's disk.
func (c *Cluster) wipe(b *broker) error {
	entries, err := os.ReadDir(c.data(b))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(c.data(b), e.Name())))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("empty the disk of %s broker %d: %w", c.side, b.id, err)
	}
	return nil
}

// restart has a broker follow its configuration: it is asked to stop, and started again.
func (c *Cluster) restart(ctx context.Context, b *broker) error {
	b.op.Lock()
	defer b.op.Unlock()
	if p := c.running(b); p != nil {
		p.terminate(brokerStop)
	}
	return c.bringUp(ctx, b)
}

// resize adds brokers, which start empty, or stops those with the highest ids. The partitions of a
// stopped one are not moved and its disk is gone, as with a StatefulSet of fewer pods.
func (c *Cluster) resize(ctx context.Context, brokers int) error {
	for have := len(c.members()); have > brokers; have-- {
		b, err := c.broker(have - 1)
		if err != nil {
			return err
		}
		b.op.Lock()
		b.removed = true
		if p := c.running(b); p != nil {
			p.terminate(brokerStop)
		}
		err = errors.Join(c.wipe(b), c.unmount(b), c.at(b).close(), c.jvm.watch.forget(c.side, b.pod()))
		b.op.Unlock()
		if err != nil {
			return err
		}
		c.mu.Lock()
		b.forget()
		c.brokers = c.brokers[:have-1]
		c.mu.Unlock()
	}
	for have := len(c.members()); have < brokers; have++ {
		b, err := c.place(have)
		if err != nil {
			return err
		}
		b.op.Lock()
		err = c.bringUp(ctx, b)
		b.op.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// configure takes over what the cluster is to be like. Brokers follow when they start again.
func (c *Cluster) configure(want scenario.Cluster) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.config = want
}

// roll restarts the brokers one after another, each when the one before is in sync again.
func (c *Cluster) roll(ctx context.Context, topics []string) error {
	for _, b := range c.members() {
		if err := c.restart(ctx, b); err != nil {
			return err
		}
		if err := c.WaitInSync(ctx, c.limit, b.id, topics...); err != nil {
			return err
		}
	}
	return nil
}
