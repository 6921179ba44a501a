package kube

import (
	"errors"
	"fmt"
	"strings"

	helm "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/helm/v3"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Chart is a Helm chart in one version.
type Chart struct {
	// Name in the repository; without a repository an oci:// address or a directory.
	Name string
	// Repository is its URL.
	Repository string
	// Version is exact.
	Version string
}

// Validate refuses a chart that is not pinned. key is the configuration key of its version.
func (c Chart) Validate(key string) error {
	var errs []error
	if c.Name == "" {
		errs = append(errs, fmt.Errorf("%s: chart without a name: name it, or give an oci:// address", key))
	}
	if c.Version == "" || strings.ContainsAny(c.Version, "^~*<>=| ") {
		errs = append(errs, fmt.Errorf("%s: version %q of chart %s: use one exact version, such as 1.2.3", key, c.Version, c.Name))
	}
	return errors.Join(errs...)
}

// releaseTimeout bounds how long `pulumi up` waits for the Deployments and DaemonSets of a release,
// seconds. Nodes that just joined pull every image for the first time.
const releaseTimeout = 900

// NewRelease installs a chart under a fixed name, so that the names of what is in it are known, and
// waits until it runs. A release that does not come up is taken away again (atomic), and the next
// update begins afresh. What a chart has in its crds directory outlives the release: Helm never
// deletes definitions, since all objects of their kinds would go with them.
func NewRelease(ctx *pulumi.Context, name string, chart Chart, namespace pulumi.StringPtrInput, values pulumi.Map, opts ...pulumi.ResourceOption) (*helm.Release, error) {
	args := &helm.ReleaseArgs{
		Name:       pulumi.String(name),
		Namespace:  namespace,
		Chart:      pulumi.String(chart.Name),
		Version:    pulumi.String(chart.Version),
		Atomic:     pulumi.Bool(true),
		Timeout:    pulumi.Int(releaseTimeout),
		MaxHistory: pulumi.Int(3),
		Values:     values,
	}
	if chart.Repository != "" {
		args.RepositoryOpts = &helm.RepositoryOptsArgs{Repo: pulumi.String(chart.Repository)}
	}
	return helm.NewRelease(ctx, name, args, opts...)
}

// ImageParts is an image's reference taken apart, as charts want it.
type ImageParts struct {
	Registry, Repository string
	Tag                  string // empty if the reference has none
	Digest               string // sha256:...
}

// SplitImage takes apart REGISTRY/REPOSITORY[:TAG]@sha256:DIGEST, a reference that CheckImage accepts.
// Without a registry it is Docker Hub's.
func SplitImage(image string) ImageParts {
	var p ImageParts
	name, digest, _ := strings.Cut(image, "@")
	p.Digest = digest
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, p.Tag = name[:i], name[i+1:]
	}
	p.Registry, p.Repository = "docker.io", name
	if host, rest, found := strings.Cut(name, "/"); found && (strings.ContainsAny(host, ".:") || host == "localhost") {
		p.Registry, p.Repository = host, rest
	}
	return p
}
