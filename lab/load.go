package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/lab/slowdisk"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/settings"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/wallclock"
	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// tool is a load tool that runs, and its HTTP server.
type tool struct {
	*process
	url  string
	seat seat
	side string
}

// call sends an HTTP request to the tool, with body as JSON.
func (t *tool) call(ctx context.Context, method, path string, body, answer any) error {
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	return request(ctx, client, method, t.url+path, body, answer)
}

func (t *tool) metrics(ctx context.Context) (text []byte, err error) {
	err = t.call(ctx, http.MethodGet, "/metrics", nil, &text)
	return text, err
}

// startTool starts a load tool on a side and waits until it is ready.
func (l *Lab) startTool(ctx context.Context, side, name string, port int, tee io.Writer, args ...string) (*tool, error) {
	seat, err := l.net.place(side, strings.ReplaceAll(name, " ", "-"), port)
	if err != nil {
		return nil, err
	}
	t := &tool{url: "http://" + seat.listen(), seat: seat, side: side}
	if t.process, err = l.sup.start(command{name: name, argv: l.toolArgv(side, seat, args), tee: tee, in: seat.start()}); err != nil {
		return nil, err
	}
	job, pod := podName(name)
	if err := l.jvm.watch.watch(job, side, pod, seat.listen(), seat); err != nil {
		return t, err
	}
	return t, await(ctx, l.cfg.StartTimeout, name, func(ctx context.Context) error { return t.call(ctx, http.MethodGet, "/readyz", nil, nil) })
}

// toolArgv is how a load tool is started, with the flags that all of them have.
func (l *Lab) toolArgv(side string, at seat, args []string) []string {
	argv := append([]string{l.binary}, args...)
	argv = append(argv, "--test-id", l.config().TestID, "--settings-file", l.settings(side), "--metrics-address", at.listen())
	if l.clocks[side] && args[0] != "audit" {
		argv = append(argv, "--clock-error", wallclock.Error{}.String()) // right, until a fault sets it
	}
	return argv
}

// settings is the file that the load tools of a side read again and again.
func (l *Lab) settings(side string) string { return filepath.Join(l.work.path, side+"-settings.json") }

// verified are the topics that consumers and the auditor follow.
func verified(c scenario.Config) []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(c.Source.Topics, c.Destination.Topics))))
}

// writeSettings tells the load tools what the test consists of.
func (l *Lab) writeSettings(c scenario.Config) error {
	l.expected = max(l.expected, c.Source.Producers)
	write := func(side string, topics []string, all map[string]any) error {
		entries := map[string]map[string]any{settings.AllTopics: all}
		for _, topic := range topics {
			entries[topic] = map[string]any{}
		}
		text, err := json.MarshalIndent(entries, "", "  ")
		if err != nil {
			return fmt.Errorf("settings of the load: %w", err)
		}
		path := l.settings(side)
		if err := os.WriteFile(path+".new", append(text, '\n'), 0o644); err != nil {
			return fmt.Errorf("settings of the load: %w", err)
		}
		return os.Rename(path+".new", path) // none reads half a file
	}
	if err := write(Source, c.Source.Topics, map[string]any{"rate": c.Source.Throughput, "size": c.Source.MessageSize}); err != nil {
		return err
	}
	return write(Destination, verified(c), map[string]any{"producers": l.expected})
}

// startLoad starts the consumers, the auditor and the producers, and returns when all are ready.
func (l *Lab) startLoad(ctx context.Context) error {
	c := l.config()
	what := fmt.Sprintf("load runs: %d producer(s) at %s a topic, messages of %s; %d consumer(s) and the auditor follow", c.Source.Producers, c.Source.Throughput, c.Source.MessageSize, c.Destination.Consumers)
	return l.step(ctx, what, func(ctx context.Context) error {
		if err := l.writeSettings(c); err != nil {
			return err
		}
		if err := l.startConsumers(ctx, c.Destination.Consumers); err != nil {
			return err
		}
		var err error
		if l.auditor, err = l.startTool(ctx, Destination, "auditor", metrics.AuditorPort, l.out, l.auditorArgs(c)...); err != nil {
			return err
		}
		l.out.say("auditor %s, and the report so far at %s/report", l.auditor.url, l.auditor.url)
		return l.setProducers(ctx, c.Source)
	})
}

// drainIdle is how long nothing may move before the drain gives up: long enough for the replicator to go on
// by itself, or what was only late would be lost.
func (l *Lab) drainIdle() time.Duration {
	if l.replicator == nil {
		return l.cfg.DrainIdle
	}
	return max(l.cfg.DrainIdle, l.replicator.patience())
}

