package replicators

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

func valid() MirrorMaker2 {
	var m MirrorMaker2
	m.SetDefaults()
	m.Source, m.Destination = []string{"a:1", "b:2"}, []string{"c:3"}
	return m
}

// parse reads a properties file the way Java does, as far as ours use it.
func parse(t *testing.T, text []byte) map[string]string {
	t.Helper()
	p := map[string]string{}
	for line := range strings.Lines(string(text)) {
		var parts [2]strings.Builder
		part, escaped := 0, false
		for _, r := range strings.TrimSuffix(line, "\n") {
			switch {
			case escaped && r == 'n':
				parts[part].WriteByte('\n')
				escaped = false
			case escaped:
				parts[part].WriteRune(r)
				escaped = false
			case r == '\\':
				escaped = true
			case r == '=' && part == 0:
				part = 1
			default:
				parts[part].WriteRune(r)
			}
		}
		if _, twice := p[parts[0].String()]; twice {
			t.Errorf("key %q is there twice", parts[0].String())
		}
		p[parts[0].String()] = parts[1].String()
	}
	return p
}

func TestMirrorMaker2KeepsNamesAndLeavesDestinationTopicsAlone(t *testing.T) {
	m := valid()
	m.RefreshInterval = 7 * time.Second
	m.Tasks, m.Replicas = 3, 1
	p := parse(t, m.Properties())
	for key, want := range map[string]string{
		"source.bootstrap.servers":               "a:1,b:2",
		"destination.bootstrap.servers":          "c:3",
		"source->destination.enabled":            "true",
		"destination->source.enabled":            "false",
		"replication.policy.class":               "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
		"sync.topic.configs.enabled":             "false",
		"refresh.topics.interval.seconds":        "7",
		"tasks.max":                              "3",
		"replication.factor":                     "1",
		"offset.storage.replication.factor":      "1",
		"source.consumer.receive.buffer.bytes":   "-1",
		"destination.producer.send.buffer.bytes": "-1",
	} {
		if p[key] != want {
			t.Errorf("%s = %q, want %q", key, p[key], want)
		}
	}
}

func TestMirrorMaker2ExcludesLedgersAndInternalTopics(t *testing.T) {
	m := valid()
	m.ExcludeTopics = []string{"kmt-ledger-source", "kmt-ledger-destination"}
	p := parse(t, m.Properties())
	excluded := func(topic string) bool {
		for _, e := range strings.Split(p["source->destination.topics.exclude"], ",") {
			if regexp.MustCompile("^(?:" + e + ")$").MatchString(topic) {
				return true
			}
		}
		return false
	}
	for topic, want := range map[string]bool{
		"kmt-ledger-source": true, "kmt-ledger-destination": true, "__consumer_offsets": true,
		"mm2-offset-syncs.destination.internal": true, "mm2-offsets.source.internal": true, "heartbeats": true,
		"lab": false, "kmt-selftest": false, "orders.internal-audit": false,
	} {
		if got := excluded(topic); got != want {
			t.Errorf("%s excluded: %v, want %v", topic, got, want)
		}
	}
}

func TestOverridesWinAndAreEscaped(t *testing.T) {
	m := valid()
	m.Topics = []string{`load\.a`}
	m.Overrides = map[string]string{"tasks.max": "8", "odd key": " two\nlines \\ and more"}
	p := parse(t, m.Properties())
	if p["tasks.max"] != "8" || p["odd key"] != " two\nlines \\ and more" || p["source->destination.topics"] != `load\.a` {
		t.Errorf("got tasks.max %q, odd key %q, topics %q", p["tasks.max"], p["odd key"], p["source->destination.topics"])
	}
}

func TestMirrorMaker2ValidateReportsEveryMistake(t *testing.T) {
	m := valid()
	if err := m.Validate(); err != nil {
		t.Fatalf("defaults: %v", err)
	}
	err := MirrorMaker2{Topics: []string{"a,b", "("}, RefreshInterval: 1500 * time.Millisecond}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"source has no", "destination has no", `"a,b"`, `"("`, "tasks is 0", "1.5s", "replicas is 0"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestMirrorMaker2SharesTheWorkByItsInternalREST(t *testing.T) {
	alone, shared := valid(), valid()
	shared.Listener = "http://:8083"
	expect(t, parse(t, alone.Properties()), map[string]string{"dedicated.mode.enable.internal.rest": "false", "listeners": ""})
	expect(t, parse(t, shared.Properties()), map[string]string{"dedicated.mode.enable.internal.rest": "true", "listeners": "http://:8083"})
}

func TestMirrorMaker2NamesFilesInsteadOfSecrets(t *testing.T) {
	m := valid()
	m.DestinationCredentials = &Credentials{Directory: "/etc/kafka-access", Authority: "ca.crt", User: "username", Password: "password"}
	p := parse(t, m.Properties())
	expect(t, p, map[string]string{
		"destination.security.protocol": "SASL_SSL", "destination.sasl.mechanism": "PLAIN",
		"destination.ssl.truststore.type": "PEM", "destination.ssl.truststore.location": "/etc/kafka-access/ca.crt",
		"config.providers": "directory", "source.security.protocol": "",
	})
	if jaas := p["destination.sasl.jaas.config"]; !strings.Contains(jaas, `password="${directory:/etc/kafka-access:password}"`) {
		t.Errorf("login: %s", jaas)
	}
}

func TestMirrorMaker2RefusesOverridesOfWhatItSays(t *testing.T) {
	m := valid()
	m.Overrides = map[string]string{"source.bootstrap.servers": "x:1", "tasks.max": "8"}
	err := m.ValidateOverrides()
	if err == nil || !strings.Contains(err.Error(), `"source.bootstrap.servers"`) || strings.Contains(err.Error(), "tasks.max") {
		t.Errorf("got %v", err)
	}
}
