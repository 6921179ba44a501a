// Command preflight checks what a test on AWS needs before anything that costs is made, makes the
// secrets that the stacks read, and pins the versions that AWS recommends.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "preflight: %v\n", err)
		os.Exit(1)
	}
}

// deadline is how long one call of AWS, of a registry or of a tool may take.
const deadline = 10 * time.Second

func run(ctx context.Context, args, env []string, stdout, stderr io.Writer) error {
	p := preflight{env: env, stdout: stdout, deadline: deadline}
	cmd := &cobra.Command{
		Use:   "preflight",
		Short: "Check what a test on AWS needs, before the first dollar",
		Long: `preflight checks tools, credentials, the stacks' configuration, quotas, instance types, versions,
images and where Pulumi keeps its state. It changes nothing. Every check runs, each that fails says what
to do, and the command fails if any does.

It needs, on AWS: sts:GetCallerIdentity; ec2:DescribeAvailabilityZones, DescribeInstanceTypes,
DescribeInstanceTypeOfferings, DescribeInstances, DescribeAddresses, DescribeVpcs;
servicequotas:GetServiceQuota, GetAWSDefaultServiceQuota; eks:DescribeAddonVersions;
ecr:DescribeImages. Its command versions needs ssm:GetParameter besides.

What carries the tag ` + ownTag + `=` + ownValue + ` is a test's own, and is not counted as used by others.`,
		Example: `  go run ./preflight
  go run ./preflight --stacks us-east-1
  go run ./preflight secrets
  go run ./preflight versions`,
		Args:              cobra.NoArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE:              func(cmd *cobra.Command, _ []string) error { return p.run(cmd.Context()) },
	}
	cmd.PersistentFlags().StringSliceVar(&p.stacks, "stacks", []string{"us-east-1", "eu-west-1"}, "stacks, by name")
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error {
		if len(p.stacks) == 0 {
			return errors.New("--stacks: name at least one, such as us-east-1")
		}
		return nil
	}
	cmd.AddCommand(secretsCommand(&p), versionsCommand(&p))
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	return cmd.ExecuteContext(ctx)
}

// preflight is what the commands share.
type preflight struct {
	stacks   []string
	env      []string // of the tools
	stdout   io.Writer
	deadline time.Duration
}
