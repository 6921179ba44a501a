package enginetest

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
)

// kubernetesKind is the double of pulumi-kubernetes v4. Unless said otherwise what it knows is from
// https://github.com/pulumi/pulumi-kubernetes/blob/v4.26.0/provider/pkg/provider/provider.go
type kubernetesKind struct{}

const (
	releaseType = "kubernetes:helm.sh/v3:Release"
	autonamed   = "pulumi.com/autonamed"
)

// kubernetesForceNew are the properties that only a replacement can change, by "group/version:Kind"
// of the type. Every object adds metadata.name and metadata.namespace; ConfigMaps and Secrets are
// below. Custom resources of any kind have no others.
// https://github.com/pulumi/pulumi-kubernetes/blob/v4.26.0/provider/pkg/provider/diff.go
var kubernetesForceNew = map[string][]string{
	"apps/v1:DaemonSet":  {"spec.selector"},
	"apps/v1:Deployment": {"spec.selector"},
	"apps/v1:StatefulSet": {"spec.podManagementPolicy", "spec.revisionHistoryLimit", "spec.selector", "spec.serviceName",
		"spec.volumeClaimTemplates"},
	"batch/v1:Job":                                    {"spec.completions", "spec.parallelism", "spec.selector", "spec.template"},
	"core/v1:PersistentVolumeClaim":                   {"spec.accessModes", "spec.selector", "spec.storageClassName", "spec.volumeName"},
	"core/v1:ResourceQuota":                           {"spec.scopes"},
	"core/v1:Service":                                 {"spec.clusterIP"},
	"rbac.authorization.k8s.io/v1:ClusterRoleBinding": {"roleRef"},
	"rbac.authorization.k8s.io/v1:RoleBinding":        {"roleRef"},
	"storage.k8s.io/v1:StorageClass":                  {"parameters", "provisioner"},
}

// clusterScoped are the kinds without a namespace that the double knows.
var clusterScoped = map[string]bool{
	"core/v1:Namespace": true, "core/v1:PersistentVolume": true, "core/v1:Node": true,
	"rbac.authorization.k8s.io/v1:ClusterRole": true, "rbac.authorization.k8s.io/v1:ClusterRoleBinding": true,
	"storage.k8s.io/v1:StorageClass": true, "scheduling.k8s.io/v1:PriorityClass": true,
	"apiextensions.k8s.io/v1:CustomResourceDefinition": true, "storage.k8s.io/v1:CSIDriver": true,
}

// groupKind returns "apps/v1:StatefulSet" of "kubernetes:apps/v1:StatefulSet".
func groupKind(typ string) string {
	_, kind, _ := strings.Cut(typ, ":")
	return kind
}

func (kubernetesKind) check(d *double, req plugin.CheckRequest) (resource.PropertyMap, []plugin.CheckFailure) {
	if string(req.Type) == releaseType {
		return checkRelease(req), nil
	}
	inputs := req.News.Copy()
	metadata := object(inputs["metadata"]).Copy()
	old := object(req.Olds["metadata"])
	if !metadata.HasValue("name") && !metadata.HasValue("generateName") {
		if object(old["annotations"]).HasValue(autonamed) {
			metadata["name"] = old["name"]
		} else if name, err := resource.NewUniqueName(req.RandomSeed, req.Name+"-", 8, 0, nil); err == nil {
			metadata["name"] = resource.NewProperty(name)
		}
		annotations := object(metadata["annotations"]).Copy()
		annotations[autonamed] = resource.NewProperty("true")
		metadata["annotations"] = resource.NewProperty(annotations)
	}
	if namespace := d.setting("namespace"); namespace != "" && !metadata.HasValue("namespace") && !clusterScoped[groupKind(string(req.Type))] {
		metadata["namespace"] = resource.NewProperty(namespace)
	}
	inputs["metadata"] = resource.NewProperty(metadata)
	return inputs, checkMetadata(string(req.Type), metadata)
}

