package peering_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/network"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/peering"
)

const (
	here  = "10.20.0.0/16"
	there = "10.10.0.0/16"
)

func good() *peering.Args {
	return &peering.Args{
		Here: peering.Side{CIDR: here, Open: []peering.Port{{Name: "kafka", Number: 9092}}},
		Peer: peering.Side{CIDR: there, Open: []peering.Port{
			{Name: "kafka", Number: 9092}, {Name: "zookeeper", Number: 2181}, {Name: "prometheus", Number: 9090},
		}},
		PeerRegion: "us-east-1",
		Profile:    "talk",
		Tags:       map[string]string{"cost": "mirror"},
	}
}

// stacks runs the source's network and, in another stack, the destination's network and a peering of
// args, which the test may change between updates.
func stacks(t *testing.T, args *peering.Args) (source, destination *enginetest.Stack) {
	source = enginetest.New(t, func(ctx *pulumi.Context) error {
		n, err := network.NewNetwork(ctx, "source", &network.Args{
			Region: "us-east-1", CIDR: there, Zones: []string{"use1-az1", "use1-az2"}, NodeZones: []string{"use1-az1"}, PrivatePrefix: 19,
		})
		if err != nil {
			return err
		}
		ctx.Export("vpcId", n.VpcID)
		ctx.Export("routeTableId", n.PrivateRouteTableID)
		ctx.Export("securityGroupId", pulumi.String("sg-source"))
		return nil
	}, enginetest.WithName("kafka-mirror-tester", "us-east-1"))
	destination = enginetest.New(t, func(ctx *pulumi.Context) error {
		n, err := network.NewNetwork(ctx, "destination", &network.Args{
			Region: "eu-west-1", CIDR: here, Zones: []string{"euw1-az1", "euw1-az2"}, NodeZones: []string{"euw1-az1"}, PrivatePrefix: 19,
		})
		if err != nil {
			return err
		}
		peer, err := pulumi.NewStackReference(ctx, "organization/kafka-mirror-tester/us-east-1", nil)
		if err != nil {
			return err
		}
		a := *args
		a.Here.VpcID, a.Here.RouteTableID, a.Here.SecurityGroupID = n.VpcID, n.PrivateRouteTableID, pulumi.String("sg-destination")
		a.Peer.VpcID = peer.GetStringOutput(pulumi.String("vpcId"))
		a.Peer.RouteTableID = peer.GetStringOutput(pulumi.String("routeTableId"))
		a.Peer.SecurityGroupID = peer.GetStringOutput(pulumi.String("securityGroupId"))
		_, err = peering.NewPeering(ctx, "atlantic", &a)
		return err
	}, enginetest.WithName("kafka-mirror-tester", "eu-west-1"))
	destination.SetConfig("aws:region", "eu-west-1")
	destination.Peer("us-east-1", source)
	return source, destination
}

const (
	routeType      = "aws:ec2/route:Route"
	ruleType       = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
	connectionType = "aws:ec2/vpcPeeringConnection:VpcPeeringConnection"
	accepterType   = "aws:ec2/vpcPeeringConnectionAccepter:VpcPeeringConnectionAccepter"
)

