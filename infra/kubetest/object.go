package kubetest

import "strings"

// Object is a Kubernetes object as JSON.
type Object = map[string]any

// ID names an object in a cluster.
type ID struct{ APIVersion, Kind, Namespace, Name string }

// IDOf returns an object's.
func IDOf(o Object) ID {
	return ID{At[string](o, "apiVersion"), At[string](o, "kind"), At[string](o, "metadata", "namespace"), At[string](o, "metadata", "name")}
}

// String is the kind and the name.
func (id ID) String() string {
	return strings.TrimSpace(id.Kind + " " + strings.TrimPrefix(id.Namespace+"/"+id.Name, "/"))
}

// At returns what is at the path in JSON; the zero value if there is nothing, or something else.
func At[T any](o any, path ...string) T {
	for _, key := range path {
		m, _ := o.(map[string]any)
		o = m[key]
	}
	value, _ := o.(T)
	return value
}

// Int returns the number at the path, 0 if there is none.
func Int(o any, path ...string) int { return int(At[float64](o, path...)) }
