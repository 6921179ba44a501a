// Command stacks is the Pulumi program: one side of a replication test, as the stack's configuration
// describes it. Pulumi runs it; see the README for how a test is made of two stacks.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

func main() {
	// For preflight, with the environment that Pulumi would set.
	if len(os.Args) == 2 && os.Args[1] == "-check" {
		if err := check(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	pulumi.Run(func(ctx *pulumi.Context) error {
		config, err := environment()
		if err != nil {
			return err
		}
		return program(ctx, config)
	})
}

// environment returns the stack's configuration as Pulumi hands it over: the SDK reads single keys
// only, and we refuse keys that nobody reads.
func environment() (config map[string]string, err error) {
	if text := os.Getenv(pulumi.EnvConfig); text != "" {
		if err := json.Unmarshal([]byte(text), &config); err != nil {
			return nil, fmt.Errorf("%s, which Pulumi sets: %w", pulumi.EnvConfig, err)
		}
	}
	return config, nil
}

// program declares the resources of the stack with this configuration.
func program(ctx *pulumi.Context, config map[string]string) error {
	r, err := newRegion(ctx, config)
	if err != nil {
		return err
	}
	if r.Role == destination {
		return r.newDestination()
	}
	return r.newSource()
}
