package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// The names of the contenders.
const (
	ours       = "ours"
	bare       = "franz-go"
	javaTool   = "Kafka's Java tool"
	rdkafka    = "librdkafka"
	asOriginal = "as the original"
)

// What all contenders have in common.
const (
	partitions       = 4
	linger           = "5"      // milliseconds
	bufferBytes      = 64 << 20 // of records that are not acknowledged
	fetchBytes       = 16 << 20 // of one fetch
	fetchPartition   = 2 << 20  // of one partition in it
	testID           = "bench"  // of the records that are consumed
	settingsProduced = "acks=all, idempotent, no compression, linger 5 ms, batches up to 1 MB, up to 64 MiB unacknowledged, 4 partitions, one replica"
	settingsConsumed = "no group or a new one, up to 2 MiB of a partition in a fetch, CRC of batches checked, 4 partitions"
)

// load is what one run has to do.
type load struct {
	topic      string
	partitions int
	records    int64
	size       int // of a value
}

// contender is one way to do a job.
type contender struct {
	name string
	// command is how to start it.
	command func(b *bench, l load) (argv, env []string, err error)
	// read is what it says of itself: how many records it had, and for how long it was at it (0: it does
	// not say).
	read func(output string) (said, error)
	// ends says that it does not end by itself: it is stopped once its metrics show all records.
	endless bool
	// sheds says that it follows a schedule, and may fall short of all records.
	sheds bool
}

