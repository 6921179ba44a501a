package main

import (
	"errors"
	"log/slog"
	"os/exec"
	"strings"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/demo"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario/remote"
)

// The brokers of the stacks are out of our reach, and no scenario with a probe makes them for nothing.
func TestProbesNeedClusters(t *testing.T) {
	stacks := remote.New(pulumiTarget, func() *exec.Cmd { return exec.Command("/nonexistent") }, nil)
	if err := canProbe(stacks); !errors.Is(err, scenario.ErrCannotPlay) || !strings.Contains(err.Error(), "target pulumi cannot be reached") {
		t.Errorf("on the stacks: %v", err)
	}
	if err := canProbe(demo.NewTarget(demo.TargetDeps{Logger: slog.New(slog.DiscardHandler)})); err != nil {
		t.Errorf("on the demo: %v", err)
	}
}
