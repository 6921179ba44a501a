package main

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
)

// mayBeDown are the sets that a fault may hit: no update waits for them.
var mayBeDown = []string{"kafka", "kafka-zookeeper", "kafka-controller", "replicator-worker", "replicator-controller"}

// Longest waits, seconds: sets of load tools close their ledgers one after another when they are replaced;
// a release pulls images onto every node.
const (
	longestSet, longestWait, longestRelease = 1200, 600, 900
)

func checkAwaited(g *graph, wrong complain) {
	for _, s := range g.sides() {
		waits := func(r enginetest.Resource) int {
			seconds, err := strconv.Atoi(word(r.Inputs, "metadata", "annotations", kube.TimeoutSeconds))
			if err != nil {
				wrong(name(r), "no bound on the wait: %v", err)
			}
			return seconds
		}
		for _, r := range s.objects() {
			skipped := word(r.Inputs, "metadata", "annotations", kube.SkipAwait) == "true"
			switch kind(r) {
			case "StatefulSet":
				if slices.Contains(mayBeDown, r.Name) {
					if !skipped {
						wrong(name(r), "an update waits for it, though a fault may hit it")
					}
				} else if seconds := waits(r); skipped || seconds < 1 || seconds > longestSet {
					wrong(name(r), "is waited for: %v, up to %d s", !skipped, seconds)
				}
			case "Deployment", "DaemonSet", "PodChaos", "NetworkChaos":
				if seconds := waits(r); skipped || seconds < 1 || seconds > longestWait {
					wrong(name(r), "is waited for: %v, up to %d s", !skipped, seconds)
				}
			case "Job":
				deadline, _ := r.Get("spec.activeDeadlineSeconds").(int)
				if seconds := waits(r); skipped || deadline < 60 || seconds <= deadline || seconds > deadline+120 {
					wrong(name(r), "ends within %d s, and is waited for %d s", deadline, seconds)
				}
				if word(r.Inputs, "metadata", "annotations", "pulumi.com/replaceUnready") != "true" || word(r.Inputs, "metadata", "annotations", "pulumi.com/autonamed") != "true" || r.Get("spec.ttlSecondsAfterFinished") != nil {
					wrong(name(r), "is not made again after a failure, has a fixed name, or vanishes: %v, %v", r.Get("metadata"), r.Get("spec.ttlSecondsAfterFinished"))
				}
				if gives := timeoutOf(r); gives >= time.Duration(deadline)*time.Second {
					wrong(name(r), "is killed after %d s, before its tool gives up after %s", deadline, gives)
				}
			case "Service":
				typ := r.Get("spec.type")
				if typ == "LoadBalancer" {
					if seconds := waits(r); seconds > longestWait {
						wrong(name(r), "is waited for up to %d s", seconds)
					}
				}
				for _, w := range s.workloads() {
					if slices.Contains(mayBeDown, w.Name) && selects(object(r.Inputs, "spec", "selector"), w.labels) && !skipped {
						wrong(name(r), "an update waits for pods of %s, which a fault may hit", name(w.Resource))
					}
				}
			case "Release":
				if seconds, _ := r.Get("timeout").(int); seconds < 1 || seconds > longestRelease || r.Get("atomic") != true || r.Get("skipAwait") == true {
					wrong(name(r), "is waited for up to %v s, atomic: %v, skipAwait: %v", r.Get("timeout"), r.Get("atomic"), r.Get("skipAwait"))
				}
			}
		}
	}
}

// timeoutOf is when a Job's tool gives up; 0 if it does not say.
func timeoutOf(r enginetest.Resource) time.Duration {
	args := words(list(r.Inputs, "spec", "template", "spec", "containers")[0], "args")
	for i, a := range args {
		value, ok := strings.CutPrefix(a, "--timeout=")
		if a == "--timeout" && i+1 < len(args) {
			value, ok = args[i+1], true
		}
		if d, err := time.ParseDuration(value); ok && err == nil {
			return d
		}
	}
	return 0
}

