package chaos_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/chaos"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
)

const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

const (
	podChaos     = "kubernetes:chaos-mesh.org/v1alpha1:PodChaos"
	networkChaos = "kubernetes:chaos-mesh.org/v1alpha1:NetworkChaos"
)

func meshArgs() *chaos.MeshArgs {
	return &chaos.MeshArgs{
		Namespace: "chaos", Chart: chaos.Chart("2.8.3"), SelfTest: "loadgen" + digest,
		Controller: "1.dkr.ecr.us-east-1.amazonaws.com/kmt/chaos-mesh" + digest, Daemon: "r.example/chaos-daemon" + digest, Pause: "r.example/pause" + digest,
	}
}

// region is a program with Chaos Mesh and, if there is one, a fault. A test changes both between
// updates.
type region struct {
	mesh  *chaos.MeshArgs
	fault *chaos.FaultArgs
}

func (r *region) stack(t *testing.T) *enginetest.Stack {
	return enginetest.New(t, func(ctx *pulumi.Context) error {
		cluster, err := kubernetes.NewProvider(ctx, "cluster", &kubernetes.ProviderArgs{Kubeconfig: pulumi.String("{}")})
		if err != nil {
			return err
		}
		mesh, err := chaos.NewMesh(ctx, "chaos", r.mesh, pulumi.Providers(cluster))
		if err != nil || r.fault == nil {
			return err
		}
		_, err = chaos.NewFault(ctx, "fault", mesh, r.fault)
		return err
	})
}

// fault is one that hits brokers 0 and 3 of 30, or workers of 8.
func fault(kind string) *chaos.FaultArgs {
	brokers := chaos.Pods{App: kube.App{Name: "kafka", Component: "broker"}, Namespace: "test", StatefulSet: "kafka", Container: "broker", Size: 30}
	zookeepers := chaos.Pods{App: kube.App{Name: "zookeeper", Component: "zookeeper"}, Namespace: "test"}
	workers := chaos.Pods{App: kube.App{Name: "replicator", Component: "worker"}, Namespace: "mirror", StatefulSet: "replicator", Container: "worker", Size: 8}
	f := &chaos.FaultArgs{
		Kind: kind, Run: 1, Victims: []int{3, 0}, Brokers: brokers, Workers: workers,
		Region: []chaos.Pods{brokers, zookeepers, workers}, Peer: []string{"10.20.0.0/16"},
	}
	switch kind[strings.Index(kind, "-")+1:] {
	case "kill", "replace":
	case "loss":
		f.Percent, f.Duration = 12.5, time.Minute
	case "delay":
		f.Latency, f.Jitter, f.Duration = 1500*time.Millisecond, 20*time.Millisecond, time.Minute
	default:
		f.Duration = 90 * time.Second
	}
	if kind == "region-partition" {
		f.Victims = nil
	}
	return f
}

func TestAFaultIsOneObjectThatComesIsMadeAnewAndGoes(t *testing.T) {
	r := &region{mesh: meshArgs()}
	s := r.stack(t)
	expect := func(what string, want ...string) {
		t.Helper()
		if got := s.Up().Changes(); !slices.Equal(got, want) {
			t.Errorf("%s: did %q, want %q", what, got, want)
		}
	}
	name := func(typ string) any { return s.Resource(typ, "fault").Get("metadata.name") }
	s.Up()

	r.fault = fault("broker-kill")
	expect("first run", "create "+podChaos+" fault")
	if got := name(podChaos); got != "broker-kill-1" {
		t.Errorf("object is called %v", got)
	}
	expect("nothing new")

	r.fault.Run = 2
	expect("second run", "replace "+podChaos+" fault")
	if got := name(podChaos); got != "broker-kill-2" {
		t.Errorf("object of the second run is called %v", got)
	}

	r.fault.Brokers.Size = 29
	expect("fewer brokers, of which the fault hits none")

	r.fault.Victims = []int{4}
	expect("another victim", "replace "+podChaos+" fault")

	r.fault = fault("broker-loss")
	expect("another kind", "create "+networkChaos+" fault", "delete "+podChaos+" fault")

	r.fault = nil
	expect("no fault", "delete "+networkChaos+" fault")

	r.fault = fault("worker-outage")
	s.Up()
	down := s.Destroy()
	if at, release := down.Index(podChaos, "fault"), down.Index("kubernetes:helm.sh/v3:Release", "chaos-mesh"); at < 0 || at > release {
		t.Errorf("destroy removes the fault at step %d and what undoes it at step %d", at, release)
	}
	if left := s.Resources(); len(left) > 0 {
		t.Errorf("destroy leaves %v", left)
	}
}

