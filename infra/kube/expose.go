package kube

import (
	"errors"
	"fmt"
	"net/netip"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// CheckExpose refuses what would open a service to the whole internet. cidrs are the networks that may
// reach it from outside; key is the configuration key.
func CheckExpose(key string, cidrs []string) error {
	var errs []error
	for _, cidr := range cidrs {
		switch p, err := netip.ParsePrefix(cidr); {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %q is no CIDR: use the addresses that may reach it, such as 203.0.113.7/32", key, cidr))
		case p != p.Masked():
			errs = append(errs, fmt.Errorf("%s: %s has bits beyond its length: use %s, or %s/%d for one address", key, cidr, p.Masked(), p.Addr(), p.Addr().BitLen()))
		case !p.Addr().Is4():
			errs = append(errs, fmt.Errorf("%s: %s: the load balancers have IPv4 addresses only: use an IPv4 CIDR", key, cidr))
		case p.Bits() < 8:
			errs = append(errs, fmt.Errorf("%s: %s is too much of the internet: use the addresses that may reach it, /8 or longer", key, cidr))
		}
	}
	return errors.Join(errs...)
}

// NewLoadBalancer makes a Service with an internet-facing load balancer that lets in only cidrs,
// before the pods with the labels of selector. `pulumi up` waits until it has an address and
// `pulumi destroy` until the cloud's controller has removed it (a finalizer): so it is gone before
// the VPC has to go. It is plain TCP: for more than a trial, put a certificate before it, or use
// kubectl port-forward.
func (a App) NewLoadBalancer(ctx *pulumi.Context, name string, namespace pulumi.StringInput, selector pulumi.StringMap, port, target int, cidrs []string, opts ...pulumi.ResourceOption) (*corev1.Service, error) {
	return corev1.NewService(ctx, name, &corev1.ServiceArgs{
		Metadata: Annotated(a.Meta(namespace, name),
			"service.beta.kubernetes.io/aws-load-balancer-type", "nlb",
			"service.beta.kubernetes.io/aws-load-balancer-scheme", "internet-facing",
			TimeoutSeconds, "600",
		),
		Spec: &corev1.ServiceSpecArgs{
			Type:                     pulumi.String("LoadBalancer"),
			LoadBalancerSourceRanges: pulumi.ToStringArray(cidrs),
			Selector:                 selector,
			Ports: corev1.ServicePortArray{&corev1.ServicePortArgs{
				Name: pulumi.String("http"), Port: pulumi.Int(port), TargetPort: pulumi.Int(target),
			}},
		},
	}, opts...)
}

// LoadBalancerAddress returns the name or the address that the cloud gave to a Service's load
// balancer.
func LoadBalancerAddress(s *corev1.Service) pulumi.StringOutput {
	return s.Status.ApplyT(func(status *corev1.ServiceStatus) string {
		if status == nil || status.LoadBalancer == nil {
			return ""
		}
		for _, i := range status.LoadBalancer.Ingress {
			if i.Hostname != nil && *i.Hostname != "" {
				return *i.Hostname
			}
			if i.Ip != nil {
				return *i.Ip
			}
		}
		return ""
	}).(pulumi.StringOutput)
}
