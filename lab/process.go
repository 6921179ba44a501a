package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// supervisor starts child processes, notices at once when one ends that was not asked to, and ends
// them all.
type supervisor struct {
	dir  string // working directory and TMPDIR of the children
	logs string // directory of their logs
	kept string // directory that the logs are copied into when all is over, which messages name; empty: none

	failed context.Context // done when a child ended unasked; its cause says which, and how its log ends
	fail   context.CancelCauseFunc

	// Every child is started by one thread that lives as long as they do: Linux sends a parent-death
	// signal when the starting thread ends, not the process, and Go may end threads.
	starts chan func()

	mu      sync.Mutex
	stopped bool
	running map[*process]struct{}
}

func newSupervisor(dir, logs string) *supervisor {
	s := &supervisor{dir: dir, logs: logs, starts: make(chan func()), running: map[*process]struct{}{}}
	s.failed, s.fail = context.WithCancelCause(context.Background())
	go func() {
		runtime.LockOSThread()
		for start := range s.starts {
			start()
		}
	}()
	return s
}

// onThread calls f on the supervisor's own thread.
func (s *supervisor) onThread(f func() error) error {
	done := make(chan error)
	s.starts <- func() { done <- f() }
	return <-done
}

// command is what to run as a child.
type command struct {
	name string    // for people, and for the log's file name: "source broker 1"
	argv []string  // program and arguments
	env  []string  // added to the lab's own environment
	tee  io.Writer // where standard output goes besides the log; may be nil
	ends bool      // it ends by itself, so its end is no failure
	// in calls a function on the thread that is to start the child, which is born where that thread is, and
	// lives no longer than it. Nil: the supervisor's own.
	in func(f func() error) error
	// unasked is told of an end that nobody asked for, which is then no failure of the lab. Nil: it is one.
	unasked func(*process)
}

// process is a started child.
type process struct {
	name    string
	log     string // path of its log
	kept    string // path of its log once all is over
	from    int64  // where in it this process' own part begins
	cmd     *exec.Cmd
	started time.Time
	asked   atomic.Bool   // its end was asked for
	done    chan struct{} // closed when it has ended
	err     error         // exec.Cmd.Wait's; to be read once done is closed
}

// start starts a child. Its output is appended to its log, so a broker that returns goes on in the same file. Of what each
// start says the log keeps maxLog, and the end.
func (s *supervisor) start(c command) (*process, error) {
	log := strings.ReplaceAll(c.name, " ", "-") + ".log"
	p := &process{name: c.name, log: filepath.Join(s.logs, log), kept: filepath.Join(cmp.Or(s.kept, s.logs), log), done: make(chan struct{})}
	p.asked.Store(c.ends)
	file, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		p.from, err = file.Seek(0, io.SeekEnd)
	}
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", c.name, err)
	}
	p.cmd = exec.Command(c.argv[0], c.argv[1:]...)
	p.cmd.Dir = s.dir
	p.cmd.Env = append(childEnvironment(), "TMPDIR="+s.dir)
	p.cmd.Env = append(p.cmd.Env, c.env...)
	said := &boundedLog{name: c.name, file: file, left: maxLog}
	p.cmd.Stdout, p.cmd.Stderr = said, said
	if c.tee != nil {
		p.cmd.Stdout = io.MultiWriter(said, c.tee)
	}
	p.cmd.SysProcAttr = childAttributes()
	p.cmd.WaitDelay = 5 * time.Second

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, errors.Join(fmt.Errorf("start %s: the lab has stopped", c.name), file.Close())
	}
	in := c.in
	if in == nil {
		in = s.onThread
	}
	if err := in(p.cmd.Start); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", c.name, err), file.Close())
	}
	p.started = time.Now()
	s.running[p] = struct{}{}
	go func() {
		p.err = errors.Join(p.cmd.Wait(), said.Close())
		unasked := !p.asked.Load()
		if unasked && c.unasked == nil {
			s.fail(p.unasked())
		}
		s.mu.Lock()
		delete(s.running, p)
		s.mu.Unlock()
		close(p.done)
		if unasked && c.unasked != nil {
			c.unasked(p)
		}
	}()
	return p, nil
}

// run starts a child that does one job and waits for its end, which must be a success.
func (s *supervisor) run(ctx context.Context, c command) error {
	c.ends = true
	p, err := s.start(c)
	if err != nil {
		return err
	}
	if err := p.wait(ctx); err != nil {
		p.kill()
		return err
	}
	if p.err != nil {
		return fmt.Errorf("%s failed: %w", p.name, p.ended())
	}
	return nil
}

// during returns a context that also ends when a child ends unasked.
func (s *supervisor) during(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.failed, func() { cancel(context.Cause(s.failed)) })
	return ctx, func() { stop(); cancel(nil) }
}

// stop kills every child and returns when none is left. It may be called more than once.
func (s *supervisor) stop() {
	s.mu.Lock()
	left := make([]*process, 0, len(s.running))
	for p := range s.running {
		left = append(left, p)
	}
	first := !s.stopped
	s.stopped = true
	s.mu.Unlock()
	for _, p := range left {
		p.signal(syscall.SIGKILL)
	}
	for _, p := range left {
		<-p.done
	}
	if first {
		// Only now: the end of the thread that started them kills the children, and
		// would do so before what they have started is killed with them.
		close(s.starts)
	}
}

