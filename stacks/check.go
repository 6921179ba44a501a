package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// check runs the whole program on an engine that only nods, so that what is refused is known before the
// first dollar, and not by the first preview.
func check() error {
	config, err := environment()
	if err != nil {
		return err
	}
	name := os.Getenv(pulumi.EnvProject)
	stack, m := readConfig(name, config)
	if stack == nil {
		return m.err()
	}
	nod, err := newNod(stack)
	if err != nil {
		return err
	}
	return pulumi.RunErr(func(ctx *pulumi.Context) error { return program(ctx, config) },
		pulumi.WithMocks(name, os.Getenv(pulumi.EnvStack), nod),
		func(info *pulumi.RunInfo) { info.Config, info.DryRun = config, true })
}

// nod is the engine: every resource is as its inputs say. The peer's stack is taken to be as this one
// expects it, since it may not be there yet.
type nod struct{ peer resource.PropertyMap }

func newNod(stack *Stack) (*nod, error) {
	peer := *stack
	peer.Role = source
	text, err := json.Marshal(exportedConfig{Shared: stack.Shared, Cluster: peer.Source.Cluster, Source: &peer.Source})
	if err != nil {
		return nil, fmt.Errorf("configuration of the peer: %w", err)
	}
	outputs := map[string]any{
		outRole: source, outConfig: string(text), outVpcCidr: stack.PeerCidr, outRegion: "us-east-1",
		outBootstrap: "kafka-0:9092", outZookeeper: "zookeeper-0:2181", outPrometheus: "http://prometheus:9090",
		outVpcID: "vpc-1", outRouteTables: "rtb-1", outSecurityGroup: "sg-1", outZoneID: "Z1",
	}
	return &nod{resource.NewPropertyMapFromMap(outputs)}, nil
}

// NewResource implements pulumi.MockResourceMonitor.
func (n *nod) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	outputs := args.Inputs.Copy()
	if args.TypeToken == "eks:index:Cluster" {
		outputs["kubeconfigJson"] = resource.NewProperty("{}") // the SDK's engine cannot hand over a secret that is unknown
	}
	if args.TypeToken == "pulumi:pulumi:StackReference" {
		of := resource.PropertyMap{}
		if !strings.HasSuffix(args.Name, "/"+os.Getenv(pulumi.EnvStack)) {
			of = n.peer
		}
		outputs["outputs"] = resource.NewProperty(of)
	}
	return args.Name + "-id", outputs, nil
}

// Call implements pulumi.MockResourceMonitor: the program asks nobody.
func (n *nod) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return nil, errors.New("unexpected call of " + args.Token)
}
