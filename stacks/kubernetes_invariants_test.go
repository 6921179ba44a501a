//go:build kubernetes

package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

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
		if got := word(labels, "topology.kubernetes.io/zone"); got != zone[node] { // brokers have their rack from it
			refuse("pod %s says that it is in zone %q, and its node is in %q", name, got, zone[node])
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
		if path, ok := selectorOf[kind(r)]; ok && idle(s, id.Namespace, object(r.Inputs, path...)) {
			continue
		}
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
			selected, allowed := len(matching(id.Namespace, object(r.Inputs, "spec", "selector"))), kubetest.Int(o, "status", "disruptionsAllowed")
			if n := kubetest.Int(o, "status", "expectedPods"); n == 0 || n != selected || n != kubetest.Int(o, "status", "currentHealthy") || allowed != 1 {
				refuse("PodDisruptionBudget %s of %d pods: %v", id.Name, selected, o["status"])
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
			for _, p := range now.pods {
				labels := object(p, "metadata", "labels")
				component := word(labels, "app.kubernetes.io/component")
				if word(labels, "app.kubernetes.io/part-of") != "" && hasPort(p, word(list(r.Inputs, "spec", "podMetricsEndpoints")[0], "port")) && !found[component] {
					refuse("PodMonitor %s selects no %s; it selects %v", id.Name, component, slices.Sorted(maps.Keys(found)))
				}
			}
			if !found["broker"] {
				refuse("PodMonitor %s selects no broker with its port", id.Name)
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

// selectorOf is where kinds that select pods say which.
var selectorOf = map[string][]string{
	"Service": {"spec", "selector"}, "NetworkPolicy": {"spec", "podSelector"}, "PodDisruptionBudget": {"spec", "selector"},
}

// idle says whether what is selected is to have no pods, by the configuration.
func idle(s *enginetest.Stack, namespace string, selector map[string]any) bool {
	found := false
	for _, w := range (&side{config: &Stack{}, resources: s.Resources()}).workloads() {
		if w.namespace == namespace && selects(selector, w.labels) {
			if w.replicas > 0 {
				return false
			}
			found = true
		}
	}
	return found
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

// brokers returns the namespace of the stack's brokers, and how many there are to be.
func brokers(s *enginetest.Stack) (namespace string, count int) {
	set := s.Resource("kubernetes:apps/v1:StatefulSet", "kafka").Inputs
	count, _ = in(set, "spec", "replicas").(int)
	return word(set, "metadata", "namespace"), count
}

// breakBroker has broker 1 not be ready, as in a fault, and checks that no other broker can be evicted then, as by
// whoever drains its node.
func (f *follower) breakBroker(t *testing.T, s *enginetest.Stack) {
	t.Helper()
	const victim, other = "kafka-1", "kafka-2"
	namespace, _ := brokers(s)
	ready := func(status string, allowed int) {
		t.Helper()
		if _, err := f.PatchStatus(t.Context(), "v1", "Pod", namespace, victim, kubetest.Object{
			"conditions": []any{kubetest.Object{"type": "Ready", "status": status}},
		}); err != nil {
			t.Fatal(err)
		}
		if err := kubetest.Wait(t.Context(), 5*time.Minute, "the disruption budget", func(ctx context.Context) error {
			o, err := f.Get(ctx, "policy/v1", "PodDisruptionBudget", namespace, "kafka")
			if n := kubetest.Int(o, "status", "disruptionsAllowed"); err == nil && n != allowed {
				return fmt.Errorf("it allows %d disruptions, not %d", n, allowed)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	ready("False", 0)
	_, err := f.Create(t.Context(), "/api/v1/namespaces/"+namespace+"/pods/"+other+"/eviction", kubetest.Object{
		"apiVersion": "policy/v1", "kind": "Eviction", "metadata": kubetest.Object{"name": other, "namespace": namespace},
	})
	if !kubetest.IsCode(err, http.StatusTooManyRequests) {
		t.Errorf("while %s is down, the eviction of %s is not refused: %v", victim, other, err)
	}
	t.Logf("refused: eviction of %s while %s is down: %v", other, victim, err)
	ready("True", 1)
}

// watchBrokers looks on while an update goes on; what it returns ends that, and says how few brokers were ready at
// any time. More than one less than there are before and after is too few.
func (f *follower) watchBrokers(t *testing.T, s *enginetest.Stack) (end func() string) {
	t.Helper()
	namespace, want := brokers(s)
	count := func(ctx context.Context) (int, error) {
		pods, err := f.List(ctx, "v1", "Pod", namespace, "app.kubernetes.io/name=kafka,app.kubernetes.io/component=broker")
		n := 0
		for _, p := range pods {
			if kubetest.Condition(p, "Ready") == "True" && word(p, "metadata", "deletionTimestamp") == "" {
				n++
			}
		}
		return n, err
	}
	before, err := count(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	lowest, looks := before, 1
	var failed error
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			n, err := count(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				failed = err
				return
			}
			lowest, looks = min(lowest, n), looks+1
		}
	}()
	return func() string {
		t.Helper()
		stop()
		<-done
		if failed != nil {
			t.Fatal(failed)
		}
		if least := min(before, want) - 1; lowest < least {
			t.Errorf("only %d brokers were ready meanwhile, of %d before and %d after", lowest, before, want)
		}
		return fmt.Sprintf("%d brokers before, %d after, never fewer than %d ready in %d looks", before, want, lowest, looks)
	}
}

// refuseMistakes plants mistakes in a stack's own objects, which the API server must refuse.
func (f *follower) refuseMistakes(t *testing.T, s *enginetest.Stack) {
	t.Helper()
	copied := func(typ, name string) kubetest.Object {
		return cloned(s.Resource("kubernetes:"+typ, name).Inputs).(map[string]any)
	}
	set := func(key string, value any, path ...string) func() kubetest.Object {
		return func() kubetest.Object {
			o := copied("apps/v1:StatefulSet", "kafka")
			object(o, path...)[key] = value
			return o
		}
	}
	namespace, _ := brokers(s)
	pod := func(change func(spec kubetest.Object)) func() kubetest.Object {
		return func() kubetest.Object {
			template := object(copied("apps/v1:StatefulSet", "kafka"), "spec", "template")
			change(object(template, "spec"))
			return kubetest.Object{
				"apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
				"metadata": kubetest.Object{"name": "planted", "namespace": namespace, "labels": object(template, "metadata")["labels"]},
			}
		}
	}
	for _, c := range []struct {
		what  string
		wrong func() kubetest.Object
		says  string
	}{
		{"a misspelt field of the brokers' StatefulSet", set("podManagmentPolicy", "Parallel", "spec"), "podManagmentPolicy"},
		{"another podManagementPolicy of the brokers' StatefulSet", set("podManagementPolicy", "OrderedReady", "spec"), "updates to statefulset spec for fields other than"},
		{"a number in the brokers' environment", func() kubetest.Object {
			o := copied("apps/v1:StatefulSet", "kafka")
			object(list(o, "spec", "template", "spec", "containers")[0])["env"] = []any{kubetest.Object{"name": "POD_INDEX", "value": 1}}
			return o
		}, "expected string"},
		{"a broker that a pod's limit of memory is too small for", pod(func(spec kubetest.Object) {
			object(list(spec, "containers")[0], "resources")["limits"] = kubetest.Object{"memory": "1Mi"}
		}), "must be less than or equal to memory limit"},
		{"a broker in its node's network", pod(func(spec kubetest.Object) { spec["hostNetwork"] = true }), "violates PodSecurity"},
		{"a broker as root", pod(func(spec kubetest.Object) { object(spec, "securityContext")["runAsNonRoot"] = false }), "violates PodSecurity"},
		{"a broker with a directory of its node", pod(func(spec kubetest.Object) {
			spec["volumes"] = append(list(spec, "volumes"), kubetest.Object{"name": "host", "hostPath": kubetest.Object{"path": "/"}})
		}), "violates PodSecurity"},
		{"another template of the Job that makes topics", func() kubetest.Object {
			o := copied("batch/v1:Job", "topics")
			object(list(o, "spec", "template", "spec", "containers")[0])["image"] = "other"
			return o
		}, "field is immutable"},
		{"a budget by both counts", func() kubetest.Object {
			o := copied("policy/v1:PodDisruptionBudget", "kafka")
			object(o, "spec")["minAvailable"] = 2
			return o
		}, "cannot be both set"},
		{"a NetworkPolicy for a port that there is not", func() kubetest.Object {
			o := copied("networking.k8s.io/v1:NetworkPolicy", "kafka")
			object(list(object(list(o, "spec", "ingress")[0]), "ports")[0])["port"] = 70000
			return o
		}, "must be between 1 and 65535"},
		{"a PodMonitor whose port is a number", func() kubetest.Object {
			o := copied("monitoring.coreos.com/v1:PodMonitor", "kafka-mirror-tester")
			object(list(o, "spec", "podMetricsEndpoints")[0])["port"] = 9404
			return o
		}, "podMetricsEndpoints"},
		{"a fault that Chaos Mesh does not know", func() kubetest.Object {
			return kubetest.Object{
				"apiVersion": "chaos-mesh.org/v1alpha1", "kind": "PodChaos", "metadata": kubetest.Object{"name": "planted", "namespace": namespace},
				"spec": kubetest.Object{"action": "pod-shoot", "mode": "all", "selector": kubetest.Object{"namespaces": []any{namespace}}},
			}
		}, `Unsupported value: "pod-shoot"`},
		{"a namespace that enforces a level that there is not", func() kubetest.Object {
			o := copied("core/v1:Namespace", namespace)
			object(o, "metadata", "labels")["pod-security.kubernetes.io/enforce"] = "strict"
			return o
		}, "must be one of privileged, baseline, restricted"},
	} {
		if _, err := f.Apply(t.Context(), c.wrong()); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want a refusal that says %q", c.what, err, c.says)
		} else {
			t.Logf("refused: %s: %.300s", c.what, err.Error())
		}
	}
	f.Warnings() // of what was refused
}
