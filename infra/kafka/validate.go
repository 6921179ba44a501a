package kafka

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// maxBrokers keeps brokers' ids below those of KRaft controllers.
const maxBrokers = firstController

var (
	memoryForm = regexp.MustCompile(`^[1-9][0-9]*[MG]i$`)
	// A JAAS option's name has the user's name in it.
	userForm = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]*$`)
)

// Validate reports every mistake in a at once; each names the key, the value and what would be right. What
// other resources give is not looked at.
func (a *Args) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	errs = append(errs,
		kube.CheckImage("images.kafka", a.Image),
		kube.CheckImage("images.loadgen", a.LoadgenImage))
	if a.Mode != scenario.ZooKeeper && a.Mode != scenario.KRaft {
		refuse("kafkaMode is %q: must be %s or %s", a.Mode, scenario.ZooKeeper, scenario.KRaft)
	}
	if a.Brokers < 1 || a.Brokers > maxBrokers {
		refuse("brokers is %d: must be 1 to %d", a.Brokers, maxBrokers)
	}
	if a.QuorumSize < 1 || a.QuorumSize > 7 || a.QuorumSize%2 == 0 {
		refuse("quorumSize is %d: must be 1, 3, 5 or 7, since an even one survives no more than one less", a.QuorumSize)
	}
	errs = append(errs, a.Broker.validate("broker", "kafkaHeap"), a.Quorum.validate("quorum member", "heap of a quorum member"))
	if a.Replicas < 1 || a.Replicas > a.Brokers {
		refuse("replicationFactor is %d: must be 1 to brokers, %d", a.Replicas, a.Brokers)
	}
	if a.MinISR < 1 || a.MinISR > a.Replicas {
		refuse("minInsyncReplicas is %d: must be 1 to replicationFactor, %d", a.MinISR, a.Replicas)
	}
	if a.InternalReplicas < 1 || a.InternalReplicas > a.Brokers {
		refuse("brokers is %d: Kafka's own topics have %d replicas: use at least that many", a.Brokers, a.InternalReplicas)
	}
	if a.InternalReplicas < a.MinISR {
		refuse("minInsyncReplicas is %d: Kafka's own topics have %d replicas, and no consumer group could store its offsets: use at most that many", a.MinISR, a.InternalReplicas)
	}
	if a.Retention < 10*time.Second {
		refuse("retention is %s: must be at least 10s", a.Retention)
	}
	if a.Restart < 0 {
		refuse("kafkaRestart is %d: must be 0, or higher than before to roll the brokers", a.Restart)
	}
	if a.MinReady < 0 || a.MinReady%time.Second != 0 {
		refuse("kafkaRestartPause is %s: must be whole seconds", a.MinReady)
	}
	if a.SelfTestDeadline < time.Minute || a.SelfTestDeadline%time.Second != 0 {
		refuse("SelfTestDeadline of Kafka is %s: must be whole seconds, at least 1m", a.SelfTestDeadline)
	}
	errs = append(errs, a.validateConfig(), a.Clients.validate(), a.ZookeeperClients.validate())
	if s := a.Security; s != nil {
		if !userForm.MatchString(s.User) {
			refuse("kafkaUser is %q: must be a letter, then letters, digits and '_'", s.User)
		}
		if s.ServerName == "" {
			refuse("ServerName is empty: give the name in the brokers' certificate")
		}
	}
	return errors.Join(errs...)
}

// given refuses arguments without what other resources and the secret configuration give.
func (a *Args) given() error {
	var errs []error
	if a.Namespace == nil {
		errs = append(errs, errors.New("no namespace given"))
	}
	if s := a.Security; s != nil {
		for _, secret := range []struct {
			key   string
			value pulumi.StringInput
		}{{"kafkaPassword", s.Password}, {"kafkaCertificate", s.Certificate}, {"kafkaKey", s.Key}, {"kafkaAuthority", s.Authority}} {
			if secret.value == nil {
				errs = append(errs, fmt.Errorf("%s is missing: TLS and SASL need it", secret.key))
			}
		}
	}
	return errors.Join(errs...)
}

func (s *Size) validate(what, heapKey string) error {
	var errs []error
	if s.CPU == "" || s.Disk == "" {
		errs = append(errs, fmt.Errorf("%s: CPU is %q and disk is %q: give both, such as 500m and 20Gi", what, s.CPU, s.Disk))
	}
	memory, err := memoryBytes(s.Memory)
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("%s: %w", what, err))...)
	}
	// The rest is for metaspace, threads, direct buffers and some page cache; a JVM that fills its
	// container with heap is killed under load.
	if s.Heap < 64<<20 || s.Heap > memory/4*3 {
		errs = append(errs, fmt.Errorf("%s is %d MiB: must be at least 64 MiB, and at most three quarters of the memory of a %s, %s", heapKey, s.Heap>>20, what, s.Memory))
	}
	return errors.Join(errs...)
}

func memoryBytes(memory string) (int64, error) {
	if !memoryForm.MatchString(memory) {
		return 0, fmt.Errorf("memory is %q: must be a whole number and Mi or Gi, such as 8Gi", memory)
	}
	n, err := strconv.ParseInt(memory[:len(memory)-2], 10, 32)
	if err != nil {
		return 0, fmt.Errorf("memory is %q: %w", memory, err)
	}
	if strings.HasSuffix(memory, "Gi") {
		n <<= 10
	}
	return n << 20, nil
}

func (p *Peers) validate() error {
	var errs []error
	for _, cidr := range p.CIDRs {
		switch prefix, err := netip.ParsePrefix(cidr); {
		case err != nil:
			errs = append(errs, fmt.Errorf("peerCidr: %q is no network: write it like 10.1.0.0/16", cidr))
		case prefix.Bits() == 0:
			errs = append(errs, fmt.Errorf("peerCidr: %s is everyone: name the peer's addresses", cidr))
		}
	}
	return errors.Join(errs...)
}

// owned are keys of server.properties that follow from Args, or that pods would not work with. An
// entry that ends in a dot stands for all keys that begin so.
var owned = []string{
	"broker.id", "broker.rack", "node.id", "process.roles", "reserved.broker.max.id",
	"listeners", "advertised.listeners", "listener.security.protocol.map", "listener.name.",
	"inter.broker.listener.name", "security.inter.broker.protocol", "control.plane.listener.name", "port", "host.name", "advertised.port", "advertised.host.name",
	"controller.quorum.voters", "controller.quorum.bootstrap.servers", "controller.listener.names",
	"zookeeper.connect", "log.dir", "log.dirs", "metadata.log.dir",
	"ssl.", "sasl.", "config.providers", "config.providers.",
	"default.replication.factor", "min.insync.replicas", "log.retention.ms", "log.retention.minutes", "log.retention.hours",
	"offsets.topic.replication.factor", "transaction.state.log.replication.factor",
}

func (a *Args) validateConfig() error {
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(a.BrokerConfig)) {
		mine := func(o string) bool { return key == o || strings.HasSuffix(o, ".") && strings.HasPrefix(key, o) }
		switch {
		case strings.TrimSpace(key) == "" || strings.TrimSpace(key) != key:
			errs = append(errs, fmt.Errorf("kafkaConfig: %q is no key of server.properties", key))
		case slices.ContainsFunc(owned, mine):
			errs = append(errs, fmt.Errorf("kafkaConfig: %s is %q: it follows from other settings and cannot be set here", key, a.BrokerConfig[key]))
		}
	}
	return errors.Join(errs...)
}
