package target

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"

	"github.com/AppsFlyer/kafka-mirror-tester/scenario"
)

// Sides, as scenarios call them.
const (
	source      = "source"
	destination = "destination"
)

// expiresKey is the key of both stacks that says when the load stops by itself.
const expiresKey = "expires"

// kubeconfigKey is the key, a secret, of a stack on a cluster that exists.
const kubeconfigKey = "kubeconfig"

// values are keys of a stack's configuration without the project's namespace, as texts; what is no text
// there is JSON.
type values map[string]value

type value struct {
	text   string
	object bool
}

// machine are the keys of what a test runs on. A scenario that says nothing of them, and has the small
// defaults, leaves them as the stack has them.
func machine() []string {
	return []string{"nodes", "kafkaMode", "quorumSize", "kafkaHeap", "replicatorHeap", "secure"}
}

// valuesOf are what a stack's configuration has to say to be a side of c, on top of own, which is what the
// user says. An empty text stands for a key that must not be there.
func valuesOf(side string, c scenario.Config, own values) (values, error) {
	var small scenario.Config
	small.SetSmallDefaults()
	all, defaults := values{}, values{}
	for _, of := range []struct {
		c   scenario.Config
		out values
	}{{c, all}, {small, defaults}} {
		var part any = of.c.Source
		if side == destination {
			part = of.c.Destination
		}
		for _, v := range []any{of.c.Shared, part} {
			text, err := json.Marshal(v)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", side, err)
			}
			fields := map[string]json.RawMessage{}
			if err := json.Unmarshal(text, &fields); err != nil {
				return nil, fmt.Errorf("%s: %w", side, err)
			}
			for key, raw := range fields {
				of.out[key] = plain(raw)
			}
		}
	}
	for _, key := range machine() {
		if all[key] == defaults[key] {
			delete(all, key)
		}
	}
	for _, key := range []string{"kafkaConfig", "replicatorConfig"} {
		scenarios, has := all[key]
		if !has {
			continue
		}
		merged, err := merge(own[key].text, scenarios.text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		all[key] = merged
	}
	return all, nil
}

// plain is the value that JSON stands for; what is empty is none.
func plain(raw json.RawMessage) value {
	var text string
	switch s := string(raw); {
	case json.Unmarshal(raw, &text) == nil && s != "null":
		return value{text: text}
	case s == "null", s == "{}", s == "[]":
		return value{}
	case s[0] == '{' || s[0] == '[':
		return value{text: s, object: true}
	default:
		return value{text: s}
	}
}

// merge adds entries to those that the user has.
func merge(own, added string) (value, error) {
	all := map[string]any{}
	for _, text := range []string{own, added} {
		if text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			return value{}, err
		}
	}
	if len(all) == 0 {
		return value{}, nil
	}
	text, err := json.Marshal(all)
	return value{text: string(text), object: true}, err
}

// stackFile is a stack's configuration. The user's own file is read and never written: what a scenario
// changes goes to a copy, which Pulumi is given.
type stackFile struct {
	project  string
	declared values // keys of Pulumi.yaml, with their defaults
	own      values // what the user says, secrets left out
	content  *workspace.ProjectStack
	path     string // of the copy
}

// openStackFile reads the project and the file of a stack in dir, and makes path the copy.
func openStackFile(dir, stack, path string) (*stackFile, error) {
	project, err := workspace.LoadProject(filepath.Join(dir, "Pulumi.yaml"))
	if err != nil {
		return nil, fmt.Errorf("read the Pulumi project in %s: %w: begin loadgen where Pulumi.yaml is, or name the directory by --project", dir, err)
	}
	file := filepath.Join(dir, "Pulumi."+stack+".yaml")
	if _, err := os.Stat(file); err != nil {
		return nil, fmt.Errorf("configuration of the stack %s: %w: name the stacks by --source-stack and --destination-stack", stack, err)
	}
	quiet := diag.DefaultSink(&strings.Builder{}, &strings.Builder{}, diag.FormatOptions{Color: colors.Never})
	content, err := workspace.LoadProjectStack(quiet, project, file)
	if err != nil {
		return nil, fmt.Errorf("configuration of the stack %s: %w", stack, err)
	}
	f := &stackFile{project: string(project.Name), declared: values{}, own: values{}, content: content, path: path}
	for key, declared := range project.Config {
		text, err := json.Marshal(declared.Default)
		if err != nil {
			return nil, fmt.Errorf("Pulumi.yaml: %s: %w", key, err)
		}
		f.declared[key] = plain(text)
	}
	for key, v := range content.Config {
		if key.Namespace() != f.project || v.Secure() {
			continue
		}
		text, err := v.Value(config.NopDecrypter)
		if err != nil {
			return nil, fmt.Errorf("configuration of the stack %s: %s: %w", stack, key, err)
		}
		f.own[key.Name()] = value{text, v.Object()}
	}
	return f, nil
}

