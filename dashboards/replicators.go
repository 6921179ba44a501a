package dashboards

import "github.com/grafana/grafana-foundation-sdk/go/units"

func mirrorMaker2() Board {
	here := func(metric string, more ...string) string {
		return in(Destination, metric, append([]string{`job="mirrormaker2"`}, more...)...)
	}
	const load = `topic=~"$topic",topic!~"kmt-.*"` // of the self-test's topic nothing moves any more
	return Board{
		Name: "mirrormaker2", Title: "MirrorMaker 2",
		Description: "Workers of MirrorMaker 2.",
		Variables:   append([]Variable{testVariable(), topicVariable()}, clusterVariables()[1:]...),
		Rows: []Row{
			{"What flows", append([]Panel{
				graph("Records copied", units.RecordsPerSecond, "By topic, acknowledged by the destination.",
					at(Destination, by("topic", "sum", rate(here("kafka_connect_mirror_record_total", load))), "{{topic}}")).fromZero(),
				graph("Replication latency", units.Seconds, "From a record's timestamp to its acknowledgement at the destination, by MirrorMaker 2's own account: mean and maximum of the worst partition.",
					at(Destination, by("topic", "max", here("kafka_connect_mirror_replication_latency_seconds", load, `statistic="avg"`)), "{{topic}} mean"),
					at(Destination, by("topic", "max", here("kafka_connect_mirror_replication_latency_seconds", load, `statistic="max"`)), "{{topic}} maximum")).fromZero(),
				graph("Partitions that stand still", units.Short, "Partitions of the chosen topics that were copied before, and of which nothing was in the last minute.",
					at(Destination, "count("+"rate("+here("kafka_connect_mirror_record_total", load)+"[1m]) == 0) or vector(0)", "")).fromZero().from(1, "red"),
				graph("Bytes copied by partition", units.BytesPerSecondSI, "Each partition, to see whether one lags.",
					at(Destination, by("topic, partition", "sum", rate(here("kafka_connect_mirror_byte_total", load))), "{{topic}}/{{partition}}")).fromZero(),
			}, clients("mirrormaker2")...)},
			{"Connect", []Panel{
				graph("Connectors and tasks", units.Short, "On each worker.",
					at(Destination, here("kafka_connect_worker_connectors"), "{{pod}} connectors"),
					at(Destination, here("kafka_connect_worker_tasks"), "{{pod}} tasks")).fromZero(),
				graph("Failed tasks", units.Short, "Starts that failed, and records that failed or were skipped, in the last two minutes. A task that failed does not come back by itself.",
					at(Destination, sum("increase("+here("kafka_connect_worker_task_startup_failures_total")+"[2m])"), "starts"),
					at(Destination, sum("increase("+here("kafka_connect_task_record_failures_total")+"[2m])"), "failed"),
					at(Destination, sum("increase("+here("kafka_connect_task_records_skipped_total")+"[2m])"), "skipped")).fromZero().from(1, "red"),
				graph("Rebalances", units.Short, "Rebalances of the workers that have ended, and whether one goes on. Its tasks stand still meanwhile.",
					at(Destination, "max("+here("kafka_connect_worker_rebalances_total")+")", "ended"),
					at(Destination, "max("+here("kafka_connect_worker_rebalancing")+")", "goes on")).fromZero(),
			}},
			{"What it costs", java(Destination, "Worker", inside(workers("mirrormaker2")))},
		},
	}
}

