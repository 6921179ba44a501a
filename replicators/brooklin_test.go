package replicators

import (
	"strings"
	"testing"
)

func validBrooklin() Brooklin {
	var b Brooklin
	b.SetDefaults()
	b.Destination, b.ZooKeeper = []string{"c:3", "d:4"}, "zb:2181"
	return b
}

func TestBrooklinIsConfiguredToLoseAndReorderNothing(t *testing.T) {
	b := validBrooklin()
	b.DestinationZooKeeper = "zd:2181"
	b.Overrides = map[string]string{
		"consumer.max.poll.records": "500", "producer.linger.ms": "7", "connector.PartitionFetchIntervalMs": "9",
		"brooklin.server.coordinator.zkSessionTimeout": "3000",
	}
	if err := b.Validate(); err != nil {
		t.Fatal(err)
	}
	const connector, transport = "brooklin.server.connector.kafkaMirroringC.", "brooklin.server.transportProvider.kafkaTP."
	expect(t, parse(t, b.Properties()), map[string]string{
		"brooklin.server.coordinator.zkAddress": "zb:2181", "brooklin.server.httpPort": "32311",
		"brooklin.server.connectorNames": "kafkaMirroringC", "brooklin.server.transportProviderNames": "kafkaTP",
		connector + "factoryClassName":              "com.linkedin.datastream.connectors.kafka.mirrormaker.KafkaMirrorMakerConnectorFactory",
		connector + "consumer.receive.buffer.bytes": "-1",
		transport + "bootstrap.servers":             "c:3,d:4",
		transport + "zookeeper.connect":             "zd:2181",
		// Not producer.acks: Brooklin 1.0.2 hands these to the producer as they are.
		transport + "acks": "all", transport + "max.in.flight.requests.per.connection": "1", transport + "retries": "2147483647",

		connector + "consumer.max.poll.records": "500", transport + "linger.ms": "7", connector + "PartitionFetchIntervalMs": "9",
		"brooklin.server.coordinator.zkSessionTimeout": "3000",
	})
}

func TestBrooklinWithoutZooKeeperOfTheDestination(t *testing.T) {
	if text := string(validBrooklin().Properties()); strings.Contains(text, "zookeeper.connect") {
		t.Errorf("an empty address was written: %s", text)
	}
}

func TestBrooklinValidateReportsEveryMistake(t *testing.T) {
	err := Brooklin{Overrides: map[string]string{
		"producer.bootstrap.servers": "x:1", "acks": "1", "brooklin.server.httpPort": "1", "consumer.group.id": "g",
	}}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"no bootstrap", "of its own", `name ""`, `"producer.bootstrap.servers"`, `"acks"`, `httpPort"`, `"consumer.group.id"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestDatastreamKeepsPartitions(t *testing.T) {
	d, err := NewDatastream("kmt", []string{"b:2", "a:1"}, Patterns("load.*", "kmt-selftest"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "kafka://a:1,b:2/^(load.*|kmt-selftest)$"; d.Source.ConnectionString != want {
		t.Errorf("source %q, want %q", d.Source.ConnectionString, want)
	}
	expect(t, d.Metadata, map[string]string{"system.destination.identityPartitioningEnabled": "true", "system.reuseExistingDestination": "false"})
	if d.Metadata["owner"] == "" {
		t.Error("no owner: Brooklin refuses such")
	}

	_, err = NewDatastream("a/b", nil, "a/b")
	for _, want := range []string{`name "a/b"`, "no bootstrap", "without a slash"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}
