package network_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/network"
)

func good() *network.Args {
	return &network.Args{
		Region:        "us-east-1",
		CIDR:          "10.10.0.0/16",
		PeerCIDR:      "10.20.0.0/16",
		Zones:         []string{"use1-az1", "use1-az2"},
		NodeZones:     []string{"use1-az2"},
		PrivatePrefix: 19,
		ClusterName:   "mirror-source",
		Tags:          map[string]string{"cost": "mirror"},
	}
}

// stack runs a program with a network of args, which the test may change between updates.
func stack(t *testing.T, args *network.Args) *enginetest.Stack {
	return enginetest.New(t, func(ctx *pulumi.Context) error {
		n, err := network.NewNetwork(ctx, "source", args)
		if err != nil {
			return err
		}
		ctx.Export("nodes", n.NodeSubnetIDs)
		ctx.Export("private", n.PrivateSubnetIDs)
		return nil
	})
}

func of(s *enginetest.Stack, typ string) []enginetest.Resource {
	return slices.DeleteFunc(s.Resources(), func(r enginetest.Resource) bool { return r.Type != typ })
}

func TestEveryPrivateSubnetHasItsWayOut(t *testing.T) {
	s := stack(t, good())
	first := s.Up()
	if again := s.Up().Changes(); len(again) > 0 {
		t.Errorf("a second up changes %q", again)
	}

	routes := map[any]map[any]enginetest.Resource{} // table, destination
	for _, r := range of(s, "aws:ec2/route:Route") {
		table := r.Get("routeTableId")
		if routes[table] == nil {
			routes[table] = map[any]enginetest.Resource{}
		}
		routes[table][r.Get("destinationCidrBlock")] = r
	}
	table := map[any]any{} // by subnet
	for _, r := range of(s, "aws:ec2/routeTableAssociation:RouteTableAssociation") {
		table[r.Get("subnetId")] = r.Get("routeTableId")
	}
	var blocks []netip.Prefix
	for _, subnet := range of(s, "aws:ec2/subnet:Subnet") {
		out := routes[table[subnet.ID]]["0.0.0.0/0"]
		private := strings.Contains(subnet.Name, "private")
		if got := out.Get("natGatewayId"); (got != nil) != private {
			t.Errorf("%s: way out by the NAT gateway %v", subnet.Name, got)
		}
		if got := out.Get("gatewayId"); (got == nil) != private {
			t.Errorf("%s: way out by the internet gateway %v", subnet.Name, got)
		}
		role := map[bool]string{true: "kubernetes.io/role/internal-elb", false: "kubernetes.io/role/elb"}[private]
		if subnet.Get(`tags["`+role+`"]`) != "1" || subnet.Get(`tags["kubernetes.io/cluster/mirror-source"]`) != "shared" {
			t.Errorf("%s: load balancers will not find it: %v", subnet.Name, subnet.Get("tags"))
		}
		if subnet.Get("mapPublicIpOnLaunch") == true {
			t.Errorf("%s gives public addresses away", subnet.Name)
		}
		block := netip.MustParsePrefix(subnet.Get("cidrBlock").(string))
		if private && block.Bits() != 19 {
			t.Errorf("%s: %s is no /19", subnet.Name, block)
		}
		for _, other := range blocks {
			if other.Overlaps(block) {
				t.Errorf("%s overlaps with %s", block, other)
			}
		}
		if !netip.MustParsePrefix("10.10.0.0/16").Contains(block.Addr()) {
			t.Errorf("%s: %s is outside the VPC", subnet.Name, block)
		}
		blocks = append(blocks, block)
	}
	if len(blocks) != 4 {
		t.Errorf("%d subnets, want a public and a private one in both zones", len(blocks))
	}

	nat := s.Resource("aws:ec2/natGateway:NatGateway", "source")
	if want := s.Resource("aws:ec2/subnet:Subnet", "source-public-use1-az2").ID; nat.Get("subnetId") != want {
		t.Errorf("the NAT gateway is in %v, not in the nodes' zone (%s)", nat.Get("subnetId"), want)
	}
	if got, want := first.Outputs["nodes"], s.Resource("aws:ec2/subnet:Subnet", "source-private-use1-az2").ID; len(got.([]any)) != 1 || got.([]any)[0] != want {
		t.Errorf("nodes live in %v, want %s", got, want)
	}
	if got := s.Resource("aws:ec2/vpcEndpoint:VpcEndpoint", "source-s3").Get("routeTableIds[0]"); got != table[first.Outputs["private"].([]any)[0]] {
		t.Errorf("S3 is reached from table %v, not from the private subnets'", got)
	}
}

