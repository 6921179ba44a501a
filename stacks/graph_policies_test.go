package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kafka"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
)

// withoutPolicy has pods that no NetworkPolicy selects, and why.
func withoutPolicy(w podSet) string {
	switch {
	case kind(w.Resource) == "Job":
		return "it listens to nothing, and is gone when it has ended"
	case w.spec["hostNetwork"] == true:
		return "NetworkPolicies do not apply to the node's own network"
	}
	return ""
}

// reachableBy is who reaches the ports of Kafka and of ZooKeepers, and nobody else does. Pods are of the
// same namespace, unless another is given.
func reachableBy(g *graph, s *side) map[string]map[int][]string {
	metrics := []string{"namespace " + s.config.MonitoringNamespace}
	clients, zookeeperClients := []string{"part of us"}, []string{"kafka/broker", "zookeeper/zookeeper"}
	peer := g.other(s).config
	if s.config.Role == destination { // uReplicator and Brooklin look into the destination's ZooKeeper
		zookeeperClients = append(zookeeperClients, "part of us in "+s.config.Namespace)
	}
	switch {
	case !s.config.aws():
		across := "part of us in " + peer.Namespace
		clients = append(clients, across)
		if s.config.Role == source {
			zookeeperClients = append(zookeeperClients, across)
		}
	case s.config.Role == source:
		clients, zookeeperClients = append(clients, peer.VpcCidr), append(zookeeperClients, peer.VpcCidr)
	}
	kind := g.destination.config.Destination.Replicator
	own := []string{kind + "/replicator-zookeeper", kind + "/worker"}
	if kind == "ureplicator" {
		own = append(own, "ureplicator/controller")
	}
	for _, names := range [][]string{clients, zookeeperClients, own} {
		slices.Sort(names)
	}
	return map[string]map[int][]string{
		"kafka":                {kafka.BrokerPort: clients, kafka.MetricsPort: metrics},
		"kafka-zookeeper":      {kafka.ZookeeperPort: zookeeperClients, 2888: {"zookeeper/zookeeper"}, 3888: {"zookeeper/zookeeper"}, kafka.MetricsPort: metrics},
		"kafka-controller":     {kafka.ControllerPort: {"kafka-controller/controller", "kafka/broker"}, kafka.MetricsPort: metrics},
		"replicator-zookeeper": {kafka.ZookeeperPort: own, 2888: {kind + "/replicator-zookeeper"}, 3888: {kind + "/replicator-zookeeper"}, kafka.MetricsPort: metrics},
	}
}

// peers names those whom a rule lets in.
func peers(rule any) (out []string) {
	from := list(rule, "from")
	if len(from) == 0 {
		return []string{"everybody"}
	}
	for _, f := range from {
		pods := object(f, "podSelector", "matchLabels")
		text := word(pods, "app.kubernetes.io/name") + "/" + word(pods, "app.kubernetes.io/component")
		if word(pods, "app.kubernetes.io/part-of") == kube.PartOf {
			text = "part of us"
		}
		namespace := word(f, "namespaceSelector", "matchLabels", "kubernetes.io/metadata.name")
		switch {
		case in(f, "ipBlock") != nil:
			text = word(f, "ipBlock", "cidr")
		case in(f, "podSelector") == nil:
			text = "namespace " + namespace
		case in(f, "namespaceSelector") != nil:
			text += " in " + namespace
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

func checkPolicies(g *graph, wrong complain) {
	for _, s := range g.sides() {
		for _, w := range s.workloads() {
			reached, policies := map[int][]string{}, 0
			for _, p := range s.all("NetworkPolicy") {
				if word(p.Inputs, "metadata", "namespace") != w.namespace || !selects(object(p.Inputs, "spec", "podSelector"), w.labels) || !slices.Contains(words(p.Inputs, "spec", "policyTypes"), "Ingress") {
					continue
				}
				policies++
				for _, rule := range list(p.Inputs, "spec", "ingress") {
					if len(list(rule, "ports")) == 0 {
						reached[0] = append(reached[0], peers(rule)...) // every port
					}
					for _, port := range list(rule, "ports") {
						n, _ := in(port, "port").(int)
						reached[n] = append(reached[n], peers(rule)...)
					}
				}
			}
			if policies == 0 && withoutPolicy(w) == "" {
				wrong(name(w.Resource), "no NetworkPolicy selects its pods: everybody reaches them")
			}
			if want, ours := reachableBy(g, s)[w.Name]; ours && kind(w.Resource) == "StatefulSet" && fmt.Sprint(reached) != fmt.Sprint(want) {
				wrong(name(w.Resource), "is reached by\n%v, and is to be by\n%v", reached, want)
			}
			if port, there := w.ports()["metrics"]; there && s.config.InstallMonitoring && !canScrape(reached[port], s.config.MonitoringNamespace) {
				wrong(name(w.Resource), "Prometheus does not reach its port %d; who does: %v", port, reached)
			}
		}
		for _, p := range s.all("NetworkPolicy") {
			for _, rule := range list(p.Inputs, "spec", "ingress") {
				for _, port := range list(rule, "ports") {
					n, _ := in(port, "port").(int)
					if !slices.ContainsFunc(s.workloads(), func(w podSet) bool {
						return selects(object(p.Inputs, "spec", "podSelector"), w.labels) && slices.Contains(slices.Collect(maps.Values(w.ports())), n)
					}) && !s.ofChart(p) {
						wrong(name(p), "is about port %d, which none of its pods has", n)
					}
				}
			}
		}
	}
}
