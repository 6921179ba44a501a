package main

import (
	"cmp"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"go.yaml.in/yaml/v3"
	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"github.com/AppsFlyer/kafka-mirror-tester/images/catalogue"
)

const mavenCentral = "https://repo1.maven.org/maven2"

// Kinds of what is pinned.
const (
	kindGo     = "go"
	kindTools  = "tools"
	kindMaven  = "maven"
	kindCharts = "charts"
	kindImages = "images"
)

// pin is something of which a version is chosen in this repository.
type pin struct{ kind, name, version string }

// inFiles are versions that stand in a file of the repository: find has them as its first group. The name is a Go
// module, or a Maven artifact.
var inFiles = []struct{ kind, name, file, find string }{
	{kindTools, "github.com/golangci/golangci-lint/v2", "Makefile", `golangci-lint@(\S+)`},
	{kindTools, "golang.org/x/vuln", "supply/vulnerabilities.go", `govulncheck@([^"]+)`},
	{kindTools, "golang.org/x/vulndb", "supply/vulnerabilities.go", `pinnedDatabase = "([^"]+)"`},
	{kindMaven, "org.apache.kafka:kafka_2.13", "lab/jars.go", `kafkaVersion\s*=\s*"([^"]+)"`},
	{kindMaven, "org.slf4j:slf4j-reload4j", "lab/jars.go", `slf4j-reload4j:([^"]+)"`},
	{kindMaven, "org.apache.maven.plugins:maven-dependency-plugin", "lab/jars.go", `maven-dependency-plugin:([^"]+)"`},
	{kindMaven, "io.prometheus.jmx:jmx_prometheus_javaagent", "images/build.go", `jmx_prometheus_javaagent-([0-9.]+)\.jar`},
}

// charts are where the Helm charts come from, by their key in the catalogue. A test compares them with infra.
var charts = map[string]struct{ name, repository string }{
	catalogue.ChaosMesh:           {"chaos-mesh", "https://charts.chaos-mesh.org"},
	catalogue.KubePrometheusStack: {"kube-prometheus-stack", "https://prometheus-community.github.io/helm-charts"},
	catalogue.MetricsServer:       {"metrics-server", "https://kubernetes-sigs.github.io/metrics-server"},
	catalogue.NodeProblemDetector: {"node-problem-detector", "oci://ghcr.io/deliveryhero/helm-charts/node-problem-detector"},
}

// pins returns all that is pinned in the repository at root, but for what AWS tells.
func pins(root string) ([]pin, error) {
	var out []pin
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return nil, fmt.Errorf("pinned versions: %w", err)
	}
	mod, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		return nil, fmt.Errorf("pinned versions: %w", err)
	}
	for _, r := range mod.Require {
		if !r.Indirect {
			out = append(out, pin{kindGo, r.Mod.Path, r.Mod.Version})
		}
	}
	for _, p := range inFiles {
		text, err := os.ReadFile(filepath.Join(root, p.file))
		if err != nil {
			return nil, fmt.Errorf("pinned version of %s: %w", p.name, err)
		}
		found := regexp.MustCompile(p.find).FindSubmatch(text)
		if found == nil {
			return nil, fmt.Errorf("pinned version of %s: %s has nothing like %s", p.name, p.file, p.find)
		}
		out = append(out, pin{p.kind, p.name, string(found[1])})
	}
	versions := catalogue.Charts()
	for _, key := range slices.Sorted(maps.Keys(versions)) {
		out = append(out, pin{kindCharts, key, versions[key]})
	}
	for _, image := range catalogue.All() {
		if image.Upstream != "" {
			repository, tag, _ := strings.Cut(image.Upstream, ":")
			out = append(out, pin{kindImages, repository, tag})
		}
	}
	return out, nil
}

// updates asks for newer versions.
type updates struct {
	http    *http.Client
	proxies []string
	central string
	only    []string
	match   string
}

func (u *updates) run(ctx context.Context, root string, stdout io.Writer) error {
	for _, kind := range u.only {
		if all := []string{kindGo, kindTools, kindMaven, kindCharts, kindImages}; !slices.Contains(all, kind) {
			return fmt.Errorf("--only: %q is not known: use %s", kind, strings.Join(all, ", "))
		}
	}
	all, err := pins(root)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	var asked, newer, failed int
	for _, p := range all {
		if len(u.only) > 0 && !slices.Contains(u.only, p.kind) || !strings.Contains(p.name, u.match) {
			continue
		}
		asked++
		newest, err := u.newest(ctx, p)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			failed++
			fmt.Fprintf(table, "%s\t%s\t%s\tcould not be asked: %s\n", p.kind, p.name, p.version, strings.ReplaceAll(err.Error(), "\n", "; "))
		case compare(newest, p.version) > 0:
			newer++
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", p.kind, p.name, p.version, newest)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%d looked up, %d have a newer version, %d could not be asked\n", asked, newer, failed)
	switch {
	case asked == 0:
		return fmt.Errorf("--match: nothing that is pinned has %q in its name", u.match)
	case failed > 0:
		return fmt.Errorf("%d of %d: %w", failed, asked, errUnanswered)
	}
	return nil
}

