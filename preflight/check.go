package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// status is what a check has found.
type status int

const (
	good    status = iota
	warning        // worth knowing, and no reason not to go on
	failed
	skipped // cannot be said, since something else failed; counts as failed
)

// finding is the outcome of a check: what is, and what to do about it unless it is good.
type finding struct {
	status   status
	is, todo string
}

func ok(format string, args ...any) finding { return finding{good, fmt.Sprintf(format, args...), ""} }

func warn(todo, format string, args ...any) finding {
	return finding{warning, fmt.Sprintf(format, args...), todo}
}

func fail(todo, format string, args ...any) finding {
	return finding{failed, fmt.Sprintf(format, args...), todo}
}

func skip(why string) finding { return finding{skipped, "not checked: " + why, ""} }

// err is the finding for a command that has no report.
func (f finding) err() error {
	if f.todo == "" {
		return errors.New(f.is)
	}
	return fmt.Errorf("%s\n(%s)", f.is, f.todo)
}

// check is one line of the report.
type check struct {
	name string
	run  func(context.Context) finding
}

// perform runs all checks at once and reports them in their order, each as soon as those before it
// are done. It returns an error if any has failed.
func perform(ctx context.Context, checks []check, out io.Writer) error {
	findings := make([]chan finding, len(checks))
	for i, c := range checks {
		findings[i] = make(chan finding, 1)
		go func() { findings[i] <- c.run(ctx) }()
	}
	var count [skipped + 1]int
	for i, c := range checks {
		f := <-findings[i]
		count[f.status]++
		fmt.Fprintf(out, "%c %s: %s\n", []rune("✓!✗–")[f.status], c.name, indent(f.is))
		if f.todo != "" {
			fmt.Fprintf(out, "    → %s\n", indent(f.todo))
		}
	}
	bad := count[failed] + count[skipped]
	fmt.Fprintf(out, "\n%d checks: good %d, warnings %d, failed %d, not made %d\n", len(checks), count[good], count[warning], count[failed], count[skipped])
	if bad > 0 {
		return fmt.Errorf("%d of %d checks failed or could not be made", bad, len(checks))
	}
	return nil
}

// indent keeps further lines apart from the next check's.
func indent(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n      ") }

// shared is a value that several checks need: it is made once, by whoever needs it first.
type shared[T any] struct {
	once  sync.Once
	value T
	err   error
}

func (s *shared[T]) get(create func() (T, error)) (T, error) {
	s.once.Do(func() { s.value, s.err = create() })
	return s.value, s.err
}

// within bounds one call.
func within[T any](ctx context.Context, limit time.Duration, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errNoAnswer)
	defer cancel()
	value, err := call(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errNoAnswer) {
		err = fmt.Errorf("%w within %s: %w", errNoAnswer, limit, err)
	}
	return value, err
}

var errNoAnswer = errors.New("no answer")
