// Package network makes one region's VPC: subnets, gateways, routes and DHCP options.
package network

import (
	"fmt"
	"slices"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Args describes the VPC. Everything comes from the stack's configuration; nothing is discovered, so
// that a zone that AWS adds or renames never moves a subnet.
type Args struct {
	// Region in which the VPC lies, such as eu-west-1.
	Region string
	// CIDR is the VPC's network: private, canonical, at most a /16, and large enough for one network
	// of PrivatePrefix for each zone and one more for all public subnets.
	CIDR string
	// PeerCIDR is the network of the VPC on the other side, which must not overlap; empty without one.
	PeerCIDR string
	// Zones are the zones that have subnets, 2 to 7, by id (use1-az1) or by name (us-east-1a). EKS
	// wants two, even where all nodes live in one. A zone's place decides its networks: append only.
	Zones []string
	// NodeZones are those of Zones in which nodes live, at least one. The NAT gateway is in the first.
	NodeZones []string
	// PrivatePrefix is the prefix length of each private subnet, 18 to 25. 19 leaves 8187 addresses:
	// 48 nodes take about 1,500, since each node holds whole network interfaces' worth of addresses.
	PrivatePrefix int
	// ClusterName is the EKS cluster that the subnets are tagged for, so that its load balancers find
	// them; empty without one.
	ClusterName string
	// Tags go on everything that can carry tags, for the bill.
	Tags map[string]string
}

// Network is a VPC with public and private subnets, one internet gateway, one NAT gateway, and one
// private route table, to which a peering adds its route.
//
// Routes are resources of their own, never part of their table: a table with routes in it would
// remove those that another stack adds. A cluster must be made with pulumi.DependsOn(network.Ready()):
// otherwise a destroy could take its way out (the NAT gateway's route) before its releases
// and nodes are gone. Load balancers that Kubernetes made on the way live in the public subnets; they
// go with their Services, which are gone when the cluster is.
type Network struct {
	pulumi.ResourceState

	VpcID            pulumi.IDOutput
	PrivateSubnetIDs pulumi.StringArrayOutput // one for each zone
	NodeSubnetIDs    pulumi.StringArrayOutput // the private ones of NodeZones
	// PrivateRouteTableID is the only route table of all private subnets: there is one NAT gateway.
	PrivateRouteTableID pulumi.IDOutput

	name string
	args *Args
	plan plan

	vpc                       *ec2.Vpc
	publicTable, privateTable *ec2.RouteTable
	public, private           []*ec2.Subnet
	publicPaths               []pulumi.Resource // what the NAT gateway's own way out needs
	internet                  *ec2.InternetGateway
	nat                       *ec2.NatGateway
	ready                     []pulumi.Resource
}

// Ready returns what to depend on for a network in which nodes can live. It is no component: the Go SDK
// takes a component for what it holds when it is asked, and children join it some moments after they
// were registered, so that whoever depends on all of a component may miss some of it.
func (n *Network) Ready() []pulumi.Resource { return slices.Concat(n.publicPaths, n.ready) }

// NewNetwork registers the VPC and all in it. It reports every mistake in args at once, before
// anything is registered.
func NewNetwork(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Network, error) {
	plan, err := args.plan()
	if err != nil {
		return nil, fmt.Errorf("network %s: %w", name, err)
	}
	n := &Network{name: name, args: args, plan: plan}
	if err := ctx.RegisterComponentResource("kafka-mirror-tester:network:Network", name, n, opts...); err != nil {
		return nil, err
	}
	for _, part := range []func(*pulumi.Context) error{
		n.newVPC,
		n.newDHCPOptions,
		n.newInternetGateway,
		n.newPublicSubnets,
		n.newNATGateway,
		n.newPrivateSubnets,
		n.newS3Endpoint,
	} {
		if err := part(ctx); err != nil {
			return nil, fmt.Errorf("network %s: %w", name, err)
		}
	}
	n.outputs()
	return n, ctx.RegisterResourceOutputs(n, pulumi.Map{
		"vpcId":               n.VpcID,
		"privateSubnetIds":    n.PrivateSubnetIDs,
		"nodeSubnetIds":       n.NodeSubnetIDs,
		"privateRouteTableId": n.PrivateRouteTableID,
	})
}

// newVPC also takes the VPC's default security group, which nobody uses, and empties it: without
// rules nothing that forgets to name a group can talk to anything.
func (n *Network) newVPC(ctx *pulumi.Context) (err error) {
	n.vpc, err = ec2.NewVpc(ctx, n.name, &ec2.VpcArgs{
		CidrBlock:          pulumi.String(n.args.CIDR),
		EnableDnsSupport:   pulumi.Bool(true),
		EnableDnsHostnames: pulumi.Bool(true), // both are needed by a private zone and by the private API endpoint
		Tags:               n.tags(""),
	}, n.child())
	if err != nil {
		return err
	}
	_, err = ec2.NewDefaultSecurityGroup(ctx, n.name, &ec2.DefaultSecurityGroupArgs{
		VpcId: n.vpc.ID(),
		Tags:  n.tags("-default-unused"),
	}, n.child())
	return err
}

func (n *Network) newDHCPOptions(ctx *pulumi.Context) error {
	options, err := ec2.NewVpcDhcpOptions(ctx, n.name, &ec2.VpcDhcpOptionsArgs{
		// AWS's own name of the region, which is what nodes are called by. It is the search domain of every pod.
		DomainName:        pulumi.String(domainName(n.args.Region)),
		DomainNameServers: pulumi.StringArray{pulumi.String("AmazonProvidedDNS")},
		Tags:              n.tags(""),
	}, n.child())
	if err != nil {
		return err
	}
	association, err := ec2.NewVpcDhcpOptionsAssociation(ctx, n.name, &ec2.VpcDhcpOptionsAssociationArgs{
		VpcId:         n.vpc.ID(),
		DhcpOptionsId: options.ID(),
	}, n.child())
	n.ready = append(n.ready, association)
	return err
}

// domainName is AWS's own domain of a region's instances.
// https://docs.aws.amazon.com/vpc/latest/userguide/DHCPOptionSet.html
func domainName(region string) string {
	if region == "us-east-1" {
		return "ec2.internal"
	}
	return region + ".compute.internal"
}

func (n *Network) newInternetGateway(ctx *pulumi.Context) (err error) {
	n.internet, err = ec2.NewInternetGateway(ctx, n.name, &ec2.InternetGatewayArgs{VpcId: n.vpc.ID(), Tags: n.tags("")}, n.child())
	return err
}

// newPublicSubnets makes one for each zone, with the load balancers' tag. Nothing gets a public
// address by being there.
func (n *Network) newPublicSubnets(ctx *pulumi.Context) (err error) {
	n.publicTable, err = ec2.NewRouteTable(ctx, n.name+"-public", &ec2.RouteTableArgs{VpcId: n.vpc.ID(), Tags: n.tags("-public")}, n.child())
	if err != nil {
		return err
	}
	route, err := ec2.NewRoute(ctx, n.name+"-public-internet", &ec2.RouteArgs{
		RouteTableId:         n.publicTable.ID(),
		DestinationCidrBlock: pulumi.String("0.0.0.0/0"),
		GatewayId:            n.internet.ID(),
	}, n.child())
	if err != nil {
		return err
	}
	n.publicPaths = append(n.publicPaths, route)
	for i, zone := range n.args.Zones {
		subnet, association, err := n.newSubnet(ctx, "public", zone, n.plan.public[i].String(), "kubernetes.io/role/elb", n.publicTable)
		if err != nil {
			return err
		}
		n.public, n.publicPaths = append(n.public, subnet), append(n.publicPaths, association)
	}
	return nil
}

// newNATGateway makes the one way out of all private subnets. One, not one for each zone: it costs
// by the hour, and a zone that fails takes the nodes along that would use it.
func (n *Network) newNATGateway(ctx *pulumi.Context) error {
	address, err := ec2.NewEip(ctx, n.name+"-nat", &ec2.EipArgs{
		Domain: pulumi.String("vpc"),
		Tags:   n.tags("-nat"),
	}, n.child(), pulumi.DependsOn([]pulumi.Resource{n.internet}))
	if err != nil {
		return err
	}
	n.nat, err = ec2.NewNatGateway(ctx, n.name, &ec2.NatGatewayArgs{
		AllocationId: address.ID(),
		SubnetId:     n.public[slices.Index(n.args.Zones, n.args.NodeZones[0])].ID(),
		Tags:         n.tags(""),
	}, n.child(), pulumi.DependsOn(n.publicPaths))
	return err
}

// newPrivateSubnets makes one for each zone, all with one route table, and the way out.
func (n *Network) newPrivateSubnets(ctx *pulumi.Context) (err error) {
	n.privateTable, err = ec2.NewRouteTable(ctx, n.name+"-private", &ec2.RouteTableArgs{VpcId: n.vpc.ID(), Tags: n.tags("-private")}, n.child())
	if err != nil {
		return err
	}
	route, err := ec2.NewRoute(ctx, n.name+"-private-nat", &ec2.RouteArgs{
		RouteTableId:         n.privateTable.ID(),
		DestinationCidrBlock: pulumi.String("0.0.0.0/0"),
		NatGatewayId:         n.nat.ID(),
	}, n.child())
	if err != nil {
		return err
	}
	n.ready = append(n.ready, route)
	for i, zone := range n.args.Zones {
		subnet, association, err := n.newSubnet(ctx, "private", zone, n.plan.private[i].String(), "kubernetes.io/role/internal-elb", n.privateTable)
		if err != nil {
			return err
		}
		n.private, n.ready = append(n.private, subnet), append(n.ready, association)
	}
	return nil
}

func (n *Network) newSubnet(ctx *pulumi.Context, kind, zone, cidr, role string, table *ec2.RouteTable) (*ec2.Subnet, *ec2.RouteTableAssociation, error) {
	name := fmt.Sprintf("%s-%s-%s", n.name, kind, zone)
	args := &ec2.SubnetArgs{
		VpcId:     n.vpc.ID(),
		CidrBlock: pulumi.String(cidr),
		Tags:      n.tags("-"+kind+"-"+zone, role, "1"),
	}
	if isZoneID(zone) {
		args.AvailabilityZoneId = pulumi.String(zone)
	} else {
		args.AvailabilityZone = pulumi.String(zone)
	}
	subnet, err := ec2.NewSubnet(ctx, name, args, n.child())
	if err != nil {
		return nil, nil, err
	}
	association, err := ec2.NewRouteTableAssociation(ctx, name, &ec2.RouteTableAssociationArgs{
		SubnetId:     subnet.ID(),
		RouteTableId: table.ID(),
	}, n.child())
	return subnet, association, err
}

// newS3Endpoint lets the private subnets reach S3 without the NAT gateway, for nothing: ECR keeps
// image layers in S3, and 50 nodes pulling a few hundred megabytes each would pay by the gigabyte.
func (n *Network) newS3Endpoint(ctx *pulumi.Context) error {
	endpoint, err := ec2.NewVpcEndpoint(ctx, n.name+"-s3", &ec2.VpcEndpointArgs{
		VpcId:           n.vpc.ID(),
		ServiceName:     pulumi.String("com.amazonaws." + n.args.Region + ".s3"),
		VpcEndpointType: pulumi.String("Gateway"),
		RouteTableIds:   pulumi.StringArray{n.privateTable.ID()},
		Tags:            n.tags("-s3"),
	}, n.child())
	n.ready = append(n.ready, endpoint)
	return err
}

func (n *Network) outputs() {
	n.VpcID, n.PrivateRouteTableID = n.vpc.ID(), n.privateTable.ID()
	var all, nodes pulumi.StringArray
	for i, subnet := range n.private {
		all = append(all, subnet.ID())
		if slices.Contains(n.args.NodeZones, n.args.Zones[i]) {
			nodes = append(nodes, subnet.ID())
		}
	}
	n.PrivateSubnetIDs, n.NodeSubnetIDs = all.ToStringArrayOutput(), nodes.ToStringArrayOutput()
}

func (n *Network) child() pulumi.ResourceOption { return pulumi.Parent(n) }

// tags returns the tags of all, a name, and further ones as key, value; subnets, which alone have
// further ones, are also marked as the cluster's.
func (n *Network) tags(suffix string, more ...string) pulumi.StringMap {
	tags := pulumi.ToStringMap(n.args.Tags)
	tags["Name"] = pulumi.String(n.name + suffix)
	if len(more) > 0 && n.args.ClusterName != "" {
		tags["kubernetes.io/cluster/"+n.args.ClusterName] = pulumi.String("shared")
	}
	for i := 0; i+1 < len(more); i += 2 {
		tags[more[i]] = pulumi.String(more[i+1])
	}
	return tags
}
