package main

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
)

type mistake struct {
	names   string // what the complaint must name
	make    func(*testing.T, *graph)
	variant string // another one than the first
}

type graphCheck struct {
	name     string
	run      func(*graph, complain)
	mistakes []mistake
}

func (c graphCheck) complaints(g *graph) (out []string) {
	c.run(g, func(r, format string, args ...any) { out = append(out, r+": "+fmt.Sprintf(format, args...)) })
	return out
}

// change is a mistake that changes the inputs of a resource of the side.
func change(role, kind, resource, names string, f func(inputs map[string]any)) mistake {
	return mistake{names: names, make: func(t *testing.T, g *graph) {
		s := map[string]*side{source: g.source, destination: g.destination}[role]
		for _, r := range s.all(kind) {
			if r.Name == resource {
				f(r.Inputs)
				return
			}
		}
		t.Errorf("there is no %s %s at the %s to make a mistake in", kind, resource, role)
	}}
}

// set is a change of one input, removed if the value is nil.
func setInput(role, kind, resource string, value any, path ...string) mistake {
	return change(role, kind, resource, kind+" "+resource, func(inputs map[string]any) {
		var v any = inputs
		for _, key := range path[:len(path)-1] {
			if i, err := strconv.Atoi(key); err == nil {
				v = v.([]any)[i]
				continue
			}
			m := v.(map[string]any)
			if m[key] == nil {
				m[key] = map[string]any{}
			}
			v = m[key]
		}
		last := path[len(path)-1]
		if value == nil {
			delete(v.(map[string]any), last)
		} else {
			v.(map[string]any)[last] = value
		}
	})
}

// edit is a change of a resource itself.
func edit(role, kind, resource string, f func(*enginetest.Resource)) mistake {
	return mistake{names: kind + " " + resource, make: func(t *testing.T, g *graph) {
		s := map[string]*side{source: g.source, destination: g.destination}[role]
		for i := range s.resources {
			if r := &s.resources[i]; r.Name == resource && strings.HasSuffix(r.Type, ":"+kind) {
				f(r)
				return
			}
		}
		t.Errorf("there is no %s %s at the %s to make a mistake in", kind, resource, role)
	}}
}

// drop is a resource that was forgotten; the complaint names another.
func drop(role, kind, resource, names string) mistake {
	return mistake{names: names, make: func(t *testing.T, g *graph) {
		s := map[string]*side{source: g.source, destination: g.destination}[role]
		before := len(s.resources)
		s.resources = slices.DeleteFunc(s.resources, func(r enginetest.Resource) bool { return r.Name == resource && strings.HasSuffix(r.Type, ":"+kind) })
		if len(s.resources) == before {
			t.Errorf("there is no %s %s at the %s to forget", kind, resource, role)
		}
	}}
}

func (m mistake) naming(names string) mistake { m.names = names; return m }

func (m mistake) with(variant string) mistake { m.variant = variant; return m }

// Paths to a pod template and its first container.
var (
	podSpec   = []string{"spec", "template", "spec"}
	container = []string{"spec", "template", "spec", "containers", "0"}
)

func under(path []string, more ...string) []string { return slices.Concat(path, more) }

