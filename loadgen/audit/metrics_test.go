package audit

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/verdict"
	names "github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

// Grafana marks an event at the value of its series, so the last of a kind is what counts.
func TestEventsAreExportedByKindAndSide(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := newMetrics(registry)
	m.happened([]verdict.Event{
		{Time: 9_500_000, Kind: "broker-kill", Side: "source"},
		{Time: 2_000_000, Kind: "broker-kill", Side: "source"},
		{Time: 4_000_000, Kind: "broker-kill", Side: "destination"},
		{Time: 7_000_000, Kind: "step"},
	})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[[2]string]float64{}
	for _, f := range families {
		if f.GetName() != names.AuditorEvent {
			continue
		}
		for _, series := range f.GetMetric() {
			var key [2]string
			for _, l := range series.GetLabel() {
				switch l.GetName() {
				case names.LabelKind:
					key[0] = l.GetValue()
				case names.LabelSide:
					key[1] = l.GetValue()
				}
			}
			got[key] = series.GetGauge().GetValue()
		}
	}
	want := map[[2]string]float64{{"broker-kill", "source"}: 9.5, {"broker-kill", "destination"}: 4, {"step", ""}: 7}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for key, at := range want {
		if got[key] != at {
			t.Errorf("%v at %v, want %v", key, got[key], at)
		}
	}
}
