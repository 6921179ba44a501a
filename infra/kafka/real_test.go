package kafka

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/lab"
	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// TestRealKafkaTakesTheFiles has Kafka 3.9, ZooKeeper and the JMX exporter run with exactly the files
// and JVM options that the pods get; only hosts, ports and directories are replaced by this machine's.
func TestRealKafkaTakesTheFiles(t *testing.T) {
	for _, c := range []struct {
		name, mode string
		quorum     int
		zone       string
		secure     bool
	}{
		{"three ZooKeepers and plain text and no zone label", scenario.ZooKeeper, 3, "", false},
		{"ZooKeeper and TLS and SASL", scenario.ZooKeeper, 1, "use1-az1", true},
		{"three KRaft controllers and TLS and SASL", scenario.KRaft, 3, "use1-az1", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := testArgs()
			args.Mode, args.Brokers, args.QuorumSize = c.mode, 2, c.quorum
			args.Replicas, args.MinISR, args.InternalReplicas = 2, 2, 2
			args.Quorum.Heap, args.Broker.Heap = 128<<20, 256<<20
			args.BrokerConfig = map[string]string{"num.partitions": "4"}
			m := newMachine(t, args, c.zone)
			options := []kgo.Opt{kgo.RecordDeliveryTimeout(time.Minute), kgo.DefaultProduceTopic("lab"),
				kgo.UnknownTopicRetries(-1)}
			if c.secure {
				pki := newPKI(t)
				args.Security = &Security{User: "kmt", ServerName: "kafka.test"}
				password := `pass"w\ord $1 {env:POD_IP} '=; `
				m.secret(pki, password)
				options = append(options, pki.client("kmt", password)...)
				defer func() {
					wrong, err := kgo.NewClient(append(pki.client("kmt", "wrong"), kgo.SeedBrokers(m.broker(0)))...)
					if err != nil {
						t.Fatal(err)
					}
					defer wrong.Close()
					if err := wrong.Ping(t.Context()); !errors.Is(err, kerr.SaslAuthenticationFailed) {
						t.Errorf("with a wrong password: %v", err)
					}
				}()
			}
			m.start()

			client, err := kgo.NewClient(append(options, kgo.SeedBrokers(m.broker(0), m.broker(1)),
				kgo.ConsumeTopics("lab"), kgo.MetadataMinAge(100*time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			admin := kadm.NewClient(client)
			m.until(ctx, "two brokers", func() error {
				found, err := admin.BrokerMetadata(ctx)
				if err != nil || len(found.Brokers) != 2 {
					return fmt.Errorf("%v, %w", found.Brokers, err)
				}
				for i, b := range found.Brokers {
					if address := fmt.Sprintf("%s:%d", b.Host, b.Port); int(b.NodeID) != i || address != m.broker(i) {
						t.Errorf("broker %d is at %s, want id %d at its pod's address, %s", b.NodeID, address, i, m.broker(i))
					}
					if b.Rack == nil || *b.Rack != c.zone {
						t.Errorf("broker %d is in rack %v, want %q", i, b.Rack, c.zone)
					}
				}
				return nil
			})
			// -1: the brokers' own defaults, from Replicas and from the user's num.partitions.
			// The client asks again where an answer does not come; then it is there already.
			if _, err := admin.CreateTopic(ctx, -1, -1, nil, "lab"); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
				t.Fatal(err)
			}
			m.until(ctx, "the topic's partitions", func() error {
				topics, err := admin.ListTopics(ctx, "lab")
				if err != nil {
					return err
				}
				made := topics["lab"]
				if made.Err != nil {
					return made.Err
				}
				if n, replicas := len(made.Partitions), made.Partitions.NumReplicas(); n != 4 || replicas != 2 {
					t.Errorf("made with %d partitions and %d replicas, want 4 and 2", n, replicas)
				}
				return nil
			})
			m.until(ctx, "the topic's settings", func() error {
				configs, err := admin.DescribeTopicConfigs(ctx, "lab")
				if err != nil {
					return err
				}
				if configs[0].Err != nil {
					return configs[0].Err // a broker that has not heard of it yet
				}
				retention := ""
				for _, c := range configs[0].Configs {
					if c.Key == "retention.ms" {
						retention = c.MaybeValue()
					}
				}
				if retention != "300000" {
					t.Errorf("retention.ms is %q, want 300000", retention)
				}
				return nil
			})
			// min.insync.replicas is 2: it takes both brokers, and with it their own login.
			if err := client.ProduceSync(ctx, &kgo.Record{Value: []byte("x")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if fetches := client.PollRecords(ctx, 1); fetches.NumRecords() != 1 {
				t.Errorf("read %d records: %v", fetches.NumRecords(), fetches.Err())
			}

			wants := []string{
				`kafka_server_brokertopicmetrics_bytesin_total{topic="lab"}`, "kafka_server_brokertopicmetrics_all_bytesin_total ",
				"kafka_server_replicamanager_underreplicatedpartitions 0.0", "kafka_server_replicamanager_isrshrinks_total ",
				"kafka_server_requesthandler_idle_ratio ", "kafka_network_processor_idle_ratio ", "kafka_server_brokerstate 3.0",
				"kafka_server_replicafetchermanager_maxlag ", `kafka_network_request_time_seconds{percentile="99",request="Produce"}`, "jvm_memory_used_bytes{",
			}
			if c.mode == scenario.ZooKeeper {
				wants = append(wants, "kafka_controller_activecontrollercount ", `kafka_server_zookeeper_request_latency_seconds{statistic="99thPercentile"}`)
			}
			var all string
			for i := range 2 {
				all += m.metrics("broker", i)
			}
			contains(t, "brokers", all, wants...)
			if c.mode == scenario.ZooKeeper {
				contains(t, "ZooKeeper", m.metrics("zookeeper", 0), "zookeeper_outstandingrequests ", "zookeeper_nodecount ", "zookeeper_packetsreceived_total ")
			} else {
				contains(t, "controller", m.metrics("controller", 0), "kafka_controller_activecontrollercount ", "kafka_controller_globalpartitioncount ")
			}
		})
	}
}

func contains(t *testing.T, what, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("%s: no metric %s", what, want)
		}
	}
	if t.Failed() {
		t.Logf("metrics of %s:\n%s", what, text)
	}
}

// machine runs the cluster of args as processes on the loopback.
type machine struct {
	t         *testing.T
	args      *Args
	zone, dir string
	classPath string
	agent     string
	ports     map[string]int
}

func newMachine(t *testing.T, args *Args, zone string) *machine {
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cache = filepath.Join(cache, "kafka-mirror-tester")
	m := &machine{t: t, args: args, zone: zone, dir: t.TempDir(), ports: map[string]int{}}
	m.classPath = filepath.Join(kafkaJars(t, cache), "*")
	m.agent = downloadAgent(t, cache)
	return m
}

// kafkaJars has the lab get Kafka's jars, checks included, and returns their directory.
func kafkaJars(t *testing.T, cache string) string {
	var cfg lab.Config
	cfg.SetDefaults()
	cfg.CacheDir = cache
	classPath, err := lab.KafkaJars(t.Context(), cfg, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	jar, _, _ := strings.Cut(classPath, string(os.PathListSeparator))
	return filepath.Dir(jar)
}

const (
	agentArtifact = "io.prometheus.jmx:jmx_prometheus_javaagent:1.0.1"
	agentSum      = "7d61f737fd661610ccc14aea79764faa1ea94a340cbc8f0029b3d2edea3d80c1"
)

func downloadAgent(t *testing.T, cache string) string {
	dir := filepath.Join(cache, "jmx-exporter-1.0.1")
	jar := filepath.Join(dir, "jmx_prometheus_javaagent-1.0.1.jar")
	if _, err := os.Stat(jar); err != nil {
		out, err := exec.Command("mvn", "-B", "-q", "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy",
			"-Dartifact="+agentArtifact, "-DoutputDirectory="+dir).CombinedOutput()
		if err != nil {
			t.Fatalf("get %s: %v\n%s", agentArtifact, err, out)
		}
	}
	data, err := os.ReadFile(jar)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != agentSum {
		t.Fatalf("%s is not what was released: sha256 %x", jar, sum)
	}
	return jar
}

// port is a free port of this machine, the same for the same words.
func (m *machine) port(words ...any) int {
	key := fmt.Sprintln(words...)
	if m.ports[key] == 0 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			m.t.Fatal(err)
		}
		defer l.Close()
		m.ports[key] = l.Addr().(*net.TCPAddr).Port
	}
	return m.ports[key]
}