func TestNothingInlineAndNothingOpen(t *testing.T) {
	s := stack(t, good())
	s.Up()
	for _, r := range s.Resources() {
		for _, inline := range []string{"routes", "ingress", "egress"} {
			if r.Get(inline) != nil {
				t.Errorf("%s %s has inline %s, which would undo other stacks' routes and rules", r.Type, r.Name, inline)
			}
		}
		if strings.HasPrefix(r.Type, "aws:") && r.Get("tags") != nil && r.Get("tags.cost") != "mirror" {
			t.Errorf("%s %s has no cost tag", r.Type, r.Name)
		}
	}
	s.Resource("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "source") // without rules, as seen above
	dhcp := s.Resource("aws:ec2/vpcDhcpOptions:VpcDhcpOptions", "source")
	if dhcp.Get("domainName") != "ec2.internal" || dhcp.Get("domainNameServers[0]") != "AmazonProvidedDNS" {
		t.Errorf("DHCP options %v", dhcp.Inputs)
	}
}

// A zone more must not move anything that is there: brokers live in it.
func TestAppendedZone(t *testing.T) {
	args := good()
	s := stack(t, args)
	s.Up()
	args.Zones = append(args.Zones, "use1-az4")
	got := s.Up().Changes()
	want := []string{
		"create aws:ec2/routeTableAssociation:RouteTableAssociation source-private-use1-az4",
		"create aws:ec2/routeTableAssociation:RouteTableAssociation source-public-use1-az4",
		"create aws:ec2/subnet:Subnet source-private-use1-az4",
		"create aws:ec2/subnet:Subnet source-public-use1-az4",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestDestroy(t *testing.T) {
	s := stack(t, good())
	s.Up()
	nat := s.Resource("aws:ec2/natGateway:NatGateway", "source")
	for _, way := range []enginetest.Resource{
		s.Resource("aws:ec2/route:Route", "source-public-internet"),
		s.Resource("aws:ec2/routeTableAssociation:RouteTableAssociation", "source-public-use1-az2"),
	} {
		if !slices.Contains(nat.Dependencies, way.URN) {
			t.Errorf("%s may go while the NAT gateway needs it", way.Name)
		}
	}
	r := s.Destroy()
	if n := len(s.Resources()); n != 0 {
		t.Errorf("%d resources left", n)
	}
	order := [][2]string{
		{"aws:ec2/route:Route", "source-private-nat"},
		{"aws:ec2/natGateway:NatGateway", "source"},
		{"aws:ec2/route:Route", "source-public-internet"}, // the NAT gateway's own way out
		{"aws:ec2/internetGateway:InternetGateway", "source"},
		{"aws:ec2/vpc:Vpc", "source"},
	}
	for i := 1; i < len(order); i++ {
		if a, b := r.Index(order[i-1][0], order[i-1][1]), r.Index(order[i][0], order[i][1]); a < 0 || a > b {
			t.Errorf("%q goes at %d, %q at %d", order[i-1], a, order[i], b)
		}
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*network.Args)
		want   []string // all in one error; none: accepted
	}{
		{"good", func(*network.Args) {}, nil},
		{"names", func(a *network.Args) {
			a.Zones, a.NodeZones = []string{"us-east-1a", "us-east-1b"}, []string{"us-east-1a"}
		}, nil},
		{"no peer", func(a *network.Args) { a.PeerCIDR = "" }, nil},
		{"exactly large enough", func(a *network.Args) { a.CIDR = "10.10.0.0/17" }, nil},
		{"seven zones", func(a *network.Args) {
			a.Zones = []string{"use1-az1", "use1-az2", "use1-az4", "use1-az5", "use1-az6", "use1-az7", "use1-az8"}
		}, nil},

		{"several at once", func(a *network.Args) { a.Region, a.CIDR, a.NodeZones = "", "10.10.0.0", nil },
			[]string{`region: ""`, `vpcCidr: "10.10.0.0" is no network`, "nodeZones: none"}},
		{"not canonical", func(a *network.Args) { a.CIDR = "10.10.1.0/16" }, []string{"vpcCidr: 10.10.1.0/16", "write 10.10.0.0/16"}},
		{"public", func(a *network.Args) { a.CIDR = "11.0.0.0/16" }, []string{"vpcCidr: 11.0.0.0/16 is not inside a private range"}},
		{"beyond a private range", func(a *network.Args) { a.CIDR = "172.0.0.0/8" }, []string{"not inside a private range"}},
		{"IPv6", func(a *network.Args) { a.CIDR = "fd00::/16" }, []string{"vpcCidr: fd00::/16 is not IPv4"}},
		{"too large", func(a *network.Args) { a.CIDR = "10.0.0.0/15" }, []string{"vpcCidr: 10.0.0.0/15 is too large", "/16"}},
		{"too small", func(a *network.Args) { a.CIDR = "10.10.0.0/18" }, []string{"too small for 2 zones", "each needs a /19", "use a /17 or larger"}},
		{"too small for four", func(a *network.Args) {
			a.CIDR, a.Zones = "10.10.0.0/17", []string{"use1-az1", "use1-az2", "use1-az4", "use1-az5"}
		}, []string{"too small for 4 zones", "use a /16 or larger"}},
		{"overlap", func(a *network.Args) { a.PeerCIDR = "10.10.128.0/17" }, []string{"vpcCidr: 10.10.0.0/16 overlaps with peerCidr 10.10.128.0/17"}},
		{"bad peer", func(a *network.Args) { a.PeerCIDR = "8.8.0.0/16" }, []string{"peerCidr: 8.8.0.0/16"}},
		{"prefix", func(a *network.Args) { a.PrivatePrefix = 26 }, []string{"subnetPrefix: 26: use 18 to 25"}},
		{"prefix that no VPC holds", func(a *network.Args) {
			a.PrivatePrefix, a.Zones = 18, []string{"use1-az1", "use1-az2", "use1-az4", "use1-az5"}
		}, []string{"subnetPrefix: 18: no VPC holds that for 4 zones"}},
		{"no prefix", func(a *network.Args) { a.PrivatePrefix = 0 }, []string{"subnetPrefix: 0"}},
		{"one zone", func(a *network.Args) { a.Zones = []string{"use1-az2"} }, []string{"zones: 1 zones: use 2 to 7", "EKS asks for subnets in two zones"}},
		{"a zone without EKS", func(a *network.Args) { a.Zones = []string{"use1-az3", "use1-az2"} }, []string{"zones: use1-az3: EKS has no control plane there"}},
		{"twice", func(a *network.Args) { a.Zones = []string{"use1-az2", "use1-az2"} }, []string{"zones: use1-az2 twice"}},
		{"mixed", func(a *network.Args) { a.Zones = []string{"us-east-1a", "use1-az2"} }, []string{"mixes ids and names"}},
		{"no zone", func(a *network.Args) { a.Zones = []string{"use1-az2", "1a"} }, []string{`zones: "1a" is no zone`}},
		{"another region's", func(a *network.Args) {
			a.Zones, a.NodeZones = []string{"us-east-1a", "eu-west-1a"}, []string{"us-east-1a"}
		}, []string{"zones: eu-west-1a is not in region us-east-1"}},
		{"foreign node zone", func(a *network.Args) { a.NodeZones = []string{"use1-az5"} }, []string{"nodeZones: use1-az5 is not among zones use1-az1, use1-az2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := good()
			c.change(args)
			s := stack(t, args)
			_, err := s.TryUp()
			if (err != nil) != (len(c.want) > 0) {
				t.Fatalf("error %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q\nlacks %q", err, want)
				}
			}
			if err != nil && len(of(s, "aws:ec2/vpc:Vpc")) > 0 {
				t.Error("something was made before the mistake was seen")
			}
		})
	}
}