func uReplicator() Board {
	here := func(metric string, more ...string) string {
		return in(Destination, metric, append([]string{`job="ureplicator"`}, more...)...)
	}
	maximum := func(metric string) string { return "max(" + here(metric) + ")" }
	statistic := func(metric, which string) string { return "max(" + here(metric, `statistic="`+which+`"`) + ")" }
	b := Board{
		Name: "ureplicator", Title: "uReplicator",
		Description: "Controllers and workers of uReplicator, by the metric names of its last commit of 2021.",
		Variables:   clusterVariables()[1:],
		Rows: []Row{
			{"Controllers", []Panel{
				graph("Topics and partitions", units.Short, "What the controller has assigned, and what of it is not online.",
					at(Destination, maximum("ureplicator_controller_topics_totalnumber"), "topics"),
					at(Destination, maximum("ureplicator_controller_topics_errornumber"), "topics with errors"),
					at(Destination, maximum("ureplicator_controller_partitions_totalnumber"), "partitions"),
					at(Destination, maximum("ureplicator_controller_partitions_onlinenumber"), "online"),
					at(Destination, maximum("ureplicator_controller_partitions_offlinenumber"), "offline"),
					at(Destination, by("observed", "max", here("ureplicator_observer_topics")), "topics of {{observed}}")).fromZero(),
				graph("Controllers and workers", units.Short, "Leaders (exactly one), and workers that live, have nothing to do, or are shut out.",
					at(Destination, sum(here("ureplicator_controller_leader")), "leaders"),
					at(Destination, maximum("ureplicator_controller_workers_live"), "live"),
					at(Destination, maximum("ureplicator_controller_workers_idle"), "idle"),
					at(Destination, maximum("ureplicator_controller_workers_blacklisted"), "shut out")).fromZero(),
				graph("Refresh and rebalance time", units.Seconds, "Time to look for topics and partitions, and to give partitions to workers. Nothing new is found, and nothing moves, in less.",
					at(Destination, statistic("ureplicator_observer_refresh_seconds", "99thPercentile"), "refresh, 99 %"),
					at(Destination, statistic("ureplicator_controller_rebalance_seconds", "99thPercentile"), "rebalance, 99 %")).fromZero(),
				graph("Rebalances", units.Short, "In the last two minutes.",
					at(Destination, sum("increase("+here("ureplicator_controller_rebalances_total")+"[2m])"), "rebalances")).fromZero(),
				graph("Errors", units.Short, "Of controllers and workers, in the last two minutes; and partitions without progress, and those that differ from the source.",
					at(Destination, sum("increase("+here("ureplicator_observer_refresh_failures_total")+"[2m])"), "refresh"),
					at(Destination, maximum("ureplicator_controller_offset_failures"), "reading offsets"),
					at(Destination, sum("increase("+here("ureplicator_worker_commitfailure_total")+"[2m])"), "commit"),
					at(Destination, sum("increase("+here("ureplicator_worker_addtopicpartitionfailure_total")+"[2m])"), "add a partition"),
					at(Destination, maximum("ureplicator_controller_noprogress_partitions"), "without progress"),
					at(Destination, by("kind", "max", here("ureplicator_controller_discrepancy")), "{{kind}}")).fromZero().from(1, "red"),
				graph("Lag by topic", units.Short, "Records not yet committed, by the controller's account.",
					at(Destination, by("topic", "sum", here("ureplicator_controller_lag_records")), "{{topic}}")).fromZero(),
			}},
			{"Workers", append(clients("ureplicator"),
				graph("Partitions of workers", units.Short, "Partitions that each worker has, and records in its queues: a full queue waits for the destination.",
					at(Destination, here("ureplicator_worker_partitions"), "{{pod}} partitions"),
					at(Destination, by("pod", "sum", here("ureplicator_worker_queue_records")), "{{pod}} queued")).fromZero(),
				graph("Flush and commit", units.Seconds, "99th percentile of the time to flush to the destination and to commit offsets.",
					at(Destination, by("pod", "max", here("ureplicator_worker_flush_seconds", `statistic="99thPercentile"`)), "{{pod}} flush"),
					at(Destination, by("pod", "max", here("ureplicator_worker_commit_seconds", `statistic="99thPercentile"`)), "{{pod}} commit")).fromZero(),
			)},
			{"What controllers cost", java(Destination, "Controller", inside(here("", `app_kubernetes_io_component="controller"`)))},
			{"What workers cost", append(java(Destination, "Worker", inside(here("", `app_kubernetes_io_component="worker"`))),
				graph("File systems", units.BytesPerSecondSI, "Bytes that containers write to and read from discs. How much they take up is not known of containerd's containers; of the node see Nodes and pods.",
					at(Destination, by("pod", "sum", rate(in(Destination, "container_fs_writes_bytes_total", `pod=~"ureplicator.*"`, `container!=""`))), "{{pod}} written"),
					at(Destination, by("pod", "sum", rate(in(Destination, "container_fs_reads_bytes_total", `pod=~"ureplicator.*"`, `container!=""`))), "{{pod}} read")).fromZero().wide(24))},
		},
	}
	return allElsewhere(b, otherThanLab)
}

