package main

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/AppsFlyer/kafka-mirror-tester/loadgen/human"
)

// Any two keys of a usable configuration with any values: each mistake begins with its key, can be shown on a line
// of its own and tells no secret; and what is accepted means the same when it is written out and read again.
func FuzzReadConfig(f *testing.F) {
	base := map[bool]map[string]string{false: usable(f, source, nil), true: usable(f, destination, nil)}
	const prefix = projectName + ":"
	for isDestination, values := range base {
		for name, value := range values {
			f.Add(isDestination, strings.TrimPrefix(name, prefix), value, "fault", `{"kind":"broker-kill","victims":[1],"run":1}`)
		}
	}
	for _, seed := range [][2]string{
		{"brokers", "29"}, {"brokers", "041"}, {"brokers", "+3"}, {"kafkaHeap", "4GiB"}, {"retention", "5m"}, {"throughput", "100MB/s"}, {"compressibility", "0x1p-1"},
		{"kafkaConfig", `{"num.io.threads":16,"a":true,"b":null}`}, {"topics", `["load","load"]`}, {"topics", `["a"] ["b"]`}, {"topics", "null"}, {"kafkaConfig", "null"},
		{"fault", `{"kind":"broker-loss","victims":[3],"percent":"0.5","duration":"1m","run":1}`}, {"fault", `{"percent":"NaN"}`}, {"fault", "null"}, {"tags", `{"a\nb":"c"}`},
		{"expires", "2026-12-24T18:00:00Z"}, {"maxHourlyUSD", "NaN"}, {"maxHourlyUSD", "Inf"}, {"nodeHourlyUSD", "-1"}, {"kafkaPassword", "hunter2\n"},
		{"kubeconfig", "apiVersion: v1"}, {"a\x1b[2Jb", "x"}, {"images", `{"kafka":"x","kafka":"y"}`}, {"expectations", `["lost == 0","latency.p99 <= 5s"]`}, {"role", "none"},
	} {
		f.Add(false, seed[0], seed[1], "partitions", "150")
		f.Add(true, seed[0], seed[1], "secure", "true")
	}
	beginsWithKey := regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*([.:\[ ]|$)`)
	f.Fuzz(func(t *testing.T, isDestination bool, key1, value1, key2, value2 string) {
		if !utf8.ValidString(key1 + value1 + key2 + value2) {
			return // neither YAML nor the engine's protocol can carry it
		}
		values := maps.Clone(base[isDestination])
		values[prefix+key1], values[prefix+key2] = value1, value2
		s, m := readConfig(projectName, values)
		if err := m.err(); err != nil {
			message := err.Error()
			if len(message) > 20_000+100*(len(key1)+len(value1)+len(key2)+len(value2)) {
				t.Fatalf("refused in %d bytes", len(message))
			}
			for _, mistake := range m.found {
				line := mistake.Error()
				if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Fatalf("cannot be shown: %q", line)
				}
				given := strings.HasPrefix(line, human.Line(key1)+": ") || strings.HasPrefix(line, human.Line(key2)+": ")
				if !beginsWithKey.MatchString(line) && !given {
					t.Fatalf("names no key: %q", line)
				}
			}
			for key, value := range map[string]string{key1: value1, key2: value2} {
				if _, secret := secretKeys()[key]; secret && len(value) > 8 && strings.Contains(message, value) && !strings.Contains(strings.Replace(message, value, "", 1), value) && value1 != value2 {
					t.Fatalf("tells the secret %s: %s", key, message)
				}
			}
			return
		}
		again := maps.Clone(values)
		own, shared := any(&s.Source), any(&s.Shared)
		if s.Role == destination {
			own = &s.Destination
		}
		fields := fieldsOf(&s.Settings, shared, own)
		for name, field := range fields {
			if _, secret := field.Interface().(Secret); secret || name == "namespace" && s.Namespace == s.Role {
				continue
			}
			text, err := json.Marshal(field.Interface())
			if err != nil {
				t.Fatalf("%s is accepted and cannot be written: %v", name, err)
			}
			if string(text) == "null" {
				delete(again, prefix+name) // none, which is the default of all lists and objects but the nodes' and the topics'
				if name == "nodeTypes" || name == "topics" {
					again[prefix+name] = "[]"
				}
				continue
			}
			var plain string
			if json.Unmarshal(text, &plain) != nil {
				plain = string(text)
			}
			again[prefix+name] = plain
		}
		read, m := readConfig(projectName, again)
		if err := m.err(); err != nil {
			t.Fatalf("written out it is refused: %v", err)
		}
		for name, field := range fieldsOf(&read.Settings, &read.Shared, ownOf(read)) {
			if a, b := text(fields[name]), text(field); a != b {
				t.Fatalf("%s is read again as %s, and was %s", name, b, a)
			}
		}
	})
}

func ownOf(s *Stack) any {
	if s.Role == destination {
		return &s.Destination
	}
	return &s.Source
}

// secretKeys are the keys of what is secret.
func secretKeys() map[string]bool {
	keys := map[string]bool{}
	for name, field := range fieldsOf(&Settings{}) {
		if field.Type() == reflect.TypeFor[Secret]() {
			keys[name] = true
		}
	}
	return keys
}

func TestSecretKeysAreThoseOfPulumiYAML(t *testing.T) {
	var declared []string
	for name, d := range project(t).Config {
		if d.Secret {
			declared = append(declared, name)
		}
	}
	slices.Sort(declared)
	if got := slices.Sorted(maps.Keys(secretKeys())); !slices.Equal(got, declared) {
		t.Errorf("%q, want %q", got, declared)
	}
}
