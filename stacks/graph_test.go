package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
)

// variants are the configurations whose resources are checked: full-size stacks. Faults are set after
// the first update, since none is injected by it. A value of source or destination counts for that
// side only.
var variants = map[string]struct {
	both, source, destination     map[string]string
	sourceFault, destinationFault string
	secure, exposed, existing     bool
}{
	"mirrormaker2, secure, exposed": {
		destination: map[string]string{"replicator": "mirrormaker2"}, secure: true, exposed: true,
		sourceFault:      `{"kind":"broker-kill","victims":[0,29],"run":1}`,
		destinationFault: `{"kind":"worker-loss","victims":[0,7],"percent":10,"duration":"10m","run":1}`,
	},
	"ureplicator": {
		destination: map[string]string{"replicator": "ureplicator"},
		sourceFault: `{"kind":"region-partition","duration":"2m","run":1}`, destinationFault: `{"kind":"worker-kill","victims":[7],"run":1}`,
	},
	"brooklin, exposed": { // with the talk's number of workers
		destination: map[string]string{"replicator": "brooklin", "workers": "32"}, exposed: true,
		sourceFault: `{"kind":"broker-outage","victims":[3],"duration":"1m","run":1}`, destinationFault: `{"kind":"worker-outage","victims":[31],"duration":"1m","run":1}`,
	},
	"none": {
		destination: map[string]string{"replicator": "none"},
		sourceFault: `{"kind":"broker-replace","victims":[3],"run":1}`, destinationFault: `{"kind":"broker-delay","victims":[3],"latency":"100ms","duration":"1m","run":1}`,
	},
	"mirrormaker2, KRaft, Weave Scope": {
		both:             map[string]string{"kafkaMode": "kraft", "liveMap": "weavescope"},
		destination:      map[string]string{"replicator": "mirrormaker2"},
		destinationFault: `{"kind":"region-partition","duration":"2m","run":1}`,
	},
	"both in one existing cluster": { // whose monitoring and Chaos Mesh one side installs
		both:        map[string]string{"liveMap": "kubernetes-dashboard", "peerCidr": ""},
		source:      map[string]string{"peerNamespace": "destination"},
		destination: map[string]string{"peerNamespace": "source", "installMonitoring": "false", "installChaos": "false"},
		existing:    true, secure: true,
		sourceFault: `{"kind":"broker-kill","victims":[3],"run":1}`,
	},
}

const exposedTo = "198.51.100.0/24"

// Marks of secrets: found anywhere in plain, they leaked.
const (
	markPassword   = "k4fka-p4ssword-mark"
	markGrafana    = "gr4fana-p4ssword-mark"
	markKubeconfig = "kubec0nfig-t0ken-mark"
)

// side is one stack's resources.
type side struct {
	stack     *enginetest.Stack
	config    *Stack
	resources []enginetest.Resource
	outputs   map[string]any
	log       []string
}

// graph is both.
type graph struct {
	source, destination *side
	secrets             map[string]string // mark to key
}

func (g *graph) sides() []*side { return []*side{g.source, g.destination} }

// other is the other side of s.
func (g *graph) other(s *side) *side {
	if s == g.source {
		return g.destination
	}
	return g.source
}

// TestGraph checks what is registered, in every variant.
func TestGraph(t *testing.T) {
	for name := range variants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGraph(t, name)
			for _, c := range checks {
				t.Run(c.name, func(t *testing.T) {
					for _, complaint := range c.complaints(g) {
						t.Error(complaint)
					}
				})
			}
		})
	}
}

