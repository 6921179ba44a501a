// Package live asks a Prometheus for what dashboards show: to check that every expression has data, and to
// draw a dashboard as a picture where there is no Grafana.
package live

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/AppsFlyer/kafka-mirror-tester/dashboards"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/connect"
)

// step between samples, where a range is short: every one that there is.
const step = 15 * time.Second

// Prometheus are both sides' Prometheus, which may be the same.
type Prometheus struct {
	apis map[string]prometheus.API
	urls map[string]string
}

// Open returns a client of the Prometheus servers at these URLs, such as http://localhost:9090. Nothing is
// asked yet.
func Open(source, destination string) (*Prometheus, error) {
	p := &Prometheus{apis: map[string]prometheus.API{}, urls: map[string]string{dashboards.Source: source, dashboards.Destination: destination}}
	for side, url := range p.urls {
		client, err := api.NewClient(api.Config{Address: url})
		if err != nil {
			return nil, fmt.Errorf("Prometheus of the %s at %q: %w", side, connect.Shown(url), err)
		}
		p.apis[side] = prometheus.NewAPI(client)
	}
	return p, nil
}

// reach finds out whether both sides' Prometheus answer, before each expression says that one does not.
func (p *Prometheus) reach(ctx context.Context) error {
	for _, side := range []string{dashboards.Source, dashboards.Destination} {
		if _, err := p.apis[side].Buildinfo(ctx); err != nil {
			return fmt.Errorf("no Prometheus answers at %s, which is to be the %s's: %w", connect.Shown(p.urls[side]), side, err)
		}
	}
	return nil
}

// known are the values of a dashboard's variable that Prometheus has in a range.
func (p *Prometheus) known(ctx context.Context, v dashboards.Variable, r Range) []string {
	metric, _, _ := strings.Cut(v.Metric, "{")
	values, _, _, err := p.apis[v.Side].LabelValues(ctx, v.Of, []string{metric}, r.From, r.To)
	if err != nil {
		return nil // then the queries fail, too
	}
	var known []string
	for _, value := range values {
		known = append(known, string(value))
	}
	return known
}

// chosen finds values that Prometheus does not know, as of another run. They are patterns.
func (p *Prometheus) chosen(ctx context.Context, b *dashboards.Board, r Range) error {
	var errs []error
	for _, v := range b.Variables {
		value := r.Values[v.Name]
		if value == "" {
			continue
		}
		pattern, err := regexp.Compile("^(?:" + value + ")$")
		if err != nil {
			errs = append(errs, fmt.Errorf("%s=%s: %w", v.Name, value, err))
			continue
		}
		known := p.known(ctx, v, r)
		if len(known) > 0 && !slices.ContainsFunc(known, pattern.MatchString) {
			errs = append(errs, fmt.Errorf("%s=%s: Prometheus knows only %s between %s and %s", v.Name, value, strings.Join(known, ", "), r.From.Format(time.RFC3339), r.To.Format(time.RFC3339)))
		}
	}
	return errors.Join(errs...)
}

// choices says which values of a dashboard's variables Prometheus knows in a range, for whoever took another
// time.
func (p *Prometheus) choices(ctx context.Context, b *dashboards.Board, r Range) string {
	var all []string
	for _, v := range b.Variables {
		if known := p.known(ctx, v, r); len(known) > 0 {
			all = append(all, v.Name+"="+strings.Join(known, ", "))
		}
	}
	if all == nil {
		return "it knows no test and no cluster of this time"
	}
	return "of this time it knows " + strings.Join(all, "; ")
}

// Range is what is asked for: a time, and values of a dashboard's variables by name.
type Range struct {
	From, To time.Time
	Values   map[string]string
}

// step returns the time between samples: at most 600 make a line.
func (r Range) step() time.Duration {
	return max(step, (r.To.Sub(r.From) / 600).Round(time.Second))
}

// interval is Grafana's $__rate_interval for this range: four samples at least.
func (r Range) interval() string {
	return model.Duration(max(4*step, r.step()+step)).String()
}

// series is one line of a panel.
type series struct {
	legend string
	points []point
}

type point struct {
	at    time.Time
	value float64
}

// query asks for an expression as a dashboard's panel does.
func (p *Prometheus) query(ctx context.Context, b *dashboards.Board, q dashboards.Query, r Range) ([]series, error) {
	return p.ask(ctx, q.Side, b.Interpolate(q.Expr, r.interval(), r.Values), q.Legend, r)
}

func (p *Prometheus) ask(ctx context.Context, side, expr, legend string, r Range) ([]series, error) {
	value, _, _, err := p.apis[side].QueryRange(ctx, expr, prometheus.Range{Start: r.From, End: r.To, Step: r.step()})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	matrix, ok := value.(model.Matrix)
	if !ok {
		return nil, fmt.Errorf("%s: Prometheus answered with a %s", expr, value.Type())
	}
	var out []series
	for _, stream := range matrix {
		s := series{legend: expand(legend, stream.Metric)}
		for _, v := range stream.Values {
			if f := float64(v.Value); !math.IsNaN(f) && !math.IsInf(f, 0) {
				s.points = append(s.points, point{v.Timestamp.Time(), f})
			}
		}
		if len(s.points) > 0 {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b series) int { return strings.Compare(a.legend, b.legend) })
	return out, nil
}

var label = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)

// expand puts a series' labels into a legend.
func expand(legend string, metric model.Metric) string {
	return label.ReplaceAllStringFunc(legend, func(m string) string {
		return string(metric[model.LabelName(label.FindStringSubmatch(m)[1])])
	})
}
