package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"time"
)

// talkRate is what the talk asked of a tester: 100 MB/s.
const talkRate = 100_000_000

// oneCore has one producer and one consumer of ours hold 100 MB/s, each in turn on a core of its own
// while the broker has the other. CPU seconds a second say what of the core they needed.
func (b *bench) oneCore(ctx context.Context) error {
	if err := b.need(ctx); err != nil {
		return err
	}
	out := b.newResult(partOneCore, "records of 1000 B; the client is bound to processor 0 with GOMAXPROCS=1, the broker to the others")
	out.Repetitions = 1
	taskset, err := exec.LookPath("taskset")
	if err != nil {
		return fmt.Errorf("to bind processes to processors (Debian's util-linux): %w", err)
	}
	if b.machine.Cores < 2 {
		return fmt.Errorf("this needs 2 processors, and there is %d", b.machine.Cores)
	}
	bind := func(cpus string) error {
		return build(ctx, taskset, "-a", "-p", "-c", cpus, strconv.Itoa(b.broker.child.cmd.Process.Pid))
	}
	if err := bind(fmt.Sprintf("1-%d", b.machine.Cores-1)); err != nil {
		return err
	}
	defer func() { _ = bind(fmt.Sprintf("0-%d", b.machine.Cores-1)) }() // the next part measures both

	seconds := 10
	if b.quick {
		seconds = 4
	}
	l := load{topic: "one-core", partitions: partitions, size: 1000, records: int64(seconds) * talkRate / 1000}
	onOne := func(argv []string) []string { return append([]string{taskset, "-c", "0"}, argv...) }
	one := []string{"GOMAXPROCS=1"}
	producer := contender{name: "produce", sheds: true, read: readOurs("load ended", "acked"), command: func(b *bench, l load) ([]string, []string, error) {
		argv, _, err := b.ourProducer(l)
		// The schedule sets the pace; a record that finds no room would be shed, and reported.
		return append(onOne(argv), "--throughput", strconv.Itoa(talkRate/1000)+"/s"), one, err
	}}
	consumer := contender{name: "consume and verify", read: readOurs("reading ended", "records"), endless: true, command: func(b *bench, l load) ([]string, []string, error) {
		argv, _, err := b.ourConsumer(l)
		return onOne(argv), one, err
	}}
	if err := b.broker.createTopic(ctx, l.topic, l.partitions); err != nil {
		return err
	}
	m, err := b.once(ctx, producer, l, out)
	if err != nil {
		return err
	}
	records, took, err := b.broker.written(ctx, l.topic)
	if err != nil {
		return err
	}
	if records != m.Records {
		return fmt.Errorf("the topic has %d records, and should have %d", records, m.Records)
	}
	l.records = records
	m.Seconds = max(took, time.Millisecond).Seconds()
	out.Runs = append(out.Runs, m)
	if m, err = b.consumeOnce(ctx, consumer, l, out); err != nil {
		return err
	}
	out.Runs = append(out.Runs, m)
	if err := b.broker.deleteTopics(ctx, l.topic); err != nil {
		return err
	}
	if err := b.save(out); err != nil {
		return err
	}
	return b.print(out)
}

func oneCoreTable(r *result) string {
	var rows [][]string
	for _, m := range r.Runs {
		asked := "as fast as it can"
		if m.Contender == "produce" {
			asked = "100 MB/s, held"
			if m.Shed > 0 {
				asked = fmt.Sprintf("100 MB/s, not held: %d records shed", m.Shed)
			}
		}
		rows = append(rows, []string{m.Contender, asked, number(m.mbPerSecond()), number(m.cpuPerGB()), number(100 * m.cpuPerGB() * 0.1), number(m.peakMB())})
	}
	return table([]string{"", "asked for", "MB/s", "CPU s/GB", "% of a core at 100 MB/s", "peak MB"}, rows)
}
