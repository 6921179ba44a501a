package produce

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/ledger"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/units"
)

func TestDefaultsAreValid(t *testing.T) {
	var c Config
	c.SetDefaults()
	c.TestID, c.ID, c.Topics = "t", "p", []string{"orders"}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	c.CreateTopics = true
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	for name, x := range map[string]struct {
		change func(*Config)
		says   []string
	}{
		"no test id":    {func(c *Config) { c.TestID = "" }, []string{`test id ""`}},
		"test id":       {func(c *Config) { c.TestID = "a/b" }, []string{`test id "a/b"`, "without '/'"}},
		"no id":         {func(c *Config) { c.ID = "" }, []string{"producer id"}},
		"id":            {func(c *Config) { c.ID = "a;b" }, []string{`"a;b"`, "';'"}},
		"no topics":     {func(c *Config) { c.Topics = nil }, []string{"no topics"}},
		"topic":         {func(c *Config) { c.Topics = []string{"a b"} }, []string{`"a b"`}},
		"ledger":        {func(c *Config) { c.Topics = []string{ledger.SourceTopic} }, []string{ledger.SourceTopic}},
		"rate 0":        {func(c *Config) { c.Throughput = perSecond(0) }, []string{"throughput 0/s", "more than 0"}},
		"no rate":       {func(c *Config) { c.Throughput = units.Rate{} }, []string{"throughput 0/s"}},
		"negative rate": {func(c *Config) { c.Throughput = perSecond(-1) }, []string{"throughput -1/s"}},
		"rate":          {func(c *Config) { c.Throughput = perSecond(1e12) }, []string{"throughput", "out of range"}},
		"bytes of nothing": {func(c *Config) {
			c.UseMessageHeaders, c.MessageSize, c.Throughput = true, 0, units.Rate{Kind: units.Bytes, PerSecond: 1}
		}, []string{"counts bytes"}},
		"below the header":    {func(c *Config) { c.MessageSize = 93 }, []string{"93 B is too small", "producer-1", "needs 94 B"}},
		"too large":           {func(c *Config) { c.MessageSize = 1 << 30 }, []string{"1GiB is too large", "32MiB"}},
		"small buffer":        {func(c *Config) { c.MaxBuffered = 1000 }, []string{"max buffered 1kB is too small", "1424 B"}},
		"keys":                {func(c *Config) { c.Keys = "even" }, []string{`"even"`, "balanced", "seed"}},
		"compressibility":     {func(c *Config) { c.Compressibility = 1.5 }, []string{"compressibility 1.5"}},
		"zero partitions":     {func(c *Config) { c.CreateTopics, c.NumPartitions = true, 0 }, []string{"0 partitions"}},
		"negative partitions": {func(c *Config) { c.CreateTopics, c.NumPartitions = true, -1 }, []string{"-1 partitions"}},
		"replicas":            {func(c *Config) { c.CreateTopics, c.NumReplicas = true, -1 }, []string{"-1 replicas"}},
		"retention":           {func(c *Config) { c.CreateTopics, c.Retention = true, time.Millisecond }, []string{"retention 1ms"}},
		"duration":            {func(c *Config) { c.Duration = -1 }, []string{"duration -1ns"}},
		"acks":                {func(c *Config) { c.Acks = "2" }, []string{`acks "2"`}},
		"acks 1":              {func(c *Config) { c.Acks = AcksLeader }, []string{"acks 1", "idempotent"}},
		"acks 0":              {func(c *Config) { c.Acks = AcksNone }, []string{"acks 0", "--idempotent=false"}},
		"in flight":           {func(c *Config) { c.MaxInFlight = 3 }, []string{"in flight", "--idempotent=false"}},
		"negative in flight":  {func(c *Config) { c.MaxInFlight, c.Idempotent = -3, false }, []string{"-3 requests in flight"}},
		"compression":         {func(c *Config) { c.Compression = "zip" }, []string{`"zip"`, "zstd"}},
		"linger":              {func(c *Config) { c.Linger = time.Hour }, []string{"linger 1h"}},
		"delivery timeout":    {func(c *Config) { c.DeliveryTimeout = 1 }, []string{"delivery timeout 1ns"}},
		"snapshots":           {func(c *Config) { c.SnapshotInterval = 0 }, []string{"snapshot interval 0s"}},
		"metadata":            {func(c *Config) { c.MetadataInterval = 0 }, []string{"metadata interval 0s"}},
		"shutdown":            {func(c *Config) { c.ShutdownTimeout = 0 }, []string{"shutdown timeout 0s"}},
		"ledger replicas":     {func(c *Config) { c.LedgerReplicas = -1 }, []string{"-1 ledger replicas"}},
		"all at once":         {func(c *Config) { c.ID, c.MessageSize, c.Acks, c.Keys = "", 1, "x", "y" }, []string{"producer id", "message size", `acks "x"`, `keys "y"`}},
	} {
		t.Run(name, func(t *testing.T) {
			c := testConfig("orders")
			x.change(&c)
			wantError(t, c.Validate(), x.says...)
			if _, err := New(c, Deps{Logger: slog.New(slog.DiscardHandler)}); err == nil {
				t.Error("New accepts it")
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	deps := Deps{Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()}
	cfg := testConfig("orders")
	if _, err := New(cfg, deps); err != nil {
		t.Fatal(err)
	}
	_, err := New(cfg, deps)
	wantError(t, err, "register the producer's metrics")

	cfg.SettingsFile = filepath.Join(t.TempDir(), "load.yaml")
	deps.Registerer = nil
	_, err = New(cfg, deps)
	wantError(t, err, "settings file", "no such file")
	if err := os.WriteFile(cfg.SettingsFile, []byte("orders: {rate: 0}"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = New(cfg, deps)
	wantError(t, err, cfg.SettingsFile, "zero")
}

// What is wrong with the cluster is said before there is any load.
func TestRunRefuses(t *testing.T) {
	for name, x := range map[string]struct {
		change func(*Config)
		says   []string
	}{
		"missing topic":     {func(c *Config) { c.Topics = []string{"orders", "invoices"} }, []string{`topic "invoices" does not exist`}},
		"other partitions":  {func(c *Config) { c.CreateTopics, c.NumPartitions = true, 5 }, []string{`topic "orders" has 3 partitions, not 5`}},
		"too large":         {func(c *Config) { c.MessageSize = 2_000_000 }, []string{"message size 2MB is too large", "1048588 bytes", "max.message.bytes"}},
		"too many replicas": {func(c *Config) { c.Topics, c.CreateTopics, c.NumReplicas = []string{"new"}, true, 9 }, []string{"9 replicas"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, kfake.SeedTopics(3, "orders"))
			cfg := testConfig("orders")
			x.change(&cfg)
			p, _ := newProducer(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...))
			wantError(t, p.Run(t.Context()), x.says...)
			if c.TopicInfo(ledger.SourceTopic) != nil || len(flat(readLog(t, c, "orders"))) > 0 {
				t.Error("something was started")
			}
		})
	}
}

func TestNoPermission(t *testing.T) {
	allow := func(name string, kind kmsg.ACLResourceType, operations ...kmsg.ACLOperation) (out []kfake.ACL) {
		for _, operation := range operations {
			out = append(out, kfake.ACL{Resource: kind, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: operation, Allow: true})
		}
		return out
	}
	topic, cluster := kmsg.ACLResourceTypeTopic, kmsg.ACLResourceTypeCluster
	see := allow("orders", topic, kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs)
	keep := append(allow(ledger.SourceTopic, topic, kmsg.ACLOperationAll), allow("kafka-cluster", cluster, kmsg.ACLOperationIdempotentWrite, kmsg.ACLOperationCreate)...)
	write := allow("orders", topic, kmsg.ACLOperationWrite)
	for name, x := range map[string]struct {
		acls       []kfake.ACL
		idempotent bool
		says       []string
	}{
		"may not see":            {keep, true, []string{`no permission to see topic "orders"`, "DESCRIBE"}},
		"may not write":          {append(see, keep...), true, []string{"no permission to write", `"orders"`, "WRITE"}},
		"may not write, plainly": {append(see, keep...), false, []string{"no permission to write", `"orders"`, "WRITE"}},
		"no ledger":              {append(see, write...), false, []string{ledger.SourceTopic, "permission"}},
		"may not see the limit":  {append(append(allow("orders", topic, kmsg.ACLOperationDescribe), keep...), write...), true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, kfake.SeedTopics(1, "orders"), kfake.EnableSASL(), kfake.EnableACLs(),
				kfake.Superuser("PLAIN", "admin", "admin"), kfake.User("PLAIN", "tester", "secret", x.acls...))
			cfg := testConfig("orders")
			cfg.Idempotent, cfg.Records = x.idempotent, 100
			p, out := newProducer(t, cfg, kgo.SeedBrokers(c.ListenAddrs()...), plainUser("tester", "secret"))
			err := p.Run(t.Context())
			if x.says != nil {
				wantError(t, err, x.says...)
				return
			}
			if err != nil || p.Progress().Acked != 100 {
				t.Fatalf("%v, %+v", err, p.Progress())
			}
			if !strings.Contains(out.String(), "DESCRIBE_CONFIGS") {
				t.Error("no word on the missing permission")
			}
		})
	}
}

// Brokers that do not tell what is allowed refuse only when it is tried.
func TestLateRefusals(t *testing.T) {
	for name, x := range map[string]struct {
		fault kfake.Fault
		says  []string
	}{
		"idempotence": {kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.ClusterAuthorizationFailed}, []string{"no permission for an idempotent producer", "--idempotent=false"}},
		"writing":     {kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "orders", Err: kerr.TopicAuthorizationFailed}, []string{`no permission to write to topic "orders"`, "WRITE"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, kfake.SeedTopics(1, "orders"))
			x.fault.Count = -1
			c.Fault(x.fault)
			l := start(t, testConfig("orders"), kgo.SeedBrokers(c.ListenAddrs()...))
			wantError(t, l.wait(), x.says...)
			if name == "idempotence" {
				return
			}
			// It was a clean stop all the same, and nothing was written.
			sent := lastLedger(t, c)
			checkLedger(t, sent, map[string][][]written{"orders": readLog(t, c, "orders")}, false)
			if p := l.Progress(); p.Failed == 0 || p.Unresolved > 0 {
				t.Errorf("%+v", p)
			}
		})
	}
}
