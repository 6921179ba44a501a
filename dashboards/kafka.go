package dashboards

import (
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// kafka shows both clusters next to each other.
func kafka() Board {
	// Of brokers, of the side that both puts in.
	broker := func(metric string, more ...string) string {
		return metric + "{" + strings.Join(append([]string{"CLUSTER", `job="kafka"`}, more...), ",") + "}"
	}
	zookeeper := func(metric string, more ...string) string {
		return metric + "{" + strings.Join(append([]string{"CLUSTER", `job="zookeeper"`}, more...), ",") + "}"
	}
	each := func(expr, legend string) Query { return at("", expr, legend) }
	const zookeeperMode = "ZooKeeper mode only"
	var jvm []Panel
	for i := range java(Source, "Broker", "") {
		for _, side := range []string{Source, Destination} {
			p := java(side, "Broker", namespace(side)+`,job="kafka"`)[i]
			p.Title += ": " + side
			jvm = append(jvm, p)
		}
	}
	return Board{
		Name: "kafka", Title: "Kafka clusters",
		Description: "The source cluster on the left, the destination on the right.",
		Variables:   clusterVariables(),
		Rows: []Row{
			{"Is it well?", bothOf(
				graph("Brokers", units.Short, "Brokers that answer, that the controller counts, and controllers: exactly one.",
					each("namespace:kafka_brokers:count{CLUSTER}", "answer"),
					each(sum(broker("kafka_controller_activebrokercount")), "by the controller"),
					each(sum(broker("kafka_controller_activecontrollercount")), "controllers")).fromZero(),
				graph("Partitions in danger", units.Short, "Under-replicated: a follower is missing. Below the minimum of in-sync replicas: writes with acks=all fail. Offline: there is no leader.",
					each("namespace:kafka_underreplicatedpartitions:sum{CLUSTER}", "under-replicated"),
					each(sum(broker("kafka_server_replicamanager_underminisrpartitioncount")), "below the minimum"),
					each("max("+broker("kafka_controller_offlinepartitionscount")+")", "offline")).fromZero().from(1, "red"),
				graph("In-sync replicas", units.Short, "How many times, in the last two minutes, a replica left or joined the in-sync ones, and leaders were elected among others (records may be lost).",
					each(sum("increase("+broker("kafka_server_replicamanager_isrshrinks_total")+"[2m])"), "left"),
					each(sum("increase("+broker("kafka_server_replicamanager_isrexpands_total")+"[2m])"), "joined"),
					each(sum("increase("+broker("kafka_controller_uncleanleaderelections_total")+"[2m])"), "unclean elections")).fromZero(),
				graph("Request handlers idle", units.PercentUnit, "Share of time for which the threads that handle requests have nothing to do. Below 0.2 the broker is the bottleneck.",
					each(broker("kafka_server_requesthandler_idle_ratio"), "{{pod}}")).within(0, 1).from(0, "red").from(0.2, "orange").from(0.5, "green"),
				graph("Network threads idle", units.PercentUnit, "Likewise, of the threads that read and write sockets.",
					each(broker("kafka_network_processor_idle_ratio"), "{{pod}}")).within(0, 1).from(0, "red").from(0.2, "orange").from(0.5, "green"),
			)},
			{"What flows", bothOf(
				graph("Bytes in and out", units.BytesPerSecondSI, "From and to clients, and from leaders to followers, of all brokers.",
					each(sumRate(broker("kafka_server_brokertopicmetrics_all_bytesin_total")), "in"),
					each(sumRate(broker("kafka_server_brokertopicmetrics_all_bytesout_total")), "out"),
					each(sumRate(broker("kafka_server_brokertopicmetrics_all_replicationbytesin_total")), "replication")).fromZero(),
				graph("Records in by topic", units.RecordsPerSecond, "The ledgers of the tester and Kafka's own topics included.",
					each(by("topic", "sum", rate(broker("kafka_server_brokertopicmetrics_messagesin_total"))), "{{topic}}")).fromZero(),
				graph("Failed requests", units.RequestsPerSecond, "Produce and fetch requests that ended in an error, of all brokers.",
					each(sumRate(broker("kafka_server_brokertopicmetrics_all_failedproducerequests_total")), "produce"),
					each(sumRate(broker("kafka_server_brokertopicmetrics_all_failedfetchrequests_total")), "fetch")).fromZero(),
				graph("Time of requests", units.Seconds, "99th percentile of each broker, and the worst is shown: percentiles of several brokers cannot be merged.",
					each(by("request", "max", broker("kafka_network_request_time_seconds", `percentile="99"`)), "{{request}}")).fromZero(),
				graph("Followers' lag", units.Short, "Records by which the worst follower of each broker is behind its leader.",
					each(broker("kafka_server_replicafetchermanager_maxlag"), "{{pod}}")).fromZero(),
			)},
			{"What it holds", bothOf(
				graph("Partitions and topics", units.Short, "Of the cluster, by its controller; replicas and leaders, by the brokers.",
					each("max("+broker("kafka_controller_globalpartitioncount")+")", "partitions"),
					each("max("+broker("kafka_controller_globaltopiccount")+")", "topics"),
					each(sum(broker("kafka_server_replicamanager_partitioncount")), "replicas"),
					each("max("+broker("kafka_server_replicamanager_leadercount")+")", "leaders on one broker, at most")).fromZero(),
				graph("Log size", units.BytesIEC, "On disk, by topic, all replicas. It has to level off when the retention is over.",
					each(by("topic", "sum", broker("kafka_log_size_bytes")), "{{topic}}")).fromZero(),
				graph("Disk in use", units.PercentUnit, "Share of each node's root volume, where the logs lie.",
					each(`1 - node_filesystem_avail_bytes{mountpoint="/",fstype!~"tmpfs|overlay"} / node_filesystem_size_bytes{mountpoint="/",fstype!~"tmpfs|overlay"}`, "{{instance}}")).within(0, 1).from(0.8, "orange").from(0.9, "red").elsewhere(onlyKubernetes),
			)},
			{"What it costs", jvm},
			{"ZooKeeper", bothOf(
				graph("ZooKeeper memory", units.BytesIEC, zookeeperMode+". Resident memory.",
					each(zookeeper("process_resident_memory_bytes"), "{{pod}}")).fromZero(),
				graph("ZooKeeper threads and files", units.Short, zookeeperMode+". Threads, and open file descriptors.",
					each(zookeeper("jvm_threads_current"), "{{pod}} threads"),
					each(zookeeper("process_open_fds"), "{{pod}} files")).fromZero(),
				graph("ZooKeeper requests", units.Short, zookeeperMode+". Requests that wait, and mean time in ms.",
					each(sum(zookeeper("zookeeper_outstandingrequests")), "waiting"),
					each("max("+zookeeper("zookeeper_avgrequestlatency")+")", "ms")).fromZero(),
				graph("Sessions of brokers", units.Short, zookeeperMode+". Disconnects and expired sessions in the last two minutes. A broker whose session expires is taken for dead.",
					each(sum("increase("+broker("kafka_server_zookeeper_disconnects_total")+"[2m])"), "disconnects"),
					each(sum("increase("+broker("kafka_server_zookeeper_expires_total")+"[2m])"), "expired")).fromZero(),
			)},
		},
	}
}
