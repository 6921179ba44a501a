package kafka

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// testArgs is a cluster of the talk's size.
func testArgs() *Args {
	digest := "@sha256:" + strings.Repeat("0", 64)
	return &Args{
		Namespace: pulumi.String("kmt"),
		Image:     "apache/kafka" + digest, LoadgenImage: "loadgen" + digest,
		Mode: scenario.ZooKeeper, Brokers: 30, QuorumSize: 3,
		Broker:   Size{Heap: 4 << 30, CPU: "1", Memory: "8Gi", Disk: "50Gi"},
		Quorum:   Size{Heap: 512 << 20, CPU: "200m", Memory: "1Gi", Disk: "5Gi"},
		Replicas: 3, MinISR: 2, InternalReplicas: 3,
		Retention: 5 * time.Minute, MinReady: time.Minute, SelfTestDeadline: 10 * time.Minute,
	}
}

func TestEveryMistakeIsNamed(t *testing.T) {
	if err := testArgs().Validate(); err != nil {
		t.Fatalf("the talk's cluster is refused: %v", err)
	}
	for _, c := range []struct {
		name   string
		change func(*Args)
		want   string
	}{
		{"image without digest", func(a *Args) { a.Image = "apache/kafka:3.9.1" }, `images.kafka: image "apache/kafka:3.9.1" has no digest`},
		{"mode", func(a *Args) { a.Mode = "etcd" }, `kafkaMode is "etcd": must be zookeeper or kraft`},
		{"no broker", func(a *Args) { a.Brokers = 0 }, "brokers is 0: must be 1 to 1000"},
		{"even quorum", func(a *Args) { a.QuorumSize = 4 }, "quorumSize is 4: must be 1, 3, 5 or 7"},
		{"more replicas than brokers", func(a *Args) { a.Brokers = 2 }, "replicationFactor is 3: must be 1 to brokers, 2"},
		{"internal topics too", func(a *Args) { a.Brokers, a.Replicas = 2, 2 }, "brokers is 2: Kafka's own topics have 3 replicas: use at least that many"},
		{"internal topics below min ISR", func(a *Args) { a.InternalReplicas = 1 }, "minInsyncReplicas is 2: Kafka's own topics have 1 replicas"},
		{"min ISR above replicas", func(a *Args) { a.MinISR = 4 }, "minInsyncReplicas is 4: must be 1 to replicationFactor, 3"},
		{"no heap", func(a *Args) { a.Broker.Heap = 4 }, "kafkaHeap is 0 MiB: must be at least 64 MiB"},
		{"heap fills the container", func(a *Args) { a.Quorum.Heap = 1 << 30 }, "heap of a quorum member is 1024 MiB: must be at least 64 MiB, and at most three quarters of the memory of a quorum member, 1Gi"},
		{"memory without unit", func(a *Args) { a.Broker.Memory = "8" }, `broker: memory is "8"`},
		{"retention", func(a *Args) { a.Retention = time.Second }, "retention is 1s: must be at least 10s"},
		{"a key that we set", func(a *Args) { a.BrokerConfig = map[string]string{"advertised.listeners": "x"} }, `kafkaConfig: advertised.listeners is "x"`},
		{"a listener's login", func(a *Args) {
			a.BrokerConfig = map[string]string{"listener.name.sasl_ssl.plain.sasl.jaas.config": ""}
		}, "kafkaConfig: listener.name.sasl_ssl.plain.sasl.jaas.config"},
		{"everyone", func(a *Args) { a.Clients.CIDRs = []string{"0.0.0.0/0"} }, "peerCidr: 0.0.0.0/0 is everyone"},
		{"no CIDR", func(a *Args) { a.ZookeeperClients.CIDRs = []string{"10.0.0.1"} }, `peerCidr: "10.0.0.1" is no network`},
		{"security without password", func(a *Args) { a.Security = &Security{User: "kmt", ServerName: "kafka"} }, "kafkaPassword is missing"},
		{"user that JAAS cannot have", func(a *Args) { a.Security = &Security{User: `k"mt`} }, `kafkaUser is "k\"mt"`},
		{"restart", func(a *Args) { a.Restart = -1 }, "kafkaRestart is -1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := testArgs()
			c.change(args)
			err := errors.Join(args.Validate(), args.given())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	args := testArgs()
	args.BrokerConfig = map[string]string{"num.network.threads": "8", "log.segment.bytes": "1048576", "log.cleaner.threads": "2"}
	if err := args.Validate(); err != nil {
		t.Errorf("tuning keys are refused: %v", err)
	}
	args.Mode, args.Brokers, args.Retention = "", -1, 0
	if err := args.Validate(); strings.Count(err.Error(), "\n") < 3 {
		t.Errorf("not every mistake at once: %v", err)
	}
}
