// Package cost estimates what an hour of one region's stack costs. It only counts: it makes nothing
// and asks nobody.
package cost

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Input is what costs money in one region.
type Input struct {
	// Region is the AWS region's name.
	Region string
	// Nodes is the number of worker nodes.
	Nodes int
	// NodeTypes are the instance types that the nodes may have. The dearest counts, since any of them
	// may be all that is to be had.
	NodeTypes []string
	// NodeHourlyUSD is the price of a node in USD per hour, where it is known better than the table
	// knows it (spot, a discount, a type that is not in it); 0 to use the table.
	NodeHourlyUSD float64
	// NodeDiskGiB is the size of each node's gp3 root volume.
	NodeDiskGiB float64
	// NATGateways is their number; each has a public address.
	NATGateways int
	// LoadBalancers is the number of load balancers, one for each exposed service.
	LoadBalancers int
	// Zones is how many availability zones have nodes, at least 1.
	Zones int
	// LoadMBps is what is written to this region's Kafka cluster, 10^6 bytes per second.
	LoadMBps float64
	// Replicas is the topics' replication factor: each record is sent on to the other replicas.
	Replicas int
	// ToPeerMBps is what this region sends to the other, 10^6 bytes per second. The sender pays. From the
	// source it is the load; the destination answers with Answers of it.
	ToPeerMBps float64
}

// Answers is the part of a replicated load that goes back as acknowledgements, fetch requests and
// the auditor's questions. An assumption: at an MTU of 8500 acknowledgements alone are below 1 %.
const Answers = 0.02

// natGB is how much passes a NAT gateway in an hour, GB: images, time, the AWS API. An assumption.
const natGB = 1

// hoursPerMonth is AWS's own for prices by the month.
const hoursPerMonth = 730

// rates are a region's prices in USD.
type rates struct {
	large       map[string]float64 // an hour of NAME.large, Linux, on demand
	disk        float64            // GB-month of gp3, its included throughput
	nat, natGB  float64            // hour, GB
	balancer    float64            // hour of a Network Load Balancer and about one capacity unit
	toPeer      float64            // GB to the other region
	betweenZone float64            // GB, both directions together
}

// Prices that are the same in both regions, USD per hour.
const (
	controlPlane = 0.10  // EKS in standard support: https://aws.amazon.com/eks/pricing/
	publicIPv4   = 0.005 // https://aws.amazon.com/vpc/pricing/
)

// prices by region. They change: check them before you rely on them.
//
// Instances in us-east-1 are from AWS's price list of 2026-07-20 as Karpenter has it
// (aws/karpenter-provider-aws, pkg/providers/pricing/zz_generated.pricing_aws.go). Those in eu-west-1,
// and all the rest, are from memory of AWS's price pages and were not checked against them:
// https://aws.amazon.com/ec2/pricing/on-demand/, https://aws.amazon.com/ebs/pricing/,
// https://aws.amazon.com/vpc/pricing/, https://aws.amazon.com/elasticloadbalancing/pricing/
func prices() map[string]rates {
	return map[string]rates{
		"us-east-1": {
			large: map[string]float64{
				"i3": 0.156, "i3en": 0.226, "i4i": 0.172, "m4": 0.10, "m5": 0.096, "m6a": 0.0864,
				"m6i": 0.096, "m7a": 0.11592, "m7i": 0.1008, "r5": 0.126, "r6i": 0.126, "r7i": 0.1323,
			},
			disk: 0.08, nat: 0.045, natGB: 0.045, balancer: 0.0285, toPeer: 0.02, betweenZone: 0.02,
		},
		"eu-west-1": {
			large: map[string]float64{
				"i3": 0.172, "i3en": 0.25, "i4i": 0.191, "m4": 0.111, "m5": 0.107, "m6a": 0.0963,
				"m6i": 0.107, "m7a": 0.1291, "m7i": 0.1124, "r5": 0.141, "r6i": 0.141, "r7i": 0.1481,
			},
			disk: 0.088, nat: 0.048, natGB: 0.048, balancer: 0.0312, toPeer: 0.02, betweenZone: 0.02,
		},
	}
}

// sizes of instances, in multiples of a large one, whose price goes with them.
func sizes() map[string]float64 {
	return map[string]float64{"large": 1, "xlarge": 2, "2xlarge": 4, "4xlarge": 8}
}

// Item is one part of a bill.
type Item struct {
	Name string  // such as "nodes"
	Why  string  // the numbers it comes from
	USD  float64 // per hour
}

// Bill is what an hour costs.
type Bill struct{ Items []Item }