// has says whether the user's file has a key, secret or not.
func (f *stackFile) has(key string) bool {
	_, has := f.content.Config[config.MustMakeKey(f.project, key)]
	return has
}

// number is what the user's file says of a key, fallback where it says nothing.
func (f *stackFile) number(key string, fallback int) int {
	if n, err := strconv.Atoi(f.own[key].text); err == nil {
		return n
	}
	return fallback
}

// now is what the copy says, and else Pulumi.yaml.
func (f *stackFile) now() values {
	out := maps.Clone(f.declared)
	for key, v := range f.content.Config {
		if key.Namespace() == f.project && !v.Secure() {
			text, _ := v.Value(config.NopDecrypter) // it was read before, or is ours
			out[key.Name()] = value{text, v.Object()}
		}
	}
	return out
}

// set changes what differs, and returns each change as KEY: OLD -> NEW.
func (f *stackFile) set(next values) ([]string, error) {
	now := f.now()
	var changed []string
	for _, key := range slices.Sorted(maps.Keys(next)) {
		was, is := now[key], next[key]
		if same(was.text, is.text) {
			continue
		}
		k := config.MustMakeKey(f.project, key)
		switch {
		case is.text == "":
			delete(f.content.Config, k)
		case is.object:
			f.content.Config[k] = config.NewObjectValue(is.text)
		default:
			f.content.Config[k] = config.NewValue(is.text)
		}
		changed = append(changed, fmt.Sprintf("%s: %s -> %s", key, shown(was.text), shown(is.text)))
	}
	if err := f.content.Save(f.path); err != nil {
		return nil, fmt.Errorf("write the configuration for the scenario: %w", err)
	}
	return changed, nil
}

// differs says whether set would change anything.
func (f *stackFile) differs(next values) bool {
	now := f.now()
	for key, v := range next {
		if !same(now[key].text, v.text) {
			return true
		}
	}
	return false
}

// same says whether two texts mean the same, if they are JSON whatever the order of their keys.
func same(a, b string) bool {
	var x, y any
	if a == b {
		return true
	}
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	return reflect.DeepEqual(x, y)
}

func shown(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// check reports what of a scenario the two stacks cannot be, before anything is made.
func (t *Target) check(configs []scenario.Config) error {
	var errs []error
	said := map[string]bool{}
	add := func(err error) {
		for _, line := range strings.Split(err.Error(), "\n") {
			if said[line] {
				return
			}
			said[line] = true
		}
		errs = append(errs, err)
	}
	cannot := func(format string, args ...any) {
		add(fmt.Errorf("%w: "+format, append([]any{scenario.ErrCannotPlay}, args...)...))
	}
	for _, c := range configs {
		for _, s := range t.sides() {
			cluster := clusterOf(&c, s.side)
			if cluster.Nodes == 0 {
				cluster.Nodes = s.file.number("nodes", map[string]int{source: 40, destination: 48}[s.side])
			}
			want, err := valuesOf(s.side, c, s.file.own)
			if err != nil {
				return err
			}
			for _, key := range slices.Sorted(maps.Keys(want)) {
				if _, declared := s.file.declared[key]; !declared && want[key].text != "" {
					cannot("%s: %s: the stacks have no such key", s.side, key)
				}
			}
			f := cluster.Fault
			switch kind := scenario.FaultKinds()[f.Kind]; {
			case kind.LabOnly:
				cannot("%s: fault.kind: %s is played by the lab alone: Chaos Mesh has nothing like it", s.side, f.Kind)
			case f.Kind != "" && f.Run == 0:
				add(fmt.Errorf("%s: fault.run: 0: a stack breaks nothing before the first time: use 1, and the next number to begin it again", s.side))
			}
		}
		if r := c.Destination.Replicator; r == scenario.UReplicator || r == scenario.Brooklin {
			if images, _ := merge(t.destination.file.own["images"].text, ""); !strings.Contains(images.text, `"`+r+`"`) {
				cannot("destination: images.%s: the stack %s names no image of %s, of which there is no public one", r, t.destination.name, r)
			}
		}
		if err := c.Validate(); err != nil {
			add(err)
		}
	}
	return errors.Join(errs...)
}

func clusterOf(c *scenario.Config, side string) *scenario.Cluster {
	if side == source {
		return &c.Source.Cluster
	}
	return &c.Destination.Cluster
}
