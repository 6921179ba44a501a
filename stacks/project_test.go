package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/esc"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"

	"github.com/AppsFlyer/kafka-mirror-tester/images/catalogue"
	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human/mistakestest"
	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// project is Pulumi.yaml as the CLI reads it.
func project(t testing.TB) *workspace.Project {
	t.Helper()
	p, err := workspace.LoadProject("../Pulumi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// stackConfig is what the CLI would hand to the program for a stack's file and further values, which
// replace the file's: names with namespaces, to texts. Values are as `pulumi config set` takes them,
// objects and lists as JSON.
func stackConfig(t testing.TB, file string, values map[string]string) map[string]string {
	t.Helper()
	p := project(t)
	ctx := context.Background()
	sink := diag.DefaultSink(io.Discard, io.Discard, diag.FormatOptions{Color: colors.Never})
	stack, err := workspace.LoadProjectStack(sink, p, filepath.Join("..", file))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range values {
		key, err := config.ParseKey(string(p.Name) + ":" + name)
		if err != nil {
			t.Fatal(err)
		}
		value := config.NewValue(text)
		if p.Config[name].Secret {
			encrypted, err := config.NopEncrypter.EncryptValue(ctx, text)
			if err != nil {
				t.Fatal(err)
			}
			value = config.NewSecureValue(encrypted)
		}
		if strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") {
			value = config.NewObjectValue(text)
		}
		if err := stack.Config.Set(key, value, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := workspace.ValidateStackConfigAndApplyProjectConfig(ctx, file, p, esc.Value{}, stack.Config, config.NopEncrypter, config.NopDecrypter); err != nil {
		t.Fatal(err)
	}
	decrypted, err := stack.Config.Decrypt(config.NopDecrypter)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for key, value := range decrypted {
		texts[key.String()] = value
	}
	return texts
}

const projectName = "kafka-mirror-tester"

// fakeImages pins every image by a digest of its own.
func fakeImages() string {
	images := map[string]string{}
	for i, name := range catalogue.Keys() {
		images[name] = fmt.Sprintf("registry.example/%s@sha256:%064d", strings.ToLower(name), i)
	}
	text, _ := json.Marshal(images)
	return string(text)
}

var stackFiles = map[string]string{source: "Pulumi.us-east-1.yaml", destination: "Pulumi.eu-west-1.yaml"}

// usable is a stack's file with what make images, make versions and make secrets add, the user's own
// address, and values.
func usable(t testing.TB, role string, values map[string]string) map[string]string {
	all := map[string]string{
		"images":      fakeImages(),
		"versions":    `{"vpcCni":"v1.20.4-eksbuild.2","kubeProxy":"v1.35.0-eksbuild.2","coreDns":"v1.12.4-eksbuild.1","podIdentityAgent":"v1.3.9-eksbuild.3"}`,
		"nodeRelease": "1.35.0-20260101",
		"apiCidrs":    `["203.0.113.7/32"]`,
	}
	if role == destination {
		all["grafanaPassword"] = "correct horse"
	}
	maps.Copy(all, values)
	return stackConfig(t, stackFiles[role], all)
}

// Pulumi.yaml says what the program reads, no more and no less, with the program's own defaults.
func TestProjectFileHasTheProgramsKeysAndDefaults(t *testing.T) {
	var s Stack
	s.Settings.SetDefaults()
	s.Config.SetDefaults()
	fields := fieldsOf(&s.Settings, &s.Shared, &s.Destination, &s.Source) // the source's default where both have one
	declared := project(t).Config
	for name := range declared {
		if _, known := fields[name]; !known {
			t.Errorf("Pulumi.yaml declares %s, which nobody reads", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		d, ok := declared[name]
		if !ok {
			t.Errorf("Pulumi.yaml lacks %s", name)
			continue
		}
		if d.Description == "" {
			t.Errorf("Pulumi.yaml does not describe %s", name)
		}
		if _, secret := fields[name].Interface().(Secret); secret != d.Secret {
			t.Errorf("Pulumi.yaml: %s: secret is %v", name, d.Secret)
		}
		before := text(fields[name])
		written := fmt.Sprint(d.Default)
		if d.Type != nil && (*d.Type == "array" || *d.Type == "object") {
			encoded, _ := json.Marshal(d.Default)
			written = string(encoded)
		}
		if err := set(fields[name], written); err != nil {
			t.Errorf("Pulumi.yaml: the default of %s: %v", name, err)
		}
		if after := text(fields[name]); before != after {
			t.Errorf("Pulumi.yaml: the default of %s is %s, and the program's %s", name, after, before)
		}
	}
}

// The two stacks' files have the talk's sizes.
func TestStackFilesAreTheTalks(t *testing.T) {
	var want scenario.Config
	want.SetDefaults()
	src, m := readConfig(projectName, usable(t, source, nil))
	if err := m.err(); err != nil {
		t.Fatal(err)
	}
	dst, m := readConfig(projectName, usable(t, destination, nil))
	if err := m.err(); err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]any{"source": {src.Source, want.Source}, "destination": {dst.Destination, want.Destination}} {
		is, _ := json.Marshal(pair[0])
		should, _ := json.Marshal(pair[1])
		empty := strings.NewReplacer("{}", "null", "[]", "null")
		if empty.Replace(string(is)) != empty.Replace(string(should)) {
			t.Errorf("%s:\n%s, want\n%s", what, is, should)
		}
	}
}

// What `pulumi config set --path` stores is read, whatever type it gave it.
func TestPiecesOfObjectsAreRead(t *testing.T) {
	stack, m := readConfig(projectName, usable(t, source, map[string]string{
		"kafkaConfig": `{"num.io.threads":16,"auto.create.topics.enable":true}`,
		"tags":        `{"CostCenter":1234}`,
		"fault":       `{"kind":"broker-loss","victims":[3],"percent":"0.5","duration":"1m","run":1}`,
	}))
	if err := m.err(); err != nil {
		t.Fatal(err)
	}
	if c := stack.Source; c.KafkaConfig["num.io.threads"] != "16" || c.KafkaConfig["auto.create.topics.enable"] != "true" || c.Fault.Percent != 0.5 || stack.Tags["CostCenter"] != "1234" {
		t.Errorf("%v %v %v", c.KafkaConfig, c.Fault, stack.Tags)
	}
}

func TestMistakesInAStacksConfigurationAreNamed(t *testing.T) {
	var rows []mistakestest.Row
	for name, test := range map[string]struct {
		role   string
		values map[string]string
		want   []string
	}{
		"unknown key":              {source, map[string]string{"broker": "29"}, []string{"broker: there is no such key: did you mean brokers?"}},
		"key of the other side":    {source, map[string]string{"workers": "9"}, []string{"workers: is no key of a stack with role source"}},
		"load at the destination":  {destination, map[string]string{"throughput": "1k/s"}, []string{"throughput: is no key of a stack with role destination"}},
		"bad rate":                 {source, map[string]string{"throughput": "fast"}, []string{`throughput: rate "fast"`, "20k/s"}},
		"bad duration":             {source, map[string]string{"retention": "5 minutes"}, []string{"retention: duration", "5m"}},
		"unknown key in the fault": {source, map[string]string{"fault": `{"kind":"broker-kill","victim":3}`}, []string{"fault:", `unknown field "victim"`, "victims"}},
		"bad fault":                {source, map[string]string{"fault": `{"kind":"broker-outage","victims":[3],"run":1}`}, []string{"fault.duration"}},
		"no image": {source, map[string]string{"images": "{}"}, []string{
			"images.loadgen: no image", "make images", "images.kafka", "images.externalDns", "images.headlamp", "images.chaosDaemon", "images.prometheusOperator", "images.metricsServer",
		}},
		"image without digest":      {source, map[string]string{"images": `{"kafka":"apache/kafka:3.9.1"}`}, []string{`images.kafka: image "apache/kafka:3.9.1" has no digest`}},
		"unknown image":             {source, map[string]string{"images": `{"kafak":"x"}`}, []string{"images.kafak: there is no such image"}},
		"replicator's image":        {destination, map[string]string{"replicator": "brooklin", "images": "{}"}, []string{"images.brooklin: no image: run make images ARGS='--only brooklin',"}},
		"secure without secrets":    {source, map[string]string{"secure": "true"}, []string{"kafkaPassword: missing, and secure is true: run make secrets"}},
		"secure with an old client": {destination, map[string]string{"secure": "true", "replicator": "brooklin"}, []string{"too old", "mirrormaker2"}},
		"no Grafana password":       {destination, map[string]string{"grafanaPassword": ""}, []string{"grafanaPassword: missing: run make secrets"}},
		"fault without Chaos Mesh":  {source, map[string]string{"installChaos": "false", "fault": `{"kind":"broker-kill","victims":[3],"run":1}`}, []string{"needs Chaos Mesh", "installChaos"}},
		"fault of the lab":          {source, map[string]string{"fault": `{"kind":"broker-pause","victims":[3],"duration":"1m","run":1}`}, []string{"fault.kind: broker-pause is played by the lab alone", "Chaos Mesh"}},
		"public":                    {source, map[string]string{"expose": `["0.0.0.0/0"]`}, []string{"expose: 0.0.0.0/0 is too much"}},
		"one zone":                  {source, map[string]string{"zones": `["us-east-1a"]`}, []string{"zones: 1 zones", "two zones"}},
		"no network":                {source, map[string]string{"vpcCidr": ""}, []string{`vpcCidr: "" is no network: write it like 10.10.0.0/16`}},
		"no nodes":                  {source, map[string]string{"nodes": "0"}, []string{"nodes: 0"}},
		"no peer":                   {destination, map[string]string{"peerStack": ""}, []string{"peerStack: missing", "us-east-1"}},
		"peer is itself":            {destination, map[string]string{"peerStack": "eu-west-1"}, []string{"peerStack: eu-west-1 is this stack itself: name the source's"}},
		"peer of the source":        {source, map[string]string{"peerStack": "eu-west-1"}, []string{"peerStack", "leave"}},
		"expectation":               {destination, map[string]string{"expectations": `["latency < 3"]`}, []string{"expectations:"}},
		"more brokers than nodes":   {source, map[string]string{"brokers": "41"}, []string{"brokers: 41 do not fit on 40 nodes"}},
		"no versions":               {source, map[string]string{"versions": "{}", "nodeRelease": ""}, []string{`versions.vpcCni: "": run make versions`, `nodeRelease: "": run make versions`}},
		"unknown version":           {source, map[string]string{"versions": `{"kafka":"3.9"}`}, []string{"versions.kafka: there is no such version"}},
		"two peers":                 {destination, map[string]string{"peerBootstrap": "kafka:9092"}, []string{"peerBootstrap: the stack us-east-1 says where"}},
		"no bound":                  {source, map[string]string{"maxHourlyUSD": "NaN", "nodeHourlyUSD": "Inf"}, []string{"maxHourlyUSD: NaN: use the most", "nodeHourlyUSD: +Inf: use what"}},
		"unprintable":               {source, map[string]string{"testId": "a\x1b[2Jb"}, []string{`testId: "a\x1b[2Jb"`}},
		"no time":                   {source, map[string]string{"expires": "tomorrow"}, []string{`expires: "tomorrow"`, "2026-12-24T18:00:00Z"}},
		"region of a cluster":       {source, map[string]string{"kubeconfig": "x", "fault": `{"kind":"region-partition","duration":"1m","run":1}`}, []string{"region-partition: an existing cluster"}},
		"all at once": {source, map[string]string{"brokers": "41", "vpcCidr": "", "throughput": "fast", "nope": "1"},
			[]string{"brokers: 41", `vpcCidr: ""`, "throughput", "nope: there is no such key"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := runCheck(t, test.role, test.values)
			if err == nil {
				t.Fatal("is accepted")
			}
			var given []string
			for _, key := range slices.Sorted(maps.Keys(test.values)) {
				given = append(given, key+" `"+test.values[key]+"`")
			}
			_, message, _ := strings.Cut(err.Error(), "cannot be used:\n")
			rows = append(rows, mistakestest.Row{Input: test.role + ": " + strings.Join(given, ", "), Message: message})
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\ndoes not say %q", err, want)
				}
			}
		})
	}
	mistakestest.Section(t, "../docs/mistakes.md", "Stacks' configuration", "What preflight and `pulumi up` refuse, with all else usable.", rows, *update)
	t.Run("no role", func(t *testing.T) {
		_, m := readConfig(projectName, nil)
		if err := m.err(); err == nil || !strings.Contains(err.Error(), `role: "": use source or destination`) {
			t.Errorf("%v", err)
		}
	})
}
