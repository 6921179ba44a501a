package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// runCheck is what preflight runs, with a usable configuration and values.
func runCheck(t *testing.T, role string, values map[string]string) error {
	t.Helper()
	text, err := json.Marshal(usable(t, role, values))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PULUMI_PROJECT", projectName)
	t.Setenv("PULUMI_STACK", strings.TrimSuffix(strings.TrimPrefix(stackFiles[role], "Pulumi."), ".yaml"))
	t.Setenv("PULUMI_CONFIG", string(text))
	return check()
}

// What preflight asks for finds what only a component refuses, and the bound on cost.
func TestCheckFindsWhatComponentsRefuse(t *testing.T) {
	for _, role := range []string{source, destination} {
		for _, replicator := range []string{"mirrormaker2", "ureplicator", "brooklin", "none"} {
			values := map[string]string{}
			if role == destination {
				values["replicator"] = replicator
			}
			if err := runCheck(t, role, values); err != nil {
				t.Errorf("%s with %s: %v", role, replicator, err)
			}
		}
	}
	for name, test := range map[string]struct{ key, value, want string }{
		"network":  {"vpcCidr", "10.10.0.1/16", "vpcCidr: 10.10.0.1/16 has bits"},
		"cluster":  {"mtu", "99999", "mtu: 99999"},
		"disk":     {"nodeDiskIops", "1", "nodeDiskIops: 1"},
		"address":  {"apiCidrs", "[]", "apiCidrs: 0 networks"},
		"admins":   {"adminArns", `["foo"]`, `adminArns: "foo"`},
		"brokers":  {"kafkaConfig", `{"broker.id":"1"}`, "broker.id"},
		"live map": {"liveMap", "foo", `liveMap: "foo"`},
		"cost":     {"maxHourlyUSD", "0.1", "maxHourlyUSD: this stack is estimated at"},
		"no price": {"nodeTypes", `["t3.small"]`, "nodeHourlyUSD"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := runCheck(t, source, map[string]string{test.key: test.value}); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// Every mistake of a configuration is reported at once, and once only, whoever it is that finds it.
func TestEveryMistakeIsReportedAtOnceAndOnce(t *testing.T) {
	for role, test := range map[string]struct {
		values map[string]string
		want   []string // beginnings of the lines
	}{
		source: {map[string]string{
			"nope": "1", "throughput": "fast", // not readable
			"brokers": "41", "testId": "T", "producers": "-1", // the model
			"expose": `["me"]`, "peerStack": "eu-west-1", // the settings
			"subnetPrefix": "3", "zones": `["us-east-1a"]`, // network
			"mtu": "1", "nodeDiskIops": "1", "nodeRelease": "", "versions": `{"chaosMesh":"^2"}`, // cluster, whose add-ons lose their versions
			"domain": "X", "images": "{}", // every component that has an image
			"kafkaConfig": `{"broker.id":"1"}`, "kafkaRestartPause": "1.5s", // Kafka
		}, []string{
			"nope: ", "throughput: ", "brokers: 41", "testId: ", "producers: -1", `expose: "me"`, "peerStack: ", "subnetPrefix: 3", "zones: 1 zones",
			"mtu: 1", "nodeDiskIops: 1", "nodeRelease: ", "versions.vpcCni: ", "versions.kubeProxy: ", "versions.coreDns: ", "versions.podIdentityAgent: ", "versions.chaosMesh: ",
			"domain: ", "kafkaConfig: broker.id", "kafkaRestartPause is 1.5s",
			"images.kafka: ", "images.loadgen: ", "images.externalDns: ", "images.headlamp: ", "images.chaosMesh: ", "images.chaosDaemon: ", "images.pause: ",
			"images.prometheusOperator: ", "images.prometheusReloader: ", "images.prometheus: ", "images.kubeStateMetrics: ", "images.nodeExporter: ",
			"images.nodeProblemDetector: ", "images.metricsServer: ",
		}},
		destination: {map[string]string{
			"consumers": "0", "expectations": `["latency < 3"]`, "grafanaPassword": "", "adminArns": `["foo"]`, "vpcCidr": "10.10.0.0/16",
			"replicatorConfig": `{"listeners":"x"}`, "workers": "33", "liveMap": "foo", "nodeTypes": `["t3.small"]`,
		}, []string{
			"consumers: 0", "expectations: ", "grafanaPassword: ", `adminArns: "foo"`, "vpcCidr: 10.10.0.0/16 overlaps", `replicatorConfig: `, "workers is 33", `liveMap: "foo"`, "nodeTypes: the price of t3.small",
		}},
	} {
		t.Run(role, func(t *testing.T) {
			err := runCheck(t, role, test.values)
			if err == nil {
				t.Fatal("is accepted")
			}
			_, text, _ := strings.Cut(err.Error(), "cannot be used:\n")
			lines := strings.Split(strings.TrimSpace(text), "\n")
			for _, want := range test.want {
				if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, want) }) {
					t.Errorf("nothing says %q", want)
				}
			}
			if len(lines) != len(test.want) {
				t.Errorf("%d lines, want %d:\n%s", len(lines), len(test.want), text)
			}
		})
	}
}

// Only images that this side runs are asked for.
func TestOnlyImagesThatAreRunAreAskedFor(t *testing.T) {
	err := runCheck(t, destination, map[string]string{
		"images": "{}", "installMonitoring": "false", "installChaos": "false", "liveMap": "none", "replicator": "brooklin",
	})
	var asked []string
	for line := range strings.SplitSeq(fmt.Sprint(err), "\n") {
		if key, ok := strings.CutPrefix(line, "images."); ok {
			asked = append(asked, key[:strings.Index(key, ":")])
		}
	}
	slices.Sort(asked)
	if want := []string{"brooklin", "externalDns", "kafka", "loadgen"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
}
