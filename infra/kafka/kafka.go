// Package kafka declares one Kafka cluster on Kubernetes, with its ZooKeepers or KRaft controllers,
// for either region.
//
// It is a StatefulSet of ours and no operator, since what an operator guards against - a broker that
// is gone, a cluster that shrinks - is what is tested here.
//
// # What the containers rely on
//
// The Kafka image is apache/kafka 3.9.x. Its entrypoint only knows KRaft, so its scripts in
// /opt/kafka/bin are run instead, with configuration files of ours. The load generator's image brings
// the JMX exporter's agent (loadgen install-agent).
//
// # Brokers and their disks
//
// A broker's log is an emptyDir on its node's disk, as in the talk. A killed container keeps it; a
// replaced pod starts empty and copies everything from its peers. No update ever replaces a broker's
// pod by itself: a changed configuration reaches the ConfigMap and marks the pods as stale
// (Kafka.StaleBrokersCommand), and Args.Restart rolls them. The number of brokers is in no
// configuration file, so that a cluster of one broker less is a StatefulSet of one replica less.
package kafka

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// Ports of the cluster's pods.
const (
	BrokerPort     = 9092 // clients and brokers
	ControllerPort = 9093 // KRaft controllers
	ZookeeperPort  = 2181 // ZooKeeper's clients
	MetricsPort    = 9404 // JMX exporter, on every pod, named MetricsPortName
)

// MetricsPortName names the JMX exporter's port on pods and Services, for ServiceMonitors.
const MetricsPortName = "metrics"

// BrokerApp returns the labels of the brokers, whose pods and Services are called kafka and kafka-N.
func BrokerApp() kube.App { return kube.App{Name: "kafka", Component: "broker"} }

// ZookeeperApp returns the labels of the ZooKeepers, whose pods are called zookeeper-N.
func ZookeeperApp() kube.App { return kube.App{Name: "zookeeper", Component: "zookeeper"} }

// ControllerApp returns the labels of the KRaft controllers, whose pods are called kafka-controller-N.
func ControllerApp() kube.App { return kube.App{Name: "kafka-controller", Component: "controller"} }

// Size is what one pod gets.
type Size struct {
	Heap   int64  // of the JVM, both -Xms and -Xmx, bytes: 64 MiB or more, at most three quarters of Memory
	CPU    string // asked for, in Kubernetes' form; there is no limit
	Memory string // asked for and limit: a number and Mi or Gi, such as 8Gi
	Disk   string // limit of the emptyDir with the data, in Kubernetes' form; a pod that exceeds it is evicted
}

// Peers are others that may reach a port: pods of ours in further namespaces of this cluster, and
// addresses.
type Peers struct {
	Namespaces []string // their pods with the label app.kubernetes.io/part-of: kafka-mirror-tester
	CIDRs      []string // such as the peer region's 10.1.0.0/16
}

// Security switches TLS and SASL on. There is one user, for clients and brokers, and one certificate,
// for brokers of both clusters: brokers are known by their pods' addresses, so that the certificate is
// for one name, which clients verify instead of the address, and brokers do not verify at all: the
// authority is to sign nothing but these two clusters. ZooKeeper stays in plain text, behind its
// NetworkPolicy.
type Security struct {
	User       string // a letter, then letters, digits and '_'
	ServerName string // name in the certificate
	// Password, and in PEM form: Certificate (with intermediates, if any), its Key (PKCS #8, not
	// encrypted), and the Authority's certificate. All are secret from here on, whatever they were.
	Password, Certificate, Key, Authority pulumi.StringInput
}

