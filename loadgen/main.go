// Command loadgen puts a known load on a Kafka cluster, follows it through a
// replicator into another cluster, and says exactly what was lost, duplicated,
// reordered or late.
//
// Each command is one file, cli_NAME.go, with one function that returns it; see
// cli_topics.go for the pattern, and command in cli.go for what it gives.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// commands lists the commands in the order of the help.
func commands(a *app) []*cobra.Command {
	return []*cobra.Command{
		demoCommand(a),
		produceCommand(a),
		consumeCommand(a),
		auditCommand(a),
		verdictCommand(a),
		topicsCommand(a),
		replicatorCommand(a),
		selftestCommand(a),
		probeCommand(a),
		labCommand(a),
		scenarioCommand(a),
		markCommand(a),
		dashboardsCommand(a),
		installAgentCommand(a),
		versionCommand(a),
	}
}

func main() {
	ctx := withSignals(context.Background(), os.Stderr)
	a := &app{env: os.Environ(), stdout: os.Stdout, stderr: os.Stderr}
	os.Exit(a.run(ctx, os.Args[1:]))
}

// interrupt is why a context ended: the user, or a supervisor, wants us to stop.
type interrupt struct{ signal syscall.Signal }

func (i interrupt) Error() string { return fmt.Sprintf("stopped by a signal (%s)", i.signal) }

// exitCode is the one shells give to a process that a signal ended.
func (i interrupt) exitCode() int { return 128 + int(i.signal) }

// sameSignal is within which time the same signal again is not a second one.
const sameSignal = 250 * time.Millisecond

// withSignals returns a context that the first SIGINT or SIGTERM cancels, so
// that the command can finish what must not be left half done. The second ends
// the process at once.
func withSignals(parent context.Context, stderr io.Writer) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	next := func() interrupt {
		received, _ := (<-signals).(syscall.Signal)
		return interrupt{received}
	}
	go func() {
		first := next()
		fmt.Fprintf(stderr, "loadgen: %s: stopping; a second signal ends at once\n", first.signal)
		cancel(first)
		at, second := time.Now(), next()
		// A supervisor that signals the process and then its group means it once.
		for second == first && time.Since(at) < sameSignal {
			second = next()
		}
		os.Exit(second.exitCode())
	}()
	return ctx
}
