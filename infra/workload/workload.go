// Package workload declares the load tools: producers in the source's region, consumers and the
// auditor in the destination's.
//
// What a scenario changes while they run (topics, rates, how many producers there are) reaches them by
// a ConfigMap, which they read again. None is started again for it: a restart would be a fault that
// nobody asked for.
package workload

import (
	"encoding/json"
	"errors"
	"fmt"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
)

// MetricsPortName names the port of /metrics on pods and Services.
const MetricsPortName = "metrics"

// Apps of the load tools; pods of the first two are called NAME-0, NAME-1, ...
func producerApp() kube.App { return kube.App{Name: "producer", Component: "producer"} }
func consumerApp() kube.App { return kube.App{Name: "consumer", Component: "consumer"} }
func auditorApp() kube.App  { return kube.App{Name: "auditor", Component: "auditor"} }

// Test is what all load tools of a side are told.
type Test struct {
	Namespace           pulumi.StringInput
	MonitoringNamespace string // whose pods may read metrics; empty: none may
	Image               string // load generator's, by digest
	ID                  string // test's id
	Topics              []string
}

func (t *Test) validate() error {
	errs := []error{kube.CheckImage("images.loadgen", t.Image)}
	if t.ID == "" {
		errs = append(errs, errors.New("testId: empty: name the test"))
	}
	if len(t.Topics) == 0 {
		errs = append(errs, errors.New("topics: none: name at least one"))
	}
	return errors.Join(errs...)
}

// given refuses a Test without what other resources give.
func (t *Test) given() error {
	if t.Namespace == nil {
		return errors.New("no namespace given")
	}
	return nil
}

// settingsPath is where the settings' ConfigMap is mounted: a directory and no subPath, which would
// never see a change.
const settingsPath = "/etc/loadgen"

const settingsFile = "settings.json"

// settings is the content of the file that the load tools read again and again: package
// loadgen/settings. all stands for every topic.
func settings(topics []string, all map[string]any) (string, error) {
	entries := map[string]map[string]any{"*": all}
	for _, topic := range topics {
		entries[topic] = map[string]any{}
	}
	text, err := json.MarshalIndent(entries, "", "  ")
	if err != nil {
		return "", fmt.Errorf("settings of the load: %w", err)
	}
	return string(text) + "\n", nil
}

// newSettings makes the ConfigMap of app.
func (t *Test) newSettings(ctx *pulumi.Context, app kube.App, all map[string]any, opts ...pulumi.ResourceOption) (*corev1.ConfigMap, error) {
	text, err := settings(t.Topics, all)
	if err != nil {
		return nil, err
	}
	return corev1.NewConfigMap(ctx, "load-settings", &corev1.ConfigMapArgs{
		Metadata: app.Meta(t.Namespace, "load-settings"),
		Data:     pulumi.StringMap{settingsFile: pulumi.String(text)},
	}, opts...)
}

// tool is one container of the load tools. What differs between its pods is in env.
type tool struct {
	app       kube.App
	args      []string
	env       corev1.EnvVarArray
	flags     kube.Flags // how it reaches Kafka
	port      int
	resources kube.Resources
	volumes   corev1.VolumeArray
	mounts    corev1.VolumeMountArray
	open      bool // to pods of ours in the namespace
}

// grace is how long a pod has from the request to stop to the kill, seconds: more than the tools'
// --shutdown-timeout of 30 s, within which they close their ledgers.
const grace = 60