// Args describes a cluster. What is not said to be optional is required.
type Args struct {
	Namespace    pulumi.StringInput
	Image        string // apache/kafka, by digest
	LoadgenImage string // load generator's, by digest

	Mode       string // scenario.ZooKeeper or scenario.KRaft
	Brokers    int    // 1 to 1000
	QuorumSize int    // ZooKeepers or controllers: 1, 3, 5 or 7
	Broker     Size
	Quorum     Size

	Replicas         int           // default replication factor of topics, 1 to Brokers
	MinISR           int           // default min.insync.replicas, 1 to Replicas
	InternalReplicas int           // replication factor of Kafka's own topics, 1 to Brokers; the first so many brokers (3 at most) are the bootstrap servers
	Retention        time.Duration // default retention of records, at least 10 s
	// BrokerConfig has further or other keys of server.properties. Optional.
	BrokerConfig map[string]string
	// Restart is 0 until stale brokers are to be rolled. A higher number than before has the
	// StatefulSet replace all brokers, one at a time, each MinReady after the one before got ready.
	// It stays: with 0 again all pods would be stale, though they differ in nothing that matters. As
	// long as it is above 0, whatever changes a broker's pod also rolls the brokers.
	Restart int
	// MinReady is how long a replaced broker gets to copy its partitions before the next one is
	// replaced, whole seconds. Ready means only that it listens: with less time than copying takes, a
	// roll loses data where replicas are few.
	MinReady time.Duration

	// Domain of the names by which the other region finds this cluster, such as
	// us-east-1.kafka-mirror-tester.internal. Empty: names of this Kubernetes cluster only. Nothing in
	// this Kubernetes cluster uses them.
	Domain   string
	Security *Security // nil: plain text

	Clients             Peers  // of Kafka, besides pods of ours in this namespace
	ZookeeperClients    Peers  // besides the brokers; uReplicator is one
	MonitoringNamespace string // whose pods may read metrics; empty: none may

	SelfTestDeadline time.Duration // bound on the cluster's start, whole seconds, at least 1 min
}

// Kafka is a cluster.
type Kafka struct {
	pulumi.ResourceState

	// Bootstrap and ZookeeperConnect are how the other region reaches it: host:port of some brokers,
	// and of the ZooKeepers (empty with KRaft), with commas.
	Bootstrap, ZookeeperConnect pulumi.StringOutput
	// LocalZookeeper has the ZooKeepers' names within this Kubernetes cluster; empty with KRaft.
	LocalZookeeper pulumi.StringOutput
	// StaleBrokersCommand lists the brokers whose pods are older than their template.
	StaleBrokersCommand pulumi.StringOutput
	// Access is how pods in the cluster's namespace reach it, by names within this Kubernetes cluster,
	// which are there as soon as the pods are. Pods elsewhere need a Secret of their own with the same
	// keys.
	Access *kube.Access
	// SelfTest succeeds when every broker takes and gives a record. Whatever needs a working cluster
	// depends on it.
	SelfTest *batchv1.Job

	args    *Args
	name    string
	ready   []pulumi.Resource // what the self-test waits for
	servers pulumi.Resource   // the brokers' credentials; nil for plain text
}

// NewKafka registers a cluster. Every mistake in args is reported at once, before anything is
// registered.
func NewKafka(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Kafka, error) {
	if err := errors.Join(args.Validate(), args.given()); err != nil {
		return nil, fmt.Errorf("kafka cluster %s: %w", name, err)
	}
	k := &Kafka{args: args, name: name}
	if err := ctx.RegisterComponentResource("kafka-mirror-tester:kafka:Kafka", name, k, opts...); err != nil {
		return nil, fmt.Errorf("kafka cluster %s: %w", name, err)
	}
	for _, step := range []func(*pulumi.Context) error{
		k.addresses,
		k.secrets,
		k.quorum,
		k.brokers,
		k.publicNames,
		k.selfTest,
	} {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("kafka cluster %s: %w", name, err)
		}
	}
	if err := ctx.RegisterResourceOutputs(k, pulumi.Map{
		"bootstrap":           k.Bootstrap,
		"zookeeperConnect":    k.ZookeeperConnect,
		"localZookeeper":      k.LocalZookeeper,
		"staleBrokersCommand": k.StaleBrokersCommand,
	}); err != nil {
		return nil, fmt.Errorf("kafka cluster %s: register outputs: %w", name, err)
	}
	return k, nil
}

