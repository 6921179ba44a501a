package replicators

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// bean is an attribute of a bean as the exporter writes it before it looks for a rule:
// domain<property=value, ...><key>attribute.
type bean struct{ text, want string }

// The beans of what cannot be run here are those of its source code.
var beans = map[Process][]bean{
	KafkaProcess: {
		{"kafka.server<type=BrokerTopicMetrics, name=BytesInPerSec, topic=a.b><>Count", `kafka_server_brokertopicmetrics_bytesin_total{topic="a.b"}`},
		{"kafka.server<type=BrokerTopicMetrics, name=BytesInPerSec><>Count", "kafka_server_brokertopicmetrics_all_bytesin_total"},
		{"kafka.server<type=BrokerTopicMetrics, name=BytesInPerSec><>OneMinuteRate", ""},
		{"kafka.server<type=ReplicaManager, name=UnderReplicatedPartitions><>Value", "kafka_server_replicamanager_underreplicatedpartitions"},
		{"kafka.network<type=RequestMetrics, name=TotalTimeMs, request=Produce><>99thPercentile", `kafka_network_request_time_seconds{percentile="99",request="Produce"}`},
		{"kafka.log<type=Log, name=Size, topic=load, partition=7><>Value", `kafka_log_size_bytes{partition="7",topic="load"}`},
	},
	ZooKeeperProcess: {
		{"org.apache.ZooKeeperService<name0=StandaloneServer_port2181><>AvgRequestLatency", "zookeeper_avgrequestlatency"},
		{"org.apache.ZooKeeperService<name0=ReplicatedServer_id1, name1=replica.1, name2=Leader, name3=InMemoryDataTree><>NodeCount", "zookeeper_nodecount"},
	},
	MirrorMaker2Process: {
		{"kafka.connect.mirror<type=MirrorSourceConnector, target=destination, topic=load, partition=3><>byte-count", `kafka_connect_mirror_byte_total{partition="3",topic="load"}`},
		{"kafka.connect<type=task-error-metrics, connector=MirrorSourceConnector, task=0><>total-record-failures", `kafka_connect_task_record_failures_total{connector="MirrorSourceConnector",task="0"}`},
		{`kafka.consumer<type=consumer-fetch-manager-metrics, client-id="source->destination|MirrorSourceConnector-0"><>records-consumed-total`, `kafka_consumer_records_consumed_total{client="source->destination|MirrorSourceConnector-0"}`},
	},
	UReplicatorProcess: {
		{"metrics<name=topic.partitions.offlineNumber><>Count", "ureplicator_controller_partitions_offlinenumber"},
		{"metrics<name=worker.rebalance.timer><>99thPercentile", `ureplicator_controller_rebalance_seconds{statistic="99thPercentile"}`},
		{"metrics<name=OffsetMonitorLag.load.12><>Value", `ureplicator_controller_lag_records{partition="12",topic="load"}`},
		{"metrics<name=KafkaBrokerTopicObserver.source.refreshLatency><>Mean", `ureplicator_observer_refresh_seconds{observed="source",statistic="Mean"}`},
		{"metrics<name=producer.worker-1-0.flushLatencyMs><>Max", `ureplicator_worker_flush_seconds{client="worker-1-0",statistic="Max"}`},
		{"metrics<name=commitFailure><>Count", "ureplicator_worker_commitfailure_total"},
		{"kafka.producer<type=producer-metrics, client-id=worker-1-0><>record-error-total", `kafka_producer_record_error_total{client="worker-1-0"}`},
	},
	BrooklinProcess: {
		{"metrics<name=kafkaMirroringC.KafkaMirrorMakerConnectorTask.aggregate.eventsByteProcessedRate><>Count", "brooklin_connector_byteprocessed_total"},
		{"metrics<name=kafkaMirroringC.KafkaMirrorMakerConnectorTask.aggregate.stuckPartitions><>Value", "brooklin_connector_stuckpartitions"},
		{"metrics<name=EventProducer.aggregate.eventsLatencyMs><>99thPercentile", `brooklin_latency_seconds{kind="Latency",percentile="99"}`},
		{"metrics<name=kafkaTP.KafkaProducerWrapper.aggregate.producerError><>Count", "brooklin_producer_errors_total"},
		{"metrics<name=EventProducer.kmt.totalEventsProduced><>Count", ""},
	},
}

// apply finds the rule for a bean as the exporter does: the first whose pattern is found in the text.
func apply(rules []jmxRule, text string) string {
	for _, r := range rules {
		pattern := regexp.MustCompile("^.*(?:" + r.Pattern + ").*$")
		at := pattern.FindStringSubmatchIndex(text)
		if at == nil {
			continue
		}
		expand := func(template string) string {
			return string(pattern.ExpandString(nil, regexp.MustCompile(`\$(\d)`).ReplaceAllString(template, "$${$1}"), text, at))
		}
		name := unfit.ReplaceAllString(strings.ToLower(expand(r.Name)), "_")
		var labels []string
		for _, key := range slices.Sorted(maps.Keys(r.Labels)) {
			labels = append(labels, key+`="`+expand(r.Labels[key])+`"`)
		}
		if len(labels) > 0 {
			name += "{" + strings.Join(labels, ",") + "}"
		}
		return name
	}
	return ""
}

func TestBeansGetTheirNames(t *testing.T) {
	for _, process := range Processes() {
		text, err := JMX(process)
		if err != nil {
			t.Fatal(err)
		}
		var c jmx
		if err := yaml.Unmarshal(text, &c); err != nil {
			t.Fatal(err)
		}
		names, err := JMXMetrics(process)
		if err != nil {
			t.Fatal(err)
		}
		if len(beans[process]) == 0 {
			t.Errorf("%s: no bean", process)
		}
		for _, b := range beans[process] {
			got := apply(c.Rules, b.text)
			if got != b.want {
				t.Errorf("%s: %s: %q, want %q", process, b.text, got, b.want)
			}
			if name, _, _ := strings.Cut(got, "{"); name != "" && names[name] == "" {
				t.Errorf("%s: %s is not among %v", process, name, names)
			}
		}
	}
}

func TestNamesOfMetricsAreOfTheirKind(t *testing.T) {
	for _, process := range Processes() {
		names, err := JMXMetrics(process)
		if err != nil {
			t.Fatal(err)
		}
		for name, kind := range names {
			if kind != "counter" && kind != "gauge" || (kind == "counter") != strings.HasSuffix(name, "_total") {
				t.Errorf("%s: %s is a %s", process, name, kind)
			}
			if unfit.MatchString(name) {
				t.Errorf("%s: %q is no name of a metric", process, name)
			}
		}
	}
}

func TestEveryRuleMatchesOnlyBeansThatAreAskedFor(t *testing.T) {
	for _, process := range Processes() {
		c, err := readJMX(process)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range c.Rules {
			domain, _, _ := strings.Cut(r.Pattern, "<")
			if !slices.ContainsFunc(c.Include, func(o string) bool { return strings.HasPrefix(o, domain+":") }) {
				t.Errorf("%s: nothing of %s is asked for, and %s needs it", process, domain, r.Name)
			}
		}
		for _, o := range c.Include {
			if strings.HasSuffix(o, ":*") {
				t.Errorf("%s: %s asks for a whole domain", process, o)
			}
		}
	}
}
