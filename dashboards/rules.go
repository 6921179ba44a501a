package dashboards

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

// Limits of alerts, and of the colours of panels that show the same.
const (
	alertLatency   = 30 * time.Second       // the talk's
	alertLag       = time.Minute            // age of the oldest record that is not at the destination: a fifth of the retention, after which it is lost
	alertStalled   = 30 * time.Second       // likewise, of a partition of which nothing moves: longer than the election of a leader or a rebalance of healthy ones
	alertClock     = 250 * time.Millisecond // of the clocks' offset, and of its bound: three times the round trip across the ocean, half of which is the bound without any fault
	alertLedger    = 30 * time.Second       // age of a ledger, which is stored each second: RPO and time of recovery are this wrong
	held           = 0.95                   // share of the throughput that counts as held: a rate over a minute of samples each 15 s is a few per cent wrong
	alertRetention = 5 * time.Minute        // the stacks' retention, the talk's
)

// Group is a group of rules, as Prometheus' rule file and a PrometheusRule object have it.
type Group struct {
	Name  string `yaml:"name" json:"name"`
	Rules []Rule `yaml:"rules" json:"rules"`
}

// Rule records an expression, or alerts by it.
type Rule struct {
	Record      string            `yaml:"record,omitempty" json:"record,omitempty"`
	Alert       string            `yaml:"alert,omitempty" json:"alert,omitempty"`
	Expr        string            `yaml:"expr" json:"expr"`
	For         string            `yaml:"for,omitempty" json:"for,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty" json:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty" json:"annotations,omitempty"`
}

// Annotations of every alert.
const (
	Summary     = "summary"     // what is the matter, in a line
	Description = "description" // what it means
	Action      = "action"      // what to do
)

// Retention is what the rule file in generated/ takes for the topics' retention.
const Retention = alertRetention

// Rules returns all recording and alerting rules, for both regions alike: each rule finds data where its
// metrics are. Topics under load are kept for the retention.
func Rules(retention time.Duration) []Group {
	return []Group{recordings(), testAlerts(), clusterAlerts(retention)}
}

// RuleFile returns the rules as Prometheus reads them.
func RuleFile(retention time.Duration) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Written by go generate ./dashboards.\n")
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(map[string][]Group{"groups": Rules(retention)}); err != nil {
		return nil, fmt.Errorf("rules as YAML: %w", err)
	}
	return b.Bytes(), encoder.Close()
}

// RuleSpec returns the rules as the spec of a PrometheusRule object.
func RuleSpec(retention time.Duration) (map[string]any, error) {
	text, err := json.Marshal(map[string][]Group{"groups": Rules(retention)})
	if err != nil {
		return nil, fmt.Errorf("rules as JSON: %w", err)
	}
	var spec map[string]any
	if err := json.Unmarshal(text, &spec); err != nil {
		return nil, fmt.Errorf("rules as JSON: %w", err)
	}
	return spec, nil
}

// recordings are what several panels and alerts share.
func recordings() Group {
	rateOf := func(metric string) string { return "rate(" + metric + "[1m])" }
	return Group{Name: "kafka-mirror-tester", Rules: []Rule{
		{Record: "namespace_test:kmt_producer_records:rate1m", Expr: by("namespace, test", "sum", rateOf(metrics.ProducerRecords))},
		{Record: "namespace_test:kmt_producer_target_records:sum", Expr: by("namespace, test", "sum", metrics.ProducerRate)},
		{Record: "namespace_test:kmt_consumer_first:rate1m", Expr: by("namespace, test", "sum", rateOf(metrics.ConsumerFirst))},
		{Record: "namespace_test_topic_le:kmt_consumer_latency_seconds_bucket:rate1m", Expr: by("namespace, test, topic, le", "sum", rateOf(metrics.ConsumerLatency+"_bucket"))},
		{Record: "namespace_test_topic:kmt_consumer_latency_seconds:p99", Expr: "histogram_quantile(0.99, namespace_test_topic_le:kmt_consumer_latency_seconds_bucket:rate1m)"},
		{Record: "namespace_test:kmt_auditor_rpo_seconds:max", Expr: by("namespace, test", "max", metrics.AuditorRPOSeconds)},
		{Record: "namespace:kafka_brokers:count", Expr: by("namespace", "sum", `up{job="kafka"}`)},
		{Record: "namespace:kafka_underreplicatedpartitions:sum", Expr: by("namespace", "sum", "kafka_server_replicamanager_underreplicatedpartitions")},
	}}
}

const (
	critical = "critical" // the test's answer is at stake
	warning  = "warning"
)

