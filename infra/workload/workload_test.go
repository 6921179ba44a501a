package workload_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/workload"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/settings"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
)

const (
	setType        = "kubernetes:apps/v1:StatefulSet"
	deploymentType = "kubernetes:apps/v1:Deployment"
	configMapType  = "kubernetes:core/v1:ConfigMap"
	policyType     = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
)

var image = "loadgen@sha256:" + strings.Repeat("0", 64)

// load is what a stack with both sides is told.
type load struct {
	image                string
	topics               []string
	producers, consumers int
	rate, size           string
	expectations         []string
	secret               string
}

func newLoad() *load {
	return &load{image: image, topics: []string{"load"}, producers: 10, consumers: 4, rate: "20k/s", size: "1kB", expectations: []string{"latency.p99 <= 5s", "duplicates <= 0"}}
}

func (l *load) stack(t *testing.T) *enginetest.Stack {
	return enginetest.New(t, func(ctx *pulumi.Context) error {
		provider, err := kubernetes.NewProvider(ctx, "cluster", &kubernetes.ProviderArgs{
			Kubeconfig: pulumi.String("{}"), EnableConfigMapMutable: pulumi.Bool(true), EnableSecretMutable: pulumi.Bool(true),
		})
		if err != nil {
			return err
		}
		test := func(namespace string) workload.Test {
			return workload.Test{Namespace: pulumi.String(namespace), MonitoringNamespace: "monitoring", Image: l.image, ID: "t1", Topics: l.topics}
		}
		access := func(side string) *kube.Access {
			return &kube.Access{Bootstrap: pulumi.Sprintf("%s-0:9092,%[1]s-1:9092", side), Secret: l.secret, ServerName: "kafka.test"}
		}
		// Both sides share one cluster here; objects of the same name are in two namespaces.
		if _, err := workload.NewProducers(ctx, "producers", &workload.ProducersArgs{
			Test: test("source"), Kafka: access("source"), Count: l.producers, Rate: l.rate, MessageSize: l.size, Compressibility: 0.5,
			Resources: kube.Resources{CPU: "1", Memory: "512Mi"},
		}, pulumi.Providers(provider)); err != nil {
			return err
		}
		v, err := workload.NewVerification(ctx, "verification", &workload.VerificationArgs{
			Test: test("destination"), Source: access("source"), Destination: access("destination"),
			Producers: l.producers, Consumers: l.consumers, Expectations: l.expectations,
			ConsumerResources: kube.Resources{CPU: "1", Memory: "1Gi"}, AuditorResources: kube.Resources{CPU: "1", Memory: "2Gi"},
		}, pulumi.Providers(provider))
		if err != nil {
			return err
		}
		ctx.Export("verdict", v.VerdictCommand)
		return nil
	})
}

// find returns the object of a type in a namespace, since both sides have some of the same name.
func find(t *testing.T, s *enginetest.Stack, typ, namespace, name string) enginetest.Resource {
	t.Helper()
	for _, r := range s.Resources() {
		if r.Type == typ && r.Get("metadata.namespace") == namespace && r.Get("metadata.name") == name {
			return r
		}
	}
	t.Fatalf("no %s %s/%s", typ, namespace, name)
	return enginetest.Resource{}
}

