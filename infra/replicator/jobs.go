package replicator

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// registerApp returns the labels of the only pods that may use the REST interface.
func registerApp(kind string) kube.App {
	return kube.App{Name: kind + "-register", Component: "register"}
}

// restService makes the REST interface known by the kind's name.
func (r *Replicator) restService(ctx *pulumi.Context) error {
	app, port := r.args.rest()
	service, err := corev1.NewService(ctx, r.name+"-rest", &corev1.ServiceArgs{
		// It has no endpoints while there is no controller, which is a scenario.
		Metadata: kube.Annotated(app.Meta(r.args.Namespace, app.Name), kube.SkipAwait, "true"),
		Spec: &corev1.ServiceSpecArgs{
			Selector: app.Selector(),
			Ports:    corev1.ServicePortArray{&corev1.ServicePortArgs{Name: pulumi.String("rest"), Port: pulumi.Int(port)}},
		},
	}, pulumi.Parent(r))
	if err != nil {
		return fmt.Errorf("service %s: %w", app.Name, err)
	}
	r.workers = append(r.workers, service)
	return nil
}

// reserve is what a tool gets less than its Job, so that its words are in the log when time is over.
const reserve = 30 * time.Second

// register makes the Job that tells the replicator what to copy.
func (r *Replicator) register(ctx *pulumi.Context) error {
	a := r.args
	app, port := a.rest()
	args := &kube.JobArgs{
		App: registerApp(a.Kind), Namespace: a.Namespace, Image: a.Images.Loadgen,
		Command: []string{"replicator", "register", "--replicator", a.Kind,
			"--url", fmt.Sprintf("http://%s:%d", app.Name, port), "--timeout", (a.RegisterDeadline - reserve).String()},
		Deadline: int(a.RegisterDeadline / time.Second),
		Retries:  3,
	}
	opts := []pulumi.ResourceOption{pulumi.Parent(r), pulumi.DependsOn(r.workers)}
	if a.Kind == scenario.Brooklin {
		// One datastream for all topics: more of them, or more partitions, are none of its business.
		args.Command = append(args.Command, "--topic-pattern", a.pattern())
		args.Env = corev1.EnvVarArray{&corev1.EnvVarArgs{Name: pulumi.String("LOADGEN_SOURCE_BOOTSTRAP_SERVERS"), Value: a.Source.Bootstrap}}
	} else {
		args.Command = append(args.Command, "--topics", a.topicList(), "--partition-growth", a.Growth)
	}
	if a.Kind == scenario.UReplicator && a.Controllers == 0 {
		opts = append(opts, pulumi.IgnoreChanges([]string{"spec"})) // nobody is there to be told
	}
	job, err := kube.NewJob(ctx, r.name+"-register", args, opts...)
	if err != nil {
		return fmt.Errorf("registration: %w", err)
	}
	r.Register = job
	r.workers = append(r.workers, job)
	return nil
}

// topicList is NAME:PARTITIONS with commas, the self-test's topic included.
func (a *Args) topicList() string {
	var each []string
	for _, t := range append(slices.Clone(a.Topics), a.SelfTest) {
		each = append(each, fmt.Sprintf("%s:%d", t.Name, t.Partitions))
	}
	return strings.Join(each, ",")
}

// selfTest makes the Job that waits until a record has crossed.
func (r *Replicator) selfTest(ctx *pulumi.Context) error {
	a := r.args
	access := kube.Both(a.Source, a.Destination)
	job, err := kube.NewJob(ctx, r.name+"-selftest", &kube.JobArgs{
		App:       kube.App{Name: "replicator-selftest", Component: "selftest"},
		Namespace: a.Namespace, Image: a.Images.Loadgen,
		Command:  []string{"selftest", "replicator", "--topic", a.SelfTest.Name, "--timeout", (a.SelfTestDeadline - reserve).String()},
		Env:      append(access.Env, &corev1.EnvVarArgs{Name: pulumi.String("TESTED"), Value: r.tested()}),
		Volumes:  access.Volumes,
		Mounts:   access.Mounts,
		Deadline: int(a.SelfTestDeadline / time.Second),
		Retries:  3,
	}, pulumi.Parent(r), pulumi.DependsOn(r.workers))
	if err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	r.SelfTest = job
	return nil
}

// tested says what the self-test is a test of. The tool does not read it; it makes the Job another one
// when what it tested is no longer what is there.
func (r *Replicator) tested() pulumi.StringOutput {
	a := r.args
	words := []string{a.Kind, fmt.Sprintf("workers=%d", a.Workers)}
	switch a.Kind {
	case scenario.UReplicator:
		words = append(words, fmt.Sprintf("controllers=%d", a.Controllers), "topics="+a.topicList(), "growth="+a.Growth, "image="+a.Images.Replicator)
	case scenario.Brooklin:
		words = append(words, "topics="+a.pattern(), "image="+a.Images.Replicator)
	case scenario.MirrorMaker2:
		words = append(words, "image="+a.Images.Kafka)
	}
	return pulumi.Sprintf("%s config=%s", strings.Join(words, " "), r.config)
}
