package main

import (
	"fmt"
	"slices"
	"strings"
)

// image is one that the stacks run.
type image struct {
	// Key is its name under the object `images` in the configuration of both stacks.
	Key string
	// Repository is the last part of its repository's name; upper case is not allowed there.
	Repository string
	// Upstream is where it is copied from; empty for the one that is built here.
	Upstream string
	// Optional images are copied only when asked for.
	Optional bool
	// About says what it is for.
	About string
}

// keyLoadgen is the image that is built from this source tree.
const keyLoadgen = "loadgen"

// catalogue lists the images that the stacks run, beside those that Helm charts bring along. The keys
// are those that stacks/settings.go knows.
func catalogue() []image {
	return []image{
		{Key: keyLoadgen, Repository: "loadgen", About: "load tools and the JMX agent, built here"},
		{Key: "kafka", Repository: "kafka", Upstream: "docker.io/apache/kafka:3.9.2", About: "brokers, ZooKeeper, MirrorMaker 2"},
		{Key: "externalDns", Repository: "external-dns", Upstream: "registry.k8s.io/external-dns/external-dns:v0.19.0", About: "names of brokers in the private zone"},
		{Key: "headlamp", Repository: "headlamp", Upstream: "ghcr.io/headlamp-k8s/headlamp:v0.45.0", About: "live map"},
		// Retired by their makers; these are their last versions.
		{Key: "weavescope", Repository: "weavescope", Upstream: "docker.io/weaveworks/scope:1.13.2", Optional: true, About: "the talk's live map, retired"},
		{Key: "kubernetesDashboard", Repository: "kubernetes-dashboard", Upstream: "docker.io/kubernetesui/dashboard:v2.7.0", Optional: true, About: "the talk's dashboard, retired"},
		// The talk's, as a starting point: whether they can still be pulled, and whether they meet the
		// contract in infra/replicator, is unverified.
		{Key: "ureplicator", Repository: "ureplicator", Upstream: "docker.io/rantav/ureplicator:1c1677d", Optional: true, About: "uReplicator of the talk, unverified"},
		{Key: "brooklin", Repository: "brooklin", Upstream: "docker.io/rantav/brooklin:1.0.2-0", Optional: true, About: "Brooklin of the talk, unverified"},
	}
}

// choose returns the images to work on: those named in only, else all, else all that are not
// optional. upstreams replaces, by key, where an image is copied from.
func choose(only []string, all bool, upstreams map[string]string) ([]image, error) {
	images := catalogue()
	byKey := map[string]int{}
	var keys []string
	for i, im := range images {
		byKey[im.Key] = i
		keys = append(keys, im.Key)
	}
	for key, upstream := range upstreams {
		i, known := byKey[key]
		switch {
		case !known:
			return nil, fmt.Errorf("--upstream %s=%s: there is no image %q: use one of %s", key, upstream, key, strings.Join(keys, ", "))
		case images[i].Upstream == "":
			return nil, fmt.Errorf("--upstream %s=%s: %s is built here, not copied", key, upstream, key)
		}
		images[i].Upstream = upstream
	}
	for _, key := range only {
		if _, known := byKey[key]; !known {
			return nil, fmt.Errorf("--only %s: there is no such image: use one of %s", key, strings.Join(keys, ", "))
		}
	}
	return slices.DeleteFunc(images, func(im image) bool {
		if len(only) > 0 {
			return !slices.Contains(only, im.Key)
		}
		_, named := upstreams[im.Key]
		return im.Optional && !all && !named
	}), nil
}
