package replicator

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// addresses are known when clusters are.
type addresses struct {
	source, destination                   []string
	sourceZookeeper, destinationZookeeper string
}

// withAddresses calls build when the clusters' addresses are known. T is []string or
// map[string]string, which have outputs of their own.
func withAddresses[T any](a *Args, build func(addresses) (T, error)) pulumi.Output {
	text := func(in pulumi.StringInput) pulumi.StringOutput {
		if in == nil {
			return pulumi.String("").ToStringOutput()
		}
		return in.ToStringOutput()
	}
	return pulumi.All(text(a.Source.Bootstrap), text(a.Destination.Bootstrap), text(a.SourceZookeeper), text(a.DestinationZookeeper)).ApplyT(
		func(known []any) (T, error) {
			return build(addresses{
				source: strings.Split(known[0].(string), ","), destination: strings.Split(known[1].(string), ","),
				sourceZookeeper: known[2].(string), destinationZookeeper: known[3].(string),
			})
		})
}

// files makes configuration files.
func (a *Args) files(build func(addresses) (map[string][]byte, error)) pulumi.StringMapOutput {
	return withAddresses(a, func(at addresses) (map[string]string, error) {
		made, err := build(at)
		text := map[string]string{}
		for name, content := range made {
			text[name] = string(content)
		}
		return text, err
	}).(pulumi.StringMapOutput)
}

// ownZookeeper is the connection string of the replicator's own ZooKeepers. It has no path: they serve
// nobody else, and a path would have to be made before.
func (a *Args) ownZookeeper() string {
	var each []string
	for i := range a.ZookeeperSize {
		each = append(each, fmt.Sprintf("%s:%d", pod(ZookeeperApp(a.Kind), i), zookeeperPort))
	}
	return strings.Join(each, ",")
}

// zookeeper registers the replicator's own ZooKeepers. Their pods are never replaced by an update: with
// data in emptyDirs, a majority of replaced ones has forgotten the replicator's state. No fault is aimed
// at them, so the update waits for them, and workers find them at their first try.
func (r *Replicator) zookeeper(ctx *pulumi.Context) error {
	a := r.args
	p := map[string]string{
		"dataDir":                   dataPath,
		"clientPort":                strconv.Itoa(zookeeperPort),
		"tickTime":                  "2000",
		"initLimit":                 "10",
		"syncLimit":                 "5",
		"maxClientCnxns":            "0",
		"admin.enableServer":        "false",
		"4lw.commands.whitelist":    "srvr",
		"autopurge.purgeInterval":   "1",
		"autopurge.snapRetainCount": "3",
	}
	app := ZookeeperApp(a.Kind)
	if a.ZookeeperSize > 1 {
		p["quorumListenOnAllIPs"] = "true" // a pod's own name may not resolve yet when it starts
		for i := range a.ZookeeperSize {
			p[fmt.Sprintf("server.%d", i+1)] = fmt.Sprintf("%s:%d:%d", pod(app, i), zookeeperPeerPort, zookeeperElectionPort)
		}
	}
	clients := kube.FromApps(WorkerApp(a.Kind), app)
	if a.Kind == scenario.UReplicator {
		clients = kube.FromApps(WorkerApp(a.Kind), ControllerApp(), app)
	}
	return r.pods(ctx, &set{
		app: app, what: "zookeeper", replicas: a.ZookeeperSize, size: a.ZookeeperPod, image: a.Images.Kafka,
		files:  pulumi.StringMap{"zookeeper.properties": pulumi.String(replicators.Properties(p))}.ToStringMapOutput(),
		before: []string{"/bin/bash", "-c", "echo $((POD_INDEX + 1)) > " + dataPath + `/myid && exec "$@"`, "bash"},
		class:  "org.apache.zookeeper.server.quorum.QuorumPeerMain", arguments: words(configPath + "/zookeeper.properties"),
		classPath: kafkaClassPath,
		ports:     map[string]int{"client": zookeeperPort, "peer": zookeeperPeerPort, "election": zookeeperElectionPort},
		// One without a quorum listens too; only one that serves tells its mode.
		ready: &corev1.ProbeArgs{
			Exec: &corev1.ExecActionArgs{Command: pulumi.ToStringArray([]string{"/bin/bash", "-c",
				fmt.Sprintf("exec 3<>/dev/tcp/127.0.0.1/%d && echo srvr >&3 && [[ $(cat <&3) == *Mode:* ]]", zookeeperPort)})},
			PeriodSeconds: pulumi.Int(5), TimeoutSeconds: pulumi.Int(5), FailureThreshold: pulumi.Int(3),
		},
		ingress: []kube.Ingress{
			{Ports: []int{zookeeperPort}, From: clients},
			{Ports: []int{zookeeperPeerPort, zookeeperElectionPort}, From: kube.FromApps(app)},
		},
		data: true, awaited: true,
	})
}

