// Command play is where the target pulumi of `loadgen scenario run` lives: the Automation API would double
// the load tools' dependencies. loadgen starts it; for what the two say to each other see scenario/remote.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario/remote"
	"github.com/AppsFlyer/kafka-mirror-tester/stacks/target"
)

func main() {
	var c target.Config
	c.SetDefaults()
	flag.StringVar(&c.Project, "project", c.Project, "directory of Pulumi.yaml")
	flag.StringVar(&c.SourceStack, "source-stack", c.SourceStack, "stack of the source")
	flag.StringVar(&c.DestinationStack, "destination-stack", c.DestinationStack, "stack of the destination")
	flag.BoolVar(&c.Destroy, "destroy", c.Destroy, "destroy both stacks at the end")
	flag.DurationVar(&c.TTL, "ttl", c.TTL, "when the load ends by itself, after the start")
	flag.Parse()
	// A signal goes to loadgen, which says over standard input what is to end, and what is to be done after that, such as
	// to destroy. Who ends all processes at once, as a service manager does, must not keep us from it.
	signal.Ignore(syscall.SIGTERM)
	err := remote.Serve(context.Background(), os.Stdin, os.Stdout, func(say func(string)) (scenario.Target, error) {
		log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
		return target.New(c, target.Deps{Logger: log, Say: say})
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "play:", err)
		os.Exit(2)
	}
}
