package remote

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// Target is a scenario.Target in another process, which is started when it is first needed and ended by
// Stop. It ends by itself when this one does.
type Target struct {
	name    string
	command func() *exec.Cmd
	say     func(string)

	mu       sync.Mutex
	process  *process
	versions map[string]string // of a process that has been stopped
}

// New makes a target called name, whose process is started by command. What it tells people goes to say,
// and its standard error where command says.
func New(name string, command func() *exec.Cmd, say func(string)) *Target {
	return &Target{name: name, command: command, say: say}
}

// process is the other side.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{}

	mu      sync.Mutex
	out     *json.Encoder
	last    int
	waiting map[int]chan answer
	err     error // why it ended
}

func (t *Target) start() (*process, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.process != nil {
		return t.process, nil
	}
	cmd := t.command()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is ours to tell it
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("the program of the target %s: %w", t.name, err)
	}
	p := &process{cmd: cmd, stdin: stdin, out: json.NewEncoder(stdin), waiting: map[int]chan answer{}, ended: make(chan struct{})}
	go p.listen(stdout, t.say)
	t.process = p
	return p, nil
}

// listen hands out answers until the process ends.
func (p *process) listen(stdout io.Reader, say func(string)) {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, longest)
	var err error
	for err == nil && lines.Scan() {
		var a answer
		if err = read(lines.Bytes(), &a); err != nil {
			break
		}
		if a.Say != "" {
			if say != nil {
				say(a.Say)
			}
			continue
		}
		p.mu.Lock()
		if to := p.waiting[a.ID]; to != nil {
			to <- a
			delete(p.waiting, a.ID)
		}
		p.mu.Unlock()
	}
	if err = errors.Join(err, lines.Err()); err != nil {
		_ = p.stdin.Close() // it is not understood: it shall end
	}
	err = errors.Join(err, p.cmd.Wait())
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err = err; err == nil {
		p.err = errors.New("it has ended")
	}
	close(p.ended)
}

// call waits for the answer also when ctx has ended: then the other side is told to come to an end.
func (t *Target) call(ctx context.Context, r request) (answer, error) {
	p, err := t.start()
	if err != nil {
		return answer{}, err
	}
	done := make(chan answer, 1)
	p.mu.Lock()
	p.last++
	r.ID = p.last
	p.waiting[r.ID] = done
	err = p.out.Encode(r)
	p.mu.Unlock()
	gone := func() (answer, error) {
		<-p.ended
		return answer{}, fmt.Errorf("the program %s of the target %s: %w", filepath.Base(p.cmd.Path), t.name, p.err)
	}
	if err != nil {
		return gone()
	}
	cancelled := ctx.Done()
	for {
		select {
		case a := <-done:
			if err := a.err(); err != nil && ctx.Err() != nil {
				return a, fmt.Errorf("%w (%w)", err, context.Cause(ctx))
			}
			return a, a.err()
		case <-p.ended:
			select {
			case a := <-done:
				return a, a.err()
			default:
				return gone()
			}
		case <-cancelled:
			cancelled = nil
			p.mu.Lock()
			_ = p.out.Encode(request{ID: r.ID, Cancel: true}) // if that fails it has ended
			p.mu.Unlock()
		}
	}
}

func (t *Target) do(ctx context.Context, r request) error {
	_, err := t.call(ctx, r)
	return err
}

// Name is how --target calls it.
func (t *Target) Name() string { return t.name }

// Check implements scenario.Target, like all that follow.
func (t *Target) Check(configs []scenario.Config) error {
	return t.do(context.Background(), request{Method: "check", Configs: configs})
}

// Start converges on the baseline.
func (t *Target) Start(ctx context.Context, baseline scenario.Config) error {
	return t.do(ctx, request{Method: "start", Configs: []scenario.Config{baseline}})
}

// Converge changes what runs.
func (t *Target) Converge(ctx context.Context, next scenario.Config) error {
	return t.do(ctx, request{Method: "converge", Configs: []scenario.Config{next}})
}

// Mark tells the auditor of something.
func (t *Target) Mark(ctx context.Context, event verdict.Event) error {
	return t.do(ctx, request{Method: "mark", Event: &event})
}

// Status returns the verdict so far.
func (t *Target) Status(ctx context.Context) (*verdict.Document, error) {
	a, err := t.call(ctx, request{Method: "status"})
	return a.Document, err
}

// Drain returns the final verdict.
func (t *Target) Drain(ctx context.Context) (*verdict.Document, error) {
	a, err := t.call(ctx, request{Method: "drain"})
	return a.Document, err
}

// Provides says whether there is a feature.
func (t *Target) Provides(feature string) error {
	return t.do(context.Background(), request{Method: "provides", Text: feature})
}

// Evidence leaves evidence below dir.
func (t *Target) Evidence(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	return t.do(ctx, request{Method: "evidence", Text: dir})
}

// ReplicatorName is empty where the other side cannot say.
func (t *Target) ReplicatorName(c scenario.Config) string {
	a, _ := t.call(context.Background(), request{Method: "describe", Configs: []scenario.Config{c}}) // Check says what is wrong
	return a.Text
}

// Versions are those of a process that has been stopped.
func (t *Target) Versions() map[string]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.versions
}

// Stop ends what runs, and the process.
func (t *Target) Stop(ctx context.Context) error {
	t.mu.Lock()
	running := t.process != nil
	t.mu.Unlock()
	if !running {
		return nil
	}
	err := t.do(ctx, request{Method: "stop"})
	described, _ := t.call(ctx, request{Method: "describe"}) // for the report only
	t.mu.Lock()
	p := t.process
	t.process, t.versions = nil, described.Versions
	t.mu.Unlock()
	_ = p.stdin.Close() // it may have ended
	<-p.ended
	return err
}