func (a *Args) describeUReplicator(at addresses) replicators.UReplicator {
	var u replicators.UReplicator
	u.SetDefaults()
	u.Source, u.Destination = at.source, at.destination
	u.SourceZooKeeper, u.DestinationZooKeeper, u.HelixZooKeeper = at.sourceZookeeper, at.destinationZookeeper, a.ownZookeeper()
	u.Overrides = a.Config
	return u
}

// uReplicator registers its controllers and workers.
func (r *Replicator) uReplicator(ctx *pulumi.Context) error {
	a := r.args
	err := r.pods(ctx, &set{
		app: ControllerApp(), what: "controller", replicas: a.Controllers, size: a.Size, image: a.Images.Replicator,
		files:   pulumi.StringMap{}.ToStringMapOutput(), // all is said by arguments
		options: []string{replicators.UReplicatorJavaOption},
		class:   replicators.UReplicatorControllerClass,
		// The clusters' addresses may be among them.
		arguments: withAddresses(a, func(at addresses) ([]string, error) {
			u := a.describeUReplicator(at)
			return u.ControllerArgs(dataPath), u.Validate()
		}).(pulumi.StringArrayOutput),
		classPath: a.classPath(),
		ports:     map[string]int{"rest": UReplicatorPort},
		ready: &corev1.ProbeArgs{
			HttpGet:       &corev1.HTTPGetActionArgs{Path: pulumi.String("/health"), Port: pulumi.Int(UReplicatorPort)},
			PeriodSeconds: pulumi.Int(5), TimeoutSeconds: pulumi.Int(5), FailureThreshold: pulumi.Int(3),
		},
		ingress: []kube.Ingress{{Ports: []int{UReplicatorPort}, From: kube.FromApps(registerApp(a.Kind))}},
		data:    true,
	})
	if err != nil {
		return err
	}
	u := a.describeUReplicator(addresses{})
	return r.pods(ctx, &set{
		app: WorkerApp(a.Kind), what: "worker", replicas: a.Workers, size: a.Size, image: a.Images.Replicator,
		files: a.files(func(at addresses) (map[string][]byte, error) {
			u := a.describeUReplicator(at)
			return map[string][]byte{
				"consumer.properties": u.ConsumerProperties(),
				"producer.properties": u.ProducerProperties(),
				"helix.properties":    u.HelixProperties(""),
			}, u.Validate()
		}),
		// A worker keeps its name in Helix over its restarts, or its partitions would go to others and
		// come back each time.
		prepare:   []string{"/bin/bash", "-c", fmt.Sprintf(`{ cat %s/helix.properties && echo "instanceId=$POD_NAME"; } > %s/helix.properties`, configPath, dataPath)},
		options:   []string{replicators.UReplicatorJavaOption},
		class:     replicators.UReplicatorWorkerClass,
		arguments: words(u.WorkerArgs(configPath+"/consumer.properties", configPath+"/producer.properties", dataPath+"/helix.properties")...),
		classPath: a.classPath(),
		data:      true,
	})
}

func (a *Args) describeBrooklin(at addresses) replicators.Brooklin {
	var b replicators.Brooklin
	b.SetDefaults()
	b.Destination, b.DestinationZooKeeper, b.ZooKeeper = at.destination, at.destinationZookeeper, a.ownZookeeper()
	b.Overrides = a.Config
	return b
}

// describeDatastream is what the registration makes.
func (a *Args) describeDatastream(at addresses) (replicators.Datastream, error) {
	return replicators.NewDatastream("kmt", at.source, a.pattern())
}

// pattern matches the topics to copy, the self-test's included.
func (a *Args) pattern() string { return replicators.Patterns(a.TopicPattern, a.SelfTest.Name) }