func (t *Test) template(l *tool) *corev1.PodTemplateSpecArgs {
	settings := &corev1.VolumeArgs{
		Name:      pulumi.String("settings"),
		ConfigMap: &corev1.ConfigMapVolumeSourceArgs{Name: pulumi.String("load-settings")},
	}
	env := append(kube.Env(
		"LOADGEN_TEST_ID", t.ID,
		"LOADGEN_SETTINGS_FILE", settingsPath+"/"+settingsFile,
		"LOADGEN_METRICS_ADDRESS", fmt.Sprintf(":%d", l.port), // the pod's own address; the NetworkPolicy says who reaches it
	), &corev1.EnvVarArgs{
		// The garbage collector does not know of the container's limit by itself.
		Name: pulumi.String("GOMEMLIMIT"),
		ValueFrom: &corev1.EnvVarSourceArgs{ResourceFieldRef: &corev1.ResourceFieldSelectorArgs{
			ContainerName: pulumi.String("loadgen"), Resource: pulumi.String("limits.memory"),
		}},
	})
	env = append(env, l.env...)
	return &corev1.PodTemplateSpecArgs{
		Metadata: &metav1.ObjectMetaArgs{Labels: l.app.Labels()},
		Spec: &corev1.PodSpecArgs{
			SecurityContext:               kube.PodSecurity(),
			AutomountServiceAccountToken:  pulumi.Bool(false),
			EnableServiceLinks:            pulumi.Bool(false), // else a Service's variables look like misspelt ones of ours
			TerminationGracePeriodSeconds: pulumi.Int(grace),
			Affinity:                      l.app.HostAntiAffinity(false),
			TopologySpreadConstraints:     l.app.ZoneSpread(),
			Volumes:                       append(append(corev1.VolumeArray{settings}, l.flags.Volumes...), l.volumes...),
			Containers: corev1.ContainerArray{&corev1.ContainerArgs{
				Name:  pulumi.String("loadgen"),
				Image: pulumi.String(t.Image),
				Args:  pulumi.ToStringArray(l.args),
				Env:   append(env, l.flags.Env...),
				Ports: corev1.ContainerPortArray{&corev1.ContainerPortArgs{
					Name: pulumi.String(MetricsPortName), ContainerPort: pulumi.Int(l.port),
				}},
				ReadinessProbe: &corev1.ProbeArgs{
					HttpGet:       &corev1.HTTPGetActionArgs{Path: pulumi.String("/readyz"), Port: pulumi.String(MetricsPortName)},
					PeriodSeconds: pulumi.Int(5),
				},
				// Only one that answers nothing at all is started again; its ledger has what it did.
				LivenessProbe: &corev1.ProbeArgs{
					HttpGet:       &corev1.HTTPGetActionArgs{Path: pulumi.String("/healthz"), Port: pulumi.String(MetricsPortName)},
					PeriodSeconds: pulumi.Int(20), TimeoutSeconds: pulumi.Int(10), FailureThreshold: pulumi.Int(6),
				},
				Resources:       l.resources.Args(),
				SecurityContext: kube.ContainerSecurity(),
				VolumeMounts: append(append(corev1.VolumeMountArray{&corev1.VolumeMountArgs{
					Name: pulumi.String("settings"), MountPath: pulumi.String(settingsPath), ReadOnly: pulumi.Bool(true),
				}}, l.flags.Mounts...), l.mounts...),
			}},
		},
	}
}

// How long `pulumi up` waits for load tools to be ready, at most, in seconds. No fault hits them, so
// that they are waited for. A set whose pods are replaced takes them one after another, and each closes
// its ledger first.
const (
	awaitSet     = "1200"
	awaitAuditor = "300"
)

// set makes a StatefulSet, whose pods keep their names, and with them their ledgers.
func (t *Test) set(ctx *pulumi.Context, l *tool, count int, opts ...pulumi.ResourceOption) (*appsv1.StatefulSet, error) {
	return appsv1.NewStatefulSet(ctx, l.app.Name, &appsv1.StatefulSetArgs{
		Metadata: kube.Annotated(l.app.Meta(t.Namespace, l.app.Name), kube.TimeoutSeconds, awaitSet),
		Spec: &appsv1.StatefulSetSpecArgs{
			Replicas:            pulumi.Int(count),
			ServiceName:         pulumi.String(l.app.Name),
			PodManagementPolicy: pulumi.String("Parallel"),
			Selector:            l.app.LabelSelector(),
			Template:            t.template(l),
		},
	}, opts...)
}

// service makes the headless Service that a StatefulSet wants.
func (t *Test) service(ctx *pulumi.Context, l *tool, opts ...pulumi.ResourceOption) (*corev1.Service, error) {
	return corev1.NewService(ctx, l.app.Name, &corev1.ServiceArgs{
		// Nothing connects to these by name, so nobody waits until it has endpoints.
		Metadata: kube.Annotated(l.app.Meta(t.Namespace, l.app.Name), kube.SkipAwait, "true"),
		Spec: &corev1.ServiceSpecArgs{
			ClusterIP:                pulumi.String("None"),
			PublishNotReadyAddresses: pulumi.Bool(true),
			Selector:                 l.app.Selector(),
			Ports: corev1.ServicePortArray{&corev1.ServicePortArgs{
				Name: pulumi.String(MetricsPortName), Port: pulumi.Int(l.port),
			}},
		},
	}, opts...)
}

// policy lets nobody reach the tool but Prometheus, and pods of ours if it is open to them.
func (t *Test) policy(ctx *pulumi.Context, l *tool, opts ...pulumi.ResourceOption) error {
	from := kube.FromNamespace(t.MonitoringNamespace)
	if l.open {
		from = append(from, kube.FromOurs()...)
	}
	_, err := l.app.NewIngressPolicy(ctx, l.app.Name, t.Namespace, l.app.Name, []kube.Ingress{{Ports: []int{l.port}, From: from}}, opts...)
	return err
}
