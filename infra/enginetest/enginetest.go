// Package enginetest runs a Pulumi program under the real Pulumi engine, in process, against provider
// doubles for aws, eks and kubernetes. The engine, the SDKs and the gRPC between them are the real
// ones; the doubles invent ids and outputs and know which changes the real providers can only make by
// a replacement. So a test sees what `pulumi up` would do: the steps, their order, the state.
//
// It supports tests and is imported by no production code.
package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/esc"
	"github.com/pulumi/pulumi/pkg/v3/resource/deploy"
	"github.com/pulumi/pulumi/pkg/v3/resource/stack"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// organization is what every stack belongs to, as with Pulumi's self-managed backends.
const organization = "organization"

// Stack is one Pulumi stack: a program, its configuration, its state and the imagined cloud that its
// resources live in. It is for one test and one goroutine.
type Stack struct {
	t             testing.TB
	project, name string
	program       pulumi.RunFunc
	file          *workspace.Project // nil without a Pulumi.yaml
	config        config.Map         // as set
	peers         map[string]*Stack  // by full name
	snapshot      *deploy.Snapshot
	cloud         *cloud
	preview       bool
}

// WithProjectFile takes the project's name, and the types and defaults of its configuration, from the
// Pulumi.yaml at path, as the CLI does: values of a wrong type are errors of Up.
func WithProjectFile(path string) Option {
	return func(s *Stack) {
		s.t.Helper()
		project, err := workspace.LoadProject(path)
		if err != nil {
			s.t.Fatal(err)
		}
		s.file, s.project = project, project.Name.String()
	}
}

// WithConfigFile sets what the Pulumi.STACK.yaml at path sets. It comes after the options that name the
// project. Secrets of the file stay encrypted: set them by SetSecret.
func WithConfigFile(path string) Option {
	return func(s *Stack) {
		s.t.Helper()
		if _, err := os.Stat(path); err != nil {
			s.t.Fatal(err) // the loader takes a missing file for an empty one
		}
		project := s.file
		if project == nil {
			project = &workspace.Project{Name: tokens.PackageName(s.project)}
		}
		stack, err := workspace.LoadProjectStack(diag.DefaultSink(io.Discard, io.Discard, diag.FormatOptions{Color: colors.Never}), project, path)
		if err != nil {
			s.t.Fatal(err)
		}
		maps.Copy(s.config, stack.Config)
	}
}

// Option is an option of New.
type Option func(*Stack)

// WithName sets the names of project and stack. The default is kafka-mirror-tester and test.
func WithName(project, stack string) Option {
	return func(s *Stack) { s.project, s.name = project, stack }
}

// WithoutPreview makes Up skip the preview, for benchmarks.
func WithoutPreview() Option {
	return func(s *Stack) { s.preview = false }
}

// New prepares an empty stack for program.
func New(t testing.TB, program pulumi.RunFunc, opts ...Option) *Stack {
	t.Helper()
	s := &Stack{
		t:       t,
		project: "kafka-mirror-tester",
		name:    "test",
		program: program,
		config:  config.Map{},
		peers:   map[string]*Stack{},
		cloud:   newCloud(),
		preview: true,
	}
	for _, o := range opts {
		o(s)
	}
	s.peers[s.fullName()] = s
	return s
}

func (s *Stack) fullName() string { return organization + "/" + s.project + "/" + s.name }

// SetConfig sets a configuration value, as `pulumi config set` does. A key without a namespace is the
// project's own; an object or a list is given as JSON.
func (s *Stack) SetConfig(key, value string) {
	s.t.Helper()
	s.config[s.key(key)] = config.NewValue(value)
}

// SetSecret sets a secret configuration value, as `pulumi config set --secret` does.
func (s *Stack) SetSecret(key, value string) {
	s.t.Helper()
	s.config[s.key(key)] = config.NewSecureValue(value) // nothing is encrypted here: see config.NopDecrypter
}

// UnsetConfig removes a configuration value, as `pulumi config rm` does.
func (s *Stack) UnsetConfig(key string) {
	s.t.Helper()
	delete(s.config, s.key(key))
}