func alert(name, severity, wait, expr, summary, description, action string) Rule {
	return Rule{
		Alert: name, Expr: expr, For: wait,
		Labels:      map[string]string{"severity": severity},
		Annotations: map[string]string{Summary: summary, Description: description, Action: action},
	}
}

// testAlerts are about what the replicator does.
func testAlerts() Group {
	lost := metrics.AuditorLost + " + " + metrics.AuditorDestinationLost
	wrong := metrics.AuditorReordered + " + " + metrics.AuditorCorrupt + " + " + metrics.AuditorMisplaced + " + " + metrics.AuditorPhantom
	offset, bound := by("namespace, test", "max", "abs("+metrics.AuditorClockOffset+")"), by("namespace, test", "max", metrics.AuditorClockBound)
	return Group{Name: "kafka-mirror-tester-test", Rules: []Rule{
		alert("KmtRecordsLost", critical, "", by("namespace, test, topic", "sum", lost)+" > 0",
			"{{ $value }} records of {{ $labels.topic }} are lost",
			"They were acknowledged by the source, and are proven absent at the destination, or gone from it again. The verdict of test {{ $labels.test }} will be broken.",
			"Look at the verdict for ranges, offsets and whose fault it is: loadgen verdict, or GET /verdict of the auditor. Keep both clusters and the replicator's log."),
		alert("KmtRecordsSkipped", warning, "1m", by("namespace, test, topic", "sum", metrics.AuditorSkipped)+" > 0",
			"{{ $value }} records of {{ $labels.topic }} were overtaken",
			"Later records of their partitions have arrived, and they have not for a minute. They may still come; else they are lost.",
			"See whether the number falls. If it does not, compare the offsets in the verdict with the replicator's log of that time."),
		alert("KmtRecordsWrong", critical, "", by("namespace, test, topic", "sum", wrong)+" > 0",
			"{{ $value }} records of {{ $labels.topic }} arrived wrongly",
			"They are out of order, corrupt, on another partition than at the source, or were never sent. The verdict of test {{ $labels.test }} will be broken.",
			"The verdict says which of these, and where. Misplaced ones point to the replicator's partitioner; reordered ones to more than one request in flight without idempotence."),
		alert("KmtLatencyHigh", warning, "1m", fmt.Sprintf("namespace_test_topic:kmt_consumer_latency_seconds:p99 > %g", alertLatency.Seconds()),
			"{{ $labels.topic }} arrives {{ $value | humanizeDuration }} late",
			fmt.Sprintf("The 99th percentile from the intended time of sending to arrival was above %s for a minute.", alertLatency),
			"Where do records wait? On the dashboard Replication test compare asked for, acknowledged and arrived; then the lag of the replicator, then its CPU and garbage collection."),
		alert("KmtPartitionStalled", critical, "30s", fmt.Sprintf("(%s > %g) and (%s > 0.9)",
			by("namespace, test, topic, partition", "max", metrics.AuditorRPOSeconds), alertStalled.Seconds(),
			by("namespace, test, topic, partition", "max", "deriv("+metrics.AuditorRPOSeconds+"[1m])")),
			"Nothing of {{ $labels.topic }}/{{ $labels.partition }} arrives",
			"Its oldest record that is not at the destination is {{ $value | humanizeDuration }} old and grows older with each second: the partition stands still.",
			"If all partitions are named, the replicator or a cluster has halted. If it is one, look for a failed task, a partition that no worker owns, or partitions that were added at one side only."),
		alert("KmtThroughputNotHeld", warning, "2m", fmt.Sprintf("namespace_test:kmt_producer_records:rate1m < %g * (namespace_test:kmt_producer_target_records:sum > 0)", held),
			"Test {{ $labels.test }} does not reach its throughput",
			fmt.Sprintf("The source acknowledges {{ $value | humanize }} records a second: for two minutes less than %g of what is asked for.", held),
			"See Load tools: full buffers mean that the source cluster is too slow, a late schedule that the producers are. Records that were shed count as over the range of latency."),
		alert("KmtReplicatorFallsBehind", warning, "3m", by("namespace, test", "sum", "deriv("+metrics.AuditorPending+"[3m])")+" > 0.05 * namespace_test:kmt_consumer_first:rate1m",
			"The replicator of test {{ $labels.test }} does not hold the throughput",
			"Records that are at the source only have grown for minutes, by {{ $value | humanize }} a second: more than a twentieth of what arrives.",
			"It is under capacity: give it workers, tasks or connections, or lower the load. Behind an ocean check its sockets' buffers first. Retention will take what it does not carry."),
		alert("KmtReplicatorLag", warning, "1m", fmt.Sprintf("namespace_test:kmt_auditor_rpo_seconds:max > %g", alertLag.Seconds()),
			"The replicator is {{ $value | humanizeDuration }} behind",
			"So old is the oldest record that is at the source and not at the destination. If the source were lost now, all since then would be.",
			"After a fault wait whether it catches up. See the replicator's dashboard for lag, rebalances and errors."),
		alert("KmtClockErrorTooLarge", warning, "2m", fmt.Sprintf("(%s > %g) or (%s > %[2]g)", offset, alertClock.Seconds(), bound),
			"Clocks differ by up to {{ $value | humanizeDuration }}",
			"The destination's clock is off the producers', or by how much cannot be told exactly. Latencies are wrong by as much.",
			"Check chrony on the nodes. A wide bound alone means that probes take long: the network or the brokers are slow."),
		alert("KmtLedgerOld", warning, "30s", fmt.Sprintf("%s > %g", by("namespace, test, job", "max", metrics.LedgerAge), alertLedger.Seconds()),
			"The ledger of a {{ $labels.job }} is {{ $value | humanizeDuration }} old",
			"What it knows is not stored. Until it is, the auditor knows nothing newer, and at the end it may have to say: cannot say.",
			"Are the brokers with the partitions of kmt-ledger-source or kmt-ledger-destination up, and is the minimum of in-sync replicas reached? See its log."),
	}}
}

