package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
)

// The exit codes; a process that a signal cut short exits with 128 and the
// signal's number (130 for SIGINT, 143 for SIGTERM).
const (
	exitHolds     = 0 // the verdict holds, or the command did what was asked
	exitBroken    = 1 // the verdict is broken
	exitTrouble   = 2 // bad usage or environment
	exitCannotSay = 3 // the verdict is that nothing can be said
)

// verdictError ends the process with a verdict's exit code. The verdict itself
// has been printed.
type verdictError int

func (v verdictError) Error() string {
	if v == exitBroken {
		return "the verdict is broken"
	}
	return "the verdict is that nothing can be said"
}

// app is what the commands share.
type app struct {
	env            []string // as os.Environ gives it
	stdout, stderr io.Writer
	log            *slog.Logger // to stderr; set when a command runs

	root    *cobra.Command
	started bool // a command's own work has begun: its usage was right
}

// run is the program: it returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	a.root = a.rootCommand()
	a.root.SetArgs(args)
	cmd, err := a.root.ExecuteContextC(ctx)

	var verdict verdictError
	var stopped interrupt
	switch {
	case err == nil:
		return exitHolds
	case errors.As(err, &verdict):
		return int(verdict)
	case errors.Is(err, context.Canceled) && errors.As(context.Cause(ctx), &stopped):
		fmt.Fprintf(a.stderr, "%s: stopped before its work was done\n", cmd.CommandPath())
		return stopped.exitCode()
	}
	// Several mistakes are several lines, indented below the command's name.
	message := err.Error()
	if strings.Contains(message, "\n") {
		message = "\n  " + strings.ReplaceAll(message, "\n", "\n  ")
	} else {
		message = " " + message
	}
	fmt.Fprintf(a.stderr, "%s:%s\n", cmd.CommandPath(), message)
	if !a.started {
		fmt.Fprintf(a.stderr, "See '%s --help'.\n", cmd.CommandPath())
	}
	return exitTrouble
}

func (a *app) rootCommand() *cobra.Command {
	root := a.group(&cobra.Command{
		Use:   "loadgen",
		Short: "Put a known load on Kafka and verify its replication exactly",
		Long: `loadgen puts a known load on a Kafka cluster, follows it through a replicator into
another cluster, and says exactly what was lost, duplicated, reordered or late.

Every flag can also be set in the environment: --test-id is LOADGEN_TEST_ID. The
flag wins. A LOADGEN_ variable that is no flag of any command is refused. The
SASL password has no flag: it is LOADGEN_SASL_PASSWORD or --sasl-password-file.
Where a flag takes several values, separate them with commas or repeat the flag.

Exit codes:
  0    the verdict holds, or the command did what was asked
  1    the verdict is broken
  2    bad usage or environment
  3    the verdict cannot say
  130  ended by SIGINT, 143 by SIGTERM

The first SIGINT or SIGTERM stops cleanly; a second one ends the process at once.`,
		Example: `  loadgen topics create --bootstrap-servers 127.0.0.1:9092 --topics load --num-partitions 12
  LOADGEN_BOOTSTRAP_SERVERS=127.0.0.1:9092 loadgen topics describe --topics load`,
	}, commands(a)...)
	root.SilenceErrors, root.SilenceUsage = true, true // run prints them, once
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)

	flags := root.PersistentFlags()
	flags.String("log-level", "info", "lowest level of log messages: debug, info, warn or error")
	flags.String("log-format", "text", "form of log messages: text or json")
	completeWith(root, "log-level", "debug", "info", "warn", "error")
	completeWith(root, "log-format", "text", "json")

	a.finishGenerated(root)
	return root
}

// finishGenerated gives the commands that cobra makes what ours have: examples,
// and an error where the user asks for what does not exist.
func (a *app) finishGenerated(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Example = "  loadgen help topics create"
			c.Args = func(_ *cobra.Command, args []string) error {
				if found, rest, err := root.Find(args); err != nil || len(rest) > 0 {
					return cmp.Or(err, unknownCommand(found, rest))
				}
				return nil
			}
		case "completion":
			c.Example = "  source <(loadgen completion bash)"
			needsChild(c)
			for _, shell := range c.Commands() {
				shell.Example = fmt.Sprintf("  loadgen completion %s", shell.Name())
			}
		}
	}
}

// group makes a command that only holds others.
func (a *app) group(cmd *cobra.Command, children ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(children...)
	return needsChild(cmd)
}

// needsChild makes a command fail where cobra would print help and succeed: a
// script that lost its arguments must not read that as a verdict that holds.
func needsChild(cmd *cobra.Command) *cobra.Command {
	cmd.DisableFlagsInUseLine = true
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = unknownCommand
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var names []string
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				names = append(names, c.Name())
			}
		}
		return fmt.Errorf("a command is missing: %s", strings.Join(names, ", "))
	}
	return cmd
}

func unknownCommand(parent *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if near := parent.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf(" (did you mean %q?)", near[0])
	}
	return fmt.Errorf("unknown command %q%s", args[0], hint)
}

// config is a package's settings.
type config interface{ Validate() error }

// validation is a config that only validates.
type validation func() error

// Validate calls v.
func (v validation) Validate() error { return v() }

// command finishes a command that does something. Before run is called, the
// flags not given are set from the environment, a.log is there, and every
// config has been validated; their mistakes are reported together. The context
// ends with the first signal: run then stops cleanly and returns nil, or returns
// the context's error if its work is not done.
func (a *app) command(cmd *cobra.Command, run func(ctx context.Context) error, configs ...config) *cobra.Command {
	cmd.Flags().SortFlags = false // what matters most comes first
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("unexpected argument %q: this command takes flags only", args[0])
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := setFromEnvironment(a.root, cmd.Flags(), a.env); err != nil {
			return err
		}
		var err error
		if a.log, err = newLogger(a.stderr, cmd.Flag("log-level").Value.String(), cmd.Flag("log-format").Value.String()); err != nil {
			return err
		}
		var errs []error
		for _, c := range configs {
			errs = append(errs, c.Validate())
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		a.started = true
		return run(cmd.Context())
	}
	return cmd
}

func newLogger(to io.Writer, level, format string) (*slog.Logger, error) {
	var opts slog.HandlerOptions
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: use debug, info, warn or error", level)
	}
	opts.Level = least
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(to, &opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(to, &opts)), nil
	}
	return nil, fmt.Errorf("--log-format %q: use text or json", format)
}

// completeWith makes the shell offer the values a flag takes.
func completeWith(cmd *cobra.Command, flag string, values ...string) {
	// It fails only for a flag that is not there, which the tests would show.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}