func (m *machine) broker(i int) string { return fmt.Sprintf("127.0.0.1:%d", m.port("broker", i)) }

// local replaces the pods' hosts, ports and directories, as seen by one pod, by this machine's.
func (m *machine) local(kind string, index int, text string) string {
	dir := filepath.Join(m.dir, kind, fmt.Sprint(index))
	pairs := []string{
		"://:9092", "://127.0.0.1:" + fmt.Sprint(m.port("broker", index)), // listeners
		"}:9092", "}:" + fmt.Sprint(m.port("broker", index)), // advertised.listeners
		"CONTROLLER://:9093", "CONTROLLER://127.0.0.1:" + fmt.Sprint(m.port("controller", index)),
		"clientPort=2181", "clientPort=" + fmt.Sprint(m.port("client", index)),
		dataPath, filepath.Join(dir, "data"),
		configPath, filepath.Join(dir, "config"),
		secretPath, filepath.Join(m.dir, "secret"),
		agentJar, m.agent,
		"=9404:", fmt.Sprintf("=127.0.0.1:%d:", m.port("metrics", kind, index)),
		tempPath + " ", dir + " ",
	}
	for i := range m.args.QuorumSize {
		pairs = append(pairs,
			fmt.Sprintf("zookeeper-%d.zookeeper:2181", i), fmt.Sprintf("127.0.0.1:%d", m.port("client", i)),
			fmt.Sprintf("zookeeper-%d.zookeeper:2888:3888", i), fmt.Sprintf("127.0.0.1:%d:%d", m.port("peer", i), m.port("election", i)),
			fmt.Sprintf("kafka-controller-%d.kafka-controller:9093", i), fmt.Sprintf("127.0.0.1:%d", m.port("controller", i)))
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func (m *machine) start() {
	a := m.args
	if a.Mode == scenario.ZooKeeper {
		for i := range a.QuorumSize {
			m.write(filepath.Join("zookeeper", fmt.Sprint(i), "data", "myid"), fmt.Sprint(i+1))
			m.run("zookeeper", i, a.Quorum.Heap, a.zookeeperProperties(), "zookeeper.properties", "org.apache.zookeeper.server.quorum.QuorumPeerMain")
		}
	} else {
		for i := range a.QuorumSize {
			m.run("controller", i, a.Quorum.Heap, a.controllerProperties(), "server.properties", "kafka.Kafka")
		}
	}
	for i := range a.Brokers {
		m.run("broker", i, a.Broker.Heap, a.brokerProperties(), "server.properties", "kafka.Kafka")
	}
}

// run writes a pod's files and starts what its container starts, after its init container.
func (m *machine) run(kind string, index int, heap int64, properties []byte, file, class string) {
	dir := filepath.Join(kind, fmt.Sprint(index))
	m.write(filepath.Join(dir, "config", file), m.local(kind, index, string(properties)))
	m.write(filepath.Join(dir, "config", "log4j.properties"), string(log4jProperties))
	process := replicators.KafkaProcess
	if kind == "zookeeper" {
		process = replicators.ZooKeeperProcess
	}
	rules, err := replicators.JMX(process)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(filepath.Join(dir, "config", "jmx.yml"), string(rules))
	config := filepath.Join(m.dir, dir, "config", file)
	env := append(os.Environ(), "POD_INDEX="+fmt.Sprint(index), "POD_IP=127.0.0.1", "ZONE="+m.zone)
	if m.args.Mode == scenario.KRaft {
		format := exec.Command("java", "-cp", m.classPath, "kafka.tools.StorageTool", "format", "--ignore-formatted",
			"--cluster-id", "AAECAwQFBgcICQoLDA0ODw", "--config", config)
		format.Env = env
		if out, err := format.CombinedOutput(); err != nil {
			m.t.Fatalf("format: %v\n%s", err, out)
		}
	}
	// What Kafka's scripts make of the environment.
	var options []string
	for _, v := range jvmEnv(heap, agentOption()) {
		if name, value, _ := strings.Cut(v, "="); strings.HasSuffix(name, "_OPTS") {
			options = append(options, strings.Fields(m.local(kind, index, value))...)
		}
	}
	log, err := os.Create(filepath.Join(m.dir, dir, "log"))
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := exec.Command("java", append(options, "-XX:+UseSerialGC", "-cp", m.classPath, class, config)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		log.Close()
		if m.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			m.t.Logf("%s %d:\n%s", kind, index, text[max(0, len(text)-6000):])
		}
	})
}