// Estimate adds up in. A node whose price is not known is an error that says how to give it.
func Estimate(in Input) (Bill, error) {
	if err := in.validate(); err != nil {
		return Bill{}, err
	}
	r, known := prices()[in.Region]
	if !known {
		r = prices()["eu-west-1"] // the dearer
	}
	node, why, err := in.node(r.large)
	if err != nil {
		return Bill{}, err
	}
	var b Bill
	add := func(name string, usd float64, format string, args ...any) {
		if usd > 0 {
			b.Items = append(b.Items, Item{Name: name, Why: fmt.Sprintf(format, args...), USD: usd})
		}
	}
	const gb = 3600.0 / 1000 // GB an hour for each MB/s
	add("control plane", controlPlane, "EKS, standard support")
	add("nodes", float64(in.Nodes)*node, "%d at %s", in.Nodes, why)
	add("disks", float64(in.Nodes)*in.NodeDiskGiB*r.disk/hoursPerMonth, "%d of %.0f GiB gp3", in.Nodes, in.NodeDiskGiB)
	add("NAT", float64(in.NATGateways)*(r.nat+natGB*r.natGB), "%d with %d GB an hour each", in.NATGateways, natGB)
	add("public IPv4", float64(in.NATGateways+in.LoadBalancers)*publicIPv4, "%d addresses", in.NATGateways+in.LoadBalancers)
	add("load balancers", float64(in.LoadBalancers)*r.balancer, "%d", in.LoadBalancers)
	add("to the other region", in.ToPeerMBps*gb*r.toPeer, "%.1f MB/s, %.0f GB an hour at %.3f USD", in.ToPeerMBps, in.ToPeerMBps*gb, r.toPeer)
	if in.Zones > 1 {
		// Brokers and clients sit evenly in the zones; of each hop (1 to write, Replicas-1 between
		// brokers, 1 to read) the part (zones-1)/zones crosses.
		crossing := in.LoadMBps * float64(in.Replicas+1) * float64(in.Zones-1) / float64(in.Zones)
		add("between zones", crossing*gb*r.betweenZone, "%.0f MB/s between %d zones", crossing, in.Zones)
	}
	return b, nil
}

func (in *Input) validate() error {
	var errs []error
	for _, n := range []struct {
		name  string
		value float64
	}{
		{"nodes", float64(in.Nodes)}, {"nodeHourlyUSD", in.NodeHourlyUSD}, {"nodeDisk", in.NodeDiskGiB},
		{"NAT gateways", float64(in.NATGateways)}, {"load balancers", float64(in.LoadBalancers)}, {"zones", float64(in.Zones)},
		{"load", in.LoadMBps}, {"replicationFactor", float64(in.Replicas)}, {"load to the other region", in.ToPeerMBps},
	} {
		if !(n.value >= 0) {
			errs = append(errs, fmt.Errorf("%s: %v: use 0 or more", n.name, n.value))
		}
	}
	return errors.Join(errs...)
}

// node returns the price of a node, the dearest of those it may be.
func (in *Input) node(large map[string]float64) (usd float64, why string, err error) {
	if in.NodeHourlyUSD > 0 {
		return in.NodeHourlyUSD, fmt.Sprintf("%.4f USD (nodeHourlyUSD)", in.NodeHourlyUSD), nil
	}
	if in.Nodes == 0 {
		return 0, "", nil
	}
	if _, known := prices()[in.Region]; !known {
		return 0, "", fmt.Errorf("nodeHourlyUSD: 0, and prices in %s are not known here (only in %s): set it to what a node costs in an hour",
			in.Region, strings.Join(slices.Sorted(maps.Keys(prices())), " and "))
	}
	if len(in.NodeTypes) == 0 {
		return 0, "", errors.New("nodeTypes: none: name the instance types of the nodes")
	}
	for _, t := range in.NodeTypes {
		family, size, _ := strings.Cut(t, ".")
		price := large[family] * sizes()[size]
		if price == 0 {
			return 0, "", fmt.Errorf("nodeTypes: the price of %s is not known here: use a large, xlarge, 2xlarge or 4xlarge of %s, or set nodeHourlyUSD to what a node costs in an hour",
				t, strings.Join(slices.Sorted(maps.Keys(large)), ", "))
		}
		if price > usd {
			usd, why = price, fmt.Sprintf("%.4f USD (%s, on demand)", price, t)
		}
	}
	return usd, why, nil
}

// Total is the sum, USD per hour.
func (b Bill) Total() float64 {
	sum := 0.0
	for _, i := range b.Items {
		sum += i.USD
	}
	return sum
}

// String lists the bill, an item a line, the dearest first.
func (b Bill) String() string {
	var s strings.Builder
	for _, i := range b.sorted() {
		fmt.Fprintf(&s, "%9.2f  %s: %s\n", i.USD, i.Name, i.Why)
	}
	fmt.Fprintf(&s, "%9.2f  USD an hour, estimated", b.Total())
	return s.String()
}

func (b Bill) sorted() []Item {
	return slices.SortedStableFunc(slices.Values(b.Items), func(x, y Item) int {
		switch {
		case x.USD > y.USD:
			return -1
		case x.USD < y.USD:
			return 1
		}
		return 0
	})
}

// Check refuses a bill of more than maxHourlyUSD, the value of that configuration key; 0 allows any.
func (b Bill) Check(maxHourlyUSD float64) error {
	if maxHourlyUSD <= 0 || b.Total() <= maxHourlyUSD {
		return nil
	}
	return fmt.Errorf("maxHourlyUSD: this stack is estimated at %.2f USD an hour, more than the %.2f allowed: use fewer or smaller nodes or less load, or raise maxHourlyUSD:\n%s",
		b.Total(), maxHourlyUSD, b)
}
