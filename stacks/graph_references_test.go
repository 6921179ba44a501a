package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/chaos"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
)

func canScrape(reached []string, namespace string) bool {
	return slices.ContainsFunc(reached, func(peer string) bool {
		return peer == "namespace "+namespace || strings.HasPrefix(peer, "prometheus/") || peer == "everybody"
	})
}

// ofChart says whether an object of ours is about pods that a chart makes.
func (s *side) ofChart(r enginetest.Resource) bool {
	return slices.Contains([]string{"prometheus", "grafana-public"}, r.Name) &&
		word(r.Inputs, "metadata", "namespace") == s.config.MonitoringNamespace && len(s.all("Release")) > 0
}

func checkReferences(g *graph, wrong complain) {
	for _, s := range g.sides() {
		there := map[string]bool{} // kind namespace/name
		for _, r := range s.objects() {
			there[kind(r)+" "+word(r.Inputs, "metadata", "namespace")+"/"+word(r.Inputs, "metadata", "name")] = true
		}
		workloads := s.workloads()
		for _, r := range s.objects() {
			namespace := word(r.Inputs, "metadata", "namespace")
			if kind(r) == "Release" {
				namespace = word(r.Inputs, "namespace")
			}
			if namespace != "" && !there["Namespace /"+namespace] {
				wrong(name(r), "is in the namespace %s, which is not made", namespace)
			}
			switch kind(r) {
			case "Service":
				s.checkService(r, workloads, wrong)
			case "PodDisruptionBudget", "NetworkPolicy":
				selector := object(r.Inputs, "spec", map[string]string{"NetworkPolicy": "podSelector", "PodDisruptionBudget": "selector"}[kind(r)])
				if !s.ofChart(r) && !slices.ContainsFunc(workloads, func(w podSet) bool { return w.namespace == namespace && selects(selector, w.labels) }) {
					wrong(name(r), "selects nothing: %v", selector)
				}
			case "PodMonitor":
				port := word(list(r.Inputs, "spec", "podMetricsEndpoints")[0], "port")
				for _, w := range workloads {
					if kind(w.Resource) != "Job" && w.ports()["metrics"] > 0 && (!selects(object(r.Inputs, "spec", "selector"), w.labels) || w.ports()[port] == 0) {
						wrong(name(r), "misses the pods of %s", name(w.Resource))
					}
				}
			}
		}
		for _, w := range workloads {
			need := func(kind, referred string) {
				if referred != "" && !there[kind+" "+w.namespace+"/"+referred] {
					wrong(name(w.Resource), "refers to the %s %s, which is not in %s", kind, referred, w.namespace)
				}
			}
			need("Service", word(w.Inputs, "spec", "serviceName"))
			need("ServiceAccount", word(w.spec, "serviceAccountName"))
			volumes := map[string]bool{}
			for _, v := range list(w.spec, "volumes") {
				volumes[word(v, "name")] = true
				need("ConfigMap", word(v, "configMap", "name"))
				need("Secret", word(v, "secret", "secretName"))
			}
			for _, c := range w.containers() {
				for _, m := range list(c, "volumeMounts") {
					if !volumes[word(m, "name")] {
						wrong(name(w.Resource), "container %v mounts %s, which is no volume", c["name"], word(m, "name"))
					}
				}
				for _, e := range append(list(c, "env"), list(c, "envFrom")...) {
					need("Secret", word(e, "valueFrom", "secretKeyRef", "name")+word(e, "secretRef", "name"))
					need("ConfigMap", word(e, "valueFrom", "configMapKeyRef", "name")+word(e, "configMapRef", "name"))
				}
			}
		}
		for _, b := range s.all("ClusterRoleBinding", "RoleBinding") {
			for _, subject := range list(b.Inputs, "subjects") {
				if !there["ServiceAccount "+word(subject, "namespace")+"/"+word(subject, "name")] {
					wrong(name(b), "is for the account %v, which is not made", subject)
				}
			}
		}
		if admin := word(firstOf(s.all("Release"), "kube-prometheus-stack").Inputs, "values", "grafana", "admin", "existingSecret"); admin != "" && !there["Secret "+s.config.MonitoringNamespace+"/"+admin] {
			wrong("Release kube-prometheus-stack", "Grafana's administrator is in the Secret %s, which is not made", admin)
		}
	}
	if g.source.config.aws() {
		return
	}
	taken := map[string]bool{}
	for _, s := range g.sides() {
		for _, r := range s.objects() {
			key := kind(r) + " " + word(r.Inputs, "metadata", "namespace") + "/" + word(r.Inputs, "metadata", "name") + word(r.Inputs, "name")
			if taken[key] {
				wrong(name(r), "both sides make %s, in one cluster", key)
			}
			taken[key] = true
		}
	}
}

func firstOf(all []enginetest.Resource, name string) enginetest.Resource {
	for _, r := range all {
		if r.Name == name {
			return r
		}
	}
	return enginetest.Resource{}
}