// signal asks the process and all that it started to end.
func (p *process) signal(sig syscall.Signal) {
	p.asked.Store(true)
	select {
	case <-p.done: // its id may be another's by now
	default:
		// A failure means that it has just ended.
		_ = syscall.Kill(-p.cmd.Process.Pid, sig)
	}
}

// freeze stops the process and all that it started from running, as SIGSTOP does, until thaw.
func (p *process) freeze() error { return p.send(syscall.SIGSTOP) }

// thaw has a frozen process run on.
func (p *process) thaw() error { return p.send(syscall.SIGCONT) }

// send signals the process without asking for its end.
func (p *process) send(sig syscall.Signal) error {
	select {
	case <-p.done:
		return fmt.Errorf("%s does not run", p.name)
	default:
	}
	if err := syscall.Kill(-p.cmd.Process.Pid, sig); err != nil {
		return fmt.Errorf("send %s to %s: %w", sig, p.name, err)
	}
	return nil
}

// terminate asks the process to end, as SIGTERM does, and kills it when it has not within grace. It
// returns when it has ended, and whether it did so by itself.
func (p *process) terminate(grace time.Duration) bool {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return true
	case <-time.After(grace):
		p.kill()
		return false
	}
}

// alive reports whether the process has not ended.
func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill is kill -9, and returns when the process has ended.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// killGroup kills a child and all that it started, as far as they left its process group alone.
func killGroup(pid int) error { return syscall.Kill(-pid, syscall.SIGKILL) }

// wait returns when the process has ended, or an error when ctx ends first.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the end of %s: %w", p.name, context.Cause(ctx))
	}
}

// unasked says that the process ended and nobody had asked for it.
func (p *process) unasked() error {
	return fmt.Errorf("%s ended unasked %.1f s after its start: %w", p.name, time.Since(p.started).Seconds(), p.ended())
}

// ended says how the process ended and what it said last.
func (p *process) ended() error {
	err := p.err
	if err == nil {
		err = errors.New("exit status 0")
	}
	text, readErr := os.ReadFile(p.log)
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	own := string(text[min(p.from, int64(len(text))):])
	hint := ""
	if portTaken.MatchString(own) {
		hint = "; another program has taken a port that the lab had found free: run it again"
	}
	if strings.TrimSpace(own) == "" {
		return fmt.Errorf("%w; it said nothing (%s)", err, p.kept)
	}
	return fmt.Errorf("%w%s; its log %s ends:\n%s", err, hint, p.kept, lastWords(own))
}

var (
	// complaint is a line of a log that says what went wrong, whatever stands after it.
	complaint  = regexp.MustCompile(`^\S+ \S+ (ERROR|FATAL) |^Caused by: |^Exception in thread `)
	stackFrame = regexp.MustCompile(`^\t(at |\.\.\. \d+ (more|common frames))`)
	portTaken  = regexp.MustCompile(`[Aa]ddress already in use`)
)

// lastWords are the last lines of a log, and before them the last complaints: a broker that cannot start says much
// about its shutdown after it has said why. Stack frames are left out.
func lastWords(log string) string {
	all := slices.DeleteFunc(strings.Split(strings.TrimRight(log, "\n"), "\n"), stackFrame.MatchString)
	end := max(0, len(all)-15)
	last := strings.Join(all[end:], "\n")
	complaints := slices.DeleteFunc(all[:end], func(line string) bool { return !complaint.MatchString(line) })
	if complaints = complaints[max(0, len(complaints)-8):]; len(complaints) > 0 {
		last = strings.Join(complaints, "\n") + "\n…\n" + last
	}
	return tail(last, 24)
}

// tail is the last lines of a text, indented.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	all = all[max(0, len(all)-lines):]
	return "    " + strings.Join(all, "\n    ")
}

// childEnvironment is the lab's own without its flags: LOADGEN_DURATION set for the lab must not
// become the producers' --duration.
func childEnvironment() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "LOADGEN_") {
			env = append(env, e)
		}
	}
	return env
}

// await calls ready every 200 ms until it returns nil. It gives up with ready's last error when
// limit has passed or one of hopeless says so of it, and at once with the context's cause when ctx ends.
func await(ctx context.Context, limit time.Duration, what string, ready func(context.Context) error, hopeless ...func(error) bool) error {
	start := time.Now()
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		attempt, done := context.WithTimeout(bounded, 5*time.Second)
		err := ready(attempt)
		done()
		if err == nil {
			return nil
		}
		for _, vain := range hopeless {
			if vain(err) {
				return fmt.Errorf("%s: %w", what, err)
			}
		}
		select {
		case <-tick.C:
		case <-bounded.Done():
		}
		if ctx.Err() != nil {
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		}
		if bounded.Err() != nil {
			return fmt.Errorf("%s: not within %s: %w", what, time.Since(start).Round(time.Second), err)
		}
	}
}
