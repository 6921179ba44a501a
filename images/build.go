package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// user is infra/kube.User; a test compares them. Importing it would compile the Kubernetes SDK.
const user = "10001:10001"

// agentPath is where the image carries the JMX agent; `loadgen install-agent` copies it from there
// to a volume that the brokers share.
const agentPath = "opt/jmx_prometheus_javaagent.jar"

// agent is the Java agent by which JVMs show their metrics.
type agent struct {
	URL    string
	SHA256 string
}

// defaultAgent is the last version on Maven Central of the coordinates that shared setups use; it
// was seen to work with Kafka 3.9.2. The sum is of what Central served on 2026-11-23.
func defaultAgent() agent {
	return agent{
		URL:    "https://repo1.maven.org/maven2/io/prometheus/jmx/jmx_prometheus_javaagent/1.0.1/jmx_prometheus_javaagent-1.0.1.jar",
		SHA256: "7d61f737fd661610ccc14aea79764faa1ea94a340cbc8f0029b3d2edea3d80c1",
	}
}

// bundles are the places where systems keep the certificate authorities that they trust.
// https://go.dev/src/crypto/x509/root_linux.go, and macOS's.
var bundles = [...]string{
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/ca-bundle.pem",
	"/etc/ssl/cert.pem",
}

// builder builds the load generator's image. The same source, Go, certificate bundle and base give
// the same digest.
type builder struct {
	source   string // directory of the Go module
	version  string // what `loadgen version` says
	base     string // reference by digest; empty: nothing but what we add
	bundle   string // file of certificate authorities; empty: the system's
	jar      string // the agent's file; empty: downloaded
	agent    agent
	cache    string // directory for downloads
	platform v1.Platform
	env      []string
	auth     remote.Option
}

