package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// The series of growth, as they are kept. Sizes are also measured with the bare client.
const (
	seriesProducers  = "producers"
	seriesPartitions = "partitions"
	seriesTopics     = "topics"
	seriesSize       = "size"
)

// point is one measurement of growth.
type point struct {
	series                        string
	producers, partitions, topics int
	size                          int
}

func points(quick bool) []point {
	axis := func(full, short []int) []int {
		if quick {
			return short
		}
		return full
	}
	var out []point
	for _, n := range axis([]int{1, 2, 4, 8}, []int{1, 4}) {
		out = append(out, point{seriesProducers, n, partitions, 1, 1000})
	}
	for _, n := range axis([]int{1, 10, 100, 1000, 3000}, []int{1, 100}) {
		out = append(out, point{seriesPartitions, 1, n, 1, 1000})
	}
	for _, n := range axis([]int{1, 10, 100}, []int{1, 10}) {
		out = append(out, point{seriesTopics, 1, partitions, n, 1000})
	}
	for _, n := range axis([]int{100, 300, 1000, 3000, 10_000, 100_000, 500_000}, []int{100, 10_000}) {
		out = append(out, point{seriesSize, 1, partitions, 1, n})
	}
	return out
}

// growth measures our producer and consumer as the load changes its shape; sums are over all
// processes.
func (b *bench) growth(ctx context.Context) error {
	if err := b.need(ctx); err != nil {
		return err
	}
	out := b.newResult(partGrowth, settingsProduced+"; other numbers of partitions where they are what grows")
	out.Repetitions = 1
	for i, p := range points(b.quick) {
		runs, err := b.grow(ctx, i, p, out)
		if err != nil {
			return fmt.Errorf("%s: %w", p.series, err)
		}
		for _, m := range runs {
			m.Series = p.series
			out.Runs = append(out.Runs, m)
			b.say("%-10s %-16s %d producers, %d topics, %d partitions: %s", p.series, m.Contender, m.Processes, m.Topics, m.Partitions, m.line())
		}
	}
	if err := b.save(out); err != nil {
		return err
	}
	return b.print(out)
}

// Jobs of growth, in the place of contenders.
const (
	jobProduce     = "produce"
	jobConsume     = "consume"
	jobBareProduce = "franz-go produce"
	jobBareConsume = "franz-go consume"
)

func (b *bench) grow(ctx context.Context, i int, p point, out *result) ([]measured, error) {
	l := b.loadOf(p.size)
	l.records = max(int64(p.producers*p.topics), min(l.records, b.records)/int64(p.producers*p.topics)) // of each producer and topic
	l.partitions = p.partitions
	var names []string
	for t := range p.topics {
		names = append(names, fmt.Sprintf("grow-%d-%d", i, t))
	}
	for _, name := range names {
		if err := b.broker.createTopic(ctx, name, p.partitions); err != nil {
			return nil, err
		}
	}
	l.topic = strings.Join(names, ",")
	complete := func(m measured, job string) measured {
		m.Contender, m.Topics, m.Partitions, m.Processes = job, p.topics, p.topics*p.partitions, p.producers
		m.Records, m.Size = l.records*int64(p.producers*p.topics), p.size
		return m
	}
	produced, err := b.produceTogether(ctx, l, names, p.producers)
	if err != nil {
		return nil, err
	}
	runs := []measured{complete(produced, jobProduce)}

	all := l
	all.records *= int64(p.producers * p.topics)
	consumed, err := b.consumeOnce(ctx, consumers()[0], all, out)
	if err != nil {
		return nil, err
	}
	runs = append(runs, complete(consumed, jobConsume))
	if p.series == seriesSize {
		for _, c := range []struct {
			job string
			run func() (measured, error)
		}{
			{jobBareConsume, func() (measured, error) { return b.consumeOnce(ctx, consumers()[1], l, out) }},
			{jobBareProduce, func() (measured, error) {
				bareLoad := l
				bareLoad.topic = "bare-" + l.topic
				return b.produceOnce(ctx, producers()[1], bareLoad, out)
			}},
		} {
			m, err := c.run()
			if err != nil {
				return nil, err
			}
			runs = append(runs, complete(m, c.job))
		}
	}
	return runs, b.broker.deleteTopics(ctx, names...)
}

// produceTogether runs some of our producers at once. Time, records and memory are of all.
func (b *bench) produceTogether(ctx context.Context, l load, topics []string, producers int) (measured, error) {
	before, err := b.broker.child.cpuTime()
	if err != nil {
		return measured{}, err
	}
	var procs []*child
	defer func() {
		for _, p := range procs {
			p.kill()
		}
	}()
	for i := range producers {
		argv, env, err := b.ourProducer(l)
		if err != nil {
			return measured{}, err
		}
		argv = append(argv, "--id", fmt.Sprintf("producer-%d", i))
		p, err := start(b.temp, fmt.Sprintf("producer %d", i), argv, env)
		if err != nil {
			return measured{}, err
		}
		procs = append(procs, p)
	}
	var out measured
	for _, p := range procs {
		if err := p.wait(ctx, runLimit); err != nil {
			return out, err
		}
		s, err := readOurs("load ended", "acked")(p.stderr.String())
		if err != nil {
			return out, fmt.Errorf("%s: %w", p.name, err)
		}
		if want := l.records * int64(len(topics)); s.Records != want {
			return out, fmt.Errorf("%s: %d records, should be %d", p.name, s.Records, want)
		}
		cpu, peak := p.used()
		out.CPU += cpu.Seconds()
		out.PeakRSS += peak
	}
	after, err := b.broker.child.cpuTime()
	if err != nil {
		return out, err
	}
	out.BrokerCPU = (after - before).Seconds()
	records, took, err := b.broker.written(ctx, topics...)
	if err != nil {
		return out, err
	}
	if want := l.records * int64(producers*len(topics)); records != want {
		return out, fmt.Errorf("the topics have %d records, and should have %d", records, want)
	}
	out.Seconds = max(took, time.Millisecond).Seconds()
	return out, nil
}
