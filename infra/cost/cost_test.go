package cost_test

import (
	"math"
	"strings"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/cost"
)

// talk is the source's side of the talk.
func talk() cost.Input {
	return cost.Input{
		Region: "us-east-1", Nodes: 40, NodeTypes: []string{"i3.large"}, NodeDiskGiB: 100,
		NATGateways: 1, Zones: 1, LoadMBps: 200, Replicas: 3, ToPeerMBps: 200,
	}
}

func items(t *testing.T, in cost.Input) map[string]float64 {
	t.Helper()
	b, err := cost.Estimate(in)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]float64{}
	for _, i := range b.Items {
		m[i.Name] = i.USD
	}
	return m
}

func TestTheTalksSourceByHand(t *testing.T) {
	want := map[string]float64{
		"control plane":       0.10,
		"nodes":               40 * 0.156,
		"disks":               40 * 100 * 0.08 / 730,
		"NAT":                 0.045 + 0.045,
		"public IPv4":         0.005,
		"to the other region": 200 * 3.6 * 0.02, // 720 GB an hour: the largest part of all
	}
	got := items(t, talk())
	for name, usd := range want {
		if math.Abs(got[name]-usd) > 1e-9 {
			t.Errorf("%s: %v USD, want %v", name, got[name], usd)
		}
	}
	if len(got) != len(want) {
		t.Errorf("items %v, want %v", got, want)
	}
	b, err := cost.Estimate(talk())
	if err != nil {
		t.Fatal(err)
	}
	if total := b.Total(); math.Abs(total-21.273356) > 1e-5 {
		t.Errorf("total %v", total)
	}
	if first, _, _ := strings.Cut(b.String(), "\n"); !strings.Contains(first, "to the other region") {
		t.Errorf("the dearest item does not stand first:\n%s", b)
	}
}

func TestWhatChangesTheBill(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*cost.Input)
		item   string
		want   float64
	}{
		"the dearest of the fallback types counts": {func(in *cost.Input) { in.NodeTypes = []string{"m6a.xlarge", "m6i.2xlarge", "m5.xlarge"} }, "nodes", 40 * 0.384},
		"a price of one's own":                     {func(in *cost.Input) { in.NodeTypes, in.NodeHourlyUSD = []string{"x9.huge"}, 0.5 }, "nodes", 20},
		"a price of one's own in another region":   {func(in *cost.Input) { in.Region, in.NodeHourlyUSD = "eu-north-1", 0.5 }, "nodes", 20},
		"the other region's prices":                {func(in *cost.Input) { in.Region = "eu-west-1" }, "nodes", 40 * 0.172},
		"load balancers":                           {func(in *cost.Input) { in.LoadBalancers = 2 }, "load balancers", 2 * 0.0285},
		"their addresses":                          {func(in *cost.Input) { in.LoadBalancers = 2 }, "public IPv4", 3 * 0.005},
		"two zones: half of four hops crosses":     {func(in *cost.Input) { in.Zones = 2 }, "between zones", 200 * 4 / 2 * 3.6 * 0.02},
		"no replication":                           {func(in *cost.Input) { in.ToPeerMBps = 0 }, "to the other region", 0},
	} {
		t.Run(name, func(t *testing.T) {
			in := talk()
			test.change(&in)
			if got := items(t, in)[test.item]; math.Abs(got-test.want) > 1e-9 {
				t.Errorf("%s: %v USD, want %v", test.item, got, test.want)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*cost.Input)
		want   []string
	}{
		"unknown type":   {func(in *cost.Input) { in.NodeTypes = []string{"m6i.large", "x9.huge"} }, []string{"x9.huge", "nodeHourlyUSD", "m6i"}},
		"unknown size":   {func(in *cost.Input) { in.NodeTypes = []string{"m6i.metal"} }, []string{"m6i.metal", "nodeHourlyUSD"}},
		"unknown region": {func(in *cost.Input) { in.Region = "eu-north-1" }, []string{"eu-north-1", "nodeHourlyUSD"}},
		"no type":        {func(in *cost.Input) { in.NodeTypes = nil }, []string{"nodeTypes"}},
		"negative":       {func(in *cost.Input) { in.Nodes, in.ToPeerMBps = -1, math.NaN() }, []string{"nodes: -1", "load to the other region: NaN"}},
	} {
		t.Run(name, func(t *testing.T) {
			in := talk()
			test.change(&in)
			_, err := cost.Estimate(in)
			if err == nil {
				t.Fatal("is accepted")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

func TestABillAboveTheBoundIsRefusedWithItsItems(t *testing.T) {
	b, err := cost.Estimate(talk())
	if err != nil {
		t.Fatal(err)
	}
	for _, allowed := range []float64{0, b.Total(), 100} {
		if err := b.Check(allowed); err != nil {
			t.Errorf("bound %v: %v", allowed, err)
		}
	}
	err = b.Check(10)
	if err == nil {
		t.Fatal("21 USD an hour pass a bound of 10")
	}
	for _, want := range []string{"maxHourlyUSD", "21.27", "10.00", "to the other region", "200.0 MB/s", "i3.large"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}
