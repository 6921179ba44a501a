package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

var _ scenario.Metered = (*Lab)(nil)

// ClientOptions reach the cluster of a side from here, once Start has returned.
func (l *Lab) ClientOptions(side string) []kgo.Opt { return l.cluster(side).Options() }

// Metrics writes what the load tools that run show to Prometheus, a file each.
func (l *Lab) Metrics(ctx context.Context, dir string) error {
	var errs []error
	for _, t := range slices.Concat([]*tool{l.auditor}, l.producers, l.consumers) {
		if t == nil || !t.alive() {
			continue
		}
		text, err := t.metrics(ctx)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, strings.ReplaceAll(t.name, " ", "-")+".prom"), text, 0o644)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
