package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/AppsFlyer/kafka-mirror-tester/images/catalogue"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/chaos"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/livemap"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/monitoring"
)

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
			s.checkChartsImages(r, wrong)
		}
	}
}

// charts are the releases by the keys of their charts in the catalogue.
var charts = map[string]string{
	catalogue.ChaosMesh: "chaos-mesh", catalogue.KubePrometheusStack: "kube-prometheus-stack",
	catalogue.NodeProblemDetector: "node-problem-detector", catalogue.MetricsServer: "metrics-server",
}

// checkChartsImages: a release's values name every image of its chart, from our registry and by digest.
func (s *side) checkChartsImages(r enginetest.Resource, wrong complain) {
	values := fmt.Sprint(r.Get("values"))
	for _, image := range catalogue.All() {
		if charts[image.Chart] != r.Name || strings.HasPrefix(image.Key, "grafana") && in(r.Inputs, "values", "grafana", "enabled") == false {
			continue
		}
		if _, digest, _ := strings.Cut(s.config.Images[image.Key], "@sha256:"); !strings.Contains(values, digest) || !strings.Contains(values, strings.ToLower(image.Key)) {
			wrong(name(r), "does not run images.%s, %s", image.Key, s.config.Images[image.Key])
		}
	}
	walk(r.Get("values"), "values", func(path, text string) {
		if strings.HasSuffix(path, "mage.registry") && text != "registry.example" || strings.HasSuffix(path, "pauseImage") && !pinned.MatchString(text) {
			wrong(name(r), "%s is %s", path, text)
		}
	})
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