// clusterAlerts are about clusters, replicators' processes and what measures.
func clusterAlerts(retention time.Duration) Group {
	// Segments are a fifth of the retention at most, and only whole ones are deleted.
	kept := retention + retention/5
	return Group{Name: "kafka-mirror-tester-clusters", Rules: []Rule{
		alert("KafkaBrokerDown", warning, "30s",
			"(namespace:kafka_brokers:count < max_over_time(namespace:kafka_brokers:count[30m])) or (max by (namespace) (kafka_controller_activebrokercount) < namespace:kafka_brokers:count)",
			"A broker of {{ $labels.namespace }} is down",
			"{{ $value }} brokers are there, fewer than in the last half hour or than give metrics.",
			"Expected after a broker fault, and for half an hour after the cluster was made smaller on purpose. Else look at the pod: kubectl describe, and its log."),
		alert("KafkaUnderReplicated", warning, "1m", "namespace:kafka_underreplicatedpartitions:sum > 0",
			"{{ $value }} partitions of {{ $labels.namespace }} are under-replicated",
			"A follower is gone or too slow. With one more failure writes may be refused or records lost.",
			"Expected while a broker is down or catches up. If all brokers are up, look for one whose disk or network is at its limit."),
		alert("KafkaPartitionsOffline", critical, "30s", "max by (namespace) (kafka_controller_offlinepartitionscount) > 0",
			"{{ $value }} partitions of {{ $labels.namespace }} have no leader",
			"Nobody can write to or read from them.",
			"Bring back the brokers that hold them. Do not allow unclean elections: that loses records, and the cluster is then at fault."),
		alert("KafkaDiskFillsBeforeRetention", critical, "2m",
			// Without the namespace of who exports it: a node is of no cluster of Kafka's.
			fmt.Sprintf(`max by (instance) (predict_linear(node_filesystem_avail_bytes{mountpoint="/",fstype!~"tmpfs|overlay"}[10m], %g)) < 0`, kept.Seconds()),
			"The disk of {{ $labels.instance }} will be full before retention deletes",
			fmt.Sprintf("At the pace of the last ten minutes its root volume, where Kafka's logs lie, is full within %s, and records are kept for so long.", kept),
			"Lower the throughput or the retention, or give the nodes larger disks (nodeDisk). A full disk stops the broker."),
		alert("ReplicatorProducerErrors", critical, "", by("namespace, job", "sum", `increase(kafka_producer_record_error_total{job=~"mirrormaker2|ureplicator|brooklin",`+ofRecords+`}[2m])`)+" > 2",
			"{{ $labels.job }} could not write {{ $value | humanize }} records",
			"Its producers gave up on them in the last two minutes. Whether they are tried again is the replicator's affair.",
			"See its log for the reason. Then see whether the auditor reports them as skipped."),
		alert("ExporterDown", warning, "1m", `up{job=~"kafka|kafka-controller|zookeeper|mirrormaker2|ureplicator|brooklin|producer|consumer|auditor"} == 0`,
			"{{ $labels.job }} {{ $labels.instance }} gives no metrics",
			"Prometheus cannot read its metrics. The process is gone, hangs, or cannot be reached, and panels lack it.",
			"Expected while a fault lasts. Else look at the process, and whether the network policy lets Prometheus in."),
	}}
}
