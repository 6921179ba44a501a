// Package dns gives names to what must be found from the other region: bootstrap brokers,
// ZooKeepers, Prometheus. They live in one private zone that both VPCs see.
package dns

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/route53"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// domainForm is a domain of at least two labels, without a dot at the end.
var domainForm = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func validateDomain(domain string) error {
	if !domainForm.MatchString(domain) || len(domain) > 200 {
		return fmt.Errorf("domain: %q: use lower-case labels with a dot between, such as mirror.internal", domain)
	}
	return nil
}

// ZoneArgs describes the private zone.
type ZoneArgs struct {
	// Domain is the zone's name, such as mirror.internal. It need not be registered anywhere.
	Domain string
	// VpcID and Region say which VPC sees the zone from the start.
	VpcID  pulumi.StringInput
	Region string
	// Tags go on the zone.
	Tags map[string]string
}

// NewZone registers the private zone. The source's stack owns it.
//
// The zone cannot be without a VPC, so the first is part of it, and changes of the list are ignored:
// the other stack adds its own (NewAssociation), which an update here would else take away, as the
// provider's documentation of aws_route53_zone_association says. On destroy the zone goes with what
// ExternalDNS left in it, since its pods are gone before it could clean up.
func NewZone(ctx *pulumi.Context, name string, args *ZoneArgs, opts ...pulumi.ResourceOption) (*route53.Zone, error) {
	if err := errors.Join(validateDomain(args.Domain), required("VPC", args.VpcID), region(args.Region)); err != nil {
		return nil, fmt.Errorf("zone: %w", err)
	}
	opts = append([]pulumi.ResourceOption{pulumi.IgnoreChanges([]string{"vpcs"})}, opts...)
	return route53.NewZone(ctx, name, &route53.ZoneArgs{
		Name:         pulumi.String(args.Domain),
		Comment:      pulumi.String("kafka-mirror-tester: what is found from the other region"),
		ForceDestroy: pulumi.Bool(true),
		Vpcs:         route53.ZoneVpcArray{&route53.ZoneVpcArgs{VpcId: args.VpcID, VpcRegion: pulumi.String(args.Region)}},
		Tags:         pulumi.ToStringMap(args.Tags),
	}, opts...)
}

// AssociationArgs says which further VPC of the same account sees a zone.
type AssociationArgs struct {
	ZoneID pulumi.StringInput
	VpcID  pulumi.StringInput
	Region string // of the VPC
}

// NewAssociation registers that a VPC sees a zone of another stack. The destination's stack owns it.
func NewAssociation(ctx *pulumi.Context, name string, args *AssociationArgs, opts ...pulumi.ResourceOption) (*route53.ZoneAssociation, error) {
	if err := errors.Join(required("zone", args.ZoneID), required("VPC", args.VpcID), region(args.Region)); err != nil {
		return nil, fmt.Errorf("zone association: %w", err)
	}
	return route53.NewZoneAssociation(ctx, name, &route53.ZoneAssociationArgs{
		ZoneId:    args.ZoneID,
		VpcId:     args.VpcID,
		VpcRegion: pulumi.String(args.Region),
	}, opts...)
}

func required(what string, id pulumi.StringInput) error {
	if id == nil {
		return fmt.Errorf("no id of the %s", what)
	}
	return nil
}

func region(name string) error {
	if name == "" {
		return errors.New("region: empty: name it, such as eu-west-1")
	}
	return nil
}
