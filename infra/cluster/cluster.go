// Package cluster makes one region's Kubernetes cluster, or takes one that is there already.
package cluster

import (
	"errors"
	"fmt"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Args says which cluster it is: exactly one of EKS and Existing.
type Args struct {
	// EKS makes a cluster.
	EKS *EKS
	// Existing takes one: kind, a company's, a test's. Nothing of AWS is then made.
	Existing *Existing
	// KubernetesPlugin is the version of the kubernetes provider's plugin, 4.26.0 or later: earlier
	// ones take a StatefulSet for ready by the state of its last generation.
	KubernetesPlugin string
}

// Existing is a cluster that somebody else made.
type Existing struct {
	// Kubeconfig is the file's content; it stays secret.
	Kubeconfig pulumi.StringInput
}

// Cluster is a cluster with its own Kubernetes provider, through which everything in it goes.
//
// The provider depends on the nodes and on the add-ons that follow them, so that on destroy every
// release is gone before they are, and a Service's load balancer with its Service. The nodes depend
// on the network add-on, and the whole, by the pulumi.DependsOn that the caller passes, on the
// network. Hence the order of a destroy: releases, Services and their load balancers, add-ons, nodes,
// control plane, NAT gateway's route, VPC.
type Cluster struct {
	pulumi.ResourceState

	// Provider is to be given to everything that lives in the cluster.
	Provider *kubernetes.Provider
	// Name is the cluster's in EKS; empty for an existing one.
	Name pulumi.StringOutput
	// Context is what kubectl --context takes after Command has run; empty for an existing cluster: the
	// current one.
	Context string
	// Command makes kubectl ready for the cluster; empty for an existing one.
	Command string
	// Kubeconfig is secret.
	Kubeconfig pulumi.StringOutput
	// NodeSecurityGroupID is the group of all nodes and pods, which EKS makes with the cluster; empty
	// for an existing one.
	NodeSecurityGroupID pulumi.StringOutput

	name string
	args *Args
}

// NewCluster registers the cluster. An EKS cluster must be made with pulumi.DependsOn on its network
// and with the default AWS provider. It reports every mistake in args at once, before anything is
// registered.
func NewCluster(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Cluster, error) {
	if err := errors.Join(args.Validate(), args.given()); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", name, err)
	}
	c := &Cluster{name: name, args: args}
	if err := ctx.RegisterComponentResource("kafka-mirror-tester:cluster:Cluster", name, c, opts...); err != nil {
		return nil, err
	}
	provide := c.useExisting
	if args.EKS != nil {
		provide = c.newEKS
	}
	if err := provide(ctx); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", name, err)
	}
	return c, ctx.RegisterResourceOutputs(c, pulumi.Map{
		"name":                c.Name,
		"context":             pulumi.String(c.Context),
		"command":             pulumi.String(c.Command),
		"kubeconfig":          c.Kubeconfig,
		"nodeSecurityGroupId": c.NodeSecurityGroupID,
	})
}

func (c *Cluster) useExisting(ctx *pulumi.Context) error {
	c.Name = pulumi.String("").ToStringOutput()
	c.Kubeconfig = secret(c.args.Existing.Kubeconfig)
	c.NodeSecurityGroupID = pulumi.String("").ToStringOutput()
	return c.newProvider(ctx)
}

// newProvider makes the explicit provider, of the plugin's own version: without it the engine would
// take the SDK's.
func (c *Cluster) newProvider(ctx *pulumi.Context, after ...pulumi.Resource) (err error) {
	c.Provider, err = kubernetes.NewProvider(ctx, c.name, &kubernetes.ProviderArgs{
		Kubeconfig:             c.Kubeconfig,
		EnableServerSideApply:  pulumi.Bool(true),
		EnableConfigMapMutable: pulumi.Bool(true), // settings change in place, and the load tools reload them
		EnableSecretMutable:    pulumi.Bool(true),
	}, c.child(), pulumi.Version(c.args.KubernetesPlugin), pulumi.DependsOn(after))
	return err
}

func (c *Cluster) child() pulumi.ResourceOption { return pulumi.Parent(c) }

func secret(s pulumi.StringInput) pulumi.StringOutput {
	return pulumi.ToSecret(s).(pulumi.StringOutput)
}

// Validate reports every mistake in a at once; each names the key, the value and what would be right. What
// other resources give is not looked at.
func (a *Args) Validate() error {
	errs := []error{validatePlugin(a.KubernetesPlugin)}
	switch {
	case (a.EKS == nil) == (a.Existing == nil):
		errs = append(errs, errors.New("name either an EKS cluster or an existing one (kubeconfig), not both"))
	case a.EKS != nil:
		errs = append(errs, a.EKS.validate())
	}
	return errors.Join(errs...)
}

// given refuses arguments without what other resources give.
func (a *Args) given() error {
	switch {
	case a.EKS != nil && (a.EKS.VpcID == nil || a.EKS.SubnetIDs == nil || a.EKS.NodeSubnetIDs == nil):
		return errors.New("no VPC or no subnets: pass the network's, its private ones and those of the nodes")
	case a.EKS == nil && a.Existing != nil && a.Existing.Kubeconfig == nil:
		return errors.New("kubeconfig: empty: set it with pulumi config set --secret kubeconfig < FILE")
	}
	return nil
}
