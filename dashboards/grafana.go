package dashboards

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

// tag is on every dashboard; by it they link to each other.
const tag = "kafka-mirror-tester"

// scrapeInterval is how often metrics are read at best; less is asked for by no panel.
const scrapeInterval = "15s"

// json is the dashboard as Grafana takes it.
func (b *Board) json() ([]byte, error) {
	builder := dashboard.NewDashboardBuilder(b.Title).
		Uid("kmt-"+b.Name).
		Description(b.Description).
		Tags([]string{tag}).
		Readonly().
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Time("now-30m", "now").
		Refresh(scrapeInterval).
		Link(dashboard.NewDashboardLinkBuilder("Other dashboards").
			Type(dashboard.DashboardLinkTypeDashboards).Tags([]string{tag}).AsDropdown(true).IncludeVars(true).KeepTime(true)).
		Annotation(dashboard.NewAnnotationQueryBuilder().
			Name("Faults and steps").
			Datasource(prometheusAt(Destination)).
			Enable(true).
			IconColor("red").
			Expr(events))
	for _, v := range []struct{ name, label, description string }{
		{Source, "Source region", "Prometheus of the source: producers and the source cluster."},
		{Destination, "Destination region", "Prometheus of the destination: consumers, auditor, replicator, destination cluster. May be the same."},
	} {
		builder.WithVariable(dashboard.NewDatasourceVariableBuilder(v.name).
			Label(v.label).Description(v.description).Type("prometheus").Current(option(v.name)))
	}
	for _, v := range b.Variables {
		builder.WithVariable(v.builder())
	}
	id := uint32(0)
	for _, r := range b.Rows {
		id++
		builder.WithRow(dashboard.NewRowBuilder(r.Title).Id(id))
		for _, p := range r.Panels {
			id++
			builder.WithPanel(p.builder(id))
		}
	}
	built, err := builder.Build()
	if err != nil {
		return nil, err
	}
	if err := built.Validate(); err != nil {
		return nil, fmt.Errorf("against Grafana's schema: %w", err)
	}
	text, err := json.Marshal(built)
	if err != nil {
		return nil, err
	}
	return atTheirTime(text)
}

// events is when each fault or step last began, in ms.
const events = metrics.AuditorEvent + " * 1000"

// atTheirTime makes annotations stand at the values of their series. The SDK's type of an annotation lacks
// what Grafana's Prometheus data source reads of it.
// https://github.com/grafana/grafana/blob/main/packages/grafana-prometheus/src/types.ts
func atTheirTime(text []byte) ([]byte, error) {
	var d map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&d); err != nil {
		return nil, err
	}
	annotations, _ := d["annotations"].(map[string]any)
	list, _ := annotations["list"].([]any)
	for _, a := range list {
		if a, ok := a.(map[string]any); ok && a["expr"] != nil {
			a["useValueForTime"] = true
			a["titleFormat"] = "{{" + metrics.LabelKind + "}}"
			a["textFormat"] = "{{" + metrics.LabelSide + "}}"
			a["tagKeys"] = metrics.LabelKind + "," + metrics.LabelSide
			a["step"] = scrapeInterval
		}
	}
	return json.Marshal(d)
}

func option(value string) dashboard.VariableOption {
	return dashboard.VariableOption{
		Selected: cog.ToPtr(true),
		Text:     dashboard.StringOrArrayOfString{String: cog.ToPtr(value)},
		Value:    dashboard.StringOrArrayOfString{String: cog.ToPtr(value)},
	}
}

func (v *Variable) builder() *dashboard.QueryVariableBuilder {
	b := dashboard.NewQueryVariableBuilder(v.Name).
		Label(v.Label).
		Description(v.Description).
		Datasource(prometheusAt(v.Side)).
		Query(dashboard.StringOrMap{String: cog.ToPtr(fmt.Sprintf("label_values(%s, %s)", v.Metric, v.Of))}).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
		Sort(dashboard.VariableSortAlphabeticalAsc)
	if v.Default != "" {
		return b.Current(option(v.Default))
	}
	all := option("$__all")
	all.Text.String = cog.ToPtr("All")
	return b.Multi(true).IncludeAll(true).AllValue(".*").Current(all)
}

