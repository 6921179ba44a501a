// Package dashboards holds Grafana's dashboards as Go, so that they name metrics by their constants
// and a change of one shows in review.
package dashboards

import (
	"encoding/json"
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"

	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

// Uids of the data sources: each side's Prometheus. Producers are on the source's, consumers and the
// auditor on the destination's.
const (
	Source      = "source"
	Destination = "destination"
)

// All returns every dashboard as JSON, by a name of lower-case letters, digits and dashes.
func All() (map[string]string, error) {
	out := map[string]string{}
	for name, builder := range map[string]*dashboard.DashboardBuilder{
		"replication": replication(),
	} {
		built, err := builder.Build()
		if err != nil {
			return nil, fmt.Errorf("dashboard %s: %w", name, err)
		}
		text, err := json.MarshalIndent(built, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("dashboard %s as JSON: %w", name, err)
		}
		out[name] = string(text)
	}
	return out, nil
}

func replication() *dashboard.DashboardBuilder {
	return dashboard.NewDashboardBuilder("Replication test").
		Uid("kmt-replication").
		Tags([]string{"kafka-mirror-tester"}).
		Readonly().
		Time("now-30m", "now").
		Refresh("15s").
		WithRow(dashboard.NewRowBuilder("Verdict so far")).
		WithPanel(number("Outcome", "What the auditor would say now.",
			at(Destination, metrics.AuditorOutcome+" == 1", "{{"+metrics.LabelOutcome+"}}")).TextMode(common.BigValueTextModeName)).
		WithPanel(number("Lost", "Acknowledged at the source, and proven absent at the destination.",
			at(Destination, sum(metrics.AuditorLost), "")).Thresholds(redFrom(1))).
		WithPanel(number("Skipped", "A later record of the same partition has arrived. May still come.",
			at(Destination, sum(metrics.AuditorSkipped), "")).Thresholds(redFrom(1))).
		WithPanel(number("Not yet there", "Acknowledged at the source, not yet at the destination.",
			at(Destination, sum(metrics.AuditorPending), ""))).
		WithPanel(number("Would be lost now", "Age of the oldest such record, of the worst partition.",
			at(Destination, "max("+metrics.AuditorRPOSeconds+")", "")).Unit(units.Seconds)).
		WithPanel(number("Clocks", "Destination's minus producers': latencies are wrong by this, plus or minus the bound.",
			at(Destination, metrics.AuditorClockOffset, "offset"),
			at(Destination, metrics.AuditorClockBound, "bound")).Unit(units.Seconds)).
		WithRow(dashboard.NewRowBuilder("Flow")).
		WithPanel(graph("Records sent and received", units.RecordsPerSecond,
			at(Source, rate(metrics.ProducerScheduled), "scheduled"),
			at(Source, rate(metrics.ProducerRecords), "acknowledged by the source"),
			at(Destination, rate(metrics.ConsumerFirst), "arrived at the destination"))).
		WithPanel(graph("Latency, intended send time to arrival", units.Seconds,
			quantile("0.5"), quantile("0.9"), quantile("0.99"))).
		WithRow(dashboard.NewRowBuilder("What went wrong")).
		WithPanel(graph("Not there", units.Short,
			at(Destination, sum(metrics.AuditorLost), "lost"),
			at(Destination, sum(metrics.AuditorSkipped), "skipped"),
			at(Destination, sum(metrics.AuditorPending), "not yet there"),
			at(Destination, sum(metrics.AuditorIndeterminate), "unknown whether sent"))).
		WithPanel(graph("Arrived wrongly", units.RecordsPerSecond,
			at(Destination, rate(metrics.ConsumerDuplicates), "again"),
			at(Destination, rate(metrics.ConsumerReordered), "out of order"),
			at(Destination, rate(metrics.ConsumerMisplaced), "on another partition"),
			at(Destination, rateBy(metrics.ConsumerRejected, metrics.LabelKind), "{{"+metrics.LabelKind+"}}"))).
		WithPanel(graph("Not sent", units.RecordsPerSecond,
			at(Source, rateBy(metrics.ProducerShed, metrics.LabelReason), "shed: {{"+metrics.LabelReason+"}}"),
			at(Source, rateBy(metrics.ProducerErrors, metrics.LabelReason), "failed: {{"+metrics.LabelReason+"}}"))).
		WithPanel(graph("The tester itself is behind", units.Seconds,
			at(Source, "max("+metrics.ProducerLate+")", "producer, of its schedule"),
			at(Source, "max("+metrics.LedgerAge+")", "oldest ledger at the source"),
			at(Destination, "max("+metrics.LedgerAge+")", "oldest ledger at the destination")))
}

// Expressions over all topics and pods.

func sum(metric string) string  { return "sum(" + metric + ")" }
func rate(metric string) string { return "sum(rate(" + metric + "[$__rate_interval]))" }
func rateBy(metric, label string) string {
	return "sum by (" + label + ") (rate(" + metric + "[$__rate_interval]))"
}

func quantile(q string) query {
	return at(Destination, "histogram_quantile("+q+", sum by (le) (rate("+metrics.ConsumerLatency+"_bucket[$__rate_interval])))", "quantile "+q)
}

// query is an expression on one side.
type query = *prometheus.DataqueryBuilder

func at(side, expr, legend string) query {
	return prometheus.NewDataqueryBuilder().Expr(expr).LegendFormat(legend).Datasource(prometheusAt(side))
}

func prometheusAt(uid string) common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr(uid)}
}

// mixed lets each query of a panel name its own data source.
func mixed() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("datasource"), Uid: cog.ToPtr("-- Mixed --")}
}

func number(title, description string, queries ...query) *stat.PanelBuilder {
	p := stat.NewPanelBuilder().Title(title).Description(description).Span(4).Height(5).Datasource(mixed())
	for i, q := range queries {
		p.WithTarget(q.RefId(string(rune('A' + i))))
	}
	return p
}

func graph(title, unit string, queries ...query) *timeseries.PanelBuilder {
	p := timeseries.NewPanelBuilder().Title(title).Unit(unit).Span(12).Height(9).Datasource(mixed())
	for i, q := range queries {
		p.WithTarget(q.RefId(string(rune('A' + i))))
	}
	return p
}

// redFrom colours a value green below limit, and red from it on.
func redFrom(limit float64) cog.Builder[dashboard.ThresholdsConfig] {
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps([]dashboard.Threshold{
		{Color: "green"},
		{Value: cog.ToPtr(limit), Color: "red"},
	})
}
