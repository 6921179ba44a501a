package kafka

import (
	"fmt"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// ingress says who reaches ports.
type ingress struct {
	ports []int
	from  networkingv1.NetworkPolicyPeerArray
}

// networkPolicy lets in whom the set's ingress names, and thereby nobody else. (The kubelet's probes
// always get through.)
func (k *Kafka) networkPolicy(ctx *pulumi.Context, name string, s *set, opts ...pulumi.ResourceOption) (*networkingv1.NetworkPolicy, error) {
	rules := networkingv1.NetworkPolicyIngressRuleArray{}
	for _, in := range s.ingress {
		if len(in.from) == 0 {
			continue // a rule without sources would let everyone in
		}
		var ports networkingv1.NetworkPolicyPortArray
		for _, port := range in.ports {
			ports = append(ports, &networkingv1.NetworkPolicyPortArgs{Port: pulumi.Int(port), Protocol: pulumi.String("TCP")})
		}
		rules = append(rules, &networkingv1.NetworkPolicyIngressRuleArgs{Ports: ports, From: in.from})
	}
	return networkingv1.NewNetworkPolicy(ctx, name, &networkingv1.NetworkPolicyArgs{
		Metadata: s.app.Meta(k.args.Namespace, s.app.Name),
		Spec: &networkingv1.NetworkPolicySpecArgs{
			PodSelector: s.app.LabelSelector(),
			PolicyTypes: pulumi.StringArray{pulumi.String("Ingress")},
			Ingress:     rules,
		},
	}, opts...)
}

// partOf selects all pods of this project.
func partOf() *metav1.LabelSelectorArgs {
	return &metav1.LabelSelectorArgs{MatchLabels: pulumi.StringMap{"app.kubernetes.io/part-of": pulumi.String(kube.PartOf)}}
}

// ours are pods of apps in the same namespace.
func ours(apps ...kube.App) networkingv1.NetworkPolicyPeerArray {
	var peers networkingv1.NetworkPolicyPeerArray
	for _, app := range apps {
		peers = append(peers, &networkingv1.NetworkPolicyPeerArgs{PodSelector: app.LabelSelector()})
	}
	return peers
}

// ownNamespace are all pods of this project in the same namespace.
func ownNamespace() networkingv1.NetworkPolicyPeerArray {
	return networkingv1.NetworkPolicyPeerArray{&networkingv1.NetworkPolicyPeerArgs{PodSelector: partOf()}}
}

// inNamespace selects a namespace by the label that each has with its name.
func inNamespace(name string) *metav1.LabelSelectorArgs {
	return &metav1.LabelSelectorArgs{MatchLabels: pulumi.StringMap{"kubernetes.io/metadata.name": pulumi.String(name)}}
}

// namespaces are all pods in a namespace; none for an empty name.
func namespaces(name string) networkingv1.NetworkPolicyPeerArray {
	if name == "" {
		return nil
	}
	return networkingv1.NetworkPolicyPeerArray{&networkingv1.NetworkPolicyPeerArgs{NamespaceSelector: inNamespace(name)}}
}

func (p *Peers) from() networkingv1.NetworkPolicyPeerArray {
	var peers networkingv1.NetworkPolicyPeerArray
	for _, name := range p.Namespaces {
		peers = append(peers, &networkingv1.NetworkPolicyPeerArgs{NamespaceSelector: inNamespace(name), PodSelector: partOf()})
	}
	for _, cidr := range p.CIDRs {
		peers = append(peers, &networkingv1.NetworkPolicyPeerArgs{IpBlock: &networkingv1.IPBlockArgs{Cidr: pulumi.String(cidr)}})
	}
	return peers
}

// publicNames makes, where the cluster has a domain, a Service for each pod that the other region
// finds by name. ExternalDNS keeps the name at the pod's address; it never goes through a balancer.
func (k *Kafka) publicNames(ctx *pulumi.Context) error {
	if k.args.Domain == "" {
		return nil
	}
	if err := k.named(ctx, BrokerApp(), k.args.seeds(), "kafka", BrokerPort); err != nil {
		return err
	}
	if k.args.Mode != scenario.ZooKeeper {
		return nil
	}
	return k.named(ctx, ZookeeperApp(), k.args.QuorumSize, "client", ZookeeperPort)
}

func publicName(app kube.App, i int, domain string) string {
	return fmt.Sprintf("%s-%d.%s", app.Name, i, domain)
}

func (k *Kafka) named(ctx *pulumi.Context, app kube.App, count int, portName string, port int) error {
	for i := range count {
		pod := fmt.Sprintf("%s-%d", app.Name, i)
		service, err := corev1.NewService(ctx, fmt.Sprintf("%s-%d", k.resourceName(app), i), &corev1.ServiceArgs{
			Metadata: kube.Annotated(app.Meta(k.args.Namespace, pod),
				kube.SkipAwait, "true",
				"external-dns.alpha.kubernetes.io/hostname", publicName(app, i, k.args.Domain),
				// A replaced pod has another address. ExternalDNS's own 300 s would hide it for longer than
				// most faults last.
				"external-dns.alpha.kubernetes.io/ttl", "15"),
			Spec: &corev1.ServiceSpecArgs{
				ClusterIP:                pulumi.String("None"),
				PublishNotReadyAddresses: pulumi.Bool(true),
				Selector:                 pulumi.StringMap{"statefulset.kubernetes.io/pod-name": pulumi.String(pod)},
				Ports:                    corev1.ServicePortArray{&corev1.ServicePortArgs{Name: pulumi.String(portName), Port: pulumi.Int(port)}},
			},
		}, pulumi.Parent(k))
		if err != nil {
			return fmt.Errorf("service %s: %w", pod, err)
		}
		k.ready = append(k.ready, service)
	}
	return nil
}