// prometheusAt refers to the data source that is chosen for a side.
func prometheusAt(side string) common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${" + side + "}")}
}

// datasource of a panel; mixed lets each query name its own.
func (p *Panel) datasource() common.DataSourceRef {
	for _, q := range p.Queries {
		if q.Side != p.Queries[0].Side {
			return common.DataSourceRef{Type: cog.ToPtr("datasource"), Uid: cog.ToPtr("-- Mixed --")}
		}
	}
	return prometheusAt(p.Queries[0].Side)
}

// steps are the panel's thresholds, which begin with none.
func (p *Panel) steps() cog.Builder[dashboard.ThresholdsConfig] {
	base := dashboard.Threshold{Color: "green"}
	if p.Kind == Number && len(p.Steps) == 0 {
		base.Color = "text"
	}
	steps := []dashboard.Threshold{base}
	for _, s := range p.Steps {
		steps = append(steps, dashboard.Threshold{Value: cog.ToPtr(s.From), Color: s.Color})
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(steps)
}

// mappings name and colour the values of states.
func (p *Panel) mappings() []dashboard.ValueMapping {
	options := map[string]dashboard.ValueMappingResult{}
	for i, s := range p.States {
		options[strconv.FormatFloat(s.Value, 'g', -1, 64)] = dashboard.ValueMappingResult{
			Text: cog.ToPtr(s.Name), Color: cog.ToPtr(s.Color), Index: cog.ToPtr(int32(i)),
		}
	}
	return []dashboard.ValueMapping{{ValueMap: &dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: options}}}
}

func (p *Panel) builder(id uint32) cog.Builder[dashboard.Panel] {
	var targets []*prometheus.DataqueryBuilder
	for i, q := range p.Queries {
		t := prometheus.NewDataqueryBuilder().Expr(q.Expr).RefId(string(rune('A' + i))).Datasource(prometheusAt(q.Side)).Range()
		if q.Legend != "" {
			t.LegendFormat(q.Legend)
		}
		targets = append(targets, t)
	}
	if p.Kind == States {
		b := statetimeline.NewPanelBuilder().Id(id).Title(p.Title).Description(p.Description).Unit(p.Unit).Span(p.Width).Height(8).
			Interval(scrapeInterval).Datasource(p.datasource()).Mappings(p.mappings()).
			ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds)).Thresholds(p.steps()).
			ShowValue(common.VisibilityModeAuto).MergeValues(true).RowHeight(0.8).
			Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeSingle).Sort(common.SortOrderNone)).
			Legend(common.NewVizLegendOptionsBuilder().ShowLegend(false).DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).
				Calcs([]string{}))
		if p.Quiet() {
			b.NoValue("none")
		}
		for _, t := range targets {
			b.WithTarget(t)
		}
		return b
	}
	if p.Kind == Number {
		b := stat.NewPanelBuilder().Id(id).Title(p.Title).Description(p.Description).Unit(p.Unit).Span(p.Width).Height(5).
			Interval(scrapeInterval).Datasource(p.datasource()).Thresholds(p.steps()).
			ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"}))
		if p.ByName {
			b.TextMode(common.BigValueTextModeName)
		}
		for _, t := range targets {
			b.WithTarget(t)
		}
		return b
	}
	b := timeseries.NewPanelBuilder().Id(id).Title(p.Title).Description(p.Description).Unit(p.Unit).Span(p.Width).Height(8).
		Interval(scrapeInterval).Datasource(p.datasource()).Thresholds(p.steps()).
		FillOpacity(5).ShowPoints(common.VisibilityModeNever).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending)).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).
			Calcs([]string{}))
	if len(p.Steps) > 0 {
		b.ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeLine))
	}
	if p.Min != nil {
		b.Min(*p.Min)
	}
	if p.Max != nil {
		b.Max(*p.Max)
	}
	for _, t := range targets {
		b.WithTarget(t)
	}
	return b
}
