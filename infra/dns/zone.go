// Package dns gives names to what must be found from the other region: bootstrap brokers,
// ZooKeepers, Prometheus. They live in one private zone that both VPCs see.
package dns

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

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

// Validate reports every mistake in a at once; each names the key, the value and what would be right. What
// other resources give is not looked at.
func (a *ZoneArgs) Validate() error { return errors.Join(validateDomain(a.Domain), region(a.Region)) }

// NewZone registers the private zone. The source's stack owns it.
//
// The zone cannot be without a VPC, so the first is part of it, and changes of the list are ignored:
// the other stack adds its own (NewAssociation), which an update here would else take away, as the
// provider's documentation of aws_route53_zone_association says. On destroy the zone goes with what
// ExternalDNS left in it, which takes nothing away itself.
func NewZone(ctx *pulumi.Context, name string, args *ZoneArgs, opts ...pulumi.ResourceOption) (*route53.Zone, error) {
	if err := errors.Join(args.Validate(), required("VPC", args.VpcID)); err != nil {
		return nil, fmt.Errorf("zone: %w", err)
	}
	opts = append([]pulumi.ResourceOption{pulumi.IgnoreChanges([]string{"vpcs"})}, opts...)
	zone, err := route53.NewZone(ctx, name, &route53.ZoneArgs{
		Name:         pulumi.String(args.Domain),
		Comment:      pulumi.String("kafka-mirror-tester: what is found from the other region"),
		ForceDestroy: pulumi.Bool(true),
		Vpcs:         route53.ZoneVpcArray{&route53.ZoneVpcArgs{VpcId: args.VpcID, VpcRegion: pulumi.String(args.Region)}},
		Tags:         pulumi.ToStringMap(args.Tags),
	}, opts...)
	if err != nil {
		return nil, err
	}
	return zone, newAuthority(ctx, name, args.Domain, zone)
}

// absent is how long, in seconds, resolvers remember that a name is not there.
const absent = 15

// newAuthority overwrites the zone's SOA record, by which a name that is asked for before ExternalDNS
// publishes it would stay absent for 900 s: the lesser of the record's TTL and its last field. The
// rest is what Route 53 writes there. A zone must have an SOA record, so that this one cannot be
// deleted (https://github.com/hashicorp/terraform-provider-aws/issues/37863): it goes with the zone.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/SOA-NSrecords.html
func newAuthority(ctx *pulumi.Context, name, domain string, zone *route53.Zone) error {
	text := zone.NameServers.Index(pulumi.Int(0)).ApplyT(func(server string) string {
		return fmt.Sprintf("%s. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 %d", strings.TrimSuffix(server, "."), absent)
	}).(pulumi.StringOutput)
	_, err := route53.NewRecord(ctx, name, &route53.RecordArgs{
		ZoneId:         zone.ZoneId,
		Name:           pulumi.String(domain),
		Type:           pulumi.String("SOA"),
		Ttl:            pulumi.Int(absent),
		Records:        pulumi.StringArray{text},
		AllowOverwrite: pulumi.Bool(true),
	}, pulumi.RetainOnDelete(true))
	return err
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
		return errors.New("aws:region: empty: name it, such as eu-west-1")
	}
	return nil
}
