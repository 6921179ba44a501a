//go:build kubernetes

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kubetest"
)

// seen is what is in a cluster at one moment.
type seen struct{ pods, nodes []kubetest.Object }

func (f *follower) look(t *testing.T) seen {
	t.Helper()
	var s seen
	var err error
	if s.pods, err = f.List(t.Context(), "v1", "Pod", "", ""); err == nil {
		s.nodes, err = f.List(t.Context(), "v1", "Node", "", "")
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// complaints are where a cluster that has settled is not as it should be.
func (f *follower) complaints(t *testing.T, s *enginetest.Stack) (out []string) {
	t.Helper()
	refuse := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	now := f.look(t)
	zone, allocatable := map[string]string{}, map[string]map[string]float64{}
	for _, n := range now.nodes {
		name := kubetest.IDOf(n).Name
		zone[name], allocatable[name] = word(n, "metadata", "labels", "topology.kubernetes.io/zone"), map[string]float64{}
		for _, what := range []string{"cpu", "memory", "pods"} {
			allocatable[name][what], _ = quantity(word(n, "status", "allocatable", what))
		}
	}
	apart := map[string]map[string]string{} // of what is never beside its like: app to node to pod
	zones := map[string]map[string]int{}
	for _, p := range now.pods {
		name, node, labels := kubetest.IDOf(p).Name, word(p, "spec", "nodeName"), object(p, "metadata", "labels")
		if word(p, "status", "phase") == "Succeeded" {
			continue
		}
		if node == "" || kubetest.Condition(p, "Ready") != "True" {
			refuse("pod %s is on node %q, and ready is %q", name, node, kubetest.Condition(p, "Ready"))
			continue
		}
		allocatable[node]["pods"]--
		for _, c := range list(p, "spec", "containers") {
			cpu, _ := quantity(word(c, "resources", "requests", "cpu"))
			memory, _ := quantity(word(c, "resources", "requests", "memory"))
			allocatable[node]["cpu"], allocatable[node]["memory"] = allocatable[node]["cpu"]-cpu, allocatable[node]["memory"]-memory
		}
		for _, term := range list(p, "spec", "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution") {
			app := word(labels, "app.kubernetes.io/name") + "/" + word(labels, "app.kubernetes.io/component")
			if word(term, "topologyKey") != "kubernetes.io/hostname" || !selects(object(term, "labelSelector"), labels) {
				continue
			}
			if apart[app] == nil {
				apart[app], zones[app] = map[string]string{}, map[string]int{}
			}
			if other := apart[app][node]; other != "" {
				refuse("%s and %s are both on %s", name, other, node)
			}
			apart[app][node] = name
			zones[app][zone[node]]++
		}
	}
	for node, left := range allocatable {
		for what, amount := range left {
			if amount < 0 {
				refuse("%s has %g of %s too little", node, -amount, what)
			}
		}
	}
	inUse := slices.Compact(slices.Sorted(maps.Values(zone)))
	for app, counts := range zones {
		least, most := 1<<30, 0
		for _, z := range inUse {
			least, most = min(least, counts[z]), max(most, counts[z])
		}
		if len(apart[app]) > 1 && most-least > 1 {
			refuse("%s is spread over zones as %v", app, counts)
		}
	}
	if len(apart["kafka/broker"]) == 0 && slices.ContainsFunc(s.Resources(), func(r enginetest.Resource) bool { return r.Name == "kafka" && kind(r) == "StatefulSet" }) {
		refuse("there are no brokers, or they may be beside one another")
	}
	f.checkSelections(t, s, now, refuse)
	return out
}

// checkSelections looks at what selects pods: it selects some.
func (f *follower) checkSelections(t *testing.T, s *enginetest.Stack, now seen, refuse func(string, ...any)) {
	t.Helper()
	matching := func(namespace string, selector map[string]any) (out []kubetest.Object) {
		for _, p := range now.pods {
			if (namespace == "" || kubetest.IDOf(p).Namespace == namespace) && selects(selector, object(p, "metadata", "labels")) {
				out = append(out, p)
			}
		}
		return out
	}
	names := map[string]string{} // of Jobs: the present one
	for _, r := range s.Resources() {
		id := kubetest.IDOf(r.Inputs)
		switch kind(r) {
		case "Service":
			n, err := f.applier.Endpoints(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				refuse("Service %s has no endpoints", id.Name)
			}
		case "NetworkPolicy":
			if len(matching(id.Namespace, object(r.Inputs, "spec", "podSelector"))) == 0 {
				refuse("NetworkPolicy %s selects no pods", id.Name)
			}
		case "PodDisruptionBudget":
			o, err := f.Get(t.Context(), id.APIVersion, id.Kind, id.Namespace, id.Name)
			if err != nil {
				t.Fatal(err)
			}
			if n := kubetest.Int(o, "status", "expectedPods"); n == 0 || n != kubetest.Int(o, "status", "currentHealthy") {
				refuse("PodDisruptionBudget %s: %v", id.Name, o["status"])
			}
		case "PodMonitor":
			found := map[string]bool{}
			for _, p := range matching("", object(r.Inputs, "spec", "selector")) {
				of := object(r.Inputs, "spec", "namespaceSelector") // without one, its own namespace's
				here := of["any"] == true || slices.Contains(words(of, "matchNames"), kubetest.IDOf(p).Namespace) || len(of) == 0 && kubetest.IDOf(p).Namespace == id.Namespace
				if here && hasPort(p, word(list(r.Inputs, "spec", "podMetricsEndpoints")[0], "port")) {
					found[word(p, "metadata", "labels", "app.kubernetes.io/component")] = true
				}
			}
			for _, component := range []string{"broker", "zookeeper"} {
				if !found[component] {
					refuse("PodMonitor %s selects no %s with its port; it selects %v", id.Name, component, slices.Sorted(maps.Keys(found)))
				}
			}
		case "Job":
			names[id.Namespace+"/"+id.Name] = r.Name
		case "Namespace":
			o, err := f.Get(t.Context(), "v1", "Namespace", "", id.Name)
			if err != nil {
				t.Fatal(err)
			}
			if level := word(o, "metadata", "labels", "pod-security.kubernetes.io/enforce"); level == "" {
				refuse("namespace %s enforces no Pod Security level", id.Name)
			}
		}
	}
	jobs, err := f.List(t.Context(), "batch/v1", "Job", "", "app.kubernetes.io/managed-by=pulumi")
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range jobs { // one that was replaced is gone, and one that is there has run as it was made
		id := kubetest.IDOf(j)
		if names[id.Namespace+"/"+id.Name] == "" {
			refuse("Job %s is in the cluster and not in the state", id.Name)
		}
		if kubetest.Int(j, "metadata", "generation") != 1 {
			refuse("Job %s was changed, not replaced: generation %d", id.Name, kubetest.Int(j, "metadata", "generation"))
		}
	}
}

func hasPort(pod kubetest.Object, name string) bool {
	return slices.ContainsFunc(list(pod, "spec", "containers"), func(c any) bool {
		return slices.ContainsFunc(list(c, "ports"), func(p any) bool { return word(p, "name") == name })
	})
}

// spread says how pods of ours are spread over nodes and zones.
func (f *follower) spread(t *testing.T) (out []string) {
	t.Helper()
	now := f.look(t)
	zone := map[string]string{}
	for _, n := range now.nodes {
		zone[kubetest.IDOf(n).Name] = word(n, "metadata", "labels", "topology.kubernetes.io/zone")
	}
	type count struct {
		pods, most int
		nodes      map[string]int
		zones      map[string]int
	}
	counts := map[string]*count{}
	for _, p := range now.pods {
		labels := object(p, "metadata", "labels")
		if word(labels, "app.kubernetes.io/part-of") == "" || word(p, "status", "phase") == "Succeeded" {
			continue
		}
		app := word(labels, "app.kubernetes.io/name") + "/" + word(labels, "app.kubernetes.io/component")
		if counts[app] == nil {
			counts[app] = &count{nodes: map[string]int{}, zones: map[string]int{}}
		}
		c, node := counts[app], word(p, "spec", "nodeName")
		c.pods++
		c.nodes[node]++
		c.most = max(c.most, c.nodes[node])
		c.zones[zone[node]]++
	}
	for _, app := range slices.Sorted(maps.Keys(counts)) {
		c := counts[app]
		out = append(out, fmt.Sprintf("%-36s %2d pods on %2d of %d nodes, at most %d on one; zones %s", app, c.pods, len(c.nodes), len(now.nodes), c.most, strings.TrimPrefix(fmt.Sprint(c.zones), "map")))
	}
	return out
}
