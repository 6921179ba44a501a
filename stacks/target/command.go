package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/auto"
)

// cancelPatience is how long an update that was interrupted gets to end what it had begun. Pulumi kills
// nothing that a cloud is at work on, since nobody would know what came of it; a cluster takes minutes.
const cancelPatience = 20 * time.Minute

// command runs Pulumi's CLI. The SDK's own kills it 10 s after an interrupt, which leaves the stack
// locked and resources of which nobody knows.
type command struct {
	auto.PulumiCommand
	path     string
	patience time.Duration
}

// NewCommand runs the CLI that is on PATH.
func NewCommand() (auto.PulumiCommand, error) {
	path, err := exec.LookPath("pulumi")
	if err != nil {
		return nil, fmt.Errorf("%w: install the Pulumi CLI, 3.200 or later: https://www.pulumi.com/docs/install", err)
	}
	inner, err := auto.NewPulumiCommand(nil)
	if err != nil {
		return nil, err
	}
	return &command{inner, path, cancelPatience}, nil
}

// Version is the CLI's.
func (c *command) Version() semver.Version { return c.PulumiCommand.Version() }

// Run runs the CLI in dir. When ctx ends it is interrupted, once, and then waited for.
func (c *command) Run(ctx context.Context, dir string, stdin io.Reader, stdouts, stderrs []io.Writer, env []string, args ...string) (string, string, int, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, c.path, append(args, "--non-interactive")...)
	cmd.Dir, cmd.Stdin = dir, stdin
	cmd.Env = append(append(os.Environ(), env...), "PULUMI_AUTOMATION_API=true", "PULUMI_SKIP_UPDATE_CHECK=true")
	cmd.Stdout = io.MultiWriter(append(stdouts, &stdout)...)
	cmd.Stderr = io.MultiWriter(append(stderrs, &stderr)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C on a terminal reaches us, and it by us
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = c.patience
	err := cmd.Run()
	code := -1
	if cmd.ProcessState != nil {
		code = cmd.ProcessState.ExitCode()
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		err = fmt.Errorf("pulumi did not end within %s of its interrupt and was killed, so that the stack may be locked: run pulumi cancel: %w", c.patience, err)
	}
	return stdout.String(), stderr.String(), code, err
}