// said is what a contender reports.
type said struct {
	Records int64   `json:"records"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
	Version string  `json:"version,omitempty"`
	Shed    int64   `json:"-"`
}

func producers() []contender {
	return []contender{
		{name: ours, command: (*bench).ourProducer, read: readOurs("load ended", "acked")},
		{name: bare, command: rawCommand("raw-produce"), read: readJSON},
		{name: javaTool, command: (*bench).javaProducer, read: readJavaProducer},
		{name: rdkafka, command: (*bench).rdkafkaProducer, read: readJSON},
	}
}

func consumers() []contender {
	return []contender{
		{name: ours, command: (*bench).ourConsumer, read: readOurs("reading ended", "records"), endless: true},
		{name: bare, command: rawCommand("raw-consume"), read: readJSON},
		{name: javaTool, command: (*bench).javaConsumer, read: readJavaConsumer},
		{name: rdkafka, command: (*bench).rdkafkaConsumer, read: readJSON},
		{name: asOriginal, command: rawCommand("map-consume"), read: readJSON},
	}
}

// tools are executables that are built once.
type tools struct{ self, loadgen, rdkafka string }

func (b *bench) needTools(ctx context.Context) (*tools, error) {
	if b.tools != nil {
		return b.tools, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	t := &tools{self: self, loadgen: b.loadgen, rdkafka: filepath.Join(b.temp, "rdkafka-client")}
	if t.loadgen == "" {
		t.loadgen = filepath.Join(b.temp, "loadgen")
		b.say("building the load tools")
		if err := build(ctx, "go", "build", "-buildvcs=false", "-o", t.loadgen, module+"/loadgen"); err != nil {
			return nil, err
		}
	} else if t.loadgen, err = filepath.Abs(t.loadgen); err != nil {
		return nil, err
	}
	source, err := moduleDir(ctx)
	if err != nil {
		return nil, err
	}
	if err := build(ctx, "cc", "-O2", "-o", t.rdkafka, filepath.Join(source, "bench/librdkafka/client.c"), "-lrdkafka"); err != nil {
		return nil, fmt.Errorf("%w\n(Debian's packages are gcc and librdkafka-dev; make bench installs them)", err)
	}
	b.tools = t
	return t, nil
}

const module = "github.com/AppsFlyer/kafka-mirror-tester"

func moduleDir(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("find the sources (bench runs from within them): %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func build(ctx context.Context, argv ...string) error {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, tail(string(out), 15))
	}
	return nil
}

func (b *bench) ourProducer(l load) (argv, env []string, err error) {
	return []string{b.tools.loadgen, "produce", "--test-id", testID, "--id", "producer-1", "--topics", l.topic, "--bootstrap-servers", b.broker.address,
		"--throughput", "max", "--records", fmt.Sprint(l.records), "--message-size", strconv.Itoa(l.size),
		"--linger", linger + "ms", "--max-buffered", strconv.Itoa(bufferBytes), "--metrics-address", "", "--log-format", "json"}, nil, nil
}

func (b *bench) ourConsumer(l load) (argv, env []string, err error) {
	return []string{b.tools.loadgen, "consume", "--test-id", testID, "--topics", l.topic, "--bootstrap-servers", b.broker.address,
		"--metrics-address", b.metricsAddress, "--log-format", "json"}, nil, nil
}

func rawCommand(name string) func(*bench, load) (argv, env []string, err error) {
	return func(b *bench, l load) (argv, env []string, err error) {
		return []string{b.tools.self, name, "--brokers", b.broker.address, "--topic", l.topic,
			"--partitions", strconv.Itoa(l.partitions), "--records", fmt.Sprint(l.records), "--size", strconv.Itoa(l.size)}, nil, nil
	}
}

func (b *bench) javaProducer(l load) (argv, env []string, err error) {
	// Values from a file cost the tool much less than those that it makes itself.
	values := filepath.Join(b.temp, fmt.Sprintf("values-%d", l.size))
	if _, err := os.Stat(values); err != nil {
		var text []byte
		for range min(1000, (1<<20)/l.size+1) {
			for range l.size {
				text = append(text, byte('a'+rand.IntN(26)))
			}
			text = append(text, '\n')
		}
		if err := os.WriteFile(values, text, 0o644); err != nil {
			return nil, nil, err
		}
	}
	argv, env = b.broker.javaCommand(toolHeap, "org.apache.kafka.tools.ProducerPerformance",
		"--topic", l.topic, "--num-records", fmt.Sprint(l.records), "--payload-file", values, "--throughput", "-1", "--producer-props",
		"bootstrap.servers="+b.broker.address, "acks=all", "enable.idempotence=true", "compression.type=none", "linger.ms="+linger,
		"batch.size="+strconv.Itoa(maxMessageBytes), "buffer.memory="+strconv.Itoa(bufferBytes))
	return argv, env, nil
}

func (b *bench) javaConsumer(l load) (argv, env []string, err error) {
	config := filepath.Join(b.temp, "consumer.properties")
	if err := os.WriteFile(config, []byte(fmt.Sprintf("fetch.max.bytes=%d\nauto.offset.reset=earliest\n", fetchBytes)), 0o644); err != nil {
		return nil, nil, err
	}
	argv, env = b.broker.javaCommand(toolHeap, "org.apache.kafka.tools.ConsumerPerformance",
		"--bootstrap-server", b.broker.address, "--topic", l.topic, "--messages", fmt.Sprint(l.records), "--fetch-size", strconv.Itoa(fetchPartition),
		"--timeout", "60000", "--consumer.config", config)
	return argv, env, nil
}

func (b *bench) rdkafkaCommand(job string, l load, conf ...string) []string {
	return append([]string{b.tools.rdkafka, job, b.broker.address, l.topic, strconv.Itoa(l.partitions), fmt.Sprint(l.records), strconv.Itoa(l.size)}, conf...)
}

func (b *bench) rdkafkaProducer(l load) (argv, env []string, err error) {
	return b.rdkafkaCommand("produce", l, "acks=all", "enable.idempotence=true", "compression.type=none", "linger.ms="+linger,
		"message.max.bytes="+strconv.Itoa(maxMessageBytes), "batch.size="+strconv.Itoa(maxMessageBytes), "batch.num.messages=1000000",
		"queue.buffering.max.messages=1000000", "queue.buffering.max.kbytes="+strconv.Itoa(bufferBytes>>10)), nil, nil
}

func (b *bench) rdkafkaConsumer(l load) (argv, env []string, err error) {
	return b.rdkafkaCommand("consume", l, "group.id=bench", "enable.auto.commit=false", "check.crcs=true",
		"fetch.message.max.bytes="+strconv.Itoa(fetchPartition), "fetch.max.bytes="+strconv.Itoa(fetchBytes)), nil, nil
}

// readJSON reads the last line of the bare clients.
func readJSON(output string) (said, error) {
	var s said
	lines := strings.Split(strings.TrimSpace(output), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil {
		return s, fmt.Errorf("not a report: %q: %w", lines[len(lines)-1], err)
	}
	return s, nil
}

// readOurs reads the load tools' log, in which a message sums up.
func readOurs(message, records string) func(string) (said, error) {
	return func(output string) (said, error) {
		for line := range strings.Lines(output) {
			var entry map[string]any
			if json.Unmarshal([]byte(line), &entry) != nil || entry["msg"] != message {
				continue
			}
			n, ok := entry[records].(float64)
			if !ok {
				return said{}, fmt.Errorf("no %q in %q", records, line)
			}
			s := said{Records: int64(n)}
			if took, ok := entry["reading"].(float64); ok {
				s.Seconds = took / 1e9
			}
			if n, ok := entry["shed"].(float64); ok {
				s.Shed = int64(n)
			}
			for _, bad := range []string{"failed", "unresolved", "duplicates", "rejected", "unobserved", "misplaced"} {
				if n, ok := entry[bad].(float64); ok && n > 0 {
					return s, fmt.Errorf("%v records are %s: %s", n, bad, strings.TrimSpace(line))
				}
			}
			return s, nil
		}
		return said{}, fmt.Errorf("its log has no %q", message)
	}
}

var javaProduced = regexp.MustCompile(`(?m)^(\d+) records sent, ([\d.]+) records/sec \([\d.]+ MB/sec\), .* 99\.9th\.`)

// readJavaProducer reads the last line of kafka-producer-perf-test.
func readJavaProducer(output string) (said, error) {
	m := javaProduced.FindStringSubmatch(output)
	if m == nil {
		return said{}, errors.New("it printed no summary")
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return said{}, err
	}
	rate, err := strconv.ParseFloat(m[2], 64)
	if err != nil || rate <= 0 {
		return said{}, fmt.Errorf("rate %q: %w", m[2], err)
	}
	return said{Records: n, Seconds: float64(n) / rate}, nil
}

// readJavaConsumer reads the table of kafka-consumer-perf-test, by the names of its columns.
func readJavaConsumer(output string) (said, error) {
	lines := strings.Split(output, "\n")
	for i, line := range lines {
		if !strings.HasPrefix(line, "start.time") || i+1 >= len(lines) {
			continue
		}
		columns, values := strings.Split(line, ","), strings.Split(lines[i+1], ",")
		if len(columns) != len(values) {
			return said{}, fmt.Errorf("%d columns and %d values: %q", len(columns), len(values), lines[i+1])
		}
		get := func(name string) (float64, error) {
			for i, c := range columns {
				if strings.TrimSpace(c) == name {
					return strconv.ParseFloat(strings.TrimSpace(values[i]), 64)
				}
			}
			return 0, fmt.Errorf("no column %s in %q", name, line)
		}
		records, err := get("data.consumed.in.nMsg")
		if err != nil {
			return said{}, err
		}
		took, err := get("fetch.time.ms")
		if err != nil {
			return said{}, err
		}
		return said{Records: int64(records), Seconds: took / 1000}, nil
	}
	return said{}, errors.New("it printed no table")
}