func (s *Stack) key(key string) config.Key {
	s.t.Helper()
	if !strings.Contains(key, ":") {
		key = s.project + ":" + key
	}
	k, err := config.ParseKey(key)
	if err != nil {
		s.t.Fatalf("configuration key %q: %v", key, err)
	}
	return k
}

// Config returns the configuration as the program sees it in PULUMI_CONFIG: "namespace:key" to the
// value, secrets in plain.
func (s *Stack) Config() map[string]string {
	s.t.Helper()
	all, err := s.fullConfig()
	if err != nil {
		s.t.Fatal(err)
	}
	out := make(map[string]string, len(all))
	for k, v := range all {
		value, err := v.Value(config.NopDecrypter)
		if err != nil {
			s.t.Fatalf("configuration key %q: %v", k, err)
		}
		out[k.String()] = value
	}
	return out
}

// fullConfig returns the configuration with the project's defaults, checked against its types.
func (s *Stack) fullConfig() (config.Map, error) {
	full := maps.Clone(s.config)
	if s.file == nil {
		return full, nil
	}
	err := workspace.ValidateStackConfigAndApplyProjectConfig(context.Background(), s.name, s.file, esc.Value{}, full,
		config.NopEncrypter, config.NopDecrypter)
	return full, err
}

// Peer makes other known to this stack's program as the stack called name:
// StackReference("organization/project/name"), or name itself where it is a full name, resolves to
// other's outputs. A stack knows itself without this, and sees the outputs of its last update.
func (s *Stack) Peer(name string, other *Stack) {
	if !strings.Contains(name, "/") {
		name = organization + "/" + s.project + "/" + name
	}
	s.peers[name] = other
}

// FailOnce makes the next create of the named resource fail, as a provider does that made nothing. The
// test fails if that never happens.
func (s *Stack) FailOnce(typ, name string) { s.failNext(typ, name, false) }

// FailInitOnce makes the next create or update of the named resource fail as the kubernetes provider
// does when an object was made but did not become ready in time: it stays in the state, marked, and
// the next update tries again. The test fails if that never happens.
func (s *Stack) FailInitOnce(typ, name string) { s.failNext(typ, name, true) }

func (s *Stack) failNext(typ, name string, initOnly bool) {
	s.t.Helper()
	s.cloud.failNext(typ+" "+name, initOnly)
	s.t.Cleanup(func() {
		if s.cloud.fails[typ+" "+name] != nil {
			s.t.Errorf("%s %s was ordered to fail and was never made", typ, name)
		}
	})
}

// backend answers stack references as the real backends do: pkg/v3/backend/backend.go, and for the
// form of the name pkg/v3/backend/httpstate/backend.go.
type backend struct{ s *Stack }

func (b backend) stack(name string) (*Stack, error) {
	if strings.Count(name, "/") != 2 {
		return nil, errors.New("a stack reference's name should be of the form '<organization>/<project>/<stack>'")
	}
	peer := b.s.peers[name]
	if peer == nil {
		return nil, fmt.Errorf("unknown stack %q", name)
	}
	return peer, nil
}

// GetStackOutputs implements deploy.BackendClient: an existing stack without resources has no outputs.
func (b backend) GetStackOutputs(_ context.Context, name string, _ func(error) error) (resource.PropertyMap, error) {
	peer, err := b.stack(name)
	if err != nil {
		return nil, err
	}
	root, err := stack.GetRootStackResource(peer.snapshot)
	if err != nil || root == nil {
		return resource.PropertyMap{}, err
	}
	return root.Outputs.Copy(), nil
}

// GetStackResourceOutputs implements deploy.BackendClient.
func (b backend) GetStackResourceOutputs(_ context.Context, name string) (resource.PropertyMap, error) {
	peer, err := b.stack(name)
	if err != nil {
		return nil, err
	}
	out := resource.PropertyMap{}
	for _, r := range peer.states() {
		out[resource.PropertyKey(r.URN)] = resource.NewProperty(resource.PropertyMap{
			"type":    resource.NewProperty(string(r.Type)),
			"outputs": resource.NewProperty(r.Outputs),
		})
	}
	return out, nil
}

// states returns the resources in the state, without those that only wait to be deleted.
func (s *Stack) states() []*resource.State {
	if s.snapshot == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.snapshot.Resources), func(r *resource.State) bool { return r.Delete })
}
