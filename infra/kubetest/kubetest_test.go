package kubetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What is missing is told of each kind of object that Pulumi waits for.
func TestReady(t *testing.T) {
	seen := func(status Object) Object { status["observedGeneration"] = 2.0; return status }
	spec := func(kind string, spec, status Object) Object {
		return Object{"kind": kind, "metadata": Object{"generation": 2.0}, "spec": spec, "status": status}
	}
	condition := func(kind string) Object { return Object{"conditions": []any{Object{"type": kind, "status": "True"}}} }
	three := Object{"replicas": 3.0}
	for name, c := range map[string]struct {
		object  Object
		missing string // empty: it is ready
	}{
		"set":                   {spec("StatefulSet", three, seen(Object{"replicas": 3.0, "readyReplicas": 3.0, "updatedReplicas": 3.0})), ""},
		"set, unseen":           {spec("StatefulSet", three, Object{"observedGeneration": 1.0, "replicas": 3.0, "readyReplicas": 3.0, "updatedReplicas": 3.0}), "not seen"},
		"set, unready":          {spec("StatefulSet", three, seen(Object{"replicas": 3.0, "readyReplicas": 2.0, "updatedReplicas": 3.0})), "2 of 3 pods are ready"},
		"set that shrinks":      {spec("StatefulSet", three, seen(Object{"replicas": 4.0, "readyReplicas": 4.0, "updatedReplicas": 4.0})), "4 of 4 pods are ready, 3 are wanted"},
		"set that rolls":        {spec("StatefulSet", three, seen(Object{"replicas": 3.0, "readyReplicas": 3.0, "updatedReplicas": 1.0})), "1 of 3 pods are of its last version"},
		"set that nobody rolls": {spec("StatefulSet", Object{"replicas": 3.0, "updateStrategy": Object{"type": "OnDelete"}}, seen(Object{"replicas": 3.0, "readyReplicas": 3.0})), ""},
		"deployment":            {spec("Deployment", three, seen(Object{"updatedReplicas": 3.0, "availableReplicas": 3.0})), ""},
		"deployment, old":       {spec("Deployment", three, seen(Object{"updatedReplicas": 1.0, "availableReplicas": 3.0})), "1 of its last version"},
		"daemon set":            {spec("DaemonSet", Object{}, seen(Object{"desiredNumberScheduled": 2.0, "numberAvailable": 2.0, "updatedNumberScheduled": 2.0})), ""},
		"daemon set, no nodes":  {spec("DaemonSet", Object{}, seen(Object{})), "0 of 0 pods"},
		"job":                   {spec("Job", Object{}, condition("Complete")), ""},
		"job that runs":         {spec("Job", Object{}, Object{}), "not complete"},
		"job that failed":       {spec("Job", Object{}, condition("Failed")), "it failed"},
		"load balancer":         {spec("Service", Object{"type": "LoadBalancer"}, Object{}), "no address"},
		"headless service":      {spec("Service", Object{"clusterIP": "None", "selector": Object{"a": "b"}}, Object{}), ""},
		"namespace":             {spec("Namespace", Object{}, Object{"phase": "Active"}), ""},
		"namespace that ends":   {spec("Namespace", Object{}, Object{"phase": "Terminating"}), "it is Terminating"},
		"config map":            {spec("ConfigMap", Object{}, Object{}), ""},
	} {
		err := (&Applier{}).ready(t.Context(), c.object)
		if (err == nil) != (c.missing == "") || err != nil && !strings.Contains(err.Error(), c.missing) {
			t.Errorf("%s: %v, want %q", name, err, c.missing)
		}
		if name == "job that failed" && !errors.As(err, &hopeless{}) {
			t.Error("a Job that failed is waited for")
		}
	}
}

