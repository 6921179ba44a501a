package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// What preflight asks for finds what only a component refuses, and the bound on cost.
func TestCheckFindsWhatComponentsRefuse(t *testing.T) {
	run := func(t *testing.T, role string, values map[string]string) error {
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
	for _, role := range []string{source, destination} {
		for _, replicator := range []string{"mirrormaker2", "ureplicator", "brooklin", "none"} {
			values := map[string]string{}
			if role == destination {
				values["replicator"] = replicator
			}
			if err := run(t, role, values); err != nil {
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
			if err := run(t, source, map[string]string{test.key: test.value}); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}
