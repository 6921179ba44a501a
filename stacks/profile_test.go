package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/AppsFlyer/kafka-mirror-tester/infra/enginetest"
)

// smallProfile is what the README tells to set for a test that one can afford: by stack, key and value.
func smallProfile(t *testing.T) map[string]map[string]string {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	profile := map[string]map[string]string{}
	text := strings.ReplaceAll(string(readme), "\\\n", " ")
	for _, line := range regexp.MustCompile(`(?m)^ *pulumi config set-all --stack (\S+) (.*)$`).FindAllStringSubmatch(text, -1) {
		profile[line[1]] = map[string]string{}
		for _, value := range regexp.MustCompile(`--plaintext (\w+)=(\S+)`).FindAllStringSubmatch(line[2], -1) {
			profile[line[1]][value[1]] = value[2]
		}
	}
	return profile
}

// What the README says to break can be broken in its small profile: fault keys that it sets.
func TestREADMEsFaultFitsTheSmallProfile(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^ *pulumi config set --stack us-east-1 --path '?fault\.([a-z]+)[^ ]* ([a-z0-9-]+)$`).FindAllStringSubmatch(string(readme), -1) {
		values[m[1]] = m[2]
	}
	s := newStack(t, source, smallProfile(t)["us-east-1"])
	s.Up()
	s.SetConfig("fault", fmt.Sprintf(`{"kind":%q,"victims":[%s],"run":%s}`, values["kind"], values["victims"], values["run"]))
	s.Up()
	if !hasFault(s) {
		t.Errorf("the README's fault %v breaks nothing", values)
	}
}

// The README's small profile comes up, and costs what the README says.
func TestSmallProfile(t *testing.T) {
	profile := smallProfile(t)
	p := newPair(t, nil)
	total := 0.0
	for name, s := range map[string]*enginetest.Stack{"us-east-1": p.source, "eu-west-1": p.destination} {
		if len(profile[name]) < 5 {
			t.Fatalf("the README sets %v of %s", profile[name], name)
		}
		for key, value := range profile[name] {
			s.SetConfig(key, value)
		}
	}
	for _, s := range []*enginetest.Stack{p.source, p.destination} {
		usd, _ := s.Up().Outputs[outHourlyUSD].(float64)
		t.Logf("%.2f USD an hour", usd)
		total += usd
		if got := s.Resource("kubernetes:apps/v1:StatefulSet", "kafka").Get("spec.replicas"); got != 3 {
			t.Errorf("%v brokers, want 3", got)
		}
	}
	if total < 1.9 || total > 2.5 {
		t.Errorf("%.2f USD an hour, and the README says about 2.20", total)
	}
}

// What the talk's sizes cost in an hour, and the bound that refuses them.
func TestCostIsKnownAndBounded(t *testing.T) {
	p := newPair(t, nil)
	var cost []any
	for _, s := range []*enginetest.Stack{p.source, p.destination} {
		usd, _ := s.Up().Outputs[outHourlyUSD].(float64)
		t.Logf("%.2f USD an hour", usd)
		cost = append(cost, usd)
		s.SetConfig("maxHourlyUSD", "5")
		if _, err := s.TryUp(); err == nil || !strings.Contains(err.Error(), "maxHourlyUSD: this stack is estimated at") {
			t.Errorf("maxHourlyUSD 5: %v", err)
		}
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if says := fmt.Sprintf("about %.0f + %.0f USD an hour", cost...); !strings.Contains(string(readme), says) {
		t.Errorf("the README does not say %q", says)
	}
}
