package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/chaos"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kafka"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/livemap"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/monitoring"
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
	images := map[string]string{}
	for i, key := range []string{"loadgen", "kafka", "externalDns", "headlamp", "ureplicator", "brooklin", "weavescope", "kubernetesDashboard"} {
		images[key] = fmt.Sprintf("registry.example/%s@sha256:%s", strings.ToLower(key), strings.Repeat(fmt.Sprint(i), 64))
	}
	pinned, _ := json.Marshal(images)
	stackOf := func(role string, own map[string]string) *enginetest.Stack {
		values := map[string]string{"images": string(pinned)}
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
	config, err := readConfig(projectName, s.Config())
	if err != nil {
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
func list(v any, path ...string) []any            { l, _ := in(v, path...).([]any); return l }
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

// checkRoutes: every private subnet has, by the table that it is associated with, a way out through a
// NAT gateway and one to the other side through the accepted connection, and the nodes live in no others.
func checkRoutes(g *graph, wrong complain) {
	if !g.source.config.aws() {
		return
	}
	connection, accepter := g.destination.one("VpcPeeringConnection", ""), g.destination.one("VpcPeeringConnectionAccepter", "")
	if connection.Get("vpcId") != g.destination.one("Vpc", "").ID || connection.Get("peerVpcId") != g.source.one("Vpc", "").ID ||
		connection.Get("peerRegion") != g.source.stack.Config()["aws:region"] {
		wrong(name(connection), "joins %v and %v in %v", connection.Get("vpcId"), connection.Get("peerVpcId"), connection.Get("peerRegion"))
	}
	if accepter.Get("autoAccept") != true || accepter.Get("vpcPeeringConnectionId") != connection.ID || accepter.Provider != peerProvider {
		wrong(name(accepter), "does not accept %s by the provider %s: %v", connection.ID, peerProvider, accepter.Inputs)
	}
	routes := append(g.source.all("Route"), g.destination.all("Route")...)
	for _, s := range g.sides() {
		private := map[string]bool{}
		for _, subnet := range s.all("Subnet") {
			if word(subnet.Inputs, "tags", "kubernetes.io/role/internal-elb") == "" {
				continue
			}
			private[subnet.ID] = true
			var tables []string
			for _, a := range s.all("RouteTableAssociation") {
				if a.Get("subnetId") == subnet.ID {
					tables = append(tables, fmt.Sprint(a.Get("routeTableId")))
				}
			}
			if len(tables) != 1 {
				wrong(name(subnet), "is associated with %d route tables", len(tables))
				continue
			}
			ways := map[string]int{}
			for _, r := range routes {
				if r.Get("routeTableId") != tables[0] {
					continue
				}
				to := fmt.Sprint(r.Get("destinationCidrBlock"))
				ways[to]++
				switch to {
				case "0.0.0.0/0":
					nat := s.one("NatGateway", "")
					if r.Get("natGatewayId") != nat.ID {
						wrong(name(r), "leads to %v, not to %s", r.Inputs, nat.ID)
					}
				case s.config.PeerCidr:
					provider := ""
					if s == g.source {
						provider = peerProvider
					}
					if r.Get("vpcPeeringConnectionId") != accepter.ID || r.Provider != provider || !slices.Contains(r.Dependencies, accepter.URN) {
						wrong(name(r), "leads to %v by the provider %q, after %q, and not to the accepted %s by %q", r.Get("vpcPeeringConnectionId"), r.Provider, r.Dependencies, accepter.ID, provider)
					}
				default:
					wrong(name(r), "leads to %s", to)
				}
			}
			if ways["0.0.0.0/0"] != 1 || ways[s.config.PeerCidr] != 1 {
				wrong(name(subnet), "has the routes %v in %s, not one to all and one to %s", ways, tables[0], s.config.PeerCidr)
			}
		}
		if len(private) != len(s.config.Zones) {
			wrong("Subnet", "%d private ones for the zones %v", len(private), s.config.Zones)
		}
		nodes, control := s.one("NodeGroup", ""), s.one("Cluster", s.provider()+"-eksCluster")
		for r, ids := range map[string][]string{name(nodes): words(nodes.Get("subnetIds")), name(control): words(control.Get("vpcConfig.subnetIds"))} {
			for _, id := range ids {
				if !private[id] {
					wrong(r, "is in %s, which is no private subnet", id)
				}
			}
		}
		nat := s.one("NatGateway", "")
		if private[fmt.Sprint(nat.Get("subnetId"))] {
			wrong(name(nat), "is in a private subnet")
		}
	}
}

const peerProvider = "peering-peer"

// checkIngress: who gets in from outside.
func checkIngress(g *graph, wrong complain) {
	for _, s := range g.sides() {
		balancers := 0
		for _, r := range s.resources {
			walk(r.Inputs, "", func(path, text string) {
				if p, err := netip.ParsePrefix(text); err == nil && p.Bits() == 0 && !(kind(r) == "Route" && path == ".destinationCidrBlock") {
					wrong(name(r), "%s is %s", path, text)
				}
			})
			inline := map[string][]string{
				"RouteTable": {"routes"}, "DefaultRouteTable": {"routes"}, "SecurityGroup": {"ingress", "egress"}, "DefaultSecurityGroup": {"ingress", "egress"},
			}
			for _, key := range inline[kind(r)] {
				if _, there := r.Inputs[key]; there {
					wrong(name(r), "has %s of its own, which removes those of others", key)
				}
			}
			switch kind(r) {
			case "SecurityGroupRule":
				wrong(name(r), "is of the older kind: use SecurityGroupIngressRule")
			case "Subnet":
				if r.Get("mapPublicIpOnLaunch") == true {
					wrong(name(r), "gives everything a public address")
				}
			case "Service":
				switch typ := r.Get("spec.type"); typ {
				case nil, "ClusterIP":
				case "LoadBalancer":
					balancers++
					if got := words(r.Get("spec.loadBalancerSourceRanges")); len(got) == 0 || !slices.Equal(got, s.config.Expose) {
						wrong(name(r), "lets in %q, not %q", got, s.config.Expose)
					}
				default:
					wrong(name(r), "is of type %v", typ)
				}
			}
		}
		want := 0
		if len(s.config.Expose) > 0 {
			want = map[string]int{source: 1, destination: 2}[s.config.Role] // the live map, and Grafana
		}
		if balancers != want {
			wrong("Service", "%d load balancers, not %d load balancers", balancers, want)
		}
	}
	if !g.source.config.aws() {
		return
	}
	control := g.source.one("Cluster", "us-east-1-eksCluster")
	group := word(control.Outputs, "vpcConfig", "clusterSecurityGroupId")
	open := []int{kafka.BrokerPort, kafka.ZookeeperPort, monitoring.PrometheusPort}
	for _, s := range g.sides() {
		control := s.one("Cluster", s.provider()+"-eksCluster")
		if got := words(control.Get("vpcConfig.publicAccessCidrs")); !slices.Equal(got, s.config.APICidrs) || control.Get("vpcConfig.endpointPrivateAccess") != true {
			wrong(name(control), "answers %q, not %q, from outside; inside: %v", got, s.config.APICidrs, control.Get("vpcConfig.endpointPrivateAccess"))
		}
		for _, r := range s.all("SecurityGroupIngressRule") {
			port, _ := r.Get("fromPort").(int)
			i := slices.Index(open, port)
			if i < 0 || r.Get("toPort") != port || r.Get("ipProtocol") != "tcp" || r.Get("cidrIpv4") != g.destination.config.VpcCidr || r.Get("securityGroupId") != group || s != g.destination {
				wrong(name(r), "is not one that is meant, from %s to the source's nodes %s: %v", g.destination.config.VpcCidr, group, r.Inputs)
				continue
			}
			open = slices.Delete(open, i, i+1)
		}
	}
	if len(open) > 0 {
		wrong("SecurityGroupIngressRule", "none for the ports %v of the source", open)
	}
}

// checkProviders: each resource is where it belongs.
func checkProviders(g *graph, wrong complain) {
	theirs := map[string]bool{} // ids of the source's resources that are in its region
	for _, r := range g.source.resources {
		if strings.HasPrefix(r.Type, "aws:ec2") {
			theirs[r.ID] = true
		}
		if kind(r) == "Cluster" {
			theirs[word(r.Outputs, "vpcConfig", "clusterSecurityGroupId")] = true
		}
	}
	for _, s := range g.sides() {
		for _, r := range s.objects() {
			if r.Provider != s.provider() {
				wrong(name(r), "goes through the provider %q, not %q", r.Provider, s.provider())
			}
		}
		for _, r := range s.resources {
			switch {
			case r.Type == "pulumi:providers:aws" && r.Name == peerProvider:
				if r.Get("region") != g.source.stack.Config()["aws:region"] {
					wrong(name(r), "is for %v", r.Get("region"))
				}
			case strings.HasPrefix(r.Type, "aws:") && s == g.source:
				if r.Provider != "" {
					wrong(name(r), "goes through the provider %q", r.Provider)
				}
			case strings.HasPrefix(r.Type, "aws:"):
				there := kind(r) == "VpcPeeringConnectionAccepter"
				walk(r.Inputs, "", func(path, text string) {
					there = there || theirs[text] && path != ".peerVpcId" // the one who asks names whom it asks
				})
				if there != (r.Provider == peerProvider) {
					wrong(name(r), "is at the source: %v; its provider is %q", there, r.Provider)
				}
			}
		}
	}
}

func checkLabels(g *graph, wrong complain) {
	labelled := func(r string, labels map[string]any) {
		for _, label := range []string{"name", "component", "part-of", "managed-by"} {
			value, want := word(labels, "app.kubernetes.io/"+label), map[string]string{"part-of": kube.PartOf, "managed-by": "pulumi"}[label]
			if value == "" || want != "" && value != want {
				wrong(r, "label app.kubernetes.io/%s is %q", label, value)
			}
		}
	}
	for _, s := range g.sides() {
		for _, r := range s.objects() {
			if kind(r) != "Release" {
				labelled(name(r), object(r.Inputs, "metadata", "labels"))
			}
		}
		for _, w := range s.workloads() {
			labelled(name(w.Resource)+", its pods", w.labels)
			if selector := object(w.Inputs, "spec", "selector"); kind(w.Resource) != "Job" && (len(selector) == 0 || !selects(selector, w.labels)) {
				wrong(name(w.Resource), "selects %v, and its pods are %v", selector, w.labels)
			}
		}
	}
}

func checkResources(g *graph, wrong complain) {
	for _, s := range g.sides() {
		for _, w := range s.workloads() {
			for _, c := range w.containers() {
				for _, path := range [][]string{{"requests", "cpu"}, {"requests", "memory"}, {"limits", "memory"}} {
					if amount, err := quantity(word(object(c, "resources", path[0]), path[1])); err != nil || amount <= 0 {
						wrong(name(w.Resource), "container %v: resources.%s.%s: %v", c["name"], path[0], path[1], err)
					}
				}
			}
		}
		for _, c := range s.chartPods() {
			if c.cpu <= 0 || c.memory <= 0 {
				wrong("Release "+c.release, "%s asks for %v CPU and %v bytes", c.name, c.cpu, c.memory)
			}
		}
	}
}

// unrestricted are all that packages say cannot keep to the restricted level.
func unrestricted() map[string]string {
	all := map[string]string{}
	for _, list := range []map[string]string{chaos.Unrestricted(), monitoring.Unrestricted(), livemap.Unrestricted()} {
		maps.Copy(all, list)
	}
	return all
}

func checkRestricted(g *graph, wrong complain) {
	for _, s := range g.sides() {
		level := map[string]string{}
		needs := map[string]bool{ // namespaces of what charts bring
			s.config.ChaosNamespace: s.config.InstallChaos, s.config.MonitoringNamespace: s.config.InstallMonitoring,
		}
		for _, r := range s.all("Namespace") {
			level[word(r.Inputs, "metadata", "name")] = word(r.Inputs, "metadata", "labels", "pod-security.kubernetes.io/enforce")
		}
		for _, w := range s.workloads() {
			violations, reason := violations(w.spec), unrestricted()[w.Name]
			switch {
			case len(violations) > 0 && reason == "":
				wrong(name(w.Resource), "is not restricted, and named nowhere: %s", strings.Join(violations, ", "))
			case len(violations) == 0 && reason != "":
				wrong(name(w.Resource), "is restricted, and named as if it were not: %s", reason)
			}
			if len(violations) > 0 && level[w.namespace] != "privileged" {
				wrong(name(w.Resource), "lives in %s, where the level is %q", w.namespace, level[w.namespace])
			}
			needs[w.namespace] = needs[w.namespace] || len(violations) > 0
		}
		for _, r := range s.all("Namespace") {
			n := word(r.Inputs, "metadata", "name")
			if want := map[bool]string{true: "privileged", false: "restricted"}[needs[n]]; level[n] != want {
				wrong(name(r), "enforces %q, and what is in it needs %q", level[n], want)
			}
		}
	}
}

// violations says where a pod does not keep to the restricted Pod Security level.
// https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
func violations(pod map[string]any) (out []string) {
	refuse := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, key := range []string{"hostNetwork", "hostPID", "hostIPC"} {
		if pod[key] == true {
			refuse("%s", key)
		}
	}
	for _, v := range list(pod, "volumes") {
		for key := range object(v) {
			if !slices.Contains([]string{"name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}, key) {
				refuse("volume %s: %s", word(v, "name"), key)
			}
		}
	}
	podContext := object(pod, "securityContext")
	for _, sysctl := range list(podContext, "sysctls") {
		if !slices.Contains(safeSysctls, word(sysctl, "name")) {
			refuse("sysctl %s", word(sysctl, "name"))
		}
	}
	if containers := list(pod, "containers"); len(containers) == 0 {
		refuse("no containers")
	}
	contexts := map[string]map[string]any{"the pod": podContext}
	for _, c := range append(list(pod, "initContainers"), list(pod, "containers")...) {
		which, context := "container "+word(c, "name"), object(c, "securityContext")
		contexts[which] = context
		either := func(path ...string) any {
			if v := in(context, path...); v != nil {
				return v
			}
			return in(podContext, path...)
		}
		if context["privileged"] == true {
			refuse("%s: privileged", which)
		}
		if context["allowPrivilegeEscalation"] != false {
			refuse("%s: allowPrivilegeEscalation is not false", which)
		}
		if !slices.Contains(words(context, "capabilities", "drop"), "ALL") {
			refuse("%s: capabilities are not dropped", which)
		}
		for _, capability := range words(context, "capabilities", "add") {
			if capability != "NET_BIND_SERVICE" {
				refuse("%s: capability %s", which, capability)
			}
		}
		if either("runAsNonRoot") != true {
			refuse("%s: runAsNonRoot is not true", which)
		}
		if profile := either("seccompProfile", "type"); profile != "RuntimeDefault" && profile != "Localhost" {
			refuse("%s: seccompProfile %v", which, profile)
		}
		if mount := context["procMount"]; mount != nil && mount != "Default" {
			refuse("%s: procMount %v", which, mount)
		}
		for _, p := range list(c, "ports") {
			if port, _ := in(p, "hostPort").(int); port != 0 {
				refuse("%s: hostPort %d", which, port)
			}
		}
	}
	for which, context := range contexts {
		if user, set := context["runAsUser"].(int); set && user == 0 {
			refuse("%s: runAsUser 0", which)
		}
		if se := object(context, "seLinuxOptions"); se["user"] != nil || se["role"] != nil || se["type"] != nil {
			refuse("%s: seLinuxOptions", which)
		}
		if profile := word(context, "appArmorProfile", "type"); profile == "Unconfined" {
			refuse("%s: appArmorProfile", which)
		}
		if in(context, "windowsOptions", "hostProcess") == true {
			refuse("%s: hostProcess", which)
		}
	}
	slices.Sort(out)
	return out
}

var safeSysctls = []string{
	"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start", "net.ipv4.tcp_syncookies",
	"net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes",
}

var (
	pinned       = regexp.MustCompile(`^[^@]+@sha256:[0-9a-f]{64}$`)
	exactVersion = regexp.MustCompile(`^v?[0-9]+\.[0-9]+\.[0-9]+$`)
)

func checkImages(g *graph, wrong complain) {
	for _, s := range g.sides() {
		for _, w := range s.workloads() {
			for _, c := range w.containers() {
				if !pinned.MatchString(word(c, "image")) {
					wrong(name(w.Resource), "container %v: image %q", c["name"], c["image"])
				}
			}
		}
		for _, r := range s.all("Release") {
			if !exactVersion.MatchString(word(r.Inputs, "version")) {
				wrong(name(r), "version %q", r.Get("version"))
			}
		}
	}
}

// tokenWithoutRules has who needs a token though it may do nothing.
var tokenWithoutRules = map[string]string{
	"headlamp": "it finds the API server by the token's files, and asks it with the token of whoever logs in",
}

// mayWrite has roles that may do more than read.
var mayWrite = map[string]string{
	"kubernetes-dashboard": "it keeps its keys and settings, by name",
}

func checkTokens(g *graph, wrong complain) {
	for _, s := range g.sides() {
		rules := map[string][]any{} // by namespace and name of an account
		for _, b := range s.all("ClusterRoleBinding", "RoleBinding") {
			for _, r := range s.all("ClusterRole", "Role") {
				if word(r.Inputs, "metadata", "name") == word(b.Inputs, "roleRef", "name") && kind(r) == word(b.Inputs, "roleRef", "kind") {
					for _, subject := range list(b.Inputs, "subjects") {
						key := word(subject, "namespace") + "/" + word(subject, "name")
						rules[key] = append(rules[key], list(r.Inputs, "rules")...)
					}
				}
			}
		}
		for _, r := range s.all("ServiceAccount") {
			if r.Get("automountServiceAccountToken") != false {
				wrong(name(r), "gives its token to every pod")
			}
		}
		for _, r := range s.all("ClusterRole", "Role") {
			for _, rule := range list(r.Inputs, "rules") {
				for _, verb := range words(rule, "verbs") {
					if !slices.Contains([]string{"get", "list", "watch"}, verb) && (mayWrite[r.Name] == "" || len(list(rule, "resourceNames")) == 0) {
						wrong(name(r), "may %s", verb)
					}
				}
			}
		}
		for _, w := range s.workloads() {
			account := word(w.spec, "serviceAccountName")
			token, said := w.spec["automountServiceAccountToken"].(bool)
			may := len(rules[w.namespace+"/"+account]) > 0
			switch {
			case !said:
				wrong(name(w.Resource), "does not say whether it gets a token")
			case token && (account == "" || !may) && tokenWithoutRules[w.Name] == "":
				wrong(name(w.Resource), "has a token of the account %q, which may do nothing", account)
			}
		}
	}
}

// checkSecrets: no secret is found in plain, and in Kubernetes only in Secrets.
func checkSecrets(g *graph, wrong complain) {
	for _, s := range g.sides() {
		marks := map[string]string{}
		for mark, key := range g.secrets {
			marks[mark], marks[base64.StdEncoding.EncodeToString([]byte(mark))] = key, key
		}
		leaks := func(where, text string) {
			for mark, key := range marks {
				if strings.Contains(text, mark) {
					wrong(where, "the secret %s is in it in plain", key)
				}
			}
		}
		leaks("the state of the "+s.config.Role, s.stack.PlainText())
		for key, value := range s.outputs {
			text, _ := json.Marshal(value)
			leaks("output "+key, string(text))
		}
		leaks("what the update said", strings.Join(s.log, "\n"))
		for _, r := range s.objects() {
			if kind(r) == "Secret" {
				if (r.Inputs["data"] != nil || r.Inputs["stringData"] != nil) && !slices.Contains(r.SecretInputs, "stringData") && !slices.Contains(r.SecretInputs, "data") {
					wrong(name(r), "is not secret in the state")
				}
				continue
			}
			if len(r.SecretInputs) > 0 {
				wrong(name(r), "%q come from secrets", r.SecretInputs)
			}
			walk(r.Inputs, "", func(path, text string) { leaks(name(r)+" "+path, text) })
		}
	}
}

// withoutPolicy has pods that no NetworkPolicy selects, and why.
func withoutPolicy(w podSet) string {
	switch {
	case kind(w.Resource) == "Job":
		return "it listens to nothing, and is gone when it has ended"
	case w.spec["hostNetwork"] == true:
		return "NetworkPolicies do not apply to the node's own network"
	}
	return ""
}

// reachableBy is who reaches the ports of Kafka and of ZooKeepers, and nobody else does. Pods are of the
// same namespace, unless another is given.
func reachableBy(g *graph, s *side) map[string]map[int][]string {
	metrics := []string{"namespace " + s.config.MonitoringNamespace}
	clients, zookeeperClients := []string{"part of us"}, []string{"kafka/broker", "zookeeper/zookeeper"}
	peer := g.other(s).config
	if s.config.Role == destination { // uReplicator and Brooklin look into the destination's ZooKeeper
		zookeeperClients = append(zookeeperClients, "part of us in "+s.config.Namespace)
	}
	switch {
	case !s.config.aws():
		across := "part of us in " + peer.Namespace
		clients = append(clients, across)
		if s.config.Role == source {
			zookeeperClients = append(zookeeperClients, across)
		}
	case s.config.Role == source:
		clients, zookeeperClients = append(clients, peer.VpcCidr), append(zookeeperClients, peer.VpcCidr)
	}
	kind := g.destination.config.Destination.Replicator
	own := []string{kind + "/replicator-zookeeper", kind + "/worker"}
	if kind == "ureplicator" {
		own = append(own, "ureplicator/controller")
	}
	for _, names := range [][]string{clients, zookeeperClients, own} {
		slices.Sort(names)
	}
	return map[string]map[int][]string{
		"kafka":                {kafka.BrokerPort: clients, kafka.MetricsPort: metrics},
		"kafka-zookeeper":      {kafka.ZookeeperPort: zookeeperClients, 2888: {"zookeeper/zookeeper"}, 3888: {"zookeeper/zookeeper"}, kafka.MetricsPort: metrics},
		"kafka-controller":     {kafka.ControllerPort: {"kafka-controller/controller", "kafka/broker"}, kafka.MetricsPort: metrics},
		"replicator-zookeeper": {kafka.ZookeeperPort: own, 2888: {kind + "/replicator-zookeeper"}, 3888: {kind + "/replicator-zookeeper"}, kafka.MetricsPort: metrics},
	}
}

// peers names those whom a rule lets in.
func peers(rule any) (out []string) {
	from := list(rule, "from")
	if len(from) == 0 {
		return []string{"everybody"}
	}
	for _, f := range from {
		pods := object(f, "podSelector", "matchLabels")
		text := word(pods, "app.kubernetes.io/name") + "/" + word(pods, "app.kubernetes.io/component")
		if word(pods, "app.kubernetes.io/part-of") == kube.PartOf {
			text = "part of us"
		}
		namespace := word(f, "namespaceSelector", "matchLabels", "kubernetes.io/metadata.name")
		switch {
		case in(f, "ipBlock") != nil:
			text = word(f, "ipBlock", "cidr")
		case in(f, "podSelector") == nil:
			text = "namespace " + namespace
		case in(f, "namespaceSelector") != nil:
			text += " in " + namespace
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

func checkPolicies(g *graph, wrong complain) {
	for _, s := range g.sides() {
		for _, w := range s.workloads() {
			reached, policies := map[int][]string{}, 0
			for _, p := range s.all("NetworkPolicy") {
				if word(p.Inputs, "metadata", "namespace") != w.namespace || !selects(object(p.Inputs, "spec", "podSelector"), w.labels) || !slices.Contains(words(p.Inputs, "spec", "policyTypes"), "Ingress") {
					continue
				}
				policies++
				for _, rule := range list(p.Inputs, "spec", "ingress") {
					if len(list(rule, "ports")) == 0 {
						reached[0] = append(reached[0], peers(rule)...) // every port
					}
					for _, port := range list(rule, "ports") {
						n, _ := in(port, "port").(int)
						reached[n] = append(reached[n], peers(rule)...)
					}
				}
			}
			if policies == 0 && withoutPolicy(w) == "" {
				wrong(name(w.Resource), "no NetworkPolicy selects its pods: everybody reaches them")
			}
			if want, ours := reachableBy(g, s)[w.Name]; ours && kind(w.Resource) == "StatefulSet" && fmt.Sprint(reached) != fmt.Sprint(want) {
				wrong(name(w.Resource), "is reached by\n%v, and is to be by\n%v", reached, want)
			}
			if port, there := w.ports()["metrics"]; there && s.config.InstallMonitoring && !canScrape(reached[port], s.config.MonitoringNamespace) {
				wrong(name(w.Resource), "Prometheus does not reach its port %d; who does: %v", port, reached)
			}
		}
		for _, p := range s.all("NetworkPolicy") {
			for _, rule := range list(p.Inputs, "spec", "ingress") {
				for _, port := range list(rule, "ports") {
					n, _ := in(port, "port").(int)
					if !slices.ContainsFunc(s.workloads(), func(w podSet) bool {
						return selects(object(p.Inputs, "spec", "podSelector"), w.labels) && slices.Contains(slices.Collect(maps.Values(w.ports())), n)
					}) && !s.ofChart(p) {
						wrong(name(p), "is about port %d, which none of its pods has", n)
					}
				}
			}
		}
	}
}

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
		chain("Job kafka-selftest", "Deployment external-dns")
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

// quantity reads an amount as Kubernetes writes it.
func quantity(text string) (float64, error) {
	for _, unit := range []struct {
		suffix string
		factor float64
	}{{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"m", 1e-3}, {"", 1}} {
		if number, ok := strings.CutSuffix(text, unit.suffix); ok {
			n, err := strconv.ParseFloat(number, 64)
			if err != nil {
				return 0, fmt.Errorf("quantity %q: %w", text, err)
			}
			return n * unit.factor, nil
		}
	}
	panic("unreachable")
}

// pod is what the scheduler sees of one.
type pod struct {
	name, release string
	cpu, memory   float64
	alone         bool // never beside another of its name
	every         bool // one on each node
}

// chartPods are those of charts, as the values that we give them say.
func (s *side) chartPods() (out []pod) {
	for _, c := range []struct {
		release, name string
		path          []string
		every         bool
	}{
		{"chaos-mesh", "chaos-daemon", []string{"chaosDaemon"}, true},
		{"chaos-mesh", "chaos-controller-manager", []string{"controllerManager"}, false},
		{"kube-prometheus-stack", "node-exporter", []string{"prometheus-node-exporter"}, true},
		{"kube-prometheus-stack", "kube-state-metrics", []string{"kube-state-metrics"}, false},
		{"kube-prometheus-stack", "operator", []string{"prometheusOperator"}, false},
		{"kube-prometheus-stack", "prometheus", []string{"prometheus", "prometheusSpec"}, false},
		{"kube-prometheus-stack", "grafana", []string{"grafana"}, false},
		{"node-problem-detector", "node-problem-detector", nil, true},
		{"metrics-server", "metrics-server", nil, false},
	} {
		r := firstOf(s.all("Release"), c.release)
		if r.URN == "" || c.name == "grafana" && s.config.Role == source {
			continue
		}
		requests := object(object(r.Inputs, append([]string{"values"}, c.path...)...), "resources", "requests")
		p := pod{name: c.name, release: c.release, every: c.every}
		p.cpu, _ = quantity(word(requests, "cpu"))
		p.memory, _ = quantity(word(requests, "memory"))
		out = append(out, p)
	}
	return out
}

// eksPods are what EKS's add-ons ask for, by estimate: aws-node with its network policy agent,
// kube-proxy, the Pod Identity agent, and two of CoreDNS.
var eksPods = []pod{
	{name: "aws-node", cpu: 0.05, memory: 64 << 20, every: true},
	{name: "kube-proxy", cpu: 0.1, memory: 64 << 20, every: true},
	{name: "eks-pod-identity-agent", cpu: 0.01, memory: 64 << 20, every: true},
	{name: "coredns", cpu: 0.1, memory: 70 << 20},
	{name: "coredns", cpu: 0.1, memory: 70 << 20},
}

// nodeSizes are what is left of a node for pods. m6i.xlarge has 4 vCPUs and 16 GiB, of which the kernel
// leaves about 15.2; EKS reserves 80 millicores, and 255 MiB and 11 MiB for each of 58 pods, and pods
// are evicted below 100 MiB.
// https://github.com/awslabs/amazon-eks-ami/blob/main/nodeadm/internal/kubelet/config.go
var nodeSizes = map[string]struct{ cpu, memory float64 }{
	"m6i.xlarge": {3.92, 15.2*(1<<30) - (255+11*58+100)*(1<<20)},
}

// imagesOnDisk is what images and logs take of a node's disk, bytes, by estimate; the kubelet evicts pods
// when less than a tenth is free.
const imagesOnDisk = 15 << 30

func checkScheduling(g *graph, wrong complain) {
	for _, s := range g.sides() {
		if !s.config.aws() {
			continue
		}
		group := s.one("NodeGroup", "")
		types := words(group.Get("instanceTypes"))
		size, known := nodeSizes[types[0]]
		if !known {
			wrong(name(group), "it is not known what fits on %s", types[0])
			continue
		}
		nodes, _ := group.Get("scalingConfig.desiredSize").(int)
		if nodes != s.config.Cluster().Nodes {
			wrong(name(group), "has %d nodes, and %d are asked for", nodes, s.config.Cluster().Nodes)
		}
		everywhere, apart, others := []pod{}, []pod{}, []pod{}
		for _, p := range append(s.chartPods(), eksPods...) {
			if p.every {
				everywhere = append(everywhere, p)
			} else {
				others = append(others, p)
			}
		}
		for _, w := range s.workloads() {
			p := pod{name: name(w.Resource), every: kind(w.Resource) == "DaemonSet"}
			for _, c := range list(w.spec, "containers") {
				cpu, _ := quantity(word(c, "resources", "requests", "cpu"))
				memory, _ := quantity(word(c, "resources", "requests", "memory"))
				p.cpu, p.memory = p.cpu+cpu, p.memory+memory
			}
			disk := 0.0
			for _, v := range list(w.spec, "volumes") {
				if in(v, "emptyDir") != nil {
					limit, err := quantity(word(v, "emptyDir", "sizeLimit"))
					if err != nil {
						wrong(p.name, "volume %s has no limit", word(v, "name"))
					}
					disk += limit
				}
			}
			if most := float64(s.config.NodeDisk)*0.9 - imagesOnDisk; disk > most {
				wrong(p.name, "may write %.0f GiB, and a node's disk has room for %.0f", disk/(1<<30), most/(1<<30))
			}
			for _, term := range list(w.spec, "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution") {
				p.alone = p.alone || word(term, "topologyKey") == "kubernetes.io/hostname" && selects(object(term, "labelSelector"), w.labels)
			}
			switch {
			case p.every:
				everywhere = append(everywhere, p)
			case p.alone:
				apart = append(apart, slices.Repeat([]pod{p}, w.replicas)...)
			default:
				others = append(others, slices.Repeat([]pod{p}, w.replicas)...)
			}
		}
		for _, p := range everywhere {
			size.cpu, size.memory = size.cpu-p.cpu, size.memory-p.memory
		}
		// The scheduler takes pods as they come, and spreads them: both orders must work.
		for _, order := range [][]pod{slices.Concat(apart, others), slices.Concat(others, apart)} {
			if p, ok := place(order, nodes, size.cpu, size.memory); !ok {
				wrong(p.name, "%.2f CPU and %.0f MiB find no place on any of %d nodes of %s with %.2f CPU and %.0f MiB each", p.cpu, p.memory/(1<<20), nodes, types[0], size.cpu, size.memory/(1<<20))
				break
			}
		}
	}
}

// place puts each pod on the emptiest node that takes it, and returns the first that none takes.
func place(pods []pod, nodes int, cpu, memory float64) (pod, bool) {
	type node struct {
		cpu, memory float64
		has         map[string]bool
	}
	all := make([]node, nodes)
	for i := range all {
		all[i] = node{cpu, memory, map[string]bool{}}
	}
	for _, p := range pods {
		best := -1
		for i, n := range all {
			if n.cpu < p.cpu || n.memory < p.memory || p.alone && n.has[p.name] {
				continue
			}
			if best < 0 || n.memory > all[best].memory {
				best = i
			}
		}
		if best < 0 {
			return p, false
		}
		all[best].cpu, all[best].memory = all[best].cpu-p.cpu, all[best].memory-p.memory
		all[best].has[p.name] = true
	}
	return pod{}, true
}

// Nothing depends on a component of ours as a whole. The Go SDK takes a component for the children that
// have joined it when it is asked, and each joins in a goroutine of its own, some moments after it was
// registered: who depends on the component misses some of them now and then.
func TestGraphNothingDependsOnAComponent(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.source.Up()
	for role, base := range map[string]*enginetest.Stack{source: p.source, destination: p.destination} {
		var s *enginetest.Stack
		s = enginetest.New(t, func(ctx *pulumi.Context) error {
			if err := ctx.RegisterStackTransformation(func(args *pulumi.ResourceTransformationArgs) *pulumi.ResourceTransformationResult {
				options, err := pulumi.NewResourceOptions(args.Opts...)
				if err != nil {
					t.Error(err)
					return nil
				}
				for _, on := range options.DependsOn {
					if _, custom := on.(pulumi.CustomResource); !custom {
						t.Errorf("%s: %s %s depends on all of the component %T: name what it needs of it", role, args.Type, args.Name, on)
					}
				}
				return nil
			}); err != nil {
				return err
			}
			return program(ctx, s.Config())
		}, enginetest.WithName(projectName, strings.TrimSuffix(strings.TrimPrefix(stackFiles[role], "Pulumi."), ".yaml")), enginetest.WithoutPreview())
		for key, value := range base.Config() {
			s.SetConfig(key, value)
		}
		s.Peer("us-east-1", p.source)
		s.Up()
		s.SetConfig("fault", `{"kind":"broker-kill","victims":[3],"run":1}`)
		s.Up()
	}
}

// An update that fails in the middle is completed by the next ones, each of which gets further; then
// nothing is left to do. No fault is injected while the first update has not ended well.
func TestGraphFailedUpdatesAreCompleted(t *testing.T) {
	t.Parallel()
	p := newPair(t, fault(`{"kind":"broker-kill","victims":[3],"run":1}`))
	p.destination.SetConfig("replicator", "ureplicator")
	for _, side := range []struct {
		stack *enginetest.Stack
		least int // updates that fail: each of so many needs the one before
		fails []string
	}{
		{p.source, 7, []string{
			"aws:ec2/natGateway:NatGateway us-east-1", "aws:eks/nodeGroup:NodeGroup us-east-1", "aws:eks/addon:Addon us-east-1-coredns",
			"kubernetes:core/v1:Namespace source", "kubernetes:apps/v1:StatefulSet kafka", "!kubernetes:batch/v1:Job kafka-selftest",
			"kubernetes:helm.sh/v3:Release chaos-mesh", "!kubernetes:apps/v1:StatefulSet producer",
		}},
		{p.destination, 4, []string{
			"aws:ec2/vpcPeeringConnectionAccepter:VpcPeeringConnectionAccepter peering", "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule peering-peer-kafka",
			"kubernetes:apps/v1:StatefulSet replicator-worker", "!kubernetes:batch/v1:Job replicator-register", "kubernetes:helm.sh/v3:Release kube-prometheus-stack",
			"!kubernetes:batch/v1:Job replicator-selftest",
		}},
	} {
		for _, fail := range side.fails {
			typ, name, _ := strings.Cut(strings.TrimPrefix(fail, "!"), " ")
			if fail[0] == '!' { // made, but not ready in time
				side.stack.FailInitOnce(typ, name)
			} else {
				side.stack.FailOnce(typ, name)
			}
		}
		failed := 0
		for _, err := side.stack.TryUp(); err != nil; _, err = side.stack.TryUp() {
			if failed++; failed > len(side.fails) {
				t.Fatalf("update %d still fails: %v", failed, err)
			}
			for _, r := range side.stack.Resources() {
				if strings.HasSuffix(r.Type, "Chaos") {
					t.Errorf("%s is injected, and the first update has not ended", r.Name)
				}
			}
		}
		if failed < side.least {
			t.Errorf("%d updates failed, which %d must", failed, side.least)
		}
		if changes := side.stack.Up().Changes(); len(changes) > 0 {
			t.Errorf("a further update changes %q", changes)
		}
	}
	down := p.destination.Destroy()
	inOrder(t, down, "Release kube-prometheus-stack", "Route peering-peer", "VpcPeeringConnection peering", "Vpc eu-west-1")
	inOrder(t, down, "StatefulSet replicator-worker", "SecurityGroupIngressRule peering-peer-kafka")
	if p.source.Refresh(); len(p.source.Resources()) == 0 {
		t.Error("the source is gone with the destination")
	}
	inOrder(t, p.source.Destroy(), "Release chaos-mesh", "NodeGroup us-east-1", "Cluster us-east-1-eksCluster", "Route us-east-1-private-nat", "NatGateway us-east-1", "Vpc us-east-1")
	for _, s := range []*enginetest.Stack{p.source, p.destination} {
		for _, r := range s.Resources() {
			t.Errorf("destroy leaves %s", name(r))
		}
	}
}

// inOrder reports what is not done, or not in this order.
func inOrder(t *testing.T, r *enginetest.Result, names ...string) {
	t.Helper()
	last := -1
	for _, n := range names {
		i := slices.IndexFunc(r.Steps, func(s enginetest.Step) bool {
			return strings.HasSuffix(s.Type, ":"+strings.Fields(n)[0]) && s.Name == strings.Fields(n)[1]
		})
		if i < 0 {
			t.Errorf("%s is not deleted", n)
		}
		if i < last {
			t.Errorf("%s is deleted at step %d, too early", n, i)
		}
		last = i
	}
}
