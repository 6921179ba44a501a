package kafka

import (
	"crypto/sha256"
	_ "embed" // for the containers' files
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	policyv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/policy/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

//go:embed log4j.properties
var log4jProperties []byte

// Ports of ZooKeepers among themselves.
const (
	zookeeperPeerPort     = 2888
	zookeeperElectionPort = 3888
)

// set is one StatefulSet and all that belongs to it, named after its app.
type set struct {
	app      kube.App
	replicas int
	size     Size
	files    map[string][]byte // of its ConfigMap
	command  []string
	format   string // KRaft's cluster id, for a data directory to be formatted with; empty: none is
	ports    map[string]int
	ready    *corev1.ProbeArgs
	grace    int // seconds from the request to stop to the kill
	ingress  []kube.Ingress

	restart  int
	minReady int // seconds
}

// quorum registers the ZooKeepers, or the KRaft controllers.
//
// Their pods are never replaced by an update, whatever changes: with data in emptyDirs, a majority of
// replaced ones has lost the cluster.
func (k *Kafka) quorum(ctx *pulumi.Context) error {
	args := k.args
	if args.Mode == scenario.KRaft {
		return k.register(ctx, &set{
			app: ControllerApp(), replicas: args.QuorumSize, size: args.Quorum, grace: 60,
			files:   map[string][]byte{"server.properties": args.controllerProperties()},
			command: []string{"/opt/kafka/bin/kafka-server-start.sh", configPath + "/server.properties"},
			format:  clusterID(ctx, k.name),
			ports:   map[string]int{"controller": ControllerPort},
			ready:   listens(ControllerPort),
			ingress: []kube.Ingress{{Ports: []int{ControllerPort}, From: kube.FromApps(BrokerApp(), ControllerApp())}},
		})
	}
	return k.register(ctx, &set{
		app: ZookeeperApp(), replicas: args.QuorumSize, size: args.Quorum, grace: 30,
		files: map[string][]byte{"zookeeper.properties": args.zookeeperProperties()},
		command: []string{"/bin/bash", "-c", "echo $((POD_INDEX + 1)) > " + dataPath + "/myid && " +
			"exec /opt/kafka/bin/zookeeper-server-start.sh " + configPath + "/zookeeper.properties"},
		ports: map[string]int{"client": ZookeeperPort, "peer": zookeeperPeerPort, "election": zookeeperElectionPort},
		// A ZooKeeper without a quorum listens too; only one that serves tells its mode.
		ready: &corev1.ProbeArgs{
			Exec: &corev1.ExecActionArgs{Command: pulumi.ToStringArray([]string{"/bin/bash", "-c",
				fmt.Sprintf("exec 3<>/dev/tcp/127.0.0.1/%d && echo srvr >&3 && [[ $(cat <&3) == *Mode:* ]]", ZookeeperPort)})},
			PeriodSeconds: pulumi.Int(10), TimeoutSeconds: pulumi.Int(5), FailureThreshold: pulumi.Int(3),
		},
		ingress: []kube.Ingress{
			{Ports: []int{ZookeeperPort}, From: append(kube.FromApps(BrokerApp(), ZookeeperApp()), args.ZookeeperClients.from()...)},
			{Ports: []int{zookeeperPeerPort, zookeeperElectionPort}, From: kube.FromApps(ZookeeperApp())},
		},
	})
}

// brokers registers the brokers.
func (k *Kafka) brokers(ctx *pulumi.Context) error {
	args := k.args
	s := &set{
		app: BrokerApp(), replicas: args.Brokers, size: args.Broker,
		grace:   120, // a controlled shutdown moves each leadership first
		files:   map[string][]byte{"server.properties": args.brokerProperties()},
		command: []string{"/opt/kafka/bin/kafka-server-start.sh", configPath + "/server.properties"},
		ports:   map[string]int{"kafka": BrokerPort},
		ready:   listens(BrokerPort),
		ingress: []kube.Ingress{{Ports: []int{BrokerPort}, From: append(kube.FromOurs(), args.Clients.from()...)}},
		restart: args.Restart, minReady: int(args.MinReady.Seconds()),
	}
	if args.Mode == scenario.KRaft {
		s.format = clusterID(ctx, k.name)
	}
	return k.register(ctx, s)
}

// listens is the readiness of what opens its port when it is up. There is no liveness probe anywhere
// here: the kubelet would restart a broker that is paused or cut off on purpose, and end the fault
// before its time. A JVM that is out of memory ends by itself (ExitOnOutOfMemoryError).
func listens(port int) *corev1.ProbeArgs {
	return &corev1.ProbeArgs{
		TcpSocket:     &corev1.TCPSocketActionArgs{Port: pulumi.Int(port)},
		PeriodSeconds: pulumi.Int(5), TimeoutSeconds: pulumi.Int(3), FailureThreshold: pulumi.Int(3),
	}
}

// register makes the set's objects. Pods come last, into what they need.
func (k *Kafka) register(ctx *pulumi.Context, s *set) error {
	process := replicators.KafkaProcess
	if s.app == ZookeeperApp() {
		process = replicators.ZooKeeperProcess
	}
	rules, err := replicators.JMX(process)
	if err != nil {
		return err
	}
	s.files["log4j.properties"], s.files["jmx.yml"] = log4jProperties, rules
	s.ingress = append(s.ingress, kube.Ingress{Ports: []int{MetricsPort}, From: kube.FromNamespace(k.args.MonitoringNamespace)})
	name := k.resourceName(s.app)
	parent := pulumi.Parent(k)
	wrap := func(what string, err error) error { return fmt.Errorf("%s %s: %w", what, s.app.Name, err) }

	data := pulumi.StringMap{}
	for file, content := range s.files {
		data[file] = pulumi.String(content)
	}
	config, err := corev1.NewConfigMap(ctx, name, &corev1.ConfigMapArgs{
		Metadata: s.app.Meta(k.args.Namespace, s.app.Name), Data: data,
	}, parent)
	if err != nil {
		return wrap("config map", err)
	}
	policy, err := s.app.NewIngressPolicy(ctx, name, k.args.Namespace, s.app.Name, s.ingress, parent)
	if err != nil {
		return wrap("network policy", err)
	}
	service, err := corev1.NewService(ctx, name, &corev1.ServiceArgs{
		Metadata: kube.Annotated(s.app.Meta(k.args.Namespace, s.app.Name), kube.SkipAwait, "true"),
		Spec: &corev1.ServiceSpecArgs{
			ClusterIP:                pulumi.String("None"),
			PublishNotReadyAddresses: pulumi.Bool(true), // a quorum forms, and a cluster is found, by pods that are not ready yet
			Selector:                 s.app.Selector(),
			Ports:                    s.servicePorts(),
		},
	}, parent)
	if err != nil {
		return wrap("service", err)
	}
	budget, err := policyv1.NewPodDisruptionBudget(ctx, name, &policyv1.PodDisruptionBudgetArgs{
		Metadata: s.app.Meta(k.args.Namespace, s.app.Name),
		Spec: &policyv1.PodDisruptionBudgetSpecArgs{
			MaxUnavailable: pulumi.Int(1), Selector: s.app.LabelSelector(),
		},
	}, parent)
	if err != nil {
		return wrap("disruption budget", err)
	}
	needs := []pulumi.Resource{config, policy, service, budget}
	if k.servers != nil {
		needs = append(needs, k.servers)
	}
	pods, err := appsv1.NewStatefulSet(ctx, name, &appsv1.StatefulSetArgs{
		Metadata: kube.Annotated(s.app.Meta(k.args.Namespace, s.app.Name), kube.SkipAwait, "true"),
		Spec: &appsv1.StatefulSetSpecArgs{
			Replicas:            pulumi.Int(s.replicas),
			ServiceName:         pulumi.String(s.app.Name),
			Selector:            s.app.LabelSelector(),
			PodManagementPolicy: pulumi.String("Parallel"),
			UpdateStrategy:      s.updateStrategy(),
			MinReadySeconds:     pulumi.Int(s.minReady),
			Template:            k.template(s),
		},
	}, parent, pulumi.DependsOn(needs))
	if err != nil {
		return wrap("stateful set", err)
	}
	k.ready = append(k.ready, pods)
	return nil
}

// resourceName is what Pulumi calls the objects of an app: the component's name, and for the quorum
// its kind.
func (k *Kafka) resourceName(app kube.App) string {
	if app == BrokerApp() {
		return k.name
	}
	return k.name + "-" + app.Component
}

func (s *set) updateStrategy() *appsv1.StatefulSetUpdateStrategyArgs {
	if s.restart > 0 {
		return &appsv1.StatefulSetUpdateStrategyArgs{Type: pulumi.String("RollingUpdate")}
	}
	return &appsv1.StatefulSetUpdateStrategyArgs{Type: pulumi.String("OnDelete")}
}

func (s *set) servicePorts() corev1.ServicePortArray {
	var ports corev1.ServicePortArray
	for _, name := range slices.Sorted(maps.Keys(s.ports)) {
		ports = append(ports, &corev1.ServicePortArgs{Name: pulumi.String(name), Port: pulumi.Int(s.ports[name])})
	}
	return append(ports, &corev1.ServicePortArgs{Name: pulumi.String(MetricsPortName), Port: pulumi.Int(MetricsPort)})
}

// checksum tells configurations apart: pods of another one are stale.
func (s *set) checksum() string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		fmt.Fprintf(h, "%s %d\n%s", name, len(s.files[name]), s.files[name])
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func (k *Kafka) template(s *set) *corev1.PodTemplateSpecArgs {
	annotations := pulumi.StringMap{"kafka-mirror-tester/config": pulumi.String(s.checksum())}
	if s.restart > 0 {
		annotations["kafka-mirror-tester/restart"] = pulumi.String(fmt.Sprint(s.restart))
	}
	tempVolume, tempMount := kube.Scratch("temp", tempPath, "256Mi")
	dataVolume, dataMount := kube.Scratch("data", dataPath, s.size.Disk)
	agentVolume, agentMount := kube.Scratch("agent", agentPath, "32Mi")
	volumes := corev1.VolumeArray{tempVolume, dataVolume, agentVolume, &corev1.VolumeArgs{
		Name:      pulumi.String("config"),
		ConfigMap: &corev1.ConfigMapVolumeSourceArgs{Name: pulumi.String(s.app.Name)},
	}}
	mounts := corev1.VolumeMountArray{tempMount, dataMount, kube.ReadOnly("config", configPath)}
	if k.servers != nil && s.app != ZookeeperApp() {
		volumes = append(volumes, &corev1.VolumeArgs{
			Name:   pulumi.String("secret"),
			Secret: &corev1.SecretVolumeSourceArgs{SecretName: pulumi.String(serverSecret)},
		})
		mounts = append(mounts, kube.ReadOnly("secret", secretPath))
	}
	resources := kube.Resources{CPU: s.size.CPU, Memory: s.size.Memory}

	before := corev1.ContainerArray{&corev1.ContainerArgs{
		Name: pulumi.String("agent"), Image: pulumi.String(k.args.LoadgenImage),
		Args:            pulumi.ToStringArray([]string{"install-agent", "--to", agentJar}),
		Resources:       kube.Resources{CPU: "10m", CPULimit: "1", Memory: "64Mi"}.Args(),
		SecurityContext: kube.ContainerSecurity(),
		VolumeMounts:    corev1.VolumeMountArray{agentMount},
	}}
	if s.format != "" {
		before = append(before, &corev1.ContainerArgs{
			Name: pulumi.String("format"), Image: pulumi.String(k.args.Image),
			Command: withJVM(formatHeap, "", "/opt/kafka/bin/kafka-storage.sh", "format", "--ignore-formatted",
				"--cluster-id", s.format, "--config", configPath+"/server.properties"),
			Env:             podEnv(),
			Resources:       resources.Args(),
			SecurityContext: kube.ContainerSecurity(),
			VolumeMounts:    mounts,
		})
	}
	ports := corev1.ContainerPortArray{}
	for _, name := range slices.Sorted(maps.Keys(s.ports)) {
		ports = append(ports, &corev1.ContainerPortArgs{Name: pulumi.String(name), ContainerPort: pulumi.Int(s.ports[name])})
	}
	ports = append(ports, &corev1.ContainerPortArgs{Name: pulumi.String(MetricsPortName), ContainerPort: pulumi.Int(MetricsPort)})
	return &corev1.PodTemplateSpecArgs{
		Metadata: &metav1.ObjectMetaArgs{Labels: s.app.Labels(), Annotations: annotations},
		Spec: &corev1.PodSpecArgs{
			SecurityContext:               kube.PodSecurity(),
			AutomountServiceAccountToken:  pulumi.Bool(false),
			EnableServiceLinks:            pulumi.Bool(false),
			TerminationGracePeriodSeconds: pulumi.Int(s.grace),
			Affinity:                      s.app.HostAntiAffinity(true), // a lost node is one lost pod
			TopologySpreadConstraints:     s.app.ZoneSpread(),
			Volumes:                       volumes,
			InitContainers:                before,
			Containers: corev1.ContainerArray{&corev1.ContainerArgs{
				Name:            pulumi.String(s.app.Component),
				Image:           pulumi.String(k.args.Image),
				Command:         withJVM(s.size.Heap, agentOption(), s.command...),
				Env:             podEnv(),
				Ports:           ports,
				ReadinessProbe:  s.ready,
				Resources:       resources.Args(),
				SecurityContext: kube.ContainerSecurity(),
				VolumeMounts:    append(mounts, kube.ReadOnly("agent", agentPath)),
			}},
		},
	}
}

// podEnv tells a pod what sets it apart. The zone is a label of pods since Kubernetes 1.35, which
// copies it from the node; before, and on nodes without one, it is empty.
// https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#pod-topology-labels
func podEnv() corev1.EnvVarArray {
	return corev1.EnvVarArray{
		kube.FromField("POD_INDEX", kube.PodIndex),
		kube.FromField("POD_IP", "status.podIP"),
		kube.FromField("ZONE", "metadata.labels['topology.kubernetes.io/zone']"),
	}
}

// formatHeap is what kafka-storage.sh gets, bytes. It needs little.
const formatHeap = 128 << 20

// agentJar is the JMX exporter's agent.
const agentJar = agentPath + "/jmx_prometheus_javaagent.jar"

// agentOption has a JVM load it.
func agentOption() string {
	return fmt.Sprintf("-javaagent:%s=%d:%s/jmx.yml", agentJar, MetricsPort, configPath)
}

// withJVM is a command with the environment that jvmEnv gives it. It is not the container's, since
// Kafka's tools that someone runs in there would inherit it: a second heap of that size beside the
// broker's, and an agent that finds its port taken.
func withJVM(heap int64, agent string, command ...string) pulumi.StringArray {
	return pulumi.ToStringArray(slices.Concat([]string{"/usr/bin/env"}, jvmEnv(heap, agent), command))
}

// jvmEnv is what Kafka's scripts read. They would write logs below /opt/kafka, open a JMX port that
// nobody uses, and log garbage collections into files.
func jvmEnv(heap int64, agent string) []string {
	return []string{
		fmt.Sprintf("KAFKA_HEAP_OPTS=-Xms%dm -Xmx%[1]dm", heap>>20),
		"KAFKA_OPTS=-XX:+ExitOnOutOfMemoryError -Djava.io.tmpdir=" + tempPath + " " + agent,
		"KAFKA_JMX_OPTS=-XX:-UsePerfData",
		"KAFKA_LOG4J_OPTS=-Dlog4j.configuration=file:" + configPath + "/log4j.properties",
		"EXTRA_ARGS=-name kafka", // without -loggc
		"LOG_DIR=" + tempPath,
	}
}