func TestBothSides(t *testing.T) {
	source, destination := stacks(t, good())
	source.Up()
	destination.Up()
	if again := destination.Up().Changes(); len(again) > 0 {
		t.Errorf("a second up changes %q", again)
	}

	provider := destination.Resource("pulumi:providers:aws", "atlantic-peer")
	if provider.Get("region") != "us-east-1" || provider.Get("profile") != "talk" {
		t.Errorf("the other side's provider has %v", provider.Inputs)
	}
	if accepter := destination.Resource(accepterType, "atlantic"); accepter.Provider != "atlantic-peer" || accepter.Get("autoAccept") != true {
		t.Errorf("accepted by %q, %v", accepter.Provider, accepter.Inputs)
	}
	connection := destination.Resource(connectionType, "atlantic")
	if connection.Provider != "" || connection.Get("autoAccept") == true || connection.Get("peerRegion") != "us-east-1" {
		t.Errorf("asked for by %q, %v", connection.Provider, connection.Inputs)
	}

	for _, c := range []struct {
		name, to, provider string
		in                 *enginetest.Stack
		table              string
	}{
		{"atlantic-here", there, "", destination, "destination-private"},
		{"atlantic-peer", here, "atlantic-peer", source, "source-private"},
	} {
		r := destination.Resource(routeType, c.name)
		table := c.in.Resource("aws:ec2/routeTable:RouteTable", c.table).ID
		if r.Get("destinationCidrBlock") != c.to || r.Get("routeTableId") != table || r.Get("vpcPeeringConnectionId") != connection.ID || r.Provider != c.provider {
			t.Errorf("%s: %v by %q", c.name, r.Inputs, r.Provider)
		}
		if !slices.Contains(r.Dependencies, destination.Resource(accepterType, "atlantic").URN) {
			t.Errorf("%s does not wait until the connection is accepted", c.name)
		}
	}

	want := map[string][3]any{ // security group, from, port
		"atlantic-here-kafka":      {"sg-destination", there, 9092},
		"atlantic-peer-kafka":      {"sg-source", here, 9092},
		"atlantic-peer-zookeeper":  {"sg-source", here, 2181},
		"atlantic-peer-prometheus": {"sg-source", here, 9090},
	}
	for _, r := range destination.Resources() {
		if r.Type != ruleType {
			continue
		}
		if got := [3]any{r.Get("securityGroupId"), r.Get("cidrIpv4"), r.Get("fromPort")}; got != want[r.Name] || r.Get("toPort") != r.Get("fromPort") {
			t.Errorf("%s opens %v to %v, want %v", r.Name, got, r.Get("toPort"), want[r.Name])
		}
		if far := strings.HasPrefix(r.Name, "atlantic-peer"); far != (r.Provider == "atlantic-peer") {
			t.Errorf("%s goes through provider %q", r.Name, r.Provider)
		}
		delete(want, r.Name)
	}
	if len(want) > 0 {
		t.Errorf("not opened: %v", want)
	}
}

func TestOnePortMore(t *testing.T) {
	args := good()
	source, destination := stacks(t, args)
	source.Up()
	destination.Up()
	args.Here.Open = append(args.Here.Open, peering.Port{Name: "prometheus", Number: 9090})
	if got, want := destination.Up().Changes(), []string{"create " + ruleType + " atlantic-here-prometheus"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDestroy(t *testing.T) {
	source, destination := stacks(t, good())
	source.Up()
	destination.Up()
	r := destination.Destroy()
	if n := len(destination.Resources()); n > 0 {
		t.Errorf("%d resources left", n)
	}
	connection := r.Index(connectionType, "atlantic")
	for _, before := range [][2]string{{routeType, "atlantic-here"}, {routeType, "atlantic-peer"}, {accepterType, "atlantic"}} {
		if i := r.Index(before[0], before[1]); i < 0 || i > connection {
			t.Errorf("%q goes at %d, the connection at %d", before, i, connection)
		}
	}
	if vpc := r.Index("aws:ec2/vpc:Vpc", "destination"); vpc < connection {
		t.Errorf("the VPC goes at %d, before its connection at %d", vpc, connection)
	}
	source.Destroy()
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*peering.Args)
		want   []string
	}{
		{"several at once", func(a *peering.Args) { a.PeerRegion, a.Here.CIDR = "", "10.20.0.1/16" }, []string{"peerRegion: empty", "vpcCidr: 10.20.0.1/16", "write 10.20.0.0/16"}},
		{"public peer", func(a *peering.Args) { a.Peer.CIDR = "0.0.0.0/0" }, []string{"peerCidr: 0.0.0.0/0"}},
		{"overlap", func(a *peering.Args) { a.Peer.CIDR = "10.0.0.0/8" }, []string{"vpcCidr: 10.20.0.0/16 overlaps with peerCidr 10.0.0.0/8"}},
		{"nothing open", func(a *peering.Args) { a.Peer.Open = nil }, []string{"open ports (peer): none"}},
		{"port", func(a *peering.Args) { a.Peer.Open[0].Number = 0 }, []string{"open ports (peer): kafka is 0"}},
		{"name twice", func(a *peering.Args) { a.Peer.Open[1].Name = "kafka" }, []string{`name "kafka" of port 2181`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := good()
			c.change(args)
			source, destination := stacks(t, args)
			source.Up()
			_, err := destination.TryUp()
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q\nlacks %q", err, want)
				}
			}
		})
	}
}