// Every check finds what it is there to find: each mutation stands for a mistake.
func TestGraphChecksFindMistakes(t *testing.T) {
	t.Parallel()
	graphs := map[string]*graph{}
	for _, c := range checks {
		for _, m := range c.mistakes {
			variant := m.variant
			if variant == "" {
				variant = "mirrormaker2, secure, exposed"
			}
			if graphs[variant] == nil {
				graphs[variant] = newGraph(t, variant)
			}
			g := graphs[variant].clone()
			m.make(t, g)
			found := strings.Join(c.complaints(g), "\n")
			if !strings.Contains(found, m.names) {
				t.Errorf("%s: the mistake in %s is not found; complaints: %q", c.name, m.names, found)
			}
		}
		if len(c.mistakes) == 0 {
			t.Errorf("%s: nothing shows that this check can fail", c.name)
		}
	}
}

// newGraph brings both stacks of a variant up, and then their faults.
func newGraph(t *testing.T, name string) *graph {
	t.Helper()
	v := variants[name]
	g := &graph{secrets: map[string]string{markGrafana: "grafanaPassword"}}
	secure := map[string]string{}
	if v.secure {
		secure = kafkaSecrets(t, serverName("kmt.internal"))
		for key, value := range secure {
			g.secrets[markOf(value)] = key
		}
	}
	stackOf := func(role string, own map[string]string) *enginetest.Stack {
		values := map[string]string{}
		if v.secure {
			values["secure"] = "true"
		}
		if v.exposed {
			values["expose"] = `["` + exposedTo + `"]`
		}
		if v.existing {
			values["kubeconfig"] = existingKubeconfig
			g.secrets[markKubeconfig] = "kubeconfig"
		}
		if role == destination {
			values["grafanaPassword"] = markGrafana
		}
		maps.Copy(values, secure)
		maps.Copy(values, v.both)
		maps.Copy(values, own)
		return newStack(t, role, values)
	}
	p := &pair{stackOf(source, v.source), stackOf(destination, v.destination)}
	p.destination.Peer("us-east-1", p.source)
	p.up()
	g.source = newSide(t, p.source, v.sourceFault)
	g.destination = newSide(t, p.destination, v.destinationFault)
	return g
}

func newSide(t *testing.T, s *enginetest.Stack, fault string) *side {
	t.Helper()
	if fault != "" {
		s.SetConfig("fault", fault)
	}
	result := s.Up()
	config, m := readConfig(projectName, s.Config())
	if err := m.err(); err != nil {
		t.Fatal(err)
	}
	return &side{stack: s, config: config, resources: s.Resources(), outputs: result.Outputs, log: result.Log}
}

const existingKubeconfig = `apiVersion: v1
kind: Config
current-context: kind
clusters: [{name: kind, cluster: {server: "https://127.0.0.1:6443"}}]
contexts: [{name: kind, context: {cluster: kind, user: me}}]
users: [{name: me, user: {token: ` + markKubeconfig + `}}]
`

// kafkaSecrets is what make secrets writes.
func kafkaSecrets(t *testing.T, name string) map[string]string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return map[string]string{
		"kafkaPassword": markPassword, "kafkaAuthority": certificate, "kafkaCertificate": certificate,
		"kafkaKey": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})),
	}
}

// markOf is a part of a secret that is found however its lines are joined.
func markOf(secret string) string {
	if lines := strings.Split(secret, "\n"); len(lines) > 2 {
		return lines[2]
	}
	return secret
}

func (g *graph) clone() *graph {
	c := func(s *side) *side {
		out := *s
		out.resources = slices.Clone(s.resources)
		for i := range out.resources {
			r := &out.resources[i]
			r.Inputs = cloned(r.Inputs).(map[string]any)
			r.SecretInputs = slices.Clone(r.SecretInputs)
		}
		out.outputs = maps.Clone(s.outputs)
		return &out
	}
	return &graph{source: c(g.source), destination: c(g.destination), secrets: g.secrets}
}

func cloned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = cloned(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = cloned(e)
		}
		return out
	}
	return v
}

// Ways through plain values: what is absent is empty.

