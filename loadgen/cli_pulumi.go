package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario/remote"
)

const (
	pulumiTarget = "pulumi"
	// pulumiProgram has the target: package stacks/play. It is beside this program.
	pulumiProgram = "loadgen-pulumi"
)

// pulumiFlags are those of the target pulumi, by which its program is started.
func pulumiFlags() *pflag.FlagSet {
	f := pflag.NewFlagSet(pulumiTarget, pflag.ContinueOnError)
	f.String("project", ".", "target pulumi: directory of Pulumi.yaml")
	f.String("source-stack", "us-east-1", "target pulumi: stack of the source")
	f.String("destination-stack", "eu-west-1", "target pulumi: stack of the destination")
	f.Bool("destroy", false, "target pulumi: destroy both stacks after each scenario, the destination first; else they stay, without load")
	f.Duration("ttl", 0, "target pulumi: how long after the start the load ends by itself, also when this machine is gone (0: never)")
	return f
}

// checkPulumi reports what is wrong with these flags, for the target that was chosen.
func checkPulumi(cmd *cobra.Command, target string) error {
	var errs []error
	pulumiFlags().VisitAll(func(f *pflag.Flag) {
		if target != pulumiTarget && cmd.Flags().Changed(f.Name) {
			errs = append(errs, fmt.Errorf("--%s is of the target %s, and this is %s: leave it out, or give --target %s", f.Name, pulumiTarget, target, pulumiTarget))
		}
	})
	return errors.Join(errs...)
}

// patientWithPulumi gives updates of stacks their time, where the user has not said anything: EKS alone
// takes ten minutes.
func patientWithPulumi(cmd *cobra.Command, c *scenario.RunConfig) {
	for flag, to := range map[string]struct {
		bound *time.Duration
		value time.Duration
	}{
		"start-timeout":    {&c.StartTimeout, 3 * time.Hour},
		"converge-timeout": {&c.ConvergeTimeout, 2 * time.Hour}, // of a destroy too
		"drain-timeout":    {&c.DrainTimeout, time.Hour},
		"steady-within":    {&c.SteadyWithin, 10 * time.Minute},
	} {
		if !cmd.Flags().Changed(flag) {
			*to.bound = to.value
		}
	}
	c.SilentAfter = 10 * time.Minute     // an auditor that moves to another node
	c.EvidenceTimeout = 10 * time.Minute // the logs of a hundred pods
}

// newPulumiTarget makes the target, whose program says to to what it does.
func newPulumiTarget(_ *slog.Logger, to io.Writer, settings map[string]string) (scenario.Target, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(filepath.Dir(self), pulumiProgram)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("--target %s: %w: build it by make bin/%s", pulumiTarget, err, pulumiProgram)
	}
	var args []string
	pulumiFlags().VisitAll(func(f *pflag.Flag) { args = append(args, "--"+f.Name+"="+settings[f.Name]) })
	return remote.New(pulumiTarget, func() *exec.Cmd {
		cmd := exec.Command(path, args...)
		cmd.Stderr = to
		return cmd
	}, func(line string) {
		fmt.Fprintf(to, "%s    %s\n", time.Now().UTC().Format("15:04:05"), human.Printable(line))
	}), nil
}
