package topics_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/topics"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/selftest"
)

const jobType = "kubernetes:batch/v1:Job"

var image = "loadgen@sha256:" + strings.Repeat("0", 64)

func newArgs() *topics.Args {
	return &topics.Args{
		Namespace: pulumi.String("kmt"), Image: image,
		Kafka:  &kube.Access{Bootstrap: pulumi.String("kafka-0:9092,kafka-1:9092"), Secret: "kafka-access", ServerName: "kafka.test"},
		Topics: []string{"load", "load2"}, Partitions: 150, Replicas: 2, MinISR: 1,
		Retention: 5 * time.Minute, LogAppendTime: true, Grow: true, Deadline: 10 * time.Minute,
	}
}

// stack has a stack with the topics of args, as they are at the time of each update.
func stack(t *testing.T, args *topics.Args) *enginetest.Stack {
	return enginetest.New(t, func(ctx *pulumi.Context) error {
		provider, err := kubernetes.NewProvider(ctx, "cluster", &kubernetes.ProviderArgs{Kubeconfig: pulumi.String("{}")})
		if err != nil {
			return err
		}
		_, err = topics.NewTopics(ctx, "topics", args, pulumi.Providers(provider))
		return err
	})
}

func command(s *enginetest.Stack, name string) string {
	args, _ := s.Resource(jobType, name).Get("spec.template.spec.containers[0].args").([]any)
	return strings.Trim(fmt.Sprint(args), "[]")
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if want := slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func TestStepsTouchWhatTheyAreAbout(t *testing.T) {
	args := newArgs()
	s := stack(t, args)
	s.Up()
	same(t, "again", s.Up().Changes(), nil)
	args.Partitions = 300
	same(t, "partitions", s.Up().Changes(), []string{"replace " + jobType + " topics"})
	args.Topics = append(args.Topics, "load3")
	same(t, "a topic", s.Up().Changes(), []string{"replace " + jobType + " topics"})
	args.Retention = time.Hour
	same(t, "retention", s.Up().Changes(), []string{"replace " + jobType + " topics", "replace " + jobType + " topics-selftest"})
	s.Destroy()
	if left := s.Resources(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestCommands(t *testing.T) {
	args := newArgs()
	s := stack(t, args)
	s.Up()
	const applied = " --num-replicas=2 --min-insync-replicas=1 --retention=5m0s --log-append-time=true --grow=true --timeout=9m30s"
	for name, want := range map[string]string{
		"topics":          "topics apply --topics=load,load2 --num-partitions=150" + applied,
		"topics-selftest": "topics apply --topics=" + selftest.ReplicatorTopic + " --num-partitions=1" + applied,
	} {
		if got := command(s, name); got != want {
			t.Errorf("%s runs\n%s, want\n%s", name, got, want)
		}
	}
	if env := fmt.Sprint(s.Resource(jobType, "topics").Get("spec.template.spec.containers[0].env")); !strings.Contains(env, "kafka.test") || !strings.Contains(env, "kafka-0:9092,kafka-1:9092") {
		t.Errorf("the Job does not reach Kafka: %s", env)
	}
	// Left to the replicator: the destination's topics keep the partitions that they have.
	args.Grow = false
	s.Up()
	if got := command(s, "topics"); !strings.Contains(got, "--grow=false") {
		t.Errorf("topics runs %s", got)
	}
}

func TestEveryMistakeIsNamed(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*topics.Args)
		want   string
	}{
		{"no topics", func(a *topics.Args) { a.Topics = nil }, "topics: none"},
		{"own topic", func(a *topics.Args) { a.Topics = []string{"kmt-ledger-source"} }, `topics: "kmt-ledger-source"`},
		{"two in one", func(a *topics.Args) { a.Topics = []string{"a,b"} }, `topics: "a,b"`},
		{"partitions", func(a *topics.Args) { a.Partitions = 0 }, "partitions is 0: must be at least 1"},
		{"min ISR", func(a *topics.Args) { a.MinISR = 3 }, "minInsyncReplicas is 3: must be 1 to replicationFactor, 2"},
		{"image", func(a *topics.Args) { a.Image = "loadgen" }, `images.loadgen: image "loadgen" has no digest`},
		{"retention", func(a *topics.Args) { a.Retention = 0 }, "retention is 0s: must be at least 1s"},
		{"deadline", func(a *topics.Args) { a.Deadline = time.Second }, "deadline of topics is 1s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := newArgs()
			c.change(args)
			s := stack(t, args)
			if _, err := s.TryUp(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			for _, r := range s.Resources() {
				if strings.HasPrefix(r.Type, "kafka-mirror-tester:") {
					t.Errorf("%s %s was registered", r.Type, r.Name)
				}
			}
		})
	}
}
