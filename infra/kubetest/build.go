package kubetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Versions of what is built beside Kubernetes.
const (
	etcdVersion = "3.6.16" // kwok's watches need 3.5 or later
	kwokVersion = "0.8.0"
)

// binary is a program and how it is built.
type binary struct {
	name, pkg string
	flags     string // of the linker
}

// parts are built each from a module of its own, with the dependencies that its makers chose.
type part struct {
	name, version, module string
	binaries              []binary
	staging               bool // the module replaces others by its own subdirectories, which are published at v0 of its version
}

func parts() []part {
	version := "-X k8s.io/component-base/version."
	kubernetes := part{name: "kubernetes", version: KubernetesVersion, module: "k8s.io/kubernetes", staging: true}
	major, rest, _ := strings.Cut(KubernetesVersion, ".")
	minor, _, _ := strings.Cut(rest, ".")
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		kubernetes.binaries = append(kubernetes.binaries, binary{
			name, "k8s.io/kubernetes/cmd/" + name,
			version + "gitVersion=v" + KubernetesVersion + " " + version + "gitMajor=" + major + " " + version + "gitMinor=" + minor,
		})
	}
	return []part{
		kubernetes,
		{name: "etcd", version: etcdVersion, module: "go.etcd.io/etcd/server/v3", binaries: []binary{{"etcd", "go.etcd.io/etcd/server/v3", ""}}},
		{name: "kwok", version: kwokVersion, module: "sigs.k8s.io/kwok", binaries: []binary{{"kwok", "sigs.k8s.io/kwok/cmd/kwok", ""}}},
	}
}

// Binaries are the paths of what was built, by name.
type Binaries map[string]string

// Build builds what is not in the user's cache directory yet, and says so to log. The first time takes a
// quarter of an hour on two free cores. Two processes that build at once wait for one another.
func Build(ctx context.Context, log func(format string, args ...any)) (Binaries, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Join(cache, "kubernetes.lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	out := Binaries{}
	for _, p := range parts() {
		dir := filepath.Join(cache, p.name+"-"+p.version)
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			log("building %s %s, which takes some minutes the first time", p.name, p.version)
			if err := p.build(ctx, dir); err != nil {
				return nil, fmt.Errorf("build %s %s: %w", p.name, p.version, err)
			}
		}
		for _, b := range p.binaries {
			out[b.name] = filepath.Join(dir, b.name)
		}
	}
	return out, nil
}

// cacheDir is where what takes long to make is kept, with the Kafka jars and the Pulumi CLI.
func cacheDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("where to keep the control plane: %w", err)
	}
	dir := filepath.Join(cache, "kafka-mirror-tester")
	return dir, os.MkdirAll(dir, 0o755)
}

// lock waits until no other process has the file, and returns what lets it go. The kernel does so too
// when this process ends.
func lock(path string) (func(), error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
	return func() { _ = file.Close() }, nil
}

// build fills dir, which appears only when all is there.
func (p part) build(ctx context.Context, dir string) (err error) {
	work, err := os.MkdirTemp(filepath.Dir(dir), ".build-"+p.name+"-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	m, err := newModule(ctx, work, map[string]string{p.module: p.version})
	if err != nil {
		return err
	}
	if p.staging {
		if err := m.replaceStaging(ctx, p.module, p.version); err != nil {
			return err
		}
	}
	bin := filepath.Join(work, "bin")
	for _, b := range p.binaries {
		if _, err := m.run(ctx, "build", "-ldflags", strings.TrimSpace("-s -w "+b.flags), "-o", filepath.Join(bin, b.name), b.pkg); err != nil {
			return err
		}
	}
	return os.Rename(bin, dir)
}

// replaceStaging puts the published modules where path's go.mod has subdirectories of its own repository.
func (m *module) replaceStaging(ctx context.Context, path, version string) error {
	dir, err := m.downloaded(ctx, path, version)
	if err != nil {
		return err
	}
	out, err := m.run(ctx, "mod", "edit", "-json", filepath.Join(dir, "go.mod"))
	if err != nil {
		return err
	}
	var mod struct {
		Replace []struct{ Old struct{ Path string } }
	}
	if err := json.Unmarshal([]byte(out), &mod); err != nil {
		return fmt.Errorf("go mod edit: %w", err)
	}
	_, staged, _ := strings.Cut(version, ".")
	for _, r := range mod.Replace {
		if _, err := m.run(ctx, "mod", "edit", "-replace="+r.Old.Path+"="+r.Old.Path+"@v0."+staged); err != nil {
			return err
		}
	}
	return nil
}
