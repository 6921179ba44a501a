package kafka

import (
	"fmt"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

func (p *Peers) from() kube.Peers {
	return append(kube.FromOursIn(p.Namespaces...), kube.FromCIDRs(p.CIDRs...)...)
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
