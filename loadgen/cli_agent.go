package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// agentPath is where the image carries the JMX agent (images/build.go).
const agentPath = "/opt/jmx_prometheus_javaagent.jar"

// installAgentCommand serves as an init container: the image has no shell to copy with.
func installAgentCommand(a *app) *cobra.Command {
	var from, to string
	cmd := a.command(&cobra.Command{
		Use:   "install-agent",
		Short: "Copy the JMX agent out of the container image",
		Long: `Copy the Java agent, by which JVMs show their metrics, from the container image of loadgen to a
volume that it shares with a JVM's container. The file is there in full or not at all.`,
		Example: `  loadgen install-agent --to /agent/jmx_prometheus_javaagent.jar`,
	}, func(context.Context) error { return installFile(from, to) }, validation(func() error {
		if to == "" {
			return errors.New("--to is missing: the file to write, such as /agent/jmx_prometheus_javaagent.jar")
		}
		return nil
	}))
	cmd.Flags().StringVar(&to, "to", "", "file to write; its directory must exist (required)")
	cmd.Flags().StringVar(&from, "from", agentPath, "file to copy")
	return cmd
}

// installFile copies a file, readable by all.
func installFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("read the agent: %w", err)
	}
	part, err := os.CreateTemp(filepath.Dir(to), ".agent-*")
	if err != nil {
		return fmt.Errorf("write the agent: %w", err)
	}
	defer os.Remove(part.Name()) // gone after the rename
	_, err = part.Write(data)
	if err = errors.Join(err, part.Chmod(0o644), part.Close()); err == nil {
		err = os.Rename(part.Name(), to)
	}
	if err != nil {
		return fmt.Errorf("write the agent: %w", err)
	}
	return nil
}
