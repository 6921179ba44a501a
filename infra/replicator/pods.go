package replicator

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
)

//go:embed log4j.properties
var log4jProperties string

const (
	zookeeperPort         = 2181
	zookeeperPeerPort     = 2888
	zookeeperElectionPort = 3888
)

// Paths in containers.
const (
	configPath = "/config" // files of the ConfigMap
	secretPath = "/secret" // Secrets of the clusters, by side
	dataPath   = "/data"   // what the program writes
	agentPath  = "/agent"  // the JMX exporter's jar
	tempPath   = "/tmp"    // what libraries unpack
)

// agentJar is what the load generator's image brings along, under agentPath.
const agentJar = "/jmx_prometheus_javaagent.jar"

// set is one StatefulSet of Java programs and all that belongs to it.
type set struct {
	app      kube.App
	what     string // worker, controller or zookeeper: its objects are called KIND-what
	replicas int
	size     Size
	image    string
	files    pulumi.StringMapOutput // of its ConfigMap; log4j.properties and jmx.yml are added

	prepare   []string // command of an init container that has Kafka's image; empty: none
	before    []string // command that runs java, which it gets as its arguments; empty: java itself
	options   []string // of the JVM
	classPath string
	class     string
	arguments pulumi.StringArrayInput

	ports   map[string]int
	ready   *corev1.ProbeArgs // nil: ready when it runs
	ingress []kube.Ingress
	data    bool              // has a directory dataPath to write to
	secrets map[string]string // by directory below secretPath; those with an empty name are left out
	awaited bool              // the update waits for it, and never replaces its pods
}

func words(w ...string) pulumi.StringArray { return pulumi.ToStringArray(w) }

// objectName is what the objects of a set are called.
func (s *set) objectName() string { return s.app.Name + "-" + s.what }

// pod is the name of pod i of the ZooKeepers by which its namespace finds it.
func pod(zookeepers kube.App, i int) string {
	name := zookeepers.Name + "-zookeeper"
	return fmt.Sprintf("%s-%d.%s", name, i, name)
}

// listens is the readiness of what opens its port when it is up. There is no liveness probe anywhere
// here: the kubelet would restart a worker that is paused or cut off on purpose, and end the fault
// before its time.
func listens(port int) *corev1.ProbeArgs {
	return &corev1.ProbeArgs{
		TcpSocket:     &corev1.TCPSocketActionArgs{Port: pulumi.Int(port)},
		PeriodSeconds: pulumi.Int(5), TimeoutSeconds: pulumi.Int(3), FailureThreshold: pulumi.Int(3),
	}
}

// pods makes the set's objects. Pods come last, into what they need.
func (r *Replicator) pods(ctx *pulumi.Context, s *set) error {
	namespace, object := r.args.Namespace, s.objectName()
	s.ingress = append(s.ingress, kube.Ingress{Ports: []int{MetricsPort}, From: kube.FromNamespace(r.args.MonitoringNamespace)})
	name, parent := r.name+"-"+s.what, pulumi.Parent(r)
	wrap := func(what string, err error) error { return fmt.Errorf("%s %s: %w", what, object, err) }

	rules, err := replicators.JMX(s.process(r.args.Kind))
	if err != nil {
		return err
	}
	files := s.allFiles(string(rules))
	config, err := corev1.NewConfigMap(ctx, name, &corev1.ConfigMapArgs{Metadata: s.app.Meta(namespace, object), Data: files}, parent)
	if err != nil {
		return wrap("config map", err)
	}
	policy, err := s.app.NewIngressPolicy(ctx, name, r.args.Namespace, s.objectName(), s.ingress, parent)
	if err != nil {
		return wrap("network policy", err)
	}
	service, err := corev1.NewService(ctx, name, &corev1.ServiceArgs{
		Metadata: kube.Annotated(s.app.Meta(namespace, object), kube.SkipAwait, "true"),
		Spec: &corev1.ServiceSpecArgs{
			ClusterIP:                pulumi.String("None"),
			PublishNotReadyAddresses: pulumi.Bool(true), // a quorum forms of pods that are not ready yet
			Selector:                 s.app.Selector(),
			Ports:                    s.servicePorts(),
		},
	}, parent)
	if err != nil {
		return wrap("service", err)
	}
	budget, err := policyv1.NewPodDisruptionBudget(ctx, name, &policyv1.PodDisruptionBudgetArgs{
		Metadata: s.app.Meta(namespace, object),
		Spec:     &policyv1.PodDisruptionBudgetSpecArgs{MaxUnavailable: pulumi.Int(1), Selector: s.app.LabelSelector()},
	}, parent)
	if err != nil {
		return wrap("disruption budget", err)
	}
	strategy := "RollingUpdate"
	metadata := kube.Annotated(s.app.Meta(namespace, object), kube.SkipAwait, "true")
	if s.awaited {
		strategy = "OnDelete"
		metadata = kube.Annotated(s.app.Meta(namespace, object), kube.TimeoutSeconds, "300")
	}
	pods, err := appsv1.NewStatefulSet(ctx, name, &appsv1.StatefulSetArgs{
		Metadata: metadata,
		Spec: &appsv1.StatefulSetSpecArgs{
			Replicas:            pulumi.Int(s.replicas),
			ServiceName:         pulumi.String(object),
			Selector:            s.app.LabelSelector(),
			PodManagementPolicy: pulumi.String("Parallel"),
			UpdateStrategy:      &appsv1.StatefulSetUpdateStrategyArgs{Type: pulumi.String(strategy)},
			Template:            r.template(s, files),
		},
		// What a set needs goes after it, and the workers of one kind before those of another come.
	}, parent, pulumi.DependsOn(append([]pulumi.Resource{config, policy, service, budget}, r.workers...)), pulumi.DeleteBeforeReplace(true))
	if err != nil {
		return wrap("stateful set", err)
	}
	r.workers = append(r.workers, pods)
	r.config = checksum(files)
	return nil
}

