// Package kubetest judges the program's Kubernetes objects by what Kubernetes and the makers of charts publish
// with their source. It supports tests and is imported by no production code.
package kubetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"go.yaml.in/yaml/v3"
)

// KubernetesVersion is that whose schemas are used, of the minor version that the stacks pin.
const KubernetesVersion = "1.35.4"

// chaosVersion is of Chaos Mesh's repository: its releases are no versions of its module.
const chaosVersion = "0.9.1-0.20260902003049-47411975a8cb"

// module is a directory with a go.mod of its own.
type module struct{ dir string }

// newModule writes a go.mod that requires modules in exact versions.
func newModule(ctx context.Context, dir string, requires map[string]string) (*module, error) {
	m := &module{dir: dir}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module kubetest\n\ngo 1.26.0\n"), 0o600); err != nil {
		return nil, err
	}
	for path, version := range requires {
		if _, err := m.run(ctx, "mod", "edit", "-require="+path+"@v"+version); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// attempts is how often a command of go is tried: it may have to fetch, and networks fail.
const attempts = 3

// run runs go in the module and returns what it printed. CGO is off: the programs are to be the same
// whether there is a C compiler or not.
func (m *module) run(ctx context.Context, args ...string) (string, error) {
	var err error
	for range attempts {
		var stdout, stderr strings.Builder
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = m.dir, &stdout, &stderr
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0")
		cmd.SysProcAttr = childAttributes()
		runtime.LockOSThread() // whose end would be the child's
		err = cmd.Run()
		runtime.UnlockOSThread()
		if err == nil {
			return stdout.String(), nil
		}
		err = fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
		if ctx.Err() != nil || !strings.Contains(stderr.String(), "proxy") && !strings.Contains(stderr.String(), "timeout") {
			break
		}
	}
	return "", err
}

// downloaded returns the directory with a module's source.
func (m *module) downloaded(ctx context.Context, path, version string) (string, error) {
	out, err := m.run(ctx, "mod", "download", "-json", path+"@v"+version)
	if err != nil {
		return "", err
	}
	var found struct{ Dir string }
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		return "", fmt.Errorf("go mod download: %w", err)
	}
	return found.Dir, nil
}

// source is downloaded for who builds nothing.
func source(ctx context.Context, path, version string) (dir string, err error) {
	work, err := os.MkdirTemp("", "kafka-mirror-source-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	m, err := newModule(ctx, work, nil)
	if err != nil {
		return "", err
	}
	return m.downloaded(ctx, path, version)
}

// Definitions returns the CustomResourceDefinitions of what the program makes objects of: those of the
// Prometheus operator in the version given, and of Chaos Mesh, as their makers publish them with their
// source. Charts bring the same.
func Definitions(ctx context.Context, operatorVersion string) ([][]byte, error) {
	var out [][]byte
	for _, s := range []struct{ module, version, files string }{
		{"github.com/prometheus-operator/prometheus-operator", operatorVersion, "example/prometheus-operator-crd/*.yaml"},
		{"github.com/chaos-mesh/chaos-mesh", chaosVersion, "config/crd/bases/*.yaml"},
	} {
		dir, err := source(ctx, s.module, s.version)
		if err != nil {
			return nil, fmt.Errorf("definitions: %w", err)
		}
		files, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(s.files)))
		if err != nil || len(files) == 0 {
			return nil, fmt.Errorf("definitions of %s: no %s in it: %w", s.module, s.files, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			out = append(out, text)
		}
	}
	return out, nil
}

// ChaosMeshValues returns the values.yaml of Chaos Mesh's Helm chart, which comes with its source: the values
// that it knows, with its defaults.
func ChaosMeshValues(ctx context.Context) (Object, error) {
	dir, err := source(ctx, "github.com/chaos-mesh/chaos-mesh", chaosVersion)
	if err != nil {
		return nil, fmt.Errorf("chart: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "helm", "chaos-mesh", "values.yaml"))
	if err != nil {
		return nil, fmt.Errorf("chart: %w", err)
	}
	var values Object
	if err := yaml.Unmarshal(text, &values); err != nil {
		return nil, fmt.Errorf("chart: %w", err)
	}
	return values, nil
}