// checkOrder: what is made after what, and so deleted before it.
func checkOrder(g *graph, wrong complain) {
	for _, s := range g.sides() {
		after := func(a, b enginetest.Resource) {
			if a.URN != "" && b.URN != "" && !s.stack.DependsOn(a, b) {
				wrong(name(a), "does not come after %s", name(b))
			}
		}
		chain := func(links ...string) {
			for i := range len(links) - 1 {
				a, b := s.named(links[i]), s.named(links[i+1])
				if len(a) == 0 || len(b) == 0 {
					continue // not in this variant
				}
				after(a[0], b[0])
			}
		}
		// Ready means ready: each waits for what it needs by a Job that has succeeded.
		for _, quorum := range []string{"StatefulSet kafka-zookeeper", "StatefulSet kafka-controller"} {
			chain("Job kafka-selftest", quorum)
		}
		for _, set := range []string{"kafka", "kafka-zookeeper", "kafka-controller", "replicator-worker", "replicator-controller", "replicator-zookeeper"} {
			chain("StatefulSet "+set, "ConfigMap "+set)
			chain("StatefulSet "+set, "NetworkPolicy "+set)
			chain("StatefulSet "+set, "Service "+set)
		}
		chain("Job topics", "Job kafka-selftest", "StatefulSet kafka")
		chain("StatefulSet kafka", "Secret kafka-server")
		chain("Job topics-selftest", "Job kafka-selftest")
		chain("StatefulSet producer", "Job topics")
		chain("StatefulSet producer", "ConfigMap load-settings")
		chain("StatefulSet consumer", "Job kafka-selftest")
		chain("StatefulSet consumer", "ConfigMap load-settings")
		chain("Deployment auditor", "Job kafka-selftest")
		chain("Job replicator-selftest", "StatefulSet replicator-worker", "Job topics")
		chain("Job replicator-selftest", "Job topics-selftest")
		chain("Job replicator-selftest", "Job replicator-register", "StatefulSet replicator-worker")
		chain("Job replicator-selftest", "StatefulSet replicator-controller")
		chain("StatefulSet replicator-worker", "StatefulSet replicator-zookeeper")
		for _, fault := range []string{"PodChaos fault", "NetworkChaos fault"} {
			chain(fault, "Release chaos-mesh")
			chain(fault, "StatefulSet producer")
			chain(fault, "Job replicator-selftest")
			chain(fault, "Deployment auditor")
		}
		chain("NetworkChaos fault", "Job netem")
		chain("PodMonitor kafka-mirror-tester", "Release kube-prometheus-stack")
		if !s.config.aws() {
			continue
		}
		// A destroy takes each before what it stands on. What is in the cluster comes after its provider.
		chain("kubernetes "+s.provider(), "Addon "+s.provider()+"-coredns", "NodeGroup "+s.provider())
		chain("kubernetes "+s.provider(), "Addon "+s.provider()+"-eks-pod-identity-agent")
		chain("NodeGroup "+s.provider(), "Addon "+s.provider()+"-vpc-cni", "Cluster "+s.provider()+"-eksCluster")
		vpc, control := s.one("Vpc", ""), s.one("Cluster", s.provider()+"-eksCluster")
		for _, r := range s.all("Subnet", "RouteTableAssociation", "Route", "NatGateway", "InternetGateway") {
			if !strings.HasPrefix(r.Name, "peering") {
				after(r, vpc)
				after(control, r) // nodes join, and load balancers live, by way of it
				after(s.named("kubernetes " + s.provider())[0], r)
			}
		}
		chain("Deployment external-dns", "PodIdentityAssociation external-dns")
		chain("Deployment external-dns", "RolePolicy external-dns")
		if s.stack.DependsOn(s.one("PodIdentityAssociation", "external-dns"), s.one("NodeGroup", s.provider())) {
			wrong("PodIdentityAssociation external-dns", "comes after the nodes: EKS may see it after the pod")
		}
		// Who crosses comes after the way across.
		for _, way := range []string{"Route peering-here", "Route peering-peer", "SecurityGroupIngressRule peering-peer-kafka", "SecurityGroupIngressRule peering-peer-zookeeper", "ZoneAssociation kmt.internal"} {
			chain("StatefulSet replicator-worker", way)
			chain("Deployment auditor", way)
		}
		chain("Route peering-here", "VpcPeeringConnection peering", "Vpc "+s.provider())
		chain("Release kube-prometheus-stack", "SecurityGroupIngressRule peering-peer-prometheus")
		chain("Deployment external-dns", "ZoneAssociation kmt.internal")
	}
	// What joins the sides is the destination's.
	for _, r := range g.source.all("VpcPeeringConnection", "VpcPeeringConnectionAccepter", "SecurityGroupIngressRule", "ZoneAssociation") {
		wrong(name(r), "belongs to the destination's stack")
	}
}

// named returns the resources that complaints would call so.
func (s *side) named(text string) (out []enginetest.Resource) {
	for _, r := range s.resources {
		if name(r) == text {
			out = append(out, r)
		}
	}
	return out
}
