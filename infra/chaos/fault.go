package chaos

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	kubernetes "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
)

// FaultArgs is one thing to break. What a kind does not use must be zero.
type FaultArgs struct {
	// Kind is broker- or worker- and kill, outage, replace, loss, delay or partition, or it is
	// region-partition.
	Kind string
	// Run is part of the object's name, 0 or more: another run is another object, and begins afresh.
	Run int
	// Victims are the indexes of the pods that are hit; none for a region.
	Victims []int
	// Percent of the victims' outgoing packets that are lost, above 0 and up to 100.
	Percent float64
	// Latency is added to each outgoing packet of the victims, give or take Jitter.
	Latency, Jitter time.Duration
	// Duration of a lasting fault, at least 1s. Chaos Mesh counts it from the object's creation.
	Duration time.Duration

	// Brokers and Workers are the pods that may be victims.
	Brokers, Workers Pods
	// Region is what region-partition cuts off: the pods that talk across the ocean.
	Region []Pods
	// Peer are the networks of the other region, in CIDR notation.
	Peer []string
}

// Pods are the pods of one StatefulSet.
type Pods struct {
	kube.App
	// Namespace they are in; it needs InjectAnnotation.
	Namespace string
	// StatefulSet is its name: its pods are NAME-0, NAME-1, ...
	StatefulSet string
	// Container is the one that is killed.
	Container string
	// Size is how many there are. It is only checked against.
	Size int
}

// kind is what a kind of fault does: its name is a target, a dash and a key of kinds.
type kind struct {
	object  string // the kind of Chaos Mesh's custom resource
	lasting bool
	spec    func(*FaultArgs, Pods) map[string]any // beside selector, mode and duration
	check   func(*FaultArgs) error
}

func kinds() map[string]kind {
	return map[string]kind{
		// SIGKILL by the container runtime. The kubelet starts it again in the same pod: disk and address are kept.
		"kill": {object: "PodChaos", spec: func(_ *FaultArgs, p Pods) map[string]any {
			return map[string]any{"action": "container-kill", "containerNames": []string{p.Container}}
		}},
		// The containers' images are replaced for a time by one that does nothing. The pod goes down as in an
		// orderly restart (SIGTERM, and its grace period counts), and disk and address are kept.
		"outage": {object: "PodChaos", lasting: true, spec: func(*FaultArgs, Pods) map[string]any {
			return map[string]any{"action": "pod-failure"}
		}},
		// The pod is deleted without grace. The StatefulSet makes another: an empty disk, a new address.
		"replace": {object: "PodChaos", spec: func(*FaultArgs, Pods) map[string]any {
			return map[string]any{"action": "pod-kill", "gracePeriod": 0}
		}},
		"loss": {object: "NetworkChaos", lasting: true, spec: func(a *FaultArgs, _ Pods) map[string]any {
			return map[string]any{"action": "loss", "direction": "to", "loss": map[string]any{
				"loss": strconv.FormatFloat(a.Percent, 'f', -1, 64), "correlation": "0",
			}}
		}, check: func(a *FaultArgs) error {
			if !(a.Percent > 0 && a.Percent <= 100) {
				return fmt.Errorf("fault.percent: %v: use above 0 and up to 100", a.Percent)
			}
			return nil
		}},
		// The queue of delayed packets is the kernel's default, 1000 packets, which Chaos Mesh cannot change:
		// what a victim sends is bounded to that many per latency.
		"delay": {object: "NetworkChaos", lasting: true, spec: func(a *FaultArgs, _ Pods) map[string]any {
			return map[string]any{"action": "delay", "direction": "to", "delay": map[string]any{
				"latency": micros(a.Latency), "jitter": micros(a.Jitter), "correlation": "0",
			}}
		}, check: func(a *FaultArgs) error {
			if a.Latency < time.Millisecond || a.Jitter < 0 || a.Jitter > a.Latency {
				return fmt.Errorf("fault.latency: %s, fault.jitter: %s: use a latency of 1ms or more and a jitter of no more than it", a.Latency, a.Jitter)
			}
			return nil
		}},
		// Every packet from and to the victims is dropped, the kubelet's probes too; of a region, only
		// what goes to and comes from the other region.
		"partition": {object: "NetworkChaos", lasting: true, spec: func(a *FaultArgs, _ Pods) map[string]any {
			spec := map[string]any{"action": "partition", "direction": "both"}
			if a.Kind == regionPartition {
				spec["externalTargets"] = a.Peer
			}
			return spec
		}},
	}
}

const regionPartition = "region-partition"

