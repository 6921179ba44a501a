package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// Test is the scenario that `loadgen lab` plays: a baseline under load, and one broker that is killed and
// returns.
type Test struct {
	Baseline scenario.Config
	Duration time.Duration // how long the load runs; default 2m

	Kill      string        // side of the broker that is killed: source, destination or none; default source
	KillAfter time.Duration // from the start of the load to the kill; default 30s
	KillFor   time.Duration // from the kill to the broker's return; default 20s
}

// SetDefaults fills t with a test for a small machine.
func (t *Test) SetDefaults() {
	*t = Test{Duration: 2 * time.Minute, Kill: Source, KillAfter: 30 * time.Second, KillFor: 20 * time.Second}
	c := &t.Baseline
	c.SetDefaults()
	c.TestID = NewTestID()
	for _, k := range []*scenario.Cluster{&c.Source.Cluster, &c.Destination.Cluster} {
		k.Brokers, k.QuorumSize, k.Topics, k.Partitions = 3, 1, []string{"lab"}, 12
	}
	c.Source.Producers, c.Source.Throughput.PerSecond = 1, 2000
	c.Destination.Workers, c.Destination.Consumers = 1, 1
}

// NewTestID returns a test id that no other test has.
func NewTestID() string {
	return "lab-" + time.Now().UTC().Format("20060102-150405") + "-" + strings.ToLower(rand.Text()[:4])
}

// PatternOf returns the topicPattern that matches just the topics named.
func PatternOf(topics []string) string {
	var quoted []string
	for _, t := range topics {
		quoted = append(quoted, regexp.QuoteMeta(t))
	}
	return strings.Join(quoted, "|")
}

// Validate returns every mistake at once, or nil.
func (t *Test) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if t.Duration < time.Second {
		refuse("duration is %s: must be at least 1s", t.Duration)
	}
	switch t.Kill {
	case None:
	case Source, Destination:
		if t.KillAfter < 0 {
			refuse("kill-after is %s: must be at least 0s", t.KillAfter)
		}
		if t.KillFor < time.Second {
			refuse("kill-for is %s: must be at least 1s", t.KillFor)
		}
		if t.KillAfter+t.KillFor >= t.Duration {
			refuse("kill-after %s and kill-for %s reach the end of the load: together they must be less than duration %s",
				t.KillAfter, t.KillFor, t.Duration)
		}
	default:
		refuse("kill is %q: must be one of %q", t.Kill, []string{Source, Destination, None})
	}
	return errors.Join(errs...)
}

// Run plays the test: clusters, replicator, load, a broker killed and returned, verdict and report in the
// lab's output directory. The exit code is the auditor's: 0 the verdict holds, 1 broken, 3 cannot say;
// with an error it is 2, and there is no verdict. When ctx ends, everything is ended and removed,
// and the error wraps the context's.
func Run(ctx context.Context, l *Lab, t Test) (exitCode int, err error) {
	defer func() {
		if err != nil && ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
			err = fmt.Errorf("the lab was stopped: %w (%w)", ctx.Err(), err)
		}
	}()
	defer func() {
		if stopErr := l.Stop(context.WithoutCancel(ctx)); stopErr != nil {
			exitCode, err = exitNoVerdict, errors.Join(err, fmt.Errorf("clean up: %w", stopErr))
		}
	}()
	l.Sends(t.Baseline.Source.Sends(t.Duration))
	if err := l.Start(ctx, t.Baseline); err != nil {
		return exitNoVerdict, err
	}
	end := time.Now().Add(t.Duration)
	if t.Kill != None {
		if err := l.killAndReturn(ctx, t, end); err != nil {
			return exitNoVerdict, err
		}
	}
	if err := l.sleep(ctx, end); err != nil {
		return exitNoVerdict, err
	}
	doc, err := l.Drain(ctx)
	if err != nil {
		return exitNoVerdict, err
	}
	l.out.say("verdict: %s", filepath.Join(l.cfg.Output, "verdict.json"))
	l.out.say("report:  %s", filepath.Join(l.cfg.Output, "report.html"))
	switch doc.Verdict.Outcome {
	case verdict.Holds:
		return exitHolds, nil
	case verdict.Broken:
		return exitBroken, nil
	}
	return exitCannotSay, nil
}

// killAndReturn kills the broker that leads the first topic's partition 0, a leader whatever the
// sizes, and has it back after the stated time. The load ends at end whether or not it has caught up.
func (l *Lab) killAndReturn(ctx context.Context, t Test, end time.Time) error {
	if err := l.sleep(ctx, time.Now().Add(t.KillAfter)); err != nil {
		return err
	}
	c, next := l.cluster(t.Kill), t.Baseline
	of := &next.Source.Cluster
	if t.Kill == Destination {
		of = &next.Destination.Cluster
	}
	victim, err := c.Leader(ctx, of.Topics[0], 0)
	if err != nil {
		return err
	}
	of.Fault = scenario.Fault{Kind: "broker-outage", Victims: []int{victim}, Duration: scenario.Duration(t.KillFor), Run: 1}
	killed := time.Now()
	if err := l.Converge(ctx, next); err != nil {
		return err
	}
	outage := l.faults[t.Kill]
	err = c.WaitWithout(ctx, time.Until(killed.Add(t.KillFor)), victim, of.Topics...)
	l.note(ctx, err, "every partition has another leader (%.1f s after the kill)", time.Since(killed).Seconds())
	during, done := l.sup.during(ctx)
	defer done()
	select {
	case <-outage.ended:
	case <-during.Done():
		return l.brokeOff(ctx, context.Cause(during))
	}
	returned := time.Now()
	if !returned.Before(end) {
		l.out.say("the load ran on until the broker was back: its start took longer than was planned for")
		return nil
	}
	err = c.WaitInSync(ctx, end.Sub(returned), victim, of.Topics...)
	l.note(ctx, err, "all replicas are in sync (%.1f s after the return)", time.Since(returned).Seconds())
	return nil
}

// note says that something came true, or that it did not in its time, which is a finding and no
// failure. What ended the lab is said elsewhere.
func (l *Lab) note(ctx context.Context, err error, format string, args ...any) {
	switch {
	case err == nil:
		l.out.say(format, args...)
	case ctx.Err() == nil && l.sup.failed.Err() == nil:
		l.out.say("%v", err)
	}
}

// sleep lets the test run until then, or returns the error of a child that ended unasked.
func (l *Lab) sleep(ctx context.Context, then time.Time) error {
	during, end := l.sup.during(ctx)
	defer end()
	timer := time.NewTimer(time.Until(then))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-during.Done():
		return l.brokeOff(ctx, context.Cause(during))
	}
}

func (l *Lab) brokeOff(ctx context.Context, cause error) error {
	if ctx.Err() == nil {
		l.keepLogs.Store(true)
	}
	return fmt.Errorf("the test broke off under load: %w", cause)
}