// addresses sets the outputs that others reach the cluster by. Its own side has names that need no
// ExternalDNS: one that is asked for before it is published would stay absent for a while.
func (k *Kafka) addresses(*pulumi.Context) error {
	args := k.args
	list := func(count, port int, app kube.App) (local, public pulumi.StringOutput) {
		var here, there []string
		for i := range count {
			here = append(here, fmt.Sprintf("%s.NAMESPACE.svc:%d", podName(app, i), port))
			there = append(there, fmt.Sprintf("%s:%d", publicName(app, i, args.Domain), port))
		}
		local = args.Namespace.ToStringOutput().ApplyT(func(namespace string) string {
			return strings.ReplaceAll(strings.Join(here, ","), "NAMESPACE", namespace)
		}).(pulumi.StringOutput)
		if args.Domain == "" {
			return local, local
		}
		return local, pulumi.String(strings.Join(there, ",")).ToStringOutput()
	}
	local, public := list(args.seeds(), BrokerPort, BrokerApp())
	k.Bootstrap, k.Access = public, &kube.Access{Bootstrap: local}
	k.LocalZookeeper = pulumi.String("").ToStringOutput()
	k.ZookeeperConnect = k.LocalZookeeper
	if args.Mode == scenario.ZooKeeper {
		k.LocalZookeeper, k.ZookeeperConnect = list(args.QuorumSize, ZookeeperPort, ZookeeperApp())
	}
	if args.Security != nil {
		k.Access.Secret, k.Access.ServerName = clientSecret, args.Security.ServerName
	}
	k.StaleBrokersCommand = pulumi.Sprintf("kubectl --namespace %[1]s get pods --selector "+
		"\"app.kubernetes.io/name=%[2]s,app.kubernetes.io/component=%[3]s,controller-revision-hash!="+
		"$(kubectl --namespace %[1]s get statefulset %[2]s --output jsonpath='{.status.updateRevision}')\"",
		args.Namespace, BrokerApp().Name, BrokerApp().Component)
	return nil
}

// seeds is how many brokers are known by name: no more than there ever are, and never another number
// when brokers come and go, since each client's settings have it.
func (a *Args) seeds() int { return min(3, a.InternalReplicas) }

// podName is the name of pod i by which its namespace finds it.
func podName(app kube.App, i int) string { return fmt.Sprintf("%s-%d.%s", app.Name, i, app.Name) }

// clusterID returns the id of a KRaft cluster: always the same for the same stack and component, and
// of Kafka's form, 16 bytes in base64. https://kafka.apache.org/39/documentation.html#kraft_storage
func clusterID(ctx *pulumi.Context, name string) string {
	sum := sha256.Sum256([]byte(ctx.Project() + "/" + ctx.Stack() + "/" + name))
	sum[0] &= 0x7f // else it might begin with '-', as an option does
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// selfTest waits until exactly so many brokers are there, and has a record written to and read from
// each of them.
func (k *Kafka) selfTest(ctx *pulumi.Context) error {
	deadline := int(k.args.SelfTestDeadline.Seconds())
	job, err := kube.NewJob(ctx, k.name+"-selftest", &kube.JobArgs{
		App:       kube.App{Name: "kafka-selftest", Component: "selftest"},
		Namespace: k.args.Namespace,
		Image:     k.args.LoadgenImage,
		// The tool gives up before the Job does, so that its words are in the log.
		Command: []string{"selftest", "kafka", "--brokers", fmt.Sprint(k.args.Brokers),
			"--timeout", fmt.Sprintf("%ds", deadline-30)},
		Kafka:    k.Access,
		Deadline: deadline,
		Retries:  3,
	}, pulumi.Parent(k), pulumi.DependsOn(k.ready))
	if err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	k.SelfTest = job
	return nil
}
