package kube

import (
	"fmt"

	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Peers are who may reach a port.
type Peers = networkingv1.NetworkPolicyPeerArray

// Ingress lets peers reach TCP ports.
type Ingress struct {
	Ports []int
	From  Peers
}

// NewIngressPolicy makes a NetworkPolicy of the given object name that lets in to a's pods whom
// ingress names, and thereby nobody else. (The kubelet's probes always get through.)
func (a App) NewIngressPolicy(ctx *pulumi.Context, name string, namespace pulumi.StringInput, object string, ingress []Ingress, opts ...pulumi.ResourceOption) (*networkingv1.NetworkPolicy, error) {
	rules := networkingv1.NetworkPolicyIngressRuleArray{}
	for _, in := range ingress {
		if len(in.From) == 0 {
			continue // a rule without sources would let everyone in
		}
		var ports networkingv1.NetworkPolicyPortArray
		for _, port := range in.Ports {
			ports = append(ports, &networkingv1.NetworkPolicyPortArgs{Port: pulumi.Int(port), Protocol: pulumi.String("TCP")})
		}
		rules = append(rules, &networkingv1.NetworkPolicyIngressRuleArgs{Ports: ports, From: in.From})
	}
	policy, err := networkingv1.NewNetworkPolicy(ctx, name, &networkingv1.NetworkPolicyArgs{
		Metadata: a.Meta(namespace, object),
		Spec: &networkingv1.NetworkPolicySpecArgs{
			PodSelector: a.LabelSelector(),
			PolicyTypes: pulumi.StringArray{pulumi.String("Ingress")},
			Ingress:     rules,
		},
	}, opts...)
	if err != nil {
		return nil, fmt.Errorf("network policy %s: %w", object, err)
	}
	return policy, nil
}

// partOf selects all pods of this project.
func partOf() *metav1.LabelSelectorArgs {
	return &metav1.LabelSelectorArgs{MatchLabels: pulumi.StringMap{"app.kubernetes.io/part-of": pulumi.String(PartOf)}}
}

// inNamespace selects a namespace by the label that each has with its name.
func inNamespace(name string) *metav1.LabelSelectorArgs {
	return &metav1.LabelSelectorArgs{MatchLabels: pulumi.StringMap{"kubernetes.io/metadata.name": pulumi.String(name)}}
}

// FromApps are pods of apps in the same namespace.
func FromApps(apps ...App) Peers {
	var peers Peers
	for _, app := range apps {
		peers = append(peers, &networkingv1.NetworkPolicyPeerArgs{PodSelector: app.LabelSelector()})
	}
	return peers
}

// FromOurs are all pods of this project in the same namespace.
func FromOurs() Peers {
	return Peers{&networkingv1.NetworkPolicyPeerArgs{PodSelector: partOf()}}
}

// FromOursIn are all pods of this project in other namespaces of the cluster.
func FromOursIn(namespaces ...string) Peers {
	var peers Peers
	for _, name := range namespaces {
		peers = append(peers, &networkingv1.NetworkPolicyPeerArgs{NamespaceSelector: inNamespace(name), PodSelector: partOf()})
	}
	return peers
}

// FromNamespace are all pods in a namespace; none for an empty name.
func FromNamespace(name string) Peers {
	if name == "" {
		return nil
	}
	return Peers{&networkingv1.NetworkPolicyPeerArgs{NamespaceSelector: inNamespace(name)}}
}

// FromCIDRs are addresses.
func FromCIDRs(cidrs ...string) Peers {
	var peers Peers
	for _, cidr := range cidrs {
		peers = append(peers, &networkingv1.NetworkPolicyPeerArgs{IpBlock: &networkingv1.IPBlockArgs{Cidr: pulumi.String(cidr)}})
	}
	return peers
}
