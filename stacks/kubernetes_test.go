//go:build kubernetes

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kubetest"
	"github.com/AppsFlyer/kafka-mirror-tester/lab"
)

// Here real control planes, one for each region, take what the engine makes of both stacks: every object and
// every operation of up, of a fault and its end, and of destroy, in the README's small profile. `make
// test-kubernetes` runs these tests, which build the control planes the first time; `make test-kubernetes-full` has
// the full-size source up and destroyed.
//
//   - kwok plays the nodes and what runs on them: pods become ready and Jobs complete, whatever is in them.
//   - Helm's charts cannot be had here. Stand-ins take their pods' place on the nodes, with what our
//     values ask for; their definitions are their makers'. What else a chart
//     makes of our values is not shown.
//   - AWS is not there: nodes join as the node group's configuration says.

// planes are what both control planes are made of.
type planes struct {
	binaries    kubetest.Binaries
	definitions [][]byte
}

// customKinds are those that the stacks make objects of. A server that has more only takes longer to start.
var customKinds = []string{"NetworkChaos", "PodChaos", "PodMonitor", "PrometheusRule"}

func newPlanes(t *testing.T) *planes {
	t.Helper()
	w := &planes{}
	for _, text := range definitions(t) {
		var d struct {
			Spec struct{ Names struct{ Kind string } }
		}
		if err := yaml.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(customKinds, d.Spec.Names.Kind) {
			w.definitions = append(w.definitions, text)
		}
	}
	if len(w.definitions) != len(customKinds) {
		t.Fatalf("%d definitions for %v", len(w.definitions), customKinds)
	}
	var err error
	if w.binaries, err = kubetest.Build(t.Context(), t.Logf); err != nil {
		t.Fatal(err)
	}
	return w
}

// follower is a control plane that follows a stack.
type follower struct {
	*kubetest.Plane
	applier kubetest.Applier
	nodes   int
}

// follow starts a control plane.
func (w *planes) follow(t *testing.T, name string) *follower {
	t.Helper()
	dir, remove, err := lab.TempDir("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := remove(); err != nil {
			t.Error(err)
		}
	})
	ports, err := lab.FreePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	plane, err := kubetest.Start(t.Context(), dir, w.binaries,
		kubetest.Options{Name: name, ServiceCIDR: "172.20.0.0/16", PodCIDR: "10.200.0.0/16", Ports: [3]int(ports)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, part := range []string{"kube-scheduler", "kube-controller-manager", "kwok"} {
				t.Logf("%s of %s ends:\n%s", part, name, plane.Log(part))
			}
		}
		if err := plane.Failed(); err != nil {
			t.Error(err)
		}
		plane.Stop()
	})
	f := &follower{Plane: plane, applier: kubetest.Applier{Client: plane.Client}}
	for _, d := range w.definitions {
		if _, err := f.ApplyYAML(t.Context(), d); err != nil {
			t.Fatalf("definition: %v", err)
		}
	}
	t.Logf("%s is up, with %d definitions, after %s", name, len(w.definitions), time.Since(start).Round(time.Second))
	return f
}