func TestFaultsOfTheNetworkWaitForTheSelfTest(t *testing.T) {
	const job = "kubernetes:batch/v1:Job"
	for kind, waits := range map[string]bool{"broker-delay": true, "worker-loss": true, "region-partition": true, "broker-kill": false} {
		s := (&region{mesh: meshArgs(), fault: fault(kind)}).stack(t)
		s.Up()
		typ := networkChaos
		if !waits {
			typ = podChaos
		}
		if got := slices.Contains(s.Resource(typ, "fault").Dependencies, s.Resource(job, "netem").URN); got != waits {
			t.Errorf("%s waits for the self-test of netem: %v, want %v", kind, got, waits)
		}
	}

	r := &region{mesh: meshArgs(), fault: fault("broker-delay")}
	r.mesh.SelfTest = ""
	if _, err := r.stack(t).TryUp(); err == nil || !strings.Contains(err.Error(), "was not tested") {
		t.Errorf("a fault of the network without a self-test: %v", err)
	}
	r.fault = fault("broker-kill")
	s := r.stack(t)
	s.Up()
	if s.Has(job, "netem") {
		t.Error("a self-test runs though it was left out")
	}
}

// The specs were decoded strictly into chaos-mesh's own types (api v0.0.0-20260906172039) and passed
// its validating webhook; fields and values here are those.
func TestWhatEachKindAsksOfChaosMesh(t *testing.T) {
	brokers := map[string]any{"namespaces": []any{"test"}, "pods": map[string]any{"test": []any{"kafka-0", "kafka-3"}}}
	workers := map[string]any{"namespaces": []any{"mirror"}, "pods": map[string]any{"mirror": []any{"replicator-0", "replicator-3"}}}
	for kind, test := range map[string]struct {
		typ  string
		want map[string]any // spec, beside mode
	}{
		"broker-kill":      {podChaos, map[string]any{"action": "container-kill", "containerNames": []any{"broker"}, "selector": brokers}},
		"broker-outage":    {podChaos, map[string]any{"action": "pod-failure", "duration": "1m30s", "selector": brokers}},
		"broker-replace":   {podChaos, map[string]any{"action": "pod-kill", "gracePeriod": 0, "selector": brokers}},
		"worker-kill":      {podChaos, map[string]any{"action": "container-kill", "containerNames": []any{"worker"}, "selector": workers}},
		"worker-loss":      {networkChaos, map[string]any{"action": "loss", "loss.loss": "12.5", "direction": "to", "duration": "1m0s", "selector": workers}},
		"broker-delay":     {networkChaos, map[string]any{"action": "delay", "delay.latency": "1500000us", "delay.jitter": "20000us", "direction": "to", "duration": "1m0s"}},
		"broker-partition": {networkChaos, map[string]any{"action": "partition", "direction": "both", "duration": "1m30s", "externalTargets": nil, "selector": brokers}},
		"region-partition": {networkChaos, map[string]any{
			"action": "partition", "direction": "both", "externalTargets": []any{"10.20.0.0/16"},
			"selector.namespaces":                    []any{"mirror", "test"},
			"selector.expressionSelectors[0].key":    "app.kubernetes.io/name",
			"selector.expressionSelectors[0].values": []any{"kafka", "replicator", "zookeeper"},
			"selector.pods":                          nil,
		}},
	} {
		t.Run(kind, func(t *testing.T) {
			s := (&region{mesh: meshArgs(), fault: fault(kind)}).stack(t)
			s.Up()
			object := s.Resource(test.typ, "fault")
			test.want["mode"] = "all"
			for field, want := range test.want {
				if got := object.Get("spec." + field); !equal(got, want) {
					t.Errorf("%s: %v, want %v", field, got, want)
				}
			}
			if got := object.Get("metadata.namespace"); got != "chaos" {
				t.Errorf("namespace: %v", got)
			}
		})
	}
}

