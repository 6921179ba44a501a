//go:build kubernetes

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kubetest"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/livemap"
)

const accessFile = "../docs/access.md"

// aboutAccess are the kinds that say who may do what.
var aboutAccess = []string{"Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}

// forbidden is what no account of ours may do, as verb, group, resource: with any of it, whoever takes over
// a pod has the cluster, or breaks the test unseen.
var forbidden = [][3]string{
	{"get", "", "secrets"}, {"list", "", "secrets"}, {"create", "", "pods"}, {"delete", "", "pods"}, {"create", "", "pods/exec"},
	{"create", "", "pods/portforward"}, {"create", "", "pods/eviction"}, {"get", "", "nodes/proxy"}, {"patch", "", "nodes"},
	{"create", "", "serviceaccounts/token"}, {"impersonate", "", "users"}, {"delete", "", "namespaces"}, {"update", "", "services"},
	{"patch", "apps", "statefulsets"}, {"update", "apps", "deployments"}, {"create", "batch", "jobs"}, {"create", "chaos-mesh.org", "podchaos"},
	{"create", "rbac.authorization.k8s.io", "clusterrolebindings"}, {"escalate", "rbac.authorization.k8s.io", "clusterroles"},
	{"bind", "rbac.authorization.k8s.io", "clusterroles"}, {"create", "admissionregistration.k8s.io", "mutatingwebhookconfigurations"},
}

const (
	everywhere = "everywhere"
	// view is Kubernetes' own role for who looks at things.
	view = "view"
)

// right is one verb on one kind of object.
type right struct{ verb, what string }

type rights map[right]bool

// has says whether others are all among them.
func (r rights) has(others rights) bool {
	for one := range others {
		if !r[one] {
			return false
		}
	}
	return true
}

func (r rights) without(others rights) rights {
	out := maps.Clone(r)
	maps.DeleteFunc(out, func(one right, _ bool) bool { return others[one] })
	return out
}

// What each service account may do is what the documentation says, by the API server's own word.
func TestKubernetesAccess(t *testing.T) {
	w := newPlanes(t)
	w.definitions = nil // rights on kinds that there are not are rights too
	f := w.follow(t, "access")
	base, err := f.baseRights(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var doc strings.Builder
	doc.WriteString(`# What each service account may do

By the word of a real API server ` + kubetest.KubernetesVersion[:strings.LastIndexByte(kubetest.KubernetesVersion, '.')] + `, asked in each account's name (SelfSubjectRulesReview), without what every account may,
and compared with the rules that are bound to it. Written by ` + "`go test -vet=off -tags kubernetes ./stacks -run TestKubernetesAccess -update`" + `, and
compared by every ` + "`make test-kubernetes`" + `. A resource with a name behind it is that one object.

Brokers, ZooKeepers, producers, consumers, the auditor, replicators and Jobs without a line here have no account of ours and get no token. What
charts bring along (Prometheus, Chaos Mesh and others) has accounts of its own, which are not shown: charts cannot be had where this is written.
No account below may read secrets at large, make, change or delete pods, open a shell in one, or hand out rights (SubjectAccessReview on
` + fmt.Sprint(len(forbidden)) + ` such rights).

| account | token in | where | what | verbs |
|---|---|---|---|---|
`)
	lines := map[string]bool{}
	for _, liveMap := range []string{livemap.Headlamp, livemap.KubernetesDashboard, livemap.WeaveScope} {
		p := newPair(t, map[string]string{"liveMap": liveMap})
		p.up()
		for _, s := range []*enginetest.Stack{p.source, p.destination} {
			f.access(t, s, base, lines)
		}
	}
	for _, line := range slices.Sorted(maps.Keys(lines)) {
		doc.WriteString(line)
	}
	doc.WriteString("\n`" + view + "` is Kubernetes' own role, which leaves out secrets. It may get, list and watch:\n")
	var viewed []string
	for one := range base.view {
		if one.verb == "get" {
			viewed = append(viewed, "`"+one.what+"`")
		} else if !base.view[right{"get", one.what}] || one.verb != "list" && one.verb != "watch" {
			t.Errorf("Kubernetes' role %s may %s %s: the documentation has no words for it", view, one.verb, one.what)
		}
	}
	slices.Sort(viewed)
	doc.WriteString(strings.Join(viewed, ", ") + ".\n")
	// The questions can be answered with yes.
	if may, err := f.May(t.Context(), "namespace-controller", "kube-system", "delete", "", "namespaces", ""); err != nil || !may {
		t.Errorf("the namespace controller may not delete namespaces: %v: the question is wrong", err)
	}
	if *update {
		if err := os.WriteFile(accessFile, []byte(doc.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(accessFile)
	if err != nil {
		t.Fatal(err)
	}
	if got := doc.String(); got != string(want) {
		t.Errorf("%s is not what accounts may do; look at the difference, and then write it anew:\n%s", accessFile, firstDifference(string(want), got))
	}
}

// baseRights are what a fresh cluster gives.
type baseRights struct{ everyone, view rights }

func (f *follower) baseRights(ctx context.Context) (baseRights, error) {
	out := baseRights{}
	err := kubetest.Wait(ctx, 5*time.Minute, "the role "+view, func(ctx context.Context) error {
		role, err := f.Get(ctx, "rbac.authorization.k8s.io/v1", "ClusterRole", "", view)
		if err != nil {
			return err
		}
		if out.view = rightsOf(list(role, "rules")); len(out.view) == 0 {
			return errors.New("the controller that gathers its rules has not done so yet")
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	rules, err := f.Rules(ctx, "default", "default", "default")
	out.everyone = rightsOf(rules)
	return out, err
}

// access makes a stack's accounts and what is bound to them, adds to lines what they may, and removes them.
func (f *follower) access(t *testing.T, s *enginetest.Stack, base baseRights, lines map[string]bool) {
	t.Helper()
	of := &side{stack: s, config: &Stack{}, resources: s.Resources()}
	about := slices.DeleteFunc(of.all(aboutAccess...), func(r enginetest.Resource) bool { return !strings.HasPrefix(r.Type, "kubernetes:") })
	for _, r := range about {
		if _, err := f.Apply(t.Context(), r.Inputs); err != nil {
			t.Fatalf("%s: %v", name(r), err)
		}
	}
	for _, r := range of.all("ServiceAccount") {
		id := kubetest.IDOf(r.Inputs)
		rows, err := f.rows(t.Context(), id, base)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			lines[fmt.Sprintf("| %s/%s | %s | %s |\n", id.Namespace, id.Name, of.tokens(id), row)] = true
		}
		for _, c := range forbidden {
			for _, namespace := range []string{id.Namespace, "kube-system", ""} {
				may, err := f.May(t.Context(), id.Name, id.Namespace, c[0], c[1], c[2], namespace)
				if err != nil {
					t.Fatal(err)
				}
				if may {
					t.Errorf("%s/%s may %s %s %s in %q", id.Namespace, id.Name, c[0], c[1], c[2], namespace)
				}
			}
		}
	}
	for _, r := range about {
		if kind(r) == "Namespace" { // takes long to go, and gives no rights
			continue
		}
		if err := f.applier.Delete(t.Context(), kubetest.IDOf(r.Inputs)); err != nil {
			t.Fatal(err)
		}
	}
}

// tokens names the pods that get an account's token.
func (s *side) tokens(account kubetest.ID) string {
	var out []string
	for _, w := range s.workloads() {
		if w.namespace == account.Namespace && word(w.spec, "serviceAccountName") == account.Name && w.spec["automountServiceAccountToken"] == true {
			out = append(out, kind(w.Resource)+" "+w.name)
		}
	}
	if len(out) == 0 {
		return "no pod"
	}
	return strings.Join(out, ", ")
}

// rows returns what an account may do: where, what, verbs.
func (f *follower) rows(ctx context.Context, account kubetest.ID, base baseRights) ([]string, error) {
	var told map[string]rights
	// The API server looks bindings and roles up in what it has heard of them.
	err := kubetest.Wait(ctx, 5*time.Minute, "the rights of "+account.String(), func(ctx context.Context) error {
		bound, err := f.bound(ctx, account)
		if err != nil {
			return err
		}
		told = map[string]rights{}
		for place := range bound {
			namespace := place
			if place == everywhere {
				namespace = "default" // where nothing of ours is
			}
			rules, err := f.Rules(ctx, account.Name, account.Namespace, namespace)
			if err != nil {
				return err
			}
			told[place] = rightsOf(rules).without(base.everyone)
			want := maps.Clone(bound[place])
			maps.Copy(want, bound[everywhere])
			if want = want.without(base.everyone); !maps.Equal(told[place], want) {
				return fmt.Errorf("%s: the API server grants %v beyond what is bound, and not %v", place, told[place].without(want), want.without(told[place]))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, place := range slices.Sorted(maps.Keys(told)) {
		all := told[place]
		where := "namespace " + place
		switch place {
		case everywhere:
			where = everywhere
		case account.Namespace:
			where = "its namespace"
		}
		if place != everywhere {
			all = all.without(told[everywhere])
		} else if all.has(base.view) {
			all = all.without(base.view)
			out = append(out, where+" | what the role `"+view+"` may | get, list, watch")
		}
		for _, row := range all.byVerbs() {
			out = append(out, where+" | "+row)
		}
	}
	if len(out) == 0 {
		out = []string{"- | nothing | -"}
	}
	return out, nil
}

// bound are the rights that bindings give to an account by its name, by namespace. Its own is always there.
func (f *follower) bound(ctx context.Context, account kubetest.ID) (map[string]rights, error) {
	out := map[string]rights{everywhere: {}, account.Namespace: {}}
	for _, kind := range []string{"ClusterRoleBinding", "RoleBinding"} {
		all, err := f.List(ctx, "rbac.authorization.k8s.io/v1", kind, "", "")
		if err != nil {
			return nil, err
		}
		for _, b := range all {
			if !slices.ContainsFunc(list(b, "subjects"), func(s any) bool {
				return word(s, "kind") == "ServiceAccount" && word(s, "name") == account.Name && word(s, "namespace") == account.Namespace
			}) {
				continue
			}
			namespace, place := word(b, "metadata", "namespace"), everywhere
			if namespace != "" {
				place = namespace
			}
			roleNamespace := namespace
			if word(b, "roleRef", "kind") == "ClusterRole" {
				roleNamespace = ""
			}
			role, err := f.Get(ctx, "rbac.authorization.k8s.io/v1", word(b, "roleRef", "kind"), roleNamespace, word(b, "roleRef", "name"))
			if err != nil {
				return nil, err
			}
			if out[place] == nil {
				out[place] = rights{}
			}
			maps.Copy(out[place], rightsOf(list(role, "rules")))
		}
	}
	return out, nil
}

// rightsOf takes rules apart.
func rightsOf[T any](rules []T) rights {
	out := rights{}
	for _, r := range rules {
		for _, verb := range words(r, "verbs") {
			for _, group := range words(r, "apiGroups") {
				for _, resource := range words(r, "resources") {
					if group != "" {
						resource += "." + group
					}
					named := words(r, "resourceNames")
					if len(named) == 0 {
						out[right{verb, resource}] = true
					}
					for _, only := range named {
						out[right{verb, resource + " " + only}] = true
					}
				}
			}
			for _, path := range words(r, "nonResourceURLs") {
				out[right{verb, path}] = true
			}
		}
	}
	return out
}

// byVerbs are rows of what may be done with the same verbs.
func (r rights) byVerbs() (out []string) {
	verbs := map[string][]string{}
	for one := range r {
		verbs[one.what] = append(verbs[one.what], one.verb)
	}
	things := map[string][]string{}
	for _, what := range slices.Sorted(maps.Keys(verbs)) {
		slices.Sort(verbs[what])
		key := strings.Join(verbs[what], ", ")
		things[key] = append(things[key], "`"+what+"`")
	}
	for _, key := range slices.Sorted(maps.Keys(things)) {
		out = append(out, strings.Join(things[key], ", ")+" | "+key)
	}
	return out
}