func TestWait(t *testing.T) {
	calls := 0
	if err := Wait(t.Context(), time.Minute, "it", func(context.Context) error {
		if calls++; calls < 3 {
			return errors.New("not yet")
		}
		return nil
	}); err != nil || calls != 3 {
		t.Errorf("%d calls: %v", calls, err)
	}
	if err := Wait(t.Context(), time.Hour, "it", func(context.Context) error { return Hopeless(errors.New("never")) }); err == nil || err.Error() != "it: never" {
		t.Errorf("hopeless: %v", err)
	}
	if err := Wait(t.Context(), time.Millisecond, "it", func(context.Context) error { return errors.New("not yet") }); err == nil || !strings.HasSuffix(err.Error(), "not yet") {
		t.Errorf("late: %v", err)
	}
	tries := 0
	if err := Wait(t.Context(), time.Second, "it", func(ctx context.Context) error {
		if tries++; tries == 1 {
			return errors.New("not yet")
		}
		<-ctx.Done() // as a request that is under way
		return ctx.Err()
	}); err == nil || !strings.HasSuffix(err.Error(), "not yet") {
		t.Errorf("cut off: %v", err)
	}
}

// Nodes are told apart, are in the zones in turn, and offer what EKS leaves of an instance.
func TestNodes(t *testing.T) {
	machine, err := NewMachine("m6i.xlarge", 200)
	if err != nil {
		t.Fatal(err)
	}
	g := NodeGroup{Name: "g", Region: "us-east-1", Capacity: "SPOT", Zones: []string{"us-east-1a", "us-east-1b"}, Subnet: netip.MustParsePrefix("10.10.32.0/19"), Machine: machine}
	names, addresses, zones := map[string]bool{}, map[string]bool{}, map[string]int{}
	for i := range 300 {
		n := g.Node(i)
		names[IDOf(n).Name] = true
		address := At[string](At[[]any](n, "status", "addresses")[0], "address")
		addresses[address] = true
		if a, err := netip.ParseAddr(address); err != nil || !g.Subnet.Contains(a) {
			t.Errorf("node %d has the address %s, outside %s: %v", i, address, g.Subnet, err)
		}
		zones[At[string](n, "metadata", "labels", "topology.kubernetes.io/zone")]++
		if i > 0 {
			continue
		}
		for what, want := range map[string]string{"cpu": "3920m", "memory": "14571Mi", "pods": "58", "ephemeral-storage": "200Gi"} {
			if got := At[string](n, "status", "allocatable", what); got != want {
				t.Errorf("a node offers %s %s, want %s", got, what, want)
			}
		}
	}
	if len(names) != 300 || len(addresses) != 300 || zones["us-east-1a"] != 150 || zones["us-east-1b"] != 150 {
		t.Errorf("%d names, %d addresses, zones %v", len(names), len(addresses), zones)
	}
	if _, err := NewMachine("x9.huge", 1); err == nil {
		t.Error("an unknown instance type is taken")
	}
}

// Children end with stop, with all that they have started, and one that ends by itself is told of.
func TestChildren(t *testing.T) {
	c := newChildren(t.TempDir())
	if err := c.start("lasting", "/bin/sh", "-c", "sleep 1000 & echo $! > grandchild; wait"); err != nil {
		t.Fatal(err)
	}
	if err := c.start("failing", "/bin/sh", "-c", "echo what is wrong; exit 3"); err != nil {
		t.Fatal(err)
	}
	err := Wait(t.Context(), time.Minute, "the end", func(context.Context) error {
		if err := c.unasked(); err != nil {
			return Hopeless(err)
		}
		return errors.New("it goes on")
	})
	if err == nil || !strings.Contains(err.Error(), "failing ended: exit status 3\nwhat is wrong") {
		t.Errorf("an end that nobody asked for: %v", err)
	}
	var grandchild int
	if err := Wait(t.Context(), time.Minute, "the grandchild", func(context.Context) error {
		text, err := os.ReadFile(filepath.Join(c.dir, "grandchild"))
		if err == nil {
			grandchild, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	c.stop()
	if err := Wait(t.Context(), time.Minute, "the grandchild's end", func(context.Context) error {
		if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", grandchild)); err == nil && !strings.Contains(string(text), ") Z ") {
			return errors.New("it lives")
		}
		return nil
	}); err != nil {
		_ = syscall.Kill(grandchild, syscall.SIGKILL)
		t.Error(err)
	}
}