var checks = []graphCheck{
	{"private subnets have their routes", checkRoutes, []mistake{
		drop(source, "Route", "us-east-1-private-nat", "Subnet us-east-1-private-us-east-1a"),
		drop(destination, "Route", "peering-peer", "Subnet us-east-1-private-us-east-1b"),
		drop(destination, "Route", "peering-here", "Subnet eu-west-1-private-eu-west-1a"),
		drop(source, "RouteTableAssociation", "us-east-1-private-us-east-1b", "Subnet us-east-1-private-us-east-1b"),
		setInput(destination, "Route", "peering-peer", "pcx-other", "vpcPeeringConnectionId"),
		setInput(destination, "Route", "peering-peer", "10.99.0.0/16", "destinationCidrBlock").naming("Subnet us-east-1-private-us-east-1a"),
		setInput(destination, "Route", "eu-west-1-private-nat", "nat-other", "natGatewayId"),
		edit(destination, "Route", "peering-peer", func(r *enginetest.Resource) { r.Provider = "" }),
		edit(destination, "Route", "peering-here", func(r *enginetest.Resource) { r.Provider = "peering-peer" }),
		setInput(destination, "VpcPeeringConnectionAccepter", "peering", false, "autoAccept"),
		setInput(destination, "VpcPeeringConnection", "peering", "vpc-other", "peerVpcId"),
		setInput(source, "NodeGroup", "us-east-1", []any{"subnet-other"}, "subnetIds"),
	}},
	{"nothing is public, and the peer reaches what it must", checkIngress, []mistake{
		setInput(destination, "SecurityGroupIngressRule", "peering-peer-kafka", 9093, "toPort"),
		setInput(destination, "SecurityGroupIngressRule", "peering-peer-kafka", "0.0.0.0/0", "cidrIpv4"),
		setInput(destination, "SecurityGroupIngressRule", "peering-peer-zookeeper", "sg-other", "securityGroupId"),
		drop(destination, "SecurityGroupIngressRule", "peering-peer-prometheus", "9090"),
		setInput(source, "RouteTable", "us-east-1-private", []any{}, "routes"),
		setInput(source, "DefaultSecurityGroup", "us-east-1", []any{}, "ingress"),
		setInput(source, "Cluster", "us-east-1-eksCluster", []any{"203.0.113.0/24"}, "vpcConfig", "publicAccessCidrs"),
		setInput(source, "Service", "headlamp-public", nil, "spec", "loadBalancerSourceRanges"),
		setInput(source, "Service", "headlamp-public", []any{"::/0"}, "spec", "loadBalancerSourceRanges"),
		setInput(source, "Service", "kafka", "NodePort", "spec", "type"),
		drop(destination, "Service", "grafana-public", "2 load balancers"),
		setInput(source, "Subnet", "us-east-1-public-us-east-1a", true, "mapPublicIpOnLaunch"),
	}},
	{"everything goes through its provider", checkProviders, []mistake{
		edit(source, "ConfigMap", "kafka", func(r *enginetest.Resource) { r.Provider = "" }),
		edit(destination, "SecurityGroupIngressRule", "peering-peer-kafka", func(r *enginetest.Resource) { r.Provider = "" }),
		edit(destination, "Vpc", "eu-west-1", func(r *enginetest.Resource) { r.Provider = "peering-peer" }),
		edit(destination, "aws", "peering-peer", func(r *enginetest.Resource) { r.Inputs["region"] = "eu-west-1" }),
	}},
	{"objects and pods have the standard labels", checkLabels, []mistake{
		setInput(source, "Service", "kafka", nil, "metadata", "labels", "app.kubernetes.io/component"),
		setInput(source, "StatefulSet", "kafka", "helm", "metadata", "labels", "app.kubernetes.io/managed-by"),
		setInput(source, "StatefulSet", "producer", nil, "spec", "template", "metadata", "labels", "app.kubernetes.io/part-of"),
		setInput(source, "StatefulSet", "kafka", "other", "spec", "template", "metadata", "labels", "app.kubernetes.io/name"),
	}},
	{"containers ask for and are limited to", checkResources, []mistake{
		setInput(source, "StatefulSet", "kafka", nil, under(container, "resources", "limits", "memory")...),
		setInput(source, "StatefulSet", "kafka", nil, under(podSpec, "initContainers", "0", "resources", "requests", "cpu")...),
		setInput(source, "Job", "topics", nil, under(container, "resources", "requests", "memory")...),
		setInput(destination, "Release", "chaos-mesh", nil, "values", "chaosDaemon", "resources"),
	}},
	{"pods are restricted", checkRestricted, slices.Concat([]mistake{
		setInput(source, "StatefulSet", "kafka", nil, under(podSpec, "securityContext", "runAsNonRoot")...),
		setInput(source, "StatefulSet", "kafka", "Unconfined", under(podSpec, "securityContext", "seccompProfile", "type")...),
		setInput(source, "StatefulSet", "kafka", "Unconfined", under(container, "securityContext", "seccompProfile", "type")...),
		setInput(source, "StatefulSet", "kafka", 0, under(container, "securityContext", "runAsUser")...),
		setInput(source, "StatefulSet", "kafka", nil, under(container, "securityContext", "allowPrivilegeEscalation")...),
		setInput(source, "StatefulSet", "kafka", nil, under(podSpec, "initContainers", "0", "securityContext", "capabilities")...),
		setInput(source, "StatefulSet", "kafka", []any{"NET_ADMIN"}, under(container, "securityContext", "capabilities", "add")...),
		setInput(source, "StatefulSet", "kafka", true, under(container, "securityContext", "privileged")...),
		setInput(source, "StatefulSet", "kafka", true, under(podSpec, "hostNetwork")...),
		setInput(source, "StatefulSet", "kafka", true, under(podSpec, "hostPID")...),
		setInput(source, "StatefulSet", "kafka", true, under(podSpec, "hostIPC")...),
		setInput(source, "StatefulSet", "kafka", 9092, under(container, "ports", "0", "hostPort")...),
		setInput(source, "StatefulSet", "kafka", []any{map[string]any{"name": "x", "hostPath": map[string]any{"path": "/"}}}, under(podSpec, "volumes")...),
		setInput(source, "StatefulSet", "kafka", []any{map[string]any{"name": "kernel.msgmax", "value": "1"}}, under(podSpec, "securityContext", "sysctls")...),
		setInput(source, "StatefulSet", "kafka", "Unmasked", under(container, "securityContext", "procMount")...),
		setInput(source, "Namespace", "source", "baseline", "metadata", "labels", "pod-security.kubernetes.io/enforce"),
		setInput(source, "Namespace", "chaos-mesh", "restricted", "metadata", "labels", "pod-security.kubernetes.io/enforce").naming("Job netem"),
		setInput(source, "Namespace", "source-headlamp", "privileged", "metadata", "labels", "pod-security.kubernetes.io/enforce"),
		change(source, "Job", "netem", "netem", func(inputs map[string]any) {
			spec := object(inputs, podSpec...)
			spec["securityContext"] = map[string]any{"runAsNonRoot": true, "seccompProfile": map[string]any{"type": "RuntimeDefault"}}
			delete(object(list(spec, "containers")[0], "securityContext", "capabilities"), "add")
		}),
		setInput(source, "DaemonSet", "weavescope-agent", nil, "metadata", "namespace").with("mirrormaker2, KRaft, Weave Scope"),
	})},
	{"images are pinned", checkImages, []mistake{
		setInput(source, "StatefulSet", "kafka", "apache/kafka:3.9.1", under(container, "image")...),
		setInput(source, "StatefulSet", "kafka", "registry.example/loadgen@sha256:12", under(podSpec, "initContainers", "0", "image")...),
		setInput(source, "Release", "chaos-mesh", "^2.8", "version"),
		setInput(source, "Release", "chaos-mesh", nil, "values", "chaosDaemon", "image"),
		setInput(source, "Release", "chaos-mesh", "registry.k8s.io/pause:3.10", "values", "controllerManager", "podChaos", "podFailure", "pauseImage"),
		setInput(source, "Release", "kube-prometheus-stack", nil, "values", "prometheusOperator", "prometheusConfigReloader", "image", "sha"),
		setInput(source, "Release", "metrics-server", "0.8.1", "values", "image", "tag"),
		setInput(destination, "Release", "kube-prometheus-stack", "quay.io", "values", "grafana", "sidecar", "image", "registry"),
	}},
	{"only who needs it has a token", checkTokens, []mistake{
		setInput(source, "StatefulSet", "kafka", nil, under(podSpec, "automountServiceAccountToken")...),
		setInput(source, "StatefulSet", "producer", true, under(podSpec, "automountServiceAccountToken")...),
		setInput(source, "ServiceAccount", "external-dns", nil, "automountServiceAccountToken"),
		drop(source, "ClusterRoleBinding", "external-dns", "Deployment external-dns"),
		setInput(source, "ClusterRole", "external-dns", []any{"*"}, "rules", "0", "verbs"),
	}},
	{"secrets are in Secrets only", checkSecrets, []mistake{
		setInput(source, "StatefulSet", "producer", []any{"--sasl-password=" + markPassword}, under(container, "args")...),
		setInput(source, "StatefulSet", "producer", []any{map[string]any{"name": "PASSWORD", "value": markPassword}}, under(container, "env")...),
		setInput(source, "ConfigMap", "kafka", base64.StdEncoding.EncodeToString([]byte(markPassword)), "data", "x"),
		edit(source, "StatefulSet", "producer", func(r *enginetest.Resource) {
			r.SecretInputs = append(r.SecretInputs, "spec.template.spec.containers[0].env[0].value")
		}),
		edit(destination, "Secret", "grafana-admin", func(r *enginetest.Resource) { r.SecretInputs = nil }),
		{names: "output x", make: func(_ *testing.T, g *graph) { g.destination.outputs["x"] = "password " + markGrafana }},
	}},
	{"NetworkPolicies", checkPolicies, []mistake{
		drop(source, "NetworkPolicy", "kafka", "StatefulSet kafka"),
		drop(destination, "NetworkPolicy", "replicator-worker", "StatefulSet replicator-worker"),
		setInput(source, "NetworkPolicy", "kafka", []any{"Egress"}, "spec", "policyTypes").naming("StatefulSet kafka"),
		setInput(source, "NetworkPolicy", "kafka", []any{map[string]any{}}, "spec", "ingress").naming("StatefulSet kafka"),
		setInput(source, "NetworkPolicy", "kafka", "10.0.0.0/8", "spec", "ingress", "0", "from", "1", "ipBlock", "cidr").naming("StatefulSet kafka"),
		setInput(source, "NetworkPolicy", "kafka-zookeeper", nil, "spec", "ingress", "0", "from").naming("StatefulSet kafka-zookeeper"),
		setInput(source, "NetworkPolicy", "producer", []any{}, "spec", "ingress").naming("StatefulSet producer"),
		setInput(source, "NetworkPolicy", "producer", []any{map[string]any{"ports": []any{map[string]any{"port": 1234}}}}, "spec", "ingress").naming("NetworkPolicy producer"),
	}},
	{"whatever is referred to is there", checkReferences, []mistake{
		setInput(source, "Service", "kafka", map[string]any{"app.kubernetes.io/name": "kafak"}, "spec", "selector"),
		setInput(source, "Service", "kafka-0", map[string]any{"statefulset.kubernetes.io/pod-name": "kafka-30"}, "spec", "selector"),
		setInput(source, "Service", "kafka-0", 9999, "spec", "ports", "0", "port"),
		setInput(source, "PodDisruptionBudget", "kafka", map[string]any{"matchLabels": map[string]any{"app": "x"}}, "spec", "selector"),
		setInput(source, "NetworkPolicy", "kafka", map[string]any{"matchLabels": map[string]any{"app": "x"}}, "spec", "podSelector"),
		setInput(source, "PodMonitor", "kafka-mirror-tester", map[string]any{"matchLabels": map[string]any{"app": "x"}}, "spec", "selector"),
		setInput(source, "PodMonitor", "kafka-mirror-tester", "metric", "spec", "podMetricsEndpoints", "0", "port"),
		setInput(source, "StatefulSet", "kafka", "kafak", "spec", "serviceName"),
		drop(source, "ConfigMap", "kafka", "StatefulSet kafka"),
		drop(source, "Secret", "kafka-access", "StatefulSet producer"),
		drop(destination, "Secret", "kafka-access", "StatefulSet replicator-worker"),
		drop(source, "ServiceAccount", "external-dns", "Deployment external-dns"),
		drop(source, "Namespace", "source", "StatefulSet kafka"),
		setInput(source, "StatefulSet", "kafka", []any{map[string]any{"name": "nothing", "mountPath": "/x"}}, under(container, "volumeMounts")...),
		drop(destination, "Secret", "grafana-admin", "grafana-admin"),
		setInput(destination, "ClusterRole", "kubernetes-dashboard-viewer", "kubernetes-dashboard-viewer-source-kubernetes-dashboard", "metadata", "name").with("both in one existing cluster"),
	}},
	{"a fault has victims", checkFaults, []mistake{
		setInput(source, "PodChaos", "fault", []any{"kafka"}, "spec", "containerNames"),
		setInput(source, "PodChaos", "fault", []any{"kafka-30"}, "spec", "selector", "pods", "source"),
		setInput(source, "PodChaos", "fault", []any{"broker-3"}, "spec", "selector", "pods", "source"),
		setInput(source, "PodChaos", "fault", map[string]any{"elsewhere": []any{"kafka-3"}}, "spec", "selector", "pods"),
		setInput(source, "Namespace", "source", nil, "metadata", "annotations", "chaos-mesh.org/inject").naming("PodChaos fault"),
		drop(destination, "NetworkChaos", "fault", "fault worker-loss"),
		setInput(source, "NetworkChaos", "fault", []any{map[string]any{"key": "app.kubernetes.io/name", "operator": "In", "values": []any{"kafka"}}},
			"spec", "selector", "expressionSelectors").with("ureplicator"),
		setInput(source, "NetworkChaos", "fault", []any{"10.30.0.0/16"}, "spec", "externalTargets").with("ureplicator"),
	}},
	{"what an update waits for", checkAwaited, []mistake{
		setInput(source, "StatefulSet", "kafka", nil, "metadata", "annotations", "pulumi.com/skipAwait"),
		setInput(destination, "StatefulSet", "replicator-worker", nil, "metadata", "annotations", "pulumi.com/skipAwait"),
		setInput(source, "StatefulSet", "producer", nil, "metadata", "annotations", "pulumi.com/timeoutSeconds"),
		setInput(source, "StatefulSet", "producer", "true", "metadata", "annotations", "pulumi.com/skipAwait"),
		setInput(destination, "Deployment", "auditor", "3600", "metadata", "annotations", "pulumi.com/timeoutSeconds"),
		setInput(source, "Job", "topics", nil, "metadata", "annotations", "pulumi.com/replaceUnready"),
		setInput(source, "Job", "topics", "600", "metadata", "annotations", "pulumi.com/timeoutSeconds"),
		setInput(source, "Job", "topics", nil, "metadata", "annotations", "pulumi.com/autonamed"),
		setInput(source, "Job", "topics", 60, "spec", "ttlSecondsAfterFinished"),
		setInput(source, "Job", "topics", nil, "spec", "activeDeadlineSeconds"),
		setInput(source, "Job", "topics", 500, "spec", "activeDeadlineSeconds"),
		setInput(source, "Service", "kafka", nil, "metadata", "annotations", "pulumi.com/skipAwait"),
		setInput(source, "Release", "chaos-mesh", 7200, "timeout"),
		setInput(source, "Release", "chaos-mesh", true, "skipAwait"),
	}},
	{"what comes after what", checkOrder, []mistake{
		// The order is the engine's own and cannot be changed here; so a wrong expectation is made instead.
		{names: "Job kafka-selftest", make: func(_ *testing.T, g *graph) {
			swap(g.source, "StatefulSet kafka", "Job kafka-selftest")
		}},
		{names: "Vpc us-east-1", make: func(_ *testing.T, g *graph) { swap(g.source, "Vpc us-east-1", "NodeGroup us-east-1") }},
		{names: "does not come after Route us-east-1-private-nat", make: func(_ *testing.T, g *graph) {
			swap(g.source, "Route us-east-1-private-nat", "kubernetes us-east-1")
		}},
		{names: "Addon us-east-1-coredns", make: func(_ *testing.T, g *graph) {
			swap(g.source, "Addon us-east-1-coredns", "kubernetes us-east-1")
		}},
		{names: "StatefulSet replicator-worker", make: func(_ *testing.T, g *graph) {
			swap(g.destination, "StatefulSet replicator-worker", "VpcPeeringConnection peering")
		}},
	}},
	{"pods fit on the nodes", checkScheduling, []mistake{
		setInput(source, "StatefulSet", "kafka", "15Gi", under(container, "resources", "requests", "memory")...),
		setInput(source, "StatefulSet", "kafka", 41, "spec", "replicas"),
		setInput(source, "StatefulSet", "producer", 400, "spec", "replicas"),
		setInput(destination, "StatefulSet", "replicator-worker", "4", under(container, "resources", "requests", "cpu")...),
		change(source, "StatefulSet", "kafka", "StatefulSet kafka", func(inputs map[string]any) {
			for _, v := range list(inputs, under(podSpec, "volumes")...) {
				if word(v, "name") == "data" {
					object(v, "emptyDir")["sizeLimit"] = "190Gi"
				}
			}
		}),
		setInput(source, "NodeGroup", "us-east-1", 39, "scalingConfig", "desiredSize"),
		setInput(source, "NodeGroup", "us-east-1", []any{"m6i.large"}, "instanceTypes"),
	}},
}

// swap gives each of two resources the other's place in the engine's order.
func swap(s *side, a, b string) {
	i := slices.IndexFunc(s.resources, func(r enginetest.Resource) bool { return name(r) == a })
	j := slices.IndexFunc(s.resources, func(r enginetest.Resource) bool { return name(r) == b })
	s.resources[i].URN, s.resources[j].URN = s.resources[j].URN, s.resources[i].URN
}