// What a scenario changes while a test runs touches nothing that runs.
func TestChangesTouchWhatTheyAreAbout(t *testing.T) {
	l := newLoad()
	s := l.stack(t)
	s.Up()
	const settings = "update " + configMapType + " load-settings" // of either side
	for _, step := range []struct {
		name   string
		change func()
		want   []string
		diff   string // of the first
	}{
		{"nothing", func() {}, nil, ""},
		{"throughput", func() { l.rate = "10k/s" }, []string{settings}, "data"},
		{"message size", func() { l.size = "500B" }, []string{settings}, "data"},
		{"another topic", func() { l.topics = []string{"load", "more"} }, []string{settings, settings}, "data"},
		{"one topic less", func() { l.topics = []string{"more"} }, []string{settings, settings}, "data"},
		{"one producer more", func() { l.producers = 11 }, []string{"update " + setType + " producer", settings}, ""},
		{"another expectation", func() { l.expectations = l.expectations[:1] }, []string{"update " + deploymentType + " auditor"}, ""},
		{"one consumer more", func() { l.consumers = 5 }, []string{"update " + setType + " consumer"}, ""},
		{"another image", func() { l.image = "loadgen@sha256:" + strings.Repeat("1", 64) }, []string{"update " + deploymentType + " auditor", "update " + setType + " consumer", "update " + setType + " producer"}, ""},
		{"nothing again", func() {}, nil, ""},
	} {
		step.change()
		r := s.Up()
		if got := r.Changes(); !slices.Equal(got, step.want) {
			t.Errorf("%s: %q, want %q", step.name, got, step.want)
		}
		for _, x := range r.Steps {
			if x.Name == "producer" && step.name == "one producer more" && !slices.Equal(x.Diff, []string{"spec.replicas"}) {
				t.Errorf("%s: changes %q of the set", step.name, x.Diff)
			}
			if step.diff != "" && !strings.HasPrefix(x.Diff[0], step.diff) {
				t.Errorf("%s: changes %q", step.name, x.Diff)
			}
		}
	}
	if left := s.Destroy(); len(s.Resources()) > 0 {
		t.Errorf("destroy left %v after %v", s.Resources(), left.Steps)
	}
}

// What the ConfigMaps hold is what the load tools read.
func TestSettingsAreRead(t *testing.T) {
	l := newLoad()
	l.topics = []string{"clicks", "orders"}
	s := l.stack(t)
	s.Up()
	read := func(namespace string) *settings.Settings {
		t.Helper()
		got, err := settings.Read([]byte(find(t, s, configMapType, namespace, "load-settings").Get(`data["settings.json"]`).(string)))
		if err != nil {
			t.Fatal(err)
		}
		if names := got.Names(); !slices.Equal(names, l.topics) {
			t.Errorf("topics %q", names)
		}
		return got
	}
	source, destination := read("source").Topics[settings.AllTopics], read("destination")
	if *source.Rate != (units.Rate{Kind: units.Records, PerSecond: 20_000}) || *source.Size != 1000 {
		t.Errorf("load %+v", source)
	}
	if destination.Producers == nil || *destination.Producers != 10 {
		t.Errorf("settings of the destination: %+v", destination)
	}
}

// The pods' arguments and variables are ones that loadgen takes: it gets as far as
// to look for the brokers.
func TestLoadgenTakesTheArguments(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "loadgen")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/AppsFlyer/kafka-mirror-tester/loadgen").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, secret := range []string{"", "kafka-access"} {
		l := newLoad()
		l.secret = secret
		s := l.stack(t)
		s.Up()
		for _, pod := range []struct{ typ, namespace, name string }{
			{setType, "source", "producer"}, {setType, "destination", "consumer"}, {deploymentType, "destination", "auditor"},
		} {
			r := find(t, s, pod.typ, pod.namespace, pod.name)
			container := func(path string) any { return r.Get("spec.template.spec.containers[0]." + path) }
			file := filepath.Join(dir, "settings")
			text := find(t, s, configMapType, pod.namespace, "load-settings").Get(`data["settings.json"]`).(string)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var args []string
			for _, a := range container("args").([]any) {
				// The report's directory is a volume in the pod.
				args = append(args, strings.Replace(a.(string), "--output=/report", "--output="+filepath.Join(dir, "report"), 1))
			}
			cmd := exec.Command(binary, args...)
			for _, e := range container("env").([]any) {
				variable := e.(map[string]any)
				name, value := variable["name"].(string), variable["value"]
				switch {
				case name == "LOADGEN_SETTINGS_FILE":
					value = file
				case name == "LOADGEN_INDEX":
					value = "3"
				case name == "LOADGEN_TLS_CA_FILE" && !strings.HasPrefix(value.(string), "/"):
					t.Errorf("%s: %v", name, value)
				case value == nil:
					value = "producer-7"
				case strings.HasSuffix(name, "BOOTSTRAP_SERVERS"):
					value = "127.0.0.1:1"
				}
				if name != "GOMEMLIMIT" {
					cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%v", name, value))
				}
			}
			out, err := cmd.CombinedOutput()
			want := "nothing listens there"
			if secret != "" {
				want = "TLS CA file: open /etc/kafka-access/ca.crt"
			}
			if err == nil || !strings.Contains(string(out), want) {
				t.Errorf("%s %q %q: %v\n%s", pod.name, args, cmd.Env, err, out)
			}
		}
	}
}

