package remote

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// longest is the longest message, bytes: a document with a timeline of hours.
const longest = 256 << 20

// Serve answers calls from in on out until in ends, which ends the call that runs. target is given a
// function by which it tells people what it does.
func Serve(ctx context.Context, in io.Reader, out io.Writer, target func(say func(string)) (scenario.Target, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &server{out: json.NewEncoder(out), running: map[int]context.CancelFunc{}}
	t, err := target(func(line string) { s.tell(answer{Say: line}) })
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, longest)
	var calls sync.WaitGroup
	for lines.Scan() {
		var r request
		if err := read(lines.Bytes(), &r); err != nil {
			return errors.Join(err, s.err())
		}
		if r.Cancel {
			s.cancel(r.ID)
			continue
		}
		calling := s.begin(ctx, r.ID)
		calls.Go(func() {
			defer s.cancel(r.ID)
			s.tell(call(calling, t, r))
		})
	}
	cancel() // nobody waits for an answer any more
	calls.Wait()
	return errors.Join(lines.Err(), s.err())
}

type server struct {
	mu      sync.Mutex
	out     *json.Encoder
	failed  error
	running map[int]context.CancelFunc
}

func (s *server) tell(a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = errors.Join(s.failed, s.out.Encode(a))
}

func (s *server) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func (s *server) begin(ctx context.Context, id int) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[id] = cancel
	return ctx
}

func (s *server) cancel(id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.running[id]; cancel != nil {
		cancel()
		delete(s.running, id)
	}
}

// call calls the method of t that r names.
func call(ctx context.Context, t scenario.Target, r request) answer {
	a := answer{ID: r.ID}
	var err error
	switch r.Method {
	case "check":
		err = t.Check(r.Configs)
	case "start":
		err = t.Start(ctx, r.Configs[0])
	case "converge":
		err = t.Converge(ctx, r.Configs[0])
	case "mark":
		err = t.Mark(ctx, *r.Event)
	case "status":
		a.Document, err = t.Status(ctx)
	case "drain":
		a.Document, err = t.Drain(ctx)
	case "stop":
		err = t.Stop(ctx)
	case "provides":
		if e, ok := t.(scenario.Equipped); ok {
			err = e.Provides(r.Text)
		}
	case "evidence":
		if w, ok := t.(scenario.Witness); ok {
			err = w.Evidence(ctx, r.Text)
		}
	case "describe":
		if d, ok := t.(scenario.Describer); ok {
			if len(r.Configs) > 0 {
				a.Text = d.ReplicatorName(r.Configs[0])
			}
			a.Versions = d.Versions()
		}
	default:
		err = fmt.Errorf("method %q: unknown: are both programs of one version?", r.Method)
	}
	a.fail(err)
	return a
}
