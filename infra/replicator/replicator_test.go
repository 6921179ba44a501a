package replicator

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

const (
	statefulSet = "kubernetes:apps/v1:StatefulSet"
	configMap   = "kubernetes:core/v1:ConfigMap"
	service     = "kubernetes:core/v1:Service"
	policy      = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
	budget      = "kubernetes:policy/v1:PodDisruptionBudget"
	job         = "kubernetes:batch/v1:Job"
)

// testArgs is a replicator of the talk's size.
func testArgs(kind string) *Args {
	digest := "@sha256:" + strings.Repeat("0", 64)
	return &Args{
		Kind: kind, Namespace: pulumi.String("kmt"), MonitoringNamespace: "monitoring",
		Images: Images{Replicator: "replicator" + digest, Kafka: "kafka" + digest, Loadgen: "loadgen" + digest},
		Source: &kube.Access{Bootstrap: pulumi.String("b:9092,a:9092")}, Destination: &kube.Access{Bootstrap: pulumi.String("c:9092")},
		SourceZookeeper: pulumi.String("zs:2181"), DestinationZookeeper: pulumi.String("zd:2181"),
		Workers: 8, Controllers: 3, ZookeeperSize: 1,
		Size: Size{Heap: 2 << 30, CPU: "800m", Memory: "3Gi"}, ZookeeperPod: Size{Heap: 512 << 20, CPU: "200m", Memory: "1Gi"},
		Apart:  kube.App{Name: "kafka", Component: "broker"},
		Topics: []Topic{{"load", 150}}, TopicPattern: "load.*", Growth: "cure", SelfTest: Topic{"kmt-selftest", 1}, Replicas: 2,
		RegisterDeadline: 5 * time.Minute, SelfTestDeadline: 10 * time.Minute,
	}
}

