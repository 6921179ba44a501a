// Package topics declares the topics of a test on one cluster. They are Jobs: what changes here is
// made again, and nothing else is touched. What the replicator is told of them is infra/replicator's.
package topics

import (
	"errors"
	"fmt"
	"strings"
	"time"

	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// SelfTestTopic is the topic whose records the replicator's self-test sends across, besides those under
// test: loadgen/selftest.ReplicatorTopic.
const SelfTestTopic = scenario.OwnTopics + "selftest"

// Args describes the topics of one cluster. They are to depend on the cluster's self-test.
type Args struct {
	Namespace pulumi.StringInput
	Image     string       // load generator's, by digest
	Kafka     *kube.Access // the cluster

	Topics        []string      // at least one
	Partitions    int           // of each, at least 1
	Replicas      int           // of each partition, at least 1
	MinISR        int           // min.insync.replicas, 1 to Replicas
	Retention     time.Duration // of records, at least 1 s
	LogAppendTime bool          // brokers stamp records; latency is measured to that at the destination
	// Grow adds partitions to topics that have fewer. Without it existing topics keep the partitions
	// that they have, as a destination's do where following is left to the replicator. To shrink is
	// an error in either case.
	Grow bool

	Deadline time.Duration // bound on each Job, whole seconds, at least 1 min
}

// Topics are the topics of a test on one cluster, and the replicator's self-test topic.
type Topics struct {
	pulumi.ResourceState

	// Applied succeeds when the topics are as asked for. Load depends on it.
	Applied *batchv1.Job
	// SelfTest succeeds when the topic exists whose records the replicator's self-test sends across.
	// It is of its own, so that no change of the test's topics touches it.
	SelfTest *batchv1.Job
}

// Validate reports every mistake in a at once; each names the key, the value and what would be right. What
// other resources give is not looked at.
func (a *Args) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	errs = append(errs, kube.CheckImage("images.loadgen", a.Image), checkNames(a.Topics))
	if a.Partitions < 1 {
		refuse("partitions is %d: must be at least 1", a.Partitions)
	}
	if a.Replicas < 1 {
		refuse("replicationFactor is %d: must be at least 1", a.Replicas)
	}
	if a.MinISR < 1 || a.MinISR > a.Replicas {
		refuse("minInsyncReplicas is %d: must be 1 to replicationFactor, %d", a.MinISR, a.Replicas)
	}
	if a.Retention < time.Second {
		refuse("retention is %s: must be at least 1s", a.Retention)
	}
	return errors.Join(append(errs, checkDeadline(a.Deadline))...)
}

// given refuses arguments without what other resources give.
func (a *Args) given() error {
	if a.Namespace == nil || a.Kafka == nil {
		return errors.New("no namespace or no Kafka cluster given")
	}
	return nil
}

func checkNames(names []string) error {
	if len(names) == 0 {
		return errors.New("topics: none: name at least one")
	}
	var errs []error
	for _, name := range names {
		if name == "" || strings.ContainsAny(name, ",: ") || strings.HasPrefix(name, scenario.OwnTopics) {
			errs = append(errs, fmt.Errorf("topics: %q: must be the name of a topic, and none of the tester's own, %s…", name, scenario.OwnTopics))
		}
	}
	return errors.Join(errs...)
}

// margin is how long before its Job's deadline a tool gives up, so that its words are in the log.
const margin = 30 * time.Second

func checkDeadline(d time.Duration) error {
	if d < 2*margin || d%time.Second != 0 {
		return fmt.Errorf("deadline of topics is %s: must be whole seconds, at least %s", d, 2*margin)
	}
	return nil
}

// NewTopics registers the topics. Every mistake in args is reported at once, before anything is
// registered.
func NewTopics(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Topics, error) {
	if err := errors.Join(args.Validate(), args.given()); err != nil {
		return nil, fmt.Errorf("topics %s: %w", name, err)
	}
	t := &Topics{}
	if err := ctx.RegisterComponentResource("kafka-mirror-tester:topics:Topics", name, t, opts...); err != nil {
		return nil, fmt.Errorf("topics %s: %w", name, err)
	}
	var err error
	if t.Applied, err = args.job(ctx, name, args.Topics, args.Partitions, args.Grow, pulumi.Parent(t)); err != nil {
		return nil, fmt.Errorf("topics %s: %w", name, err)
	}
	if t.SelfTest, err = args.job(ctx, name+"-selftest", []string{SelfTestTopic}, 1, true, pulumi.Parent(t)); err != nil {
		return nil, fmt.Errorf("topics %s: self-test topic: %w", name, err)
	}
	if err := ctx.RegisterResourceOutputs(t, pulumi.Map{}); err != nil {
		return nil, fmt.Errorf("topics %s: register outputs: %w", name, err)
	}
	return t, nil
}

func (a *Args) job(ctx *pulumi.Context, name string, names []string, partitions int, grow bool, opts ...pulumi.ResourceOption) (*batchv1.Job, error) {
	return kube.NewJob(ctx, name, &kube.JobArgs{
		App:       kube.App{Name: name, Component: "topics"},
		Namespace: a.Namespace,
		Image:     a.Image,
		Kafka:     a.Kafka,
		Command: []string{"topics", "apply",
			"--topics=" + strings.Join(names, ","),
			fmt.Sprintf("--num-partitions=%d", partitions),
			fmt.Sprintf("--num-replicas=%d", a.Replicas),
			fmt.Sprintf("--min-insync-replicas=%d", a.MinISR),
			fmt.Sprintf("--retention=%s", a.Retention),
			fmt.Sprintf("--log-append-time=%t", a.LogAppendTime),
			fmt.Sprintf("--grow=%t", grow),
			fmt.Sprintf("--timeout=%s", a.Deadline-margin),
		},
		Deadline: int(a.Deadline.Seconds()),
		Retries:  3,
	}, opts...)
}
