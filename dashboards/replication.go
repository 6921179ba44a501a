package dashboards

import (
	"github.com/grafana/grafana-foundation-sdk/go/units"

	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

// replication is the one screen of a test.
func replication() Board {
	legend := func(label string) string { return "{{" + label + "}}" }
	const never = "only when it happens"
	outcome := number("Verdict", units.Short, "What the auditor would say now. It says holds only at the end.",
		at(Destination, ofTest(metrics.AuditorOutcome)+" == 1", legend(metrics.LabelOutcome)))
	outcome.ByName = true
	return Board{
		Name: "replication", Title: "Replication test",
		Description: "Is anything lost, how late is it, is throughput held, and what was just broken. Faults and steps of a scenario are marked.",
		Variables:   append([]Variable{testVariable(), topicVariable()}, clusterVariables()...),
		Rows: []Row{
			{"Is anything lost?", []Panel{
				outcome,
				number("Lost", units.Short, "Acknowledged by the source, and proven absent at the destination; or gone from it again.",
					at(Destination, sum(load(metrics.AuditorLost)+" + "+load(metrics.AuditorDestinationLost)), "")).from(1, "red"),
				number("Skipped", units.Short, "A later record of the same partition has arrived. May still come.",
					at(Destination, sum(load(metrics.AuditorSkipped)), "")).from(1, "orange"),
				number("Not there yet", units.Short, "Acknowledged by the source, not at the destination yet.",
					at(Destination, sum(load(metrics.AuditorPending)), "")),
				number("Latency now", units.Seconds, "99th percentile of the last minutes, from the intended time of sending to arrival.",
					at(Destination, quantile("0.99", load(metrics.ConsumerLatency+"_bucket"), ""), "")).from(5, "orange").from(alertLatency.Seconds(), "red"),
				number("Throughput held", units.PercentUnit, "Records that the source acknowledged, of those that the schedule asked for.",
					at(Source, sumRate(load(metrics.ProducerRecords))+" / "+sumRate(load(metrics.ProducerScheduled)), "")).from(0, "red").from(held, "green"),
			}},
			{"How late, how much", []Panel{
				graph("Latency", units.Seconds, "From the intended time of sending to arrival, so that a halt is not hidden by a halted producer. Bounds of buckets are 1, 2, 5, 10 …; between them it is a guess.",
					at(Destination, quantile("0.5", load(metrics.ConsumerLatency+"_bucket"), ""), "50 %"),
					at(Destination, quantile("0.9", load(metrics.ConsumerLatency+"_bucket"), ""), "90 %"),
					at(Destination, quantile("0.99", load(metrics.ConsumerLatency+"_bucket"), ""), "99 %")).fromZero().from(alertLatency.Seconds(), "red"),
				graph("Records sent and received", units.RecordsPerSecond, "What the schedule asks for, what the source acknowledged, and what arrived for the first time.",
					at(Source, sumRate(load(metrics.ProducerScheduled)), "asked for"),
					at(Source, sumRate(load(metrics.ProducerRecords)), "acknowledged by the source"),
					at(Destination, sumRate(load(metrics.ConsumerFirst)), "arrived at the destination")).fromZero(),
				graph("Would be lost now", units.Seconds, "Age of the oldest record that is at the source only, of the worst partition: the loss if the source burnt down (RPO).",
					at(Destination, by("topic", "max", load(metrics.AuditorRPOSeconds)), "{{topic}}")).fromZero().from(alertLag.Seconds(), "red"),
				graph("Bytes sent and received", units.BytesPerSecondSI, "Values of acknowledged records; keys and values that the tester read, whatever they were.",
					at(Source, sumRate(load(metrics.ProducerBytes)), "acknowledged by the source"),
					at(Destination, sumRate(load(metrics.ConsumerBytes)), "read at the destination")).fromZero(),
			}},
			{"What was broken, and what came of it", []Panel{
				states("Alerts", "Alerts that fire, from when to when, those of each side's cluster and load tools. Their descriptions, in Prometheus, say what to do.",
					[]State{{1, warning, "orange"}, {2, critical, "red"}},
					rare(Source, firing(Source), "{{alertname}} (source)", never),
					rare(Destination, firing(Destination), "{{alertname}} (destination)", never)),
				graph("Brokers that answer", units.Short, "Brokers from which metrics come, and those that their controller counts.",
					at(Source, "namespace:kafka_brokers:count{"+namespace(Source)+"}", "source"),
					at(Destination, "namespace:kafka_brokers:count{"+namespace(Destination)+"}", "destination"),
					at(Source, sum(in(Source, "kafka_controller_activebrokercount")), "source, by its controller"),
					at(Destination, sum(in(Destination, "kafka_controller_activebrokercount")), "destination, by its controller")).fromZero(),
				graph("Not there", units.Short, "Records that are missing, by what is known of them. Lost and destination-lost are final.",
					at(Destination, sum(load(metrics.AuditorLost)), "lost"),
					at(Destination, sum(load(metrics.AuditorDestinationLost)), "lost at the destination"),
					at(Destination, sum(load(metrics.AuditorSkipped)), "skipped"),
					at(Destination, sum(load(metrics.AuditorPending)), "not there yet"),
					at(Destination, sum(load(metrics.AuditorIndeterminate)), "nobody knows whether sent"),
					at(Destination, sum(load(metrics.AuditorUnobserved)), "not observed")).fromZero(),
				graph("Arrived wrongly", units.RecordsPerSecond, "Duplicates are allowed unless an expectation forbids them. Everything else breaks the verdict.",
					at(Destination, sumRate(load(metrics.ConsumerDuplicates)), "again"),
					at(Destination, sumRate(load(metrics.ConsumerReordered)), "out of order"),
					at(Destination, sumRate(load(metrics.ConsumerMisplaced)), "on another partition"),
					at(Destination, by(metrics.LabelKind, "sum", rate(load(metrics.ConsumerRejected))), legend(metrics.LabelKind))).fromZero(),
				graph("Bytes through the clusters", units.BytesPerSecondSI, "What brokers count: in from clients, out to clients, replication among brokers left out.",
					at(Source, sumRate(in(Source, "kafka_server_brokertopicmetrics_all_bytesin_total")), "into the source"),
					at(Source, sumRate(in(Source, "kafka_server_brokertopicmetrics_all_bytesout_total")), "out of the source"),
					at(Destination, sumRate(in(Destination, "kafka_server_brokertopicmetrics_all_bytesin_total")), "into the destination")).fromZero(),
				graph("Not sent", units.RecordsPerSecond, "Records that the schedule asked for and that never left the producer, or that the source refused.",
					at(Source, by(metrics.LabelReason, "sum", rate(load(metrics.ProducerShed))), "shed: {{reason}}"),
					rare(Source, by(metrics.LabelReason, "sum", rate(load(metrics.ProducerErrors))), "failed: {{reason}}", never),
					rare(Source, by(metrics.LabelReason, "sum", rate(load(metrics.ProducerUnresolved))), "unknown: {{reason}}", never)).fromZero(),
			}},
			{"Can the answer be trusted?", []Panel{
				graph("The tester itself is behind", units.Seconds, "Above some seconds it is the tester that is slow, and not what it tests.",
					at(Source, "max("+ofTest(metrics.ProducerLate)+")", "producers, of their schedule"),
					at(Source, "max("+in(Source, metrics.LedgerAge, `test=~"$test"`)+")", "oldest ledger at the source"),
					at(Destination, "max("+in(Destination, metrics.LedgerAge, `test=~"$test"`)+")", "oldest ledger at the destination")).fromZero().from(30, "red").wide(8),
				graph("Clocks", units.Seconds, "The destination's clock minus the producers': latencies are wrong by this, plus or minus the bound.",
					at(Destination, "max("+ofTest(metrics.AuditorClockOffset)+")", "offset"),
					at(Destination, "max("+ofTest(metrics.AuditorClockBound)+")", "plus or minus")).from(alertClock.Seconds(), "red").wide(8),
				number("Positive control", units.Bool, "Some sequences are reserved and deliberately never sent. True: the auditor reports them as missing, as it must.",
					at(Destination, "min("+ofTest(metrics.AuditorControlOK)+")", "")).from(0, "orange").from(1, "green"),
				number("Consumers' lag", units.Short, "Records at the destination that the tester has not read yet.",
					at(Destination, sum(load(metrics.ConsumerLag)), "")),
			}},
			{"Set-up", []Panel{
				graph("Counts of the verdict", units.Short, "All records of the test so far, by the words of the verdict.",
					at(Destination, sum(load(metrics.ConsumerFirst)), "received, since the consumers' start"),
					at(Destination, sum(load(metrics.AuditorDuplicates)), "duplicates"),
					at(Destination, sum(load(metrics.AuditorReordered)), "reordered"),
					at(Destination, sum(load(metrics.AuditorCorrupt)), "corrupt"),
					at(Destination, sum(load(metrics.AuditorMisplaced)), "misplaced"),
					at(Destination, sum(load(metrics.AuditorPhantom)), "phantom"),
					at(Destination, sum(load(metrics.AuditorUndelivered)), "undelivered")).fromZero(),
				graph("Load that is asked for", units.RecordsPerSecond, "By topic, over all producers. 0 is as fast as possible; nothing is shown for a topic that is not under load.",
					at(Source, by("topic", "sum", load(metrics.ProducerRate)), "{{topic}}")).fromZero(),
				graph("Processes and partitions", units.Short, "Producers, consumers, workers of the replicator, and partitions under load.",
					at(Source, "count("+ofTest(metrics.ProducerTopics)+")", "producers"),
					at(Destination, "count("+by("instance", "max", ofTest(metrics.ConsumerPartitions))+")", "consumers"),
					at(Destination, sum(`up{job=~"mirrormaker2|ureplicator|brooklin"}`), "replicator"),
					at(Source, sum("max by (topic) ("+load(metrics.ProducerPartitions)+")"), "partitions")).fromZero().wide(24),
			}},
		},
	}
}
