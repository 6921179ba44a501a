package main

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kafka"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/monitoring"
)

// checkRoutes: every private subnet has, by the table that it is associated with, a way out through a
// NAT gateway and one to the other side through the accepted connection, and the nodes live in no others.
func checkRoutes(g *graph, wrong complain) {
	if !g.source.config.aws() {
		return
	}
	connection, accepter := g.destination.one("VpcPeeringConnection", ""), g.destination.one("VpcPeeringConnectionAccepter", "")
	if connection.Get("vpcId") != g.destination.one("Vpc", "").ID || connection.Get("peerVpcId") != g.source.one("Vpc", "").ID ||
		connection.Get("peerRegion") != g.source.stack.Config()["aws:region"] {
		wrong(name(connection), "joins %v and %v in %v", connection.Get("vpcId"), connection.Get("peerVpcId"), connection.Get("peerRegion"))
	}
	if accepter.Get("autoAccept") != true || accepter.Get("vpcPeeringConnectionId") != connection.ID || accepter.Provider != peerProvider {
		wrong(name(accepter), "does not accept %s by the provider %s: %v", connection.ID, peerProvider, accepter.Inputs)
	}
	routes := append(g.source.all("Route"), g.destination.all("Route")...)
	for _, s := range g.sides() {
		private := map[string]bool{}
		for _, subnet := range s.all("Subnet") {
			if word(subnet.Inputs, "tags", "kubernetes.io/role/internal-elb") == "" {
				continue
			}
			private[subnet.ID] = true
			var tables []string
			for _, a := range s.all("RouteTableAssociation") {
				if a.Get("subnetId") == subnet.ID {
					tables = append(tables, fmt.Sprint(a.Get("routeTableId")))
				}
			}
			if len(tables) != 1 {
				wrong(name(subnet), "is associated with %d route tables", len(tables))
				continue
			}
			ways := map[string]int{}
			for _, r := range routes {
				if r.Get("routeTableId") != tables[0] {
					continue
				}
				to := fmt.Sprint(r.Get("destinationCidrBlock"))
				ways[to]++
				switch to {
				case "0.0.0.0/0":
					nat := s.one("NatGateway", "")
					if r.Get("natGatewayId") != nat.ID {
						wrong(name(r), "leads to %v, not to %s", r.Inputs, nat.ID)
					}
				case s.config.PeerCidr:
					provider := ""
					if s == g.source {
						provider = peerProvider
					}
					if r.Get("vpcPeeringConnectionId") != accepter.ID || r.Provider != provider || !slices.Contains(r.Dependencies, accepter.URN) {
						wrong(name(r), "leads to %v by the provider %q, after %q, and not to the accepted %s by %q", r.Get("vpcPeeringConnectionId"), r.Provider, r.Dependencies, accepter.ID, provider)
					}
				default:
					wrong(name(r), "leads to %s", to)
				}
			}
			if ways["0.0.0.0/0"] != 1 || ways[s.config.PeerCidr] != 1 {
				wrong(name(subnet), "has the routes %v in %s, not one to all and one to %s", ways, tables[0], s.config.PeerCidr)
			}
		}
		if len(private) != len(s.config.Zones) {
			wrong("Subnet", "%d private ones for the zones %v", len(private), s.config.Zones)
		}
		nodes, control := s.one("NodeGroup", ""), s.one("Cluster", s.provider()+"-eksCluster")
		for r, ids := range map[string][]string{name(nodes): words(nodes.Get("subnetIds")), name(control): words(control.Get("vpcConfig.subnetIds"))} {
			for _, id := range ids {
				if !private[id] {
					wrong(r, "is in %s, which is no private subnet", id)
				}
			}
		}
		nat := s.one("NatGateway", "")
		if private[fmt.Sprint(nat.Get("subnetId"))] {
			wrong(name(nat), "is in a private subnet")
		}
	}
}

const peerProvider = "peering-peer"

// checkIngress: who gets in from outside.
func checkIngress(g *graph, wrong complain) {
	for _, s := range g.sides() {
		balancers := 0
		for _, r := range s.resources {
			walk(r.Inputs, "", func(path, text string) {
				if p, err := netip.ParsePrefix(text); err == nil && p.Bits() == 0 && !(kind(r) == "Route" && path == ".destinationCidrBlock") {
					wrong(name(r), "%s is %s", path, text)
				}
			})
			inline := map[string][]string{
				"RouteTable": {"routes"}, "DefaultRouteTable": {"routes"}, "SecurityGroup": {"ingress", "egress"}, "DefaultSecurityGroup": {"ingress", "egress"},
			}
			for _, key := range inline[kind(r)] {
				if _, there := r.Inputs[key]; there {
					wrong(name(r), "has %s of its own, which removes those of others", key)
				}
			}
			switch kind(r) {
			case "SecurityGroupRule":
				wrong(name(r), "is of the older kind: use SecurityGroupIngressRule")
			case "Subnet":
				if r.Get("mapPublicIpOnLaunch") == true {
					wrong(name(r), "gives everything a public address")
				}
			case "Service":
				switch typ := r.Get("spec.type"); typ {
				case nil, "ClusterIP":
				case "LoadBalancer":
					balancers++
					if got := words(r.Get("spec.loadBalancerSourceRanges")); len(got) == 0 || !slices.Equal(got, s.config.Expose) {
						wrong(name(r), "lets in %q, not %q", got, s.config.Expose)
					}
				default:
					wrong(name(r), "is of type %v", typ)
				}
			}
		}
		want := 0
		if len(s.config.Expose) > 0 {
			want = map[string]int{source: 1, destination: 2}[s.config.Role] // the live map, and Grafana
		}
		if balancers != want {
			wrong("Service", "%d load balancers, not %d load balancers", balancers, want)
		}
	}
	if !g.source.config.aws() {
		return
	}
	control := g.source.one("Cluster", "us-east-1-eksCluster")
	group := word(control.Outputs, "vpcConfig", "clusterSecurityGroupId")
	open := []int{kafka.BrokerPort, kafka.ZookeeperPort, monitoring.PrometheusPort}
	for _, s := range g.sides() {
		control := s.one("Cluster", s.provider()+"-eksCluster")
		if got := words(control.Get("vpcConfig.publicAccessCidrs")); !slices.Equal(got, s.config.APICidrs) || control.Get("vpcConfig.endpointPrivateAccess") != true {
			wrong(name(control), "answers %q, not %q, from outside; inside: %v", got, s.config.APICidrs, control.Get("vpcConfig.endpointPrivateAccess"))
		}
		for _, r := range s.all("SecurityGroupIngressRule") {
			port, _ := r.Get("fromPort").(int)
			i := slices.Index(open, port)
			if i < 0 || r.Get("toPort") != port || r.Get("ipProtocol") != "tcp" || r.Get("cidrIpv4") != g.destination.config.VpcCidr || r.Get("securityGroupId") != group || s != g.destination {
				wrong(name(r), "is not one that is meant, from %s to the source's nodes %s: %v", g.destination.config.VpcCidr, group, r.Inputs)
				continue
			}
			open = slices.Delete(open, i, i+1)
		}
	}
	if len(open) > 0 {
		wrong("SecurityGroupIngressRule", "none for the ports %v of the source", open)
	}
}
