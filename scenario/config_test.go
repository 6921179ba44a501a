package scenario_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

func defaults() scenario.Config {
	var c scenario.Config
	c.SetDefaults()
	return c
}

func TestDefaultsAreValidAndSurviveJSON(t *testing.T) {
	c := defaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var back scenario.Config
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c, back) {
		t.Errorf("%+v came back as %+v", c, back)
	}
}

// Each mistake alone is refused, in words that name the key, the value and what would be right.
func TestEachMistakeIsNamed(t *testing.T) {
	lasting := func(kind string) scenario.Fault {
		return scenario.Fault{Kind: kind, Victims: []int{0}, Duration: scenario.Duration(time.Minute), Run: 1}
	}
	for name, test := range map[string]struct {
		change func(*scenario.Config)
		want   []string // each in the error
	}{
		"test id":       {func(c *scenario.Config) { c.TestID = "My Test" }, []string{"testId", `"My Test"`, "lower-case"}},
		"empty test id": {func(c *scenario.Config) { c.TestID = "" }, []string{"testId", `""`}},
		"pattern":       {func(c *scenario.Config) { c.TopicPattern = "load(" }, []string{"topicPattern", `"load("`}},
		"two patterns":  {func(c *scenario.Config) { c.TopicPattern = "load,.*x" }, []string{"topicPattern", "without a comma"}},
		"pattern takes the ledgers": {func(c *scenario.Config) { c.TopicPattern = ".*" },
			[]string{"topicPattern", `".*"`, "kmt-", "load.*"}},
		"pattern misses a topic": {func(c *scenario.Config) { c.Source.Topics = []string{"load", "orders"} },
			[]string{"topicPattern", `"load.*"`, `"orders"`}},

		"no broker": {func(c *scenario.Config) { c.Source.Brokers = 0 }, []string{"source: brokers: 0: use 1 to 450"}},
		"more ZooKeepers than nodes": {func(c *scenario.Config) {
			c.Source.Nodes, c.Source.Brokers, c.Source.ReplicationFactor, c.Source.MinInsyncReplicas = 2, 2, 2, 1
		},
			[]string{"quorumSize: 3 do not fit on 2 nodes"}},
		"more brokers than nodes": {func(c *scenario.Config) { c.Destination.Brokers = 49 },
			[]string{"destination: brokers: 49 do not fit on 48 nodes", "at least 49 nodes"}},
		"nodes":              {func(c *scenario.Config) { c.Source.Nodes = 451 }, []string{"nodes: 451: use 0 to 450"}},
		"mode":               {func(c *scenario.Config) { c.Source.KafkaMode = "raft" }, []string{`kafkaMode: "raft"`, "zookeeper, kraft"}},
		"even quorum":        {func(c *scenario.Config) { c.Source.QuorumSize = 2 }, []string{"quorumSize: 2: use 1, 3, 5 or 7"}},
		"heap":               {func(c *scenario.Config) { c.Source.KafkaHeap = 1 << 20 }, []string{"kafkaHeap: 1MiB", "256MiB"}},
		"restart":            {func(c *scenario.Config) { c.Source.KafkaRestart = -1 }, []string{"kafkaRestart: -1"}},
		"no topics":          {func(c *scenario.Config) { c.Source.Topics = nil }, []string{"topics: none"}},
		"topic name":         {func(c *scenario.Config) { c.Source.Topics = []string{"load 1"} }, []string{`topics: "load 1"`}},
		"own topic":          {func(c *scenario.Config) { c.Source.Topics = []string{"kmt-x"} }, []string{`topics: "kmt-x"`, "tester's own"}},
		"topic twice":        {func(c *scenario.Config) { c.Source.Topics = []string{"load", "load"} }, []string{"named twice"}},
		"partitions":         {func(c *scenario.Config) { c.Source.Partitions = 10_001 }, []string{"partitions: 10001: use 1 to 10000"}},
		"replication factor": {func(c *scenario.Config) { c.Destination.Brokers, c.Destination.ReplicationFactor = 2, 3 }, []string{"replicationFactor: 3 is more than the brokers: use at most 2"}},
		"min ISR":            {func(c *scenario.Config) { c.Source.MinInsyncReplicas = 4 }, []string{"minInsyncReplicas: 4", "at most 3"}},
		"retention":          {func(c *scenario.Config) { c.Source.Retention = scenario.Duration(time.Second) }, []string{"retention: 1s: use 10s or more"}},

		"producers":       {func(c *scenario.Config) { c.Source.Producers = -1 }, []string{"producers: -1"}},
		"throughput":      {func(c *scenario.Config) { c.Source.Throughput = units.Rate{} }, []string{"throughput", "20k/s"}},
		"message size":    {func(c *scenario.Config) { c.Source.MessageSize = 99 }, []string{"messageSize: 99B: use 100B to 64MiB"}},
		"compressibility": {func(c *scenario.Config) { c.Source.Compressibility = 1.5 }, []string{"compressibility: 1.5"}},

		"replicator":      {func(c *scenario.Config) { c.Destination.Replicator = "mm3" }, []string{`replicator: "mm3"`, "mirrormaker2"}},
		"workers":         {func(c *scenario.Config) { c.Destination.Workers = 0 }, []string{"workers: 0: use 1 to 500"}},
		"controllers":     {func(c *scenario.Config) { c.Destination.Controllers = 10 }, []string{"controllers: 10: use 0 to 9"}},
		"replicator heap": {func(c *scenario.Config) { c.Destination.ReplicatorHeap = 1 }, []string{"replicatorHeap: 1B"}},
		"growth":          {func(c *scenario.Config) { c.Destination.PartitionGrowth = "sourceFirst" }, []string{`partitionGrowth: "sourceFirst"`, "destinationFirst"}},
		"consumers":       {func(c *scenario.Config) { c.Destination.Consumers = 0 }, []string{"consumers: 0"}},
		"uReplicator without ZooKeeper": {func(c *scenario.Config) {
			c.Destination.Replicator, c.Destination.KafkaMode = scenario.UReplicator, scenario.KRaft
		},
			[]string{"replicator: ureplicator", "zookeeper"}},
		"uReplicator without the source's ZooKeeper": {func(c *scenario.Config) {
			c.Destination.Replicator, c.Source.KafkaMode = scenario.UReplicator, scenario.KRaft
		},
			[]string{"replicator: ureplicator", "the source has kafkaMode kraft"}},

		"unknown fault":         {func(c *scenario.Config) { c.Source.Fault = scenario.Fault{Kind: "broker-explode"} }, []string{`fault.kind: "broker-explode"`, "broker-kill"}},
		"fault without kind":    {func(c *scenario.Config) { c.Source.Fault.Victims = []int{1} }, []string{"fault.kind is missing"}},
		"no victim":             {func(c *scenario.Config) { c.Source.Fault = scenario.Fault{Kind: "broker-kill"} }, []string{"fault.victims: none", "0 to 29"}},
		"victim not there":      {func(c *scenario.Config) { c.Source.Fault = scenario.Fault{Kind: "broker-kill", Victims: []int{30}} }, []string{"no broker 30", "0 to 29"}},
		"victim twice":          {func(c *scenario.Config) { c.Source.Fault = scenario.Fault{Kind: "broker-kill", Victims: []int{1, 1}} }, []string{"1 is named twice"}},
		"workers of the source": {func(c *scenario.Config) { c.Source.Fault = scenario.Fault{Kind: "worker-kill", Victims: []int{0}} }, []string{"this side has no workers"}},
		"workers of none": {func(c *scenario.Config) {
			c.Destination.Replicator = "none"
			c.Destination.Fault = scenario.Fault{Kind: "worker-kill", Victims: []int{0}}
		}, []string{"this side has no workers"}},
		"region with victims": {func(c *scenario.Config) { c.Source.Fault = lasting("region-partition") }, []string{"hits the whole region"}},
		"lasting without duration": {func(c *scenario.Config) { c.Source.Fault = scenario.Fault{Kind: "broker-outage", Victims: []int{0}} },
			[]string{"fault.duration: 0s", "1s to 24h"}},
		"kill with duration":    {func(c *scenario.Config) { c.Source.Fault = lasting("broker-kill") }, []string{"over at once"}},
		"loss without percent":  {func(c *scenario.Config) { c.Source.Fault = lasting("broker-loss") }, []string{"fault.percent: 0"}},
		"delay without latency": {func(c *scenario.Config) { c.Source.Fault = lasting("broker-delay") }, []string{"fault.latency: 0s"}},
		"clock that is right":   {func(c *scenario.Config) { c.Source.Fault = lasting(scenario.ClockError) }, []string{"fault.offset: 0s", "250ms"}},
		"clock of no producer": {func(c *scenario.Config) {
			c.Source.Producers, c.Source.Fault = 1, lasting(scenario.ClockError)
			c.Source.Fault.Offset, c.Source.Fault.Victims = scenario.Duration(time.Second), []int{1}
		}, []string{"there is no producer 1: use 0 to 0"}},
		"clock of another day": {func(c *scenario.Config) {
			c.Destination.Fault = lasting(scenario.ClockError)
			c.Destination.Fault.Offset = scenario.Duration(-25 * time.Hour)
		}, []string{"offset: -25h0m0s", "24h0m0s"}},
		"offset of an outage":  {func(c *scenario.Config) { c.Source.Fault = lasting("broker-outage"); c.Source.Fault.Offset = 3 }, []string{"fault.offset"}},
		"percent of an outage": {func(c *scenario.Config) { c.Source.Fault = lasting("broker-outage"); c.Source.Fault.Percent = 3 }, []string{"fault.percent: 3"}},
		"latency of an outage": {func(c *scenario.Config) { c.Source.Fault = lasting("broker-outage"); c.Source.Fault.Latency = 3 }, []string{"fault.latency"}},
		"jitter above latency": {func(c *scenario.Config) {
			c.Source.Fault = lasting("broker-delay")
			c.Source.Fault.Latency, c.Source.Fault.Jitter = scenario.Duration(time.Second), scenario.Duration(2*time.Second)
		}, []string{"fault.jitter: 2s"}},
		"run": {func(c *scenario.Config) {
			c.Source.Fault = scenario.Fault{Kind: "broker-kill", Victims: []int{0}, Run: -1}
		}, []string{"fault.run: -1"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := defaults()
			test.change(&c)
			err := c.Validate()
			if err == nil {
				t.Fatal("is accepted")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

func TestEveryKindOfFaultIsPossible(t *testing.T) {
	for name, kind := range scenario.FaultKinds() {
		f := scenario.Fault{Kind: name, Run: 1}
		if kind.Target != scenario.TargetRegion {
			f.Victims = []int{0, 7}
		}
		if kind.Lasting {
			f.Duration = scenario.Duration(time.Minute)
		}
		if kind.Loss {
			f.Percent = 10
		}
		if kind.Delay {
			f.Latency = scenario.Duration(100 * time.Millisecond)
			if name != "broker-slow-disk" {
				f.Jitter = scenario.Duration(10 * time.Millisecond)
			}
		}
		if kind.Clock {
			f.Victims, f.Offset, f.Drift = []int{0, 3}, scenario.Duration(-time.Second), scenario.Duration(time.Millisecond)
		}
		c := defaults()
		c.Destination.Fault = f
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEveryMistakeIsReportedAtOnce(t *testing.T) {
	c := defaults()
	c.TestID, c.Source.Brokers, c.Source.Producers, c.Destination.Workers, c.Destination.Fault.Kind = "", 0, -1, 0, "x"
	err := c.Validate()
	for _, want := range []string{"testId", "brokers", "producers", "workers", "fault.kind"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
}

func TestWhatAStackHasCannotBeLost(t *testing.T) {
	now := defaults().Source.Cluster
	for name, test := range map[string]struct {
		change func(*scenario.Cluster)
		want   string // empty: allowed
		secure bool
	}{
		"other encryption":     {func(*scenario.Cluster) {}, "secure: true, and the brokers run with false", true},
		"other replicas":       {func(c *scenario.Cluster) { c.ReplicationFactor = 2 }, "replicationFactor: 2, and the topics have 3", false},
		"nothing":              {func(*scenario.Cluster) {}, "", false},
		"fewer brokers":        {func(c *scenario.Cluster) { c.Brokers = 29 }, "", false},
		"more partitions":      {func(c *scenario.Cluster) { c.Partitions = 300 }, "", false},
		"another topic":        {func(c *scenario.Cluster) { c.Topics = []string{"load", "load-2"} }, "", false},
		"shrinking partitions": {func(c *scenario.Cluster) { c.Partitions = 149 }, "partitions: 149, and there are 150", false},
		"another mode":         {func(c *scenario.Cluster) { c.KafkaMode = scenario.KRaft }, "kafkaMode: kraft", false},
		"another quorum":       {func(c *scenario.Cluster) { c.QuorumSize = 1 }, "quorumSize: 1", false},
	} {
		t.Run(name, func(t *testing.T) {
			to := now
			test.change(&to)
			err := scenario.ValidateChange(now, to, false, test.secure)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}
