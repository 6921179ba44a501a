package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	fake "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/AppsFlyer/kafka-mirror-tester/images/catalogue"
	"github.com/AppsFlyer/kafka-mirror-tester/infra/kube"
)

// server is a real registry on loopback that counts what is written to it.
type server struct {
	host   string
	writes atomic.Int64
	// refuse, if set, answers instead of the registry: the status, or 0.
	refuse atomic.Pointer[func(*http.Request) int]
}

func newServer(t *testing.T, password string) *server {
	t.Helper()
	inner := fake.New(fake.Logger(log.New(io.Discard, "", 0)))
	s := &server{}
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, given, _ := r.BasicAuth(); given != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if f := s.refuse.Load(); f != nil {
			if status := (*f)(r); status != 0 {
				w.WriteHeader(status)
				return
			}
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			s.writes.Add(1)
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(ts.Close)
	s.host = strings.TrimPrefix(ts.URL, "http://")
	return s
}

// platformImage is an image with some content, for a platform.
func platformImage(t *testing.T, os, arch string) v1.Image {
	t.Helper()
	img, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = os, arch
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

// upstream puts an index for two platforms into s, and returns the digest for linux/amd64.
func (s *server) upstream(t *testing.T, reference string) v1.Hash {
	t.Helper()
	amd := platformImage(t, "linux", "amd64")
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: platformImage(t, "linux", "arm64"), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
		mutate.IndexAddendum{Add: amd, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	ref, err := name.ParseReference(s.host + "/" + reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	digest, err := amd.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// ecrDouble answers as ECR's API does, in shapes taken from its documentation: AWS cannot be reached
// here. Each region has its own registry.
type ecrDouble struct {
	registries map[string]*server

	mu           sync.Mutex
	repositories map[string]map[string]any // region/name -> what CreateRepository was told
	policies     map[string]string
	created      int
}

const ecrPassword = "from ECR"

func newECRDouble(t *testing.T, regions ...string) *ecrDouble {
	t.Helper()
	d := &ecrDouble{registries: map[string]*server{}, repositories: map[string]map[string]any{}, policies: map[string]string{}}
	for _, r := range regions {
		d.registries[r] = newServer(t, ecrPassword)
	}
	ts := httptest.NewServer(d)
	t.Cleanup(ts.Close)
	t.Setenv("AWS_ENDPOINT_URL", ts.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "key")
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	return d
}

func (d *ecrDouble) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	// Credential=id/20260101/us-east-1/ecr/aws4_request
	region := strings.Split(r.Header.Get("Authorization"), "/")[2]
	host := d.registries[region].host
	var in map[string]any
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	fail := func(kind string) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"__type":%q,"message":"as ECR says it"}`, kind)
	}
	repository, _ := in["repositoryName"].(string)
	described := func(n string) map[string]any {
		return map[string]any{"repositoryName": n, "repositoryUri": host + "/" + n}
	}
	var out any
	switch _, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), "."); operation {
	case "GetAuthorizationToken":
		out = map[string]any{"authorizationData": []any{map[string]any{
			"authorizationToken": base64.StdEncoding.EncodeToString([]byte("AWS:" + ecrPassword)),
			"proxyEndpoint":      "https://" + host,
		}}}
	case "DescribeRepositories":
		n := in["repositoryNames"].([]any)[0].(string)
		if d.repositories[region+"/"+n] == nil {
			fail("RepositoryNotFoundException")
			return
		}
		out = map[string]any{"repositories": []any{described(n)}}
	case "CreateRepository":
		d.created++
		d.repositories[region+"/"+repository] = in
		out = map[string]any{"repository": described(repository)}
	case "GetLifecyclePolicy":
		if d.policies[region+"/"+repository] == "" {
			fail("LifecyclePolicyNotFoundException")
			return
		}
		out = map[string]any{"lifecyclePolicyText": d.policies[region+"/"+repository]}
	case "PutLifecyclePolicy":
		d.policies[region+"/"+repository], _ = in["lifecyclePolicyText"].(string)
		out = map[string]any{}
	default:
		fail("UnknownOperationException")
		return
	}
	_ = json.NewEncoder(w).Encode(out)
}

// fakePulumi puts a program named pulumi on PATH that writes down its arguments, and returns a
// function that gives the calls since the last time.
func fakePulumi(t *testing.T) func() [][]string {
	t.Helper()
	dir := t.TempDir()
	record := filepath.Join(dir, "record")
	script := fmt.Sprintf("#!/bin/sh\nprintf '%%s\\n' \"$@\" END >> %s\n", record)
	if err := os.WriteFile(filepath.Join(dir, "pulumi"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() [][]string {
		data, err := os.ReadFile(record)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		os.Remove(record)
		var calls [][]string
		for call := range strings.SplitSeq(string(data), "\nEND\n") {
			if call != "" {
				calls = append(calls, strings.Split(call, "\n"))
			}
		}
		return calls
	}
}

// references reads image=reference from a call of `pulumi config set-all`.
func references(t *testing.T, stack string, calls [][]string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, call := range calls {
		if !slices.Equal(call[:5], []string{"config", "set-all", "--stack", stack, "--path"}) {
			continue
		}
		for i, word := range call {
			if word == "--plaintext" {
				key, ref, _ := strings.Cut(call[i+1], "=")
				found[strings.TrimPrefix(key, "images.")] = ref
			}
		}
	}
	return found
}

func images(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	err := run(context.Background(), args, os.Environ(), &stdout, &stderr)
	t.Logf("images %s\n%s%s%v", strings.Join(args, " "), &stdout, &stderr, err)
	return stdout.String() + stderr.String(), err
}

// mustImages is images where no error is expected.
func mustImages(t *testing.T, args ...string) string {
	t.Helper()
	out, err := images(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestBothRegionsGetTheImagesByDigestAndOnlyOnce(t *testing.T) {
	pulumi := fakePulumi(t)
	ecr := newECRDouble(t, "us-east-1", "eu-west-1")
	hub := newServer(t, "")
	kafka, dns := hub.upstream(t, "apache/kafka:3.9.2"), hub.upstream(t, "external-dns:v1")
	args := []string{"--only", "kafka,externalDns",
		"--upstream", "kafka=" + hub.host + "/apache/kafka:3.9.2", "--upstream", "externalDns=" + hub.host + "/external-dns:v1"}
	stacks := []string{"us-east-1", "eu-west-1"}

	out := mustImages(t, append(args, "--dry-run")...)
	if calls := pulumi(); len(calls) != 0 || ecr.created != 0 || ecr.registries["us-east-1"].writes.Load() != 0 {
		t.Fatalf("a dry run changed something: %d repositories, pulumi %v", ecr.created, calls)
	}
	if want := "images.kafka=" + ecr.registries["eu-west-1"].host + "/kafka-mirror-tester/kafka@" + kafka.String(); !strings.Contains(out, want) {
		t.Errorf("a dry run does not say %s", want)
	}

	mustImages(t, args...)
	calls := pulumi()
	for _, stack := range stacks {
		host := ecr.registries[stack].host
		got := references(t, stack, calls)
		want := map[string]string{
			"kafka":       host + "/kafka-mirror-tester/kafka@" + kafka.String(),
			"externalDns": host + "/kafka-mirror-tester/external-dns@" + dns.String(),
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("stack %s is told %v, want %v", stack, got, want)
		}
		for key, reference := range got {
			if err := kube.CheckImage("images."+key, reference); err != nil {
				t.Error(err) // up would refuse it
			}
			pullable(t, reference)
		}
		created := ecr.repositories[stack+"/kafka-mirror-tester/kafka"]
		if created["imageTagMutability"] != "IMMUTABLE" || fmt.Sprint(created["imageScanningConfiguration"]) != "map[scanOnPush:true]" {
			t.Errorf("the repository in %s was made with %v", stack, created)
		}
		if policy := ecr.policies[stack+"/kafka-mirror-tester/kafka"]; !json.Valid([]byte(policy)) {
			t.Errorf("the lifecycle policy in %s is no JSON: %q", stack, policy)
		}
	}

	written, created := ecr.registries["us-east-1"].writes.Load(), ecr.created
	mustImages(t, args...)
	if again := ecr.registries["us-east-1"].writes.Load() - written; again != 0 || ecr.created != created {
		t.Errorf("a second run wrote %d times and made %d repositories", again, ecr.created-created)
	}
	if again := pulumi(); fmt.Sprint(again) != fmt.Sprint(calls) {
		t.Errorf("a second run set %v, the first %v", again, calls)
	}

	// The upstream's tag moves: tags in our repositories do not, so the new image has another.
	moved := hub.upstream(t, "apache/kafka:3.9.2")
	mustImages(t, args...)
	if got := references(t, "us-east-1", pulumi())["kafka"]; !strings.HasSuffix(got, "@"+moved.String()) {
		t.Errorf("after the upstream's tag moved to %s the stack is told %s", moved, got)
	}
	repo, err := name.NewRepository(ecr.registries["us-east-1"].host + "/kafka-mirror-tester/kafka")
	if err != nil {
		t.Fatal(err)
	}
	tags, err := remote.List(repo, ecrLogin())
	if want := []string{"3.9.2-" + kafka.Hex[:12], "3.9.2-" + moved.Hex[:12]}; err != nil || len(tags) != 2 || !slices.Contains(tags, want[0]) || !slices.Contains(tags, want[1]) {
		t.Errorf("tags %v (%v), want %v", tags, err, want)
	}
}

func ecrLogin() remote.Option {
	return remote.WithAuth(&authn.Basic{Username: "AWS", Password: ecrPassword})
}

// pullable reads all of an image in our registry.
func pullable(t *testing.T, reference string) {
	t.Helper()
	ref, err := name.NewDigest(reference)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref, ecrLogin())
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) == 0 {
		t.Fatal(len(layers), err)
	}
	for _, l := range layers {
		r, err := l.Compressed() // verifies the layer's digest when it ends
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Error(err)
		}
		r.Close()
	}
}

func TestACopyThatWasCutShortIsCompleted(t *testing.T) {
	pulumi := fakePulumi(t)
	ours, hub := newServer(t, ""), newServer(t, "")
	digest := hub.upstream(t, "kafka:1")
	args := []string{"--only", "kafka", "--stacks", "a,b", "--registry", ours.host + "/kmt", "--upstream", "kafka=" + hub.host + "/kafka:1"}

	full := func(r *http.Request) int { // the manifest comes last
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			return http.StatusInsufficientStorage
		}
		return 0
	}
	ours.refuse.Store(&full)
	_, err := images(t, args...)
	says(t, err, "kafka", ours.host+"/kmt/kafka", "run again")
	if calls := pulumi(); len(calls) != 0 {
		t.Errorf("a stack was told of an image that is not there: %v", calls)
	}

	ours.refuse.Store(nil)
	written := ours.writes.Load()
	mustImages(t, args...)
	if again := ours.writes.Load() - written; again != 1 {
		t.Errorf("%d writes after only the manifest was missing, want 1", again)
	}
	calls := pulumi()
	for _, stack := range []string{"a", "b"} {
		if got, want := references(t, stack, calls)["kafka"], ours.host+"/kmt/kafka@"+digest.String(); got != want {
			t.Errorf("stack %s is told %q, want %q", stack, got, want)
		}
	}
}

// says fails unless the error has all the words.
func says(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", fmt.Sprint(err), w)
		}
	}
}

func TestAnImageThatCannotBeHadIsNamedAndTheOthersAreBrought(t *testing.T) {
	for what, test := range map[string]struct {
		prepare func(t *testing.T, hub *server)
		want    []string
	}{
		"missing": {func(*testing.T, *server) {}, []string{"does not have it", "--upstream"}},
		"wrong platform": {func(t *testing.T, hub *server) {
			ref, err := name.ParseReference(hub.host + "/headlamp:1")
			if err != nil {
				t.Fatal(err)
			}
			if err := remote.Write(ref, platformImage(t, "linux", "arm64")); err != nil {
				t.Fatal(err)
			}
		}, []string{"linux/arm64", "linux/amd64", "--upstream"}},
		"refused": {func(_ *testing.T, hub *server) {
			f := func(r *http.Request) int {
				if strings.Contains(r.URL.Path, "headlamp") {
					return http.StatusUnauthorized
				}
				return 0
			}
			hub.refuse.Store(&f)
		}, []string{"docker login"}},
	} {
		t.Run(what, func(t *testing.T) {
			pulumi := fakePulumi(t)
			ours, hub := newServer(t, ""), newServer(t, "")
			hub.upstream(t, "kafka:1")
			test.prepare(t, hub)
			_, err := images(t, "--only", "kafka,headlamp", "--stacks", "a", "--registry", ours.host+"/kmt",
				"--upstream", "kafka="+hub.host+"/kafka:1,headlamp="+hub.host+"/headlamp:1")
			says(t, err, append(test.want, "headlamp: ", hub.host)...)
			if got := references(t, "a", pulumi()); len(got) != 1 || got["kafka"] == "" {
				t.Errorf("the stack is told %v, want kafka alone", got)
			}
		})
	}
}

func TestARegistryThatIsNotThere(t *testing.T) {
	fakePulumi(t)
	hub := newServer(t, "")
	hub.upstream(t, "kafka:1")
	ts := httptest.NewServer(nil)
	gone := strings.TrimPrefix(ts.URL, "http://")
	ts.Close()
	_, err := images(t, "--only", "kafka", "--registry", gone+"/kmt", "--upstream", "kafka="+hub.host+"/kafka:1")
	says(t, err, "kafka", gone, "reachable")
}

func TestMistakesInFlags(t *testing.T) {
	fakePulumi(t)
	for _, test := range []struct {
		args string
		want []string
	}{
		{"--only kafkaa", []string{"--only kafkaa", "kafka, externalDns"}},
		{"--upstream nothing=x", []string{`no image "nothing"`}},
		{"--upstream loadgen=x:1", []string{"built here"}},
		{"--platform windows/amd64 --registry host", []string{`--platform "windows/amd64"`, "linux/amd64", `--registry "host"`, "HOST/PREFIX"}},
		{"--registry localhost:5001/KMT", []string{"lower case"}},
		{"--stacks dev", []string{"--stacks dev", "dev=us-east-1"}},
		{"extra", []string{"extra"}},
	} {
		_, err := images(t, strings.Fields(test.args)...)
		says(t, err, test.want...)
	}
}

func TestPrintSetsNothing(t *testing.T) {
	pulumi := fakePulumi(t)
	ours, hub := newServer(t, ""), newServer(t, "")
	digest := hub.upstream(t, "kafka:1")
	out := mustImages(t, "--print", "--only", "kafka", "--stacks", "a", "--registry", ours.host+"/kmt", "--upstream", "kafka="+hub.host+"/kafka:1")
	want := "pulumi config set-all --stack a --path \\\n  --plaintext images.kafka=" + ours.host + "/kmt/kafka@" + digest.String() + "\n"
	if calls := pulumi(); len(calls) != 0 || !strings.HasSuffix(out, want) {
		t.Errorf("pulumi was called: %v; printed %q, want %q", calls, out, want)
	}
}

// The image of the load generator, from this source tree: its content is what the pods need, it is
// the same each time, and its program runs.
func TestTheLoadGeneratorsImage(t *testing.T) {
	pulumi := fakePulumi(t)
	dir := t.TempDir()
	jar := []byte("an agent")
	bundle := filepath.Join(dir, "authorities")
	sum := sha256.Sum256(jar)
	for path, data := range map[string][]byte{filepath.Join(dir, "agent.jar"): jar, bundle: []byte("authorities")} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"--only", "loadgen", "--stacks", "a", "--version", "v1-test", "--platform", "linux/" + runtime.GOARCH,
		"--ca-bundle", bundle, "--agent-jar", filepath.Join(dir, "agent.jar"), "--agent-sha256", hex.EncodeToString(sum[:])}
	// Two registries: the second is built anew.
	var digests []string
	var img v1.Image
	for range 2 {
		ours := newServer(t, "")
		mustImages(t, append(args, "--registry", ours.host+"/kmt")...)
		reference := references(t, "a", pulumi())["loadgen"]
		ref, err := name.NewDigest(reference)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, ref.DigestStr())
		if img, err = remote.Image(ref); err != nil {
			t.Fatal(err)
		}
		if tags, err := remote.List(ref.Context()); err != nil || fmt.Sprint(tags) != "[v1-test-"+strings.TrimPrefix(ref.DigestStr(), "sha256:")[:12]+"]" {
			t.Errorf("tags %v (%v)", tags, err)
		}
	}
	if digests[0] != digests[1] {
		t.Errorf("the same source gave %s and %s", digests[0], digests[1])
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%d:%d", kube.User, kube.User); config.Config.User != want || !slices.Equal(config.Config.Entrypoint, []string{"/usr/local/bin/loadgen"}) {
		t.Errorf("user %q, want %s; entrypoint %v", config.Config.User, want, config.Config.Entrypoint)
	}

	binary := filepath.Join(dir, "loadgen")
	var got []string
	content := mutate.Extract(img)
	defer content.Close()
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		size := fmt.Sprint(len(data))
		if h.Name == sbomPath {
			size = "*"
			checkSBOM(t, data)
		}
		if h.Name == "usr/local/bin/loadgen" {
			size = "*"
			if err := os.WriteFile(binary, data, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		got = append(got, fmt.Sprintf("%s %o %s", h.Name, h.Mode, size))
		if h.Uid != 0 || !h.ModTime.Equal(epoch) {
			t.Errorf("%s: owner %d, time %s", h.Name, h.Uid, h.ModTime)
		}
	}
	slices.Sort(got)
	if want := []string{"etc/ssl/certs/ca-certificates.crt 644 11", "opt/jmx_prometheus_javaagent.jar 644 8", "tmp 1777 0", "usr/local/bin/loadgen 755 *", sbomPath + " 644 *"}; !slices.Equal(got, want) {
		t.Errorf("the image has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	version, err := exec.Command(binary, "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(version), "loadgen v1-test\n") {
		t.Errorf("loadgen version: %v\n%s", err, version)
	}
	// As an init container does it; here the image's /opt is not there.
	said, err := exec.Command(binary, "install-agent", "--to", filepath.Join(dir, "installed.jar")).CombinedOutput()
	if err == nil || !strings.Contains(string(said), "open /"+agentPath) {
		t.Errorf("install-agent does not look for /%s: %v, %s", agentPath, err, said)
	}
	said, err = exec.Command(binary, "install-agent", "--from", filepath.Join(dir, "agent.jar"), "--to", filepath.Join(dir, "installed.jar")).CombinedOutput()
	if installed, _ := os.ReadFile(filepath.Join(dir, "installed.jar")); err != nil || !bytes.Equal(installed, jar) {
		t.Errorf("install-agent: %v, %s, wrote %q", err, said, installed)
	}
}

// checkSBOM says what a scanner would miss.
func checkSBOM(t *testing.T, text []byte) {
	t.Helper()
	bom := new(cyclonedx.BOM)
	if err := cyclonedx.NewBOMDecoder(bytes.NewReader(text), cyclonedx.BOMFileFormatJSON).Decode(bom); err != nil {
		t.Fatal(err)
	}
	if bom.Metadata.Component.Version != "v1-test" || bom.SerialNumber != "" || bom.Metadata.Timestamp != "" {
		t.Errorf("%+v of %s at %s", bom.Metadata.Component, bom.SerialNumber, bom.Metadata.Timestamp)
	}
	found := map[string]cyclonedx.Component{}
	for _, c := range *bom.Components {
		name, _, _ := strings.Cut(c.PackageURL, "@")
		found[name] = c
	}
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pkg:golang/github.com/twmb/franz-go", "pkg:golang/github.com/spf13/cobra", "pkg:golang/stdlib", "pkg:maven/io.prometheus.jmx/jmx_prometheus_javaagent"} {
		c, ok := found[name]
		if !ok || c.Version == "" {
			t.Errorf("the image does not say that it has %s", name)
			continue
		}
		if strings.HasPrefix(c.Name, "github.com/") && (!strings.Contains(string(mod), c.Name+" "+c.Version) || c.Hashes == nil || len((*c.Hashes)[0].Value) != 64) {
			t.Errorf("%s: %s is not go.mod's version, or without a sum", name, c.Version)
		}
	}
	if _, ok := found["pkg:golang/github.com/pulumi/pulumi/sdk/v3"]; ok {
		t.Error("the image says that it has Pulumi's SDK, which only the stacks have")
	}
}

func TestAnAgentThatIsNotTheExpectedOneIsRefused(t *testing.T) {
	fakePulumi(t)
	served := []byte("not the agent")
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(served) }))
	t.Cleanup(ts.Close)
	sum := sha256.Sum256([]byte("the agent"))
	b := builder{cache: t.TempDir(), agent: agent{URL: ts.URL, SHA256: hex.EncodeToString(sum[:])}}
	_, err := b.agentJar(context.Background())
	says(t, err, b.agent.SHA256, "--agent-jar")

	served = []byte("the agent")
	for range 2 { // the second time from what was kept
		if data, err := b.agentJar(context.Background()); err != nil || string(data) != "the agent" {
			t.Errorf("%q, %v", data, err)
		}
		served = nil
	}
}

// Every image can be copied: its upstream has an exact version, and its repository a name that ECR takes.
func TestTheCatalogue(t *testing.T) {
	keys, repositories, charts := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, im := range catalogue.All() {
		if keys[im.Key] || repositories[im.Repository] || im.About == "" {
			t.Errorf("%+v: no key and repository of its own, or not described", im)
		}
		keys[im.Key], repositories[im.Repository] = true, true
		if _, err := name.NewRepository("example.com/kmt/" + im.Repository); err != nil {
			t.Errorf("%s: %v", im.Key, err)
		}
		if im.Chart != "" {
			charts[im.Chart] = true
			if catalogue.Charts()[im.Chart] == "" || im.Optional {
				t.Errorf("%s: of the chart %q, which has no version, or optional", im.Key, im.Chart)
			}
		}
		if im.Key == catalogue.Loadgen {
			continue
		}
		ref, err := name.NewTag(im.Upstream, name.StrictValidation)
		if err != nil || ref.TagStr() == "latest" {
			t.Errorf("%s: upstream %q is none of an exact version: %v", im.Key, im.Upstream, err)
		}
	}
	for chart := range catalogue.Charts() {
		if !charts[chart] {
			t.Errorf("the chart %s has no image", chart)
		}
	}
}