var (
	dnsLabel     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	dnsSubdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	labelKey     = regexp.MustCompile(`^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)
	labelValue   = regexp.MustCompile(`^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$`)
)

// checkMetadata judges names as the API server does:
// https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ and .../labels/
func checkMetadata(typ string, metadata resource.PropertyMap) []plugin.CheckFailure {
	var failures []plugin.CheckFailure
	refuse := func(path, value, what string) {
		failures = append(failures, plugin.CheckFailure{
			Property: resource.PropertyKey(path), Reason: fmt.Sprintf("Invalid value: %q: %s", value, what),
		})
	}
	name, label := text(metadata["name"]), typ == "kubernetes:core/v1:Namespace" || typ == "kubernetes:core/v1:Service"
	switch {
	case name == "" || strings.HasPrefix(typ, "kubernetes:rbac."): // unknown, or free
	case label && !dnsLabel.MatchString(name):
		refuse("metadata.name", name, "not a DNS label: at most 63 of a-z, 0-9 and -")
	case len(name) > 253 || !dnsSubdomain.MatchString(name):
		refuse("metadata.name", name, "not a DNS subdomain: a-z, 0-9, - and .")
	}
	for k, v := range object(metadata["labels"]) {
		if !labelKey.MatchString(string(k)) || v.IsString() && !labelValue.MatchString(v.StringValue()) {
			refuse("metadata.labels", string(k)+"="+text(v), "not a label: at most 63 of A-Z, a-z, 0-9, -, _ and .")
		}
	}
	for k, v := range object(metadata["annotations"]) {
		if !labelKey.MatchString(string(k)) || !v.IsString() && !v.IsComputed() && !v.IsSecret() {
			refuse("metadata.annotations", string(k), "not an annotation: a label's key and a string")
		}
	}
	return failures
}

// immutable are the properties that the API server lets nobody change and that the provider does not
// know to replace, by kind: the ValidateUpdate functions in
// https://github.com/kubernetes/kubernetes/tree/v1.34.4/pkg/apis
var immutable = map[string][]string{
	"batch/v1:Job":                       {"spec.backoffLimitPerIndex", "spec.completionMode", "spec.managedBy", "spec.podFailurePolicy", "spec.successPolicy"},
	"core/v1:PersistentVolumeClaim":      {"spec.volumeMode"},
	"scheduling.k8s.io/v1:PriorityClass": {"preemptionPolicy", "value"},
	"storage.k8s.io/v1:StorageClass":     {"reclaimPolicy", "volumeBindingMode"},
}

func (kubernetesKind) refuse(d *double, urn resource.URN, old, inputs resource.PropertyMap) error {
	kind := groupKind(string(urn.Type()))
	if old == nil {
		id, _ := objectID(d, urn, inputs)
		return d.s.cloud.taken(objectKey(d.cluster(), urn, id), urn)
	}
	for path := range plugin.NewDetailedDiffFromObjectDiff(reveal(old).Diff(reveal(inputs)), true) {
		if matches(immutable[kind], path) {
			return fmt.Errorf("%s: Forbidden: field is immutable; the provider does not replace for it, so name the change in pulumi.ReplaceOnChanges", path)
		}
	}
	return nil
}

func (kubernetesKind) updated(plugin.UpdateRequest, resource.PropertyMap) {}

// taken returns an error if another resource made the object.
func (c *cloud) taken(key string, urn resource.URN) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if by, ok := c.live[key]; ok && by != urn {
		return fmt.Errorf("it already exists, made by %s", by)
	}
	return nil
}

// objectKey names an object in a cluster. Versions of a kind are the same object.
func objectKey(cluster string, urn resource.URN, id string) string {
	group, kind, _ := strings.Cut(groupKind(string(urn.Type())), ":")
	group, _, _ = strings.Cut(group, "/")
	return cluster + " " + group + " " + kind + " " + id
}

// cluster tells apart the places where a name can be used once: clusters, and regions of AWS.
func (d *double) cluster() string {
	if d.pkg == "aws" {
		return d.region()
	}
	return d.setting("kubeconfig") + d.setting("context")
}

// outdated says that a Job that failed is made again, where it asks for it.
func (kubernetesKind) outdated(d *double, req plugin.DiffRequest) []string {
	const annotation = "pulumi.com/replaceUnready"
	asks := text(object(object(req.NewInputs["metadata"])["annotations"])[annotation]) == "true"
	if asks && groupKind(string(req.Type)) == "batch/v1:Job" && d.s.cloud.failed(req.URN) {
		return []string{`metadata.annotations["` + annotation + `"]`}
	}
	return nil
}

// configDiff says so where the kubeconfig leads to another cluster, or may: one that is not known yet
// makes a preview announce that everything in the cluster is replaced.
func (kubernetesKind) configDiff(req plugin.DiffConfigRequest) []string {
	if id := text(req.NewInputs["clusterIdentifier"]); id != "" {
		if old := text(req.OldInputs["clusterIdentifier"]); old != "" && old != id {
			return []string{"clusterIdentifier"}
		}
		if text(req.OldInputs["clusterIdentifier"]) == id {
			return nil
		}
	}
	for _, k := range []resource.PropertyKey{"kubeconfig", "context", "cluster"} {
		if req.NewInputs[k].ContainsUnknowns() {
			return []string{string(k)}
		}
	}
	old, knownOld := activeCluster(req.OldInputs)
	new, knownNew := activeCluster(req.NewInputs)
	if knownOld && knownNew && !reflect.DeepEqual(old, new) {
		return []string{"kubeconfig", "context", "cluster"}
	}
	return nil
}

// activeCluster returns the cluster that the provider's configuration leads to.
func activeCluster(inputs resource.PropertyMap) (any, bool) {
	var config struct {
		Current  string `yaml:"current-context"`
		Contexts []struct {
			Name    string
			Context struct{ Cluster string }
		}
		Clusters []struct {
			Name    string
			Cluster any
		}
	}
	if err := yaml.Unmarshal([]byte(text(inputs["kubeconfig"])), &config); err != nil {
		return nil, false
	}
	if c := text(inputs["context"]); c != "" {
		config.Current = c
	}
	for _, c := range config.Contexts {
		if c.Name != config.Current {
			continue
		}
		name := c.Context.Cluster
		if n := text(inputs["cluster"]); n != "" {
			name = n
		}
		for _, c := range config.Clusters {
			if c.Name == name {
				return c.Cluster, true
			}
		}
	}
	return nil, false
}

// object returns the object in v, secret or not; never nil.
func object(v resource.PropertyValue) resource.PropertyMap {
	if v.IsSecret() {
		v = v.SecretValue().Element
	}
	if v.IsObject() {
		return v.ObjectValue()
	}
	return resource.PropertyMap{}
}

func (kubernetesKind) forceNew(d *double, req plugin.DiffRequest, path string) bool {
	if string(req.Type) == releaseType {
		return matches(releaseForceNew, path)
	}
	if matches([]string{"metadata.name", "metadata.namespace"}, path) {
		return true
	}
	immutable := req.NewInputs["immutable"]
	fixed := immutable.IsBool() && immutable.BoolValue()
	switch kind := groupKind(string(req.Type)); kind {
	case "core/v1:ConfigMap":
		return (fixed || d.setting("enableConfigMapMutable") != "true") && matches([]string{"binaryData", "data"}, path)
	case "core/v1:Secret":
		return path == "type" || (fixed || d.setting("enableSecretMutable") != "true") && matches([]string{"data", "stringData"}, path)
	default:
		return matches(kubernetesForceNew[kind], path)
	}
}

// deleteFirst says so where the user chose the name and it stays: two objects of one name cannot be.
// A Release is never deleted first.
func (kubernetesKind) deleteFirst(req plugin.DiffRequest) bool {
	if string(req.Type) == releaseType {
		return false
	}
	old, new := object(req.OldInputs["metadata"]), object(req.NewInputs["metadata"])
	return !object(new["annotations"]).HasValue(autonamed) &&
		text(old["name"]) == text(new["name"]) && text(old["namespace"]) == text(new["namespace"])
}

// objectID returns the id of an object or a release, and its namespace, empty for what is in none.
func objectID(d *double, urn resource.URN, inputs resource.PropertyMap) (id, namespace string) {
	in := object(inputs["metadata"])
	if string(urn.Type()) == releaseType {
		in = inputs
	}
	id = text(in["name"])
	if id == "" {
		id = text(in["generateName"]) + d.s.cloud.id(urn, 5)
	}
	if clusterScoped[groupKind(string(urn.Type()))] {
		return id, ""
	}
	namespace = text(in["namespace"])
	if namespace == "" {
		namespace = "default"
	}
	return namespace + "/" + id, namespace
}

func (kubernetesKind) create(d *double, urn resource.URN, inputs resource.PropertyMap) (string, resource.PropertyMap) {
	id, namespace := objectID(d, urn, inputs)
	if string(urn.Type()) == releaseType {
		return id, resource.NewPropertyMapFromMap(map[string]any{
			"namespace": namespace,
			"status": map[string]any{
				"name": text(inputs["name"]), "namespace": namespace, "revision": 1, "status": "deployed",
				"chart": text(inputs["chart"]), "version": text(inputs["version"]), "appVersion": "",
			},
		})
	}
	out := map[string]any{"metadata": map[string]any{
		"uid": d.s.cloud.id(urn, 32), "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z",
	}}
	if groupKind(string(urn.Type())) == "core/v1:Service" {
		out["spec"] = map[string]any{"clusterIP": "172.20.0.10", "type": "ClusterIP"}
	}
	return id, resource.NewPropertyMapFromMap(out)
}

var releaseForceNew = []string{"name", "namespace"}

func checkRelease(req plugin.CheckRequest) resource.PropertyMap {
	inputs := req.News.Copy()
	if !inputs.HasValue("name") {
		if old, ok := req.Olds["name"]; ok {
			inputs["name"] = old
		} else if name, err := resource.NewUniqueName(req.RandomSeed, req.Name+"-", 8, 0, nil); err == nil {
			inputs["name"] = resource.NewProperty(name)
		}
	}
	return inputs
}
