package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/lab"
	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

// runLimit bounds one run of one contender.
const runLimit = 3 * time.Minute

// need makes ready what the parts with a broker need.
func (b *bench) need(ctx context.Context) error {
	if _, err := b.needTools(ctx); err != nil {
		return err
	}
	if b.metricsAddress == "" {
		ports, err := lab.FreePorts(1)
		if err != nil {
			return err
		}
		b.metricsAddress = "127.0.0.1:" + strconv.Itoa(ports[0])
	}
	if b.broker != nil {
		return nil
	}
	if _, err := b.needBroker(ctx); err != nil {
		return err
	}
	return b.warmUp(ctx)
}

// warmUp has the broker's JVM compile what it needs, lest the first contender pay for it.
func (b *bench) warmUp(ctx context.Context) error {
	b.say("warming the broker up")
	l := load{topic: "warm-up", partitions: partitions, records: 400_000, size: 1000}
	if b.quick {
		l.records /= 2
	}
	if err := b.fill(ctx, l); err != nil {
		return err
	}
	out := b.newResult("warm-up", "")
	for range 2 {
		if _, err := b.once(ctx, contender{name: bare, command: rawCommand("raw-consume"), read: readJSON}, l, out); err != nil {
			return err
		}
	}
	return b.broker.deleteTopics(ctx, l.topic)
}

// loadOf is the work of one run: as many bytes for each size, but of small records not more than
// four times as many.
func (b *bench) loadOf(size int) load {
	return load{partitions: partitions, records: min(b.records*1000/int64(size), 4*b.records), size: size}
}

func (b *bench) chosen(all []contender) []contender {
	if len(b.contenders) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(c contender) bool { return !slices.Contains(b.contenders, c.name) })
}

// rotated begins with another contender in each repetition.
func rotated(all []contender, by int) []contender {
	by %= len(all)
	return append(slices.Clone(all[by:]), all[:by]...)
}

func (b *bench) newResult(part, settings string) *result {
	r := &result{Part: part, Began: time.Now(), Settings: settings, Repetitions: b.repetitions,
		Versions: map[string]string{"franz-go": clientVersion()}}
	if b.broker != nil {
		r.Versions["Kafka"], r.Versions["Java"] = b.broker.kafka.Version, b.broker.kafka.JavaVersion
	}
	return r
}

func (b *bench) produce(ctx context.Context) error {
	if err := b.need(ctx); err != nil {
		return err
	}
	out := b.newResult(partProduce, settingsProduced)
	contenders := b.chosen(producers())
	for _, size := range b.sizes {
		for repetition := range b.repetitions {
			for i, c := range rotated(contenders, repetition) {
				l := b.loadOf(size)
				l.topic = fmt.Sprintf("produce-%d-%d-%d", size, repetition, i)
				m, err := b.produceOnce(ctx, c, l, out)
				if err != nil {
					return err
				}
				m.Repetition = repetition
				out.Runs = append(out.Runs, m)
				b.say("%-18s %s", c.name, m.line())
			}
		}
	}
	if err := b.save(out); err != nil {
		return err
	}
	return b.print(out)
}

func (m measured) line() string {
	return fmt.Sprintf("%6d B  %6.1f MB/s  %6.2f CPU s/GB  broker %5.2f  %5.0f MB", m.Size, m.mbPerSecond(), m.cpuPerGB(), m.brokerCPUPerGB(), m.peakMB())
}

// produceOnce has a contender fill a topic of its own, which is removed again. The log tells how long
// it took.
func (b *bench) produceOnce(ctx context.Context, c contender, l load, out *result) (measured, error) {
	if err := b.broker.createTopic(ctx, l.topic, l.partitions); err != nil {
		return measured{}, err
	}
	m, err := b.once(ctx, c, l, out)
	if err != nil {
		return m, err
	}
	records, took, err := b.broker.written(ctx, l.topic)
	if err != nil {
		return m, err
	}
	if records != l.records {
		return m, fmt.Errorf("%s: the topic has %d records, and should have %d", c.name, records, l.records)
	}
	m.Seconds = took.Seconds()
	return m, b.broker.deleteTopics(ctx, l.topic)
}