func TestOnlyWhatIsMeantCanBeHurt(t *testing.T) {
	r := &region{mesh: meshArgs()}
	s := r.stack(t)
	s.Up()
	release := s.Resource("kubernetes:helm.sh/v3:Release", "chaos-mesh")
	for path, want := range map[string]any{
		"version": "2.8.3",
		"values.controllerManager.enableFilterNamespace":          true,
		"values.controllerManager.image.registry":                 "1.dkr.ecr.us-east-1.amazonaws.com",
		"values.controllerManager.image.repository":               "kmt/chaos-mesh@sha256",
		"values.controllerManager.image.tag":                      digest[len("@sha256:"):],
		"values.controllerManager.podChaos.podFailure.pauseImage": "r.example/pause" + digest,
		"values.chaosDaemon.image.repository":                     "chaos-daemon@sha256",
		"values.chaosDaemon.runtime":                              "containerd",
		"values.chaosDaemon.socketPath":                           "/run/containerd/containerd.sock",
		"values.dashboard.create":                                 false,
	} {
		if got := release.Get(path); !equal(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	netem := s.Resource("kubernetes:batch/v1:Job", "netem")
	const container = "spec.template.spec.containers[0]."
	if got := netem.Get(container + "securityContext.capabilities.add"); !equal(got, []any{"NET_ADMIN"}) {
		t.Errorf("the self-test's capabilities: %v", got)
	}
	if got := netem.Get(container + "args"); !equal(got, []any{"selftest", "netem"}) {
		t.Errorf("the self-test runs %v", got)
	}
	if got := s.Up().Changes(); len(got) > 0 {
		t.Errorf("a second update does %q", got)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for name, test := range map[string]struct {
		kind   string
		change func(*chaos.FaultArgs)
		want   []string
	}{
		"unknown":                    {"broker-explode", func(*chaos.FaultArgs) {}, []string{"fault.kind", "broker-explode", "kill, loss"}},
		"region cannot":              {"region-kill", func(*chaos.FaultArgs) {}, []string{"fault.kind", "region-partition"}},
		"nobody":                     {"broker-kill", func(f *chaos.FaultArgs) { f.Victims = nil }, []string{"fault.victims", "0 to 29"}},
		"not there, and named twice": {"worker-kill", func(f *chaos.FaultArgs) { f.Victims = []int{8, 1, 1} }, []string{"no worker 8", "0 to 7", "1 is named twice"}},
		"no duration":                {"broker-outage", func(f *chaos.FaultArgs) { f.Duration = 0 }, []string{"fault.duration: 0s", "1s or more"}},
		"duration of a kill":         {"broker-kill", func(f *chaos.FaultArgs) { f.Duration = time.Second }, []string{"fault.duration: 1s", "over at once"}},
		"percent":                    {"broker-loss", func(f *chaos.FaultArgs) { f.Percent = 101 }, []string{"fault.percent: 101", "up to 100"}},
		"jitter":                     {"broker-delay", func(f *chaos.FaultArgs) { f.Jitter = time.Hour }, []string{"fault.jitter: 1h0m0s"}},
		"victims of a region":        {"region-partition", func(f *chaos.FaultArgs) { f.Victims = []int{1} }, []string{"all of the region"}},
		"region without a peer":      {"region-partition", func(f *chaos.FaultArgs) { f.Peer = nil }, []string{"peerCidr"}},
		"run":                        {"broker-kill", func(f *chaos.FaultArgs) { f.Run = -1 }, []string{"fault.run: -1"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &region{mesh: meshArgs(), fault: fault(test.kind)}
			test.change(r.fault)
			s := r.stack(t)
			_, err := s.TryUp()
			if err == nil {
				t.Fatal("is accepted")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
	r := &region{mesh: &chaos.MeshArgs{Chart: chaos.Chart("^2.8"), Controller: "chaos-mesh:latest"}}
	_, err := r.stack(t).TryUp()
	for _, want := range []string{"chaosNamespace: empty", "versions.chaosMesh", "^2.8", "images.chaosMesh", "chaos-mesh:latest", "images.chaosDaemon: no image: run make images", "images.pause: no image"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func equal(got, want any) bool { return reflect.DeepEqual(got, want) }
