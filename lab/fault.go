package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/lab/ocean"
	"github.com/AppsFlyer/kafka-mirror-tester/lab/slowdisk"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/wallclock"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// underway is a fault that has begun.
type underway struct {
	heal  sync.Once
	now   chan struct{} // closed to end it before its time
	ended chan struct{} // closed when all is as before
}

// play is how the lab plays a fault.
type play struct {
	// detail says what happens.
	detail string
	// strike breaks, and mend is what comes after the fault's duration, or at once where it has none.
	strike, mend func(context.Context) error
}

// begin begins a fault, and tells the auditor. It ends by itself.
func (l *Lab) begin(ctx context.Context, side string, f scenario.Fault) error {
	p, err := l.play(side, f)
	if err != nil {
		return err
	}
	var at time.Time
	err = l.step(ctx, fmt.Sprintf("%s on the %s side: %s", f.Kind, side, p.detail), func(ctx context.Context) error {
		at = time.Now()
		return p.strike(ctx)
	})
	if err != nil {
		return err
	}
	u := &underway{now: make(chan struct{}), ended: make(chan struct{})}
	l.faults[side] = u
	told := l.event(ctx, at, f.Kind, side, p.detail)
	l.background(func(ctx context.Context) error {
		defer close(u.ended)
		timer := time.NewTimer(time.Until(at.Add(time.Duration(f.Duration))))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-u.now:
		case <-ctx.Done():
			return nil
		}
		if err := p.mend(ctx); err != nil {
			return fmt.Errorf("end of %s on the %s side: %w", f.Kind, side, err)
		}
		l.out.say("%s on the %s side is over", f.Kind, side)
		return l.event(ctx, time.Now(), f.Kind+scenario.EndSuffix, side, p.detail)
	})
	return told
}

// heal ends every fault that is under way, and returns when all is as before.
func (l *Lab) heal(ctx context.Context) error {
	return errors.Join(l.healSide(ctx, Source), l.healSide(ctx, Destination))
}

func (l *Lab) healSide(ctx context.Context, side string) error {
	u := l.faults[side]
	if u == nil {
		return nil
	}
	during, end := l.sup.during(ctx)
	defer end()
	u.heal.Do(func() { close(u.now) })
	select {
	case <-u.ended:
		delete(l.faults, side)
		return nil
	case <-during.Done():
		return fmt.Errorf("waiting for the end of a fault on the %s side: %w", side, context.Cause(during))
	}
}

// background does something beside what is asked of the lab. An error fails the lab.
func (l *Lab) background(do func(context.Context) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopping {
		return
	}
	l.healers.Add(1)
	go func() {
		defer l.healers.Done()
		if err := do(l.life); err != nil && l.life.Err() == nil {
			l.sup.fail(err)
		}
	}()
}

