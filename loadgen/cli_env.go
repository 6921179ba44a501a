package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	envPrefix = "LOADGEN_"
	// passwordVariable has no flag: a command line can be read by everyone on
	// the machine.
	passwordVariable = envPrefix + "SASL_PASSWORD"
)

// variable returns the environment variable of a flag.
func variable(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// setFromEnvironment sets the flags that were not given from env. A LOADGEN_
// variable that is no flag of any command is a mistake, and most likely a
// misspelt one; a flag of another command is none, since the processes of one
// test may share an environment.
func setFromEnvironment(root *cobra.Command, flags *pflag.FlagSet, env []string) error {
	known := knownVariables(root)
	values := map[string]string{}
	var errs []error
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case !strings.HasPrefix(name, envPrefix):
		case !slices.Contains(known, name):
			errs = append(errs, unknownVariable(name, known))
		default:
			values[name] = value
		}
	}
	flags.VisitAll(func(f *pflag.Flag) {
		value, ok := values[variable(f.Name)]
		if !ok || f.Changed {
			return
		}
		if err := f.Value.Set(value); err != nil {
			errs = append(errs, fmt.Errorf("environment variable %s=%q: %w", variable(f.Name), value, err))
		}
		f.Changed = true // as if given
	})
	return errors.Join(errs...)
}

// knownVariables lists the variables of all flags of all commands.
func knownVariables(root *cobra.Command) []string {
	known := []string{passwordVariable}
	add := func(f *pflag.Flag) {
		if f.Name != "help" {
			known = append(known, variable(f.Name))
		}
	}
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		cmd.PersistentFlags().VisitAll(add)
		cmd.Flags().VisitAll(add)
		for _, child := range cmd.Commands() {
			walk(child)
		}
	}
	walk(root)
	slices.Sort(known)
	return slices.Compact(known)
}

// serviceLink matches what Kubernetes sets in each pod for each Service, here
// for one whose name begins with loadgen.
var serviceLink = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_|$)|_PORT(_\d+_(TCP|UDP|SCTP)(_|$)|$)`)

func unknownVariable(name string, known []string) error {
	if serviceLink.MatchString(name) {
		return fmt.Errorf("environment variable %s is no flag of any command; Kubernetes sets it for a Service of that name: set enableServiceLinks: false in the pod, or rename the Service", name)
	}
	nearest := slices.MinFunc(known, func(a, b string) int { return levenshtein.Distance(name, a, nil) - levenshtein.Distance(name, b, nil) })
	return fmt.Errorf("environment variable %s is no flag of any command (the nearest is %s): correct or unset it", name, nearest)
}
