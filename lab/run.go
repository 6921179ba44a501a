package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"
)

// Run runs a whole test: clusters, replicator, load, a broker killed and returned, verdict and
// report in cfg.Output. The exit code is the auditor's: 0 the verdict holds, 1 broken, 3 cannot say;
// with an error it is 2, and there is no verdict. When ctx ends, everything is ended and removed,
// and the error wraps the context's.
func Run(ctx context.Context, cfg Config, logger *slog.Logger, out io.Writer) (exitCode int, err error) {
	defer func() {
		if err != nil && ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
			err = fmt.Errorf("the lab was stopped: %w (%w)", ctx.Err(), err)
		}
	}()
	l, err := New(ctx, cfg, logger, out)
	if err != nil {
		return exitNoVerdict, err
	}
	defer func() {
		if stopErr := l.Stop(); stopErr != nil {
			exitCode, err = exitNoVerdict, errors.Join(err, fmt.Errorf("clean up: %w", stopErr))
		}
	}()
	if err := l.Start(ctx); err != nil {
		return exitNoVerdict, err
	}
	if err := l.Load(ctx); err != nil {
		return exitNoVerdict, err
	}
	end := time.Now().Add(cfg.Duration)
	if cfg.Kill != None {
		if err := l.killAndReturn(ctx, cfg, end); err != nil {
			return exitNoVerdict, err
		}
	}
	if err := l.sleep(ctx, end); err != nil {
		return exitNoVerdict, err
	}
	code, err := l.Drain(ctx)
	if err != nil {
		return exitNoVerdict, err
	}
	l.out.say("verdict: %s", filepath.Join(l.cfg.Output, "verdict.json"))
	l.out.say("report:  %s", filepath.Join(l.cfg.Output, "report.html"))
	return code, nil
}

// killAndReturn kills the broker that leads the first topic's partition 0, a leader whatever the
// sizes, and has it back after the stated time. The load ends at end whether or not it has caught up.
func (l *Lab) killAndReturn(ctx context.Context, cfg Config, end time.Time) error {
	if err := l.sleep(ctx, time.Now().Add(cfg.KillAfter)); err != nil {
		return err
	}
	c, err := l.cluster(cfg.Kill)
	if err != nil {
		return err
	}
	victim, err := c.Leader(ctx, cfg.Topics[0], 0)
	if err != nil {
		return err
	}
	killed := time.Now()
	back := killed.Add(cfg.KillFor)
	if err := l.Kill(ctx, cfg.Kill, victim); err != nil {
		return err
	}
	err = c.WaitWithout(ctx, time.Until(back), victim, cfg.Topics...)
	l.note(ctx, err, "every partition has another leader (%.1f s after the kill)", time.Since(killed).Seconds())
	if err := l.sleep(ctx, back); err != nil {
		return err
	}
	if err := l.Return(ctx, cfg.Kill, victim); err != nil {
		return err
	}
	returned := time.Now()
	if !returned.Before(end) {
		l.out.say("the load ran on until the broker was back: its start took longer than was planned for")
		return nil
	}
	err = c.WaitInSync(ctx, end.Sub(returned), victim, cfg.Topics...)
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
		if ctx.Err() == nil {
			l.keepLogs = true
		}
		return fmt.Errorf("the test broke off under load: %w", context.Cause(during))
	}
}