func (m *machine) write(path, text string) {
	path = filepath.Join(m.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// until asks again until there is no error.
func (m *machine) until(ctx context.Context, what string, try func() error) {
	m.t.Helper()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			m.t.Fatalf("%s: %v", what, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (m *machine) metrics(kind string, index int) string {
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", m.port("metrics", kind, index)))
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return "\n" + string(text)
}

// secret writes what the Secret of the servers has.
func (m *machine) secret(p pki, password string) {
	line, err := jaas("kmt", password)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := checkCertificate("kafka.test", p.certificate, p.key, p.authority); err != nil {
		m.t.Fatal(err)
	}
	m.write("secret/"+jaasFile, line)
	m.write("secret/"+keystoreFile, p.key+p.certificate)
	m.write("secret/"+kube.SecretAuthority, p.authority)
}

// pki is a throw-away authority and a certificate for kafka.test, in PEM form.
type pki struct{ authority, certificate, key string }

func newPKI(t *testing.T) pki {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	must(err)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kafka.test"}, DNSNames: []string{"kafka.test"},
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	must(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	return pki{encode("CERTIFICATE", caDER), encode("CERTIFICATE", leafDER), encode("PRIVATE KEY", keyDER)}
}

// client returns what a client needs, as the load tools have it.
func (p pki) client(user, password string) []kgo.Opt {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(p.authority))
	return []kgo.Opt{
		kgo.DialTLSConfig(&tls.Config{RootCAs: pool, ServerName: "kafka.test"}),
		kgo.SASL(plain.Auth{User: user, Pass: password}.AsMechanism()),
	}
}
