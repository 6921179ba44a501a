package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
)

// Nothing depends on a component of ours as a whole. The Go SDK takes a component for the children that
// have joined it when it is asked, and each joins in a goroutine of its own, some moments after it was
// registered: who depends on the component misses some of them now and then.
func TestGraphNothingDependsOnAComponent(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.source.Up()
	for role, base := range map[string]*enginetest.Stack{source: p.source, destination: p.destination} {
		var s *enginetest.Stack
		s = enginetest.New(t, func(ctx *pulumi.Context) error {
			if err := ctx.RegisterStackTransformation(func(args *pulumi.ResourceTransformationArgs) *pulumi.ResourceTransformationResult {
				options, err := pulumi.NewResourceOptions(args.Opts...)
				if err != nil {
					t.Error(err)
					return nil
				}
				for _, on := range options.DependsOn {
					if _, custom := on.(pulumi.CustomResource); !custom {
						t.Errorf("%s: %s %s depends on all of the component %T: name what it needs of it", role, args.Type, args.Name, on)
					}
				}
				return nil
			}); err != nil {
				return err
			}
			return program(ctx, s.Config())
		}, enginetest.WithName(projectName, strings.TrimSuffix(strings.TrimPrefix(stackFiles[role], "Pulumi."), ".yaml")), enginetest.WithoutPreview())
		for key, value := range base.Config() {
			s.SetConfig(key, value)
		}
		s.Peer("us-east-1", p.source)
		s.Up()
		s.SetConfig("fault", `{"kind":"broker-kill","victims":[3],"run":1}`)
		s.Up()
	}
}

// An update that fails in the middle is completed by the next ones, each of which gets further; then
// nothing is left to do. No fault is injected while the first update has not ended well.
func TestGraphFailedUpdatesAreCompleted(t *testing.T) {
	t.Parallel()
	p := newPair(t, fault(`{"kind":"broker-kill","victims":[3],"run":1}`))
	p.destination.SetConfig("replicator", "ureplicator")
	for _, side := range []struct {
		stack *enginetest.Stack
		least int // updates that fail: each of so many needs the one before
		fails []string
	}{
		{p.source, 7, []string{
			"aws:ec2/natGateway:NatGateway us-east-1", "aws:eks/nodeGroup:NodeGroup us-east-1", "aws:eks/addon:Addon us-east-1-coredns",
			"kubernetes:core/v1:Namespace source", "kubernetes:apps/v1:StatefulSet kafka", "!kubernetes:batch/v1:Job kafka-selftest",
			"kubernetes:helm.sh/v3:Release chaos-mesh", "!kubernetes:apps/v1:StatefulSet producer",
		}},
		{p.destination, 4, []string{
			"aws:ec2/vpcPeeringConnectionAccepter:VpcPeeringConnectionAccepter peering", "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule peering-peer-kafka",
			"kubernetes:apps/v1:StatefulSet replicator-worker", "!kubernetes:batch/v1:Job replicator-register", "kubernetes:helm.sh/v3:Release kube-prometheus-stack",
			"!kubernetes:batch/v1:Job replicator-selftest",
		}},
	} {
		for _, fail := range side.fails {
			typ, name, _ := strings.Cut(strings.TrimPrefix(fail, "!"), " ")
			if fail[0] == '!' { // made, but not ready in time
				side.stack.FailInitOnce(typ, name)
			} else {
				side.stack.FailOnce(typ, name)
			}
		}
		failed := 0
		for _, err := side.stack.TryUp(); err != nil; _, err = side.stack.TryUp() {
			if failed++; failed > len(side.fails) {
				t.Fatalf("update %d still fails: %v", failed, err)
			}
			for _, r := range side.stack.Resources() {
				if strings.HasSuffix(r.Type, "Chaos") {
					t.Errorf("%s is injected, and the first update has not ended", r.Name)
				}
			}
		}
		if failed < side.least {
			t.Errorf("%d updates failed, which %d must", failed, side.least)
		}
		if changes := side.stack.Up().Changes(); len(changes) > 0 {
			t.Errorf("a further update changes %q", changes)
		}
	}
	down := p.destination.Destroy()
	inOrder(t, down, "Release kube-prometheus-stack", "Route peering-peer", "VpcPeeringConnection peering", "Vpc eu-west-1")
	inOrder(t, down, "StatefulSet replicator-worker", "SecurityGroupIngressRule peering-peer-kafka")
	if p.source.Refresh(); len(p.source.Resources()) == 0 {
		t.Error("the source is gone with the destination")
	}
	inOrder(t, p.source.Destroy(), "Release chaos-mesh", "NodeGroup us-east-1", "Cluster us-east-1-eksCluster", "Route us-east-1-private-nat", "NatGateway us-east-1", "Vpc us-east-1")
	for _, s := range []*enginetest.Stack{p.source, p.destination} {
		for _, r := range s.Resources() {
			t.Errorf("destroy leaves %s", name(r))
		}
	}
}

// inOrder reports what is not done, or not in this order.
func inOrder(t *testing.T, r *enginetest.Result, names ...string) {
	t.Helper()
	last := -1
	for _, n := range names {
		i := slices.IndexFunc(r.Steps, func(s enginetest.Step) bool {
			return strings.HasSuffix(s.Type, ":"+strings.Fields(n)[0]) && s.Name == strings.Fields(n)[1]
		})
		if i < 0 {
			t.Errorf("%s is not deleted", n)
		}
		if i < last {
			t.Errorf("%s is deleted at step %d, too early", n, i)
		}
		last = i
	}
}
