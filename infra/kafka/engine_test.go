package kafka

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

const (
	setType    = "kubernetes:apps/v1:StatefulSet"
	configType = "kubernetes:core/v1:ConfigMap"
	policyType = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
	secretType = "kubernetes:core/v1:Secret"
	jobType    = "kubernetes:batch/v1:Job"
)

// stack has a stack with a cluster of args, as they are at the time of each update.
func stack(t *testing.T, args *Args) *enginetest.Stack {
	return enginetest.New(t, func(ctx *pulumi.Context) error {
		provider, err := kubernetes.NewProvider(ctx, "cluster", &kubernetes.ProviderArgs{
			Kubeconfig:             pulumi.String("{}"),
			EnableConfigMapMutable: pulumi.Bool(true),
			EnableSecretMutable:    pulumi.Bool(true),
		})
		if err != nil {
			return err
		}
		current := *args
		k, err := NewKafka(ctx, "kafka", &current, pulumi.Providers(provider))
		if err != nil {
			return err
		}
		ctx.Export("bootstrap", k.Bootstrap)
		ctx.Export("zookeeper", k.ZookeeperConnect)
		ctx.Export("local", k.Access.Bootstrap)
		ctx.Export("localZookeeper", k.LocalZookeeper)
		ctx.Export("stale", k.StaleBrokersCommand)
		return nil
	})
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

// TestStepsTouchWhatTheyAreAbout has the real engine say what each change does.
func TestStepsTouchWhatTheyAreAbout(t *testing.T) {
	for _, mode := range []string{scenario.ZooKeeper, scenario.KRaft} {
		t.Run(mode, func(t *testing.T) {
			args := testArgs()
			args.Mode, args.Domain, args.MonitoringNamespace = mode, "src.kmt.internal", "monitoring"
			args.Clients.CIDRs = []string{"10.20.0.0/16"}
			s := stack(t, args)
			s.Up()
			same(t, "again", s.Up().Changes(), nil)
			same(t, "refresh", s.Refresh().Changes(), nil)

			update, config := "update "+setType+" kafka", "update "+configType+" kafka"
			quorum := []string{"update " + configType + " kafka-controller", "update " + setType + " kafka-controller"}
			if mode == scenario.ZooKeeper {
				quorum = nil // ZooKeepers have nothing of it
			}
			checksum := `spec.template.metadata.annotations["kafka-mirror-tester/config"]`
			for _, step := range []struct {
				name   string
				change func()
				want   []string
				diff   []string // of the brokers' StatefulSet
			}{
				{"one broker less", func() { args.Brokers = 29 }, []string{update, "replace " + jobType + " kafka-selftest"}, []string{"spec.replicas"}},
				{"fewer than there are names for", func() { args.Brokers = 3 }, []string{update, "replace " + jobType + " kafka-selftest"}, []string{"spec.replicas"}},
				{"a tuning key", func() { args.BrokerConfig = map[string]string{"num.io.threads": "16"} }, append(quorum, update, config), []string{checksum}},
				{"the brokers are rolled", func() { args.Restart = 1 }, []string{update},
					[]string{`spec.template.metadata.annotations["kafka-mirror-tester/restart"]`, "spec.updateStrategy.type"}},
				{"once more", func() { args.Restart = 2 }, []string{update}, []string{`spec.template.metadata.annotations["kafka-mirror-tester/restart"]`}},
				{"the peer has another network", func() { args.Clients.CIDRs = []string{"10.30.0.0/16"} }, []string{"update " + policyType + " kafka"}, nil},
			} {
				step.change()
				r := s.Up()
				same(t, step.name, r.Changes(), step.want)
				did, _ := r.Step(setType, "kafka")
				same(t, step.name+", differences", did.Diff, step.diff)
			}
			s.Destroy()
			if left := s.Resources(); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestWhatAPodGets looks at what no engine and no Kafka would refuse.
func TestWhatAPodGets(t *testing.T) {
	args := testArgs()
	s := stack(t, args)
	s.Up()
	set := s.Resource(setType, "kafka")
	for path, want := range map[string]any{
		`metadata.annotations["pulumi.com/skipAwait"]`: "true", // a broker that is down on purpose holds nothing up
		"spec.updateStrategy.type":                     "OnDelete",
		"spec.podManagementPolicy":                     "Parallel",
		"spec.minReadySeconds":                         60,
		"spec.template.spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey": "kubernetes.io/hostname",
		"spec.template.spec.containers[0].livenessProbe":                                                            nil, // would end a fault before its time
		"spec.template.spec.containers[0].resources.limits.memory":                                                  "8Gi",
		"spec.template.spec.containers[0].resources.limits.cpu":                                                     nil,
		"spec.template.spec.volumes[1].emptyDir.sizeLimit":                                                          "50Gi",
		"spec.template.spec.automountServiceAccountToken":                                                           false,
	} {
		if got := set.Get(path); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	// Tools that someone runs in the container must not inherit the broker's heap and agent.
	var names []string
	env, _ := set.Get("spec.template.spec.containers[0].env").([]any)
	for _, e := range env {
		names = append(names, fmt.Sprint(e.(map[string]any)["name"]))
	}
	same(t, "environment", names, []string{"POD_INDEX", "POD_IP", "ZONE"})
	if got := fmt.Sprint(set.Get("spec.template.spec.containers[0].command")); !strings.Contains(got, "-Xms4096m -Xmx4096m") {
		t.Errorf("the broker runs %s", got)
	}
	// The self-test needs all that a client needs.
	job := s.Resource(jobType, "kafka-selftest")
	for _, need := range []string{"StatefulSet::kafka", "StatefulSet::kafka-zookeeper"} {
		if !slices.ContainsFunc(job.Dependencies, func(urn string) bool { return strings.HasSuffix(urn, need) }) {
			t.Errorf("the self-test does not wait for %s: %v", need, job.Dependencies)
		}
	}
	if got := s.Resource(configType, "kafka").Get(`data["server.properties"]`); !strings.Contains(fmt.Sprint(got), "zookeeper.connect=zookeeper-0.zookeeper:2181,") {
		t.Errorf("server.properties:\n%v", got)
	}
}

// TestOnlyWhoMustGetsIn looks at each rule of each NetworkPolicy.
func TestOnlyWhoMustGetsIn(t *testing.T) {
	rules := func(s *enginetest.Stack, name string) map[int][]string {
		policy := s.Resource(policyType, name)
		if kinds := policy.Get("spec.policyTypes"); fmt.Sprint(kinds) != "[Ingress]" {
			t.Errorf("%s: policy types %v", name, kinds)
		}
		found := map[int][]string{}
		ingress, _ := policy.Get("spec.ingress").([]any)
		for _, rule := range ingress {
			rule := rule.(map[string]any)
			from, _ := rule["from"].([]any)
			if len(from) == 0 {
				t.Errorf("%s: a rule lets everyone in: %v", name, rule)
			}
			for _, port := range rule["ports"].([]any) {
				number := port.(map[string]any)["port"].(int)
				for _, peer := range from {
					text, err := json.Marshal(peer)
					if err != nil {
						t.Fatal(err)
					}
					found[number] = append(found[number], string(text))
				}
			}
		}
		return found
	}
	app := func(name, component string) string {
		return fmt.Sprintf(`{"podSelector":{"matchLabels":{"app.kubernetes.io/component":%q,"app.kubernetes.io/name":%q}}}`, component, name)
	}
	const (
		part       = `{"matchLabels":{"app.kubernetes.io/part-of":"kafka-mirror-tester"}}`
		own        = `{"podSelector":` + part + `}`
		peer       = `{"ipBlock":{"cidr":"10.20.0.0/16"}}`
		load       = `{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"load"}},"podSelector":` + part + `}`
		monitoring = `{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"monitoring"}}}`
	)
	brokers, zookeepers, controllers := app("kafka", "broker"), app("zookeeper", "zookeeper"), app("kafka-controller", "controller")
	check := func(s *enginetest.Stack, name string, want map[int][]string) {
		t.Helper()
		if got := rules(s, name); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s:\n got %v\nwant %v", name, got, want)
		}
	}

	closed := testArgs()
	s := stack(t, closed)
	s.Up()
	check(s, "kafka", map[int][]string{9092: {own}})
	check(s, "kafka-zookeeper", map[int][]string{2181: {brokers, zookeepers}, 2888: {zookeepers}, 3888: {zookeepers}})

	open := testArgs()
	open.Clients = Peers{Namespaces: []string{"load"}, CIDRs: []string{"10.20.0.0/16"}}
	open.ZookeeperClients = Peers{CIDRs: []string{"10.20.0.0/16"}}
	open.MonitoringNamespace = "monitoring"
	s = stack(t, open)
	s.Up()
	check(s, "kafka", map[int][]string{9092: {own, load, peer}, 9404: {monitoring}})
	check(s, "kafka-zookeeper", map[int][]string{2181: {brokers, zookeepers, peer}, 2888: {zookeepers}, 3888: {zookeepers}, 9404: {monitoring}})

	kraft := testArgs()
	kraft.Mode = scenario.KRaft
	s = stack(t, kraft)
	s.Up()
	check(s, "kafka-controller", map[int][]string{9093: {brokers, controllers}})
}

// TestNames looks at how the other region, and people, find the cluster.
func TestNames(t *testing.T) {
	args := testArgs()
	args.Mode = scenario.KRaft
	s := stack(t, args)
	r := s.Up()
	for output, want := range map[string]string{
		"bootstrap": "kafka-0.kafka.kmt.svc:9092,kafka-1.kafka.kmt.svc:9092,kafka-2.kafka.kmt.svc:9092",
		"local":     "kafka-0.kafka.kmt.svc:9092,kafka-1.kafka.kmt.svc:9092,kafka-2.kafka.kmt.svc:9092",
		"zookeeper": "", "localZookeeper": "",
		"stale": `kubectl --namespace kmt get pods --selector "app.kubernetes.io/name=kafka,app.kubernetes.io/component=broker,` +
			`controller-revision-hash!=$(kubectl --namespace kmt get statefulset kafka --output jsonpath='{.status.updateRevision}')"`,
	} {
		if got := r.Outputs[output]; got != want {
			t.Errorf("%s is\n%v, want\n%v", output, got, want)
		}
	}
	if s.Has("kubernetes:core/v1:Service", "kafka-0") {
		t.Error("a public name without a domain")
	}

	args.Mode, args.Domain, args.InternalReplicas = scenario.ZooKeeper, "src.kmt.internal", 2
	s = stack(t, args)
	r = s.Up()
	for output, want := range map[string]string{
		"bootstrap": "kafka-0.src.kmt.internal:9092,kafka-1.src.kmt.internal:9092",
		"zookeeper": "zookeeper-0.src.kmt.internal:2181,zookeeper-1.src.kmt.internal:2181,zookeeper-2.src.kmt.internal:2181",
		"local":     "kafka-0.kafka.kmt.svc:9092,kafka-1.kafka.kmt.svc:9092",

		"localZookeeper": "zookeeper-0.zookeeper.kmt.svc:2181,zookeeper-1.zookeeper.kmt.svc:2181,zookeeper-2.zookeeper.kmt.svc:2181",
	} {
		if got := r.Outputs[output]; got != want {
			t.Errorf("%s is %v, want %v", output, got, want)
		}
	}
	// A name that is asked for before it is published would stay absent for a while.
	for _, r := range s.Resources() {
		if text, err := json.Marshal(r.Inputs); err != nil || r.Type != "kubernetes:core/v1:Service" && strings.Contains(string(text), "kmt.internal") {
			t.Errorf("%s %s uses a public name: %s, %v", r.Type, r.Name, text, err)
		}
	}
	for name, want := range map[string]string{"kafka-1": "kafka-1.src.kmt.internal", "kafka-zookeeper-2": "zookeeper-2.src.kmt.internal"} {
		service := s.Resource("kubernetes:core/v1:Service", name)
		pod, _, _ := strings.Cut(want, ".")
		if got := service.Get(`metadata.annotations["external-dns.alpha.kubernetes.io/hostname"]`); got != want {
			t.Errorf("%s is called %v, want %s", name, got, want)
		}
		if got := service.Get(`spec.selector["statefulset.kubernetes.io/pod-name"]`); got != pod {
			t.Errorf("%s is for pod %v, want %s", name, got, pod)
		}
	}
	if s.Has("kubernetes:core/v1:Service", "kafka-2") {
		t.Error("more names than bootstrap servers")
	}
}

// TestSecretsStaySecret looks for the password and the key wherever they must not be.
func TestSecretsStaySecret(t *testing.T) {
	pki := newPKI(t)
	const password = "hunter-2-hunter"
	secure := func(certificate string) *Args {
		args := testArgs()
		args.Security = &Security{User: "kmt", ServerName: "kafka.test",
			Password: pulumi.String(password), Key: pulumi.String(pki.key), // the component sees to it
			Certificate: pulumi.String(certificate), Authority: pulumi.String(pki.authority),
		}
		return args
	}
	args := secure(pki.certificate)
	s := stack(t, args)
	s.Up()
	same(t, "again", s.Up().Changes(), nil)
	state := s.PlainText()
	for _, secret := range []string{password, strings.Split(pki.key, "\n")[1]} {
		if strings.Contains(state, secret) {
			t.Errorf("%q is readable in the state", secret)
		}
	}
	for _, r := range s.Resources() {
		text, err := json.Marshal(r.Inputs)
		if err != nil {
			t.Fatal(err)
		}
		if r.Type != secretType && strings.Contains(string(text), password) {
			t.Errorf("the password is in %s %s", r.Type, r.Name)
		}
	}
	server := s.Resource(secretType, "kafka-server")
	if got := fmt.Sprint(server.Get("stringData.jaas")); !strings.Contains(got, `password="`+password+`"`) {
		t.Errorf("the brokers' login is %s", got)
	}
	if got := s.Resource(secretType, "kafka-access").Get("stringData.password"); got != password {
		t.Errorf("the clients' password is %v", got)
	}
	// The ZooKeepers have no business with it.
	for name, want := range map[string]bool{"kafka": true, "kafka-zookeeper": false} {
		text, err := json.Marshal(s.Resource(setType, name).Inputs)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(text), `"secretName":"kafka-server"`); got != want {
			t.Errorf("%s has the servers' secret: %t, want %t", name, got, want)
		}
	}
	if got := fmt.Sprint(s.Resource(jobType, "kafka-selftest").Get("spec.template.spec.containers[0].env")); !strings.Contains(got, "kafka.test") {
		t.Errorf("the self-test does not know the certificate's name: %s", got)
	}

	_, err := stack(t, secure(newPKI(t).certificate)).TryUp()
	if err == nil || !strings.Contains(err.Error(), "kafkaCertificate") || strings.Contains(err.Error(), "BEGIN") {
		t.Errorf("another key's certificate: %v", err)
	}
}
