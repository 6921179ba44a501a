package kubetest

import (
	"context"
	"fmt"
	"net/netip"
)

// Machine is what a node has. Kubernetes' quantities; CPU in millicores.
type Machine struct {
	Type                    string // of the instance, such as m6i.xlarge
	CPU                     int
	MemoryMiB, DiskGiB      int
	ReservedCPU             int // not for pods
	ReservedMiB             int
	MaxPods                 int
	KubernetesVersion, Arch string
}

// NewMachine returns what an EKS node of an instance type with 4 vCPUs and 16 GiB has. The kernel takes
// about 0.8 GiB before anyone else. EKS reserves 80 millicores, and memory by the number of pods; that is
// the number of addresses that the instance's network interfaces have.
// https://github.com/awslabs/amazon-eks-ami/blob/main/nodeadm/internal/kubelet/config.go
func NewMachine(instanceType string, diskGiB int) (Machine, error) {
	pods, known := map[string]int{"m6i.xlarge": 58, "m5.xlarge": 58, "m6a.xlarge": 58}[instanceType]
	if !known {
		return Machine{}, fmt.Errorf("it is not known what an instance of %s has", instanceType)
	}
	return Machine{
		Type: instanceType, CPU: 4000, MemoryMiB: 15564, DiskGiB: diskGiB,
		ReservedCPU: 80, ReservedMiB: 255 + 11*pods + 100, MaxPods: pods,
		KubernetesVersion: "v" + KubernetesVersion + "-eks-fake", Arch: "amd64",
	}, nil
}

// NodeGroup is a group of equal nodes.
type NodeGroup struct {
	Name, Region string
	Capacity     string   // ON_DEMAND or SPOT
	Zones        []string // of the subnets, in which the nodes are in turn
	Subnet       netip.Prefix
	Machine      Machine
}

// Node returns the group's i-th node, as EKS would register it: names, labels, sizes. kwok makes it ready.
func (g NodeGroup) Node(i int) Object {
	addr := g.Subnet.Addr().As4()
	addr[2] += byte(i / 200)
	addr[3] += byte(10 + i%200)
	ip := netip.AddrFrom4(addr)
	name := fmt.Sprintf("ip-%d-%d-%d-%d.%s.compute.internal", addr[0], addr[1], addr[2], addr[3], g.Region)
	zone := g.Zones[i%len(g.Zones)]
	m := g.Machine
	resources := func(cpu, memory int) Object {
		return Object{
			"cpu": fmt.Sprintf("%dm", cpu), "memory": fmt.Sprintf("%dMi", memory), "pods": fmt.Sprint(m.MaxPods),
			"ephemeral-storage": fmt.Sprintf("%dGi", m.DiskGiB),
		}
	}
	return Object{
		"apiVersion": "v1", "kind": "Node",
		"metadata": Object{
			"name": name,
			"labels": Object{
				"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": m.Arch,
				"topology.kubernetes.io/region": g.Region, "topology.kubernetes.io/zone": zone,
				"node.kubernetes.io/instance-type": m.Type,
				"eks.amazonaws.com/nodegroup":      g.Name, "eks.amazonaws.com/capacityType": g.Capacity,
			},
		},
		"spec": Object{"providerID": fmt.Sprintf("aws:///%s/i-%017x", zone, i)},
		"status": Object{
			"capacity": resources(m.CPU, m.MemoryMiB), "allocatable": resources(m.CPU-m.ReservedCPU, m.MemoryMiB-m.ReservedMiB),
			"addresses": []any{Object{"type": "InternalIP", "address": ip.String()}, Object{"type": "Hostname", "address": name}},
			"nodeInfo": Object{
				"kubeletVersion": m.KubernetesVersion, "architecture": m.Arch, "operatingSystem": "linux", "osImage": "Amazon Linux 2023",
				"containerRuntimeVersion": "containerd://2.1", "kernelVersion": "6.12.40-64.114.amzn2023.x86_64", // kwok takes what looks like a number for one "kubeProxyVersion": "", "bootID": "", "machineID": "", "systemUUID": "",
			},
		},
	}
}

// Join has nodes from the group's from-th to before its to-th join, and waits until they are ready.
func (p *Plane) Join(ctx context.Context, g NodeGroup, from, to int) error {
	for i := from; i < to; i++ {
		if _, err := p.Create(ctx, "/api/v1/nodes", g.Node(i)); err != nil {
			return err
		}
	}
	return p.wait(ctx, "the nodes are ready", func(ctx context.Context) error {
		nodes, err := p.List(ctx, "v1", "Node", "", "eks.amazonaws.com/nodegroup="+g.Name)
		if err != nil {
			return err
		}
		ready := 0
		for _, n := range nodes {
			if Condition(n, "Ready") == "True" && len(At[[]any](n, "spec", "taints")) == 0 {
				ready++
			}
		}
		if ready != to {
			return fmt.Errorf("%d of %d nodes are ready", ready, to)
		}
		return nil
	})
}