func in(v any, path ...string) any {
	for _, key := range path {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

func object(v any, path ...string) map[string]any { m, _ := in(v, path...).(map[string]any); return m }

func list(v any, path ...string) []any { l, _ := in(v, path...).([]any); return l }

func words(v any, path ...string) (out []string) {
	for _, e := range list(v, path...) {
		out = append(out, fmt.Sprint(e))
	}
	return out
}

func word(v any, path ...string) string { s, _ := in(v, path...).(string); return s }

// walk calls f with every string in v and where it is.
func walk(v any, path string, f func(path, text string)) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			walk(e, path+"."+k, f)
		}
	case []any:
		for i, e := range v {
			walk(e, fmt.Sprintf("%s[%d]", path, i), f)
		}
	case string:
		f(path, v)
	}
}

// name is how complaints name a resource.
func name(r enginetest.Resource) string {
	parts := strings.Split(r.Type, ":")
	return parts[len(parts)-1] + " " + r.Name
}

// kind is the last part of the type.
func kind(r enginetest.Resource) string { return r.Type[strings.LastIndexByte(r.Type, ':')+1:] }

func (s *side) all(kinds ...string) (out []enginetest.Resource) {
	for _, r := range s.resources {
		if slices.Contains(kinds, kind(r)) {
			out = append(out, r)
		}
	}
	return out
}

// one returns the only resource of a kind, and of a name unless that is empty.
func (s *side) one(kind, name string) enginetest.Resource {
	var found []enginetest.Resource
	for _, r := range s.all(kind) {
		if name == "" || r.Name == name {
			found = append(found, r)
		}
	}
	if len(found) != 1 {
		panic(fmt.Sprintf("%s: %d resources %s %s", s.config.Role, len(found), kind, name))
	}
	return found[0]
}

func (s *side) objects() (out []enginetest.Resource) {
	for _, r := range s.resources {
		if strings.HasPrefix(r.Type, "kubernetes:") {
			out = append(out, r)
		}
	}
	return out
}

func (s *side) provider() string { // of the stack's cluster: named after the stack
	return strings.TrimSuffix(strings.TrimPrefix(stackFiles[s.config.Role], "Pulumi."), ".yaml")
}

// podSet is what makes pods of ours.
type podSet struct {
	enginetest.Resource
	side            *side
	name, namespace string
	replicas        int // a DaemonSet's: one a node
	labels, spec    map[string]any
}

func (s *side) workloads() (out []podSet) {
	for _, r := range s.all("StatefulSet", "Deployment", "DaemonSet", "Job") {
		w := podSet{
			Resource: r, side: s, name: word(r.Inputs, "metadata", "name"), namespace: word(r.Inputs, "metadata", "namespace"), replicas: 1,
			labels: object(r.Inputs, "spec", "template", "metadata", "labels"), spec: object(r.Inputs, "spec", "template", "spec"),
		}
		if n, ok := in(r.Inputs, "spec", "replicas").(int); ok {
			w.replicas = n
		}
		if kind(r) == "DaemonSet" {
			w.replicas = s.config.Cluster().Nodes
		}
		out = append(out, w)
	}
	return out
}

// containers are all, those that run before the others as well.
func (w podSet) containers() (out []map[string]any) {
	for _, c := range append(list(w.spec, "initContainers"), list(w.spec, "containers")...) {
		out = append(out, object(c))
	}
	return out
}

func (w podSet) ports() map[string]int {
	out := map[string]int{}
	for _, c := range w.containers() {
		for _, p := range list(c, "ports") {
			n, _ := in(p, "containerPort").(int)
			out[word(p, "name")] = n
		}
	}
	return out
}

// selects says whether a Kubernetes label selector, or a Service's plain one, selects the labels. An
// empty one selects all.
func selects(selector map[string]any, labels map[string]any) bool {
	equal := selector
	if object(selector, "matchLabels") != nil || list(selector, "matchExpressions") != nil {
		equal = object(selector, "matchLabels")
	}
	for k, v := range equal {
		if labels[k] != v {
			return false
		}
	}
	return len(list(selector, "matchExpressions")) == 0 // none of ours has any
}

// complain takes a complaint about a resource.
type complain func(r, format string, args ...any)
