package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

type benchmark struct{}

var errNot = errors.New("not yet")

func (b *bench) oneCore(context.Context) error  { return errNot }
func (b *bench) alone(context.Context) error    { return errNot }
func (b *bench) growth(context.Context) error   { return errNot }
func (b *bench) stacks(context.Context) error   { return errNot }
func (b *bench) endToEnd(context.Context) error { return errNot }
func (b *bench) print(r *result) error {
	for _, size := range b.sizes {
		for _, c := range append(producers(), consumers()[4]) {
			runs := of(r.Runs, func(m measured) bool { return m.Contender == c.name && m.Size == size })
			base := of(r.Runs, func(m measured) bool { return m.Contender == bare && m.Size == size })
			if len(runs) == 0 {
				continue
			}
			fmt.Fprintf(b.stdout, "%-18s %6d  MB/s %-20s ratio %-20s CPU/GB %-20s ratio %-20s broker %-20s MB %s\n", c.name, size, figures(runs, measured.mbPerSecond), ratios(runs, base, measured.mbPerSecond),
				figures(runs, measured.cpuPerGB), ratios(runs, base, measured.cpuPerGB), figures(runs, measured.brokerCPUPerGB), figures(runs, measured.peakMB))
		}
	}
	return nil
}
func reportCommand(io.Writer) *cobra.Command { return &cobra.Command{Use: "report"} }