// replay does to the cluster what the engine did, in its order. As with the engine, what depends on an object
// waits until that is ready, an object that goes waits until what depends on it is gone, and nothing else waits.
func (f *follower) replay(t *testing.T, s *enginetest.Stack, operations []enginetest.Operation) {
	t.Helper()
	awaited := map[string]chan error{} // by URN
	settled := func(urn string) {
		t.Helper()
		if done, ok := awaited[urn]; ok {
			delete(awaited, urn)
			if err := <-done; err != nil {
				t.Fatalf("%s: %v", urn[strings.LastIndex(urn, "::")+2:], err)
			}
		}
	}
	var removals []*removal
	everything := func() {
		t.Helper()
		for _, urn := range slices.Collect(maps.Keys(awaited)) {
			settled(urn)
		}
		for _, r := range removals {
			if <-r.done; r.err != nil {
				t.Fatal(r.err)
			}
		}
		removals = nil
	}
	for _, o := range operations {
		if o.New == nil && len(removals) == 0 || o.New != nil && len(removals) > 0 {
			everything()
		}
		var err error
		switch r := o.New; {
		case r == nil:
			if strings.HasPrefix(o.Old.Type, "kubernetes:") {
				removals = append(removals, f.begin(t.Context(), o.Old, slices.Clone(removals)))
			}
		case r.Type == "aws:eks/nodeGroup:NodeGroup":
			err = f.join(t, s, r)
		case strings.HasPrefix(r.Type, "kubernetes:"):
			for _, urn := range r.Dependencies {
				settled(urn)
			}
			if err = f.do(t, o); err == nil && kind(*r) != "Release" {
				done := make(chan error, 1)
				awaited[r.URN] = done
				ctx := t.Context()
				go func() { done <- f.applier.AwaitUnlessSkipped(ctx, r.Inputs) }()
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", o, err)
		}
	}
	everything()
	for _, w := range f.Warnings() {
		t.Errorf("the API server warns: %s", w)
	}
}

// do makes or changes an object.
func (f *follower) do(t *testing.T, o enginetest.Operation) error {
	switch {
	case o.New.Type == "kubernetes:helm.sh/v3:Release":
		return f.release(t.Context(), o.New)
	case o.Op == "create":
		return f.applier.Create(t.Context(), o.New.Inputs)
	}
	if was, is := kubetest.IDOf(o.Old.Inputs), kubetest.IDOf(o.New.Inputs); was != is {
		return fmt.Errorf("an update makes %s of %s", is, was)
	}
	return f.applier.Update(t.Context(), o.New.Inputs)
}

// removal is the deletion of an object.
type removal struct {
	of   *enginetest.Resource
	done chan struct{}
	err  error // once done is closed
}

// begin has an object go when those of the earlier removals that depend on it are done.
func (f *follower) begin(ctx context.Context, r *enginetest.Resource, earlier []*removal) *removal {
	out := &removal{of: r, done: make(chan struct{})}
	go func() {
		defer close(out.done)
		for _, e := range earlier {
			if slices.Contains(e.of.Dependencies, r.URN) {
				<-e.done
			}
		}
		out.err = f.remove(ctx, r)
	}()
	return out
}

// remove deletes an object, or the stand-ins of a chart.
func (f *follower) remove(ctx context.Context, r *enginetest.Resource) error {
	if kind(*r) != "Release" {
		return f.applier.Delete(ctx, kubetest.IDOf(r.Inputs))
	}
	for _, kind := range []string{"DaemonSet", "Deployment"} {
		all, err := f.List(ctx, "apps/v1", kind, word(r.Inputs, "namespace"), "release="+r.Name)
		if err != nil {
			return err
		}
		for _, w := range all {
			if err := f.applier.Delete(ctx, kubetest.ID{APIVersion: "apps/v1", Kind: kind, Namespace: word(r.Inputs, "namespace"), Name: kubetest.IDOf(w).Name}); err != nil {
				return err
			}
		}
	}
	return nil
}

// join has the nodes join that a node group asks for.
func (f *follower) join(t *testing.T, s *enginetest.Stack, group *enginetest.Resource) error {
	zones, cidr := []string{}, ""
	for _, r := range s.Resources() {
		if r.Type == "aws:ec2/subnet:Subnet" && slices.Contains(words(group.Inputs, "subnetIds"), r.ID) {
			zones, cidr = append(zones, word(r.Inputs, "availabilityZone")), word(r.Inputs, "cidrBlock")
		}
	}
	slices.Sort(zones)
	subnet, err := netip.ParsePrefix(cidr)
	if err != nil {
		return err
	}
	disk := 0
	for _, r := range s.Resources() {
		if r.Type == "aws:ec2/launchTemplate:LaunchTemplate" {
			disk, _ = in(list(r.Inputs, "blockDeviceMappings")[0], "ebs", "volumeSize").(int)
		}
	}
	machine, err := kubetest.NewMachine(words(group.Inputs, "instanceTypes")[0], disk)
	if err != nil {
		return err
	}
	if len(list(group.Inputs, "taints")) > 0 || len(object(group.Inputs, "labels")) > 0 {
		return fmt.Errorf("the node group has taints or labels, which nodes here have not")
	}
	want, _ := group.Get("scalingConfig.desiredSize").(int)
	if f.nodes == 0 {
		// What EKS's add-ons run on each node, and CoreDNS.
		if err := f.standIn(t.Context(), "kube-system", eksPods); err != nil {
			return err
		}
	}
	g := kubetest.NodeGroup{
		Name: group.Name, Region: strings.TrimRight(zones[0], "abcdef"), Capacity: word(group.Inputs, "capacityType"),
		Zones: zones, Subnet: subnet, Machine: machine,
	}
	if want < f.nodes {
		return fmt.Errorf("%d nodes are to be %d: which go is AWS's to say", f.nodes, want)
	}
	from := f.nodes
	f.nodes = want
	return f.Join(t.Context(), g, from, want)
}

// release puts stand-ins where a chart's pods would be.
func (f *follower) release(ctx context.Context, r *enginetest.Resource) error {
	s := &side{config: &Stack{}, resources: []enginetest.Resource{*r}}
	s.config.Role = source
	if object(r.Inputs, "values", "grafana")["enabled"] != false {
		s.config.Role = destination
	}
	return f.standIn(ctx, word(r.Inputs, "namespace"), s.chartPods())
}

// standIn makes pods that ask for what a chart's do, and have the label by which our Services find them.
func (f *follower) standIn(ctx context.Context, namespace string, pods []pod) error {
	for i, p := range pods {
		name := fmt.Sprintf("%s-%d", p.name, i)
		labels := kubetest.Object{"stand-in": name, "release": p.release, "app.kubernetes.io/name": p.name}
		spec := kubetest.Object{
			"selector": kubetest.Object{"matchLabels": kubetest.Object{"stand-in": name}},
			"template": kubetest.Object{
				"metadata": kubetest.Object{"labels": labels},
				"spec": kubetest.Object{
					"tolerations": []any{kubetest.Object{"operator": "Exists"}},
					"containers": []any{kubetest.Object{
						"name": "stand-in", "image": "stand-in",
						"resources": kubetest.Object{"requests": kubetest.Object{"cpu": fmt.Sprintf("%dm", int(p.cpu*1000)), "memory": fmt.Sprintf("%dMi", int(p.memory)>>20)}},
					}},
				},
			},
		}
		kind := "DaemonSet"
		if !p.every {
			kind, spec["replicas"] = "Deployment", 1
		}
		o := kubetest.Object{
			"apiVersion": "apps/v1", "kind": kind,
			"metadata": kubetest.Object{"name": name, "namespace": namespace, "labels": labels, "annotations": kubetest.Object{"pulumi.com/skipAwait": "true"}},
			"spec":     spec,
		}
		if _, err := f.Apply(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// The README's small profile comes up, breaks, and goes, in one control plane after the other.
func TestKubernetesTakesTheSmallProfile(t *testing.T) {
	w, profile := newPlanes(t), smallProfile(t)
	before := newStack(t, source, profile["us-east-1"])
	before.Up()
	kill := []step{{"kill a broker", fault(`{"kind":"broker-kill","victims":[1],"run":1}`)}, {"remove the fault", fault("")}}
	t.Run("us-east-1", func(t *testing.T) {
		w.follow(t, "us-east-1").play(t, newStack(t, source, profile["us-east-1"]), kill)
	})
	t.Run("eu-west-1", func(t *testing.T) {
		s := newStack(t, destination, profile["eu-west-1"])
		s.Peer("us-east-1", before)
		w.follow(t, "eu-west-1").play(t, s, kill)
	})
}

// The full-size source comes up and goes.
func TestKubernetesTakesTheFullSize(t *testing.T) {
	quick := map[string]string{"kafkaRestartPause": "1s"} // between brokers that have nothing to copy here
	newPlanes(t).follow(t, "us-east-1").play(t, newStack(t, source, quick), nil)
}

// play brings a stack up, does the steps, and destroys it, and looks at the cluster after each.
func (f *follower) play(t *testing.T, s *enginetest.Stack, steps []step) {
	t.Helper()
	kinds := map[string]int{}
	follow := func(t *testing.T, what string, r *enginetest.Result) {
		t.Helper()
		start := time.Now()
		f.replay(t, s, r.Operations)
		replayed := time.Since(start)
		f.check(t, s)
		n := 0
		for _, o := range r.Operations {
			for _, r := range []*enginetest.Resource{o.New, o.Old} {
				if r != nil && strings.HasPrefix(r.Type, "kubernetes:") {
					n++
					kinds[o.Op+" "+kind(*r)]++
					break
				}
			}
		}
		t.Logf("%s: %d operations in the cluster in %.1f s, settled after %.1f s", what, n, replayed.Seconds(), time.Since(start).Seconds())
	}
	follow(t, "up", s.Up())
	for _, line := range f.spread(t) {
		t.Log(line)
	}
	f.refuseMistakes(t, s)
	f.breakBroker(t, s)
	for _, step := range steps {
		t.Run(strings.ReplaceAll(step.what, " ", "-"), func(t *testing.T) {
			for key, value := range step.values {
				if value == "" {
					s.UnsetConfig(key)
				} else {
					s.SetConfig(key, value)
				}
			}
			r := s.Up()
			lowest := f.watchBrokers(t, s)
			follow(t, step.what, r)
			t.Logf("%s: %s", step.what, lowest())
		})
		if t.Failed() {
			break // the cluster is not as the state says
		}
	}
	follow(t, "destroy", s.Destroy())
	for _, key := range slices.Sorted(maps.Keys(kinds)) {
		t.Logf("accepted: %3d x %s", kinds[key], key)
	}
	f.leave(t)
}

// leave checks that a destroyed stack has left nothing but nodes, which the next one gets.
func (f *follower) leave(t *testing.T) {
	t.Helper()
	for _, kind := range []string{"StatefulSet", "Deployment"} {
		all, err := f.List(t.Context(), "apps/v1", kind, "", "app.kubernetes.io/managed-by=pulumi")
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range all {
			t.Errorf("destroy leaves %s %s", kind, kubetest.IDOf(o))
		}
	}
	namespaces, err := f.List(t.Context(), "v1", "Namespace", "", "app.kubernetes.io/managed-by=pulumi")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range namespaces {
		t.Errorf("destroy leaves namespace %s", kubetest.IDOf(o).Name)
	}
	roles, err := f.List(t.Context(), "rbac.authorization.k8s.io/v1", "ClusterRole", "", "app.kubernetes.io/managed-by=pulumi")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range roles {
		t.Errorf("destroy leaves cluster role %s", kubetest.IDOf(o).Name)
	}
}

// check looks at what the operations have left: the objects are all there, and the invariants hold.
func (f *follower) check(t *testing.T, s *enginetest.Stack) {
	t.Helper()
	ctx := t.Context()
	for _, r := range s.Resources() {
		if !strings.HasPrefix(r.Type, "kubernetes:") || kind(r) == "Release" {
			continue
		}
		if kind(r) == "Service" && idle(s, kubetest.IDOf(r.Inputs).Namespace, object(r.Inputs, "spec", "selector")) {
			continue
		}
		if err := f.applier.Await(ctx, kubetest.IDOf(r.Inputs)); err != nil { // also those that Pulumi does not wait for
			t.Errorf("%s %s: %v", kind(r), r.Name, err)
		}
	}
	for _, kind := range []string{"Deployment", "DaemonSet"} { // of charts, which the loop above leaves out
		all, err := f.List(ctx, "apps/v1", kind, "", "stand-in")
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range all {
			id := kubetest.IDOf(o)
			if err := f.applier.Await(ctx, kubetest.ID{APIVersion: "apps/v1", Kind: kind, Namespace: id.Namespace, Name: id.Name}); err != nil {
				t.Errorf("stand-in %s: %v", id.Name, err)
			}
		}
	}
	if t.Failed() {
		f.explain(t)
		return
	}
	// Controllers take their time with what nothing waits for, such as a budget's count.
	if err := kubetest.Wait(ctx, 3*time.Minute, "what must hold", func(context.Context) error {
		if all := f.complaints(t, s); len(all) > 0 {
			return errors.New(strings.Join(all, "\n"))
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// explain logs why pods do not run.
func (f *follower) explain(t *testing.T) {
	t.Helper()
	pods, err := f.List(context.WithoutCancel(t.Context()), "v1", "Pod", "", "")
	if err != nil {
		t.Log(err)
	}
	for _, p := range pods {
		if kubetest.Condition(p, "Ready") != "True" && word(p, "status", "phase") != "Succeeded" {
			text, _ := json.Marshal(p["status"])
			t.Logf("pod %s: %s", kubetest.IDOf(p).Name, text)
		}
	}
	events, err := f.List(context.WithoutCancel(t.Context()), "v1", "Event", "", "")
	if err != nil {
		t.Log(err)
	}
	seen := map[string]int{}
	for _, e := range events {
		if word(e, "type") == "Warning" {
			seen[word(e, "reason")+" "+word(e, "involvedObject", "kind")+" "+word(e, "involvedObject", "name")+": "+word(e, "message")]++
		}
	}
	for _, e := range slices.Sorted(maps.Keys(seen)) {
		t.Logf("event: %s", e)
	}
}