// stack has args, which a test changes between updates.
func stack(t *testing.T, args *Args) *enginetest.Stack {
	return enginetest.New(t, func(ctx *pulumi.Context) error {
		cluster, err := kubernetes.NewProvider(ctx, "cluster", &kubernetes.ProviderArgs{
			Kubeconfig: pulumi.String("{}"), EnableConfigMapMutable: pulumi.Bool(true),
		})
		if err != nil {
			return err
		}
		r, err := NewReplicator(ctx, "replicator", args, pulumi.Providers(cluster))
		if err != nil {
			return err
		}
		ctx.Export("rest", r.RestCommand)
		return nil
	})
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func objectsOf(what string) []string {
	var all []string
	for _, typ := range []string{configMap, policy, service, budget, statefulSet} {
		all = append(all, typ+" replicator-"+what)
	}
	return all
}

func each(op string, resources ...[]string) []string {
	var all []string
	for _, r := range slices.Concat(resources...) {
		all = append(all, op+" "+r)
	}
	return all
}

// objects are what a kind has.
var objects = map[string][]string{
	scenario.UReplicator:  slices.Concat(objectsOf("zookeeper"), objectsOf("controller"), objectsOf("worker"), []string{service + " replicator-rest", job + " replicator-register", job + " replicator-selftest"}),
	scenario.Brooklin:     slices.Concat(objectsOf("zookeeper"), objectsOf("worker"), []string{service + " replicator-rest", job + " replicator-register", job + " replicator-selftest"}),
	scenario.MirrorMaker2: slices.Concat(objectsOf("worker"), []string{job + " replicator-selftest"}),
	scenario.NoReplicator: nil,
}

const (
	workers     = "update " + statefulSet + " replicator-worker"
	controllers = "update " + statefulSet + " replicator-controller"
	registered  = "replace " + job + " replicator-register"
	tested      = "replace " + job + " replicator-selftest"
)

func TestEachStepTouchesOnlyWhatItIsAbout(t *testing.T) {
	for kind, has := range objects {
		t.Run(kind, func(t *testing.T) {
			args := testArgs(kind)
			if kind == scenario.NoReplicator {
				args = &Args{Kind: scenario.NoReplicator}
			}
			s := stack(t, args)
			same(t, "first", s.Up().Changes(), append(each("create", has), "create pulumi:pulumi:Stack kafka-mirror-tester-test",
				"create pulumi:providers:kubernetes cluster", "create kafka-mirror-tester:replicator:Replicator replicator")...)
			same(t, "again", s.Up().Changes())
			same(t, "refresh", s.Refresh().Changes())
			if kind == scenario.NoReplicator {
				return
			}
			type step struct {
				name   string
				change func()
				want   []string
			}
			steps := []step{
				{"worker more", func() { args.Workers++ }, []string{workers, tested}},
				{"worker less", func() { args.Workers-- }, []string{workers, tested}},
				{"setting", func() { args.Config = map[string]string{"consumer.max.poll.records": "1000"} },
					[]string{workers, tested, "update " + configMap + " replicator-worker"}},
			}
			switch kind {
			case scenario.UReplicator:
				steps = append(steps,
					step{"no controller", func() { args.Controllers = 0 }, []string{controllers, tested}},
					step{"topic without controller", func() { args.Topics = append(args.Topics, Topic{"load2", 150}) }, []string{tested}},
					step{"controllers back", func() { args.Controllers = 3 }, []string{controllers, registered, tested}},
					step{"growth", func() { args.Topics[0].Partitions = 300 }, []string{registered, tested}},
				)
			case scenario.Brooklin:
				steps = append(steps,
					step{"growth", func() { args.Topics[0].Partitions = 300 }, nil},
					step{"topic that matches", func() { args.Topics = append(args.Topics, Topic{"load2", 150}) }, nil},
					step{"another pattern", func() { args.TopicPattern = "load|load2" }, []string{registered, tested}},
				)
			case scenario.MirrorMaker2:
				steps = append(steps,
					step{"growth", func() { args.Topics[0].Partitions = 300 }, nil},
					step{"topic that matches", func() { args.Topics = append(args.Topics, Topic{"load2", 150}) }, nil},
				)
			}
			for _, step := range steps {
				step.change()
				same(t, step.name, s.Up().Changes(), step.want...)
				same(t, step.name+", again", s.Up().Changes())
			}
			s.Destroy()
			if left := s.Resources(); len(left) > 0 {
				t.Errorf("%d resources left", len(left))
			}
		})
	}
}

func TestCountsAreReplicas(t *testing.T) {
	args := testArgs(scenario.UReplicator)
	s := stack(t, args)
	s.Up()
	args.Workers, args.Controllers = 9, 0
	r := s.Up()
	for _, what := range []string{"worker", "controller"} {
		step, ok := r.Step(statefulSet, "replicator-"+what)
		if !ok || !slices.Equal(step.Diff, []string{"spec.replicas"}) {
			t.Errorf("%s: %v", what, step.Diff)
		}
	}
	if got := s.Resource(statefulSet, "replicator-controller").Get("spec.replicas"); got != 0 {
		t.Errorf("controllers: %v", got)
	}
}

func TestOldWorkersGoBeforeThoseOfAnotherKindCome(t *testing.T) {
	args := testArgs(scenario.UReplicator)
	s := stack(t, args)
	s.Up()
	*args = *testArgs(scenario.Brooklin)
	r := s.Up()
	step, _ := r.Step(statefulSet, "replicator-worker")
	if step.Op != "replace" || !step.DeleteFirst {
		t.Errorf("workers: %s, old ones first: %v", step.Op, step.DeleteFirst)
	}
	same(t, "after", s.Up().Changes())
	if got := s.Resource(statefulSet, "replicator-worker").Get("metadata.name"); got != "brooklin-worker" {
		t.Errorf("workers are called %v", got)
	}
	if s.Has(statefulSet, "replicator-controller") {
		t.Error("uReplicator's controllers are left")
	}
	if index := r.Index(job, "replicator-selftest"); index < r.Index(statefulSet, "replicator-worker") {
		t.Error("the self-test came before the workers")
	}

	*args = Args{Kind: scenario.NoReplicator}
	s.Up()
	if s.Has(statefulSet, "replicator-worker") || s.Has(job, "replicator-selftest") {
		t.Error("something is left of Brooklin")
	}
}

func TestOrder(t *testing.T) {
	s := stack(t, testArgs(scenario.UReplicator))
	r := s.Up()
	order := []string{statefulSet + " replicator-zookeeper", statefulSet + " replicator-worker", job + " replicator-register", job + " replicator-selftest"}
	last := -1
	for _, o := range order {
		typ, name, _ := strings.Cut(o, " ")
		if i := r.Index(typ, name); i <= last {
			t.Errorf("%s came too early, or never", o)
		} else {
			last = i
		}
	}
}

// pods returns all pod templates, by kind and name.
func podTemplates(t *testing.T, s *enginetest.Stack) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{}
	for _, r := range s.Resources() {
		if r.Type == statefulSet || r.Type == job {
			all[r.Type+" "+r.Name] = r.Get("spec.template.spec").(map[string]any)
		}
	}
	return all
}

