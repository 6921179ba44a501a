package live

import (
	"context"
	"fmt"
	"io"

	"github.com/AppsFlyer/kafka-mirror-tester/dashboards"
)

// Finding is an expression that is not as it should be, or that need not have data.
type Finding struct {
	Where string // dashboard and panel, or rule
	Expr  string
	Why   string
}

// Result is what Check found.
type Result struct {
	Expressions int // of panels and rules
	WithData    int
	Problems    []Finding // an error, or no data
	Excused     []Finding // no data, for the reason that the dashboard states
}

// Write writes a summary, and each problem.
func (r *Result) Write(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%d expressions: %d have data, %d need none, %d are wrong\n", r.Expressions, r.WithData, len(r.Excused), len(r.Problems))
	for _, p := range r.Problems {
		if err == nil {
			_, err = fmt.Fprintf(w, "%s: %s\n    %s\n", p.Where, p.Why, p.Expr)
		}
	}
	return err
}

// Check asks Prometheus for every expression of every panel and rule. Each must be answered without an
// error, and have data in this range, unless the dashboard says why not. What rules record must be there, so
// Prometheus must have evaluated them.
func Check(ctx context.Context, p *Prometheus, r Range) (*Result, error) {
	if err := p.reach(ctx); err != nil {
		return nil, err
	}
	out := &Result{}
	look := func(where, side, expr, excuse string) error {
		out.Expressions++
		found, err := p.ask(ctx, side, expr, "", r)
		finding := Finding{where, expr, excuse}
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("check of dashboards: %w", ctx.Err())
		case err != nil:
			finding.Why = err.Error()
			out.Problems = append(out.Problems, finding)
		case len(found) > 0:
			out.WithData++
		case excuse != "":
			out.Excused = append(out.Excused, finding)
		default:
			finding.Why = "no data"
			out.Problems = append(out.Problems, finding)
		}
		return nil
	}
	for _, b := range dashboards.Boards() {
		for _, panel := range b.Panels() {
			for _, q := range panel.Queries {
				excuse := panel.Elsewhere
				if excuse == "" {
					excuse = q.Rare
				}
				if err := look(b.Title+": "+panel.Title, q.Side, b.Interpolate(q.Expr, r.interval(), r.Values), excuse); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, g := range dashboards.Rules(dashboards.Retention) {
		for _, rule := range g.Rules {
			where, expr, excuse := "rule "+rule.Record, rule.Record, ""
			if rule.Alert != "" {
				where, expr, excuse = "alert "+rule.Alert, rule.Expr, "only when it fires"
			}
			// Every region has all rules, and data for some of them: either will do.
			side := dashboards.Source
			if found, err := p.ask(ctx, side, expr, "", r); err == nil && len(found) == 0 {
				side = dashboards.Destination
			}
			if err := look(where, side, expr, excuse); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