// Pods keep to the restricted level, end in peace, and are reached by who must.
func TestPods(t *testing.T) {
	l := newLoad()
	l.secret = "kafka-access"
	s := l.stack(t)
	r := s.Up()
	if got := r.Outputs["verdict"]; got != "kubectl --namespace destination exec deployment/auditor -- loadgen verdict --url http://127.0.0.1:8002/verdict" {
		t.Errorf("verdict: %v", got)
	}
	for _, pod := range []struct {
		typ, namespace, name string
		port                 int
		from                 int // how many peers may reach it
	}{
		{setType, "source", "producer", 8001, 1}, {setType, "destination", "consumer", 8000, 1}, {deploymentType, "destination", "auditor", 8002, 2},
	} {
		r := find(t, s, pod.typ, pod.namespace, pod.name)
		for path, want := range map[string]any{
			"spec.template.spec.securityContext.runAsNonRoot":                           true,
			"spec.template.spec.securityContext.seccompProfile.type":                    "RuntimeDefault",
			"spec.template.spec.containers[0].securityContext.allowPrivilegeEscalation": false,
			"spec.template.spec.containers[0].securityContext.readOnlyRootFilesystem":   true,
			"spec.template.spec.automountServiceAccountToken":                           false,
			"spec.template.spec.enableServiceLinks":                                     false,
			"spec.template.spec.terminationGracePeriodSeconds":                          60,
			"spec.template.spec.containers[0].ports[0].name":                            "metrics",
			"spec.template.spec.containers[0].ports[0].containerPort":                   pod.port,
			"spec.template.spec.containers[0].readinessProbe.httpGet.path":              "/readyz",
			`spec.template.metadata.labels["app.kubernetes.io/part-of"]`:                "kafka-mirror-tester",
			"spec.template.spec.containers[0].volumeMounts[0].subPath":                  nil, // else it would never change
			"spec.template.spec.containers[0].volumeMounts[0].mountPath":                "/etc/loadgen",
			"spec.template.spec.volumes[0].configMap.name":                              "load-settings",
		} {
			if got := r.Get(path); got != want {
				t.Errorf("%s: %s is %v, want %v", pod.name, path, got, want)
			}
		}
		if len(r.Get("spec.template.spec.containers[0].resources.limits").(map[string]any)) == 0 {
			t.Errorf("%s has no limits", pod.name)
		}
		if r.Get(`metadata.annotations["pulumi.com/skipAwait"]`) != nil || r.Get(`metadata.annotations["pulumi.com/timeoutSeconds"]`) == nil {
			t.Errorf("%s is not awaited for a bounded time", pod.name)
		}
		policy := find(t, s, policyType, pod.namespace, pod.name)
		if n := len(policy.Get("spec.ingress[0].from").([]any)); n != pod.from || policy.Get("spec.ingress[0].ports[0].port") != pod.port {
			t.Errorf("%s may be reached by %v", pod.name, policy.Get("spec.ingress"))
		}
	}
	if got := find(t, s, setType, "source", "producer").Get("spec.podManagementPolicy"); got != "Parallel" {
		t.Errorf("producers are started %v", got)
	}
}

// Every mistake is told at once, before anything is made.
func TestMistakes(t *testing.T) {
	l := newLoad()
	l.image, l.topics, l.producers, l.rate = "loadgen:latest", nil, -1, ""
	_, err := l.stack(t).TryUp()
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"no digest", "topics: none", "producers: -1", "throughput: none"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}
