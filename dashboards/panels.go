package dashboards

import (
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/units"

	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

// Names of metrics that are not this project's own and are used in several places.
const (
	consumed    = metrics.ConsumerFirst
	brokerState = "kafka_server_brokerstate"
)

// Where to look for what only Kubernetes has.
const (
	onlyKubernetes = "only on Kubernetes: from cAdvisor, kube-state-metrics or the node exporter"
	otherThanLab   = "another replicator than the lab's"
)

// ofRecords leaves out MirrorMaker 2's producers of offset syncs: they write to the source, for itself, and give
// up some whenever a source broker dies.
const ofRecords = `client!~".*offset-syncs.*"`

// Expressions.

// load selects a load tool's metric by the test and topic that are chosen.
func load(metric string) string { return metric + `{test=~"$test",topic=~"$topic"}` }

// ofTest selects a load tool's metric that has no topic.
func ofTest(metric string) string { return metric + `{test=~"$test"}` }

func sum(expr string) string { return "sum(" + expr + ")" }

func rate(selector string) string { return "rate(" + selector + "[$__rate_interval])" }

func sumRate(selector string) string { return sum(rate(selector)) }

func by(labels, aggregation, expr string) string {
	return aggregation + " by (" + labels + ") (" + expr + ")"
}

// quantile is over all histograms that merge to one by rate.
func quantile(q, bucket, labels string) string {
	grouping := "le"
	if labels != "" {
		grouping += ", " + labels
	}
	return "histogram_quantile(" + q + ", " + by(grouping, "sum", rate(bucket)) + ")"
}

// firing are the alerts of a side, each with its gravest severity: 1 is a warning, 2 critical. Where one
// Prometheus has both sides the namespace tells them apart. A node's alert has none.
func firing(side string) string {
	value := map[string]string{Source: "$from_cluster", Destination: "$to_cluster"}[side]
	of := func(severity string) string {
		return `ALERTS{alertstate="firing",severity="` + severity + `",namespace=~"` + value + `|"}`
	}
	return by("alertname", "max", "2 * "+of(critical)+" or "+of(warning))
}

// namespace of a side's cluster.
func namespace(side string) string {
	if side == Source {
		return `namespace="$from_cluster"`
	}
	return `namespace="$to_cluster"`
}

// in puts the selector of a side's cluster and more into a metric.
func in(side, metric string, more ...string) string {
	return metric + "{" + strings.Join(append([]string{namespace(side)}, more...), ",") + "}"
}

// Queries.

func at(side, expr, legend string) Query { return Query{Side: side, Expr: expr, Legend: legend} }

// rare is a query that has data only when something goes wrong.
func rare(side, expr, legend, why string) Query {
	return Query{Side: side, Expr: expr, Legend: legend, Rare: why}
}

// Panels.

func graph(title, unit, description string, queries ...Query) Panel {
	return Panel{Kind: Graph, Title: title, Unit: unit, Description: description, Width: 12, Queries: queries}
}

func number(title, unit, description string, queries ...Query) Panel {
	return Panel{Kind: Number, Title: title, Unit: unit, Description: description, Width: 4, Queries: queries}
}

// states is a panel of what lasts for a while. A series without a value is in none of its states.
func states(title, description string, states []State, queries ...Query) Panel {
	return Panel{Kind: States, Title: title, Unit: units.Short, Description: description, Width: 12, Queries: queries, States: states}
}

func (p Panel) wide(width uint32) Panel { p.Width = width; return p }

func (p Panel) from(value float64, color string) Panel {
	p.Steps = append(p.Steps, Step{value, color})
	return p
}

// within sets the axis of a share.
func (p Panel) within(low, high float64) Panel { p.Min, p.Max = &low, &high; return p }

func (p Panel) fromZero() Panel { low := 0.0; p.Min = &low; return p }

func (p Panel) elsewhere(why string) Panel { p.Elsewhere = why; return p }

// both makes a panel of each side, next to each other. In expressions CLUSTER stands for the selector of
// the side's cluster.
func both(p Panel) []Panel {
	var out []Panel
	for _, side := range []string{Source, Destination} {
		one := p
		one.Title += ": " + side
		one.Queries = nil
		for _, q := range p.Queries {
			q.Side = side
			q.Expr = strings.ReplaceAll(q.Expr, "CLUSTER", namespace(side))
			one.Queries = append(one.Queries, q)
		}
		out = append(out, one)
	}
	return out
}

func bothOf(panels ...Panel) []Panel {
	var out []Panel
	for _, p := range panels {
		out = append(out, both(p)...)
	}
	return out
}

// java are panels of Java processes, on one side, that selector finds. name tells them from others of the
// same dashboard.
func java(side, name, selector string) []Panel {
	m := func(metric string, more ...string) string {
		return metric + "{" + strings.Join(append([]string{selector}, more...), ",") + "}"
	}
	const pod = "{{pod}}"
	return []Panel{
		graph(name+" CPU", units.Short, "Cores in use by each process.",
			at(side, rate(m("process_cpu_seconds_total")), pod)).fromZero(),
		graph(name+" memory", units.BytesIEC, "Resident memory of each process, and the heap in use. The heap may come near its maximum; resident memory that goes on growing beside it is a leak.",
			at(side, m("process_resident_memory_bytes"), pod),
			at(side, by("pod", "sum", m("jvm_memory_used_bytes", `area="heap"`)), pod+" heap")).fromZero(),
		graph(name+" garbage collection", units.PercentUnit, "Share of time spent in garbage collection. All threads stand still in most of it.",
			at(side, by("pod", "sum", rate(m("jvm_gc_collection_seconds_sum"))), pod)).fromZero().from(0.1, "orange").from(0.3, "red"),
		graph(name+" threads and files", units.Short, "Threads, and open file descriptors: connections and log segments.",
			at(side, m("jvm_threads_current"), pod+" threads"),
			at(side, m("process_open_fds"), pod+" files")).fromZero(),
	}
}

// clients are panels of the Kafka consumers and producers inside a replicator.
func clients(job string) []Panel {
	here := func(metric string) string { return in(Destination, metric, `job="`+job+`"`) }
	produced := func(metric string) string { return in(Destination, metric, `job="`+job+`"`, ofRecords) }
	return []Panel{
		graph("Records read and written", units.RecordsPerSecond, "By the replicator's consumers and producers. Between the two lie what is under way and what was given up.",
			at(Destination, sumRate(here("kafka_consumer_records_consumed_total")), "read from the source"),
			at(Destination, sumRate(produced("kafka_producer_record_send_total")), "written to the destination")).fromZero(),
		graph("Bytes read and written", units.BytesPerSecondSI, "Before decompression what is read, with the protocol's overhead what is written.",
			at(Destination, by("pod", "sum", rate(here("kafka_consumer_bytes_consumed_total"))), "{{pod}} read"),
			at(Destination, by("pod", "sum", rate(produced("kafka_producer_outgoing_bytes_total"))), "{{pod}} written")).fromZero(),
		graph("Lag of the worst partition", units.Short, "Records by which the consumer of each process is behind the source. Of what it reads now: a partition that nobody reads has no lag here.",
			at(Destination, by("pod", "max", here("kafka_consumer_lag_max_records")), "{{pod}}")).fromZero(),
		graph("Producer errors", units.Short, "Records that could not be written in the last two minutes, and those that were tried again. Each error is a record in danger. MirrorMaker 2's offset syncs, which it keeps at the source, are no records of the test.",
			at(Destination, by("pod", "sum", "increase("+produced("kafka_producer_record_error_total")+"[2m])"), "{{pod}} given up"),
			at(Destination, by("pod", "sum", "increase("+produced("kafka_producer_record_retry_total")+"[2m])"), "{{pod}} tried again")).fromZero().from(2, "red"),
		graph("Request time", units.Seconds, "Mean time of a fetch from the source, across the ocean, and of a produce request to the destination.",
			at(Destination, by("pod", "max", here("kafka_consumer_fetch_latency_seconds")), "{{pod}} fetch"),
			at(Destination, by("pod", "max", produced("kafka_producer_request_latency_seconds")), "{{pod}} produce")).fromZero(),
		graph("Network", units.BytesPerSecondSI, "Bytes of the pods' network, everything included.",
			at(Destination, by("pod", "sum", rate(in(Destination, "container_network_receive_bytes_total", `pod=~"`+job+`.*"`))), "{{pod}} received"),
			at(Destination, by("pod", "sum", rate(in(Destination, "container_network_transmit_bytes_total", `pod=~"`+job+`.*"`))), "{{pod}} sent")).fromZero().elsewhere(onlyKubernetes),
	}
}

func workers(job string) string { return in(Destination, "", `job="`+job+`"`, `pod!~".*zookeeper.*"`) }

// inside strips the braces of a selector.
func inside(selector string) string { return strings.Trim(selector, "{}") }
