package kubetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Applier does to a cluster what Pulumi's Kubernetes provider would do for the engine: server-side apply
// with strict validation, deletion with what an object owns, and the wait for each object to become
// ready or to be gone, unless its annotation says not to wait.
// https://www.pulumi.com/registry/packages/kubernetes/installation-configuration/
type Applier struct {
	*Client
	// Patience bounds how long an object may take, 0 for five minutes.
	Patience time.Duration
}

const skipAwait = "pulumi.com/skipAwait"

// Create makes an object, which must not be there yet. It does not wait for it.
func (a *Applier) Create(ctx context.Context, o Object) error {
	id := IDOf(o)
	path, err := a.pathOf(ctx, o)
	if err != nil {
		return err
	}
	switch _, err := a.object(ctx, http.MethodGet, path, nil, "", nil); {
	case err == nil:
		return fmt.Errorf("create %s: it is there already", id)
	case !IsCode(err, http.StatusNotFound):
		return err
	}
	return a.apply(ctx, "create", o)
}

// Update changes an object, which must be there, and does not wait for it.
func (a *Applier) Update(ctx context.Context, o Object) error {
	path, err := a.pathOf(ctx, o)
	if err != nil {
		return err
	}
	if _, err := a.object(ctx, http.MethodGet, path, nil, "", nil); err != nil {
		return fmt.Errorf("update %s: %w", IDOf(o), err)
	}
	return a.apply(ctx, "update", o)
}

func (a *Applier) apply(ctx context.Context, what string, o Object) error {
	if _, err := a.Apply(ctx, o); err != nil {
		return fmt.Errorf("%s %s: %w", what, IDOf(o), err)
	}
	return nil
}

// AwaitUnlessSkipped waits until an object is ready, unless it says that nobody is to.
func (a *Applier) AwaitUnlessSkipped(ctx context.Context, o Object) error {
	if At[string](o, "metadata", "annotations", skipAwait) == "true" {
		return nil
	}
	return a.Await(ctx, IDOf(o))
}

// Await waits until an object is ready.
func (a *Applier) Await(ctx context.Context, id ID) error {
	return Wait(ctx, a.patience(), id.String(), func(ctx context.Context) error {
		o, err := a.Get(ctx, id.APIVersion, id.Kind, id.Namespace, id.Name)
		if err != nil {
			return err
		}
		return a.ready(ctx, o)
	})
}

func (a *Applier) patience() time.Duration {
	if a.Patience == 0 {
		return patience
	}
	return a.Patience
}

// ready returns what is missing.
func (a *Applier) ready(ctx context.Context, o Object) error {
	if Int(o, "status", "observedGeneration") < Int(o, "metadata", "generation") && hasObserved[At[string](o, "kind")] {
		return errors.New("its controller has not seen it yet")
	}
	replicas := Int(o, "spec", "replicas")
	switch At[string](o, "kind") {
	case "StatefulSet":
		if updated := Int(o, "status", "updatedReplicas"); updated < replicas && At[string](o, "spec", "updateStrategy", "type") != "OnDelete" {
			return fmt.Errorf("%d of %d pods are of its last version", updated, replicas)
		}
		if ready, all := Int(o, "status", "readyReplicas"), Int(o, "status", "replicas"); ready != replicas || all != replicas {
			return fmt.Errorf("%d of %d pods are ready, %d are wanted", ready, all, replicas)
		}
	case "Deployment":
		if updated, available := Int(o, "status", "updatedReplicas"), Int(o, "status", "availableReplicas"); updated < replicas || available < replicas {
			return fmt.Errorf("%d of %d pods are available, %d of its last version", available, replicas, updated)
		}
	case "DaemonSet":
		if want, available := Int(o, "status", "desiredNumberScheduled"), Int(o, "status", "numberAvailable"); want == 0 || available < want || Int(o, "status", "updatedNumberScheduled") < want {
			return fmt.Errorf("%d of %d pods are available", available, want)
		}
	case "Job":
		if Condition(o, "Failed") == "True" {
			return Hopeless(errors.New("it failed"))
		}
		if Condition(o, "Complete") != "True" {
			return errors.New("it is not complete")
		}
	case "Service":
		if At[string](o, "spec", "type") == "LoadBalancer" && len(At[[]any](o, "status", "loadBalancer", "ingress")) == 0 {
			return errors.New("its load balancer has no address")
		}
		if len(At[Object](o, "spec", "selector")) > 0 && At[string](o, "spec", "clusterIP") != "None" {
			return a.hasEndpoints(ctx, o)
		}
	case "Namespace":
		if phase := At[string](o, "status", "phase"); phase != "Active" {
			return fmt.Errorf("it is %s", phase)
		}
	}
	return nil
}

var hasObserved = map[string]bool{"StatefulSet": true, "Deployment": true, "DaemonSet": true}

func (a *Applier) hasEndpoints(ctx context.Context, service Object) error {
	n, err := a.Endpoints(ctx, IDOf(service))
	if err == nil && n == 0 {
		return errors.New("it has no endpoints")
	}
	return err
}

// Endpoints counts the addresses behind a Service.
func (a *Applier) Endpoints(ctx context.Context, service ID) (int, error) {
	slices, err := a.List(ctx, "discovery.k8s.io/v1", "EndpointSlice", service.Namespace, "kubernetes.io/service-name="+service.Name)
	n := 0
	for _, s := range slices {
		n += len(At[[]any](s, "endpoints"))
	}
	return n, err
}

// Delete deletes an object, which must be there, and waits until it is gone.
func (a *Applier) Delete(ctx context.Context, id ID) error {
	if err := a.Client.Delete(ctx, id.APIVersion, id.Kind, id.Namespace, id.Name); err != nil {
		return fmt.Errorf("delete %s: %w", id, err)
	}
	return Wait(ctx, a.patience(), "the end of "+id.String(), func(ctx context.Context) error {
		o, err := a.Get(ctx, id.APIVersion, id.Kind, id.Namespace, id.Name)
		switch {
		case IsCode(err, http.StatusNotFound):
			return nil
		case err != nil:
			return err
		}
		var finalizers []string
		for _, f := range At[[]any](o, "metadata", "finalizers") {
			finalizers = append(finalizers, fmt.Sprint(f))
		}
		return fmt.Errorf("it is still there; finalizers: %s; status: %v", strings.Join(finalizers, ", "), o["status"])
	})
}