// brooklin registers its servers, which are its workers.
func (r *Replicator) brooklin(ctx *pulumi.Context) error {
	a := r.args
	return r.pods(ctx, &set{
		app: WorkerApp(a.Kind), what: "worker", replicas: a.Workers, size: a.Size, image: a.Images.Replicator,
		files: a.files(func(at addresses) (map[string][]byte, error) {
			b := a.describeBrooklin(at)
			return map[string][]byte{"server.properties": b.Properties()}, b.Validate()
		}),
		class: replicators.BrooklinClass, arguments: words(configPath + "/server.properties"),
		classPath: a.classPath(),
		ports:     map[string]int{"rest": BrooklinPort},
		ready:     listens(BrooklinPort),
		ingress:   []kube.Ingress{{Ports: []int{BrooklinPort}, From: kube.FromApps(registerApp(a.Kind))}},
	})
}

// mirrorMaker2Tasks is MirrorMaker 2's tasks.max: as many nodes can share the work. A fixed number, or a
// worker more would be another configuration of all.
const mirrorMaker2Tasks = 32

func (a *Args) describeMirrorMaker2(at addresses) replicators.MirrorMaker2 {
	var m replicators.MirrorMaker2
	m.SetDefaults()
	m.Source, m.Destination = at.source, at.destination
	m.Topics = []string{a.TopicPattern, a.SelfTest.Name}
	m.Tasks, m.Replicas = mirrorMaker2Tasks, a.Replicas
	m.Listener = fmt.Sprintf("http://:%d", mirrorMaker2Port)
	m.SourceCredentials, m.DestinationCredentials = credentials(a.Source, "source"), credentials(a.Destination, "destination")
	m.Overrides = maps.Clone(a.Config)
	return m
}

// parallel returns MirrorMaker 2's tasks.max after overrides.
func parallel(m replicators.MirrorMaker2) string {
	if tasks, ok := m.Overrides["tasks.max"]; ok {
		return tasks
	}
	return strconv.Itoa(m.Tasks)
}

// credentials says where the Secret of a cluster is mounted.
func credentials(access *kube.Access, side string) *replicators.Credentials {
	if access == nil || access.Secret == "" {
		return nil
	}
	return &replicators.Credentials{Directory: secretPath + "/" + side, Authority: kube.SecretAuthority, User: kube.SecretUser, Password: kube.SecretPassword}
}

// mirrorMaker2 registers its nodes, which are its workers.
func (r *Replicator) mirrorMaker2(ctx *pulumi.Context) error {
	a := r.args
	return r.pods(ctx, &set{
		app: WorkerApp(a.Kind), what: "worker", replicas: a.Workers, size: a.Size, image: a.Images.Kafka,
		files: a.files(func(at addresses) (map[string][]byte, error) {
			m := a.describeMirrorMaker2(at)
			return map[string][]byte{"mirrormaker2.properties": m.Properties()}, m.Validate()
		}),
		class: replicators.MirrorMaker2Class, arguments: words(configPath + "/mirrormaker2.properties"),
		classPath: a.classPath(),
		ports:     map[string]int{"nodes": mirrorMaker2Port},
		ready:     listens(mirrorMaker2Port),
		ingress:   []kube.Ingress{{Ports: []int{mirrorMaker2Port}, From: kube.FromApps(WorkerApp(a.Kind))}},
		secrets:   map[string]string{"source": a.Source.Secret, "destination": a.Destination.Secret},
	})
}

// kafkaClassPath is where apache/kafka has its jars.
const kafkaClassPath = "/opt/kafka/libs/*"

func (a *Args) classPath() string {
	switch {
	case a.ClassPath != "":
		return a.ClassPath
	case a.Kind == scenario.MirrorMaker2:
		return kafkaClassPath
	}
	return "/opt/" + a.Kind + "/lib/*"
}

// rest returns the labels of the pods that serve the REST interface, and its port; 0 without one.
func (a *Args) rest() (kube.App, int) {
	switch a.Kind {
	case scenario.UReplicator:
		return ControllerApp(), UReplicatorPort
	case scenario.Brooklin:
		return WorkerApp(a.Kind), BrooklinPort
	}
	return kube.App{}, 0
}