func (l *Lab) auditorArgs(c scenario.Config) []string {
	args := append([]string{
		"audit", "--source-bootstrap-servers", strings.Join(l.Source.BootstrapServers(Destination), ","),
		"--destination-bootstrap-servers", strings.Join(l.Destination.BootstrapServers(Destination), ","),
		"--drain-idle", l.drainIdle().String(), "--output", l.cfg.Output,
	}, securityFlags(l.Source.access)...)
	for _, e := range c.Destination.Expectations {
		args = append(args, "--expect", e)
	}
	notes := l.net.notes()
	if len(l.slow) > 0 {
		notes = append(notes, slowdisk.Limits()...)
	}
	for _, note := range notes {
		args = append(args, "--note", note)
	}
	return args
}

func (l *Lab) consumerArgs(index, count int) []string {
	return append([]string{
		"consume", "--bootstrap-servers", strings.Join(l.Destination.BootstrapServers(Destination), ","), "--id", fmt.Sprintf("consumer-%d", index),
		"--instances", strconv.Itoa(count), "--index", strconv.Itoa(index),
	}, securityFlags(l.Destination.access)...)
}

func (l *Lab) producerArgs(s scenario.Source, index int) []string {
	return append([]string{
		"produce", "--bootstrap-servers", strings.Join(l.Source.BootstrapServers(Source), ","), "--id", fmt.Sprintf("producer-%d", index),
		"--compressibility", strconv.FormatFloat(s.Compressibility, 'f', -1, 64), fmt.Sprintf("--use-message-headers=%t", s.UseMessageHeaders),
	}, securityFlags(l.Source.access)...)
}

func (l *Lab) startConsumers(ctx context.Context, count int) error {
	l.consumers = nil
	for i := range count {
		t, err := l.startTool(ctx, Destination, fmt.Sprintf("consumer %d", i), metrics.ConsumerPort, nil, l.consumerArgs(i, count)...)
		if err != nil {
			return err
		}
		l.consumers = append(l.consumers, t)
	}
	return nil
}

// setProducers starts producers or stops those with the highest numbers.
func (l *Lab) setProducers(ctx context.Context, s scenario.Source) error {
	if len(l.producers) > s.Producers {
		rest := l.producers[s.Producers:]
		l.producers = l.producers[:s.Producers]
		if err := l.stopTools(ctx, rest); err != nil {
			return err
		}
	}
	for i := len(l.producers); i < s.Producers; i++ {
		t, err := l.startTool(ctx, Source, fmt.Sprintf("producer %d", i), metrics.ProducerPort, nil, l.producerArgs(s, i)...)
		if err != nil {
			return err
		}
		l.producers = append(l.producers, t)
	}
	return nil
}

// stopTools asks load tools to stop, and kills those that do not.
func (l *Lab) stopTools(ctx context.Context, tools []*tool) error {
	for _, t := range tools {
		t.signal(syscall.SIGTERM)
	}
	bounded, cancel := context.WithTimeout(ctx, toolStop)
	defer cancel()
	for _, t := range tools {
		if err := t.wait(bounded); err != nil {
			if ctx.Err() != nil {
				return err
			}
			// The verdict counts what it left unresolved.
			l.out.say("%s did not stop within %s and is killed", t.name, toolStop)
			t.kill()
		}
		if t.err != nil {
			l.out.say("%s: %v; its log is %s", t.name, t.err, t.kept)
		}
		_, pod := podName(t.name)
		if err := errors.Join(t.seat.close(), l.jvm.watch.forget(t.side, pod)); err != nil {
			return err
		}
	}
	return nil
}

// securityFlags are the load tools' flags for TLS and SASL.
func securityFlags(c connect.Config) []string {
	var flags []string
	if c.TLS {
		flags = append(flags, "--tls")
	}
	for _, f := range []struct{ name, value string }{
		{"tls-ca-file", c.TLSCAFile}, {"tls-server-name", c.TLSServerName}, {"tls-cert-file", c.TLSCertFile}, {"tls-key-file", c.TLSKeyFile},
		{"sasl-mechanism", c.SASLMechanism}, {"sasl-user", c.SASLUser}, {"sasl-password-file", c.SASLPasswordFile},
	} {
		if f.value != "" {
			flags = append(flags, "--"+f.name, f.value)
		}
	}
	return flags
}