func get(v any, path ...string) any {
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

func TestPodsAreRestricted(t *testing.T) {
	for kind := range objects {
		if kind == scenario.NoReplicator {
			continue
		}
		s := stack(t, testArgs(kind))
		s.Up()
		for name, pod := range podTemplates(t, s) {
			if get(pod, "securityContext", "runAsNonRoot") != true || get(pod, "securityContext", "seccompProfile", "type") != "RuntimeDefault" ||
				pod["automountServiceAccountToken"] != false {
				t.Errorf("%s: %v", name, pod["securityContext"])
			}
			before, _ := pod["initContainers"].([]any)
			for _, c := range append(before, pod["containers"].([]any)...) {
				if get(c, "securityContext", "allowPrivilegeEscalation") != false || get(c, "securityContext", "readOnlyRootFilesystem") != true ||
					fmt.Sprint(get(c, "securityContext", "capabilities", "drop")) != "[ALL]" {
					t.Errorf("%s %s: %v", name, get(c, "name"), get(c, "securityContext"))
				}
				if get(c, "resources", "limits", "memory") == nil || get(c, "resources", "requests", "cpu") == nil {
					t.Errorf("%s %s: %v", name, get(c, "name"), get(c, "resources"))
				}
			}
		}
		for _, r := range s.Resources() {
			if strings.HasPrefix(r.Type, "kubernetes:") && (r.Provider != "cluster" || r.Get(`metadata.labels["app.kubernetes.io/part-of"]`) != kube.PartOf) {
				t.Errorf("%s %s: provider %q, labels %v", r.Type, r.Name, r.Provider, r.Get("metadata.labels"))
			}
		}
	}
}

func command(t *testing.T, s *enginetest.Stack, what string) string {
	t.Helper()
	var words []string
	for _, w := range s.Resource(statefulSet, "replicator-"+what).Get("spec.template.spec.containers[0].command").([]any) {
		words = append(words, w.(string))
	}
	return strings.Join(words, " ")
}

func jobArgs(t *testing.T, s *enginetest.Stack, what string) string {
	t.Helper()
	words, _ := json.Marshal(s.Resource(job, "replicator-"+what).Get("spec.template.spec.containers[0].args"))
	return string(words)
}

func contains(t *testing.T, what, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%s: no %q in %s", what, w, text)
		}
	}
}

func file(t *testing.T, s *enginetest.Stack, what, name string) string {
	t.Helper()
	text, _ := s.Resource(configMap, "replicator-"+what).Get("data").(map[string]any)[name].(string)
	return text
}

func TestUReplicatorRunsAsItWasSeenTo(t *testing.T) {
	args := testArgs(scenario.UReplicator)
	args.ZookeeperSize = 3
	s := stack(t, args)
	r := s.Up()
	const zookeepers = "ureplicator-zookeeper-0.ureplicator-zookeeper:2181,ureplicator-zookeeper-1.ureplicator-zookeeper:2181,ureplicator-zookeeper-2.ureplicator-zookeeper:2181"
	contains(t, "controller", command(t, s, "controller"), "java -Xms2048m -Xmx2048m ", "-Dzookeeper.sasl.client=false",
		"-cp /opt/ureplicator/lib/* com.uber.stream.kafka.mirrormaker.controller.ControllerStarter ", "-port 9000", "-zookeeper "+zookeepers)
	contains(t, "worker", command(t, s, "worker"), "com.uber.stream.ureplicator.worker.WorkerStarter ", "-helix_config /data/helix.properties",
		"-consumer_config /config/consumer.properties", "-topic_partition_count_observer true")
	contains(t, "consumer", file(t, s, "worker", "consumer.properties"), "bootstrap.servers=b:9092,a:9092", "commit.zookeeper.connect=zs:2181", "receive.buffer.bytes=-1")
	contains(t, "producer", file(t, s, "worker", "producer.properties"), "bootstrap.servers=c:9092", "zookeeper.connect=zd:2181", "acks=all")
	contains(t, "helix", file(t, s, "worker", "helix.properties"), "zkServer="+zookeepers)
	if strings.Contains(file(t, s, "worker", "helix.properties"), "instanceId") {
		t.Error("all workers have one name")
	}
	if prepare := fmt.Sprint(s.Resource(statefulSet, "replicator-worker").Get("spec.template.spec.initContainers[1].command")); !strings.Contains(prepare, "instanceId=$POD_NAME") {
		t.Errorf("workers get no names: %s", prepare)
	}
	contains(t, "zookeeper", file(t, s, "zookeeper", "zookeeper.properties"), "server.3=ureplicator-zookeeper-2.ureplicator-zookeeper:2888:3888")
	contains(t, "zookeeper", command(t, s, "zookeeper"), "POD_INDEX + 1", `exec "$@" bash java -Xms512m`, "QuorumPeerMain /config/zookeeper.properties")
	contains(t, "register", jobArgs(t, s, "register"), `"http://ureplicator:9000"`, `"load:150,kmt-selftest:1"`, `"--partition-growth","cure"`, `"--timeout","4m30s"`)
	contains(t, "self-test", jobArgs(t, s, "selftest"), `"selftest","replicator"`, `"kmt-selftest"`)
	if got, want := r.Outputs["rest"], "kubectl --namespace kmt port-forward service/ureplicator 9000"; got != want {
		t.Errorf("rest: %v, want %s", got, want)
	}
}

