// Package peering joins the VPCs of two regions. The destination's stack owns all of it, on both
// sides: it is made after the source and destroyed before it.
package peering

import (
	"errors"
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/vpc"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/network"
)

// Port is one TCP port that is opened to the other side.
type Port struct {
	// Name tells it from the others of its side, such as kafka.
	Name string
	// Number is 1 to 65535.
	Number int
}

// Side is one of the two VPCs.
type Side struct {
	// CIDR is the VPC's network.
	CIDR string
	// VpcID, RouteTableID (of the private subnets) and SecurityGroupID (of the nodes, whose pods share
	// it) come from the network and the cluster, or from the other stack's outputs.
	VpcID, RouteTableID, SecurityGroupID pulumi.StringInput
	// Open are the ports of this side's pods that the other side's may reach.
	Open []Port
}

// Args describes the peering.
type Args struct {
	// Here is the side of the stack's own region.
	Here Side
	// Peer is the other side.
	Peer Side
	// PeerRegion is the region of the other side.
	PeerRegion string
	// Profile is the AWS profile of the second provider, since an explicit provider does not read the
	// stack's aws:profile; empty for the ambient credentials. Both VPCs are in one account.
	Profile string
	// Tags go on what can carry tags.
	Tags map[string]string
}

// Peering is the accepted connection with the routes and the open ports of both sides.
//
// DNS resolution over the peering is left off: it would turn public names of instances into private
// addresses, and we use no such names. Names that cross are in a private zone that both VPCs see.
type Peering struct {
	pulumi.ResourceState

	// ConnectionID is known once the connection has been accepted.
	ConnectionID pulumi.IDOutput

	name  string
	args  *Args
	peer  *aws.Provider
	ready []pulumi.Resource
}

// Ready returns what to depend on for a way across: the routes and open ports of both sides.
func (p *Peering) Ready() []pulumi.Resource { return p.ready }

// NewPeering registers the connection and what both sides need for it. It reports every mistake in
// args at once, before anything is registered.
func NewPeering(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Peering, error) {
	if err := errors.Join(args.Validate(), args.Here.given("here"), args.Peer.given("peer")); err != nil {
		return nil, fmt.Errorf("peering %s: %w", name, err)
	}
	p := &Peering{name: name, args: args}
	if err := ctx.RegisterComponentResource("kafka-mirror-tester:peering:Peering", name, p, opts...); err != nil {
		return nil, err
	}
	for _, part := range []func(*pulumi.Context) error{
		p.newPeerProvider,
		p.newConnection,
		p.newRoutes,
		p.newRules,
	} {
		if err := part(ctx); err != nil {
			return nil, fmt.Errorf("peering %s: %w", name, err)
		}
	}
	return p, ctx.RegisterResourceOutputs(p, pulumi.Map{"connectionId": p.ConnectionID})
}

// Validate reports every mistake in a at once; each names the key, the value and what would be right. What
// other resources give is not looked at.
func (a *Args) Validate() error {
	var errs []error
	fail := func(format string, values ...any) { errs = append(errs, fmt.Errorf(format, values...)) }

	here, hereErr := network.ParseCIDR("vpcCidr", a.Here.CIDR)
	peer, peerErr := network.ParseCIDR("peerCidr", a.Peer.CIDR)
	errs = append(errs, hereErr, peerErr)
	if hereErr == nil && peerErr == nil && here.Overlaps(peer) {
		fail("vpcCidr: %s overlaps with peerCidr %s: peered VPCs need networks apart, such as 10.10.0.0/16 and 10.20.0.0/16", a.Here.CIDR, a.Peer.CIDR)
	}
	if a.PeerRegion == "" {
		fail("peerRegion: empty: name the region of the other VPC, such as us-east-1")
	}
	errs = append(errs, a.Here.validate("here"), a.Peer.validate("peer"))
	if len(a.Peer.Open) == 0 {
		fail("open ports (peer): none: a replicator here reads from Kafka there")
	}
	return errors.Join(errs...)
}

// given refuses a side without what other resources give.
func (s *Side) given(which string) error {
	var errs []error
	for _, input := range []struct {
		name  string
		value pulumi.StringInput
	}{{"VPC", s.VpcID}, {"route table", s.RouteTableID}, {"security group", s.SecurityGroupID}} {
		if input.value == nil {
			errs = append(errs, fmt.Errorf("%s: no %s", which, input.name))
		}
	}
	return errors.Join(errs...)
}