func (u *updates) newest(ctx context.Context, p pin) (string, error) {
	switch p.kind {
	case kindGo, kindTools:
		return u.newestModule(ctx, p.name)
	case kindMaven:
		return u.newestArtifact(ctx, p.name)
	case kindCharts:
		if oci, ok := strings.CutPrefix(charts[p.name].repository, "oci://"); ok {
			return u.newestTag(ctx, oci, p.version)
		}
		return u.newestChart(ctx, charts[p.name].repository, charts[p.name].name)
	default:
		return u.newestTag(ctx, p.name, p.version)
	}
}

// get returns an answer of status 200.
func (u *updates) get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := u.http.Do(req)
	if err != nil {
		return nil, err // names the URL
	}
	defer resp.Body.Close()
	const limit = 64 << 20 // the largest index of charts has a few MB
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
		return nil, fmt.Errorf("%s: HTTP %d: %.120s", url, resp.StatusCode, line)
	}
	return body, nil
}

// goProxies are the proxies that GOPROXY names.
func goProxies(goproxy string) []string {
	if goproxy == "" {
		goproxy = "https://proxy.golang.org"
	}
	return slices.DeleteFunc(strings.FieldsFunc(goproxy, func(r rune) bool { return r == ',' || r == '|' }), func(p string) bool {
		return p == "direct" || p == "off"
	})
}

func (u *updates) newestModule(ctx context.Context, path string) (string, error) {
	escaped, err := module.EscapePath(path)
	if err != nil {
		return "", err
	}
	if len(u.proxies) == 0 {
		return "", errors.New("GOPROXY names no proxy")
	}
	var errs []error
	for _, proxy := range u.proxies {
		at := strings.TrimSuffix(proxy, "/") + "/" + escaped
		// As Go does: what is released, else the newest commit.
		if body, err := u.get(ctx, at+"/@v/list"); err == nil {
			if newest, err := highest(path, strings.Fields(string(body))); err == nil {
				return newest, nil
			}
		}
		body, err := u.get(ctx, at+"/@latest")
		var latest struct{ Version string }
		if err == nil {
			err = json.Unmarshal(body, &latest)
		}
		if err == nil && semver.IsValid(latest.Version) {
			return latest.Version, nil
		}
		errs = append(errs, cmp.Or(err, fmt.Errorf("%s: the newest version is said to be %q", proxy, latest.Version)))
	}
	return "", errors.Join(errs...)
}

func (u *updates) newestArtifact(ctx context.Context, coordinates string) (string, error) {
	group, artifact, _ := strings.Cut(coordinates, ":")
	body, err := u.get(ctx, u.central+"/"+strings.ReplaceAll(group, ".", "/")+"/"+artifact+"/maven-metadata.xml")
	if err != nil {
		return "", err
	}
	var metadata struct {
		Versions []string `xml:"versioning>versions>version"`
	}
	if err := xml.Unmarshal(body, &metadata); err != nil {
		return "", fmt.Errorf("%s: %w", coordinates, err)
	}
	return highest(coordinates, metadata.Versions)
}

func (u *updates) newestChart(ctx context.Context, repository, chart string) (string, error) {
	body, err := u.get(ctx, strings.TrimSuffix(repository, "/")+"/index.yaml")
	if err != nil {
		return "", err
	}
	var index struct {
		Entries map[string][]struct{ Version string }
	}
	if err := yaml.Unmarshal(body, &index); err != nil {
		return "", fmt.Errorf("%s: %w", repository, err)
	}
	var versions []string
	for _, e := range index.Entries[chart] {
		versions = append(versions, e.Version)
	}
	return highest(chart+" of "+repository, versions)
}

// newestTag is the highest tag that is written as the pinned one is: v1.2.3-distroless is no version of 1.2.3.
func (u *updates) newestTag(ctx context.Context, repository, pinned string) (string, error) {
	repo, err := name.NewRepository(repository)
	if err != nil {
		return "", err
	}
	tags, err := remote.List(repo, remote.WithContext(ctx), remote.WithTransport(transport(u.http)))
	if err != nil {
		return "", err
	}
	return highest(repository, slices.DeleteFunc(tags, func(tag string) bool { return style(tag) != style(pinned) }))
}

func transport(c *http.Client) http.RoundTripper {
	if c.Transport != nil {
		return c.Transport
	}
	return remote.DefaultTransport
}

var digits = regexp.MustCompile(`[0-9]+`)

// style is how a version is written.
func style(version string) string { return digits.ReplaceAllString(version, "0") }

// final is a version that is meant to be used: no candidate, snapshot or the like.
var final = regexp.MustCompile(`^v?[0-9]+(\.[0-9]+)*(-distroless|-[0-9]+)?$`)

func highest(of string, versions []string) (string, error) {
	versions = slices.DeleteFunc(slices.Clone(versions), func(v string) bool { return !final.MatchString(v) })
	if len(versions) == 0 {
		return "", fmt.Errorf("%s: no version is written as one is", of)
	}
	return slices.MaxFunc(versions, compare), nil
}

// compare orders versions: as Go does where both are such, else by their numbers.
func compare(a, b string) int {
	if semver.IsValid(a) && semver.IsValid(b) {
		return semver.Compare(a, b)
	}
	numbers := func(s string) (out []int) {
		for _, d := range digits.FindAllString(s, -1) {
			n, err := strconv.Atoi(d)
			if err != nil {
				n = 0
			}
			out = append(out, n)
		}
		return out
	}
	return slices.Compare(numbers(a), numbers(b))
}
