package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// quantity reads an amount as Kubernetes writes it.
func quantity(text string) (float64, error) {
	for _, unit := range []struct {
		suffix string
		factor float64
	}{{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"m", 1e-3}, {"", 1}} {
		if number, ok := strings.CutSuffix(text, unit.suffix); ok {
			n, err := strconv.ParseFloat(number, 64)
			if err != nil {
				return 0, fmt.Errorf("quantity %q: %w", text, err)
			}
			return n * unit.factor, nil
		}
	}
	panic("unreachable")
}

// pod is what the scheduler sees of one.
type pod struct {
	name, release string
	cpu, memory   float64
	alone         bool // never beside another of its name
	every         bool // one on each node
}

// chartPods are those of charts, as the values that we give them say.
func (s *side) chartPods() (out []pod) {
	for _, c := range []struct {
		release, name string
		path          []string
		every         bool
	}{
		{"chaos-mesh", "chaos-daemon", []string{"chaosDaemon"}, true},
		{"chaos-mesh", "chaos-controller-manager", []string{"controllerManager"}, false},
		{"kube-prometheus-stack", "node-exporter", []string{"prometheus-node-exporter"}, true},
		{"kube-prometheus-stack", "kube-state-metrics", []string{"kube-state-metrics"}, false},
		{"kube-prometheus-stack", "operator", []string{"prometheusOperator"}, false},
		{"kube-prometheus-stack", "prometheus", []string{"prometheus", "prometheusSpec"}, false},
		{"kube-prometheus-stack", "grafana", []string{"grafana"}, false},
		{"node-problem-detector", "node-problem-detector", nil, true},
		{"metrics-server", "metrics-server", nil, false},
	} {
		r := firstOf(s.all("Release"), c.release)
		if r.URN == "" || c.name == "grafana" && s.config.Role == source {
			continue
		}
		requests := object(object(r.Inputs, append([]string{"values"}, c.path...)...), "resources", "requests")
		p := pod{name: c.name, release: c.release, every: c.every}
		p.cpu, _ = quantity(word(requests, "cpu"))
		p.memory, _ = quantity(word(requests, "memory"))
		out = append(out, p)
	}
	return out
}

// eksPods are what EKS's add-ons ask for, by estimate: aws-node with its network policy agent,
// kube-proxy, the Pod Identity agent, and two of CoreDNS.
var eksPods = []pod{
	{name: "aws-node", cpu: 0.05, memory: 64 << 20, every: true},
	{name: "kube-proxy", cpu: 0.1, memory: 64 << 20, every: true},
	{name: "eks-pod-identity-agent", cpu: 0.01, memory: 64 << 20, every: true},
	{name: "coredns", cpu: 0.1, memory: 70 << 20},
	{name: "coredns", cpu: 0.1, memory: 70 << 20},
}

// nodeSizes are what is left of a node for pods. m6i.xlarge has 4 vCPUs and 16 GiB, of which the kernel
// leaves about 15.2; EKS reserves 80 millicores, and 255 MiB and 11 MiB for each of 58 pods, and pods
// are evicted below 100 MiB.
// https://github.com/awslabs/amazon-eks-ami/blob/main/nodeadm/internal/kubelet/config.go
var nodeSizes = map[string]struct{ cpu, memory float64 }{
	"m6i.xlarge": {3.92, 15.2*(1<<30) - (255+11*58+100)*(1<<20)},
}

// imagesOnDisk is what images and logs take of a node's disk, bytes, by estimate; the kubelet evicts pods
// when less than a tenth is free.
const imagesOnDisk = 15 << 30

func checkScheduling(g *graph, wrong complain) {
	for _, s := range g.sides() {
		if !s.config.aws() {
			continue
		}
		group := s.one("NodeGroup", "")
		types := words(group.Get("instanceTypes"))
		size, known := nodeSizes[types[0]]
		if !known {
			wrong(name(group), "it is not known what fits on %s", types[0])
			continue
		}
		nodes, _ := group.Get("scalingConfig.desiredSize").(int)
		if nodes != s.config.Cluster().Nodes {
			wrong(name(group), "has %d nodes, and %d are asked for", nodes, s.config.Cluster().Nodes)
		}
		everywhere, apart, others := []pod{}, []pod{}, []pod{}
		for _, p := range append(s.chartPods(), eksPods...) {
			if p.every {
				everywhere = append(everywhere, p)
			} else {
				others = append(others, p)
			}
		}
		for _, w := range s.workloads() {
			p := pod{name: name(w.Resource), every: kind(w.Resource) == "DaemonSet"}
			for _, c := range list(w.spec, "containers") {
				cpu, _ := quantity(word(c, "resources", "requests", "cpu"))
				memory, _ := quantity(word(c, "resources", "requests", "memory"))
				p.cpu, p.memory = p.cpu+cpu, p.memory+memory
			}
			disk := 0.0
			for _, v := range list(w.spec, "volumes") {
				if in(v, "emptyDir") != nil {
					limit, err := quantity(word(v, "emptyDir", "sizeLimit"))
					if err != nil {
						wrong(p.name, "volume %s has no limit", word(v, "name"))
					}
					disk += limit
				}
			}
			if most := float64(s.config.NodeDisk)*0.9 - imagesOnDisk; disk > most {
				wrong(p.name, "may write %.0f GiB, and a node's disk has room for %.0f", disk/(1<<30), most/(1<<30))
			}
			for _, term := range list(w.spec, "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution") {
				p.alone = p.alone || word(term, "topologyKey") == "kubernetes.io/hostname" && selects(object(term, "labelSelector"), w.labels)
			}
			switch {
			case p.every:
				everywhere = append(everywhere, p)
			case p.alone:
				apart = append(apart, slices.Repeat([]pod{p}, w.replicas)...)
			default:
				others = append(others, slices.Repeat([]pod{p}, w.replicas)...)
			}
		}
		for _, p := range everywhere {
			size.cpu, size.memory = size.cpu-p.cpu, size.memory-p.memory
		}
		// The scheduler takes pods as they come, and spreads them: both orders must work.
		for _, order := range [][]pod{slices.Concat(apart, others), slices.Concat(others, apart)} {
			if p, ok := place(order, nodes, size.cpu, size.memory); !ok {
				wrong(p.name, "%.2f CPU and %.0f MiB find no place on any of %d nodes of %s with %.2f CPU and %.0f MiB each", p.cpu, p.memory/(1<<20), nodes, types[0], size.cpu, size.memory/(1<<20))
				break
			}
		}
	}
}

// place puts each pod on the emptiest node that takes it, and returns the first that none takes.
func place(pods []pod, nodes int, cpu, memory float64) (pod, bool) {
	type node struct {
		cpu, memory float64
		has         map[string]bool
	}
	all := make([]node, nodes)
	for i := range all {
		all[i] = node{cpu, memory, map[string]bool{}}
	}
	for _, p := range pods {
		best := -1
		for i, n := range all {
			if n.cpu < p.cpu || n.memory < p.memory || p.alone && n.has[p.name] {
				continue
			}
			if best < 0 || n.memory > all[best].memory {
				best = i
			}
		}
		if best < 0 {
			return p, false
		}
		all[best].cpu, all[best].memory = all[best].cpu-p.cpu, all[best].memory-p.memory
		all[best].has[p.name] = true
	}
	return pod{}, true
}
