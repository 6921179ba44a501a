package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// patience is for how long a command tries.
type patience time.Duration

// Validate reports a time that is none.
func (p *patience) Validate() error {
	if *p <= 0 {
		return fmt.Errorf("timeout %s: use more than 0, such as 5m", time.Duration(*p))
	}
	return nil
}

func (p *patience) flag(cmd *cobra.Command) {
	cmd.Flags().DurationVar((*time.Duration)(p), "timeout", time.Duration(*p), "give up after so long")
}

// between is the pause between two attempts.
const between = time.Second

// insist calls do until it succeeds, its error is one for good, or time is up.
// Commands that run in Jobs do so while faults come and go: a broker that does
// not answer now may in a moment.
func (a *app) insist(ctx context.Context, limit patience, forGood func(error) bool, do func(context.Context) error) error {
	trying, cancel := context.WithTimeout(ctx, time.Duration(limit))
	defer cancel()
	var previous error
	for {
		err := do(trying)
		if err == nil || ctx.Err() != nil || forGood(err) {
			return err
		}
		if trying.Err() != nil {
			// What cut the last attempt short may only be the time that was up.
			return fmt.Errorf("not within %s: %w", time.Duration(limit), errors.Join(err, previous))
		}
		if previous == nil || previous.Error() != err.Error() {
			a.log.Warn("trying again", "error", err)
			previous = err
		}
		select {
		case <-trying.Done():
		case <-time.After(between):
		}
	}
}