func brooklin() Board {
	here := func(metric string, more ...string) string {
		return in(Destination, metric, append([]string{`job="brooklin"`}, more...)...)
	}
	b := Board{
		Name: "brooklin", Title: "Brooklin",
		Description: "Servers of Brooklin, by the metric names of version 1.0.2.",
		Variables:   clusterVariables()[1:],
		Rows: []Row{
			{"What flows", append([]Panel{
				graph("Event rate", units.RecordsPerSecond, "Records that connectors have read, that were handed to the transport, and that it has written.",
					at(Destination, sumRate(here("brooklin_connector_processed_total")), "read"),
					at(Destination, sumRate(here("brooklin_totaleventsproduced_total")), "handed on"),
					at(Destination, sumRate(here("brooklin_transport_write_total")), "written")).fromZero(),
				graph("Latency of events", units.Seconds, "From a record's timestamp to its acknowledgement, and of the sending alone, of the worst server.",
					at(Destination, by("kind, percentile", "max", here("brooklin_latency_seconds")), "{{kind}} {{percentile}} %")).fromZero(),
				graph("Errors of Brooklin", units.Short, "In the last two minutes: of connectors, of the transport's producers, dropped while serialising, and later than Brooklin's own limit of a minute.",
					at(Destination, sum("increase("+here("brooklin_connector_errors_total")+"[2m])"), "connectors"),
					at(Destination, sum("increase("+here("brooklin_producer_errors_total")+"[2m])"), "producers"),
					at(Destination, sum("increase("+here("brooklin_droppedsentfromserializationerror_total")+"[2m])"), "dropped"),
					at(Destination, sum("increase("+here("brooklin_eventsproducedoutsidesla_total")+"[2m])"), "late")).fromZero().from(2, "red"),
				graph("Partitions that stand still", units.Short, "Partitions without progress, and those that are paused after an error: tried again after half a minute.",
					at(Destination, sum(here("brooklin_connector_stuckpartitions")), "stuck"),
					at(Destination, sum(here("brooklin_connector_numautopausedpartitionsonerror")), "paused after an error")).fromZero().from(1, "red"),
				graph("Partitions of servers", units.Short, "Partitions and topics of each server.",
					at(Destination, here("brooklin_connector_numpartitions"), "{{pod}} partitions"),
					at(Destination, here("brooklin_connector_numtopics"), "{{pod}} topics")).fromZero(),
				graph("Coordination", units.Short, "Leaders (exactly one); rebalances of consumers and changed assignments in the last two minutes.",
					at(Destination, sum(here("brooklin_coordinator_leader")), "leaders"),
					at(Destination, sum("increase("+here("brooklin_connector_rebalances_total")+"[2m])"), "rebalances"),
					at(Destination, sum("increase("+here("brooklin_coordinator_assignmentchanges_total")+"[2m])"), "assignments")).fromZero(),
			}, clients("brooklin")...)},
			{"What it costs", java(Destination, "Server", inside(workers("brooklin")))},
		},
	}
	return allElsewhere(b, otherThanLab)
}

// allElsewhere marks the panels that are not marked yet.
func allElsewhere(b Board, why string) Board {
	for i := range b.Rows {
		for j := range b.Rows[i].Panels {
			if p := &b.Rows[i].Panels[j]; p.Elsewhere == "" {
				p.Elsewhere = why
			}
		}
	}
	return b
}
