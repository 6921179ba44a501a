package replicator

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

var memoryForm = regexp.MustCompile(`^([1-9][0-9]{0,6})([MG])i$`)

// Validate reports every mistake in a at once; each names the key, the value and what would be right. What
// other resources give is not looked at.
func (a *Args) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !slices.Contains([]string{scenario.UReplicator, scenario.Brooklin, scenario.MirrorMaker2, scenario.NoReplicator}, a.Kind) {
		return fmt.Errorf("replicator is %q: must be %s, %s, %s or %s", a.Kind, scenario.UReplicator, scenario.Brooklin, scenario.MirrorMaker2, scenario.NoReplicator)
	}
	if a.Kind == scenario.NoReplicator {
		return nil
	}
	errs = append(errs, a.Images.validate(a.Kind))
	if a.Workers < 1 || a.Workers > 500 {
		refuse("workers is %d: must be 1 to 500", a.Workers)
	}
	if a.Controllers < 0 || a.Controllers > 9 {
		refuse("controllers is %d: must be 0 to 9", a.Controllers)
	}
	errs = append(errs, a.Size.validate("replicatorHeap", "worker"))
	if a.Kind != scenario.MirrorMaker2 {
		errs = append(errs, a.ZookeeperPod.validate("heap of a ZooKeeper", "ZooKeeper of the replicator"))
		if a.ZookeeperSize < 1 || a.ZookeeperSize > 7 || a.ZookeeperSize%2 == 0 {
			refuse("ZookeeperSize is %d: must be 1, 3, 5 or 7", a.ZookeeperSize)
		}
	}
	errs = append(errs, a.validateTopics(), a.validateConfig())
	for field, deadline := range map[string]time.Duration{"RegisterDeadline": a.RegisterDeadline, "SelfTestDeadline": a.SelfTestDeadline} {
		if deadline < time.Minute || deadline%time.Second != 0 {
			refuse("%s of the replicator is %s: must be whole seconds, at least 1m", field, deadline)
		}
	}
	return errors.Join(errs...)
}

// given refuses arguments without what other resources give, and what the clusters do not suit.
func (a *Args) given() error {
	if a.Kind == scenario.NoReplicator {
		return nil
	}
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if a.Namespace == nil {
		refuse("no namespace given")
	}
	if a.Source == nil || a.Destination == nil {
		refuse("source and destination: how to reach both must be given")
	} else if a.Kind != scenario.MirrorMaker2 && (a.Source.Secret != "" || a.Destination.Secret != "") {
		refuse("secure is true with replicator %s: the Kafka client in it (1.1.1 in uReplicator, 2.0.0 in Brooklin) reads no certificates in PEM form, "+
			"which came with 2.7, and Brooklin no login besides: use %s, or secure false", a.Kind, scenario.MirrorMaker2)
	}
	if a.Kind == scenario.UReplicator && (a.SourceZookeeper == nil || a.DestinationZookeeper == nil) {
		refuse("replicator is %s, which keeps its offsets in the source's ZooKeeper and counts partitions in the destination's: "+
			"set kafkaMode to zookeeper on both sides, or use another replicator", a.Kind)
	}
	return errors.Join(errs...)
}

func (i *Images) validate(kind string) error {
	errs := []error{
		kube.CheckImage("images.kafka", i.Kafka),
		kube.CheckImage("images.loadgen", i.Loadgen),
	}
	if kind != scenario.MirrorMaker2 {
		errs = append(errs, kube.CheckImage("images."+kind, i.Replicator))
	}
	return errors.Join(errs...)
}

func (s *Size) validate(heapKey, what string) error {
	var errs []error
	if s.CPU == "" {
		errs = append(errs, fmt.Errorf("%s: CPU is empty: give one, such as 800m", what))
	}
	form := memoryForm.FindStringSubmatch(s.Memory)
	if form == nil {
		return errors.Join(append(errs, fmt.Errorf("%s: memory is %q: must be a whole number and Mi or Gi, such as 3Gi", what, s.Memory))...)
	}
	memory, _ := strconv.ParseInt(form[1], 10, 64) // a few digits are all there is
	memory <<= map[string]int{"M": 20, "G": 30}[form[2]]
	// The rest is for metaspace, threads and direct buffers; a JVM that fills its container with heap is
	// killed under load.
	if s.Heap < 64<<20 || s.Heap > memory/4*3 {
		errs = append(errs, fmt.Errorf("%s is %d MiB: must be at least 64 MiB, and at most three quarters of the memory of a %s, %s", heapKey, s.Heap>>20, what, s.Memory))
	}
	return errors.Join(errs...)
}

func (a *Args) validateTopics() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(a.Topics) == 0 {
		refuse("topics: none: name at least one")
	}
	pattern, err := regexp.Compile("^(?:" + a.TopicPattern + ")$")
	if err != nil || a.TopicPattern == "" {
		refuse("topicPattern is %q: must be a regular expression for names of topics", a.TopicPattern)
		pattern = nil
	}
	for _, t := range append(slices.Clone(a.Topics), a.SelfTest) {
		if t.Name == "" || t.Partitions < 1 {
			refuse("topic %q has %d partitions: must have a name, and at least 1", t.Name, t.Partitions)
		}
		if pattern != nil && t != a.SelfTest && !pattern.MatchString(t.Name) {
			refuse("topicPattern is %q: does not match the topic %q, which would not be copied", a.TopicPattern, t.Name)
		}
	}
	if !slices.Contains([]string{scenario.GrowthNone, scenario.GrowthCure, scenario.GrowthDestinationFirst}, a.Growth) {
		refuse("partitionGrowth is %q: must be %s, %s or %s", a.Growth, scenario.GrowthNone, scenario.GrowthCure, scenario.GrowthDestinationFirst)
	}
	return errors.Join(errs...)
}

// validateConfig judges the settings with addresses that are as good as any.
func (a *Args) validateConfig() error {
	here := addresses{source: []string{"source:9092"}, destination: []string{"destination:9092"}, sourceZookeeper: "zookeeper:2181", destinationZookeeper: "zookeeper:2181"}
	switch a.Kind {
	case scenario.UReplicator:
		return about("replicatorConfig", a.describeUReplicator(here).Validate())
	case scenario.Brooklin:
		_, err := a.describeDatastream(here)
		return errors.Join(about("replicatorConfig", a.describeBrooklin(here).Validate()), about("topicPattern", err))
	}
	m := a.describeMirrorMaker2(here)
	errs := []error{about("topicPattern", m.Validate()), about("replicatorConfig", m.ValidateOverrides())}
	if tasks, err := strconv.Atoi(parallel(m)); err != nil || tasks < a.Workers {
		errs = append(errs, fmt.Errorf("workers is %d: MirrorMaker 2 gives work to %s of them only: set replicatorConfig tasks.max to at least %d", a.Workers, parallel(m), a.Workers))
	}
	return errors.Join(errs...)
}

// about names the key of which each of the joined errors is.
func about(key string, err error) error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return fmt.Errorf("%s: %w", key, err)
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, about(key, e))
	}
	return errors.Join(all...)
}