func TestBrooklinRunsAsItWasSeenTo(t *testing.T) {
	args := testArgs(scenario.Brooklin)
	args.Workers, args.ClassPath = 32, "/brooklin/libs/*"
	s := stack(t, args)
	s.Up()
	contains(t, "worker", command(t, s, "worker"), "-cp /brooklin/libs/* com.linkedin.datastream.server.DatastreamServer /config/server.properties")
	contains(t, "server", file(t, s, "worker", "server.properties"), "brooklin.server.httpPort=32311",
		"brooklin.server.coordinator.zkAddress=brooklin-zookeeper-0.brooklin-zookeeper:2181", "kafkaTP.bootstrap.servers=c:9092")
	contains(t, "register", jobArgs(t, s, "register"), `"http://brooklin:32311"`, `"--topic-pattern","^(load.*|kmt-selftest)$"`)
	if env := fmt.Sprint(s.Resource(job, "replicator-register").Get("spec.template.spec.containers[0].env")); !strings.Contains(env, "LOADGEN_SOURCE_BOOTSTRAP_SERVERS") {
		t.Errorf("the registration does not know the source: %s", env)
	}
}

func TestMirrorMaker2SharesItsWork(t *testing.T) {
	args := testArgs(scenario.MirrorMaker2)
	args.Source.Secret, args.Destination.Secret = "kafka-client", "kafka-client"
	s := stack(t, args)
	s.Up()
	text := file(t, s, "worker", "mirrormaker2.properties")
	contains(t, "properties", text, "dedicated.mode.enable.internal.rest=true", `listeners=http://:8083`, "tasks.max=32",
		"source->destination.topics=load.*,kmt-selftest", "source.ssl.truststore.location=/secret/source/ca.crt", "source.bootstrap.servers=b:9092,a:9092")
	mounts := fmt.Sprint(s.Resource(statefulSet, "replicator-worker").Get("spec.template.spec.containers[0].volumeMounts"))
	contains(t, "mounts", mounts, "/secret/source", "/secret/destination")
	contains(t, "worker", command(t, s, "worker"), "-cp /opt/kafka/libs/* org.apache.kafka.connect.mirror.MirrorMaker /config/mirrormaker2.properties")
}

// reach lists who reaches which port of a set: "9000 from ureplicator-register".
func reach(s *enginetest.Stack, what string) []string {
	var all []string
	rules, _ := s.Resource(policy, "replicator-"+what).Get("spec.ingress").([]any)
	for _, rule := range rules {
		for _, port := range get(rule, "ports").([]any) {
			for _, from := range get(rule, "from").([]any) {
				who := get(from, "podSelector", "matchLabels", "app.kubernetes.io/name")
				component := get(from, "podSelector", "matchLabels", "app.kubernetes.io/component")
				if who == nil {
					who, component = get(from, "namespaceSelector", "matchLabels", "kubernetes.io/metadata.name"), "all"
				}
				all = append(all, fmt.Sprint(get(port, "port"), " from ", who, " ", component))
			}
		}
	}
	slices.Sort(all)
	return all
}

func TestNobodyElseReachesTheReplicator(t *testing.T) {
	s := stack(t, testArgs(scenario.UReplicator))
	s.Up()
	const metrics = "9404 from monitoring all"
	same(t, "controller", reach(s, "controller"), "9000 from ureplicator-register register", metrics)
	same(t, "worker", reach(s, "worker"), metrics)
	same(t, "zookeeper", reach(s, "zookeeper"), metrics, "2181 from ureplicator controller", "2181 from ureplicator worker",
		"2181 from ureplicator replicator-zookeeper", "2888 from ureplicator replicator-zookeeper", "3888 from ureplicator replicator-zookeeper")

	args := testArgs(scenario.MirrorMaker2)
	args.MonitoringNamespace = ""
	s = stack(t, args)
	s.Up()
	same(t, "nodes", reach(s, "worker"), "8083 from mirrormaker2 worker")
}

