package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/AppsFlyer/kafka-mirror-tester/dashboards"
	"github.com/AppsFlyer/kafka-mirror-tester/dashboards/live"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
)

func dashboardsCommand(a *app) *cobra.Command {
	return a.group(&cobra.Command{
		Use:   "dashboards",
		Short: "Draw dashboards, and check them against a Prometheus",
		Example: `  loadgen dashboards render --dashboard replication --from 15m --output replication.png
  loadgen dashboards check --from 5m`,
	}, dashboardsRenderCommand(a), dashboardsCheckCommand(a))
}

// watched says which Prometheus is asked for which time.
type watched struct {
	source, destination string
	from, to            string
	values              map[string]string
	period              live.Range // by Validate
}

func (w *watched) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&w.source, "prometheus", "http://127.0.0.1:9090", "URL of Prometheus, of the source's if each side has its own")
	f.StringVar(&w.destination, "destination-prometheus", "", "URL of the destination's Prometheus (empty: the same)")
	f.StringVar(&w.from, "from", "30m", "begin: how long ago (15m), or a time (2026-11-30T20:00:00Z)")
	f.StringVar(&w.to, "to", "0s", "end, likewise")
	f.StringToStringVar(&w.values, "set", nil, "variables of the dashboards, name=value, such as test=t1 or from_cluster=source")
}

// moment reads a time, or how long before now it was.
func moment(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	return time.Time{}, fmt.Errorf("%q is neither a duration before now, such as 15m, nor a time, such as 2026-11-30T20:00:00Z", text)
}

// Validate reports every mistake.
func (w *watched) Validate() error {
	var errs []error
	if w.destination == "" {
		w.destination = w.source
	}
	for _, f := range []struct{ flag, at string }{{"prometheus", w.source}, {"destination-prometheus", w.destination}} {
		if f.flag != "prometheus" && f.at == w.source {
			continue
		}
		if u, err := url.Parse(f.at); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			errs = append(errs, fmt.Errorf("--%s %q is not the address of a Prometheus, such as http://127.0.0.1:9090", f.flag, connect.Shown(f.at)))
		}
	}
	now := time.Now()
	var err error
	if w.period.From, err = moment(w.from, now); err != nil {
		errs = append(errs, fmt.Errorf("--from %w", err))
	}
	if w.period.To, err = moment(w.to, now); err != nil {
		errs = append(errs, fmt.Errorf("--to %w", err))
	}
	if errs == nil && !w.period.To.After(w.period.From) {
		errs = append(errs, fmt.Errorf("--from %s is not before --to %s", w.from, w.to))
	}
	known := map[string]bool{}
	for _, b := range dashboards.Boards() {
		for _, v := range b.Variables {
			known[v.Name] = true
		}
	}
	for name := range w.values {
		if !known[name] {
			errs = append(errs, fmt.Errorf("--set %s: no dashboard has this variable", name))
		}
	}
	w.period.Values = w.values
	return errors.Join(errs...)
}

func (w *watched) open() (*live.Prometheus, error) { return live.Open(w.source, w.destination) }

// boardNames are the names of all dashboards.
func boardNames() []string {
	var names []string
	for _, b := range dashboards.Boards() {
		names = append(names, b.Name)
	}
	return names
}

func dashboardsRenderCommand(a *app) *cobra.Command {
	var w watched
	var name, output string
	cmd := a.command(&cobra.Command{
		Use:   "render",
		Short: "Draw a dashboard as a PNG from the data of a Prometheus, without Grafana",
		Example: `  loadgen dashboards render --dashboard replication --from 15m --output replication.png
  loadgen dashboards render --prometheus http://localhost:9090 --destination-prometheus http://localhost:9091 --dashboard kafka --output kafka.png`,
	}, func(ctx context.Context) error {
		p, err := w.open()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(dashboards.Boards(), func(b dashboards.Board) bool { return b.Name == name })
		var picture bytes.Buffer
		if err := live.Render(ctx, p, dashboards.Boards()[i], w.period, &picture); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(output, picture.Bytes(), 0o644); err != nil {
			return fmt.Errorf("keep the picture: %w", err)
		}
		return a.println("wrote", []string{output})
	}, &w, validation(func() error {
		var errs []error
		if !slices.Contains(boardNames(), name) {
			errs = append(errs, fmt.Errorf("--dashboard %q: must be one of %s", name, strings.Join(boardNames(), ", ")))
		}
		if output == "" {
			errs = append(errs, errors.New("--output is empty: name a file for the picture"))
		}
		return errors.Join(errs...)
	}))
	cmd.Flags().StringVar(&name, "dashboard", "replication", "dashboard: "+strings.Join(boardNames(), ", "))
	cmd.Flags().StringVar(&output, "output", "dashboard.png", "file of the picture")
	w.flags(cmd)
	completeWith(cmd, "dashboard", boardNames()...)
	return cmd
}

func dashboardsCheckCommand(a *app) *cobra.Command {
	var w watched
	cmd := a.command(&cobra.Command{
		Use:   "check",
		Short: "Ask a Prometheus for every expression of every panel and rule; exit with 1 if one has no data",
		Long: `Ask a Prometheus for every expression of every panel and rule. Each must be answered
and have data, unless the dashboard says why it need not: it is about Kubernetes,
about another replicator than MirrorMaker 2, or about what only happens when
something is wrong.`,
		Example: `  loadgen dashboards check --from 5m`,
	}, func(ctx context.Context) error {
		p, err := w.open()
		if err != nil {
			return err
		}
		result, err := live.Check(ctx, p, w.period)
		if err != nil {
			return err
		}
		if err := result.Write(a.stdout); err != nil {
			return err
		}
		if len(result.Problems) > 0 {
			return verdictError(exitBroken)
		}
		return nil
	}, &w)
	w.flags(cmd)
	return cmd
}
