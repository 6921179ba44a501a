package workload

import (
	"errors"
	"fmt"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

// VerificationArgs describes what verifies.
type VerificationArgs struct {
	Test
	Source, Destination *kube.Access
	Producers           int      // that the test is meant to have; 0 for any number
	Consumers           int      // 1 or more; another number is another division of the partitions, which starts all again
	Expectations        []string // of the verdict, such as latency.p99 <= 5s
	ConsumerResources   kube.Resources
	AuditorResources    kube.Resources
}

// Verification is the consumers, pods consumer-0, consumer-1, ... , which read what arrives at the
// destination, and the auditor, which merges what was sent and what has arrived.
type Verification struct {
	pulumi.ResourceState

	// VerdictCommand prints the verdict so far.
	VerdictCommand pulumi.StringOutput
	// ReportCommand makes the report so far appear at http://127.0.0.1:8002/report.
	ReportCommand pulumi.StringOutput
	// DrainCommand says that the load ends, upon which the auditor comes to the final verdict.
	DrainCommand pulumi.StringOutput
	// FinalVerdictCommand prints that one, as JSON; the auditor has begun anew by then.
	FinalVerdictCommand pulumi.StringOutput

	ready []pulumi.Resource
}

// Ready returns what to depend on for consumers and an auditor that run.
func (v *Verification) Ready() []pulumi.Resource { return v.ready }

// NewVerification registers what verifies. It is to depend on the destination's cluster; the topics
// are waited for.
func NewVerification(ctx *pulumi.Context, name string, args *VerificationArgs, opts ...pulumi.ResourceOption) (*Verification, error) {
	if err := errors.Join(args.Validate(), args.given()); err != nil {
		return nil, fmt.Errorf("verification: %w", err)
	}
	v := &Verification{}
	if err := ctx.RegisterComponentResource("kafka-mirror-tester:workload:Verification", name, v, opts...); err != nil {
		return nil, fmt.Errorf("verification: %w", err)
	}
	if err := v.provision(ctx, args); err != nil {
		return nil, fmt.Errorf("verification: %w", err)
	}
	// The image has no shell and no curl, but the tool itself.
	in := func(command string) pulumi.StringOutput {
		return pulumi.Sprintf("kubectl --namespace %s exec deployment/%s -- loadgen %s", args.Namespace, auditorApp().Name, command)
	}
	v.VerdictCommand = in(fmt.Sprintf("verdict --url http://127.0.0.1:%d/verdict", metrics.AuditorPort))
	v.FinalVerdictCommand = in("verdict --json --file " + reportPath + "/verdict.json")
	forward := func(then string) pulumi.StringOutput {
		return pulumi.Sprintf("kubectl --namespace %s port-forward deployment/%s %d %s", args.Namespace, auditorApp().Name, metrics.AuditorPort, then)
	}
	v.ReportCommand = forward(fmt.Sprintf("  # http://127.0.0.1:%d/report", metrics.AuditorPort))
	v.DrainCommand = forward(fmt.Sprintf("& sleep 3; curl -X POST http://127.0.0.1:%d/drain; kill %%%%", metrics.AuditorPort))
	outputs := pulumi.Map{
		"verdictCommand": v.VerdictCommand, "reportCommand": v.ReportCommand,
		"drainCommand": v.DrainCommand, "finalVerdictCommand": v.FinalVerdictCommand,
	}
	if err := ctx.RegisterResourceOutputs(v, outputs); err != nil {
		return nil, fmt.Errorf("verification: register outputs: %w", err)
	}
	return v, nil
}

// Validate reports every mistake in a at once; each names the key, the value and what would be right. What
// other resources give is not looked at.
func (a *VerificationArgs) Validate() error {
	errs := []error{a.Test.validate()}
	if a.Producers < 0 {
		errs = append(errs, fmt.Errorf("producers: %d: use 0 or more", a.Producers))
	}
	if a.Consumers < 1 {
		errs = append(errs, fmt.Errorf("consumers: %d: use 1 or more", a.Consumers))
	}
	return errors.Join(errs...)
}

// given refuses arguments without what other resources give.
func (a *VerificationArgs) given() error {
	errs := []error{a.Test.given()}
	if a.Source == nil || a.Destination == nil {
		errs = append(errs, errors.New("source and destination: how to reach both must be given"))
	}
	return errors.Join(errs...)
}

func (v *Verification) provision(ctx *pulumi.Context, args *VerificationArgs) error {
	settings, err := args.newSettings(ctx, auditorApp(), map[string]any{"producers": args.Producers}, pulumi.Parent(v))
	if err != nil {
		return err
	}
	after := pulumi.DependsOn([]pulumi.Resource{settings})
	if err := v.consumers(ctx, args, after); err != nil {
		return fmt.Errorf("consumers: %w", err)
	}
	if err := v.auditor(ctx, args, after); err != nil {
		return fmt.Errorf("auditor: %w", err)
	}
	return nil
}

func (v *Verification) consumers(ctx *pulumi.Context, args *VerificationArgs, after pulumi.ResourceOption) error {
	child := pulumi.Parent(v)
	read := &tool{
		app: consumerApp(), port: metrics.ConsumerPort, resources: args.ConsumerResources, flags: args.Destination.Flags(),
		args: []string{"consume", fmt.Sprintf("--instances=%d", args.Consumers)},
		env:  corev1.EnvVarArray{kube.FromField("LOADGEN_ID", "metadata.name"), kube.FromField("LOADGEN_INDEX", kube.PodIndex)},
	}
	if err := args.policy(ctx, read, child); err != nil {
		return err
	}
	service, err := args.service(ctx, read, child)
	if err != nil {
		return fmt.Errorf("service: %w", err)
	}
	pods, err := args.set(ctx, read, args.Consumers, child, after, pulumi.DependsOn([]pulumi.Resource{service}))
	v.ready = append(v.ready, pods)
	return err
}

// reportPath is where the auditor writes its final verdict and report.
const reportPath = "/report"

func (v *Verification) auditor(ctx *pulumi.Context, args *VerificationArgs, after pulumi.ResourceOption) error {
	child := pulumi.Parent(v)
	volume, mount := kube.Scratch("report", reportPath, "1Gi")
	audit := &tool{
		app: auditorApp(), port: metrics.AuditorPort, resources: args.AuditorResources, open: true,
		flags:   kube.Both(args.Source, args.Destination),
		args:    []string{"audit", "--output=" + reportPath},
		volumes: corev1.VolumeArray{volume}, mounts: corev1.VolumeMountArray{mount},
	}
	for _, e := range args.Expectations {
		audit.args = append(audit.args, "--expect="+e)
	}
	if err := args.policy(ctx, audit, child); err != nil {
		return err
	}
	service, err := args.service(ctx, audit, child)
	if err != nil {
		return fmt.Errorf("service: %w", err)
	}
	pods, err := appsv1.NewDeployment(ctx, audit.app.Name, &appsv1.DeploymentArgs{
		Metadata: kube.Annotated(audit.app.Meta(args.Namespace, audit.app.Name), kube.TimeoutSeconds, awaitAuditor),
		Spec: &appsv1.DeploymentSpecArgs{
			Replicas: pulumi.Int(1),
			Strategy: &appsv1.DeploymentStrategyArgs{Type: pulumi.String("Recreate")}, // two auditors would write one evidence
			Selector: audit.app.LabelSelector(),
			Template: args.template(audit),
		},
	}, child, after, pulumi.DependsOn([]pulumi.Resource{service}))
	v.ready = append(v.ready, pods)
	return err
}
