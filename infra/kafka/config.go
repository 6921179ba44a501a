package kafka

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
	"github.com/AppsFlyer/kafka-mirror-tester/replicators"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// Where things are in the containers.
const (
	configPath = "/config" // files of the ConfigMap
	secretPath = "/secret" // files of the Secret serverSecret
	dataPath   = "/data"   // log.dirs, dataDir
	agentPath  = "/agent"  // the JMX exporter's jar
	tempPath   = "/tmp"    // what libraries unpack
)

// login is the setting of each listener with SASL; the file has the password in it.
const login = "${file:" + secretPath + ":" + jaasFile + "}"

// firstController is the node id of KRaft controller 0; "100" in front of a pod's index makes it.
const firstController = 1000

// brokerProperties returns the brokers' server.properties. It is the same for all: what tells them
// apart is in their environment (podEnv), which Kafka reads by its configuration providers.
func (a *Args) brokerProperties() []byte {
	p := a.common()
	scheme := a.scheme()
	p["listeners"] = fmt.Sprintf("%s://:%d", scheme, BrokerPort)
	// Not a name: resolvers would add their own delay to the faults that are measured, and the other
	// region would need a name of every broker.
	p["advertised.listeners"] = fmt.Sprintf("%s://${env:POD_IP}:%d", scheme, BrokerPort)
	p["broker.rack"] = "${env:ZONE}" // empty before Kubernetes 1.35, then all brokers are in one rack that is called ""
	if a.Mode == scenario.KRaft {
		p["process.roles"] = "broker"
		p["node.id"] = "${env:POD_INDEX}"
		a.quorumProperties(p)
	} else {
		p["broker.id"] = "${env:POD_INDEX}"
		p["zookeeper.connect"] = addresses(a.QuorumSize, ZookeeperApp(), ZookeeperPort)
	}
	p["security.inter.broker.protocol"] = scheme
	return replicators.Properties(p)
}

// controllerProperties returns the KRaft controllers' server.properties. They have the brokers'
// settings too, since it is they who apply many of them, such as the default replication factor.
func (a *Args) controllerProperties() []byte {
	p := a.common()
	p["process.roles"] = "controller"
	p["node.id"] = strconv.Itoa(firstController/10) + "${env:POD_INDEX}"
	p["listeners"] = fmt.Sprintf("CONTROLLER://:%d", ControllerPort)
	a.quorumProperties(p)
	return replicators.Properties(p)
}

func (a *Args) quorumProperties(p map[string]string) {
	scheme := a.scheme()
	var voters []string
	for i := range a.QuorumSize {
		voters = append(voters, fmt.Sprintf("%d@%s:%d", firstController+i, podName(ControllerApp(), i), ControllerPort))
	}
	p["controller.quorum.voters"] = strings.Join(voters, ",")
	p["controller.listener.names"] = "CONTROLLER"
	p["listener.security.protocol.map"] = fmt.Sprintf("CONTROLLER:%s,%s:%s", scheme, scheme, scheme)
	if a.Security != nil {
		p["sasl.mechanism.controller.protocol"] = "PLAIN"
		p["listener.name.controller.plain.sasl.jaas.config"] = login
	}
}

func (a *Args) scheme() string {
	if a.Security != nil {
		return "SASL_SSL"
	}
	return "PLAINTEXT"
}

// common returns what brokers and controllers share, the user's settings included.
func (a *Args) common() map[string]string {
	retention := a.Retention.Milliseconds()
	internal := strconv.Itoa(a.InternalReplicas)
	p := map[string]string{
		"config.providers":                             "env",
		"config.providers.env.class":                   "org.apache.kafka.common.config.provider.EnvVarConfigProvider",
		"config.providers.env.param.allowlist.pattern": "POD_INDEX|POD_IP|ZONE",

		"log.dirs": dataPath + "/kafka",

		"default.replication.factor":               strconv.Itoa(a.Replicas),
		"min.insync.replicas":                      strconv.Itoa(a.MinISR),
		"offsets.topic.replication.factor":         internal,
		"transaction.state.log.replication.factor": internal,
		"transaction.state.log.min.isr":            strconv.Itoa(min(2, max(1, a.InternalReplicas-1))), // one may be down
		// A topic that a client makes by a slip would not be the one that is tested, and a broker that
		// was out of sync must not take records with it by leading.
		"auto.create.topics.enable":      "false",
		"unclean.leader.election.enable": "false",
		"controlled.shutdown.enable":     "true",

		// Retention deletes whole segments: a fifth keeps what is there beyond its time below 20 %.
		"log.retention.ms":                strconv.FormatInt(retention, 10),
		"log.roll.ms":                     strconv.FormatInt(retention/5, 10),
		"log.segment.bytes":               "268435456",
		"log.retention.check.interval.ms": "10000",

		// -1 lets the kernel tune the buffers: Kafka's fixed sizes hold a connection across an ocean of
		// 80 ms to 1.6 MB/s.
		"socket.send.buffer.bytes":            "-1",
		"socket.receive.buffer.bytes":         "-1",
		"replica.socket.receive.buffer.bytes": "-1",
	}
	if a.Security != nil {
		maps.Copy(p, map[string]string{
			"config.providers":                          "env,file",
			"config.providers.file.class":               "org.apache.kafka.common.config.provider.DirectoryConfigProvider",
			"config.providers.file.param.allowed.paths": secretPath, // must exist

			"sasl.enabled.mechanisms":                       "PLAIN",
			"sasl.mechanism.inter.broker.protocol":          "PLAIN",
			"listener.name.sasl_ssl.plain.sasl.jaas.config": login,
			"ssl.keystore.type":                             "PEM",
			"ssl.keystore.location":                         secretPath + "/" + keystoreFile,
			"ssl.truststore.type":                           "PEM",
			"ssl.truststore.location":                       secretPath + "/" + kube.SecretAuthority,
			// Brokers reach each other by addresses, which no certificate has.
			"ssl.endpoint.identification.algorithm": "",
		})
	}
	maps.Copy(p, a.BrokerConfig)
	return p
}

// zookeeperProperties returns the ZooKeepers' configuration.
func (a *Args) zookeeperProperties() []byte {
	p := map[string]string{
		"dataDir":                   dataPath,
		"clientPort":                strconv.Itoa(ZookeeperPort),
		"tickTime":                  "2000",
		"initLimit":                 "10",
		"syncLimit":                 "5",
		"maxClientCnxns":            "0",
		"admin.enableServer":        "false",
		"4lw.commands.whitelist":    "ruok,srvr,mntr",
		"autopurge.purgeInterval":   "1",
		"autopurge.snapRetainCount": "3",
	}
	if a.QuorumSize > 1 {
		p["quorumListenOnAllIPs"] = "true" // a pod's own name may not resolve yet when it starts
		for i := range a.QuorumSize {
			p[fmt.Sprintf("server.%d", i+1)] = fmt.Sprintf("%s:%d:%d", podName(ZookeeperApp(), i), zookeeperPeerPort, zookeeperElectionPort)
		}
	}
	return replicators.Properties(p)
}

func addresses(count int, app kube.App, port int) string {
	var each []string
	for i := range count {
		each = append(each, fmt.Sprintf("%s:%d", podName(app, i), port))
	}
	return strings.Join(each, ",")
}