// process is what the JMX exporter's rules are for.
func (s *set) process(kind string) replicators.Process {
	if s.what == "zookeeper" {
		return replicators.ZooKeeperProcess
	}
	return replicators.Process(kind)
}

// allFiles adds the files that every set has.
func (s *set) allFiles(jmxRules string) pulumi.StringMapOutput {
	return s.files.ApplyT(func(own map[string]string) map[string]string {
		files := map[string]string{"log4j.properties": log4jProperties, "jmx.yml": jmxRules}
		maps.Copy(files, own)
		return files
	}).(pulumi.StringMapOutput)
}

func (s *set) servicePorts() corev1.ServicePortArray {
	var ports corev1.ServicePortArray
	for _, name := range slices.Sorted(maps.Keys(s.ports)) {
		ports = append(ports, &corev1.ServicePortArgs{Name: pulumi.String(name), Port: pulumi.Int(s.ports[name])})
	}
	return append(ports, &corev1.ServicePortArgs{Name: pulumi.String(MetricsPortName), Port: pulumi.Int(MetricsPort)})
}

func (r *Replicator) template(s *set, files pulumi.StringMapOutput) *corev1.PodTemplateSpecArgs {
	tempVolume, tempMount := kube.Scratch("temp", tempPath, "256Mi")
	agentVolume, agentMount := kube.Scratch("agent", agentPath, "32Mi")
	volumes := corev1.VolumeArray{tempVolume, agentVolume, &corev1.VolumeArgs{
		Name:      pulumi.String("config"),
		ConfigMap: &corev1.ConfigMapVolumeSourceArgs{Name: pulumi.String(s.objectName())},
	}}
	mounts := corev1.VolumeMountArray{tempMount, kube.ReadOnly("config", configPath)}
	if s.data {
		dataVolume, dataMount := kube.Scratch("data", dataPath, "2Gi")
		volumes, mounts = append(volumes, dataVolume), append(mounts, dataMount)
	}
	for _, side := range slices.Sorted(maps.Keys(s.secrets)) {
		if s.secrets[side] == "" {
			continue
		}
		volumes = append(volumes, &corev1.VolumeArgs{
			Name:   pulumi.String("secret-" + side),
			Secret: &corev1.SecretVolumeSourceArgs{SecretName: pulumi.String(s.secrets[side])},
		})
		mounts = append(mounts, kube.ReadOnly("secret-"+side, secretPath+"/"+side))
	}
	before := corev1.ContainerArray{r.before("agent", r.args.Images.Loadgen, []string{"/usr/local/bin/loadgen", "install-agent", "--to", agentPath + agentJar}, agentMount)}
	if len(s.prepare) > 0 {
		before = append(before, r.before("prepare", r.args.Images.Kafka, s.prepare, mounts...))
	}
	ports := corev1.ContainerPortArray{}
	for _, name := range slices.Sorted(maps.Keys(s.ports)) {
		ports = append(ports, &corev1.ContainerPortArgs{Name: pulumi.String(name), ContainerPort: pulumi.Int(s.ports[name])})
	}
	ports = append(ports, &corev1.ContainerPortArgs{Name: pulumi.String(MetricsPortName), ContainerPort: pulumi.Int(MetricsPort)})
	return &corev1.PodTemplateSpecArgs{
		Metadata: &metav1.ObjectMetaArgs{
			Labels: s.app.Labels(),
			// A ConfigMap changes in place; by this its pods are rolled.
			Annotations: pulumi.StringMap{"kafka-mirror-tester/config": checksum(files)},
		},
		Spec: &corev1.PodSpecArgs{
			SecurityContext:               kube.PodSecurity(),
			AutomountServiceAccountToken:  pulumi.Bool(false),
			EnableServiceLinks:            pulumi.Bool(false),
			TerminationGracePeriodSeconds: pulumi.Int(60), // to send what has been read
			Affinity:                      r.affinity(s.app),
			TopologySpreadConstraints:     s.app.ZoneSpread(),
			Volumes:                       volumes,
			InitContainers:                before,
			Containers: corev1.ContainerArray{&corev1.ContainerArgs{
				Name:            pulumi.String(s.what),
				Image:           pulumi.String(s.image),
				Command:         s.command(),
				Env:             podEnv(),
				Ports:           ports,
				ReadinessProbe:  s.ready,
				Resources:       kube.Resources{CPU: s.size.CPU, Memory: s.size.Memory}.Args(),
				SecurityContext: kube.ContainerSecurity(),
				VolumeMounts:    append(mounts, kube.ReadOnly("agent", agentPath)),
			}},
		},
	}
}