// NewFault breaks something: it makes one object of Chaos Mesh's, and that is all. The fault begins
// when the object is made, so a stack leaves it out of its first update.
//
//   - Another Run, or any other change, deletes the object, which ends the fault, and makes another. But
//     where the change is from a fault of pods (kill, outage, replace) to one of the network or back,
//     Pulumi makes the new one first: take the old one away by an update of its own if that matters.
//   - A lasting fault is over after its duration, though the object stays. Without the fault in the
//     configuration the object is deleted; what it did is undone before it is gone.
//   - `pulumi up` does not wait until anything is broken. When the fault began and ended stands in the
//     object's status: in .status.experiment.containerRecords, for each victim, the events with type
//     Succeeded and operation Apply or Recover, and their timestamps. Conditions AllInjected and
//     AllRecovered sum them up. A lasting fault's duration runs from its creation, some seconds before.
//   - Victims that are not there are passed over by Chaos Mesh, so they are refused here.
//   - If deletion hangs, a victim's node has been lost with the daemon that would undo the fault: annotate
//     the object with chaos-mesh.chaos-mesh.org/cleanFinalizer=forced.
func NewFault(ctx *pulumi.Context, name string, mesh *Mesh, args *FaultArgs, opts ...pulumi.ResourceOption) (*apiextensions.CustomResource, error) {
	if mesh == nil {
		return nil, fmt.Errorf("fault.kind: %s: there is no Chaos Mesh: set installChaos to true, or leave the fault out", args.Kind)
	}
	if err := args.Validate(); err != nil {
		return nil, err
	}
	target, k := args.kind()
	if k.object == "NetworkChaos" && mesh.netem == nil {
		return nil, fmt.Errorf("fault.kind: %s: whether the nodes can do this was not tested: give Chaos Mesh the self-test's image", args.Kind)
	}
	depends := []pulumi.Resource{mesh.release}
	if k.object == "NetworkChaos" {
		depends = append(depends, mesh.netem)
	}
	pods := args.Brokers
	if target == "worker" {
		pods = args.Workers
	}
	spec := k.spec(args, pods)
	spec["selector"], spec["mode"] = args.selector(target, pods), "all"
	if k.lasting {
		spec["duration"] = args.Duration.String()
	}
	opts = append([]pulumi.ResourceOption{
		pulumi.Parent(mesh),
		pulumi.DependsOn(depends),
		// Chaos Mesh refuses another spec for an object that exists.
		pulumi.ReplaceOnChanges([]string{"*"}),
		pulumi.DeleteBeforeReplace(true),
	}, opts...)
	fault, err := apiextensions.NewCustomResource(ctx, name, &apiextensions.CustomResourceArgs{
		ApiVersion: pulumi.String("chaos-mesh.org/v1alpha1"),
		Kind:       pulumi.String(k.object),
		Metadata: kube.Annotated(
			kube.App{Name: args.Kind, Component: "fault"}.Meta(mesh.Namespace, fmt.Sprintf("%s-%d", args.Kind, args.Run)),
			kube.TimeoutSeconds, "300",
		),
		OtherFields: kubernetes.UntypedArgs{"spec": spec},
	}, opts...)
	if err != nil {
		return nil, fmt.Errorf("fault %s: %w", args.Kind, err)
	}
	return fault, nil
}

// kind returns the target and the entry of kinds for a.Kind.
func (a *FaultArgs) kind() (target string, k kind) {
	target, what, _ := strings.Cut(a.Kind, "-")
	return target, kinds()[what]
}

// selector picks the victims by name, or a region's pods by their labels, however many there are.
// Namespaces are given although names say them, since Chaos Mesh would add its own.
func (a *FaultArgs) selector(target string, pods Pods) map[string]any {
	if target == "region" {
		var namespaces, names []string
		for _, p := range a.Region {
			namespaces, names = append(namespaces, p.Namespace), append(names, p.App.Name)
		}
		return map[string]any{
			"namespaces": unique(namespaces),
			"expressionSelectors": []any{map[string]any{
				"key": "app.kubernetes.io/name", "operator": "In", "values": unique(names),
			}},
		}
	}
	var names []string
	for _, i := range slices.Sorted(slices.Values(a.Victims)) {
		names = append(names, fmt.Sprintf("%s-%d", pods.StatefulSet, i))
	}
	return map[string]any{
		"namespaces": []string{pods.Namespace},
		"pods":       map[string]any{pods.Namespace: names},
	}
}

func unique(s []string) []string { return slices.Compact(slices.Sorted(slices.Values(s))) }

// micros writes d as Chaos Mesh takes a latency: one number and one unit.
func micros(d time.Duration) string { return fmt.Sprintf("%dus", d.Microseconds()) }

// Validate reports every mistake in a at once; each names the key, the value and what would be right.
func (a *FaultArgs) Validate() error {
	target, k := a.kind()
	pods, known := map[string]Pods{"broker": a.Brokers, "worker": a.Workers, "region": {}}[target]
	if !known || k.object == "" || target == "region" && a.Kind != regionPartition {
		return fmt.Errorf("fault.kind: %q: use broker- or worker- and one of %s, or %s",
			a.Kind, strings.Join(slices.Sorted(maps.Keys(kinds())), ", "), regionPartition)
	}
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if a.Run < 0 {
		refuse("fault.run: %d: use 0 or more", a.Run)
	}
	switch {
	case k.lasting && a.Duration < time.Second:
		refuse("fault.duration: %s: %s lasts: use 1s or more", a.Duration, a.Kind)
	case !k.lasting && a.Duration != 0:
		refuse("fault.duration: %s: %s is over at once: leave it out", a.Duration, a.Kind)
	}
	if k.check != nil {
		errs = append(errs, k.check(a))
	}
	if target == "region" {
		if len(a.Victims) > 0 {
			refuse("fault.victims: %v: %s hits all of the region: leave them out", a.Victims, a.Kind)
		}
		if len(a.Region) == 0 || len(a.Peer) == 0 {
			refuse("fault.kind: %s: needs the other region's network: set peerCidr", a.Kind)
		}
		return errors.Join(errs...)
	}
	if len(a.Victims) == 0 {
		refuse("fault.victims: none: name at least one %s by its index, 0 to %d", target, pods.Size-1)
	}
	for i, v := range a.Victims {
		if v < 0 || v >= pods.Size {
			refuse("fault.victims: there is no %s %d: use 0 to %d", target, v, pods.Size-1)
		}
		if slices.Contains(a.Victims[:i], v) {
			refuse("fault.victims: %d is named twice", v)
		}
	}
	return errors.Join(errs...)
}