// build returns the image.
func (b *builder) build(ctx context.Context) (v1.Image, error) {
	binary, err := b.compile(ctx)
	if err != nil {
		return nil, err
	}
	jar, err := b.agentJar(ctx)
	if err != nil {
		return nil, err
	}
	made, err := sbom(bytes.NewReader(binary), b.version, b.agent)
	if err != nil {
		return nil, err
	}
	base, err := b.baseImage(ctx)
	if err != nil {
		return nil, err
	}
	// What changes least comes first: nodes have it already.
	var layers []v1.Layer
	for _, files := range [][]file{base.files, {{path: agentPath, mode: 0o644, data: jar}}, {{path: "usr/local/bin/loadgen", mode: 0o755, data: binary}, {path: sbomPath, mode: 0o644, data: made}}} {
		if len(files) == 0 {
			continue
		}
		layer, err := newLayer(files)
		if err != nil {
			return nil, fmt.Errorf("make a layer of the load generator's image: %w", err)
		}
		layers = append(layers, layer)
	}
	img, err := mutate.AppendLayers(base.image, layers...)
	if err != nil {
		return nil, fmt.Errorf("put the load generator's image together: %w", err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the base image's configuration: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = b.platform.OS, b.platform.Architecture
	config.Created = v1.Time{Time: epoch}
	config.Config.User = user
	config.Config.Entrypoint = []string{"/usr/local/bin/loadgen"}
	config.Config.Cmd = nil
	config.Config.WorkingDir = "/"
	config.Config.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin"}
	img, err = mutate.ConfigFile(img, config)
	if err != nil {
		return nil, fmt.Errorf("configure the load generator's image: %w", err)
	}
	return img, nil
}

// epoch is the time of everything in the image, so that it depends on its content alone.
var epoch = time.Unix(0, 0).UTC()

// compile returns the static binary.
func (b *builder) compile(ctx context.Context) ([]byte, error) {
	dir, err := os.MkdirTemp("", "loadgen-image")
	if err != nil {
		return nil, fmt.Errorf("build loadgen: %w", err)
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "loadgen")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -buildid= -X main.version="+b.version, "-o", out, "./loadgen")
	cmd.Dir = b.source
	// GOFLAGS and GOAMD64 of the machine would change the binary.
	cmd.Env = append(append([]string{}, b.env...), "CGO_ENABLED=0", "GOFLAGS=", "GOAMD64=v1",
		"GOOS="+b.platform.OS, "GOARCH="+b.platform.Architecture)
	if output, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build loadgen: go build in %s: %w\n%s", b.source, err, bytes.TrimSpace(output))
	}
	data, err := os.ReadFile(out)
	if err != nil {
		return nil, fmt.Errorf("build loadgen: %w", err)
	}
	return data, nil
}

// base is what the image starts from.
type base struct {
	image v1.Image
	files []file
}

func (b *builder) baseImage(ctx context.Context) (base, error) {
	if b.base != "" {
		ref, err := name.NewDigest(b.base)
		if err != nil {
			return base{}, fmt.Errorf("--base %s: give it by digest, as NAME@sha256:DIGEST: %w", b.base, err)
		}
		img, err := remote.Image(ref, b.auth, remote.WithContext(ctx), remote.WithPlatform(b.platform))
		if err != nil {
			return base{}, explain(fmt.Sprintf("--base %s", b.base), ref.Context(), err)
		}
		return base{image: img}, nil
	}
	path := b.bundle
	for i := 0; path == "" && i < len(bundles); i++ {
		if _, err := os.Stat(bundles[i]); err == nil {
			path = bundles[i]
		}
	}
	if path == "" {
		return base{}, fmt.Errorf("no certificate authorities found in %s: install the package ca-certificates, or give a file by --ca-bundle", strings.Join(bundles[:], ", "))
	}
	authorities, err := os.ReadFile(path)
	if err != nil {
		return base{}, fmt.Errorf("--ca-bundle %s: %w", path, err)
	}
	return base{image: empty.Image, files: []file{
		{path: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, data: authorities},
		{path: "tmp", mode: 0o1777, dir: true},
	}}, nil
}

// agentJar returns the agent's jar: from the file that was given, from an earlier download, or from
// Maven Central. Its sum is verified in each case.
func (b *builder) agentJar(ctx context.Context) ([]byte, error) {
	if b.jar != "" {
		data, err := os.ReadFile(b.jar)
		if err != nil {
			return nil, fmt.Errorf("--agent-jar %s: %w", b.jar, err)
		}
		if err := b.agent.verify(data); err != nil {
			return nil, fmt.Errorf("--agent-jar %s: %w", b.jar, err)
		}
		return data, nil
	}
	cached := filepath.Join(b.cache, b.agent.SHA256+".jar")
	if data, err := os.ReadFile(cached); err == nil && b.agent.verify(data) == nil {
		return data, nil
	}
	data, err := b.agent.download(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: try again, or download it yourself and give the file by --agent-jar", err)
	}
	// Not being able to keep it is no reason to stop.
	if os.MkdirAll(b.cache, 0o755) == nil {
		_ = os.WriteFile(cached, data, 0o644)
	}
	return data, nil
}

// mostAgent bounds the download, bytes; version 1.0.1 has 2.9 MB.
const mostAgent = 64 << 20

func (a agent) download(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("download the JMX agent: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("download the JMX agent: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("download the JMX agent from %s: %s", a.URL, resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, mostAgent))
	if err != nil {
		return nil, fmt.Errorf("download the JMX agent from %s: %w", a.URL, err)
	}
	return data, a.verify(data)
}

func (a agent) verify(data []byte) error {
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != a.SHA256 {
		return fmt.Errorf("the JMX agent has the SHA-256 %x, and %s is expected", sum, a.SHA256)
	}
	return nil
}

// file is a file or directory of a layer.
type file struct {
	path string // without a leading slash
	mode int64
	data []byte
	dir  bool
}

// newLayer makes a layer of files, owned by root.
func newLayer(files []file) (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		header := &tar.Header{Name: f.path, Mode: f.mode, Size: int64(len(f.data)), ModTime: epoch, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if f.dir {
			header.Name, header.Typeflag = f.path+"/", tar.TypeDir
		}
		err := w.WriteHeader(header)
		if err == nil {
			_, err = w.Write(f.data)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
}

// moduleRoot finds the directory of go.mod, from dir upwards.
func moduleRoot(dir string) (string, error) {
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("no go.mod in %s or above: run this in the repository", dir)
		}
	}
}