// checkService: it selects pods that listen at its ports.
func (s *side) checkService(r enginetest.Resource, workloads []podSet, wrong complain) {
	if s.ofChart(r) {
		return
	}
	selector := object(r.Inputs, "spec", "selector")
	var found *podSet
	for _, w := range workloads {
		labels := maps.Clone(w.labels)
		if pod := word(selector, "statefulset.kubernetes.io/pod-name"); w.isPod(pod) {
			labels["statefulset.kubernetes.io/pod-name"] = pod
		}
		if w.namespace == word(r.Inputs, "metadata", "namespace") && selects(selector, labels) && kind(w.Resource) != "Job" {
			found = &w
		}
	}
	if found == nil || len(selector) == 0 {
		wrong(name(r), "selects nothing: %v", selector)
		return
	}
	for _, p := range list(r.Inputs, "spec", "ports") {
		port, ok := in(p, "targetPort").(int)
		if named := word(p, "targetPort"); named != "" {
			port, ok = found.ports()[named], true
		}
		if !ok {
			port, _ = in(p, "port").(int)
		}
		if port == 0 || !slices.Contains(slices.Collect(maps.Values(found.ports())), port) {
			wrong(name(r), "leads to port %v of %s, which has %v", p, name(found.Resource), found.ports())
		}
	}
}

// isPod says whether pod is one of w's.
func (w podSet) isPod(pod string) bool {
	rest, ok := strings.CutPrefix(pod, w.name+"-")
	i, err := strconv.Atoi(rest)
	return ok && err == nil && kind(w.Resource) == "StatefulSet" && i >= 0 && i < w.replicas
}

func checkFaults(g *graph, wrong complain) {
	for _, s := range g.sides() {
		made := s.all("PodChaos", "NetworkChaos")
		fault := s.config.Cluster().Fault
		if (fault.Kind != "") != (len(made) == 1) {
			wrong("fault "+fault.Kind, "%d objects", len(made))
		}
		for _, r := range made {
			if r.Get("metadata.namespace") != s.config.ChaosNamespace {
				wrong(name(r), "is in %v", r.Get("metadata.namespace"))
			}
			var hit []podSet
			victims := 0
			for namespace, pods := range object(r.Inputs, "spec", "selector", "pods") {
				for _, pod := range words(pods) {
					victims++
					for _, w := range s.workloads() {
						if w.namespace == namespace && w.isPod(pod) {
							hit, victims = append(hit, w), victims-1
						}
					}
				}
			}
			if victims != 0 {
				wrong(name(r), "%d victims are not there: %v", victims, r.Get("spec.selector.pods"))
			}
			for _, e := range list(r.Inputs, "spec", "selector", "expressionSelectors") {
				for _, w := range s.workloads() {
					if slices.Contains(words(r.Inputs, "spec", "selector", "namespaces"), w.namespace) && slices.Contains(words(e, "values"), word(w.labels, word(e, "key"))) {
						hit = append(hit, w)
					}
				}
			}
			if len(hit) == 0 {
				wrong(name(r), "hits nothing: %v", r.Get("spec.selector"))
			}
			for _, w := range hit {
				ns := firstOf(s.all("Namespace"), w.namespace)
				if word(ns.Inputs, "metadata", "annotations", chaos.InjectAnnotation) != chaos.InjectValue || !slices.Contains(words(r.Inputs, "spec", "selector", "namespaces"), w.namespace) {
					wrong(name(r), "does not hit %s: its namespace %s is not open to faults, or not selected", name(w.Resource), w.namespace)
				}
				for _, c := range words(r.Inputs, "spec", "containerNames") {
					if !slices.ContainsFunc(list(w.spec, "containers"), func(v any) bool { return word(v, "name") == c }) {
						wrong(name(r), "kills the container %s, and %s has none", c, name(w.Resource))
					}
				}
			}
			if fault.Kind != "region-partition" {
				continue
			}
			if got := words(r.Inputs, "spec", "externalTargets"); !slices.Equal(got, []string{s.config.PeerCidr}) {
				wrong(name(r), "cuts off from %q", got)
			}
			for _, w := range s.workloads() {
				if s.crosses(w) && !slices.ContainsFunc(hit, func(h podSet) bool { return h.URN == w.URN }) {
					wrong(name(r), "leaves %s, which the other region reaches", name(w.Resource))
				}
			}
		}
	}
}

// crosses says whether a policy lets the other region reach w, or w is the replicator.
func (s *side) crosses(w podSet) bool {
	if w.Name == "replicator-worker" {
		return true
	}
	return slices.ContainsFunc(s.all("NetworkPolicy"), func(p enginetest.Resource) bool {
		return word(p.Inputs, "metadata", "namespace") == w.namespace && selects(object(p.Inputs, "spec", "podSelector"), w.labels) &&
			slices.ContainsFunc(list(p.Inputs, "spec", "ingress"), func(rule any) bool { return slices.Contains(peers(rule), s.config.PeerCidr) })
	})
}