func TestWhatFaultsMayHitIsNotWaitedFor(t *testing.T) {
	s := stack(t, testArgs(scenario.UReplicator))
	s.Up()
	for what, want := range map[string]any{"worker": "true", "controller": "true", "zookeeper": nil} {
		set := s.Resource(statefulSet, "replicator-"+what)
		if got := set.Get(`metadata.annotations["pulumi.com/skipAwait"]`); got != want {
			t.Errorf("%s: skipAwait %v, want %v", what, got, want)
		}
		if set.Get("spec.podManagementPolicy") != "Parallel" {
			t.Errorf("%s starts one pod after the other", what)
		}
	}
	if s.Resource(statefulSet, "replicator-zookeeper").Get(`metadata.annotations["pulumi.com/timeoutSeconds"]`) == nil {
		t.Error("the wait for ZooKeeper has no bound")
	}
}

func TestEveryMistakeIsNamed(t *testing.T) {
	for kind := range objects {
		if err := testArgs(kind).Validate(); err != nil {
			t.Fatalf("the talk's %s is refused: %v", kind, err)
		}
	}
	for _, c := range []struct {
		name, kind string
		change     func(*Args)
		want       string
	}{
		{"kind", scenario.UReplicator, func(a *Args) { a.Kind = "mm1" }, `replicator is "mm1"`},
		{"image without digest", scenario.UReplicator, func(a *Args) { a.Images.Replicator = "rantav/ureplicator:1c1677d" }, `images.ureplicator: image "rantav/ureplicator:1c1677d" has no digest`},
		{"no worker", scenario.Brooklin, func(a *Args) { a.Workers = 0 }, "workers is 0"},
		{"controllers", scenario.UReplicator, func(a *Args) { a.Controllers = -1 }, "controllers is -1"},
		{"even quorum", scenario.Brooklin, func(a *Args) { a.ZookeeperSize = 2 }, "ZookeeperSize is 2"},
		{"heap fills the container", scenario.MirrorMaker2, func(a *Args) { a.Size.Heap = 3 << 30 }, "replicatorHeap is 3072 MiB: must be at least 64 MiB, and at most three quarters of the memory of a worker, 3Gi"},
		{"no ZooKeeper", scenario.UReplicator, func(a *Args) { a.SourceZookeeper = nil }, "set kafkaMode to zookeeper on both sides"},
		{"old client with TLS", scenario.Brooklin, func(a *Args) { a.Source.Secret = "s" }, "secure is true with replicator brooklin"},
		{"pattern misses topic", scenario.Brooklin, func(a *Args) { a.TopicPattern = "other" }, `does not match the topic "load"`},
		{"pattern that MirrorMaker 2 would cut", scenario.MirrorMaker2, func(a *Args) { a.TopicPattern = "load|load{1,2}" }, "without a comma"},
		{"growth", scenario.UReplicator, func(a *Args) { a.Growth = "x" }, `partitionGrowth is "x"`},
		{"owned key", scenario.UReplicator, func(a *Args) { a.Config = map[string]string{"consumer.bootstrap.servers": "x"} }, `"consumer.bootstrap.servers"`},
		{"owned key of MirrorMaker 2", scenario.MirrorMaker2, func(a *Args) { a.Config = map[string]string{"listeners": "x"} }, `"listeners"`},
		{"key of nobody", scenario.Brooklin, func(a *Args) { a.Config = map[string]string{"acks": "1"} }, `"acks"`},
		{"idle nodes", scenario.MirrorMaker2, func(a *Args) { a.Workers = 33 }, "set replicatorConfig tasks.max to at least 33"},
		{"deadline", scenario.MirrorMaker2, func(a *Args) { a.SelfTestDeadline = time.Second }, "SelfTestDeadline of the replicator is 1s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := testArgs(c.kind)
			c.change(args)
			if err := errors.Join(args.Validate(), args.given()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	args := testArgs(scenario.MirrorMaker2)
	args.Workers, args.Config = 33, map[string]string{"tasks.max": "64"}
	if err := args.Validate(); err != nil {
		t.Errorf("more tasks: %v", err)
	}
	args.Namespace, args.Workers, args.Topics, args.Growth = nil, 0, nil, ""
	if err := errors.Join(args.Validate(), args.given()); err == nil || strings.Count(err.Error(), "\n") < 3 {
		t.Errorf("not every mistake at once: %v", err)
	}
}

func TestKRaftIsFoundOutByItsEmptyAddress(t *testing.T) {
	args := testArgs(scenario.UReplicator)
	args.SourceZookeeper = pulumi.String("")
	if _, err := stack(t, args).TryUp(); err == nil || !strings.Contains(err.Error(), "the source has no ZooKeeper") {
		t.Errorf("got %v", err)
	}
}