// each calls do for all at once.
func each[T any](ctx context.Context, all []T, do func(context.Context, T) error) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, one := range all {
		wg.Go(func() { errs[i] = do(ctx, one) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func listed(what string, indexes []int) string {
	var words []string
	for _, i := range indexes {
		words = append(words, fmt.Sprint(i))
	}
	if len(words) == 1 {
		return what + " " + words[0]
	}
	return what + "s " + strings.Join(words, ", ")
}

// play finds out how a fault is played, which must be one that Check lets pass.
func (l *Lab) play(side string, f scenario.Fault) (play, error) {
	target, what, _ := strings.Cut(f.Kind, "-")
	switch target {
	case scenario.TargetBroker:
		return l.playBrokers(side, what, f, f.Victims)
	case scenario.TargetWorker:
		return l.playWorkers(what, f)
	case scenario.TargetRegion:
		return l.playRegion(side, what, f)
	case scenario.TargetClock:
		return l.playClocks(side, f)
	}
	return play{}, fmt.Errorf("%s: %w by the lab", f.Kind, scenario.ErrCannotPlay)
}

func (l *Lab) playBrokers(side, what string, f scenario.Fault, victims []int) (play, error) {
	c := l.cluster(side)
	var hit []*broker
	for _, v := range victims {
		b, err := c.broker(v)
		if err != nil {
			return play{}, err
		}
		hit = append(hit, b)
	}
	all := func(do func(context.Context, *broker) error) func(context.Context) error {
		return func(ctx context.Context) error { return each(ctx, hit, do) }
	}
	who := listed("broker", victims)
	back := all(func(ctx context.Context, b *broker) error { return c.returns(ctx, b) })
	kill := all(func(_ context.Context, b *broker) error { return c.down(b) })
	switch what {
	case "kill":
		return play{detail: "kill -9 of " + who + ", disk and address kept", strike: kill, mend: back}, nil
	case "outage":
		return play{detail: who + " down, disk and address kept", strike: kill, mend: back}, nil
	case "replace":
		return play{detail: who + " replaced by an empty one at another address", strike: kill,
			mend: all(func(ctx context.Context, b *broker) error { return c.replace(ctx, b) })}, nil
	case "pause":
		return play{detail: who + " stopped by SIGSTOP: connections stay open, nothing answers",
			strike: all(func(_ context.Context, b *broker) error { return c.freeze(b) }),
			mend:   all(func(_ context.Context, b *broker) error { return c.thaw(b) })}, nil
	}
	if what == "slow-disk" {
		set := func(slow slowdisk.Slowness) func(context.Context) error {
			return all(func(_ context.Context, b *broker) error {
				if b.disk == nil {
					return fmt.Errorf("the disk of %s broker %d cannot be slowed down: no step that Check has seen before the start asked for it", side, b.id)
				}
				return b.disk.Set(slow)
			})
		}
		late := time.Duration(f.Latency)
		return play{detail: fmt.Sprintf("%s: each write and sync of the disk %s later", who, f.Latency),
			strike: set(slowdisk.Slowness{Write: late, Sync: late}), mend: set(slowdisk.Slowness{})}, nil
	}
	if link, how := disturbance(what, f); how != "" {
		send := func(link ocean.Link) func(context.Context) error {
			return all(func(_ context.Context, b *broker) error { return l.net.disturbOne(c.at(b), link) })
		}
		return play{detail: fmt.Sprintf("%s: %s", who, how), strike: send(link), mend: send(ocean.Link{})}, nil
	}
	return play{}, fmt.Errorf("%s: %w by the lab", f.Kind, scenario.ErrCannotPlay)
}

func (l *Lab) playWorkers(what string, f scenario.Fault) (play, error) {
	var hit []*node
	workers := l.nodes(workerRole)
	for _, v := range f.Victims {
		if v >= len(workers) {
			return play{}, fmt.Errorf("there is no worker %d", v)
		}
		hit = append(hit, workers[v])
	}
	all := func(do func(context.Context, *node) error) func(context.Context) error {
		return func(ctx context.Context) error { return each(ctx, hit, do) }
	}
	who := listed("worker", f.Victims)
	kill := all(func(_ context.Context, w *node) error {
		w.op.Lock()
		defer w.op.Unlock()
		if !w.running() {
			return fmt.Errorf("kill worker %d: it does not run", w.index)
		}
		w.held = true
		w.proc.kill()
		return nil
	})
	back := all(l.revive)
	switch what {
	case "kill":
		return play{detail: "kill -9 of " + who, strike: kill, mend: back}, nil
	case "outage":
		return play{detail: who + " down", strike: kill, mend: back}, nil
	case "replace":
		return play{detail: who + " replaced by one at another address", strike: kill, mend: all(func(ctx context.Context, w *node) error {
			if err := l.moveNode(w); err != nil {
				return err
			}
			return l.revive(ctx, w)
		})}, nil
	case "pause":
		send := func(do func(*process) error) func(context.Context) error {
			return all(func(_ context.Context, w *node) error {
				w.op.Lock()
				defer w.op.Unlock()
				if !w.running() {
					return nil // ended meanwhile, which is told by itself
				}
				return do(w.proc)
			})
		}
		return play{detail: who + " stopped by SIGSTOP", strike: send((*process).freeze), mend: send((*process).thaw)}, nil
	}
	if link, how := disturbance(what, f); how != "" {
		send := func(link ocean.Link) func(context.Context) error {
			return all(func(_ context.Context, w *node) error {
				w.op.Lock()
				defer w.op.Unlock()
				return l.net.disturbOne(w.seat, link)
			})
		}
		return play{detail: fmt.Sprintf("%s: %s", who, how), strike: send(link), mend: send(ocean.Link{})}, nil
	}
	return play{}, fmt.Errorf("%s: %w by the lab", f.Kind, scenario.ErrCannotPlay)
}

// playClocks sets the clocks of producers or consumers wrong, and then right again.
func (l *Lab) playClocks(side string, f scenario.Fault) (play, error) {
	all, what := l.producers, "producer"
	if side == Destination {
		all, what = l.consumers, "consumer"
	}
	if !l.clocks[side] {
		return play{}, fmt.Errorf("the clocks of %ss cannot be set: no step that Check has seen before the start asked for it", what)
	}
	var hit []*tool
	for _, v := range f.Victims {
		if v >= len(all) {
			return play{}, fmt.Errorf("there is no %s %d", what, v)
		}
		hit = append(hit, all[v])
	}
	set := func(wrong wallclock.Error) func(context.Context) error {
		return func(ctx context.Context) error {
			return each(ctx, hit, func(ctx context.Context, t *tool) error {
				if !t.alive() {
					return nil // it is told by itself
				}
				return t.call(ctx, http.MethodPut, "/clock", map[string]wallclock.Error{"error": wrong}, nil)
			})
		}
	}
	wrong := wallclock.Error{Offset: time.Duration(f.Offset), Drift: time.Duration(f.Drift)}
	return play{detail: fmt.Sprintf("the clock of %s wrong by %s", listed(what, f.Victims), wrong), strike: set(wrong), mend: set(wallclock.Error{})}, nil
}

func (l *Lab) playRegion(side, what string, f scenario.Fault) (play, error) {
	if what == "outage" {
		var every []int
		for _, b := range l.cluster(side).members() {
			every = append(every, b.id)
		}
		p, err := l.playBrokers(side, what, f, every)
		p.detail = "every broker of the " + side + " down, disks and addresses kept"
		return p, err
	}
	if link, how := disturbance(what, f); how != "" {
		set := func(link ocean.Link) func(context.Context) error {
			return func(context.Context) error { return l.net.disturb(side, link) }
		}
		return play{detail: "the ocean: " + how, strike: set(link), mend: set(ocean.Link{})}, nil
	}
	return play{}, fmt.Errorf("%s: %w by the lab", f.Kind, scenario.ErrCannotPlay)
}

// disturbance is what a fault of the network does to packets, and in words; no words where it is none.
func disturbance(what string, f scenario.Fault) (link ocean.Link, how string) {
	switch what {
	case "loss":
		return ocean.Link{Loss: f.Percent}, fmt.Sprintf("%v %% of the packets lost", f.Percent)
	case "delay":
		how = fmt.Sprintf("each packet %s later", f.Latency)
		if f.Jitter > 0 {
			how += fmt.Sprintf(", give or take %s", f.Jitter)
		}
		return ocean.Link{Delay: time.Duration(f.Latency), Jitter: time.Duration(f.Jitter)}, how
	case "partition":
		return ocean.Link{Partition: true}, "nothing passes"
	}
	return ocean.Link{}, ""
}