// command runs Java with nothing of an image but java itself and the jars.
func (s *set) command() pulumi.StringArrayOutput {
	jvm := slices.Concat(s.before, []string{
		"java", fmt.Sprintf("-Xms%dm", s.size.Heap>>20), fmt.Sprintf("-Xmx%dm", s.size.Heap>>20),
		"-XX:+ExitOnOutOfMemoryError", // else it would go on without some of its threads
		"-XX:-UsePerfData", "-Djava.io.tmpdir=" + tempPath,
		"-Dlog4j.configuration=file:" + configPath + "/log4j.properties",
		fmt.Sprintf("-javaagent:%s%s=%d:%s/jmx.yml", agentPath, agentJar, MetricsPort, configPath),
	}, s.options, []string{"-cp", s.classPath, s.class})
	return s.arguments.ToStringArrayOutput().ApplyT(func(arguments []string) []string {
		return slices.Concat(jvm, arguments)
	}).(pulumi.StringArrayOutput)
}

func (r *Replicator) before(name, image string, command []string, mounts ...corev1.VolumeMountInput) *corev1.ContainerArgs {
	return &corev1.ContainerArgs{
		Name: pulumi.String(name), Image: pulumi.String(image),
		Command:         pulumi.ToStringArray(command),
		Env:             podEnv(),
		Resources:       kube.Resources{CPU: "10m", CPULimit: "1", Memory: "64Mi"}.Args(),
		SecurityContext: kube.ContainerSecurity(),
		VolumeMounts:    corev1.VolumeMountArray(mounts),
	}
}

// affinity keeps pods of app off a node that has one already, or a broker, as long as there are others.
func (r *Replicator) affinity(app kube.App) *corev1.AffinityArgs {
	affinity := app.HostAntiAffinity(false)
	if r.args.Apart == (kube.App{}) {
		return affinity
	}
	terms := affinity.PodAntiAffinity.(*corev1.PodAntiAffinityArgs)
	others := r.args.Apart.HostAntiAffinity(false).PodAntiAffinity.(*corev1.PodAntiAffinityArgs)
	terms.PreferredDuringSchedulingIgnoredDuringExecution = append(
		terms.PreferredDuringSchedulingIgnoredDuringExecution.(corev1.WeightedPodAffinityTermArray),
		others.PreferredDuringSchedulingIgnoredDuringExecution.(corev1.WeightedPodAffinityTermArray)...)
	return affinity
}

// checksum tells configurations apart.
func checksum(files pulumi.StringMapOutput) pulumi.StringOutput {
	return files.ApplyT(func(files map[string]string) string {
		h := sha256.New()
		for _, name := range slices.Sorted(maps.Keys(files)) {
			fmt.Fprintf(h, "%s %d\n%s", name, len(files[name]), files[name])
		}
		return hex.EncodeToString(h.Sum(nil)[:8])
	}).(pulumi.StringOutput)
}

// podEnv tells a pod what sets it apart.
func podEnv() corev1.EnvVarArray {
	return corev1.EnvVarArray{
		kube.FromField("POD_NAME", "metadata.name"),
		kube.FromField("POD_INDEX", kube.PodIndex),
	}
}
