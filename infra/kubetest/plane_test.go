//go:build kubernetes

package kubetest

import (
	"errors"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/lab"
)

// A control plane starts, takes nodes and pods, refuses what it should, and leaves nothing.
func TestPlane(t *testing.T) {
	binaries, err := Build(t.Context(), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	dir, remove, err := lab.TempDir("")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it leaves %s: %v", dir, err)
		}
	}()
	ports, err := lab.FreePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	p, err := Start(t.Context(), dir, binaries, Options{Name: "test", ServiceCIDR: "172.20.0.0/16", PodCIDR: "10.200.0.0/16", Ports: [3]int(ports)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, part := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"} {
			if t.Failed() {
				t.Logf("%s ends:\n%s", part, p.Log(part))
			}
		}
		if err := p.Failed(); err != nil {
			t.Error(err)
		}
		p.Stop()
	}()
	t.Logf("up after %s", time.Since(start))
	machine, err := NewMachine("m6i.xlarge", 100)
	if err != nil {
		t.Fatal(err)
	}
	g := NodeGroup{Name: "g", Region: "us-east-1", Capacity: "ON_DEMAND", Zones: []string{"us-east-1a"}, Subnet: netip.MustParsePrefix("10.10.0.0/19"), Machine: machine}
	if err := p.Join(t.Context(), g, 0, 3); err != nil {
		t.Fatal(err)
	}
	t.Logf("3 nodes after %s", time.Since(start))
	a := Applier{Client: p.Client}
	namespace := Object{"apiVersion": "v1", "kind": "Namespace", "metadata": Object{"name": "n", "labels": Object{"pod-security.kubernetes.io/enforce": "restricted"}}}
	if err := errors.Join(a.Create(t.Context(), namespace), a.Await(t.Context(), IDOf(namespace))); err != nil {
		t.Fatal(err)
	}
	if err := a.Create(t.Context(), namespace); err == nil || !strings.Contains(err.Error(), "it is there already") {
		t.Errorf("a second creation: %v", err)
	}
	context := Object{"allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": Object{"drop": []any{"ALL"}}, "seccompProfile": Object{"type": "RuntimeDefault"}}
	job := func(name string, security Object) Object {
		return Object{
			"apiVersion": "batch/v1", "kind": "Job", "metadata": Object{"name": name, "namespace": "n"},
			"spec": Object{"backoffLimit": 0, "template": Object{"spec": Object{
				"restartPolicy": "Never", "containers": []any{Object{"name": "c", "image": "c", "securityContext": security}},
			}}},
		}
	}
	good := job("good", context)
	if err := errors.Join(a.Create(t.Context(), good), a.Await(t.Context(), IDOf(good))); err != nil {
		t.Errorf("a Job does not complete: %v", err)
	}
	misspelt := job("misspelt", context)
	misspelt["spec"].(Object)["backofLimit"] = 0
	if err := a.Create(t.Context(), misspelt); err == nil || !strings.Contains(err.Error(), "backofLimit") {
		t.Errorf("an unknown field: %v", err)
	}
	changed := job("good", context)
	changed["spec"].(Object)["template"].(Object)["spec"].(Object)["containers"].([]any)[0].(Object)["image"] = "other"
	if err := a.Update(t.Context(), changed); err == nil || !strings.Contains(err.Error(), "immutable") {
		t.Errorf("another template of a Job: %v", err)
	}
	if w := p.Warnings(); len(w) > 0 {
		t.Errorf("warnings: %q", w)
	}
	pod := Object{
		"apiVersion": "v1", "kind": "Pod", "metadata": Object{"name": "privileged", "namespace": "n"},
		"spec": Object{"containers": []any{Object{"name": "c", "image": "c", "securityContext": Object{"privileged": true}}}},
	}
	if err := a.Create(t.Context(), pod); err == nil || !IsCode(err, http.StatusForbidden) || !strings.Contains(err.Error(), "PodSecurity") {
		t.Errorf("a privileged pod in a restricted namespace: %v", err)
	}
	if may, err := p.May(t.Context(), "default", "n", "get", "", "secrets", "n"); err != nil || may {
		t.Errorf("the default account may get secrets: %v %v", may, err)
	}
	if err := a.Delete(t.Context(), IDOf(namespace)); err != nil {
		t.Error(err)
	}
	if err := a.Delete(t.Context(), IDOf(namespace)); !IsCode(err, http.StatusNotFound) {
		t.Errorf("a second deletion: %v", err)
	}
	if _, err := os.Stat(p.dir); err != nil {
		t.Error(err)
	}
}
