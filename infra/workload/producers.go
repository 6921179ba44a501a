package workload

import (
	"errors"
	"fmt"
	"strconv"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/metrics"
)

// ProducersArgs describes the load. Rate and MessageSize are written as the load tools read them.
type ProducersArgs struct {
	Test
	Kafka             *kube.Access   // the source
	Count             int            // 0 or more
	Rate              string         // of each producer in each topic, such as 20k/s
	MessageSize       string         // such as 1kB
	Compressibility   float64        // 0 to 1
	UseMessageHeaders bool           // identity in headers
	Until             string         // when the load ends by itself, RFC 3339; empty: never
	Resources         kube.Resources // of each
}

// Producers put the load on the source: pods producer-0, producer-1, ... , each a producer of the test
// with its pod's name for an id. One less or more touches no other.
type Producers struct {
	pulumi.ResourceState

	ready []pulumi.Resource
}

// Ready returns what to depend on for a load that runs.
func (p *Producers) Ready() []pulumi.Resource { return p.ready }

// NewProducers registers the load. It is to depend on the topics.
func NewProducers(ctx *pulumi.Context, name string, args *ProducersArgs, opts ...pulumi.ResourceOption) (*Producers, error) {
	if err := errors.Join(args.Validate(), args.given()); err != nil {
		return nil, fmt.Errorf("producers: %w", err)
	}
	p := &Producers{}
	if err := ctx.RegisterComponentResource("kafka-mirror-tester:workload:Producers", name, p, opts...); err != nil {
		return nil, fmt.Errorf("producers: %w", err)
	}
	if err := p.provision(ctx, args); err != nil {
		return nil, fmt.Errorf("producers: %w", err)
	}
	if err := ctx.RegisterResourceOutputs(p, pulumi.Map{}); err != nil {
		return nil, fmt.Errorf("producers: register outputs: %w", err)
	}
	return p, nil
}

// Validate reports every mistake in a at once; each names the key, the value and what would be right. What
// other resources give is not looked at.
func (a *ProducersArgs) Validate() error {
	errs := []error{a.Test.validate()}
	if a.Count < 0 {
		errs = append(errs, fmt.Errorf("producers: %d: use 0 or more", a.Count))
	}
	if a.Rate == "" {
		errs = append(errs, errors.New("throughput: none: give one, such as 20k/s"))
	}
	if a.MessageSize == "" {
		errs = append(errs, errors.New("messageSize: none: give one, such as 1kB"))
	}
	return errors.Join(errs...)
}

// given refuses arguments without what other resources give.
func (a *ProducersArgs) given() error {
	errs := []error{a.Test.given()}
	if a.Kafka == nil {
		errs = append(errs, errors.New("no Kafka cluster given"))
	}
	return errors.Join(errs...)
}

func (p *Producers) provision(ctx *pulumi.Context, args *ProducersArgs) error {
	child := pulumi.Parent(p)
	load := &tool{
		app: producerApp(), port: metrics.ProducerPort, resources: args.Resources, flags: args.Kafka.Flags(),
		args: []string{"produce",
			"--compressibility=" + strconv.FormatFloat(args.Compressibility, 'f', -1, 64),
			fmt.Sprintf("--use-message-headers=%t", args.UseMessageHeaders),
		},
		env: corev1.EnvVarArray{kube.FromField("LOADGEN_ID", "metadata.name")},
	}
	all := map[string]any{"rate": args.Rate, "size": args.MessageSize}
	if args.Until != "" {
		all["until"] = args.Until
	}
	settings, err := args.newSettings(ctx, load.app, all, child)
	if err != nil {
		return err
	}
	if err := args.policy(ctx, load, child); err != nil {
		return err
	}
	service, err := args.service(ctx, load, child)
	if err != nil {
		return fmt.Errorf("service: %w", err)
	}
	pods, err := args.set(ctx, load, args.Count, child, pulumi.DependsOn([]pulumi.Resource{settings, service}))
	if err != nil {
		return fmt.Errorf("stateful set: %w", err)
	}
	p.ready = append(p.ready, pods)
	return nil
}
