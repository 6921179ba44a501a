package dashboards

import (
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/units"

	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

// loadTools is what the tester itself does and costs.
func loadTools() Board {
	process := func(title, unit, description, metric string, rated bool) []Panel {
		var out []Panel
		for _, p := range []struct{ side, name, job string }{{Source, "Producers", "producer"}, {Destination, "Consumers and auditor", "consumer|auditor"}} {
			expr := metric + `{job=~"` + p.job + `"}`
			if rated {
				expr = rate(expr)
			}
			out = append(out, graph(p.name+": "+title, unit, description, at(p.side, expr, "{{pod}}")).fromZero())
		}
		return out
	}
	network := func() []Panel {
		out := process("network", units.BytesPerSecondSI, "Received, and sent below the axis, in the process' network namespace.", "process_network_receive_bytes_total", true)
		for i := range out {
			q := out[i].Queries[0]
			out[i].Queries[0].Legend += " received"
			out[i].Queries = append(out[i].Queries, at(q.Side, "-"+strings.ReplaceAll(q.Expr, "receive", "transmit"), "{{pod}} sent"))
			out[i].Min = nil
		}
		return out
	}
	rows := []Row{
		{"Producers", []Panel{
			graph("Acknowledged", units.RecordsPerSecond, "By topic.",
				at(Source, by("topic", "sum", rate(load(metrics.ProducerRecords))), "{{topic}}")).fromZero(),
			graph("Time to acknowledge", units.Seconds, "From the intended time of sending to the source's acknowledgement, over all producers.",
				at(Source, quantile("0.5", load(metrics.ProducerLatency+"_bucket"), ""), "50 %"),
				at(Source, quantile("0.99", load(metrics.ProducerLatency+"_bucket"), ""), "99 %")).fromZero(),
			graph("In flight", units.Short, "Records that have no outcome yet.",
				at(Source, by("topic", "sum", load(metrics.ProducerInFlight)), "{{topic}}")).fromZero(),
			graph("Buffers", units.BytesIEC, "Memory of records without an outcome. Full buffers shed records.",
				at(Source, ofTest(metrics.ProducerBuffered), "{{pod}}")).fromZero(),
			graph("Buffer full", units.PercentUnit, "Share of time in which a buffer was full: the source is too slow for the load.",
				at(Source, rate(ofTest(metrics.ProducerFull)), "{{pod}}")).within(0, 1).from(0.01, "orange"),
			graph("Suspect", units.Short, "Records that were acknowledged before the client saw their partition lose data. The source log decides.",
				at(Source, sum(load(metrics.ProducerSuspect)), "")).fromZero().from(1, "red"),
		}},
		{"Consumers", []Panel{
			graph("Read", units.RecordsPerSecond, "By topic, whatever it is.",
				at(Destination, by("topic", "sum", rate(load(metrics.ConsumerRecords))), "{{topic}}")).fromZero(),
			graph("Not read yet", units.Short, "Records at the destination that the tester has not read. Should stay below some seconds' worth.",
				at(Destination, by("topic", "sum", load(metrics.ConsumerLag)), "{{topic}}")).fromZero(),
			graph("Partitions and streams", units.Short, "Partitions that are being read, and streams, one for each life of a producer on a partition, in memory.",
				at(Destination, by("pod", "sum", ofTest(metrics.ConsumerPartitions)), "{{pod}} partitions"),
				at(Destination, by("pod", "sum", ofTest(metrics.ConsumerStreams)), "{{pod}} streams")).fromZero(),
			graph("Silences, replays, gaps", units.Short, "Since the consumers' start: silences in which something was due, runs of duplicates, offsets that nobody could read, truncated logs.",
				at(Destination, sum(load(metrics.ConsumerOutages)), "silences"),
				at(Destination, sum(load(metrics.ConsumerReplays)), "replays"),
				at(Destination, sum(load(metrics.ConsumerUnobserved)), "offsets not read"),
				at(Destination, sum(load(metrics.ConsumerRollbacks)), "truncations")).fromZero(),
		}},
		{"Ledgers", bothSides(
			graph("Time to store", units.Seconds, "99th percentile of the time to store a snapshot, over all that store there.",
				at("", quantile("0.99", ofTest(metrics.LedgerTime+"_bucket"), ""), "99 %")).fromZero(),
			graph("Ledger's share", units.BytesPerSecondSI, "Bytes of snapshots: at most a hundredth of the load.",
				at("", by("job", "sum", rate(ofTest(metrics.LedgerBytes))), "{{job}}")).fromZero(),
			graph("Interval and age", units.Seconds, "Time between snapshots, as adapted to the load, and since the last. Old ledgers end in a verdict of cannot say.",
				at("", "max("+ofTest(metrics.LedgerEvery)+")", "interval"),
				at("", "max("+ofTest(metrics.LedgerAge)+")", "age")).fromZero().from(30, "red"),
			graph("Ledger's errors", units.Short, "Snapshots in the last two minutes that could not be stored. They are tried again.",
				at("", sum("increase("+ofTest(metrics.LedgerErrors)+"[2m])"), "")).fromZero().from(1, "orange"),
		)},
		{"What it costs", nil},
	}
	cost := &rows[len(rows)-1]
	cost.Panels = append(cost.Panels, process("CPU", units.Short, "Cores in use.", "process_cpu_seconds_total", true)...)
	cost.Panels = append(cost.Panels, network()...)
	cost.Panels = append(cost.Panels, process("memory", units.BytesIEC, "Resident memory.", "process_resident_memory_bytes", false)...)
	cost.Panels = append(cost.Panels, graph("Versions", units.Short, "Processes by version of the load tools. More than one is a mistake.",
		at(Source, by(metrics.LabelVersion, "count", metrics.BuildInfo), "{{version}} (source)"),
		at(Destination, by(metrics.LabelVersion, "count", metrics.BuildInfo), "{{version}} (destination)")).fromZero().wide(24))
	return Board{
		Name: "load-tools", Title: "Load tools",
		Description: "Producers, consumers and auditor: what they do, and whether they are the bottleneck.",
		Variables:   []Variable{testVariable(), topicVariable()},
		Rows:        rows,
	}
}

// bothSides makes a panel of each side for metrics that both sides' load tools have. By their job they are
// told apart where one Prometheus has both.
func bothSides(panels ...Panel) []Panel {
	jobs := map[string]string{Source: `job="producer"`, Destination: `job="consumer"`}
	var out []Panel
	for _, p := range panels {
		for _, side := range []string{Source, Destination} {
			one := p
			one.Title += ": " + side
			one.Queries = nil
			for _, q := range p.Queries {
				q.Side = side
				q.Expr = strings.ReplaceAll(q.Expr, `{test=~"$test"}`, `{test=~"$test",`+jobs[side]+`}`)
				one.Queries = append(one.Queries, q)
			}
			out = append(out, one)
		}
	}
	return out
}