func (s *Side) validate(which string) error {
	var errs []error
	seen := map[string]bool{}
	for _, port := range s.Open {
		if port.Name == "" || seen[port.Name] {
			errs = append(errs, fmt.Errorf("open ports (%s): name %q of port %d is empty or used twice", which, port.Name, port.Number))
		}
		seen[port.Name] = true
		if port.Number < 1 || port.Number > 65535 {
			errs = append(errs, fmt.Errorf("open ports (%s): %s is %d: use 1 to 65535", which, port.Name, port.Number))
		}
	}
	return errors.Join(errs...)
}

func (p *Peering) newPeerProvider(ctx *pulumi.Context) (err error) {
	args := &aws.ProviderArgs{Region: pulumi.String(p.args.PeerRegion)}
	if p.args.Profile != "" {
		args.Profile = pulumi.String(p.args.Profile)
	}
	p.peer, err = aws.NewProvider(ctx, p.name+"-peer", args, p.here())
	return err
}

// newConnection asks for the connection here and accepts it there. AWS cannot accept a connection
// between regions from the side that asks (auto_accept), hence the accepter.
func (p *Peering) newConnection(ctx *pulumi.Context) error {
	connection, err := ec2.NewVpcPeeringConnection(ctx, p.name, &ec2.VpcPeeringConnectionArgs{
		VpcId:      p.args.Here.VpcID,
		PeerVpcId:  p.args.Peer.VpcID,
		PeerRegion: pulumi.String(p.args.PeerRegion),
		AutoAccept: pulumi.Bool(false),
		Tags:       p.tags(),
	}, p.here())
	if err != nil {
		return err
	}
	accepter, err := ec2.NewVpcPeeringConnectionAccepter(ctx, p.name, &ec2.VpcPeeringConnectionAccepterArgs{
		VpcPeeringConnectionId: connection.ID(),
		AutoAccept:             pulumi.Bool(true),
		Tags:                   p.tags(),
	}, p.there(), p.here())
	if err != nil {
		return err
	}
	p.ConnectionID = accepter.ID() // the connection's id, once accepted: routes wait for that
	return nil
}

func (p *Peering) newRoutes(ctx *pulumi.Context) error {
	here, err := ec2.NewRoute(ctx, p.name+"-here", &ec2.RouteArgs{
		RouteTableId:           p.args.Here.RouteTableID,
		DestinationCidrBlock:   pulumi.String(p.args.Peer.CIDR),
		VpcPeeringConnectionId: p.ConnectionID,
	}, p.here())
	if err != nil {
		return err
	}
	there, err := ec2.NewRoute(ctx, p.name+"-peer", &ec2.RouteArgs{
		RouteTableId:           p.args.Peer.RouteTableID,
		DestinationCidrBlock:   pulumi.String(p.args.Here.CIDR),
		VpcPeeringConnectionId: p.ConnectionID,
	}, p.there(), p.here())
	p.ready = append(p.ready, here, there)
	return err
}

// newRules opens ports to the other side's network: security groups cannot refer to each other
// across regions.
func (p *Peering) newRules(ctx *pulumi.Context) error {
	open := func(which string, side Side, from string, opts ...pulumi.ResourceOption) error {
		for _, port := range side.Open {
			rule, err := vpc.NewSecurityGroupIngressRule(ctx, fmt.Sprintf("%s-%s-%s", p.name, which, port.Name), &vpc.SecurityGroupIngressRuleArgs{
				SecurityGroupId: side.SecurityGroupID,
				Description:     pulumi.String(port.Name + " from the peered VPC"),
				CidrIpv4:        pulumi.String(from),
				IpProtocol:      pulumi.String("tcp"),
				FromPort:        pulumi.Int(port.Number),
				ToPort:          pulumi.Int(port.Number),
				Tags:            p.tags(),
			}, opts...)
			if err != nil {
				return err
			}
			p.ready = append(p.ready, rule)
		}
		return nil
	}
	if err := open("here", p.args.Here, p.args.Peer.CIDR, p.here()); err != nil {
		return err
	}
	return open("peer", p.args.Peer, p.args.Here.CIDR, p.there(), p.here())
}

func (p *Peering) here() pulumi.ResourceOption  { return pulumi.Parent(p) }
func (p *Peering) there() pulumi.ResourceOption { return pulumi.Provider(p.peer) }

func (p *Peering) tags() pulumi.StringMap {
	tags := pulumi.ToStringMap(p.args.Tags)
	tags["Name"] = pulumi.String(p.name)
	return tags
}
