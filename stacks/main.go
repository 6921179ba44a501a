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
	pulumi.Run(func(ctx *pulumi.Context) error {
		// The SDK reads single keys only, and we refuse keys that nobody reads.
		var config map[string]string
		if text := os.Getenv(pulumi.EnvConfig); text != "" {
			if err := json.Unmarshal([]byte(text), &config); err != nil {
				return fmt.Errorf("%s, which Pulumi sets: %w", pulumi.EnvConfig, err)
			}
		}
		return program(ctx, config)
	})
}

// program declares the resources of the stack with this configuration.
func program(ctx *pulumi.Context, config map[string]string) error {
	stack, err := readConfig(ctx.Project(), config)
	if err != nil {
		return err
	}
	if stack.Role == destination {
		return newDestination(ctx, stack)
	}
	return newSource(ctx, stack)
}