func (b *bench) consume(ctx context.Context) error {
	if err := b.need(ctx); err != nil {
		return err
	}
	out := b.newResult(partConsume, settingsConsumed)
	contenders := b.chosen(consumers())
	for _, size := range b.sizes {
		l := b.loadOf(size)
		l.topic = fmt.Sprintf("consume-%d", size)
		if err := b.fill(ctx, l); err != nil {
			return err
		}
		for repetition := range b.repetitions {
			for _, c := range rotated(contenders, repetition) {
				m, err := b.consumeOnce(ctx, c, l, out)
				if err != nil {
					return err
				}
				m.Repetition = repetition
				out.Runs = append(out.Runs, m)
				b.say("%-18s %s", c.name, m.line())
			}
		}
		if err := b.broker.deleteTopics(ctx, l.topic); err != nil {
			return err
		}
	}
	if err := b.save(out); err != nil {
		return err
	}
	return b.print(out)
}

// fill writes the records that are read afterwards.
func (b *bench) fill(ctx context.Context, l load) error {
	if err := b.broker.createTopic(ctx, l.topic, l.partitions); err != nil {
		return err
	}
	argv, env, err := b.ourProducer(l)
	if err != nil {
		return err
	}
	c, err := start(b.temp, "the producer of what is read", argv, env)
	if err != nil {
		return err
	}
	return c.wait(ctx, runLimit)
}

// consumeOnce has a contender read a whole topic.
func (b *bench) consumeOnce(ctx context.Context, c contender, l load, out *result) (measured, error) {
	if c.endless { // it would go on where it ended before
		if err := b.forget(ctx); err != nil {
			return measured{}, err
		}
	}
	m, err := b.once(ctx, c, l, out)
	m.Seconds = m.Said
	return m, err
}

// forget removes what the load tools know of earlier runs.
func (b *bench) forget(ctx context.Context) error {
	ledgers := []string{"kmt-ledger-source", "kmt-ledger-destination"}
	if err := b.broker.deleteTopics(ctx, ledgers...); err != nil {
		return err
	}
	return poll(ctx, time.Minute, "the ledgers' end", func(ctx context.Context) error {
		listed, err := b.broker.admin.ListTopics(ctx)
		if err != nil {
			return err
		}
		for _, name := range ledgers {
			if listed.Has(name) {
				return fmt.Errorf("%s is still there", name)
			}
		}
		return nil
	})
}

// once runs a contender and accounts for it.
func (b *bench) once(ctx context.Context, c contender, l load, out *result) (measured, error) {
	argv, env, err := c.command(b, l)
	if err != nil {
		return measured{}, err
	}
	before, err := b.broker.child.cpuTime()
	if err != nil {
		return measured{}, err
	}
	began := time.Now()
	proc, err := start(b.temp, c.name, argv, env)
	if err != nil {
		return measured{}, err
	}
	if c.endless {
		if err := b.untilRead(ctx, proc, l.records); err != nil {
			proc.kill()
			return measured{}, err
		}
	}
	if err := proc.wait(ctx, runLimit); err != nil {
		return measured{}, err
	}
	wall := time.Since(began)
	after, err := b.broker.child.cpuTime()
	if err != nil {
		return measured{}, err
	}
	s, err := c.read(proc.stdout.String() + proc.stderr.String())
	if err != nil {
		return measured{}, fmt.Errorf("%s: %w\n%w", c.name, err, proc.failure())
	}
	if s.Records != l.records && !(c.sheds && s.Records+s.Shed == l.records) {
		return measured{}, fmt.Errorf("%s: %d records, should be %d", c.name, s.Records, l.records)
	}
	if s.Version != "" {
		out.Versions[c.name] = s.Version
	}
	cpu, peak := proc.used()
	return measured{Contender: c.name, Size: l.size, Records: s.Records, Shed: s.Shed, Partitions: l.partitions, Said: s.Seconds,
		CPU: cpu.Seconds(), BrokerCPU: (after - before).Seconds(), PeakRSS: peak, Wall: wall.Seconds()}, nil
}

// untilRead stops our consumer once its metrics show all records.
func (b *bench) untilRead(ctx context.Context, proc *child, records int64) error {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		n, err := metric(ctx, b.metricsAddress, metrics.ConsumerRecords)
		if err == nil && n >= float64(records) {
			return proc.cmd.Process.Signal(syscall.SIGTERM)
		}
		select {
		case <-proc.done:
			return fmt.Errorf("%s: %w", proc.name, proc.failure())
		case <-ctx.Done():
			return fmt.Errorf("%s has read %v of %d records: %w\n%w", proc.name, n, records, context.Cause(ctx), proc.failure())
		case <-tick.C:
		}
	}
}

// metric adds up all values of a metric.
func metric(ctx context.Context, address, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	return sumOf(string(text), name)
}

func sumOf(exposition, name string) (float64, error) {
	sum := 0.0
	for line := range strings.Lines(exposition) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", name, err)
		}
		sum += v
	}
	return sum, nil
}
