package replicators

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func validUReplicator() UReplicator {
	var u UReplicator
	u.SetDefaults()
	u.Source, u.Destination = []string{"a:1", "b:2"}, []string{"c:3"}
	u.SourceZooKeeper, u.DestinationZooKeeper, u.HelixZooKeeper = "zs:2181", "zd:2181", "zh:2181/urep"
	return u
}

func expect(t *testing.T, p, want map[string]string) {
	t.Helper()
	for key, value := range want {
		if p[key] != value {
			t.Errorf("%s = %q, want %q", key, p[key], value)
		}
	}
}

func TestUReplicatorIsConfiguredToLoseAndReorderNothing(t *testing.T) {
	u := validUReplicator()
	if err := u.Validate(); err != nil {
		t.Fatal(err)
	}
	expect(t, parse(t, u.ConsumerProperties()), map[string]string{
		"bootstrap.servers": "a:1,b:2", "commit.zookeeper.connect": "zs:2181", "group.id": "ureplicator",
		"auto.offset.reset": "earliest", "enable.auto.commit": "false", "receive.buffer.bytes": "-1",
		"key.deserializer": "org.apache.kafka.common.serialization.ByteArrayDeserializer",
	})
	expect(t, parse(t, u.ProducerProperties()), map[string]string{
		"bootstrap.servers": "c:3", "zookeeper.connect": "zd:2181", "acks": "all",
		"max.in.flight.requests.per.connection": "1", "retries": "2147483647",
	})
}

func TestUReplicatorArgumentsAreThoseSeenWorking(t *testing.T) {
	u := validUReplicator()
	u.RebalanceDelay = 10 * time.Second
	expect(t, parse(t, u.HelixProperties("w-0")), map[string]string{"zkServer": "zh:2181/urep", "instanceId": "w-0", "helixClusterName": "ureplicator"})
	if p := parse(t, u.HelixProperties("")); p["instanceId"] != "" || len(p) != 2 {
		t.Errorf("without a name: %v", p)
	}
	controller := strings.Join(u.ControllerArgs("/backup"), " ")
	for _, want := range []string{
		"-port 9000", "-zookeeper zh:2181/urep", "-helixClusterName ureplicator", "-enableFederated false", "-mode auto",
		"-backUpToGit false", "-localBackupFilePath /backup", "-autoRebalanceDelayInSeconds 10",
	} {
		if !strings.Contains(controller, want) {
			t.Errorf("no %q in %s", want, controller)
		}
	}
	if strings.Contains(controller, "srcKafkaZkPath") {
		t.Errorf("the controller reads the source's ZooKeeper without being asked to: %s", controller)
	}
	worker := u.WorkerArgs("c", "p", "h")
	for i := 0; i < len(worker); i += 2 {
		if !strings.HasPrefix(worker[i], "-") || strings.HasPrefix(worker[i+1], "-") {
			t.Errorf("no pairs: %v", worker)
		}
	}
	for _, want := range [][]string{
		{"-federated_enabled", "false"}, {"-consumer_config", "c"}, {"-producer_config", "p"}, {"-helix_config", "h"},
		{"-topic_partition_count_observer", "true"}, // else records change partitions
	} {
		if i := slices.Index(worker, want[0]); i < 0 || worker[i+1] != want[1] {
			t.Errorf("no %v in %v", want, worker)
		}
	}
}

func TestUReplicatorOverridesGoWhereTheyBelong(t *testing.T) {
	u := validUReplicator()
	u.Overrides = map[string]string{
		"consumer.num.consumer.fetchers": "6", "producer.acks": "1", "worker.abort_on_send_failure": "false",
		"controller.enableAutoWhitelist": "true", "controller.env": "a.b",
	}
	if err := u.Validate(); err != nil {
		t.Fatal(err)
	}
	consumer, producer := parse(t, u.ConsumerProperties()), parse(t, u.ProducerProperties())
	controller, worker := strings.Join(u.ControllerArgs("d"), " "), strings.Join(u.WorkerArgs("c", "p", "h"), " ")
	if consumer["num.consumer.fetchers"] != "6" || consumer["acks"] != "" || producer["acks"] != "1" {
		t.Errorf("consumer %v, producer %v", consumer, producer)
	}
	if !strings.Contains(worker, "-abort_on_send_failure false") || !strings.Contains(controller, "-env a.b") {
		t.Errorf("worker %s, controller %s", worker, controller)
	}
	if !strings.Contains(controller, "-enableAutoWhitelist true") || !strings.Contains(controller, "-srcKafkaZkPath zs:2181") ||
		!strings.Contains(controller, "-destKafkaZkPath zd:2181") || !strings.Contains(controller, "-enableAutoTopicExpansion true") {
		t.Errorf("automatic whitelisting is not complete: %s", controller)
	}
}

func TestUReplicatorValidateReportsEveryMistake(t *testing.T) {
	err := UReplicator{
		ClusterName: "a/b", RebalanceDelay: 1500 * time.Millisecond,
		Overrides: map[string]string{"producer.bootstrap.servers": "x:1", "acks": "1", "consumer.": "1"},
	}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"source has no bootstrap", "destination has no bootstrap", "source has no ZooKeeper", "destination has no ZooKeeper",
		"of its own", `"a/b"`, "1.5s", `"producer.bootstrap.servers"`, `"acks"`, `"consumer."`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}
