package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is a started process, in a group of its own, which the kernel kills when bench dies.
type child struct {
	name   string
	cmd    *exec.Cmd
	stdout lockedBuffer
	stderr lockedBuffer
	done   chan struct{}
	err    error // once done is closed
}

// start starts a process. It must be called from main's goroutine, see main.
func start(dir, name string, argv, env []string) (*child, error) {
	c := &child{name: name, cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{})}
	c.cmd.Dir = dir
	c.cmd.Env = append(environment(), env...)
	c.cmd.Stdout, c.cmd.Stderr = &c.stdout, &c.stderr
	c.cmd.SysProcAttr = childAttributes()
	c.cmd.WaitDelay = 5 * time.Second
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

// environment is our own without the load tools' flags.
func environment() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "LOADGEN_") && !strings.HasPrefix(e, "CLASSPATH=") {
			env = append(env, e)
		}
	}
	return env
}

func (c *child) kill() {
	select {
	case <-c.done:
	default:
		killGroup(c.cmd.Process.Pid)
		<-c.done
	}
}

// wait returns when the process has ended, which must be with success and within limit.
func (c *child) wait(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-c.done:
		if c.err != nil {
			return fmt.Errorf("%s: %w", c.name, c.failure())
		}
		return nil
	case <-timer.C:
		c.kill()
		return fmt.Errorf("%s did not end within %s: %w", c.name, limit, c.failure())
	case <-ctx.Done():
		c.kill()
		return context.Cause(ctx)
	}
}

// failure says how the process ended and what it said last.
func (c *child) failure() error {
	err := c.err
	if err == nil {
		err = errors.New("exit status 0")
	}
	return fmt.Errorf("%w; it said last:\n%s", err, tail(c.stdout.String()+c.stderr.String(), 15))
}

func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return "    " + strings.Join(lines[max(0, len(lines)-n):], "\n    ")
}

// used is what a process that has ended took, by the kernel's account.
func (c *child) used() (cpu time.Duration, peakRSS int64) {
	usage, ok := c.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), peakOf(usage)
}

// cpuTime is what a running process has taken so far.
func (c *child) cpuTime() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	return parseStat(text)
}

// parseStat reads the CPU time out of /proc/PID/stat. It counts in ticks of 10 ms.
func parseStat(text []byte) (time.Duration, error) {
	// The second field is the program's name, in brackets, and may hold anything.
	_, rest, ok := strings.Cut(string(text[max(0, bytes.LastIndexByte(text, ')')):]), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("not a process's status: %q", text)
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("not a process's status: %q: %w", text, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// lockedBuffer can be read while a process writes to it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

var _ io.Writer = (*lockedBuffer)(nil)

// Write implements io.Writer.
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
